package hold

import "time"

// NearDeadline is the code of a [TermsWarning]: the capture is planned within
// the expiry margin of the deadline.
const NearDeadline ProblemCode = "near_deadline"

// TermsWarning says what the caller should know about accepted terms.
type TermsWarning struct {
	Code     ProblemCode `json:"code" doc:"Stable name of the warning: near_deadline" example:"near_deadline"`
	Field    string      `json:"field,omitempty" doc:"The term that the warning is about" example:"capture_at"`
	Detail   string      `json:"detail" doc:"The risk and what to do about it"`
	Deadline time.Time   `json:"deadline" doc:"When the authorization ends"`
}

// NearDeadlineWarnings returns what the caller should know about the terms of
// an open hold whose deadline is known.
func NearDeadlineWarnings(h *Hold, r DecisionRules) []TermsWarning {
	at := lastCaptureTime(h)
	if h.State.IsFinal() || at.IsZero() || h.CancelWanted || !isDeadlineKnown(h) ||
		willBeRenewedUntil(h, at) || !at.After(h.ExpiresAt.Add(-r.ExpiryMargin)) {
		return nil
	}
	deadline := h.ExpiresAt.UTC()
	return []TermsWarning{{Code: NearDeadline, Field: "capture_at", Deadline: deadline,
		Detail: "the authorization ends at " + deadline.Format(time.RFC3339) +
			", less than the expiry margin of " + formatDuration(r.ExpiryMargin) +
			" after capture_at: an outage then may lose the money, so send an earlier time"}}
}

// isDeadlineKnown reports whether the deadline is Stripe's or the caller's.
func isDeadlineKnown(h *Hold) bool { return h.Verified || h.ExpiresSource == SourceCaller }

// wouldCaptureTooLate reports whether the deadline is known and the capture job may
// run only after it: a capture at the hold's own time would lapse.
func wouldCaptureTooLate(h *Hold, r DecisionRules) bool {
	at := lastCaptureTime(h)
	return !at.IsZero() && isDeadlineKnown(h) && !willBeRenewedUntil(h, at) &&
		at.After(h.ExpiresAt.Add(-r.CaptureInterval))
}

// RefuseLateCapture refuses a request that sets a capture_at which would
// lapse. A time that has passed means now, and is accepted. before is the hold
// as it was, the zero Hold if it is new. Errors are *[Problem].
func (d Decision) RefuseLateCapture(
	before *Hold, now time.Time, r DecisionRules,
) (Decision, error) {
	h := &d.Hold
	at := lastCaptureTime(h)
	if d.Unchanged || at.Equal(lastCaptureTime(before)) || !at.After(now) ||
		!wouldCaptureTooLate(h, r) {
		return d, nil
	}
	p := newProblem(AfterDeadline, "capture_at",
		"%s is less than %s before %s, when the authorization ends (%s): send an earlier time",
		at.Format(time.RFC3339), formatDuration(r.CaptureInterval),
		h.ExpiresAt.Format(time.RFC3339), h.ExpiresSource)
	p.Deadline = h.ExpiresAt
	return Decision{}, p
}

// RequireAttentionIfCaptureTooLate requires attention for a hold whose capture would
// lapse by a deadline that became known only now: from terms found at Stripe,
// or from the first read of a hold that was accepted unverified.
func (d *Decision) RequireAttentionIfCaptureTooLate(before *Hold, now time.Time, r DecisionRules) {
	h := &d.Hold
	if d.Unchanged || before.State != 0 && before.Verified || !h.Verified || h.State != Scheduled ||
		h.Reason != CauseSchedule || !h.CaptureAt.After(now) || !wouldCaptureTooLate(h, r) {
		return
	}
	next := requireAttention(*h, CauseAfterDeadline, describeDeadline(h), now)
	next.NewDeadline, next.NewTerms, next.MirrorAt = true, d.NewTerms, d.MirrorAt
	next.Events = append(d.Events[:len(d.Events):len(d.Events)], next.Events...)
	*d = next
}
