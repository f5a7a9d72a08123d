package worker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
)

// testEnv is some replicas of the whole worker in virtual time.
type testEnv struct {
	*envtest.Env
	opts  worker.Options
	store store.Options
	// wrapStores may replace stores of a replica; nil: it does not.
	wrapStores func(*worker.Stores)
	spans      *spanRecorder // of all replicas; nil: they have no tracer

	replicas []*replica
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

type replica struct {
	*worker.Engine
	*envtest.Process
	parts
	store *store.Store
	stop  context.CancelFunc
	done  chan error
}

func TestMain(m *testing.M) { envtest.Main(m) }

// skipIfShort skips a test that simulates many hours or thousands of calls.
func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
}

// runTestEnv runs f in a bubble of virtual time.
func runTestEnv(
	t *testing.T, f func(w *testEnv), options ...func(*testEnv, *stripesim.Options),
) {
	t.Helper()
	w, o := &testEnv{store: store.Options{Rates: envtest.Rates}}, stripesim.Options{Seed: 1}
	w.opts.Rules = hold.DecisionRules{ExpiryMargin: time.Hour,
		Thresholds: []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}}
	for _, option := range options {
		option(w, &o)
	}
	envtest.Run(t, o, func(e *envtest.Env) {
		w.Env, w.opts.Logger = e, e.Log
		f(w)
	})
}

// startReplica starts one more replica.
func (w *testEnv) startReplica() *replica {
	w.T.Helper()
	r := &replica{Process: w.NewProcess(), done: make(chan error, 1)}
	r.store = r.OpenStore(w.store)
	w.replicas = append(w.replicas, r)
	w.OnStop(r.stopAndWait)
	o := w.opts
	if w.spans != nil {
		o.Tracer = w.newTracer(w.spans)
	}
	o.Replica = fmt.Sprint("replica-", len(w.replicas))
	var err error
	stores := wiring.NewStores(r.store)
	if w.wrapStores != nil {
		w.wrapStores(&stores)
	}
	r.Engine, err = wiring.NewEngineWithStores(stores, r.store, r.NewGateway(nil), o)
	if err != nil {
		w.T.Fatal(err)
	}
	r.parts = partsOf(r.Engine)
	ctx, stop := context.WithCancel(w.Ctx)
	r.stop = stop
	go func() { r.done <- r.Run(ctx) }()
	synctest.Wait()
	return r
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

func (w *testEnv) mustSchedule(r *replica, req hold.ScheduleRequest) hold.Hold {
	w.T.Helper()
	s := r.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]
	if s.Err != nil {
		w.T.Fatalf("schedule %+v: %v", req, s.Err)
	}
	return s.Hold
}

func (w *testEnv) mustGet(r *replica, id string) hold.Hold {
	w.T.Helper()
	h, _, err := r.Get(w.Ctx, id)
	if err != nil {
		w.T.Fatal(err)
	}
	return h
}

// waitForState waits at most d of virtual time until the hold is in state s.
func (w *testEnv) waitForState(r *replica, id string, s hold.State, d time.Duration) hold.Hold {
	w.T.Helper()
	for end := time.Now().Add(d); ; {
		h := w.mustGet(r, id)
		if h.State == s {
			return h
		}
		if time.Now().After(end) {
			w.T.Fatalf("%s is %s (next %s at %s, %s) after %s, want %s\n%+v", id, h.State, h.NextOp,
				h.NextAt, h.Reason, d, s, h.History)
		}
		time.Sleep(max(100*time.Millisecond, d/500))
	}
}
