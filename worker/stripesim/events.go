package stripesim

import (
	"sort"
	"time"
)

// eventRetention is how long events can be read.
const eventRetention = 30 * day

// storedEvent is an event with a snapshot of its object. It is rendered when it
// is read or sent.
type storedEvent struct {
	id, eventType  string
	created        time.Time
	intent         string
	renderObject   func() any
	requestID      string
	idempotencyKey string
	seq            int
	// webhooks that are not delivered yet
	pendingWebhooks int
}

type eventLog struct {
	all     []*storedEvent
	byID    map[string]*storedEvent
	nextSeq int
}

type eventJSON struct {
	ID              string           `json:"id"`
	Object          string           `json:"object"`
	Account         string           `json:"account,omitempty"`
	APIVersion      string           `json:"api_version"`
	Created         int64            `json:"created"`
	Data            eventDataJSON    `json:"data"`
	Livemode        bool             `json:"livemode"`
	PendingWebhooks int              `json:"pending_webhooks"`
	Request         eventRequestJSON `json:"request"`
	Type            string           `json:"type"`
}

type eventDataJSON struct {
	Object any `json:"object"`
}

type eventRequestJSON struct {
	ID             *string `json:"id"`
	IdempotencyKey *string `json:"idempotency_key"`
}

func snapshotIntent(in *intent) func() any {
	c := *in
	return func() any { return newIntentJSON(&c, nil) }
}

// snapshot copies the intent too, because parts of a charge come from it.
func (c *charge) snapshot() func() any {
	in, ch := *c.intent, *c
	ch.intent = &in
	return func() any { return ch.toJSON() }
}

func snapshotSetupIntent(si *setupIntent) func() any {
	c := *si
	return func() any { return newSetupIntentJSON(&c, nil) }
}

func (r *refund) snapshot() func() any {
	c := *r
	return func() any { return c.toJSON() }
}

func (r *review) snapshot() func() any {
	c := *r
	return func() any { return c.toJSON() }
}

func (e *storedEvent) toJSON(a *account, apiVersion string, webhook bool) *eventJSON {
	j := &eventJSON{
		ID: e.id, Object: "event", APIVersion: apiVersion, Created: e.created.Unix(),
		Data:    eventDataJSON{renderInVersion(apiVersion, e.renderObject())},
		Request: eventRequestJSON{stringOrNil(e.requestID), stringOrNil(e.idempotencyKey)},
		Type:    e.eventType, PendingWebhooks: e.pendingWebhooks,
	}
	if webhook && a.id != a.env.platformAccount {
		j.Account = a.id
	}
	return j
}

// emitEvent records the event of a change that was just made to an intent.
func (a *account) emitEvent(op *operation, typ string, in *intent, object func() any) {
	a.emitEventAbout(op, typ, in.id, object)
}

// emitEventAbout records the event of a change that was just made. intentID is
// the PaymentIntent that it concerns, or empty.
func (a *account) emitEventAbout(op *operation, typ, intentID string, object func() any) {
	o := &a.env.options
	e := &storedEvent{id: "evt_" + a.newID("")[:24], eventType: typ, created: op.now,
		intent: intentID, renderObject: object, requestID: op.requestID,
		idempotencyKey: op.idempotencyKey}
	if o.Webhook.isEnabled() {
		e.pendingWebhooks++
	}
	endpoints := a.env.webhooks.subscribed(a, typ)
	e.pendingWebhooks += len(endpoints)
	a.events.add(e, op.now, o.MaxEvents)
	event := Event{ID: e.id, Type: typ, Account: a.id, Intent: intentID, Created: e.created}
	for _, endpoint := range endpoints {
		own := event
		own.Payload = encodeJSON(e.toJSON(a, endpoint.apiVersion, true))
		op.deliveries = append(op.deliveries, pendingDelivery{event: own, endpoint: endpoint})
	}
	if a.env.webhooks.isObserved() {
		event.Payload = encodeJSON(e.toJSON(a, o.Webhook.APIVersion, true))
		op.events = append(op.events, event)
	}
}

// add appends an event. It drops the events beyond maxEvents and those older
// than eventRetention.
func (l *eventLog) add(e *storedEvent, now time.Time, maxEvents int) {
	e.seq = l.nextSeq
	l.nextSeq++
	l.all = append(l.all, e)
	l.byID[e.id] = e
	old := now.Add(-eventRetention)
	n := max(0, len(l.all)-maxEvents)
	for n < len(l.all) && l.all[n].created.Before(old) {
		n++
	}
	for i := range n {
		delete(l.byID, l.all[i].id)
		l.all[i] = nil
	}
	l.all = l.all[n:]
}

// since returns the events that are not older than t.
func (l *eventLog) since(t time.Time) []*storedEvent {
	first := sort.Search(len(l.all), func(i int) bool { return !l.all[i].created.Before(t) })
	return l.all[first:]
}

// confirmDelivery records that a webhook of an event was delivered.
func (a *account) confirmDelivery(id string) {
	a.mu.Lock()
	if e := a.events.byID[id]; e != nil {
		e.pendingWebhooks--
	}
	a.mu.Unlock()
}
