package worker_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func multicapture(h *stripesim.Hold) { h.Multicapture = true }

// Another system captures a part of 10,000 just before holdd is to capture
// 5,000, and no webhook arrives.
func TestCapture_PartTakenElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name      string
		req       hold.ScheduleRequest
		elsewhere int64
		want      []string
		total     int64
		why       hold.Cause
	}{
		{"what is missing", hold.ScheduleRequest{CaptureAmount: 5_000}, 4_000,
			[]string{"captured 4000 by dashboard", "captured 1000 by api", "released 5000 by api"},
			5_000, hold.CauseSchedule},
		{"what is missing, on the caller's word", hold.ScheduleRequest{CaptureAmount: 5_000,
			Amount: 10_000, Currency: "eur", ExpiresAt: "+"}, 4_000,
			[]string{"captured 4000 by dashboard", "captured 1000 by api", "released 5000 by api"},
			5_000, hold.CauseSchedule},
		{"nothing is missing", hold.ScheduleRequest{CaptureAmount: 5_000}, 6_000,
			[]string{"captured 6000 by dashboard", "released 4000 by api"},
			6_000, hold.CauseElsewhere},
		{"everything", hold.ScheduleRequest{}, 4_000, []string{"captured 4000 by dashboard",
			"captured 6000 by api"}, 10_000, hold.CauseSchedule},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.AuthorizeIntent(multicapture)
				if tt.req.PaymentIntent, tt.req.CaptureAt = id,
					envtest.In(time.Minute); tt.req.ExpiresAt != "" {
					tt.req.ExpiresAt = envtest.In(7 * 24 * time.Hour)
				}
				w.mustSchedule(r, tt.req)
				if err := w.Sim.Dashboard().CapturePart(id, tt.elsewhere); err != nil {
					t.Fatal(err)
				}
				h := w.waitForState(r, id, hold.Captured, 5*time.Minute)
				w.CheckEffects(id, tt.want...)
				if h.CapturedAmount != tt.total || h.Reason != tt.why {
					t.Errorf("%d in all because of %s, want %d, %s", h.CapturedAmount,
						h.Reason, tt.total, tt.why)
				}
				if tt.req.CaptureAmount > 0 && h.CapturedElsewhere != tt.elsewhere {
					t.Errorf("%d elsewhere, want %d", h.CapturedElsewhere, tt.elsewhere)
				}
			}, pollEvery5s)
		})
	}
}

// A charge that can be captured only once costs no read before its capture.
func TestCapture_SingleCaptureNeedsNoRead(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Minute), CaptureAmount: 5_000})
		before := w.Sim.Stats().Calls[stripesim.CallOutcome{Class: stripesim.ClassRetrieve,
			Status: 200}]
		w.waitForState(r, id, hold.Captured, 5*time.Minute)
		if n := w.Sim.Stats().Calls[stripesim.CallOutcome{Class: stripesim.ClassRetrieve,
			Status: 200}] - before; n != 0 {
			t.Errorf("%d reads", n)
		}
	}, pollEvery5s)
}
