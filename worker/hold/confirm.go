package hold

import (
	"slices"
	"time"
)

// expiryPolicyActionNow returns what on_expiry does with the hold at once, 0
// for nothing. It does nothing by a deadline that is assumed and not verified:
// that one is read first.
func expiryPolicyActionNow(h *Hold, now time.Time, r DecisionRules) Op {
	if h.State == 0 || h.State.IsFinal() || h.State == Working || willActBeforeDeadline(h) ||
		h.ExpiresSource == SourceAssumed && !h.Verified ||
		!h.ExpiresAt.After(now) || expiryPolicyTime(h, r).After(now) {
		return 0
	}
	return expiryPolicyAction(h)
}

// RefuseUnconfirmedExpiryPolicy refuses a request that makes on_expiry act at
// once, unless the caller confirmed that. before is the hold as it was, the
// zero Hold if it is new. Errors are *[Problem].
func (d Decision) RefuseUnconfirmedExpiryPolicy(
	before *Hold,
	confirmed bool,
	now time.Time,
	r DecisionRules,
) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	op := expiryPolicyActionNow(&d.Hold, now, r)
	if d.Unchanged || op == 0 || op == expiryPolicyActionNow(before, now, r) {
		return d, nil
	}
	if confirmed {
		scheduleExpiryPolicyAction(&d.Hold, op, now) // so that the response shows what happens
		d.Confirmed, d.NextStepNow = true, true
		return d, nil
	}
	code, verb := WouldCancelNow, "release"
	if op == OpCapture {
		code, verb = WouldCaptureNow, "capture"
	}
	p := newProblem(
		code,
		"confirm",
		`the authorization ends at %s, within the expiry margin of %s: on_expiry %s would %s the money at once; send "confirm": true to do that, or a time before the end, or another on_expiry`,
		d.Hold.ExpiresAt.Format(time.RFC3339),
		formatDuration(r.ExpiryMargin),
		d.Hold.OnExpiry,
		verb,
	)
	p.Deadline = d.Hold.ExpiresAt
	return Decision{}, p
}

// confirmedNote marks the first history entry of a hold whose caller sent
// confirm.
const confirmedNote = "confirmed"

// RequireAttentionIfPolicyDue requires attention for a hold on which on_expiry
// would act at once because its deadline became known only now: from terms
// found at Stripe, or from a read that shows an earlier end. No caller could
// confirm it and no warning was published. The confirmation of a request covers
// the first read.
func (d *Decision) RequireAttentionIfPolicyDue(before *Hold, now time.Time, r DecisionRules) {
	h := &d.Hold
	learned := before.State == 0 || h.Verified != before.Verified ||
		!h.ExpiresAt.Equal(before.ExpiresAt)
	op := expiryPolicyActionNow(h, now, r)
	if before.State != 0 && !before.Verified && len(h.History) > 0 &&
		h.History[0].Note == confirmedNote {
		return
	}
	if d.Confirmed || !d.NewDeadline || !learned || op == 0 ||
		op == expiryPolicyActionNow(before, now, r) {
		return
	}
	next := requireAttention(*h, CauseInsideMargin, describeDeadline(h), now)
	next.NewDeadline, next.NewTerms, next.MirrorAt = true, d.NewTerms, d.MirrorAt
	others := slices.DeleteFunc(slices.Clone(d.Events),
		func(e Event) bool { return e.Type == EventAttention })
	next.Events = slices.Concat(others, next.Events)
	*d = next
}
