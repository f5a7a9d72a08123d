package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
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

// world is Stripe, Redis and some replicas, in virtual time: all of it real but the network and the clock.
type world struct {
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
	store *store.Store
	stop  context.CancelFunc
	done  chan error
	dead  *atomic.Bool
	conns *conns
}

// conns are a replica's connections to Redis, to be cut.
type conns struct {
	mu   sync.Mutex
	open []net.Conn
}

func (c *conns) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		conn.Close()
	}
	c.open = nil
}

var errDead = errors.New("this process is dead")

// quiet drops what go-redis says of connections that the tests cut.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	m.Run()
}

// inWorld runs f in a bubble of virtual time.
func inWorld(t *testing.T, f func(w *world), tune ...func(*world, *stripesim.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.DebugLevel)
		w := &world{t: t, ctx: ctx, logs: logs, log: zap.New(core), redis: miniredis.NewMiniRedis()}
		w.redis.ClockTTL(true)
		w.opts = worker.Options{Rules: hold.Rules{ExpiryMargin: time.Hour, Thresholds: []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}}, Logger: w.log}
		w.store = store.Options{URL: "redis://in-process:6379", Rates: store.Rates{Write: 25, Read: 25, Total: 100}}
		o := stripesim.Options{Seed: 1}
		for _, f := range tune {
			f(w, &o)
		}
		w.sim = stripesim.New(o)
		defer func() {
			for _, r := range w.replicas {
				r.end()
			}
			cancel()
			w.redis.Close()
			time.Sleep(5 * time.Second) // go-redis' own goroutines end within seconds of their pool's end
		}()
		f(w)
	})
}

// start brings up one more replica.
func (w *world) start() *replica {
	w.t.Helper()
	r := &replica{done: make(chan error, 1), dead: &atomic.Bool{}, conns: &conns{}}
	so := w.store
	so.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if r.dead.Load() {
			return nil, errDead
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
	r.store, _, err = store.Open(w.ctx, so)
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: &lifeline{r: r, next: w.sim.Transport()}})
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
	r.dead.Store(true)
	r.conns.cut()
}

func (r *replica) end() {
	if r.stop == nil {
		return
	}
	r.stop()
	<-r.done
	r.stop = nil
	r.store.Close()
}

// lifeline is a replica's way to Stripe: what a dead process would have sent is never sent, and what comes back is not heard.
type lifeline struct {
	r    *replica
	next http.RoundTripper
}

func (l *lifeline) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.r.dead.Load() {
		return nil, errDead
	}
	resp, err := l.next.RoundTrip(req)
	if l.r.dead.Load() {
		if err == nil {
			resp.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}
	return resp, err
}

// authorize places a hold of 100.00 EUR at Stripe.
func (w *world) authorize(f ...func(*stripesim.Hold)) string {
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

func (w *world) schedule(r *replica, req hold.ScheduleRequest) hold.Hold {
	w.t.Helper()
	s := r.Schedule(w.ctx, []hold.ScheduleRequest{req}, "test")[0]
	if s.Err != nil {
		w.t.Fatalf("schedule %+v: %v", req, s.Err)
	}
	return s.Hold
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

func (w *world) hold(r *replica, id string) hold.Hold {
	w.t.Helper()
	h, _, err := r.Get(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// eventually lets virtual time pass until the hold is in the state, at most d.
func (w *world) eventually(r *replica, id string, s hold.State, d time.Duration) hold.Hold {
	w.t.Helper()
	for end := time.Now().Add(d); ; {
		h := w.hold(r, id)
		if h.State == s {
			return h
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s is %s (next %s at %s, %s) after %s, want %s\n%+v", id, h.State, h.NextOp, h.NextAt, h.Reason, d, s, h.History)
		}
		time.Sleep(max(100*time.Millisecond, d/500))
	}
}

// effects are what happened to an intent at Stripe since it was authorized.
func (w *world) effects(id string) (kinds []string) {
	for _, e := range w.sim.Ledger() {
		if e.Intent == id && e.Kind != stripesim.Authorized {
			kinds = append(kinds, fmt.Sprintf("%v %d by %v", e.Kind, e.Amount, e.By))
		}
	}
	return kinds
}

// once checks that Stripe saw exactly these effects.
func (w *world) once(id string, want ...string) {
	w.t.Helper()
	got := w.effects(id)
	if len(got) != len(want) {
		w.t.Fatalf("%s: effects %q, want %q", id, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			w.t.Fatalf("%s: effects %q, want %q", id, got, want)
		}
	}
}
