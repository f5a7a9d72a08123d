package gateway

import (
	"regexp"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

var reviewIDPattern = boundedPattern{regexp.MustCompile(`^prv_[A-Za-z0-9]+$`), 68}

// convertIntent converts a PaymentIntent. It returns nil for a body that is
// JSON and no PaymentIntent, or another one than id: stripe-go decodes {}, null
// and "pi_…" without an error. An empty id accepts any.
func convertIntent(s *scrubber, pi *stripe.PaymentIntent, id string) *hold.Intent {
	if pi == nil || id != "" && pi.ID != id || !isValidIntent(pi) {
		return nil
	}
	in := &hold.Intent{
		ID:                 pi.ID,
		Status:             hold.Status(pi.Status),
		Amount:             pi.Amount,
		AmountCapturable:   pi.AmountCapturable,
		AmountReceived:     pi.AmountReceived,
		Currency:           string(pi.Currency),
		CancellationReason: identifierOrEmpty(string(pi.CancellationReason)),
		Created:            time.Unix(pi.Created, 0).UTC(),
		Livemode:           pi.Livemode,
	}
	if len(pi.Metadata) > 0 {
		in.Metadata = make(map[string]string, len(pi.Metadata))
		for k, v := range pi.Metadata {
			in.Metadata[k] = s.redactSecrets(v) // a key is too short for a client secret
		}
	}
	// It is not documented whether the id stays after a review was closed, so
	// the review has to say that it is open.
	if r := pi.Review; r != nil && r.Open && reviewIDPattern.matches(r.ID) {
		in.Review = r.ID
	}
	if c := pi.LatestCharge; c != nil && c.PaymentMethodDetails != nil {
		d := c.PaymentMethodDetails
		in.PaymentMethodType = identifierOrEmpty(string(d.Type))
		switch {
		case d.Card != nil && d.Card.CaptureBefore > 0:
			in.CaptureBefore = time.Unix(d.Card.CaptureBefore, 0).UTC()
		case d.CardPresent != nil && d.CardPresent.CaptureBefore > 0:
			in.CaptureBefore = time.Unix(d.CardPresent.CaptureBefore, 0).UTC()
		}
		// Of other payment methods this API version doesn't tell.
		in.SingleCapture = d.Card != nil && d.Card.Multicapture != nil &&
			d.Card.Multicapture.Status == stripe.ChargePaymentMethodDetailsCardMulticaptureStatusUnavailable
	} else if len(pi.PaymentMethodTypes) == 1 {
		// Of several allowed types the intent does not say which was used. The
		// deadline is derived from the type: taking a card for Klarna would
		// turn 7 days into 28.
		in.PaymentMethodType = identifierOrEmpty(pi.PaymentMethodTypes[0])
	}
	return in
}

// isValidIntent reports whether a decoded body is a PaymentIntent with all that
// a hold needs.
func isValidIntent(pi *stripe.PaymentIntent) bool {
	return pi.Object == "payment_intent" && hold.CheckPaymentIntentID(pi.ID) == nil &&
		identifierOrEmpty(string(pi.Status)) != "" && isCurrencyCode(string(pi.Currency)) &&
		pi.Amount >= 0 && pi.AmountCapturable >= 0 && pi.AmountReceived >= 0 && pi.Created > 0
}

// identifierOrEmpty returns s if it has the form of an identifier of Stripe's,
// otherwise "".
func identifierOrEmpty(s string) string {
	if s == "" || len(s) > 40 || !isLowercase(s[0]) {
		return ""
	}
	for i := range len(s) {
		if c := s[i]; !isLowercase(c) && !isDigit(c) && c != '_' {
			return ""
		}
	}
	return s
}

func isCurrencyCode(s string) bool {
	return len(s) == 3 && isLowercase(s[0]) && isLowercase(s[1]) && isLowercase(s[2])
}

func isLowercase(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool     { return '0' <= c && c <= '9' }
