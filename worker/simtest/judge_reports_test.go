package simtest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// checkHistory: it tells of requests that were really sent, with Stripe's own
// ids; an answer that was heard is in it.
func (j *judge) checkHistory(c *judgedHold) {
	if c.finalHold == nil {
		return
	}
	for _, e := range c.finalHold.History {
		if e.Kind != hold.HistoryAttempt {
			continue
		}
		found := slices.ContainsFunc(c.stripeRequests, func(r *stripeRequest) bool {
			return r.op == e.Op.String() && r.idempotencyKey == e.Key && (e.RequestID == "" || r.requestID == e.RequestID)
		})
		if !found && e.Answer != hold.AnswerUnreachable && !(e.Answer == hold.AnswerUnknown && j.unsentKeys[e.Key]) {
			j.reportBreach(c, "history", "it tells of %s with key %s and request %q, which never was", e.Op, shortenKey(e.Key), e.RequestID)
		}
	}
	// An answer that reached a replica which lived on to write it down is
	// written down.
	for _, e := range c.effects {
		i := slices.IndexFunc(c.stripeRequests, func(r *stripeRequest) bool { return r.requestID == e.RequestID && r.replyReceived && r.fault == "" })
		if e.Actor != "api" || i < 0 || c.finalHold.HistoryDropped > 0 || len(j.lostSpans) > 0 || j.hadReplicaFault(c.stripeRequests[i]) {
			continue
		}
		if !slices.ContainsFunc(c.finalHold.History, func(h hold.HistoryEntry) bool {
			return h.Kind == hold.HistoryAttempt && h.RequestID == e.RequestID && h.Key == e.IdempotencyKey
		}) {
			j.reportBreach(c, "history", "it doesn't tell of request %s that had the effect", e.RequestID)
		}
	}
	for i := 1; i < len(c.finalHold.History) && len(j.redisClocks) == 1; i++ {
		// no clock was set back
		if c.finalHold.History[i].At.Before(c.finalHold.History[i-1].At.Add(-time.Second)) && !c.lostWrites {
			j.reportBreach(c, "history", "it goes back in time: %+v", c.finalHold.History)
		}
	}
}

// hadReplicaFault says whether a request's replica had trouble that may have
// kept it from writing down what it heard. Connections that are cut and a Redis
// that is down for a moment are none: an outcome is kept until Redis takes it,
// and the lease outlives that.
func (j *judge) hadReplicaFault(r *stripeRequest) bool {
	return slices.ContainsFunc(j.plan.faults, func(f fault) bool {
		brief := (strings.HasPrefix(f.kind, "redis:cut") || f.kind == "redis:down") && r.answeredAt.Sub(r.sentAt) < 2*time.Second && j.timeAt(f.to).Before(r.answeredAt.Add(4*time.Second))
		return !brief && !strings.HasPrefix(f.kind, "stripe:") && !j.timeAt(f.from).After(r.answeredAt.Add(time.Minute)) && !j.timeAt(f.to).Before(r.sentAt)
	})
}

// checkResponses: what the callers were told was so when they were told it, and
// revisions only grow.
func (j *judge) checkResponses(c *judgedHold) {
	if c.hasWrongAccount() {
		return
	}
	for _, k := range c.apiRequests {
		var p *hold.Problem
		if !k.replyReceived || !errors.As(k.err, &p) {
			continue
		}
		state := map[hold.Code]stripesim.EffectKind{hold.AlreadyCaptured: stripesim.EffectCaptured, hold.AlreadyCanceled: stripesim.EffectCanceled, hold.AlreadyExpired: stripesim.EffectExpired}[p.Code]
		if state != "" && !slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Kind == state && !e.Time.After(k.answeredAt) }) {
			j.reportBreach(c, "answers", "%s was answered %s before it was so", k.kind, p.Code)
		}
	}
	// A wish on the revision that was just read is refused only if somebody
	// else was faster.
	for i, a := range c.apiRequests {
		var p *hold.Problem
		if a.revision == 0 || !a.replyReceived || !errors.As(a.err, &p) || p.Code != hold.RevisionMismatch || c.finalHold == nil || j.lostRedisWrites(a.sentAt.Add(-time.Minute), a.answeredAt) {
			continue
		}
		others := slices.ContainsFunc(c.finalHold.History, func(e hold.HistoryEntry) bool {
			return e.By != "people" && !e.At.Before(a.sentAt.Add(-time.Second)) && !e.At.After(a.answeredAt)
		})
		for k, b := range c.apiRequests {
			others = others || k != i && b.sentAt.Before(a.answeredAt) && (b.answeredAt.IsZero() || b.answeredAt.After(a.sentAt.Add(-time.Second)) || b.isOutcomeUnknown())
		}
		if !others && c.finalHold.HistoryDropped == 0 {
			j.reportBreach(c, "answers", "%s at +%s was refused because of itself: %v", a.kind, a.sentAt.Sub(j.startedAt), a.err)
		}
	}
	// The same wish again is the same hold, or one that was changed meanwhile.
	for _, a := range c.termsHistory.accepted {
		for _, b := range c.apiRequests {
			if a.kind != "schedule" || b.kind != "schedule" || !a.answeredAt.Before(b.sentAt) || b.isAccepted() || b.isOutcomeUnknown() || j.lostRedisWrites(a.sentAt, b.answeredAt) {
				continue
			}
			var p *hold.Problem
			if !errors.As(b.err, &p) || p.Code != hold.HoldExists && p.Code != hold.InThePast {
				j.reportBreach(c, "answers", "scheduled at +%s, the same wish again at +%s was refused: %v", a.answeredAt.Sub(j.startedAt), b.answeredAt.Sub(j.startedAt), b.err)
			}
		}
	}
	// A cancel that was accepted is for good.
	for _, a := range c.termsHistory.accepted {
		for _, b := range c.termsHistory.accepted {
			wants := strings.HasPrefix(b.kind, "capture") || strings.HasPrefix(b.kind, "patch c")
			if a.kind == "cancel" && wants && b.sentAt.After(a.answeredAt) && !j.lostRedisWrites(a.sentAt, b.answeredAt) {
				j.reportBreach(c, "answers", "%s was accepted at +%s, after the cancel at +%s", b.kind, b.answeredAt.Sub(j.startedAt), a.answeredAt.Sub(j.startedAt))
			}
		}
	}
	for i, a := range c.apiRequests {
		if !a.isAccepted() || j.lostRedisWrites(a.sentAt, a.answeredAt) {
			continue
		}
		if !j.intakeObserved.redisEmptiedAt.IsZero() && a.sentAt.Before(j.intakeObserved.redisEmptiedAt) {
			continue // another life
		}
		if c.finalHold != nil && a.result.Revision > c.finalHold.Revision {
			j.reportBreach(c, "answers", "revision %d was told, in the end it is %d", a.result.Revision, c.finalHold.Revision)
		}
		if a.result.State.Final() && c.finalHold != nil && a.result.State != c.finalHold.State {
			j.reportBreach(c, "answers", "told %s, in the end it is %s", a.result.State, c.finalHold.State)
		}
		for _, b := range c.apiRequests[i+1:] {
			if !b.isAccepted() || j.lostRedisWrites(b.sentAt, b.answeredAt) || j.lostRedisWrites(a.answeredAt, b.sentAt) {
				continue
			}
			if a.answeredAt.Before(b.sentAt) && b.result.Revision < a.result.Revision {
				j.reportBreach(c, "answers", "revision %d was told after %d", b.result.Revision, a.result.Revision)
			}
			if a.result.Revision == b.result.Revision && a.result.Version == b.result.Version && !sameTerms(&a.result, &b.result) {
				j.reportBreach(c, "answers", "two answers of revision %d tell different terms", a.result.Revision)
			}
		}
	}
}

func sameTerms(a, b *hold.Hold) bool {
	return a.State == b.State && a.CaptureAt.Equal(b.CaptureAt) && a.CancelAt.Equal(b.CancelAt) && a.CaptureAmount == b.CaptureAmount && a.OnExpiry == b.OnExpiry &&
		a.CancelWanted == b.CancelWanted && a.NextOp == b.NextOp
}

// checkLogged: what holdd did with the money stands in the log of whoever did
// it, if nobody died or slept.
func (j *judge) checkLogged(c *judgedHold) {
	if c.finalHold == nil || !c.finalHold.State.Final() || len(j.lostSpans) > 0 || !j.intakeObserved.redisEmptiedAt.IsZero() || !slices.Contains([]hold.Cause{hold.CauseSchedule, hold.CauseTrigger, hold.CauseOnExpiry}, c.finalHold.Reason) ||
		slices.ContainsFunc(j.plan.faults, func(f fault) bool { return f.kind == "stop" || f.kind == "pause" || strings.HasPrefix(f.kind, "kill") }) {
		return
	}
	if line := "hold." + c.finalHold.State.String(); j.intakeObserved.firstLoggedAt[line+" "+c.intentID].IsZero() {
		j.reportBreach(c, "logged", "it is %s, and no line of a log says so", c.finalHold.State)
	}
}

// checkEventIDs: whoever receives events drops an id that was seen, so two that
// tell different things have two, whatever Redis has lost in between.
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
			if f.Type != e.Type || f.Data.Cause != e.Data.Cause || f.Data.Threshold != e.Data.Threshold {
				j.breach("one id: %s is %s %s %s, and %s %s %s", e.ID, f.Type, f.Data.Cause, f.Data.Threshold, e.Type, e.Data.Cause, e.Data.Threshold)
			}
		}
	}
}

// checkEvents: each end is told once, nothing twice, and nothing is open past
// its deadline without a word.
func (j *judge) checkEvents(c *judgedHold) {
	seen, ends := map[string]bool{}, map[hold.EventType]int{}
	for _, e := range c.events {
		if seen[e.ID] && len(j.lostSpans) == 0 {
			j.reportBreach(c, "told once", "event %s (%s) twice", e.ID, e.Type)
		}
		seen[e.ID] = true
		ends[e.Type]++
	}
	if c.finalHold == nil || c.hasWrongAccount() {
		return
	}
	last := map[hold.State]hold.EventType{hold.Captured: hold.EventCaptured, hold.Canceled: hold.EventCanceled, hold.Expired: hold.EventExpired}
	for s, n := range last {
		switch {
		case c.finalHold.State == s && ends[n] == 0:
			j.reportBreach(c, "told once", "it is %s, and no event says so", s)
		case ends[n] > 1 && len(j.lostSpans) == 0, c.finalHold.State != s && ends[n] > 0 && c.finalHold.State.Final() && len(j.lostSpans) == 0:
			j.reportBreach(c, "told once", "%d events %s of a hold that is %s", ends[n], n, c.finalHold.State)
		}
	}
	if ends[hold.EventScheduled] == 0 && len(j.lostSpans) == 0 {
		j.reportBreach(c, "told once", "no event tells that it was scheduled")
	}
	// Open past the deadline: Stripe let it go by itself. Of an intent of which
	// a part was captured it shows no such thing: that has succeeded, and the
	// event that ends the hold tells of it.
	if c.intent.Expired && c.intent.Received == 0 && j.timeAt(c.scheduledAt).Before(c.deadline) {
		warned := slices.ContainsFunc(c.events, func(e event.Envelope) bool {
			return e.Type == hold.EventExpiring || e.Type == hold.EventExpired || e.Type == hold.EventAttention
		})
		if !warned {
			j.reportBreach(c, "alert", "it lapsed at +%s, and nobody was told", c.deadline.Sub(j.startedAt))
		}
	}
}

// isFaultFree says that nothing went wrong within a span, nor shortly before,
// but for faults of the kinds named.
func (j *judge) isFaultFree(from, to time.Time, but ...string) bool {
	from = from.Add(-5*j.plan.jobInterval - 2*time.Minute)
	for _, f := range j.plan.faults {
		if !slices.Contains(but, f.kind) && !j.timeAt(f.from).After(to) && !j.timeAt(f.to+f.restartAfter).Before(from) {
			return false
		}
	}
	return true
}

// hadFault says that something of a kind went wrong within a span.
func (j *judge) hadFault(kind string, from, to time.Time) bool {
	return slices.ContainsFunc(j.plan.faults, func(f fault) bool {
		return strings.HasPrefix(f.kind, kind) && !j.timeAt(f.from).After(to) && !j.timeAt(f.to+f.restartAfter).Before(from)
	})
}

// actionTimeLimit is how long what is due may take while all is well: two
// ticks, and the queue before it.
func (j *judge) actionTimeLimit() time.Duration {
	return 2*j.plan.jobInterval + 5*time.Second + time.Duration(len(j.plan.holds))*(j.plan.serviceTime+time.Second)
}

// checkActedInTime: what is due is done while nothing is wrong.
func (j *judge) checkActedInTime(c *judgedHold) {
	if c.hasWrongAccount() || c.amountError != 0 || c.expiryError != 0 || len(c.termsHistory.indeterminate) > 0 || len(c.termsHistory.accepted) == 0 || c.declaresAmount && c.heldAmountAt(c.deadline) != c.amount {
		return
	}
	last := c.termsHistory.accepted[len(c.termsHistory.accepted)-1]
	t := c.termsHistory.possibleTermsSinceEmptied(last.answeredAt)[0]
	due := t.cancelRequestedAt
	if due.IsZero() && !t.paused {
		due = t.captureRequestedAt
		for _, own := range []time.Time{t.captureAt, t.cancelAt} {
			if due.IsZero() && !own.IsZero() {
				due = j.fromRedisTime(own)
			}
		}
	}
	j.checkActedBeforeExpiry(c, &t, last, due)
	if due.IsZero() || last.result.State == hold.Attention || t.captureAmount > c.heldAmountAt(due)+c.parts(due) {
		return
	}
	if due.Before(last.answeredAt) {
		due = last.answeredAt
	}
	if len(j.intakeObserved.reviews[c.number]) > 0 {
		approvedAt := j.reviewApprovalSeenAt(c)
		if approvedAt.IsZero() {
			return
		}
		if due.Before(approvedAt) {
			due = approvedAt
		}
	}
	by := due.Add(j.actionTimeLimit())
	if !j.isFaultFree(due, by) { // work resumes by itself
		for _, f := range j.plan.faults {
			if end := j.timeAt(f.to + f.restartAfter); due.Before(end) {
				due = end
			}
		}
		by = due.Add(j.actionTimeLimit() + 5*j.plan.jobInterval + 7*time.Minute)
		if slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention }) {
			return
		}
	}
	if by.After(j.fromRedisTime(c.earliestDeadline.Add(-j.plan.expiryMargin))) || by.After(j.timeAt(j.elapsed())) {
		return
	}
	if !c.hadEffectBy(by) {
		j.reportBreach(c, "in time", "due at +%s, and nothing was done by +%s though all was well", due.Sub(j.startedAt), by.Sub(j.startedAt))
	}
}

// checkActedBeforeExpiry: what people wished last is done, or else their policy
// speaks, where there was room for it before the authorization ended.
func (j *judge) checkActedBeforeExpiry(c *judgedHold, t *terms, last *apiRequest, due time.Time) {
	what := "it was due"
	if due.IsZero() || !due.Before(j.fromRedisTime(c.deadline)) {
		if t.onExpiry != "cancel" && (t.onExpiry != "capture" || t.paused || !t.cancelAt.IsZero()) {
			return
		}
		what, due = "its policy was to "+t.onExpiry+" it", j.fromRedisTime(c.deadline.Add(-j.plan.expiryMargin))
	}
	if due.Before(last.answeredAt) {
		due = last.answeredAt
	}
	end := earlierTime(c.deadline, j.fromRedisTime(c.deadline))
	room := 2*j.plan.jobInterval + 2*time.Second + time.Duration(len(j.plan.holds))*(j.plan.serviceTime+time.Second/time.Duration(j.plan.rateLimit))
	switch {
	case !c.intent.Expired, t.captureAmount > c.heldAmountAt(due)+c.parts(due), len(j.intakeObserved.reviews[c.number]) > 0, len(j.intakeObserved.earlierDeadlines[c.number]) > 0:
	case end.Before(due.Add(room)), !j.isFaultFree(due, end), end.After(j.timeAt(j.elapsed())):
	case slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention }):
	default:
		j.reportBreach(c, "in time", "%s at +%s, and it lapsed at +%s though all was well", what, due.Sub(j.startedAt), c.deadline.Sub(j.startedAt))
	}
}

// checkExpiryWarnings: each threshold before the deadline is told while nothing
// is wrong.
func (j *judge) checkExpiryWarnings(c *judgedHold) {
	if c.hasWrongAccount() || len(c.termsHistory.accepted) == 0 || c.amountError != 0 || c.expiryError != 0 || len(j.intakeObserved.earlierDeadlines[c.number]) > 0 {
		return
	}
	s := c.termsHistory.accepted[0]
	if s.kind != "schedule" || !s.result.ExpiresAt.Equal(c.deadline) {
		return
	}
	for _, k := range c.apiRequests {
		if k.kind == "acknowledge" {
			return
		}
	}
	j.warnedAtOnce(c, s)
	for _, d := range j.plan.alertThresholds {
		at := j.fromRedisTime(c.deadline.Add(-d))
		by := at.Add(2*j.plan.jobInterval + 3*time.Second)
		if !at.After(s.answeredAt) || !j.isFaultFree(at, by) || by.After(j.timeAt(j.elapsed())) || by.After(c.deadline) {
			continue
		}
		if c.hadEffectBy(by) {
			continue // it ended about then
		}
		if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
			return e.Type == hold.EventExpiring && !e.Timestamp.Before(at.Truncate(time.Millisecond)) && !e.Timestamp.After(by)
		}) {
			j.reportBreach(c, "alert", "open %s before its deadline at +%s, and nobody was told", d, c.deadline.Sub(j.startedAt))
		}
	}
}

// warnedAtOnce: a hold that arrives inside a threshold is warned of at once by
// the nearest that has passed, and no threshold is told twice.
func (j *judge) warnedAtOnce(c *judgedHold, s *apiRequest) {
	told := map[string]int{}
	for _, e := range c.events {
		if e.Type == hold.EventExpiring && e.Data.Cause == "" {
			told[e.Data.Threshold]++
		}
	}
	for d, n := range told {
		if n > 1 && len(j.lostSpans) == 0 && len(j.redisClocks) == 1 {
			j.reportBreach(c, "alert", "%d events warn of the threshold %s", n, d)
		}
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
	if nearest == 0 || !j.isFaultFree(s.sentAt, by) || by.After(j.fromRedisTime(c.deadline)) || by.After(c.deadline) || by.After(j.timeAt(j.elapsed())) || c.hadEffectBy(by) {
		return
	}
	if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
		return e.Type == hold.EventExpiring && e.Data.Threshold == nearest.String() && !e.Timestamp.After(by)
	}) {
		j.reportBreach(c, "alert", "scheduled at +%s, inside the threshold %s, and nobody was told by +%s", s.answeredAt.Sub(j.startedAt), nearest, by.Sub(j.startedAt))
	}
}

// askedFirst: the deadline's policy moves no money at once unless a request
// confirmed that, and a request is refused for it only within the margin.
func (j *judge) askedFirst(c *judgedHold) {
	confirmed := false
	for _, k := range c.apiRequests {
		confirmed = confirmed || k.confirm || k.kind == "inbox" && !c.unconfirmed
		var p *hold.Problem
		if !k.replyReceived || !errors.As(k.err, &p) || p.Code != hold.WouldCancelNow && p.Code != hold.WouldCaptureNow {
			continue
		}
		if k.confirm {
			j.reportBreach(c, "asked first", "%s at +%s was confirmed, and refused: %v", k.kind, k.sentAt.Sub(j.startedAt), k.err)
		}
		if early := p.Deadline.Add(-j.plan.expiryMargin); j.redisTimeAt(k.answeredAt).Before(early) && len(j.redisClocks) == 1 {
			j.reportBreach(c, "asked first", "%s at +%s was refused before the margin: %v", k.kind, k.sentAt.Sub(j.startedAt), k.err)
		}
	}
	if confirmed || c.finalHold == nil || c.finalHold.Reason != hold.CauseOnExpiry || c.finalHold.State != hold.Captured && c.finalHold.State != hold.Canceled || len(j.lostSpans) > 0 || len(j.redisClocks) > 1 {
		return
	}
	if act := c.finalHold.ExpiresAt.Add(-j.plan.expiryMargin); !c.finalHold.CreatedAt.Before(act) {
		j.reportBreach(c, "asked first", "it came when its policy's time was over, nobody confirmed, and it is %s", c.finalHold.State)
	}
	for _, e := range c.events {
		if e.Type != hold.EventChanged && e.Type != hold.EventPaused && e.Type != hold.EventResumed && e.Type != hold.EventScheduled {
			continue
		}
		// Long inside the margin its policy has acted, or has nothing to do: if
		// it acts after a change, the change made it.
		act := e.Data.Hold.ExpiresAt.Add(-j.plan.expiryMargin)
		if i := slices.IndexFunc(c.finalHold.History, func(h hold.HistoryEntry) bool {
			return h.Kind == hold.HistoryTriggered && h.Cause == hold.CauseOnExpiry && !h.At.Before(e.Timestamp)
		}); i > 0 && !j.redisTimeAt(e.Timestamp).Before(act.Add(2*j.plan.jobInterval+3*time.Second)) && j.isFaultFree(e.Timestamp.Add(-time.Minute), e.Timestamp) && e.Data.Hold.State == "waiting" {
			j.reportBreach(c, "asked first", "%s at +%s let its policy act at once, and nobody confirmed", e.Type, e.Timestamp.Sub(j.startedAt))
		}
	}
}
