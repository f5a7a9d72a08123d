package hold

import "time"

const (
	// expiredRecheckInterval is how often an open hold past its deadline is
	// read, and expiredRecheckSlow how often after [MaxCallsBeforeAlert] reads.
	expiredRecheckInterval = 5 * time.Minute
	expiredRecheckSlow     = time.Hour
)

// workingRecheckInterval is how soon a milestone is checked again when
// on_expiry is due while a worker has the hold.
const workingRecheckInterval = 30 * time.Second

// expiryPolicyTime returns when on_expiry is due. A hold whose own time lies
// between then and the deadline keeps its own time.
func expiryPolicyTime(h *Hold, r DecisionRules) time.Time {
	h = copyWithoutIncrement(h)
	act := h.ExpiresAt.Add(-r.ExpiryMargin)
	if own := h.ActionTime(); (h.State == Scheduled || h.State == Working) && own.After(act) &&
		own.Before(h.ExpiresAt) {
		return own
	}
	return act
}

// expiryPolicyAction returns what on_expiry does with the hold as it is, 0 for
// nothing.
func expiryPolicyAction(h *Hold) Op {
	h = copyWithoutIncrement(h)
	switch policy := onFailureOrOnExpiryPolicy(h); {
	case policy == PolicyCancel && (h.State != Attention || h.Reason == CauseAfterDeadline):
		return OpCancel
	case policy == PolicyCapture && !h.CancelWanted && h.CancelAt.IsZero() &&
		(h.State == Waiting || h.State == Scheduled || h.State == Attention &&
			h.Reason == CauseAfterDeadline):
		return OpCapture
	}
	return 0
}

// willActBeforeDeadline reports whether the hold's own schedule or a request acts
// before the deadline. on_expiry then does nothing: a capture that is late
// because Stripe is unavailable must not become a cancel.
func willActBeforeDeadline(h *Hold) bool {
	h = copyWithoutIncrement(h)
	if h.State != Scheduled {
		return false
	}
	if h.Reason == CauseTrigger || h.Reason == CauseOnExpiry || h.CancelWanted {
		return true
	}
	own := h.ActionTime()
	return !own.IsZero() && own.Before(h.ExpiresAt)
}

// PlannedAction returns the capture or cancel that holdd will make if no
// request and no other system changes the hold, and when. op is 0 if it will
// make none.
func PlannedAction(h *Hold, now time.Time, r DecisionRules) (op Op, at time.Time) {
	h = copyWithoutIncrement(h)
	switch {
	case h.State.IsFinal(), IsOpenWithoutAuthorization(h):
		return 0, time.Time{}
	case h.State == Working:
		op, at = h.NextOp, now
	case isRenewalOnTrack(h) && h.ExpiresAt.After(now) &&
		h.ActionTime().After(lastExpectedExpiry(h, now)):
		last := *h
		last.ExpiresAt = lastExpectedExpiry(h, now)
		unshareRenewal(&last).Step = RenewalFailed
		op, at = expiryPolicyAction(&last), maxTime(expiryPolicyTime(&last, r), now)
	case willActBeforeDeadline(h) || isRenewalOnTrack(h):
		own := *h
		if h.NextOp == OpRenew || h.NextOp == OpRelease {
			restoreOwnOp(&own)
		}
		op, at = own.NextOp, maxTime(own.NextAt, now)
	case h.ExpiresAt.After(now):
		op, at = expiryPolicyAction(h), maxTime(expiryPolicyTime(h, r), now)
	}
	if op != OpCapture && op != OpCancel {
		return 0, time.Time{}
	}
	return op, at
}

// NextMilestone returns the first milestone of the deadline after t: a warning
// threshold, on_expiry, the deadline itself, and after it a read every few
// minutes, later every hour, while the hold is open.
func (h *Hold) NextMilestone(t time.Time, r DecisionRules) time.Time {
	next := time.Time{}
	consider := func(c time.Time) {
		if c.After(t) && (next.IsZero() || c.Before(next)) {
			next = c
		}
	}
	if !h.Acknowledged {
		for _, d := range r.Thresholds {
			if shouldWarnAtThreshold(h, d) {
				consider(h.ExpiresAt.Add(-d))
			}
		}
	}
	if needsRenewal(h) && h.Renewal.Step == RenewalIdle && !h.Renewal.AuthorizedAt.IsZero() {
		consider(renewalStartTime(h))
	}
	consider(expiryPolicyTime(h, r))
	consider(h.ExpiresAt)
	switch {
	case !next.IsZero():
		return next
	case h.NextOp == 0 && h.Calls >= MaxCallsBeforeAlert:
		return t.Add(expiredRecheckSlow)
	}
	return t.Add(expiredRecheckInterval)
}

// afterThreshold is how long after on_expiry's time a decision sets its
// milestone if that time has passed. A threshold at the same time was published
// before, and the milestone doesn't reach it again.
const afterThreshold = time.Millisecond

// ApplyMilestone decides what follows from a milestone that was set for due and
// is now reached, and returns the next one. If the decision is Unchanged, the
// record stays as it is, so that a claim stays valid; its events are published
// all the same.
func (h Hold) ApplyMilestone(due, now time.Time, r DecisionRules) (Decision, time.Time) {
	now = now.UTC().Truncate(time.Millisecond)
	if h.State.IsFinal() {
		return Decision{Hold: h, Unchanged: true}, time.Time{}
	}
	reached := func(t time.Time) bool { return !t.Before(due) && !t.After(now) }
	act, op := expiryPolicyTime(&h, r), expiryPolicyAction(&h)
	d := Decision{Unchanged: true}
	if h.NextOp == OpIncrement && h.State == Scheduled && !act.After(now) {
		d = failIncrement(h, HistoryEntry{Cause: CauseTooLate}, now)
		h = d.Hold
	}
	d.Hold, d.Events = h, append(d.Events, newReachedThresholdEvents(&h, reached, now, r)...)
	next := h.NextMilestone(now, r)

	switch {
	case !h.ExpiresAt.After(now):
		ownTimePassed := h.State == Scheduled && !h.ActionTime().IsZero() &&
			!h.ActionTime().After(now)
		if h.State == Working || willActBeforeDeadline(&h) || ownTimePassed {
			return d, next // its own call shows what became of the authorization
		}
		h.NextOp, h.NextAt = OpRead, now
	case act.After(now) && isRenewalDue(&h, now):
		return planDueRenewal(d, next, now)
	case act.After(now):
		return d, next
	case h.State == Working:
		return d, minTime(next, now.Add(workingRecheckInterval))
	case willActBeforeDeadline(&h):
		if h.NextAt.After(now) {
			return d, minTime(next, maxTime(h.NextAt, now.Add(workingRecheckInterval)))
		}
		// Both are due: a window of the capture job must not hold the hold
		// back.
		next = minTime(next, now.Add(expiredRecheckInterval))
	case op == 0 && act.Add(afterThreshold).Before(due):
		return d, next
	case op == 0:
		d.warnThatExpiryPolicyDoesNothing(now)
		return d, next
	default:
		scheduleExpiryPolicyActionNow(&h, op, now)
	}
	d.Hold, d.Unchanged, d.NextStepNow = h, false, true
	return d, next
}

// planDueRenewal makes the first step of a renewal due now. A claimed hold is
// looked at again soon.
func planDueRenewal(d Decision, next, now time.Time) (Decision, time.Time) {
	if d.Hold.State == Working || isOwnOpUnderWayOrDue(&d.Hold, now) {
		return d, minTime(next, now.Add(workingRecheckInterval))
	}
	planned := Decision{Hold: d.Hold, Events: d.Events}
	planned.SetNextRenewalOp(now)
	planned.NextStepNow = planned.Hold.NextOp == OpRenew
	return planned, next
}

// newReachedThresholdEvents returns the events of the thresholds and of the
// deadline that were reached. Of several thresholds only the nearest to the
// deadline counts.
func newReachedThresholdEvents(
	h *Hold, reached func(time.Time) bool, now time.Time, r DecisionRules,
) (events []Event) {
	if !h.Acknowledged && h.ExpiresAt.After(now) {
		last := time.Duration(0)
		for _, d := range r.Thresholds {
			if reached(h.ExpiresAt.Add(-d)) && shouldWarnAtThreshold(h, d) && (last == 0 || d < last) {
				last = d
			}
		}
		if last > 0 {
			events = append(events, Event{Type: EventExpiring, Threshold: last})
		}
	}
	if reached(h.ExpiresAt) {
		events = append(events, Event{Type: EventExpiring, Cause: CauseExpired})
	}
	return events
}

// warnThatExpiryPolicyDoesNothing warns of a hold on which on_expiry does nothing. A
// warning of a threshold that was reached at the same time gets the cause
// instead.
func (d *Decision) warnThatExpiryPolicyDoesNothing(now time.Time) {
	if d.Hold.Acknowledged {
		return
	}
	for i := range d.Events {
		if d.Events[i].Type == EventExpiring {
			d.Events[i].Cause = CauseOnExpiry
			return
		}
	}
	d.Events = append(d.Events, Event{Type: EventExpiring, Cause: CauseOnExpiry,
		Threshold: d.Hold.ExpiresAt.Sub(now)})
}

// scheduleExpiryPolicyActionNow schedules the capture or cancel of on_expiry now.
func scheduleExpiryPolicyActionNow(h *Hold, op Op, now time.Time) {
	requireRetrieveAfterAttention(h)
	if h.ExpiresSource == SourceAssumed && !h.Verified {
		h.ReadFirst = true // the authorization may last weeks longer
	}
	h.State, h.NextOp, h.NextAt, h.Reason, h.Retries = Scheduled, op, now, CauseOnExpiry, 0
	h.Refusals = 0
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryTriggered, By: "holdd",
		Op: op, Cause: CauseOnExpiry})
}

// revertExpiryPolicy returns a hold to its state before on_expiry acted,
// because on_expiry or the deadline has changed and no request was sent that
// may have had an effect.
func revertExpiryPolicy(h *Hold, now time.Time) {
	state, reason := stateBeforeExpiryPolicy(h)
	planNextOp(h, now)
	if state != 0 {
		h.State, h.NextOp, h.NextAt, h.Reason = state, 0, time.Time{}, reason
	}
}

// stateBeforeExpiryPolicy finds in the history the state before on_expiry acted
// and its cause, if the hold was [Paused], or in [Attention] for the cause that
// on_expiry overrides. If the history was cut, the hold counts as paused: then
// nothing acts on it without a request.
func stateBeforeExpiryPolicy(h *Hold) (State, Cause) {
	for i := len(h.History) - 1; i > 0; i-- {
		switch e := &h.History[i]; e.Kind {
		case HistoryPaused:
			return Paused, e.Cause
		case HistoryOutcome:
			if e.Op == OpRenew {
				continue // of a renewal: the hold's own state did not change
			}
			if e.Cause == CauseAfterDeadline {
				return Attention, e.Cause
			}
			return 0, 0
		case HistoryResumed:
			return 0, 0
		}
	}
	if h.HistoryDropped > 0 {
		return Paused, 0
	}
	return 0, 0
}
