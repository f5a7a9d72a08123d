package gateway

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/holdd/holdd/worker/hold"
)

// DefaultSignatureTolerance is the default maximum age of a signature.
const DefaultSignatureTolerance = 300 * time.Second

const (
	maxEventBytes           = 1 << 20 // Stripe's events are far smaller
	maxSignatureHeaderBytes = 4 << 10 // 16 signatures have about 1,100 bytes
)

// Errors of [ParseEvent]. They contain no part of the request.
var (
	// ErrInvalidSignature says that the body has no signature with any of the
	// secrets.
	ErrInvalidSignature = errors.New("the body is not signed with any of the signing secrets: " +
		"compare STRIPE_WEBHOOK_SECRETS with the endpoint's in the Dashboard, " +
		"and forward the body unchanged")
	// ErrSignatureTooOld says that the signature is older than the tolerance.
	ErrSignatureTooOld = errors.New("the signature is too old: " +
		"the request may be a replay, or this machine's clock is wrong")
	// ErrSignatureInFuture says that the signature is from the future by more
	// than the tolerance, and would stay valid for longer than it should.
	ErrSignatureInFuture = errors.New("the signature is from the future: " +
		"this machine's clock is probably slow")
	// ErrNotAnEvent says that the body is signed but is not an event of Stripe.
	ErrNotAnEvent = errors.New("the body is signed but is not a readable event")
)

var (
	eventIDPattern   = maxLengthPattern{regexp.MustCompile(`^evt_[A-Za-z0-9_]+$`), 254}
	eventTypePattern = maxLengthPattern{regexp.MustCompile(`^[a-z][a-z0-9_.]*$`), 100}
)

// eventJSON has the fields that the gateway reads from a body. Their names and
// types are the same in every version of the API.
type eventJSON struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Type     string `json:"type"`
	Account  string `json:"account"`
	Context  string `json:"context"` // since version 2025-04-30
	Created  int64  `json:"created"`
	Livemode bool   `json:"livemode"`
	Data     struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

// eventObject is the object of an event: a PaymentIntent, a charge or a review.
type eventObject struct {
	ID                 string                   `json:"id"`
	Object             string                   `json:"object"`
	Status             string                   `json:"status"`
	Amount             int64                    `json:"amount"`
	AmountCapturable   int64                    `json:"amount_capturable"`
	AmountReceived     int64                    `json:"amount_received"`
	Currency           string                   `json:"currency"`
	Created            int64                    `json:"created"`
	CaptureMethod      string                   `json:"capture_method"`
	MethodOptions      paymentMethodOptionsJSON `json:"payment_method_options"`
	CancellationReason string                   `json:"cancellation_reason"`
	Metadata           map[string]string        `json:"metadata"`
	PaymentIntent      expandableID             `json:"payment_intent"` // of a charge or a review
	Open               bool                     `json:"open"`
	Reason             string                   `json:"reason"`
	Review             expandableID             `json:"review"` // of a PaymentIntent, open or closed
	ClosedReason       string                   `json:"closed_reason"`
}

// paymentMethodOptionsJSON are the options of an intent by payment method type.
type paymentMethodOptionsJSON map[string]struct {
	CaptureMethod string `json:"capture_method"`
}

// capturesAutomatically reports whether Stripe captures the intent by itself,
// so that it never is a hold. The capture method of the intent is a default:
// each payment method can have its own, and an intent that waits for a capture
// is a hold whatever its parameters say.
func (s *eventObject) capturesAutomatically() bool {
	if s.CaptureMethod == "" || s.CaptureMethod == "manual" ||
		hold.PaymentIntentStatus(s.Status) == hold.StatusRequiresCapture {
		return false
	}
	for _, o := range s.MethodOptions {
		if o.CaptureMethod == "manual" || o.CaptureMethod == "manual_preferred" {
			return false
		}
	}
	return true
}

// expandableID is the id of an object that may be expanded.
type expandableID string

// UnmarshalJSON decodes an id, or the id of an expanded object.
func (r *expandableID) UnmarshalJSON(b []byte) error {
	var o struct {
		ID string `json:"id"`
	}
	if len(b) > 0 && b[0] == '{' {
		if err := json.Unmarshal(b, &o); err != nil {
			return err
		}
		*r = expandableID(o.ID)
		return nil
	}
	return json.Unmarshal(b, (*string)(r))
}

// ParseEventOptions configure [ParseEvent].
type ParseEventOptions struct {
	Secrets   []string      // signing secrets; the body needs a signature with one
	Tolerance time.Duration // maximum age; 0 means [DefaultSignatureTolerance]
	// Context is the account of [Options].Context. With it, events of the
	// organization's other accounts have no PaymentIntent.
	Context string
}

// ParseEvent verifies and parses a webhook, which is a snapshot event or a thin
// one. The body must be unchanged, and signature is the header
// Stripe-Signature. An event that is not about a PaymentIntent has an empty
// PaymentIntent. Errors are [ErrInvalidSignature], [ErrSignatureTooOld],
// [ErrSignatureInFuture] and [ErrNotAnEvent].
func ParseEvent(body []byte, signature string, o ParseEventOptions) (hold.StripeEvent, error) {
	if o.Tolerance == 0 {
		o.Tolerance = DefaultSignatureTolerance
	}
	if err := verifySignature(body, signature, o.Secrets, o.Tolerance); err != nil {
		return hold.StripeEvent{}, err
	}
	var kind struct {
		Object string `json:"object"`
	}
	if json.Unmarshal(body, &kind) != nil {
		return hold.StripeEvent{}, ErrNotAnEvent
	}
	if kind.Object == thinEventObject {
		return parseThinEvent(body, o.Context)
	}
	return parseSnapshotEvent(body, o.Context)
}

func parseSnapshotEvent(body []byte, ownAccount string) (hold.StripeEvent, error) {
	var raw eventJSON
	if json.Unmarshal(body, &raw) != nil || !raw.isValid() {
		return hold.StripeEvent{}, ErrNotAnEvent
	}
	account, known := snapshotEventAccount(raw.Account, raw.Context, ownAccount)
	e := hold.StripeEvent{
		ID:       raw.ID,
		Type:     raw.Type,
		Account:  account,
		Created:  time.Unix(raw.Created, 0).UTC(),
		Livemode: raw.Livemode,
	}
	if !known || !isHoldEventType(raw.Type) {
		return e, nil
	}
	var s eventObject
	if json.Unmarshal(raw.Data.Object, &s) != nil || !setEventObject(&e, &s) {
		return hold.StripeEvent{}, ErrNotAnEvent
	}
	if s.Object == "charge" && e.PaymentIntent != "" {
		e.Authorized = authorizedIntentFromEventCharge(raw.Data.Object, e.PaymentIntent)
	}
	return e, nil
}

// isValid reports whether a decoded body is an event.
func (e *eventJSON) isValid() bool {
	return e.Object == "event" && e.Created > 0 && eventIDPattern.matches(e.ID) &&
		eventTypePattern.matches(e.Type) && hold.CheckAccountID(e.Account) == nil
}

// isHoldEventType reports whether events of a type are about an intent, its
// charge or its review. A type with three parts, such as charge.refund.updated,
// is about a dispute or a refund.
func isHoldEventType(eventType string) bool {
	family, verb, _ := strings.Cut(eventType, ".")
	switch family {
	case "payment_intent", "charge", "review":
		return !strings.Contains(verb, ".")
	}
	return false
}

// setEventObject adds the object of an event to e. It reports whether the
// object is valid.
func setEventObject(e *hold.StripeEvent, s *eventObject) bool {
	id := string(s.PaymentIntent)
	switch s.Object {
	case "payment_intent":
		id = s.ID
		if !s.isValidIntent() {
			return false
		}
		e.AutomaticCapture = s.capturesAutomatically()
		e.Intent = s.toPaymentIntent(e.Livemode)
	case "review":
		reason := s.ClosedReason
		if reason == "" && !s.Open {
			reason = s.Reason // in versions without closed_reason
		}
		if !reviewIDPattern.matches(s.ID) {
			return false
		}
		e.Review = &hold.FraudReview{ID: s.ID, Open: s.Open, Reason: validIdentifierOrEmpty(reason)}
	case "charge":
	default:
		return false
	}
	if id != "" && hold.CheckPaymentIntentID(id) != nil {
		return false
	}
	e.PaymentIntent = id // empty for a charge without an intent
	return true
}

// isValidIntent reports whether the object is a PaymentIntent with all fields
// that a hold needs.
func (s *eventObject) isValidIntent() bool {
	return hold.CheckPaymentIntentID(s.ID) == nil && validIdentifierOrEmpty(s.Status) != "" &&
		isCurrencyCode(s.Currency) && s.Created > 0 &&
		s.Amount >= 0 && s.AmountCapturable >= 0 && s.AmountReceived >= 0
}

// toPaymentIntent converts the object, which must be a PaymentIntent.
func (s *eventObject) toPaymentIntent(livemode bool) *hold.PaymentIntent {
	status, reason := normalizeStatusAndReason(s.Status, s.CancellationReason)
	return &hold.PaymentIntent{
		ID:                 s.ID,
		Status:             status,
		Amount:             s.Amount,
		AmountCapturable:   s.AmountCapturable,
		AmountReceived:     s.AmountReceived,
		Currency:           s.Currency,
		CancellationReason: reason,
		Created:            time.Unix(s.Created, 0).UTC(),
		Livemode:           livemode,
		Metadata:           s.Metadata,
		Review:             string(s.Review),
	}
}

// signatureTime returns the time of a valid signature. The header's last time
// is the one that stripe-go verifies.
func signatureTime(signature string) (at time.Time) {
	for _, part := range strings.Split(signature, ",") {
		if text, ok := strings.CutPrefix(part, "t="); ok {
			if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
				at = time.Unix(seconds, 0)
			}
		}
	}
	return at
}

// verifySignature checks that the body has a signature with one of the secrets
// whose time differs from now by at most tolerance.
func verifySignature(
	body []byte, signature string, secrets []string, tolerance time.Duration,
) error {
	if len(signature) > maxSignatureHeaderBytes || len(body) > maxEventBytes {
		return ErrInvalidSignature
	}
	for _, secret := range secrets {
		if secret == "" {
			continue // any sender could sign with an empty secret
		}
		switch err := webhook.ValidatePayloadWithTolerance(body, signature, secret, tolerance); {
		case err == nil && signatureTime(signature).After(time.Now().Add(tolerance)):
			return ErrSignatureInFuture
		case err == nil:
			return nil
		case errors.Is(err, webhook.ErrTooOld): // stripe-go checks the age before the signatures
			if webhook.ValidatePayloadIgnoringTolerance(body, signature, secret) == nil {
				return ErrSignatureTooOld
			}
		}
	}
	return ErrInvalidSignature
}
