package hold

import "time"

// Contradicts reports whether the intent shows that a settled hold did not end
// as its record says: Stripe still holds the money, or the hold was captured
// and is recorded as released, or the reverse.
func (in *PaymentIntent) Contradicts(h *Hold) bool {
	if !h.State.Final() || in.ID != h.PaymentIntent {
		return false
	}
	switch in.Status {
	case StatusRequiresCapture:
		return true
	case StatusSucceeded:
		return h.State != Captured
	case StatusCanceled:
		return h.State == Captured
	}
	return false
}

// ApplyContradiction reopens a settled hold that a read contradicts. The hold
// requires attention, because its record was wrong and holdd does not know why:
// nothing captures or releases it without a request. A request begins with a
// read.
func (h Hold) ApplyContradiction(in *PaymentIntent, now time.Time) Decision {
	if !in.Contradicts(&h) {
		return Decision{Hold: h, Unchanged: true}
	}
	now = now.UTC().Truncate(time.Millisecond)
	note := "recorded as " + h.State.String()
	if h.Reason != 0 {
		note += " (" + h.Reason.String() + ")"
	}
	note += ", but Stripe says " + string(in.Status)
	h.SettledAt, h.CapturedAmount, h.CapturedElsewhere = time.Time{}, 0, 0
	if !h.CancelWanted {
		h.CancellationReason = ""
	}
	h.Acknowledged, h.ReadFirst = false, true
	resetRetryCounters(&h)
	if in.Status == StatusRequiresCapture {
		updateFromHeldIntent(&h, in, now)
	}
	d := requireAttention(h, CauseContradiction, note, now)
	d.NewDeadline = true
	return d
}
