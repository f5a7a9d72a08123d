package hold

import "time"

// Status is a PaymentIntent's status at Stripe.
type Status string

const (
	StatusRequiresPaymentMethod Status = "requires_payment_method"
	StatusRequiresConfirmation  Status = "requires_confirmation"
	StatusRequiresAction        Status = "requires_action"
	StatusProcessing            Status = "processing"
	StatusRequiresCapture       Status = "requires_capture"
	StatusCanceled              Status = "canceled"
	StatusSucceeded             Status = "succeeded"
)

// Intent is what Stripe says of a PaymentIntent at one moment.
type Intent struct {
	ID               string
	Status           Status
	Amount           int64 // of the intent
	AmountCapturable int64
	// captured so far: above zero with requires_capture where another system
	// took a part
	AmountReceived     int64
	Currency           string
	CancellationReason string
	Created            time.Time
	CaptureBefore      time.Time // zero where the charge doesn't tell
	Livemode           bool
	// type of the payment method, such as card; empty if the charge wasn't read
	PaymentMethodType string
	Metadata          map[string]string
	Review            string // id of the fraud review, while it is open
	SingleCapture     bool   // the charge was read and says that it can be captured only once
}

// expiredByNetwork reports whether a canceled intent was let go by the card
// network, not by a person or a program. Newer API versions say "expired" where
// older ones say "automatic".
func (in *Intent) expiredByNetwork() bool {
	return in.CancellationReason == "automatic" || in.CancellationReason == "expired"
}

// holds reports whether an amount that a caller said is what the intent holds:
// all that was authorized, or what is left of it.
func (in *Intent) holds(amount int64) bool {
	return amount == in.AmountCapturable || amount == in.AmountCapturable+in.AmountReceived
}

// AnswerKind is what became of a request to Stripe. The set is closed:
// everything that can come back is one of these.
type AnswerKind uint8

const (
	// 200 and a body that could be read: Answer.Intent tells
	AnswerOK              AnswerKind = iota + 1
	AnswerUnexpectedState            // payment_intent_unexpected_state
	// charge_already_captured, charge_expired_for_capture and their kin
	AnswerChargeGone
	AnswerAmountTooLarge // amount_too_large
	AnswerNotFound       // resource_missing
	// 429 lock_timeout: somebody else works on the intent
	AnswerLockTimeout
	AnswerRateLimited      // 429 for a rate
	AnswerKeyInUse         // 409: a request with the same key is under way
	AnswerIdempotencyError // the key was used with other parameters
	AnswerDeclined         // 402 card_error
	AnswerUnauthorized     // 401: the key is wrong or revoked
	AnswerForbidden        // 403: the key may not do this
	// any other 4xx: nothing happened and trying again won't help
	AnswerInvalid
	AnswerUnreachable // the request never left: nothing happened
	// no reply, a broken one, 5xx, 424: the effect may have happened
	AnswerUnknown
	// a 5xx that Stripe keeps for this key: it will never say anything else
	AnswerReplayedError
)

var answerNames = [...]string{
	"", "ok", "unexpected_state", "charge_gone", "amount_too_large", "not_found",
	"lock_timeout", "rate_limited",
	"key_in_use", "idempotency_error", "declined", "unauthorized", "forbidden", "invalid",
	"unreachable", "unknown", "replayed_error",
}

func (k AnswerKind) String() string { return enumName(answerNames[:], int(k)) }

// outage reports an answer that says nothing of the one hold: Stripe can't be
// reached, limits the rate, or rejects the key. It has an alert of its own, and
// the back-off bounds the calls.
func (k AnswerKind) outage() bool {
	return k == AnswerUnreachable || k == AnswerRateLimited || k == AnswerUnauthorized
}

// AnswerKinds lists every kind, in the order of their values.
func AnswerKinds() []AnswerKind {
	kinds := make([]AnswerKind, 0, len(answerNames)-1)
	for k := AnswerOK; k <= AnswerReplayedError; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// Answer is the outcome of one request to Stripe. Its only secrets are the
// cardholder's, which are of type [Secret] and never print.
type Answer struct {
	Kind       AnswerKind
	Intent     *Intent // where the body carried one, error bodies included
	RequestID  string
	HTTPStatus int    // 0 when there was no reply
	Code       string // Stripe's error code or decline code
	Message    string // for people; at most MaxNote bytes are kept
	Replayed   bool   // Stripe sent a stored answer
	// the request was sent more than once on the way, and an earlier try may
	// have had its effect
	Retransmitted bool
	Page          *Page       // of a list
	Cardholder    *Cardholder // of an authorization, a confirmation or a read
}

// Page is one page of a list, newest first.
type Page struct {
	Intents []Intent
	More    bool // there are older ones
}

// Cardholder is what only the cardholder's browser may see, and why the last
// attempt to pay failed.
type Cardholder struct {
	ClientSecret                Secret
	NextAction                  string // its type, such as redirect_to_url
	RedirectURL                 Secret
	FailureCode, FailureMessage string
}

// historyNote is what a hold's history tells of an answer.
func (a *Answer) historyNote() string {
	if a.Code == "" {
		return a.Message
	}
	return a.Code + ": " + a.Message
}

// Call is one request to be sent to Stripe.
type Call struct {
	Op            Op
	PaymentIntent string
	Account       string
	Amount        int64 // of a capture; 0: everything that is capturable
	// of a capture: take nothing and release what is left after earlier
	// captures
	ReleaseRest bool
	Key         string            // idempotency key; empty for a read
	Metadata    map[string]string // of an update: the pairs to set, an empty value removes one
	Authorize   *AuthorizeCall    // of an authorization or confirmation
	After       string            // of a list: the last PaymentIntent of the page before
	Limit       int               // of a list
}

// NotSentError says that a call was not sent, so that nothing can have
// happened.
type NotSentError struct {
	Reason     string
	RetryAfter time.Duration // when it makes sense to try again
}

func (e *NotSentError) Error() string { return "not sent: " + e.Reason }
