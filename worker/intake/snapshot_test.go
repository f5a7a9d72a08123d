package intake_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
)

// scheduleUnread schedules a hold of an intent while Stripe answers no read.
func (w *world) scheduleUnread(req hold.ScheduleRequest) {
	w.T.Helper()
	w.AddFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
		Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
	if h := w.schedule(req); h.Verified {
		w.T.Fatalf("%+v", h)
	}
	w.Sim.ClearFaultRules()
}

func withIncrements(h *stripesim.Hold) { h.Incremental, h.Multicapture = true, true }

func TestApplyStripeEvent_ChargeVerifiesWithoutRead(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		charge := w.takeEvents(id, "charge.succeeded")[0]
		w.scheduleUnread(captureIn(time.Hour, id))
		before := w.countRetrieves()
		if result, err := w.apply(charge); result != intake.EventChanged || err != nil {
			t.Errorf("%q, %v", result, err)
		}
		w.refresh()
		in, _ := w.Sim.Intent(id)
		h := w.hold(id)
		if !h.Verified || h.Amount != 10_000 || h.Currency != "eur" || !h.SingleCapture ||
			h.ExpiresSource != hold.SourceCharge || !h.ExpiresAt.Equal(in.CaptureBefore) {
			t.Errorf("%+v", h)
		}
		unverified, _, err := w.store.Unverified(w.Ctx, 10)
		if len(unverified) != 0 || err != nil || w.countRetrieves() != before {
			t.Errorf("%d unverified, %d reads, %v", len(unverified), w.countRetrieves()-before, err)
		}
		if call := h.NextCall(h.CaptureAt); call.Op != hold.OpCapture {
			t.Errorf("%+v", call)
		}
	})
}

func TestApplyStripeEvent_AgreeingSnapshotNeedsNoRead(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		events := w.takeEvents(id, "charge.succeeded", "payment_intent.amount_capturable_updated")
		h := w.schedule(captureIn(time.Hour, id))
		time.Sleep(10 * time.Minute) // the age of a snapshot that agrees does not matter
		before := w.countRetrieves()
		for _, e := range events {
			if result, err := w.apply(e); result != intake.EventIgnored || err != nil {
				t.Errorf("%s: %q, %v", e.Type, result, err)
			}
		}
		w.refresh()
		if got := w.hold(id); got.Version != h.Version || w.countRetrieves() != before {
			t.Errorf("%d reads, %+v", w.countRetrieves()-before, got)
		}
	})
}

// TestApplyStripeEvent_UncertainSnapshotNeedsRead applies snapshots that are
// older than what is known, or whose order is not certain.
func TestApplyStripeEvent_UncertainSnapshotNeedsRead(t *testing.T) {
	const charge, intent = "charge.succeeded", "payment_intent.amount_capturable_updated"
	for name, c := range map[string]struct {
		request func(id string) hold.ScheduleRequest // nil: captureIn
		after   time.Duration
		change  func(d stripesim.Dashboard, id string) error
		events  []string // in the order of delivery; the last one needs a read
		want    int64    // the amount after the read
	}{
		"delivered late":     {after: 6 * time.Minute, events: []string{charge}, want: 10_000},
		"without a deadline": {events: []string{intent}, want: 10_000},
		"older than what is known": {events: []string{"charge.updated", charge}, want: 15_000,
			change: func(d stripesim.Dashboard, id string) error {
				return d.Increment(id, 15_000)
			}},
		"newer than what is known": {events: []string{charge, "charge.updated"}, want: 15_000,
			change: func(d stripesim.Dashboard, id string) error {
				return d.Increment(id, 15_000)
			}},
		"a part captured elsewhere": {events: []string{"charge.updated"}, want: 7_000,
			change: func(d stripesim.Dashboard, id string) error {
				return d.CapturePart(id, 3_000)
			}},
		"a part of an intent captured elsewhere": {events: []string{charge, intent + " 2"},
			want: 7_000,
			change: func(d stripesim.Dashboard, id string) error {
				return d.CapturePart(id, 3_000)
			}},
		"contradicts the caller": {events: []string{charge}, want: 10_000,
			request: func(id string) hold.ScheduleRequest {
				req := captureIn(time.Hour, id)
				req.Amount, req.Currency = 9_000, "eur"
				return req
			}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				id := w.AuthorizeIntent(withIncrements)
				if c.change != nil {
					if err := c.change(w.Sim.Dashboard(), id); err != nil {
						t.Fatal(err)
					}
				}
				events := map[string]stripesim.Event{}
				for _, e := range w.takeEvents(id) {
					if _, seen := events[e.Type]; seen {
						e.Type += " 2"
					}
					events[e.Type] = e
				}
				request := captureIn(time.Hour, id)
				if c.request != nil {
					request = c.request(id)
				}
				w.scheduleUnread(request)
				time.Sleep(c.after)
				before := w.countRetrieves()
				for i, typ := range c.events {
					h := w.hold(id)
					result, err := w.apply(events[typ])
					last := i == len(c.events)-1
					if err != nil || last != (result == intake.EventQueued) {
						t.Errorf("%s: %q, %v", typ, result, err)
					}
					if got := w.hold(id); last && got.Version != h.Version {
						t.Errorf("%s changed the hold: %+v", typ, got)
					}
				}
				w.refresh()
				if h := w.hold(id); h.Amount != c.want || w.countRetrieves() != before+1 {
					t.Errorf("%d reads, %+v", w.countRetrieves()-before, h)
				}
			})
		})
	}
}
