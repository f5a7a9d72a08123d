package worker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// planned bounds how many holds a plan looks at in each order.
	planned = 20_000
	atRisk  = 100
)

// Plan tells what will happen by itself within a span, and which holds may lapse in it. What is due already is in the first hour.
func (w *Worker) Plan(ctx context.Context, next time.Duration) (Plan, error) {
	p := planner{w: w, next: next, hours: map[time.Time]*PlanHour{}, seen: map[string]bool{}}
	// A hold is in one of the first three, or acts by its deadline's policy and is found by its milestone. It may move from one to the other while
	// they are read: the planner counts it once.
	for _, set := range []hold.Set{hold.SetReady, hold.SetWorking, hold.SetScheduled, hold.SetExpiring} {
		if err := p.walk(ctx, set); err != nil {
			return Plan{}, err
		}
	}
	return p.result(), nil
}

type planner struct {
	w     *Worker
	next  time.Duration
	plan  Plan
	hours map[time.Time]*PlanHour
	seen  map[string]bool
}

// walk goes through a set until what comes is beyond the span, or enough was seen.
func (p *planner) walk(ctx context.Context, set hold.Set) error {
	mark := hold.Mark{}
	for seen := 0; ; {
		found, now, err := p.w.store.Page(ctx, set, mark, sweepSize)
		if err != nil {
			return p.w.unavailable(ctx, "plan", err)
		}
		if p.plan.From.IsZero() {
			p.plan.From, p.plan.Until = now, now.Add(p.next)
		}
		for _, f := range found {
			mark = f.Mark
			if ordered := set == hold.SetScheduled || set == hold.SetExpiring; ordered && mark.Score > p.plan.Until.UnixMilli() {
				return nil
			}
			if f.Hold.State != 0 {
				p.visit(&f.Hold, now, set == hold.SetExpiring)
			}
		}
		if seen += len(found); len(found) < sweepSize {
			return nil
		}
		if seen >= planned {
			p.plan.Truncated = true
			return nil
		}
	}
}

func (p *planner) visit(h *hold.Hold, now time.Time, deadlines bool) {
	if deadlines && !h.ExpiresAt.After(p.plan.Until) {
		if why := p.w.risk(h, now); why != "" {
			p.plan.AtRisk = append(p.plan.AtRisk, Risk{Hold: *h, Why: why})
		}
	}
	op, at := h.Foresee(now, p.w.o.Rules)
	if op == 0 || at.After(p.plan.Until) || p.seen[h.ID] {
		return
	}
	p.seen[h.ID] = true
	start := at.Truncate(time.Hour)
	hour := p.hours[start]
	if hour == nil {
		hour = &PlanHour{Start: start}
		p.hours[start] = hour
	}
	amount := h.Amount
	switch {
	case op == hold.OpCancel:
		hour.Cancel = addSum(hour.Cancel, h.Currency, amount)
	case h.CaptureAmount > 0:
		amount = h.CaptureAmount
		fallthrough
	default:
		hour.Capture = addSum(hour.Capture, h.Currency, amount)
	}
}

func (p *planner) result() Plan {
	for _, h := range p.hours {
		for _, sums := range [][]Sum{h.Capture, h.Cancel} {
			slices.SortFunc(sums, func(a, b Sum) int { return strings.Compare(a.Currency, b.Currency) })
		}
		p.plan.Hours = append(p.plan.Hours, *h)
	}
	slices.SortFunc(p.plan.Hours, func(a, b PlanHour) int { return a.Start.Compare(b.Start) })
	slices.SortStableFunc(p.plan.AtRisk, func(a, b Risk) int { return a.Hold.ExpiresAt.Compare(b.Hold.ExpiresAt) })
	if len(p.plan.AtRisk) > atRisk {
		p.plan.AtRisk, p.plan.Truncated = p.plan.AtRisk[:atRisk], true
	}
	return p.plan
}

// risk says why a hold that ends soon may lapse with the money not taken, empty if it won't.
func (w *Worker) risk(h *hold.Hold, now time.Time) string {
	own := h.OwnTime()
	switch {
	case h.State.Final():
		return ""
	case h.State == hold.Attention:
		return "a person must look: " + h.Why.String()
	case h.State == hold.Paused:
		return "paused"
	case h.State == hold.Working && h.Attempt.Unknown:
		return "its outcome isn't known yet"
	case h.Retries > 0:
		return "Stripe could not be asked so far"
	case !own.IsZero() && !own.Before(h.ExpiresAt):
		return "its time is after the deadline"
	case own.IsZero() && h.State == hold.Waiting && h.OnExpiry == hold.PolicyCancel:
		return "no time is set, and the deadline lets it go"
	case own.IsZero() && h.OnExpiry == hold.PolicyAlert:
		return "no time is set, and the deadline only alerts"
	case h.ExpiresSource == hold.SourceAssumed && !h.Verified:
		return "its deadline is only assumed"
	case !h.ExpiresAt.After(now):
		return "its deadline has passed"
	}
	return ""
}

func addSum(sums []Sum, currency string, amount int64) []Sum {
	for i := range sums {
		if sums[i].Currency == currency {
			sums[i].Count++
			sums[i].Amount += amount
			return sums
		}
	}
	return append(sums, Sum{Currency: currency, Count: 1, Amount: amount})
}
