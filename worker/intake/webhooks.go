package intake

import (
	"context"
	"fmt"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// Results of [Webhooks.ApplyStripeEvent].
const (
	EventSettled = "settled" // the hold has ended
	EventChanged = "changed" // the hold was changed
	EventQueued  = "queued"  // the intent will be read, at once or when its hold is scheduled
	EventIgnored = "ignored" // the event concerns no hold, or says nothing new
)

// WrongMode is the code of an event in test mode at a holdd in live mode, or
// the other way round.
const WrongMode hold.Code = "wrong_mode"

// handledEvents are the types that can concern a hold. One of them comes along
// with each other type that could.
var handledEvents = map[string]bool{
	"payment_intent.amount_capturable_updated": true,
	"payment_intent.succeeded":                 true,
	"payment_intent.canceled":                  true,
	"payment_intent.payment_failed":            true,
	"payment_intent.requires_action":           true,
	"charge.captured":                          true,
	"charge.expired":                           true,
	"charge.updated":                           true,
	"review.opened":                            true,
	"review.closed":                            true,
}

// WebhookStore reads holds and remembers which intents are to be read at
// Stripe.
type WebhookStore interface {
	HoldReader
	// RequestRefresh queues an open hold's intent for the [Refresher]. An
	// intent without a hold is queued if adoptUnknown is set. Otherwise it is
	// remembered for three days and queued once it is scheduled.
	RequestRefresh(ctx context.Context, id, account string, adoptUnknown bool) error
}

// WebhooksOptions configure [Webhooks].
type WebhooksOptions struct {
	Livemode bool
	Clock    *clock.Redis
	Health   *health.Redis
}

// Webhooks applies Stripe's signed events. It is safe for concurrent use.
type Webhooks struct {
	store     WebhookStore
	committer Committer
	o         WebhooksOptions
}

// NewWebhooks returns webhooks that read and queue in store and write through
// committer.
func NewWebhooks(store WebhookStore, committer Committer, o WebhooksOptions) *Webhooks {
	return &Webhooks{store: store, committer: committer, o: o}
}

// ApplyStripeEvent applies a signed event. When it returns without an error,
// what the event means is in the store; the result says how. Errors are
// *[hold.Problem], or wrap [health.ErrUnavailable]: then Stripe must send the
// event again.
func (w *Webhooks) ApplyStripeEvent(
	ctx context.Context, e hold.StripeEvent,
) (result string, err error) {
	switch {
	case e.Livemode != w.o.Livemode && e.Account != "":
		// an endpoint for connected accounts receives the events of both modes
		return EventIgnored, nil
	case e.Livemode != w.o.Livemode:
		return "", &hold.Problem{Code: WrongMode,
			Detail: "this event is of the other mode: compare the endpoint's secret and STRIPE_API_KEY, " +
				"one is of test mode and one is live"}
	case !handledEvents[e.Type] || e.PaymentIntent == "" || e.AutomaticCapture:
		return EventIgnored, nil
	}
	result = EventIgnored
	for range maxConflictRetries {
		h, now, err := readHold(ctx, w.store, w.o.Health, e.PaymentIntent)
		if err != nil {
			return "", err
		}
		w.o.Clock.Sync(now)
		if h == nil {
			return w.queueUnknownIntent(ctx, &e)
		}
		d, action := h.ApplyStripeEvent(&e, now)
		switch action {
		case hold.EventRetryLater:
			return "", fmt.Errorf("hold %s is being worked on: %w", h.ID, health.ErrUnavailable)
		case hold.EventNeedsRead:
			// Queued before the commit: if nothing else gets done, the refresh
			// finds the rest.
			if err := w.queueRefresh(ctx, h.ID, h.Account, false); err != nil {
				return "", err
			}
			result = EventQueued
		}
		if d.Unchanged {
			return result, nil
		}
		change := commit.Change{Before: h, Decision: d, At: now}
		written, err := commitChange(ctx, w.committer, w.o.Health, &change)
		switch {
		case err != nil:
			return "", err
		case written && d.Hold.State.Final():
			return EventSettled, nil
		case written:
			return EventChanged, nil
		}
	}
	return "", errConflict(e.PaymentIntent)
}

// queueUnknownIntent handles an event of an intent without a hold. An intent
// that has terms in its metadata is read; any other is remembered until it is
// scheduled.
func (w *Webhooks) queueUnknownIntent(ctx context.Context, e *hold.StripeEvent) (string, error) {
	if e.Type == "charge.updated" {
		// every payment causes one, and it says nothing that the others don't
		return EventIgnored, nil
	}
	adopt := false
	if e.Intent != nil && e.Intent.Status == hold.StatusRequiresCapture {
		// Invalid terms are rejected when the intent is read: the metadata may
		// have changed since the event.
		_, _, adopt, _ = hold.RequestFromMetadata(e.Intent, e.Account)
	}
	if err := w.queueRefresh(ctx, e.PaymentIntent, e.Account, adopt); err != nil {
		return "", err
	}
	return EventQueued, nil
}

func (w *Webhooks) queueRefresh(
	ctx context.Context, id, account string, adoptUnknown bool,
) error {
	if err := w.store.RequestRefresh(ctx, id, account, adoptUnknown); err != nil {
		return w.o.Health.Unavailable(ctx, "queue a refresh", err)
	}
	return nil
}
