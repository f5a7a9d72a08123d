package hold

import (
	"time"
)

// An increment of a hold whose charge has no incremental authorization is a
// renewal with a higher amount: a new intent takes the place of the old one. It
// is tried for as long as any increment, and a decline leaves the old amount.

// isReplacementUnderWay reports whether the renewal under way raises the amount.
func isReplacementUnderWay(h *Hold) bool { return h.Renewal != nil && h.Renewal.IncrementTo > 0 }

// IsIncrementPending reports whether a requested increment has no outcome yet.
func IsIncrementPending(h *Hold) bool { return h.NextOp == OpIncrement || isReplacementUnderWay(h) }

// pendingIncrementTargetTotal is the total that a pending increment is to
// reach.
func pendingIncrementTargetTotal(h *Hold) int64 {
	if isReplacementUnderWay(h) {
		return h.Renewal.IncrementTo
	}
	return h.Increment.Amount
}

// IsIncrementPendingTo reports whether an increment of h to the total amount has no
// outcome yet.
func IsIncrementPendingTo(h *Hold, amount int64) bool {
	return IsIncrementPending(h) && pendingIncrementTargetTotal(h) == amount
}

// requestReplacementForIncrement decides an increment of a hold whose charge has no
// incremental authorization. Errors are *[Problem].
func requestReplacementForIncrement(
	h Hold, req IncrementRequest, by string, now time.Time, rules DecisionRules,
) (Decision, error) {
	if err := checkReplacementPossible(&h, req.Amount, now); err != nil {
		return Decision{}, err
	}
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryTriggered, By: by, Op: OpIncrement,
		Note: describeIncrementRequest(&h, req)})
	return startReplacementWithRetrieve(h, req.Amount, incrementGiveUpTime(&h, now, rules)), nil
}

// checkReplacementPossible returns a *[Problem] if no new intent of this amount can take the
// place of the hold's.
func checkReplacementPossible(h *Hold, amount int64, now time.Time) error {
	r := h.Renewal
	switch {
	case r == nil || r.MaxAmount == 0 || r.AuthorizedAt.IsZero() || r.Customer == "":
		return incrementUnavailableProblem(h)
	case len(PlannedCaptureStages(h)) > 0 || capturedSoFar(h) > 0 || h.CaptureAmount > amount:
		return newProblem(IncrementUnavailable, "", "the authorization of hold %s cannot be "+
			"replaced: a new one could be captured neither in parts nor above its amount", h.ID)
	case h.CaptureParams.hasFeeOrTransfer():
		return newProblem(IncrementUnavailable, "", "the authorization of hold %s cannot be "+
			"replaced: a new one would not have the account that the capture's fee or transfer "+
			"belongs to", h.ID)
	case r.Step == RenewalIdle:
		if code, ok := mayTryCardAgain(r, now); !ok {
			p := newProblem(Declined, "", "the card of hold %s must not be tried again now: the "+
				"bank declined it (%s), and %s stays held", h.ID, code,
				FormatAmount(AuthorizedTotal(h), h.Currency))
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

// startReplacementWithRetrieve makes a read of the hold's intent the next step.
// A new one is created only if the old one still holds the money.
func startReplacementWithRetrieve(h Hold, amount int64, until time.Time) Decision {
	r := unshareRenewal(&h)
	r.IncrementTo, r.IncrementUntil, r.RetryAt = amount, until, time.Time{}
	return Decision{Hold: h, NextStepNow: true}
}

// reasonToStopReplacement returns why a replacement must not go on, 0 if it may.
func reasonToStopReplacement(h *Hold, now time.Time) Cause {
	r := h.Renewal
	switch {
	case !isReplacementUnderWay(h):
		return 0
	case r.IncrementTo > agreedMaxAmount(h): // the terms changed meanwhile
		return CauseAmountTooLarge
	case !now.Before(r.IncrementUntil):
		return CauseTooLate
	}
	return 0
}

// continueReplacementAfterRetrieve goes on with an increment after a read that shows
// the money held.
func continueReplacementAfterRetrieve(h Hold, now time.Time) Decision {
	r := unshareRenewal(&h)
	switch {
	case h.CapturedElsewhere > 0:
		return failReplacement(h, HistoryEntry{Cause: CauseElsewhere}, now)
	case h.Amount >= r.IncrementTo: // another system has raised it
		recordCompletedReplacement(&h, h.Amount, now)
		h.Revision++
		d := finishRenewalStep(h, now)
		d.addEvent(EventIncremented, CauseTrigger)
		return d
	}
	startRenewal(&h)
	return finishRenewalStep(h, now)
}

// failReplacement ends an increment. The old amount stays held, and the new
// intent is released.
func failReplacement(h Hold, outcome HistoryEntry, now time.Time) Decision {
	recordFailedReplacement(&h, outcome, now)
	abandonRenewal(&h, now)
	h.Retries, h.Calls = 0, 0
	return endRenewalClaimAndRetryAt(h, now, now)
}

// recordFailedReplacement records that an increment has failed. SetNextRenewalOp publishes the
// event with the next write.
func recordFailedReplacement(h *Hold, outcome HistoryEntry, now time.Time) {
	r := unshareRenewal(h)
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

// recordCompletedReplacement records that the new intent holds the higher amount.
func recordCompletedReplacement(h *Hold, before int64, now time.Time) {
	r := unshareRenewal(h)
	r.IncrementTo, r.IncrementUntil = 0, time.Time{}
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryIncrement, By: "holdd", Op: OpIncrement,
		Answer: AnswerOK, Cause: CauseTrigger, Note: "from " + FormatAmount(before, h.Currency) +
			" to " + FormatAmount(h.Amount, h.Currency)})
}

// addFailedIncrementEvent adds the event of an increment that has failed since
// the last write.
func (d *Decision) addFailedIncrementEvent() {
	if d.Hold.Renewal == nil || d.Hold.Renewal.incrementFailed == nil {
		return
	}
	r := unshareRenewal(&d.Hold)
	d.Events = append(d.Events[:len(d.Events):len(d.Events)], *r.incrementFailed)
	r.incrementFailed = nil
	d.NewDeadline = true // the start of the next renewal is a milestone again
}
