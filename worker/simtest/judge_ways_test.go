package simtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// byOtherWays adds the wishes that nobody got an answer to: terms that stand in metadata, entries of the inbox, clicks. What holdd tells to have
// scheduled is granted from then on. With a Redis that was emptied a second life begins, of the terms that stood at Stripe.
func (j *judge) byOtherWays(c *case_) {
	if !j.p.ways.on {
		return
	}
	wish := c.wish(j.world, c.id)
	maybe := func(kind string, at time.Time) *call {
		k := &call{n: c.n, id: c.id, kind: kind, wish: wish, begin: at, end: at}
		c.wished.unsure = append(c.wished.unsure, k)
		return k
	}
	switch c.way {
	case "metadata":
		if !c.spoiled {
			j.promote(c, maybe("metadata", j.at(c.at)), time.Time{}, "stripe", "reconcile")
		}
	case "inbox":
		for _, p := range j.way.posted {
			if p.n == c.n {
				j.promote(c, maybe("inbox", p.at), time.Time{}, "inbox")
			}
		}
	case "card":
		k := maybe("click", j.at(c.at))
		for _, x := range j.way.clicks {
			if x.n == c.n && x.granted() && x.out.Hold != nil && !j.lost(x.begin, x.end) {
				// Whoever hears of it first, the hold may be there since the first click.
				k := &call{n: c.n, id: c.id, kind: "click", wish: wish, begin: j.at(c.at), end: x.end, heard: true, got: *x.out.Hold}
				k.got.Revision = 1 // however far it had come by then
				c.wished.sure = append(c.wished.sure, k)
				break
			}
		}
		if !slices.ContainsFunc(c.wished.sure, func(k *call) bool { return k.kind == "click" }) {
			j.promote(c, k, time.Time{}, "people", "stripe", "reconcile")
		} else {
			c.wished.unsure = slices.DeleteFunc(c.wished.unsure, func(u *call) bool { return u == k })
		}
	}
	j.order(c)
	t := j.way.emptied
	if t.IsZero() || t.Before(c.intent.Created) {
		return
	}
	all, before := c.wished.sure, wished{unsure: c.wished.unsure}
	c.wished = wished{emptied: t, before: &before}
	for _, k := range all { // the revisions of the second life begin at 1 again: those of the first say nothing of their order
		switch {
		case !k.begin.Before(t):
			c.wished.sure = append(c.wished.sure, k)
			continue
		case k.end.After(t.Add(-2 * time.Second)):
			c.wished.unsure = append(c.wished.unsure, k)
		}
		before.sure = append(before.sure, k)
	}
	for _, k := range before.unsure {
		if k.begin.After(t.Add(-time.Minute)) {
			c.wished.unsure = append(c.wished.unsure, k)
		}
	}
	if st := j.way.stood[c.n]; st.terms() {
		k := st.call(c, t)
		c.wished.unsure = append(c.wished.unsure, k)
		j.promote(c, k, t, "stripe", "reconcile")
	}
	j.order(c)
}

func (j *judge) order(c *case_) {
	slices.SortStableFunc(c.wished.sure, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.got.Revision, b.got.Revision), a.end.Compare(b.end))
	})
	slices.SortStableFunc(c.wished.unsure, func(a, b *call) int { return a.begin.Compare(b.begin) })
}

// promote makes a perhaps granted wish a granted one, if holdd says that it was this one and when.
func (j *judge) promote(c *case_, k *call, since time.Time, by ...string) {
	if c.final == nil || c.final.HistoryDropped > 0 || len(c.final.History) == 0 || !slices.Contains(by, c.final.History[0].By) {
		return
	}
	for _, e := range c.events {
		if e.Type != hold.EventScheduled || e.Timestamp.Before(since) || e.Timestamp.Before(k.begin.Truncate(time.Millisecond)) || j.lost(e.Timestamp, e.Timestamp) {
			continue
		}
		k.end, k.heard, k.got.Revision = e.Timestamp, true, 1
		for _, a := range c.events {
			if a.Type == hold.EventAttention && !a.Timestamp.After(e.Timestamp.Add(time.Second)) {
				k.got.State = hold.Attention
			}
		}
		c.wished.unsure = slices.DeleteFunc(c.wished.unsure, func(u *call) bool { return u == k })
		c.wished.sure = append(c.wished.sure, k)
		return
	}
}

// terms tells whether the metadata speaks to holdd of money that is held.
func (s standing) terms() bool {
	if s.status != "requires_capture" || s.metadata["holdd_on_expiry"] == "perhaps" {
		return false
	}
	for k := range s.metadata {
		if strings.HasPrefix(k, "holdd_") && k != "holdd_authorization" && k != "holdd_metadata" {
			return true
		}
	}
	return false
}

func (s standing) call(c *case_, at time.Time) *call {
	m := s.metadata
	part, _ := strconv.ParseInt(m["holdd_capture_amount"], 10, 64)
	return &call{n: c.n, id: c.id, kind: "stood", begin: at, end: at, paused: m["holdd_paused"] == "true",
		wish: hold.ScheduleRequest{CaptureAt: m["holdd_capture_at"], CancelAt: m["holdd_cancel_at"], CaptureAmount: part, OnExpiry: m["holdd_on_expiry"]}}
}

// seedKinds are the wishes that a hold begins with.
var seedKinds = map[string]bool{"schedule": true, "other": true, "metadata": true, "inbox": true, "click": true, "stood": true}

// waysIn judges what only concerns the ways in, of one hold.
func (j *judge) waysIn(c *case_) {
	if !j.p.ways.on || c.wished_() {
		return
	}
	j.foreign(c)
	j.found(c)
	j.toldByStripe(c)
	j.mirrored(c)
	j.underReview(c)
}

// approved is when holdd was told that the last review was closed and the payment may go on; zero if it was not, or only when a person had been called.
func (j *judge) approved(c *case_) time.Time {
	all := j.way.reviews[c.n]
	last := all[len(all)-1]
	if last.kind != "dashboard approve" {
		return time.Time{}
	}
	for _, d := range j.way.delivered {
		if d.id == c.id && d.kind == "review.closed" && !d.at.Before(last.at) && d.at.Before(last.at.Add(30*time.Minute)) {
			return d.at.Add(2 * j.p.look())
		}
	}
	return time.Time{}
}

// underReview: nothing is taken by itself while a review is open of which Stripe has told.
func (j *judge) underReview(c *case_) {
	all := j.way.reviews[c.n]
	for i, o := range all {
		if o.kind != "dashboard review" {
			continue
		}
		closed := j.at(j.since())
		if i+1 < len(all) {
			closed = all[i+1].at
		}
		wanted := slices.ContainsFunc(c.calls, func(k *call) bool { // whoever changes a hold under review knows what it means
			return !seedKinds[k.kind] && !k.end.Before(o.at.Add(-time.Minute))
		})
		if wanted || len(c.wished.sure) == 0 || c.final == nil || c.wished.before != nil {
			continue
		}
		for _, d := range j.way.delivered {
			if d.id != c.id || d.kind != "review.opened" || d.at.Before(o.at) || d.at.Before(c.wished.sure[0].end) {
				continue
			}
			from := d.at.Add(2*j.p.look() + j.patience())
			for _, e := range c.effects {
				if e.Kind == stripesim.Captured && e.By == "api" && e.Time.After(from) && e.Time.Before(closed) && j.calm(o.at, e.Time) {
					j.fail(c, "under review", "captured at +%s, a review is open since +%s, of which Stripe told at +%s", e.Time.Sub(j.began), o.at.Sub(j.began), d.at.Sub(j.began))
				}
			}
		}
	}
}

// foreign: nothing that isn't holdd's is touched in anybody's metadata.
func (j *judge) foreign(c *case_) {
	for k, v := range c.marks() {
		if c.intent.Metadata[k] != v {
			j.fail(c, "foreign metadata", "%s is %q, and was %q", k, c.intent.Metadata[k], v)
		}
	}
	if c.spoiled && slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.By == "api" }) &&
		!slices.ContainsFunc(c.calls, func(k *call) bool { return seedKinds[k.kind] && (k.granted() || k.unsure()) }) {
		j.fail(c, "spoiled terms", "acted on, though nobody can read its terms")
	}
}

// until is when the money of a hold was gone.
func (c *case_) until() time.Time {
	for _, e := range c.effects {
		if e.Final {
			return e.Time
		}
	}
	return c.deadline
}

// found: a comparison that was finished knows each hold whose terms stood at Stripe when it began, and tells of what it may not touch.
func (j *judge) found(c *case_) {
	if by := j.well(c.since.Add(2 * time.Minute)).Add(3*j.p.look() + 3*time.Minute + j.patience()); c.way == "card" && c.final == nil && len(j.tails) == 0 && c.until().After(by) &&
		by.Before(j.at(j.since())) {
		j.fail(c, "found again", "its card was authorized at +%s, and no hold is known", c.since.Sub(j.began))
	}
	for _, d := range j.way.delivered {
		by := d.at.Add(2*j.p.look() + j.patience())
		if d.id != c.id || d.kind != "payment_intent.amount_capturable_updated" || c.way != "card" && c.way != "metadata" || !j.calm(d.at, by) || len(j.tails) > 0 || !c.until().After(by) || by.After(j.at(j.since())) {
			continue
		}
		if told := !j.way.said["metadata.rejected "+c.id].IsZero(); c.final == nil && (!c.spoiled || !told) {
			j.fail(c, "found again", "Stripe told of it at +%s, and nothing came of it", d.at.Sub(j.began))
		}
	}
	for _, r := range j.way.compared {
		gone := c.until()
		if !c.since.Before(r.StartedAt.Add(-2*time.Second)) || !gone.After(r.FinishedAt.Add(time.Second)) || r.Counts[reconcile.FoundUnreadable] > 0 ||
			j.lost(r.StartedAt.Add(-time.Minute), j.at(j.since())) || c.account != "" && !j.met(c.account) {
			continue
		}
		t := j.way.emptied
		again := !t.IsZero() && t.Before(r.StartedAt)
		stood := (c.way == "metadata" || c.way == "card") && !c.spoiled
		if again && c.intent.Created.Before(t) {
			stood = j.way.stood[c.n].terms()
		}
		switch {
		case stood && c.final == nil:
			j.fail(c, "found again", "its terms stood at Stripe when a comparison began at +%s, which ended at +%s, and no hold is known", r.StartedAt.Sub(j.began), r.FinishedAt.Sub(j.began))
		case c.spoiled && c.final == nil && j.way.said["metadata.rejected "+c.id].IsZero():
			j.fail(c, "reported", "its terms can't be read, and nobody was told")
		case again && !stood && !c.spoiled && c.final == nil && j.there(r.StartedAt).Sub(c.intent.Created) > 10*time.Minute+2*time.Second && j.way.said["reconcile.orphan "+c.id].IsZero():
			j.fail(c, "reported", "it was lost with Redis, and the comparison at +%s told nobody of money without terms", r.StartedAt.Sub(j.began))
		}
	}
}

// well is a moment, or the end of the last fault if that comes later.
func (j *judge) well(at time.Time) time.Time {
	for _, f := range j.p.faults {
		if end := j.at(f.to + f.back); end.After(at) {
			at = end
		}
	}
	return at
}

// rebuilt: a Redis that was emptied is noticed, and compared. One comparison is finished once, whoever goes on with it.
func (j *judge) rebuilt() {
	for i, a := range j.way.compared {
		for _, b := range j.way.compared[:i] {
			if a.ID == b.ID && len(j.tails) == 0 && j.way.emptied.IsZero() {
				j.breach("one comparison: that of +%s was finished at +%s and again at +%s", a.StartedAt.Sub(j.began), b.FinishedAt.Sub(j.began), a.FinishedAt.Sub(j.began))
			}
		}
	}
	t := j.way.emptied
	by := t.Add(9*j.p.tick + 2*time.Minute)
	if t.IsZero() || !j.calm(t, by, "redis:emptied") || by.After(j.at(j.since())) {
		return
	}
	if !slices.ContainsFunc(j.way.compared, func(r reconcile.Reconciliation) bool { return r.StartedAt.After(t) && r.FinishedAt.Before(by) }) {
		j.breach("found again: Redis was emptied at +%s, and nobody has compared by +%s", t.Sub(j.began), by.Sub(j.began))
	}
}

// met: a connected account is known to all replicas once one has had to do with it for two reports, and still is when Redis is emptied.
func (j *judge) met(account string) bool {
	t := j.way.emptied
	if t.IsZero() || j.deaths() {
		return false
	}
	return slices.ContainsFunc(j.world.calls, func(c *call) bool {
		return c.kind == "schedule" && c.granted() && c.got.Account == account && c.end.Before(t.Add(-8*j.p.tick-5*time.Second))
	})
}

// deaths: a replica that dies forgets which accounts it has met.
func (j *judge) deaths() bool {
	return slices.ContainsFunc(j.p.faults, func(f fault) bool { return strings.HasPrefix(f.kind, "kill") || f.kind == "stop" })
}

// ended_ is when holdd told of the end of a hold.
func (c *case_) ended_() time.Time {
	for _, e := range c.events {
		if e.Type == hold.EventCaptured || e.Type == hold.EventCanceled || e.Type == hold.EventExpired {
			return e.Timestamp
		}
	}
	return time.Time{}
}

// toldByStripe: what others did is known once Stripe's word of it was taken in, or a comparison has looked.
func (j *judge) toldByStripe(c *case_) {
	end := c.until()
	if c.final == nil || len(j.tails) > 0 || len(c.wished.sure) == 0 || slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool { return e.By == "api" }) {
		return
	}
	known := c.wished.sure[0].end
	for _, d := range j.way.delivered {
		if d.id == c.id && (d.kind == "payment_intent.succeeded" || d.kind == "payment_intent.canceled") && d.result != intake.EventQueued && d.at.After(known) {
			if at := c.ended_(); at.IsZero() || at.After(d.at.Add(time.Second)) {
				j.fail(c, "told by Stripe", "%s was taken in at +%s as %s, and the hold was open", d.kind, d.at.Sub(j.began), d.result)
			}
		}
	}
	check := func(how string, from, by time.Time) {
		if !j.calm(earlier(from, end), by) || by.After(j.at(j.since())) {
			return
		}
		if at := c.ended_(); at.IsZero() || at.After(by) {
			j.fail(c, "told by Stripe", "ended at +%s, %s at +%s, and not settled by +%s", end.Sub(j.began), how, from.Sub(j.began), by.Sub(j.began))
		}
	}
	for _, d := range j.way.delivered {
		if d.id == c.id && (d.kind == "payment_intent.succeeded" || d.kind == "payment_intent.canceled") && d.at.After(known) && !d.at.Before(end) {
			check(d.kind+" was taken in", d.at, d.at.Add(2*j.p.look()+j.patience()))
		}
	}
	for _, r := range j.way.compared {
		if r.StartedAt.After(end.Add(time.Second)) && r.StartedAt.After(known) && r.Counts[reconcile.FoundUnreadable] == 0 {
			check("a comparison began", r.StartedAt, r.FinishedAt.Add(j.patience()))
			if at := c.ended_(); j.alone(c, r.StartedAt, r.FinishedAt) && (at.IsZero() || at.After(r.FinishedAt.Add(time.Second))) {
				j.fail(c, "told by Stripe", "ended at +%s, and a comparison from +%s to +%s left it open", end.Sub(j.began), r.StartedAt.Sub(j.began), r.FinishedAt.Sub(j.began))
			}
		}
	}
}

// alone: nobody but a comparison can have had to do with a hold within a span.
func (j *judge) alone(c *case_, from, to time.Time) bool {
	if to.Sub(from) > 5*time.Second || !j.there(to).Before(c.nearest.Add(-j.p.margin-5*time.Second)) {
		return false
	}
	for _, k := range c.calls {
		if k.begin.Before(to.Add(5*time.Second)) && (k.end.IsZero() || k.end.After(from.Add(-5*time.Second))) {
			return false
		}
	}
	clock := j.there(to)
	later := func(t time.Time) bool {
		return t.IsZero() || t.After(clock.Add(5*time.Second)) && t.After(to.Add(5*time.Second))
	}
	return !slices.ContainsFunc(c.wished.at(to), func(t terms) bool {
		return !later(t.captureAt) || !later(t.cancelAt) || !later(t.captureNow) || !later(t.cancelNow)
	})
}

// mirrored: while all is well terms stand at Stripe soon after they were agreed on, and what was heard to stand there is not written for ever.
func (j *judge) mirrored(c *case_) {
	written, before := map[string]int{}, map[string]time.Time{}
	for _, r := range c.requests {
		if r.op == "update" && r.status == 200 && r.heard {
			same := r.key[:strings.LastIndex(r.key, "-")]
			its := r.replica + " " + same // each replica has its turns
			aTurnLater := r.at.Sub(before[its]) > j.p.ways.mirror/2
			before[its] = r.at
			if aTurnLater && j.trouble("redis:", r.answered, r.answered.Add(5*time.Second)) {
				continue // Redis may not have taken it down
			}
			if written[same]++; written[same] == 10 {
				j.fail(c, "mirrored", "the same terms are written again and again")
			}
		}
	}
	t := j.way.emptied
	st, there := j.way.stood[c.n]
	if t.IsZero() || !there || j.p.ways.mirror == 0 || len(j.way.reviews[c.n]) > 0 || st.status != "requires_capture" || c.wished.before == nil || len(c.wished.before.unsure) > 0 || len(c.wished.before.sure) == 0 {
		return
	}
	last := c.wished.before.sure[0].end
	for _, k := range c.wished.before.sure {
		if k.begin.Before(t) && k.end.After(last) {
			last = k.end
		}
	}
	if t.Sub(last) < 2*j.p.ways.mirror+2*time.Minute || !j.calm(last, t, "redis:emptied") || slices.ContainsFunc(c.events, func(e event.Envelope) bool { return e.Type == hold.EventAttention }) {
		return
	}
	all := c.wished.before.at(t)
	if len(all) != 1 || !all[0].captureNow.IsZero() || !all[0].cancelNow.IsZero() {
		return
	}
	want := all[0]
	due := want.captureAt
	if due.IsZero() {
		due = want.cancelAt
	}
	if !due.IsZero() && due.Before(j.there(t).Add(time.Minute)) && !want.paused {
		return
	}
	got := terms{}.after(st.call(c, t))
	if got != want || !st.terms() {
		j.fail(c, "mirrored", "agreed on at +%s: %s; at Stripe stood %s when Redis was emptied at +%s", last.Sub(j.began), want, got, t.Sub(j.began))
	}
}

// byTurns: whoever authorizes is alone at it, so that a guest who clicks twice is not told of a conflict.
func (j *judge) byTurns() {
	for i, a := range j.world.requests {
		for _, b := range j.world.requests[:i] {
			alike := a.key == b.key && (a.op == "create" || a.op == "confirm") && a.heard && b.heard
			if alike && a.at.Before(b.answered) && b.at.Before(a.answered) && len(j.tails) == 0 && j.way.emptied.IsZero() {
				j.breach("one at a time: %s of %s with key %s at +%s, while %s does so since +%s", a.op, a.replica, short(a.key), a.at.Sub(j.began), b.replica, b.at.Sub(j.began))
			}
		}
	}
}

// cards: one key is one authorization at the most; who was told something was told the truth; what was authorized is not forgotten.
func (j *judge) cards() {
	if !j.p.ways.on {
		return
	}
	j.byTurns()
	placed, others := map[int][]stripesim.Effect{}, map[string]bool{} // others: intents that people ended
	for _, e := range j.sim.Ledger() {
		others[e.Intent] = others[e.Intent] || e.By == "dashboard" && e.Kind != stripesim.Authorized
		if e.Kind != stripesim.Authorized {
			continue
		}
		in, _ := j.sim.Intent(e.Intent)
		n, _ := strconv.Atoi(in.Metadata["n"])
		placed[n] = append(placed[n], e)
	}
	for i := range j.p.holds {
		h := &j.p.holds[i]
		if h.way != "card" {
			continue
		}
		if len(placed[h.n]) > 1 {
			j.breach("one authorization: H%d: %d authorizations: %+v", h.n, len(placed[h.n]), placed[h.n])
		}
		for _, k := range j.way.clicks {
			if k.n != h.n || !k.heard {
				continue
			}
			var p *hold.Problem
			switch {
			case k.err == nil && k.out.Status == hold.AuthorizationDone:
				if len(placed[h.n]) == 0 || placed[h.n][0].Intent != k.out.PaymentIntent || placed[h.n][0].Time.After(k.end) {
					j.breach("card: H%d: told authorized by %s, and it was not", h.n, k.out.PaymentIntent)
				}
			case errors.As(k.err, &p):
				switch p.Code {
				case hold.CardDeclined:
					if p.Detail == "" || p.DeclineCode == "" {
						j.breach("card: H%d: refused without a word to show: %v", h.n, k.err)
					}
				case hold.AuthorizationAbandoned:
					in, _ := j.sim.Intent(j.ids[h.n])
					if len(placed[h.n]) == 0 && j.there(k.end).Before(in.Created.Add(time.Hour)) && !others[in.ID] {
						j.breach("card: H%d: told at +%s that it was not finished in time, and the guest's hour was not over", h.n, k.end.Sub(j.began))
					}
				case hold.OutcomeUnknown, hold.InProgress, hold.AuthorizationRefused, hold.AlreadyCaptured, hold.AlreadyCanceled, hold.AlreadyExpired,
					hold.InThePast, hold.AuthorizationNotFound:
				default:
					j.breach("card: H%d: answered %s: %v", h.n, p.Code, k.err)
				}
			}
		}
		if id := j.ids[h.n]; id != "" && len(placed[h.n]) == 0 && j.p.tick >= 30*time.Second && len(j.tails) == 0 {
			in, _ := j.sim.Intent(id)
			by := j.well(j.here(in.Created.Add(62 * time.Minute))).Add(3*j.p.look() + 2*time.Minute)
			if in.Status != "canceled" && by.Before(j.at(j.since())) {
				j.breach("card: H%d: nobody finished it, and it is still %s", h.n, in.Status)
			}
		}
	}
}

// letters: each entry of the inbox that was not lost with Redis became a hold, or is among the rejects with a reason and its own words.
func (j *judge) letters() {
	if !j.p.ways.on {
		return
	}
	rejects := j.rejects()
	left, _ := j.redis.Stream("holdd:inbox")
	for _, p := range j.way.posted {
		if j.lost(p.at, p.at.Add(2*j.p.look()+time.Minute)) || j.way.emptied.After(p.at) {
			continue
		}
		r, no := rejects["inbox "+p.id]
		_, yes := j.final[j.ids[p.n]]
		switch {
		case slices.ContainsFunc(left, func(e miniredis.StreamEntry) bool { return e.ID == p.id }):
			j.breach("inbox: entry %s of +%s was never answered", p.id, p.at.Sub(j.began))
		case no && (r["code"] == "" || r["reason"] == "" || r["hold"] == ""):
			j.breach("inbox: entry %s was rejected without a reason: %v", p.id, r)
		case p.n == 0 && !no:
			j.breach("inbox: entry %s is no wish, and was not rejected", p.id)
		case p.n > 0 && !no && !yes:
			j.breach("inbox: H%d: entry %s was taken, and there is neither a hold nor a reject", p.n, p.id)
		case p.n > 0 && no && j.calm(p.at, p.at.Add(2*j.p.look()+j.patience())) && !slices.Contains([]string{"hold_exists", "after_deadline", "in_the_past", "already_captured", "already_canceled",
			"already_expired", "not_capturable", "amount_mismatch", "amount_too_large", "payment_intent_not_found", "would_cancel_now", "would_capture_now"}, r["code"]):
			j.breach("inbox: H%d: a good entry was rejected as %s: %s", p.n, r["code"], r["reason"])
		}
	}
	for what := range rejects {
		if strings.HasPrefix(what, "inbox ") && len(j.tails) == 0 && !slices.ContainsFunc(j.way.posted, func(p posted) bool { return "inbox "+p.id == what }) {
			j.breach("inbox: %s was rejected and never posted", what)
		}
	}
}

func (k *click) String() string { return fmt.Sprintf("%s %v", k.key, k.out.Status) }
