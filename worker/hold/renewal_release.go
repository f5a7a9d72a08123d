package hold

import (
	"strings"
	"time"
)

// applyReleaseAnswer decides by the answer to a release, or to a read of the
// intent that is released.
func applyReleaseAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	r := h.Renewal
	known := a.Intent != nil && (a.Kind == AnswerOK || a.Kind == AnswerUnexpectedState)
	base, limit, passing := isPassingAnswer(a.Kind)
	switch {
	case known && r.Released.Count == 0 && (OwnerOfIntent(a.Intent) != h.ID ||
		r.Customer != "" && a.Intent.Customer != r.Customer):
		// Metadata named an intent that is not one of this hold.
		return finishRelease(h, now)
	case known && a.Intent.Status == StatusCanceled:
		return finishRelease(h, now)
	case known && a.Intent.Status == StatusSucceeded:
		return exchangeCaptured(h, a.Intent, now)
	case call.Op == OpRead && known && now.Before(r.lastReleaseAt(&h).Add(lateEffectWindow)):
		return retryRenewal(h, now, 5*time.Second, maxBackoff)
	case call.Op == OpRead && known: // it still exists: a new key
		r.ReleaseTry, r.ReleaseRead, r.Released = r.ReleaseTry+1, false, IdempotencyKeyUsage{}
		return retryRenewal(h, now, time.Second, maxBackoff)
	case passing:
		return retryRenewal(h, now, base, limit)
	case a.Kind == AnswerUnknown, a.Kind == AnswerKeyInUse:
		r.Released.Unknown = r.Released.Unknown || call.Op != OpRead
		return retryRenewal(h, now, time.Second, time.Minute)
	}
	r.ReleaseRead = true
	return retryRenewal(h, now, time.Second, maxBackoff)
}

// lastReleaseAt returns when a release was last sent.
func (r *Renewal) lastReleaseAt(h *Hold) time.Time {
	for i := len(h.History) - 1; i >= 0; i-- {
		if e := &h.History[i]; e.Op == OpRelease && strings.Contains(e.Key, r.Releasing) {
			return e.At
		}
	}
	return time.Time{}
}

// finishRelease goes on after the second authorization is gone.
func finishRelease(h Hold, now time.Time) Decision {
	r := h.Renewal
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRelease,
		Note: r.Releasing + " is released"})
	r.Releasing, r.ReleasingSince, r.Released = "", time.Time{}, IdempotencyKeyUsage{}
	r.ReleaseTry, r.ReleaseRead, r.Exchanged = 0, false, false
	return continueOwnOp(h, now)
}

// exchangeCaptured handles an intent that was to be released and that another
// system has captured. The money was taken there, so that intent becomes the
// hold's, and the other one is released.
func exchangeCaptured(h Hold, in *PaymentIntent, now time.Time) Decision {
	r := h.Renewal
	note := in.ID + ", which was to be released, was captured by another system"
	if r.Exchanged {
		note += ", and so was " + h.PaymentIntent
		r.Releasing, r.ReleasingSince, r.Exchanged = "", time.Time{}, false
		r.Released, r.ReleaseTry, r.ReleaseRead = IdempotencyKeyUsage{}, 0, false
	} else {
		other := h.PaymentIntent
		h.PaymentIntent = in.ID
		releaseIntent(r, other, now)
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
