package stripesim

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxPendingDeliveries bounds the deliveries that wait. Beyond it the delivery
// that is next is given up.
const maxPendingDeliveries = 100_000

// webhookWorkers bounds the deliveries in flight.
const webhookWorkers = 16

type pendingDelivery struct {
	event    Event
	endpoint *webhookEndpoint // nil: Options.Webhook
	attempt  int
	dueAt    time.Time // by the machine's clock
	seq      int64
}

// deliveryHeap has the next delivery on top. Deliveries of one time are in the
// order of their events.
type deliveryHeap []pendingDelivery

func (h deliveryHeap) Len() int { return len(h) }
func (h deliveryHeap) Less(i, j int) bool {
	return h[i].dueAt.Before(h[j].dueAt) || h[i].dueAt.Equal(h[j].dueAt) && h[i].seq < h[j].seq
}
func (h deliveryHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deliveryHeap) Push(x any)   { *h = append(*h, x.(pendingDelivery)) }
func (h *deliveryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = pendingDelivery{}
	*h = old[:len(old)-1]
	return x
}

// Webhooks publishes events: to Options.OnEvent, and as signed deliveries to
// Options.Webhook and to the endpoints that calls made.
type Webhooks struct {
	webhook Webhook
	onEvent func(Event)
	logger  *slog.Logger

	mu                    sync.Mutex
	queue                 deliveryHeap
	seq                   int64
	wakeup                chan struct{} // wakes Run
	sent, failed, dropped atomic.Int64
	endpoints             atomic.Pointer[[]WebhookEndpoint] // besides webhook
	made                  []*webhookEndpoint                // by calls
}

func newWebhooks(o Options) *Webhooks {
	return &Webhooks{webhook: o.Webhook, onEvent: o.OnEvent, logger: o.Logger,
		wakeup: make(chan struct{}, 1)}
}

// isObserved reports whether an event goes anywhere but into the event log.
func (h *Webhooks) isObserved() bool { return h.onEvent != nil || h.webhook.isEnabled() }

// publish publishes the events of an operation. The caller holds no lock.
func (h *Webhooks) publish(op *operation) {
	for _, e := range op.events {
		if h.onEvent != nil {
			h.onEvent(e)
		}
		if h.webhook.isEnabled() {
			h.enqueue(pendingDelivery{event: e})
		}
	}
	for _, p := range op.deliveries {
		h.enqueue(p)
	}
	op.events, op.deliveries = nil, nil
}

func (h *Webhooks) signalWakeup() {
	select {
	case h.wakeup <- struct{}{}:
	default:
	}
}

func (h *Webhooks) enqueue(p pendingDelivery) {
	h.mu.Lock()
	h.seq++
	p.seq = h.seq
	h.mu.Unlock()
	p.attempt, p.dueAt = 1, time.Now()
	h.requeue(p)
}

func (h *Webhooks) requeue(p pendingDelivery) {
	h.mu.Lock()
	if len(h.queue) >= maxPendingDeliveries {
		heap.Pop(&h.queue)
		h.dropped.Add(1)
	}
	heap.Push(&h.queue, p)
	h.mu.Unlock()
	h.signalWakeup()
}

// popDue removes the deliveries that are due. next is the time of the next one,
// or zero.
func (h *Webhooks) popDue(now time.Time) (due []pendingDelivery, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.queue) > 0 && !h.queue[0].dueAt.After(now) {
		due = append(due, heap.Pop(&h.queue).(pendingDelivery))
	}
	if len(h.queue) > 0 {
		next = h.queue[0].dueAt
	}
	return due, next
}

// attempt tries one delivery, and reports whether the receiver accepted it.
// After a failure the delivery waits for its next attempt.
func (h *Webhooks) attempt(ctx context.Context, p pendingDelivery) (delivered bool) {
	w := h.webhook
	err := h.send(ctx, p)
	if err == nil {
		h.sent.Add(1)
		return true
	}
	h.failed.Add(1)
	if p.attempt >= w.Attempts || ctx.Err() != nil || errors.Is(err, errEndpointGone) {
		h.dropped.Add(1)
		h.logger.Warn("webhook given up; the event is still at GET /v1/events", "event",
			p.event.ID, "type", p.event.Type, "attempts", p.attempt, "cause", err.Error())
		return false
	}
	p.dueAt = time.Now().Add(min(w.Backoff<<(p.attempt-1), time.Hour))
	p.attempt++
	h.requeue(p)
	return false
}

var errEndpointGone = errors.New("the endpoint was deleted or disabled")

// send signs and sends one attempt.
func (h *Webhooks) send(ctx context.Context, p pendingDelivery) error {
	w := h.webhook
	d := Delivery{Event: p.event, Attempt: p.attempt}
	if e := p.endpoint; e != nil {
		d.Signature = Sign(d.Event.Payload, time.Now(), e.secret)
		url := h.target(e)
		if url == "" {
			return errEndpointGone
		}
		return h.post(ctx, url, d)
	}
	if w.Thin {
		d.Event.Payload = p.event.ThinPayload("")
	}
	d.Signature = Sign(d.Event.Payload, time.Now(), w.Secrets...)
	if w.Deliver != nil {
		return w.Deliver(ctx, d)
	}
	return h.post(ctx, w.URL, d)
}

func (h *Webhooks) post(ctx context.Context, url string, d Delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url,
		bytes.NewReader(d.Event.Payload))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	r.Header.Set("Stripe-Signature", d.Signature)
	res, err := h.webhook.Client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("the endpoint answered %d", res.StatusCode)
	}
	return nil
}

func (h *Webhooks) addTo(st *Stats) {
	st.WebhooksSent, st.WebhooksFailed, st.WebhooksDropped = h.sent.Load(), h.failed.Load(),
		h.dropped.Load()
}

// Sign returns a Stripe-Signature header: HMAC-SHA256 over the time and the
// payload, for each secret.
func Sign(payload []byte, t time.Time, secrets ...string) string {
	stamp := strconv.FormatInt(t.Unix(), 10)
	var b strings.Builder
	b.WriteString("t=" + stamp)
	for _, secret := range secrets {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(stamp + "."))
		m.Write(payload)
		b.WriteString(",v1=" + hex.EncodeToString(m.Sum(nil)))
	}
	return b.String()
}
