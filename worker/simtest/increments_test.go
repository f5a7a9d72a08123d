package simtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// drawIncrements raises the authorized amount of some holds, some of them at a
// bank that declines it once, and some about the time of a capture.
func (p *plan) drawIncrements() {
	if !newRNG(p.seed, "increments").chance(0.4) {
		return
	}
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "increment", fmt.Sprint(h.number))
		if h.amountError != 0 || h.methodType != "" || h.intake == "card" || !d.chance(0.5) {
			continue
		}
		h.declinesIncrement = d.chance(0.3)
		end := h.placedAt + h.authorizationWindow
		for k := range 1 + d.IntN(2) {
			a := plannedAction{number: 100 + k, kind: "increment", loseReply: d.chance(0.2),
				amount: h.amount + 1 + d.Int64N(h.amount), noRetry: d.chance(0.2)}
			a.at = d.durationBetween(h.scheduledAt, end)
			if h.action != "none" && d.chance(0.5) {
				a.at = h.dueAt - d.durationBetween(0, 5*time.Second)
			}
			a.at = max(a.at, h.scheduledAt+d.durationBetween(time.Millisecond, time.Second))
			h.actions = append(h.actions, a)
		}
		slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
	}
}

// increments are the increments that may have been requested.
func (c *judgedHold) increments() (all []*apiRequest) {
	for _, k := range c.apiRequests {
		if k.kind == "increment" {
			all = append(all, k)
		}
	}
	return all
}

// authorizedTotalAt is what was authorized in all by a time.
func (c *judgedHold) authorizedTotalAt(at time.Time) int64 {
	return c.heldAmountAt(at) + c.partsAt(at)
}

// maxIncrementTime is how long after its request an increment may happen: the
// ten minutes for which it is tried, and a request that arrives late.
const maxIncrementTime = 11 * time.Minute

func (j *judge) checkIncrementsRequested(c *judgedHold) {
	total := c.amount
	for _, e := range c.effects {
		if e.Kind != stripesim.EffectIncremented {
			continue
		}
		total += e.Amount
		if !isByHoldd(e) {
			continue
		}
		if !slices.ContainsFunc(c.increments(), func(k *apiRequest) bool {
			return k.amount == total && !k.sentAt.After(e.Time) && (c.lostWrites ||
				e.Time.Sub(k.sentAt) <= maxIncrementTime)
		}) {
			j.failHold(c, "raised to %d at +%s, which was not requested then", total,
				j.since(e.Time))
		}
	}
}

func (j *judge) checkIncrementAnswers(c *judgedHold) {
	for _, k := range c.increments() {
		raised := c.authorizedTotalAt(k.answeredAt) >= k.amount
		switch {
		case k.isAccepted() && k.result.NextOp != hold.OpIncrement && !raised:
			j.failHold(c, "the increment to %d was answered as done, and %d are authorized",
				k.amount, c.authorizedTotalAt(k.answeredAt))
		case k.replyReceived && errors.Is(k.err, &hold.Problem{Code: hold.Declined}) &&
			c.authorizedTotalAt(k.answeredAt) == k.amount: // another request may raise it more
			j.failHold(c, "the increment to %d was answered as declined, and has happened",
				k.amount)
		}
	}
}

func (j *judge) checkIncrementEvents(c *judgedHold) {
	for _, e := range c.events {
		// An event has Redis' time, which may be another than Stripe's.
		at := e.Timestamp.Add(max(0, -j.plan.redisClockAhead) + maxClockStep)
		if total := c.authorizedTotalAt(at); e.Type == hold.EventIncremented &&
			e.Data.Hold.Amount+e.Data.Hold.CapturedElsewhere > total {
			j.failHold(c, "an event says that %d are held, and %d were authorized",
				e.Data.Hold.Amount, total)
		}
	}
	if h := c.finalHold; h != nil && h.State.IsFinal() && h.Increment.Amount != 0 {
		j.failHold(c, "it is %s, and an increment is pending", h.State)
	}
}
