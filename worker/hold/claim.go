package hold

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"
)

// BeginClaim records that a worker has claimed the hold. since is when this
// claim, or the unfinished one before it, began. takenOver says that an earlier
// claim did not report: the outcome of what it sent is unknown.
//
// It may set ReadFirst, so that the claim retrieves the intent before a capture
// that names an amount. The capture of the whole amount, the usual one, is sent
// without a read.
func (h *Hold) BeginClaim(since time.Time, takenOver bool) {
	prepareRenewalForClaim(h, since, takenOver)
	if h.NextOp == OpRenew || h.NextOp == OpRelease || mustCaptureAwaitRenewal(h) {
		return // nothing of the hold's own is sent
	}
	if h.Sent.FirstAt.IsZero() {
		h.Sent.FirstAt = since
	}
	if takenOver {
		h.Sent.Unknown = true
	}
	// Another system may have captured a part since the last read, and a
	// capture with an amount would come on top of it, or a fee exceed what is
	// left. Any other capture of everything needs no read: it takes only what
	// is left.
	total, _ := nextCaptureTargetTotal(h)
	needsAmount := total > 0 || h.CaptureParams.hasFeeOrTransfer()
	if h.NextOp == OpCapture && needsAmount && !h.SingleCapture {
		h.ReadFirst = true
	}
}

// NextCall returns the request that a claimed hold needs now.
func (h *Hold) NextCall(now time.Time) Call {
	if c, ok := nextRenewalCall(h, now); ok {
		return c
	}
	c := Call{Op: h.NextOp, PaymentIntent: h.PaymentIntent, Account: h.Account,
		MayBeMissing: !h.Verified}
	sent := h.Sent.Count > 0 || h.Sent.Unknown
	stale := sent && now.Sub(h.Sent.FirstAt) >= keyLifetime
	if h.ReadFirst || stale || h.Amount == 0 ||
		mustRetrieveBeforeIncrement(h, now) || isPartialTargetReached(h) {
		c.Op = OpRead
	}
	if h.CancelWanted && c.Op == OpCapture {
		c.Op = OpCancel // unreachable today; an accepted cancel must never lead to a capture
	}
	switch c.Op {
	case OpCapture:
		c.Amount, c.ReleaseRest = captureAmountToSend(h)
		c.KeepRest = isNextCapturePartial(h)
		c.CaptureParams = captureParamsToSend(h, c.Amount)
		c.Key = idempotencyKey(h, c)
	case OpIncrement:
		c.Amount = h.Increment.Amount
		c.Key = idempotencyKey(h, c)
	case OpCancel:
		c.CancellationReason = cancellationReasonToSend(h)
		c.Key = idempotencyKey(h, c)
	}
	return c
}

// captureAmountToSend returns the amount that a capture names: what is missing from
// the total wanted; 0, which means everything, if Stripe has confirmed the
// amount; otherwise the amount that the caller stated, so that the cardholder
// never pays more than the caller knew of. A fee or a transfer belongs to a
// known amount, so the capture names it where another system may take a part.
// releaseRest says that the total is reached already, so nothing more may be
// captured.
func captureAmountToSend(h *Hold) (n int64, releaseRest bool) {
	switch total, final := nextCaptureTargetTotal(h); {
	case total > 0 && total <= capturedSoFar(h):
		return 0, final
	case total > 0:
		return total - capturedSoFar(h), false
	case h.Verified && (h.SingleCapture || !h.CaptureParams.hasFeeOrTransfer()):
		return 0, false
	default:
		return h.Amount, false
	}
}

// AuthorizedTotal returns what was authorized in all, whoever captures it.
func AuthorizedTotal(h *Hold) int64 { return h.Amount + capturedSoFar(h) }

// keyLifetime is how long an idempotency key is used. Stripe keeps keys for at
// least 24 h; the hour in between covers clock differences and slow requests.
const keyLifetime = 23 * time.Hour

// keyPrefix begins every idempotency key of holdd, so that an event from Stripe
// shows whether holdd's request caused it.
const keyPrefix = "holdd-"

// idempotencyKey derives the key from the effect of the request: hold,
// operation, digest of the parameters, generation. The same effect has the same
// key on every replica and after every crash, and no other effect has it. The
// key names the operation because Stripe does not scope keys by endpoint.
func idempotencyKey(h *Hold, c Call) string {
	d := sha256.New()
	var n [8]byte
	for _, s := range []string{h.Account, h.PaymentIntent, c.Op.String()} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		d.Write(n[:])
		d.Write([]byte(s))
	}
	amount := uint64(c.Amount)
	if c.ReleaseRest {
		amount = ^uint64(0) // capturing nothing and capturing everything both have amount 0
	}
	binary.BigEndian.PutUint64(n[:], amount)
	d.Write(n[:])
	if c.KeepRest { // a later part of the same amount is another effect
		total, _ := nextCaptureTargetTotal(h)
		binary.BigEndian.PutUint64(n[:], uint64(total))
		d.Write([]byte("keep-rest"))
		d.Write(n[:])
	}
	// The key of the reason abandoned stays that of releases that send no
	// other.
	if c.CancellationReason != ReasonAbandoned {
		d.Write([]byte(c.CancellationReason))
	}
	if !c.CaptureParams.IsEmpty() {
		d.Write(c.CaptureParams.canonicalJSON())
	}
	sum := d.Sum(nil)
	return keyPrefix + h.ID + "-" + c.Op.String() + "-" + hex.EncodeToString(sum[:8]) + "-" +
		strconv.FormatUint(uint64(h.Generation), 10)
}

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
		recordSentCall(&h, call, a, now)
	}
	return decideByAnswerKind(h, call, a, now).countCallAndAlertIfMany(&before, a, now)
}

// recordSentCall counts a request that was sent and adds it to the history.
func recordSentCall(h *Hold, call Call, a Answer, now time.Time) {
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
			return scheduleRetryAfterUnknownOutcome(h, call, now)
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
		return retryUnsentCall(h, call, now)
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
		return scheduleRetryAfterUnknownOutcome(h, call, now)
	default:
		return scheduleRetryAfterUnknownOutcome(h, call, now)
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
	var events []Event
	state, event, note := Captured, EventCaptured, ""
	wanted := h.CancellationReason
	h.CancellationReason = ""
	switch {
	case in.Status == StatusSucceeded:
		cause, note, events = recordCaptureAtEnd(&h, in, ours, confirmed, now)
	case in.ExpiredByNetwork():
		state, cause, event = Expired, CauseExpired, EventExpired
	default:
		state, event, cause = Canceled, EventCanceled, causeOfCanceledHold(&h, ours)
		h.CancellationReason = cmp.Or(in.CancellationReason, wanted)
	}
	if in.Currency != "" {
		h.Currency = in.Currency
	}
	if in.Amount > 0 && h.Amount == 0 {
		h.Amount = in.Amount
	}
	h.State, h.SettledAt, h.Reason = state, now, cause
	h.Increment, h.Features, h.MaxCapturable = PendingIncrement{}, 0, 0
	cancelRequestedPart(&h)
	h.NextOp, h.NextAt, h.ReadFirst, h.Sent.Unknown = 0, time.Time{}, false, false
	h.Revision++
	by := "holdd"
	if cause == CauseElsewhere || cause == CauseExpired {
		by = "stripe"
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: by, Cause: cause, Note: note})
	d := Decision{Hold: h, Events: events}
	d.addEvent(event, cause)
	return d
}

// causeOfCanceledHold returns why a hold whose intent is canceled was released.
// ours says that holdd sent the request.
func causeOfCanceledHold(h *Hold, ours bool) Cause {
	switch {
	case h.Renewal != nil && h.Renewal.Unprotected:
		return CauseUnprotected
	case !ours || h.NextOp != OpCancel:
		return CauseElsewhere
	}
	return h.Reason
}

// recordOwnAndElsewhereCaptures splits the captured amount between holdd and another system,
// and returns the cause and the history's note.
func recordOwnAndElsewhereCaptures(
	h *Hold, in *PaymentIntent, ours bool, confirmed *Call,
) (cause Cause, note string) {
	want, _ := captureAmountToSend(h)
	own := in.AmountReceived - capturedSoFar(h)
	if confirmed != nil && (want > 0 || confirmed.ReleaseRest) {
		own = min(confirmed.Amount, in.AmountReceived)
	}
	cause = h.Reason
	// A request of holdd's without an amount takes all that is left.
	leftSome := want == 0 && confirmed == nil && in.AmountReceived < in.Amount
	if !ours || h.NextOp != OpCapture || own <= 0 || want > 0 && own != want || leftSome {
		cause, note, own = CauseElsewhere, describeCapturedElsewhere(h, ours, want, in), 0
	}
	parts := ownPartialCaptureTotal(h)
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

// ReleaseUnsentClaim ends a claim under which nothing was sent.
func (h Hold) ReleaseUnsentClaim() Decision {
	if h.Sent.Count == 0 && !h.Sent.Unknown {
		h.Sent.FirstAt = time.Time{}
	}
	if h.Renewal != nil {
		r := unshareRenewal(&h)
		forgetUnsentKeyUse(&r.Sent)
		forgetUnsentKeyUse(&r.ReleaseKeyUsage)
	}
	releaseClaim(&h)
	return Decision{Hold: h, NextStepNow: true}
}

// ReleaseClaimUntil ends a claim that cannot continue now ([Decision.NextStepNow]).
// The hold is due again at the given time.
func (d Decision) ReleaseClaimUntil(at time.Time) Decision {
	d.Hold.NextAt = at.UTC().Truncate(time.Millisecond)
	if d.Hold.Renewal != nil {
		unshareRenewal(&d.Hold).RetryAt = d.Hold.NextAt
	}
	releaseClaim(&d.Hold)
	d.NextStepNow = false
	return d
}

// releaseClaim ends a claim without an outcome.
func releaseClaim(h *Hold) {
	switch {
	case h.Sent.Unknown:
		h.State = Working
	case h.NextOp == OpCapture || h.NextOp == OpCancel || h.NextOp == OpIncrement:
		h.State = Scheduled
	default:
		h.State = h.PreviousState
	}
}
