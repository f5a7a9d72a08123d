package hold

import (
	"strconv"
	"time"
)

// SetNextRenewalOp makes the renewal's next step the hold's next operation if it
// comes before the hold's own. It is called before each write of a decision.
func (d *Decision) SetNextRenewalOp(now time.Time) {
	h := &d.Hold
	defer d.addFailedIncrementEvent()
	if h.Renewal == nil || h.State.IsFinal() || h.State == Working || isOwnOpUnderWayOrDue(h, now) {
		return
	}
	if h.NextOp == OpRenew || h.NextOp == OpRelease {
		restoreOwnOp(h)
	}
	if cause := reasonToStopReplacement(h, now); cause != 0 {
		recordFailedReplacement(h, HistoryEntry{Cause: cause}, now)
		abandonRenewal(h, now)
	}
	if mayHaveSecondAuthorization(h) && !needsRenewal(h) && !isReplacementUnderWay(h) {
		abandonRenewal(h, now)
	}
	if cause, note := reasonHoldNotRenewable(h, now); cause != 0 {
		failed := failRenewal(*h, cause, note, now)
		d.Events = append(d.Events[:len(d.Events):len(d.Events)], failed.Events...)
		*h, d.NewDeadline = failed.Hold, true
	}
	op, at := nextRenewalOp(h, now)
	if op != 0 && (h.NextOp == 0 || at.Before(h.NextAt)) {
		h.NextOp, h.NextAt = op, at
	}
}

// isOwnOpUnderWayOrDue reports whether the hold's own operation is under way or due.
// The renewal then ends, and its intent is released before that operation.
func isOwnOpUnderWayOrDue(h *Hold, now time.Time) bool {
	switch h.NextOp {
	case OpRead, OpIncrement:
		return true
	case OpCapture, OpCancel:
		own := h.ActionTime()
		return h.Reason != CauseSchedule || h.Sent.Unknown || own.IsZero() || !own.After(now)
	}
	return false
}

// restoreOwnOp makes the hold's own operation the next one.
func restoreOwnOp(h *Hold) {
	h.NextOp, h.NextAt = 0, time.Time{}
	if h.State != Scheduled {
		return
	}
	switch {
	case !h.CaptureAt.IsZero():
		h.NextOp, h.NextAt = OpCapture, h.CaptureAt
	case !h.CancelAt.IsZero():
		h.NextOp, h.NextAt = OpCancel, h.CancelAt
	}
}

// reasonHoldNotRenewable returns why a hold whose renewal is to begin cannot be renewed, 0
// if it can.
func reasonHoldNotRenewable(h *Hold, now time.Time) (Cause, string) {
	r := h.Renewal
	if !needsRenewal(h) || r.Step != RenewalIdle || r.Releasing != "" || r.AuthorizedAt.IsZero() {
		return 0, ""
	}
	if code, ok := mayTryCardAgain(r, now); !ok && isRenewalDue(h, now) &&
		(r.NeverAgain != "" || !nextAllowedTryTime(r, now).Before(h.ExpiresAt)) {
		return CauseDeclined, "the card must not be tried again: " + code
	}
	switch {
	case r.Completed >= r.MaxRenewals:
		return CauseRenewalLimit, "renewed " + strconv.FormatUint(uint64(r.Completed), 10) +
			" times, as max_renewals allows"
	case h.CaptureParams.hasFeeOrTransfer():
		return CauseNotRenewable, "a new authorization would not have the account that the " +
			"capture's fee or transfer belongs to"
	case ownPartialCaptureTotal(h) > 0:
		return CauseNotRenewable, "cannot renew: a part is captured"
	case h.CapturedElsewhere > 0:
		return CauseElsewhere, "cannot renew: " + describePartCapturedElsewhere(h)
	case r.MaxAmount > 0 && h.Amount > r.MaxAmount:
		return CauseAmountTooLarge, "cannot renew " + FormatAmount(h.Amount, h.Currency) +
			": max_amount is " + FormatAmount(r.MaxAmount, h.Currency)
	}
	return 0, ""
}

// WillBeRenewedUntilAction reports whether renewals are expected to hold the amount until the
// hold's time to act, or until renewal.until if it has none.
func WillBeRenewedUntilAction(h *Hold, now time.Time) bool {
	if !isRenewalOnTrack(h) || !h.ExpiresAt.After(now) {
		return false
	}
	until := endOfAction(h)
	cause, _ := reasonHoldNotRenewable(h, now)
	return cause == 0 && !until.After(h.Renewal.Until) && !until.After(lastExpectedExpiry(h, now))
}

// endOfAction returns the hold's last time to act, renewal.until if it has none.
func endOfAction(h *Hold) time.Time {
	if t := maxTime(h.ActionTime(), lastPlannedCaptureTime(h)); !t.IsZero() {
		return t
	}
	return h.Renewal.Until
}

// lastExpectedExpiry returns when the last authorization ends that the renewal of the hold is
// expected to place.
func lastExpectedExpiry(h *Hold, now time.Time) time.Time {
	r := h.Renewal
	if cause, _ := reasonHoldNotRenewable(h, now); cause != 0 {
		return h.ExpiresAt
	}
	if r.AuthorizedAt.IsZero() {
		return maxTime(h.ExpiresAt, r.Until) // unknown
	}
	// Each renewal authorizes for as long as the current authorization.
	window := h.ExpiresAt.Sub(r.AuthorizedAt)
	left := time.Duration(r.MaxRenewals - min(r.Completed, r.MaxRenewals))
	return h.ExpiresAt.Add(left * (window - renewalLeadTime(window)))
}

// nextRenewalOp returns the renewal's next operation and when it is due.
func nextRenewalOp(h *Hold, now time.Time) (Op, time.Time) {
	r := h.Renewal
	at := r.RetryAt
	if at.IsZero() {
		at = now
	}
	switch {
	case r.Unprotected && r.Intent == "":
		// No intent holds the money: a read of the old one settles the hold, once
		// the new one is released.
		return OpRead, now
	case r.Releasing != "":
		return OpRelease, at
	case r.Step == RenewalFind:
		return OpRenew, at
	case !needsRenewal(h) && !isReplacementUnderWay(h), r.Step == RenewalFailed:
		return 0, time.Time{}
	case isReplacementUnderWay(h):
		return OpRenew, at
	case r.Step == RenewalIdle && !r.AuthorizedAt.IsZero() && !isRenewalDue(h, now):
		return 0, time.Time{} // a milestone of the deadline begins it
	}
	if r.Step == RenewalRequiresAction && r.ConfirmAt.After(now) {
		at = minTime(at, r.ConfirmAt) // RetryAt alone bounds the reads
	}
	if _, ok := mayTryCardAgain(r, now); !ok && r.Step == RenewalIdle {
		at = maxTime(at, nextAllowedTryTime(r, now))
	}
	return OpRenew, at
}

// deferSettlementUntilReleased keeps a hold open that has ended at Stripe while another
// intent of it may hold money. A claim releases that intent, and then reads how
// the hold ended.
func deferSettlementUntilReleased(h Hold, now time.Time) Decision {
	if h.NextOp == OpRead && !h.NextAt.After(now.Add(time.Second)) && h.State != Working {
		return Decision{Hold: h, Unchanged: true}
	}
	unshareRenewal(&h).OwnEnded = true
	if h.State == Working && h.Sent.Count > 0 && (h.NextOp == OpCapture || h.NextOp == OpCancel) {
		// A request of holdd's may have ended it: the operation stays, so that
		// the read after the release knows that.
		h.ReadFirst, h.Sent.Unknown, h.NextAt = true, true, now
		releaseClaim(&h)
		return Decision{Hold: h}
	}
	h.NextOp, h.NextAt = OpRead, now
	if h.State == Working {
		releaseClaim(&h)
		h.NextOp, h.NextAt = OpRead, now
	}
	return Decision{Hold: h, NextStepNow: true}
}
