package api

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// WebhookPath is where Stripe's events are taken.
const WebhookPath = "/webhooks/stripe"

const (
	maxWebhookBodyBytes  = 1 << 20
	maxSignatureBytes    = 4 << 10          // bytes of the header
	webhookReadTimeout   = 5 * time.Second  // for a body to arrive
	webhookTimeout       = 10 * time.Second // of one event, waiting included: Stripe waits some 20
	maxWebhooksInFlight  = 64               // bodies read and events decided at a time
	rejectionLogInterval = time.Minute      // refusals are logged no more often
)

// WebhookOptions says how Stripe's events are taken.
type WebhookOptions struct {
	// Parse reads an event if it is signed. Its errors are shown to whoever
	// sent it, and must carry nothing of the secrets.
	VerifyAndParse func(body []byte, signature string) (hold.StripeEvent, error)
	// Take returns once what the event means is safe. Errors are
	// *[hold.Problem], or such after which the event is to be sent again.
	ApplyEvent func(ctx context.Context, e hold.StripeEvent) (result string, err error)
}

// webhookHandler serves [WebhookPath]. It stands outside of the API's
// admission, since its callers show who they are by the signature and have no
// token; so nothing is done, read or told for anybody before the signature is
// found good, and what may be spent on that has bounds of its own.
type webhookHandler struct {
	*WebhookOptions
	log               *zap.Logger
	slots             chan struct{}
	invalidSignatures atomic.Uint64
	lastLoggedAt      atomic.Int64 // when a refusal was last logged, Unix seconds
}

// InvalidSignatures is how many webhooks were refused for their signature since
// the start.
func (a *API) InvalidSignatures() uint64 { return a.webhookHandler.invalidSignatures.Load() }

func newWebhookHandler(w *WebhookOptions, log *zap.Logger) *webhookHandler {
	return &webhookHandler{WebhookOptions: w, log: log,
		slots: make(chan struct{}, maxWebhooksInFlight)}
}

func (h *webhookHandler) serve(
	w http.ResponseWriter, unwrapped http.ResponseWriter, r *http.Request,
) {
	if h.WebhookOptions == nil {
		newProblem(RouteNotFound, "",
			"no webhooks are taken here: set STRIPE_WEBHOOK_SECRETS to the endpoint's signing secret").write(w)
		return
	}
	if r.Method != http.MethodPost {
		problemWithAllow{newProblem(MethodNotAllowed, "", WebhookPath+" knows POST"),
			http.MethodPost}.write(w)
		return
	}
	signature := r.Header.Get("Stripe-Signature")
	if signature == "" || len(signature) > maxSignatureBytes { // before a byte of the body is read
		h.rejectSignature(w, "there is no signature that could be Stripe's")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), webhookTimeout)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		newProblem(Unavailable, "", "too many events at a time: send it again").write(w)
		return
	}
	// A body that trickles must not keep a place for as long as the server lets
	// it. Not every writer can be told.
	_ = http.NewResponseController(unwrapped).SetReadDeadline(time.Now().Add(webhookReadTimeout))
	c := &requestInfo{method: r.Method, path: r.URL.Path, w: unwrapped, r: r.WithContext(ctx)}
	err := c.readRawBody(maxWebhookBodyBytes, func(body []byte) error {
		event, err := h.VerifyAndParse(body, signature)
		if err != nil {
			return newProblem(InvalidSignature, "", err.Error())
		}
		result, err := h.ApplyEvent(ctx, event)
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			// whoever asked has gone, and will ask again
			_, _ = w.Write([]byte(`{"result":"` + result + `"}`))
		}
		return err
	})
	h.writeError(w, err)
}

func (h *webhookHandler) writeError(w http.ResponseWriter, err error) {
	var p *Problem
	var holdProblem *hold.Problem
	switch {
	case err == nil:
	case errors.As(err, &p) && p.Code == InvalidSignature:
		h.rejectSignature(w, p.Detail)
	case errors.As(err, &p):
		p.write(w)
	case errors.As(err, &holdProblem):
		h.log.Error("an event of Stripe's was refused",
			zap.String("code", string(holdProblem.Code)), zap.String("reason", holdProblem.Detail))
		newProblem(holdProblem.Code, holdProblem.Field, holdProblem.Detail).write(w)
	default:
		if !errors.Is(err, health.ErrUnavailable) {
			h.log.Error("an event of Stripe's could not be taken; Stripe sends it again",
				zap.Error(err))
		}
		newProblem(Unavailable, "", "the event is not taken yet: send it again").write(w)
	}
}

// rejectSignature counts, and logs seldom: whoever can reach the port can send
// as many as he likes.
func (h *webhookHandler) rejectSignature(w http.ResponseWriter, reason string) {
	n := h.invalidSignatures.Add(1)
	now := time.Now().Unix()
	if last := h.lastLoggedAt.Load(); now-last >= int64(rejectionLogInterval/time.Second) &&
		h.lastLoggedAt.CompareAndSwap(last, now) {
		h.log.Warn("a webhook was refused", zap.String("reason", reason),
			zap.Uint64("refused_so_far", n))
	}
	w.Header().Set("Connection", "close")
	newProblem(InvalidSignature, "", reason).write(w)
}
