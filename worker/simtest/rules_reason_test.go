package simtest

import (
	"fmt"
	"slices"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// cancellationReason is the setting of a replica. No replica has abandoned, so
// a cancel without a recorded reason is noticed.
func (p *plan) cancellationReason(replica int) string {
	return pickOne(newRNG(p.seed, "reason", fmt.Sprint(replica)), hold.ReasonRequestedByCustomer,
		hold.ReasonRequestedByCustomer, hold.ReasonDuplicate)
}

// drawCancelReason is the reason in a request to cancel.
func drawCancelReason(seed uint64, holdNumber, action int) string {
	return pickOne(newRNG(seed, "cancel reason", fmt.Sprint(holdNumber), fmt.Sprint(action)), "",
		"",
		hold.ReasonFraudulent, hold.ReasonDuplicate, hold.ReasonAbandoned)
}

// expiryReason is the reason that Stripe gives to an intent that expired: each
// world has one API version.
func (p *plan) expiryReason() string {
	return pickOne(newRNG(p.seed, "expiry reason"), hold.ReasonAutomatic, hold.ReasonExpired)
}

func (j *judge) checkCancellationReason(c *judgedHold) {
	if c.intent.Status != "canceled" {
		return
	}
	got := c.intent.CancellationReason
	if c.reportsFinalState() && c.finalHold.State == hold.Canceled &&
		c.finalHold.CancellationReason != got {
		j.failHold(c, "holdd says that it was canceled as %q, at Stripe it is %q",
			c.finalHold.CancellationReason, got)
	}
	for _, e := range c.ownEffects() {
		if e.Kind != stripesim.EffectCanceled || c.lostWrites {
			continue
		}
		var allowed []string
		for _, t := range c.termsHistory.possibleTermsAt(e.Time) {
			if t.cancelReason != "" {
				allowed = append(allowed, t.cancelReason)
				continue
			}
			for i := range j.plan.replicas {
				allowed = append(allowed, j.plan.cancellationReason(i))
			}
		}
		if !slices.Contains(allowed, got) {
			j.failHold(c, "canceled as %q, want one of %q", got, allowed)
		}
	}
}
