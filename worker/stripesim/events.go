package stripesim

import (
	"sort"
	"time"
)

// eventRetention is how far back events can be read.
const eventRetention = 30 * day

// storedEvent is kept as snapshots and rendered when somebody asks.
type storedEvent struct {
	id, eventType  string
	created        time.Time
	intent         string
	renderObject   func() any
	requestID      string
	idempotencyKey string
	seq            int
	webhookPending bool // a webhook has not been delivered yet
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

func (in *intent) snapshot() func() any {
	c := *in
	return func() any { return c.toJSON(nil) }
}

// snapshot copies the intent along, for the parts of a charge that come from
// it.
func (c *charge) snapshot() func() any {
	in, ch := *c.intent, *c
	ch.intent = &in
	return func() any { return ch.toJSON("") }
}

func (r *review) snapshot() func() any {
	c := *r
	return func() any { return c.toJSON() }
}

func (e *storedEvent) toJSON(a *account, apiVersion string, webhook bool) *eventJSON {
	j := &eventJSON{
		ID: e.id, Object: "event", APIVersion: apiVersion, Created: e.created.Unix(),
		Data:    eventDataJSON{e.renderObject()},
		Request: eventRequestJSON{stringOrNil(e.requestID), stringOrNil(e.idempotencyKey)},
		Type:    e.eventType,
	}
	if e.webhookPending {
		j.PendingWebhooks = 1
	}
	if webhook && a.id != a.sim.platformAccount {
		j.Account = a.id
	}
	return j
}

// emitEvent makes an event of a change that has just been made.
func (a *account) emitEvent(op *operation, typ string, in *intent, object func() any) {
	s := a.sim
	l := &a.events
	e := &storedEvent{id: "evt_" + a.newID("")[:24], eventType: typ, created: op.now, intent: in.id,
		renderObject: object, requestID: op.requestID, idempotencyKey: op.idempotencyKey,
		seq: l.nextSeq}
	l.nextSeq++
	e.webhookPending = s.options.Webhook.isEnabled()
	l.all = append(l.all, e)
	l.byID[e.id] = e
	old := op.now.Add(-eventRetention)
	n := max(0, len(l.all)-s.options.MaxEvents)
	for n < len(l.all) && l.all[n].created.Before(old) {
		n++
	}
	for i := range n {
		delete(l.byID, l.all[i].id)
		l.all[i] = nil
	}
	l.all = l.all[n:]
	if s.options.OnEvent == nil && !s.options.Webhook.isEnabled() {
		return
	}
	ev := Event{ID: e.id, Type: typ, Account: a.id, Intent: in.id, Created: e.created,
		Payload: encodeJSON(e.toJSON(a, s.options.Webhook.APIVersion, true))}
	op.events = append(op.events, ev)
}

// publishEvents hands the events of an operation over, once no lock is held.
func (s *Sim) publishEvents(op *operation) {
	for _, e := range op.events {
		if s.options.OnEvent != nil {
			s.options.OnEvent(e)
		}
		if s.options.Webhook.isEnabled() {
			s.webhooks.enqueue(e)
		}
	}
	op.events = nil
}

// firstSince is the index of the first event not older than what may be read.
func (l *eventLog) firstSince(t time.Time) int {
	return sort.Search(len(l.all), func(i int) bool { return !l.all[i].created.Before(t) })
}

func (a *account) markDelivered(id string) {
	a.mu.Lock()
	if e := a.events.byID[id]; e != nil {
		e.webhookPending = false
	}
	a.mu.Unlock()
}
