package simtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
	"github.com/redis/go-redis/v9"
	lua "github.com/yuin/gopher-lua"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// discardLogger drops what go-redis logs about connections that are cut here.
type discardLogger struct{}

func (discardLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(discardLogger{})
	debug.SetGCPercent(1000)
	// Each script runs in a Lua state of its own; ours are small.
	lua.RegistrySize, lua.CallStackSize = 1024, 64
	os.Exit(m.Run())
}

// world is Stripe, Redis, some replicas and the actors around them, in virtual
// time.
type world struct {
	plan       plan
	ctx        context.Context
	startedAt  time.Time
	trace      *trace
	sim        *stripesim.Sim
	redis      *miniredis.Miniredis
	goroutines sync.WaitGroup
	faultsOver atomic.Bool // nothing goes wrong any more
	// laterWritten are the holds that a later release wrote, under mu
	laterWritten []int

	faultMu   sync.Mutex
	nextFault stripesim.Fault

	mu              sync.Mutex
	occurrences     map[string]int
	faultHits       map[string]int // faults that struck, by kind
	hitsByFault     map[int]int    // the same, by number in the plan
	redisEpoch      int            // grows when Redis comes back as another
	replicas        []*replica
	replicasStarted int
	intentIDs       map[int]string // of holds
	windows         sync.Map       // authorization windows by the id of the hold
	apiRequests     []*apiRequest
	stripeRequests  []*stripeRequest
	unsentKeys      map[string]bool   // keys of requests that a replica slept through
	claimOwner      map[string]string // who claimed a hold last
	breaches        []string          // seen while it ran
	lostSpans       [][2]time.Time
	// events that Redis has lost; a receiver may have read them before
	lostEvents     []event.Envelope
	redisClocks    []clockPeriod // of Redis' servers, in their order
	replicaStarts  []time.Time
	intakeObserved intakeObservations
	cardholderActs map[int][]cardholderAct // by the number of the hold
	closing        bool
}

// parts are the parts of a worker that tests call.
type parts struct {
	*intake.Scheduler
	*intake.Changer
	*query.HoldReader
	*query.Planner
	*authorize.Authorizer
	*reconcile.Reconciler
}

func partsOf(w *worker.Engine) parts {
	return parts{w.Scheduler, w.Changer, w.Reader, w.Planner, w.Authorizer, w.Reconciler}
}

// replica is one process.
type replica struct {
	*worker.Engine
	parts
	world *world
	index int
	name  string
	store *store.Store
	stop  context.CancelFunc
	done  chan struct{}
	dead  atomic.Bool
	ready atomic.Bool
}

func (w *world) timeAt(d time.Duration) time.Time            { return w.startedAt.Add(d) }
func (w *world) durationUntil(d time.Duration) time.Duration { return time.Until(w.timeAt(d)) }
func (w *world) elapsed() time.Duration                      { return time.Since(w.startedAt) }

// clockPeriod is the time from which on one server's clock is Redis'.
type clockPeriod struct {
	from  time.Time
	ahead time.Duration
}

// redisTimeAt is what Redis' clock shows at a moment.
func (w *world) redisTimeAt(t time.Time) time.Time {
	i := len(w.redisClocks) - 1
	for i > 0 && w.redisClocks[i].from.After(t) {
		i--
	}
	return t.Add(w.redisClocks[i].ahead)
}

// latestRedisTimeUntil is the latest time that Redis' clock has shown until a moment.
// What a claim sends before the clock is set back may take effect after it.
func (w *world) latestRedisTimeUntil(t time.Time) time.Time {
	latest := w.redisTimeAt(t)
	for i, c := range w.redisClocks[1:] {
		if shown := c.from.Add(w.redisClocks[i].ahead); !c.from.After(t) && shown.After(latest) {
			latest = shown
		}
	}
	return latest
}

// fromRedisTime is the moment at which it shows a time: the last one, where it
// was set back, and where it was set forward and never showed it the moment of
// that.
func (w *world) fromRedisTime(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	i := len(w.redisClocks) - 1
	for i > 0 && t.Add(-w.redisClocks[i].ahead).Before(w.redisClocks[i].from) {
		i--
	}
	at := t.Add(-w.redisClocks[i].ahead)
	if i+1 < len(w.redisClocks) && at.After(w.redisClocks[i+1].from) {
		at = w.redisClocks[i+1].from
	}
	return at
}

// syncRedisClock sets Redis' clock, which stands still until it is wound again,
// and tells what it shows.
func (w *world) syncRedisClock() time.Time {
	w.mu.Lock()
	now := time.Now().Add(w.redisClocks[len(w.redisClocks)-1].ahead)
	w.mu.Unlock()
	w.redis.SetTime(now)
	return now
}

func (w *world) spawn(f func()) {
	w.goroutines.Go(f)
}

// countOccurrence counts how often the very same was done.
func (w *world) countOccurrence(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.occurrences[key]++
	return w.occurrences[key]
}

func (w *world) epoch() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.redisEpoch
}

// matchFault returns the fault of the plan that affects a call, nil for none.
func (w *world) matchFault(side string, r *replica, label, key string) *fault {
	if w.faultsOver.Load() {
		return nil
	}
	now := w.elapsed()
	for i := range w.plan.faults {
		f := &w.plan.faults[i]
		if !strings.HasPrefix(f.kind, side+":") || now < f.from || now >= f.to ||
			f.replicaIndex >= 0 && f.replicaIndex != r.index || f.atCall != "" &&
			f.atCall != label || f.kind == "stripe:revoked" || f.kind == "redis:lose tail" {
			continue
		}
		always := f.kind == "redis:down" || f.kind == "redis:freeze" || f.kind == "stripe:down"
		if !always && float64(hashSeed(w.plan.seed, "hit", fmt.Sprint(f.number),
			key)%1024)/1024 >= f.probability {
			continue
		}
		w.recordFaultHit(f)
		return f
	}
	return nil
}

func (w *world) recordFaultHit(f *fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faultHits[f.kind]++
	w.hitsByFault[f.number]++
}

// killAtCall says whether a replica dies at this call, and lets it die.
func (w *world) killAtCall(r *replica, label string, after bool) bool {
	if w.faultsOver.Load() {
		return false
	}
	now := w.elapsed()
	for i := range w.plan.faults {
		f := &w.plan.faults[i]
		if f.kind != "kill at" || f.atCall != label || f.afterEffect != after ||
			f.replicaIndex != r.index || now < f.from || now >= f.to {
			continue
		}
		w.mu.Lock()
		used := w.hitsByFault[f.number] > 0
		w.mu.Unlock()
		if !used {
			w.recordFaultHit(f)
			w.kill(r, f.restartAfter)
			return true
		}
	}
	return false
}

// stallTime is how long a replica hangs from now on.
func (r *replica) stallTime(key string) time.Duration {
	w := r.world
	if w.faultsOver.Load() {
		return 0
	}
	now := w.elapsed()
	for i := range w.plan.faults {
		f := &w.plan.faults[i]
		if f.kind == "pause" && f.replicaIndex == r.index && now >= f.from && now < f.to {
			if key == "" {
				return f.to - now
			}
			w.recordFaultHit(f)
			key = r.name + " stall " + key
			return f.to - now + newRNG(w.plan.seed, key,
				fmt.Sprint(w.countOccurrence(key))).durationBetween(0, time.Millisecond)
		}
	}
	return 0
}

// kill is kill -9: nothing leaves this replica any more. Another takes its
// place later.
func (w *world) kill(r *replica, restartAfter time.Duration) {
	if !r.dead.CompareAndSwap(false, true) {
		return
	}
	w.trace.add(false, "%s is killed", r.name)
	w.spawn(func() {
		time.Sleep(restartAfter)
		w.startReplica(r.index)
	})
	r.stop()
}

// startReplica brings up a replica, as soon as Redis lets it.
func (w *world) startReplica(slot int) {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return
	}
	w.replicasStarted++
	name := fmt.Sprintf("%c%d", 'a'+slot, w.occurrences["slot "+string(rune('a'+slot))]+1)
	w.occurrences["slot "+string(rune('a'+slot))]++
	w.mu.Unlock()
	r := &replica{world: w, index: slot, name: name, done: make(chan struct{})}
	ctx, stop := context.WithCancel(w.ctx)
	r.stop = stop
	so := store.Options{URL: "redis://in-process:6379?protocol=2&conn_max_idle_time=-1",
		Partitions: w.plan.partitions,
		// go-redis waits for a connection with timers that bubbles would share.
		PoolSize: 256,
		Rates: store.RateLimitOptions{Write: w.plan.rateLimit, Read: w.plan.rateLimit,
			Total: 4 * w.plan.rateLimit},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if r.dead.Load() {
				return nil, errReplicaDead
			}
			inner, err := w.redis.Dial()
			if err != nil {
				return nil, err
			}
			return &redisConn{world: w, replica: r, inner: inner, reader: bufio.NewReader(inner),
				closed: make(chan struct{})}, nil
		}}
	var err error
	for try := 0; ; try++ {
		r.store, _, err = store.Open(ctx, so)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if try > 10_000 {
			w.breach("start: %s never came up: %v", r.name, err)
			return
		}
		wait := time.Second
		if try > 60 {
			wait = max(wait, w.plan.jobInterval/4)
		}
		time.Sleep(newRNG(w.plan.seed, "open", name, fmt.Sprint(try)).durationBetween(wait/2, wait))
	}
	apiKey := gateway.APIKey("sk_test_world")
	if w.plan.organizationKey {
		apiKey = "sk_org_test_world"
	}
	g, err := gateway.New(gateway.Options{APIKey: apiKey, Context: w.stripeContext(),
		BaseURL: "http://stripe.test", Transport: &stripeTransport{world: w, replica: r,
			next: w.sim.Transport()}})
	if err != nil {
		panic(err)
	}
	cores := []zapcore.Core{&logRecorder{world: w, replica: r}}
	if testing.Verbose() {
		cores = append(cores, &logTracer{world: w, replica: r})
	}
	wo := worker.Options{}
	if w.plan.intake.enabled {
		wo.Observer, wo.DecodeRequest = reconcileObserver{world: w, replica: r},
			api.DecodeScheduleRequest
	}
	log := zap.New(zapcore.NewTee(cores...))
	r.Engine, err = wiring.NewEngine(r.store, shortPages{g, w.plan.intake.listPageSize},
		worker.Options{
			Observer:      wo.Observer,
			DecodeRequest: wo.DecodeRequest,
			Rules: hold.DecisionRules{ExpiryMargin: w.plan.expiryMargin,
				Thresholds: w.plan.alertThresholds, Mirror: w.plan.intake.mirrorInterval > 0,
				CancellationReason: w.plan.cancellationReason(r.index)},
			Schedules: w.plan.schedules(),
			ReadRate:  w.plan.rateLimit, ListReadsAbove: w.plan.listReadsAbove,
			Concurrency: w.plan.concurrency, Lease: w.plan.lease,
			Replica: name, Logger: log, CallTimeout: 10 * time.Second,
		})
	if err != nil {
		panic(err)
	}
	r.parts = partsOf(r.Engine)
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		r.store.Close()
		return
	}
	w.replicas[slot] = r
	w.replicaStarts = append(w.replicaStarts, time.Now())
	w.mu.Unlock()
	w.trace.add(false, "%s is up", name)
	r.ready.Store(true)
	w.spawn(func() {
		if err := r.Run(ctx); err != nil {
			w.breach("start: %s: %v", name, err)
		}
		r.store.Close()
		close(r.done)
	})
}

// shortPages lists fewer intents at once than asked for, so that small worlds
// have several pages.
type shortPages struct {
	*gateway.Gateway
	page int // 0: as asked for
}

func (s shortPages) Do(ctx context.Context, c hold.Call) hold.Answer {
	if c.Op == hold.OpList && s.page > 0 {
		c.Limit = min(c.Limit, s.page)
	}
	return s.Gateway.Do(ctx, c)
}

// stopGracefully stops a replica as SIGTERM does.
func (r *replica) stopGracefully() {
	r.ready.Store(false)
	r.stop()
	<-r.done
}

// liveReplicas are the replicas that take calls.
func (w *world) liveReplicas() (out []*replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.replicas {
		if r != nil && r.ready.Load() && !r.dead.Load() {
			out = append(out, r)
		}
	}
	return out
}

func (w *world) breach(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace.add(false, "BREACH %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.breaches) < 100 {
		w.breaches = append(w.breaches, text)
	}
}
