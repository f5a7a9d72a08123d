package e2e_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Two releases share one Redis while one is rolled out, rolled back and rolled
// out again under load. The later one has a state and a field that this one does
// not know. Every booking is captured once, and nothing that the later release
// wrote is lost.
func TestReleases_RollUpAndDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	now, next := binaryPath(t, buildRelease), binaryPath(t, buildNext)
	all := w.authorizeBookings(60)
	for i := range all {
		all[i].due = afterNow(time.Duration(2+i/3) * time.Second) // during all of the steps
	}
	for i := range all[:6] {
		all[i].due = afterNow(time.Hour)
	}
	paused, changed := all[:3], all[3:6]

	first := w.startReplica(now, highBudgetSettings...)
	w.scheduleRange(first, all, 6, 40)
	later := w.startReplica(next, highBudgetSettings...)
	w.scheduleRange(later, all, 40, 60)
	w.scheduleRange(later, all, 0, 6)
	for _, b := range paused {
		if _, err := later.client.Pause(t.Context(), b.id, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	w.waitForCaptures(first, 10, processTimeout)
	first.terminate(0)

	back := w.startReplica(now, highBudgetSettings...)
	later.terminate(0)
	for _, b := range paused {
		_, err := back.client.Resume(t.Context(), b.id, 0, false)
		if !errors.Is(err, &api.Problem{Code: hold.RecordUnreadable}) {
			t.Errorf("an unknown state: %v", err)
		}
		_, err = back.client.RepairUnreadableRecord(t.Context(), b.id, api.RepairRequest{})
		if !errors.Is(err, &api.Problem{Code: hold.RecordOfLaterRelease}) {
			t.Errorf("repair of an unknown state: %v", err)
		}
	}
	if n := metricValue(t, back, "holdd_unreadable_records", nil); n != float64(len(paused)) {
		t.Errorf("holdd_unreadable_records is %v", n)
	}
	capture := formatTime(afterNow(2 * time.Hour))
	for _, b := range changed {
		_, err := back.client.Patch(t.Context(), b.id, hold.Patch{CaptureAt: &capture}, 0)
		if err != nil {
			t.Fatal(err)
		}
		record, err := raw.HGet(t.Context(), "holdd:{0}:holds", b.id).Result()
		if err != nil || !strings.Contains(record, "of the next release") {
			t.Errorf("the later field is gone from %q, %v", record, err)
		}
	}
	w.waitForCaptures(back, len(all)-6, 2*processTimeout)

	again := w.startReplica(next, highBudgetSettings...)
	for _, b := range paused {
		if _, err := again.client.Resume(t.Context(), b.id, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range all[:6] {
		_, err := again.client.Capture(t.Context(), all[i].id, hold.CaptureRequest{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		all[i].due = time.Time{} // at once
	}
	w.waitForCaptures(again, len(all), 2*processTimeout)
	storetest.WaitUntil(t, processTimeout, "the older release can read everything", func() bool {
		return metricValue(t, back, "holdd_unreadable_records", nil) == 0
	})
	w.checkCapturedOnce(again, all)
}

// scheduleRange schedules all[from:to] with the references of their numbers.
func (w *world) scheduleRange(r *replica, all []booking, from, to int) {
	w.tb.Helper()
	var reqs []hold.ScheduleRequest
	for i := from; i < to; i++ {
		b := all[i]
		reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: b.id,
			Reference: bookingReference(i), Amount: b.amount, Currency: "eur",
			ExpiresAt: formatTime(b.deadline), CaptureAt: formatTime(b.due)})
	}
	w.scheduleAll(r, reqs)
}

// checkCapturedOnce compares the ledger and the holds as r shows them with the
// bookings.
func (w *world) checkCapturedOnce(r *replica, all []booking) {
	w.tb.Helper()
	captured := map[string]int{}
	for _, e := range w.sim.Ledger() {
		if e.Kind != "" && e.Final {
			captured[e.Intent]++
		}
	}
	shown := w.listByState(r, hold.Captured)
	for i, b := range all {
		v := shown[b.id]
		if captured[b.id] != 1 || v.CapturedAmount != b.amount ||
			v.Reference != bookingReference(i) {
			w.tb.Errorf("booking %d has %d final effects and is shown as %+v", i,
				captured[b.id], v)
		}
	}
}
