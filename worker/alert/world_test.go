package alert_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
	"github.com/redis/go-redis/v9"
)

type silentRedisLogger struct{}

func (silentRedisLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silentRedisLogger{})
	// Most of the cost of a simulation is the garbage of the in-process Redis.
	debug.SetGCPercent(400)
	m.Run()
}

var errReplicaDead = errors.New("this replica was killed")

// world is Stripe, Redis, a booking system, a chat and some replicas in virtual
// time.
type world struct {
	t             *testing.T
	ctx           context.Context
	sim           *stripesim.Sim
	redis         *storetest.MemoryRedis
	workerOptions worker.Options
	storeOptions  store.Options
	pollInterval  time.Duration

	mu           sync.Mutex
	callbacks    []post
	chatLines    []string // titles in the chat
	callbackDown bool     // the booking system is unavailable
	// how long the booking system takes for an answer
	callbackLatency time.Duration
	loseEvery       int // one of so many answers of the booking system is lost; 0: none
	lostAnswers     int
	startedReplicas int
}

// post is a delivery to the booking system.
type post struct {
	at    time.Time
	id    string
	event []byte
}

// parts are the parts of a worker that tests call.
type parts struct {
	*intake.Scheduler
	*intake.Changer
	*query.HoldReader
	*reconcile.Reconciler
}

func partsOf(w *worker.Engine) parts {
	return parts{w.Scheduler, w.Changer, w.Reader, w.Reconciler}
}

type replica struct {
	*worker.Engine
	parts
	notifier *alert.Notifier
	name     string
	w        *world
	dead     atomic.Bool
	conns    sync.Map
	stop     context.CancelFunc
	done     chan struct{}
	store    *store.Store
}

func runInWorld(t *testing.T, f func(w *world), tune ...func(*world, *stripesim.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{t: t, ctx: ctx, redis: storetest.StartInProcess(t), pollInterval: time.Second}
		w.redis.ClockTTL(true)
		w.workerOptions = worker.Options{Rules: hold.DecisionRules{ExpiryMargin: time.Hour,
			Thresholds: []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}}}
		w.storeOptions = store.Options{URL: "redis://in-process:6379"}
		o := stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1}
		for _, f := range tune {
			f(w, &o)
		}
		w.sim = stripesim.New(o)
		defer func() {
			cancel()
			w.redis.Close()
			// go-redis' own goroutines end within seconds of their pool's end
			time.Sleep(5 * time.Second)
		}()
		f(w)
	})
}

// RoundTrip is the network to the booking system and to the chat.
func (w *world) RoundTrip(q *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	if q.URL.Host != "chat.test" {
		time.Sleep(w.callbackLatency)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := &http.Response{StatusCode: 204, Body: http.NoBody, Request: q, Header: http.Header{}}
	if q.URL.Host == "chat.test" {
		var m struct{ Title, Message string }
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, err
		}
		if strings.Contains(m.Title, " alerts") {
			for line := range strings.Lines(m.Message) {
				if strings.HasPrefix(line, "[") {
					w.chatLines = append(w.chatLines, strings.TrimSpace(line))
				}
			}
		} else {
			w.chatLines = append(w.chatLines, m.Title)
		}
		return answer, nil
	}
	if w.callbackDown {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	w.callbacks = append(w.callbacks, post{time.Now(), q.Header.Get("webhook-id"), body})
	if w.loseEvery > 0 && len(w.callbacks)%w.loseEvery == 0 {
		w.lostAnswers++
		return nil, io.ErrUnexpectedEOF
	}
	return answer, nil
}

type killableTransport struct {
	replica *replica
	next    http.RoundTripper
}

func (l killableTransport) RoundTrip(q *http.Request) (*http.Response, error) {
	if l.replica.dead.Load() {
		return nil, errReplicaDead
	}
	a, err := l.next.RoundTrip(q)
	if l.replica.dead.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	return a, err
}

func (w *world) startReplica() *replica {
	w.t.Helper()
	w.startedReplicas++
	r := &replica{w: w, name: fmt.Sprint("replica-", w.startedReplicas), done: make(chan struct{})}
	so := w.storeOptions
	so.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if r.dead.Load() {
			return nil, errReplicaDead
		}
		c, err := w.redis.Dial(w.ctx, "", "")
		if err == nil {
			r.conns.Store(c, nil)
		}
		return c, err
	}
	var err error
	if r.store, _, err = store.Open(w.ctx, so); err != nil {
		w.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test",
		Transport: killableTransport{r, w.sim.Transport()}})
	if err != nil {
		w.t.Fatal(err)
	}
	watcher := changes.NewWatcher(r.store)
	delivererWatcher := watcher
	if w.pollInterval > time.Minute { // reading the counters each second would take most of the time
		delivererWatcher = nil
	}
	a, err := alert.New(alert.Options{Stores: alertStores(r.store), Replica: r.name,
		Changes:      delivererWatcher,
		PollInterval: w.pollInterval, Transport: killableTransport{r, w},
		Callback: &alert.CallbackEndpoint{URL: "http://hotel.test/events",
			Secret: callbackSecret},
		NotifyURLs: []string{"generic+http://chat.test/?severity=info"}})
	if err != nil {
		w.t.Fatal(err)
	}
	r.notifier = a
	o := w.workerOptions
	o.Replica, o.Observer, o.Changes = r.name, readinessObserver{a}, watcher
	if r.Engine, err = wiring.NewEngine(r.store, g, o); err != nil {
		w.t.Fatal(err)
	}
	r.parts = partsOf(r.Engine)
	ctx, stop := context.WithCancel(w.ctx)
	r.stop = stop
	go func() {
		defer close(r.done)
		var both sync.WaitGroup
		both.Go(func() { a.Run(ctx) })
		if err := r.Run(ctx); err != nil {
			w.t.Error(err)
		}
		both.Wait()
	}()
	synctest.Wait()
	return r
}

// shutDown stops a replica in order, or cleans up a killed one.
func (r *replica) shutDown() {
	r.stop()
	<-r.done
	r.store.Close()
}

// kill ends a replica as kill -9 does.
func (r *replica) kill() {
	r.dead.Store(true)
	r.conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	r.shutDown()
}

// readinessObserver passes readiness checks to the notifier.
type readinessObserver struct{ notifier *alert.Notifier }

func (readinessObserver) CallFinished(hold.Op, hold.AnswerKind, time.Duration)    {}
func (readinessObserver) EventRecorded(*hold.Hold, hold.Event, time.Duration)     {}
func (readinessObserver) OverlapEnded(time.Duration)                              {}
func (readinessObserver) HoldCountsReported(hold.HoldCounts, int, time.Time)      {}
func (readinessObserver) ReconcileFinished(reconcile.Reconciliation)              {}
func (readinessObserver) InboxOrMetadataRequestRejected(string, hold.ProblemCode) {}
func (readinessObserver) CapacityRiskComputed(event.CapacityRisk)                 {}
func (r readinessObserver) ReadinessChecked(checks []health.ReadinessCheckResult) {
	r.notifier.ReadinessChecked(checks)
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
