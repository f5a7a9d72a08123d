package hold

import "time"

// policyAction is what the deadline's policy does with the hold as it stands, 0
// if it only tells.
func policyAction(h *Hold) Op {
	switch {
	case h.OnExpiry == PolicyCancel && (h.State != Attention || h.Reason == CauseAfterDeadline):
		return OpCancel
	case h.OnExpiry == PolicyCapture && !h.CancelWanted && h.CancelAt.IsZero() &&
		(h.State == Waiting || h.State == Scheduled || h.State == Attention &&
			h.Reason == CauseAfterDeadline):
		return OpCapture
	}
	return 0
}

// Forecast tells what will be done with the hold's money by itself, and when,
// if nobody does anything until then: a capture or a cancel, for its own time's
// sake, because it is due already, or by its deadline's policy; 0 if neither
// will be.
func (h *Hold) Forecast(now time.Time, r Rules) (op Op, at time.Time) {
	switch {
	case h.State.Final():
		return 0, time.Time{}
	case h.State == Working:
		op, at = h.NextOp, now
	case actsInTime(h):
		op, at = h.NextOp, maxTime(h.NextAt, now)
	case h.ExpiresAt.After(now):
		op, at = policyAction(h), maxTime(policyTime(h, r), now)
	}
	if op != OpCapture && op != OpCancel {
		return 0, time.Time{}
	}
	return op, at
}
