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
	maxWebhookBody   = 1 << 20
	maxSignature     = 4 << 10          // bytes of the header
	webhookReadTime  = 5 * time.Second  // for a body to arrive
	webhookTime      = 10 * time.Second // of one event, waiting included: Stripe waits some 20
	webhooksInFlight = 64               // bodies read and events decided at a time
	forgedEvery      = time.Minute      // refusals are logged no more often
)

// Webhook says how Stripe's events are taken.
type Webhook struct {
	// Parse reads an event if it is signed. Its errors are shown to whoever sent it, and must carry nothing of the secrets.
	Parse func(body []byte, signature string) (hold.StripeEvent, error)
	// Take returns once what the event means is safe. Errors are *[hold.Problem], or such after which the event is to be sent again.
	Take func(ctx context.Context, e hold.StripeEvent) (result string, err error)
}

// webhook serves [WebhookPath]. It stands outside of the API's admission, since its callers show who they are by the signature and have no
// token; so nothing is done, read or told for anybody before the signature is found good, and what may be spent on that has bounds of its own.
type webhook struct {
	*Webhook
	log    *zap.Logger
	slots  chan struct{}
	forged atomic.Uint64
	told   atomic.Int64 // when a refusal was last logged, Unix seconds
}

// Forged is how many webhooks were refused for their signature since the start.
func (a *API) Forged() uint64 { return a.hook.forged.Load() }

func newWebhook(w *Webhook, log *zap.Logger) *webhook {
	return &webhook{Webhook: w, log: log, slots: make(chan struct{}, webhooksInFlight)}
}

func (h *webhook) serve(w http.ResponseWriter, plain http.ResponseWriter, r *http.Request) {
	if h.Webhook == nil {
		newProblem(RouteNotFound, "", "no webhooks are taken here: set STRIPE_WEBHOOK_SECRETS to the endpoint's signing secret").write(w)
		return
	}
	if r.Method != http.MethodPost {
		refused{newProblem(MethodNotAllowed, "", WebhookPath+" knows POST"), http.MethodPost}.write(w)
		return
	}
	signature := r.Header.Get("Stripe-Signature")
	if signature == "" || len(signature) > maxSignature { // before a byte of the body is read
		h.refuse(w, "there is no signature that could be Stripe's")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), webhookTime)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		newProblem(Unavailable, "", "too many events at a time: send it again").write(w)
		return
	}
	// A body that trickles must not keep a place for as long as the server lets it. Not every writer can be told.
	_ = http.NewResponseController(plain).SetReadDeadline(time.Now().Add(webhookReadTime))
	c := &call{method: r.Method, path: r.URL.Path, w: plain, r: r.WithContext(ctx)}
	err := c.withRaw(maxWebhookBody, func(body []byte) error {
		event, err := h.Parse(body, signature)
		if err != nil {
			return newProblem(InvalidSignature, "", err.Error())
		}
		result, err := h.Take(ctx, event)
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"result":"` + result + `"}`)) // whoever asked has gone, and will ask again
		}
		return err
	})
	h.answer(w, err)
}

func (h *webhook) answer(w http.ResponseWriter, err error) {
	var p *Problem
	var wish *hold.Problem
	switch {
	case err == nil:
	case errors.As(err, &p) && p.Code == InvalidSignature:
		h.refuse(w, p.Detail)
	case errors.As(err, &p):
		p.write(w)
	case errors.As(err, &wish):
		h.log.Error("an event of Stripe's was refused", zap.String("code", string(wish.Code)), zap.String("reason", wish.Detail))
		newProblem(wish.Code, wish.Field, wish.Detail).write(w)
	default:
		if !errors.Is(err, health.ErrUnavailable) {
			h.log.Error("an event of Stripe's could not be taken; Stripe sends it again", zap.Error(err))
		}
		newProblem(Unavailable, "", "the event is not taken yet: send it again").write(w)
	}
}

// refuse counts, and logs seldom: whoever can reach the port can send as many as he likes.
func (h *webhook) refuse(w http.ResponseWriter, why string) {
	n := h.forged.Add(1)
	now := time.Now().Unix()
	if last := h.told.Load(); now-last >= int64(forgedEvery/time.Second) && h.told.CompareAndSwap(last, now) {
		h.log.Warn("a webhook was refused", zap.String("reason", why), zap.Uint64("refused_so_far", n))
	}
	w.Header().Set("Connection", "close")
	newProblem(InvalidSignature, "", why).write(w)
}
