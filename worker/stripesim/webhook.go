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

// maxPending bounds the deliveries that wait; beyond it the next in turn is given up.
const maxPending = 100_000

// webhookWorkers bounds the deliveries under way at once.
const webhookWorkers = 16

type pendingEvent struct {
	event   Event
	attempt int
	at      time.Time // of the machine's clock
	seq     int64
}

// pendingHeap has the next to be tried on top; those of one time in the order in which they happened.
type pendingHeap []pendingEvent

func (h pendingHeap) Len() int { return len(h) }
func (h pendingHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h pendingHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *pendingHeap) Push(x any)   { *h = append(*h, x.(pendingEvent)) }
func (h *pendingHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = pendingEvent{}
	*h = old[:len(old)-1]
	return x
}

// hooks is the queue of deliveries, and what wakes Run.
type hooks struct {
	mu                    sync.Mutex
	queue                 pendingHeap
	seq                   int64
	wake                  chan struct{}
	sent, failed, dropped atomic.Int64
}

func (h *hooks) init() { h.wake = make(chan struct{}, 1) }

func (h *hooks) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hooks) push(e Event) {
	h.mu.Lock()
	h.seq++
	seq := h.seq
	h.mu.Unlock()
	h.requeue(pendingEvent{event: e, attempt: 1, at: time.Now(), seq: seq})
}

func (h *hooks) requeue(p pendingEvent) {
	h.mu.Lock()
	if len(h.queue) >= maxPending {
		heap.Pop(&h.queue)
		h.dropped.Add(1)
	}
	heap.Push(&h.queue, p)
	h.mu.Unlock()
	h.poke()
}

// take removes what is due, and tells when the next is, if any.
func (h *hooks) take(now time.Time) (due []pendingEvent, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.queue) > 0 && !h.queue[0].at.After(now) {
		due = append(due, heap.Pop(&h.queue).(pendingEvent))
	}
	if len(h.queue) > 0 {
		next = h.queue[0].at
	}
	return due, next
}

// Sign makes a Stripe-Signature header for a payload, with one v1= for each of the Webhook's secrets.
func (s *Sim) Sign(payload []byte, t time.Time) string {
	return Sign(payload, t, s.opt.Webhook.Secrets...)
}

// Sign makes a Stripe-Signature header: HMAC-SHA256 over the time and the payload, for each secret.
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

// Deliver tries every webhook delivery that is due once, and returns how many there were. Run does so by itself.
func (s *Sim) Deliver(ctx context.Context) int {
	due, _ := s.hooks.take(time.Now())
	for _, p := range due {
		s.try(ctx, p)
	}
	return len(due)
}

func (s *Sim) try(ctx context.Context, p pendingEvent) {
	w := s.opt.Webhook
	d := Delivery{Event: p.event, Signature: s.Sign(p.event.Payload, time.Now()), Attempt: p.attempt}
	send := w.Deliver
	if send == nil {
		send = s.post
	}
	err := send(ctx, d)
	if err == nil {
		s.hooks.sent.Add(1)
		s.accountFor(p.event.Account).delivered(p.event.ID)
		return
	}
	s.hooks.failed.Add(1)
	if p.attempt >= w.Attempts || ctx.Err() != nil {
		s.hooks.dropped.Add(1)
		s.opt.Logger.Warn("webhook given up; the event is still at GET /v1/events", "event", p.event.ID, "type", p.event.Type, "attempts", p.attempt, "cause", err.Error())
		return
	}
	p.at = time.Now().Add(min(w.Backoff<<(p.attempt-1), time.Hour))
	p.attempt++
	s.hooks.requeue(p)
}

func (s *Sim) post(ctx context.Context, d Delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opt.Webhook.URL, bytes.NewReader(d.Event.Payload))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	r.Header.Set("Stripe-Signature", d.Signature)
	res, err := s.opt.Webhook.Client.Do(r)
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

// Run lets happen by itself what time brings: expiry at its time, and webhooks with their retries. It returns when ctx
// ends, with nothing left running. Without it, Tick and Deliver do the same on demand.
func (s *Sim) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, webhookWorkers)
	for {
		s.Tick()
		due, next := s.hooks.take(time.Now())
		for i, p := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				for _, q := range due[i:] {
					s.hooks.requeue(q)
				}
				return
			}
			wg.Go(func() {
				defer func() { <-slots }()
				s.try(ctx, p)
			})
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		if at, ok := s.nextDue(); ok {
			wait = min(wait, time.Duration(float64(at.Sub(s.Now()))/s.opt.Speed)+time.Millisecond)
		}
		t := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-t.C:
		case <-s.hooks.wake:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func (s *Sim) nextDue() (at time.Time, ok bool) {
	for _, a := range s.accountList() {
		a.mu.Lock()
		if len(a.due) > 0 && (!ok || a.due[0].at.Before(at)) {
			at, ok = a.due[0].at, true
		}
		a.mu.Unlock()
	}
	return at, ok
}
