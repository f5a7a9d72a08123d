package authorize_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/tracing"
)

const (
	callTimeout = 10 * time.Second
	lease       = 30 * time.Second
)

func TestMain(m *testing.M) { envtest.Main(m) }

// world is some replicas' authorizers in virtual time.
type world struct {
	*envtest.Env
	tracer *tracing.Tracer // may be nil
}

// process is the authorizer of one replica. Its job runs every ten seconds.
type process struct {
	*envtest.Process
	*authorize.Authorizer
	resumer *authorize.AttemptResumer
	store   *store.Store
	caller  *gateway.Caller
	gateway *gateway.Gateway
	done    chan struct{}

	mu    sync.Mutex
	steps int // side effects so far
	dieAt int // the side effect at which it dies, 0 for none
}

func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	envtest.Run(t, stripesim.Options{Seed: 1}, func(e *envtest.Env) { f(&world{Env: e}) })
}

// start starts a process. One with dieAt above zero dies at that side effect
// and does not run its job.
func (w *world) start(dieAt int) *process {
	w.T.Helper()
	p := &process{Process: w.NewProcess(), done: make(chan struct{}), dieAt: dieAt}
	p.store = p.OpenStore(store.Options{Rates: envtest.Rates})
	p.gateway = p.NewGateway(p.countStep)
	redisClock, redisHealth := &clock.RedisClock{}, health.NewRedisHealthReporter(w.Log)
	p.caller = gateway.NewCaller(p.gateway, p.store,
		gateway.CallerOptions{Timeout: callTimeout, Health: redisHealth, Logger: w.Log})
	commitOptions := commit.Options{Rules: hold.DecisionRules{ExpiryMargin: time.Hour},
		WakeAhead: time.Second, Now: redisClock.Now, Logger: w.Log}
	if w.tracer != nil {
		commitOptions.Tracer = w.tracer
	}
	o := authorize.Options{
		Attempts: storeOf{p.store, p}, Holds: p.store, Caller: p.caller,
		Committer: commit.New(storeOf{p.store, p}, commitOptions),
		Publisher: event.NewSystemEventPublisher(storeOf{p.store, p}, redisClock.Now),
		Clock:     redisClock, Health: redisHealth, Logger: w.Log, Lease: lease,
		CallTimeout: callTimeout,
	}
	if w.tracer != nil {
		o.Tracer = w.tracer
	}
	p.Authorizer, p.resumer = authorize.NewAuthorizer(o), authorize.NewAttemptResumer(o)
	ctx, stop := context.WithCancel(w.Ctx)
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
	w.OnStop(func() {
		stop()
		<-p.done
		p.store.Close()
		p.gateway.CloseIdleConnections()
	})
	return p
}

// countStep counts a side effect and kills the process at the chosen one.
func (p *process) countStep() {
	p.mu.Lock()
	p.steps++
	dies := p.steps == p.dieAt
	p.mu.Unlock()
	if dies {
		p.SimulateSIGKILL()
	}
}

// storeOf is the store of a process. Each write counts as two side effects: one
// before it and one after.
type storeOf struct {
	*store.Store
	p *process
}

func (s storeOf) around(err *error) func() {
	s.p.countStep()
	return func() {
		if s.p.countStep(); s.p.IsKilled() {
			*err = envtest.ErrKilled
		}
	}
}

func (s storeOf) BeginOrResumeAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, lease,
	resumeAfter time.Duration,
) (found hold.AuthorizationAttempt, l hold.AttemptLookupResult, now time.Time, err error) {
	defer s.around(&err)()
	return s.Store.BeginOrResumeAuthorization(ctx, a, token, lease, resumeAfter)
}

func (s storeOf) SaveAuthorizationIfLeaseHeld(
	ctx context.Context, a hold.AuthorizationAttempt, token string,
	release bool, resumeAt time.Time,
) (saved bool, err error) {
	defer s.around(&err)()
	return s.Store.SaveAuthorizationIfLeaseHeld(ctx, a, token, release, resumeAt)
}

func (s storeOf) Commit(
	ctx context.Context, writes []hold.HoldWrite,
) (results []hold.CommitResult, err error) {
	defer s.around(&err)()
	return s.Store.Commit(ctx, writes)
}

func (s storeOf) PublishOnce(
	ctx context.Context, about string, event []byte,
) (first bool, err error) {
	defer s.around(&err)()
	return s.Store.PublishOnce(ctx, about, event)
}
