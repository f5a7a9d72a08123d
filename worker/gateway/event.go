package gateway

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/holdd/holdd/worker/hold"
)

// MaxEvent is the most bytes that a webhook's body may have. Stripe's are far below.
const MaxEvent = 1 << 20

// DefaultTolerance is how old a signature may be.
const DefaultTolerance = 300 * time.Second

// maxSignature bounds the header: 16 signatures have some 1,100 bytes.
const maxSignature = 4 << 10

// Errors of [ParseEvent]. They carry nothing of what was sent.
var (
	// ErrForged: none of the secrets signed this body.
	ErrForged = errors.New("the body is not signed with any of the signing secrets: compare STRIPE_WEBHOOK_SECRETS with the endpoint's in the Dashboard, and hand the body on unchanged")
	// ErrTooOld: it was signed, but too long ago.
	ErrTooOld = errors.New("the signature is too old: it may be a repeated one, or this machine's clock is wrong")
	// ErrNoEvent: it is signed, and no event of Stripe's.
	ErrNoEvent = errors.New("the body is signed and yet no event that can be read")
)

var (
	eventForm     = form{regexp.MustCompile(`^evt_[A-Za-z0-9_]+$`), 254}
	eventTypeForm = form{regexp.MustCompile(`^[a-z][a-z0-9_.]*$`), 100}
	ourKeyForm    = form{regexp.MustCompile(`^[!-~]+$`), maxKey}
)

// event is what is read of a body. Names and types of these have been the same in every version of the API.
type event struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Type     string `json:"type"`
	Account  string `json:"account"`
	Created  int64  `json:"created"`
	Livemode bool   `json:"livemode"`
	// An id alone in versions before 2017-05-25.
	Request json.RawMessage `json:"request"`
	Data    struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

// subject is the object that an event is about: a PaymentIntent, a charge or a review.
type subject struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Status             string            `json:"status"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	Currency           string            `json:"currency"`
	Created            int64             `json:"created"`
	CaptureMethod      string            `json:"capture_method"`
	CancellationReason string            `json:"cancellation_reason"`
	Metadata           map[string]string `json:"metadata"`
	PaymentIntent      reference         `json:"payment_intent"` // of a charge or a review
	Open               bool              `json:"open"`
	Reason             string            `json:"reason"`
	ClosedReason       string            `json:"closed_reason"`
}

// reference is an object's id, whether it is expanded or not.
type reference string

func (r *reference) UnmarshalJSON(b []byte) error {
	var o struct {
		ID string `json:"id"`
	}
	if len(b) > 0 && b[0] == '{' {
		if err := json.Unmarshal(b, &o); err != nil {
			return err
		}
		*r = reference(o.ID)
		return nil
	}
	return json.Unmarshal(b, (*string)(r))
}

// ParseEvent reads a webhook: body as it came, signature from the header Stripe-Signature, tolerance 0 for [DefaultTolerance]. The errors are
// those above. An event that concerns no PaymentIntent has none.
func ParseEvent(body []byte, signature string, secrets []string, tolerance time.Duration) (hold.StripeEvent, error) {
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	if err := verify(body, signature, secrets, tolerance); err != nil {
		return hold.StripeEvent{}, err
	}
	var raw event
	if json.Unmarshal(body, &raw) != nil || raw.Object != "event" || !eventForm.fits(raw.ID) || !eventTypeForm.fits(raw.Type) ||
		hold.CheckAccountID(raw.Account) != nil || raw.Created <= 0 {
		return hold.StripeEvent{}, ErrNoEvent
	}
	e := hold.StripeEvent{
		ID: raw.ID, Type: raw.Type, Account: raw.Account, Created: time.Unix(raw.Created, 0).UTC(), Livemode: raw.Livemode, IdempotencyKey: causeKey(raw.Request),
	}
	family, verb, _ := strings.Cut(raw.Type, ".")
	if strings.Contains(verb, ".") || family != "payment_intent" && family != "charge" && family != "review" {
		return e, nil // whatever it is about (a dispute, a refund, an invoice), it is no hold
	}
	var s subject
	if json.Unmarshal(raw.Data.Object, &s) != nil {
		return hold.StripeEvent{}, ErrNoEvent
	}
	if !about(&e, &s) {
		return hold.StripeEvent{}, ErrNoEvent
	}
	return e, nil
}

// about fills in what the event is about, and reports whether that could be read.
func about(e *hold.StripeEvent, s *subject) bool {
	id := string(s.PaymentIntent)
	switch s.Object {
	case "payment_intent":
		id = s.ID
		if hold.CheckPaymentIntentID(id) != nil || word(s.Status) == "" || !currency(s.Currency) ||
			s.Amount < 0 || s.AmountCapturable < 0 || s.AmountReceived < 0 || s.Created <= 0 {
			return false
		}
		e.AutomaticCapture = s.CaptureMethod != "" && s.CaptureMethod != "manual"
		e.Intent = &hold.Intent{
			ID: id, Status: hold.Status(s.Status), Amount: s.Amount, AmountCapturable: s.AmountCapturable, AmountReceived: s.AmountReceived, Currency: s.Currency,
			CancellationReason: word(s.CancellationReason), Created: time.Unix(s.Created, 0).UTC(), Livemode: e.Livemode, Metadata: s.Metadata,
		}
	case "review":
		reason := s.ClosedReason
		if reason == "" && !s.Open {
			reason = s.Reason // where the version has no closed_reason
		}
		if !reviewForm.fits(s.ID) {
			return false
		}
		e.Review = &hold.Review{ID: s.ID, Open: s.Open, Reason: word(reason)}
	case "charge":
	default:
		return false
	}
	if id != "" && hold.CheckPaymentIntentID(id) != nil {
		return false
	}
	e.PaymentIntent = id // empty for a charge made without an intent
	return true
}

func verify(body []byte, signature string, secrets []string, tolerance time.Duration) error {
	if len(signature) > maxSignature || len(body) > MaxEvent {
		return ErrForged
	}
	for _, secret := range secrets {
		if secret == "" {
			continue // would be anybody's
		}
		switch err := webhook.ValidatePayloadWithTolerance(body, signature, secret, tolerance); {
		case err == nil:
			return nil
		case errors.Is(err, webhook.ErrTooOld): // told before the signatures are looked at
			if webhook.ValidatePayloadIgnoringTolerance(body, signature, secret) == nil {
				return ErrTooOld
			}
		}
	}
	return ErrForged
}

// causeKey is the idempotency key of the request that caused an event.
func causeKey(request json.RawMessage) string {
	var r struct {
		Key string `json:"idempotency_key"`
	}
	if len(request) == 0 || request[0] != '{' || json.Unmarshal(request, &r) != nil || !ourKeyForm.fits(r.Key) {
		return ""
	}
	return r.Key
}
