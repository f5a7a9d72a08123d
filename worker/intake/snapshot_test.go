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
	w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
		Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
	if h := w.schedule(req); h.Verified {
		w.T.Fatalf("%+v", h)
	}
	w.Sim.Faults.ClearFaultRules()
}

func withIncrements(h *stripesim.Hold) { h.Incremental, h.Multicapture = true, true }

// A hold that is not verified takes nothing from an event and is read: the verify
// job may have its answer already, and that is older than the event.
func TestApplyStripeEvent_ReadsUnverifiedHold(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		charge := w.takeEvents(id, "charge.succeeded")[0]
		w.scheduleUnread(captureIn(time.Hour, id))
		before := w.hold(id)
		if result, err := w.apply(charge); result != intake.EventQueued || err != nil {
			t.Errorf("%q, %v", result, err)
		}
		if h := w.hold(id); h.Version != before.Version || h.Verified {
			t.Errorf("%+v", h)
		}
		unverified, _, err := w.store.ListUnverifiedHolds(w.Ctx, 10)
		if len(unverified) != 1 || err != nil {
			t.Errorf("%d unverified, %v", len(unverified), err)
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

// TestApplyStripeEvent_DifferingSnapshotNeedsRead applies snapshots that are
// older or newer than what is known. A read decides which.
func TestApplyStripeEvent_DifferingSnapshotNeedsRead(t *testing.T) {
	const charge, intent = "charge.succeeded", "payment_intent.amount_capturable_updated"
	increment := func(d stripesim.Dashboard, id string) error { return d.Increment(id, 15_000) }
	capturePart := func(d stripesim.Dashboard, id string) error { return d.CapturePart(id, 3_000) }
	for name, c := range map[string]struct {
		change       func(d stripesim.Dashboard, id string) error
		scheduleLast bool // after the change
		event        string
		want         int64 // the amount after the read
	}{
		"older than what is known":   {increment, true, charge, 15_000},
		"newer than what is known":   {increment, false, "charge.updated", 15_000},
		"a part captured elsewhere":  {capturePart, false, "charge.updated", 7_000},
		"a part, seen by the intent": {capturePart, false, intent + " 2", 7_000},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				id := w.AuthorizeIntent(withIncrements)
				if !c.scheduleLast {
					w.schedule(captureIn(time.Hour, id))
				}
				if err := c.change(w.Sim.Dashboard(), id); err != nil {
					t.Fatal(err)
				}
				events := map[string]stripesim.Event{}
				for _, e := range w.takeEvents(id) {
					if _, seen := events[e.Type]; seen {
						e.Type += " 2"
					}
					events[e.Type] = e
				}
				if c.scheduleLast {
					w.schedule(captureIn(time.Hour, id))
				}
				before := w.countRetrieves()
				w.applyAndRefresh(events[c.event])
				if h := w.hold(id); h.Amount != c.want || w.countRetrieves() != before+1 {
					t.Errorf("%d reads, %+v", w.countRetrieves()-before, h)
				}
			})
		})
	}
}
