package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
)

// gap is a place between two steps of a hold: about a call, or about the write
// of its answer.
type gap string

const (
	beforeCall  gap = "is recorded"
	afterCall   gap = "has its effect"
	afterCommit gap = "has its outcome recorded"
)

// gapTrigger calls onGap once, when a call of an operation reaches a gap.
type gapTrigger struct {
	op    hold.Op
	at    gap
	skip  int // earlier calls of the operation
	onGap func()

	mu      sync.Mutex
	called  bool // the next commit records its answer
	reached bool
}

func (g *gapTrigger) reach(at gap, op hold.Op) {
	g.mu.Lock()
	due := !g.reached && g.skip == 0 && at == g.at && (op == g.op || op == 0 && g.called)
	if at == afterCall && op == g.op && g.skip == 0 {
		g.called = true
	}
	if at == afterCall && op == g.op && g.skip > 0 {
		g.skip--
	}
	g.reached = g.reached || due
	g.mu.Unlock()
	if due {
		g.onGap()
	}
}

func (g *gapTrigger) wasReached() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reached
}

// gapClient and gapStore report the calls and commits of a replica.
type gapClient struct {
	next gateway.Client
	gap  *gapTrigger
}

func (c *gapClient) Do(ctx context.Context, call hold.Call) hold.Answer {
	c.gap.reach(beforeCall, call.Op)
	a := c.next.Do(ctx, call)
	c.gap.reach(afterCall, call.Op)
	return a
}

type gapStore struct {
	*store.Store
	gap *gapTrigger
}

func (s *gapStore) Commit(
	ctx context.Context, writes []hold.HoldWrite,
) (results []hold.CommitResult, err error) {
	results, err = s.Store.Commit(ctx, writes)
	s.gap.reach(afterCommit, 0)
	return results, err
}

// startReplicaWithGap starts a replica that is killed at a gap, unless g has
// something else to do then.
func (w *testEnv) startReplicaWithGap(g *gapTrigger) *replica {
	w.T.Helper()
	r := &replica{Process: w.NewProcess(), done: make(chan error, 1)}
	r.store = r.OpenStore(w.store)
	if g.onGap == nil {
		g.onGap = r.SimulateSIGKILL
	}
	stores := wiring.NewStores(r.store)
	stores.Commit = &gapStore{r.store, g}
	o := w.opts
	o.Replica = "killed"
	var err error
	r.Engine, err = wiring.NewEngineWithStores(stores, r.store, &gapClient{r.NewGateway(nil), g}, o)
	if err != nil {
		w.T.Fatal(err)
	}
	r.parts = partsOf(r.Engine)
	w.OnStop(r.stopAndWait)
	ctx, stop := context.WithCancel(w.Ctx)
	r.stop = stop
	go func(wk *worker.Engine) { r.done <- wk.Run(ctx) }(r.Engine)
	return r
}

// waitForGap waits until the replica was killed.
func (w *testEnv) waitForGap(r *replica, g *gapTrigger, limit time.Duration) {
	w.T.Helper()
	for end := time.Now().Add(limit); !g.wasReached(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			w.T.Fatalf("no %s reached the gap", g.op)
		}
	}
	if r.IsKilled() {
		r.stopAndWait()
	}
}

func withMirror(w *testEnv, _ *stripesim.Options) { w.opts.Rules.Mirror = true }

// forEachRenewalGap runs a test for each gap of each call of a renewal.
func forEachRenewalGap(t *testing.T, run func(t *testing.T, op hold.Op, at gap)) {
	for _, op := range []hold.Op{hold.OpCreate, hold.OpConfirm, hold.OpCancel} {
		for _, at := range []gap{beforeCall, afterCall, afterCommit} {
			t.Run(fmt.Sprintf("%s %s", op, at), func(t *testing.T) {
				t.Parallel()
				run(t, op, at)
			})
		}
	}
}

// TestRenewal_KilledBetweenSteps kills the replica between every two steps of a
// renewal. Another one takes over.
func TestRenewal_KilledBetweenSteps(t *testing.T) {
	forEachRenewalGap(t, func(t *testing.T, op hold.Op, at gap) {
		runTestEnv(t, func(w *testEnv) {
			w.checkRenewalGap(&gapTrigger{op: op, at: at}, 2)
			for _, in := range w.Sim.Intents("") {
				if in.Status != "succeeded" && in.Status != "canceled" {
					t.Errorf("%s is left %s", in.ID, in.Status)
				}
			}
		}, withWindow(4*time.Minute))
	})
}

// TestRenewal_RedisLostBetweenSteps empties Redis between every two steps of a
// renewal, the first and the second one. Reconcile rebuilds the hold from Stripe:
// the intent of the higher generation stays, the lower one is released.
func TestRenewal_RedisLostBetweenSteps(t *testing.T) {
	for earlier := range 2 {
		for _, kill := range []bool{false, true} {
			t.Run(fmt.Sprintf("after %d renewals, replica killed %v", earlier, kill),
				func(t *testing.T) {
					forEachRenewalGap(t, func(t *testing.T, op hold.Op, at gap) {
						runTestEnv(t, func(w *testEnv) {
							g := &gapTrigger{op: op, at: at, skip: earlier}
							w.checkRenewalGapWithoutRedis(g, kill, earlier)
						}, withWindow(4*time.Minute), withMirror, pollEvery5s,
							func(w *testEnv, _ *stripesim.Options) {
								w.opts.Schedules.Report = "@every 15s" // it finds the loss
							})
					})
				})
		}
	}
}

func (w *testEnv) checkRenewalGapWithoutRedis(g *gapTrigger, kill bool, earlier int) {
	w.T.Helper()
	var r *replica
	g.onGap = func() {
		if kill {
			r.SimulateSIGKILL()
		}
		w.Redis.FlushAll()
	}
	r = w.startReplicaWithGap(g)
	w.endRenewalGap(r, g, earlier+2)
}

// checkRenewalGap lets a hold be renewed until it is captured. Its replica is
// killed at the gap.
func (w *testEnv) checkRenewalGap(g *gapTrigger, intents int) {
	w.T.Helper()
	w.endRenewalGap(w.startReplicaWithGap(g), g, intents)
}

// endRenewalGap checks that the money was held throughout, by so many intents
// one after the other.
func (w *testEnv) endRenewalGap(r *replica, g *gapTrigger, intents int) {
	w.T.Helper()
	end := time.Now().Add(time.Duration(2*intents+1) * time.Minute)
	id, _ := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(time.Until(end)),
		Renewal: &hold.RenewalRequest{Until: envtest.In(time.Until(end) + time.Minute)}})
	w.waitForGap(r, g, 6*time.Minute)
	next := w.startReplica()
	time.Sleep(time.Until(end))
	h := w.waitForState(next, id, hold.Captured, time.Minute)
	if n := len(w.checkHeldThroughout(90 * time.Second)); n != intents {
		w.T.Errorf("%d authorizations, want %d", n, intents)
	}
	w.CheckEffects(h.PaymentIntent, "captured 10000 by api")
}

// TestIncrement_KilledBetweenSteps kills the replica between every two steps of
// an increment. Another one ends it.
func TestIncrement_KilledBetweenSteps(t *testing.T) {
	for _, at := range []gap{beforeCall, afterCall, afterCommit} {
		t.Run(string(at), func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				g := &gapTrigger{op: hold.OpIncrement, at: at}
				r := w.startReplicaWithGap(g)
				id := w.authorizeRaisable(r)
				go func() {
					_, _, _ = r.RequestIncrementAndWait(w.Ctx, id,
						hold.IncrementRequest{Amount: 15_000}, 0, "test")
				}()
				w.waitForGap(r, g, time.Minute)
				next := w.startReplica()
				time.Sleep(2 * time.Minute)
				if h := w.mustGet(next, id); h.Amount != 15_000 || h.NextOp != hold.OpCapture {
					t.Errorf("%d, next %s", h.Amount, h.NextOp)
				}
				w.waitForState(next, id, hold.Captured, 4*time.Minute)
				w.CheckEffects(id, "incremented 5000 by api", "captured 15000 by api")
			})
		})
	}
}
