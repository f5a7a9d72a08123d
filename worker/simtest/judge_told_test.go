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

// history: it tells of requests that were really sent, with Stripe's own ids; an answer that was heard is in it.
func (j *judge) history(c *case_) {
	if c.final == nil {
		return
	}
	for _, e := range c.final.History {
		if e.Kind != hold.HistoryAttempt {
			continue
		}
		found := slices.ContainsFunc(c.requests, func(r *request) bool {
			return r.op == e.Op.String() && r.key == e.Key && (e.RequestID == "" || r.id == e.RequestID)
		})
		if !found && e.Answer != hold.AnswerUnreachable && !(e.Answer == hold.AnswerUnknown && j.unsent[e.Key]) {
			j.fail(c, "history", "it tells of %s with key %s and request %q, which never was", e.Op, short(e.Key), e.RequestID)
		}
	}
	// An answer that reached a replica which lived on to write it down is written down.
	for _, e := range c.effects {
		i := slices.IndexFunc(c.requests, func(r *request) bool { return r.id == e.RequestID && r.heard && r.fault == "" })
		if e.By != "api" || i < 0 || c.final.HistoryDropped > 0 || len(j.tails) > 0 || j.suffered(c.requests[i]) {
			continue
		}
		if !slices.ContainsFunc(c.final.History, func(h hold.HistoryEntry) bool {
			return h.Kind == hold.HistoryAttempt && h.RequestID == e.RequestID && h.Key == e.Key
		}) {
			j.fail(c, "history", "it doesn't tell of request %s that had the effect", e.RequestID)
		}
	}
	for i := 1; i < len(c.final.History) && len(j.clocks) == 1; i++ { // no clock was set back
		if c.final.History[i].At.Before(c.final.History[i-1].At.Add(-time.Second)) && !c.torn {
			j.fail(c, "history", "it goes back in time: %+v", c.final.History)
		}
	}
}

// suffered says whether a request's replica had trouble that may have kept it from writing down what it heard. Connections that are cut and a Redis
// that is down for a moment are none: an outcome is kept until Redis takes it, and the lease outlives that.
func (j *judge) suffered(r *request) bool {
	return slices.ContainsFunc(j.p.faults, func(f fault) bool {
		brief := (strings.HasPrefix(f.kind, "redis:cut") || f.kind == "redis:down") && r.answered.Sub(r.at) < 2*time.Second && j.at(f.to).Before(r.answered.Add(4*time.Second))
		return !brief && !strings.HasPrefix(f.kind, "stripe:") && !j.at(f.from).After(r.answered.Add(time.Minute)) && !j.at(f.to).Before(r.at)
	})
}

// answers: what the callers were told was so when they were told it, and revisions only grow.
func (j *judge) answers(c *case_) {
	if c.wished_() {
		return
	}
	for _, k := range c.calls {
		var p *hold.Problem
		if !k.heard || !errors.As(k.err, &p) {
			continue
		}
		state := map[hold.Code]stripesim.EffectKind{hold.AlreadyCaptured: stripesim.Captured, hold.AlreadyCanceled: stripesim.Canceled, hold.AlreadyExpired: stripesim.Expired}[p.Code]
		if state != "" && !slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Kind == state && !e.Time.After(k.end) }) {
			j.fail(c, "answers", "%s was answered %s before it was so", k.kind, p.Code)
		}
	}
	// A wish on the revision that was just read is refused only if somebody else was faster.
	for i, a := range c.calls {
		var p *hold.Problem
		if a.revision == 0 || !a.heard || !errors.As(a.err, &p) || p.Code != hold.RevisionMismatch || c.final == nil || j.lost(a.begin.Add(-time.Minute), a.end) {
			continue
		}
		others := slices.ContainsFunc(c.final.History, func(e hold.HistoryEntry) bool {
			return e.By != "people" && !e.At.Before(a.begin.Add(-time.Second)) && !e.At.After(a.end)
		})
		for k, b := range c.calls {
			others = others || k != i && b.begin.Before(a.end) && (b.end.IsZero() || b.end.After(a.begin.Add(-time.Second)) || b.unsure())
		}
		if !others && c.final.HistoryDropped == 0 {
			j.fail(c, "answers", "%s at +%s was refused because of itself: %v", a.kind, a.begin.Sub(j.began), a.err)
		}
	}
	// The same wish again is the same hold, or one that was changed meanwhile.
	for _, a := range c.wished.sure {
		for _, b := range c.calls {
			if a.kind != "schedule" || b.kind != "schedule" || !a.end.Before(b.begin) || b.granted() || b.unsure() || j.lost(a.begin, b.end) {
				continue
			}
			var p *hold.Problem
			if !errors.As(b.err, &p) || p.Code != hold.HoldExists && p.Code != hold.InThePast {
				j.fail(c, "answers", "scheduled at +%s, the same wish again at +%s was refused: %v", a.end.Sub(j.began), b.end.Sub(j.began), b.err)
			}
		}
	}
	// A cancel that was accepted is for good.
	for _, a := range c.wished.sure {
		for _, b := range c.wished.sure {
			wants := strings.HasPrefix(b.kind, "capture") || strings.HasPrefix(b.kind, "patch c")
			if a.kind == "cancel" && wants && b.begin.After(a.end) && !j.lost(a.begin, b.end) {
				j.fail(c, "answers", "%s was accepted at +%s, after the cancel at +%s", b.kind, b.end.Sub(j.began), a.end.Sub(j.began))
			}
		}
	}
	for i, a := range c.calls {
		if !a.granted() || j.lost(a.begin, a.end) {
			continue
		}
		if !j.way.emptied.IsZero() && a.begin.Before(j.way.emptied) {
			continue // another life
		}
		if c.final != nil && a.got.Revision > c.final.Revision {
			j.fail(c, "answers", "revision %d was told, in the end it is %d", a.got.Revision, c.final.Revision)
		}
		if a.got.State.Final() && c.final != nil && a.got.State != c.final.State {
			j.fail(c, "answers", "told %s, in the end it is %s", a.got.State, c.final.State)
		}
		for _, b := range c.calls[i+1:] {
			if !b.granted() || j.lost(b.begin, b.end) || j.lost(a.end, b.begin) {
				continue
			}
			if a.end.Before(b.begin) && b.got.Revision < a.got.Revision {
				j.fail(c, "answers", "revision %d was told after %d", b.got.Revision, a.got.Revision)
			}
			if a.got.Revision == b.got.Revision && a.got.Version == b.got.Version && !sameTerms(&a.got, &b.got) {
				j.fail(c, "answers", "two answers of revision %d tell different terms", a.got.Revision)
			}
		}
	}
}

func sameTerms(a, b *hold.Hold) bool {
	return a.State == b.State && a.CaptureAt.Equal(b.CaptureAt) && a.CancelAt.Equal(b.CancelAt) && a.CaptureAmount == b.CaptureAmount && a.OnExpiry == b.OnExpiry &&
		a.CancelWanted == b.CancelWanted && a.NextOp == b.NextOp
}

// logged: what holdd did with the money stands in the log of whoever did it, if nobody died or slept.
func (j *judge) logged(c *case_) {
	if c.final == nil || !c.final.State.Final() || len(j.tails) > 0 || !j.way.emptied.IsZero() || !slices.Contains([]hold.Cause{hold.CauseSchedule, hold.CauseTrigger, hold.CauseOnExpiry}, c.final.Reason) ||
		slices.ContainsFunc(j.p.faults, func(f fault) bool { return f.kind == "stop" || f.kind == "pause" || strings.HasPrefix(f.kind, "kill") }) {
		return
	}
	if line := "hold." + c.final.State.String(); j.way.said[line+" "+c.id].IsZero() {
		j.fail(c, "logged", "it is %s, and no line of a log says so", c.final.State)
	}
}

// named: whoever receives events drops an id that was seen, so two that tell different things have two, whatever Redis has lost in between.
func (j *judge) named() {
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

// announced: each end is told once, nothing twice, and nothing is open past its deadline without a word.
func (j *judge) announced(c *case_) {
	seen, ends := map[string]bool{}, map[hold.EventType]int{}
	for _, e := range c.events {
		if seen[e.ID] && len(j.tails) == 0 {
			j.fail(c, "told once", "event %s (%s) twice", e.ID, e.Type)
		}
		seen[e.ID] = true
		ends[e.Type]++
	}
	if c.final == nil || c.wished_() {
		return
	}
	last := map[hold.State]hold.EventType{hold.Captured: hold.EventCaptured, hold.Canceled: hold.EventCanceled, hold.Expired: hold.EventExpired}
	for s, n := range last {
		switch {
		case c.final.State == s && ends[n] == 0:
			j.fail(c, "told once", "it is %s, and no event says so", s)
		case ends[n] > 1 && len(j.tails) == 0, c.final.State != s && ends[n] > 0 && c.final.State.Final() && len(j.tails) == 0:
			j.fail(c, "told once", "%d events %s of a hold that is %s", ends[n], n, c.final.State)
		}
	}
	if ends[hold.EventScheduled] == 0 && len(j.tails) == 0 {
		j.fail(c, "told once", "no event tells that it was scheduled")
	}
	// Open past the deadline: Stripe let it go by itself. Of an intent of which a part was captured it shows no such thing: that has
	// succeeded, and the event that ends the hold tells of it.
	if c.intent.Expired && c.intent.Received == 0 && j.at(c.told).Before(c.deadline) {
		word := slices.ContainsFunc(c.events, func(e event.Envelope) bool {
			return e.Type == hold.EventExpiring || e.Type == hold.EventExpired || e.Type == hold.EventAttention
		})
		if !word {
			j.fail(c, "alert", "it lapsed at +%s, and nobody was told", c.deadline.Sub(j.began))
		}
	}
}

// calm says that nothing went wrong within a span, nor shortly before, but for faults of the kinds named.
func (j *judge) calm(from, to time.Time, but ...string) bool {
	from = from.Add(-5*j.p.tick - 2*time.Minute)
	for _, f := range j.p.faults {
		if !slices.Contains(but, f.kind) && !j.at(f.from).After(to) && !j.at(f.to+f.back).Before(from) {
			return false
		}
	}
	return true
}

// trouble says that something of a kind went wrong within a span.
func (j *judge) trouble(kind string, from, to time.Time) bool {
	return slices.ContainsFunc(j.p.faults, func(f fault) bool {
		return strings.HasPrefix(f.kind, kind) && !j.at(f.from).After(to) && !j.at(f.to+f.back).Before(from)
	})
}

// patience is how long what is due may take while all is well: two ticks, and the queue before it.
func (j *judge) patience() time.Duration {
	return 2*j.p.tick + 5*time.Second + time.Duration(len(j.p.holds))*(j.p.service+time.Second)
}

// inTime: what is due is done while nothing is wrong.
func (j *judge) inTime(c *case_) {
	if c.wished_() || c.lie != 0 || c.lieLife != 0 || len(c.wished.unsure) > 0 || len(c.wished.sure) == 0 || c.declared && c.held(c.deadline) != c.amount {
		return
	}
	last := c.wished.sure[len(c.wished.sure)-1]
	t := c.wished.since(last.end)[0]
	due := t.cancelNow
	if due.IsZero() && !t.paused {
		due = t.captureNow
		for _, own := range []time.Time{t.captureAt, t.cancelAt} {
			if due.IsZero() && !own.IsZero() {
				due = j.here(own)
			}
		}
	}
	j.beforeItLapses(c, &t, last, due)
	if due.IsZero() || last.got.State == hold.Attention || t.part > c.held(due)+c.parts(due) {
		return
	}
	if due.Before(last.end) {
		due = last.end
	}
	if len(j.way.reviews[c.n]) > 0 {
		heard := j.approved(c)
		if heard.IsZero() {
			return
		}
		if due.Before(heard) {
			due = heard
		}
	}
	by := due.Add(j.patience())
	if !j.calm(due, by) { // work resumes by itself
		for _, f := range j.p.faults {
			if end := j.at(f.to + f.back); due.Before(end) {
				due = end
			}
		}
		by = due.Add(j.patience() + 5*j.p.tick + 7*time.Minute)
		if slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention }) {
			return
		}
	}
	if by.After(j.here(c.nearest.Add(-j.p.margin))) || by.After(j.at(j.since())) {
		return
	}
	if !c.acted(by) {
		j.fail(c, "in time", "due at +%s, and nothing was done by +%s though all was well", due.Sub(j.began), by.Sub(j.began))
	}
}

// beforeItLapses: what people wished last is done, or else their policy speaks, where there was room for it before the authorization ended.
func (j *judge) beforeItLapses(c *case_, t *terms, last *call, due time.Time) {
	what := "it was due"
	if due.IsZero() || !due.Before(j.here(c.deadline)) {
		if t.policy != "cancel" && (t.policy != "capture" || t.paused || !t.cancelAt.IsZero()) {
			return
		}
		what, due = "its policy was to "+t.policy+" it", j.here(c.deadline.Add(-j.p.margin))
	}
	if due.Before(last.end) {
		due = last.end
	}
	end := earlier(c.deadline, j.here(c.deadline))
	room := 2*j.p.tick + 2*time.Second + time.Duration(len(j.p.holds))*(j.p.service+time.Second/time.Duration(j.p.write))
	switch {
	case !c.intent.Expired, t.part > c.held(due)+c.parts(due), len(j.way.reviews[c.n]) > 0, len(j.way.moved[c.n]) > 0:
	case end.Before(due.Add(room)), !j.calm(due, end), end.After(j.at(j.since())):
	case slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention }):
	default:
		j.fail(c, "in time", "%s at +%s, and it lapsed at +%s though all was well", what, due.Sub(j.began), c.deadline.Sub(j.began))
	}
}

// warned: each threshold before the deadline is told while nothing is wrong.
func (j *judge) warned(c *case_) {
	if c.wished_() || len(c.wished.sure) == 0 || c.lie != 0 || c.lieLife != 0 || len(j.way.moved[c.n]) > 0 {
		return
	}
	s := c.wished.sure[0]
	if s.kind != "schedule" || !s.got.ExpiresAt.Equal(c.deadline) {
		return
	}
	for _, k := range c.calls {
		if k.kind == "acknowledge" {
			return
		}
	}
	j.warnedAtOnce(c, s)
	for _, d := range j.p.thresholds {
		at := j.here(c.deadline.Add(-d))
		by := at.Add(2*j.p.tick + 3*time.Second)
		if !at.After(s.end) || !j.calm(at, by) || by.After(j.at(j.since())) || by.After(c.deadline) {
			continue
		}
		if c.acted(by) {
			continue // it ended about then
		}
		if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
			return e.Type == hold.EventExpiring && !e.Timestamp.Before(at.Truncate(time.Millisecond)) && !e.Timestamp.After(by)
		}) {
			j.fail(c, "alert", "open %s before its deadline at +%s, and nobody was told", d, c.deadline.Sub(j.began))
		}
	}
}

// warnedAtOnce: a hold that arrives inside a threshold is warned of at once by the nearest that has
// passed, and no threshold is told twice.
func (j *judge) warnedAtOnce(c *case_, s *call) {
	told := map[string]int{}
	for _, e := range c.events {
		if e.Type == hold.EventExpiring && e.Data.Cause == "" {
			told[e.Data.Threshold]++
		}
	}
	for d, n := range told {
		if n > 1 && len(j.tails) == 0 && len(j.clocks) == 1 {
			j.fail(c, "alert", "%d events warn of the threshold %s", n, d)
		}
	}
	by := s.end.Add(2*j.p.tick + 3*time.Second)
	nearest := time.Duration(0)
	for _, d := range j.p.thresholds {
		switch at := j.here(c.deadline.Add(-d)); {
		case at.After(by):
		case at.After(s.begin):
			return // it passes just then
		case nearest == 0 || d < nearest:
			nearest = d
		}
	}
	if nearest == 0 || !j.calm(s.begin, by) || by.After(j.here(c.deadline)) || by.After(c.deadline) || by.After(j.at(j.since())) || c.acted(by) {
		return
	}
	if !slices.ContainsFunc(c.events, func(e event.Envelope) bool {
		return e.Type == hold.EventExpiring && e.Data.Threshold == nearest.String() && !e.Timestamp.After(by)
	}) {
		j.fail(c, "alert", "scheduled at +%s, inside the threshold %s, and nobody was told by +%s", s.end.Sub(j.began), nearest, by.Sub(j.began))
	}
}

// askedFirst: the deadline's policy moves no money at once unless a request confirmed that, and a
// request is refused for it only within the margin.
func (j *judge) askedFirst(c *case_) {
	confirmed := false
	for _, k := range c.calls {
		confirmed = confirmed || k.confirm || k.kind == "inbox" && !c.unconfirmed
		var p *hold.Problem
		if !k.heard || !errors.As(k.err, &p) || p.Code != hold.WouldCancelNow && p.Code != hold.WouldCaptureNow {
			continue
		}
		if k.confirm {
			j.fail(c, "asked first", "%s at +%s was confirmed, and refused: %v", k.kind, k.begin.Sub(j.began), k.err)
		}
		if early := p.Deadline.Add(-j.p.margin); j.there(k.end).Before(early) && len(j.clocks) == 1 {
			j.fail(c, "asked first", "%s at +%s was refused before the margin: %v", k.kind, k.begin.Sub(j.began), k.err)
		}
	}
	if confirmed || c.final == nil || c.final.Reason != hold.CauseOnExpiry || c.final.State != hold.Captured && c.final.State != hold.Canceled || len(j.tails) > 0 || len(j.clocks) > 1 {
		return
	}
	if act := c.final.ExpiresAt.Add(-j.p.margin); !c.final.CreatedAt.Before(act) {
		j.fail(c, "asked first", "it came when its policy's time was over, nobody confirmed, and it is %s", c.final.State)
	}
	for _, e := range c.events {
		if e.Type != hold.EventChanged && e.Type != hold.EventPaused && e.Type != hold.EventResumed && e.Type != hold.EventScheduled {
			continue
		}
		// Long inside the margin its policy has acted, or has nothing to do: if it acts after a change, the change made it.
		act := e.Data.Hold.ExpiresAt.Add(-j.p.margin)
		if i := slices.IndexFunc(c.final.History, func(h hold.HistoryEntry) bool {
			return h.Kind == hold.HistoryTriggered && h.Cause == hold.CauseOnExpiry && !h.At.Before(e.Timestamp)
		}); i > 0 && !j.there(e.Timestamp).Before(act.Add(2*j.p.tick+3*time.Second)) && j.calm(e.Timestamp.Add(-time.Minute), e.Timestamp) && e.Data.Hold.State == "waiting" {
			j.fail(c, "asked first", "%s at +%s let its policy act at once, and nobody confirmed", e.Type, e.Timestamp.Sub(j.began))
		}
	}
}
