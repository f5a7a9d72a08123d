package simtest

import (
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// otherAccountFault is that the key is one of another account for a while: lists
// are empty, and no PaymentIntent is found.
const otherAccountFault = "stripe:other account"

// wrongKeyPlan is a world in which the key is that of another account while two
// comparisons run and reviews are reported. The holds are due later.
func wrongKeyPlan(w intakePlan) plan {
	var all []plannedHold
	for n := range 40 {
		h := plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 20 * time.Minute}
		if w.webhooks {
			h.actions = []plannedAction{{number: 1,
				at: 130*time.Second + time.Duration(n)*time.Millisecond, kind: "dashboard review"}}
		}
		all = append(all, h)
	}
	w.enabled = true
	p := quietPlan(5*time.Second, w, all...)
	p.replicas = 2
	return p.withFaults(fault{number: 1, kind: otherAccountFault, from: 2 * time.Minute,
		to: 5 * time.Minute, probability: 1, replicaIndex: -1})
}

// checkWrongKey: a key of another account finds none of many intents.
func (j *judge) checkWrongKey(c *judgedHold) {
	wrongKey := false
	for _, f := range j.plan.faults {
		wrongKey = wrongKey || f.kind == otherAccountFault
	}
	for _, e := range c.events {
		if wrongKey && e.Type == hold.EventAttention &&
			e.Data.Cause == hold.CauseNotFound.String() {
			j.failHold(c, "it requires attention at %s because its intent was not found",
				e.Timestamp.Format(time.TimeOnly))
		}
	}
}
