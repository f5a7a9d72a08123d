package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/reconcile"
)

// Reconciler compares the schedule with Stripe. Its errors are like those of
// [HoldServices]. reconcile.Reconciler implements it.
type Reconciler interface {
	// StartRun starts a run in the background, or joins the one in progress.
	StartRun(ctx context.Context, dryRun bool, accounts []string, by string) (
		run reconcile.Reconciliation, started bool, err error)
	// Reconciliation returns a run by its id; an empty id means the newest.
	ReadReconciliation(ctx context.Context, id string) (run reconcile.Reconciliation, ok bool,
		err error)
}

// maxReconcileAccounts bounds how many accounts one request may name.
const maxReconcileAccounts = 100

// reconcileRequest is the body of POST /v1/reconcile.
type reconcileRequest struct {
	DryRun   bool     `json:"dry_run,omitempty" doc:"Report differences and change nothing"`
	Accounts []string `json:"accounts,omitempty" maxItems:"100" doc:"Connected accounts to compare, beside those with open holds. Name them after Redis has lost its data"`
}

// Reconciliation is one comparison of the schedule with Stripe.
type Reconciliation struct {
	ID              string           `json:"id"`
	DryRun          bool             `json:"dry_run"`
	State           string           `json:"state" enum:"running,finished,interrupted" doc:"An interrupted run continues by itself"`
	By              string           `json:"by" doc:"Who started it: the name of a token, cli, api, or schedule for the cron job"`
	Replica         string           `json:"replica"`
	StartedAt       time.Time        `json:"started_at"`
	UpdatedAt       time.Time        `json:"updated_at"`
	FinishedAt      *time.Time       `json:"finished_at,omitempty"`
	Percent         int              `json:"percent" doc:"Estimated progress"`
	Accounts        int              `json:"accounts" doc:"Accounts that are compared, your own included"`
	Listed          int64            `json:"listed" doc:"PaymentIntents that Stripe listed"`
	Compared        int64            `json:"compared" doc:"Listed PaymentIntents that have a hold"`
	Retrieved       int64            `json:"retrieved" doc:"Open holds that were not listed and whose PaymentIntent was retrieved one by one"`
	RetrieveFailed  int64            `json:"retrieve_failed" doc:"Open holds that were not listed and whose PaymentIntent could not be retrieved. The next run tries again"`
	CountsByKind    map[string]int64 `json:"counts" doc:"Findings by kind, listed or not"`
	Findings        []Finding        `json:"findings" nullable:"false" doc:"At most 1000, and at most 500 of a kind"`
	FindingsOmitted int64            `json:"findings_omitted,omitempty" doc:"Findings that are counted and not listed"`
	Error           string           `json:"error,omitempty" doc:"Why the run was interrupted"`
	Livemode        bool             `json:"livemode" doc:"Whether it compares with Stripe's live mode"`
}

// Finding is one difference between Stripe and the schedule.
type Finding struct {
	Kind          string     `json:"kind" enum:"scheduled,changed,captured,canceled,expired,attention,contradiction,released,orphan,recent,rejected,unreadable" doc:"orphan holds money and is not scheduled; recent is one of the last ten minutes, which is skipped"`
	PaymentIntent string     `json:"payment_intent,omitempty"`
	Account       string     `json:"account,omitempty"`
	Reference     string     `json:"reference,omitempty"`
	Amount        int64      `json:"amount,omitempty" doc:"In minor units"`
	Currency      string     `json:"currency,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty" doc:"When the authorization ends, of a PaymentIntent without a hold"`
	Detail        string     `json:"detail,omitempty"`
}

type reconcileOutput struct {
	Status int
	Body   Reconciliation
}

type getReconciliationInput struct {
	Kind string `query:"kind" enum:"scheduled,changed,captured,canceled,expired,attention,contradiction,released,orphan,recent,rejected,unreadable" doc:"Only findings of this kind; orphan lists what holds money and is not scheduled" example:"orphan"`
	ID   string `query:"id" maxLength:"100" doc:"Id of the run. Default: the newest" example:"rec_k3v7q2m5x6c4b2za"`
}

// reconcileHandler starts and shows comparisons with Stripe.
type reconcileHandler struct {
	responseBuilder
	reconciler Reconciler // nil: disabled
}

func (h *reconcileHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "startReconcile", Method: http.MethodPost, Path: "/v1/reconcile",
		DefaultStatus: http.StatusAccepted, Tags: []string{"reconcile"},
		Summary: "Compare the schedule with Stripe",
		Description: "The comparison runs in the background. It schedules holds whose terms are " +
			"in Stripe's metadata and missing here, settles holds that were settled at Stripe, " +
			"and reports PaymentIntents that hold money and have no terms. One run is in " +
			"progress at a time: the request then returns 200 and that run.",
	}, h.startReconcile)
	huma.Register(doc, huma.Operation{
		OperationID: "getReconcile", Method: http.MethodGet, Path: "/v1/reconcile",
		Tags:    []string{"reconcile"},
		Summary: "Show a comparison with Stripe: progress and findings",
		Description: "A dry run is known only to the replica that runs it. Any other run is " +
			"known to all replicas.",
	}, h.get)
}

func (h *reconcileHandler) startReconcile(
	ctx context.Context, _ *emptyInput) (*reconcileOutput, error,
) {
	c := requestInfoFromContext(ctx)
	var in reconcileRequest
	if err := c.decodeOptionalBody(&in); err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	if len(in.Accounts) > maxReconcileAccounts {
		return nil, newProblem(InvalidParameter, "accounts", fmt.Sprintf(
			"%d accounts are too many: send at most %d", len(in.Accounts), maxReconcileAccounts))
	}
	if h.reconciler == nil {
		return nil, h.logAndConvertError(ctx, health.ErrUnavailable)
	}
	run, started, err := h.reconciler.StartRun(ctx, in.DryRun, in.Accounts, c.by)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	out := &reconcileOutput{Status: http.StatusOK, Body: h.newReconciliationResponse(&run)}
	if started {
		out.Status = http.StatusAccepted
	}
	return out, nil
}

func (h *reconcileHandler) get(
	ctx context.Context, in *getReconciliationInput,
) (*reconcileOutput, error) {
	if h.reconciler == nil {
		return nil, h.logAndConvertError(ctx, health.ErrUnavailable)
	}
	run, ok, err := h.reconciler.ReadReconciliation(ctx, in.ID)
	if err != nil {
		return nil, h.logAndConvertError(ctx, err)
	}
	if !ok {
		return nil, newProblem(ReconcileRunNotFound, "id", fmt.Sprintf("no reconcile run %q, "+
			"or a newer run has replaced it: POST /v1/reconcile starts one", in.ID))
	}
	if in.Kind != "" {
		run.Findings = slices.DeleteFunc(slices.Clone(run.Findings), func(f reconcile.Finding) bool {
			return string(f.Kind) != in.Kind
		})
		run.Counts = map[reconcile.FindingKind]int64{
			reconcile.FindingKind(in.Kind): run.Counts[reconcile.FindingKind(in.Kind)]}
	}
	return &reconcileOutput{Status: http.StatusOK, Body: h.newReconciliationResponse(&run)}, nil
}

func (h *reconcileHandler) newReconciliationResponse(r *reconcile.Reconciliation) Reconciliation {
	out := Reconciliation{
		ID: r.ID, DryRun: r.DryRun, State: string(r.State), By: r.By, Replica: r.Replica,
		StartedAt: r.StartedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
		FinishedAt: nilIfZeroTime(r.FinishedAt),
		Percent:    r.Percent, Accounts: r.Accounts, Listed: r.Listed, Compared: r.Compared,
		Retrieved: r.Retrieved, RetrieveFailed: r.RetrieveFailed,
		Error: r.Error, Livemode: h.livemode,
		CountsByKind: map[string]int64{}, Findings: make([]Finding, 0, len(r.Findings)),
	}
	for k, n := range r.Counts {
		out.CountsByKind[string(k)] = n
		out.FindingsOmitted += n
	}
	out.FindingsOmitted = max(0, out.FindingsOmitted-int64(len(r.Findings)))
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, Finding{Kind: string(f.Kind),
			PaymentIntent: f.PaymentIntent, Account: f.Account, Reference: f.Reference,
			Amount: f.Amount, Currency: f.Currency,
			ExpiresAt: nilIfZeroTime(f.ExpiresAt), Detail: f.Detail})
	}
	return out
}
