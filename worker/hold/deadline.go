package hold

import "time"

// expiredRecheckInterval is how often a hold that is still open after its
// deadline is looked at again.
const expiredRecheckInterval = 5 * time.Minute

// workingRecheckInterval is how soon a hold is looked at again when its policy
// is due while somebody works on it.
const workingRecheckInterval = 30 * time.Second

// policyTime is when the deadline's policy is due. A hold whose own time lies
// between then and the deadline keeps its own time.
func policyTime(h *Hold, r Rules) time.Time {
	act := h.ExpiresAt.Add(-r.ExpiryMargin)
	if own := h.ActionTime(); (h.State == Scheduled || h.State == Working) && own.After(act) &&
		own.Before(h.ExpiresAt) {
		return own
	}
	return act
}

// NextMilestone is the first thing after t that the deadline brings about: a
// threshold at which people are told, the policy, the deadline itself, and
// after it a look every few minutes for as long as the hold is open.
func (h *Hold) NextMilestone(t time.Time, r Rules) time.Time {
	next := time.Time{}
	consider := func(c time.Time) {
		if c.After(t) && (next.IsZero() || c.Before(next)) {
			next = c
		}
	}
	if !h.Acknowledged {
		for _, d := range r.Thresholds {
			consider(h.ExpiresAt.Add(-d))
		}
	}
	consider(policyTime(h, r))
	consider(h.ExpiresAt)
	if next.IsZero() {
		next = t.Add(expiredRecheckInterval)
	}
	return next
}

// PassMilestone is called when a milestone that was set for due has come. It
// returns what follows and when the next one is. With Change.Same the record
// stays as it is, so that a claim that somebody holds stays good; its notices
// are to be published all the same.
func (h Hold) PassMilestone(due, now time.Time, r Rules) (Decision, time.Time) {
	now = now.UTC().Truncate(time.Millisecond)
	if h.State.Final() {
		return Decision{Hold: h, Unchanged: true}, time.Time{}
	}
	reached := func(t time.Time) bool { return !t.Before(due) && !t.After(now) }
	c := Decision{Hold: h, Unchanged: true}
	next := h.NextMilestone(now, r)

	// Of several thresholds that passed since the last look, only the last is
	// told.
	if !h.Acknowledged && h.ExpiresAt.After(now) {
		last := time.Duration(0)
		for _, d := range r.Thresholds {
			if reached(h.ExpiresAt.Add(-d)) && (last == 0 || d < last) {
				last = d
			}
		}
		if last > 0 {
			c.Events = append(c.Events, Event{Type: EventExpiring, Threshold: last})
		}
	}
	if reached(h.ExpiresAt) {
		c.Events = append(c.Events, Event{Type: EventExpiring, Cause: CauseExpired})
	}

	act, op := policyTime(&h, r), policyAction(&h)
	switch {
	case !h.ExpiresAt.After(now):
		if h.State == Working || actsInTime(&h) || h.State == Scheduled &&
			!h.ActionTime().IsZero() && !h.ActionTime().After(now) {
			return c, next // it is being acted on: the answer will tell
		}
		h.NextOp, h.NextAt = OpRead, now
	case act.After(now):
		return c, next
	case h.State == Working:
		return c, minTime(next, now.Add(workingRecheckInterval))
	case actsInTime(&h):
		// The wish is due and so is the deadline: a window of the capture job
		// must not hold it back.
		if h.NextAt.After(now) {
			return c, minTime(next, maxTime(h.NextAt, now.Add(workingRecheckInterval)))
		}
		next = minTime(next, now.Add(expiredRecheckInterval))
	case op == 0 && !reached(act):
		return c, next
	default:
		if op == 0 && h.Acknowledged {
			return c, next
		}
		if n := len(c.Events); op == 0 && n > 0 {
			c.Events[n-1].Cause = CauseOnExpiry // one word of it is enough
			return c, next
		}
		if op == 0 {
			c.Events = append(c.Events, Event{Type: EventExpiring, Cause: CauseOnExpiry,
				Threshold: h.ExpiresAt.Sub(now)})
			return c, next
		}
		startPolicy(&h, op, now)
	}
	c.Hold, c.Unchanged, c.Again = h, false, true
	return c, next
}

// startPolicy schedules what the deadline's policy does.
func startPolicy(h *Hold, op Op, now time.Time) {
	readFirstAfterAttention(h)
	if h.ExpiresSource == SourceAssumed && !h.Verified {
		h.ReadFirst = true // the authorization may last for weeks yet
	}
	h.State, h.NextOp, h.NextAt, h.Reason, h.Retries = Scheduled, op, now, CauseOnExpiry, 0
	h.Calls, h.Refusals = 0, 0
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryTriggered, By: "holdd",
		Op: op, Cause: CauseOnExpiry})
}

// revertPolicy takes a hold back to where it was before its deadline's policy
// spoke, because that is another policy or another deadline now, and nothing
// was sent that may have had an effect. The deadline then speaks anew.
func revertPolicy(h *Hold, now time.Time) {
	state, why := stateBeforePolicy(h)
	planNext(h, now)
	if state != 0 {
		h.State, h.NextOp, h.NextAt, h.Reason = state, 0, time.Time{}, why
	}
}

// stateBeforePolicy reads in the history where, and why, a hold on which its
// policy acts stood before, if it was held back: [Paused], or in [Attention]
// for the one reason that a policy gets over. Where the history is cut short it
// is believed to have been paused: nothing is taken for a pause that nobody
// remembers.
func stateBeforePolicy(h *Hold) (State, Cause) {
	for i := len(h.History) - 1; i > 0; i-- {
		switch e := &h.History[i]; e.Kind {
		case HistoryPaused:
			return Paused, e.Cause
		case HistoryOutcome:
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

// actsInTime reports whether the hold will be acted on before its deadline by
// its own wish, so that the policy has nothing to say. The policy speaks for
// holds that would otherwise just sit there: a capture that was asked for and
// is late, because Stripe is away or there is a queue, must not be turned into
// a cancel.
func actsInTime(h *Hold) bool {
	if h.State != Scheduled {
		return false
	}
	if h.Reason == CauseTrigger || h.Reason == CauseOnExpiry || h.CancelWanted {
		return true
	}
	own := h.ActionTime()
	return !own.IsZero() && own.Before(h.ExpiresAt)
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Placement tells the store where a hold belongs. Zero times mean: not there.
type Placement struct {
	DueAt time.Time // becomes ready then
	Ready bool      // goes straight to the ready queue instead
	// becomes ready at its time even while the schedule waits for a window
	Urgent        bool
	NextMilestone time.Time // next milestone of the deadline
	KeepMilestone bool      // the milestone that is set stays
	// the milestone that is set stays if it has come and nobody has passed it
	// yet
	KeepOverdueMilestone bool
	// a milestone still set to this or earlier has a threshold that was not
	// told
	UntoldBy time.Time
	// what such a milestone is set to: where the new deadline has that
	// threshold
	UntoldAt       time.Time
	SettledAt      time.Time
	NeedsAttention bool
	VerifyAt       time.Time // to be checked against Stripe, nearest first

	MirrorAt   time.Time // its terms are to be written to the intent's metadata from then on
	KeepMirror bool      // whether and when they are stays as it is
}

// passed is the nearest threshold that lies behind now, 0 if none does or the
// deadline has passed.
func passed(h *Hold, now time.Time, r Rules) time.Duration {
	nearest := time.Duration(0)
	for _, d := range r.Thresholds {
		if !h.ExpiresAt.Add(-d).After(now) && h.ExpiresAt.After(now) &&
			(nearest == 0 || d < nearest) {
			nearest = d
		}
	}
	return nearest
}

// warn makes the expiry job tell at once of the threshold that a new hold, or
// one whose deadline has moved, is already inside. What was told by the old
// deadline is not told again.
func (p *Placement) warn(before, h *Hold, now time.Time, r Rules) {
	d := passed(h, now, r)
	if d == 0 || h.Acknowledged {
		return
	}
	at := h.ExpiresAt.Add(-d)
	switch told := passed(before, now, r); {
	case told == 0 || d < told:
		p.NextMilestone = minTime(p.NextMilestone, at)
	case d == told && h.ExpiresAt.Before(before.ExpiresAt):
		// Only the store knows whether the job was late with it, and would look
		// past it now.
		p.UntoldBy, p.UntoldAt = before.ExpiresAt.Add(-d), minTime(p.NextMilestone, at)
	}
}

// Placement says where the changed hold belongs. before is the hold as it was,
// the zero Hold if it is new.
func (c *Decision) Placement(before *Hold, now time.Time, r Rules) Placement {
	h := &c.Hold
	if h.State.Final() {
		return Placement{SettledAt: h.SettledAt}
	}
	p := Placement{NeedsAttention: h.State == Attention, KeepMilestone: !c.NewDeadline}
	if c.NewDeadline {
		p.NextMilestone, p.KeepOverdueMilestone = h.NextMilestone(now, r), true
		// Terms may come, and deadlines be learned, when the policy's time is
		// over already: it speaks at once.
		if act := policyTime(h, r); !act.After(now) && h.ExpiresAt.After(now) {
			p.NextMilestone = act
			if policyAction(h) != 0 {
				p.NextMilestone = now // thresholds between act and now were told
			}
		}
		p.warn(before, h, now, r)
	}
	if h.NextOp != 0 {
		p.DueAt = h.NextAt
		p.Ready = c.Again
		p.Urgent = h.State == Working || h.Reason == CauseTrigger || h.Reason == CauseOnExpiry
	}
	switch {
	case !r.Mirror || h.Mirrored || h.Unmirrorable:
	case c.NewTerms:
		p.MirrorAt = now
	case !c.MirrorAt.IsZero():
		p.MirrorAt = c.MirrorAt
	default:
		p.KeepMirror = true
	}
	if !h.Verified && h.State != Attention && !(h.ExpiresSource == SourceCaller && h.Amount > 0) {
		p.VerifyAt = h.ExpiresAt
		if h.NextOp != 0 {
			p.VerifyAt = minTime(h.NextAt, h.ExpiresAt)
		}
	}
	return p
}
