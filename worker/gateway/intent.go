package gateway

import (
	"regexp"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

var reviewForm = form{regexp.MustCompile(`^prv_[A-Za-z0-9]+$`), 68}

// intent translates a PaymentIntent. It returns nil for a body that was JSON and yet no PaymentIntent, or another one than was asked for:
// stripe-go takes {}, null and "pi_…" for one as well. An empty id stands for any.
func (g *Gateway) intent(pi *stripe.PaymentIntent, id string) *hold.Intent {
	if pi == nil || pi.Object != "payment_intent" || id != "" && pi.ID != id || hold.CheckPaymentIntentID(pi.ID) != nil ||
		word(string(pi.Status)) == "" || !currency(string(pi.Currency)) ||
		pi.Amount < 0 || pi.AmountCapturable < 0 || pi.AmountReceived < 0 || pi.Created <= 0 {
		return nil
	}
	in := &hold.Intent{
		ID: pi.ID, Status: hold.Status(pi.Status),
		Amount: pi.Amount, AmountCapturable: pi.AmountCapturable, AmountReceived: pi.AmountReceived,
		Currency: string(pi.Currency), CancellationReason: word(string(pi.CancellationReason)),
		Created: time.Unix(pi.Created, 0).UTC(), Livemode: pi.Livemode,
	}
	if len(pi.Metadata) > 0 {
		in.Metadata = make(map[string]string, len(pi.Metadata))
		for k, v := range pi.Metadata {
			in.Metadata[k] = g.scrub.secrets(v) // a key has 40 characters at most, a client secret more
		}
	}
	// Whether the id stays after a review was closed is not known, so the review itself is asked for and has to say that it is open.
	if r := pi.Review; r != nil && r.Open && reviewForm.fits(r.ID) {
		in.Review = r.ID
	}
	if c := pi.LatestCharge; c != nil && c.PaymentMethodDetails != nil {
		d := c.PaymentMethodDetails
		in.PaymentMethodType = word(string(d.Type))
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
		// Of several allowed methods nobody knows which was used, and a deadline is derived from it: taking a card for Klarna
		// would turn 7 days into 28.
		in.PaymentMethodType = word(pi.PaymentMethodTypes[0])
	}
	return in
}

// word returns s if it is an identifier of Stripe's, and nothing else.
func word(s string) string {
	if s == "" || len(s) > 40 || !letter(s[0]) {
		return ""
	}
	for i := range len(s) {
		if c := s[i]; !letter(c) && !digit(c) && c != '_' {
			return ""
		}
	}
	return s
}

func currency(s string) bool {
	return len(s) == 3 && letter(s[0]) && letter(s[1]) && letter(s[2])
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }
