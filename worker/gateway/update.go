package gateway

import (
	"context"
	"maps"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// updateIntentMetadata sets pairs of an intent's metadata. An empty value
// removes its pair. Other pairs do not change. The answer has the updated
// intent with its charge.
func (g *Gateway) updateIntentMetadata(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentParams{
		Metadata: maps.Clone(c.Metadata), Expand: intentExpandParams(),
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	return g.sendIntentRequest(ctx, r, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return g.paymentIntents.Update(c.PaymentIntent, p)
	})
}
