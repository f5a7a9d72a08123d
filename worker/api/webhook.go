package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// WebhookPath is the route of Stripe's events.
const WebhookPath = "/webhooks/stripe"

const (
	maxWebhookBodyBytes = 1 << 20
	maxSignatureBytes   = 4 << 10 // of the Stripe-Signature header
	// of one event, waiting included; Stripe waits about 20 s
	webhookTimeout       = 10 * time.Second
	maxWebhooksInFlight  = 64
	rejectionLogInterval = time.Minute
)

// WebhookOptions configure the endpoint of Stripe's events.
type WebhookOptions struct {
	// VerifyAndParse returns the event of a body with a valid signature. Its
	// errors are sent to the caller and must not contain secrets.
	VerifyAndParse func(body []byte, signature string) (hold.StripeEvent, error)
	// ApplyEvent returns once the event's effect is stored. After an error
	// other than *[hold.Problem] Stripe sends the event again.
	ApplyEvent func(ctx context.Context, e hold.StripeEvent) (result string, err error)
}

// webhookHandler serves [WebhookPath]. Stripe proves itself by the signature
// and has no token, so the endpoint stands outside the API's access control. It
// has limits of its own on what a caller can use before the signature is
// verified.
type webhookHandler struct {
	*WebhookOptions
	bodies            *bodyReader
	tracer            RequestTracer // may be nil
	log               *zap.Logger
	slots             chan struct{} // one for each webhook in flight
	invalidSignatures atomic.Uint64
	lastLoggedAt      atomic.Int64 // last log line about a rejection, in Unix seconds
}

func newWebhookHandler(
	o *WebhookOptions, bodies *bodyReader, tracer RequestTracer, log *zap.Logger,
) *webhookHandler {
	return &webhookHandler{WebhookOptions: o, bodies: bodies, tracer: tracer, log: log,
		slots: make(chan struct{}, maxWebhooksInFlight)}
}

func (h *webhookHandler) serve(
	w *responseStartRecorder, unwrapped http.ResponseWriter, r *http.Request,
) {
	if h.WebhookOptions == nil {
		newProblem(RouteNotFound, "", "webhooks are disabled: "+
			"set STRIPE_WEBHOOK_SECRETS to the endpoint's signing secret").Write(w)
		return
	}
	if r.Method != http.MethodPost {
		problemWithAllowHeader{newProblem(MethodNotAllowed, "",
			"method not allowed for "+WebhookPath+": use POST"), http.MethodPost}.Write(w)
		return
	}
	signature := r.Header.Get("Stripe-Signature")
	if signature == "" || len(signature) > maxSignatureBytes { // before the body is read
		h.rejectSignature(w, "missing or oversized Stripe-Signature header")
		return
	}
	body, p := h.bodies.readBody(unwrapped, r, maxWebhookBodyBytes)
	defer body.releaseReservedBytes()
	if p != nil {
		p.Write(w)
		return
	}
	event, err := h.VerifyAndParse(body.bytes, signature)
	if err != nil {
		h.rejectSignature(w, err.Error())
		return
	}
	conn := connFromContext(r.Context())
	conn.setServingRequest(true)
	defer conn.setServingRequest(false)
	body.releaseReservedBytes() // the event has what it needs
	ctx := r.Context()
	if h.tracer != nil { // and not before: a caller without the secret gets no span
		var end func(status int)
		ctx, end = h.tracer.StartWebhook(ctx, WebhookPath)
		defer func() { end(cmp.Or(w.status, http.StatusInternalServerError)) }() // 0: a panic
	}
	h.writeError(w, h.applyEventAndRespond(ctx, w, event))
}

// applyEventAndRespond waits for a slot and applies a verified event.
func (h *webhookHandler) applyEventAndRespond(
	ctx context.Context, w http.ResponseWriter, event hold.StripeEvent,
) error {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return newProblem(Unavailable, "", "too many events in flight: send the event again")
	}
	result, err := h.ApplyEvent(ctx, event)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"result":"` + result + `"}`)) // Stripe resends after a lost response
	return nil
}

func (h *webhookHandler) writeError(w http.ResponseWriter, err error) {
	var p *Problem
	var holdProblem *hold.Problem
	switch {
	case err == nil:
	case errors.As(err, &p):
		p.Write(w)
	case errors.As(err, &holdProblem):
		h.log.Error("webhook event rejected",
			zap.String("code", string(holdProblem.Code)), zap.String("reason", holdProblem.Detail))
		newProblem(holdProblem.Code, holdProblem.Field, holdProblem.Detail).Write(w)
	default:
		if !errors.Is(err, health.ErrUnavailable) {
			h.log.Error("webhook event not processed; Stripe will send it again", zap.Error(err))
		}
		newProblem(Unavailable, "", "event not processed yet: send it again").Write(w)
	}
}

// rejectSignature counts every rejection and logs one per interval, because any
// caller who reaches the port can cause them.
func (h *webhookHandler) rejectSignature(w http.ResponseWriter, reason string) {
	n := h.invalidSignatures.Add(1)
	now := time.Now().Unix()
	if last := h.lastLoggedAt.Load(); now-last >= int64(rejectionLogInterval/time.Second) &&
		h.lastLoggedAt.CompareAndSwap(last, now) {
		h.log.Warn("webhook rejected: invalid signature", zap.String("reason", reason),
			zap.Uint64("rejected_total", n))
	}
	w.Header().Set("Connection", "close")
	newProblem(InvalidSignature, "", reason).Write(w)
}
