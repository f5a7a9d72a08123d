package query_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// formatHours writes the hours of a plan as "+1h capture 2 eur 15000".
func formatHours(p *query.Plan) (out []string) {
	for _, h := range p.Hours {
		hour := h.Start.Sub(p.From.Truncate(time.Hour)) / time.Hour
		for op, sums := range map[string][]hold.Sum{"capture": h.Capture, "cancel": h.Cancel} {
			for _, s := range sums {
				out = append(out, fmt.Sprintf("+%dh %s %d %s %d",
					hour, op, s.Count, s.Currency, s.Amount))
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestPlanner_Plan_Hours(t *testing.T) {
	inWorld(t, func(w *world) {
		w.schedule(
			hold.ScheduleRequest{PaymentIntent: id(1), CaptureAt: w.in(90 * time.Minute)},
			hold.ScheduleRequest{PaymentIntent: id(2), CaptureAt: w.in(100 * time.Minute),
				CaptureAmount: 5000},
			hold.ScheduleRequest{PaymentIntent: id(3), CaptureAt: w.in(100 * time.Minute),
				Amount: 700, Currency: "jpy"},
			hold.ScheduleRequest{PaymentIntent: id(4), CancelAt: w.in(3 * time.Hour)},
			hold.ScheduleRequest{PaymentIntent: id(5), CaptureAt: w.in(25 * time.Hour)},
			hold.ScheduleRequest{PaymentIntent: id(6)}, // waits beyond the plan
			hold.ScheduleRequest{PaymentIntent: id(7), ExpiresAt: w.in(6 * time.Hour)},
			hold.ScheduleRequest{PaymentIntent: id(8), ExpiresAt: w.in(7 * time.Hour),
				OnExpiry: "capture"},
			hold.ScheduleRequest{PaymentIntent: id(9), CaptureAt: w.in(2 * time.Hour)},
			// in two sets that the plan reads
			hold.ScheduleRequest{PaymentIntent: id(10), CaptureAt: w.in(8 * time.Hour),
				ExpiresAt: w.in(12 * time.Hour)},
		)
		w.change(id(9), pause)
		p, err := w.planner.ForecastPlan(w.ctx, 24*time.Hour)
		want := []string{"+1h capture 1 jpy 700", "+1h capture 2 eur 15000",
			"+3h cancel 1 eur 10000", "+5h cancel 1 eur 10000", "+6h capture 1 eur 10000",
			"+8h capture 1 eur 10000"}
		if got := formatHours(&p); err != nil || !slices.Equal(got, want) {
			w.t.Errorf("%v\n got %q\nwant %q", err, got, want)
		}
		if !p.Until.Equal(p.From.Add(24*time.Hour)) || p.Truncated {
			w.t.Errorf("%+v", p)
		}
	})
}

func TestPlanner_Plan_AtRisk(t *testing.T) {
	inWorld(t, func(w *world) {
		day := 24 * time.Hour
		w.schedule(
			hold.ScheduleRequest{PaymentIntent: id(1), ExpiresAt: w.in(20 * time.Hour)},
			hold.ScheduleRequest{PaymentIntent: id(2), ExpiresAt: w.in(10 * time.Hour),
				OnExpiry: "alert"},
			hold.ScheduleRequest{PaymentIntent: id(3), ExpiresAt: w.in(5 * time.Hour),
				CaptureAt: w.in(time.Hour)},
			hold.ScheduleRequest{PaymentIntent: id(4), ExpiresAt: w.in(6 * time.Hour),
				CaptureAt: w.in(time.Hour)}, // in order
			hold.ScheduleRequest{PaymentIntent: id(5), ExpiresAt: w.in(2 * day)}, // later
			hold.ScheduleRequest{PaymentIntent: id(6), ExpiresAt: w.in(12 * time.Hour)},
		)
		w.change(id(3), pause)
		w.change(id(6), func(h hold.Hold, now time.Time) hold.Decision {
			return h.ApplyIntentNotFound(now)
		})
		p, err := w.planner.ForecastPlan(w.ctx, day)
		var got []string
		for _, r := range p.AtRisk {
			got = append(got, r.Hold.ID+" "+r.Reason)
		}
		want := []string{id(3) + " paused", id(2) + " no time is set: on_expiry only alerts",
			id(6) + " needs attention: ", id(1) + " no time is set: on_expiry will release it"}
		if err != nil || !slices.EqualFunc(got, want, strings.HasPrefix) {
			w.t.Errorf("%v\n got %q\nwant %q", err, got, want)
		}
	})
}

func TestPlanner_Plan_AtRisk_Renewal(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		captureAfter time.Duration // zero: no time
		change       func(r *hold.Renewal)
		want         string
	}{
		"before its first renewal":   {10 * day, func(*hold.Renewal) {}, ""},
		"without a time":             {0, func(*hold.Renewal) {}, ""},
		"the new intent is placed":   {10 * day, func(r *hold.Renewal) { r.Step = hold.RenewalConfirm }, ""},
		"one renewal is enough":      {10 * day, func(r *hold.Renewal) { r.MaxRenewals = 1 }, ""},
		"failed":                     {10 * day, func(r *hold.Renewal) { r.Step = hold.RenewalFailed }, "the time"},
		"failed, without a time":     {0, func(r *hold.Renewal) { r.Step = hold.RenewalFailed }, "no time"},
		"waits for the cardholder":   {10 * day, func(r *hold.Renewal) { r.Step = hold.RenewalRequiresAction }, "the time"},
		"no renewal is left":         {10 * day, func(r *hold.Renewal) { r.Completed = r.MaxRenewals }, "the time"},
		"too few renewals are left":  {25 * day, func(r *hold.Renewal) { r.MaxRenewals = 1 }, "the time"},
		"more is held than max":      {10 * day, func(r *hold.Renewal) { r.MaxAmount = 1 }, "the time"},
		"the terms end before it":    {10 * day, func(r *hold.Renewal) { r.Until = r.Until.Add(-25 * day) }, "the time"},
		"failed, captured before it": {day, func(r *hold.Renewal) { r.Step = hold.RenewalFailed }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				req := hold.ScheduleRequest{PaymentIntent: id(1), ExpiresAt: w.in(6 * day),
					Renewal: &hold.RenewalRequest{Until: w.in(30 * day)}}
				if tt.captureAfter > 0 {
					req.CaptureAt = w.in(tt.captureAfter)
				}
				w.schedule(req)
				w.change(id(1), func(h hold.Hold, now time.Time) hold.Decision {
					r := *h.Renewal
					r.AuthorizedAt = h.ExpiresAt.Add(-7 * day)
					r.Customer, r.PaymentMethod = "cus_1", "pm_1"
					tt.change(&r)
					h.Renewal = &r
					return hold.Decision{Hold: h, NewDeadline: true}
				})
				p, err := w.planner.ForecastPlan(w.ctx, 7*day)
				if err != nil || len(p.AtRisk) > 1 {
					w.t.Fatal(err, p.AtRisk)
				}
				got := ""
				if len(p.AtRisk) > 0 {
					got = p.AtRisk[0].Reason
				}
				if !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
					w.t.Errorf("at risk: %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestPlanner_Plan_TruncatesRisks(t *testing.T) {
	inWorld(t, func(w *world) {
		reqs := make([]hold.ScheduleRequest, 101)
		for i := range reqs {
			reqs[i] = hold.ScheduleRequest{PaymentIntent: id(i), OnExpiry: "alert",
				ExpiresAt: w.in(5*time.Hour + time.Duration(i)*time.Second)}
		}
		w.schedule(reqs...)
		p, err := w.planner.ForecastPlan(w.ctx, 24*time.Hour)
		if err != nil || !p.Truncated || len(p.AtRisk) != 100 || p.AtRisk[0].Hold.ID != id(0) {
			w.t.Errorf("%v, truncated %v, %d at risk", err, p.Truncated, len(p.AtRisk))
		}
	})
}

// TestUnprotected checks that an amount that nothing holds counts as such, and
// not as held.
func TestUnprotected(t *testing.T) {
	inWorld(t, func(w *world) {
		w.schedule(
			hold.ScheduleRequest{PaymentIntent: id(1), ExpiresAt: w.in(30 * time.Hour)},
			hold.ScheduleRequest{PaymentIntent: id(2), CaptureAt: w.in(time.Hour)},
		)
		w.change(id(1), func(h hold.Hold, now time.Time) hold.Decision {
			h.Renewal = &hold.Renewal{RenewalTerms: hold.RenewalTerms{Until: now.Add(60 * time.Hour)},
				Step: hold.RenewalConfirm, Intent: id(3), RetryAt: now.Add(time.Hour),
				AuthorizedAt: now, Unprotected: true}
			return hold.Decision{Hold: h, NewDeadline: true}
		})
		totals, err := w.reader.SumTotals(w.ctx, query.HoldQuery{})
		if err != nil || totals.Holds != 2 || len(totals.Sums) != 1 ||
			totals.Sums[0].Amount != 10_000 || len(totals.Unprotected) != 1 ||
			totals.Unprotected[0].Amount != 10_000 {
			w.t.Errorf("%v: %+v", err, totals)
		}
		p, err := w.planner.ForecastPlan(w.ctx, 31*time.Hour)
		if err != nil || len(p.Unprotected) != 1 || p.Unprotected[0].Amount != 10_000 {
			w.t.Errorf("%v: unprotected %v", err, p.Unprotected)
		}
		for _, r := range p.AtRisk {
			if r.Hold.ID == id(1) && strings.HasPrefix(r.Reason, "unprotected") {
				return
			}
		}
		w.t.Errorf("at risk: %v", p.AtRisk)
	})
}
