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
	ForecastPlan(ctx context.Context, next time.Duration) (query.Plan, error)
}

type planInput struct {
	Next string `query:"next" maxLength:"40" default:"24h" doc:"How far ahead to plan, such as 24h or 3d, at most 90d" example:"24h"`
}

type planOutput struct {
	Body Plan
}

// planForecastHandler shows the plan.
type planForecastHandler struct {
	responseBuilder
	planner Planner
}

func (h *planForecastHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "getPlan", Method: http.MethodGet, Path: "/v1/plan", Tags: []string{"holds"},
		Summary:     "Show what will happen, hour by hour, and what is at risk",
		Description: "Forecasts from the schedule alone, without a read at Stripe.",
	}, h.get)
}

func (h *planForecastHandler) get(ctx context.Context, in *planInput) (*planOutput, error) {
	next := 24 * time.Hour
	if in.Next != "" {
		d, err := ParseLookahead(in.Next)
		if err != nil {
			return nil, newProblem(InvalidParameter, "next", err.Error())
		}
		next = d
	}
	p, err := h.planner.ForecastPlan(ctx, next)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	return &planOutput{Body: h.newPlanResponse(&p)}, nil
}

func (h *planForecastHandler) newPlanResponse(p *query.Plan) Plan {
	out := Plan{From: p.From.UTC(), Until: p.Until.UTC(), Hours: make([]PlanHour, 0, len(p.Hours)),
		AtRisk: make([]AtRiskHold, 0, len(p.AtRisk)), Truncated: p.Truncated, Livemode: h.livemode}
	var capture, cancel []hold.Sum
	for _, hour := range p.Hours {
		capture, cancel = mergeCurrencySums(capture, hour.Capture), mergeCurrencySums(cancel,
			hour.Cancel)
		out.Hours = append(out.Hours, PlanHour{
			Start:   hour.Start.UTC(),
			Capture: newCurrencyTotals(hour.Capture),
			Cancel:  newCurrencyTotals(hour.Cancel),
		})
	}
	out.Capture, out.Cancel = newCurrencyTotals(capture), newCurrencyTotals(cancel)
	for i := range p.AtRisk {
		r := &p.AtRisk[i]
		out.AtRisk = append(out.AtRisk,
			AtRiskHold{Hold: h.newHoldView(&r.Hold, p.From, false), Reason: r.Reason})
	}
	return out
}

func newCurrencyTotals(in []hold.Sum) []CurrencyTotal {
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
