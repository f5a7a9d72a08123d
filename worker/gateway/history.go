package gateway

import (
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// convertIntentHistory converts what an intent's latest charge says of its
// money. It reads the charge only if a bank authorized it.
func convertIntentHistory(pi *stripe.PaymentIntent) hold.ChargeHistory {
	var h hold.ChargeHistory
	c := pi.LatestCharge
	if c == nil || c.Status == stripe.ChargeStatusFailed || c.Amount < 0 || c.AmountCaptured < 0 {
		return h
	}
	h.Charge, h.AuthorizedAt = validObjectIDOrEmpty(c.ID), timeOfUnixSeconds(c.Created)
	h.Authorized, h.Captured = c.Amount, c.AmountCaptured
	if b := c.BalanceTransaction; b != nil {
		h.CapturedAt = timeOfUnixSeconds(b.Created)
	}
	method := ""
	if d := c.PaymentMethodDetails; d != nil {
		method = string(d.Type)
		switch {
		case d.Card != nil:
			h.Brand = validIdentifierOrEmpty(string(d.Card.Brand))
			e := d.Card.ExtendedAuthorization
			h.Extended = e != nil && e.Status ==
				stripe.ChargePaymentMethodDetailsCardExtendedAuthorizationStatusEnabled
		case d.CardPresent != nil:
			h.Brand = validIdentifierOrEmpty(string(d.CardPresent.Brand))
		}
	}
	h.Manual = !c.Captured || pi.CaptureMethod == stripe.PaymentIntentCaptureMethodManual ||
		captureMethodOverride(pi.PaymentMethodOptions, method) == "manual"
	return h
}

// captureMethodOverride returns the capture method that an intent sets for one type of
// payment method, which takes precedence over the intent's own.
func captureMethodOverride(o *stripe.PaymentIntentPaymentMethodOptions, method string) string {
	switch {
	case o == nil:
	case method == "card" && o.Card != nil:
		return string(o.Card.CaptureMethod)
	case method == "affirm" && o.Affirm != nil:
		return string(o.Affirm.CaptureMethod)
	case method == "afterpay_clearpay" && o.AfterpayClearpay != nil:
		return string(o.AfterpayClearpay.CaptureMethod)
	case method == "cashapp" && o.CashApp != nil:
		return string(o.CashApp.CaptureMethod)
	case method == "klarna" && o.Klarna != nil:
		return string(o.Klarna.CaptureMethod)
	case method == "link" && o.Link != nil:
		return string(o.Link.CaptureMethod)
	case method == "mobilepay" && o.Mobilepay != nil:
		return string(o.Mobilepay.CaptureMethod)
	case method == "paypal" && o.Paypal != nil:
		return string(o.Paypal.CaptureMethod)
	}
	return ""
}

// timeOfUnixSeconds returns the time of a timestamp, zero if there is none.
func timeOfUnixSeconds(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
