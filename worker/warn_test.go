package worker_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// ending places a hold whose authorization ends after d.
func (w *testEnv) ending(d time.Duration, f ...func(*stripesim.Hold)) string {
	w.T.Helper()
	id := w.AuthorizeIntent(f...)
	if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(d)); err != nil {
		w.T.Fatal(err)
	}
	return id
}

// events are the published events of a hold, oldest first.
func (w *testEnv) events(id string) (all []event.Envelope) {
	w.T.Helper()
	entries, err := w.Redis.Stream("holdd:{0}:events")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		var ev event.Envelope
		if err := json.Unmarshal([]byte(e.Values[1]), &ev); err != nil {
			w.T.Fatal(err)
		}
		if ev.Data.Hold.ID == id {
			all = append(all, ev)
		}
	}
	return all
}

// warned checks which thresholds hold.expiring was published for, in their
// order, each under an id of its own.
func (w *testEnv) warned(id string, want ...string) {
	w.T.Helper()
	var got []string
	ids := map[string]bool{}
	for _, e := range w.events(id) {
		if ids[e.ID] {
			w.T.Errorf("event %s (%s) was published twice", e.ID, e.Type)
		}
		ids[e.ID] = true
		if e.Type == hold.EventExpiring {
			got = append(got, e.Data.Threshold)
		}
	}
	if !slices.Equal(got, want) {
		w.T.Fatalf("%s was warned of at %q, want %q", id, got, want)
	}
}

func TestExpiring_HoldArrivesInsideAThreshold(t *testing.T) {
	skipIfShort(t)
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.ending(5 * time.Hour)
		req := hold.ScheduleRequest{PaymentIntent: id, OnExpiry: "alert"}
		w.mustSchedule(r, req)
		time.Sleep(10 * time.Second)
		w.warned(id, "6h0m0s")
		w.mustSchedule(r, req) // the same request again is no news
		if _, _, err := r.PauseHold(w.Ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.ResumeHold(w.Ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.warned(id, "6h0m0s")
		time.Sleep(4 * time.Hour)
		w.warned(id, "6h0m0s", "1h0m0s")

		timed := w.ending(5 * time.Hour)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: timed,
			CaptureAt: envtest.In(3 * time.Hour)})
		far := w.ending(100 * time.Hour)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: far})
		time.Sleep(10 * time.Second)
		w.warned(timed, "6h0m0s") // as at any threshold, whatever its own time
		w.warned(far)
	}, pollEvery30s, func(w *testEnv, _ *stripesim.Options) {
		w.opts.Schedules.Expiry = "@every 5s"
	})
}

func TestExpiring_AcknowledgedAtOnceIsNotWarned(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.ending(30 * time.Hour)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: "alert"})
		if _, _, err := r.AcknowledgeWarnings(w.Ctx, id, 0, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(5*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.reconcileAndWait(r, false)
		if h := w.mustGet(r, id); h.ExpiresAt.After(time.Now().Add(6 * time.Hour)) {
			t.Fatal("the deadline was not pulled in")
		}
		time.Sleep(time.Minute)
		w.warned(id)
	}, pollEvery5s)
}

func TestExpiring_DeadlinePulledIn(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.ending(100 * time.Hour)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: "alert"})
		move := func(d time.Duration) {
			t.Helper()
			time.Sleep(5 * time.Minute) // a list says nothing of a hold that has just changed
			if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
			w.reconcileAndWait(r, false)
			time.Sleep(2 * time.Second)
		}
		time.Sleep(2 * time.Second)
		w.warned(id)
		move(5 * time.Hour)
		w.warned(id, "6h0m0s")
		move(4 * time.Hour) // inside the same threshold: told already
		w.warned(id, "6h0m0s")
		move(50 * time.Minute)
		w.warned(id, "6h0m0s", "1h0m0s")
	})
}

func TestExpiring_DeadlineLearnedAfterTheRequest(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.ending(5 * time.Hour)
		down, err := w.Sim.Faults.AddFaultRule(
			stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultUnavailable}})
		if err != nil {
			t.Fatal(err)
		}
		if h := w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			OnExpiry: "alert"}); h.Verified {
			t.Fatal("the deadline is known")
		}
		time.Sleep(2 * time.Second)
		w.warned(id)
		w.Sim.Faults.RemoveFaultRule(down)
		time.Sleep(time.Minute)
		w.warned(id, "6h0m0s")
	})
}

// A threshold that the job was late with is told by the new deadline, and one
// that was told is not told again.
func TestExpiring_DeadlineMovedBeforeWarning(t *testing.T) {
	skipIfShort(t)
	for _, late := range []bool{true, false} {
		runTestEnv(t, func(w *testEnv) {
			r := w.startReplica()
			id := w.ending(6*time.Hour + 40*time.Minute)
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: "alert"})
			time.Sleep(35 * time.Minute)
			want := []string{"24h0m0s"}
			w.warned(id, want...)
			if late {
				r.stopAndWait()
			}
			time.Sleep(15 * time.Minute) // 5 h 50 min are left
			if !late {
				want = append(want, "6h0m0s")
			}
			w.warned(id, want...)
			if late {
				r = w.startReplica()
			}
			if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(5*time.Hour)); err != nil {
				t.Fatal(err)
			}
			w.reconcileAndWait(r, false)
			time.Sleep(11 * time.Minute)
			w.warned(id, "24h0m0s", "6h0m0s")
		}, pollEvery30s, func(w *testEnv, _ *stripesim.Options) {
			w.opts.Schedules.Expiry = "@every 10m"
		})
	}
}

func TestExpiring_FoundInMetadata(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.ending(5*time.Hour, func(h *stripesim.Hold) {
			h.Metadata = map[string]string{hold.MetaWaiting: "true", hold.MetaOnExpiry: "alert"}
		})
		w.reconcileAndWait(r, false)
		w.waitForState(r, id, hold.Waiting, 20*time.Second)
		time.Sleep(2 * time.Second)
		w.warned(id, "6h0m0s")
		w.reconcileAndWait(r, false)
		time.Sleep(time.Minute)
		w.warned(id, "6h0m0s")
	})
}

func TestConfirm_ScheduledInsideTheMargin(t *testing.T) {
	for policy, want := range map[string]struct {
		code   hold.ProblemCode
		state  hold.State
		effect string
	}{
		"":        {hold.WouldCancelNow, hold.Canceled, "canceled 10000 by api"},
		"cancel":  {hold.WouldCancelNow, hold.Canceled, "canceled 10000 by api"},
		"capture": {hold.WouldCaptureNow, hold.Captured, "captured 10000 by api"},
	} {
		t.Run(policy, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.ending(50 * time.Minute)
				req := hold.ScheduleRequest{PaymentIntent: id, OnExpiry: policy}
				got := r.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]
				var p *hold.Problem
				if !errors.As(got.Err, &p) || p.Code != want.code ||
					p.Field != "confirm" || p.Deadline.IsZero() {
					t.Fatalf("%+v", got)
				}
				time.Sleep(10 * time.Second)
				w.CheckEffects(id)
				req.Confirm = true
				if h := w.mustSchedule(r, req); h.Reason != hold.CauseOnExpiry || h.NextOp == 0 {
					t.Errorf("the answer says %s, next %s", h.State, h.NextOp)
				}
				req.Confirm = false
				w.mustSchedule(r, req) // the same request again is accepted, confirmed or not
				w.waitForState(r, id, want.state, 5*time.Second)
				w.CheckEffects(id, want.effect)
			})
		})
	}
}

func TestConfirm_NotAskedWithoutAnImmediateEffect(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		for name, req := range map[string]hold.ScheduleRequest{
			"only an alert":               {OnExpiry: "alert"},
			"its own time before the end": {CaptureAt: envtest.In(45 * time.Minute)},
			"a release before the end": {CancelAt: envtest.In(45 * time.Minute),
				OnExpiry: "capture"},
			"a time that the caller set now": {CaptureAt: envtest.In(0)},
		} {
			req.PaymentIntent = w.ending(50 * time.Minute)
			if got := r.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]; got.Err != nil {
				t.Errorf("%s: %v", name, got.Err)
			}
		}
		id := w.ending(61 * time.Minute)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id})
	})
}

func TestConfirm_EachOfABatchByItself(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		near, far, sure := w.ending(50*time.Minute), w.ending(50*time.Hour),
			w.ending(50*time.Minute)
		got := r.Schedule(w.Ctx, []hold.ScheduleRequest{{PaymentIntent: near}, {PaymentIntent: far},
			{PaymentIntent: sure, Confirm: true}}, "test")
		if !errors.Is(got[0].Err, &hold.Problem{Code: hold.WouldCancelNow}) ||
			got[1].Err != nil || got[2].Err != nil {
			t.Errorf("%+v", got)
		}
		w.waitForState(r, sure, hold.Canceled, 10*time.Second)
		w.CheckEffects(near)
	})
}

func TestConfirm_ChangesInsideTheMargin(t *testing.T) {
	skipIfShort(t)
	none, policy := "", "capture"
	for name, c := range map[string]struct {
		req    hold.ScheduleRequest
		before func(r *replica, w *testEnv, id string)
		do     func(r *replica, w *testEnv, id string, confirm bool) error
		code   hold.ProblemCode
		state  hold.State
	}{
		"time cleared": {hold.ScheduleRequest{CaptureAt: "later"}, nil, func(r *replica, w *testEnv,
			id string, confirm bool) error {
			_, _, err := r.PatchTerms(w.Ctx, id, hold.Patch{CaptureAt: &none, Confirm: confirm}, 0,
				"test")
			return err
		}, hold.WouldCancelNow, hold.Canceled},
		"policy changed": {hold.ScheduleRequest{OnExpiry: "alert"}, nil,
			func(r *replica, w *testEnv, id string, confirm bool) error {
				_, _, err := r.PatchTerms(w.Ctx, id, hold.Patch{OnExpiry: &policy, Confirm: confirm}, 0,
					"test")
				return err
			}, hold.WouldCaptureNow, hold.Captured},
		"paused": {hold.ScheduleRequest{CaptureAt: "later"}, nil, func(r *replica, w *testEnv,
			id string, confirm bool) error {
			_, _, err := r.PauseHold(w.Ctx, id, 0, confirm, "test")
			return err
		}, hold.WouldCancelNow, hold.Canceled},
		"resumed": {hold.ScheduleRequest{OnExpiry: "capture"},
			func(r *replica, w *testEnv, id string) {
				if _, _, err := r.PauseHold(w.Ctx, id, 0, true, "test"); err != nil {
					w.T.Fatal(err)
				}
			}, func(r *replica, w *testEnv, id string, confirm bool) error {
				_, _, err := r.ResumeHold(w.Ctx, id, 0, confirm, "test")
				return err
			}, hold.WouldCaptureNow, hold.Captured},
	} {
		t.Run(name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.ending(61 * time.Minute)
				req := c.req
				req.PaymentIntent = id
				if req.CaptureAt != "" {
					req.CaptureAt = envtest.In(50 * time.Minute)
				}
				w.mustSchedule(r, req)
				if c.before != nil {
					c.before(r, w, id)
				}
				time.Sleep(10 * time.Minute)
				if err := c.do(r, w, id, false); !errors.Is(err, &hold.Problem{Code: c.code}) {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				w.CheckEffects(id)
				if err := c.do(r, w, id, true); err != nil {
					t.Fatal(err)
				}
				w.waitForState(r, id, c.state, 5*time.Second)
			})
		})
	}
}

func TestConfirm_Inbox(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		time.Sleep(5 * time.Second)
		asked, sure := w.ending(50*time.Minute), w.ending(50*time.Minute)
		w.addInboxEntry(`{"payment_intent":"` + asked + `"}`)
		w.addInboxEntry(`{"payment_intent":"` + sure + `","confirm":true}`)
		w.waitForHold(r, sure, hold.Canceled, 10*time.Second)
		w.CheckEffects(asked)
		rejected := w.streamEntries("holdd:inbox:rejected")
		if len(rejected) != 1 || !strings.Contains(rejected[0], "|code|would_cancel_now|") ||
			!strings.Contains(rejected[0], asked) || !strings.Contains(rejected[0],
			`send "confirm": true`) {
			t.Errorf("%q", rejected)
		}
	}, enableInbox)
}

// A card is authorized before its deadline is known, and money that is held has
// a hold.
func TestHandOver_AuthorizedInsideTheMargin(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		req := newAuthorizeRequest(0)
		req.CaptureAt = ""
		a, err := r.Authorize(w.Ctx, callerKey, req, "api")
		if err != nil || a.Hold == nil || a.Hold.State != hold.Attention ||
			a.Hold.Reason != hold.CauseInsideMargin {
			t.Fatalf("%+v %v", a.Hold, err)
		}
		time.Sleep(time.Minute)
		w.CheckEffects(a.PaymentIntent)
	}, func(w *testEnv, _ *stripesim.Options) { w.opts.Rules.ExpiryMargin = 8 * 24 * time.Hour })
}

// Without a caller to ask, a hold that comes when its policy's time is over
// requires attention, and the policy does not act.
func TestHandOver_FoundInMetadata(t *testing.T) {
	for _, policy := range []string{"cancel", "capture"} {
		runTestEnv(t, func(w *testEnv) {
			r := w.startReplica()
			id := w.ending(50*time.Minute, func(h *stripesim.Hold) {
				h.Metadata = map[string]string{hold.MetaWaiting: "true", hold.MetaOnExpiry: policy}
			})
			run := w.reconcileAndWait(r, false)
			if h := w.mustGet(r, id); h.State != hold.Attention ||
				h.Reason != hold.CauseInsideMargin {
				t.Fatalf("%s %s", h.State, h.Reason)
			}
			checkFindingCounts(t, run, map[reconcile.FindingKind]int64{reconcile.FoundAttention: 1})
			time.Sleep(10 * time.Minute)
			w.CheckEffects(id)
			w.told(id, hold.EventAttention)
			if _, _, err := r.RequestCapture(w.Ctx, id, hold.CaptureRequest{}, 0, "test"); err != nil {
				t.Fatal(err)
			}
			w.waitForState(r, id, hold.Captured, 5*time.Second)
		})
	}
}

func TestHandOver_DeadlineLearnedInsideTheMargin(t *testing.T) {
	for _, policy := range []string{"cancel", "capture"} {
		runTestEnv(t, func(w *testEnv) {
			r := w.startReplica()
			id := w.ending(50 * time.Minute)
			down, err := w.Sim.Faults.AddFaultRule(
				stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultUnavailable}})
			if err != nil {
				t.Fatal(err)
			}
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: policy})
			w.Sim.Faults.RemoveFaultRule(down)
			h := w.waitForState(r, id, hold.Attention, time.Minute)
			if h.Reason != hold.CauseInsideMargin || !h.Verified {
				t.Fatalf("%s, verified %v", h.Reason, h.Verified)
			}
			time.Sleep(10 * time.Minute)
			w.CheckEffects(id)
			w.told(id, hold.EventAttention)
			w.warned(id, "1h0m0s")
		})
	}
}

// told checks that one event of a type was published.
func (w *testEnv) told(id string, want hold.EventType) {
	w.T.Helper()
	n := 0
	for _, e := range w.events(id) {
		if e.Type == want {
			n++
		}
	}
	if n != 1 {
		w.T.Errorf("%d events %s, want one", n, want)
	}
}
