package hold

import (
	"strings"
	"time"
)

// applyReleaseSecondIntentAnswer decides by the answer to a release, or to a read of the
// intent that is released.
func applyReleaseSecondIntentAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	r := h.Renewal
	known := a.Intent != nil && (a.Kind == AnswerOK || a.Kind == AnswerUnexpectedState)
	base, limit, passing := backoffIfRetryable(a.Kind)
	switch {
	case known && r.ReleaseKeyUsage.Count == 0 && (OwnerOfIntent(a.Intent) != h.ID ||
		r.Customer != "" && a.Intent.Customer != r.Customer):
		// Metadata named an intent that is not one of this hold.
		return finishSecondIntentRelease(h, now)
	case known && a.Intent.Status == StatusCanceled:
		return finishSecondIntentRelease(h, now)
	case known && a.Intent.Status == StatusSucceeded:
		return switchToCapturedIntent(h, a.Intent, now)
	case call.Op == OpRead && known && now.Before(r.lastReleaseSentAt(&h).Add(lateEffectWindow)):
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	case call.Op == OpRead && known: // it still exists: a new key
		r.ReleaseTry, r.ReleaseRead, r.ReleaseKeyUsage = r.ReleaseTry+1, false, IdempotencyKeyUsage{}
		return retryRenewalStep(h, now, time.Second, maxBackoff)
	case passing:
		return retryRenewalStep(h, now, base, limit)
	case a.Kind == AnswerUnknown, a.Kind == AnswerKeyInUse:
		r.ReleaseKeyUsage.Unknown = r.ReleaseKeyUsage.Unknown || call.Op != OpRead
		return retryRenewalStep(h, now, time.Second, time.Minute)
	}
	r.ReleaseRead = true
	return retryRenewalStep(h, now, time.Second, maxBackoff)
}

// lastReleaseSentAt returns when a release was last sent.
func (r *Renewal) lastReleaseSentAt(h *Hold) time.Time {
	for i := len(h.History) - 1; i >= 0; i-- {
		if e := &h.History[i]; e.Op == OpRelease && strings.Contains(e.Key, r.Releasing) {
			return e.At
		}
	}
	return time.Time{}
}

// finishSecondIntentRelease goes on after the second authorization is gone.
func finishSecondIntentRelease(h Hold, now time.Time) Decision {
	r := h.Renewal
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRelease,
		Note: r.Releasing + " is released"})
	r.Releasing, r.ReleasingSince, r.ReleaseKeyUsage = "", time.Time{}, IdempotencyKeyUsage{}
	r.ReleaseTry, r.ReleaseRead, r.Exchanged = 0, false, false
	return continueWithReleaseOrOwnOp(h, now)
}

// switchToCapturedIntent handles an intent that was to be released and that another
// system has captured. The money was taken there, so that intent becomes the
// hold's, and the other one is released.
func switchToCapturedIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	r := h.Renewal
	note := in.ID + ", which was to be released, was captured by another system"
	if r.Exchanged {
		note += ", and so was " + h.PaymentIntent
		r.Releasing, r.ReleasingSince, r.Exchanged = "", time.Time{}, false
		r.ReleaseKeyUsage, r.ReleaseTry, r.ReleaseRead = IdempotencyKeyUsage{}, 0, false
	} else {
		other := h.PaymentIntent
		h.PaymentIntent = in.ID
		scheduleIntentRelease(r, other, now)
		r.Exchanged, r.OwnEnded = true, false
	}
	h.Sent, h.ReadFirst = IdempotencyKeyUsage{}, false
	h.NextOp, h.NextAt, h.Retries, h.Calls = OpRead, now, 0, 0
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe", Op: OpRelease,
		Cause: CauseElsewhere, Note: note})
	releaseClaim(&h)
	d := Decision{Hold: h}
	d.addEvent(EventAttention, CauseElsewhere)
	return d
}
