package alert_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const callbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"

// callbackReceiver is a booking system that checks signatures with the library
// of Standard Webhooks.
type callbackReceiver struct {
	t        *testing.T
	server   *httptest.Server
	mu       sync.Mutex
	received []event.Envelope
	respond  func(e *event.Envelope) int // 0: 204
	header   http.Header
}

func newCallbackReceiver(t *testing.T) *callbackReceiver {
	r := &callbackReceiver{t: t}
	hook, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err == nil {
			err = hook.Verify(body, q.Header)
		}
		var e event.Envelope
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil || q.Header.Get("webhook-id") != e.ID {
			t.Errorf("invalid delivery: %v %s %s", err, q.Header.Get("webhook-id"), body)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.respond != nil {
			if code := r.respond(&e); code != 0 {
				for k, v := range r.header {
					w.Header()[k] = v
				}
				w.WriteHeader(code)
				return
			}
		}
		r.received = append(r.received, e)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *callbackReceiver) setRespond(f func(e *event.Envelope) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.respond = f
}

func (r *callbackReceiver) receivedIDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.received {
		out = append(out, e.Data.Hold.ID+"/"+e.ID)
	}
	return out
}

// redisFixture is a real Redis with deliverers.
type redisFixture struct {
	t     *testing.T
	redis *storetest.Redis
	rdb   redis.UniversalClient
	store *store.Store
}

func newRedisFixture(t *testing.T, o store.Options) *redisFixture {
	b := &redisFixture{t: t, redis: storetest.Start(t)}
	b.rdb = b.redis.Client()
	t.Cleanup(func() { b.rdb.Close() })
	o.URL = b.redis.URL()
	s, _, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b.store = s
	return b
}

// appendEvent adds an event to the stream, as the scripts do.
func (b *redisFixture) appendEvent(id, holdID string, at time.Time) {
	b.t.Helper()
	e, err := json.Marshal(event.Envelope{ID: id, Type: hold.EventChanged, Timestamp: at,
		Data: event.EventData{Hold: hold.View{ID: holdID}}})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.rdb.XAdd(b.t.Context(), &redis.XAddArgs{Stream: "holdd:{0}:events",
		Values: []any{"event", e}}).Err(); err != nil {
		b.t.Fatal(err)
	}
}

func alertStores(s *store.Store) alert.Stores {
	return alert.Stores{Events: s, Leases: s, Requeued: s, SystemEvents: s, Sinks: s}
}

func (b *redisFixture) startNotifier(o alert.Options) (a *alert.Notifier, stop func()) {
	b.t.Helper()
	o.Stores, o.Replica = alertStores(b.store), "one"
	if o.PollInterval == 0 {
		o.PollInterval = 20 * time.Millisecond
	}
	a, err := alert.New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.t.Cleanup(stop)
	// A sink gets the events from its start on.
	sinks := len(a.SinkNames())
	storetest.WaitUntil(b.t, 10*time.Second, "each deliverer to start", func() bool {
		keys, err := b.rdb.Keys(b.t.Context(), "holdd:{0}:sink:*").Result()
		started := 0
		for _, key := range keys {
			if b.rdb.HGet(b.t.Context(), key, "state").Err() == nil {
				started++
			}
		}
		return err == nil && started >= sinks
	})
	return a, stop
}

func TestCallbackEndpoint_DeliversInOrderAcrossRestart(t *testing.T) {
	t.Parallel()
	b, r := newRedisFixture(t, store.Options{}), newCallbackReceiver(t)
	o := alert.Options{Callback: &alert.CallbackEndpoint{URL: r.server.URL, Secret: callbackSecret}}
	_, stop := b.startNotifier(o)
	var want []string
	for i := range 200 {
		id := fmt.Sprintf("evt_%03d", i)
		b.appendEvent(id, fmt.Sprintf("pi_%d", i%7), time.Now())
		want = append(want, fmt.Sprintf("pi_%d/%s", i%7, id))
		if i == 100 {
			storetest.WaitUntil(t, 10*time.Second, "some events",
				func() bool { return len(r.receivedIDs()) > 20 })
			stop()
			_, stop = b.startNotifier(o)
		}
	}
	storetest.WaitUntil(t, 20*time.Second, "all events", func() bool {
		m := r.receivedIDs()
		return slices.Contains(m, want[198]) && slices.Contains(m, want[199]) &&
			slices.Contains(m, want[193]) && len(m) >= 200
	})
	got := r.receivedIDs()
	for h := range 7 {
		of := func(list []string) (out []string) {
			for _, m := range list {
				if strings.HasPrefix(m, fmt.Sprintf("pi_%d/", h)) && !slices.Contains(out, m) {
					out = append(out, m)
				}
			}
			return out
		}
		if !slices.Equal(of(got), of(want)) {
			t.Errorf("hold %d: %v", h, of(got))
		}
	}
	if len(got) != 200 {
		t.Errorf("%d deliveries of 200 events without a crash", len(got))
	}
}

// Other holds continue while the events of one hold are rejected. Those arrive
// in order once the receiver accepts them.
func TestCallbackEndpoint_ParksRejectedHold(t *testing.T) {
	t.Parallel()
	b, r := newRedisFixture(t, store.Options{}), newCallbackReceiver(t)
	for _, code := range []int{422, 500} {
		bad := fmt.Sprintf("pi_bad%d", code)
		r.setRespond(func(e *event.Envelope) int {
			return map[bool]int{true: code}[e.Data.Hold.ID == bad]
		})
		a, stop := b.startNotifier(
			alert.Options{Callback: &alert.CallbackEndpoint{URL: r.server.URL,
				Secret: callbackSecret}})
		before := len(r.receivedIDs())
		for i := range 5 {
			b.appendEvent(fmt.Sprintf("evt_%d_bad_%d", code, i), bad, time.Now())
			b.appendEvent(fmt.Sprintf("evt_%d_good_%d", code, i), fmt.Sprint("pi_good", i),
				time.Now())
		}
		storetest.WaitUntil(t, 20*time.Second, "the other holds",
			func() bool { return len(r.receivedIDs()) == before+5 })
		storetest.WaitUntil(t, 20*time.Second, "the hold to be parked", func() bool {
			s, err := a.ListSinkStatuses(t.Context())
			return err == nil && s[0].Parked == 1 && s[0].Failing.IsZero() && !s[0].Oldest.IsZero()
		})
		r.setRespond(nil)
		storetest.WaitUntil(t, 30*time.Second, "the parked hold",
			func() bool { return len(r.receivedIDs()) == before+10 })
		var of []string
		for _, m := range r.receivedIDs() {
			if strings.HasPrefix(m, bad) {
				of = append(of, m)
			}
		}
		if !slices.IsSorted(of) || len(of) != 5 {
			t.Errorf("%v", of)
		}
		storetest.WaitUntil(t, 10*time.Second, "an empty backlog", func() bool {
			s, err := a.ListSinkStatuses(t.Context())
			return err == nil && s[0].Parked == 0 && s[0].Oldest.IsZero()
		})
		stop()
	}
}

func TestCallbackEndpoint_DisabledByGone(t *testing.T) {
	t.Parallel()
	b, r := newRedisFixture(t, store.Options{}), newCallbackReceiver(t)
	chat := newChatServer(t)
	r.setRespond(func(*event.Envelope) int { return http.StatusGone })
	o := alert.Options{Callback: &alert.CallbackEndpoint{URL: r.server.URL, Secret: callbackSecret},
		NotifyURLs: []string{chat.notifyURL("")}}
	a, stop := b.startNotifier(o)
	storetest.WaitUntil(t, 10*time.Second, "both sinks to start",
		func() bool {
			s, err := b.store.ReadSinkPartitionStates(t.Context(), "callback")
			return err == nil &&
				len(s[0]) > 0
		})
	b.appendEvent("evt_1", "pi_1", time.Now())
	storetest.WaitUntil(t, 10*time.Second, "the sink to be disabled",
		func() bool {
			s, err := a.ListSinkStatuses(t.Context())
			return err == nil && s[0].Disabled
		})
	storetest.WaitUntil(t, 10*time.Second, "the alert",
		func() bool { return chat.received("callback disabled by its receiver: HTTP 410") })
	r.setRespond(nil)
	stop()
	if len(r.receivedIDs()) != 0 {
		t.Error("a disabled sink got an event")
	}
	o.Callback.URL += "/elsewhere"
	b.startNotifier(o)
	storetest.WaitUntil(t, 10*time.Second, "the waiting event at the new address",
		func() bool { return slices.Contains(r.receivedIDs(), "pi_1/evt_1") })
}

func TestCallbackEndpoint_DeadLettersAndReplay(t *testing.T) {
	t.Parallel()
	b, r := newRedisFixture(t, store.Options{}), newCallbackReceiver(t)
	r.setRespond(func(*event.Envelope) int { return http.StatusInternalServerError })
	a, _ := b.startNotifier(
		alert.Options{Callback: &alert.CallbackEndpoint{URL: r.server.URL, Secret: callbackSecret}})
	for i := range 3 {
		b.appendEvent(fmt.Sprint("evt_old", i), fmt.Sprint("pi_", i), time.Now().Add(-73*time.Hour))
	}
	storetest.WaitUntil(t, 10*time.Second, "dead letters", func() bool {
		list, total, err := a.ListDeadLetters(t.Context(), "callback", 10)
		return err == nil && total == 3 && list[0].Reason == "HTTP 500"
	})
	r.setRespond(nil)
	b.appendEvent("evt_new", "pi_9", time.Now())
	storetest.WaitUntil(t, 30*time.Second, "the recovery",
		func() bool { return slices.Contains(r.receivedIDs(), "pi_9/evt_new") })
	if n, err := a.RequeueDeadLetters(t.Context(), "callback", nil); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	storetest.WaitUntil(t, 30*time.Second, "the replay", func() bool {
		m := r.receivedIDs()
		return slices.Contains(m, "pi_0/evt_old0") && slices.Contains(m, "pi_1/evt_old1") &&
			slices.Contains(m, "pi_2/evt_old2")
	})
}

// Trimmed events are counted exactly.
func TestCallbackEndpoint_ReportsTrimmedEvents(t *testing.T) {
	t.Parallel()
	b, r := newRedisFixture(t, store.Options{MaxEventBytes: 1 << 20}), newCallbackReceiver(t)
	chat := newChatServer(t)
	o := alert.Options{Callback: &alert.CallbackEndpoint{URL: r.server.URL, Secret: callbackSecret},
		NotifyURLs: []string{chat.notifyURL("?severity=info")}}
	_, stop := b.startNotifier(o)
	b.appendEvent("evt_first", "pi_1", time.Now())
	storetest.WaitUntil(t, 10*time.Second, "the first event",
		func() bool { return len(r.receivedIDs()) == 1 })
	stop()
	for i := range 500 {
		b.appendEvent(fmt.Sprint("evt_", i), "pi_1", time.Now())
	}
	if err := b.rdb.XTrimMaxLen(t.Context(), "holdd:{0}:events", 60).Err(); err != nil {
		t.Fatal(err)
	}
	b.startNotifier(o)
	storetest.WaitUntil(t, 20*time.Second, "the other events",
		func() bool { m := r.receivedIDs(); return slices.Contains(m, "pi_1/evt_499") })
	storetest.WaitUntil(t, 20*time.Second, "the alert",
		func() bool {
			return chat.received("callback failed for too long: 440 events were trimmed")
		})
}

// A slow receiver is not a failing one: messages that a round has no time for
// wait for the next round.
func TestCallbackEndpoint_SlowReceiver(t *testing.T) {
	t.Parallel()
	const events = 30
	runInWorld(t, func(w *world) {
		w.callbackLatency = 3 * time.Second
		r := w.startReplica()
		defer r.shutDown()
		time.Sleep(time.Minute)
		for i := range events {
			if _, err := r.store.PublishOnce(w.ctx, fmt.Sprint("event", i),
				event.EncodeSystemEvent(event.Orphan, time.Now(), event.EventData{})); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 * events {
			time.Sleep(time.Second)
			s, err := r.notifier.ListSinkStatuses(w.ctx)
			if err != nil || !s[0].Failing.IsZero() || s[0].Reason != "" {
				t.Fatalf("%+v %v", s, err)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.callbacks) != events {
			t.Errorf("%d deliveries of %d events", len(w.callbacks), events)
		}
	})
}

// Retry-After applies to the whole sink, and redirects are not followed.
func TestCallbackEndpoint_RetryAfterAndRedirect(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]func() string{
		"seconds": func() string { return "6" },
		"a date": func() string { // of whole seconds
			return time.Now().Add(7 * time.Second).UTC().Format(http.TimeFormat)
		},
	} {
		t.Run(name, func(t *testing.T) { checkRetryAfterAndRedirect(t, format) })
	}
}

func checkRetryAfterAndRedirect(t *testing.T, formatRetryAfter func() string) {
	t.Parallel()
	b, r := newRedisFixture(t, store.Options{}), newCallbackReceiver(t)
	var tries []time.Time
	r.header = http.Header{"Location": {"http://127.0.0.1:1/"}}
	r.setRespond(func(*event.Envelope) int {
		r.header.Set("Retry-After", formatRetryAfter())
		if tries = append(tries, time.Now()); len(tries) == 1 {
			return http.StatusTooManyRequests
		}
		return 0
	})
	a, _ := b.startNotifier(
		alert.Options{Callback: &alert.CallbackEndpoint{URL: r.server.URL, Secret: callbackSecret}})
	b.appendEvent("evt_1", "pi_1", time.Now())
	storetest.WaitUntil(t, 30*time.Second, "the second attempt",
		func() bool { return len(r.receivedIDs()) == 1 })
	r.mu.Lock()
	if d := tries[1].Sub(tries[0]); d < 6*time.Second || d > 12*time.Second {
		t.Errorf("second attempt after %s", d)
	}
	r.mu.Unlock()
	r.setRespond(func(*event.Envelope) int { return http.StatusFound })
	b.appendEvent("evt_2", "pi_1", time.Now())
	storetest.WaitUntil(t, 10*time.Second, "the reason", func() bool {
		s, err := a.ListSinkStatuses(t.Context())
		return err == nil && strings.Contains(s[0].Reason, "redirects are not followed") &&
			!s[0].Failing.IsZero()
	})
}

// chatServer is a chat that records its messages.
type chatServer struct {
	server   *httptest.Server
	mu       sync.Mutex
	messages []map[string]any
}

func newChatServer(t *testing.T) *chatServer {
	p := &chatServer{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var m map[string]any
		if err := json.NewDecoder(q.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.messages = append(p.messages, m)
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *chatServer) notifyURL(query string) string {
	return "generic+http://" + strings.TrimPrefix(p.server.URL, "http://") + "/hook" + query
}

func (p *chatServer) received(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.messages, func(m map[string]any) bool {
		return strings.Contains(fmt.Sprint(m["title"], m["message"]), text)
	})
}
