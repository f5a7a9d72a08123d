package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plan is all that is going to happen from outside in one simulated world. It is drawn whole from a seed before the world begins, as lists that can
// be made shorter: every item draws its own chance from its own name, so taking one away leaves the others as they are.
type plan struct {
	seed       uint64
	span       time.Duration // within it holds are placed, acted on, and things go wrong
	tick       time.Duration // of the capture and the expiry job
	slots      int           // replicas that are meant to run
	handlers   int
	partitions int
	margin     time.Duration
	thresholds []time.Duration
	write      int // requests of one kind a second and account
	lease      time.Duration
	service    time.Duration // how long a change at Stripe holds its intent's lock
	ahead      time.Duration // Redis' clock, of everybody else's
	holds      []placed
	faults     []fault
	ways       ways
}

// placed is one hold and what people do with it.
type placed struct {
	n         int
	at        time.Duration // placed at Stripe
	told      time.Duration // scheduled
	life      time.Duration // until its deadline
	account   string
	wished    string // account named in the wish, if it is the wrong one
	amount    int64
	currency  string
	own       string // capture, cancel or none
	due       time.Duration
	part      int64
	policy    string
	declared  bool
	undated   bool          // only the amount is declared, where nothing is false of it
	lie       int64         // added to the declared amount
	lieLife   time.Duration // added to the declared deadline
	reference string
	acts      []act
	way       string        // by which it comes to holdd: empty for the API, or metadata, inbox, card
	again     time.Duration // until the inbox gets the same entry once more
	spoiled   bool          // of metadata: a term that nobody can read
	card      *paid
	multi     bool // another system may capture parts and leave the rest held

	unconfirmed bool // its policy may not act at once: whoever schedules it does not confirm that
}

// act is something that somebody does with a hold.
type act struct {
	n           int
	at          time.Duration
	kind        string // see perform
	amount      int64
	time        time.Duration
	policy      string
	loseReply   bool
	giveUp      bool // doesn't ask again after an answer that was lost
	unconfirmed bool // see placed
	match       bool // only if the hold is still what it was when it was last looked at
}

// fault is something that goes wrong for a while, or at a moment.
type fault struct {
	n        int
	kind     string
	from, to time.Duration
	p        float64
	slot     int    // of a replica, -1: all
	where    string // which call, empty: any
	after    bool   // of kill-at: once it has had its effect
	back     time.Duration
	step     time.Duration // of lose-tail: how far the clock of the server that takes over is from the last one's
}

func (f fault) String() string {
	s := fmt.Sprintf("%s from %s to %s", f.kind, f.from.Round(time.Millisecond), f.to.Round(time.Millisecond))
	if f.p > 0 {
		s += fmt.Sprintf(" for %.0f%%", f.p*100)
	}
	if f.slot >= 0 {
		s += fmt.Sprintf(" of replica %c", 'a'+f.slot)
	}
	if f.where != "" {
		s += " at " + f.where
	}
	if f.step != 0 {
		s += fmt.Sprintf(", and its clock goes by %s", f.step)
	}
	if f.after {
		s += ", once it has had its effect"
	}
	return s
}

// dated says whether the deadline is declared as well.
func (p *placed) dated() bool { return p.declared && (!p.undated || p.lie != 0 || p.lieLife != 0) }

func (p placed) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "H%d: %d %s", p.n, p.amount, p.currency)
	if p.account != "" {
		s.WriteString(" of " + p.account)
	}
	fmt.Fprintf(&s, ", placed +%s, ends +%s, told +%s: %s", p.at.Round(time.Millisecond), (p.at + p.life).Round(time.Millisecond), p.told.Round(time.Millisecond), p.own)
	if p.own != "none" {
		fmt.Fprintf(&s, " at +%s", p.due.Round(time.Millisecond))
	}
	if p.part > 0 {
		fmt.Fprintf(&s, " (%d)", p.part)
	}
	fmt.Fprintf(&s, ", on_expiry %s", p.policy)
	if p.declared {
		fmt.Fprintf(&s, ", declared (amount %+d, deadline %+v, told %v)", p.lie, p.lieLife, p.dated())
	}
	if p.multi {
		s.WriteString(", multicapture")
	}
	s.WriteString(p.how())
	if p.unconfirmed {
		s.WriteString(", not confirmed")
	}
	if p.wished != "" {
		s.WriteString(", told with the wrong account")
	}
	for _, a := range p.acts {
		fmt.Fprintf(&s, "\n    +%s %s", a.at.Round(time.Microsecond), a.kind)
		if a.amount != 0 {
			fmt.Fprintf(&s, " %d", a.amount)
		}
		if a.time != 0 {
			fmt.Fprintf(&s, " +%s", a.time.Round(time.Millisecond))
		}
		s.WriteString(" " + a.policy)
		if a.unconfirmed {
			s.WriteString(" (not confirmed)")
		}
		if a.match {
			s.WriteString(" (if nobody else has changed it)")
		}
		if a.loseReply {
			s.WriteString(" (the answer is lost)")
		}
	}
	return s.String()
}

// scales: from the second to weeks, at a cost that stays the same.
var scales = []struct{ tick, span time.Duration }{
	{time.Second, 80 * time.Second},
	{time.Second, 2 * time.Minute},
	{5 * time.Second, 6 * time.Minute},
	{30 * time.Second, 40 * time.Minute},
	{2 * time.Minute, 3 * time.Hour},
	{10 * time.Minute, 14 * time.Hour},
	{30 * time.Minute, 40 * time.Hour},
	{2 * time.Hour, 9 * 24 * time.Hour},
}

const begin = 2 * time.Second // the replicas are up by then

// maxStep is how far the clocks of two servers of Redis are from each other.
const maxStep = 20 * time.Second

func draw(seed uint64) plan {
	d := throw(seed, "plan")
	scale := scales[d.IntN(len(scales))]
	p := plan{seed: seed, tick: scale.tick, span: scale.span, slots: pick(d, 1, 2, 2, 3), handlers: pick(d, 1, 2, 3, 4), partitions: pick(d, 1, 1, 1, 2, 3),
		write: pick(d, 2, 5, 25), lease: 30 * time.Second}
	p.margin = scale.span / time.Duration(pick(d, 12, 25, 60))
	p.thresholds = []time.Duration{p.margin * 4, p.margin * 2, p.margin}
	if d.chance(0.3) {
		p.service = d.between(time.Second, 8*time.Second)
	}
	accounts := []string{""}
	if d.chance(0.4) {
		accounts = append(accounts, "acct_simtestone11", "acct_simtesttwo22")[:1+pick(d, 1, 2)]
	}
	rush := time.Duration(0)
	if d.chance(0.35) {
		rush = p.onTick(d, d.between(p.span/4, p.span/2))
	}
	for n := range pick(d, 3, 5, 8, 12) {
		p.holds = append(p.holds, p.drawHold(n+1, accounts, rush))
	}
	if d.chance(0.9) {
		for n := range 1 + d.IntN(7) {
			p.faults = append(p.faults, p.drawFaults(n+1)...)
		}
	}
	for i := range p.holds {
		p.tugOfWar(&p.holds[i])
	}
	p.drawLate()
	p.drawWays()
	for i := range p.holds {
		p.drawParts(&p.holds[i])
	}
	if d := throw(seed, "clock"); d.chance(0.25) {
		p.ahead = pick(d, time.Duration(-1), 1) * d.between(100*time.Millisecond, min(p.span/8, 2*time.Minute)).Truncate(time.Millisecond)
	}
	for i := range p.faults {
		f := &p.faults[i]
		if d := throw(seed, "clock", fmt.Sprint(f.n)); f.kind == "redis:lose tail" && d.chance(0.5) {
			f.step = pick(d, time.Duration(-1), 1) * d.between(100*time.Millisecond, min(p.span/16, maxStep)).Truncate(time.Millisecond)
		}
	}
	return p
}

// drawLate lets some holds come when their policy's time is over, and leaves some requests
// without a confirmation.
func (p *plan) drawLate() {
	for i := range p.holds {
		h := &p.holds[i]
		d := throw(p.seed, "late", fmt.Sprint(h.n))
		h.unconfirmed = d.chance(0.5)
		if d.chance(0.06) && h.lie == 0 && h.wished == "" {
			end := h.at + h.life
			h.own, h.lieLife, h.part, h.acts = "none", 0, 0, nil
			h.told = max(h.at+time.Millisecond, end-d.between(p.margin/10, p.margin))
			h.due = h.told
		}
		for k := range h.acts {
			h.acts[k].unconfirmed = throw(p.seed, "confirms", fmt.Sprint(h.n), fmt.Sprint(h.acts[k].n)).chance(0.5)
		}
	}
}

// tugOfWar makes trouble on purpose where chance alone takes too long to find it: two opposite wishes while Stripe can't be asked; a capture that is
// lost on its way, and a cancel before it arrives.
func (p *plan) tugOfWar(h *placed) {
	d := throw(p.seed, "tug", fmt.Sprint(h.n))
	add := func(f fault) {
		f.n, f.slot, f.p = 100*h.n+len(p.faults), -1, 1
		p.faults = append(p.faults, f)
	}
	end := h.at + h.life
	defer func() { slices.SortStableFunc(h.acts, func(a, b act) int { return int(a.at - b.at) }) }()
	switch {
	case h.own != "none" && h.lie == 0 && p.tick >= 30*time.Minute && d.chance(0.15): // an effect nobody heard of, and Stripe away until it has forgotten the key
		first := (h.due - begin).Truncate(p.tick) + p.tick + begin + 20*time.Second
		h.life = max(h.life, first-h.at+30*time.Hour+p.margin)
		h.lieLife, h.acts = 0, nil
		add(fault{kind: "stripe:drop_reply", from: h.due - time.Second, to: first})
		add(fault{kind: "stripe:down", from: first, to: first + 25*time.Hour})
	case h.own != "none" && h.lie == 0 && d.chance(0.06): // Stripe says 500 to the first try, and to that key for ever
		h.life, h.lieLife, h.acts = max(h.life, h.due-h.at+p.margin+40*p.tick+20*time.Minute), 0, nil
		h.part = min(h.part, h.amount)
		add(fault{kind: "stripe:error_before", where: h.own, from: h.due - time.Second, to: h.due + p.tick*3/2 + time.Second})
	case h.own != "none" && h.wished == "" && d.chance(0.06): // its time is beyond a deadline that nobody could ask for
		h.declared, h.lie, h.lieLife, h.acts, h.policy = false, 0, 0, nil, pick(d, "capture", "cancel")
		h.due = (h.at + h.life + d.between(time.Second, p.margin)).Truncate(time.Millisecond)
		add(fault{kind: "stripe:down", from: h.told - time.Second, to: h.told + 3*time.Second})
	case d.chance(0.06): // changed just after a threshold has passed, before anybody could say so
		at := end - p.thresholds[d.IntN(len(p.thresholds))] + d.between(0, p.tick)
		if at > h.told+time.Second {
			h.acts = []act{{n: 21, at: at, kind: pick(d, "patch policy", "patch capture_at"), policy: pick(d, "alert", "capture", "cancel"), time: end - time.Second}}
		}
	case d.chance(0.12):
		at := d.between(h.told+time.Second, max(h.told+2*time.Second, h.due))
		h.acts = append(h.acts, act{n: 11, at: at, kind: pick(d, "cancel", "cancel", "capture")})
		at += d.between(time.Millisecond, 5*time.Second)
		h.acts = append(h.acts, act{n: 12, at: at, kind: pick(d, "capture", "cancel", "patch capture_at", "patch capture_at", "pause", "patch amount"), amount: 1 + d.Int64N(h.amount), time: (at + d.between(0, max(time.Second, (end-at)/2))).Truncate(time.Millisecond)})
		if a := &h.acts[len(h.acts)-1]; a.kind != "patch amount" {
			a.amount = 0
		}
		add(fault{kind: "stripe:" + pick(d, "dial", "unavailable", "rate_limited", "lock_timeout", "forbidden", "html", "drop_request"), from: at - 6*time.Second, to: at + d.between(time.Second, 30*time.Second)})
	case h.own == "capture" && p.tick <= time.Second && d.chance(0.2): // Redis forgets that it was captured, and somebody wants something else
		wants := "patch amount"
		if d.chance(0.5) {
			h.declared, h.part, h.acts, wants = false, 0, nil, "cancel"
		}
		lost := h.due + 1500*time.Millisecond
		add(fault{kind: "redis:lose tail", from: h.due - 300*time.Millisecond, to: lost})
		for n := range 2 {
			h.acts = append(h.acts, act{n: 17 + n, at: lost + d.between(0, 900*time.Millisecond), kind: wants})
			if wants == "patch amount" {
				h.acts[len(h.acts)-1].amount = 1 + d.Int64N(h.amount)
			}
		}
	case h.own == "capture" && p.tick <= time.Second && d.chance(0.25): // a capture is lost on its way, and a cancel comes before it arrives
		add(fault{kind: "stripe:late", where: "capture", from: h.due - time.Second, to: h.due + 2*time.Second})
		add(fault{kind: "stripe:unavailable for good", where: "capture", from: h.due + 9*time.Second, to: h.due + 12*time.Second})
		for _, op := range []string{"capture", "cancel"} {
			add(fault{kind: "stripe:dial", where: op, from: h.due + 12*time.Second, to: h.due + time.Minute})
		}
		h.life, h.lie, h.lieLife, h.acts = max(h.life, h.due-h.at+time.Minute+p.margin), 0, 0, nil
		for n := range 3 {
			h.acts = append(h.acts, act{n: 13 + n, at: h.due + time.Duration(17+2*n)*time.Second + d.between(0, 2*time.Second), kind: "cancel"})
		}
	case h.own != "none" && p.tick <= 5*time.Second && d.chance(0.2): // Redis is away for a moment just when the outcome is to be written
		add(fault{kind: "redis:down", from: h.due + 5*time.Millisecond, to: h.due + d.between(300*time.Millisecond, 2500*time.Millisecond)})
	}
}

// drawParts lets another system capture parts of a hold, most often about the time at which it is due.
func (p *plan) drawParts(h *placed) {
	d := throw(p.seed, "parts", fmt.Sprint(h.n))
	if h.multi = h.way != "card" && h.wished == "" && h.lie == 0 && d.chance(0.2); !h.multi {
		return
	}
	if h.own == "capture" && h.part == 0 && d.chance(0.6) {
		h.part = 1 + d.Int64N(h.amount)
	}
	for k := range pick(d, 1, 1, 2) {
		at := d.between(h.told, h.at+h.life)
		if h.own != "none" && d.chance(0.7) {
			at = h.due - d.between(0, max(2*time.Second, (h.due-h.told)/4))
		}
		h.acts = append(h.acts, act{n: 31 + k, at: max(at, h.told+time.Millisecond), kind: "dashboard part", amount: 1 + d.Int64N(h.amount*2/3)})
	}
	slices.SortStableFunc(h.acts, func(a, b act) int { return int(a.at - b.at) })
}

// onTick is a moment shortly around one of the ticks: where the replicas are busy.
func (p *plan) onTick(d dice, at time.Duration) time.Duration {
	at = begin - 2*time.Second + at.Truncate(p.tick) + time.Second*time.Duration(d.IntN(2))
	return at + d.between(-200*time.Millisecond, 700*time.Millisecond)
}

func (p *plan) drawHold(n int, accounts []string, rush time.Duration) placed {
	d := throw(p.seed, "hold", fmt.Sprint(n))
	h := placed{n: n, account: pick(d, accounts...), amount: 1000 + d.Int64N(90_000), currency: pick(d, "eur", "usd", "jpy"), own: pick(d, "capture", "capture", "capture", "cancel", "none"),
		policy: pick(d, "", "cancel", "capture", "alert"), declared: d.chance(0.4), reference: fmt.Sprintf("BK-%d", n)}
	h.at = begin + d.between(0, p.span/2)
	if rush > 0 && d.chance(0.8) {
		h.at = begin + d.between(0, rush-begin-p.tick)
	}
	h.told = h.at + d.between(time.Millisecond, min(p.span/50, 20*time.Minute))
	h.life = d.between(p.margin*2, p.span)
	switch {
	case rush > 0 && d.chance(0.8):
		h.life = max(h.life, rush-h.at+p.margin+d.between(0, p.span/8))
		h.due = rush
	case d.chance(0.15): // near the deadline
		h.due = h.at + h.life - d.between(time.Millisecond, p.margin)
	default:
		h.due = h.at + d.between(h.life/20, h.life*9/10)
		if d.chance(0.6) {
			h.due = p.onTick(d, h.due)
		}
	}
	h.due = max(h.due, h.told+time.Millisecond).Truncate(time.Millisecond)
	if d.chance(0.03) {
		h.due = h.at + h.life + d.between(0, p.margin)
	}
	if d.chance(0.3) {
		h.part = 1 + d.Int64N(h.amount)
	}
	if h.declared && d.chance(0.12) {
		h.lie = pick(d, int64(-1), 1) * (1 + d.Int64N(h.amount/2))
		h.part = 0
	}
	if h.declared && d.chance(0.12) {
		h.lieLife = d.between(-h.life/4, h.life/2).Truncate(time.Second)
	}
	h.undated = h.declared && throw(p.seed, "undated", fmt.Sprint(n)).chance(0.25)
	if len(accounts) > 1 && d.chance(0.05) {
		h.wished = "acct_simtestwrong3"
	}
	end := h.at + h.life
	for k := range pick(d, 0, 0, 1, 2, 3, 4) {
		h.acts = append(h.acts, p.drawAct(k+1, &h, end))
	}
	// People change their minds at once.
	for k := 1; k < len(h.acts); k++ {
		if d.chance(0.4) {
			h.acts[k].at = h.acts[k-1].at + d.between(time.Millisecond, pick(d, 100*time.Millisecond, 3*time.Second, 20*time.Second))
		}
	}
	slices.SortStableFunc(h.acts, func(a, b act) int { return int(a.at - b.at) })
	return h
}

func (p *plan) drawAct(k int, h *placed, end time.Duration) act {
	d := throw(p.seed, "act", fmt.Sprint(h.n), fmt.Sprint(k))
	a := act{n: k, loseReply: d.chance(0.2), giveUp: d.chance(0.2)}
	a.kind = pick(d, "capture", "capture", "capture part", "cancel", "cancel", "cancel", "patch capture_at", "patch capture_at", "patch cancel_at", "patch amount", "patch policy", "clear",
		"pause", "pause", "resume", "resume", "acknowledge", "again", "other", "dashboard capture", "dashboard cancel", "dashboard increment")
	switch {
	case h.own != "none" && d.chance(0.6): // around the claim
		a.at = h.due + d.between(-50*time.Millisecond, 1200*time.Millisecond)
		if d.chance(0.4) {
			a.at = h.due.Truncate(p.tick) + p.tick + d.between(-20*time.Millisecond, 1500*time.Millisecond)
		}
	case d.chance(0.3):
		a.at = end - d.between(0, p.margin*2)
	default:
		a.at = d.between(h.told, end)
	}
	a.at = max(a.at, h.told+d.between(time.Millisecond, time.Second))
	a.amount = 1 + d.Int64N(h.amount)
	if d.chance(0.1) {
		a.amount = h.amount + 1 + d.Int64N(1000)
	}
	a.time = a.at + d.between(-time.Second, (end-a.at)*5/4+time.Second)
	if d.chance(0.4) {
		a.time = p.onTick(d, a.time)
	}
	a.time = a.time.Truncate(time.Millisecond)
	a.policy = pick(d, "cancel", "capture", "alert")
	switch {
	case a.kind == "dashboard increment" && h.lie != 0: // nobody could tell which of the two was untrue
		a.kind = "again"
	case a.kind == "dashboard increment":
		a.amount = h.amount + 1 + d.Int64N(h.amount)
	case a.kind != "again" && a.kind != "other" && !strings.HasPrefix(a.kind, "dashboard"):
		a.match = d.chance(0.15)
	}
	if !strings.Contains(a.kind, "part") && !strings.Contains(a.kind, "amount") && a.kind != "dashboard capture" && a.kind != "dashboard increment" {
		a.amount = 0
	}
	if !strings.Contains(a.kind, "_at") {
		a.time = 0
	}
	if a.kind != "patch policy" {
		a.policy = ""
	}
	return a
}

// stripeFaults are those that the simulator knows how to make.
var stripeFaults = []string{"drop_request", "drop_reply", "broken_body", "cut_body", "error_before", "error_after", "unavailable", "html", "html_after",
	"rate_limited", "lock_timeout", "conflict", "dependency", "unavailable for good", "unauthorized", "forbidden", "not_found", "refused", "slow reply"}

// killAt are the calls before or after which a replica dies.
var killAt = []string{"due", "claim", "commit", "commit", "take", "touch", "milestones", "stripe", "stripe", "stripe"}

func (p *plan) drawFaults(n int) []fault {
	d := throw(p.seed, "fault", fmt.Sprint(n))
	f := fault{n: n, slot: -1, p: pick(d, 0.1, 0.3, 0.6, 1)}
	// Where something is due, faults do most harm.
	at := begin + d.between(0, p.span)
	if h := p.holds[d.IntN(len(p.holds))]; d.chance(0.75) {
		at = h.due + d.between(-time.Second, time.Second)
		switch n := len(h.acts); {
		case n > 0 && d.chance(0.4):
			at = h.acts[d.IntN(n)].at + d.between(-time.Second, time.Second)
		case d.chance(0.25):
			at = h.at + h.life - p.margin + d.between(-time.Second, p.tick)
		}
	}
	f.from = max(begin, at-d.between(0, p.tick))
	f.to = at + pick(d, p.tick+2*time.Second, p.tick*3, p.tick*10, p.span/10)
	if d.chance(0.5) {
		f.slot = d.IntN(p.slots)
	}
	switch k := d.IntN(20); {
	case k < 7:
		f.kind, f.slot = "stripe:"+pick(d, stripeFaults...), -1
		if strings.HasSuffix(f.kind, "rized") || strings.HasSuffix(f.kind, "dden") {
			f.p = min(f.p, 0.3)
		}
	case k < 9:
		f.kind = pick(d, "stripe:dial", "stripe:down")
	case k < 11:
		f.kind = "stripe:late"
	case k < 15:
		f.kind = pick(d, "redis:cut before", "redis:cut after", "redis:cut after", "redis:cut reply", "redis:slow", "redis:late", "redis:down", "redis:freeze", "redis:forget scripts")
		if f.kind == "redis:freeze" || f.kind == "redis:down" {
			f.to = f.from + min(f.to-f.from, d.between(time.Second, 2*time.Minute))
		}
	case k < 16:
		f.kind, f.slot = "redis:lose tail", -1
		f.from, f.to = at, at+pick(d, d.between(10*time.Millisecond, time.Second), d.between(time.Second, 30*time.Second))
	case k < 19:
		f.slot = d.IntN(p.slots)
		f.kind = pick(d, "kill", "kill at", "kill at", "kill at", "stop", "pause", "pause")
		f.from = max(begin, at)
		f.where, f.after = pick(d, killAt...), d.chance(0.6)
		f.back = d.between(100*time.Millisecond, 40*time.Second)
		if f.kind == "pause" {
			f.to = f.from + d.between(time.Second, 2*p.lease)
		}
	default:
		f.kind, f.slot = "stripe:revoked", -1
	}
	if f.kind != "kill at" {
		f.where, f.after = "", false
	}
	return []fault{f}
}
