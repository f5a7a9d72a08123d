package reconcile_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
)

// settleFalsely records a hold as settled without an effect at Stripe.
func (r *replica) settleFalsely(id string, status hold.PaymentIntentStatus) {
	r.w.T.Helper()
	h := r.hold(id)
	in := &hold.PaymentIntent{ID: id, Status: status, Amount: 10_000, Currency: "eur"}
	if status == hold.StatusSucceeded {
		in.AmountReceived = 10_000
	}
	r.mustCommit(&h, h.ApplyPaymentIntent(in, r.clock.Now()))
}

// placeVerified schedules a verified hold that is captured after a day.
func (r *replica) placeVerified(id string) {
	r.w.T.Helper()
	r.place(hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(24 * time.Hour)},
		r.retrieve(id, ""))
}

func TestReconcile_ContradictedSettlement(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		r.reconcile(false) // the first run of a new Redis
		const held, succeeded, canceled = hold.StatusRequiresCapture, hold.StatusSucceeded,
			hold.StatusCanceled
		cases := []struct {
			recorded, atStripe hold.PaymentIntentStatus
			contradiction      bool
			id                 string
		}{
			{succeeded, held, true, ""}, {canceled, held, true, ""},
			{canceled, succeeded, true, ""}, {succeeded, canceled, true, ""},
			{succeeded, succeeded, false, ""}, {canceled, canceled, false, ""},
		}
		for i := range cases {
			c := &cases[i]
			c.id = w.authorize("")
			r.placeVerified(c.id)
			r.settleFalsely(c.id, c.recorded)
			var err error
			switch c.atStripe {
			case succeeded:
				err = w.Sim.Dashboard().Capture(c.id, 10_000)
			case canceled:
				err = w.Sim.Dashboard().Cancel(c.id, "")
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		want := counts{reconcile.FoundContradiction: 4}
		before := w.dump()
		w.checkCounts(r.reconcile(true), want)
		if !maps.Equal(before, w.dump()) {
			t.Error("the dry run changed Redis")
		}
		run := r.reconcile(false)
		w.checkCounts(run, want)
		if run.Retrieved != 4 {
			t.Errorf("%d contradictions confirmed by a read", run.Retrieved)
		}
		for _, c := range cases {
			h := r.hold(c.id)
			if c.contradiction != (h.State == hold.Attention &&
				h.Reason == hold.CauseContradiction && h.NextOp == 0 && h.SettledAt.IsZero()) {
				t.Errorf("%s, %s at Stripe: %+v", c.recorded, c.atStripe, h)
			}
		}
		if n := w.published(hold.EventAttention); n != 4 {
			t.Errorf("%d events of attention", n)
		}
		for _, f := range run.Findings {
			if !strings.Contains(f.Detail, "but Stripe says") || f.Amount != 10_000 {
				t.Errorf("%+v", f)
			}
		}
		// A later run leaves the held ones to the operator and records how the
		// others ended.
		w.checkCounts(r.reconcile(false), counts{reconcile.FoundCaptured: 1,
			reconcile.FoundCanceled: 1})
		w.CheckEffects(cases[0].id)
		w.CheckEffects(cases[1].id)
	})
}

// The operator's capture of a contradicted hold begins with a read.
func TestReconcile_CaptureAfterContradiction(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize("")
		r.placeVerified(id)
		r.settleFalsely(id, hold.StatusSucceeded)
		time.Sleep(time.Minute)
		r.reconcile(false)
		d, err := r.hold(id).RequestCapture(hold.CaptureRequest{}, "desk", r.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		h := d.Hold
		h.State, h.PreviousState = hold.Working, hold.Scheduled
		h.BeginClaim(r.clock.Now(), false)
		read := h.NextCall(r.clock.Now())
		if read.Op != hold.OpRead {
			t.Fatalf("%+v", read)
		}
		d = h.ApplyAnswer(read, hold.Answer{Kind: hold.AnswerOK, Intent: r.retrieve(id, "")},
			r.clock.Now())
		if next := d.Hold.NextCall(r.clock.Now()); next.Op != hold.OpCapture || !d.NextStepNow {
			t.Errorf("%+v after %+v", next, d)
		}
	})
}

// A hold that settles while a list is under way is newer than the list.
func TestReconcile_SettledAfterListRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		r.reconcile(false)
		id := w.authorize("")
		r.placeVerified(id)
		time.Sleep(time.Minute)
		r.settleFalsely(id, hold.StatusSucceeded)
		w.checkCounts(r.reconcile(false), counts{})
		if h := r.hold(id); h.State != hold.Captured {
			t.Errorf("%+v", h)
		}
	})
}
