package alert_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// More holds are due at once than one capture a second lets through before
// their deadlines. Before the first one expires, an event says how many will
// and over how much money, and that many do.
func TestCapacityAtRisk_ForecastsExpiredHolds(t *testing.T) {
	t.Parallel()
	const n, served = 600, 400 // a hold a second from when they fall due
	runInWorld(t, func(w *world) {
		r := w.startReplica()
		defer r.shutDown()
		due := time.Now().Add(10 * time.Minute)
		var reqs []hold.ScheduleRequest
		amounts := map[string]int64{}
		for i := range n {
			amount := int64(10_000 + i)
			id, err := w.sim.Authorize(stripesim.Hold{Amount: amount, Currency: "eur",
				PaymentMethod: "pm_card_visa"})
			if err != nil {
				t.Fatal(err)
			}
			in, _ := w.sim.Intent(id)
			amounts[id] = amount
			reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: id, Amount: amount,
				Currency: "eur", ExpiresAt: formatTime(in.CaptureBefore),
				CaptureAt: formatTime(due)})
		}
		for _, s := range r.Schedule(w.ctx, reqs, "test") {
			if s.Err != nil {
				t.Fatal(s.Err)
			}
		}
		time.Sleep(25 * time.Minute)
		var warning *event.Envelope
		for _, p := range w.callbacks {
			var e event.Envelope
			if err := json.Unmarshal(p.event, &e); err != nil {
				t.Fatal(err)
			}
			if e.Type == event.CapacityAtRisk {
				if warning != nil {
					t.Errorf("published twice: %+v", e.Data.Capacity)
				}
				warning = &e
			}
		}
		lost, sum := 0, int64(0)
		first := time.Time{}
		for _, e := range w.sim.Ledger() {
			if e.Kind == stripesim.EffectExpired {
				lost, sum = lost+1, sum+amounts[e.Intent]
				if first.IsZero() {
					first = e.Time
				}
			}
		}
		if warning == nil || warning.Data.Capacity == nil || lost == 0 {
			t.Fatalf("warning %v, %d holds expired", warning, lost)
		}
		c := warning.Data.Capacity
		t.Logf("warned %s before: %d holds, %+v; %d expired over %d", first.Sub(warning.Timestamp),
			c.Holds, c.Sums, lost, sum)
		if !warning.Timestamp.Before(first) {
			t.Errorf("warned at %s, and the first hold expired at %s", warning.Timestamp, first)
		}
		// All have the same deadline, with one capture in each second before.
		if c.Holds != n-served || c.Sums[0].Count != c.Holds || c.Sums[0].Currency != "eur" ||
			c.AtLeast || c.FirstAt.Sub(due) != served*time.Second {
			t.Errorf("%+v", c)
		}
		if c.Holds != lost || c.Sums[0].Amount != sum {
			t.Errorf("warned of %d over %d, and %d over %d expired", c.Holds,
				c.Sums[0].Amount, lost, sum)
		}
	}, func(w *world, o *stripesim.Options) {
		w.storeOptions.Rates = store.RateLimitOptions{Write: 1, Read: 25}
		w.workerOptions.WriteRate = 1
		w.pollInterval = 10 * time.Second
		never := "@every 2000h"
		w.workerOptions.Schedules = worker.CronSchedules{Expiry: "@every 5s", Reconcile: never,
			Purge: never, Resume: never, Refresh: never, Inbox: never, Mirror: never, Verify: never}
		began := time.Now()
		o.AuthorizationWindow = func(stripesim.Card) time.Duration {
			return time.Until(began.Add(10*time.Minute + served*time.Second))
		}
	})
}
