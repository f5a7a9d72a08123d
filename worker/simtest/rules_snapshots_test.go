package simtest

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
)

const amountCapturableUpdated = "payment_intent.amount_capturable_updated"

// checkAgreeingEvents judges the events of an authorization that was read when
// its hold was scheduled, until anything else happens to the hold.
func (j *judge) checkAgreeingEvents(c *judgedHold) {
	if j.plan.intake.thinEvents || // which say nothing
		!j.judgesIntake(c) || c.intake != "" || len(c.termsHistory.accepted) == 0 ||
		c.termsHistory.beforeEmptied != nil || len(j.intakeObserved.reviews[c.number]) > 0 ||
		len(j.intakeObserved.earlierDeadlines[c.number]) > 0 {
		return
	}
	k := c.termsHistory.accepted[0]
	if k.kind != "schedule" || !k.result.Verified ||
		k.result.State != hold.Scheduled && k.result.State != hold.Waiting {
		return
	}
	until := j.quietUntil(c)
	for _, d := range j.intakeObserved.webhookDeliveries {
		if d.intentID == c.intentID && (d.eventType == "charge.succeeded" ||
			d.eventType == amountCapturableUpdated) && d.at.After(k.answeredAt) && d.at.Before(until) &&
			j.isFaultFree(k.sentAt, d.at) && d.result != intake.EventIgnored {
			j.failHold(c, "the %s of +%s at +%s is %s, and says what was read at +%s",
				d.eventType, j.since(d.createdAt), j.since(d.at), d.result, j.since(k.answeredAt))
		}
	}
}

// quietUntil is the time until which a new hold is left alone: by its own time,
// its policy, requests, and other systems.
func (j *judge) quietUntil(c *judgedHold) time.Time {
	slack := j.plan.redisClockAhead.Abs() + maxClockStep + 2*j.plan.jobInterval
	until := c.deadline.Add(-j.plan.expiryMargin - slack)
	if c.action != "none" {
		until = earlierTime(until, j.timeAt(c.dueAt).Add(-slack))
	}
	if len(c.effects) > 0 {
		until = earlierTime(until, c.effects[0].Time)
	}
	for _, k := range c.apiRequests {
		if !schedulingKinds[k.kind] {
			until = earlierTime(until, k.sentAt)
		}
	}
	return until
}

// checkUpdatesOnce ignores updates more than a few seconds apart: the lock of
// the first may have ended, or its outcome was not recorded.
func (j *judge) checkUpdatesOnce(c *judgedHold) {
	if !j.judgesIntake(c) {
		return
	}
	last := map[string]time.Time{} // by key
	for _, r := range c.stripeRequests {
		if r.op != "update" {
			continue
		}
		before, sent := last[r.idempotencyKey]
		last[r.idempotencyKey] = r.sentAt
		if sent && r.sentAt.Sub(before) < 5*time.Second && j.isFaultFree(before, r.sentAt) {
			j.failHold(c, "the same terms were sent at +%s and +%s", j.since(before),
				j.since(r.sentAt))
		}
	}
}

// checkNewestAmount compares the amount that holdd reports with the one that
// Stripe held, if an event of the last change of it arrived in time.
func (j *judge) checkNewestAmount(c *judgedHold) {
	if !j.judgesIntake(c) || c.finalHold == nil || len(j.lostSpans) > 0 ||
		c.termsHistory.beforeEmptied != nil || len(c.termsHistory.accepted) == 0 {
		return
	}
	end, changed := earlierTime(c.moneyHeldUntil(), j.timeAt(j.elapsed())), time.Time{}
	for _, e := range c.effects {
		if !e.Final && e.Time.Before(end) && (e.Kind == stripesim.EffectIncremented ||
			e.Kind == stripesim.EffectCaptured) {
			changed = e.Time
		}
	}
	want := c.heldAmountAt(end.Add(-1))
	for _, d := range j.intakeObserved.webhookDeliveries {
		if changed.IsZero() || d.intentID != c.intentID || d.createdAt.Before(changed) ||
			d.eventType != "charge.updated" && d.eventType != amountCapturableUpdated ||
			!d.at.After(c.termsHistory.accepted[0].answeredAt) {
			continue
		}
		by := j.afterLastFault(d.at).Add(2*j.plan.pollInterval() + 3*time.Minute +
			j.actionTimeLimit())
		if by.Before(end) && c.finalHold.Amount != want {
			j.failHold(c, "holdd reports the amount %d, Stripe held %d since +%s, and said so at +%s",
				c.finalHold.Amount, want, j.since(changed), j.since(d.at))
		}
	}
}
