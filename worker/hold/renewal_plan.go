package hold

import (
	"strconv"
	"time"
)

// PlanRenewal makes the renewal's next step the hold's next operation if it
// comes before the hold's own. It is called before each write of a decision.
func (d *Decision) PlanRenewal(now time.Time) {
	h := &d.Hold
	if h.Renewal == nil || h.State.Final() || h.State == Working || hasOwnOpBegun(h, now) {
		return
	}
	if h.NextOp == OpRenew || h.NextOp == OpRelease {
		restoreOwnOp(h)
	}
	if isRenewalOpen(h) && !needsRenewal(h) {
		abandonRenewal(h, now)
	}
	if cause, note := cannotRenew(h); cause != 0 {
		failed := failRenewal(*h, cause, note, now)
		d.Events = append(d.Events[:len(d.Events):len(d.Events)], failed.Events...)
		*h, d.NewDeadline = failed.Hold, true
	}
	op, at := nextRenewalOp(h, now)
	if op != 0 && (h.NextOp == 0 || at.Before(h.NextAt)) {
		h.NextOp, h.NextAt = op, at
	}
}

// hasOwnOpBegun reports whether the hold's own operation is under way or due.
// The renewal then ends, and its intent is released before that operation.
func hasOwnOpBegun(h *Hold, now time.Time) bool {
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

// cannotRenew returns why a hold whose renewal is to begin cannot be renewed, 0
// if it can.
func cannotRenew(h *Hold) (Cause, string) {
	r := h.Renewal
	if !needsRenewal(h) || r.Step != RenewalIdle || r.Releasing != "" || r.AuthorizedAt.IsZero() {
		return 0, ""
	}
	switch {
	case r.Completed >= r.MaxRenewals:
		return CauseRenewalLimit, "renewed " + strconv.FormatUint(uint64(r.Completed), 10) +
			" times, as max_renewals allows"
	case h.CaptureParams.hasFeeOrTransfer():
		return CauseNotRenewable, "a new authorization would not have the account that the " +
			"capture's fee or transfer belongs to"
	case ownParts(h) > 0:
		return CauseNotRenewable, "cannot renew: a part is captured"
	case h.CapturedElsewhere > 0:
		return CauseElsewhere, "cannot renew: " + partlyCapturedNote(h)
	case r.MaxAmount > 0 && h.Amount > r.MaxAmount:
		return CauseAmountTooLarge, "cannot renew " + FormatAmount(h.Amount, h.Currency) +
			": max_amount is " + FormatAmount(r.MaxAmount, h.Currency)
	}
	return 0, ""
}

// nextRenewalOp returns the renewal's next operation and when it is due.
func nextRenewalOp(h *Hold, now time.Time) (Op, time.Time) {
	r := h.Renewal
	at := r.RetryAt
	if at.IsZero() {
		at = now
	}
	switch {
	case r.Releasing != "":
		return OpRelease, at
	case r.Step == RenewalFind:
		return OpRenew, at
	case !needsRenewal(h), r.Step == RenewalFailed:
		return 0, time.Time{}
	case r.Step == RenewalIdle && !r.AuthorizedAt.IsZero() && !isRenewalDue(h, now):
		return 0, time.Time{} // a milestone of the deadline begins it
	}
	return OpRenew, at
}

// deferSettlement keeps a hold open that has ended at Stripe while another
// intent of it may hold money. A claim releases that intent, and then reads how
// the hold ended.
func deferSettlement(h Hold, now time.Time) Decision {
	if h.NextOp == OpRead && !h.NextAt.After(now.Add(time.Second)) && h.State != Working {
		return Decision{Hold: h, Unchanged: true}
	}
	editRenewal(&h).OwnEnded = true
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
	return Decision{Hold: h, Again: true}
}

// applyRelatedIntent updates a hold with another intent than the one that holds
// its money: that of a renewal.
func applyRelatedIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	same := Decision{Hold: h, Unchanged: true}
	r := h.Renewal
	if r == nil || OwnerOfIntent(in) != h.ID && in.ID != h.ID {
		return same
	}
	switch {
	case in.ID == r.Releasing:
		return same
	case in.ID == r.Intent:
		return hastenRenewal(h, now)
	case in.Status != StatusRequiresCapture:
		return same
	}
	if hasOwnOpBegun(&h, now) || h.State == Working {
		return same
	}
	r = editRenewal(&h)
	generation, _ := strconv.ParseUint(in.Metadata[MetaGeneration], 10, 32)
	switch {
	case uint32(generation) > r.Generation && in.Metadata[MetaReplaces] == h.PaymentIntent &&
		in.Currency == h.Currency && in.AmountCapturable == h.Amount && !isRenewalOpen(&h):
		// The schedule was rebuilt from the older of two intents.
		r.Generation = uint32(generation)
		d := swapIntents(h, in, now)
		d.PlanRenewal(now)
		return d
	case r.Releasing == "" && r.Intent == "":
		releaseIntent(r, in.ID, now)
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Op: OpRelease, Note: in.ID + " holds money beside " + h.PaymentIntent})
		d := Decision{Hold: h}
		d.PlanRenewal(now)
		return d
	}
	return same
}

// hastenRenewal makes a read of the new intent due at once, because an event or
// a list says that it changed.
func hastenRenewal(h Hold, now time.Time) Decision {
	if h.State == Working || h.Renewal.Step != RenewalRequiresAction ||
		!h.Renewal.RetryAt.After(now) {
		return Decision{Hold: h, Unchanged: true}
	}
	editRenewal(&h).RetryAt = now
	d := Decision{Hold: h}
	d.PlanRenewal(now)
	return d
}
