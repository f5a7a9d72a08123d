package query

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxPlannedHolds bounds how many holds of each set a plan examines.
	maxPlannedHolds = 20_000
	maxAtRisk       = 100
)

// Plan forecasts what the worker will do, and which holds are at risk.
type Plan struct {
	From, Until time.Time
	Hours       []PlanHour
	AtRisk      []AtRiskHold // nearest deadline first, at most 100
	Unprotected []hold.Sum   // what nothing holds until a renewal succeeds
	Truncated   bool         // there are more holds than were examined or listed
}

// PlanHour totals the holds that fall due within the hour that begins at Start.
// The first hour includes overdue holds.
type PlanHour struct {
	Start   time.Time
	Capture []hold.Sum
	Cancel  []hold.Sum
}

// AtRiskHold is a hold that may expire before its money is captured, and the
// reason.
type AtRiskHold struct {
	Hold   hold.Hold
	Reason string
}

// Planner forecasts what the worker will do.
type Planner struct {
	store  HoldStore
	rules  hold.DecisionRules
	health *health.Reporter
}

// NewPlanner returns a planner that reads store and applies rules.
func NewPlanner(store HoldStore, rules hold.DecisionRules, h *health.Reporter) *Planner {
	return &Planner{store: store, rules: rules, health: h}
}

// Plan forecasts what the worker will do within next, and which holds may
// expire within it. Errors wrap [health.ErrUnavailable].
func (p *Planner) ForecastPlan(ctx context.Context, next time.Duration) (Plan, error) {
	b := planBuilder{planner: p, next: next, hours: map[time.Time]*PlanHour{},
		seen: map[string]bool{}}
	// A hold is in one of the first three sets, or is acted on by the policy of
	// its deadline and is in the fourth. It may move from one to another
	// between two reads, so the builder counts each hold once.
	for _, set := range []hold.SortedSet{hold.SetReady, hold.SetWorking,
		hold.SetScheduled, hold.SetExpiring} {
		if err := b.addHoldsOfSortedSet(ctx, set); err != nil {
			return Plan{}, err
		}
	}
	return b.buildPlan(), nil
}

// planBuilder builds one plan.
type planBuilder struct {
	planner *Planner
	next    time.Duration
	plan    Plan
	hours   map[time.Time]*PlanHour
	seen    map[string]bool
}

// addHoldsOfSortedSet adds the holds of a set that are acted on or expire
// within the plan, up to [maxPlannedHolds].
func (b *planBuilder) addHoldsOfSortedSet(ctx context.Context, set hold.SortedSet) error {
	after := hold.SortedSetPosition{}
	for examined := 0; ; {
		found, now, err := b.planner.store.ReadSortedSetPage(ctx, set, after, setPage)
		if err != nil {
			return b.planner.health.ReportAndWrapUnavailable(ctx, "plan", err)
		}
		if b.plan.From.IsZero() {
			b.plan.From, b.plan.Until = now, now.Add(b.next)
		}
		for i := range found {
			after = found[i].Position
			ordered := set == hold.SetScheduled || set == hold.SetExpiring
			if ordered && after.Score > b.plan.Until.UnixMilli() {
				return nil
			}
			if h := &found[i].Hold; h.State != 0 {
				b.addHold(h, now, set == hold.SetExpiring)
			}
		}
		if examined += len(found); len(found) < setPage {
			return nil
		}
		if examined >= maxPlannedHolds {
			b.plan.Truncated = true
			return nil
		}
	}
}

func (b *planBuilder) addHold(h *hold.Hold, now time.Time, byDeadline bool) {
	if byDeadline && hold.IsOpenWithoutAuthorization(h) {
		b.plan.Unprotected = hold.AddToCurrencySums(b.plan.Unprotected, h.Currency, h.Amount)
	}
	if byDeadline && (!h.ExpiresAt.After(b.plan.Until) || hold.IsOpenWithoutAuthorization(h)) {
		if reason := atRiskReason(h, now); reason != "" {
			b.plan.AtRisk = append(b.plan.AtRisk, AtRiskHold{Hold: *h, Reason: reason})
		}
	}
	op, at := hold.PlannedAction(h, now, b.planner.rules)
	if op == 0 || at.After(b.plan.Until) || b.seen[h.ID] {
		return
	}
	b.seen[h.ID] = true
	start := at.Truncate(time.Hour)
	hour := b.hours[start]
	if hour == nil {
		hour = &PlanHour{Start: start}
		b.hours[start] = hour
	}
	switch {
	case op == hold.OpCancel:
		hour.Cancel = hold.AddToCurrencySums(hour.Cancel, h.Currency, h.Amount)
	default:
		amount, _ := hold.NextCaptureAmount(h)
		hour.Capture = hold.AddToCurrencySums(hour.Capture, h.Currency, amount)
	}
}

func (b *planBuilder) buildPlan() Plan {
	for _, h := range b.hours {
		for _, sums := range [][]hold.Sum{h.Capture, h.Cancel} {
			sortSums(sums)
		}
		b.plan.Hours = append(b.plan.Hours, *h)
	}
	slices.SortFunc(b.plan.Hours, func(x, y PlanHour) int { return x.Start.Compare(y.Start) })
	sortSums(b.plan.Unprotected)
	slices.SortStableFunc(b.plan.AtRisk, func(x, y AtRiskHold) int {
		return x.Hold.ExpiresAt.Compare(y.Hold.ExpiresAt)
	})
	if len(b.plan.AtRisk) > maxAtRisk {
		b.plan.AtRisk, b.plan.Truncated = b.plan.AtRisk[:maxAtRisk], true
	}
	return b.plan
}

// sortSums orders sums by currency.
func sortSums(sums []hold.Sum) {
	slices.SortFunc(sums, func(x, y hold.Sum) int {
		return strings.Compare(x.Currency, y.Currency)
	})
}

// atRiskReason says why a hold may expire before its money is captured. It is
// empty if nothing prevents the capture.
func atRiskReason(h *hold.Hold, now time.Time) string {
	own, renewed := h.ActionTime(), hold.WillBeRenewedUntilAction(h, now)
	switch {
	case h.State.IsFinal():
		return ""
	case hold.IsOpenWithoutAuthorization(h):
		return "unprotected: nothing holds the amount until its renewal succeeds"
	case h.State == hold.Attention:
		return "needs attention: " + h.Reason.String()
	case h.State == hold.Paused:
		return "paused"
	case h.State == hold.Working && h.Sent.Unknown:
		return "the outcome of its last call is unknown"
	case h.Retries > 0:
		return "no call to Stripe has succeeded so far"
	case renewed:
		return ""
	case !own.IsZero() && !own.Before(h.ExpiresAt) && h.Renewal != nil:
		return "the time to act is after the deadline, and no renewal is expected to reach it"
	case !own.IsZero() && !own.Before(h.ExpiresAt):
		return "the time to act is after the deadline"
	case own.IsZero() && h.State == hold.Waiting && h.OnExpiry == hold.PolicyCancel:
		return "no time is set: on_expiry will release it"
	case own.IsZero() && h.OnExpiry == hold.PolicyAlert:
		return "no time is set: on_expiry only alerts"
	case h.ExpiresSource == hold.SourceAssumed && !h.Verified:
		return "the deadline is assumed, not read from Stripe"
	case !h.ExpiresAt.After(now):
		return "the deadline has passed"
	}
	return ""
}
