package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// judge compares a run with what holdd promises. It knows the plan, the
// simulator's ledger, what the actors sent and received, what was seen on the
// connections, and what holdd reports at the end. Its rules follow from the
// promises, not from the code.
type judge struct {
	*world
	finalHolds map[string]*hold.Hold
	longStays  []*longStay

	stagedHolds []*stagedHold
	events      []event.Envelope
	rule        string // the name of the rule that is being checked
}

func (j *judge) judgeRun() {
	holds, renewed, staged := j.judgedHolds()
	j.longStays, j.stagedHolds = j.findLongStays(renewed), j.findStagedHolds(staged)
	for _, r := range rules {
		j.rule = r.name
		if r.checkHold != nil {
			for _, c := range holds {
				r.checkHold(j, c)
			}
		}
		if r.checkRun != nil {
			r.checkRun(j)
		}
	}
}

// fail records a breach of the rule that is being checked.
func (j *judge) fail(format string, args ...any) {
	j.breach("%s: %s", j.rule, fmt.Sprintf(format, args...))
}

// failHold records a breach by one hold.
func (j *judge) failHold(c *judgedHold, format string, args ...any) {
	j.fail("H%d: %s", c.number, fmt.Sprintf(format, args...))
}

// since returns how far into the run t is.
func (w *world) since(t time.Time) time.Duration { return t.Sub(w.startedAt) }

func earlierTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// lostRedisWrites reports whether Redis has lost writes of a span.
func (w *world) lostRedisWrites(from, to time.Time) bool {
	for _, t := range w.lostSpans {
		if !to.Before(t[0]) && !from.After(t[1]) {
			return true
		}
	}
	return false
}

// isFaultFree reports whether nothing went wrong within a span or shortly
// before it, except faults of some kinds.
func (j *judge) isFaultFree(from, to time.Time, except ...string) bool {
	from = from.Add(-5*j.plan.jobInterval - 2*time.Minute)
	for _, f := range j.plan.faults {
		if !slices.Contains(except, f.kind) && !j.timeAt(f.from).After(to) &&
			!j.timeAt(f.to+f.restartAfter).Before(from) {
			return false
		}
	}
	return true
}

// hadFault reports whether something of a kind went wrong within a span.
func (j *judge) hadFault(kind string, from, to time.Time) bool {
	return slices.ContainsFunc(j.plan.faults, func(f fault) bool {
		return strings.HasPrefix(f.kind, kind) && !j.timeAt(f.from).After(to) &&
			!j.timeAt(f.to+f.restartAfter).Before(from)
	})
}

// afterLastFault returns at, or the end of the last fault if that is later.
func (j *judge) afterLastFault(at time.Time) time.Time {
	for _, f := range j.plan.faults {
		if end := j.timeAt(f.to + f.restartAfter); end.After(at) {
			at = end
		}
	}
	return at
}

// hadReplicaDeath reports whether a replica died. It then forgot which accounts
// it had met.
func (j *judge) hadReplicaDeath() bool {
	return slices.ContainsFunc(j.plan.faults, func(f fault) bool {
		return strings.HasPrefix(f.kind, "kill") || f.kind == "stop"
	})
}

// actionTimeLimit is how long a due action may take while nothing is wrong: two
// ticks, and the queue before it.
func (j *judge) actionTimeLimit() time.Duration {
	perHold := j.plan.serviceTime + time.Second
	if j.plan.strictRate > 0 {
		perHold += time.Duration(float64(time.Second) / j.plan.slowestRate())
	}
	return 2*j.plan.jobInterval + 5*time.Second + time.Duration(len(j.plan.holds))*perHold
}

// checkRateLimit: each refusal for a rate was a fault of the plan. If Stripe
// allows less than is configured, the replicas follow: from five seconds after
// the first refusal on, Stripe refuses less than a third of the requests of a
// kind in any ten seconds. Of a few requests a second, it may refuse half: the
// time that each takes on its way is a large part of the interval between two.
func (j *judge) checkRateLimit() {
	if j.plan.strictRate > 0 {
		j.checkFollowsRateLimit()
		return
	}
	faults := int64(j.faultHits["stripe:rate_limited"])
	if s := j.sim.Stats(); s.RateLimited > faults {
		j.fail("Stripe refused %d calls for their rate, faults made %d of these", s.RateLimited,
			faults)
	}
}

func (j *judge) checkFollowsRateLimit() {
	const learning, span = 5 * time.Second, 10 * time.Second
	part, few := 3, 4
	if j.plan.strictRate < 3 {
		part, few = 2, 6
	}
	firstRefusal := map[string]time.Time{}
	recent := map[string][]*stripeRequest{}
	for _, r := range j.stripeRequests {
		if r.status == 0 || r.fault != "" {
			continue
		}
		kind := r.op + " " + r.account
		if r.rateLimited && firstRefusal[kind].IsZero() {
			firstRefusal[kind] = r.sentAt
		}
		if from := firstRefusal[kind]; from.IsZero() || r.sentAt.Before(from.Add(learning)) {
			continue
		}
		recent[kind] = slices.DeleteFunc(append(recent[kind], r), func(old *stripeRequest) bool {
			return r.sentAt.Sub(old.sentAt) >= span
		})
		refused := 0
		for _, q := range recent[kind] {
			if q.rateLimited {
				refused++
			}
		}
		if refused > few && part*refused > len(recent[kind]) {
			j.fail("Stripe refused %d of %d calls (%s) in the ten seconds before +%s", refused,
				len(recent[kind]), kind, j.since(r.sentAt))
			return
		}
	}
}

func isFinalPaymentEvent(d *webhookDelivery) bool {
	return d.eventType == "payment_intent.succeeded" || d.eventType == "payment_intent.canceled"
}

func hasAttentionEvent(events []event.Envelope) bool {
	return slices.ContainsFunc(events, func(e event.Envelope) bool {
		return e.Type == hold.EventAttention
	})
}

func isByHoldd(e stripesim.Effect) bool { return e.Actor == "api" }
