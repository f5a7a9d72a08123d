package simtest

import (
	"slices"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// lastAgreement is the last accepted request of a hold, the terms since then,
// and the time at which they make holdd act, zero for none. ok is false where
// the judge cannot know these terms.
func (j *judge) lastAgreement(c *judgedHold) (last *apiRequest, t terms, due time.Time, ok bool) {
	if c.hasWrongAccount() || c.amountError != 0 || c.expiryError != 0 ||
		len(c.termsHistory.indeterminate) > 0 ||
		len(c.termsHistory.accepted) == 0 || c.declaresAmount &&
		c.heldAmountAt(c.deadline) != c.amount {
		return nil, t, due, false
	}
	last = c.termsHistory.accepted[len(c.termsHistory.accepted)-1]
	t = c.termsHistory.possibleTermsSinceEmptied(last.answeredAt)[0]
	due = t.cancelRequestedAt
	if due.IsZero() && !t.paused {
		due = t.captureRequestedAt
		for _, own := range []time.Time{t.captureAt, t.cancelAt} {
			if due.IsZero() && !own.IsZero() {
				due = j.fromRedisTime(own)
			}
		}
	}
	return last, t, due, true
}

func (j *judge) checkActedInTime(c *judgedHold) {
	last, t, due, ok := j.lastAgreement(c)
	if !ok || due.IsZero() || last.result.State == hold.Attention {
		return
	}
	asked := due
	due = laterTime(due, last.answeredAt)
	if len(j.intakeObserved.reviews[c.number]) > 0 {
		approvedAt := j.reviewApprovalSeenAt(c)
		if approvedAt.IsZero() {
			return
		}
		due = laterTime(due, approvedAt)
	}
	by := due.Add(j.actionTimeLimit())
	if !j.isFaultFree(due, by) { // work resumes by itself
		due = j.afterLastFault(due)
		by = due.Add(j.actionTimeLimit() + 5*j.plan.jobInterval + 7*time.Minute)
		if hasAttentionEvent(c.events) {
			return
		}
	}
	for _, r := range c.stripeRequests {
		if r.rateLimited && j.plan.strictRate > 0 && !r.sentAt.Before(due) {
			by = by.Add(j.plan.jobInterval) // the next try may need another tick
		}
	}
	if by.After(j.fromRedisTime(c.earliestDeadline.Add(-j.plan.expiryMargin))) ||
		by.After(j.timeAt(j.elapsed())) || c.exceedsHeld(&t, asked, by) {
		return
	}
	if !c.hadEffectBy(by) {
		j.failHold(c, "due at +%s, and nothing was done by +%s though nothing was wrong",
			j.since(due), j.since(by))
	}
}

func laterTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// checkActedBeforeExpiry judges holds that had enough time before the
// authorization ended.
func (j *judge) checkActedBeforeExpiry(c *judgedHold) {
	last, t, due, ok := j.lastAgreement(c)
	if !ok {
		return
	}
	what := "it was due"
	if due.IsZero() || !due.Before(j.fromRedisTime(c.deadline)) {
		if t.onExpiry != "cancel" && (t.onExpiry != "capture" || t.paused || !t.cancelAt.IsZero()) {
			return
		}
		what, due = "its policy was to "+t.onExpiry+" it",
			j.fromRedisTime(c.deadline.Add(-j.plan.expiryMargin))
	}
	due = laterTime(due, last.answeredAt)
	end := earlierTime(c.deadline, j.fromRedisTime(c.deadline))
	room := 2*j.plan.jobInterval + 2*time.Second +
		time.Duration(len(j.plan.holds))*(j.plan.serviceTime+
			time.Duration(float64(time.Second)/j.plan.slowestRate()))
	switch {
	case !c.intent.Expired, c.exceedsHeld(&t, due, end),
		len(j.intakeObserved.reviews[c.number]) > 0,
		len(j.intakeObserved.earlierDeadlines[c.number]) > 0:
	case end.Before(due.Add(room)), !j.isFaultFree(due, end), end.After(j.timeAt(j.elapsed())):
	case hasAttentionEvent(c.events):
	default:
		j.failHold(c, "%s at +%s, and it expired at +%s though nothing was wrong", what,
			j.since(due), j.since(c.deadline))
	}
}

// checkExpiredAlert: of an intent of which a part was captured Stripe shows no
// expiry. That one has succeeded, and the event that ends the hold reports it.
func (j *judge) checkExpiredAlert(c *judgedHold) {
	if c.finalHold == nil || c.hasWrongAccount() || !c.intent.Expired || c.intent.Received > 0 ||
		!j.timeAt(c.scheduledAt).Before(c.deadline) {
		return
	}
	if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
		return e.Type == hold.EventExpiring || e.Type == hold.EventExpired ||
			e.Type == hold.EventAttention
	}) {
		j.failHold(c, "it expired at +%s, and no event says so", j.since(c.deadline))
	}
}

// warnedSchedule is the request that scheduled a hold whose warnings the judge
// can expect, nil if it cannot.
func (j *judge) warnedSchedule(c *judgedHold) *apiRequest {
	if c.hasWrongAccount() || len(c.termsHistory.accepted) == 0 ||
		c.amountError != 0 || c.expiryError != 0 ||
		len(j.intakeObserved.earlierDeadlines[c.number]) > 0 {
		return nil
	}
	s := c.termsHistory.accepted[0]
	if s.kind != "schedule" || !s.result.ExpiresAt.Equal(c.deadline) ||
		slices.ContainsFunc(c.apiRequests, func(k *apiRequest) bool {
			return k.kind == "acknowledge"
		}) {
		return nil
	}
	return s
}

func (j *judge) checkThresholdWarnings(c *judgedHold) {
	s := j.warnedSchedule(c)
	if s == nil {
		return
	}
	for _, d := range j.plan.alertThresholds {
		at := j.fromRedisTime(c.deadline.Add(-d))
		by := at.Add(2*j.plan.jobInterval + 3*time.Second)
		if !at.After(s.answeredAt) || !j.isFaultFree(at, by) || by.After(j.timeAt(j.elapsed())) ||
			by.After(c.deadline) || c.hadEffectBy(by) ||
			j.hadFault("redis:lose tail", at, by.Add(maxClockStep)) {
			continue // the event is lost, or a clock that goes back shows its time twice
		}
		if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
			return e.Type == hold.EventExpiring &&
				!e.Timestamp.Before(at.Truncate(time.Millisecond)) && !e.Timestamp.After(by)
		}) {
			j.failHold(c, "open %s before its deadline at +%s, and no event warns", d,
				j.since(c.deadline))
		}
	}
}

func (j *judge) checkNoRepeatedWarning(c *judgedHold) {
	if j.warnedSchedule(c) == nil || len(j.lostSpans) > 0 || len(j.redisClocks) > 1 {
		return
	}
	count := map[string]int{}
	delayed := map[string]bool{}
	for _, e := range c.events {
		if e.Type == hold.EventExpiring && e.Data.Cause == "" {
			count[e.Data.Threshold]++
			// A write that waited for Redis sets the milestone of its own time.
			delayed[e.Data.Threshold] = delayed[e.Data.Threshold] ||
				j.hadFault("redis:", e.Timestamp.Add(-time.Minute), e.Timestamp)
		}
	}
	for d, n := range count {
		if n > 1 && !delayed[d] {
			j.failHold(c, "%d events warn of the threshold %s", n, d)
		}
	}
}

func (j *judge) checkWarningAtOnce(c *judgedHold) {
	s := j.warnedSchedule(c)
	if s == nil {
		return
	}
	by := s.answeredAt.Add(2*j.plan.jobInterval + 3*time.Second)
	nearest := time.Duration(0)
	for _, d := range j.plan.alertThresholds {
		switch at := j.fromRedisTime(c.deadline.Add(-d)); {
		case at.After(by):
		case at.After(s.sentAt):
			return // it passes just then
		case nearest == 0 || d < nearest:
			nearest = d
		}
	}
	if nearest == 0 || !j.isFaultFree(s.sentAt, by) || by.After(j.fromRedisTime(c.deadline)) ||
		by.After(c.deadline) ||
		by.After(j.timeAt(j.elapsed())) || c.hadEffectBy(by) {
		return
	}
	if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
		return e.Type == hold.EventExpiring && e.Data.Threshold == nearest.String() &&
			!e.Timestamp.After(by)
	}) {
		j.failHold(c, "scheduled at +%s, inside the threshold %s, and no event warns by +%s",
			j.since(s.answeredAt), nearest, j.since(by))
	}
}
