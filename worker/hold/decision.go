package hold

import (
	"slices"
	"time"
)

// DecisionRules are the settings that decisions depend on.
type DecisionRules struct {
	ExpiryMargin time.Duration   // how long before its deadline a hold's on_expiry acts
	Thresholds   []time.Duration // how long before its deadline a hold is warned of
	Mirror       bool            // terms are written to the intent's metadata
	// CaptureInterval is the time between two runs of the job that captures due
	// holds.
	CaptureInterval time.Duration
	// CancellationReason is the reason of a cancel that names none.
	CancellationReason string
}

// EventType names an event about a hold.
type EventType string

// The events about holds, as callbacks and the event stream name them.
const (
	EventScheduled    EventType = "hold.scheduled"
	EventChanged      EventType = "hold.changed"
	EventPaused       EventType = "hold.paused"
	EventResumed      EventType = "hold.resumed"
	EventExpiring     EventType = "hold.expiring"
	EventRetrying     EventType = "hold.retrying"
	EventCaptured     EventType = "hold.captured"
	EventCanceled     EventType = "hold.canceled"
	EventExpired      EventType = "hold.expired"
	EventAttention    EventType = "hold.attention"
	EventAcknowledged EventType = "hold.acknowledged"
	EventIncremented  EventType = "hold.incremented"
	// the authorized amount is the old one
	EventIncrementFailed EventType = "hold.increment_failed"
	// a part is captured, and the rest stays held
	EventPartlyCaptured EventType = "hold.partly_captured"
	// a new authorization holds the money
	EventRenewed EventType = "hold.renewed"
	// the bank requires the cardholder for the renewal
	EventRequiresAction EventType = "hold.requires_action"
)

// Event is an event about a hold. Package event adds its id and time.
type Event struct {
	Type  EventType
	Cause Cause
	// Threshold of hold.expiring is the one that was passed, 0 for the
	// deadline.
	Threshold time.Duration
	// Detail of hold.increment_failed is the bank's code, or a text.
	Detail string
	// CardholderLink leads the cardholder to the page on which the renewal goes
	// on. The committer adds it.
	CardholderLink string
	// Amount of hold.partly_captured is what this capture took, in minor units;
	// 0 if another system took it.
	Amount int64
}

// Decision is what follows from something that happened to a hold. It takes
// effect when the store has committed it.
type Decision struct {
	Hold   Hold
	Events []Event
	// NextStepNow asks for the next step at once. The executor goes on with a
	// claim, [Decision.SortedSetPlacement] makes another hold ready, and the
	// committer wakes the dispatcher for it.
	NextStepNow bool
	// NewDeadline asks for the milestones to be computed anew. Otherwise the
	// next milestone stays.
	NewDeadline bool
	// NewTerms asks for the terms to be written to the intent's metadata.
	NewTerms bool
	// MirrorAt is when writing them is to be retried.
	MirrorAt time.Time
	// Confirmed says that the caller confirmed that on_expiry acts at once.
	Confirmed bool
	// Unchanged says that there is nothing to write.
	Unchanged bool
	// Trace is the span that led to the decision; zero means the hold's.
	Trace TraceContext
}

// Merge returns next, a decision on d's hold that was made before d was
// written. It keeps d's new deadline, and d's events unless the hold has ended
// or requires attention.
func (d Decision) Merge(next Decision) Decision {
	next.NewDeadline = next.NewDeadline || d.NewDeadline
	if s := next.Hold.State; !s.IsFinal() && s != Attention {
		next.Events = slices.Concat(d.Events, next.Events)
	}
	return next
}

func (d *Decision) addEvent(t EventType, cause Cause) {
	d.Events = append(d.Events, Event{Type: t, Cause: cause})
}

// addExpiresBeforeActionEvent adds the warning that the authorization ends before
// the hold's own time.
func (d *Decision) addExpiresBeforeActionEvent(now time.Time) {
	d.Events = append(d.Events, Event{Type: EventExpiring, Cause: CauseAfterDeadline,
		Threshold: d.Hold.ExpiresAt.Sub(now)})
}

// planNextOp sets the next operation from the hold's own terms.
func planNextOp(h *Hold, now time.Time) {
	resetRetryCounters(h)
	h.Increment = PendingIncrement{}
	cancelRequestedPart(h)
	switch {
	case h.CancelWanted:
		h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, OpCancel, now, CauseTrigger
	case !h.CaptureAt.IsZero():
		h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, OpCapture, h.CaptureAt, CauseSchedule
	case !h.CancelAt.IsZero():
		h.State, h.NextOp, h.NextAt, h.Reason = Scheduled, OpCancel, h.CancelAt, CauseSchedule
	default:
		h.State, h.NextOp, h.NextAt, h.Reason = Waiting, 0, time.Time{}, 0
	}
}

// resetRetryCounters forgets the retries of an earlier plan.
func resetRetryCounters(h *Hold) {
	h.Retries, h.InconclusiveReads, h.Calls, h.Refusals = 0, 0, 0, 0
}

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

// RefuseUnlessPolicyActionConfirmed refuses a request that makes on_expiry act at
// once, unless the caller confirmed that. before is the hold as it was, the
// zero Hold if it is new. Errors are *[Problem].
func (d Decision) RefuseUnlessPolicyActionConfirmed(
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
		scheduleExpiryPolicyActionNow(&d.Hold, op, now) // so that the response shows what happens
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

// SetDefaultCancellationReason writes the setting down as the reason of a cancel
// that is now planned, unless a request chose one. Every replica then sends the
// same reason, whatever its own setting is.
func (d *Decision) SetDefaultCancellationReason(before *Hold, r DecisionRules) {
	h := &d.Hold
	sent := h.Sent.Count > 0 || h.Sent.Unknown
	switch {
	case h.State.IsFinal():
	case h.NextOp != OpCancel:
		if !h.CancelWanted {
			h.CancellationReason = ""
		}
	case h.CancellationReason != "":
	case before.NextOp == OpCancel && sent:
		// Another release sent this cancel: its key has its reason.
	default:
		h.CancellationReason = r.CancellationReason
	}
}

// The codes of a [TermsWarning].
const (
	// NearDeadline says that the capture is planned within the expiry margin of
	// the deadline.
	NearDeadline ProblemCode = "near_deadline"
	// RenewalTooShort says that no renewal is expected to reach the hold's time.
	RenewalTooShort ProblemCode = "renewal_too_short"
)

// TermsWarning says what the caller should know about accepted terms.
type TermsWarning struct {
	Code     ProblemCode `json:"code" doc:"Stable name of the warning: near_deadline or renewal_too_short" example:"near_deadline"`
	Field    string      `json:"field,omitempty" doc:"The term that the warning is about" example:"capture_at"`
	Detail   string      `json:"detail" doc:"The risk and what to do about it"`
	Deadline time.Time   `json:"deadline" doc:"When the authorization ends; of renewal_too_short the last one"`
}

// TermsWarnings returns what the caller should know about the terms of an open
// hold.
func TermsWarnings(h *Hold, now time.Time, r DecisionRules) []TermsWarning {
	if isRenewalOnTrack(h) && h.ExpiresAt.After(now) && !WillBeRenewedUntilAction(h, now) {
		return []TermsWarning{renewalTooShortWarning(h, now)}
	}
	return nearDeadlineWarnings(h, r)
}

func renewalTooShortWarning(h *Hold, now time.Time) TermsWarning {
	end := lastExpectedExpiry(h, now).UTC()
	detail := "renewals are expected to hold the amount until " + end.Format(time.RFC3339) +
		", not until " + endOfAction(h).UTC().Format(time.RFC3339)
	if _, note := reasonHoldNotRenewable(h, now); note != "" {
		detail += " (" + note + ")"
	} else {
		detail += ": raise max_renewals or send an earlier time"
	}
	return TermsWarning{Code: RenewalTooShort, Field: "renewal", Detail: detail, Deadline: end}
}

// nearDeadlineWarnings warns of a capture near a deadline that is known.
func nearDeadlineWarnings(h *Hold, r DecisionRules) []TermsWarning {
	at := lastPlannedCaptureTime(h)
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
	at := lastPlannedCaptureTime(h)
	return !at.IsZero() && isDeadlineKnown(h) && !willBeRenewedUntil(h, at) &&
		at.After(h.ExpiresAt.Add(-r.CaptureInterval))
}

// RefuseIfCaptureTooLate refuses a request that sets a capture_at which would
// lapse. A time that has passed means now, and is accepted. before is the hold
// as it was, the zero Hold if it is new. Errors are *[Problem].
func (d Decision) RefuseIfCaptureTooLate(
	before *Hold, now time.Time, r DecisionRules,
) (Decision, error) {
	h := &d.Hold
	at := lastPlannedCaptureTime(h)
	if d.Unchanged || at.Equal(lastPlannedCaptureTime(before)) || !at.After(now) ||
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

// SortedSetPlacement says in which sorted sets the store keeps a hold. A zero
// time means that the hold is not in that set.
type SortedSetPlacement struct {
	DueAt time.Time // when it becomes ready
	Ready bool      // it goes to the ready queue at once
	// Urgent says that it becomes ready at its time even while the capture job
	// waits for its window.
	Urgent bool

	NextMilestone time.Time // of its deadline
	KeepMilestone bool      // the stored milestone stays
	// KeepOverdueMilestone keeps the stored milestone if it is due and not
	// passed yet.
	KeepOverdueMilestone bool
	// A stored milestone at or before UnwarnedBy has a threshold that was not
	// published. It moves to UnwarnedAt, where the new deadline has that
	// threshold.
	UnwarnedBy, UnwarnedAt time.Time

	SettledAt      time.Time
	NeedsAttention bool
	VerifyAt       time.Time // when it is verified at Stripe; nearest first

	MirrorAt   time.Time // from when its terms are written to the intent's metadata
	KeepMirror bool      // the stored MirrorAt stays
}

// SortedSetPlacement returns where the store keeps the decision's hold. before
// is the hold as it was, the zero Hold if it is new.
func (d *Decision) SortedSetPlacement(
	before *Hold, now time.Time, r DecisionRules,
) SortedSetPlacement {
	h := &d.Hold
	if h.State.IsFinal() {
		return SortedSetPlacement{SettledAt: h.SettledAt}
	}
	p := SortedSetPlacement{NeedsAttention: h.State == Attention, KeepMilestone: !d.NewDeadline}
	if d.NewDeadline {
		p.NextMilestone, p.KeepOverdueMilestone = h.NextMilestone(now, r), true
		// The time of on_expiry may have passed before the deadline or the
		// terms were known: it is due at once.
		if act := expiryPolicyTime(h, r); !act.After(now) && h.ExpiresAt.After(now) {
			p.NextMilestone = act.Add(afterThreshold)
			if expiryPolicyAction(h) != 0 {
				p.NextMilestone = now // thresholds between act and now were published
			}
		}
		p.backdateMilestone(before, h, now, r)
	}
	if h.NextOp != 0 {
		p.DueAt = h.NextAt
		p.Ready = d.NextStepNow
		p.Urgent = h.State == Working || h.Reason == CauseTrigger ||
			h.Reason == CauseOnExpiry || h.NextOp == OpRenew || h.NextOp == OpRelease ||
			h.NextOp == OpRead && h.Renewal != nil
	}
	switch {
	case !r.Mirror || h.Mirrored || h.Unmirrorable:
	case d.NewTerms:
		p.MirrorAt = now
	case !d.MirrorAt.IsZero():
		p.MirrorAt = d.MirrorAt
	default:
		p.KeepMirror = true
	}
	if needsVerification(h) {
		p.VerifyAt = h.ExpiresAt
		if h.NextOp != 0 {
			p.VerifyAt = minTime(h.NextAt, h.ExpiresAt)
		}
	}
	return p
}

// needsVerification reports whether the verify job reads the hold's intent.
func needsVerification(h *Hold) bool {
	return !h.Verified && h.State != Attention && !(h.ExpiresSource == SourceCaller && h.Amount > 0)
}

// nearestPassedThreshold returns the threshold nearest to the deadline that has
// passed, 0 if none has or the deadline has passed.
func nearestPassedThreshold(h *Hold, now time.Time, r DecisionRules) time.Duration {
	nearest := time.Duration(0)
	for _, d := range r.Thresholds {
		if !h.ExpiresAt.Add(-d).After(now) && h.ExpiresAt.After(now) && shouldWarnAtThreshold(h, d) &&
			(nearest == 0 || d < nearest) {
			nearest = d
		}
	}
	return nearest
}

// backdateMilestone sets the milestone back to the nearest threshold that has
// passed, so that the expiry job warns at once of a hold that is new or whose
// deadline has moved. A threshold that was published for the old deadline is
// not published again.
func (p *SortedSetPlacement) backdateMilestone(before, h *Hold, now time.Time, r DecisionRules) {
	d := nearestPassedThreshold(h, now, r)
	if d == 0 || h.Acknowledged {
		return
	}
	at := h.ExpiresAt.Add(-d)
	switch warned := nearestPassedThreshold(before, now, r); {
	case warned == 0 || d < warned:
		p.NextMilestone = minTime(p.NextMilestone, at)
	case d == warned && h.ExpiresAt.Before(before.ExpiresAt):
		// Only the store knows whether the expiry job has published it yet.
		p.UnwarnedBy, p.UnwarnedAt = before.ExpiresAt.Add(-d), minTime(p.NextMilestone, at)
	}
}
