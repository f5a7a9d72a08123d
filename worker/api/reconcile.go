package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/reconcile"
)

// Reconciler compares Stripe with the schedule. Errors are as those of
// [HoldService].
type Reconciler interface {
	// Reconcile begins a run in the background, or joins the one under way.
	Reconcile(ctx context.Context, dryRun bool, accounts []string, by string) (
		run reconcile.Reconciliation, started bool, err error)
	// Reconciliation tells of a run by its id; an empty one means the newest.
	Reconciliation(ctx context.Context, id string) (run reconcile.Reconciliation, ok bool,
		err error)
}

// maxReconcileAccounts bounds how many accounts one request may name.
const maxReconcileAccounts = 100

// reconcileRequest is the body of POST /v1/reconcile.
type reconcileRequest struct {
	DryRun   bool     `json:"dry_run,omitempty" doc:"Only tell what would be done"`
	Accounts []string `json:"accounts,omitempty" maxItems:"100" doc:"Connected accounts to look at besides those that have open holds: after Redis lost everything it knows of none"`
}

// Reconciliation is one comparison of Stripe with the schedule.
type Reconciliation struct {
	ID              string           `json:"id"`
	DryRun          bool             `json:"dry_run"`
	State           string           `json:"state" enum:"running,finished,interrupted" doc:"An interrupted run goes on by itself where it was"`
	By              string           `json:"by" doc:"Who asked for it; schedule: nobody, it was time"`
	Replica         string           `json:"replica"`
	StartedAt       time.Time        `json:"started_at"`
	UpdatedAt       time.Time        `json:"updated_at"`
	FinishedAt      *time.Time       `json:"finished_at,omitempty"`
	Percent         int              `json:"percent" doc:"Estimated from how far back it has come"`
	Accounts        int              `json:"accounts" doc:"Accounts that are listed, your own included"`
	Listed          int64            `json:"listed" doc:"PaymentIntents that Stripe told of"`
	Compared        int64            `json:"compared" doc:"Of these, known to the schedule"`
	Retrieved       int64            `json:"read" doc:"Open holds that the lists did not tell of, read one by one"`
	RetrieveFailed  int64            `json:"unread" doc:"Of these, without an answer; the next run asks again"`
	CountsByKind    map[string]int64 `json:"counts" doc:"Findings by kind; exact, however many are listed"`
	Findings        []Finding        `json:"findings" nullable:"false" doc:"At most 1000, at most 500 of a kind"`
	FindingsOmitted int64            `json:"findings_omitted,omitempty" doc:"Findings that are counted and not listed"`
	Error           string           `json:"error,omitempty" doc:"Why it was interrupted"`
	Livemode        bool             `json:"livemode" doc:"Real money"`
}

// Finding is one thing in which Stripe and the schedule differed.
type Finding struct {
	Kind          string `json:"kind" enum:"scheduled,changed,captured,canceled,expired,attention,orphan,rejected,unreadable"`
	PaymentIntent string `json:"payment_intent,omitempty"`
	Account       string `json:"account,omitempty"`
	Reference     string `json:"reference,omitempty"`
	Amount        int64  `json:"amount,omitempty" doc:"Minor units"`
	Currency      string `json:"currency,omitempty"`
	Detail        string `json:"detail,omitempty"`
}

type reconcileOutput struct {
	Status int
	Body   Reconciliation
}

type getReconcileInput struct {
	ID string `query:"id" maxLength:"100" doc:"Of the run; left out: the newest" example:"rec_k3v7q2m5x6c4b2za"`
}

func (a *API) registerReconcile(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "reconcile", Method: http.MethodPost, Path: "/v1/reconcile",
		DefaultStatus: http.StatusAccepted, Tags: []string{"reconcile"},
		Summary: "Compare Stripe with the schedule",
		Description: "Both ways, in the background: holds whose terms stand in Stripe and that the schedule lost are scheduled anew, those that others settled are settled, " +
			"PaymentIntents that hold money and have no terms are told of and left alone. One run at a time: while one is under way the answer is 200 and that one.",
	}, a.startReconcile)
	huma.Register(doc, huma.Operation{
		OperationID: "getReconcile", Method: http.MethodGet, Path: "/v1/reconcile",
		Tags:        []string{"reconcile"},
		Summary:     "How far a comparison with Stripe has come, and what it found",
		Description: "A dry run is known to the replica that makes it, any other to all.",
	}, a.getReconcile)
}

func (a *API) startReconcile(ctx context.Context, _ *noInput) (*reconcileOutput, error) {
	c := requestInfoFrom(ctx)
	var in reconcileRequest
	err := c.readJSONBody(maxSingleBodyBytes, false, func(b []byte) error {
		if b == nil {
			return nil
		}
		return decodeStrict(b, &in)
	})
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	if len(in.Accounts) > maxReconcileAccounts {
		return nil, newProblem(InvalidParameter, "accounts", "send at most 100 accounts")
	}
	if a.opts.Reconciler == nil {
		return nil, a.logAndConvertError(ctx, health.ErrUnavailable)
	}
	run, started, err := a.opts.Reconciler.Reconcile(ctx, in.DryRun, in.Accounts, c.by)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	out := &reconcileOutput{Status: http.StatusOK,
		Body: reconciliationResponse(run, a.opts.Livemode)}
	if started {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

func (a *API) getReconcile(ctx context.Context, in *getReconcileInput) (*reconcileOutput, error) {
	if a.opts.Reconciler == nil {
		return nil, a.logAndConvertError(ctx, health.ErrUnavailable)
	}
	run, ok, err := a.opts.Reconciler.Reconciliation(ctx, in.ID)
	if err != nil {
		return nil, a.logAndConvertError(ctx, err)
	}
	if !ok {
		return nil, newProblem(ReconcileRunNotFound, "id",
			"there was no such comparison, or a newer one has taken its place: POST /v1/reconcile begins one")
	}
	return &reconcileOutput{Status: http.StatusOK, Body: reconciliationResponse(
		run, a.opts.Livemode)}, nil
}

func reconciliationResponse(r reconcile.Reconciliation, livemode bool) Reconciliation {
	out := Reconciliation{
		ID: r.ID, DryRun: r.DryRun, State: string(r.State), By: r.By, Replica: r.Replica,
		StartedAt: r.StartedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		Percent: r.Percent, Accounts: r.Accounts, Listed: r.Listed, Compared: r.Compared,
		Retrieved: r.Retrieved, RetrieveFailed: r.RetrieveFailed,
		Error: r.Error, Livemode: livemode,
		CountsByKind: map[string]int64{}, Findings: make([]Finding, 0, len(r.Findings)),
	}
	if !r.FinishedAt.IsZero() {
		t := r.FinishedAt.UTC()
		out.FinishedAt = &t
	}
	for k, n := range r.Counts {
		out.CountsByKind[string(k)] = n
		out.FindingsOmitted += n
	}
	out.FindingsOmitted = max(0, out.FindingsOmitted-int64(len(r.Findings)))
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, Finding{Kind: string(f.Kind),
			PaymentIntent: f.PaymentIntent, Account: f.Account, Reference: f.Reference,
			Amount: f.Amount, Currency: f.Currency, Detail: f.Detail})
	}
	return out
}

func exampleReconciliation() Reconciliation {
	began := exampleHold().CreatedAt
	ended := began.Add(41 * time.Second)
	return Reconciliation{ID: "rec_k3v7q2m5x6c4b2za", State: "finished", By: "schedule",
		Replica: "holdd-0-k3v7q2", StartedAt: began, UpdatedAt: ended,
		FinishedAt: &ended, Percent: 100,
		Accounts: 1, Listed: 1204, Compared: 1202, CountsByKind: map[string]int64{"orphan": 1,
			"captured": 1}, Findings: []Finding{
			{Kind: "captured", PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aB", Reference: "BK-2071",
				Amount: 12500, Currency: "eur", Detail: "captured by somebody else"},
			{Kind: "orphan", PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aC", Amount: 8000,
				Currency: "eur", Detail: "nobody has scheduled it; it is left alone"},
		}}
}

// Reconcile begins to compare Stripe with the schedule, or joins the comparison
// under way; started tells which.
func (c *Client) Reconcile(
	ctx context.Context, dryRun bool, accounts []string,
) (run Reconciliation, started bool, err error) {
	status, err := c.doJSON(ctx, http.MethodPost, "/v1/reconcile", 0,
		reconcileRequest{DryRun: dryRun, Accounts: accounts}, &run)
	return run, status == http.StatusAccepted, err
}

// Reconciliation tells how far a comparison has come; with an empty id, the
// newest.
func (c *Client) Reconciliation(ctx context.Context, id string) (run Reconciliation, err error) {
	path := "/v1/reconcile"
	if id != "" {
		path += "?id=" + url.QueryEscape(id)
	}
	_, err = c.doJSON(ctx, http.MethodGet, path, 0, nil, &run)
	return run, err
}
