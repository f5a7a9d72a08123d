package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// wayside is what a world's ways in leave behind for the judge. The world's mutex guards it.
type wayside struct {
	emptied   time.Time        // when Redis lost everything
	stood     map[int]standing // what stood at Stripe then, by hold
	posted    []posted
	delivered []delivery
	compared  []reconcile.Reconciliation // finished
	said      map[string]time.Time       // what was logged first when, by event and intent
	clicks    []*click
	guests    map[int]bool // who have acted
	reviews   map[int][]review
	moved     map[int][]time.Time // by hold, its deadlines before the last
	busy      int                 // clicks and entries that are not done
}

// review is the beginning or the end of one.
type review struct {
	kind string
	at   time.Time
}

// standing is a hold's intent at a moment.
type standing struct {
	status   string
	metadata map[string]string
}

// posted is an entry of the inbox.
type posted struct {
	n  int // of the hold, 0: nobody's
	at time.Time
	id string
}

// delivery is a webhook that was answered with success.
type delivery struct {
	id, kind, result string
	at               time.Time
}

// click is one request to authorize, or to confirm.
type click struct {
	n          int
	key        string
	confirm    bool
	begin, end time.Time
	heard      bool
	err        error
	out        hold.AuthorizationResult
}

func (c *click) granted() bool { return c.heard && c.err == nil }

// unsure says that its sender doesn't know what became of it, or was told that nothing did.
func (c *click) unsure() bool {
	var p *hold.Problem
	if c.heard && errors.As(c.err, &p) {
		return p.Code == hold.OutcomeUnknown || p.Code == hold.InProgress || p.Code == hold.AuthorizationRefused
	}
	return !c.heard || c.err != nil
}

// marks are the pairs of a hold's intent that are none of holdd's.
func (p *placed) marks() map[string]string {
	return map[string]string{"life": p.life.String(), "n": strconv.Itoa(p.n)}
}

// pairs are the metadata of an intent that its own system places.
func (p *placed) pairs(w *world) map[string]string {
	m := p.marks()
	if p.way != "metadata" {
		return m
	}
	wish := p.wish(w, "")
	for k, v := range map[string]string{"holdd_capture_at": wish.CaptureAt, "holdd_cancel_at": wish.CancelAt, "holdd_on_expiry": wish.OnExpiry, "holdd_reference": wish.Reference} {
		if v != "" {
			m[k] = v
		}
	}
	if wish.CaptureAmount > 0 {
		m["holdd_capture_amount"] = fmt.Sprint(wish.CaptureAmount)
	}
	if p.own == "none" {
		m["holdd_waiting"] = "true"
	}
	if p.spoiled {
		m["holdd_on_expiry"] = "perhaps"
	}
	return m
}

func (w *world) idOf(n int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids[n]
}

func (w *world) busy(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.way.busy += by
}

// post is a booking system that writes to the inbox, whoever lives.
func (w *world) post(n int, at time.Duration, text string) {
	time.Sleep(w.in(at))
	w.wind()
	id, err := w.redis.XAdd("holdd:inbox", "*", []string{"hold", text})
	if err != nil {
		w.breach("world: %v", err)
		return
	}
	w.tr.add(false, "people: entry %s of the inbox: %s", id, text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.way.posted = append(w.way.posted, posted{n, time.Now(), id})
}

// letter is the wish as an entry of the inbox.
func (p *placed) letter(w *world, id string) string {
	b, err := json.Marshal(p.wish(w, id))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// pay is a guest at the page, who clicks as often as guests do.
func (w *world) pay(h *placed) {
	for i, after := range h.card.clicks {
		w.busy(1)
		w.go_(func() {
			defer w.busy(-1)
			time.Sleep(w.in(h.at + after))
			w.click(h, i)
		})
	}
	for _, a := range h.acts {
		w.go_(func() {
			time.Sleep(w.in(a.at))
			if id := w.idOf(h.n); id != "" {
				w.perform(h, id, a)
			}
		})
	}
}

func (w *world) click(h *placed, i int) {
	wish := h.wish(w, "")
	aw := hold.AuthorizeRequest{PaymentMethod: h.card.method, Amount: h.amount, Currency: h.currency, Account: h.account, Reference: wish.Reference, CaptureAt: wish.CaptureAt,
		CancelAt: wish.CancelAt, CaptureAmount: wish.CaptureAmount, OnExpiry: wish.OnExpiry, Metadata: h.marks()}
	key := fmt.Sprintf("click-%08d", h.n)
	c := w.insist(h, i, key, false, func(ctx context.Context, r *replica) (hold.AuthorizationResult, error) {
		return r.Authorize(ctx, key, aw, "people")
	})
	var p *hold.Problem
	switch {
	case c.granted() && (c.out.Status == hold.AuthorizationRequiresAction || c.out.Status == hold.AuthorizationRequiresConfirmation):
		w.mu.Lock()
		first := !w.way.guests[h.n]
		w.way.guests[h.n] = true
		w.mu.Unlock()
		if first {
			w.nap(h.card.think)
			var err error
			switch h.card.guest {
			case "acts":
				err = w.sim.Dashboard().CompleteAction(c.out.PaymentIntent)
			case "fails":
				err = w.sim.Dashboard().FailAction(c.out.PaymentIntent)
			}
			w.tr.add(false, "people: the guest %s: %v", h.card.guest, err)
		} else {
			w.nap(h.card.think + time.Second)
		}
		if h.card.guest == "acts" {
			w.confirm(h, i, c.out.PaymentIntent, "confirm-", "")
		}
	case c.heard && errors.As(c.err, &p) && p.Code == hold.CardDeclined && h.card.second != "" && p.PaymentIntent != "":
		w.nap(h.card.think)
		w.confirm(h, i, p.PaymentIntent, "another-", h.card.second)
	}
}

func (w *world) confirm(h *placed, i int, id, verb, card string) {
	key := fmt.Sprintf("%s%08d", verb, h.n)
	w.insist(h, i, key, true, func(ctx context.Context, r *replica) (hold.AuthorizationResult, error) {
		return r.Confirm(ctx, id, key, hold.ConfirmRequest{Account: h.account, PaymentMethod: card}, "people")
	})
}

// compare is somebody who asks for a comparison, once.
func (w *world) compare(i int, a asked) {
	d := throw(w.p.seed, "asked", fmt.Sprint(i))
	time.Sleep(w.in(a.at) + d.between(10*time.Microsecond, 2*time.Millisecond))
	rs := w.alive()
	if len(rs) == 0 || w.gone() {
		return
	}
	r := rs[d.IntN(len(rs))]
	run, started, err := r.Reconcile(w.ctx, a.dry, nil, "people")
	w.tr.add(false, "people: a comparison asked for at %s, dry %v: %v, %v %s", r.name, a.dry, run.DryRun, started, errText(err))
}

// insist repeats a request for as long as nobody knows what became of it, up to a point.
func (w *world) insist(h *placed, i int, key string, confirm bool, do func(context.Context, *replica) (hold.AuthorizationResult, error)) (c *click) {
	for try := range 8 {
		d := throw(w.p.seed, "click", key, fmt.Sprint(i), fmt.Sprint(try))
		w.nap(d.between(10*time.Microsecond, 2*time.Millisecond))
		c = &click{n: h.n, key: key, confirm: confirm, begin: time.Now(), end: time.Now()}
		if w.gone() {
			return c
		}
		if rs := w.alive(); len(rs) > 0 {
			r := rs[d.IntN(len(rs))]
			w.mu.Lock()
			w.way.clicks = append(w.way.clicks, c)
			w.mu.Unlock()
			ctx, cancel := context.WithTimeout(w.ctx, 25*time.Second)
			out, err := do(ctx, r)
			lost := try == 0 && d.chance(0.15)
			w.mu.Lock()
			c.end, c.out, c.err, c.heard = time.Now(), out, err, !lost && !r.dead.Load() && ctx.Err() == nil
			w.mu.Unlock()
			cancel()
			said := "nothing was heard"
			if c.heard {
				said = fmt.Sprintf("%s %s %s", out.PaymentIntent, out.Status, errText(err))
			}
			w.tr.add(false, "people: click %d %s of H%d at %s -> %s", i+1, key, h.n, r.name, said)
			if !c.unsure() || h.card.hasty {
				return c
			}
		}
		w.nap(d.between(500*time.Millisecond, 4*time.Second) << min(try, 4))
	}
	return c
}

const whsec = "whsec_of_the_world"

// happened is what Stripe does with an event: it tells of it, late, twice, in whatever order, or not at all.
func (w *world) happened(e stripesim.Event) {
	if st, ok := w.sim.Intent(e.Intent); ok {
		if n, _ := strconv.Atoi(st.Metadata["n"]); n > 0 {
			w.mu.Lock()
			if w.ids[n] == "" || e.Type == "payment_intent.amount_capturable_updated" {
				w.ids[n] = e.Intent
			}
			w.mu.Unlock()
		}
	}
	y := &w.p.ways
	if !y.hooks || !w.p.heeds(e.Type) {
		return
	}
	d := throw(w.p.seed, "event", e.ID)
	if d.chance(y.lost) {
		w.tr.add(false, "Stripe's %s of %s is lost", e.Type, e.Intent)
		w.count("webhook: lost")
		return
	}
	times := 1
	if d.chance(y.twice) {
		times = 2
		w.count("webhook: doubled")
	}
	for i := range times {
		late := d.between(time.Millisecond, y.late)
		w.go_(func() { w.deliver(e, i, late) })
	}
}

// heeds leaves out what comes with everything and that no endpoint would ask for.
func (p *plan) heeds(kind string) bool {
	return strings.HasPrefix(kind, "payment_intent.") && kind != "payment_intent.created" || kind == "charge.captured" || kind == "charge.expired" || strings.HasPrefix(kind, "review.")
}

func (w *world) count(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hits[kind]++
}

// deliver sends an event to some replica, and again for as long as it is refused.
func (w *world) deliver(e stripesim.Event, copy int, late time.Duration) {
	for try := range 9 {
		d := throw(w.p.seed, "deliver", e.ID, fmt.Sprint(copy), fmt.Sprint(try))
		w.nap(late + d.between(time.Microsecond, time.Millisecond))
		if w.gone() {
			return
		}
		late = d.between(2*time.Second, 4*time.Second) << try
		rs := w.alive()
		if len(rs) == 0 {
			continue
		}
		r := rs[d.IntN(len(rs))]
		ev, err := gateway.ParseEvent(e.Payload, stripesim.Sign(e.Payload, time.Now(), whsec), []string{"whsec_another", whsec}, 0)
		if err != nil {
			w.breach("webhooks: %s can't be read: %v", e.Type, err)
			return
		}
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		result, err := r.Webhooks.ApplyStripeEvent(ctx, ev)
		ok := err == nil && ctx.Err() == nil && !r.dead.Load()
		cancel()
		w.tr.add(false, "Stripe tells %s of %s of %s (%s%d): %s %s", r.name, e.Type, e.Intent, strings.Repeat("again ", copy), try+1, result, errText(err))
		if ok {
			w.mu.Lock()
			w.way.delivered = append(w.way.delivered, delivery{e.Intent, e.Type, result, time.Now()})
			w.mu.Unlock()
			return
		}
		w.count("webhook: refused, sent again")
	}
}

// empty is FLUSHALL: Redis goes on and knows nothing any more.
func (w *world) empty() {
	stood := map[int]standing{}
	for _, h := range w.p.holds {
		if id := w.idOf(h.n); id != "" {
			in, _ := w.sim.Intent(id)
			stood[h.n] = standing{in.Status, maps.Clone(in.Metadata)}
		}
	}
	lost := w.published()
	w.redis.FlushAll()
	now := time.Now()
	w.mu.Lock()
	w.lostEvents = append(w.lostEvents, lost...)
	w.way.emptied, w.way.stood = now, stood
	w.tails = append(w.tails, [2]time.Time{now.Add(-2 * time.Second), now})
	w.mu.Unlock()
	w.tr.add(false, "Redis is emptied")
}

// waysSettled says whether nothing is under way any more that came by these ways, and Stripe holds no money of any hold.
func (w *world) waysSettled() bool {
	if !w.p.ways.on {
		return true
	}
	for _, h := range w.p.holds {
		in, ok := w.sim.Intent(w.idOf(h.n))
		if ok && h.wished == "" && in.Status == "requires_capture" {
			return false
		}
		if ok && h.card != nil && w.p.tick >= 30*time.Second && in.Status != "canceled" && in.Status != "succeeded" {
			return false
		}
	}
	if n, _ := w.redis.Stream("holdd:inbox"); len(n) > 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.way.busy == 0
}

// ears hear what a replica tells its operator, for the judge.
type ears struct {
	w *world
	r *replica
}

func (e *ears) Enabled(l zapcore.Level) bool      { return l >= zapcore.InfoLevel }
func (e *ears) With([]zapcore.Field) zapcore.Core { return e }
func (e *ears) Sync() error                       { return nil }
func (e *ears) Check(x zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Enabled(x.Level) {
		return c.AddCore(x, e)
	}
	return c
}

func (e *ears) Write(x zapcore.Entry, fields []zap.Field) error {
	event, id := x.Message, ""
	for _, f := range fields {
		switch f.Key {
		case "event":
			event = f.String
		case "payment_intent", "id":
			id = f.String
		}
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if k := event + " " + id; e.w.way.said[k].IsZero() && !e.r.dead.Load() {
		e.w.way.said[k] = time.Now()
	}
	return nil
}

// eye sees the comparisons that a replica has finished.
type eye struct {
	w *world
	r *replica
}

func (eye) ReadinessChecked([]health.Check)                      {}
func (eye) CapacityChecked(event.CapacityRisk)                   {}
func (eye) CallFinished(hold.Op, hold.AnswerKind, time.Duration) {}
func (eye) EventRecorded(*hold.Hold, hold.Event, time.Duration)  {}
func (eye) HoldsCounted(hold.Counts, int, time.Time)             {}
func (eye) RequestRejected(string, hold.Code)                    {}
func (e eye) ReconcileFinished(r reconcile.Reconciliation) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.w.way.compared = append(e.w.way.compared, r)
}

// rejects are what stands in the stream of rejects, by source and id.
func (w *world) rejects() map[string]map[string]string {
	out := map[string]map[string]string{}
	entries, _ := w.redis.Stream("holdd:inbox:rejected")
	for _, e := range entries {
		m := map[string]string{}
		for i := 0; i+1 < len(e.Values); i += 2 {
			m[e.Values[i]] = e.Values[i+1]
		}
		out[m["source"]+" "+m["id"]] = m
	}
	return out
}

// listen is what the simulator tells its events to.
func (w *world) listen() func(stripesim.Event) {
	if !w.p.ways.on {
		return nil
	}
	return w.happened
}
