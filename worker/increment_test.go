package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// authorizeRaisable places a hold of 10000 that can be raised, due in five minutes.
func (w *testEnv) authorizeRaisable(r *replica) string {
	w.T.Helper()
	id, err := w.Sim.Authorize(stripesim.Hold{Amount: 10_000, Incremental: true})
	if err != nil {
		w.T.Fatal(err)
	}
	w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(5 * time.Minute)})
	return id
}

func (w *testEnv) addIncrementFault(kind stripesim.FaultKind, code string, times int) {
	w.T.Helper()
	if _, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassIncrement,
		Times: times, Fault: stripesim.Fault{Kind: kind, Code: code}}); err != nil {
		w.T.Fatal(err)
	}
}

func TestIncrement(t *testing.T) {
	raise := hold.IncrementRequest{Amount: 15_000, Reason: "one more night"}
	for name, c := range map[string]struct {
		fault   stripesim.FaultKind
		code    hold.ProblemCode
		effects []string
	}{
		"raised":         {"", "", []string{"incremented 5000 by api"}},
		"declined":       {stripesim.FaultDecline, hold.Declined, nil},
		"lost reply":     {stripesim.FaultDropReply, "", []string{"incremented 5000 by api"}},
		"lost request":   {stripesim.FaultDropRequest, "", []string{"incremented 5000 by api"}},
		"false error":    {stripesim.FaultErrorAfter, "", []string{"incremented 5000 by api"}},
		"stored error":   {stripesim.FaultErrorBefore, "", nil},
		"broken body":    {stripesim.FaultBrokenBody, "", []string{"incremented 5000 by api"}},
		"rate limited":   {stripesim.FaultRateLimited, "", []string{"incremented 5000 by api"}},
		"locked":         {stripesim.FaultLockTimeout, "", []string{"incremented 5000 by api"}},
		"key in use":     {stripesim.FaultKeyInUse, "", []string{"incremented 5000 by api"}},
		"not found once": {stripesim.FaultNotFound, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.authorizeRaisable(r)
				switch {
				case c.fault == stripesim.FaultDecline:
					w.addIncrementFault(c.fault, "insufficient_funds", 1)
				case c.fault != "":
					w.addIncrementFault(c.fault, "", 1)
				}
				h, _, err := r.RequestIncrementAndWait(w.Ctx, id, raise, 0, "test")
				var p *hold.Problem
				if errors.As(err, &p) != (c.code != "") || p != nil && p.Code != c.code {
					t.Errorf("%v, want %q", err, c.code)
				}
				if p != nil && p.DeclineCode != "insufficient_funds" {
					t.Errorf("decline code %q", p.DeclineCode)
				}
				if err == nil && c.effects != nil && h.Amount != 15_000 {
					t.Errorf("holds %d, pending %+v", h.Amount, h.Increment)
				}
				if c.effects != nil {
					w.CheckEffects(id, c.effects...)
				}
				time.Sleep(5 * time.Minute)
				settled := w.waitForState(r, id, hold.Captured, time.Minute)
				want := int64(15_000)
				if c.code != "" {
					want = 10_000
				}
				if settled.CapturedAmount != want {
					t.Errorf("captured %d, want %d", settled.CapturedAmount, want)
				}
			})
		})
	}
}

// A second process takes over from one that died after the request left.
func TestIncrement_TakenOver(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a := w.startReplica()
		id := w.authorizeRaisable(a)
		w.Sim.Settings.SetServiceTime(2 * time.Second)
		go func() {
			_, _, _ = a.RequestIncrementAndWait(w.Ctx, id, hold.IncrementRequest{Amount: 15_000}, 0, "test")
		}()
		time.Sleep(time.Second)
		a.SimulateSIGKILL()
		w.Sim.Settings.SetServiceTime(0)
		b := w.startReplica()
		time.Sleep(2 * time.Minute)
		if h := w.mustGet(b, id); h.Amount != 15_000 || h.NextOp != hold.OpCapture {
			t.Errorf("%d, next %s", h.Amount, h.NextOp)
		}
		w.CheckEffects(id, "incremented 5000 by api")
	})
}

// A capture that is due does not wait for an increment that Stripe never
// answers.
func TestIncrement_CaptureDoesNotWait(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id, err := w.Sim.Authorize(stripesim.Hold{Amount: 10_000, Incremental: true})
		if err != nil {
			t.Fatal(err)
		}
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(2 * time.Minute)})
		w.addIncrementFault(stripesim.FaultUnavailable, "", 0)
		h, _, err := r.RequestIncrementAndWait(w.Ctx, id,
			hold.IncrementRequest{Amount: 15_000}, 0, "test")
		if err != nil || h.NextOp != hold.OpIncrement {
			t.Fatalf("next %s, %v", h.NextOp, err)
		}
		w.waitForState(r, id, hold.Captured, 4*time.Minute)
		w.CheckEffects(id, "captured 10000 by api")
	})
}
