package hold

import (
	"strconv"
	"time"
)

// maxConfirmations bounds the keys with which one intent is confirmed.
const maxConfirmations = 20

// confirmationFailure is why a confirmation failed.
type confirmationFailure struct {
	code   string
	note   string // for the history
	advice DeclineAdvice
}

// applyUnconfirmedNewIntent decides by a new intent that holds no money yet. last
// is why its last confirmation failed, if it did.
func applyUnconfirmedNewIntent(h Hold, call Call, last confirmationFailure, now time.Time) Decision {
	r := h.Renewal
	sent := r.Sent.Count > 0 || r.Sent.Unknown
	wait := lastHistoryEntryOfKind(&h, HistoryAttempt).At.Add(lateEffectWindow)
	switch {
	case h.NextOp == OpRead && r.Sent.Unknown && now.Before(wait):
		r.ReadFirst = true
		return endRenewalClaimAndRetryAt(h, wait, now) // a release now could take the only money
	case h.NextOp == OpRead:
		return releaseOrRecheckUnconfirmed(h, now)
	case r.Step == RenewalRequiresAction && last.code != "" && last.code != r.DeclineCode:
		return applyRenewalDecline(h, last, now)
	case r.Step == RenewalRequiresAction:
		return releaseOrRecheckUnconfirmed(h, now)
	case call.Op == OpConfirm:
		r.ReadFirst, r.Sent.Unknown = true, true
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	case r.Sent.Unknown && now.Before(wait):
		r.ReadFirst = true
		return endRenewalClaimAndRetryAt(h, wait, now) // the lost request may still take effect
	case isAboutToReleaseByPolicy(&h):
		return releaseOrRecheckUnconfirmed(h, now)
	case sent && last.code != "":
		return applyRenewalDecline(h, last, now)
	case !sent && mustCaptureAwaitRenewal(&h) && r.RetryAt.After(now):
		r.ReadFirst = false
		return endRenewalClaimAndRetryAt(h, r.RetryAt, now) // the capture waits for the next try
	case r.Confirmation >= maxConfirmations:
		return failRenewal(h, CauseNoOutcome, "confirmed "+
			strconv.FormatUint(uint64(r.Confirmation), 10)+" times without an outcome", now)
	}
	if sent {
		r.Confirmation++ // one intent is authorized once, whatever the key
	}
	clearRenewalStepKeyUsage(r)
	return finishRenewalStep(h, now)
}

// releaseOrRecheckUnconfirmed goes on after a read of a new intent that holds no money: it
// is released if the hold is about to end, confirmed again if that is due, or
// read again later.
func releaseOrRecheckUnconfirmed(h Hold, now time.Time) Decision {
	r := h.Renewal
	retries := r.Step == RenewalRequiresAction && !r.ConfirmAt.IsZero()
	switch {
	case h.NextOp == OpRead:
		abandonRenewal(&h, now)
		return continueWithReleaseOrOwnOp(h, now)
	case mustCaptureAwaitRenewal(&h) && (isAboutToReleaseByPolicy(&h) || !retries):
		abandonRenewal(&h, now)
		return finishRenewalStep(h, now)
	case retries && !now.Before(r.ConfirmAt):
		r.Step = RenewalConfirm
		r.Confirmation++
		clearRenewalStepKeyUsage(r)
		return finishRenewalStep(h, now)
	case mustCaptureAwaitRenewal(&h):
		return endRenewalClaimAndRetryAt(h, r.ConfirmAt, now)
	}
	r.ReadFirst = false
	h.Retries, h.Calls = 0, 0
	return endRenewalClaimAndRetryAt(h, now.Add(renewalPollEvery), now)
}

// applyRenewalDecline decides by a decline: try again later, ask for the
// cardholder, or give up. A cardholder who was asked before can give another card
// until the next try.
func applyRenewalDecline(h Hold, last confirmationFailure, now time.Time) Decision {
	r := h.Renewal
	r.DeclineCode, r.Advice = last.code, last.advice
	recordDecline(r, last.code, last.advice, now)
	if h.NextOp == OpRead || isAboutToReleaseByPolicy(&h) {
		return releaseOrRecheckUnconfirmed(h, now)
	}
	if isReplacementUnderWay(&h) { // an increment is declined once, and the old amount stays
		return failReplacement(h, HistoryEntry{Answer: AnswerDeclined, Cause: CauseRefused,
			Note: last.code}, now)
	}
	if classifyDecline(last.code, last.advice) != declineRetry {
		return awaitCardholderForRenewal(h, last, now)
	}
	if mustReleaseBeforeRenewal(r, last) {
		return scheduleReleaseBeforeRenewal(h, now)
	}
	if wasCardholderAsked(r) && !mustCaptureAwaitRenewal(&h) {
		return awaitCardholderForRenewal(h, last, now)
	}
	at, ok := retryTimeAfterDecline(r, h.ExpiresAt, now)
	if !ok {
		return failRenewal(h, CauseDeclined, last.note, now)
	}
	r.Step, r.ReturnURL = RenewalConfirm, ""
	r.Confirmation++
	clearRenewalStepKeyUsage(r)
	h.Retries, h.Calls = 0, 0
	d := endRenewalClaimAndRetryAt(h, at, now)
	d.addEvent(EventRetrying, renewalRetryCause(r))
	return d
}

// wasCardholderAsked reports whether the cardholder has the link of the renewal
// under way, and so can give another card.
func wasCardholderAsked(r *Renewal) bool {
	return r.Step == RenewalRequiresAction || r.ReturnURL != "" || r.CardSetups > 0 ||
		!r.ConfirmAt.IsZero()
}

func renewalRetryCause(r *Renewal) Cause {
	if r.Unprotected {
		return CauseUnprotected
	}
	return CauseDeclined
}

// planRetryWithoutCardholder sets when a renewal that waits for the cardholder
// is tried without one: as after any decline, if the bank may accept it later.
func planRetryWithoutCardholder(h *Hold, last confirmationFailure, now time.Time) {
	r := h.Renewal
	r.ConfirmAt = time.Time{}
	at, ok := retryTimeAfterDecline(r, h.ExpiresAt, now)
	mayAccept := classifyDecline(last.code, last.advice) == declineRetry
	if ok && mayAccept && r.Confirmation < maxConfirmations {
		r.ConfirmAt = at
	}
}

// awaitCardholderForRenewal waits for the cardholder, who can confirm the new intent or
// give another card. The event asks for one who is not present. If the bank may
// accept the card later, it is tried again meanwhile.
func awaitCardholderForRenewal(h Hold, last confirmationFailure, now time.Time) Decision {
	r := h.Renewal
	if h.NextOp == OpRead || mustCaptureAwaitRenewal(&h) {
		return releaseOrRecheckUnconfirmed(h, now)
	}
	if isReplacementUnderWay(&h) {
		return failReplacement(h, HistoryEntry{Answer: AnswerDeclined, Cause: CauseRefused,
			Note: last.code}, now)
	}
	asked := r.Step == RenewalRequiresAction
	present := r.ReturnURL != ""
	r.Step, r.Problem, r.ReturnURL = RenewalRequiresAction, CauseRequiresAction, ""
	r.DeclineCode, r.Advice = last.code, last.advice
	clearRenewalStepKeyUsage(r)
	planRetryWithoutCardholder(&h, last, now)
	h.Retries, h.Calls = 0, 0
	retries := !r.ConfirmAt.IsZero()
	if asked {
		d := endRenewalClaimAndRetryAt(h, now.Add(renewalPollEvery), now)
		if retries {
			d.addEvent(EventRetrying, renewalRetryCause(r))
		}
		return d
	}
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe", Op: OpRenew,
		Cause: CauseRequiresAction, Note: last.code})
	d := endRenewalClaimAndRetryAt(h, now.Add(renewalPollEvery), now)
	d.NewDeadline = true
	switch {
	case retries:
		d.addEvent(EventRetrying, renewalRetryCause(r))
	case !present:
		d.addEvent(EventRequiresAction, CauseRequiresAction)
	}
	return d
}
