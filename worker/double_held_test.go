package worker_test

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// overlapObserver records for how long holds were held twice.
type overlapObserver struct {
	mu      sync.Mutex
	lengths []time.Duration
}

func (*overlapObserver) CallFinished(hold.Op, hold.AnswerKind, time.Duration)    {}
func (*overlapObserver) EventRecorded(*hold.Hold, hold.Event, time.Duration)     {}
func (*overlapObserver) HoldCountsReported(hold.HoldCounts, int, time.Time)      {}
func (*overlapObserver) ReconcileFinished(reconcile.Reconciliation)              {}
func (*overlapObserver) InboxOrMetadataRequestRejected(string, hold.ProblemCode) {}
func (*overlapObserver) CapacityRiskComputed(event.CapacityRisk)                 {}
func (*overlapObserver) ReadinessChecked([]health.ReadinessCheckResult)          {}
func (o *overlapObserver) OverlapEnded(length time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lengths = append(o.lengths, length)
}

func (o *overlapObserver) all() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.lengths)
}

// doubleHeldEvents are the published events about overlaps, oldest first.
func (w *testEnv) doubleHeldEvents() (all []event.Envelope) {
	w.T.Helper()
	entries, err := w.Redis.Stream("holdd:{0}:events")
	if err != nil {
		w.T.Fatal(err)
	}
	for _, e := range entries {
		var ev event.Envelope
		if err := json.Unmarshal([]byte(e.Values[1]), &ev); err != nil {
			w.T.Fatal(err)
		}
		switch ev.Type {
		case event.DoubleHeld, event.DoubleHeldLong, event.DoubleHeldReleased:
			all = append(all, ev)
		}
	}
	return all
}

// While Stripe does not cancel the old authorization, the amount is held twice.
// The operator is told after a minute, again after ten, and of the end.
func TestDoubleHeld_ToldUntilReleased(t *testing.T) {
	seen := &overlapObserver{}
	runTestEnv(t, func(w *testEnv) {
		w.opts.Observer = seen
		r := w.startReplica()
		id, _ := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(100 * time.Minute),
			Renewal: &hold.RenewalRequest{Until: envtest.In(100 * time.Minute)}})
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassCancel,
			Fault: stripesim.Fault{Kind: stripesim.FaultKeyInUse}})
		if d, err := r.DoubleHeld.ReadTotals(w.Ctx); err != nil || d.Holds != 0 || d.Longest != 0 {
			t.Errorf("before the renewal: %+v, %v", d, err)
		}
		var since time.Time
		for ok := false; !ok; time.Sleep(time.Second) {
			h := w.mustGet(r, id)
			since, ok = h.Renewal.OverlapSince()
		}
		time.Sleep(time.Until(since.Add(50 * time.Second)))
		if all := w.doubleHeldEvents(); len(all) != 0 {
			t.Errorf("told after 50 s: %+v", all)
		}
		d, err := r.DoubleHeld.ReadTotals(w.Ctx)
		if err != nil || d.Holds != 1 || d.LongestHold != id || d.AtLeast ||
			!slices.Equal(d.Sums, []hold.Sum{{Currency: "eur", Count: 1, Amount: 10_000}}) ||
			d.Longest < 49*time.Second || d.Longest > 51*time.Second {
			t.Errorf("held twice for 50 s: %+v, %v", d, err)
		}
		time.Sleep(time.Until(since.Add(9 * time.Minute)))
		w.expectDoubleHeld(since, event.DoubleHeld)
		time.Sleep(time.Until(since.Add(12 * time.Minute)))
		w.expectDoubleHeld(since, event.DoubleHeld, event.DoubleHeldLong)
		if lengths := seen.all(); len(lengths) != 0 {
			t.Errorf("ended after %s, and it has not ended", lengths)
		}
		w.Sim.Faults.ClearFaultRules()
		time.Sleep(7 * time.Minute)
		w.expectDoubleHeld(since, event.DoubleHeld, event.DoubleHeldLong, event.DoubleHeldReleased)
		if d, err := r.DoubleHeld.ReadTotals(w.Ctx); err != nil || d.Holds != 0 || d.Longest != 0 {
			t.Errorf("after the release: %+v, %v", d, err)
		}
		if lengths := seen.all(); len(lengths) != 1 || lengths[0] < 12*time.Minute ||
			lengths[0] > 20*time.Minute {
			t.Errorf("lengths of overlaps: %s, want one between 12 and 20 minutes", lengths)
		}
	}, withWindow(40*time.Minute))
}

// expectDoubleHeld checks which events were published, the first two within
// half a minute of their times.
func (w *testEnv) expectDoubleHeld(since time.Time, want ...hold.EventType) {
	w.T.Helper()
	after := []time.Duration{time.Minute, 10 * time.Minute}
	var got []hold.EventType
	for i, e := range w.doubleHeldEvents() {
		got = append(got, e.Type)
		if i < len(after) {
			late := e.Timestamp.Sub(since.Add(after[i]))
			if late < 0 || late > 30*time.Second {
				w.T.Errorf("%s came %s after its time", e.Type, late)
			}
		}
	}
	if !slices.Equal(got, want) {
		w.T.Errorf("events %q, want %q", got, want)
	}
}
