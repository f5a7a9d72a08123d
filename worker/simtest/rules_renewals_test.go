package simtest

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// longStay is a hold with renewal terms: its intents, and the effects on all of
// them.
type longStay struct {
	*judgedHold
	intents  map[string]stripesim.IntentState // the first one has the hold's id
	effects  []stripesim.Effect               // the authorizations too, by time
	dataLost bool                             // Redis lost data while the hold was open
}

// forLongStays returns a check of the run that checks each of its long stays.
func forLongStays(check func(*judge, *longStay)) func(*judge) {
	return func(j *judge) {
		for _, l := range j.longStays {
			check(j, l)
		}
	}
}

func (j *judge) findLongStays(holds []*judgedHold) (all []*longStay) {
	ledger := j.sim.Ledger()
	for _, c := range holds {
		l := &longStay{judgedHold: c, intents: map[string]stripesim.IntentState{},
			dataLost: len(j.lostSpans) > 0 || !j.intakeObserved.redisEmptiedAt.IsZero()}
		for _, in := range j.sim.Intents(c.account) {
			if in.ID == c.intentID || in.Metadata[hold.MetaHold] == c.intentID {
				l.intents[in.ID] = in
			}
		}
		for _, e := range ledger {
			if _, ok := l.intents[e.Intent]; ok {
				l.effects = append(l.effects, e)
			}
		}
		all = append(all, l)
	}
	return all
}

// endsHolding reports whether an intent holds nothing after an effect.
func endsHolding(e *stripesim.Effect) bool {
	return e.Final || e.Kind == stripesim.EffectCanceled || e.Kind == stripesim.EffectExpired
}

// neverAgain are the declines of plans after which the card is not tried again.
var neverAgain = []string{"stolen_card"}

// checkRenewalLimits: a renewal has one intent, and its card is not tried again
// after an answer that forbids it.
func (j *judge) checkRenewalLimits(l *longStay) {
	if l.dataLost || l.lostWrites {
		return
	}
	renewals, confirmations, amount := 0, map[string]bool{}, int64(0)
	for i := range l.effects {
		// The first authorization is no renewal, and neither is one that raises
		// the amount.
		if e := &l.effects[i]; e.Kind == stripesim.EffectAuthorized {
			if e.Amount == amount {
				renewals++
			}
			amount = e.Amount
		}
	}
	if most := int(l.renewal.maxRenewals); most > 0 && renewals > most &&
		len(l.termsHistory.accepted) == 1 {
		j.failHold(l.judgedHold, "renewed %d times, max_renewals is %d", renewals, most)
	}
	for _, r := range j.world.stripeRequests {
		if strings.HasPrefix(r.idempotencyKey, "holdd-"+l.intentID+"-renew-") &&
			strings.Contains(r.idempotencyKey, "-confirm-") && r.replyReceived && r.requestID != "" &&
			(r.status == http.StatusPaymentRequired || strings.Contains(r.fault, " after")) {
			// Of the other answers, none says that the bank was asked.
			confirmations[r.idempotencyKey] = true
		}
	}
	if slices.Contains(neverAgain, l.renewal.declines) && !l.renewal.declineOnce &&
		len(confirmations) > 1 && !j.gaveOtherCard(l) {
		j.failHold(l.judgedHold, "tried %d times after %s", len(confirmations), l.renewal.declines)
	}
}

func (j *judge) checkRenewedAmounts(l *longStay) {
	agreed, total := []int64{l.amount}, map[string]int64{}
	for i := range l.effects {
		e := &l.effects[i]
		switch {
		case e.Kind == stripesim.EffectIncremented:
			total[e.Intent] += e.Amount
			agreed = append(agreed, total[e.Intent]) // increments have their own rule
		case e.Kind != stripesim.EffectAuthorized:
		case e.Intent != l.intentID && e.Amount > l.renewal.maxAmount:
			j.failHold(l.judgedHold, "%s authorizes %d, max_amount is %d", e.Intent, e.Amount,
				l.renewal.maxAmount)
		case !slices.Contains(agreed, e.Amount) &&
			!slices.ContainsFunc(l.increments(), func(k *apiRequest) bool {
				return k.amount == e.Amount && !k.sentAt.After(e.Time)
			}):
			j.failHold(l.judgedHold, "%s authorizes %d, which was not requested", e.Intent, e.Amount)
		}
		if e.Kind == stripesim.EffectAuthorized {
			total[e.Intent] = e.Amount
		}
	}
}

// checkReplacementAnswers: an increment that was answered as done has happened.
func (j *judge) checkReplacementAnswers(l *longStay) {
	for _, k := range l.increments() {
		if !k.isAccepted() || hold.IsIncrementPending(&k.result) {
			continue
		}
		if !slices.ContainsFunc(l.effects, func(e stripesim.Effect) bool {
			return !e.Time.After(k.answeredAt) && (e.Kind == stripesim.EffectIncremented ||
				e.Kind == stripesim.EffectAuthorized && e.Amount == k.amount)
		}) {
			j.failHold(l.judgedHold, "the increment to %d was answered as done at +%s", k.amount,
				j.since(k.answeredAt))
		}
	}
}

// checkHeldOnce: the release of the second intent follows at once. A fault
// delays it until it is over.
func (j *judge) checkHeldOnce(l *longStay) {
	held, since := map[string]bool{}, time.Time{}
	for i := range l.effects {
		e := &l.effects[i]
		switch {
		case e.Kind == stripesim.EffectAuthorized:
			if held[e.Intent] = true; len(held) == 2 {
				since = e.Time
			}
			if len(held) > 2 && !l.dataLost {
				j.failHold(l.judgedHold, "%d intents hold money at +%s", len(held), j.since(e.Time))
			}
		case endsHolding(e):
			if len(held) == 2 && held[e.Intent] {
				j.checkOverlap(l, since, e.Time)
			}
			delete(held, e.Intent)
		}
	}
	if len(held) > 1 {
		j.checkOverlap(l, since, j.timeAt(j.elapsed()))
	}
}

func (j *judge) checkOverlap(l *longStay, from, to time.Time) {
	limit := from.Add(j.actionTimeLimit() + time.Minute)
	if l.dataLost || !to.After(limit) {
		return
	}
	if !j.isFaultFree(from, to) { // work resumes by itself
		limit = j.afterLastFault(from).Add(j.actionTimeLimit() + 5*j.plan.jobInterval +
			7*time.Minute)
	}
	if to.After(limit) {
		j.failHold(l.judgedHold, "two intents hold money from +%s to +%s", j.since(from),
			j.since(to))
	}
}

// checkHeldThroughout judges authorizations that ended although holdd had all of
// their renewal's time without a fault.
func (j *judge) checkHeldThroughout(l *longStay) {
	ended := time.Time{} // by a capture or a cancel
	knownAt := ended     // when holdd can know of it
	held := map[string]bool{}
	for i := range l.effects {
		e := &l.effects[i]
		switch {
		case e.Kind == stripesim.EffectAuthorized && !ended.IsZero() && !l.dataLost &&
			j.wasSentAfter(e, knownAt):
			j.failHold(l.judgedHold, "authorized again at +%s, after its end at +%s",
				j.since(e.Time), j.since(ended))
		case e.Kind == stripesim.EffectAuthorized:
			held[e.Intent] = true
		case endsHolding(e) && held[e.Intent]:
			delete(held, e.Intent)
			switch {
			case len(held) > 0 || j.isReleasedFirst(l, e):
			case e.Kind == stripesim.EffectExpired: // a renewal that a fault delayed may follow
				j.checkExpiryAllowed(l, e)
			default:
				ended, knownAt = e.Time, e.Time
				if !isByHoldd(*e) { // a renewal under way meets it in its next read
					knownAt = e.Time.Add(j.actionTimeLimit())
				}
			}
		}
	}
}

// wasSentAfter reports whether the request for an effect was sent after t, and
// not only late to arrive.
func (j *judge) wasSentAfter(e *stripesim.Effect, t time.Time) bool {
	return !slices.ContainsFunc(j.world.stripeRequests, func(r *stripeRequest) bool {
		return r.caused(e) && !r.sentAt.After(t)
	})
}

func (j *judge) checkExpiryAllowed(l *longStay, e *stripesim.Effect) {
	window := l.authorizationWindow
	accepted := l.termsHistory.accepted
	// A hold that acts before the end is not renewed. By Redis' clock it may act late.
	clocks := j.plan.redisClockAhead.Abs() + time.Second
	if l.action != "none" && !j.timeAt(l.dueAt).After(e.Time.Add(clocks)) {
		return
	}
	// With slow calls and few handlers, the window may end in the queue.
	queued := j.plan.serviceTime > 0 && window < 4*j.actionTimeLimit()
	if queued || l.dataLost || len(accepted) == 0 || l.renewal.declines != "" ||
		l.renewal.maxRenewals > 0 || l.renewal.lacksFunds ||
		hasAttentionEvent(l.events) || !e.Time.Before(j.timeAt(l.renewal.until)) ||
		accepted[0].answeredAt.After(e.Time.Add(-window/2)) ||
		!j.isFaultFree(e.Time.Add(-window), e.Time) {
		return
	}
	j.failHold(l.judgedHold, "%s expired at +%s, and it was to be held until +%s", e.Intent,
		j.since(e.Time), l.renewal.until)
}

// checkLongStayEffects judges the captures by holdd, and its cancel of the last
// intent that held money.
func (j *judge) checkLongStayEffects(l *longStay) {
	captures, captured := 0, false // by holdd, by anybody
	held := map[string]bool{}
	for i := range l.effects {
		e := &l.effects[i]
		if e.Kind == stripesim.EffectAuthorized {
			held[e.Intent] = true
		}
		if !endsHolding(e) || !held[e.Intent] {
			continue // or an intent that held nothing yet
		}
		delete(held, e.Intent)
		own, beforeCapture := isByHoldd(*e), !captured
		captured = captured || e.Kind == stripesim.EffectCaptured
		if own && e.Kind == stripesim.EffectCaptured {
			captures++
		}
		ends := e.Kind == stripesim.EffectCaptured || len(held) == 0 && beforeCapture &&
			!j.isReleasedFirst(l, e)
		if own && ends && !l.lostWrites && !l.dataLost && !j.isLongStayEffectAllowed(l, e) &&
			(e.Kind == stripesim.EffectCaptured ||
				j.releasedBeforeSwapTo(l, e) == nil && !j.isIntentOfFailedIncrement(l, e)) {
			j.failHold(l.judgedHold, "%s of %s at +%s though nothing allows it then: %+v", e.Kind,
				e.Intent, j.since(e.Time), l.termsHistory.possibleTermsAt(e.Time))
		}
	}
	if captures > 1 {
		j.failHold(l.judgedHold, "%d captures: %+v", captures, l.effects)
	}
}

// checkReleasedStayEnds: a hold that a person has released is not captured by
// the intent of a renewal that was under way.
func (j *judge) checkReleasedStayEnds(l *longStay) {
	if l.dataLost || l.lostWrites {
		return
	}
	for i := range l.effects {
		e := &l.effects[i]
		released := j.releasedBeforeSwapTo(l, e)
		if e.Kind == stripesim.EffectCaptured && isByHoldd(*e) && released != nil &&
			!j.isReleaseUnclear(released.Intent) {
			j.failHold(l.judgedHold, "%s is captured at +%s, and the Dashboard had released %s at +%s",
				e.Intent, j.since(e.Time), released.Intent, j.since(released.Time))
		}
	}
}

// releasedBeforeSwapTo returns the release by which a person ended the hold before
// the intent that replaced the released one became the hold's. An effect is on
// that intent or a later one.
func (j *judge) releasedBeforeSwapTo(l *longStay, e *stripesim.Effect) *stripesim.Effect {
	for i := range l.effects {
		r := &l.effects[i]
		if r.Kind != stripesim.EffectCanceled || r.Actor != "dashboard" || r.Intent == e.Intent {
			continue
		}
		for _, in := range l.intents {
			// holdd compares Stripe's time with that of its own clock.
			if swapped := j.swappedAt(l, in.ID); in.Metadata[hold.MetaReplaces] == r.Intent &&
				!swapped.IsZero() && r.Time.Truncate(time.Second).Before(j.redisTimeAt(swapped)) {
				return r
			}
		}
	}
	return nil
}

// swappedAt is when a renewal made an intent the hold's; zero if it is the first
// one.
func (j *judge) swappedAt(l *longStay, intent string) (at time.Time) {
	for _, v := range l.events {
		if v.Type == hold.EventRenewed && v.Data.Hold.PaymentIntent == intent {
			return v.Timestamp
		}
	}
	return at
}

// isReleaseUnclear reports whether a release by holdd had an answer that says
// nothing, so that holdd cannot know who has canceled the intent.
func (j *judge) isReleaseUnclear(intent string) bool {
	return slices.ContainsFunc(j.world.stripeRequests, func(r *stripeRequest) bool {
		return strings.Contains(r.idempotencyKey, "-release-"+intent+"-") &&
			(!r.replyReceived || r.status >= http.StatusInternalServerError)
	})
}

func (j *judge) isLongStayEffectAllowed(l *longStay, e *stripesim.Effect) bool {
	clock, deadline := j.redisTimeAt(e.Time), l.intents[e.Intent].CaptureBefore
	if !j.isRenewedTo(l, e) {
		// on_failure decided by the deadline of the intent that was to be renewed.
		for _, in := range l.intents {
			if !in.CaptureBefore.IsZero() { // it was authorized
				deadline = earlierTime(deadline, in.CaptureBefore)
			}
		}
	}
	for _, t := range l.termsHistory.possibleTermsAt(e.Time) {
		for _, policy := range []string{t.onExpiry, l.renewal.onFailure} {
			t.onExpiry = policy
			if e.Kind == stripesim.EffectCaptured &&
				t.mayCapture(e.Time, clock, deadline, j.plan.expiryMargin) ||
				e.Kind != stripesim.EffectCaptured && t.mayCancel(e.Time, clock,
					deadline.Add(-j.plan.jobInterval), deadline, j.plan.expiryMargin) {
				return true
			}
		}
	}
	return false
}

// isIntentOfFailedIncrement reports whether an effect is on the intent of an increment
// that was given up. The old intent may have expired before the release.
func (j *judge) isIntentOfFailedIncrement(l *longStay, e *stripesim.Effect) bool {
	return !j.isRenewedTo(l, e) && slices.ContainsFunc(l.events, func(v event.Envelope) bool {
		return v.Type == hold.EventIncrementFailed && v.Timestamp.Before(j.redisTimeAt(e.Time))
	})
}

// isRenewedTo reports whether the hold had gone over to an effect's intent.
func (j *judge) isRenewedTo(l *longStay, e *stripesim.Effect) bool {
	return e.Intent == l.intentID || slices.ContainsFunc(l.events, func(v event.Envelope) bool {
		return v.Data.Hold.PaymentIntent == e.Intent && v.Timestamp.Before(j.redisTimeAt(e.Time))
	})
}

func (j *judge) checkRenewedIntentsEnd(l *longStay) {
	if l.dataLost {
		return
	}
	for id, in := range l.intents {
		if id != l.intentID && in.Status != "succeeded" && in.Status != "canceled" {
			j.failHold(l.judgedHold, "its intent %s is left %s", id, in.Status)
		}
	}
}

func (j *judge) checkLongStayReported(l *longStay) {
	h := l.finalHold
	switch {
	case h == nil:
		if slices.ContainsFunc(l.termsHistory.accepted, func(k *apiRequest) bool {
			return schedulingKinds[k.kind]
		}) {
			j.failHold(l.judgedHold, "it was scheduled, and is gone")
		}
		return
	case !h.State.IsFinal():
		if !j.isAwaitingOperator(l.judgedHold) {
			j.failHold(l.judgedHold, "still %s (next %s at +%s, %s)", h.State, h.NextOp,
				j.since(h.NextAt), h.Reason)
		}
		return
	}
	in, ok := l.intents[h.PaymentIntent]
	want := hold.Captured
	switch {
	case in.Status == "canceled" && in.Expired:
		want = hold.Expired
	case in.Status == "canceled":
		want = hold.Canceled
	}
	if !ok || in.Status != "succeeded" && in.Status != "canceled" || h.State != want ||
		h.State == hold.Captured && h.CapturedAmount != in.Received {
		j.failHold(l.judgedHold, "holdd says %s of %d, at Stripe %s is %s of %d", h.State,
			h.CapturedAmount, h.PaymentIntent, in.Status, in.Received)
	}
}

// checkRenewalAttempted judges each authorization of a hold whose terms nobody
// changed: its renewal begins with the creation of the next intent.
func (j *judge) checkRenewalAttempted(l *longStay) {
	accepted := l.termsHistory.accepted
	if l.dataLost || l.lostWrites || len(accepted) != 1 ||
		len(l.termsHistory.indeterminate) > 0 || !schedulingKinds[accepted[0].kind] {
		return
	}
	most := int(cmp.Or(l.renewal.maxRenewals, hold.DefaultMaxRenewals))
	renewals := 0
	for i := range l.effects {
		e := &l.effects[i]
		if e.Kind != stripesim.EffectAuthorized {
			continue
		}
		if renewals < most {
			j.checkRenewalBegins(l, l.intents[e.Intent], accepted[0].answeredAt)
		}
		renewals++
	}
}

// checkRenewalBegins judges the renewal of one authorization of a hold that was
// scheduled at a time.
func (j *judge) checkRenewalBegins(
	l *longStay, in stripesim.IntentState, scheduled time.Time,
) {
	end, window := in.CaptureBefore, in.CaptureBefore.Sub(in.Created)
	lead := min(max(12*time.Hour, window/5), window/2)
	clocks := j.plan.redisClockAhead.Abs() + time.Second // a step is a fault
	from := laterTime(end.Add(-lead-clocks), scheduled)
	by := laterTime(end.Add(-lead+clocks), scheduled).Add(j.actionTimeLimit() +
		5*j.plan.jobInterval)
	switch {
	case by.After(end.Add(-j.plan.expiryMargin)), by.After(j.timeAt(j.elapsed())),
		!j.timeAt(l.renewal.until).After(end.Add(clocks)),
		l.action != "none" && !j.timeAt(l.dueAt).After(end.Add(clocks)),
		!j.isFaultFree(from, by), hasAttentionEvent(l.events),
		slices.ContainsFunc(l.effects, func(e stripesim.Effect) bool {
			return endsHolding(&e) && e.Intent == in.ID && e.Time.Before(by)
		}):
		return
	}
	if !slices.ContainsFunc(j.world.stripeRequests, func(r *stripeRequest) bool {
		return strings.HasPrefix(r.idempotencyKey, "holdd-"+l.intentID+"-renew-") &&
			strings.HasSuffix(r.idempotencyKey, "-create") &&
			!r.sentAt.Before(from) && !r.sentAt.After(by)
	}) {
		j.failHold(l.judgedHold, "no renewal of %s, which ends at +%s, was begun between +%s and +%s",
			in.ID, j.since(end), j.since(from), j.since(by))
	}
}
