package hold

import "time"

// mustRetrieveAfterStripeEvent reports whether an event leads to a read of the intent. A
// snapshot saves the read only if it agrees with a verified hold, whichever of
// the two is newer. An unverified hold is read even if the verify job is about to
// read it, because the answer to that read may be older than the event.
//
// Nothing is taken from the snapshot itself.
func mustRetrieveAfterStripeEvent(h *Hold, e *StripeEvent, now time.Time) bool {
	in := e.intentSnapshot()
	if in == nil || !in.isFullyHeldWithoutReview() || !canSkipRetrieveInState(h) || !h.Verified {
		return true
	}
	return !holdAgreesWithIntent(h, in) || !h.ExpiresAt.After(now)
}

// intentSnapshot returns what the event shows of its intent, nil if that is
// nothing.
func (e *StripeEvent) intentSnapshot() *PaymentIntent {
	if e.Authorized != nil {
		return e.Authorized
	}
	return e.Intent
}

// isFullyHeldWithoutReview reports whether the intent holds the whole authorization: there
// is no review, and no system has captured a part.
func (in *PaymentIntent) isFullyHeldWithoutReview() bool {
	return in.Status == StatusRequiresCapture && in.AmountCapturable > 0 &&
		in.AmountReceived == 0 && in.Review == ""
}

// canSkipRetrieveInState reports whether a hold waits for nothing that only a
// read shows.
func canSkipRetrieveInState(h *Hold) bool {
	return h.State == Waiting || h.State == Scheduled ||
		h.State == Paused && h.Reason != CauseReview
}

// holdAgreesWithIntent reports whether the record says the same as the intent.
// An intent without a deadline says nothing about it.
func holdAgreesWithIntent(h *Hold, in *PaymentIntent) bool {
	return h.Amount == in.AmountCapturable && capturedSoFar(h) == in.AmountReceived &&
		h.Currency == in.Currency && (in.CaptureBefore.IsZero() ||
		h.ExpiresSource == SourceCharge && h.ExpiresAt.Equal(in.CaptureBefore))
}
