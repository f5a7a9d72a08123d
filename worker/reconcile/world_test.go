package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// world is some replicas on a real store and the Stripe simulator, in virtual
// time.
type world struct {
	t     *testing.T
	ctx   context.Context
	sim   *stripesim.Sim
	redis *miniredis.Miniredis
	logs  *observer.ObservedLogs
	log   *zap.Logger

	replicas []*replica
}

// replica is the reconciler of one process, and what it works with.
type replica struct {
	*reconcile.Reconciler
	w         *world
	store     *store.Store
	caller    *gateway.Caller
	committer *commit.Committer
	accounts  *reconcile.KnownAccounts
	clock     *clock.Redis
	health    *health.Redis
	wakes     atomic.Int64
	dead      atomic.Bool
	stop      context.CancelFunc

	mu    sync.Mutex
	conns []net.Conn
}

var errDead = errors.New("this process is dead")

// quietLogger drops what go-redis logs about connections that the tests cut.
type quietLogger struct{}

func (quietLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quietLogger{})
	m.Run()
}

// inWorld runs f in a bubble of virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.DebugLevel)
		w := &world{t: t, ctx: ctx, logs: logs, log: zap.New(core), redis: miniredis.NewMiniRedis()}
		w.redis.ClockTTL(true)
		w.sim = stripesim.New(stripesim.Options{Seed: 1})
		defer func() {
			for _, r := range w.replicas {
				r.end()
			}
			cancel()
			w.redis.Close()
			time.Sleep(5 * time.Second) // goroutines of go-redis end within seconds of their pool
		}()
		f(w)
	})
}

// newReplica returns a replica that does not run yet.
func (w *world) newReplica() *replica {
	w.t.Helper()
	r := &replica{w: w, accounts: &reconcile.KnownAccounts{}, clock: &clock.Redis{}, health: health.NewRedis(w.log)}
	var err error
	r.store, _, err = store.Open(w.ctx, store.Options{
		URL:    "redis://in-process:6379",
		Rates:  store.Rates{Write: 25, Read: 25, Total: 100},
		Dialer: r.dial,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &stripeTransport{dead: &r.dead, next: w.sim.Transport()}
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: transport})
	if err != nil {
		w.t.Fatal(err)
	}
	r.caller = gateway.NewCaller(g, r.store, gateway.CallerOptions{
		Timeout: 10 * time.Second, Health: r.health, Logger: w.log,
	})
	r.committer = commit.New(r.store, commit.Options{
		Rules: hold.Rules{ExpiryMargin: time.Hour}, DueSoon: time.Second, Now: r.clock.Now,
		Wake: func() { r.wakes.Add(1) }, RecordAccount: r.accounts.Add, Logger: w.log,
	})
	w.replicas = append(w.replicas, r)
	stores := reconcile.Stores{Runs: r.store, Schedule: r.store, Accounts: r.store, Budget: r.store}
	r.Reconciler = reconcile.NewReconciler(stores, r.caller, reconcile.Options{
		Replica: fmt.Sprint("replica-", len(w.replicas)), Schedule: "@every 15m", ReadRate: 25,
		Accounts: r.accounts, Committer: r.committer, Publisher: event.NewPublisher(r.store, r.clock.Now),
		Clock: r.clock, Health: r.health, Logger: w.log,
	})
	return r
}

// start brings up one more replica.
func (w *world) start() *replica {
	w.t.Helper()
	r := w.newReplica()
	ctx, stop := context.WithCancel(w.ctx)
	r.stop = stop
	r.Start(ctx)
	return r
}

func (r *replica) dial(context.Context, string, string) (net.Conn, error) {
	if r.dead.Load() {
		return nil, errDead
	}
	c, err := r.w.redis.Dial()
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.conns = append(r.conns, c)
	}
	return c, err
}

// kill is kill -9 as others see it: nothing leaves this replica any more.
func (r *replica) kill() {
	r.dead.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
}

func (r *replica) end() {
	if r.stop != nil {
		r.stop()
		r.Stop()
	}
	r.store.Close()
}

// stripeTransport is a replica's connection to Stripe, which a dead process
// neither writes nor reads.
type stripeTransport struct {
	dead *atomic.Bool
	next http.RoundTripper
}

func (t *stripeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.dead.Load() {
		return nil, errDead
	}
	res, err := t.next.RoundTrip(req)
	if t.dead.Load() {
		if err == nil {
			res.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}
	return res, err
}

// authorize places a hold of 100.00 EUR at Stripe, with pairs of metadata.
func (w *world) authorize(account string, pairs ...string) string {
	w.t.Helper()
	h := stripesim.Hold{
		Amount: 10_000, Currency: "eur", PaymentMethod: "pm_card_visa", Account: account,
		Metadata: map[string]string{},
	}
	for i := 0; i < len(pairs); i += 2 {
		h.Metadata[pairs[i]] = pairs[i+1]
	}
	id, err := w.sim.Authorize(h)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) addFault(rule stripesim.FaultRule) {
	w.t.Helper()
	if _, err := w.sim.AddFaultRule(rule); err != nil {
		w.t.Fatal(err)
	}
}

// place schedules a hold. It is verified if in is not nil.
func (r *replica) place(req hold.ScheduleRequest, in *hold.Intent) hold.Hold {
	r.w.t.Helper()
	draft, err := req.Validate(r.clock.Now())
	if err != nil {
		r.w.t.Fatal(err)
	}
	d, err := hold.New(draft, in, "test", r.clock.Now())
	if err != nil {
		r.w.t.Fatal(err)
	}
	r.mustCommit(&hold.Hold{}, d)
	return d.Hold
}

func (r *replica) mustCommit(before *hold.Hold, d hold.Decision) {
	r.w.t.Helper()
	written, err := r.committer.Commit(r.w.ctx, []commit.Change{{Before: before, Decision: d}})
	if err != nil || !written[0] {
		r.w.t.Fatal(written, err)
	}
}

// retrieve reads an intent at Stripe.
func (r *replica) retrieve(id, account string) *hold.Intent {
	r.w.t.Helper()
	a, err := r.caller.ReserveAndDo(r.w.ctx, hold.Call{Op: hold.OpRead, PaymentIntent: id, Account: account}, time.Minute)
	if err != nil || a.Kind != hold.AnswerOK {
		r.w.t.Fatal(a, err)
	}
	return a.Intent
}

// hold returns a hold as it is stored, or one without a state.
func (r *replica) hold(id string) hold.Hold {
	r.w.t.Helper()
	holds, _, err := r.store.Read(r.w.ctx, id)
	if err != nil {
		r.w.t.Fatal(err)
	}
	if holds[0] == nil {
		return hold.Hold{}
	}
	return *holds[0]
}

// reconcile makes one run and waits for its end.
func (r *replica) reconcile(dry bool, accounts ...string) reconcile.Reconciliation {
	r.w.t.Helper()
	run, started, err := r.Reconcile(r.w.ctx, dry, accounts, "test")
	if err != nil || !started {
		r.w.t.Fatal(started, err)
	}
	return r.await(run.ID, reconcile.RunFinished)
}

// await waits until a run is in a state.
func (r *replica) await(id string, state reconcile.RunState) reconcile.Reconciliation {
	r.w.t.Helper()
	for range 36_000 {
		run, ok, err := r.Reconciliation(r.w.ctx, id)
		if err != nil {
			r.w.t.Fatal(err)
		}
		if ok && run.State == state {
			return run
		}
		time.Sleep(100 * time.Millisecond)
	}
	run, _, _ := r.Reconciliation(r.w.ctx, "")
	r.w.t.Fatalf("run %s is not %s: %+v", id, state, run)
	return run
}

func (w *world) checkCounts(run reconcile.Reconciliation, want map[reconcile.FindingKind]int64) {
	w.t.Helper()
	if !maps.Equal(run.Counts, want) {
		w.t.Errorf("found %v, want %v\n%+v", run.Counts, want, run.Findings)
	}
}

// calls counts the calls of a class that Stripe has answered.
func (w *world) calls(class stripesim.EndpointClass) (n int) {
	for answer, count := range w.sim.Stats().Calls {
		if answer.Class == class {
			n += int(count)
		}
	}
	return n
}

// published counts the published events of a type.
func (w *world) published(t hold.EventType) (n int) {
	for _, key := range w.redis.Keys() {
		if !strings.HasSuffix(key, ":events") {
			continue
		}
		entries, _ := w.redis.Stream(key)
		for _, e := range entries {
			if strings.Contains(strings.Join(e.Values, " "), `"type":"`+string(t)+`"`) {
				n++
			}
		}
	}
	return n
}

// dump is all of Redis but the budget.
func (w *world) dump() map[string]string {
	all := map[string]string{}
	for _, key := range w.redis.Keys() {
		switch {
		case strings.HasPrefix(key, "holdd:budget:"):
		case w.redis.Type(key) == "hash":
			fields, _ := w.redis.HKeys(key)
			for _, f := range fields {
				all[key] += f + "=" + w.redis.HGet(key, f) + ";"
			}
		case w.redis.Type(key) == "zset":
			members, _ := w.redis.SortedSet(key)
			all[key] = fmt.Sprint(members)
		case w.redis.Type(key) == "stream":
			entries, _ := w.redis.Stream(key)
			all[key] = fmt.Sprint(len(entries))
		default:
			all[key] = w.redis.Type(key)
		}
	}
	return all
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }
