package authorize_test

import (
	"context"
	"errors"
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
	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const (
	stripeKey   = "sk_test_world"
	callTimeout = 10 * time.Second
	lease       = 30 * time.Second
)

var errDead = errors.New("this process is dead")

// quiet drops what go-redis says of connections that the tests cut.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	m.Run()
}

// world is Stripe, Redis and some processes in virtual time. All of it is real
// but the network and the clock.
type world struct {
	t     *testing.T
	ctx   context.Context
	sim   *stripesim.Sim
	redis *miniredis.Miniredis
	logs  *observer.ObservedLogs
	log   *zap.Logger
	all   []*process
}

// process is one replica as far as authorizations go. Its job runs every ten
// seconds.
type process struct {
	*authorize.Authorizer
	resumer *authorize.Resumer
	store   *store.Store
	caller  *gateway.Caller
	gateway *gateway.Gateway
	stop    context.CancelFunc
	done    chan struct{}
	dead    atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // to Redis
	steps int        // side effects so far
	dieAt int        // the side effect at which it dies, 0 for none
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.DebugLevel)
		w := &world{t: t, ctx: ctx, logs: logs, log: zap.New(core), redis: miniredis.NewMiniRedis(),
			sim: stripesim.New(stripesim.Options{Seed: 1})}
		w.redis.ClockTTL(true)
		defer func() {
			for _, p := range w.all {
				p.stop()
				<-p.done
				p.store.Close()
				p.gateway.Close()
			}
			cancel()
			w.redis.Close()
			// go-redis' own goroutines end within seconds of their pool's end
			time.Sleep(5 * time.Second)
		}()
		f(w)
	})
}

// start brings up a process. One with dieAt above zero dies at that side effect
// and has no job.
func (w *world) start(dieAt int) *process {
	w.t.Helper()
	p := &process{done: make(chan struct{}), dieAt: dieAt}
	var err error
	p.store, _, err = store.Open(w.ctx, store.Options{URL: "redis://in-process:6379",
		Rates: store.Rates{Write: 25, Read: 25, Total: 100}, Dialer: p.dialer(w.redis)})
	if err != nil {
		w.t.Fatal(err)
	}
	p.gateway, err = gateway.New(gateway.Options{APIKey: stripeKey, BaseURL: "http://stripe.test",
		Transport: transport{p, w.sim.Transport()}})
	if err != nil {
		w.t.Fatal(err)
	}
	redisClock, redisHealth := &clock.Redis{}, health.NewRedis(w.log)
	p.caller = gateway.NewCaller(p.gateway, p.store,
		gateway.CallerOptions{Timeout: callTimeout, Health: redisHealth, Logger: w.log})
	o := authorize.Options{
		Attempts: storeOf{p.store, p}, Holds: p.store, Caller: p.caller,
		Committer: commit.New(storeOf{p.store, p}, commit.Options{Rules: hold.Rules{ExpiryMargin: time.Hour},
			DueSoon: time.Second, Now: redisClock.Now, Logger: w.log}),
		Publisher: event.NewPublisher(storeOf{p.store, p}, redisClock.Now),
		Clock:     redisClock, Health: redisHealth, Logger: w.log, Lease: lease, CallTimeout: callTimeout,
	}
	p.Authorizer, p.resumer = authorize.NewAuthorizer(o), authorize.NewResumer(o)
	ctx, stop := context.WithCancel(w.ctx)
	p.stop = stop
	go func() {
		defer close(p.done)
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if dieAt == 0 {
					p.resumer.Run(ctx)
				}
			}
		}
	}()
	w.all = append(w.all, p)
	return p
}

func (p *process) dialer(r *miniredis.Miniredis) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		if p.dead.Load() {
			return nil, errDead
		}
		c, err := r.Dial()
		if err == nil {
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
		}
		return c, err
	}
}

// kill is kill -9: nothing leaves the process any more, and it hears nothing.
func (p *process) kill() {
	p.dead.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// step counts a side effect and reports whether the process lives on.
func (p *process) step() bool {
	p.mu.Lock()
	p.steps++
	dies := p.steps == p.dieAt
	p.mu.Unlock()
	if dies {
		p.kill()
	}
	return !p.dead.Load()
}

// transport is a process' way to Stripe. Each request is two side effects: that
// it leaves and that it is answered.
type transport struct {
	p    *process
	next http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.p.step() {
		return nil, errDead
	}
	res, err := t.next.RoundTrip(req)
	if !t.p.step() {
		if err == nil {
			res.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}
	return res, err
}

// storeOf is the store as a process uses it. Each write is two side effects.
type storeOf struct {
	*store.Store
	p *process
}

func (s storeOf) around(err *error) func() {
	s.p.step()
	return func() {
		if !s.p.step() {
			*err = errDead
		}
	}
}

func (s storeOf) BeginAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, lease, resumeAfter time.Duration,
) (found hold.AuthorizationAttempt, l hold.AttemptLookup, now time.Time, err error) {
	defer s.around(&err)()
	return s.Store.BeginAuthorization(ctx, a, token, lease, resumeAfter)
}

func (s storeOf) SaveAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, release bool, resumeAt time.Time,
) (saved bool, err error) {
	defer s.around(&err)()
	return s.Store.SaveAuthorization(ctx, a, token, release, resumeAt)
}

func (s storeOf) Commit(ctx context.Context, writes []hold.RecordWrite) (ok []bool, err error) {
	defer s.around(&err)()
	return s.Store.Commit(ctx, writes)
}

func (s storeOf) PublishOnce(ctx context.Context, about string, event []byte) (first bool, err error) {
	defer s.around(&err)()
	return s.Store.PublishOnce(ctx, about, event)
}
