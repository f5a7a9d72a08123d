package reconcile_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// world is some replicas' reconcilers in virtual time.
type world struct {
	*envtest.Env
	replicas []*replica
}

// replica is the reconciler of one process, and what it works with.
type replica struct {
	*envtest.Process
	*reconcile.Reconciler
	w         *world
	store     *store.Store
	caller    *gateway.Caller
	committer *commit.Committer
	accounts  *reconcile.KnownAccounts
	clock     *clock.RedisClock
	health    *health.Reporter
	wakes     atomic.Int64
	stop      context.CancelFunc
}

func TestMain(m *testing.M) { envtest.Main(m) }

// inWorld runs f in a bubble of virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	envtest.Run(t, stripesim.Options{Seed: 1}, func(e *envtest.Env) { f(&world{Env: e}) })
}

// newReplica returns a replica that does not run yet.
func (w *world) newReplica() *replica {
	w.T.Helper()
	r := &replica{Process: w.NewProcess(), w: w, accounts: &reconcile.KnownAccounts{},
		clock: &clock.RedisClock{}, health: health.NewRedisHealthReporter(w.Log)}
	r.store = r.OpenStore(store.Options{Rates: envtest.Rates})
	w.OnStop(r.end)
	r.caller = gateway.NewCaller(r.NewGateway(nil), r.store, gateway.CallerOptions{
		Timeout: 10 * time.Second, Health: r.health, Logger: w.Log,
	})
	r.committer = commit.New(r.store, commit.Options{
		Rules:     hold.DecisionRules{ExpiryMargin: time.Hour, Mirror: true},
		WakeAhead: time.Second, Now: r.clock.Now,
		Wake: func() { r.wakes.Add(1) }, RecordAccount: r.accounts.Add, Logger: w.Log,
	})
	w.replicas = append(w.replicas, r)
	stores := reconcile.Stores{Runs: r.store, Holds: r.store, Accounts: r.store, Budget: r.store}
	r.Reconciler = reconcile.NewReconciler(stores, r.caller, reconcile.Options{
		Replica: fmt.Sprint("replica-", len(w.replicas)), Schedule: "@every 15m", ReadRate: 25,
		Accounts: r.accounts, Committer: r.committer,
		Publisher: event.NewSystemEventPublisher(r.store, r.clock.Now),
		Clock:     r.clock, Health: r.health, Logger: w.Log,
	})
	return r
}

// start brings up one more replica.
func (w *world) start() *replica {
	w.T.Helper()
	r := w.newReplica()
	ctx, stop := context.WithCancel(w.Ctx)
	r.stop = stop
	r.AllowRuns(ctx)
	return r
}

func (r *replica) end() {
	if r.stop != nil {
		r.stop()
		r.StopRuns()
	}
	r.store.Close()
}

// authorize places a hold of 100.00 EUR at Stripe, with pairs of metadata.
func (w *world) authorize(account string, pairs ...string) string {
	w.T.Helper()
	return w.AuthorizeIntent(func(h *stripesim.Hold) {
		h.Account, h.Metadata = account, map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			h.Metadata[pairs[i]] = pairs[i+1]
		}
	})
}

// place schedules a hold. It is verified if in is not nil.
func (r *replica) place(req hold.ScheduleRequest, in *hold.PaymentIntent) hold.Hold {
	r.w.T.Helper()
	valid, err := req.Validate(r.clock.Now())
	if err != nil {
		r.w.T.Fatal(err)
	}
	d, err := hold.DecideNewHold(valid, in, "test", r.clock.Now())
	if err != nil {
		r.w.T.Fatal(err)
	}
	r.mustCommit(&hold.Hold{}, d)
	return d.Hold
}

func (r *replica) mustCommit(before *hold.Hold, d hold.Decision) {
	r.w.T.Helper()
	written, err := r.committer.Commit(r.w.Ctx, []commit.Change{{Before: before, Decision: d}})
	if err != nil || !written[0] {
		r.w.T.Fatal(written, err)
	}
}

// retrieve reads an intent at Stripe.
func (r *replica) retrieve(id, account string) *hold.PaymentIntent {
	r.w.T.Helper()
	a, err := r.caller.WaitForBudgetAndSend(r.w.Ctx, hold.Call{Op: hold.OpRead, PaymentIntent: id,
		Account: account}, time.Minute)
	if err != nil || a.Kind != hold.AnswerOK {
		r.w.T.Fatal(a, err)
	}
	return a.Intent
}

// hold returns a hold as it is stored, or one without a state.
func (r *replica) hold(id string) hold.Hold {
	r.w.T.Helper()
	holds, _, err := r.store.ReadHolds(r.w.Ctx, id)
	if err != nil {
		r.w.T.Fatal(err)
	}
	if holds[0] == nil {
		return hold.Hold{}
	}
	return *holds[0]
}

// reconcile makes one run and waits for its end.
func (r *replica) reconcile(dry bool, accounts ...string) reconcile.Reconciliation {
	r.w.T.Helper()
	run, started, err := r.StartRun(r.w.Ctx, dry, accounts, "test")
	if err != nil || !started {
		r.w.T.Fatal(started, err)
	}
	return r.await(run.ID, reconcile.RunFinished)
}

// await waits until a run is in a state.
func (r *replica) await(id string, state reconcile.RunState) reconcile.Reconciliation {
	r.w.T.Helper()
	for range 36_000 {
		run, ok, err := r.ReadReconciliation(r.w.Ctx, id)
		if err != nil {
			r.w.T.Fatal(err)
		}
		if ok && run.State == state {
			return run
		}
		time.Sleep(100 * time.Millisecond)
	}
	run, _, _ := r.ReadReconciliation(r.w.Ctx, "")
	r.w.T.Fatalf("run %s is not %s: %+v", id, state, run)
	return run
}

func (w *world) checkCounts(run reconcile.Reconciliation, want map[reconcile.FindingKind]int64) {
	w.T.Helper()
	if !maps.Equal(run.Counts, want) {
		w.T.Errorf("found %v, want %v\n%+v", run.Counts, want, run.Findings)
	}
}

// published counts the published events of a type.
func (w *world) published(t hold.EventType) (n int) {
	for _, key := range w.Redis.Keys() {
		if !strings.HasSuffix(key, ":events") {
			continue
		}
		entries, _ := w.Redis.Stream(key)
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
	for _, key := range w.Redis.Keys() {
		switch {
		case strings.HasPrefix(key, "holdd:budget:"):
		case w.Redis.Type(key) == "hash":
			fields, _ := w.Redis.HKeys(key)
			for _, f := range fields {
				all[key] += f + "=" + w.Redis.HGet(key, f) + ";"
			}
		case w.Redis.Type(key) == "zset":
			members, _ := w.Redis.SortedSet(key)
			all[key] = fmt.Sprint(members)
		case w.Redis.Type(key) == "stream":
			entries, _ := w.Redis.Stream(key)
			all[key] = fmt.Sprint(len(entries))
		default:
			all[key] = w.Redis.Type(key)
		}
	}
	return all
}
