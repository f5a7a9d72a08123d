package stripesim

import (
	"sort"
	"time"
)

// eventsFor is how far back events can be read.
const eventsFor = 30 * day

// event is kept as snapshots and rendered when somebody asks.
type event struct {
	id, typ   string
	created   time.Time
	intent    string
	object    func() any
	requestID string
	key       string
	seq       int
	pending   bool // a webhook has not been delivered yet
}

type eventLog struct {
	all  []*event
	byID map[string]*event
	made int
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
	return func() any { return c.view(nil) }
}

// snapshot copies the intent along, for the parts of a charge that come from it.
func (c *charge) snapshot() func() any {
	in, ch := *c.intent, *c
	ch.intent = &in
	return func() any { return ch.view("") }
}

func (r *review) snapshot() func() any {
	c := *r
	return func() any { return c.view() }
}

func (e *event) view(a *account, apiVersion string, webhook bool) *eventJSON {
	j := &eventJSON{
		ID: e.id, Object: "event", APIVersion: apiVersion, Created: e.created.Unix(), Data: eventDataJSON{e.object()},
		Request: eventRequestJSON{opt(e.requestID), opt(e.key)}, Type: e.typ,
	}
	if e.pending {
		j.PendingWebhooks = 1
	}
	if webhook && a.id != a.sim.platform {
		j.Account = a.id
	}
	return j
}

// emit makes an event of a change that has just been made.
func (a *account) emit(op *operation, typ string, in *intent, object func() any) {
	s := a.sim
	l := &a.events
	e := &event{id: "evt_" + a.newID("")[:24], typ: typ, created: op.now, intent: in.id, object: object, requestID: op.requestID, key: op.key, seq: l.made}
	l.made++
	e.pending = s.opt.Webhook.enabled()
	l.all = append(l.all, e)
	l.byID[e.id] = e
	old := op.now.Add(-eventsFor)
	n := max(0, len(l.all)-s.opt.MaxEvents)
	for n < len(l.all) && l.all[n].created.Before(old) {
		n++
	}
	for i := range n {
		delete(l.byID, l.all[i].id)
		l.all[i] = nil
	}
	l.all = l.all[n:]
	if s.opt.OnEvent == nil && !s.opt.Webhook.enabled() {
		return
	}
	ev := Event{ID: e.id, Type: typ, Account: a.id, Intent: in.id, Created: e.created, Payload: encode(e.view(a, s.opt.Webhook.APIVersion, true))}
	op.events = append(op.events, ev)
}

// announce hands the events of an operation over, once no lock is held.
func (s *Sim) announce(op *operation) {
	for _, e := range op.events {
		if s.opt.OnEvent != nil {
			s.opt.OnEvent(e)
		}
		if s.opt.Webhook.enabled() {
			s.hooks.push(e)
		}
	}
	op.events = nil
}

// since is the index of the first event not older than what may be read.
func (l *eventLog) since(t time.Time) int {
	return sort.Search(len(l.all), func(i int) bool { return !l.all[i].created.Before(t) })
}

func (a *account) delivered(id string) {
	a.mu.Lock()
	if e := a.events.byID[id]; e != nil {
		e.pending = false
	}
	a.mu.Unlock()
}
