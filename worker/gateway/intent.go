package gateway

import (
	"regexp"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

var reviewIDPattern = maxLengthPattern{regexp.MustCompile(`^prv_[A-Za-z0-9]+$`), 68}

// convertIntent converts a PaymentIntent. It returns nil if pi is not a valid
// PaymentIntent or has another id than id; an empty id accepts any. stripe-go
// decodes {}, null and "pi_…" without an error.
func convertIntent(s *secretScrubber, pi *stripe.PaymentIntent, id string) *hold.PaymentIntent {
	if pi == nil || id != "" && pi.ID != id || !isValidIntent(pi) {
		return nil
	}
	in := &hold.PaymentIntent{
		ID:               pi.ID,
		Amount:           pi.Amount,
		AmountCapturable: pi.AmountCapturable,
		AmountReceived:   pi.AmountReceived,
		Currency:         string(pi.Currency),
		Created:          time.Unix(pi.Created, 0).UTC(),
		CanceledAt:       timeOfUnixSeconds(pi.CanceledAt),
		Livemode:         pi.Livemode,
	}
	in.Status, in.CancellationReason = normalizeStatusAndReason(string(pi.Status),
		string(pi.CancellationReason))
	in.Metadata = redactSecretsInMetadata(s, pi.Metadata)
	if pi.Customer != nil {
		in.Customer = validObjectIDOrEmpty(pi.Customer.ID)
	}
	if pi.PaymentMethod != nil {
		in.PaymentMethod = validObjectIDOrEmpty(pi.PaymentMethod.ID)
	}
	in.SharesFunds = pi.TransferData != nil || pi.OnBehalfOf != nil ||
		pi.ApplicationFeeAmount > 0 || pi.TransferGroup != ""
	in.Reusable = pi.SetupFutureUsage == stripe.PaymentIntentSetupFutureUsageOffSession
	// Stripe does not document whether a closed review stays in the intent, so
	// only an open review counts.
	if r := pi.Review; r != nil && r.Open && reviewIDPattern.matches(r.ID) {
		in.Review = r.ID
	}
	setPaymentMethodDetails(in, pi)
	return in
}

// setPaymentMethodDetails sets what an intent's charge says of the payment
// method, such as the deadline and the features of the card.
func setPaymentMethodDetails(in *hold.PaymentIntent, pi *stripe.PaymentIntent) {
	if c := pi.LatestCharge; c != nil && c.PaymentMethodDetails != nil {
		d := c.PaymentMethodDetails
		in.PaymentMethodType = validIdentifierOrEmpty(string(d.Type))
		in.Features, in.MaxCapturable = cardFeatures(d), maxCapturable(d)
		in.Reusable = in.Reusable || d.Card != nil && d.Card.Mandate != ""
		in.CaptureBefore = captureBefore(d)
		// This API version has no such field for other payment methods.
		in.SingleCapture = d.Card != nil && d.Card.Multicapture != nil &&
			d.Card.Multicapture.Status == stripe.ChargePaymentMethodDetailsCardMulticaptureStatusUnavailable
	} else if len(pi.PaymentMethodTypes) == 1 {
		// If several types are allowed, the intent does not say which was used.
		// The assumed deadline depends on the type: a card has 7 days, Klarna
		// has 28.
		in.PaymentMethodType = validIdentifierOrEmpty(pi.PaymentMethodTypes[0])
	}
}

// statusExpired is a status that an API version may use for an authorization
// that the card network ended. Other versions use canceled with a reason.
const statusExpired = "expired"

// normalizeStatusAndReason returns an intent's status and cancellation reason as every
// API version means them.
func normalizeStatusAndReason(status, reason string) (hold.PaymentIntentStatus, string) {
	if status == statusExpired {
		return hold.StatusCanceled, hold.ReasonExpired
	}
	return hold.PaymentIntentStatus(status), validIdentifierOrEmpty(reason)
}

// isValidIntent reports whether a decoded body is a PaymentIntent with all
// fields that a hold needs.
func isValidIntent(pi *stripe.PaymentIntent) bool {
	return pi.Object == "payment_intent" && hold.CheckPaymentIntentID(pi.ID) == nil &&
		validIdentifierOrEmpty(string(pi.Status)) != "" && isCurrencyCode(string(pi.Currency)) &&
		pi.Amount >= 0 && pi.AmountCapturable >= 0 && pi.AmountReceived >= 0 && pi.Created > 0
}

// validObjectIDOrEmpty returns s if it has the form of an object's id, otherwise "".
func validObjectIDOrEmpty(s string) string {
	if len(s) > maxObjectIDLen {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		if !isLowercase(c) && !isDigit(c) && c != '_' && (c < 'A' || c > 'Z') {
			return ""
		}
	}
	return s
}

// maxObjectIDLen is the longest id that is accepted. Stripe's have some 30
// characters.
const maxObjectIDLen = 105

// validIdentifierOrEmpty returns s if it has the form of a Stripe identifier,
// otherwise "".
func validIdentifierOrEmpty(s string) string {
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
