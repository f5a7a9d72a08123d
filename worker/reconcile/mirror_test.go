package reconcile_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"go.uber.org/zap"
)

// mirrorWorld is everything that a mirror works with.
type mirrorWorld struct {
	mu          sync.Mutex
	due         []hold.HoldWithDueMilestone
	metadata    map[string]map[string]string // at Stripe, by intent
	answer      hold.AnswerKind              // instead of an update, if not 0
	noSecond    bool                         // the budget grants no second update
	unavailable bool
	budgetShort bool
	waits       map[string]time.Duration // of accounts whose budget is used up
	updates     []hold.Call
	committed   []hold.Decision
}

func (w *mirrorWorld) ListHoldsDueForMetadataMirror(context.Context, int) ([]hold.HoldWithDueMilestone, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.due, time.Now(), nil
}

func (w *mirrorWorld) AcquireLock(context.Context, string, time.Duration) (bool, error) {
	return true, nil
}

func (w *mirrorWorld) Do(_ context.Context, call hold.Call) (hold.Answer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.updates = append(w.updates, call)
	if w.answer != 0 {
		return hold.Answer{Kind: w.answer}, nil
	}
	m := w.metadata[call.PaymentIntent]
	for k, v := range call.Metadata {
		if m[k] = v; v == "" {
			delete(m, k)
		}
	}
	return hold.Answer{Kind: hold.AnswerOK, Intent: &hold.PaymentIntent{ID: call.PaymentIntent,
		Metadata: maps.Clone(m)}}, nil
}

func (w *mirrorWorld) IsStripeAvailable() bool { return !w.unavailable }

// mirrorBudget is the two ways in which a mirror reserves requests.
type mirrorBudget struct{ *mirrorWorld }

func (b mirrorBudget) ReserveRequests(
	_ context.Context, wants ...hold.BudgetRequest,
) ([]hold.BudgetReservation, error) {
	reserved := make([]hold.BudgetReservation, len(wants))
	if len(wants) != 1 || wants[0].Op != hold.OpUpdate || wants[0].Requests != 1 {
		return reserved, errors.New("no single update")
	}
	reserved[0].Requests = 1
	if wait := b.waits[wants[0].Account]; wait > 0 {
		reserved[0] = hold.BudgetReservation{Wait: wait}
	}
	return reserved, nil
}

type mirrorCaller struct{ *mirrorWorld }

func (c mirrorCaller) WaitForBudget(context.Context, hold.Call, time.Duration) error {
	if c.noSecond {
		return &hold.CallNotSentError{Reason: "used up"}
	}
	return nil
}

// Commit takes the hold out of those that are due.
func (w *mirrorWorld) Commit(_ context.Context, changes []commit.Change) ([]bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range changes {
		w.committed = append(w.committed, changes[i].Decision)
		for j := range w.due {
			if w.due[j].Hold.ID == changes[i].Before.ID {
				w.due = append(w.due[:j:j], w.due[j+1:]...)
				break
			}
		}
	}
	return make([]bool, len(changes)), nil
}

// inMirrorWorld runs a tick of the mirror over holds in virtual time.
func inMirrorWorld(t *testing.T, w *mirrorWorld, holds []hold.Hold, check func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.metadata = map[string]map[string]string{}
		for _, h := range holds {
			h.NextAt = time.Now().Add(h.NextAt.Sub(time.Time{}))
			w.due = append(w.due, hold.HoldWithDueMilestone{Hold: h, DueAt: time.Now()})
			w.metadata[h.PaymentIntent] = map[string]string{"room": "12"}
			if h.Revision > 1 {
				w.metadata[h.PaymentIntent]["holdd_metadata_7"] = "left by earlier terms"
			}
		}
		m := reconcile.NewMetadataMirror(w, mirrorBudget{w}, mirrorCaller{w}, w,
			reconcile.MetadataMirrorOptions{
				Enabled: true, WaitedForBudget: func(time.Duration) bool { return w.budgetShort },
				Clock: &clock.RedisClock{}, Health: health.NewRedisHealthReporter(zap.NewNop()),
				Logger: zap.NewNop(),
			})
		m.Run(t.Context())
		check(t)
	})
}

// mirrored is a hold that is due in ahead.
func mirrored(id string, ahead time.Duration) hold.Hold {
	return hold.Hold{
		ID: id, PaymentIntent: id, State: hold.Scheduled, NextOp: hold.OpCapture,
		NextAt:    time.Time{}.Add(ahead),
		Reference: "BK-1", Revision: 1, OnExpiry: hold.PolicyCancel,
		CaptureAt: time.Date(2026, 12, 1, 11, 0, 0, 0, time.UTC),
	}
}

func TestMirror_WritesTerms(t *testing.T) {
	w := &mirrorWorld{}
	inMirrorWorld(t, w, []hold.Hold{mirrored("pi_00000001", time.Hour)}, func(t *testing.T) {
		want := map[string]string{"room": "12", hold.MetaReference: "BK-1",
			hold.MetaCaptureAt: "2026-12-01T11:00:00Z"}
		if got := w.metadata["pi_00000001"]; !maps.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if len(w.updates) != 1 || w.updates[0].Key == "" || len(w.committed) != 1 ||
			!w.committed[0].Hold.Mirrored {
			t.Errorf("%+v\n%+v", w.updates, w.committed)
		}
	})
}

func TestMirror_RemovesEarlierTerms(t *testing.T) {
	h := mirrored("pi_00000001", time.Hour)
	h.Revision = 2
	w := &mirrorWorld{}
	inMirrorWorld(t, w, []hold.Hold{h}, func(t *testing.T) {
		if m := w.metadata["pi_00000001"]; len(m) != 3 || m["room"] != "12" {
			t.Errorf("%q", m)
		}
		if len(w.updates) != 2 || w.updates[0].Key == w.updates[1].Key {
			t.Errorf("%+v", w.updates)
		}
		if len(w.committed) != 1 || !w.committed[0].Hold.Mirrored {
			t.Errorf("%+v\n%+v", w.updates, w.committed)
		}
	})
	w = &mirrorWorld{noSecond: true}
	inMirrorWorld(t, w, []hold.Hold{h}, func(t *testing.T) {
		if len(w.updates) != 1 || len(w.committed) != 1 || w.committed[0].MirrorAt.IsZero() {
			t.Errorf("%+v\n%+v", w.updates, w.committed)
		}
	})
}

func TestMirror_Answers(t *testing.T) {
	const written, abandoned, deferred, nothing = "mirrored", "unmirrorable", "deferred", "nothing"
	want := map[hold.AnswerKind]string{
		hold.AnswerNotFound: abandoned, hold.AnswerInvalid: abandoned,
		hold.AnswerIdempotencyError: abandoned,
		hold.AnswerUnexpectedState:  abandoned, hold.AnswerDeclined: abandoned,
		hold.AnswerKeyInUse: nothing,
	}
	for _, kind := range hold.AnswerKinds()[1:] {
		w := &mirrorWorld{answer: kind}
		inMirrorWorld(t, w, []hold.Hold{mirrored("pi_00000001", time.Hour)}, func(t *testing.T) {
			got := nothing
			for _, d := range w.committed {
				switch {
				case d.Hold.Mirrored:
					got = written
				case d.Hold.Unmirrorable:
					got = abandoned
				case d.MirrorAt.After(time.Now().Add(50 * time.Second)):
					got = deferred
				}
			}
			expected := want[kind]
			if expected == "" {
				expected = deferred
			}
			if got != expected || len(w.updates) != 1 || len(w.committed) > 1 {
				t.Errorf("%s: %s, want %s; %d updates", kind, got, expected, len(w.updates))
			}
		})
	}
}

func TestMirror_LeavesUrgentCallsAlone(t *testing.T) {
	for name, w := range map[string]*mirrorWorld{
		"due holds wait for the budget": {budgetShort: true},
		"Stripe unavailable":            {unavailable: true},
		"a long wait for the budget":    {waits: map[string]time.Duration{"": 2 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			inMirrorWorld(t, w, []hold.Hold{mirrored("pi_00000001", time.Hour)},
				func(t *testing.T) {
					if len(w.updates)+len(w.committed) != 0 {
						t.Errorf("%+v", w.updates)
					}
				})
		})
	}
	w := &mirrorWorld{}
	inMirrorWorld(t, w, []hold.Hold{mirrored("pi_00000001", 4*time.Second)}, func(t *testing.T) {
		if len(w.updates)+len(w.committed) != 0 {
			t.Errorf("an update for a hold that is about to be captured: %+v", w.updates)
		}
	})
}

// An account whose budget is used up does not delay the others.
func TestMirror_ContinuesWithOtherAccounts(t *testing.T) {
	slow, fast := mirrored("pi_00000001", time.Hour), mirrored("pi_00000002", time.Hour)
	slow.Account = "acct_00000001"
	w := &mirrorWorld{waits: map[string]time.Duration{"acct_00000001": 2 * time.Second}}
	inMirrorWorld(t, w, []hold.Hold{slow, fast}, func(t *testing.T) {
		if len(w.updates) != 1 || w.updates[0].PaymentIntent != fast.ID {
			t.Errorf("%+v", w.updates)
		}
	})
}
