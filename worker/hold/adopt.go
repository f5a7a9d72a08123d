package hold

import (
	"errors"
	"time"
)

// ErrNoTerms says that an intent's metadata has no terms, so holdd must not act
// on the intent.
var ErrNoTerms = errors.New("no terms in the PaymentIntent's metadata")

// ValidRequestFromMetadata validates the terms in an intent's metadata, as
// [ScheduleRequest.ValidateRecoveredTerms] does. The error is [ErrNoTerms] if
// there are none, and a *[Problem] if one of them is invalid.
func ValidRequestFromMetadata(
	in *PaymentIntent,
	account string,
	now time.Time,
) (*ValidRequest, error) {
	req, paused, found, err := RequestFromMetadata(in, account)
	if !found {
		return nil, ErrNoTerms
	}
	if err != nil {
		return nil, err
	}
	return req.ValidateRecoveredTerms(paused, now)
}

// NewFromMetadata makes a hold of an intent by the terms in its metadata. by is
// the source of the history entry. Errors are those of
// [ValidRequestFromMetadata] and [New].
func NewFromMetadata(in *PaymentIntent, account, by string, now time.Time) (Decision, error) {
	draft, err := ValidRequestFromMetadata(in, account, now)
	if err != nil {
		return Decision{}, err
	}
	return New(draft, in, by, now)
}
