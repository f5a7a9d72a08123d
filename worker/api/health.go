package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdd/holdd/worker/health"
)

// ReadinessChecker checks what this replica needs to work.
// worker.ReadinessChecker implements it.
type ReadinessChecker interface {
	Check(ctx context.Context) []health.ReadinessCheckResult
}

type readinessOutput struct {
	Status int
	Body   Readiness
}

type healthOutput struct {
	Body Health
}

// healthHandler serves liveness and readiness.
type healthHandler struct {
	readiness ReadinessChecker
	version   string
	livemode  bool
	margin    time.Duration // before a deadline on_expiry acts
}

func (h *healthHandler) register(doc huma.API) {
	huma.Register(doc, huma.Operation{
		OperationID: "getReadiness", Method: http.MethodGet, Path: "/readyz",
		Tags:        []string{"process"},
		Summary:     "Check whether this replica can work; 503 if not, with the reason",
		Description: "Checks Redis, Stripe and the jobs of this replica.",
	}, h.getReadiness)
	huma.Register(doc, huma.Operation{
		OperationID: "getHealth", Method: http.MethodGet, Path: "/healthz",
		Tags:        []string{"process"},
		Summary:     "Check whether the process is alive",
		Description: "Checks nothing else: it answers while Redis or Stripe is unavailable.",
	}, h.getHealth)
}

func (h *healthHandler) getReadiness(ctx context.Context, _ *noParamsInput) (*readinessOutput, error) {
	trusted := requestInfoFromContext(ctx).trusted
	checks := h.readiness.Check(ctx)
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

func (h *healthHandler) getHealth(ctx context.Context, _ *noParamsInput) (*healthOutput, error) {
	out := &healthOutput{Body: Health{Status: "ok"}}
	if requestInfoFromContext(ctx).trusted {
		out.Body.Version, out.Body.Livemode = h.version, &h.livemode
		out.Body.ExpiryMarginSeconds = int64(h.margin / time.Second)
	}
	return out, nil
}
