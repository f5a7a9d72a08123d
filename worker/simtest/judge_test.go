package simtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// judge says what must hold after a run. It knows the plan, the simulator's
// ledger, what people asked and heard, what was seen on the wires, and what
// holdd says in the end; it is written from the promises, not from the code.
type judge struct {
	*world
	finalHolds map[string]*hold.Hold
	events     []event.Envelope
}

// judgedHold is one hold before the judge.
type judgedHold struct {
	*plannedHold
	intentID         string
	intent           stripesim.IntentState
	effects          []stripesim.Effect // after the authorization
	termsHistory     termsHistory
	apiRequests      []*apiRequest
	stripeRequests   []*stripeRequest
	finalHold        *hold.Hold
	events           []event.Envelope
	authorizedAt     time.Time // when the money was authorized
	deadline         time.Time // Stripe's
	earliestDeadline time.Time // the nearest that holdd can have known of
	// the nearest by which a policy may act: an assumed one is checked before
	policyDeadline time.Time
	lostWrites     bool // Redis lost something while it was worked on
}

func (j *judge) judgeRun() {
	ledger := j.sim.Ledger()
	for i := range j.plan.holds {
		h := &j.plan.holds[i]
		id := j.intentIDs[h.number]
		if id == "" {
			continue // nobody got so far
		}
		c := &judgedHold{plannedHold: h, intentID: id, finalHold: j.finalHolds[id], deadline: j.timeAt(h.placedAt + h.authorizationWindow)}
		c.intent, _ = j.sim.Intent(id)
		c.deadline = c.intent.CaptureBefore
		if c.deadline.IsZero() {
			continue // no bank ever agreed
		}
		for _, e := range ledger {
			switch {
			case e.Intent == id && e.Kind == stripesim.EffectAuthorized:
				c.authorizedAt = e.Time
			case e.Intent == id:
				c.effects = append(c.effects, e)
			}
		}
		for _, k := range j.world.apiRequests {
			if k.intentID == id {
				c.apiRequests = append(c.apiRequests, k)
				switch {
				case k.isOutcomeUnknown() || k.isAccepted() && j.lostRedisWrites(k.sentAt, k.answeredAt):
					c.termsHistory.indeterminate = append(c.termsHistory.indeterminate, k)
				case k.isAccepted():
					c.termsHistory.accepted = append(c.termsHistory.accepted, k)
				}
			}
		}
		slices.SortStableFunc(c.termsHistory.accepted, func(a, b *apiRequest) int {
			return cmp.Or(cmp.Compare(a.result.Revision, b.result.Revision), a.answeredAt.Compare(b.answeredAt))
		})
		for _, r := range j.world.stripeRequests {
			if r.intent == id {
				c.stripeRequests = append(c.stripeRequests, r)
				if r.op != "read" && j.lostRedisWrites(r.sentAt.Add(-time.Minute), r.sentAt.Add(time.Minute)) {
					c.lostWrites = true
				}
			}
		}
		for _, e := range j.events {
			if e.Data.Hold.ID == id {
				c.events = append(c.events, e)
			}
		}
		for _, k := range c.termsHistory.accepted {
			k.attentionCleared = k.result.State == hold.Scheduled && slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention && !e.Timestamp.After(k.answeredAt) })
		}
		c.earliestDeadline = c.deadline
		for _, before := range j.intakeObserved.earlierDeadlines[c.number] {
			c.earliestDeadline = earlierTime(c.earliestDeadline, before)
		}
		j.addIntakeRequests(c)
		if h.declaresExpiry() {
			c.earliestDeadline = earlierTime(c.earliestDeadline, j.timeAt(h.placedAt+h.authorizationWindow+h.expiryError).Truncate(time.Second))
			c.policyDeadline = c.earliestDeadline
		} else {
			c.policyDeadline = c.earliestDeadline
			c.earliestDeadline = earlierTime(c.earliestDeadline, j.redisTimeAt(j.timeAt(h.scheduledAt)).Add(7*24*time.Hour))
		}
		j.checkSingleEffect(c)
		j.checkEffectsAllowed(c)
		j.checkReportedState(c)
		j.checkEnded(c)
		j.checkHistory(c)
		j.checkResponses(c)
		j.checkEvents(c)
		j.checkLogged(c)
		j.checkActedInTime(c)
		j.checkExpiryWarnings(c)
		j.askedFirst(c)
		j.checkIntake(c)
	}
	j.checkAuthorizations()
	j.checkInbox()
	j.checkReconcileRuns()
	j.checkRateLimit()
	j.checkEventIDs()
}

func earlierTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// lostRedisWrites says whether Redis has lost what was written within a span.
func (w *world) lostRedisWrites(from, to time.Time) bool {
	for _, t := range w.lostSpans {
		if !to.Before(t[0]) && !from.After(t[1]) {
			return true
		}
	}
	return false
}

func (j *judge) reportBreach(c *judgedHold, rule, format string, args ...any) {
	j.breach("%s: H%d: %s", rule, c.number, fmt.Sprintf(format, args...))
}

// checkSingleEffect: at most one capture or cancel, whoever asked how often.
func (j *judge) checkSingleEffect(c *judgedHold) {
	n := 0
	for _, e := range c.effects {
		if e.Final || e.Actor == "api" && e.Kind != stripesim.EffectReleased {
			n++
		}
	}
	if n > 1 {
		j.reportBreach(c, "one effect", "%d effects: %+v", n, c.effects)
	}
}

// checkEffectsAllowed: never early, never after an accepted cancel, the exact
// amount, never the opposite of the wish.
func (j *judge) checkEffectsAllowed(c *judgedHold) {
	for _, e := range c.effects {
		if e.Actor != "api" || e.Kind == stripesim.EffectReleased && !e.Final {
			continue
		}
		early, late := j.known(c, &e)
		if !strings.HasPrefix(e.IdempotencyKey, "holdd-"+c.intentID+"-") {
			j.reportBreach(c, "key", "%s with key %q, which isn't this hold's", e.Kind, e.IdempotencyKey)
		}
		all := c.termsHistory.possibleTermsAt(e.Time)
		ok, amounts := false, []int64{}
		for _, t := range all {
			switch e.Kind {
			case stripesim.EffectCaptured:
				if t.mayCapture(e.Time, j.redisTimeAt(e.Time), c.policyDeadline, j.plan.expiryMargin) {
					ok = true
					amounts = append(amounts, c.allowedCaptureAmounts(&t, early, late)...)
				}
			case stripesim.EffectReleased: // of a hold of which another system has taken a part
				if t.mayCapture(e.Time, j.redisTimeAt(e.Time), c.policyDeadline, j.plan.expiryMargin) && slices.Contains(c.allowedCaptureAmounts(&t, early, late), 0) {
					ok = true
				}
				ok = ok || t.mayCancel(e.Time, j.redisTimeAt(e.Time), c.earliestDeadline, c.policyDeadline, j.plan.expiryMargin)
			case stripesim.EffectCanceled:
				ok = ok || t.mayCancel(e.Time, j.redisTimeAt(e.Time), c.earliestDeadline, c.policyDeadline, j.plan.expiryMargin)
				if len(j.intakeObserved.reviews[c.number]) > 0 && j.intakeObserved.reviews[c.number][0].at.Before(e.Time) {
					t.paused = true // as long as holdd believes it to be open
					ok = ok || t.mayCancel(e.Time, j.redisTimeAt(e.Time), c.earliestDeadline, c.policyDeadline, j.plan.expiryMargin)
				}
			}
		}
		if !ok && !c.lostWrites {
			j.reportBreach(c, "never early", "%s at +%s though nothing allows it then: %+v", e.Kind, e.Time.Sub(j.startedAt), all)
		}
		if c.lostWrites {
			// a claim that Redis forgot may have sent what was agreed on before
			// a change
			for _, k := range slices.Concat(c.termsHistory.accepted, c.termsHistory.indeterminate) {
				// Redis may have forgotten the wish as well
				for _, t := range c.termsHistory.possibleTermsAt(k.answeredAt) {
					amounts = append(amounts, c.allowedCaptureAmounts(&t, early, late)...)
				}
			}
		}
		if ok && e.Kind == stripesim.EffectCaptured && !c.lostWrites {
			most := int64(0)
			for _, t := range all {
				if most = max(most, t.captureAmount); t.captureAmount == 0 {
					most = c.heldAmountAt(e.Time) + c.parts(e.Time) + e.Amount
				}
			}
			if sum := c.parts(early) + e.Amount; sum > most {
				j.reportBreach(c, "never too much", "%d were captured after another system's %d, at most %d were wanted", e.Amount, c.parts(early), most)
			}
		}
		if ok && e.Kind == stripesim.EffectCaptured && !slices.Contains(amounts, e.Amount) {
			j.reportBreach(c, "amount", "%d were captured, agreed were %v", e.Amount, amounts)
		}
		if e.Kind == stripesim.EffectCaptured && !c.lostWrites {
			for _, k := range c.termsHistory.acceptedRequestsAt(e.Time) {
				if k.kind == "cancel" {
					j.reportBreach(c, "never after a cancel", "captured at +%s, a cancel was accepted at +%s", e.Time.Sub(j.startedAt), k.answeredAt.Sub(j.startedAt))
				}
			}
		}
	}
}

// known is the span in which the replica that sent a capture learned what
// another system had taken by then: of the last read that it made before, or
// the capture's own moment if there was none.
func (j *judge) known(c *judgedHold, e *stripesim.Effect) (early, late time.Time) {
	early, late = e.Time, e.Time
	i := slices.IndexFunc(c.stripeRequests, func(r *stripeRequest) bool { return r.requestID == e.RequestID })
	if i < 0 || c.lostWrites {
		return early, late
	}
	sent, read := c.stripeRequests[i], time.Time{}
	for _, r := range c.stripeRequests {
		if r.op == "read" && r.replyReceived && r.replica == sent.replica && !r.answeredAt.After(sent.sentAt) && r.answeredAt.After(read) {
			read, early = r.answeredAt, r.sentAt
		}
	}
	return early, late
}

// parts is what another system has captured by a moment, leaving the rest held.
func (c *judgedHold) parts(at time.Time) (sum int64) {
	for _, e := range c.effects {
		if e.Kind == stripesim.EffectCaptured && !e.Final && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum
}

// allowedCaptureAmounts are the amounts that a capture under these terms may
// have: of a total, what is missing once another system has taken its parts, as
// it was known between early and late.
func (c *judgedHold) allowedCaptureAmounts(t *terms, early, at time.Time) (all []int64) {
	if t.captureAmount > 0 {
		all = []int64{max(0, t.captureAmount-c.parts(early))}
		for _, e := range c.effects {
			if e.Time.After(early) && !e.Time.After(at) {
				all = append(all, max(0, t.captureAmount-c.parts(e.Time)))
			}
		}
		return all
	}
	if c.declaresAmount && c.amountError != 0 && len(c.apiRequests) == 1 && c.intake == "" && c.termsHistory.beforeEmptied == nil {
		return []int64{c.amount + c.amountError} // never more than anybody knew of
	}
	held := c.heldAmountAt(at)
	if c.declaresAmount {
		return []int64{c.amount, c.amount + c.amountError, held}
	}
	return []int64{held}
}

// hadEffectBy says that by a moment somebody had taken the money, or let it go.
func (c *judgedHold) hadEffectBy(by time.Time) bool {
	return slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Final && !e.Time.After(by) })
}

// heldAmountAt is what Stripe held at a moment, with what was added to it.
func (c *judgedHold) heldAmountAt(at time.Time) int64 {
	sum := c.amount
	for _, e := range c.effects {
		if e.Kind == stripesim.EffectIncremented && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum - c.parts(at)
}

// checkReportedState: what holdd says in the end is what is true at Stripe, and
// who did it.
func (j *judge) checkReportedState(c *judgedHold) {
	if c.finalHold == nil || c.hasWrongAccount() {
		return
	}
	want := hold.State(0)
	switch {
	case c.intent.Status == "succeeded":
		want = hold.Captured
	case c.intent.Status == "canceled" && c.intent.Expired:
		want = hold.Expired
	case c.intent.Status == "canceled":
		want = hold.Canceled
	}
	if !c.finalHold.State.Final() {
		return // ended judges
	}
	if c.finalHold.State != want {
		j.reportBreach(c, "told true", "holdd says %s, at Stripe it is %s (%s)", c.finalHold.State, c.intent.Status, c.intent.CancellationReason)
		return
	}
	if c.finalHold.NextOp != 0 || !c.finalHold.NextAt.IsZero() {
		j.reportBreach(c, "told true", "it has ended, and holdd says that it is going to %s it", c.finalHold.NextOp)
	}
	if want == hold.Captured && c.finalHold.CapturedAmount != c.intent.Received {
		j.reportBreach(c, "told true", "holdd says that %d were taken, Stripe says %d", c.finalHold.CapturedAmount, c.intent.Received)
	}
	by, another := "", false // life of the hold, since Redis was emptied
	for _, e := range c.effects {
		if e.Final && e.Kind != stripesim.EffectReleased {
			by = cmp.Or(by, e.Actor)
			another = another || j.intakeObserved.redisEmptiedAt.After(e.Time)
		}
	}
	if others := c.parts(c.deadline); want == hold.Captured && by == "api" && c.finalHold.Reason != hold.CauseElsewhere && len(j.plan.faults) == 0 && c.finalHold.CaptureAmount > 0 && c.finalHold.CapturedElsewhere != others {
		j.reportBreach(c, "told true", "holdd says that another system took %d, it took %d", c.finalHold.CapturedElsewhere, others)
	}
	ours := c.finalHold.Reason != hold.CauseElsewhere && c.finalHold.Reason != hold.CauseExpired
	switch {
	case by == "api" && !ours && !c.lostWrites && !another:
		j.reportBreach(c, "told true", "our own %s is called %s", want, c.finalHold.Reason)
	case by == "dashboard" && ours && !j.isEffectAmbiguous(c, want):
		j.reportBreach(c, "told true", "somebody else's %s is called ours (%s)", want, c.finalHold.Reason)
	}
}

// isEffectAmbiguous: a request for the same was sent, or a claim was never
// reported on, so that nobody can tell whose effect it is.
func (j *judge) isEffectAmbiguous(c *judgedHold, s hold.State) bool {
	for kind := range j.faultHits {
		if !strings.HasPrefix(kind, "stripe:") && !strings.HasPrefix(kind, "redis:clock") {
			return true
		}
	}
	for _, r := range c.stripeRequests {
		if r.op == map[hold.State]string{hold.Captured: "capture", hold.Canceled: "cancel"}[s] {
			return true
		}
	}
	return false
}

func (c *judgedHold) hasWrongAccount() bool { return c.plannedHold.requestedAccount != "" }

// checkEnded: nothing acknowledged is lost, every hold ends, and what nobody
// could end was told to somebody.
func (j *judge) checkEnded(c *judgedHold) {
	known := slices.ContainsFunc(c.termsHistory.accepted, func(k *apiRequest) bool { return schedulingKinds[k.kind] })
	switch {
	case c.finalHold == nil && known:
		j.reportBreach(c, "nothing lost", "it was scheduled, and is gone")
		return
	case c.finalHold == nil:
		return
	case c.hasWrongAccount():
		if len(c.effects) > 0 && slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Actor == "api" }) {
			j.reportBreach(c, "ends", "acted on though it is of the wrong account")
		}
	case j.isAwaitingOperator(c):
	case !c.finalHold.State.Final():
		j.reportBreach(c, "ends", "still %s (next %s at +%s, %s) at +%s; at Stripe %s since the deadline at +%s", c.finalHold.State, c.finalHold.NextOp, c.finalHold.NextAt.Sub(j.startedAt), c.finalHold.Reason,
			j.elapsed(), c.intent.Status, c.deadline.Sub(j.startedAt))
	}
	if c.finalHold.State == hold.Attention && c.finalHold.Reason == hold.CauseKeyConflict || slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Data.Cause == "key_conflict" }) {
		j.reportBreach(c, "key", "Stripe saw one key with two meanings")
	}
}

// isAwaitingOperator: a person was called to a hold that Stripe has told
// nothing of. It is looked up at its deadline, which is the assumed one, days
// after this world's end.
func (j *judge) isAwaitingOperator(c *judgedHold) bool {
	return c.finalHold.State == hold.Attention && !c.finalHold.Verified && c.finalHold.ExpiresAt.After(j.redisTimeAt(j.timeAt(j.elapsed()))) &&
		slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention })
}

// checkRateLimit: what Stripe refused for its rate was refused by a fault.
func (j *judge) checkRateLimit() {
	if s := j.sim.Stats(); s.RateLimited > int64(j.faultHits["stripe:rate_limited"]) {
		j.breach("limits: Stripe refused %d calls for their rate, faults made %d of these", s.RateLimited, j.faultHits["stripe:rate_limited"])
	}
}
