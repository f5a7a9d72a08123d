package hold

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
	"time"
)

// lateEffectWindow is how long a request may still take effect after holdd gave
// it up.
const lateEffectWindow = 30 * time.Second

// maxRefusals is how often Stripe may refuse for the state of an intent while a
// read shows the money held. One refusal may be a passing disagreement. After
// two the card network has let the charge go and the intent does not show it
// yet, so no later try succeeds.
const maxRefusals = 2

// ApplyAnswer decides what Stripe's answer to call means. [Decision.NextStepNow] asks
// for another call under the same claim.
//
// The answer to a plain successful capture is AnswerOK with the intent in the
// status succeeded. It passes decideByAnswerKind (case AnswerOK) and
// applyIntentInAnswer (case StatusSucceeded), and settleFromIntent makes the
// hold [Captured].
func (h Hold) ApplyAnswer(call Call, a Answer, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	if isRenewalCall(&h, &call) {
		return applyRenewalAnswer(h, call, a, now)
	}
	before := h
	if call.Op != OpRead {
		recordAttempt(&h, call, a, now)
	}
	return decideByAnswerKind(h, call, a, now).addManyCallsAlert(&before, a, now)
}

// recordAttempt counts a request that was sent and adds it to the history.
func recordAttempt(h *Hold, call Call, a Answer, now time.Time) {
	h.Sent.Count++
	if h.Sent.FirstAt.IsZero() {
		h.Sent.FirstAt = now
	}
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryAttempt, By: "holdd", Op: call.Op,
		Key: call.Key, RequestID: a.RequestID, Answer: a.Kind, Note: a.Code})
	if a.Retransmitted {
		// The answer belongs to the last try. A lock or a rate limit answers
		// before Stripe looks at the key, so it says nothing of earlier tries.
		h.Sent.Unknown = true
	}
}

func decideByAnswerKind(h Hold, call Call, a Answer, now time.Time) Decision {
	if d, ok := applyIncrementAnswer(h, call, a, now); ok {
		return d
	}
	if d, ok := applyPartialCaptureAnswer(h, call, a, now); ok {
		return d
	}
	switch a.Kind {
	case AnswerOK:
		if a.Intent == nil {
			return keepWorkingAndRetrieve(h, call, now)
		}
		ours := call.Op == h.NextOp
		if call.Op == OpRead {
			ours = h.Sent.Unknown || h.Generation > 1
		}
		return applyIntentInAnswer(h, call, a, ours, now)
	case AnswerUnexpectedState, AnswerChargeGone:
		return applyUnexpectedStateAnswer(h, call, a, now)
	case AnswerNotFound:
		return applyNotFoundAnswer(h, a, now)
	case AnswerLockTimeout:
		return scheduleRetry(h, now, time.Second, 30*time.Second)
	case AnswerKeyInUse:
		// Another request with this key is under way: its outcome is unknown.
		h.Sent.Unknown = true
		return scheduleRetry(h, now, time.Second, 30*time.Second)
	case AnswerUnreachable:
		return undoUnsentAttempt(h, call, now)
	case AnswerRateLimited:
		// The budget slows down all requests, so the hold itself need not wait.
		return scheduleRetry(h, now, 250*time.Millisecond, 10*time.Second)
	case AnswerUnauthorized, AnswerForbidden:
		return scheduleRetry(h, now, 2*time.Second, time.Minute)
	case AnswerAmountTooLarge:
		return applyRefusedAnswer(h, call, CauseAmountTooLarge, a, now)
	case AnswerIdempotencyError:
		return requireAttention(h, CauseKeyConflict, a.describeForHistory(), now)
	case AnswerDeclined, AnswerInvalid:
		return applyRefusedAnswer(h, call, CauseRefused, a, now)
	case AnswerReplayedError:
		// Stripe replays this answer for as long as it keeps the key. Only a
		// read leads on.
		h.ReadFirst = true
		return keepWorkingAndRetrieve(h, call, now)
	default:
		return keepWorkingAndRetrieve(h, call, now)
	}
}

// applyIntentInAnswer decides by the intent in the answer to a claimed hold's
// call. ours says whether an effect that it shows may be that of a request of
// this hold.
func applyIntentInAnswer(h Hold, call Call, a Answer, ours bool, now time.Time) Decision {
	in := a.Intent
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		if call.Op != OpCapture || a.Kind != AnswerOK {
			return settleFromIntent(h, in, ours, nil, now)
		}
		return settleFromIntent(h, in, ours, &call, now)
	case StatusRequiresCapture:
		if call.Op != OpRead {
			// Accepted, yet still held: Stripe did something else, or has not
			// done it yet.
			h.ReadFirst, h.Sent.Unknown = true, true
			return scheduleRetry(h, now, 5*time.Second, maxBackoff)
		}
		return applyRetrievedHeldIntent(h, in, now)
	case StatusProcessing:
		h.ReadFirst = true
		h.Sent.Unknown = h.Sent.Unknown || call.Op != OpRead
		return scheduleRetry(h, now, 5*time.Second, maxBackoff)
	default:
		return requireAttention(h, CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// applyRetrievedHeldIntent handles a read that shows the money held. Unless it shows
// that a part was captured, it proves that no request of this generation had an
// effect, so the next one may use a new key.
func applyRetrievedHeldIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	if in.AmountCapturable <= 0 {
		h.ReadFirst = true
		return scheduleRetry(h, now, 5*time.Second, maxBackoff)
	}
	if h.NextOp == OpIncrement {
		if d, ok := applyRetrieveDuringIncrement(h, in, now); ok {
			return d
		}
	}
	if d, ok := applyRetrieveOfPartialCapture(h, in, now); ok {
		return d
	}
	last := lastHistoryEntryOfKind(&h, HistoryAttempt)
	if h.Sent.Unknown && now.Sub(last.At) < lateEffectWindow {
		// The lost request may still take effect: this read proves nothing.
		h.ReadFirst, h.NextAt = true, last.At.Add(lateEffectWindow)
		releaseClaim(&h)
		return Decision{Hold: h}
	}
	sent := hasUnresolvedRequest(&h, now)
	refused := sent && (last.Answer == AnswerUnexpectedState || last.Answer == AnswerChargeGone)
	startKeyGenerationAfterRetrieve(&h, now)
	if refused {
		h.Refusals++
	}
	d := applyHeldIntent(h, in, now)
	switch {
	case refused && d.NextStepNow && h.Refusals >= maxRefusals:
		cause := CauseRefused
		if last.Answer == AnswerUnexpectedState {
			cause = CauseNotCapturable
		}
		note := last.Note + ": refused again, and the intent is " + string(in.Status)
		return d.Merge(requireAttention(d.Hold, cause, note, now))
	case refused && d.NextStepNow:
		return d.ReleaseClaimUntil(now.Add(retryBackoff(&h, 5*time.Second, maxBackoff)))
	case sent && d.NextStepNow && h.Retries > 1:
		// More than one request came to nothing: back off instead of a tight
		// loop.
		return d.ReleaseClaimUntil(now.Add(retryBackoff(&h, time.Second, time.Minute)))
	}
	return d
}

// settleFromIntent ends the hold as Stripe ended the intent. The cause is the
// hold's own if ours is true and the effect is the one requested, and another
// system otherwise. confirmed is the capture that this answer belongs to, nil
// if there is none: that capture took exactly what it named.
func settleFromIntent(
	h Hold, in *PaymentIntent, ours bool, confirmed *Call, now time.Time,
) Decision {
	if isReleasedBeforeRenewal(&h, in) {
		return Decision{Hold: h, Unchanged: true}
	}
	if mayHaveSecondAuthorization(&h) {
		return deferSettlementUntilReleased(h, now)
	}
	if isReplacementUnderWay(&h) {
		recordFailedReplacement(&h, HistoryEntry{Cause: CauseSuperseded}, now)
	}
	var cause Cause
	state, event, note := Captured, EventCaptured, ""
	wanted := h.CancellationReason
	h.CancellationReason = ""
	switch {
	case in.Status == StatusSucceeded:
		var released bool
		if cause, note, released = recordRestReleased(&h, in, ours, confirmed,
			now); !released {
			cause, note = recordCapture(&h, in, ours, confirmed)
		}
	case in.ExpiredByNetwork():
		state, cause, event = Expired, CauseExpired, EventExpired
	default:
		state, event, cause = Canceled, EventCanceled, causeOfCancellation(&h, ours)
		h.CancellationReason = cmp.Or(in.CancellationReason, wanted)
	}
	if in.Currency != "" {
		h.Currency = in.Currency
	}
	if in.Amount > 0 && h.Amount == 0 {
		h.Amount = in.Amount
	}
	h.State, h.SettledAt, h.Reason = state, now, cause
	h.Increment, h.Features, h.MaxCapturable = Increment{}, 0, 0
	cancelRequestedPart(&h)
	h.NextOp, h.NextAt, h.ReadFirst, h.Sent.Unknown = 0, time.Time{}, false, false
	h.Revision++
	by := "holdd"
	if cause == CauseElsewhere || cause == CauseExpired {
		by = "stripe"
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: by, Cause: cause, Note: note})
	d := Decision{Hold: h}
	d.addEvent(event, cause)
	return d
}

// causeOfCancellation returns why a hold whose intent is canceled was released.
// ours says that holdd sent the request.
func causeOfCancellation(h *Hold, ours bool) Cause {
	switch {
	case h.Renewal != nil && h.Renewal.Unprotected:
		return CauseUnprotected
	case !ours || h.NextOp != OpCancel:
		return CauseElsewhere
	}
	return h.Reason
}

// recordCapture splits the captured amount between holdd and another system,
// and returns the cause and the history's note.
func recordCapture(
	h *Hold, in *PaymentIntent, ours bool, confirmed *Call,
) (cause Cause, note string) {
	want, _ := captureAmountToSend(h)
	own := in.AmountReceived - capturedSoFar(h)
	if confirmed != nil && (want > 0 || confirmed.ReleaseRest) {
		own = min(confirmed.Amount, in.AmountReceived)
	}
	cause = h.Reason
	if !ours || h.NextOp != OpCapture || own <= 0 || want > 0 && own != want {
		cause, note, own = CauseElsewhere, describeCapturedElsewhere(h, ours, want, in), 0
	}
	parts := ownPartCaptures(h)
	h.CapturedAmount = in.AmountReceived
	h.CapturedElsewhere = max(0, in.AmountReceived-own-parts)
	if own > 0 && h.CapturedElsewhere > 0 {
		note = FormatAmount(own+parts, in.Currency) + " captured by holdd, " +
			FormatAmount(h.CapturedElsewhere, in.Currency) + " by another system"
	}
	return cause, note
}

// describeCapturedElsewhere describes a capture that is not known to be holdd's.
// want is the amount that a request of holdd's named, if ours says that there
// was one.
func describeCapturedElsewhere(h *Hold, ours bool, want int64, in *PaymentIntent) string {
	note := FormatAmount(in.AmountReceived, in.Currency) + " captured by another system"
	if ours && h.NextOp == OpCapture && want > 0 && in.AmountReceived >= capturedSoFar(h)+want {
		note += "; a request of holdd's for " + FormatAmount(want, in.Currency) +
			" may be part of it"
	}
	return note
}

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
		return retryInconclusiveAnswer(h, CauseNotFound, a, now)
	}
	h.InconclusiveReads++
	if h.InconclusiveReads < 2 {
		h.ReadFirst = true
		return scheduleRetry(h, now, 10*time.Second, time.Minute)
	}
	return requireAttention(h, CauseNotFound, a.describeForHistory(), now)
}

// undoUnsentAttempt takes back the attempt: the request never left, so
// Stripe has not seen the key.
func undoUnsentAttempt(h Hold, call Call, now time.Time) Decision {
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
		return retryInconclusiveAnswer(h, cause, a, now)
	}
	return requireAttention(h, cause, a.describeForHistory(), now)
}

// keepWorkingAndRetrieve keeps the hold Working, closed to changes, until Stripe
// has been read. A read that failed leaves the outcome as it was.
func keepWorkingAndRetrieve(h Hold, call Call, now time.Time) Decision {
	if call.Op != OpRead {
		h.Sent.Unknown = true
	}
	return scheduleRetry(h, now, time.Second, time.Minute)
}

// maxInconclusiveReads bounds the reads of an intent whose answer says nothing
// about a request that was sent: about a day at one read every five minutes.
const maxInconclusiveReads = 300

// retryInconclusiveAnswer handles an answer that says nothing about a request
// that was sent: Stripe does not find the intent, or refuses to be read. The
// wrong key may be set, so that proves nothing, and the hold stays closed to
// changes. An alert goes out at the second such answer. After a day the hold
// requires attention, and a later request begins with a read.
func retryInconclusiveAnswer(h Hold, cause Cause, a Answer, now time.Time) Decision {
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
	h.Increment = Increment{}
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

// addManyCallsAlert publishes hold.attention at the 16th, 32nd, 64th … call in a
// row without an outcome, whatever the answers are. Only an outcome, a hold
// that begins to require attention, or a request ends the row. The hold
// continues as it is, because an unknown outcome is no failure; from then on it
// waits up to maxBackoff between two calls.
func (d Decision) addManyCallsAlert(before *Hold, a Answer, now time.Time) Decision {
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
	// retryInconclusiveAnswer has published its alert and counts on its own.
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
