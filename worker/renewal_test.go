package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// withWindow gives every authorization a window. A renewal begins in its middle.
func withWindow(window time.Duration) func(*testEnv, *stripesim.Options) {
	return func(w *testEnv, o *stripesim.Options) {
		w.opts.Rules = hold.DecisionRules{ExpiryMargin: 20 * time.Second,
			Thresholds: []time.Duration{30 * time.Second}}
		o.AuthorizationWindow = func(stripesim.Card) time.Duration { return window }
	}
}

// longStay authorizes a saved card and schedules its hold with renewal terms.
func (w *testEnv) longStay(r *replica, req hold.ScheduleRequest) (id, card string) {
	w.T.Helper()
	customer, card, err := w.Sim.Cards.SaveCard("", "")
	if err != nil {
		w.T.Fatal(err)
	}
	id = w.AuthorizeIntent(func(h *stripesim.Hold) {
		h.Customer, h.PaymentMethod, h.FutureUsage = customer, card, "off_session"
	})
	req.PaymentIntent, req.Reference = id, "BK-LONG"
	w.mustSchedule(r, req)
	return id, card
}

// checkHeldThroughout checks from Stripe's ledger that the customer's money was
// held from the first authorization to the final capture or release, never more
// than twice, and never twice for longer than overlap. It returns the intents.
func (w *testEnv) checkHeldThroughout(overlap time.Duration) (intents []string) {
	w.T.Helper()
	held := map[string]bool{}
	var both time.Time
	ended := false
	for _, e := range w.Sim.Ledger() {
		if ended && e.Kind == stripesim.EffectAuthorized {
			w.T.Errorf("authorized again at %s, after the end", e.Time)
		}
		switch e.Kind {
		case stripesim.EffectAuthorized:
			held[e.Intent] = true
			intents = append(intents, e.Intent)
			if len(held) == 2 {
				both = e.Time
			}
		default:
			if len(held) == 2 && e.Time.Sub(both) > overlap {
				w.T.Errorf("held twice for %s, want at most %s", e.Time.Sub(both), overlap)
			}
			delete(held, e.Intent)
			ended = len(held) == 0
		}
		if len(held) > 2 {
			w.T.Errorf("held %d times at %s", len(held), e.Time)
		}
		if e.Kind == stripesim.EffectExpired {
			w.T.Errorf("%s expired at %s", e.Intent, e.Time)
		}
	}
	if len(held) > 0 {
		w.T.Errorf("still held at the end: %v", held)
	}
	return intents
}

func TestRenewal_LongStay(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id, _ := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(11 * time.Minute),
			Renewal: &hold.RenewalRequest{Until: envtest.In(12 * time.Minute), MaxAmount: 10_000}})
		time.Sleep(11*time.Minute + time.Second)
		h := w.waitForState(r, id, hold.Captured, time.Minute)
		intents := w.checkHeldThroughout(time.Second)
		if len(intents) < 4 || h.Renewal.Completed != uint32(len(intents)-1) {
			t.Errorf("%d intents, %d renewals", len(intents), h.Renewal.Completed)
		}
		last := intents[len(intents)-1]
		w.CheckEffects(last, "captured 10000 by api")
		if h.PaymentIntent != last || h.CapturedAmount != 10_000 {
			t.Errorf("captured %d of %s, want all of %s", h.CapturedAmount, h.PaymentIntent, last)
		}
		renewed := 0
		for _, e := range w.events(id) {
			switch e.Type {
			case hold.EventRenewed:
				renewed++
			case hold.EventExpiring, hold.EventAttention, hold.EventRetrying:
				t.Errorf("%s because of %s", e.Type, e.Data.Cause)
			}
		}
		if renewed != len(intents)-1 {
			t.Errorf("%d events hold.renewed for %d renewals", renewed, len(intents)-1)
		}
	}, withWindow(4*time.Minute))
}

// TestRenewal_Faults checks that the money stays held once whatever Stripe
// answers to a step.
func TestRenewal_Faults(t *testing.T) {
	for _, class := range []stripesim.EndpointClass{stripesim.ClassCreate, stripesim.ClassConfirm,
		stripesim.ClassCancel, stripesim.ClassRetrieve} {
		for _, kind := range []stripesim.FaultKind{stripesim.FaultDropRequest,
			stripesim.FaultDropReply, stripesim.FaultErrorAfter, stripesim.FaultLockTimeout,
			stripesim.FaultKeyInUse} {
			t.Run(fmt.Sprintf("%s/%s", class, kind), func(t *testing.T) {
				t.Parallel()
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					id, _ := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(5 * time.Minute),
						Renewal: &hold.RenewalRequest{Until: envtest.In(6 * time.Minute)}})
					w.AddStripeFault(stripesim.FaultRule{Class: class, Times: 3,
						Fault: stripesim.Fault{Kind: kind}})
					time.Sleep(5*time.Minute + time.Second)
					w.waitForState(r, id, hold.Captured, time.Minute)
					if n := len(w.checkHeldThroughout(time.Minute)); n != 2 {
						t.Errorf("%d authorizations, want 2", n)
					}
				}, withWindow(4*time.Minute))
			})
		}
	}
}

// TestRenewal_Killed kills the replica at each of its requests and replies
// during a renewal. Another one takes over.
func TestRenewal_Killed(t *testing.T) {
	for crashAt := 1; crashAt <= 16; crashAt++ {
		t.Run(fmt.Sprint(crashAt), func(t *testing.T) {
			t.Parallel()
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id, _ := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(5 * time.Minute),
					Renewal: &hold.RenewalRequest{Until: envtest.In(6 * time.Minute)}})
				r.stopAndWait()
				doomed := &replica{Process: w.NewProcess(), done: make(chan error, 1)}
				doomed.store = doomed.OpenStore(w.store)
				doomed.Engine = w.newCrashingWorker(doomed, crashAt)
				w.OnStop(doomed.stopAndWait)
				ctx, stop := context.WithCancel(w.Ctx)
				doomed.stop = stop
				go func() { doomed.done <- doomed.Engine.Run(ctx) }()
				time.Sleep(130 * time.Second)
				doomed.SimulateSIGKILL()
				doomed.stopAndWait()
				r = w.startReplica()
				time.Sleep(3 * time.Minute)
				w.waitForState(r, id, hold.Captured, time.Minute)
				if n := len(w.checkHeldThroughout(90 * time.Second)); n != 2 {
					t.Errorf("%d authorizations, want 2", n)
				}
			}, withWindow(4*time.Minute))
		})
	}
}

// TestRenewal_Declined checks what a bank's answers lead to.
func TestRenewal_Declined(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome stripesim.CardOutcome
		policy  string
		state   hold.State
		event   hold.EventType
	}{
		{"stolen, released", stripesim.CardOutcome{DeclineCode: "stolen_card"}, "cancel",
			hold.Canceled, hold.EventRequiresAction},
		{"stolen, captured", stripesim.CardOutcome{DeclineCode: "stolen_card"}, "capture",
			hold.Captured, hold.EventRequiresAction},
		{"authentication", stripesim.CardOutcome{Code: "authentication_required"}, "capture",
			hold.Captured, hold.EventRequiresAction},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id, card := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(5 * time.Minute),
					Renewal: &hold.RenewalRequest{Until: envtest.In(6 * time.Minute), OnFailure: tt.policy}})
				if err := w.Sim.Cards.SetCardOutcomes(card, tt.outcome); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5*time.Minute + time.Second)
				h := w.waitForState(r, id, tt.state, time.Minute)
				if n := len(w.checkHeldThroughout(time.Second)); n != 1 {
					t.Errorf("%d authorizations, want 1", n)
				}
				w.told(id, tt.event)
				if h.Renewal.Releasing != "" || h.Renewal.Intent != "" {
					t.Errorf("ended with %+v", h.Renewal)
				}
				for _, in := range w.Sim.Intents("") {
					if in.Status != "succeeded" && in.Status != "canceled" {
						t.Errorf("%s is left %s", in.ID, in.Status)
					}
				}
			}, withWindow(4*time.Minute))
		})
	}
}

// TestRenewal_RequestsMeanwhile captures and cancels a hold at times around its
// renewal.
func TestRenewal_RequestsMeanwhile(t *testing.T) {
	start := 2 * time.Minute
	for _, cancel := range []bool{false, true} {
		for _, fault := range []stripesim.FaultKind{"", stripesim.FaultDropReply} {
			for _, after := range []time.Duration{0, 500 * time.Millisecond, time.Second,
				1500 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
				t.Run(fmt.Sprintf("cancel %v, %q, +%s", cancel, fault, after), func(t *testing.T) {
					t.Parallel()
					runTestEnv(t, func(w *testEnv) {
						r := w.startReplica()
						id, _ := w.longStay(r, hold.ScheduleRequest{
							Renewal: &hold.RenewalRequest{Until: envtest.In(time.Hour)}})
						begun := time.Now()
						if fault != "" {
							w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassConfirm,
								Times: 2, Fault: stripesim.Fault{Kind: fault}})
						}
						time.Sleep(time.Until(begun.Add(start + after)))
						w.actOnHold(r, id, cancel)
						state := hold.Captured
						if cancel {
							state = hold.Canceled
						}
						w.waitForState(r, id, state, 2*time.Minute)
						w.checkHeldThroughout(2 * time.Minute)
					}, withWindow(4*time.Minute))
				})
			}
		}
	}
}

// actOnHold captures or cancels a hold, again while it is being worked on.
func (w *testEnv) actOnHold(r *replica, id string, cancel bool) {
	w.T.Helper()
	for range 100 {
		var err error
		if cancel {
			_, _, err = r.RequestCancel(w.Ctx, id, "", 0, "api")
		} else {
			_, _, err = r.RequestCapture(w.Ctx, id, hold.CaptureRequest{}, 0, "api")
		}
		if err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.T.Fatal("refused for 10 seconds")
}

// TestRenewal_ReleaseFirst checks a card whose credit is too low for two holds:
// with the term the renewal succeeds, and nothing is held for a moment only.
func TestRenewal_ReleaseFirst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		allow bool
		fault stripesim.FaultKind
	}{{"not allowed", false, ""}, {"allowed", true, ""},
		{"lost reply", true, stripesim.FaultDropReply},
		{"lost request", true, stripesim.FaultDropRequest}} {
		t.Run(tt.name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id, card := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(5 * time.Minute),
					Renewal: &hold.RenewalRequest{Until: envtest.In(6 * time.Minute),
						ReleaseFirst: tt.allow, OnFailure: "capture"}})
				if err := w.Sim.Cards.SetCardCredit(card, 15_000); err != nil {
					t.Fatal(err)
				}
				if tt.fault != "" {
					w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassCancel, Times: 1,
						Fault: stripesim.Fault{Kind: tt.fault}})
				}
				time.Sleep(5*time.Minute + time.Second)
				h := w.waitForState(r, id, hold.Captured, time.Minute)
				if renewed := h.PaymentIntent != id; renewed != tt.allow {
					t.Fatalf("renewed %v: %+v", renewed, h.Renewal)
				}
				var released time.Time
				for _, e := range w.Sim.Ledger() {
					switch {
					case e.Intent == id && e.Kind == stripesim.EffectCanceled:
						released = e.Time
					case e.Kind == stripesim.EffectAuthorized && !released.IsZero() &&
						e.Time.Sub(released) > 40*time.Second:
						t.Errorf("nothing was held for %s", e.Time.Sub(released))
					}
				}
				told := 0
				for _, e := range w.events(id) {
					if e.Type == hold.EventRetrying && e.Data.Cause == "unprotected" {
						told++
					}
				}
				if tt.allow != (told == 1) || tt.allow == released.IsZero() {
					t.Errorf("released at %s, told %d times", released, told)
				}
			}, withWindow(4*time.Minute))
		})
	}
}
