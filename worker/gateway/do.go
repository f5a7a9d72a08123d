package gateway

import (
	"context"

	"github.com/holdd/holdd/worker/hold"
)

// Do sends one request and classifies the response. It makes one attempt,
// bounded by the gateway's timeout and ctx, and never panics.
//
// The answer to a list has a [hold.Answer.Page]. The answer to an
// authorization, a confirmation or a read has a [hold.Answer.Cardholder]. Do
// does not send an invalid call: its answer is [hold.AnswerInvalid] with
// HTTPStatus 0.
func (g *Gateway) Do(ctx context.Context, c hold.Call) hold.Answer {
	if reason := validateCall(&c); reason != "" {
		return invalidCallAnswer(reason)
	}
	switch c.Op {
	case hold.OpCapture:
		return g.intents.captureIntent(ctx, c)
	case hold.OpCancel:
		return g.intents.cancelIntent(ctx, c)
	case hold.OpIncrement:
		return g.intents.incrementIntent(ctx, c)
	case hold.OpRead:
		return g.intents.retrieveIntent(ctx, c)
	case hold.OpAuthorize:
		return g.authorizations.createAndConfirmIntent(ctx, c)
	case hold.OpConfirm:
		return g.authorizations.confirmIntent(ctx, c)
	case hold.OpCreate:
		return g.authorizations.createUnconfirmedIntent(ctx, c)
	case hold.OpSetUpCard:
		return g.cardSetups.createCardSetupSession(ctx, c)
	case hold.OpReadCardSetup:
		return g.cardSetups.retrieveCardSetupSession(ctx, c)
	case hold.OpUpdate:
		return g.intents.updateIntentMetadata(ctx, c)
	case hold.OpList:
		return g.lists.listIntents(ctx, c)
	default: // validateCall accepts no other
		return g.lists.probeAPIKey(ctx)
	}
}
