package gateway

import (
	"encoding/json"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// authorizedIntentFromEventCharge returns what the charge of an event shows of its
// intent: an authorization of which nothing was captured or released. It
// returns nil for any other charge, and for one that this version of stripe-go
// cannot decode.
func authorizedIntentFromEventCharge(object json.RawMessage, intentID string) *hold.PaymentIntent {
	var c stripe.Charge
	if json.Unmarshal(object, &c) != nil || c.Status != stripe.ChargeStatusSucceeded ||
		c.Captured || c.Refunded || c.AmountCaptured != 0 || c.AmountRefunded != 0 ||
		c.Review != nil {
		return nil
	}
	return convertIntent(&secretScrubber{}, &stripe.PaymentIntent{
		ID: intentID, Object: "payment_intent", Status: stripe.PaymentIntentStatusRequiresCapture,
		Amount: c.Amount, AmountCapturable: c.Amount, Currency: c.Currency,
		Created: c.Created, Livemode: c.Livemode, LatestCharge: &c,
	}, intentID)
}
