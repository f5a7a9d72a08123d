package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

type listHoldsInput struct {
	State          string `query:"state" enum:"waiting,paused,scheduled,ready,working,attention,captured,canceled,expired" doc:"Only holds in this state"`
	Reference      string `query:"reference" maxLength:"200" doc:"Only holds whose reference begins so" example:"BK-20"`
	Account        string `query:"account" maxLength:"100" doc:"Only holds of this connected account"`
	ExpiringWithin string `query:"expiring_within" maxLength:"40" doc:"Only open holds whose authorization ends within this time, such as 24h or 3d" example:"24h"`
	Limit          int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Holds on a page, at most"`
	Cursor         string `query:"cursor" maxLength:"1024" doc:"next of the page before"`
}

type listHoldsOutput struct {
	Body ListPage
}

type planInput struct {
	Next string `query:"next" maxLength:"40" default:"24h" doc:"How far ahead, such as 24h or 3d; at most 90d" example:"24h"`
}

type planOutput struct {
	Body Plan
}

type readinessOutput struct {
	Status int
	Body   Readiness
}

type healthOutput struct {
	Body Health
}

func (a *API) registerQueries(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "listHolds", Method: http.MethodGet, Path: "/v1/holds",
		Tags:        []string{"holds"},
		Summary:     "List holds",
		Description: "A page may hold fewer than asked for, even none, and still have a `next`: go on until there is none.",
	}, a.listHolds)
	huma.Register(doc, huma.Operation{
		OperationID: "plan", Method: http.MethodGet, Path: "/v1/plan", Tags: []string{"holds"},
		Summary: "What will happen when, and what is at risk",
	}, a.getPlan)
	huma.Register(doc, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: "/readyz", Tags: []string{"process"},
		Summary: "Whether work goes on; 503 tells what stands in the way",
	}, a.getReadiness)
	huma.Register(doc, huma.Operation{
		OperationID: "alive", Method: http.MethodGet, Path: "/healthz", Tags: []string{"process"},
		Summary: "Whether the process is alive",
	}, a.getHealth)
}

func (a *API) listHolds(ctx context.Context, in *listHoldsInput) (*listHoldsOutput, error) {
	q := query.Query{Reference: in.Reference, Account: in.Account,
		Limit: in.Limit, Cursor: in.Cursor}
	q.State, _ = hold.ParseState(in.State) // its name was checked against the enum
	var p *hold.Problem
	if errors.As(hold.CheckAccountID(in.Account), &p) {
		return nil, problemFromHold(p)
	}
	if in.ExpiringWithin != "" {
		d, err := ParseDuration(in.ExpiringWithin)
		if err != nil {
			return nil, newProblem(InvalidParameter, "expiring_within", err.Error())
		}
		q.ExpiringWithin = d
	}
	page, err := a.opts.Holds.List(ctx, q)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	out := &listHoldsOutput{Body: ListPage{Holds: make([]hold.View, len(page.Holds)),
		Next: page.Next, Now: page.Now.UTC()}}
	for i := range page.Holds {
		out.Body.Holds[i] = page.Holds[i].View(page.Now, false)
		out.Body.Holds[i].Livemode = a.opts.Livemode
	}
	return out, nil
}

func (a *API) getPlan(ctx context.Context, in *planInput) (*planOutput, error) {
	next := 24 * time.Hour
	if in.Next != "" {
		d, err := ParseDuration(in.Next)
		if err != nil {
			return nil, newProblem(InvalidParameter, "next", err.Error())
		}
		next = d
	}
	p, err := a.opts.Holds.Plan(ctx, next)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	return &planOutput{Body: planResponse(p, a.opts.Livemode)}, nil
}

func (a *API) getReadiness(ctx context.Context, _ *noInput) (*readinessOutput, error) {
	trusted := requestInfoFrom(ctx).trusted
	checks := a.opts.Holds.Check(ctx)
	out := &readinessOutput{Status: http.StatusOK, Body: Readiness{Ready: true,
		Checks: make([]ReadinessCheck, 0, len(checks))}}
	for _, c := range checks {
		if !c.OK {
			out.Status, out.Body.Ready = http.StatusServiceUnavailable, false
		}
		if !trusted { // addresses and causes are for operators
			c.Detail = ""
		}
		out.Body.Checks = append(out.Body.Checks, ReadinessCheck(c))
	}
	return out, nil
}

func (a *API) getHealth(ctx context.Context, _ *noInput) (*healthOutput, error) {
	out := &healthOutput{Body: Health{Status: "ok"}}
	if requestInfoFrom(ctx).trusted {
		out.Body.Version, out.Body.Livemode = a.opts.Version, &a.opts.Livemode
	}
	return out, nil
}
