package hold

import (
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
	if h.NextOp == OpRenew || h.NextOp == OpRelease || mustRenewBeforeCapture(h) {
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

// ReleaseUnsentClaim ends a claim under which nothing was sent.
func (h Hold) ReleaseUnsentClaim() Decision {
	if h.Sent.Count == 0 && !h.Sent.Unknown {
		h.Sent.FirstAt = time.Time{}
	}
	if h.Renewal != nil {
		r := copyRenewalForEdit(&h)
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
		copyRenewalForEdit(&d.Hold).RetryAt = d.Hold.NextAt
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
