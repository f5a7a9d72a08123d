package simtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/stripesim"
)

// call is one wish as its sender knows it: what was asked, and what the answer was, if one came.
type call struct {
	n          int // of the hold
	id         string
	kind       string
	wish       hold.ScheduleRequest
	patch      hold.Patch
	amount     int64
	revision   uint64 // that it must have, 0: any
	begin, end time.Time
	heard      bool
	err        error // heard
	got        hold.Hold
	replica    string
	confirm    bool // that the deadline's policy may act at once
	paused     bool // of terms that stood at Stripe
	lifted     bool // a person had been called to the hold, and scheduled it: it is paused no longer
}

// granted says that the sender knows that it was.
func (c *call) granted() bool { return c.heard && c.err == nil }

// unsure says that the sender doesn't know whether it was.
func (c *call) unsure() bool { return !c.heard || errors.Is(c.err, health.ErrUnavailable) }

func (c *call) String() string {
	said := "nothing was heard"
	switch {
	case c.granted():
		said = fmt.Sprintf("granted, %s, revision %d", c.got.State, c.got.Revision)
	case c.heard:
		said = "refused: " + c.err.Error()
	}
	s := c.kind
	if c.amount > 0 {
		s += fmt.Sprint(" ", c.amount)
	}
	for _, p := range []*string{c.patch.CaptureAt, c.patch.CancelAt, c.patch.OnExpiry} {
		if p != nil {
			s += fmt.Sprintf(" %q", *p)
		}
	}
	if c.patch.CaptureAmount != nil {
		s += fmt.Sprint(" ", *c.patch.CaptureAmount)
	}
	return fmt.Sprintf("people: %s %s at %s -> %s", s, c.id, c.replica, said)
}

// live is a hold's life as far as people make it.
func (w *world) live(h *placed) {
	time.Sleep(w.in(h.at))
	if h.way == "card" {
		w.pay(h)
		return
	}
	id, err := w.sim.Authorize(stripesim.Hold{Amount: h.amount, Currency: h.currency, Account: h.account, Metadata: h.pairs(w), Incremental: true, Multicapture: h.multi})
	if err != nil {
		w.breach("world: %v", err)
		return
	}
	w.mu.Lock()
	w.ids[h.n] = id
	w.mu.Unlock()
	w.tr.add(false, "a hold is placed: %s", id)
	for _, a := range h.acts {
		w.go_(func() {
			time.Sleep(w.in(a.at))
			w.perform(h, id, a)
		})
	}
	switch h.way {
	case "metadata":
		return
	case "inbox":
		w.post(h.n, h.told, h.letter(w, id))
		if h.again > 0 {
			w.post(h.n, h.told+h.again, h.letter(w, id))
		}
		return
	}
	time.Sleep(w.in(h.told))
	w.perform(h, id, act{kind: "schedule", at: h.told, loseReply: throw(w.p.seed, "told", fmt.Sprint(h.n)).chance(0.2)})
}

func (h *placed) wish(w *world, id string) hold.ScheduleRequest {
	wish := hold.ScheduleRequest{PaymentIntent: id, Account: h.account, Reference: h.reference, CaptureAmount: h.part, OnExpiry: h.policy, Confirm: !h.unconfirmed}
	if h.wished != "" {
		wish.Account = h.wished
	}
	if h.own == "capture" {
		wish.CaptureAt = stamp(w.at(h.due))
	}
	if h.own == "cancel" {
		wish.CancelAt = stamp(w.at(h.due))
	}
	if h.own == "none" {
		wish.CaptureAmount = 0
	}
	if h.declared {
		wish.Amount, wish.Currency = h.amount+h.lie, h.currency
	}
	if h.dated() {
		wish.ExpiresAt = stamp(w.at(h.at + h.life + h.lieLife).Truncate(time.Second))
	}
	return wish
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// perform does one thing, and again for as long as its answer is not heard: that is what booking systems do.
func (w *world) perform(h *placed, id string, a act) {
	if w.elsewhere(h, id, a) {
		return
	}
	c := call{n: h.n, id: id, kind: a.kind, amount: a.amount, confirm: !a.unconfirmed}
	c.patch.Confirm = c.confirm
	at := stamp(w.at(a.time))
	empty := ""
	switch a.kind {
	case "schedule", "again":
		c.kind, c.wish, c.confirm = "schedule", h.wish(w, id), !h.unconfirmed
	case "other":
		c.wish = h.wish(w, id)
		c.wish.Reference += "-x"
	case "patch capture_at":
		c.patch.CaptureAt = &at
	case "patch cancel_at":
		c.patch.CancelAt = &at
	case "clear":
		c.patch.CaptureAt, c.patch.CancelAt = &empty, &empty
	case "patch amount":
		c.patch.CaptureAmount = &a.amount
	case "patch policy":
		c.patch.OnExpiry = &a.policy
	}
	who := fmt.Sprintf("%d %s %d %s", h.n, a.kind, a.n, a.at)
	for try := range 6 {
		d := throw(w.p.seed, "call", who, fmt.Sprint(try))
		time.Sleep(d.between(10*time.Microsecond, 2*time.Millisecond))
		rs := w.alive()
		if len(rs) > 0 {
			again := c
			r := rs[d.IntN(len(rs))]
			if a.match {
				seen, _, err := r.Get(w.ctx, id)
				if err != nil {
					return
				}
				again.revision = seen.Revision
			}
			if !w.ask(r, &again, a.loseReply && try == 0) || a.giveUp {
				return
			}
		}
		time.Sleep(d.between(500*time.Millisecond, 6*time.Second) << try)
	}
}

// elsewhere does what isn't asked of holdd, and reports whether this was such a thing.
func (w *world) elsewhere(h *placed, id string, a act) bool {
	var err error
	switch a.kind {
	case "dashboard capture":
		err = w.sim.Dashboard().Capture(id, min(a.amount, h.amount))
	case "dashboard part":
		err = w.sim.Dashboard().CapturePart(id, a.amount)
	case "dashboard cancel":
		err = w.sim.Dashboard().Cancel(id, "requested_by_customer")
	case "dashboard increment":
		err = w.sim.Dashboard().Increment(id, a.amount)
	case "dashboard review":
		err = w.sim.Dashboard().OpenReview(id)
	case "dashboard approve":
		err = w.sim.Dashboard().CloseReview(id, "approved")
	case "dashboard object":
		err = w.sim.Dashboard().CloseReview(id, "disputed")
	case "stripe deadline":
		if was, _ := w.sim.Intent(id); w.at(a.time).After(time.Now()) {
			if err = w.sim.SetCaptureBefore(id, w.at(a.time)); err == nil {
				w.mu.Lock()
				w.way.moved[h.n] = append(w.way.moved[h.n], was.CaptureBefore)
				w.mu.Unlock()
			}
		}
	default:
		return false
	}
	w.tr.add(false, "people: %s %d +%s of %s: %v", a.kind, a.amount, a.time, id, err)
	if err == nil && (strings.HasSuffix(a.kind, "review") || strings.HasSuffix(a.kind, "approve") || strings.HasSuffix(a.kind, "object")) {
		w.mu.Lock()
		w.way.reviews[h.n] = append(w.way.reviews[h.n], review{a.kind, time.Now()})
		w.mu.Unlock()
	}
	return true
}

// ask sends one wish to one replica; again tells that its sender doesn't know what became of it.
func (w *world) ask(r *replica, c *call, deaf bool) (again bool) {
	c.begin, c.replica = time.Now(), r.name
	w.mu.Lock()
	w.calls = append(w.calls, c)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.ctx, 15*time.Second)
	defer cancel()
	got, err := c.send(ctx, r.parts)
	w.mu.Lock()
	c.end, c.got, c.err, c.heard = time.Now(), got, err, !deaf && !r.dead.Load() && ctx.Err() == nil
	w.mu.Unlock()
	w.tr.add(false, "%s", c)
	return c.unsure()
}

func (c *call) send(ctx context.Context, w parts) (h hold.Hold, err error) {
	switch {
	case c.kind == "schedule" || c.kind == "other":
		s := w.Schedule(ctx, []hold.ScheduleRequest{c.wish}, "people")[0]
		return s.Hold, s.Err
	case strings.HasPrefix(c.kind, "patch"), c.kind == "clear":
		h, _, err = w.Patch(ctx, c.id, c.patch, c.revision, "people")
	case c.kind == "capture" || c.kind == "capture part":
		h, _, err = w.Capture(ctx, c.id, c.amount, c.revision, "people")
	case c.kind == "cancel":
		h, _, err = w.Cancel(ctx, c.id, c.revision, "people")
	case c.kind == "pause":
		h, _, err = w.Pause(ctx, c.id, c.revision, c.confirm, "people")
	case c.kind == "resume":
		h, _, err = w.Resume(ctx, c.id, c.revision, c.confirm, "people")
	case c.kind == "acknowledge":
		h, _, err = w.Acknowledge(ctx, c.id, c.revision, "people")
	default:
		panic("nobody knows how to " + c.kind)
	}
	return h, err
}

// look is a person who looks at what waits for a person.
func (w *world) look(round int) {
	rs := w.alive()
	if len(rs) == 0 {
		return
	}
	page, err := rs[0].List(w.ctx, query.Query{State: hold.Attention})
	if err != nil {
		return
	}
	slices.SortFunc(page.Holds, func(a, b hold.Hold) int { return strings.Compare(a.ID, b.ID) })
	for _, found := range page.Holds {
		n := 0
		w.mu.Lock()
		for k, id := range w.ids {
			if id == found.ID {
				n = k
			}
		}
		w.mu.Unlock()
		i := slices.IndexFunc(w.p.holds, func(h placed) bool { return h.n == n })
		if i < 0 {
			continue
		}
		d := throw(w.p.seed, "look", fmt.Sprint(round), fmt.Sprint(n))
		a := act{n: round, at: w.since(), kind: pick(d, "capture", "cancel", "patch capture_at", "patch cancel_at", ""), time: w.since() + d.between(0, w.p.margin)}
		if a.kind != "" {
			w.perform(&w.p.holds[i], found.ID, a)
		}
	}
}

// keep is one of Redis' keys, as it was.
type keep struct {
	kind   string
	text   string
	hash   map[string]string
	zset   map[string]float64
	stream []miniredis.StreamEntry // without its groups: what was taken and not answered comes again
	list   []string
	until  time.Time // by Redis' clock, zero for ever
}

// snapshot is what Redis has on its disk, or its replica in its memory.
func (w *world) snapshot() map[string]keep {
	all, now := map[string]keep{}, w.wind()
	for _, k := range w.redis.Keys() {
		v := keep{kind: w.redis.Type(k)}
		if ttl := w.redis.TTL(k); ttl > 0 {
			v.until = now.Add(ttl)
		}
		switch v.kind {
		case "string":
			v.text, _ = w.redis.Get(k)
		case "hash":
			v.hash = map[string]string{}
			fields, _ := w.redis.HKeys(k)
			for _, f := range fields {
				v.hash[f] = w.redis.HGet(k, f)
			}
		case "zset":
			v.zset, _ = w.redis.SortedSet(k)
			v.zset = maps.Clone(v.zset)
		case "stream":
			v.stream, _ = w.redis.Stream(k)
			v.stream = slices.Clone(v.stream)
		case "list":
			v.list, _ = w.redis.List(k)
			v.list = slices.Clone(v.list)
		case "set":
			v.list, _ = w.redis.Members(k)
			v.list = slices.Clone(v.list)
		default:
			w.breach("world: key %s of type %s is not kept", k, v.kind)
		}
		all[k] = v
	}
	return all
}

func (w *world) restore(all map[string]keep) {
	w.redis.FlushAll()
	now := w.wind()
	for k, v := range all {
		if !v.until.IsZero() && !v.until.After(now) {
			continue
		}
		switch v.kind {
		case "string":
			w.redis.Set(k, v.text)
		case "hash":
			for f, x := range v.hash {
				w.redis.HSet(k, f, x)
			}
		case "zset":
			for m, s := range v.zset {
				w.redis.ZAdd(k, s, m)
			}
		case "list":
			w.redis.Push(k, v.list...)
		case "set":
			w.redis.SetAdd(k, v.list...)
		case "stream":
			for _, e := range v.stream {
				w.redis.XAdd(k, e.ID, e.Values)
			}
		}
		if !v.until.IsZero() {
			w.redis.SetTTL(k, v.until.Sub(now))
		}
	}
}
