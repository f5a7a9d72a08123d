package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
)

// placeRenewed schedules a hold whose money the given intent of its first
// renewal holds.
func (r *replica) placeRenewed(first, renewed string) {
	r.w.T.Helper()
	r.place(hold.ScheduleRequest{PaymentIntent: first, CaptureAt: envtest.In(24 * time.Hour)}, nil)
	before := r.hold(first)
	h := before
	h.PaymentIntent = renewed
	h.Renewal = &hold.Renewal{Step: hold.RenewalIdle, Generation: 1, Completed: 1,
		RenewalTerms: hold.RenewalTerms{Until: r.clock.Now().Add(time.Hour)}}
	r.mustCommit(&before, hold.Decision{Hold: h})
}

// An intent that names a settled hold and holds money is released only if it is
// certainly one of that hold.
func TestReconcile_LeftBesideSettledHold(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		r.reconcile(false) // the first run of a new Redis
		first := w.authorize("")
		pairs := []string{hold.MetaHold, first, hold.MetaGeneration, "1", hold.MetaReplaces, first}
		second, copied := w.authorize("", pairs...), w.authorize("", pairs...)
		r.placeRenewed(first, second)
		h := r.hold(first)
		in := &hold.PaymentIntent{ID: second, Status: hold.StatusSucceeded, Amount: 10_000,
			AmountReceived: 10_000, Currency: "eur"}
		r.mustCommit(&h, h.ApplyPaymentIntent(in, r.clock.Now()))
		if err := w.Sim.Dashboard().Capture(second, 10_000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)

		want := counts{reconcile.FoundReleased: 1, reconcile.FoundOrphan: 1}
		before := w.dump()
		w.checkCounts(r.reconcile(true), want)
		w.CheckEffects(first)
		if len(before) != len(w.dump()) {
			t.Error("the dry run changed Redis")
		}
		run := r.reconcile(false)
		w.checkCounts(run, want)
		w.CheckEffects(first, "canceled 10000 by api")
		w.CheckEffects(second, "captured 10000 by dashboard")
		w.CheckEffects(copied)
		for _, f := range run.Findings {
			if f.Kind == reconcile.FoundOrphan && (f.PaymentIntent != copied ||
				!strings.Contains(f.Detail, "names hold "+first)) {
				t.Errorf("%+v", f)
			}
		}
		after := r.hold(first)
		last := after.History[len(after.History)-1]
		if after.State != hold.Captured || last.Op != hold.OpRelease || last.Note != first {
			t.Errorf("%s, last entry %+v", after.State, last)
		}
		if n := w.published(hold.EventCaptured); n != 1 {
			t.Errorf("%d events of one capture", n)
		}
		time.Sleep(time.Minute)
		w.checkCounts(r.reconcile(false), counts{reconcile.FoundOrphan: 1})
	})
}

// An intent with copied metadata beside an open hold is reported, and neither
// released nor captured.
func TestReconcile_CopiedMetadata(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		r.reconcile(false)
		first := w.authorize("")
		pairs := []string{hold.MetaHold, first, hold.MetaGeneration, "1", hold.MetaReplaces, first}
		second, copied := w.authorize("", pairs...), w.authorize("", pairs...)
		r.placeRenewed(first, second)
		if err := w.Sim.Dashboard().Cancel(first, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		run := r.reconcile(false)
		w.checkCounts(run, counts{reconcile.FoundOrphan: 1})
		if len(run.Findings) != 1 || run.Findings[0].PaymentIntent != copied {
			t.Errorf("%+v", run.Findings)
		}
		if h := r.hold(first); h.Renewal.Releasing != "" || h.PaymentIntent != second {
			t.Errorf("%+v", h.Renewal)
		}
	})
}
