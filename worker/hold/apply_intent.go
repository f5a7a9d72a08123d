package hold

import (
	"cmp"
	"time"
)

// lateEffectWindow is how long a request may still take effect after holdd gave
// it up.
const lateEffectWindow = 30 * time.Second

// maxRefusals is how often Stripe may refuse for the state of an intent while a
// read shows the money held. One refusal may be a passing disagreement. After
// two the card network has let the charge go and the intent does not show it
// yet, so no later try succeeds.
const maxRefusals = 2

// applyAnsweredIntent decides by the intent in the answer to a claimed hold's
// call. ours says whether an effect that it shows may be that of a request of
// this hold.
func applyAnsweredIntent(h Hold, call Call, a Answer, ours bool, now time.Time) Decision {
	in := a.Intent
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		if call.Op != OpCapture || a.Kind != AnswerOK {
			return settleByIntent(h, in, ours, nil, now)
		}
		return settleByIntent(h, in, ours, &call, now)
	case StatusRequiresCapture:
		if call.Op != OpRead {
			// Accepted, yet still held: Stripe did something else, or has not
			// done it yet.
			h.ReadFirst, h.Sent.Unknown = true, true
			return scheduleRetry(h, now, 5*time.Second, maxBackoff)
		}
		return applyReadStillHeld(h, in, now)
	case StatusProcessing:
		h.ReadFirst = true
		h.Sent.Unknown = h.Sent.Unknown || call.Op != OpRead
		return scheduleRetry(h, now, 5*time.Second, maxBackoff)
	default:
		return requireAttention(h, CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// applyReadStillHeld handles a read that shows the money held. It proves that
// no request of this generation had an effect, so the next one may use a new
// key.
func applyReadStillHeld(h Hold, in *PaymentIntent, now time.Time) Decision {
	if in.AmountCapturable <= 0 {
		h.ReadFirst = true
		return scheduleRetry(h, now, 5*time.Second, maxBackoff)
	}
	last := lastHistoryEntry(&h, HistoryAttempt)
	if h.Sent.Unknown && now.Sub(last.At) < lateEffectWindow {
		// The lost request may still take effect: this read proves nothing.
		h.ReadFirst, h.NextAt = true, last.At.Add(lateEffectWindow)
		releaseClaim(&h)
		return Decision{Hold: h}
	}
	sent := h.Sent.Count > 0 || h.Sent.Unknown
	refused := sent && (last.Answer == AnswerUnexpectedState || last.Answer == AnswerChargeGone)
	if sent {
		h.Generation++
		h.Retries++
	}
	if refused {
		h.Refusals++
	}
	h.Sent, h.ReadFirst, h.InconclusiveReads = IdempotencyKeyUsage{}, false, 0
	d := applyHeldIntent(h, in, now)
	switch {
	case refused && d.Again && h.Refusals >= maxRefusals:
		cause := CauseRefused
		if last.Answer == AnswerUnexpectedState {
			cause = CauseNotCapturable
		}
		note := last.Note + ": refused again, and the intent is " + string(in.Status)
		return d.Merge(requireAttention(d.Hold, cause, note, now))
	case refused && d.Again:
		return d.ReleaseClaimUntil(now.Add(retryBackoff(&h, 5*time.Second, maxBackoff)))
	case sent && d.Again && h.Retries > 1:
		// More than one request came to nothing: back off instead of a tight
		// loop.
		return d.ReleaseClaimUntil(now.Add(retryBackoff(&h, time.Second, time.Minute)))
	}
	return d
}

// settleByIntent ends the hold as Stripe ended the intent. The cause is the
// hold's own if ours is true and the effect is the one requested, and another
// system otherwise. confirmed is the capture that this answer belongs to, nil
// if there is none: that capture took exactly what it named.
func settleByIntent(h Hold, in *PaymentIntent, ours bool, confirmed *Call, now time.Time) Decision {
	if isRenewalOpen(&h) {
		return deferSettlement(h, now)
	}
	state, cause, event, note := Captured, h.Reason, EventCaptured, ""
	wanted := h.CancellationReason
	h.CancellationReason = ""
	switch {
	case in.Status == StatusSucceeded:
		cause, note = recordCapture(&h, in, ours, confirmed)
	case in.expiredByNetwork():
		state, cause, event = Expired, CauseExpired, EventExpired
	default:
		state, event = Canceled, EventCanceled
		if !ours || h.NextOp != OpCancel {
			cause = CauseElsewhere
		}
		h.CancellationReason = cmp.Or(in.CancellationReason, wanted)
	}
	if in.Currency != "" {
		h.Currency = in.Currency
	}
	if in.Amount > 0 && h.Amount == 0 {
		h.Amount = in.Amount
	}
	h.State, h.SettledAt, h.Reason = state, now, cause
	h.NextOp, h.NextAt, h.ReadFirst, h.Sent.Unknown = 0, time.Time{}, false, false
	h.Revision++
	by := "holdd"
	if cause == CauseElsewhere || cause == CauseExpired {
		by = "stripe"
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: by, Cause: cause, Note: note})
	d := Decision{Hold: h}
	d.addEvent(event, cause)
	return d
}

// recordCapture splits the captured amount between holdd and another system,
// and returns the cause and the history's note.
func recordCapture(
	h *Hold, in *PaymentIntent, ours bool, confirmed *Call,
) (cause Cause, note string) {
	want, _ := captureAmount(h)
	own := in.AmountReceived - h.CapturedElsewhere
	if confirmed != nil && (want > 0 || confirmed.ReleaseRest) {
		own = min(confirmed.Amount, in.AmountReceived)
	}
	cause = h.Reason
	if !ours || h.NextOp != OpCapture || own <= 0 || want > 0 && own != want {
		cause, note, own = CauseElsewhere, capturedElsewhereNote(h, ours, want, in), 0
	}
	h.CapturedAmount, h.CapturedElsewhere = in.AmountReceived, in.AmountReceived-own
	if own > 0 && h.CapturedElsewhere > 0 {
		note = FormatAmount(own, in.Currency) + " captured by holdd, " +
			FormatAmount(h.CapturedElsewhere, in.Currency) + " by another system"
	}
	return cause, note
}

// capturedElsewhereNote describes a capture that is not known to be holdd's.
// want is the amount that a request of holdd's named, if ours says that there
// was one.
func capturedElsewhereNote(h *Hold, ours bool, want int64, in *PaymentIntent) string {
	note := FormatAmount(in.AmountReceived, in.Currency) + " captured by another system"
	if ours && h.NextOp == OpCapture && want > 0 && in.AmountReceived >= h.CapturedElsewhere+want {
		note += "; a request of holdd's for " + FormatAmount(want, in.Currency) +
			" may be part of it"
	}
	return note
}

// partlyCapturedNote describes an open hold of which another system captured a
// part.
func partlyCapturedNote(h *Hold) string {
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

	late := checkBeforeDeadline(&h) != nil && h.ActionTime().After(now)
	excess, note := excessTermsCause(&h)
	inAttention := h.State == Attention || h.State == Working && h.PreviousState == Attention
	switch {
	case excess != 0 && inAttention: // already published
	case excess != 0 && !releases:
		return d.Merge(requireAttention(h, excess, note, now))
	case late && !old.Verified && h.Reason == CauseSchedule:
		return d.Merge(requireAttention(h, CauseAfterDeadline, deadlineNote(&h), now))
	case late && moved:
		d.Hold = h
		d.addAfterDeadlineWarning(now)
	}
	d.Again = resumePlanAfterRead(&h, now)
	d.Hold = h
	return d
}

// excessTermsCause returns the cause for attention if the terms ask for more
// than Stripe holds: the amount to capture, or a fee or a transfer above what a
// capture would take. 0 if they do not.
func excessTermsCause(h *Hold) (cause Cause, note string) {
	if h.CaptureAmount > authorizedTotal(h) {
		return CauseAmountTooLarge, "wanted " + FormatAmount(h.CaptureAmount, h.Currency) +
			", holds " + FormatAmount(authorizedTotal(h), h.Currency)
	}
	if err := checkHoldCaptureParams(h); err != nil {
		return CauseFeeTooLarge, err.Error()
	}
	return 0, ""
}

// contradictsStatedAmount reports whether the intent contradicts the amount or
// the currency that the caller stated.
func contradictsStatedAmount(h *Hold, in *PaymentIntent) bool {
	return h.Amount != 0 && !in.holdsAmount(h.Amount) ||
		h.Currency != "" && h.Currency != in.Currency
}

func deadlineNote(h *Hold) string { return "ends at " + h.ExpiresAt.Format(time.RFC3339) }

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
		e.Cause, e.Note = CauseElsewhere, partlyCapturedNote(h)+until
		if len(d.Events) == 0 {
			d.addEvent(EventChanged, CauseElsewhere)
		}
	}
	appendHistory(h, e)
}

// resumePlanAfterRead returns a hold that was read under a claim to its plan,
// and reports whether a capture or cancel follows under the same claim.
func resumePlanAfterRead(h *Hold, now time.Time) (again bool) {
	switch {
	case h.State != Working: // not claimed
	case h.NextOp == OpCapture || h.NextOp == OpCancel:
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

// ApplyPaymentIntent updates an unclaimed hold with the intent as Stripe has
// it, as seen by verification, reconciliation or a refresh. A claimed hold is
// left to its worker, which reads the same intent.
func (h Hold) ApplyPaymentIntent(in *PaymentIntent, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	if h.State.Final() || h.State == Working {
		return Decision{Hold: h, Unchanged: true}
	}
	if in.ID != h.PaymentIntent {
		return h.applyRelatedIntent(in, now)
	}
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		return settleByIntent(h, in, false, nil, now)
	case StatusRequiresCapture:
		old := h
		d := applyHeldIntent(h, in, now)
		d.Unchanged = len(d.Events) == 0 && old.Verified && d.Hold.Revision == old.Revision &&
			d.Hold.SingleCapture == old.SingleCapture && d.Hold.ExpiresAt.Equal(old.ExpiresAt)
		return d.applyReviewFromIntent(in, now)
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
	if h.State.Final() || h.State == Working || h.State == Attention {
		return Decision{Hold: h, Unchanged: true}
	}
	return requireAttention(h, CauseNotFound,
		"Stripe does not find this intent under this account and mode", now)
}
