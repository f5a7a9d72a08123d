package hold

import (
	"slices"
	"time"
)

// policyNow is what the deadline's policy does with the hold at once, 0 if
// nothing. An assumed deadline that Stripe was not asked about is read first.
func policyNow(h *Hold, now time.Time, r Rules) Op {
	if h.State == 0 || h.State.Final() || h.State == Working || actsInTime(h) ||
		h.ExpiresSource == SourceAssumed && !h.Verified ||
		!h.ExpiresAt.After(now) || policyTime(h, r).After(now) {
		return 0
	}
	return policyAction(h)
}

// Confirm refuses a request that makes the deadline's policy act at once,
// unless the caller has confirmed that. before is the hold as it was, the zero
// Hold if it is new. Errors are *[Problem].
func (c Decision) Confirm(before *Hold, confirmed bool, now time.Time, r Rules) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	op := policyNow(&c.Hold, now, r)
	if c.Unchanged || op == 0 || op == policyNow(before, now, r) {
		return c, nil
	}
	if confirmed {
		startPolicy(&c.Hold, op, now) // the answer says what happens
		c.Confirmed, c.Again = true, true
		return c, nil
	}
	code, verb := WouldCancelNow, "release"
	if op == OpCapture {
		code, verb = WouldCaptureNow, "capture"
	}
	p := problem(code, "confirm",
		`the authorization ends at %s, within the expiry margin of %s: on_expiry %s would %s the money at once; send "confirm": true to do that, or a time before the end, or another on_expiry`,
		c.Hold.ExpiresAt.Format(time.RFC3339), formatDuration(r.ExpiryMargin), c.Hold.OnExpiry,
		verb)
	p.Deadline = c.Hold.ExpiresAt
	return Decision{}, p
}

// confirmedNote in a hold's first history entry says that its caller sent
// confirm.
const confirmedNote = "confirmed"

// HandOver requires attention for a hold whose policy would act at once because
// its deadline has only now become known: by terms found at Stripe, or by a
// read that shows an earlier end. No caller could be asked and no warning came.
// A confirmed request stands for the first read as well.
func (c *Decision) HandOver(before *Hold, now time.Time, r Rules) {
	h := &c.Hold
	learned := before.State == 0 || h.Verified != before.Verified ||
		!h.ExpiresAt.Equal(before.ExpiresAt)
	op := policyNow(h, now, r)
	if before.State != 0 && !before.Verified && len(h.History) > 0 &&
		h.History[0].Note == confirmedNote {
		return
	}
	if c.Confirmed || !c.NewDeadline || !learned || op == 0 || op == policyNow(before, now, r) {
		return
	}
	next := requireAttention(*h, CauseInsideMargin, "ends at "+h.ExpiresAt.Format(time.RFC3339),
		now)
	next.NewDeadline, next.NewTerms, next.MirrorAt = true, c.NewTerms, c.MirrorAt
	told := slices.DeleteFunc(slices.Clone(c.Events),
		func(n Event) bool { return n.Type == EventAttention })
	next.Events = slices.Concat(told, next.Events)
	*c = next
}
