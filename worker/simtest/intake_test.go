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

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// intakeObservations is what a world's ways in leave behind for the judge. The
// world's mutex guards it.
type intakeObservations struct {
	redisEmptiedAt     time.Time              // when Redis lost everything
	intentsWhenEmptied map[int]intentSnapshot // the intents at that time, by hold
	inboxPosts         []inboxPost
	webhookDeliveries  []webhookDelivery
	reconciliations    []reconcile.Reconciliation // finished
	firstLoggedAt      map[string]time.Time       // what was logged first when, by event and intent
	authorizations     []*authorizationRequest
	cardholdersActed   map[int]bool // who have acted
	reviews            map[int][]reviewChange
	earlierDeadlines   map[int][]time.Time // by hold, its deadlines before the last
	pending            int                 // clicks and entries that are not done
}

// reviewChange is the beginning or the end of one.
type reviewChange struct {
	kind string
	at   time.Time
}

// intentSnapshot is a hold's intent at a moment.
type intentSnapshot struct {
	status   string
	metadata map[string]string
}

// inboxPost is an entry of the inbox.
type inboxPost struct {
	holdNumber int // of the hold, 0 for an invalid entry
	at         time.Time
	entryID    string
}

// webhookDelivery is a webhook that was answered with success.
type webhookDelivery struct {
	intentID, eventType, result string
	at, createdAt               time.Time
}

// authorizationRequest is one request to authorize, or to confirm.
type authorizationRequest struct {
	holdNumber         int
	idempotencyKey     string
	confirm            bool
	sentAt, answeredAt time.Time
	replyReceived      bool
	err                error
	result             hold.AuthorizationResult
}

func (c *authorizationRequest) isAccepted() bool { return c.replyReceived && c.err == nil }

// isOutcomeUnknown says that its sender doesn't know what became of it, or was
// told that nothing did.
func (c *authorizationRequest) isOutcomeUnknown() bool {
	var p *hold.Problem
	if c.replyReceived && errors.As(c.err, &p) {
		return p.Code == hold.OutcomeUnknown || p.Code == hold.InProgress ||
			p.Code == hold.AuthorizationRefused
	}
	return !c.replyReceived || c.err != nil
}

// foreignMetadata are the pairs of a hold's intent that are none of holdd's.
func (p *plannedHold) foreignMetadata() map[string]string {
	return map[string]string{"life": p.authorizationWindow.String(), "n": strconv.Itoa(p.number)}
}

// intentMetadata are the metadata of an intent that its own system places.
func (p *plannedHold) intentMetadata(w *world) map[string]string {
	m := p.foreignMetadata()
	if p.intake != "metadata" {
		return m
	}
	req := p.scheduleRequest(w, "")
	for k, v := range map[string]string{"holdd_capture_at": req.CaptureAt,
		"holdd_cancel_at": req.CancelAt, "holdd_on_expiry": req.OnExpiry,
		"holdd_reference": req.Reference} {
		if v != "" {
			m[k] = v
		}
	}
	if req.CaptureAmount > 0 {
		m["holdd_capture_amount"] = fmt.Sprint(req.CaptureAmount)
	}
	maps.Copy(m, captureParamsMetadata(&req.CaptureParams))
	if p.action == "none" {
		m["holdd_waiting"] = "true"
	}
	if p.invalidMetadata {
		m["holdd_on_expiry"] = "perhaps"
	}
	return m
}

func (w *world) intentIDOf(n int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.intentIDs[n]
}

func (w *world) addPending(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.intakeObserved.pending += by
}

// postInboxEntry writes an entry to the inbox, even while no replica runs.
func (w *world) postInboxEntry(n int, at time.Duration, text string) {
	time.Sleep(w.durationUntil(at))
	w.syncRedisClock()
	id, err := w.redis.XAdd("holdd:inbox", "*", []string{"hold", text})
	if err != nil {
		w.breach("world: %v", err)
		return
	}
	w.trace.add(false, "people: entry %s of the inbox: %s", id, text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.intakeObserved.inboxPosts = append(w.intakeObserved.inboxPosts, inboxPost{n, time.Now(), id})
}

// inboxPayload is the request of a hold as an inbox entry.
func (p *plannedHold) inboxPayload(w *world, id string) string {
	b, err := json.Marshal(p.scheduleRequest(w, id))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// payByCard is a cardholder on a payment page, who may click several times.
func (w *world) payByCard(h *plannedHold) {
	for i, after := range h.card.clickOffsets {
		w.addPending(1)
		w.spawn(func() {
			defer w.addPending(-1)
			time.Sleep(w.durationUntil(h.placedAt + after))
			w.clickPay(h, i)
		})
	}
	for _, a := range h.actions {
		w.spawn(func() {
			time.Sleep(w.durationUntil(a.at))
			if id := w.intentIDOf(h.number); id != "" {
				w.performAction(h, id, a)
			}
		})
	}
}

func (w *world) clickPay(h *plannedHold, i int) {
	req := h.scheduleRequest(w, "")
	aw := hold.AuthorizeRequest{PaymentMethod: h.card.paymentMethod, Amount: h.amount,
		Currency: h.currency, Account: h.account, Reference: req.Reference,
		CaptureAt: req.CaptureAt,
		CancelAt:  req.CancelAt, CaptureAmount: req.CaptureAmount, OnExpiry: req.OnExpiry,
		Metadata: h.foreignMetadata()}
	key := fmt.Sprintf("click-%08d", h.number)
	c := w.authorizeWithRetry(h, i, key, false, func(ctx context.Context, r *replica) (
		hold.AuthorizationResult, error) {
		return r.Authorize(ctx, key, aw, "people")
	})
	var p *hold.Problem
	switch {
	case c.isAccepted() && (c.result.Status == hold.AuthorizationRequiresAction ||
		c.result.Status == hold.AuthorizationRequiresConfirmation):
		w.mu.Lock()
		first := !w.intakeObserved.cardholdersActed[h.number]
		w.intakeObserved.cardholdersActed[h.number] = true
		w.mu.Unlock()
		if first {
			w.sleep(h.card.thinkTime)
			var err error
			switch h.card.cardholder {
			case "acts":
				err = w.sim.Dashboard().CompleteAction(c.result.PaymentIntent)
			case "fails":
				err = w.sim.Dashboard().FailAction(c.result.PaymentIntent)
			}
			w.trace.add(false, "people: the guest %s: %v", h.card.cardholder, err)
		} else {
			w.sleep(h.card.thinkTime + time.Second)
		}
		if h.card.cardholder == "acts" {
			w.confirmPayment(h, i, c.result.PaymentIntent, "confirm-", "")
		}
	case c.replyReceived && errors.As(c.err, &p) && p.Code == hold.CardDeclined &&
		h.card.secondCard != "" && p.PaymentIntent != "":
		w.sleep(h.card.thinkTime)
		w.confirmPayment(h, i, p.PaymentIntent, "another-", h.card.secondCard)
	}
}

func (w *world) confirmPayment(h *plannedHold, i int, id, verb, card string) {
	key := fmt.Sprintf("%s%08d", verb, h.number)
	w.authorizeWithRetry(h, i, key, true, func(ctx context.Context, r *replica) (
		hold.AuthorizationResult, error) {
		return r.Confirm(ctx, id, key, hold.ConfirmRequest{Account: h.account, PaymentMethod: card},
			"people")
	})
}

// requestReconcile requests a reconcile run once.
func (w *world) requestReconcile(i int, a reconcileRequest) {
	d := newRNG(w.plan.seed, "asked", fmt.Sprint(i))
	time.Sleep(w.durationUntil(a.at) + d.durationBetween(10*time.Microsecond, 2*time.Millisecond))
	rs := w.liveReplicas()
	if len(rs) == 0 || w.isClosing() {
		return
	}
	r := rs[d.IntN(len(rs))]
	run, started, err := r.StartRun(w.ctx, a.dryRun, nil, "people")
	w.trace.add(false, "people: a comparison asked for at %s, dry %v: %v, %v %s", r.name, a.dryRun,
		run.DryRun, started, errText(err))
}

// authorizeWithRetry repeats a request for as long as nobody knows what became
// of it, up to a point.
func (w *world) authorizeWithRetry(
	h *plannedHold, i int, key string, confirm bool, do func(context.Context, *replica) (
		hold.AuthorizationResult, error),
) (c *authorizationRequest) {
	for try := range 8 {
		d := newRNG(w.plan.seed, "click", key, fmt.Sprint(i), fmt.Sprint(try))
		w.sleep(d.durationBetween(10*time.Microsecond, 2*time.Millisecond))
		c = &authorizationRequest{holdNumber: h.number, idempotencyKey: key, confirm: confirm,
			sentAt: time.Now(), answeredAt: time.Now()}
		if w.isClosing() {
			return c
		}
		if rs := w.liveReplicas(); len(rs) > 0 {
			r := rs[d.IntN(len(rs))]
			w.mu.Lock()
			w.intakeObserved.authorizations = append(w.intakeObserved.authorizations, c)
			w.mu.Unlock()
			ctx, cancel := context.WithTimeout(w.ctx, 25*time.Second)
			out, err := do(ctx, r)
			replyLost := try == 0 && d.chance(0.15)
			w.mu.Lock()
			c.answeredAt, c.result, c.err, c.replyReceived = time.Now(), out, err, !replyLost &&
				!r.dead.Load() && ctx.Err() == nil
			w.mu.Unlock()
			cancel()
			outcome := "nothing was heard"
			if c.replyReceived {
				outcome = fmt.Sprintf("%s %s %s", out.PaymentIntent, out.Status, errText(err))
			}
			w.trace.add(false, "people: click %d %s of H%d at %s -> %s", i+1, key,
				h.number, r.name, outcome)
			if !c.isOutcomeUnknown() || h.card.noRetry {
				return c
			}
		}
		w.sleep(d.durationBetween(500*time.Millisecond, 4*time.Second) << min(try, 4))
	}
	return c
}

const webhookSecret = "whsec_of_the_world"

// onStripeEvent is what Stripe does with an event: it tells of it, late, twice,
// in whatever order, or not at all.
func (w *world) onStripeEvent(e stripesim.Event) {
	if st, ok := w.sim.Intent(e.Intent); ok {
		if n, _ := strconv.Atoi(st.Metadata["n"]); n > 0 {
			w.mu.Lock()
			if w.intentIDs[n] == "" || e.Type == "payment_intent.amount_capturable_updated" {
				w.intentIDs[n] = e.Intent
			}
			w.mu.Unlock()
		}
	}
	y := &w.plan.intake
	if !y.webhooks || !w.plan.isWebhookSubscribed(e.Type) {
		return
	}
	d := newRNG(w.plan.seed, "event", e.ID)
	if d.chance(y.webhookLossRate) {
		w.trace.add(false, "Stripe's %s of %s is lost", e.Type, e.Intent)
		w.countFaultHit("webhook: lost")
		return
	}
	if y.thinEvents && !strings.HasPrefix(e.Type, "review.") {
		if w.plan.organizationKey {
			foreign := e.ThinPayload("acct_simtestother9")
			w.spawn(func() { w.deliverForeignEvent(foreign) })
		}
		e.Payload = e.ThinPayload(w.stripeContext())
	}
	times := 1
	if d.chance(y.webhookDuplicateRate) {
		times = 2
		w.countFaultHit("webhook: doubled")
	}
	for i := range times {
		delay := d.durationBetween(time.Millisecond, y.maxWebhookDelay)
		w.spawn(func() { w.deliverWebhook(e, i, delay) })
	}
}

// isWebhookSubscribed leaves out what comes with everything and that no
// endpoint would ask for.
func (p *plan) isWebhookSubscribed(kind string) bool {
	return strings.HasPrefix(kind, "payment_intent.") && kind != "payment_intent.created" ||
		kind == "charge.captured" || kind == "charge.expired" || strings.HasPrefix(kind, "review.") ||
		p.intake.chargeWebhooks && (kind == "charge.succeeded" || kind == "charge.updated")
}

func (w *world) countFaultHit(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faultHits[kind]++
}

// deliverWebhook sends an event to some replica, and again for as long as it is
// refused.
func (w *world) deliverWebhook(e stripesim.Event, copyIndex int, delay time.Duration) {
	for try := range 9 {
		d := newRNG(w.plan.seed, "deliver", e.ID, fmt.Sprint(copyIndex), fmt.Sprint(try))
		w.sleep(delay + d.durationBetween(time.Microsecond, time.Millisecond))
		if w.isClosing() {
			return
		}
		delay = d.durationBetween(2*time.Second, 4*time.Second) << try
		rs := w.liveReplicas()
		if len(rs) == 0 {
			continue
		}
		r := rs[d.IntN(len(rs))]
		ev, err := gateway.ParseEvent(e.Payload, stripesim.Sign(e.Payload, time.Now(),
			webhookSecret), gateway.ParseEventOptions{
			Secrets: []string{"whsec_another", webhookSecret}, Context: w.stripeContext()})
		if err != nil {
			w.breach("webhooks: %s can't be read: %v", e.Type, err)
			return
		}
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		result, err := r.Webhooks.ApplyStripeEvent(ctx, ev)
		ok := err == nil && ctx.Err() == nil && !r.dead.Load()
		cancel()
		w.trace.add(false, "Stripe tells %s of %s of %s (%s%d): %s %s", r.name, e.Type, e.Intent,
			strings.Repeat("again ", copyIndex), try+1, result, errText(err))
		if ok {
			w.mu.Lock()
			w.intakeObserved.webhookDeliveries = append(w.intakeObserved.webhookDeliveries,
				webhookDelivery{e.Intent, e.Type, result, time.Now(), e.Created})
			w.mu.Unlock()
			return
		}
		w.countFaultHit("webhook: refused, sent again")
	}
}

// emptyRedis is FLUSHALL: Redis goes on and knows nothing any more.
func (w *world) emptyRedis() {
	snapshots := map[int]intentSnapshot{}
	for _, h := range w.plan.holds {
		if id := w.intentIDOf(h.number); id != "" {
			in, _ := w.sim.Intent(id)
			snapshots[h.number] = intentSnapshot{in.Status, maps.Clone(in.Metadata)}
		}
	}
	lost := w.publishedEvents()
	w.redis.FlushAll()
	now := time.Now()
	w.mu.Lock()
	w.lostEvents = append(w.lostEvents, lost...)
	w.intakeObserved.redisEmptiedAt, w.intakeObserved.intentsWhenEmptied = now, snapshots
	w.lostSpans = append(w.lostSpans, [2]time.Time{now.Add(-2 * time.Second), now})
	w.mu.Unlock()
	w.trace.add(false, "Redis is emptied")
}

// intakeSettled says whether nothing is under way any more that came by these
// ways, and Stripe holds no money of any hold.
func (w *world) intakeSettled() bool {
	if !w.plan.intake.enabled {
		return true
	}
	for _, h := range w.plan.holds {
		in, ok := w.sim.Intent(w.intentIDOf(h.number))
		if ok && h.requestedAccount == "" && in.Status == "requires_capture" {
			return false
		}
		if ok && h.card != nil && w.plan.jobInterval >= 30*time.Second && in.Status != "canceled" &&
			in.Status != "succeeded" {
			return false
		}
	}
	if n, _ := w.redis.Stream("holdd:inbox"); len(n) > 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.intakeObserved.pending == 0
}
