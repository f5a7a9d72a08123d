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

type listInput struct {
	State          string `query:"state" enum:"waiting,paused,scheduled,ready,working,attention,captured,canceled,expired" doc:"Only holds in this state"`
	Reference      string `query:"reference" maxLength:"200" doc:"Only holds whose reference begins so" example:"BK-20"`
	Account        string `query:"account" maxLength:"100" doc:"Only holds of this connected account"`
	ExpiringWithin string `query:"expiring_within" maxLength:"40" doc:"Only open holds whose authorization ends within this time, such as 24h or 3d" example:"24h"`
	Limit          int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Holds on a page, at most"`
	Cursor         string `query:"cursor" maxLength:"1024" doc:"next of the page before"`
}

type listOutput struct {
	Body ListPage
}

type planInput struct {
	Next string `query:"next" maxLength:"40" default:"24h" doc:"How far ahead, such as 24h or 3d; at most 90d" example:"24h"`
}

type planOutput struct {
	Body Plan
}

type readyOutput struct {
	Status int
	Body   Readiness
}

type infoOutput struct {
	Body Info
}

func (a *API) registerReports(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "listHolds", Method: http.MethodGet, Path: "/v1/holds", Tags: []string{"holds"},
		Summary:     "List holds",
		Description: "A page may hold fewer than asked for, even none, and still have a `next`: go on until there is none.",
	}, a.list)
	huma.Register(doc, huma.Operation{
		OperationID: "plan", Method: http.MethodGet, Path: "/v1/plan", Tags: []string{"holds"},
		Summary: "What will happen when, and what is at risk",
	}, a.plan)
	huma.Register(doc, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: "/readyz", Tags: []string{"process"},
		Summary: "Whether work goes on; 503 tells what stands in the way",
	}, a.ready)
	huma.Register(doc, huma.Operation{
		OperationID: "alive", Method: http.MethodGet, Path: "/healthz", Tags: []string{"process"},
		Summary: "Whether the process is alive",
	}, a.alive)
}

func (a *API) list(ctx context.Context, in *listInput) (*listOutput, error) {
	q := query.Query{Reference: in.Reference, Account: in.Account, Limit: in.Limit, Cursor: in.Cursor}
	q.State, _ = hold.ParseState(in.State) // its name was checked against the enum
	var p *hold.Problem
	if errors.As(hold.CheckAccountID(in.Account), &p) {
		return nil, problemOf(p)
	}
	if in.ExpiringWithin != "" {
		d, err := ParseSpan(in.ExpiringWithin)
		if err != nil {
			return nil, newProblem(InvalidParameter, "expiring_within", err.Error())
		}
		q.ExpiringWithin = d
	}
	page, err := a.opts.Holds.List(ctx, q)
	if err != nil {
		return nil, a.answer(ctx, err)
	}
	out := &listOutput{Body: ListPage{Holds: make([]hold.View, len(page.Holds)), Next: page.Next, Now: page.Now.UTC()}}
	for i := range page.Holds {
		out.Body.Holds[i] = page.Holds[i].View(page.Now, false)
		out.Body.Holds[i].Livemode = a.opts.Livemode
	}
	return out, nil
}

func (a *API) plan(ctx context.Context, in *planInput) (*planOutput, error) {
	next := 24 * time.Hour
	if in.Next != "" {
		d, err := ParseSpan(in.Next)
		if err != nil {
			return nil, newProblem(InvalidParameter, "next", err.Error())
		}
		next = d
	}
	p, err := a.opts.Holds.Plan(ctx, next)
	if err != nil {
		return nil, a.answer(ctx, err)
	}
	return &planOutput{Body: planOf(p, a.opts.Livemode)}, nil
}

func (a *API) ready(ctx context.Context, _ *none) (*readyOutput, error) {
	known := callOf(ctx).known
	checks := a.opts.Holds.Check(ctx)
	out := &readyOutput{Status: http.StatusOK, Body: Readiness{Ready: true, Checks: make([]Check, 0, len(checks))}}
	for _, c := range checks {
		if !c.OK {
			out.Status, out.Body.Ready = http.StatusServiceUnavailable, false
		}
		if !known { // addresses and causes are for operators
			c.Detail = ""
		}
		out.Body.Checks = append(out.Body.Checks, Check(c))
	}
	return out, nil
}

func (a *API) alive(ctx context.Context, _ *none) (*infoOutput, error) {
	out := &infoOutput{Body: Info{Status: "ok"}}
	if callOf(ctx).known {
		out.Body.Version, out.Body.Livemode = a.opts.Version, &a.opts.Livemode
	}
	return out, nil
}
