package hold

import (
	"slices"
	"strconv"
	"time"
)

// MarkClaimed tells the hold that a worker has it now. since is when this or an
// unfinished earlier claim began; takenOver says that there was such an earlier
// claim: whatever it sent, its outcome isn't known.
func (h *Hold) MarkClaimed(since time.Time, takenOver bool) {
	if h.Attempt.FirstAt.IsZero() {
		h.Attempt.FirstAt = since
	}
	if takenOver {
		h.Attempt.Unknown = true
	}
	// What another system has taken may be news since the last read, and an
	// amount that is sent takes no notice of it. A capture of everything needs
	// no read: it takes only what is left.
	if h.NextOp == OpCapture && h.CaptureAmount > 0 && !h.SingleCapture {
		h.ReadFirst = true
	}
}

// ReleaseUnsent gives a claimed hold back as it was, because nothing was sent
// for it under this claim.
func (h Hold) ReleaseUnsent() Decision {
	if h.Attempt.Count == 0 && !h.Attempt.Unknown {
		h.Attempt.FirstAt = time.Time{}
	}
	releaseClaim(&h)
	return Decision{Hold: h, Again: true}
}

// DeferUntil ends a claim that would have gone on at once ([Decision].Now) but
// can't: it goes on at the given time.
func (c Decision) DeferUntil(at time.Time) Decision {
	c.Hold.NextAt = at.UTC().Truncate(time.Millisecond)
	releaseClaim(&c.Hold)
	c.Again = false
	return c
}

// NextCall is the request that a claimed hold needs now.
func (h *Hold) NextCall(now time.Time) Call {
	c := Call{Op: h.NextOp, PaymentIntent: h.PaymentIntent, Account: h.Account}
	sent := h.Attempt.Count > 0 || h.Attempt.Unknown
	stale := sent && now.Sub(h.Attempt.FirstAt) >= keyLifetime
	if h.ReadFirst || stale || h.Amount == 0 {
		c.Op = OpRead
	}
	if h.CancelWanted && c.Op == OpCapture {
		c.Op = OpCancel // nothing leads here; were there a way, it must not lead to a capture
	}
	switch c.Op {
	case OpCapture:
		c.Amount, c.ReleaseRest = captureAmount(h)
		c.Key = idempotencyKey(h, c)
	case OpCancel:
		c.Key = idempotencyKey(h, c)
	}
	return c
}

// captureAmount is what a capture names: what is missing from the wanted total;
// everything (0) where Stripe has confirmed the amount; and else exactly what
// the caller said that there is, so that nobody is charged more than anybody
// knew of. releaseRest says that another system has reached the total already:
// nothing may be taken any more.
func captureAmount(h *Hold) (n int64, releaseRest bool) {
	switch {
	case h.CaptureAmount > 0 && h.CaptureAmount <= h.CapturedElsewhere:
		return 0, true
	case h.CaptureAmount > 0:
		return h.CaptureAmount - h.CapturedElsewhere, false
	case h.Verified:
		return 0, false
	default:
		return h.Amount, false
	}
}

// authorized is what there is to take in all, whoever takes it.
func authorized(h *Hold) int64 { return h.Amount + h.CapturedElsewhere }

// sharedNote says of an open hold what another system has taken, and what is
// left.
func sharedNote(h *Hold) string {
	return FormatAmount(h.CapturedElsewhere, h.Currency) + " captured by another system, " +
		FormatAmount(h.Amount, h.Currency) + " left"
}

// ApplyAnswer decides what follows from Stripe's answer to call. Change.Now
// asks for another call under the same claim.
func (h Hold) ApplyAnswer(call Call, a Answer, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	return follow(h, call, a, now).bounded(&h, a, now)
}

// MaxCallsBeforeAlert is how many calls in a row may lead to no outcome before
// a person is told. It is a power of two.
const MaxCallsBeforeAlert = 16

// bounded tells a person of a hold on which call after call led to no outcome,
// at the 16th, 32nd, 64th …, whatever Stripe answers. The hold goes on as it
// is: an unknown outcome is no failure, and what Stripe answers may be an
// outage of this one operation.
func (c Decision) bounded(was *Hold, a Answer, now time.Time) Decision {
	h := &c.Hold
	if h.State.Final() || h.State == Attention || h.NextOp != was.NextOp {
		h.Calls, h.Refusals = 0, 0
		return c
	}
	if a.Kind.outage() {
		return c
	}
	h.Calls++
	told := h.InconclusiveReads >= 2 // see untold
	if h.Calls < MaxCallsBeforeAlert || h.Calls&(h.Calls-1) != 0 || told {
		return c
	}
	note := strconv.FormatUint(uint64(h.Calls), 10) +
		" calls without an outcome, the last answer: " + a.Kind.String()
	appendHistory(h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd",
		Cause: CauseNoOutcome, Note: note})
	c.Events = slices.DeleteFunc(slices.Clone(c.Events),
		func(n Event) bool { return n.Type == EventRetrying })
	c.addEvent(EventAttention, CauseNoOutcome)
	return c
}

// follow decides what follows from Stripe's answer to call.
func follow(h Hold, call Call, a Answer, now time.Time) Decision {
	if call.Op != OpRead {
		h.Attempt.Count++
		if h.Attempt.FirstAt.IsZero() {
			h.Attempt.FirstAt = now
		}
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryAttempt, By: "holdd", Op: call.Op,
			Key: call.Key, RequestID: a.RequestID, Answer: a.Kind, Note: a.Code})
		if a.Retransmitted {
			// What follows is the answer to the last try. Where it is one that
			// comes before Stripe looks at the key (a lock, a rate), it says
			// nothing of the tries before it.
			h.Attempt.Unknown = true
		}
	}
	switch a.Kind {
	case AnswerOK:
		if a.Intent != nil {
			return applyClaimedIntent(h, call, a, call.Op == OpRead &&
				(h.Attempt.Unknown || h.Generation > 1) || call.Op == h.NextOp && call.Op != OpRead,
				now)
		}
		return markOutcomeUnknown(h, call, now)

	case AnswerUnexpectedState, AnswerChargeGone:
		// Had this key had its effect before, Stripe would have said so again.
		// So whoever ended the hold did it without this key; only a request of
		// an earlier generation that came late can still have been ours.
		if call.Op != OpRead {
			h.Attempt.Unknown = false
		}
		if a.Intent != nil && a.Intent.Status != StatusRequiresCapture {
			return applyClaimedIntent(h, call, a, h.Generation > 1, now)
		}
		if call.Op != OpRead && !h.ReadFirst {
			h.ReadFirst = true
			return Decision{Hold: h, Again: true}
		}
		return scheduleRetry(h, now, 5*time.Second, 5*time.Minute)

	case AnswerNotFound:
		if h.Attempt.Unknown {
			return keepIndeterminate(h, CauseNotFound, a, now)
		}
		// Rarely Stripe doesn't see an intent for a moment: look once more
		// before a person is called.
		h.InconclusiveReads++
		if h.InconclusiveReads < 2 {
			h.ReadFirst = true
			return scheduleRetry(h, now, 10*time.Second, time.Minute)
		}
		return requireAttentionFor(h, CauseNotFound, a, now)

	case AnswerLockTimeout:
		return scheduleRetry(h, now, time.Second, 30*time.Second)

	case AnswerRateLimited:
		return scheduleRetry(h, now, 2*time.Second, time.Minute)

	case AnswerKeyInUse:
		// Another request with our key is under way: its outcome isn't known
		// yet.
		h.Attempt.Unknown = true
		return scheduleRetry(h, now, time.Second, 30*time.Second)

	case AnswerUnreachable:
		// Nothing left this machine: as far as Stripe knows, nobody has used
		// the key.
		if call.Op != OpRead {
			h.Attempt.Count--
		}
		if h.Attempt.Count == 0 && !h.Attempt.Unknown {
			h.Attempt.FirstAt = time.Time{}
		}
		return scheduleRetry(h, now, 2*time.Second, time.Minute)

	case AnswerUnauthorized, AnswerForbidden:
		return scheduleRetry(h, now, 2*time.Second, time.Minute)

	case AnswerAmountTooLarge:
		return applyRefusal(h, call, CauseAmountTooLarge, a, now)
	case AnswerIdempotencyError:
		return requireAttentionFor(h, CauseKeyConflict, a, now)
	case AnswerDeclined, AnswerInvalid:
		return applyRefusal(h, call, CauseRefused, a, now)

	case AnswerReplayedError:
		// This key will never say anything else. Only reading back can move on.
		h.ReadFirst = true
		return markOutcomeUnknown(h, call, now)
	default:
		return markOutcomeUnknown(h, call, now)
	}
}

// markOutcomeUnknown keeps the hold Working: nobody may change it until Stripe
// has told what happened. A read that failed changed nothing.
func markOutcomeUnknown(h Hold, call Call, now time.Time) Decision {
	if call.Op != OpRead {
		h.Attempt.Unknown = true
	}
	return scheduleRetry(h, now, time.Second, time.Minute)
}

func scheduleRetry(h Hold, now time.Time, base, cap time.Duration) Decision {
	h.Retries++
	h.NextAt = now.Add(backoff(h.ID, h.Retries, base, cap))
	releaseClaim(&h)
	c := Decision{Hold: h}
	if h.Retries&(h.Retries-1) == 0 {
		// the 1st, 2nd, 4th, 8th …: an outage is no reason for a flood
		c.addEvent(EventRetrying, h.Reason)
	}
	return c
}

// releaseClaim ends a claim without an outcome.
func releaseClaim(h *Hold) {
	switch {
	case h.Attempt.Unknown:
		h.State = Working
	case h.NextOp == OpCapture || h.NextOp == OpCancel:
		h.State = Scheduled
	default:
		h.State = h.PreviousState
	}
}

// applyRefusal is an answer that ends an attempt for good. What was sent before
// it may still have had its effect: then the truth is read first.
func applyRefusal(h Hold, call Call, cause Cause, a Answer, now time.Time) Decision {
	if h.Attempt.Unknown && call.Op != OpRead && !h.ReadFirst {
		h.ReadFirst = true
		return Decision{Hold: h, Again: true}
	}
	if h.Attempt.Unknown {
		return keepIndeterminate(h, cause, a, now)
	}
	return requireAttentionFor(h, cause, a, now)
}

// maxIndeterminateReads bounds how often Stripe is asked for an outcome that it
// tells nothing of: at one look every few minutes, a day or so.
const maxIndeterminateReads = 300

// keepIndeterminate is for an answer by which Stripe tells nothing of a request
// that was sent: it doesn't find the intent, or refuses to be read. That is no
// proof that the request had no effect (the wrong key may be set, or Stripe may
// not see the intent for a moment), so the hold stays closed to wishes, and is
// looked at again and again. A person is told at the second time. After a day
// of it nothing that could be wished would be carried out either: then the hold
// is handed over, and what is wished of it begins with a read.
func keepIndeterminate(h Hold, cause Cause, a Answer, now time.Time) Decision {
	h.InconclusiveReads++
	if h.InconclusiveReads > maxIndeterminateReads {
		return requireAttentionFor(h, cause, a, now)
	}
	if h.InconclusiveReads == 2 {
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Cause: cause, Note: a.historyNote()})
	}
	h.ReadFirst = true
	c := scheduleRetry(h, now, 10*time.Second, 5*time.Minute)
	if h.InconclusiveReads == 2 {
		c.Events = []Event{{Type: EventAttention, Cause: cause}}
	}
	return c
}

func requireAttentionFor(h Hold, cause Cause, a Answer, now time.Time) Decision {
	return requireAttention(h, cause, a.historyNote(), now)
}

// requireAttention hands the hold to a person, who is told once: after the
// deadline an open hold is looked up every few minutes.
func requireAttention(h Hold, cause Cause, note string, now time.Time) Decision {
	if h.State == Working && h.PreviousState == Attention &&
		h.NextOp == OpRead && h.Reason == cause {
		h.State, h.NextOp, h.NextAt = Attention, 0, time.Time{}
		return Decision{Hold: h}
	}
	h.State, h.NextOp, h.NextAt, h.Reason = Attention, 0, time.Time{}, cause
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: "holdd",
		Cause: cause, Note: note})
	c := Decision{Hold: h}
	c.addEvent(EventAttention, cause)
	return c
}

// maxRefusals is how often Stripe may refuse for the state of an intent or its
// charge while a read shows the money held. Once may be a passing disagreement.
// Twice it won't succeed later: the card network has let the charge go, and the
// intent doesn't show it yet.
const maxRefusals = 2

// applyClaimedIntent decides by what Stripe says of the intent in answer to a
// claimed hold's call. ours says whether an effect that shows may be that of a
// request of this hold.
func applyClaimedIntent(h Hold, call Call, a Answer, ours bool, now time.Time) Decision {
	in := a.Intent
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		if call.Op != OpCapture || a.Kind != AnswerOK {
			return settleAs(h, in, ours, nil, now)
		}
		return settleAs(h, in, ours, &call, now)
	case StatusRequiresCapture:
		if call.Op != OpRead {
			// Accepted, yet the money is still held: Stripe has done something
			// else than what was asked, or not yet.
			h.ReadFirst, h.Attempt.Unknown = true, true
			return scheduleRetry(h, now, 5*time.Second, 5*time.Minute)
		}
		// Proof that no effect of this generation happened: from here a new key
		// is safe, because what is sent is always final and a late twin can
		// only meet an unexpected state.
		if in.AmountCapturable <= 0 {
			h.ReadFirst = true
			return scheduleRetry(h, now, 5*time.Second, 5*time.Minute)
		}
		// A request that was given up may still be on its way. Until it can't
		// be, this read proves nothing.
		if at := lastAttemptAt(&h); h.Attempt.Unknown && now.Sub(at) < maxInFlight {
			h.ReadFirst, h.NextAt = true, at.Add(maxInFlight)
			releaseClaim(&h)
			return Decision{Hold: h}
		}
		spent, last := h.Attempt.Count > 0 || h.Attempt.Unknown, lastEntry(&h, HistoryAttempt)
		refused := spent && (last.Answer == AnswerUnexpectedState ||
			last.Answer == AnswerChargeGone)
		if spent {
			h.Generation++
			h.Retries++
		}
		if refused {
			h.Refusals++
		}
		h.Attempt, h.ReadFirst, h.InconclusiveReads = Attempt{}, false, 0
		c := applyStillHeld(h, in, now)
		switch {
		case refused && c.Again && h.Refusals >= maxRefusals:
			cause := CauseRefused
			if last.Answer == AnswerUnexpectedState {
				cause = CauseNotCapturable
			}
			return c.FollowedBy(requireAttention(c.Hold, cause, last.Note+
				": refused again, and the intent is "+string(in.Status), now))
		case refused && c.Again:
			return c.DeferUntil(now.Add(backoff(h.ID, h.Retries, 5*time.Second, 5*time.Minute)))
		case spent && c.Again && h.Retries > 1:
			// What was tried came to nothing more than once: another try at
			// once would go round in a circle.
			return c.DeferUntil(now.Add(backoff(h.ID, h.Retries, time.Second, time.Minute)))
		}
		return c
	case StatusProcessing:
		h.ReadFirst = true
		h.Attempt.Unknown = h.Attempt.Unknown || call.Op != OpRead
		return scheduleRetry(h, now, 5*time.Second, 5*time.Minute)
	default:
		return requireAttention(h, CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// settleAs ends the hold as Stripe says it ended, with the cause told: ours if
// we asked for just this, somebody else's if not. confirmed is the capture
// whose own answer this is, nil if there is none: it took what it named,
// whatever others took before it.
func settleAs(h Hold, in *Intent, ours bool, confirmed *Call, now time.Time) Decision {
	state, cause, notice, note := Captured, h.Reason, EventCaptured, ""
	switch {
	case in.Status == StatusSucceeded:
		want, _ := captureAmount(&h)
		took := in.AmountReceived - h.CapturedElsewhere
		if confirmed != nil && (want > 0 || confirmed.ReleaseRest) {
			took = min(confirmed.Amount, in.AmountReceived)
		}
		if !ours || h.NextOp != OpCapture || took <= 0 || want > 0 && took != want {
			cause = CauseElsewhere
			note = doubt(&h, ours, want, in)
			took = 0
		}
		h.CapturedAmount, h.CapturedElsewhere = in.AmountReceived, in.AmountReceived-took
		if took > 0 && h.CapturedElsewhere > 0 {
			note = FormatAmount(took, in.Currency) + " captured by holdd, " +
				FormatAmount(h.CapturedElsewhere, in.Currency) + " by another system"
		}
	case in.expiredByNetwork():
		state, cause, notice = Expired, CauseExpired, EventExpired
	default:
		state, notice = Canceled, EventCanceled
		if !ours || h.NextOp != OpCancel {
			cause = CauseElsewhere
		}
	}
	if in.Currency != "" {
		h.Currency = in.Currency
	}
	if in.Amount > 0 && h.Amount == 0 {
		h.Amount = in.Amount
	}
	h.State, h.SettledAt, h.Reason = state, now, cause
	h.NextOp, h.NextAt, h.ReadFirst, h.Attempt.Unknown = 0, time.Time{}, false, false
	h.Revision++
	by := "holdd"
	if cause == CauseElsewhere || cause == CauseExpired {
		by = "stripe"
	}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryOutcome, By: by, Cause: cause, Note: note})
	c := Decision{Hold: h}
	c.addEvent(notice, cause)
	return c
}

// doubt is the note of a capture that is not known to be holdd's. want is what
// a request of holdd's named, ours that there was one.
func doubt(h *Hold, ours bool, want int64, in *Intent) string {
	note := FormatAmount(in.AmountReceived, in.Currency) + " captured by another system"
	if ours && h.NextOp == OpCapture && want > 0 && in.AmountReceived >= h.CapturedElsewhere+want {
		note += "; a request of holdd's for " + FormatAmount(want, in.Currency) +
			" may be part of it"
	}
	return note
}

// applyStillHeld goes on with a hold whose money Stripe still holds, with what
// Stripe says of amount and deadline.
func applyStillHeld(h Hold, in *Intent, now time.Time) Decision {
	old := h
	if truth := h; h.Reason == CauseOnExpiry {
		// What the policy was about to do is early if the authorization lasts
		// longer than was known.
		if adoptIntent(&truth, in, now); truth.ExpiresAt.After(h.ExpiresAt) {
			revertPolicy(&h, now)
		}
	}
	letGo := h.CancelWanted || h.NextOp == OpCancel // needs no amount
	if !h.Verified && !letGo && (h.Amount != 0 && !in.holds(h.Amount) || h.Currency != "" &&
		h.Currency != in.Currency) {
		said, is := FormatAmount(h.Amount, h.Currency),
			FormatAmount(in.AmountCapturable, in.Currency)
		adoptIntent(&h, in, now)
		c := requireAttention(h, CauseMismatch, "said "+said+", is "+is, now)
		c.NewDeadline = true
		return c
	}
	adoptIntent(&h, in, now)
	moved := !h.ExpiresAt.Equal(old.ExpiresAt)
	c := Decision{NewDeadline: moved || !old.Verified}
	if h.State == Attention && old.Reason == CauseOnExpiry {
		c.addEvent(EventAttention, h.Reason)
	}
	shared := h.CapturedElsewhere != old.CapturedElsewhere
	if moved || h.Amount != old.Amount || shared {
		h.Revision++
		e := HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe", Note: FormatAmount(h.Amount,
			h.Currency) + " until " + h.ExpiresAt.Format(time.RFC3339)}
		if shared {
			e.Cause, e.Note = CauseElsewhere, sharedNote(&h)+" until "+
				h.ExpiresAt.Format(time.RFC3339)
			if len(c.Events) == 0 {
				c.addEvent(EventChanged, CauseElsewhere)
			}
		}
		appendHistory(&h, e)
	}
	late := checkBeforeDeadline(&h) != nil && h.ActionTime().After(now)
	switch {
	case h.CaptureAmount > authorized(&h) && (h.State == Attention || h.State == Working &&
		h.PreviousState == Attention):
		// told before
	case h.CaptureAmount > authorized(&h) && !letGo:
		return c.FollowedBy(requireAttention(h, CauseAmountTooLarge, "wanted "+
			FormatAmount(h.CaptureAmount, h.Currency)+", holds "+
			FormatAmount(authorized(&h), h.Currency), now))
	case late && !old.Verified && h.Reason == CauseSchedule:
		return c.FollowedBy(requireAttention(h, CauseAfterDeadline, "ends at "+
			h.ExpiresAt.Format(time.RFC3339), now))
	case late && moved:
		c.Hold = h
		c.addExpiresBeforeDue(now)
	}
	switch {
	case h.State != Working: // seen in passing, not under a claim
	case h.NextOp == OpCapture || h.NextOp == OpCancel:
		c.Again = true
	case h.PreviousState == Paused || h.PreviousState == Attention: // looked up at the deadline
		h.State, h.NextOp, h.NextAt = h.PreviousState, 0, time.Time{}
	default:
		why := h.Reason
		planNext(&h, now)
		if h.State == Waiting {
			h.Reason = why
		}
	}
	c.Hold = h
	return c
}

// ApplyIntent brings a hold that nobody has claimed to Stripe's truth:
// background checks, reconciliation, webhooks. A hold under work is left to
// whoever works on it, who will meet the same truth.
func (h Hold) ApplyIntent(in *Intent, now time.Time) Decision {
	now = now.UTC().Truncate(time.Millisecond)
	if h.State.Final() || h.State == Working {
		return Decision{Hold: h, Unchanged: true}
	}
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		return settleAs(h, in, false, nil, now)
	case StatusRequiresCapture:
		old := h
		c := applyStillHeld(h, in, now)
		c.Unchanged = len(c.Events) == 0 && old.Verified && c.Hold.Revision == old.Revision &&
			c.Hold.SingleCapture == old.SingleCapture && c.Hold.ExpiresAt.Equal(old.ExpiresAt)
		return c.pauseForReview(in, now)
	case StatusProcessing:
		return Decision{Hold: h, Unchanged: true}
	default:
		if h.State == Attention && h.Reason == CauseNotCapturable {
			return Decision{Hold: h, Unchanged: true}
		}
		return requireAttention(h, CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// ApplyNotFound is what a background check found: Stripe doesn't know the
// intent.
func (h Hold) ApplyNotFound(now time.Time) Decision {
	if h.State.Final() || h.State == Working || h.State == Attention {
		return Decision{Hold: h, Unchanged: true}
	}
	return requireAttention(h, CauseNotFound,
		"Stripe doesn't know this intent under this account and mode", now)
}

// maxInFlight is how long a request may still be on its way to its effect after
// it was given up.
const maxInFlight = 30 * time.Second

// lastAttemptAt is when the last request that may have had an effect was given
// up.
func lastAttemptAt(h *Hold) time.Time {
	for i := len(h.History) - 1; i >= 0; i-- {
		if h.History[i].Kind == HistoryAttempt {
			return h.History[i].At
		}
	}
	return time.Time{}
}
