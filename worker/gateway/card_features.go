package gateway

import (
	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

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
