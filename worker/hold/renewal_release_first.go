package hold

import "time"

// With the term release_first, a renewal that lacks funds releases the old
// authorization before it confirms the new intent again: the bank may count
// both against the card. Nothing protects the amount in between.

// codeInsufficientFunds is the decline after which release_first acts.
const codeInsufficientFunds = "insufficient_funds"

// mustReleaseBeforeRenewal reports whether the old authorization is released after this
// decline.
func mustReleaseBeforeRenewal(r *Renewal, last confirmationFailure) bool {
	return r.ReleaseFirst && last.code == codeInsufficientFunds && !r.Unprotected
}

// scheduleReleaseBeforeRenewal makes the release of the old authorization the next step.
func scheduleReleaseBeforeRenewal(h Hold, now time.Time) Decision {
	r := h.Renewal
	r.Step, r.ReturnURL = RenewalReleaseFirst, ""
	r.Confirmation++ // of the next confirmation; also in the key of the cancel
	clearRenewalStepKeyUsage(r)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRenew,
		Cause: CauseUnprotected, Note: h.PaymentIntent + " is released before " + r.Intent +
			" is confirmed again"})
	d := finishRenewalStep(h, now)
	d.addEvent(EventRetrying, CauseUnprotected)
	return d
}

// newReleaseBeforeRenewalCall cancels the old intent. A cancel has the same effect with any
// key.
func newReleaseBeforeRenewalCall(h *Hold, now time.Time) Call {
	r := h.Renewal
	stale := r.Sent.Count > 0 && now.Sub(r.Sent.FirstAt) >= keyLifetime
	if r.ReadFirst || r.Sent.Unknown || stale {
		return newRetrieveIntentCall(h, h.PaymentIntent)
	}
	return Call{Op: OpCancel, PaymentIntent: h.PaymentIntent, Account: h.Account,
		CancellationReason: ReasonAbandoned,
		Key:                renewalIdempotencyKey(h, "release-first", r.Confirmation)}
}

// applyReleaseBeforeRenewalAnswer decides by the answer to the release of the old
// authorization, or to a read of it.
func applyReleaseBeforeRenewalAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	r := h.Renewal
	base, limit, passing := backoffIfRetryable(a.Kind)
	wait := lastHistoryEntryOfKind(&h, HistoryAttempt).At.Add(lateEffectWindow)
	known := a.Intent != nil && (a.Kind == AnswerOK || a.Kind == AnswerUnexpectedState)
	switch {
	case known && a.Intent.Status == StatusCanceled:
		r.Step, r.Unprotected = RenewalConfirm, true
		clearRenewalStepKeyUsage(r)
		return finishRenewalStep(h, now)
	case known && a.Intent.Status == StatusSucceeded:
		// Another system has captured it: the hold's own read settles it.
		h.NextOp, h.ReadFirst = OpRead, true
		return Decision{Hold: h, NextStepNow: true}
	case known && call.Op == OpRead && now.Before(wait):
		r.ReadFirst = true
		return endRenewalClaimAndRetryAt(h, wait, now) // the lost request may still take effect
	case known && call.Op == OpRead && mustCaptureAwaitRenewal(&h):
		abandonRenewal(&h, now) // the old one holds the money, and is captured
		return finishRenewalStep(h, now)
	case known && call.Op == OpRead && r.Confirmation >= maxConfirmations:
		return failRenewal(h, CauseNoOutcome, "the old authorization cannot be released", now)
	case known && call.Op == OpRead:
		r.Confirmation++ // it still holds the money: a new key
		clearRenewalStepKeyUsage(r)
		return endRenewalClaimAndRetryAt(h, now.Add(time.Second), now)
	case passing:
		return retryRenewalStep(h, now, base, limit)
	}
	r.ReadFirst = true
	r.Sent.Unknown = r.Sent.Unknown || call.Op != OpRead
	return retryRenewalStep(h, now, time.Second, maxBackoff)
}

// isReleasedBeforeRenewal reports whether holdd has released the hold's own intent, or
// may have, while the renewal goes on. Its cancellation then says nothing of the
// hold.
func isReleasedBeforeRenewal(h *Hold, in *PaymentIntent) bool {
	r := h.Renewal
	return r != nil && r.Intent != "" && in.Status == StatusCanceled && mayHoldNoMoney(r)
}

// IsOpenWithoutAuthorization reports whether nothing holds the amount of an open hold: its old
// authorization is released, and the new one is not confirmed.
func IsOpenWithoutAuthorization(h *Hold) bool {
	return !h.State.IsFinal() && h.Renewal != nil && h.Renewal.Unprotected
}

// mayHoldNoMoney reports whether holdd has released the old authorization, or
// may have, while the new intent does not hold the money as far as is known.
func mayHoldNoMoney(r *Renewal) bool {
	return r.Unprotected ||
		r.Step == RenewalReleaseFirst && (r.Sent.Count > 0 || r.Sent.Unknown)
}

// mustCaptureAwaitRenewal reports whether the hold's capture, or the cancel of
// on_failure, waits for the renewal under way, because the old authorization may
// be released. Only the new intent can then hold the money: to cancel it unread
// could lose all of it.
func mustCaptureAwaitRenewal(h *Hold) bool {
	r := h.Renewal
	waits := h.NextOp == OpCapture || isAboutToReleaseByPolicy(h)
	return r != nil && waits && !h.CancelWanted && r.Intent != "" && r.Releasing == "" &&
		mayHoldNoMoney(r)
}

// isAboutToReleaseByPolicy reports whether on_failure or on_expiry is about to
// release the hold. A renewal that has succeeded makes that wrong; one that has
// not is not tried again.
func isAboutToReleaseByPolicy(h *Hold) bool {
	return h.NextOp == OpCancel && h.Reason == CauseOnExpiry
}
