package hold

import (
	"fmt"
	"time"
)

// ProblemCode names the reason why a request was refused. Codes are stable:
// callers branch on them.
type ProblemCode string

// The codes of refused requests.
const (
	InvalidID            ProblemCode = "invalid_id"
	InvalidAmount        ProblemCode = "invalid_amount"
	AmountTooLarge       ProblemCode = "amount_too_large"
	InvalidCurrency      ProblemCode = "invalid_currency"
	CurrencyMismatch     ProblemCode = "currency_mismatch"
	AmountMismatch       ProblemCode = "amount_mismatch"
	InvalidTime          ProblemCode = "invalid_time"
	UnknownTimeZone      ProblemCode = "unknown_time_zone"
	InThePast            ProblemCode = "in_the_past"
	AfterDeadline        ProblemCode = "after_deadline"
	ConflictingTimes     ProblemCode = "conflicting_times"
	InvalidPolicy        ProblemCode = "invalid_on_expiry"
	InvalidReference     ProblemCode = "invalid_reference"
	InvalidMetadata      ProblemCode = "invalid_metadata"
	NotCapturable        ProblemCode = "not_capturable"
	IntentNotFound       ProblemCode = "payment_intent_not_found"
	HoldNotFound         ProblemCode = "hold_not_found"
	HoldExists           ProblemCode = "hold_exists"
	TooLate              ProblemCode = "too_late"
	AlreadyCaptured      ProblemCode = "already_captured"
	AlreadyCanceled      ProblemCode = "already_canceled"
	AlreadyExpired       ProblemCode = "already_expired"
	AlreadyPaused        ProblemCode = "already_paused"
	NotPaused            ProblemCode = "not_paused"
	HoldPaused           ProblemCode = "hold_paused"
	RevisionMismatch     ProblemCode = "revision_mismatch"
	NothingToChange      ProblemCode = "nothing_to_change"
	CancelAccepted       ProblemCode = "cancel_accepted"
	InvalidCursor        ProblemCode = "invalid_cursor"
	WouldCancelNow       ProblemCode = "would_cancel_now"
	WouldCaptureNow      ProblemCode = "would_capture_now"
	IncrementUnavailable ProblemCode = "increment_unavailable"
	Declined             ProblemCode = "declined"
	NotRenewable         ProblemCode = "not_renewable"
	RecordUnreadable     ProblemCode = "record_unreadable"
	RecordReadable       ProblemCode = "record_readable"
	RecordOfLaterRelease ProblemCode = "record_of_later_release"
	NoActionRequired     ProblemCode = "no_action_required"

	MulticaptureUnavailable ProblemCode = "multicapture_unavailable"
	CapturesPlanned         ProblemCode = "captures_planned"
	ConflictingTerms        ProblemCode = "conflicting_terms"
	AmountAlreadyCaptured   ProblemCode = "amount_already_captured"
	NotSettled              ProblemCode = "not_settled"
	EventsUndelivered       ProblemCode = "events_undelivered"

	InvalidField           ProblemCode = "invalid_field"
	InvalidIdempotencyKey  ProblemCode = "invalid_idempotency_key"
	IdempotencyKeyReused   ProblemCode = "idempotency_key_reused"
	InProgress             ProblemCode = "in_progress"
	OutcomeUnknown         ProblemCode = "outcome_unknown"
	CardDeclined           ProblemCode = "card_declined"
	AuthorizationRefused   ProblemCode = "authorization_refused"
	AuthorizationNotFound  ProblemCode = "authorization_not_found"
	AuthorizationAbandoned ProblemCode = "authorization_abandoned"
)

// Problem is why a request was refused and what the caller can do. The hold was
// not changed.
type Problem struct {
	Code     ProblemCode
	Field    string    // the invalid field of the request; may be empty
	Detail   string    // a sentence for the caller
	Deadline time.Time // of AfterDeadline, WouldCancelNow, WouldCaptureNow

	// Of CardDeclined and Declined: the bank's reason. Of CardDeclined: the intent that can be confirmed
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

func newProblem(code ProblemCode, field, format string, args ...any) *Problem {
	return &Problem{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// alreadySettledProblem refuses a request for a hold that is settled.
func alreadySettledProblem(h *Hold) *Problem {
	at := h.SettledAt.UTC().Format(time.RFC3339)
	switch h.State {
	case Captured:
		if h.CapturedAmount > 0 {
			at += " (" + FormatAmount(h.CapturedAmount, h.Currency) + ")"
		}
		return newProblem(AlreadyCaptured, "", "hold %s was captured at %s", h.ID, at)
	case Canceled:
		return newProblem(AlreadyCanceled, "", "hold %s was canceled at %s", h.ID, at)
	default:
		return newProblem(AlreadyExpired, "", "hold %s expired at %s", h.ID, at)
	}
}
