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

// stateAtStripe is the final state that Stripe shows, 0 for none.
func (c *judgedHold) stateAtStripe() hold.State {
	switch {
	case c.intent.Status == "succeeded":
		return hold.Captured
	case c.intent.Status == "canceled" && c.intent.Expired:
		return hold.Expired
	case c.intent.Status == "canceled":
		return hold.Canceled
	}
	return 0
}

// reportsFinalState reports whether holdd says that the hold has ended.
func (c *judgedHold) reportsFinalState() bool {
	return c.finalHold != nil && !c.hasWrongAccount() && c.finalHold.State.IsFinal()
}

func (j *judge) checkReportedState(c *judgedHold) {
	if !c.reportsFinalState() {
		return // checkEnded judges that
	}
	if want := c.stateAtStripe(); c.finalHold.State != want {
		j.failHold(c, "holdd says %s, at Stripe it is %s (%s)", c.finalHold.State, c.intent.Status,
			c.intent.CancellationReason)
		return
	}
	if c.finalHold.NextOp != 0 || !c.finalHold.NextAt.IsZero() {
		j.failHold(c, "it has ended, and holdd says that it is going to %s it", c.finalHold.NextOp)
	}
	if c.finalHold.State == hold.Captured && c.finalHold.CapturedAmount != c.intent.Received {
		j.failHold(c, "holdd says that %d were captured, Stripe says %d",
			c.finalHold.CapturedAmount, c.intent.Received)
	}
}

func (j *judge) checkReportedCause(c *judgedHold) {
	if !c.reportsFinalState() || c.finalHold.State != c.stateAtStripe() {
		return
	}
	h := c.finalHold
	by, beforeDataLoss, mixed := "", false, false
	for _, e := range c.effects {
		if e.Final && e.Kind != stripesim.EffectReleased {
			by = cmp.Or(by, e.Actor)
			// A part of another system since the last read: which is whose does not show.
			early, _ := j.partsKnownBetween(c, &e)
			mixed = mixed || c.partsAt(e.Time) != c.partsAt(early)
			beforeDataLoss = beforeDataLoss || j.intakeObserved.redisEmptiedAt.After(e.Time)
		}
	}
	if others := c.partsAt(c.deadline); h.State == hold.Captured && by == "api" &&
		h.Reason != hold.CauseElsewhere &&
		len(j.plan.faults) == 0 && h.CaptureAmount > 0 && h.CapturedElsewhere != others {
		j.failHold(c, "holdd says that another system captured %d, it captured %d",
			h.CapturedElsewhere, others)
	}
	ours := h.Reason != hold.CauseElsewhere && h.Reason != hold.CauseExpired
	switch {
	case by == "api" && !ours && !c.lostWrites && !beforeDataLoss && !mixed:
		j.failHold(c, "holdd's own %s is called %s", h.State, h.Reason)
	case by == "dashboard" && ours && !j.isEffectAmbiguous(c, h.State):
		j.failHold(c, "another system's %s is called holdd's (%s)", h.State, h.Reason)
	}
}

// isEffectAmbiguous reports whether holdd cannot know whose effect it is: it
// sent a request for the same, or a claim ended without a report.
func (j *judge) isEffectAmbiguous(c *judgedHold, s hold.State) bool {
	for kind := range j.faultHits {
		if !strings.HasPrefix(kind, "stripe:") && !strings.HasPrefix(kind, "redis:clock") {
			return true
		}
	}
	op := map[hold.State]string{hold.Captured: "capture", hold.Canceled: "cancel"}[s]
	for _, r := range c.stripeRequests {
		if r.op == op {
			return true
		}
	}
	for key := range j.unsentKeys { // holdd cannot know that nothing has left
		if strings.HasPrefix(key, "holdd-"+c.intentID+"-"+op+"-") {
			return true
		}
	}
	return false
}

func (j *judge) checkHistoryIsTrue(c *judgedHold) {
	if c.finalHold == nil {
		return
	}
	for _, e := range c.finalHold.History {
		if e.Kind != hold.HistoryAttempt {
			continue
		}
		sent := slices.ContainsFunc(c.stripeRequests, func(r *stripeRequest) bool {
			return r.op == e.Op.String() && r.idempotencyKey == e.Key &&
				(e.RequestID == "" || r.requestID == e.RequestID)
		})
		if !sent && e.Answer != hold.AnswerUnreachable &&
			!(e.Answer == hold.AnswerUnknown && j.unsentKeys[e.Key]) {
			j.failHold(c, "it names a %s with key %s and request %q, which was never sent", e.Op,
				shortenKey(e.Key), e.RequestID)
		}
	}
}

// checkShouldRetry: with true a refusal is an unknown outcome. With false holdd
// reads the intent before it sends another request.
func (j *judge) checkShouldRetry(c *judgedHold) {
	if c.finalHold == nil {
		return
	}
	for _, e := range c.finalHold.History {
		i := slices.IndexFunc(c.stripeRequests, func(r *stripeRequest) bool {
			return r.requestID == e.RequestID && r.replyReceived && r.op == e.Op.String() &&
				strings.HasSuffix(r.fault, " retry") && !r.rateLimited &&
				r.status >= http.StatusBadRequest && // a repeat of what succeeded is no refusal
				r.status != http.StatusUnauthorized // another fault at the same time
		})
		if e.Kind != hold.HistoryAttempt || e.RequestID == "" || i < 0 {
			continue
		}
		r := c.stripeRequests[i]
		if strings.HasSuffix(r.fault, ", retry") {
			switch e.Answer {
			case hold.AnswerUnknown, hold.AnswerReplayedError:
			case hold.AnswerKeyInUse, hold.AnswerLockTimeout: // Stripe's own, which refuse nothing
			default:
				j.failHold(c, "%s: %d with Stripe-Should-Retry: true counts as %s", r.op, r.status,
					e.Answer)
			}
			continue
		}
		next := j.nextRequest(c, r.answeredAt)
		if next != nil && next.op != "read" && next.op != "update" && !j.hadReplicaFault(r) {
			j.failHold(c, "%s after %d with Stripe-Should-Retry: false, without a read",
				next.op, r.status)
		}
	}
}

// nextRequest returns the first request of a hold that was sent after t, nil if
// there is none.
func (j *judge) nextRequest(c *judgedHold, t time.Time) (next *stripeRequest) {
	for _, r := range c.stripeRequests {
		if r.sentAt.After(t) && (next == nil || r.sentAt.Before(next.sentAt)) {
			next = r
		}
	}
	return next
}

// checkHistoryIsComplete: an answer that reached a replica which lived on to
// write it is in the history.
func (j *judge) checkHistoryIsComplete(c *judgedHold) {
	if c.finalHold == nil {
		return
	}
	for _, e := range c.effects {
		i := slices.IndexFunc(c.stripeRequests, func(r *stripeRequest) bool {
			return r.requestID == e.RequestID && r.replyReceived && r.fault == ""
		})
		if e.Actor != "api" || i < 0 || c.finalHold.HistoryDropped > 0 || len(j.lostSpans) > 0 ||
			j.hadReplicaFault(c.stripeRequests[i]) {
			continue
		}
		if !slices.ContainsFunc(c.finalHold.History, func(h hold.HistoryEntry) bool {
			return h.Kind == hold.HistoryAttempt && h.RequestID == e.RequestID &&
				h.Key == e.IdempotencyKey
		}) {
			j.failHold(c, "it doesn't name request %s, which had the effect", e.RequestID)
		}
	}
}

func (j *judge) checkHistoryOrder(c *judgedHold) {
	if c.finalHold == nil || len(j.redisClocks) > 1 || c.lostWrites {
		return
	}
	for i := 1; i < len(c.finalHold.History); i++ {
		if c.finalHold.History[i].At.Before(c.finalHold.History[i-1].At.Add(-time.Second)) {
			j.failHold(c, "it goes back in time: %+v", c.finalHold.History)
		}
	}
}

// hadReplicaFault reports whether the replica of a request had a fault that may
// have kept it from writing the answer. A cut connection and a short outage of
// Redis are none: the replica keeps an outcome until Redis accepts it, and the
// lease outlives that.
func (j *judge) hadReplicaFault(r *stripeRequest) bool {
	return slices.ContainsFunc(j.plan.faults, func(f fault) bool {
		brief := (strings.HasPrefix(f.kind, "redis:cut") || f.kind == "redis:down") &&
			r.answeredAt.Sub(r.sentAt) < 2*time.Second &&
			j.timeAt(f.to).Before(r.answeredAt.Add(4*time.Second))
		return !brief && !strings.HasPrefix(f.kind, "stripe:") &&
			!j.timeAt(f.from).After(r.answeredAt.Add(time.Minute)) &&
			!j.timeAt(f.to).Before(r.sentAt)
	})
}

func (j *judge) checkLogged(c *judgedHold) {
	if c.finalHold == nil || !c.finalHold.State.IsFinal() || len(j.lostSpans) > 0 ||
		!j.intakeObserved.redisEmptiedAt.IsZero() ||
		!slices.Contains([]hold.Cause{hold.CauseSchedule, hold.CauseTrigger, hold.CauseOnExpiry},
			c.finalHold.Reason) ||
		j.hadReplicaDeath() || slices.ContainsFunc(j.plan.faults,
		func(f fault) bool { return f.kind == "pause" }) {
		return
	}
	if line := "hold." + c.finalHold.State.String(); j.intakeObserved.firstLoggedAt[line+
		" "+c.intentID].IsZero() {
		j.failHold(c, "it is %s, and no line of a log says so", c.finalHold.State)
	}
}

func (j *judge) checkNoRepeatedEvent(c *judgedHold) {
	seen := map[string]bool{}
	for _, e := range c.events {
		if seen[e.ID] && len(j.lostSpans) == 0 {
			j.failHold(c, "event %s (%s) twice", e.ID, e.Type)
		}
		seen[e.ID] = true
	}
}

func (j *judge) checkEndEvents(c *judgedHold) {
	if c.finalHold == nil || c.hasWrongAccount() {
		return
	}
	count := map[hold.EventType]int{}
	for _, e := range c.events {
		count[e.Type]++
	}
	ends := map[hold.State]hold.EventType{hold.Captured: hold.EventCaptured,
		hold.Canceled: hold.EventCanceled, hold.Expired: hold.EventExpired}
	for s, t := range ends {
		switch {
		case c.finalHold.State == s && count[t] == 0:
			j.failHold(c, "it is %s, and no event says so", s)
		case count[t] > 1 && len(j.lostSpans) == 0,
			c.finalHold.State != s && count[t] > 0 && c.finalHold.State.IsFinal() &&
				len(j.lostSpans) == 0:
			j.failHold(c, "%d events %s of a hold that is %s", count[t], t, c.finalHold.State)
		}
	}
	if count[hold.EventScheduled] == 0 && len(j.lostSpans) == 0 {
		j.failHold(c, "no event says that it was scheduled")
	}
}

// checkEventIDs: a receiver drops an event whose id it has seen.
func (j *judge) checkEventIDs() {
	first := map[string]*event.Envelope{}
	for _, all := range [][]event.Envelope{j.lostEvents, j.events} {
		for i := range all {
			e := &all[i]
			f := first[e.ID]
			if f == nil {
				first[e.ID] = e
				continue
			}
			if f.Type != e.Type || f.Data.Cause != e.Data.Cause ||
				f.Data.Threshold != e.Data.Threshold {
				j.fail("%s is %s %s %s, and %s %s %s", e.ID, f.Type, f.Data.Cause, f.Data.Threshold,
					e.Type, e.Data.Cause, e.Data.Threshold)
			}
		}
	}
}
