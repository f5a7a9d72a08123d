package hold

import "time"

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
			p.NextMilestone = act
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
	if awaitsVerification(h) {
		p.VerifyAt = h.ExpiresAt
		if h.NextOp != 0 {
			p.VerifyAt = minTime(h.NextAt, h.ExpiresAt)
		}
	}
	return p
}

// awaitsVerification reports whether the verify job reads the hold's intent.
func awaitsVerification(h *Hold) bool {
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
