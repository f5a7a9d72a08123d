package hold

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strconv"
	"time"
)

// AuthorizationAttemptState is how far an attempt to authorize has come.
type AuthorizationAttemptState uint8

const (
	AttemptBegun            AuthorizationAttemptState = iota + 1 // recorded; what Stripe did is unknown
	AttemptAwaitsCardholder                                      // the cardholder has to act
	AttemptAuthorized                                            // authorized, and the hold is in the store
	AttemptDeclined                                              // the bank declined
	_                                                            // not used; keeps the values in records
	AttemptAbandoned                                             // the intent was canceled
)

// IsFinished reports whether the attempt's own answer is final.
func (s AuthorizationAttemptState) IsFinished() bool { return s >= AttemptAuthorized }

// AuthorizationAttempt is an attempt to authorize, as it is recorded before its
// request is sent. It holds no secret and nothing of the card.
type AuthorizationAttempt struct {
	ID              string                    `json:"-"` // derived from the caller's idempotency key
	Digest          string                    `json:"-"` // of the request
	State           AuthorizationAttemptState `json:"s"`
	Confirm         bool                      `json:"c,omitempty"` // confirms an existing intent
	Account         string                    `json:"a,omitempty"`
	PaymentIntent   string                    `json:"p,omitempty"` // empty until Stripe has named it
	Generation      uint32                    `json:"g"`           // counts the idempotency keys sent to Stripe
	KeyUsedSince    time.Time                 `json:"k"`           // since when the present key is in use
	BegunAt         time.Time                 `json:"-"`           // first requested, as far as Redis knows
	IntentNotBefore time.Time                 `json:"n,omitzero"`  // set where Redis had lost the attempt
	ConfirmSent     bool                      `json:"t,omitempty"` // a request to confirm may have been sent
	FailureCode     string                    `json:"e,omitempty"` // of a decline
	FailureMessage  string                    `json:"m,omitempty"`
	By              string                    `json:"w,omitempty"`
	// InconclusiveRuns counts the runs in a row that resumed the attempt and
	// got an answer of Stripe that does not end it.
	InconclusiveRuns uint32 `json:"r,omitempty"`
	// Traceparent is the span of the request that began the attempt. A release
	// that does not know it drops it, and the trace then ends.
	Traceparent string `json:"x,omitempty"`
}

// AttemptLookupResult is what the store found when an attempt was begun.
type AttemptLookupResult uint8

const (
	LookupCreated   AttemptLookupResult = iota + 1 // no such attempt: it is recorded now
	LookupResumed                                  // recorded before and not finished
	LookupFinished                                 // recorded before and finished
	LookupBusy                                     // another process works on it
	LookupKeyReused                                // the same key came with another request
	LookupNotFound                                 // no such attempt, and none was to be recorded
)

const (
	// ConfirmWindow is how long the cardholder may take. After it Stripe
	// forgets the confirmation, and holdd confirms nothing more.
	ConfirmWindow = time.Hour
	// AbandonIntentAfter is when an unfinished intent is canceled, counted from
	// its creation. Between ConfirmWindow and this every request of holdd's
	// that could authorize has ended, so the cancel cannot meet an
	// authorization. Stripe would cancel that as well.
	AbandonIntentAfter = ConfirmWindow + 2*time.Minute
)

// IsConfirmWindowOver reports whether it is too late to confirm the intent.
func (in *PaymentIntent) IsConfirmWindowOver(now time.Time) bool {
	return !now.Before(in.Created.Add(ConfirmWindow))
}

// IsIdempotencyKeyFresh reports whether Stripe surely still remembers the
// attempt's key.
func (a *AuthorizationAttempt) IsIdempotencyKeyFresh(now time.Time) bool {
	return now.Before(a.KeyUsedSince.Add(keyLifetime))
}

// IdempotencyKey is the attempt's idempotency key at Stripe. It follows from
// the caller's key, so that an attempt which Redis has lost meets its own
// answer at Stripe.
func (a *AuthorizationAttempt) IdempotencyKey() string {
	verb := "authorize"
	if a.Confirm {
		verb = "confirm"
	}
	return "holdd-" + verb + "-" + a.ID + "-" + strconv.FormatUint(uint64(a.Generation), 10)
}

// cancelIdempotencyKey is the idempotency key of the cancel of an abandoned
// intent.
func (a *AuthorizationAttempt) cancelIdempotencyKey() string {
	return "holdd-abandon-" + a.PaymentIntent + "-" + strconv.FormatUint(uint64(a.Generation), 10)
}

var callerKeyPattern = regexp.MustCompile(`^[!-~]{8,}$`)

// CheckIdempotencyKey checks a caller's idempotency key.
func CheckIdempotencyKey(key string) error {
	if len(key) > 128 || !callerKeyPattern.MatchString(key) {
		return newProblem(InvalidIdempotencyKey, "Idempotency-Key",
			"send 8 to 128 visible ASCII characters that are new for each request, such as a UUID, "+
				"and the same again when you repeat it")
	}
	return nil
}

// DeriveAttemptIDFromKey returns the id of the attempt that belongs to a caller's
// idempotency key.
func DeriveAttemptIDFromKey(key string) (string, error) {
	if err := CheckIdempotencyKey(key); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte("holdd authorization\x00" + key))
	return hex.EncodeToString(sum[:16]), nil
}

func requestDigest(parts ...any) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // only strings, numbers and maps of strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// NewAuthorizeAttempt returns the record of an attempt that creates an intent.
func NewAuthorizeAttempt(id string, req *AuthorizeRequest, by string) AuthorizationAttempt {
	return AuthorizationAttempt{ID: id, Digest: req.Digest(), State: AttemptBegun,
		Account: req.Account, Generation: 1, By: by}
}

// NewConfirmAttempt returns the record of an attempt that confirms an
// intent.
func NewConfirmAttempt(
	id, intent string, req *ConfirmRequest, by string,
) AuthorizationAttempt {
	return AuthorizationAttempt{ID: id, Digest: req.Digest(intent), State: AttemptBegun,
		Confirm: true, Account: req.Account, PaymentIntent: intent, Generation: 1, By: by}
}
