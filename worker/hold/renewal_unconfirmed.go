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

// applyUnconfirmedIntent decides by a new intent that holds no money yet. last
// is why its last confirmation failed, if it did.
func applyUnconfirmedIntent(h Hold, call Call, last confirmationFailure, now time.Time) Decision {
	r := h.Renewal
	sent := r.Sent.Count > 0 || r.Sent.Unknown
	wait := lastHistoryEntry(&h, HistoryAttempt).At.Add(lateEffectWindow)
	switch {
	case h.NextOp == OpRead, r.Step == RenewalRequiresAction:
		if last.code != "" && last.code != r.DeclineCode && h.NextOp != OpRead {
			r.DeclineCode, r.Advice = last.code, last.advice
			recordDecline(r, last.code, last.advice, now)
		}
		return releaseOrRecheckUnconfirmed(h, now)
	case call.Op == OpConfirm:
		r.ReadFirst, r.Sent.Unknown = true, true
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	case r.Sent.Unknown && now.Before(wait):
		r.ReadFirst = true
		return endRenewalClaimUntil(h, wait, now) // the lost request may still take effect
	case sent && last.code != "":
		return applyRenewalDecline(h, last, now)
	case !sent && mustRenewBeforeCapture(&h) && r.RetryAt.After(now):
		r.ReadFirst = false
		return endRenewalClaimUntil(h, r.RetryAt, now) // the capture waits for the next try
	case r.Confirmation >= maxConfirmations:
		return failRenewal(h, CauseNoOutcome, "confirmed "+
			strconv.FormatUint(uint64(r.Confirmation), 10)+" times without an outcome", now)
	}
	if sent {
		r.Confirmation++ // one intent is authorized once, whatever the key
	}
	clearRenewalStepKey(r)
	return finishRenewalStep(h, now)
}

// releaseOrRecheckUnconfirmed goes on after a read of a new intent that holds no money: it
// is released if the hold is about to end, or read again later.
func releaseOrRecheckUnconfirmed(h Hold, now time.Time) Decision {
	switch {
	case h.NextOp == OpRead:
		abandonRenewal(&h, now)
		return continueWithReleaseOrOwnOp(h, now)
	case mustRenewBeforeCapture(&h):
		abandonRenewal(&h, now)
		return finishRenewalStep(h, now)
	}
	h.Renewal.ReadFirst = false
	h.Retries, h.Calls = 0, 0
	return endRenewalClaimUntil(h, now.Add(renewalPollEvery), now)
}

// applyRenewalDecline decides by a decline: try again later, ask for the
// cardholder, or give up. A cardholder who is present is asked again at once.
func applyRenewalDecline(h Hold, last confirmationFailure, now time.Time) Decision {
	r := h.Renewal
	r.DeclineCode, r.Advice = last.code, last.advice
	recordDecline(r, last.code, last.advice, now)
	if h.NextOp == OpRead {
		return releaseOrRecheckUnconfirmed(h, now)
	}
	if isReplacementUnderWay(&h) { // an increment is declined once, and the old amount stays
		return failReplacement(h, HistoryEntry{Answer: AnswerDeclined, Cause: CauseRefused,
			Note: last.code}, now)
	}
	if classifyDecline(last.code, last.advice) != declineRetry || r.ReturnURL != "" {
		return awaitCardholder(h, last, now)
	}
	if mustReleaseBeforeRenewal(r, last) {
		return scheduleReleaseBeforeRenewal(h, now)
	}
	cause := CauseDeclined
	if r.Unprotected {
		cause = CauseUnprotected
	}
	at, ok := retryTimeAfterDecline(r, h.ExpiresAt, now)
	if !ok {
		return failRenewal(h, CauseDeclined, last.note, now)
	}
	r.Confirmation++
	clearRenewalStepKey(r)
	h.Retries, h.Calls = 0, 0
	d := endRenewalClaimUntil(h, at, now)
	d.addEvent(EventRetrying, cause)
	return d
}

// awaitCardholder waits for the cardholder, who can confirm the new intent or
// give another card. The event asks for one who is not present.
func awaitCardholder(h Hold, last confirmationFailure, now time.Time) Decision {
	r := h.Renewal
	if h.NextOp == OpRead || mustRenewBeforeCapture(&h) {
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
	clearRenewalStepKey(r)
	h.Retries, h.Calls = 0, 0
	if asked {
		return endRenewalClaimUntil(h, now.Add(renewalPollEvery), now)
	}
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe", Op: OpRenew,
		Cause: CauseRequiresAction, Note: last.code})
	d := endRenewalClaimUntil(h, now.Add(renewalPollEvery), now)
	d.NewDeadline = true
	if !present {
		d.addEvent(EventRequiresAction, CauseRequiresAction)
	}
	return d
}
