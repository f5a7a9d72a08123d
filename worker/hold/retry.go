package hold

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
	"time"
)

// applyUnexpectedStateAnswer handles a refusal because of the state of the
// intent or its charge. Had this key had its effect before, Stripe would have
// replayed that success. So another system ended the hold, or a request of an
// earlier generation arrived late.
func applyUnexpectedStateAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	if call.Op != OpRead {
		h.Sent.Unknown = false
	}
	if a.Intent != nil && a.Intent.Status != StatusRequiresCapture {
		return applyIntentInAnswer(h, call, a, h.Generation > 1, now)
	}
	if call.Op != OpRead && !h.ReadFirst {
		h.ReadFirst = true
		return Decision{Hold: h, NextStepNow: true}
	}
	return scheduleRetry(h, now, 5*time.Second, maxBackoff)
}

// applyNotFoundAnswer handles a 404. Stripe rarely fails to see an intent for a
// moment, so the hold requires attention only after the second one.
func applyNotFoundAnswer(h Hold, a Answer, now time.Time) Decision {
	if h.Sent.Unknown {
		return retryInconclusiveRetrieve(h, CauseNotFound, a, now)
	}
	h.InconclusiveReads++
	if h.InconclusiveReads < 2 {
		h.ReadFirst = true
		return scheduleRetry(h, now, 10*time.Second, time.Minute)
	}
	return requireAttention(h, CauseNotFound, a.describeForHistory(), now)
}

// retryUnsentCall takes back the attempt: the request never left, so
// Stripe has not seen the key.
func retryUnsentCall(h Hold, call Call, now time.Time) Decision {
	if call.Op != OpRead {
		h.Sent.Count--
	}
	if h.Sent.Count == 0 && !h.Sent.Unknown {
		h.Sent.FirstAt = time.Time{}
	}
	return scheduleRetry(h, now, 2*time.Second, time.Minute)
}

// applyRefusedAnswer handles an answer that ends an attempt for good. If an
// earlier request may have had its effect, Stripe is read first.
func applyRefusedAnswer(h Hold, call Call, cause Cause, a Answer, now time.Time) Decision {
	if h.Sent.Unknown && call.Op != OpRead && !h.ReadFirst {
		h.ReadFirst = true
		return Decision{Hold: h, NextStepNow: true}
	}
	if h.Sent.Unknown {
		return retryInconclusiveRetrieve(h, cause, a, now)
	}
	return requireAttention(h, cause, a.describeForHistory(), now)
}

// scheduleRetryAfterUnknownOutcome keeps the hold Working, closed to changes, until Stripe
// has been read. A read that failed leaves the outcome as it was.
func scheduleRetryAfterUnknownOutcome(h Hold, call Call, now time.Time) Decision {
	if call.Op != OpRead {
		h.Sent.Unknown = true
	}
	return scheduleRetry(h, now, time.Second, time.Minute)
}

// maxInconclusiveReads bounds the reads of an intent whose answer says nothing
// about a request that was sent: about a day at one read every five minutes.
const maxInconclusiveReads = 300

// retryInconclusiveRetrieve handles an answer that says nothing about a request
// that was sent: Stripe does not find the intent, or refuses to be read. The
// wrong key may be set, so that proves nothing, and the hold stays closed to
// changes. An alert goes out at the second such answer. After a day the hold
// requires attention, and a later request begins with a read.
func retryInconclusiveRetrieve(h Hold, cause Cause, a Answer, now time.Time) Decision {
	h.InconclusiveReads++
	if h.InconclusiveReads > maxInconclusiveReads {
		return requireAttention(h, cause, a.describeForHistory(), now)
	}
	if h.InconclusiveReads == 2 {
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Cause: cause, Note: a.describeForHistory()})
	}
	h.ReadFirst = true
	d := scheduleRetry(h, now, 10*time.Second, maxBackoff)
	if h.InconclusiveReads == 2 {
		d.Events = []Event{{Type: EventAttention, Cause: cause}}
	}
	return d
}

// scheduleRetry ends the claim and makes the hold due again after a back-off.
// It publishes the 1st, 2nd, 4th, 8th … retry only, so that an outage does not
// flood the stream.
func scheduleRetry(h Hold, now time.Time, base, limit time.Duration) Decision {
	h.Retries++
	h.NextAt = now.Add(retryBackoff(&h, base, limit))
	releaseClaim(&h)
	d := Decision{Hold: h}
	if isPowerOfTwo(h.Retries) {
		d.addEvent(EventRetrying, h.Reason)
	}
	return d
}

// requireAttention stops the hold until a request changes it. A hold past its
// deadline is read every few minutes: it publishes the event only once.
func requireAttention(h Hold, cause Cause, note string, now time.Time) Decision {
	if h.State == Working && h.PreviousState == Attention &&
		h.NextOp == OpRead && h.Reason == cause {
		h.State, h.NextOp, h.NextAt = Attention, 0, time.Time{}
		return Decision{Hold: h}
	}
	h.State, h.NextOp, h.NextAt, h.Reason = Attention, 0, time.Time{}, cause
	h.Increment = PendingIncrement{}
	cancelRequestedPart(&h)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: "holdd",
		Cause: cause, Note: note})
	d := Decision{Hold: h}
	d.addEvent(EventAttention, cause)
	return d
}

// MaxCallsBeforeAlert is how many calls in a row may lead to no outcome before
// an alert goes out. It is a power of two.
const MaxCallsBeforeAlert = 16

// countCallAndAlertIfMany publishes hold.attention at the 16th, 32nd, 64th … call in a
// row without an outcome, whatever the answers are. Only an outcome, a hold
// that begins to require attention, or a request ends the row. The hold
// continues as it is, because an unknown outcome is no failure; from then on it
// waits up to maxBackoff between two calls.
func (d Decision) countCallAndAlertIfMany(before *Hold, a Answer, now time.Time) Decision {
	h := &d.Hold
	known := before.PreviousState == Attention // read at its deadline; alerted before
	incremented := before.NextOp == OpIncrement && h.NextOp != OpIncrement
	if h.State.IsFinal() || h.State == Attention && !known || incremented {
		h.Calls, h.Refusals = 0, 0
		return d
	}
	if h.NextOp != before.NextOp {
		h.Refusals = 0
	}
	h.Calls = before.Calls + 1
	// retryInconclusiveRetrieve has published its alert and counts on its own.
	counted := h.InconclusiveReads > max(1, before.InconclusiveReads)
	if h.Calls < MaxCallsBeforeAlert || !isPowerOfTwo(h.Calls) || counted || h.State == Attention {
		return d
	}
	note := strconv.FormatUint(uint64(h.Calls), 10) +
		" calls without an outcome, the last answer: " + a.Kind.String()
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd",
		Cause: CauseNoOutcome, Note: note})
	d.Events = slices.DeleteFunc(slices.Clone(d.Events),
		func(e Event) bool { return e.Type == EventRetrying })
	d.addEvent(EventAttention, CauseNoOutcome)
	return d
}

func isPowerOfTwo(n uint32) bool { return n&(n-1) == 0 }

// maxBackoff is the longest time between two calls of a hold that is due.
const maxBackoff = 5 * time.Minute

// retryBackoff returns how long to wait before the hold's next retry. Once many
// calls were alerted, the limit is maxBackoff.
func retryBackoff(h *Hold, base, limit time.Duration) time.Duration {
	if h.Calls >= MaxCallsBeforeAlert {
		limit = maxBackoff
	}
	return reproducibleBackoff(h.ID, h.Retries, base, limit)
}

// reproducibleBackoff returns how long to wait before retry n (from 1): base
// doubled each time up to limit, then shortened by up to half. The jitter
// depends on the hold and n only: holds that failed together spread, and the
// same history gives the same times.
func reproducibleBackoff(id string, n uint32, base, limit time.Duration) time.Duration {
	d := base
	for i := uint32(1); i < n && d < limit; i++ {
		d *= 2
	}
	d = min(d, limit)
	f := fnv.New64a()
	f.Write([]byte(id))
	f.Write(binary.BigEndian.AppendUint32(nil, n))
	// FNV's low bits spread well enough; no secret depends on them.
	share := float64(f.Sum64()%1024) / 1024
	return (d - time.Duration(share*float64(d/2))).Truncate(time.Millisecond)
}
