package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// scheduleStages places a hold of 10000 with captures of 4500 and 3000.
func (w *testEnv) scheduleStages(r *replica) string {
	w.T.Helper()
	id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Multicapture = true })
	w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, Captures: []hold.CaptureStageRequest{
		{At: envtest.In(5 * time.Minute), Amount: 4500},
		{At: envtest.In(10 * time.Minute), Amount: 3000}}})
	return id
}

var stagedEffects = []string{"captured 4500 by api", "captured 3000 by api", "released 2500 by api"}

// Each stage is captured once, whatever becomes of its first request.
func TestStaged_Faults(t *testing.T) {
	for name, fault := range map[string]stripesim.FaultKind{
		"none":         "",
		"lost reply":   stripesim.FaultDropReply,
		"lost request": stripesim.FaultDropRequest,
		"false error":  stripesim.FaultErrorAfter,
		"stored error": stripesim.FaultErrorBefore,
		"broken body":  stripesim.FaultBrokenBody,
		"rate limited": stripesim.FaultRateLimited,
		"locked":       stripesim.FaultLockTimeout,
		"key in use":   stripesim.FaultKeyInUse,
		"not found":    stripesim.FaultNotFound,
		"unavailable":  stripesim.FaultUnavailable,
	} {
		t.Run(name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.scheduleStages(r)
				if fault != "" {
					w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassCapture, Times: 1,
						Fault: stripesim.Fault{Kind: fault}})
				}
				time.Sleep(8 * time.Minute)
				h := w.mustGet(r, id)
				if hold.CapturedSoFar(&h) != 4500 || h.Amount != 5500 || h.CapturedElsewhere != 0 {
					t.Errorf("%d captured, %d elsewhere, %d held", hold.CapturedSoFar(&h),
						h.CapturedElsewhere, h.Amount)
				}
				w.CheckEffects(id, stagedEffects[0])
				h = w.waitForState(r, id, hold.Captured, 5*time.Minute)
				if h.CapturedAmount != 7500 || h.Reason != hold.CauseSchedule {
					t.Errorf("%d captured (%s)", h.CapturedAmount, h.Reason)
				}
				w.CheckEffects(id, stagedEffects...)
			})
		})
	}
}

// A second process takes over from one that died after the request left.
func TestStaged_TakenOver(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a := w.startReplica()
		id := w.scheduleStages(a)
		w.Sim.Settings.SetServiceTime(2 * time.Second)
		time.Sleep(5*time.Minute + time.Second)
		a.SimulateSIGKILL()
		w.CheckEffects(id, stagedEffects[0])
		w.Sim.Settings.SetServiceTime(0)
		b := w.startReplica()
		time.Sleep(2 * time.Minute)
		h := w.mustGet(b, id)
		if hold.CapturedSoFar(&h) != 4500 || h.State != hold.Scheduled {
			t.Errorf("%s, %d captured", h.State, hold.CapturedSoFar(&h))
		}
		w.waitForState(b, id, hold.Captured, 10*time.Minute)
		w.CheckEffects(id, stagedEffects...)
	})
}

// A request with the key of an earlier one captures nothing more.
func TestStaged_RequestedParts(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Multicapture = true })
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAmount: 8000,
			CaptureAt: envtest.In(time.Hour)})
		final := false
		part := hold.CaptureRequest{Amount: 3000, Final: &final, RequestKey: "shipment-1"}
		for range 2 {
			if _, _, err := r.RequestCapture(w.Ctx, id, part, 0, "test"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		w.CheckEffects(id, "captured 3000 by api")
		w.waitForState(r, id, hold.Captured, 2*time.Hour)
		w.CheckEffects(id, "captured 3000 by api", "captured 5000 by api", "released 2000 by api")
	})
}

func TestStaged_WithoutMulticapture(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		got := r.Schedule(w.Ctx, []hold.ScheduleRequest{{PaymentIntent: id,
			Captures: []hold.CaptureStageRequest{{At: envtest.In(time.Minute), Amount: 1},
				{At: envtest.In(2 * time.Minute), Amount: 1}}}}, "test")
		if !errors.Is(got[0].Err, &hold.Problem{Code: hold.MulticaptureUnavailable}) {
			t.Errorf("%v", got[0].Err)
		}
	})
}

// A tip is captured above the amount, up to what the charge allows.
func TestOvercapture(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Overcapture = true })
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAmount: 11_500,
			CaptureAt: envtest.In(time.Minute)})
		h := w.waitForState(r, id, hold.Captured, 5*time.Minute)
		if h.CapturedAmount != 11_500 || h.Reason != hold.CauseSchedule {
			t.Errorf("%d captured (%s)", h.CapturedAmount, h.Reason)
		}
		w.CheckEffects(id, "overcaptured 1500 by api", "captured 11500 by api")
	})
}
