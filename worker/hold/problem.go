package hold

import (
	"fmt"
	"time"
)

// Code names the reason why a request was refused. Codes are stable: callers
// branch on them.
type Code string

// The codes of refused requests.
const (
	InvalidID            Code = "invalid_id"
	InvalidAmount        Code = "invalid_amount"
	AmountTooLarge       Code = "amount_too_large"
	InvalidCurrency      Code = "invalid_currency"
	CurrencyMismatch     Code = "currency_mismatch"
	AmountMismatch       Code = "amount_mismatch"
	InvalidTime          Code = "invalid_time"
	UnknownTimeZone      Code = "unknown_time_zone"
	InThePast            Code = "in_the_past"
	AfterDeadline        Code = "after_deadline"
	ConflictingTimes     Code = "conflicting_times"
	InvalidPolicy        Code = "invalid_on_expiry"
	InvalidReference     Code = "invalid_reference"
	InvalidMetadata      Code = "invalid_metadata"
	NotCapturable        Code = "not_capturable"
	IntentNotFound       Code = "payment_intent_not_found"
	HoldNotFound         Code = "hold_not_found"
	HoldExists           Code = "hold_exists"
	TooLate              Code = "too_late"
	AlreadyCaptured      Code = "already_captured"
	AlreadyCanceled      Code = "already_canceled"
	AlreadyExpired       Code = "already_expired"
	AlreadyPaused        Code = "already_paused"
	NotPaused            Code = "not_paused"
	HoldPaused           Code = "hold_paused"
	RevisionMismatch     Code = "revision_mismatch"
	NothingToChange      Code = "nothing_to_change"
	NothingToAcknowledge Code = "nothing_to_acknowledge"
	CancelAccepted       Code = "cancel_accepted"
	InvalidCursor        Code = "invalid_cursor"
	WouldCancelNow       Code = "would_cancel_now"
	WouldCaptureNow      Code = "would_capture_now"

	InvalidField           Code = "invalid_field"
	InvalidIdempotencyKey  Code = "invalid_idempotency_key"
	IdempotencyKeyReused   Code = "idempotency_key_reused"
	InProgress             Code = "in_progress"
	OutcomeUnknown         Code = "outcome_unknown"
	CardDeclined           Code = "card_declined"
	AuthorizationRefused   Code = "authorization_refused"
	AuthorizationNotFound  Code = "authorization_not_found"
	AuthorizationAbandoned Code = "authorization_abandoned"
)

// Problem is why a request was refused and what the caller can do. The hold was
// not changed.
type Problem struct {
	Code     Code
	Field    string    // the invalid field of the request; may be empty
	Detail   string    // a sentence for the caller
	Deadline time.Time // of AfterDeadline, WouldCancelNow, WouldCaptureNow

	// Of CardDeclined: the bank's reason, and the intent that can be confirmed
	// with another card, if there is one.
	DeclineCode   string
	PaymentIntent string
}

func (p *Problem) Error() string {
	if p.Field != "" {
		return p.Field + ": " + p.Detail
	}
	return p.Detail
}

// Is lets errors.Is(err, &Problem{Code: c}) match by code.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

func problem(code Code, field, format string, args ...any) *Problem {
	return &Problem{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// alreadySettledProblem refuses a request for a hold that is settled.
func alreadySettledProblem(h *Hold) *Problem {
	at := h.SettledAt.UTC().Format(time.RFC3339)
	switch h.State {
	case Captured:
		return problem(AlreadyCaptured, "", "hold %s was captured at %s", h.ID, at)
	case Canceled:
		return problem(AlreadyCanceled, "", "hold %s was canceled at %s", h.ID, at)
	default:
		return problem(AlreadyExpired, "", "hold %s expired at %s", h.ID, at)
	}
}
