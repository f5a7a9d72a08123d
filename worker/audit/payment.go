package audit

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Outcome is what became of an authorization.
type Outcome string

// The outcomes.
const (
	Held     Outcome = "held"     // the money is held now
	Captured Outcome = "captured" // all of it or a part
	Canceled Outcome = "canceled" // released by a request
	Expired  Outcome = "expired"  // the card network or Stripe ended it
)

// EndTimeSource is where a time comes from.
type EndTimeSource string

// The sources.
const (
	FromBalance EndTimeSource = "balance_transaction"
	FromEvent   EndTimeSource = "event"
	FromIntent  EndTimeSource = "payment_intent" // canceled_at
	FromCharge  EndTimeSource = "capture_before"
	Assumed     EndTimeSource = "assumed" // from the payment method
)

// Payment is one authorization that was to be captured by a request of its own.
// Amounts are in minor units.
type Payment struct {
	// ID is the PaymentIntent, or the charge of a payment that was made with the
	// Charges API alone.
	ID        string  `json:"payment_intent"`
	Charge    string  `json:"charge"`
	Customer  string  `json:"customer,omitempty"`
	Reference string  `json:"reference,omitempty"` // of the booking, from the metadata
	Method    string  `json:"payment_method_type,omitempty"`
	Brand     string  `json:"brand,omitempty"`
	Currency  string  `json:"currency"`
	Amount    int64   `json:"amount"` // authorized
	Captured  int64   `json:"captured,omitempty"`
	Held      int64   `json:"held,omitempty"` // now
	Outcome   Outcome `json:"outcome"`

	AuthorizedAt time.Time `json:"authorized_at"`
	// EndedAt is when the money was captured or released; zero if it is held, or
	// if that is not known.
	EndedAt     time.Time     `json:"ended_at,omitzero"`
	EndedSource EndTimeSource `json:"ended_at_source,omitempty"`
	// ExpiresAt is the end of the authorization, of a captured one too.
	ExpiresAt     time.Time     `json:"expires_at"`
	ExpiresSource EndTimeSource `json:"expires_at_source"`
}

// NewPayment returns the payment of an intent. ok is false if no bank authorized
// it, or if Stripe was to capture it at once.
func NewPayment(in *hold.PaymentIntent, h *hold.ChargeHistory) (p Payment, ok bool) {
	p = Payment{ID: in.ID, Charge: h.Charge, Customer: in.Customer,
		Reference: in.GuessReference(), Method: in.PaymentMethodType, Brand: h.Brand,
		Currency: in.Currency, Amount: h.Authorized, Captured: h.Captured,
		AuthorizedAt: h.AuthorizedAt, ExpiresAt: in.CaptureBefore, ExpiresSource: FromCharge}
	if h.Charge == "" || h.AuthorizedAt.IsZero() || !h.Manual {
		return p, false
	}
	switch in.Status {
	case hold.StatusRequiresCapture:
		p.Outcome, p.Held = Held, in.AmountCapturable
	case hold.StatusSucceeded:
		p.Outcome = Captured
		p.setEndTime(h.CapturedAt, FromBalance)
	case hold.StatusCanceled:
		p.Outcome = Canceled
		if in.ExpiredByNetwork() {
			p.Outcome = Expired
		}
		p.setEndTime(in.CanceledAt, FromIntent)
	default:
		return p, false
	}
	if p.ExpiresAt.IsZero() {
		p.ExpiresAt, p.ExpiresSource =
			hold.AssumedExpiry(p.Method, p.Brand, h.Extended, h.AuthorizedAt), Assumed
	}
	return p, true
}

func (p *Payment) setEndTime(at time.Time, from EndTimeSource) {
	if !at.IsZero() {
		p.EndedAt, p.EndedSource = at, from
	}
}

// SetMissingCaptureTimes sets the times of captures that have none, from events by
// charge.
func SetMissingCaptureTimes(payments []Payment, byCharge map[string]time.Time) {
	for i := range payments {
		p := &payments[i]
		if p.Outcome == Captured && p.EndedAt.IsZero() {
			p.setEndTime(byCharge[p.Charge], FromEvent)
		}
	}
}

// cardBrandName returns the card brand of a payment, or its type if it is no
// card.
func (p *Payment) cardBrandName() string {
	switch {
	case p.Brand != "":
		return p.Brand
	case p.Method != "":
		return p.Method
	}
	return "unknown"
}
