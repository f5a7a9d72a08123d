package simtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// forgedPrefix begins the kind of an action that sends a signed event which
// Stripe never sent. The rest is the event's type.
const forgedPrefix = "forged "

// drawForgedEvents lets somebody who knows the signing secret send events, in
// half of the worlds with webhooks.
func (p *plan) drawForgedEvents() {
	if !p.intake.webhooks || !newRNG(p.seed, "forged").chance(0.5) {
		return
	}
	for i := range p.holds {
		h, d := &p.holds[i], newRNG(p.seed, "forged", fmt.Sprint(p.holds[i].number))
		end := h.placedAt + h.authorizationWindow
		for k := range d.IntN(3) {
			h.actions = append(h.actions, plannedAction{number: 51 + k,
				at: d.durationBetween(h.placedAt+time.Millisecond, max(h.placedAt+time.Second, end)),
				kind: forgedPrefix + pickOne(d, "payment_intent.succeeded", "payment_intent.succeeded",
					"payment_intent.canceled", "charge.expired", "charge.updated",
					"payment_intent.amount_capturable_updated", "review.closed")})
		}
		slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
	}
}

// sendForgedEvent sends a signed event about an intent to a replica.
func (w *world) sendForgedEvent(h *plannedHold, id string, a plannedAction) {
	d := newRNG(w.plan.seed, "forge", fmt.Sprint(h.number), fmt.Sprint(a.number))
	w.sleep(d.durationBetween(10*time.Microsecond, 2*time.Millisecond))
	rs := w.liveReplicas()
	if len(rs) == 0 || w.isClosing() {
		return
	}
	r := rs[d.IntN(len(rs))]
	payload := w.forgedPayload(h, id, strings.TrimPrefix(a.kind, forgedPrefix))
	e, err := gateway.ParseEvent(payload, stripesim.Sign(payload, time.Now(), webhookSecret),
		gateway.ParseEventOptions{Secrets: []string{webhookSecret}})
	if err != nil {
		w.breach("world: a forged %s can't be read: %v", a.kind, err)
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	result, err := r.Webhooks.ApplyStripeEvent(ctx, e)
	w.countFaultHit("webhook: forged")
	w.trace.add(false, "somebody sends %s a %s of %s: %s %s", r.name, a.kind, id, result,
		errText(err))
}

// forgedPayload is an event that contradicts Stripe about an intent.
func (w *world) forgedPayload(h *plannedHold, id, eventType string) []byte {
	now := time.Now().Unix()
	intent := map[string]any{"object": "payment_intent", "id": id, "amount": h.amount,
		"currency": h.currency, "created": now, "capture_method": "manual"}
	charge := map[string]any{"object": "charge", "id": "ch_forged", "payment_intent": id,
		"status": "succeeded", "amount": h.amount, "currency": h.currency, "created": now,
		"payment_method_details": map[string]any{"type": "card",
			"card": map[string]any{"capture_before": now + 2}}}
	object := charge
	switch eventType {
	case "payment_intent.succeeded":
		object = intent
		intent["status"], intent["amount_received"] = "succeeded", h.amount
	case "payment_intent.canceled":
		object = intent
		intent["status"] = "canceled"
	case "payment_intent.amount_capturable_updated":
		object = intent
		intent["status"], intent["amount_capturable"] = "requires_capture", 1
	case "review.closed":
		review := "prv_forged"
		if in, ok := w.sim.Intent(id); ok && in.Review != "" {
			review = in.Review
		}
		object = map[string]any{"object": "review", "id": review, "payment_intent": id,
			"closed_reason": "approved"}
	}
	b, err := json.Marshal(map[string]any{"object": "event", "id": "evt_forged", "created": now,
		"type": eventType, "account": h.account, "data": map[string]any{"object": object}})
	if err != nil {
		panic(err)
	}
	return b
}

// checkSettledByStripe expects an effect at Stripe before each event that says
// that a hold has ended. A replica learns late that Redis' clock was set, and a
// reply that waited for Redis sets its own back by as much.
func (j *judge) checkSettledByStripe(c *judgedHold) {
	slack := 4 * time.Second
	if len(j.redisClocks) > 1 {
		slack += maxClockStep
	}
	for _, e := range c.events {
		if e.Type != hold.EventCaptured && e.Type != hold.EventCanceled &&
			e.Type != hold.EventExpired {
			continue
		}
		at := e.Timestamp.Add(slack)
		if !slices.ContainsFunc(c.effects, func(x stripesim.Effect) bool {
			return x.Final && !x.Time.After(at)
		}) {
			j.failHold(c, "%s (%s) at +%s, and Stripe held the money", e.Type, e.Data.Cause,
				j.since(e.Timestamp))
		}
	}
}

// forgedEventsPlan is a world in which forged events of every kind arrive long
// before anything is due, and a review is open.
func forgedEventsPlan() plan {
	var all []plannedHold
	for n, eventType := range []string{"payment_intent.succeeded", "payment_intent.canceled",
		"charge.expired", "charge.updated", "payment_intent.amount_capturable_updated",
		"review.closed"} {
		all = append(all, plannedHold{number: n + 1, placedAt: 5 * time.Second,
			scheduledAt: 6 * time.Second, authorizationWindow: 30 * time.Minute, amount: 5000,
			currency: "eur", action: "capture", dueAt: 20 * time.Minute,
			actions: []plannedAction{
				{number: 51, at: 3 * time.Minute, kind: forgedPrefix + eventType}}})
	}
	last := &all[len(all)-1]
	last.actions = slices.Insert(last.actions, 0,
		plannedAction{number: 31, at: time.Minute, kind: "dashboard review"})
	return quietPlan(5*time.Second, intakePlan{enabled: true, webhooks: true,
		maxWebhookDelay: time.Second}, all...)
}
