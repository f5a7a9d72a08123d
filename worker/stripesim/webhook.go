package stripesim

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxPendingDeliveries bounds the deliveries that wait; beyond it the next in
// turn is given up.
const maxPendingDeliveries = 100_000

// webhookWorkers bounds the deliveries under way at once.
const webhookWorkers = 16

type pendingDelivery struct {
	event   Event
	attempt int
	dueAt   time.Time // of the machine's clock
	seq     int64
}

// deliveryHeap has the next to be tried on top; those of one time in the order
// in which they happened.
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

// webhookQueue is the queue of deliveries, and what wakes Run.
type webhookQueue struct {
	mu                    sync.Mutex
	queue                 deliveryHeap
	seq                   int64
	wakeup                chan struct{}
	sent, failed, dropped atomic.Int64
}

func (h *webhookQueue) init() { h.wakeup = make(chan struct{}, 1) }

func (h *webhookQueue) signalWakeup() {
	select {
	case h.wakeup <- struct{}{}:
	default:
	}
}

func (h *webhookQueue) enqueue(e Event) {
	h.mu.Lock()
	h.seq++
	seq := h.seq
	h.mu.Unlock()
	h.requeue(pendingDelivery{event: e, attempt: 1, dueAt: time.Now(), seq: seq})
}

func (h *webhookQueue) requeue(p pendingDelivery) {
	h.mu.Lock()
	if len(h.queue) >= maxPendingDeliveries {
		heap.Pop(&h.queue)
		h.dropped.Add(1)
	}
	heap.Push(&h.queue, p)
	h.mu.Unlock()
	h.signalWakeup()
}

// popDue removes what is due, and tells when the next is, if any.
func (h *webhookQueue) popDue(now time.Time) (due []pendingDelivery, next time.Time) {
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

// Sign makes a Stripe-Signature header for a payload, with one v1= for each of
// the Webhook's secrets.
func (s *Sim) Sign(payload []byte, t time.Time) string {
	return Sign(payload, t, s.options.Webhook.Secrets...)
}

// Sign makes a Stripe-Signature header: HMAC-SHA256 over the time and the
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

// DeliverDueWebhooks tries every webhook delivery that is due once, and returns
// how many there were. Run does so by itself.
func (s *Sim) DeliverDueWebhooks(ctx context.Context) int {
	due, _ := s.webhooks.popDue(time.Now())
	for _, p := range due {
		s.attemptDelivery(ctx, p)
	}
	return len(due)
}

func (s *Sim) attemptDelivery(ctx context.Context, p pendingDelivery) {
	w := s.options.Webhook
	d := Delivery{Event: p.event, Signature: s.Sign(p.event.Payload, time.Now()),
		Attempt: p.attempt}
	send := w.Deliver
	if send == nil {
		send = s.postWebhook
	}
	err := send(ctx, d)
	if err == nil {
		s.webhooks.sent.Add(1)
		s.getOrCreateAccount(p.event.Account).markDelivered(p.event.ID)
		return
	}
	s.webhooks.failed.Add(1)
	if p.attempt >= w.Attempts || ctx.Err() != nil {
		s.webhooks.dropped.Add(1)
		s.options.Logger.Warn("webhook given up; the event is still at GET /v1/events", "event",
			p.event.ID, "type", p.event.Type, "attempts", p.attempt, "cause", err.Error())
		return
	}
	p.dueAt = time.Now().Add(min(w.Backoff<<(p.attempt-1), time.Hour))
	p.attempt++
	s.webhooks.requeue(p)
}

func (s *Sim) postWebhook(ctx context.Context, d Delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.Webhook.URL,
		bytes.NewReader(d.Event.Payload))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	r.Header.Set("Stripe-Signature", d.Signature)
	res, err := s.options.Webhook.Client.Do(r)
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

// Run lets happen by itself what time brings: expiry at its time, and webhooks
// with their retries. It returns when ctx ends, with nothing left running.
// Without it, Tick and Deliver do the same on demand.
func (s *Sim) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, webhookWorkers)
	for {
		s.ProcessDue()
		due, next := s.webhooks.popDue(time.Now())
		for i, p := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				for _, q := range due[i:] {
					s.webhooks.requeue(q)
				}
				return
			}
			wg.Go(func() {
				defer func() { <-slots }()
				s.attemptDelivery(ctx, p)
			})
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		if at, ok := s.nextDueTime(); ok {
			wait = min(wait, time.Duration(float64(at.Sub(s.Now()))/s.options.Speed)+
				time.Millisecond)
		}
		t := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-t.C:
		case <-s.webhooks.wakeup:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func (s *Sim) nextDueTime() (at time.Time, ok bool) {
	for _, a := range s.sortedAccounts() {
		a.mu.Lock()
		if len(a.dueQueue) > 0 && (!ok || a.dueQueue[0].at.Before(at)) {
			at, ok = a.dueQueue[0].at, true
		}
		a.mu.Unlock()
	}
	return at, ok
}
