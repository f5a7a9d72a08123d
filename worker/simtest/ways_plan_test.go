package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker"
)

// ways are what a world has of the ways in; its zero value is a world in which all is told by API and nothing else is looked at.
type ways struct {
	on      bool
	hooks   bool          // Stripe's events are delivered
	lost    float64       // of them, never
	twice   float64       // of them, again
	late    time.Duration // at the most, until one is first sent
	mirror  time.Duration // schedule of the mirror, 0: off
	compare time.Duration // schedule of reconcile, 0: only the one that each Redis begins with
	asked   []asked       // comparisons that people ask for
	page    int           // intents of one page of a list, 0: as many as are asked for
	letters []letter      // entries of the inbox that nobody could grant
}

// asked is a comparison that somebody asks for.
type asked struct {
	at  time.Duration
	dry bool
}

// letter is an entry that is no wish.
type letter struct {
	n    int
	at   time.Duration
	text string
}

// paid is how a hold is authorized by holdd.
type paid struct {
	method string
	clicks []time.Duration // after the hold's time, each with the same key at a replica of its own
	guest  string          // acts, fails, leaves; of a card that asks for 3-D Secure
	think  time.Duration   // until the guest has acted
	second string          // card that is tried once the first was refused
	hasty  bool            // nobody asks again after an answer that was lost
}

func (p *plan) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d replicas of %d handlers, %d partitions, a tick every %s, %d requests a second, margin %s\n", p.slots, p.handlers, p.partitions, p.tick, p.write, p.margin)
	if p.ways.on {
		fmt.Fprintf(&s, "  webhooks %v (%.0f%% lost, %.0f%% doubled, up to %s late), mirror every %s, reconcile every %s, pages of %d\n", p.ways.hooks, p.ways.lost*100, p.ways.twice*100, p.ways.late, p.ways.mirror, p.ways.compare, p.ways.page)
	}
	if p.ahead != 0 {
		fmt.Fprintf(&s, "  Redis' clock is ahead by %s\n", p.ahead)
	}
	for _, h := range p.holds {
		fmt.Fprintf(&s, "  %s\n", h)
	}
	for _, a := range p.ways.asked {
		fmt.Fprintf(&s, "  comparison asked for at +%s, dry %v\n", a.at, a.dry)
	}
	for _, l := range p.ways.letters {
		fmt.Fprintf(&s, "  entry of the inbox +%s: %s\n", l.at, l.text)
	}
	for _, f := range p.faults {
		fmt.Fprintf(&s, "  fault %d: %s\n", f.n, f)
	}
	return s.String()
}

// how tells by which way a hold comes.
func (p *placed) how() string {
	switch p.way {
	case "metadata":
		if p.spoiled {
			return ", by metadata that nobody can read"
		}
		return ", by metadata"
	case "inbox":
		return fmt.Sprintf(", by the inbox, again after %s", p.again)
	case "card":
		return fmt.Sprintf(", by card %+v", *p.card)
	}
	return ""
}

// schedules let the jobs look as often as the world's pace asks for, and those seldom that have nothing to do in it.
func (p *plan) schedules() worker.Schedules {
	every := func(d time.Duration) string {
		if d == 0 {
			d = 2160 * time.Hour
		}
		return "@every " + d.String()
	}
	s := worker.Schedules{Capture: every(p.tick), Expiry: every(p.tick), Report: every(p.tick * 12), Purge: every(0), Verify: every(p.tick * 4),
		Refresh: every(0), Inbox: every(0), Mirror: every(0), Resume: every(0), Reconcile: every(0)}
	if !p.ways.on {
		return s
	}
	s.Mirror, s.Reconcile, s.Report = every(p.ways.mirror), every(p.ways.compare), every(p.tick*4)
	if p.ways.hooks {
		s.Refresh = every(p.look())
	}
	if len(p.ways.letters) > 0 {
		s.Inbox = every(p.look())
	}
	for _, h := range p.holds {
		switch h.way {
		case "inbox":
			s.Inbox = every(p.look())
		case "card":
			s.Resume = every(max(p.look(), 10*time.Second))
		}
	}
	return s
}

// look is how often the jobs of the ways in look.
func (p *plan) look() time.Duration { return max(p.tick, time.Second) }

// drawWays lets some of a world's holds come by other ways than the API, and lets go wrong what can on these.
func (p *plan) drawWays() {
	d := throw(p.seed, "ways")
	if !d.chance(0.3) {
		return
	}
	w := &p.ways
	w.on = true
	if w.hooks = d.chance(0.75); w.hooks {
		w.lost, w.twice = pick(d, 0, 0, 0.1, 0.5), pick(d, 0, 0.3, 1)
		w.late = pick(d, 2*time.Second, p.tick*2, p.span/10)
	}
	if d.chance(0.65) {
		w.mirror = max(2*time.Second, p.tick*time.Duration(pick(d, 1, 3)))
	}
	if d.chance(0.65) {
		w.compare = max(20*time.Second, p.span/time.Duration(pick(d, 5, 10)))
	}
	w.page = pick(d, 0, 0, 1, 3)
	if d.chance(0.2) {
		for range 1 + d.IntN(3) {
			w.asked = append(w.asked, asked{at: begin + d.between(0, p.span), dry: d.chance(0.3)})
		}
	}
	for i := range p.holds {
		p.drawWay(&p.holds[i])
		p.drawDoubt(&p.holds[i])
	}
	if d.chance(0.25) {
		for n := range 1 + d.IntN(3) {
			w.letters = append(w.letters, letter{n: n + 1, at: begin + d.between(0, p.span),
				text: pick(d, `{`, `null`, `{"payment_intent":"pi_12345678","Amount":5}`, `{"payment_intent":"x"}`, `{"payment_intent":"pi_12345678","capture_at":"1999-12-31T00:00:00Z"}`)})
		}
	}
	add := func(f fault) {
		f.n = 1000 + len(p.faults)
		p.faults = append(p.faults, f)
	}
	if d.chance(0.35) {
		if d.chance(0.5) {
			p.faults = nil // what the mirror leaves undone shows only where nothing else is wrong
		}
		at := begin + d.between(p.span/4, p.span*3/4)
		add(fault{kind: "redis:emptied", from: at, to: at, slot: -1})
	}
	if d.chance(0.25) { // nobody lives while something comes in
		at := p.holds[d.IntN(len(p.holds))].told - d.between(0, time.Second)
		for slot := range p.slots {
			add(fault{kind: "kill", from: at + time.Duration(slot)*time.Millisecond, to: at, slot: slot, back: d.between(2*time.Second, 20*time.Second)})
		}
	}
	for i := range p.holds { // where it comes in
		h, d := &p.holds[i], throw(p.seed, "coming in", fmt.Sprint(p.holds[i].n))
		for _, a := range h.acts {
			if strings.HasPrefix(a.kind, "dashboard") && p.ways.hooks && d.chance(0.4) {
				add(fault{kind: "redis:cut before", where: "commit", from: a.at, to: a.at + min(p.ways.late, 30*time.Minute) + time.Second, p: pick(d, 0.6, 1), slot: -1})
			}
		}
		switch {
		case h.way == "card" && h.card.hasty && d.chance(0.7):
			add(fault{kind: "kill at", where: "stripe", after: true, from: h.at, to: h.at + 20*time.Second, slot: d.IntN(p.slots), back: d.between(time.Second, 40*time.Second)})
		case h.way == "card" && d.chance(0.3):
			add(fault{kind: "stripe:" + pick(d, "error_after", "error_after", "error_before", "drop_reply", "html_after", "cut_body", "late"), where: pick(d, "create", "create", "confirm"),
				from: h.at, to: h.at + pick(d, time.Second, 5*time.Second, 40*time.Second), p: pick(d, 0.5, 1), slot: -1})
		case h.way == "inbox" && d.chance(0.25):
			add(fault{kind: "kill at", where: pick(d, "inbox", "inbox", "handled", "commit"), after: d.chance(0.7), from: h.told, to: h.told + 3*p.look(), slot: d.IntN(p.slots),
				back: d.between(time.Second, 40*time.Second)})
		case h.way == "inbox" && d.chance(0.25):
			add(fault{kind: pick(d, "redis:cut before", "redis:cut after"), where: pick(d, "read", "commit", "handled"), from: h.told, to: h.told + 2*p.look(), p: 1, slot: -1})
		case h.way == "metadata" && p.ways.hooks && d.chance(0.15):
			add(fault{kind: pick(d, "redis:cut before", "redis:cut after"), where: pick(d, "read", "commit", "note"), from: h.at, to: h.at + p.ways.late, p: 0.6, slot: -1})
		}
	}
	if d.chance(0.4) { // in the middle of it
		at := p.holds[d.IntN(len(p.holds))].at
		add(fault{kind: "kill at", from: at, to: at + p.tick*2 + 5*time.Second, slot: d.IntN(p.slots), where: pick(d, "attempt", "attempt", "inbox", "handled", "note", "commit", "stripe", "stripe", "compare"),
			after: d.chance(0.6), back: d.between(time.Second, 40*time.Second)})
	}
}

func (p *plan) drawWay(h *placed) {
	d := throw(p.seed, "way", fmt.Sprint(h.n))
	switch h.way = pick(d, "", "", "metadata", "metadata", "inbox", "card", "card"); h.way {
	case "metadata":
		h.honest()
		h.spoiled = d.chance(0.15)
	case "inbox":
		if d.chance(0.4) {
			h.again = d.between(time.Millisecond, pick(d, time.Second, p.tick*2, 40*time.Second))
		}
	case "card":
		h.honest()
		c := paid{method: pick(d, "pm_card_visa", "pm_card_visa", "pm_card_threeDSecure2Required", "pm_card_threeDSecure2Required", "pm_card_visa_chargeDeclinedInsufficientFunds")}
		for range pick(d, 1, 2, 2, 3) {
			c.clicks = append(c.clicks, d.between(0, pick(d, 20*time.Millisecond, 2*time.Second, 30*time.Second)))
		}
		slices.Sort(c.clicks)
		c.guest, c.think = "acts", d.between(time.Second, pick(d, 5*time.Second, 50*time.Second))
		if p.tick >= 30*time.Second { // an hour must be cheap
			c.guest = pick(d, "acts", "acts", "fails", "leaves")
		}
		if d.chance(0.5) {
			c.second = "pm_card_mastercard"
		}
		c.hasty = d.chance(0.25)
		h.card = &c
	}
}

// drawDoubt lets Stripe look closer at a payment, or change its mind on how long it is held.
func (p *plan) drawDoubt(h *placed) {
	d := throw(p.seed, "doubt", fmt.Sprint(h.n))
	end := h.at + h.life
	switch {
	case d.chance(0.12):
		if d.chance(0.5) {
			h.acts = nil // nobody interferes
		}
		at := d.between(h.at+time.Millisecond, max(h.at+time.Second, min(h.due, end)))
		h.acts = append(h.acts, act{n: 31, at: at, kind: "dashboard review"})
		if d.chance(0.8) {
			at += d.between(time.Second, max(2*time.Second, (end-at)/3))
			h.acts = append(h.acts, act{n: 32, at: at, kind: pick(d, "dashboard approve", "dashboard approve", "dashboard object")})
		}
	case d.chance(0.08):
		at := d.between(h.told+time.Second, max(h.told+2*time.Second, end))
		h.acts = append(h.acts, act{n: 33, at: at, kind: "stripe deadline", time: (at + d.between(time.Second, (end-at)*9/8+time.Minute)).Truncate(time.Second)})
	default:
		return
	}
	slices.SortStableFunc(h.acts, func(a, b act) int { return int(a.at - b.at) })
}

// honest takes away what only a caller of the API can say.
func (p *placed) honest() {
	p.declared, p.lie, p.lieLife, p.wished, p.told = false, 0, 0, "", p.at
	if p.own == "none" {
		p.part = 0
	}
}
