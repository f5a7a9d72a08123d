package hold

import "time"

// maxSnapshotAge is how old an event may be whose snapshot takes the place of a
// read. An older one was delivered late, so later events may have come first.
const maxSnapshotAge = 5 * time.Minute

// applySnapshot decides whether the snapshot in an event saves the read of the
// intent.
//
// A verified hold takes nothing from a snapshot. If the snapshot agrees with
// the record, a read would say nothing new, whichever of the two is newer. If
// it differs, either may be newer: the record does not say when Stripe last
// confirmed it, and the time of an event has a resolution of a second. A read
// decides.
//
// An unverified hold has no knowledge that a snapshot could replace. A recent
// snapshot verifies it, as a read at the time of the event would have, if that
// changes nothing but amount, currency and deadline. Any other event, in either
// order, differs from what the hold then knows and leads to a read.
func applySnapshot(h Hold, e *StripeEvent, now time.Time) (Decision, StripeEventAction) {
	in := e.snapshot()
	same := Decision{Hold: h, Unchanged: true}
	switch {
	case in == nil || !in.isFullyHeld() || !acceptsSnapshot(&h):
		return same, StripeEventNeedsRead
	case h.Verified && matchesIntent(&h, in) && h.ExpiresAt.After(now):
		return same, StripeEventNeedsNothing
	case h.Verified || !in.CaptureBefore.After(now) || now.Sub(e.Created).Abs() > maxSnapshotAge:
		return same, StripeEventNeedsRead
	}
	d := h.ApplyPaymentIntent(in, now)
	if d.Hold.State != h.State || len(d.Events) > 0 {
		return same, StripeEventNeedsRead
	}
	return d, StripeEventNeedsNothing
}

// snapshot returns what the event shows of its intent, nil if that is nothing.
func (e *StripeEvent) snapshot() *PaymentIntent {
	if e.Authorized != nil {
		return e.Authorized
	}
	return e.Intent
}

// isFullyHeld reports whether the intent holds the whole authorization: there
// is no review, and no system has captured a part.
func (in *PaymentIntent) isFullyHeld() bool {
	return in.Status == StatusRequiresCapture && in.AmountCapturable > 0 &&
		in.AmountReceived == 0 && in.Review == ""
}

// acceptsSnapshot reports whether a hold waits for nothing that only a read
// shows.
func acceptsSnapshot(h *Hold) bool {
	return h.State == Waiting || h.State == Scheduled ||
		h.State == Paused && h.Reason != CauseReview
}

// matchesIntent reports whether the record says the same as the intent. An intent
// without a deadline says nothing about it.
func matchesIntent(h *Hold, in *PaymentIntent) bool {
	return h.Amount == in.AmountCapturable && h.CapturedElsewhere == in.AmountReceived &&
		h.Currency == in.Currency && (in.CaptureBefore.IsZero() ||
		h.ExpiresSource == SourceCharge && h.ExpiresAt.Equal(in.CaptureBefore))
}
