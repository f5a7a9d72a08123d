package gateway

import (
	"context"
	"fmt"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// incrementIntent raises the authorized amount to a new total. The answer has
// the intent with its charge.
func (g *Gateway) incrementIntent(ctx context.Context, c hold.Call) hold.Answer {
	p := &stripe.PaymentIntentIncrementAuthorizationParams{
		Amount: &c.Amount, Expand: intentExpandParams(),
	}
	r := classifyOptions{intentID: c.PaymentIntent, mutation: true}
	return g.sendIntentRequest(ctx, r, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p.Params = newRequestParams(ctx, c.Account, c.Key)
		return g.paymentIntents.IncrementAuthorization(c.PaymentIntent, p)
	})
}

// validateIncrementCall returns the reason why an increment is invalid, or "".
func validateIncrementCall(c *hold.Call) string {
	if c.Amount <= 0 {
		return fmt.Sprintf("invalid amount %d of an increment: want the new total", c.Amount)
	}
	return validateMutatingCall(c)
}

// maxCapturable returns the most that may be captured of a charge in all, 0
// without overcapture. A card that was read by a terminal names none.
func maxCapturable(d *stripe.ChargePaymentMethodDetails) int64 {
	if c := d.Card; c != nil && c.Overcapture != nil && c.Overcapture.Status == "available" {
		return max(0, c.Overcapture.MaximumAmountCapturable)
	}
	return 0
}

// cardFeatures returns what a charge allows beyond one capture.
func cardFeatures(d *stripe.ChargePaymentMethodDetails) hold.CardFeatures {
	const available = "available"
	f := hold.FeaturesKnown
	add := func(feature hold.CardFeatures, has bool) {
		if has {
			f |= feature
		}
	}
	if c := d.Card; c != nil {
		add(hold.FeatureExtended, c.ExtendedAuthorization != nil &&
			c.ExtendedAuthorization.Status == "enabled")
		add(hold.FeatureIncremental, c.IncrementalAuthorization != nil &&
			c.IncrementalAuthorization.Status == available)
		add(hold.FeatureMulticapture, c.Multicapture != nil && c.Multicapture.Status == available)
		add(hold.FeatureOvercapture, c.Overcapture != nil && c.Overcapture.Status == available)
	}
	if c := d.CardPresent; c != nil {
		add(hold.FeatureIncremental, c.IncrementalAuthorizationSupported)
		add(hold.FeatureOvercapture, c.OvercaptureSupported)
	}
	return f
}
