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
	case known && a.Intent.Status == StatusCanceled && wasReleasedElsewhereBeforeSwap(r, call, a):
		return switchBackToReleasedIntent(h, a.Intent, now)
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

// wasReleasedElsewhereBeforeSwap reports whether another system released the old
// intent while the new one was confirmed, so that the hold was to end. If holdd's
// own release had canceled it, the first key would repeat that answer.
func wasReleasedElsewhereBeforeSwap(r *Renewal, call Call, a Answer) bool {
	return r.Replaced && r.ReleaseTry == 1 && call.Op == OpCancel &&
		a.Kind == AnswerUnexpectedState && !a.Intent.ExpiredByNetwork() &&
		!a.Intent.CanceledAt.IsZero() && a.Intent.CanceledAt.Before(r.ReleasingSince)
}

// switchBackToReleasedIntent handles an old intent that another system had
// released before the new one took its place: the new one is released too, and
// the hold ends.
func switchBackToReleasedIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	r, other := h.Renewal, h.PaymentIntent
	h.PaymentIntent = in.ID
	scheduleIntentRelease(r, other, now)
	readOwnIntentAfterRelease(&h, in.ID+", which was to be released, had been released by "+
		"another system before "+other+" took its place", now)
	return Decision{Hold: h}
}

// readOwnIntentAfterRelease makes a read of the hold's own intent the next
// operation: it settles the hold once the other intent is released.
func readOwnIntentAfterRelease(h *Hold, note string, now time.Time) {
	h.Sent, h.ReadFirst = IdempotencyKeyUsage{}, false
	h.NextOp, h.NextAt, h.Retries, h.Calls = OpRead, now, 0, 0
	h.Revision++
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe", Op: OpRelease,
		Cause: CauseElsewhere, Note: note})
	releaseClaim(h)
}

// finishSecondIntentRelease goes on after the second authorization is gone.
func finishSecondIntentRelease(h Hold, now time.Time) Decision {
	r := h.Renewal
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRelease,
		Note: r.Releasing + " is released"})
	r.Releasing, r.ReleasingSince, r.ReleaseKeyUsage = "", time.Time{}, IdempotencyKeyUsage{}
	r.ReleaseTry, r.ReleaseRead, r.Exchanged, r.Replaced = 0, false, false, false
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
	readOwnIntentAfterRelease(&h, note, now)
	d := Decision{Hold: h}
	d.addEvent(EventAttention, CauseElsewhere)
	return d
}
