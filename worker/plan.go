package worker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxPlannedHolds bounds how many holds a plan looks at in each order.
	maxPlannedHolds = 20_000
	maxAtRisk       = 100
)

// Plan tells what will happen by itself within a span, and which holds may lapse in it. What is due already is in the first hour.
func (w *Worker) Plan(ctx context.Context, next time.Duration) (Plan, error) {
	p := planner{w: w, next: next, hours: map[time.Time]*PlanHour{}, seen: map[string]bool{}}
	// A hold is in one of the first three, or acts by its deadline's policy and is found by its milestone. It may move from one to the other while
	// they are read: the planner counts it once.
	for _, set := range []hold.SortedSet{hold.SetReady, hold.SetWorking, hold.SetScheduled, hold.SetExpiring} {
		if err := p.readSet(ctx, set); err != nil {
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

// readSet goes through a set until what comes is beyond the span, or enough was seen.
func (p *planner) readSet(ctx context.Context, set hold.SortedSet) error {
	mark := hold.Position{}
	for seen := 0; ; {
		found, now, err := p.w.store.Page(ctx, set, mark, sweepBatch)
		if err != nil {
			return p.w.unavailable(ctx, "plan", err)
		}
		if p.plan.From.IsZero() {
			p.plan.From, p.plan.Until = now, now.Add(p.next)
		}
		for _, f := range found {
			mark = f.Position
			if ordered := set == hold.SetScheduled || set == hold.SetExpiring; ordered && mark.Score > p.plan.Until.UnixMilli() {
				return nil
			}
			if f.Hold.State != 0 {
				p.addHold(&f.Hold, now, set == hold.SetExpiring)
			}
		}
		if seen += len(found); len(found) < sweepBatch {
			return nil
		}
		if seen >= maxPlannedHolds {
			p.plan.Truncated = true
			return nil
		}
	}
}

func (p *planner) addHold(h *hold.Hold, now time.Time, deadlines bool) {
	if deadlines && !h.ExpiresAt.After(p.plan.Until) {
		if why := p.w.atRiskReason(h, now); why != "" {
			p.plan.AtRisk = append(p.plan.AtRisk, Risk{Hold: *h, Reason: why})
		}
	}
	op, at := h.Forecast(now, p.w.o.Rules)
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
	if len(p.plan.AtRisk) > maxAtRisk {
		p.plan.AtRisk, p.plan.Truncated = p.plan.AtRisk[:maxAtRisk], true
	}
	return p.plan
}

// atRiskReason says why a hold that ends soon may lapse with the money not taken, empty if it won't.
func (w *Worker) atRiskReason(h *hold.Hold, now time.Time) string {
	own := h.ActionTime()
	switch {
	case h.State.Final():
		return ""
	case h.State == hold.Attention:
		return "a person must look: " + h.Reason.String()
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
