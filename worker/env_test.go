package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// testEnv is Stripe, Redis and some replicas, in virtual time: all of it real
// but the network and the clock.
type testEnv struct {
	t     *testing.T
	ctx   context.Context
	sim   *stripesim.Sim
	redis *miniredis.Miniredis
	logs  *observer.ObservedLogs
	log   *zap.Logger
	opts  worker.Options
	store store.Options

	replicas []*replica
}

// parts are the parts of a worker that tests call.
type parts struct {
	*intake.Scheduler
	*intake.Changer
	*query.Reader
	*query.Planner
	*authorize.Authorizer
	*reconcile.Reconciler
}

func partsOf(w *worker.Worker) parts {
	return parts{w.Scheduler, w.Changer, w.Reader, w.Planner, w.Authorizer, w.Reconciler}
}

type replica struct {
	*worker.Worker
	parts
	store  *store.Store
	stop   context.CancelFunc
	done   chan error
	killed *atomic.Bool
	conns  *redisConns
}

// redisConns are a replica's connections to Redis, to be cut.
type redisConns struct {
	mu   sync.Mutex
	open []net.Conn
}

func (c *redisConns) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		conn.Close()
	}
	c.open = nil
}

var errReplicaKilled = errors.New("this process is dead")

// silentRedisLogger drops what go-redis says of connections that the tests cut.
type silentRedisLogger struct{}

func (silentRedisLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silentRedisLogger{})
	debug.SetGCPercent(400)
	m.Run()
}

// runTestEnv runs f in a bubble of virtual time.
func runTestEnv(t *testing.T, f func(w *testEnv), options ...func(*testEnv, *stripesim.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.DebugLevel)
		w := &testEnv{t: t, ctx: ctx, logs: logs, log: zap.New(core), redis: storetest.StartInProcess(t).Miniredis}
		w.redis.ClockTTL(true)
		w.opts = worker.Options{Rules: hold.Rules{ExpiryMargin: time.Hour, Thresholds: []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}}, Logger: w.log}
		w.store = store.Options{URL: "redis://in-process:6379", Rates: store.Rates{Write: 25, Read: 25, Total: 100}}
		o := stripesim.Options{Seed: 1}
		for _, f := range options {
			f(w, &o)
		}
		w.sim = stripesim.New(o)
		defer func() {
			for _, r := range w.replicas {
				r.stopAndWait()
			}
			cancel()
			// a connection that a canceled call began to dial ends before its
			// server does
			synctest.Wait()
			w.redis.Close()
			// go-redis' own goroutines end within seconds of their pool's end
			time.Sleep(5 * time.Second)
		}()
		f(w)
	})
}

// startReplica brings up one more replica.
func (w *testEnv) startReplica() *replica {
	w.t.Helper()
	r := &replica{done: make(chan error, 1), killed: &atomic.Bool{}, conns: &redisConns{}}
	storeOptions := w.store
	storeOptions.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if r.killed.Load() {
			return nil, errReplicaKilled
		}
		c, err := w.redis.Dial()
		if err == nil {
			r.conns.mu.Lock()
			r.conns.open = append(r.conns.open, c)
			r.conns.mu.Unlock()
		}
		return c, err
	}
	var err error
	r.store, _, err = store.Open(w.ctx, storeOptions)
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: &stripeTransport{replica: r, next: w.sim.Transport()}})
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.opts
	o.Replica = fmt.Sprint("replica-", len(w.replicas)+1)
	r.Worker, err = wiring.NewWorker(r.store, g, o)
	if err != nil {
		w.t.Fatal(err)
	}
	r.parts = partsOf(r.Worker)
	ctx, stop := context.WithCancel(w.ctx)
	r.stop = stop
	go func() { r.done <- r.Run(ctx) }()
	w.replicas = append(w.replicas, r)
	synctest.Wait()
	return r
}

// kill is kill -9 as others see it: nothing leaves this replica any more.
func (r *replica) kill() {
	r.killed.Store(true)
	r.conns.closeAll()
}

func (r *replica) stopAndWait() {
	if r.stop == nil {
		return
	}
	r.stop()
	<-r.done
	r.stop = nil
	r.store.Close()
}

// stripeTransport is a replica's way to Stripe: what a dead process would have
// sent is never sent, and what comes back is not heard.
type stripeTransport struct {
	replica *replica
	next    http.RoundTripper
}

func (l *stripeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.replica.killed.Load() {
		return nil, errReplicaKilled
	}
	resp, err := l.next.RoundTrip(req)
	if l.replica.killed.Load() {
		if err == nil {
			resp.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}
	return resp, err
}

// createIntent places a hold of 100.00 EUR at Stripe.
func (w *testEnv) createIntent(f ...func(*stripesim.Hold)) string {
	w.t.Helper()
	h := stripesim.Hold{Amount: 10_000, Currency: "eur", PaymentMethod: "pm_card_visa"}
	for _, f := range f {
		f(&h)
	}
	id, err := w.sim.Authorize(h)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *testEnv) mustSchedule(r *replica, req hold.ScheduleRequest) hold.Hold {
	w.t.Helper()
	s := r.Schedule(w.ctx, []hold.ScheduleRequest{req}, "test")[0]
	if s.Err != nil {
		w.t.Fatalf("schedule %+v: %v", req, s.Err)
	}
	return s.Hold
}

func timeIn(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

func (w *testEnv) mustGet(r *replica, id string) hold.Hold {
	w.t.Helper()
	h, _, err := r.Get(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// waitForState lets virtual time pass until the hold is in the state, at most
// d.
func (w *testEnv) waitForState(r *replica, id string, s hold.State, d time.Duration) hold.Hold {
	w.t.Helper()
	for end := time.Now().Add(d); ; {
		h := w.mustGet(r, id)
		if h.State == s {
			return h
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s is %s (next %s at %s, %s) after %s, want %s\n%+v", id, h.State, h.NextOp, h.NextAt, h.Reason, d, s, h.History)
		}
		time.Sleep(max(100*time.Millisecond, d/500))
	}
}

// stripeEffects are what happened to an intent at Stripe since it was
// authorized.
func (w *testEnv) stripeEffects(id string) (kinds []string) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind != stripesim.EffectAuthorized {
			kinds = append(kinds, fmt.Sprintf("%v %d by %v", e.Kind, e.Amount, e.Actor))
		}
	}
	return kinds
}

// checkEffects checks that Stripe saw exactly these effects.
func (w *testEnv) checkEffects(id string, want ...string) {
	w.t.Helper()
	got := w.stripeEffects(id)
	if len(got) != len(want) {
		w.t.Fatalf("%s: effects %q, want %q", id, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			w.t.Fatalf("%s: effects %q, want %q", id, got, want)
		}
	}
}
