package hold

import "time"

// With the term release_first, a renewal that lacks funds releases the old
// authorization before it confirms the new intent again: the bank may count
// both against the card. Nothing protects the amount in between.

// codeInsufficientFunds is the decline after which release_first acts.
const codeInsufficientFunds = "insufficient_funds"

// releasesFirst reports whether the old authorization is released after this
// decline.
func releasesFirst(r *Renewal, last decline) bool {
	return r.ReleaseFirst && last.code == codeInsufficientFunds && !r.Unprotected
}

// startReleaseFirst makes the release of the old authorization the next step.
func startReleaseFirst(h Hold, now time.Time) Decision {
	r := h.Renewal
	r.Step, r.ReturnURL = RenewalReleaseFirst, ""
	r.Confirmation++ // of the next confirmation; also in the key of the cancel
	clearStepKey(r)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRenew,
		Cause: CauseUnprotected, Note: h.PaymentIntent + " is released before " + r.Intent +
			" is confirmed again"})
	d := stepDone(h, now)
	d.addEvent(EventRetrying, CauseUnprotected)
	return d
}

// releaseFirstCall cancels the old intent. A cancel has the same effect with any
// key.
func releaseFirstCall(h *Hold, now time.Time) Call {
	r := h.Renewal
	stale := r.Sent.Count > 0 && now.Sub(r.Sent.FirstAt) >= keyLifetime
	if r.ReadFirst || r.Sent.Unknown || stale {
		return renewalReadCall(h, h.PaymentIntent)
	}
	return Call{Op: OpCancel, PaymentIntent: h.PaymentIntent, Account: h.Account,
		CancellationReason: ReasonAbandoned, Key: renewalKey(h, "release-first", r.Confirmation)}
}

// applyReleaseFirstAnswer decides by the answer to the release of the old
// authorization, or to a read of it.
func applyReleaseFirstAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	r := h.Renewal
	base, limit, passing := isPassingAnswer(a.Kind)
	wait := lastHistoryEntry(&h, HistoryAttempt).At.Add(lateEffectWindow)
	known := a.Intent != nil && (a.Kind == AnswerOK || a.Kind == AnswerUnexpectedState)
	switch {
	case known && a.Intent.Status == StatusCanceled:
		r.Step, r.Unprotected = RenewalConfirm, true
		clearStepKey(r)
		return stepDone(h, now)
	case known && a.Intent.Status == StatusSucceeded:
		// Another system has captured it: the hold's own read settles it.
		h.NextOp, h.ReadFirst = OpRead, true
		return Decision{Hold: h, Again: true}
	case known && call.Op == OpRead && now.Before(wait):
		r.ReadFirst = true
		return pauseRenewal(h, wait, now) // the lost request may still take effect
	case known && call.Op == OpRead && completesRenewalFirst(&h):
		abandonRenewal(&h, now) // the old one holds the money, and is captured
		return stepDone(h, now)
	case known && call.Op == OpRead && r.Confirmation >= maxConfirmations:
		return failRenewal(h, CauseNoOutcome, "the old authorization cannot be released", now)
	case known && call.Op == OpRead:
		r.Confirmation++ // it still holds the money: a new key
		clearStepKey(r)
		return pauseRenewal(h, now.Add(time.Second), now)
	case passing:
		return retryRenewal(h, now, base, limit)
	}
	r.ReadFirst = true
	r.Sent.Unknown = r.Sent.Unknown || call.Op != OpRead
	return retryRenewal(h, now, time.Second, maxBackoff)
}

// isReleasedFirst reports whether holdd has released the hold's own intent, or
// may have, while the renewal goes on. Its cancellation then says nothing of the
// hold.
func isReleasedFirst(h *Hold, in *PaymentIntent) bool {
	r := h.Renewal
	return r != nil && r.Intent != "" && in.Status == StatusCanceled && mayBeUnprotected(r)
}

// IsUnprotected reports whether nothing holds the amount of an open hold: its old
// authorization is released, and the new one is not confirmed.
func IsUnprotected(h *Hold) bool {
	return !h.State.Final() && h.Renewal != nil && h.Renewal.Unprotected
}

// mayBeUnprotected reports whether holdd has released the old authorization, or
// may have, while the new intent does not hold the money as far as is known.
func mayBeUnprotected(r *Renewal) bool {
	return r.Unprotected ||
		r.Step == RenewalReleaseFirst && (r.Sent.Count > 0 || r.Sent.Unknown)
}

// completesRenewalFirst reports whether the hold's capture, or the cancel of
// on_failure, waits for the renewal under way, because the old authorization may
// be released. Only the new intent can then hold the money: to cancel it unread
// could lose all of it.
func completesRenewalFirst(h *Hold) bool {
	r := h.Renewal
	waits := h.NextOp == OpCapture || isCancelOfPolicy(h)
	return r != nil && waits && !h.CancelWanted && r.Intent != "" && r.Releasing == "" &&
		mayBeUnprotected(r)
}

// isCancelOfPolicy reports whether on_failure or on_expiry is about to release
// the hold. A renewal that has succeeded makes that wrong; one that has not is
// not tried again.
func isCancelOfPolicy(h *Hold) bool {
	return h.NextOp == OpCancel && h.Reason == CauseOnExpiry
}
