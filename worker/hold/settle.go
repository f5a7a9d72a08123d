package hold

import (
	"slices"
	"strconv"
	"time"
)

// Claimed tells the hold that a worker has it now. since is when this or an unfinished earlier claim began; takenOver says that there was
// such an earlier claim: whatever it sent, its outcome isn't known.
func (h *Hold) Claimed(since time.Time, takenOver bool) {
	if h.Attempt.FirstAt.IsZero() {
		h.Attempt.FirstAt = since
	}
	if takenOver {
		h.Attempt.Unknown = true
	}
	// What another system has taken may be news since the last read, and an amount that is sent takes
	// no notice of it. A capture of everything needs no read: it takes only what is left.
	if h.Next == OpCapture && h.CaptureAmount > 0 && !h.SingleCapture {
		h.ReadFirst = true
	}
}

// Unsent gives a claimed hold back as it was, because nothing was sent for it under this claim.
func (h Hold) Unsent() Change {
	if h.Attempt.Count == 0 && !h.Attempt.Unknown {
		h.Attempt.FirstAt = time.Time{}
	}
	h.release()
	return Change{Hold: h, Now: true}
}

// Parked ends a claim that would have gone on at once ([Change].Now) but can't: it goes on at the given time.
func (c Change) Parked(at time.Time) Change {
	c.Hold.NextAt = at.UTC().Truncate(time.Millisecond)
	c.Hold.release()
	c.Now = false
	return c
}

// Call is the request that a claimed hold needs now.
func (h *Hold) Call(now time.Time) Call {
	c := Call{Op: h.Next, PaymentIntent: h.PaymentIntent, Account: h.Account}
	sent := h.Attempt.Count > 0 || h.Attempt.Unknown
	stale := sent && now.Sub(h.Attempt.FirstAt) >= keyFresh
	if h.ReadFirst || stale || h.Amount == 0 {
		c.Op = OpRead
	}
	if h.CancelWanted && c.Op == OpCapture {
		c.Op = OpCancel // nothing leads here; were there a way, it must not lead to a capture
	}
	switch c.Op {
	case OpCapture:
		c.Amount, c.ReleaseRest = h.captureAmount()
		c.Key = h.key(c)
	case OpCancel:
		c.Key = h.key(c)
	}
	return c
}

// captureAmount is what a capture names: what is missing from the wanted total; everything (0) where Stripe has confirmed the amount; and
// else exactly what the caller said that there is, so that nobody is charged more than anybody knew of. releaseRest says that another
// system has reached the total already: nothing may be taken any more.
func (h *Hold) captureAmount() (n int64, releaseRest bool) {
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
func (h *Hold) authorized() int64 { return h.Amount + h.CapturedElsewhere }

// sharedNote says of an open hold what another system has taken, and what is left.
func (h *Hold) sharedNote() string {
	return Money(h.CapturedElsewhere, h.Currency) + " captured by another system, " + Money(h.Amount, h.Currency) + " left"
}

// Answered decides what follows from Stripe's answer to call. Change.Now asks for another call under the same claim.
func (h Hold) Answered(call Call, a Answer, now time.Time) Change {
	now = now.UTC().Truncate(time.Millisecond)
	return h.follow(call, a, now).bounded(&h, a, now)
}

// MaxCallsBeforeAlert is how many calls in a row may lead to no outcome before a person is told. It is a power of two.
const MaxCallsBeforeAlert = 16

// bounded tells a person of a hold on which call after call led to no outcome, at the 16th, 32nd, 64th …, whatever Stripe answers. The hold
// goes on as it is: an unknown outcome is no failure, and what Stripe answers may be an outage of this one operation.
func (c Change) bounded(was *Hold, a Answer, now time.Time) Change {
	h := &c.Hold
	if h.State.Final() || h.State == Attention || h.Next != was.Next {
		h.Calls, h.Refusals = 0, 0
		return c
	}
	if a.Kind.outage() {
		return c
	}
	h.Calls++
	told := h.Misses >= 2 // see untold
	if h.Calls < MaxCallsBeforeAlert || h.Calls&(h.Calls-1) != 0 || told {
		return c
	}
	note := strconv.FormatUint(uint64(h.Calls), 10) + " calls without an outcome, the last answer: " + a.Kind.String()
	h.record(Entry{At: now, Kind: EntryObserved, By: "holdd", Cause: CauseNoOutcome, Note: note})
	c.Notices = slices.DeleteFunc(slices.Clone(c.Notices), func(n Notice) bool { return n.Type == NoticeRetrying })
	c.notify(NoticeAttention, CauseNoOutcome)
	return c
}

// follow decides what follows from Stripe's answer to call.
func (h Hold) follow(call Call, a Answer, now time.Time) Change {
	if call.Op != OpRead {
		h.Attempt.Count++
		if h.Attempt.FirstAt.IsZero() {
			h.Attempt.FirstAt = now
		}
		h.record(Entry{At: now, Kind: EntryAttempt, By: "holdd", Op: call.Op, Key: call.Key, RequestID: a.RequestID, Answer: a.Kind, Note: a.Code})
		if a.Repeated {
			// What follows is the answer to the last try. Where it is one that comes before Stripe looks at the key (a lock, a rate), it says
			// nothing of the tries before it.
			h.Attempt.Unknown = true
		}
	}
	switch a.Kind {
	case AnswerOK:
		if a.Intent != nil {
			return h.told(call, a, call.Op == OpRead && (h.Attempt.Unknown || h.Generation > 1) || call.Op == h.Next && call.Op != OpRead, now)
		}
		return h.unknown(call, now)

	case AnswerUnexpectedState, AnswerChargeGone:
		// Had this key had its effect before, Stripe would have said so again. So whoever ended the hold did it without this key;
		// only a request of an earlier generation that came late can still have been ours.
		if call.Op != OpRead {
			h.Attempt.Unknown = false
		}
		if a.Intent != nil && a.Intent.Status != StatusRequiresCapture {
			return h.told(call, a, h.Generation > 1, now)
		}
		if call.Op != OpRead && !h.ReadFirst {
			h.ReadFirst = true
			return Change{Hold: h, Now: true}
		}
		return h.retry(now, 5*time.Second, 5*time.Minute)

	case AnswerMissing:
		if h.Attempt.Unknown {
			return h.untold(CauseNotFound, a, now)
		}
		// Rarely Stripe doesn't see an intent for a moment: look once more before a person is called.
		h.Misses++
		if h.Misses < 2 {
			h.ReadFirst = true
			return h.retry(now, 10*time.Second, time.Minute)
		}
		return h.attention(CauseNotFound, a, now)

	case AnswerLockTimeout:
		return h.retry(now, time.Second, 30*time.Second)

	case AnswerRateLimited:
		return h.retry(now, 2*time.Second, time.Minute)

	case AnswerKeyInUse:
		// Another request with our key is under way: its outcome isn't known yet.
		h.Attempt.Unknown = true
		return h.retry(now, time.Second, 30*time.Second)

	case AnswerUnreachable:
		// Nothing left this machine: as far as Stripe knows, nobody has used the key.
		if call.Op != OpRead {
			h.Attempt.Count--
		}
		if h.Attempt.Count == 0 && !h.Attempt.Unknown {
			h.Attempt.FirstAt = time.Time{}
		}
		return h.retry(now, 2*time.Second, time.Minute)

	case AnswerUnauthorized, AnswerForbidden:
		return h.retry(now, 2*time.Second, time.Minute)

	case AnswerAmountTooLarge:
		return h.refused(call, CauseAmountTooLarge, a, now)
	case AnswerIdempotencyError:
		return h.attention(CauseKeyConflict, a, now)
	case AnswerDeclined, AnswerInvalid:
		return h.refused(call, CauseRefused, a, now)

	case AnswerReplayedError:
		// This key will never say anything else. Only reading back can move on.
		h.ReadFirst = true
		return h.unknown(call, now)
	default:
		return h.unknown(call, now)
	}
}

// unknown keeps the hold Working: nobody may change it until Stripe has told what happened. A read that failed changed nothing.
func (h Hold) unknown(call Call, now time.Time) Change {
	if call.Op != OpRead {
		h.Attempt.Unknown = true
	}
	return h.retry(now, time.Second, time.Minute)
}

func (h Hold) retry(now time.Time, base, cap time.Duration) Change {
	h.Retries++
	h.NextAt = now.Add(backoff(h.ID, h.Retries, base, cap))
	h.release()
	c := Change{Hold: h}
	if h.Retries&(h.Retries-1) == 0 { // the 1st, 2nd, 4th, 8th …: an outage is no reason for a flood
		c.notify(NoticeRetrying, h.Why)
	}
	return c
}

// release ends a claim without an outcome.
func (h *Hold) release() {
	switch {
	case h.Attempt.Unknown:
		h.State = Working
	case h.Next == OpCapture || h.Next == OpCancel:
		h.State = Scheduled
	default:
		h.State = h.Prior
	}
}

// refused is an answer that ends an attempt for good. What was sent before it may still have had its effect: then the truth is read first.
func (h Hold) refused(call Call, cause Cause, a Answer, now time.Time) Change {
	if h.Attempt.Unknown && call.Op != OpRead && !h.ReadFirst {
		h.ReadFirst = true
		return Change{Hold: h, Now: true}
	}
	if h.Attempt.Unknown {
		return h.untold(cause, a, now)
	}
	return h.attention(cause, a, now)
}

// maxUntold bounds how often Stripe is asked for an outcome that it tells nothing of: at one look every few minutes, a day or so.
const maxUntold = 300

// untold is for an answer by which Stripe tells nothing of a request that was sent: it doesn't find the intent, or refuses to be read. That
// is no proof that the request had no effect (the wrong key may be set, or Stripe may not see the intent for a moment), so the hold stays closed to
// wishes, and is looked at again and again. A person is told at the second time. After a day of it nothing that could be wished would be
// carried out either: then the hold is handed over, and what is wished of it begins with a read.
func (h Hold) untold(cause Cause, a Answer, now time.Time) Change {
	h.Misses++
	if h.Misses > maxUntold {
		return h.attention(cause, a, now)
	}
	if h.Misses == 2 {
		h.record(Entry{At: now, Kind: EntryObserved, By: "stripe", Cause: cause, Note: a.note()})
	}
	h.ReadFirst = true
	c := h.retry(now, 10*time.Second, 5*time.Minute)
	if h.Misses == 2 {
		c.Notices = []Notice{{Type: NoticeAttention, Cause: cause}}
	}
	return c
}

func (h Hold) attention(cause Cause, a Answer, now time.Time) Change {
	return h.look(cause, a.note(), now)
}

// look hands the hold to a person, who is told once: after the deadline an open hold is looked up every few minutes.
func (h Hold) look(cause Cause, note string, now time.Time) Change {
	if h.State == Working && h.Prior == Attention && h.Next == OpRead && h.Why == cause {
		h.State, h.Next, h.NextAt = Attention, 0, time.Time{}
		return Change{Hold: h}
	}
	h.State, h.Next, h.NextAt, h.Why = Attention, 0, time.Time{}, cause
	h.Revision++
	h.record(Entry{At: now, Kind: EntryOutcome, By: "holdd", Cause: cause, Note: note})
	c := Change{Hold: h}
	c.notify(NoticeAttention, cause)
	return c
}

// maxRefusals is how often Stripe may refuse for the state of an intent or its charge while a read shows the money held. Once may be
// a passing disagreement. Twice it won't succeed later: the card network has let the charge go, and the intent doesn't show it yet.
const maxRefusals = 2

// told decides by what Stripe says of the intent in answer to a claimed hold's call.
// ours says whether an effect that shows may be that of a request of this hold.
func (h Hold) told(call Call, a Answer, ours bool, now time.Time) Change {
	in := a.Intent
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		if call.Op != OpCapture || a.Kind != AnswerOK {
			return h.settle(in, ours, nil, now)
		}
		return h.settle(in, ours, &call, now)
	case StatusRequiresCapture:
		if call.Op != OpRead {
			// Accepted, yet the money is still held: Stripe has done something else than what was asked, or not yet.
			h.ReadFirst, h.Attempt.Unknown = true, true
			return h.retry(now, 5*time.Second, 5*time.Minute)
		}
		// Proof that no effect of this generation happened: from here a new key is safe, because what is sent is always final
		// and a late twin can only meet an unexpected state.
		if in.Capturable <= 0 {
			h.ReadFirst = true
			return h.retry(now, 5*time.Second, 5*time.Minute)
		}
		// A request that was given up may still be on its way. Until it can't be, this read proves nothing.
		if at := h.lastSent(); h.Attempt.Unknown && now.Sub(at) < inFlight {
			h.ReadFirst, h.NextAt = true, at.Add(inFlight)
			h.release()
			return Change{Hold: h}
		}
		spent, last := h.Attempt.Count > 0 || h.Attempt.Unknown, h.last(EntryAttempt)
		refused := spent && (last.Answer == AnswerUnexpectedState || last.Answer == AnswerChargeGone)
		if spent {
			h.Generation++
			h.Retries++
		}
		if refused {
			h.Refusals++
		}
		h.Attempt, h.ReadFirst, h.Misses = Attempt{}, false, 0
		c := h.stillHeld(in, now)
		switch {
		case refused && c.Now && h.Refusals >= maxRefusals:
			cause := CauseRefused
			if last.Answer == AnswerUnexpectedState {
				cause = CauseNotCapturable
			}
			return c.Then(c.Hold.look(cause, last.Note+": refused again, and the intent is "+string(in.Status), now))
		case refused && c.Now:
			return c.Parked(now.Add(backoff(h.ID, h.Retries, 5*time.Second, 5*time.Minute)))
		case spent && c.Now && h.Retries > 1:
			// What was tried came to nothing more than once: another try at once would go round in a circle.
			return c.Parked(now.Add(backoff(h.ID, h.Retries, time.Second, time.Minute)))
		}
		return c
	case StatusProcessing:
		h.ReadFirst = true
		h.Attempt.Unknown = h.Attempt.Unknown || call.Op != OpRead
		return h.retry(now, 5*time.Second, 5*time.Minute)
	default:
		return h.look(CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// settle ends the hold as Stripe says it ended, with the cause told: ours if we asked for just this, somebody else's if not. confirmed is
// the capture whose own answer this is, nil if there is none: it took what it named, whatever others took before it.
func (h Hold) settle(in *Intent, ours bool, confirmed *Call, now time.Time) Change {
	state, cause, notice, note := Captured, h.Why, NoticeCaptured, ""
	switch {
	case in.Status == StatusSucceeded:
		want, _ := h.captureAmount()
		took := in.Received - h.CapturedElsewhere
		if confirmed != nil && (want > 0 || confirmed.ReleaseRest) {
			took = min(confirmed.Amount, in.Received)
		}
		if !ours || h.Next != OpCapture || took <= 0 || want > 0 && took != want {
			cause = CauseElsewhere
			note = h.doubt(ours, want, in)
			took = 0
		}
		h.CapturedTotal, h.CapturedElsewhere = in.Received, in.Received-took
		if took > 0 && h.CapturedElsewhere > 0 {
			note = Money(took, in.Currency) + " captured by holdd, " + Money(h.CapturedElsewhere, in.Currency) + " by another system"
		}
	case in.lapsed():
		state, cause, notice = Expired, CauseLapsed, NoticeExpired
	default:
		state, notice = Canceled, NoticeCanceled
		if !ours || h.Next != OpCancel {
			cause = CauseElsewhere
		}
	}
	if in.Currency != "" {
		h.Currency = in.Currency
	}
	if in.Amount > 0 && h.Amount == 0 {
		h.Amount = in.Amount
	}
	h.State, h.SettledAt, h.Why = state, now, cause
	h.Next, h.NextAt, h.ReadFirst, h.Attempt.Unknown = 0, time.Time{}, false, false
	h.Revision++
	by := "holdd"
	if cause == CauseElsewhere || cause == CauseLapsed {
		by = "stripe"
	}
	h.record(Entry{At: now, Kind: EntryOutcome, By: by, Cause: cause, Note: note})
	c := Change{Hold: h}
	c.notify(notice, cause)
	return c
}

// doubt is the note of a capture that is not known to be holdd's. want is what a request of holdd's named, ours that there was one.
func (h *Hold) doubt(ours bool, want int64, in *Intent) string {
	note := Money(in.Received, in.Currency) + " captured by another system"
	if ours && h.Next == OpCapture && want > 0 && in.Received >= h.CapturedElsewhere+want {
		note += "; a request of holdd's for " + Money(want, in.Currency) + " may be part of it"
	}
	return note
}

// stillHeld goes on with a hold whose money Stripe still holds, with what Stripe says of amount and deadline.
func (h Hold) stillHeld(in *Intent, now time.Time) Change {
	old := h
	if truth := h; h.Why == CauseOnExpiry {
		// What the policy was about to do is early if the authorization lasts longer than was known.
		if truth.adopt(in, now); truth.ExpiresAt.After(h.ExpiresAt) {
			h.unpolicied(now)
		}
	}
	letGo := h.CancelWanted || h.Next == OpCancel // needs no amount
	if !h.Verified && !letGo && (h.Amount != 0 && !in.holds(h.Amount) || h.Currency != "" && h.Currency != in.Currency) {
		said, is := Money(h.Amount, h.Currency), Money(in.Capturable, in.Currency)
		h.adopt(in, now)
		c := h.look(CauseMismatch, "said "+said+", is "+is, now)
		c.NewDeadline = true
		return c
	}
	h.adopt(in, now)
	moved := !h.ExpiresAt.Equal(old.ExpiresAt)
	c := Change{NewDeadline: moved || !old.Verified}
	if h.State == Attention && old.Why == CauseOnExpiry {
		c.notify(NoticeAttention, h.Why)
	}
	shared := h.CapturedElsewhere != old.CapturedElsewhere
	if moved || h.Amount != old.Amount || shared {
		h.Revision++
		e := Entry{At: now, Kind: EntryObserved, By: "stripe", Note: Money(h.Amount, h.Currency) + " until " + h.ExpiresAt.Format(time.RFC3339)}
		if shared {
			e.Cause, e.Note = CauseElsewhere, h.sharedNote()+" until "+h.ExpiresAt.Format(time.RFC3339)
			if len(c.Notices) == 0 {
				c.notify(NoticeChanged, CauseElsewhere)
			}
		}
		h.record(e)
	}
	late := h.beforeDeadline() != nil && h.OwnTime().After(now)
	switch {
	case h.CaptureAmount > h.authorized() && (h.State == Attention || h.State == Working && h.Prior == Attention): // told before
	case h.CaptureAmount > h.authorized() && !letGo:
		return c.Then(h.look(CauseAmountTooLarge, "wanted "+Money(h.CaptureAmount, h.Currency)+", holds "+Money(h.authorized(), h.Currency), now))
	case late && !old.Verified && h.Why == CauseSchedule:
		return c.Then(h.look(CauseAfterDeadline, "ends at "+h.ExpiresAt.Format(time.RFC3339), now))
	case late && moved:
		c.Hold = h
		c.endsFirst(now)
	}
	switch {
	case h.State != Working: // seen in passing, not under a claim
	case h.Next == OpCapture || h.Next == OpCancel:
		c.Now = true
	case h.Prior == Paused || h.Prior == Attention: // looked up at the deadline
		h.State, h.Next, h.NextAt = h.Prior, 0, time.Time{}
	default:
		why := h.Why
		h.plan(now)
		if h.State == Waiting {
			h.Why = why
		}
	}
	c.Hold = h
	return c
}

// Observed brings a hold that nobody has claimed to Stripe's truth: background checks, reconciliation, webhooks. A hold under work is left to
// whoever works on it, who will meet the same truth.
func (h Hold) Observed(in *Intent, now time.Time) Change {
	now = now.UTC().Truncate(time.Millisecond)
	if h.State.Final() || h.State == Working {
		return Change{Hold: h, Same: true}
	}
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		return h.settle(in, false, nil, now)
	case StatusRequiresCapture:
		old := h
		c := h.stillHeld(in, now)
		c.Same = len(c.Notices) == 0 && old.Verified && c.Hold.Revision == old.Revision && c.Hold.SingleCapture == old.SingleCapture && c.Hold.ExpiresAt.Equal(old.ExpiresAt)
		return c.reviewed(in, now)
	case StatusProcessing:
		return Change{Hold: h, Same: true}
	default:
		if h.State == Attention && h.Why == CauseNotCapturable {
			return Change{Hold: h, Same: true}
		}
		return h.look(CauseNotCapturable, "status "+string(in.Status), now)
	}
}

// NotFound is what a background check found: Stripe doesn't know the intent.
func (h Hold) NotFound(now time.Time) Change {
	if h.State.Final() || h.State == Working || h.State == Attention {
		return Change{Hold: h, Same: true}
	}
	return h.look(CauseNotFound, "Stripe doesn't know this intent under this account and mode", now)
}

// inFlight is how long a request may still be on its way to its effect after it was given up.
const inFlight = 30 * time.Second

// lastSent is when the last request that may have had an effect was given up.
func (h *Hold) lastSent() time.Time {
	for i := len(h.History) - 1; i >= 0; i-- {
		if h.History[i].Kind == EntryAttempt {
			return h.History[i].At
		}
	}
	return time.Time{}
}
