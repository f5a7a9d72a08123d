package simtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/authorize"
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
	closing        bool
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

// replica is one process.
type replica struct {
	*worker.Worker
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
		Rates: store.Rates{Write: w.plan.rateLimit, Read: w.plan.rateLimit,
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
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test",
		Transport: &stripeTransport{world: w, replica: r, next: w.sim.Transport()}})
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
			api.ParseScheduleRequest
	}
	log := zap.New(zapcore.NewTee(cores...))
	r.Worker, err = wiring.NewWorker(r.store, shortPages{g, w.plan.intake.listPageSize},
		worker.Options{
			Observer:      wo.Observer,
			DecodeRequest: wo.DecodeRequest,
			Rules: hold.Rules{ExpiryMargin: w.plan.expiryMargin,
				Thresholds: w.plan.alertThresholds, Mirror: w.plan.intake.mirrorInterval > 0},
			Schedules: w.plan.schedules(),
			ReadRate:  w.plan.rateLimit, Concurrency: w.plan.concurrency, Lease: w.plan.lease,
			Replica: name, Logger: log, CallTimeout: 10 * time.Second,
		})
	if err != nil {
		panic(err)
	}
	r.parts = partsOf(r.Worker)
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

// runResult is what a run leaves behind for the judge.
type runResult struct {
	plan         plan
	breaches     []string
	digest       string
	summary      string
	fullTrace    string
	faultHits    map[string]int
	requestCount int
	simulated    time.Duration
}

// runPlan runs a plan and judges the run.
func runPlan(t *testing.T, p plan) (o runResult) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w := &world{plan: p, ctx: ctx, startedAt: time.Now(), occurrences: map[string]int{},
			faultHits: map[string]int{}, hitsByFault: map[int]int{}, intentIDs: map[int]string{},
			claimOwner: map[string]string{}, unsentKeys: map[string]bool{},
			redis: miniredis.NewMiniRedis()}
		w.trace = &trace{startedAt: w.startedAt}
		w.redisClocks = []clockPeriod{{w.startedAt, p.redisClockAhead}}
		w.redis.ClockTTL(true)
		w.redis.Seed(int(p.seed))
		w.replicas = make([]*replica, p.replicas)
		w.intakeObserved = intakeObservations{firstLoggedAt: map[string]time.Time{},
			cardholdersActed: map[int]bool{}, reviews: map[int][]reviewChange{},
			earlierDeadlines: map[int][]time.Time{}}
		w.sim = stripesim.New(stripesim.Options{OnEvent: w.stripeEventFunc(), Seed: p.seed,
			EndpointRate: float64(2*p.rateLimit + 2), OverallRate: float64(8*p.rateLimit + 8),
			ServiceTime: p.serviceTime,
			AuthorizationWindow: func(c stripesim.Card) time.Duration {
				d, _ := time.ParseDuration(c.Metadata["life"])
				return d
			},
			FaultFunc: func(stripesim.Call) stripesim.Fault {
				f := w.nextFault
				w.faultMu.Unlock()
				return f
			}})
		w.spawn(func() { w.sim.Run(ctx) })
		if p.redisClockAhead != 0 {
			w.faultHits["redis:clock apart"] = 1
		}
		for slot := range p.replicas {
			w.spawn(func() {
				time.Sleep(time.Duration(slot+1) * 137 * time.Millisecond)
				w.startReplica(slot)
			})
		}
		w.playPlan()
		o = w.finish(cancel)
	})
	return o
}

// playPlan starts everything in the plan at its time, and waits until every
// hold has ended.
func (w *world) playPlan() {
	for i := range w.plan.holds {
		w.spawn(func() { w.playHold(&w.plan.holds[i]) })
	}
	for i, a := range w.plan.intake.reconcileRequests {
		w.spawn(func() { w.requestReconcile(i, a) })
	}
	for _, l := range w.plan.intake.invalidInboxEntries {
		w.spawn(func() { w.postInboxEntry(0, l.at, l.payload) })
	}
	for i := range w.plan.faults {
		w.spawn(func() { w.injectFault(&w.plan.faults[i]) })
	}
	for i := range 10 {
		w.spawn(func() {
			w.sleep(w.plan.duration*time.Duration(i+1)/8 + newRNG(w.plan.seed, "person",
				fmt.Sprint(i)).durationBetween(0, time.Second))
			if !w.isClosing() {
				w.handleAttention(i)
			}
		})
	}
	last, faultFreeAt := time.Duration(0), time.Duration(0)
	for _, h := range w.plan.holds {
		faultFreeAt = max(faultFreeAt, h.scheduledAt+h.repeatAfter)
		last = max(last, h.placedAt+h.authorizationWindow+max(0, h.expiryError))
		if h.card != nil && w.plan.jobInterval >= 30*time.Second {
			last = max(last, h.placedAt+70*time.Minute)
		}
		for _, a := range h.actions {
			faultFreeAt = max(faultFreeAt, a.at)
			if a.kind == "stripe deadline" {
				last = max(last, a.newTime)
			}
		}
	}
	for _, a := range w.plan.intake.reconcileRequests {
		faultFreeAt = max(faultFreeAt, a.at)
	}
	for _, l := range w.plan.intake.invalidInboxEntries {
		faultFreeAt = max(faultFreeAt, l.at)
	}
	for _, f := range w.plan.faults {
		faultFreeAt = max(faultFreeAt, f.to+f.restartAfter)
	}
	time.Sleep(w.durationUntil(faultFreeAt + 2*time.Second))
	w.faultsOver.Store(true)
	w.trace.add(false, "from here on nothing goes wrong")
	horizon := max(last, w.elapsed()) + 12*w.plan.jobInterval + 40*time.Minute
	for w.elapsed() < horizon && !(w.allHoldsSettled() && w.intakeSettled()) {
		time.Sleep(2*w.plan.jobInterval + time.Second)
	}
}

// sleep sleeps, but not beyond the world's end.
func (w *world) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
	}
}

func (w *world) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// allHoldsSettled says whether Redis knows of no open hold; those that are told
// to be of the wrong account don't count.
func (w *world) allHoldsSettled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := range w.plan.partitions {
		ids, _ := w.redis.ZMembers(fmt.Sprintf("holdd:{%d}:expiring", part))
		for _, h := range w.plan.holds {
			if h.requestedAccount == "" && slices.Contains(ids, w.intentIDs[h.number]) {
				return false
			}
		}
	}
	for _, c := range w.apiRequests {
		if c.answeredAt.IsZero() {
			return false
		}
	}
	return true
}

// injectFault injects a fault that has a time.
func (w *world) injectFault(f *fault) {
	time.Sleep(w.durationUntil(f.from))
	slot := func() *replica {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.replicas[f.replicaIndex]
	}
	switch f.kind {
	case "kill":
		if r := slot(); r != nil && !r.dead.Load() {
			w.recordFaultHit(f)
			w.kill(r, f.restartAfter)
		}
	case "stop":
		if r := slot(); r != nil && !r.dead.Load() && r.ready.Load() {
			w.recordFaultHit(f)
			w.trace.add(false, "%s is stopped", r.name)
			r.stopGracefully()
			time.Sleep(f.restartAfter)
			if !r.dead.Load() {
				w.startReplica(f.replicaIndex)
			}
		}
	case "stripe:revoked":
		w.recordFaultHit(f)
		w.trace.add(false, "Stripe rejects the key")
		w.sim.RevokeKey("sk_test_world")
		time.Sleep(w.durationUntil(f.to))
		w.sim.RestoreKey("sk_test_world")
		w.trace.add(false, "Stripe takes the key again")
	case "redis:emptied":
		w.recordFaultHit(f)
		w.emptyRedis()
	case "redis:lose tail":
		w.recordFaultHit(f)
		before := w.snapshotRedis()
		time.Sleep(w.durationUntil(f.to))
		w.mu.Lock()
		if f.clockStep != 0 {
			w.redisClocks = append(w.redisClocks,
				clockPeriod{time.Now(), w.redisClocks[len(w.redisClocks)-1].ahead + f.clockStep})
			w.faultHits["redis:clock set"]++
		}
		w.mu.Unlock()
		lost := w.publishedEvents()
		w.restoreRedis(before)
		w.mu.Lock()
		w.lostEvents = append(w.lostEvents, lost...)
		w.redisEpoch++
		w.lostSpans = append(w.lostSpans, [2]time.Time{w.timeAt(f.from), time.Now()})
		w.mu.Unlock()
		w.trace.add(false, "Redis comes back as it was at +%s", f.from.Round(time.Millisecond))
	}
}

// finish ends the world and judges it.
func (w *world) finish(cancel context.CancelFunc) (o runResult) {
	elapsed := w.elapsed()
	for deadline := w.elapsed() + 4*w.plan.jobInterval + 5*time.Minute; len(
		w.liveReplicas()) == 0 && w.elapsed() < deadline; {
		// the replica killed last may not have restarted yet
		time.Sleep(time.Second)
	}
	rs := w.liveReplicas()
	final := map[string]*hold.Hold{}
	if len(rs) == 0 {
		w.breach("ends: no replica is up at the end")
	} else {
		for i := range w.plan.holds {
			n := w.plan.holds[i].number
			id := w.intentIDs[n]
			if id == "" {
				continue
			}
			h, _, err := rs[0].Get(w.ctx, id)
			for range 100 { // connections from before Redis was another one
				if !errors.Is(err, health.ErrUnavailable) {
					break
				}
				time.Sleep(time.Second)
				h, _, err = rs[0].Get(w.ctx, id)
			}
			for i := range h.History {
				h.History[i].At = w.fromRedisTime(h.History[i].At)
			}
			switch {
			case err == nil:
				final[id] = &h
			case !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}):
				w.breach("ends: H%d can't be read: %v", n, err)
			}
		}
	}
	for _, r := range rs {
		r.stopGracefully()
	}
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	cancel()
	w.goroutines.Wait()
	j := &judge{world: w, finalHolds: final}
	for i := range w.intakeObserved.reconciliations {
		r := &w.intakeObserved.reconciliations[i]
		// A replica that has just come up has not heard of Redis' clock yet:
		// its first comparison begins by its own.
		if !slices.ContainsFunc(w.replicaStarts, func(up time.Time) bool {
			return !r.StartedAt.Before(up.Truncate(time.Millisecond)) &&
				r.StartedAt.Before(up.Add(time.Second))
		}) {
			r.StartedAt = w.fromRedisTime(r.StartedAt)
		}
		r.FinishedAt = w.fromRedisTime(r.FinishedAt)
	}
	j.events = w.publishedEvents()
	j.judgeRun()
	w.redis.Close()
	time.Sleep(5 * time.Second) // go-redis' own goroutines end within seconds of their pool's end
	var names []string
	for n, id := range w.intentIDs {
		if id != "" {
			names = append(names, id, fmt.Sprintf("H%d", n))
		}
	}
	w.trace.names = strings.NewReplacer(names...)
	for i, b := range w.breaches {
		w.breaches[i] = w.trace.names.Replace(b)
	}
	slices.Sort(w.breaches)
	return runResult{plan: w.plan, breaches: w.breaches, digest: w.trace.digest(),
		summary: w.trace.summary(), fullTrace: w.trace.fullText(), faultHits: w.faultHits,
		requestCount: len(w.apiRequests), simulated: elapsed}
}

// publishedEvents are the events in Redis.
func (w *world) publishedEvents() (all []event.Envelope) {
	for part := range w.plan.partitions {
		entries, _ := w.redis.Stream(fmt.Sprintf("holdd:{%d}:events", part))
		for _, e := range entries {
			var ev event.Envelope
			if err := json.Unmarshal([]byte(e.Values[1]), &ev); err != nil {
				w.breach("events: %q is no event: %v", e.Values[1], err)
				continue
			}
			ev.Timestamp = w.fromRedisTime(ev.Timestamp)
			all = append(all, ev)
		}
	}
	return all
}

// logTracer puts what a replica logs into the story; of no account for the
// digest, since it is only there when somebody reads.
type logTracer struct {
	zapcore.LevelEnabler
	world   *world
	replica *replica
}

func (t *logTracer) Enabled(l zapcore.Level) bool      { return l >= zapcore.InfoLevel }
func (t *logTracer) With([]zapcore.Field) zapcore.Core { return t }
func (t *logTracer) Sync() error                       { return nil }
func (t *logTracer) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if t.Enabled(e.Level) {
		return c.AddCore(e, t)
	}
	return c
}
func (t *logTracer) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	t.world.trace.addLine(traceLine{excludedFromDigest: true,
		text: fmt.Sprintf("%s says %s: %v %v %v %v", t.replica.name, e.Message, enc.Fields["hold"],
			enc.Fields["cause"], enc.Fields["answer"], enc.Fields["error"])})
	return nil
}
