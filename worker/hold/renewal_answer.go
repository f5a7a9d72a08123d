package hold

import "time"

// applyRenewalAnswer decides what the answer to a call of the renewal means.
// Every step ends its claim, so that the next step is in the record before its
// call. Only a release and the hold's own operation may follow under the same
// claim: the record at the time of the claim determines both.
func applyRenewalAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	before := h
	r := unshareRenewal(&h)
	if call.Op != OpRead && call.Op != OpList && call.Op != OpReadCardSetup {
		recordSentRenewalCall(&h, r, call, a, now)
	}
	var d Decision
	switch {
	case call.PaymentIntent == r.Releasing && r.Releasing != "":
		d = applyReleaseSecondIntentAnswer(h, call, a, now)
	case r.Step == RenewalReleaseFirst && call.PaymentIntent == h.PaymentIntent:
		d = applyReleaseBeforeRenewalAnswer(h, call, a, now)
	case call.Op == OpReadCardSetup:
		d = applyCheckoutSessionToRenewal(h, a, now)
	case call.Op == OpCreate:
		d = applyCreateNewIntentAnswer(h, a, now)
	case call.Op == OpList:
		d = applySearchForNewIntentAnswer(h, a, now)
	case call.Op == OpConfirm, call.PaymentIntent == r.Intent && r.Intent != "":
		d = applyConfirmNewIntentAnswer(h, call, a, now)
	default:
		d = applyRetrieveBeforeRenewal(h, a, now)
	}
	if d.Hold.Retries > before.Retries {
		return d.countCallAndAlertIfMany(&before, a, now)
	}
	return d
}

// recordSentRenewalCall counts a request that was sent and adds it to the
// history.
func recordSentRenewalCall(h *Hold, r *Renewal, call Call, a Answer, now time.Time) {
	usage, op := &r.Sent, call.Op
	if call.PaymentIntent == r.Releasing && r.Releasing != "" {
		usage, op = &r.ReleaseKeyUsage, OpRelease
	}
	if r.Step == RenewalReleaseFirst {
		op = OpRelease
	}
	if a.Kind != AnswerUnreachable {
		usage.Count++
	}
	usage.Unknown = usage.Unknown || a.Retransmitted
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryAttempt, By: "holdd", Op: op,
		Key: call.Key, RequestID: a.RequestID, Answer: a.Kind, Note: a.Code})
}

// backoffIfRetryable reports whether the same request may be sent again because it
// had no effect, with the back-off that suits the answer.
func backoffIfRetryable(k AnswerKind) (base, limit time.Duration, ok bool) {
	switch k {
	case AnswerLockTimeout:
		return time.Second, 30 * time.Second, true
	case AnswerRateLimited:
		return 250 * time.Millisecond, 10 * time.Second, true
	case AnswerUnreachable, AnswerUnauthorized, AnswerForbidden:
		return 2 * time.Second, time.Minute, true
	}
	return 0, 0, false
}

// retryRenewalStep ends the claim and repeats the step after a back-off.
func retryRenewalStep(h Hold, now time.Time, base, limit time.Duration) Decision {
	h.Retries++
	return endRenewalClaimAndRetryAt(h, now.Add(retryBackoff(&h, base, limit)), now)
}

// endRenewalClaimAndRetryAt ends the claim. The step, or the hold's own operation that waits
// for it, is due again at the given time.
func endRenewalClaimAndRetryAt(h Hold, at, now time.Time) Decision {
	h.Renewal.RetryAt = at.UTC().Truncate(time.Millisecond)
	if h.State != Working {
		return Decision{Hold: h} // of an unclaimed hold: SetNextRenewalOp follows
	}
	if h.NextOp == OpRenew || h.NextOp == OpRelease {
		return endRenewalClaimAndReplan(h, now)
	}
	h.NextAt = h.Renewal.RetryAt
	releaseClaim(&h)
	return Decision{Hold: h}
}

// finishRenewalStep ends the claim after a step. The next one is due at once.
func finishRenewalStep(h Hold, now time.Time) Decision {
	h.Retries, h.Calls = 0, 0
	h.Renewal.RetryAt = now
	return endRenewalClaimAndRetryAt(h, now, now)
}

// endRenewalClaimAndReplan returns a hold to the state before its claim and to
// its plan.
func endRenewalClaimAndReplan(h Hold, now time.Time) Decision {
	retries, calls := h.Retries, h.Calls
	h.State = h.PreviousState
	restoreOwnOp(&h)
	d := Decision{Hold: h}
	d.SetNextRenewalOp(now)
	d.Hold.Retries, d.Hold.Calls = retries, calls
	return d
}

// failRenewal ends the renewal because the hold cannot be renewed. Its intent is
// released, and on_failure follows at the expiry margin.
func failRenewal(h Hold, cause Cause, note string, now time.Time) Decision {
	if isReplacementUnderWay(&h) {
		return failReplacement(h, HistoryEntry{Cause: cause, Note: note}, now)
	}
	abandonRenewal(&h, now)
	r := unshareRenewal(&h)
	r.Step, r.Problem = RenewalFailed, cause
	h.Retries, h.Calls = 0, 0
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: "holdd", Op: OpRenew,
		Cause: cause, Note: note})
	d := endRenewalClaimAndRetryAt(h, now, now)
	d.NewDeadline = true // warnings of the deadline are published again
	d.addEvent(EventAttention, cause)
	return d
}

// applyRetrieveBeforeRenewal applies a read of the intent that holds the money: it shows
// the customer, the card and the start of the window, or that a confirmation may
// follow.
func applyRetrieveBeforeRenewal(h Hold, a Answer, now time.Time) Decision {
	if a.Kind != AnswerOK || a.Intent == nil {
		return retryRenewalStep(h, now, 10*time.Second, maxBackoff)
	}
	confirms := h.Renewal.Step == RenewalConfirm
	if confirms && a.Intent.Status == StatusRequiresCapture && a.Intent.AmountReceived > 0 {
		updateFromHeldIntent(&h, a.Intent, now)
		return failRenewal(h, CauseElsewhere, "cannot renew: "+describePartCapturedElsewhere(&h), now)
	}
	// An authorization that has expired is renewed late.
	if confirms && (a.Intent.Status == StatusRequiresCapture || a.Intent.ExpiredByNetwork()) {
		h.Renewal.ownRead = true
		return Decision{Hold: h, NextStepNow: true}
	}
	if a.Intent.Status != StatusRequiresCapture {
		// The hold has ended, or is about to: its own read shows how.
		if isReplacementUnderWay(&h) {
			recordFailedReplacement(&h, HistoryEntry{Cause: CauseSuperseded}, now)
		}
		h.Renewal.RetryAt = now.Add(maxBackoff)
		h.NextOp, h.ReadFirst = OpRead, true
		return Decision{Hold: h, NextStepNow: true}
	}
	if cause, note := reasonIntentNotRenewable(a.Intent); cause != 0 {
		h.Renewal.AuthorizedAt = a.Intent.Created
		return failRenewal(h, cause, note, now)
	}
	updateFromHeldIntent(&h, a.Intent, now)
	if isReplacementUnderWay(&h) {
		d := continueReplacementAfterRetrieve(h, now)
		d.NewDeadline = true
		return d
	}
	cause, _ := reasonHoldNotRenewable(&h, now)
	if _, ok := mayTryCardAgain(h.Renewal, now); ok && cause == 0 && isRenewalDue(&h, now) {
		startRenewal(&h)
	}
	d := finishRenewalStep(h, now)
	d.NewDeadline = true
	return d
}

// reasonIntentNotRenewable returns why an intent cannot be renewed, 0 if it can.
func reasonIntentNotRenewable(in *PaymentIntent) (Cause, string) {
	switch {
	case in.Customer == "":
		return CauseNotRenewable, "the intent has no customer"
	case in.PaymentMethod == "":
		return CauseNotRenewable, "the intent has no PaymentMethod"
	case in.SharesFunds:
		return CauseNotRenewable, "the payment names another account, a fee or a transfer group, " +
			"which a new authorization would not have"
	case !in.Reusable && OwnerOfIntent(in) == in.ID:
		return CauseNotRenewable, "the card was not saved for later: authorize it with " +
			"setup_future_usage=off_session"
	}
	return 0, ""
}

// applyCreateNewIntentAnswer decides by the answer to the creation of the new intent.
func applyCreateNewIntentAnswer(h Hold, a Answer, now time.Time) Decision {
	r := h.Renewal
	base, limit, passing := backoffIfRetryable(a.Kind)
	switch {
	case a.Kind == AnswerOK && a.Intent != nil:
		return recordNewIntent(h, a.Intent, now)
	case passing:
		return retryRenewalStep(h, now, base, limit)
	case a.Kind == AnswerReplayedError:
		// Stripe replays this answer for as long as it keeps the key. A search
		// shows whether the intent exists.
		r.ReadFirst, r.Sent.Unknown = true, true
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	case a.Kind == AnswerUnknown, a.Kind == AnswerOK, a.Kind == AnswerKeyInUse:
		r.Sent.Unknown = true
		return retryRenewalStep(h, now, time.Second, time.Minute)
	}
	if a.Kind == AnswerIdempotencyError && r.Sent.Count == 1 && !r.Sent.Unknown &&
		r.Step == RenewalCreate {
		// Its first use by this record: one that Redis lost used the key with
		// other terms. That intent may hold the money by now: a search finds it,
		// or the next generation, with another key, follows.
		r.ReadFirst = true
		return finishRenewalStep(h, now)
	}
	if r.Sent.Unknown {
		// A request with this key has no outcome, and may arrive yet: a search
		// shows whether the intent exists.
		r.ReadFirst = true
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	}
	// Stripe refuses the request. Had this key created the intent before, Stripe
	// would have replayed that.
	cause := CauseRefused
	if a.Kind == AnswerIdempotencyError {
		cause = CauseKeyConflict
	}
	clearRenewalStepKeyUsage(r)
	if r.Step == RenewalFind {
		r.Step = RenewalIdle
		return continueWithReleaseOrOwnOp(h, now)
	}
	return failRenewal(h, cause, a.describeForHistory(), now)
}

// recordNewIntent records the intent that was created, or releases it if the
// renewal has ended.
func recordNewIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	r := h.Renewal
	ended := r.Step == RenewalFind
	r.Intent, r.Confirmation, r.Step, r.Metadata = in.ID, 1, RenewalConfirm, nil
	clearRenewalStepKeyUsage(r)
	if ended {
		abandonRenewal(&h, now)
		return continueWithReleaseOrOwnOp(h, now)
	}
	r.ReadFirst = in.Status != StatusRequiresConfirmation
	return finishRenewalStep(h, now)
}

// continueWithReleaseOrOwnOp goes on under the same claim with the release or the hold's own
// operation, or ends the claim if none is due.
func continueWithReleaseOrOwnOp(h Hold, now time.Time) Decision {
	h.Retries, h.Calls = 0, 0
	if h.NextOp == OpRenew || h.NextOp == OpRelease {
		return finishRenewalStep(h, now)
	}
	return Decision{Hold: h, NextStepNow: true}
}

// applySearchForNewIntentAnswer decides by a page of the customer's intents, newest first.
func applySearchForNewIntentAnswer(h Hold, a Answer, now time.Time) Decision {
	r := h.Renewal
	if a.Kind != AnswerOK || a.Page == nil {
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	}
	// A lost record may have created it as early as this; clocks differ.
	oldest := r.AuthorizedAt.Add(-time.Hour)
	more := a.Page.More
	for i := range a.Page.Intents {
		in := &a.Page.Intents[i]
		if isIntentCreatedByRenewal(&h, in) {
			return recordNewIntent(h, in, now)
		}
		if r.Step == RenewalCreate && isIntentOfLostRenewal(&h, in, r.Generation) &&
			(!isReplacementUnderWay(&h) || in.AmountCapturable == r.Amount) {
			return swapToNewIntent(h, in, now)
		}
		more = more && !in.Created.Before(oldest)
		r.SearchAfter = in.ID
	}
	if more {
		return Decision{Hold: h, NextStepNow: true}
	}
	r.SearchAfter = ""
	last := lastHistoryEntryOfKind(&h, HistoryAttempt)
	if wait := last.At.Add(lateEffectWindow); now.Before(wait) {
		return endRenewalClaimAndRetryAt(h, wait, now) // the lost request may still take effect
	}
	clearRenewalStepKeyUsage(r)
	if r.Step == RenewalFind {
		r.Step = RenewalIdle
		return continueWithReleaseOrOwnOp(h, now)
	}
	r.Step = RenewalIdle // the next try is of a new generation, with a new key
	return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
}

// isIntentCreatedByRenewal reports whether an intent is the one that the renewal has
// created and whose id it does not know. Nothing has confirmed it yet: one that
// holds money has copied metadata.
func isIntentCreatedByRenewal(h *Hold, in *PaymentIntent) bool {
	r := h.Renewal
	return OwnerOfIntent(in) == h.ID && renewalGenerationOfIntent(in) == r.Generation &&
		in.Status != StatusRequiresCapture && in.Status != StatusSucceeded &&
		in.Amount == r.Amount && in.Currency == h.Currency
}

// applyConfirmNewIntentAnswer decides by the answer to the confirmation of the new
// intent, or to a read of it.
func applyConfirmNewIntentAnswer(h Hold, call Call, a Answer, now time.Time) Decision {
	r := h.Renewal
	base, limit, passing := backoffIfRetryable(a.Kind)
	switch {
	case a.Kind == AnswerOK && a.Intent != nil,
		a.Kind == AnswerUnexpectedState && a.Intent != nil &&
			a.Intent.Status != StatusRequiresConfirmation:
		return applyNewIntentState(h, call, a, now)
	case a.Kind == AnswerDeclined && call.Op == OpConfirm:
		return applyRenewalDecline(h, confirmationFailure{a.Code, a.describeForHistory(), a.Advice}, now)
	case passing:
		return retryRenewalStep(h, now, base, limit)
	case call.Op == OpRead, a.Kind == AnswerUnknown, a.Kind == AnswerOK,
		a.Kind == AnswerReplayedError, a.Kind == AnswerKeyInUse, a.Kind == AnswerUnexpectedState,
		r.Sent.Unknown:
		// Nothing is certain until the intent was read.
		r.ReadFirst = true
		r.Sent.Unknown = r.Sent.Unknown || call.Op == OpConfirm &&
			a.Kind != AnswerUnexpectedState
		return retryRenewalStep(h, now, time.Second, maxBackoff)
	}
	cause := CauseRefused
	if a.Kind == AnswerIdempotencyError {
		cause = CauseKeyConflict
	}
	return failRenewal(h, cause, a.describeForHistory(), now)
}

// applyNewIntentState decides by the state of the new intent.
func applyNewIntentState(h Hold, call Call, a Answer, now time.Time) Decision {
	r, in := h.Renewal, a.Intent
	last := confirmationFailure{advice: a.Advice}
	if a.Cardholder != nil {
		last.code, last.note = a.Cardholder.FailureCode, a.Cardholder.FailureCode
	}
	switch in.Status {
	case StatusRequiresCapture, StatusSucceeded:
		if in.Currency != h.Currency || in.AmountCapturable+in.AmountReceived != r.Amount {
			return failRenewal(h, CauseMismatch, "the new intent holds "+
				FormatAmount(in.AmountCapturable, in.Currency), now)
		}
		return swapToNewIntent(h, in, now)
	case StatusRequiresAction:
		return awaitCardholderForRenewal(h, confirmationFailure{code: codeAuthenticationRequired}, now)
	case StatusCanceled:
		r.Intent = ""
		return failRenewal(h, CauseElsewhere, "the new intent was canceled by another system", now)
	case StatusProcessing:
		r.ReadFirst = true
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	}
	return applyUnconfirmedNewIntent(h, call, last, now)
}

// swapToNewIntent makes the new intent the one that holds the money, and the old one
// the one to release. The old one is canceled only once this is written.
func swapToNewIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	r, old, held, raises := h.Renewal, h.PaymentIntent, h.Amount, isReplacementUnderWay(&h)
	h.PaymentIntent = in.ID
	if r.Unprotected {
		r.Unprotected = false // the old one is released
	} else {
		scheduleIntentRelease(r, old, now)
		r.Replaced = true
	}
	r.Exchanged, r.OwnEnded = false, false
	r.Intent, r.Step, r.Problem, r.Metadata = "", RenewalIdle, 0, nil
	r.DeclineCode, r.Advice = "", DeclineAdvice{}
	if !raises { // an increment does not count for max_renewals
		r.Completed++
	}
	clearRenewalStepKeyUsage(r)
	clearRenewalCardholderState(r)
	// The keys of the hold's own requests name the intent: none was used yet.
	h.Sent, h.ReadFirst = IdempotencyKeyUsage{}, false
	h.Mirrored, h.Unmirrorable = false, false
	if in.Status == StatusRequiresCapture {
		if in.CaptureBefore.IsZero() {
			h.ExpiresAt, h.ExpiresSource = assumedDeadline(in, now), SourceAssumed
		}
		updateFromHeldIntent(&h, in, now)
		if h.Reason == CauseOnExpiry { // it was for a hold that could not be renewed
			revertExpiryPolicy(&h, now)
		}
	}
	r = h.Renewal
	r.AuthorizedAt = in.Created
	if raises {
		recordCompletedReplacement(&h, held, now)
	}
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRenew,
		Note: old + " is replaced by " + in.ID + " until " + h.ExpiresAt.Format(time.RFC3339)})
	if in.Status == StatusSucceeded || h.NextOp == OpRead {
		// Another system has captured the new intent, or the hold was about to
		// end: a read after the release shows what is left.
		h.NextOp, h.NextAt = OpRead, now
		releaseClaim(&h)
	} else {
		h = finishRenewalStep(h, now).Hold
	}
	d := Decision{Hold: h, NewDeadline: true, NewTerms: true}
	d.addEvent(EventRenewed, 0)
	if raises {
		d.addEvent(EventIncremented, CauseTrigger)
	}
	return d
}
