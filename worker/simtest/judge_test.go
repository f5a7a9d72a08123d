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

// judge says what must hold after a run. It knows the plan, the simulator's ledger, what people asked and heard, what was seen on the wires, and
// what holdd says in the end; it is written from the promises, not from the code.
type judge struct {
	*world
	final  map[string]*hold.Hold
	events []event.Envelope
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
	events   []event.Envelope
	since    time.Time // when the money was authorized
	deadline time.Time // Stripe's
	nearest  time.Time // the nearest that holdd can have known of
	read     time.Time // the nearest by which a policy may act: an assumed one is checked before
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
		for _, k := range c.wished.sure {
			k.lifted = k.got.State == hold.Scheduled && slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention && !e.Timestamp.After(k.end) })
		}
		c.nearest = c.deadline
		for _, was := range j.way.moved[c.n] {
			c.nearest = earlier(c.nearest, was)
		}
		j.byOtherWays(c)
		if h.dated() {
			c.nearest = earlier(c.nearest, j.at(h.at+h.life+h.lieLife).Truncate(time.Second))
			c.read = c.nearest
		} else {
			c.read = c.nearest
			c.nearest = earlier(c.nearest, j.there(j.at(h.told)).Add(7*24*time.Hour))
		}
		j.oneEffect(c)
		j.allowed(c)
		j.asTold(c)
		j.ended(c)
		j.history(c)
		j.answers(c)
		j.announced(c)
		j.logged(c)
		j.inTime(c)
		j.warned(c)
		j.askedFirst(c)
		j.waysIn(c)
	}
	j.cards()
	j.letters()
	j.rebuilt()
	j.limits()
	j.named()
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
		if e.Final || e.By == "api" && e.Kind != stripesim.Released {
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
		if e.By != "api" || e.Kind == stripesim.Released && !e.Final {
			continue
		}
		early, late := j.known(c, &e)
		if !strings.HasPrefix(e.Key, "holdd-"+c.id+"-") {
			j.fail(c, "key", "%s with key %q, which isn't this hold's", e.Kind, e.Key)
		}
		all := c.wished.at(e.Time)
		ok, amounts := false, []int64{}
		for _, t := range all {
			switch e.Kind {
			case stripesim.Captured:
				if t.mayCapture(e.Time, j.there(e.Time), c.read, j.p.margin) {
					ok = true
					amounts = append(amounts, c.fair(&t, early, late)...)
				}
			case stripesim.Released: // of a hold of which another system has taken a part
				if t.mayCapture(e.Time, j.there(e.Time), c.read, j.p.margin) && slices.Contains(c.fair(&t, early, late), 0) {
					ok = true
				}
				ok = ok || t.mayCancel(e.Time, j.there(e.Time), c.nearest, c.read, j.p.margin)
			case stripesim.Canceled:
				ok = ok || t.mayCancel(e.Time, j.there(e.Time), c.nearest, c.read, j.p.margin)
				if len(j.way.reviews[c.n]) > 0 && j.way.reviews[c.n][0].at.Before(e.Time) {
					t.paused = true // as long as holdd believes it to be open
					ok = ok || t.mayCancel(e.Time, j.there(e.Time), c.nearest, c.read, j.p.margin)
				}
			}
		}
		if !ok && !c.torn {
			j.fail(c, "never early", "%s at +%s though nothing allows it then: %+v", e.Kind, e.Time.Sub(j.began), all)
		}
		if c.torn { // a claim that Redis forgot may have sent what was agreed on before a change
			for _, k := range slices.Concat(c.wished.sure, c.wished.unsure) { // Redis may have forgotten the wish as well
				for _, t := range c.wished.at(k.end) {
					amounts = append(amounts, c.fair(&t, early, late)...)
				}
			}
		}
		if ok && e.Kind == stripesim.Captured && !c.torn {
			most := int64(0)
			for _, t := range all {
				if most = max(most, t.part); t.part == 0 {
					most = c.held(e.Time) + c.parts(e.Time) + e.Amount
				}
			}
			if sum := c.parts(early) + e.Amount; sum > most {
				j.fail(c, "never too much", "%d were captured after another system's %d, at most %d were wanted", e.Amount, c.parts(early), most)
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

// known is the span in which the replica that sent a capture learned what another system had taken by then: of the last read that it
// made before, or the capture's own moment if there was none.
func (j *judge) known(c *case_, e *stripesim.Effect) (early, late time.Time) {
	early, late = e.Time, e.Time
	i := slices.IndexFunc(c.requests, func(r *request) bool { return r.id == e.RequestID })
	if i < 0 || c.torn {
		return early, late
	}
	sent, read := c.requests[i], time.Time{}
	for _, r := range c.requests {
		if r.op == "read" && r.heard && r.replica == sent.replica && !r.answered.After(sent.at) && r.answered.After(read) {
			read, early = r.answered, r.at
		}
	}
	return early, late
}

// parts is what another system has captured by a moment, leaving the rest held.
func (c *case_) parts(at time.Time) (sum int64) {
	for _, e := range c.effects {
		if e.Kind == stripesim.Captured && !e.Final && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum
}

// fair are the amounts that a capture under these terms may have: of a total, what is missing once another system has taken its parts,
// as it was known between early and late.
func (c *case_) fair(t *terms, early, at time.Time) (all []int64) {
	if t.part > 0 {
		all = []int64{max(0, t.part-c.parts(early))}
		for _, e := range c.effects {
			if e.Time.After(early) && !e.Time.After(at) {
				all = append(all, max(0, t.part-c.parts(e.Time)))
			}
		}
		return all
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
	return slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.Final && !e.Time.After(by) })
}

// held is what Stripe held at a moment, with what was added to it.
func (c *case_) held(at time.Time) int64 {
	sum := c.amount
	for _, e := range c.effects {
		if e.Kind == stripesim.Incremented && !e.Time.After(at) {
			sum += e.Amount
		}
	}
	return sum - c.parts(at)
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
	if c.final.NextOp != 0 || !c.final.NextAt.IsZero() {
		j.fail(c, "told true", "it has ended, and holdd says that it is going to %s it", c.final.NextOp)
	}
	if want == hold.Captured && c.final.CapturedAmount != c.intent.Received {
		j.fail(c, "told true", "holdd says that %d were taken, Stripe says %d", c.final.CapturedAmount, c.intent.Received)
	}
	by, another := "", false // life of the hold, since Redis was emptied
	for _, e := range c.effects {
		if e.Final && e.Kind != stripesim.Released {
			by = cmp.Or(by, e.By)
			another = another || j.way.emptied.After(e.Time)
		}
	}
	if others := c.parts(c.deadline); want == hold.Captured && by == "api" && c.final.Reason != hold.CauseElsewhere && len(j.p.faults) == 0 && c.final.CaptureAmount > 0 && c.final.CapturedElsewhere != others {
		j.fail(c, "told true", "holdd says that another system took %d, it took %d", c.final.CapturedElsewhere, others)
	}
	ours := c.final.Reason != hold.CauseElsewhere && c.final.Reason != hold.CauseExpired
	switch {
	case by == "api" && !ours && !c.torn && !another:
		j.fail(c, "told true", "our own %s is called %s", want, c.final.Reason)
	case by == "dashboard" && ours && !j.doubt(c, want):
		j.fail(c, "told true", "somebody else's %s is called ours (%s)", want, c.final.Reason)
	}
}

// doubt: a request for the same was sent, or a claim was never reported on, so that nobody can tell whose effect it is.
func (j *judge) doubt(c *case_, s hold.State) bool {
	for kind := range j.hits {
		if !strings.HasPrefix(kind, "stripe:") && !strings.HasPrefix(kind, "redis:clock") {
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
	case j.handedOver(c):
	case !c.final.State.Final():
		j.fail(c, "ends", "still %s (next %s at +%s, %s) at +%s; at Stripe %s since the deadline at +%s", c.final.State, c.final.NextOp, c.final.NextAt.Sub(j.began), c.final.Reason,
			j.since(), c.intent.Status, c.deadline.Sub(j.began))
	}
	if c.final.State == hold.Attention && c.final.Reason == hold.CauseKeyConflict || slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Data.Cause == "key_conflict" }) {
		j.fail(c, "key", "Stripe saw one key with two meanings")
	}
}

// handedOver: a person was called to a hold that Stripe has told nothing of. It is looked up at its deadline, which is the assumed one, days after
// this world's end.
func (j *judge) handedOver(c *case_) bool {
	return c.final.State == hold.Attention && !c.final.Verified && c.final.ExpiresAt.After(j.there(j.at(j.since()))) &&
		slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention })
}

// limits: what Stripe refused for its rate was refused by a fault.
func (j *judge) limits() {
	if s := j.sim.Stats(); s.RateLimited > int64(j.hits["stripe:rate_limited"]) {
		j.breach("limits: Stripe refused %d calls for their rate, faults made %d of these", s.RateLimited, j.hits["stripe:rate_limited"])
	}
}
