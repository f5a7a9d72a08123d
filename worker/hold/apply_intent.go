package hold

import "time"

// ApplyPaymentIntent updates an unclaimed hold with the intent as Stripe has
// it, as seen by verification, reconciliation or a refresh. A claimed hold is
// left to its worker, which reads the same intent.
func (h Hold) ApplyPaymentIntent(in *PaymentIntent, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	if h.State.IsFinal() || h.State == Working {
		return Decision{Hold: h, Unchanged: true}
	}
	if in.ID != h.PaymentIntent {
		return applyRenewalIntent(h, in, now)
	}
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		return settleFromIntent(h, in, false, nil, now)
	case StatusRequiresCapture:
		old := h
		d := applyHeldIntent(h, in, now)
		d.Unchanged = len(d.Events) == 0 && old.Verified && d.Hold.Revision == old.Revision &&
			d.Hold.SingleCapture == old.SingleCapture && d.Hold.Features == old.Features &&
			d.Hold.MaxCapturable == old.MaxCapturable &&
			d.Hold.ExpiresAt.Equal(old.ExpiresAt)
		return pauseOrResumeByReview(d, in, now)
	case StatusProcessing:
		return Decision{Hold: h, Unchanged: true}
	default:
		if h.State == Attention && h.Reason == CauseNotCapturable {
			return Decision{Hold: h, Unchanged: true}
		}
		return requireAttention(h, CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// ApplyIntentNotFound updates an unclaimed hold whose intent Stripe does not
// find.
func (h Hold) ApplyIntentNotFound(now time.Time) Decision {
	if h.State.IsFinal() || h.State == Working || h.State == Attention {
		return Decision{Hold: h, Unchanged: true}
	}
	return requireAttention(h, CauseNotFound,
		"Stripe does not find this intent under this account and mode", now)
}

// describePartCapturedElsewhere describes an open hold of which another system captured a
// part.
func describePartCapturedElsewhere(h *Hold) string {
	return FormatAmount(h.CapturedElsewhere, h.Currency) + " captured by another system, " +
		FormatAmount(h.Amount, h.Currency) + " left"
}

// applyHeldIntent updates a hold whose money Stripe still holds with the amount
// and the deadline of the intent.
func applyHeldIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	old := h
	if truth := h; h.Reason == CauseOnExpiry {
		// on_expiry is early if the authorization lasts longer than was known.
		if updateFromHeldIntent(&truth, in, now); truth.ExpiresAt.After(h.ExpiresAt) {
			revertExpiryPolicy(&h, now)
		}
	}
	releases := h.CancelWanted || h.NextOp == OpCancel // needs no amount
	if !h.Verified && !releases && contradictsStatedAmount(&h, in) {
		stated := FormatAmount(h.Amount, h.Currency)
		updateFromHeldIntent(&h, in, now)
		d := requireAttention(h, CauseMismatch, "the caller stated "+stated+", the intent holds "+
			FormatAmount(in.AmountCapturable, in.Currency), now)
		d.NewDeadline = true
		return d
	}
	updateFromHeldIntent(&h, in, now)
	moved := !h.ExpiresAt.Equal(old.ExpiresAt)
	d := Decision{NewDeadline: moved || !old.Verified}
	if h.State == Attention && old.Reason == CauseOnExpiry {
		d.addEvent(EventAttention, h.Reason)
	}
	recordExternalChange(&h, &old, &d, now)

	late := checkActionTimeBeforeDeadline(&h) != nil && h.ActionTime().After(now)
	excess, note := excessTermsCause(&h)
	inAttention := h.State == Attention || h.State == Working && h.PreviousState == Attention
	switch {
	case excess != 0 && inAttention: // already published
	case excess != 0 && !releases:
		return d.Merge(requireAttention(h, excess, note, now))
	case late && !old.Verified && h.Reason == CauseSchedule:
		return d.Merge(requireAttention(h, CauseAfterDeadline, describeDeadline(&h), now))
	case late && moved:
		d.Hold = h
		d.addExpiresBeforeActionEvent(now)
	}
	d.NextStepNow = resumePlanAfterRetrieve(&h, now)
	d.Hold = h
	return d
}

// lateEffectWindow is how long a request may still take effect after holdd gave
// it up.
const lateEffectWindow = 30 * time.Second

// maxRefusals is how often Stripe may refuse for the state of an intent while a
// read shows the money held. One refusal may be a passing disagreement. After
// two the card network has let the charge go and the intent does not show it
// yet, so no later try succeeds.
const maxRefusals = 2

// applyRetrievedHeldIntent handles a read that shows the money held. Unless it shows
// that a part was captured, it proves that no request of this generation had an
// effect, so the next one may use a new key.
func applyRetrievedHeldIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	if in.AmountCapturable <= 0 {
		h.ReadFirst = true
		return scheduleRetry(h, now, 5*time.Second, maxBackoff)
	}
	if h.NextOp == OpIncrement {
		if d, ok := applyRetrieveDuringIncrement(h, in, now); ok {
			return d
		}
	}
	if d, ok := applyRetrieveOfPartialCapture(h, in, now); ok {
		return d
	}
	last := lastHistoryEntryOfKind(&h, HistoryAttempt)
	if h.Sent.Unknown && now.Sub(last.At) < lateEffectWindow {
		// The lost request may still take effect: this read proves nothing.
		h.ReadFirst, h.NextAt = true, last.At.Add(lateEffectWindow)
		releaseClaim(&h)
		return Decision{Hold: h}
	}
	sent := hasUnresolvedRequest(&h, now)
	refused := sent && (last.Answer == AnswerUnexpectedState || last.Answer == AnswerChargeGone)
	startKeyGenerationAfterRetrieve(&h, now)
	if refused {
		h.Refusals++
	}
	d := applyHeldIntent(h, in, now)
	switch {
	case refused && d.NextStepNow && h.Refusals >= maxRefusals:
		cause := CauseRefused
		if last.Answer == AnswerUnexpectedState {
			cause = CauseNotCapturable
		}
		note := last.Note + ": refused again, and the intent is " + string(in.Status)
		return d.Merge(requireAttention(d.Hold, cause, note, now))
	case refused && d.NextStepNow:
		return d.ReleaseClaimUntil(now.Add(retryBackoff(&h, 5*time.Second, maxBackoff)))
	case sent && d.NextStepNow && h.Retries > 1:
		// More than one request came to nothing: back off instead of a tight
		// loop.
		return d.ReleaseClaimUntil(now.Add(retryBackoff(&h, time.Second, time.Minute)))
	}
	return d
}

// excessTermsCause returns the cause for attention if the terms ask for more
// than Stripe holds or offers: the amount to capture, captures in parts, or a fee
// or a transfer above what a capture would take. 0 if they do not.
func excessTermsCause(h *Hold) (cause Cause, note string) {
	if h.CaptureAmount > maxCaptureTotal(h) {
		return CauseAmountTooLarge, "wanted " + FormatAmount(h.CaptureAmount, h.Currency) +
			", holds " + FormatAmount(AuthorizedTotal(h), h.Currency)
	}
	if lacksMulticapture(h) {
		return CauseUnavailable, "cannot be captured in parts: " + multicaptureHint
	}
	if err := checkHoldCaptureParams(h); err != nil {
		return CauseFeeTooLarge, err.Error()
	}
	return 0, ""
}

// contradictsStatedAmount reports whether the intent contradicts the amount or
// the currency that the caller stated.
func contradictsStatedAmount(h *Hold, in *PaymentIntent) bool {
	return h.Amount != 0 && !in.isHeldOrAuthorizedAmount(h.Amount) ||
		h.Currency != "" && h.Currency != in.Currency
}

func describeDeadline(h *Hold) string { return "ends at " + h.ExpiresAt.Format(time.RFC3339) }

// recordExternalChange adds a change of amount, deadline or captures by another
// system to the history.
func recordExternalChange(h, old *Hold, d *Decision, now time.Time) {
	shared := h.CapturedElsewhere != old.CapturedElsewhere
	if h.ExpiresAt.Equal(old.ExpiresAt) && h.Amount == old.Amount && !shared {
		return
	}
	h.Revision++
	until := " until " + h.ExpiresAt.Format(time.RFC3339)
	e := HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
		Note: FormatAmount(h.Amount, h.Currency) + until}
	if shared {
		e.Cause, e.Note = CauseElsewhere, describePartCapturedElsewhere(h)+until
		if len(d.Events) == 0 {
			d.addEvent(EventChanged, CauseElsewhere)
		}
	}
	appendHistory(h, e)
}

// resumePlanAfterRetrieve returns a hold that was read under a claim to its plan,
// and reports whether a request to change something follows under the same
// claim.
func resumePlanAfterRetrieve(h *Hold, now time.Time) (again bool) {
	switch {
	case h.State != Working: // not claimed
	case h.NextOp == OpCapture || h.NextOp == OpCancel || h.NextOp == OpIncrement:
		return true
	case h.PreviousState == Paused || h.PreviousState == Attention: // read at the deadline
		h.State, h.NextOp, h.NextAt = h.PreviousState, 0, time.Time{}
	default:
		reason := h.Reason
		planNextOp(h, now)
		if h.State == Waiting {
			h.Reason = reason
		}
	}
	return false
}

// ContradictsSettledHold reports whether the intent shows that a settled hold did not end
// as its record says: Stripe still holds the money, or the hold was captured
// and is recorded as released, or the reverse.
func (in *PaymentIntent) ContradictsSettledHold(h *Hold) bool {
	if !h.State.IsFinal() || in.ID != h.PaymentIntent {
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

// ReopenContradictedHold reopens a settled hold that a read contradicts. The hold
// requires attention, because its record was wrong and holdd does not know why:
// nothing captures or releases it without a request. A request begins with a
// read.
func (h Hold) ReopenContradictedHold(in *PaymentIntent, now time.Time) Decision {
	if !in.ContradictsSettledHold(&h) {
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
