package intake_test

import (
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestCaptureAt_TooLateFromEverySource shows that no source schedules a capture
// that would lapse.
func TestCaptureAt_TooLateFromEverySource(t *testing.T) {
	inWorld(t, func(w *world) {
		deadline := func(id string) time.Time {
			in, _ := w.Sim.Intent(id)
			return in.CaptureBefore
		}
		lateRequest := func(id string) hold.ScheduleRequest {
			at := deadline(id).Add(-time.Millisecond).Format(time.RFC3339Nano)
			return hold.ScheduleRequest{PaymentIntent: id, CaptureAt: at}
		}
		api, batch, inbox := w.AuthorizeIntent(), w.AuthorizeIntent(), w.AuthorizeIntent()
		reqs := []hold.ScheduleRequest{lateRequest(api), lateRequest(batch)}
		for _, r := range w.scheduler.Schedule(w.Ctx, reqs, "test") {
			if !isProblem(r.Err, hold.AfterDeadline) {
				t.Errorf("batch: %v", r.Err)
			}
		}
		time.Sleep(time.Second) // of virtual time, for the read budget
		w.putRequest(lateRequest(inbox))
		w.inbox.Run(w.Ctx)
		if !slices.Equal(w.rejected, []string{"inbox after_deadline"}) {
			t.Errorf("rejected %q", w.rejected)
		}
		time.Sleep(time.Second)
		patched := w.schedule(hold.ScheduleRequest{PaymentIntent: w.AuthorizeIntent()}).ID
		late := deadline(patched).Add(-time.Millisecond).Format(time.RFC3339Nano)
		patch := hold.Patch{CaptureAt: &late}
		if _, _, err := w.changer.PatchTerms(w.Ctx, patched, patch, 0, "test"); !isProblem(err,
			hold.AfterDeadline) {
			t.Errorf("patch: %v", err)
		}
		for _, id := range []string{api, batch, inbox} {
			if h := w.hold(id); h != nil {
				t.Errorf("%+v", h)
			}
		}

		time.Sleep(time.Second)
		// Terms in metadata have no caller to refuse, so the hold alerts.
		at := time.Now().Add(7*24*time.Hour - time.Millisecond).Format(time.RFC3339Nano)
		inMetadata := w.AuthorizeIntent(withMetadata(map[string]string{"holdd_capture_at": at}))
		w.applyAll()
		w.refresh()
		if h := w.hold(inMetadata); h == nil || h.State != hold.Attention ||
			h.Reason != hold.CauseAfterDeadline {
			t.Errorf("metadata: %+v", h)
		}

		// So does a hold whose deadline becomes known later.
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		unverified := w.schedule(lateRequest(w.AuthorizeIntent()))
		if unverified.State != hold.Scheduled {
			t.Fatalf("%+v", unverified)
		}
		w.Sim.Faults.ClearFaultRules()
		if err := w.store.RequestRefresh(w.Ctx, unverified.ID, "", false); err != nil {
			t.Fatal(err)
		}
		w.refresh()
		if h := w.hold(unverified.ID); h == nil || h.State != hold.Attention ||
			h.Reason != hold.CauseAfterDeadline {
			t.Errorf("unverified: %+v", h)
		}
	})
}
