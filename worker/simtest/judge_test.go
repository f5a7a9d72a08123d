package simtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// judge says what must hold after a run. It knows the plan, the simulator's ledger, what people asked and heard, what was seen on the wires, and
// what holdd says in the end; it is written from the promises, not from the code.
type judge struct {
	*world
	final  map[string]*hold.Hold
	events []worker.Event
}

// case_ is one hold before the judge.
type case_ struct {
	*placed
	id       string
	intent   stripesim.IntentState
	effects  []stripesim.Effect // after the authorization
	wished   wished
	calls    []*call
	requests []*request
	final    *hold.Hold
	events   []worker.Event
	since    time.Time // when the money was authorized
	deadline time.Time // Stripe's
	nearest  time.Time // the nearest that holdd can have known of
	torn     bool      // Redis lost something while it was worked on
}

func (j *judge) rule() {
	ledger := j.sim.Ledger()
	for i := range j.p.holds {
		h := &j.p.holds[i]
		id := j.ids[h.n]
		if id == "" {
			continue // nobody got so far
		}
		c := &case_{placed: h, id: id, final: j.final[id], deadline: j.at(h.at + h.life)}
		c.intent, _ = j.sim.Intent(id)
		c.deadline = c.intent.CaptureBefore
		if c.deadline.IsZero() {
			continue // no bank ever agreed
		}
		for _, e := range ledger {
			switch {
			case e.Intent == id && e.Kind == stripesim.Authorized:
				c.since = e.Time
			case e.Intent == id:
				c.effects = append(c.effects, e)
			}
		}
		for _, k := range j.world.calls {
			if k.id == id {
				c.calls = append(c.calls, k)
				switch {
				case k.unsure() || k.granted() && j.lost(k.begin, k.end):
					c.wished.unsure = append(c.wished.unsure, k)
				case k.granted():
					c.wished.sure = append(c.wished.sure, k)
				}
			}
		}
		slices.SortStableFunc(c.wished.sure, func(a, b *call) int {
			return cmp.Or(cmp.Compare(a.got.Revision, b.got.Revision), a.end.Compare(b.end))
		})
		for _, r := range j.world.requests {
			if r.intent == id {
				c.requests = append(c.requests, r)
				if r.op != "read" && j.lost(r.at.Add(-time.Minute), r.at.Add(time.Minute)) {
					c.torn = true
				}
			}
		}
		for _, e := range j.events {
			if e.Data.Hold.ID == id {
				c.events = append(c.events, e)
			}
		}
		c.nearest = c.deadline
		for _, was := range j.way.moved[c.n] {
			c.nearest = earlier(c.nearest, was)
		}
		j.byOtherWays(c)
		if h.declared {
			c.nearest = earlier(c.nearest, j.at(h.at+h.life+h.lieLife).Truncate(time.Second))
		} else {
			c.nearest = earlier(c.nearest, j.at(h.told).Add(7*24*time.Hour))
		}
		j.oneEffect(c)
		j.allowed(c)
		j.asTold(c)
		j.ended(c)
		j.history(c)
		j.answers(c)
		j.announced(c)
		j.inTime(c)
		j.warned(c)
		j.waysIn(c)
	}
	j.cards()
	j.letters()
	j.rebuilt()
	j.limits()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// lost says whether Redis has lost what was written within a span.
func (w *world) lost(from, to time.Time) bool {
	for _, t := range w.tails {
		if !to.Before(t[0]) && !from.After(t[1]) {
			return true
		}
	}
	return false
}

func (j *judge) fail(c *case_, rule, format string, args ...any) {
	j.breach("%s: H%d: %s", rule, c.n, fmt.Sprintf(format, args...))
}

// oneEffect: at most one capture or cancel, whoever asked how often.
func (j *judge) oneEffect(c *case_) {
	n := 0
	for _, e := range c.effects {
		if e.Kind == stripesim.Captured || e.Kind == stripesim.Canceled || e.Kind == stripesim.Expired {
			n++
		}
	}
	if n > 1 {
		j.fail(c, "one effect", "%d effects: %+v", n, c.effects)
	}
}

// allowed: never early, never after an accepted cancel, the exact amount, never the opposite of the wish.
func (j *judge) allowed(c *case_) {
	for _, e := range c.effects {
		if e.By != "api" || e.Kind == stripesim.Released {
			continue
		}
		if !strings.HasPrefix(e.Key, "holdd-"+c.id+"-") {
			j.fail(c, "key", "%s with key %q, which isn't this hold's", e.Kind, e.Key)
		}
		all := c.wished.at(e.Time)
		ok, amounts := false, []int64{}
		for _, t := range all {
			switch e.Kind {
			case stripesim.Captured:
				if t.mayCapture(e.Time, c.nearest, j.p.margin) {
					ok = true
					amounts = append(amounts, c.fair(&t, e.Time)...)
				}
			case stripesim.Canceled:
				ok = ok || t.mayCancel(e.Time, c.nearest, j.p.margin)
				if len(j.way.reviews[c.n]) > 0 && j.way.reviews[c.n][0].at.Before(e.Time) {
					t.paused = true // as long as holdd believes it to be open
					ok = ok || t.mayCancel(e.Time, c.nearest, j.p.margin)
				}
			}
		}
		if !ok && !c.torn {
			j.fail(c, "never early", "%s at +%s though nothing allows it then: %+v", e.Kind, e.Time.Sub(j.began), all)
		}
		if c.torn { // a claim that Redis forgot may have sent what was agreed on before a change
			for _, k := range c.wished.sure {
				for _, t := range c.wished.at(k.end) {
					amounts = append(amounts, c.fair(&t, e.Time)...)
				}
			}
		}
		if ok && e.Kind == stripesim.Captured && !slices.Contains(amounts, e.Amount) {
			j.fail(c, "amount", "%d were captured, agreed were %v", e.Amount, amounts)
		}
		if e.Kind == stripesim.Captured && !c.torn {
			for _, k := range c.wished.granted(e.Time) {
				if k.kind == "cancel" {
					j.fail(c, "never after a cancel", "captured at +%s, a cancel was accepted at +%s", e.Time.Sub(j.began), k.end.Sub(j.began))
				}
			}
		}
	}
}

// fair are the amounts that a capture under these terms may have.
func (c *case_) fair(t *terms, at time.Time) []int64 {
	if t.part > 0 {
		return []int64{t.part}
	}
	if c.declared && c.lie != 0 && len(c.calls) == 1 && c.way == "" && c.wished.before == nil {
		return []int64{c.amount + c.lie} // never more than anybody knew of
	}
	held := c.held(at)
	if c.declared {
		return []int64{c.amount, c.amount + c.lie, held}
	}
	return []int64{held}
}

// acted says that by a moment somebody had taken the money, or let it go.
func (c *case_) acted(by time.Time) bool {
	return slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Kind != stripesim.Incremented && !e.Time.After(by) })
}

// held is what Stripe held at a moment, with what was added to it.
func (c *case_) held(at time.Time) int64 {
	sum := c.amount
	for _, e := range c.effects {
		if e.Kind == stripesim.Incremented && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum
}

// asTold: what holdd says in the end is what is true at Stripe, and who did it.
func (j *judge) asTold(c *case_) {
	if c.final == nil || c.wished_() {
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
	if !c.final.State.Final() {
		return // ended judges
	}
	if c.final.State != want {
		j.fail(c, "told true", "holdd says %s, at Stripe it is %s (%s)", c.final.State, c.intent.Status, c.intent.CancellationReason)
		return
	}
	if c.final.Next != 0 || !c.final.NextAt.IsZero() {
		j.fail(c, "told true", "it has ended, and holdd says that it is going to %s it", c.final.Next)
	}
	if want == hold.Captured && c.final.CapturedTotal != c.intent.Received {
		j.fail(c, "told true", "holdd says that %d were taken, Stripe says %d", c.final.CapturedTotal, c.intent.Received)
	}
	by, another := "", false // life of the hold, since Redis was emptied
	for _, e := range c.effects {
		if e.Final || e.Kind == stripesim.Captured {
			by = cmp.Or(by, e.By)
			another = another || j.way.emptied.After(e.Time)
		}
	}
	ours := c.final.Why != hold.CauseElsewhere && c.final.Why != hold.CauseLapsed
	switch {
	case by == "api" && !ours && !c.torn && !another:
		j.fail(c, "told true", "our own %s is called %s", want, c.final.Why)
	case by == "dashboard" && ours && !j.doubt(c, want):
		j.fail(c, "told true", "somebody else's %s is called ours (%s)", want, c.final.Why)
	}
}

// doubt: a request for the same was sent, or a claim was never reported on, so that nobody can tell whose effect it is.
func (j *judge) doubt(c *case_, s hold.State) bool {
	for kind := range j.hits {
		if !strings.HasPrefix(kind, "stripe:") {
			return true
		}
	}
	for _, r := range c.requests {
		if r.op == map[hold.State]string{hold.Captured: "capture", hold.Canceled: "cancel"}[s] {
			return true
		}
	}
	return false
}

func (c *case_) wished_() bool { return c.placed.wished != "" }

// ended: nothing acknowledged is lost, every hold ends, and what nobody could end was told to somebody.
func (j *judge) ended(c *case_) {
	known := slices.ContainsFunc(c.wished.sure, func(k *call) bool { return seedKinds[k.kind] })
	switch {
	case c.final == nil && known:
		j.fail(c, "nothing lost", "it was scheduled, and is gone")
		return
	case c.final == nil:
		return
	case c.wished_():
		if len(c.effects) > 0 && slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.By == "api" }) {
			j.fail(c, "ends", "acted on though it is of the wrong account")
		}
	case !c.final.State.Final():
		j.fail(c, "ends", "still %s (next %s at +%s, %s) at +%s; at Stripe %s since the deadline at +%s", c.final.State, c.final.Next, c.final.NextAt.Sub(j.began), c.final.Why,
			j.since(), c.intent.Status, c.deadline.Sub(j.began))
	}
	if c.final.State == hold.Attention && c.final.Why == hold.CauseKeyConflict || slices.ContainsFunc(c.events, func(e worker.Event) bool { return e.Data.Cause == "key_conflict" }) {
		j.fail(c, "key", "Stripe saw one key with two meanings")
	}
}

// history: it tells of requests that were really sent, with Stripe's own ids; an answer that was heard is in it.
func (j *judge) history(c *case_) {
	if c.final == nil {
		return
	}
	for _, e := range c.final.History {
		if e.Kind != hold.EntryAttempt {
			continue
		}
		found := slices.ContainsFunc(c.requests, func(r *request) bool {
			return r.op == e.Op.String() && r.key == e.Key && (e.RequestID == "" || r.id == e.RequestID)
		})
		if !found && e.Answer != hold.AnswerUnreachable {
			j.fail(c, "history", "it tells of %s with key %s and request %q, which never was", e.Op, short(e.Key), e.RequestID)
		}
	}
	// An answer that reached a replica which lived on to write it down is written down.
	for _, e := range c.effects {
		i := slices.IndexFunc(c.requests, func(r *request) bool { return r.id == e.RequestID && r.heard && r.fault == "" })
		if e.By != "api" || i < 0 || c.final.Forgotten > 0 || len(j.tails) > 0 || j.suffered(c.requests[i]) {
			continue
		}
		if !slices.ContainsFunc(c.final.History, func(h hold.Entry) bool {
			return h.Kind == hold.EntryAttempt && h.RequestID == e.RequestID && h.Key == e.Key
		}) {
			j.fail(c, "history", "it doesn't tell of request %s that had the effect", e.RequestID)
		}
	}
	for i := 1; i < len(c.final.History); i++ {
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
		others := slices.ContainsFunc(c.final.History, func(e hold.Entry) bool {
			return e.By != "people" && !e.At.Before(a.begin.Add(-time.Second)) && !e.At.After(a.end)
		})
		for k, b := range c.calls {
			others = others || k != i && b.begin.Before(a.end) && (b.end.IsZero() || b.end.After(a.begin.Add(-time.Second)) || b.unsure())
		}
		if !others && c.final.Forgotten == 0 {
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
		a.CancelWanted == b.CancelWanted && a.Next == b.Next
}

// announced: each end is told once, nothing twice, and nothing is open past its deadline without a word.
func (j *judge) announced(c *case_) {
	seen, ends := map[string]bool{}, map[hold.NoticeType]int{}
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
	last := map[hold.State]hold.NoticeType{hold.Captured: hold.NoticeCaptured, hold.Canceled: hold.NoticeCanceled, hold.Expired: hold.NoticeExpired}
	for s, n := range last {
		switch {
		case c.final.State == s && ends[n] == 0:
			j.fail(c, "told once", "it is %s, and no event says so", s)
		case ends[n] > 1 && len(j.tails) == 0, c.final.State != s && ends[n] > 0 && c.final.State.Final() && len(j.tails) == 0:
			j.fail(c, "told once", "%d events %s of a hold that is %s", ends[n], n, c.final.State)
		}
	}
	if ends[hold.NoticeScheduled] == 0 && len(j.tails) == 0 {
		j.fail(c, "told once", "no event tells that it was scheduled")
	}
	// Open past the deadline: Stripe let it go by itself.
	if c.intent.Expired && j.at(c.told).Before(c.deadline) {
		word := slices.ContainsFunc(c.events, func(e worker.Event) bool {
			return e.Type == hold.NoticeExpiring || e.Type == hold.NoticeExpired || e.Type == hold.NoticeAttention
		})
		if !word {
			j.fail(c, "alert", "it lapsed at +%s, and nobody was told", c.deadline.Sub(j.began))
		}
	}
}

// limits: what Stripe refused for its rate was refused by a fault.
func (j *judge) limits() {
	if s := j.sim.Stats(); s.RateLimited > int64(j.hits["stripe:rate_limited"]) {
		j.breach("limits: Stripe refused %d calls for their rate, faults made %d of these", s.RateLimited, j.hits["stripe:rate_limited"])
	}
}

// watch looks at Redis right after a claim: nothing that is ready in the same lane may have a nearer deadline than what was claimed.
func (w *world) watch(label string, cmds [][]byte, reply []byte) {
	if label != "claim" {
		return
	}
	left, _ := w.redis.ZMembers(words(cmds[0])[3])
	if len(left) == 0 {
		return
	}
	for _, c := range strings.Split(string(reply), "\r\n") {
		if !strings.HasPrefix(c, "pi_") {
			continue
		}
		claimed, ok := w.known(c)
		if !ok {
			continue
		}
		for _, id := range left {
			if d, ok := w.known(id); ok && d.Before(claimed) {
				w.breach("nearest first: %s was claimed while %s waits, whose deadline is nearer by %s", c, id, claimed.Sub(d))
			}
		}
	}
}

// claimed notes whose a hold is.
func (w *world) claimed(r *replica, label string, reply []byte) {
	if label != "claim" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range strings.Split(string(reply), "\r\n") {
		if strings.HasPrefix(id, "pi_") {
			w.owner[id] = r.name
		}
	}
}

// mine: nobody asks for an effect once another has claimed the hold.
func (w *world) mine(r *replica, rec *request) {
	w.mu.Lock()
	owner, torn := w.owner[rec.intent], len(w.tails) > 0
	w.mu.Unlock()
	if (rec.op == "capture" || rec.op == "cancel") && !strings.HasPrefix(rec.key, "holdd-abandon-") && owner != r.name && !torn {
		w.breach("one claim: %s sends %s of %s, which %s has claimed since", r.name, rec.op, rec.intent, owner)
	}
}

// known is the deadline of a hold that holdd must know: its caller told it truly, or Stripe was read.
func (w *world) known(id string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.p.holds {
		h := &w.p.holds[i]
		if w.ids[h.n] != id {
			continue
		}
		in, _ := w.sim.Intent(id)
		if len(w.way.moved[h.n]) > 0 {
			return in.CaptureBefore, false
		}
		if h.declared {
			return in.CaptureBefore, h.lieLife == 0
		}
		read := slices.ContainsFunc(w.calls, func(c *call) bool { return c.id == id && c.granted() && c.got.Verified })
		return in.CaptureBefore, read && !w.lost(w.began, time.Now())
	}
	return time.Time{}, false
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
				due = own
			}
		}
	}
	if due.IsZero() || last.got.State == hold.Attention || t.part > c.held(due) {
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
		if slices.ContainsFunc(c.events, func(e worker.Event) bool { return e.Type == hold.NoticeAttention }) {
			return
		}
	}
	if by.After(c.nearest.Add(-j.p.margin)) || by.After(j.at(j.since())) {
		return
	}
	if !c.acted(by) {
		j.fail(c, "in time", "due at +%s, and nothing was done by +%s though all was well", due.Sub(j.began), by.Sub(j.began))
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
	for _, d := range j.p.thresholds {
		at := c.deadline.Add(-d)
		by := at.Add(2*j.p.tick + 3*time.Second)
		if !at.After(s.end) || !j.calm(at, by) || by.After(j.at(j.since())) || by.After(c.deadline) {
			continue
		}
		if c.acted(by) {
			continue // it ended about then
		}
		if !slices.ContainsFunc(c.events, func(e worker.Event) bool {
			return e.Type == hold.NoticeExpiring && !e.Timestamp.Before(at.Truncate(time.Millisecond)) && !e.Timestamp.After(by)
		}) {
			j.fail(c, "alert", "open %s before its deadline at +%s, and nobody was told", d, c.deadline.Sub(j.began))
		}
	}
}
