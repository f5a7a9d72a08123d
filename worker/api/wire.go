package api

import (
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// Bounds of what one request may ask for.
const (
	MaxBatchHolds      = 1000                // holds in one batch
	MaxPageSize        = 200                 // holds on one page
	maxSingleBodyBytes = 64 << 10            // bytes of a body that speaks of one hold
	maxBatchBodyBytes  = 1 << 20             // bytes of a batch, unless Options says otherwise
	maxPlanAhead       = 90 * 24 * time.Hour // as far ahead as a hold's time may lie
)

// BatchResult is what became of one hold of a batch: Hold or Problem, with the
// status that it would have had alone.
type BatchResult struct {
	Status  int        `json:"status" doc:"As if it had been sent alone: 201 created, 200 scheduled before, else the problem's"`
	Hold    *hold.View `json:"hold,omitempty"`
	Problem *Problem   `json:"problem,omitempty"`
}

// BatchResponse answers POST /v1/holds:batch, in the order of the request.
type BatchResponse struct {
	Results []BatchResult `json:"results" nullable:"false"`
}

// ListPage is one page of a list. A page may hold fewer than asked for, even
// none, and still have a Next.
type ListPage struct {
	Holds []hold.View `json:"holds" nullable:"false"`
	Next  string      `json:"next,omitempty" doc:"Send it as cursor to get the next page; absent at the end"`
	Now   time.Time   `json:"now" doc:"Redis' time at which this was true"`
}

// Plan is what will happen by itself, and what is at risk.
type Plan struct {
	From      time.Time       `json:"from"`
	Until     time.Time       `json:"until"`
	Hours     []PlanHour      `json:"hours" nullable:"false" doc:"Hours in which something falls due or is done by a deadline's policy; what is overdue is in the first"`
	Capture   []CurrencyTotal `json:"capture" nullable:"false" doc:"All hours together"`
	Cancel    []CurrencyTotal `json:"cancel" nullable:"false" doc:"All hours together"`
	AtRisk    []Risk          `json:"at_risk" nullable:"false" doc:"Holds that may lapse, nearest deadline first, at most 100"`
	Truncated bool            `json:"truncated,omitempty" doc:"There is more than was looked at"`
	Livemode  bool            `json:"livemode" doc:"Real money"`
}

// PlanHour is what falls due within the hour that begins at Start.
type PlanHour struct {
	Start   time.Time       `json:"start"`
	Capture []CurrencyTotal `json:"capture" nullable:"false"`
	Cancel  []CurrencyTotal `json:"cancel" nullable:"false"`
}

// CurrencyTotal is an amount of money in one currency, in minor units.
type CurrencyTotal struct {
	Currency string `json:"currency,omitempty" doc:"Absent where the amount isn't known yet"`
	Count    int    `json:"count"`
	Amount   int64  `json:"amount" doc:"Minor units"`
}

// Risk is a hold that may lapse, and why.
type Risk struct {
	Hold   hold.View `json:"hold"`
	Reason string    `json:"why"`
}

// Readiness answers GET /readyz.
type Readiness struct {
	Ready  bool             `json:"ready"`
	Checks []ReadinessCheck `json:"checks" nullable:"false"`
}

// ReadinessCheck is one line of the readiness report.
type ReadinessCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty" doc:"What is wrong and what to do; told only to those with a token, where tokens are required"`
}

// Health answers GET /healthz: the process is alive. Version and Livemode are
// told only to those with a token, where tokens are required.
type Health struct {
	Status   string `json:"status" enum:"ok"`
	Version  string `json:"version,omitempty"`
	Livemode *bool  `json:"livemode,omitempty" doc:"Real money"`
}

// captureRequest is the body of POST /v1/holds/{id}/capture.
type captureRequest struct {
	Amount int64 `json:"amount,omitempty" doc:"Take this much, in minor units, and release the rest. Left out: what the hold's terms say" example:"12500"`
}

// confirmBody is the body of POST /v1/holds/{id}/pause and resume.
type confirmBody struct {
	Confirm bool `json:"confirm,omitempty" doc:"Do it although the deadline's policy then captures or releases the money at once"`
}

// batchRequest is the body of POST /v1/holds:batch.
type batchRequest struct {
	Holds []hold.ScheduleRequest `json:"holds" maxItems:"1000" minItems:"1" nullable:"false"`
}

func planResponse(p query.Plan, livemode bool) Plan {
	out := Plan{From: p.From.UTC(), Until: p.Until.UTC(), Hours: make([]PlanHour, 0, len(p.Hours)),
		AtRisk: make([]Risk, 0, len(p.AtRisk)), Truncated: p.Truncated, Livemode: livemode}
	var capture, cancel []hold.Sum
	for _, h := range p.Hours {
		capture, cancel = addTotals(capture, h.Capture), addTotals(cancel, h.Cancel)
		out.Hours = append(out.Hours, PlanHour{Start: h.Start.UTC(), Capture: currencyTotals(
			h.Capture), Cancel: currencyTotals(h.Cancel)})
	}
	out.Capture, out.Cancel = currencyTotals(capture), currencyTotals(cancel)
	for i := range p.AtRisk {
		v := p.AtRisk[i].Hold.View(p.From, false)
		v.Livemode = livemode
		out.AtRisk = append(out.AtRisk, Risk{Hold: v, Reason: p.AtRisk[i].Reason})
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

// addTotals adds sums to sums, each currency to its own.
func addTotals(all, more []hold.Sum) []hold.Sum {
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
