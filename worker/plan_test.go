package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// A plan counts each hold once, whatever it waits for: its time, its turn, an
// answer, or its deadline.
func TestPlan_CountsEachHoldOnce(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		schedule := func(req hold.ScheduleRequest, amount int64,
			currency string, ends time.Duration) {
			req.PaymentIntent = w.AuthorizeIntent(func(h *stripesim.Hold) {
				h.Amount,
					h.Currency = amount, currency
			})
			req.Amount, req.Currency, req.ExpiresAt = amount, currency, envtest.In(ends)
			w.mustSchedule(r, req)
		}
		const far = 6 * 24 * time.Hour
		// Twenty are due at once and the budget lets one through now and then;
		// Stripe takes its time for it.
		if _, err := w.Sim.Faults.AddFaultRule(
			stripesim.FaultRule{Fault: stripesim.Fault{ReplyDelay: 5 * time.Second}}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			schedule(hold.ScheduleRequest{CaptureAt: envtest.In(time.Minute)}, 10_000, "eur", far)
		}
		schedule(hold.ScheduleRequest{CaptureAt: envtest.In(3 * time.Hour)}, 20_000, "eur", far)
		schedule(hold.ScheduleRequest{CaptureAt: envtest.In(3 * time.Hour), CaptureAmount: 500},
			9000, "jpy", far)
		schedule(hold.ScheduleRequest{CancelAt: envtest.In(5 * time.Hour)}, 30_000, "eur", far)
		schedule(hold.ScheduleRequest{CancelAt: envtest.In(50 * time.Hour)}, 30_000, "eur", far)
		schedule(hold.ScheduleRequest{}, 40_000, "eur", 11*time.Hour)
		schedule(hold.ScheduleRequest{OnExpiry: "capture"}, 50_000, "eur", 11*time.Hour)
		schedule(hold.ScheduleRequest{OnExpiry: "alert", Reference: "ALERT"},
			60_000, "eur", 12*time.Hour)
		schedule(hold.ScheduleRequest{}, 70_000, "eur", far)
		time.Sleep(time.Minute + 3*time.Second)
		p, err := r.ForecastPlan(w.Ctx, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		// What was captured is gone, what is under work or waits for its turn
		// is in the first hour.
		settled := 0
		for _, e := range w.Sim.Ledger() {
			if e.Kind == stripesim.EffectCaptured {
				settled++ // Stripe has done it, and its answer is on its way: it is under work
			}
		}
		if settled == 0 || settled > 10 {
			t.Fatalf("%d captures: that isn't the mix that this test is about", settled)
		}
		find := func(op string, currency string) (count int, amount int64, hours int) {
			for _, h := range p.Hours {
				sums := h.Capture
				if op == "cancel" {
					sums = h.Cancel
				}
				for _, s := range sums {
					if s.Currency == currency {
						count, amount, hours = count+s.Count, amount+s.Amount, hours+1
					}
				}
			}
			return count, amount, hours
		}
		for _, want := range []struct {
			op, currency string
			count        int
			amount       int64
			hours        int
		}{{"capture", "eur", 22, 20*10_000 + 20_000 + 50_000, 3}, {"capture", "jpy", 1, 500, 1},
			{"cancel", "eur", 2, 70_000, 2}, {"cancel", "jpy", 0, 0, 0}} {
			if count, amount, hours := find(want.op, want.currency); count != want.count ||
				amount != want.amount || hours != want.hours {
				t.Errorf("%s %s: %d holds, %d in %d hours; want %+v", want.op, want.currency,
					count, amount, hours, want)
			}
		}
		var reasons []string
		for _, r := range p.AtRisk {
			reasons = append(reasons, r.Reason)
		}
		if got := strings.Join(reasons, "; "); got != "no time is set: on_expiry will release it; no time is set: on_expiry only alerts" {
			t.Errorf("at risk: %q", got)
		}
		if p.Truncated || !p.Until.Equal(p.From.Add(24*time.Hour)) {
			t.Errorf("%+v", p)
		}
	}, func(w *testEnv, _ *stripesim.Options) {
		w.store.Rates = store.RateLimitOptions{Write: 1, Read: 25, Total: 100}
		w.opts = worker.Options{Rules: w.opts.Rules}
	})
}
