package intake

import (
	"context"
	"fmt"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// Results of [WebhookProcessor.ApplyStripeEvent].
const (
	EventQueued  = "queued"  // the intent is read soon, or when it is scheduled
	EventIgnored = "ignored" // the event concerns no hold or says nothing new
)

// WrongMode is the code of a test mode event at a holdd in live mode, and of
// the reverse.
const WrongMode hold.ProblemCode = "wrong_mode"

// handledEvents are the event types that can concern a hold. Stripe sends one
// of them with every other type that could.
var handledEvents = map[string]bool{
	"payment_intent.amount_capturable_updated": true,
	"payment_intent.succeeded":                 true,
	"payment_intent.canceled":                  true,
	"payment_intent.payment_failed":            true,
	"payment_intent.requires_action":           true,
	"charge.succeeded":                         true,
	"charge.captured":                          true,
	"charge.expired":                           true,
	"charge.updated":                           true,
	"review.opened":                            true,
	"review.closed":                            true,
}

// WebhookStore reads holds and queues refreshes. store.Holds and
// store.RefreshQueue implement it.
type WebhookStore interface {
	HoldReader
	// RequestRefresh queues an open hold's intent for the [IntentRefresher]. An
	// intent without a hold is queued if adoptUnknown is set. Otherwise it is
	// remembered for three days and queued once it is scheduled.
	RequestRefresh(ctx context.Context, id, account string, adoptUnknown bool) error
}

// WebhookProcessorOptions configure [WebhookProcessor].
type WebhookProcessorOptions struct {
	Livemode bool
	Clock    *clock.RedisClock
	Health   *health.Reporter
	Tracer   WebhookTracer // may be nil
}

// WebhookTracer begins the span of a webhook's request under that of its hold.
// tracing.Tracer implements it.
type WebhookTracer interface {
	// AttachWebhookToHold returns the context of the span; ctx itself if the hold
	// has no trace, or if the request has a span.
	AttachWebhookToHold(ctx context.Context, eventID, eventType string, h *hold.Hold) (
		traced context.Context)
}

// WebhookProcessor queues the reads that Stripe's signed events ask for. It is
// safe for concurrent use.
type WebhookProcessor struct {
	store     WebhookStore
	committer Committer
	o         WebhookProcessorOptions
}

// NewWebhookProcessor returns webhooks that read and queue in store and write
// through committer.
func NewWebhookProcessor(
	store WebhookStore, committer Committer, o WebhookProcessorOptions,
) *WebhookProcessor {
	return &WebhookProcessor{store: store, committer: committer, o: o}
}

// ApplyStripeEvent queues the read that a signed event asks for. When it returns
// without an error, the store has the queued read. Errors are *[hold.Problem] or
// wrap [health.ErrUnavailable]; after the latter, Stripe must send the event
// again.
func (w *WebhookProcessor) ApplyStripeEvent(
	ctx context.Context, e hold.StripeEvent,
) (result string, err error) {
	if relevant, err := w.checkModeAndRelevance(&e); err != nil {
		return "", err
	} else if !relevant {
		return EventIgnored, nil
	}
	id := e.PaymentIntent
	if e.Intent != nil {
		id = hold.OwnerOfIntent(e.Intent) // a renewal's intent names its hold
	}
	for range maxConflictRetries {
		h, now, err := readHoldOrNil(ctx, w.store, w.o.Health, id)
		if err != nil {
			return "", err
		}
		w.o.Clock.AdjustTo(now)
		if h == nil {
			return w.queueRefreshOfUnknownIntent(ctx, &e)
		}
		if w.o.Tracer != nil {
			ctx = w.o.Tracer.AttachWebhookToHold(ctx, e.ID, e.Type, h)
		}
		d, action := h.ApplyStripeEvent(&e, now)
		if !d.Unchanged {
			// Committed before the read is queued, so that the read finds it.
			change := commit.Change{Before: h, Decision: d, At: now}
			written, err := commitChangeIfUnmodified(ctx, w.committer, w.o.Health, &change)
			if err != nil {
				return "", err
			}
			if !written {
				continue
			}
		}
		return w.applyStripeEventFollowUp(ctx, h, action)
	}
	return "", tooManyConflictsError(e.PaymentIntent)
}

// applyStripeEventFollowUp queues the read of a hold that an event asks for.
func (w *WebhookProcessor) applyStripeEventFollowUp(
	ctx context.Context, h *hold.Hold, action hold.StripeEventFollowUp,
) (result string, err error) {
	switch action {
	case hold.StripeEventRetryLater:
		return "", fmt.Errorf("hold %s is being worked on: %w", h.ID, health.ErrUnavailable)
	case hold.StripeEventNeedsRead:
		err := queueIntentRefresh(ctx, w.store, w.o.Health, h.ID, h.Account, false)
		if err != nil {
			return "", err
		}
		return EventQueued, nil
	}
	return EventIgnored, nil
}

// checkModeAndRelevance reports whether an event can concern a hold. It returns an
// error if the event has the wrong mode.
func (w *WebhookProcessor) checkModeAndRelevance(e *hold.StripeEvent) (bool, error) {
	switch {
	case e.Livemode != w.o.Livemode && e.Account != "":
		// An endpoint for connected accounts receives the events of both modes.
		return false, nil
	case e.Livemode != w.o.Livemode:
		return false, &hold.Problem{Code: WrongMode,
			Detail: "the event and STRIPE_API_KEY have different modes: " +
				"use the endpoint's secret and a key of the same mode, test or live"}
	}
	return handledEvents[e.Type] && e.PaymentIntent != "" && !e.AutomaticCapture, nil
}

// queueRefreshOfUnknownIntent queues the intent of an event that has no hold.
// An intent with terms in its metadata is read soon, and so is an authorized
// one whose metadata the event does not show, because it is a thin event. Any
// other is remembered until it is scheduled.
func (w *WebhookProcessor) queueRefreshOfUnknownIntent(
	ctx context.Context, e *hold.StripeEvent,
) (string, error) {
	if e.Type == "charge.updated" || e.Type == "charge.succeeded" {
		// Stripe sends them for every payment, and other events report the same
		// change.
		return EventIgnored, nil
	}
	adopt := e.Intent == nil && e.Type == "payment_intent.amount_capturable_updated"
	if e.Intent != nil && e.Intent.Status == hold.StatusRequiresCapture {
		// The refresher rejects invalid terms after the read, because the
		// metadata may have changed since the event.
		_, _, adopt, _ = hold.RequestFromMetadata(e.Intent, e.Account)
	}
	err := queueIntentRefresh(ctx, w.store, w.o.Health, e.PaymentIntent, e.Account, adopt)
	if err != nil {
		return "", err
	}
	return EventQueued, nil
}
