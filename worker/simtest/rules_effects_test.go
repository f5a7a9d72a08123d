package simtest

import (
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func (j *judge) checkSingleEffect(c *judgedHold) {
	n := 0
	for _, e := range c.effects {
		if e.Final || e.Actor == "api" && e.Kind != stripesim.EffectReleased &&
			e.Kind != stripesim.EffectIncremented && e.Kind != stripesim.EffectOvercaptured {
			n++
		}
	}
	if n > 1 {
		j.failHold(c, "%d effects: %+v", n, c.effects)
	}
}

func (j *judge) checkKeys(c *judgedHold) {
	for _, e := range c.ownEffects() {
		if !strings.HasPrefix(e.IdempotencyKey, "holdd-"+c.intentID+"-") {
			j.failHold(c, "%s with key %q, which isn't this hold's", e.Kind, e.IdempotencyKey)
		}
	}
	if c.finalHold == nil {
		return
	}
	if c.finalHold.State == hold.Attention && c.finalHold.Reason == hold.CauseKeyConflict ||
		slices.ContainsFunc(c.events, func(e event.Envelope) bool {
			return e.Data.Cause == "key_conflict"
		}) {
		j.failHold(c, "Stripe saw one key with two meanings")
	}
}

// ownEffects are the captures and cancels by holdd's requests.
func (c *judgedHold) ownEffects() (own []*stripesim.Effect) {
	for i := range c.effects {
		if e := &c.effects[i]; e.Actor == "api" && e.Kind != stripesim.EffectIncremented &&
			e.Kind != stripesim.EffectOvercaptured &&
			(e.Kind != stripesim.EffectReleased || e.Final) {
			own = append(own, e)
		}
	}
	return own
}

// permission is what the terms that may have held allow at an effect.
type permission struct {
	terms   []terms
	allowed bool
	amounts []int64 // that a capture may have
	details []stripesim.CaptureDetails
}

func (j *judge) permissionFor(c *judgedHold, e *stripesim.Effect) permission {
	early, late := j.partsKnownBetween(c, e)
	p := permission{terms: c.termsHistory.possibleTermsAt(e.Time)}
	for _, t := range p.terms {
		mayCapture := t.mayCapture(e.Time, j.redisTimeAt(e.Time),
			c.policyDeadline, j.plan.expiryMargin)
		switch e.Kind {
		case stripesim.EffectCaptured:
			if mayCapture {
				p.allowed = true
				p.details = append(p.details, t.params)
				p.amounts = append(p.amounts, c.allowedCaptureAmounts(&t, early, late)...)
			}
		case stripesim.EffectReleased: // of a hold of which another system has captured a part
			p.allowed = p.allowed || j.mayCancel(c, t, e.Time) ||
				mayCapture && slices.Contains(c.allowedCaptureAmounts(&t, early, late), 0)
		case stripesim.EffectCanceled:
			p.allowed = p.allowed || j.mayCancel(c, t, e.Time)
		}
		if r := j.intakeObserved.reviews[c.number]; len(r) > 0 && r[0].at.Before(e.Time) &&
			e.Kind != stripesim.EffectCaptured {
			t.paused = true // as long as holdd takes the review for open
			p.allowed = p.allowed || j.mayCancel(c, t, e.Time)
		}
	}
	if c.lostWrites {
		// A claim that Redis forgot may have sent what was agreed on before a
		// change, and Redis may have forgotten the change as well.
		for _, k := range slices.Concat(c.termsHistory.accepted, c.termsHistory.indeterminate) {
			for _, t := range c.termsHistory.possibleTermsAt(k.answeredAt) {
				p.amounts = append(p.amounts, c.allowedCaptureAmounts(&t, early, late)...)
				p.details = append(p.details, t.params)
			}
		}
	}
	return p
}

func (j *judge) mayCancel(c *judgedHold, t terms, at time.Time) bool {
	// A capture so late requires attention, and then the policy may act.
	return t.mayCancel(at, j.redisTimeAt(at), c.earliestDeadline.Add(-j.plan.jobInterval),
		c.policyDeadline, j.plan.expiryMargin)
}

func (j *judge) checkNeverEarly(c *judgedHold) {
	for _, e := range c.ownEffects() {
		if p := j.permissionFor(c, e); !p.allowed && !c.lostWrites {
			j.failHold(c, "%s at +%s though nothing allows it then: %+v", e.Kind,
				j.since(e.Time), p.terms)
		}
	}
}

func (j *judge) checkTotal(c *judgedHold) {
	for _, e := range c.ownEffects() {
		p := j.permissionFor(c, e)
		if !p.allowed || e.Kind != stripesim.EffectCaptured || c.lostWrites {
			continue
		}
		most := int64(0)
		for _, t := range p.terms {
			if most = max(most, t.captureAmount); t.captureAmount == 0 {
				most = c.heldAmountAt(e.Time) + c.partsAt(e.Time) + e.Amount
			}
		}
		early, _ := j.partsKnownBetween(c, e)
		if sum := c.partsAt(early) + e.Amount; sum > most {
			j.failHold(c, "%d were captured after another system's %d, at most %d were requested",
				e.Amount, c.partsAt(early), most)
		}
	}
}

func (j *judge) checkAmount(c *judgedHold) {
	for _, e := range c.ownEffects() {
		p := j.permissionFor(c, e)
		if p.allowed && e.Kind == stripesim.EffectCaptured &&
			!slices.Contains(p.amounts, e.Amount) {
			j.failHold(c, "%d were captured, agreed were %v", e.Amount, p.amounts)
		}
	}
}

func (j *judge) checkNeverAfterCancel(c *judgedHold) {
	for _, e := range c.ownEffects() {
		if e.Kind != stripesim.EffectCaptured || c.lostWrites {
			continue
		}
		for _, k := range c.termsHistory.acceptedRequestsAt(e.Time) {
			if k.kind == "cancel" {
				j.failHold(c, "captured at +%s, a cancel was accepted at +%s",
					j.since(e.Time), j.since(k.answeredAt))
			}
		}
	}
}

// partsKnownBetween is the span in which the replica that sent a capture
// learned what another system had captured: the span of its last read before
// it, or the capture's own time if there was none.
func (j *judge) partsKnownBetween(c *judgedHold, e *stripesim.Effect) (early, late time.Time) {
	early, late = e.Time, e.Time
	i := slices.IndexFunc(c.stripeRequests, func(r *stripeRequest) bool {
		return r.caused(e)
	})
	switch {
	case i < 0:
		return early, late
	case c.lostWrites: // any claim may have sent it
		return j.timeAt(c.placedAt), late
	}
	sent, read := c.stripeRequests[i], time.Time{}
	for _, r := range c.stripeRequests {
		if r.op == "read" && r.replyReceived && r.replica == sent.replica &&
			!r.answeredAt.After(sent.sentAt) && r.answeredAt.After(read) {
			read, early = r.answeredAt, r.sentAt
		}
	}
	return early, late
}

func (j *judge) checkNothingLost(c *judgedHold) {
	accepted := slices.ContainsFunc(c.termsHistory.accepted, func(k *apiRequest) bool {
		return schedulingKinds[k.kind]
	})
	if c.finalHold == nil && accepted {
		j.failHold(c, "it was scheduled, and is gone")
	}
}

func (j *judge) checkEnded(c *judgedHold) {
	switch {
	case c.finalHold == nil: // checkNothingLost judges that
	case c.hasWrongAccount():
		if slices.ContainsFunc(c.effects, isByHoldd) {
			j.failHold(c, "acted on though it is of the wrong account")
		}
	case j.isAwaitingOperator(c):
	case !c.finalHold.State.IsFinal():
		j.failHold(c, "still %s (next %s at +%s, %s) at +%s; at Stripe %s since the deadline at +%s",
			c.finalHold.State, c.finalHold.NextOp, j.since(c.finalHold.NextAt), c.finalHold.Reason,
			j.elapsed(), c.intent.Status, j.since(c.deadline))
	}
}

// isAwaitingOperator reports whether the hold requires attention and was never
// read at Stripe. It is read at its deadline, which is the assumed one, days
// after the run.
func (j *judge) isAwaitingOperator(c *judgedHold) bool {
	return c.finalHold.State == hold.Attention && !c.finalHold.Verified &&
		c.finalHold.ExpiresAt.After(j.redisTimeAt(j.timeAt(j.elapsed()))) &&
		hasAttentionEvent(c.events)
}
