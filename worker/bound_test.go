package worker_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// The card network has let a charge go, and Stripe still shows the intent as
// capturable, for days.
func TestCapture_AuthorizationExpiredWhileHeld(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		if _, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCapture,
			Fault: stripesim.Fault{Kind: stripesim.FaultErrorBefore, Status: http.StatusBadRequest,
				Code: "capture_charge_authorization_expired"}}); err != nil {
			t.Fatal(err)
		}
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Minute)})
		h := w.waitForState(r, id, hold.Attention, 5*time.Minute)
		time.Sleep(3 * time.Hour)
		captures := int64(0)
		for a, n := range w.Sim.Stats().Calls {
			if a.Class == stripesim.ClassCapture {
				captures += n
			}
		}
		if told := w.Logs.FilterMessage("hold.attention").Len(); h.Reason != hold.CauseRefused ||
			captures != 2 || told != 1 {
			t.Errorf("because of %s, %d captures in three hours, told %d times",
				h.Reason, captures, told)
		}
	}, pollEvery30s)
}
