package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// Planner forecasts what the worker will do. query.Planner implements it.
type Planner interface {
	Plan(ctx context.Context, next time.Duration) (query.Plan, error)
}

// Plan forecasts what will happen without a request, and what is at risk.
type Plan struct {
	From      time.Time       `json:"from"`
	Until     time.Time       `json:"until"`
	Hours     []PlanHour      `json:"hours" nullable:"false" doc:"Hours in which holds are captured or released, at their own time or by on_expiry. Overdue holds count in the first"`
	Capture   []CurrencyTotal `json:"capture" nullable:"false" doc:"Captures of all hours"`
	Cancel    []CurrencyTotal `json:"cancel" nullable:"false" doc:"Releases of all hours"`
	AtRisk    []AtRiskHold    `json:"at_risk" nullable:"false" doc:"Holds that may expire, nearest deadline first, at most 100"`
	Truncated bool            `json:"truncated,omitempty" doc:"There are more holds than were examined"`
	Livemode  bool            `json:"livemode" doc:"Whether the holds are of Stripe's live mode"`
}

// PlanHour totals the holds that fall due in the hour that begins at Start.
type PlanHour struct {
	Start   time.Time       `json:"start"`
	Capture []CurrencyTotal `json:"capture" nullable:"false"`
	Cancel  []CurrencyTotal `json:"cancel" nullable:"false"`
}

// CurrencyTotal is an amount of money in one currency.
type CurrencyTotal struct {
	Currency string `json:"currency,omitempty" doc:"Absent for holds whose amount is not known yet"`
	Count    int    `json:"count"`
	Amount   int64  `json:"amount" doc:"In minor units"`
}

// AtRiskHold is a hold that may expire, and the reason.
type AtRiskHold struct {
	Hold   hold.View `json:"hold"`
	Reason string    `json:"reason"`
}

type planInput struct {
	Next string `query:"next" maxLength:"40" default:"24h" doc:"How far ahead to plan, such as 24h or 3d, at most 90d" example:"24h"`
}

type planOutput struct {
	Body Plan
}

// planHandler shows the plan.
type planHandler struct {
	responseBuilder
	planner Planner
}

func (h *planHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "getPlan", Method: http.MethodGet, Path: "/v1/plan", Tags: []string{"holds"},
		Summary:     "Show what will happen, hour by hour, and what is at risk",
		Description: "Forecasts from the schedule alone, without a read at Stripe.",
	}, h.get)
}

func (h *planHandler) get(ctx context.Context, in *planInput) (*planOutput, error) {
	next := 24 * time.Hour
	if in.Next != "" {
		d, err := ParseLookahead(in.Next)
		if err != nil {
			return nil, newProblem(InvalidParameter, "next", err.Error())
		}
		next = d
	}
	p, err := h.planner.Plan(ctx, next)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return &planOutput{Body: h.newPlanResponse(&p)}, nil
}

func (h *planHandler) newPlanResponse(p *query.Plan) Plan {
	out := Plan{From: p.From.UTC(), Until: p.Until.UTC(), Hours: make([]PlanHour, 0, len(p.Hours)),
		AtRisk: make([]AtRiskHold, 0, len(p.AtRisk)), Truncated: p.Truncated, Livemode: h.livemode}
	var capture, cancel []hold.Sum
	for _, hour := range p.Hours {
		capture, cancel = mergeCurrencySums(capture, hour.Capture), mergeCurrencySums(cancel,
			hour.Cancel)
		out.Hours = append(out.Hours, PlanHour{
			Start:   hour.Start.UTC(),
			Capture: currencyTotals(hour.Capture),
			Cancel:  currencyTotals(hour.Cancel),
		})
	}
	out.Capture, out.Cancel = currencyTotals(capture), currencyTotals(cancel)
	for i := range p.AtRisk {
		r := &p.AtRisk[i]
		out.AtRisk = append(out.AtRisk,
			AtRiskHold{Hold: h.newHoldView(&r.Hold, p.From, false), Reason: r.Reason})
	}
	return out
}

func currencyTotals(in []hold.Sum) []CurrencyTotal {
	out := make([]CurrencyTotal, 0, len(in))
	for _, s := range in {
		out = append(out, CurrencyTotal(s))
	}
	return out
}

// mergeCurrencySums adds sums to sums, currency by currency.
func mergeCurrencySums(all, more []hold.Sum) []hold.Sum {
	for _, m := range more {
		i := slices.IndexFunc(all, func(s hold.Sum) bool { return s.Currency == m.Currency })
		if i < 0 {
			all = append(all, m)
			continue
		}
		all[i].Count += m.Count
		all[i].Amount += m.Amount
	}
	return all
}
