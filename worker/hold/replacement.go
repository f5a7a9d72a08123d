package hold

import (
	"time"
)

// An increment of a hold whose charge has no incremental authorization is a
// renewal with a higher amount: a new intent takes the place of the old one. It
// is tried for as long as any increment, and a decline leaves the old amount.

// isReplacing reports whether the renewal under way raises the amount.
func isReplacing(h *Hold) bool { return h.Renewal != nil && h.Renewal.IncrementTo > 0 }

// IsIncrementPending reports whether a requested increment has no outcome yet.
func IsIncrementPending(h *Hold) bool { return h.NextOp == OpIncrement || isReplacing(h) }

// pendingIncrement is the total that a pending increment is to reach.
func pendingIncrement(h *Hold) int64 {
	if isReplacing(h) {
		return h.Renewal.IncrementTo
	}
	return h.Increment.Amount
}

func isIncrementPendingTo(h *Hold, amount int64) bool {
	return IsIncrementPending(h) && pendingIncrement(h) == amount
}

// replaceForIncrement decides an increment of a hold whose charge has no
// incremental authorization. Errors are *[Problem].
func replaceForIncrement(
	h Hold, req IncrementRequest, by string, now time.Time, rules DecisionRules,
) (Decision, error) {
	if err := canReplace(&h, req.Amount, now); err != nil {
		return Decision{}, err
	}
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryTriggered, By: by, Op: OpIncrement,
		Note: incrementNote(&h, req)})
	return startReplacement(h, req.Amount, incrementUntil(&h, now, rules)), nil
}

// canReplace returns a *[Problem] if no new intent of this amount can take the
// place of the hold's.
func canReplace(h *Hold, amount int64, now time.Time) error {
	r := h.Renewal
	switch {
	case r == nil || r.MaxAmount == 0 || r.AuthorizedAt.IsZero() || r.Customer == "":
		return incrementUnavailableProblem(h)
	case len(CaptureStages(h)) > 0 || capturedSoFar(h) > 0 || h.CaptureAmount > amount:
		return newProblem(IncrementUnavailable, "", "the authorization of hold %s cannot be "+
			"replaced: a new one could be captured neither in parts nor above its amount", h.ID)
	case h.CaptureParams.hasFeeOrTransfer():
		return newProblem(IncrementUnavailable, "", "the authorization of hold %s cannot be "+
			"replaced: a new one would not have the account that the capture's fee or transfer "+
			"belongs to", h.ID)
	case r.Step == RenewalIdle:
		if code, ok := mayTryCard(r, now); !ok {
			p := newProblem(Declined, "", "the card of hold %s must not be tried again now: the "+
				"bank declined it (%s), and %s stays held", h.ID, code,
				FormatAmount(authorizedTotal(h), h.Currency))
			p.DeclineCode = code
			return p
		}
	case r.Step != RenewalIdle:
		return newProblem(IncrementUnavailable, "", "the authorization of hold %s cannot be "+
			"replaced by a higher one: its card could not be authorized again (%s)", h.ID,
			r.DeclineCode)
	}
	return nil
}

// startReplacement makes a read of the hold's intent the next step. A new one is
// created only if the old one still holds the money.
func startReplacement(h Hold, amount int64, until time.Time) Decision {
	r := editRenewal(&h)
	r.IncrementTo, r.IncrementUntil, r.RetryAt = amount, until, time.Time{}
	return Decision{Hold: h, Again: true}
}

// replacementOverdue returns why a replacement must not go on, 0 if it may.
func replacementOverdue(h *Hold, now time.Time) Cause {
	r := h.Renewal
	switch {
	case !isReplacing(h):
		return 0
	case r.IncrementTo > maxAuthorizedAmount(h): // the terms changed meanwhile
		return CauseAmountTooLarge
	case !now.Before(r.IncrementUntil):
		return CauseTooLate
	}
	return 0
}

// applyReadBeforeReplacement goes on with an increment after a read that shows
// the money held.
func applyReadBeforeReplacement(h Hold, now time.Time) Decision {
	r := editRenewal(&h)
	switch {
	case h.CapturedElsewhere > 0:
		return failReplacement(h, HistoryEntry{Cause: CauseElsewhere}, now)
	case h.Amount >= r.IncrementTo: // another system has raised it
		completeReplacement(&h, h.Amount, now)
		h.Revision++
		d := stepDone(h, now)
		d.addEvent(EventIncremented, CauseTrigger)
		return d
	}
	startRenewal(&h)
	return stepDone(h, now)
}

// failReplacement ends an increment. The old amount stays held, and the new
// intent is released.
func failReplacement(h Hold, outcome HistoryEntry, now time.Time) Decision {
	endReplacement(&h, outcome, now)
	abandonRenewal(&h, now)
	h.Retries, h.Calls = 0, 0
	return pauseRenewal(h, now, now)
}

// endReplacement records that an increment has failed. PlanRenewal publishes the
// event with the next write.
func endReplacement(h *Hold, outcome HistoryEntry, now time.Time) {
	r := editRenewal(h)
	if outcome.Note == "" {
		outcome.Note = "not raised to " + FormatAmount(r.IncrementTo, h.Currency)
	}
	r.IncrementTo, r.IncrementUntil = 0, time.Time{}
	h.Revision++
	outcome.At, outcome.Kind, outcome.By, outcome.Op = now, HistoryIncrement, "holdd", OpIncrement
	appendHistory(h, outcome)
	r.incrementFailed = &Event{Type: EventIncrementFailed, Cause: outcome.Cause,
		Detail: outcome.Note}
}

// completeReplacement records that the new intent holds the higher amount.
func completeReplacement(h *Hold, before int64, now time.Time) {
	r := editRenewal(h)
	r.IncrementTo, r.IncrementUntil = 0, time.Time{}
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryIncrement, By: "holdd", Op: OpIncrement,
		Answer: AnswerOK, Cause: CauseTrigger, Note: "from " + FormatAmount(before, h.Currency) +
			" to " + FormatAmount(h.Amount, h.Currency)})
}

// publishFailedIncrement adds the event of an increment that has failed since
// the last write.
func (d *Decision) publishFailedIncrement() {
	if d.Hold.Renewal == nil || d.Hold.Renewal.incrementFailed == nil {
		return
	}
	r := editRenewal(&d.Hold)
	d.Events = append(d.Events[:len(d.Events):len(d.Events)], *r.incrementFailed)
	r.incrementFailed = nil
}
