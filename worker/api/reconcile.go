package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

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
			"known to all replicas. A PaymentIntent that was found without a hold and was " +
			"scheduled since is not a finding any more.",
	}, h.get)
}

func (h *reconcileHandler) startReconcile(
	ctx context.Context, _ *noParamsInput) (*reconcileOutput, error,
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
