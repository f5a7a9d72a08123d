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
// [ValidRequestFromMetadata] and [DecideNewHold].
func NewFromMetadata(in *PaymentIntent, account, by string, now time.Time) (Decision, error) {
	valid, err := ValidRequestFromMetadata(in, account, now)
	if err != nil {
		return Decision{}, err
	}
	return DecideNewHold(valid, in, by, now)
}

// RecoveredCaptureGrace is how far in the past the capture time of terms found
// at Stripe may be and still mean now.
const RecoveredCaptureGrace = 24 * time.Hour

// ValidateRecoveredTerms is [ScheduleRequest.Validate] for terms found in an
// intent's metadata. They were accepted long ago, so a time that has passed
// since does not invalidate them. A capture up to [RecoveredCaptureGrace] late
// is made now. A later one requires attention, because the cardholder no longer
// expects it. A release is never too late. A reference that no path of the API
// can name stays.
func (req *ScheduleRequest) ValidateRecoveredTerms(
	paused bool, now time.Time,
) (*ValidRequest, error) {
	d, err := req.validateRecorded(now)
	own, field := req.CaptureAt, "capture_at"
	if own == "" {
		own, field = req.CancelAt, "cancel_at"
	}
	var p *Problem
	if errors.As(err, &p) && p.Code == InThePast && p.Field == field {
		at, bad := ParseTime(field, own, req.TimeZone)
		if bad != nil {
			return nil, bad
		}
		if d, err = req.validateRecorded(at); err == nil {
			d.TooLateToCapture = field == "capture_at" && now.Sub(at) > RecoveredCaptureGrace
		}
	}
	if err != nil {
		return nil, err
	}
	d.FromMetadata, d.Paused = true, paused
	return d, nil
}
