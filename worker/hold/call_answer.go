package hold

import "time"

// PaymentIntentStatus is a PaymentIntent's status at Stripe.
type PaymentIntentStatus string

const (
	StatusRequiresPaymentMethod PaymentIntentStatus = "requires_payment_method"
	StatusRequiresConfirmation  PaymentIntentStatus = "requires_confirmation"
	StatusRequiresAction        PaymentIntentStatus = "requires_action"
	StatusProcessing            PaymentIntentStatus = "processing"
	StatusRequiresCapture       PaymentIntentStatus = "requires_capture"
	StatusCanceled              PaymentIntentStatus = "canceled"
	StatusSucceeded             PaymentIntentStatus = "succeeded"
)

// PaymentIntent is a PaymentIntent as Stripe described it at one moment.
// Amounts are in minor units.
type PaymentIntent struct {
	ID               string
	Status           PaymentIntentStatus
	Amount           int64
	AmountCapturable int64
	// AmountReceived is what was captured so far, by any system. It can be above
	// zero while the status is requires_capture.
	AmountReceived     int64
	Currency           string
	CancellationReason string
	CanceledAt         time.Time // also of one whose authorization expired; zero in an event
	Created            time.Time
	CaptureBefore      time.Time // of the charge; zero if it has none
	Livemode           bool
	PaymentMethodType  string // such as card; empty if the charge was not read
	Metadata           map[string]string
	Review             string       // id of the fraud review while it is open
	SingleCapture      bool         // the charge was read and can be captured only once
	Features           CardFeatures // of the charge, if it was read
	MaxCapturable      int64        // of the charge, with FeatureOvercapture
	Customer           string       // id
	PaymentMethod      string       // id
	// Reusable says that the card may be authorized without the cardholder: it
	// was saved with setup_future_usage=off_session, or there is a mandate.
	Reusable bool
	// SharesFunds says that the payment names another account, an application
	// fee or a transfer group, which another intent would not have.
	SharesFunds bool
}

// ExpiredByNetwork reports whether the card network ended a canceled intent.
// Newer API versions have [ReasonExpired] where older ones have
// [ReasonAutomatic].
func (in *PaymentIntent) ExpiredByNetwork() bool {
	return in.CancellationReason == ReasonAutomatic || in.CancellationReason == ReasonExpired
}

// isHeldOrAuthorizedAmount reports whether amount is what the intent holds: the whole
// authorized amount, or what is left of it.
func (in *PaymentIntent) isHeldOrAuthorizedAmount(amount int64) bool {
	return amount == in.AmountCapturable || amount == in.AmountCapturable+in.AmountReceived
}

// AnswerKind classifies the outcome of a request to Stripe. The set is closed.
type AnswerKind uint8

// The kinds of answers. Package gateway says which response is which.
const (
	AnswerOK              AnswerKind = iota + 1 // 200 with a readable body
	AnswerUnexpectedState                       // payment_intent_unexpected_state
	// charge_already_captured, charge_expired_for_capture and similar
	AnswerChargeGone
	AnswerAmountTooLarge   // amount_too_large
	AnswerNotFound         // resource_missing
	AnswerLockTimeout      // 429 lock_timeout: another request has the intent
	AnswerRateLimited      // 429 for a rate
	AnswerKeyInUse         // 409: a request with the same key is under way
	AnswerIdempotencyError // the key was used with other parameters
	AnswerDeclined         // 402 card_error
	AnswerUnauthorized     // 401: the key is wrong or revoked
	AnswerForbidden        // 403: the key lacks a permission
	// any other 4xx: no effect, and a retry cannot help
	AnswerInvalid
	AnswerUnreachable // the request never left: no effect
	// no reply, a broken one, 5xx, 424: the effect may have happened
	AnswerUnknown
	// a 5xx that Stripe stores for this key and replays
	AnswerReplayedError
)

var answerNames = [...]string{
	"", "ok", "unexpected_state", "charge_gone", "amount_too_large", "not_found",
	"lock_timeout", "rate_limited",
	"key_in_use", "idempotency_error", "declined", "unauthorized", "forbidden", "invalid",
	"unreachable", "unknown", "replayed_error",
}

func (k AnswerKind) String() string { return enumName(answerNames[:], int(k)) }

// AnswerKinds lists every kind, in the order of their values.
func AnswerKinds() []AnswerKind {
	kinds := make([]AnswerKind, 0, len(answerNames)-1)
	for k := AnswerOK; k <= AnswerReplayedError; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// Answer is the outcome of one request to Stripe. Its only secrets are those of
// the cardholder, which are of type [Secret] and never print.
type Answer struct {
	Kind       AnswerKind
	Intent     *PaymentIntent // nil if the body, or the error's body, had none
	RequestID  string
	HTTPStatus int    // 0 when there was no reply
	Code       string // Stripe's error code or decline code
	Message    string // the history keeps MaxNoteBytes of it
	Replayed   bool   // Stripe sent a stored answer
	// RateLimited says that Stripe answered 429 for a rate, whatever the kind.
	RateLimited bool
	// RateLimitScope says which limit a 429 for a rate is about.
	RateLimitScope ExceededRateLimit
	// Retransmitted says that the request was sent more than once, so an
	// earlier try may have had its effect.
	Retransmitted bool
	Advice        DeclineAdvice     // of a decline, or of the last one of an intent that was read
	CardSetup     *CardSetup        // of a Checkout Session
	Page          *IntentListPage   // of a list
	Cardholder    *CardholderAction // of an authorization, a confirmation or a read
}

// ExceededRateLimit says which of Stripe's limits a request exceeded.
type ExceededRateLimit uint8

// The scopes. Stripe names them in the header Stripe-Rate-Limited-Reason.
const (
	LimitOfEndpoint ExceededRateLimit = iota // also if Stripe does not say
	LimitOfAccount                           // of all endpoints together
	LimitOfObject                            // of one PaymentIntent; other requests are not affected
)

// DeclineAdvice says what to do after a decline. Codes that are not known are
// kept.
type DeclineAdvice struct {
	Code        string // Stripe's advice_code
	NetworkCode string // network_advice_code, such as Mastercard's merchant advice code
}

// CardSetup is a Checkout Session in which a cardholder gives a card to be saved
// for a customer.
type CardSetup struct {
	ID            string
	URL           Secret // of the page at Stripe; empty once it is complete or expired
	Status        string // open, complete or expired
	Customer      string
	PaymentMethod string // the card, once it is saved
	Metadata      map[string]string
}

// CardSetupSessionParams have the parameters of a request that creates a
// Checkout Session, or the Session that is read.
type CardSetupSessionParams struct {
	Session              string
	Customer             string
	ReturnURL, CancelURL string // where Stripe returns the cardholder
	Metadata             map[string]string
}

// IntentListPage is one page of a list, newest first.
type IntentListPage struct {
	Intents []PaymentIntent
	// Histories has the history of each intent, in the order of Intents, if
	// [Call.Content] asks for it.
	Histories []ChargeHistory
	// Captures has the events of [ContentCaptures]; Intents is then empty.
	Captures []ChargeCapturedEvent
	// Last and OldestAt are the id and the time of the last charge that was read,
	// of [ContentPlainHistories] and [ContentPlainCharges]. Intents has only those
	// without an intent.
	Last     string
	OldestAt time.Time
	More     bool // there are older ones
}

// CardholderAction is what only the cardholder's browser may see, and the
// failure of the last attempt to pay.
type CardholderAction struct {
	ClientSecret                Secret
	NextAction                  string // its type, such as redirect_to_url
	RedirectURL                 Secret
	FailureCode, FailureMessage string
}

// describeForHistory returns the answer's line in a hold's history.
func (a *Answer) describeForHistory() string {
	if a.Code == "" {
		return a.Message
	}
	return a.Code + ": " + a.Message
}

// Call is one request to Stripe.
type Call struct {
	Op            Op
	PaymentIntent string
	Account       string
	// Amount of a capture; 0: everything that is capturable. Of an increment
	// it is the new total.
	Amount int64
	// CancellationReason is sent with a cancel.
	CancellationReason string
	// ReleaseRest makes a capture take nothing and release what is left after
	// earlier captures.
	ReleaseRest bool
	// KeepRest makes a capture leave the rest held (final_capture=false).
	KeepRest      bool
	CaptureParams CaptureParams           // of a capture
	Key           string                  // idempotency key; empty for a read
	Metadata      map[string]string       // of an update: pairs to set; an empty value removes one
	Authorize     *AuthorizeParams        // of an authorization or confirmation
	CardSetup     *CardSetupSessionParams // of a Checkout Session
	After         string                  // of a list: the last PaymentIntent of the page before
	Limit         int                     // of a list
	Customer      string                  // of a list: only this customer's intents
	CreatedUpTo   time.Time               // of a list: without younger intents; zero means all
	CreatedFrom   time.Time               // of a list: without older intents; zero means all
	Content       StripeListKind          // of a list
	// MayBeMissing says that no answer has confirmed that the PaymentIntent
	// exists, or that the key is known to be of its account: a 404 says nothing
	// about the key.
	MayBeMissing bool
}

// CallNotSentError says that a call was not sent, so it had no effect.
type CallNotSentError struct {
	Reason     string
	RetryAfter time.Duration // how long to wait before a retry
}

func (e *CallNotSentError) Error() string { return "not sent: " + e.Reason }
