package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
	"go.uber.org/zap"
)

// FLUSHALL on a real Redis with holds of every kind in several partitions: the
// schedule is rebuilt from Stripe. The end-to-end tests do the same with the
// built binary.
func TestReconcile_RebuildsThousandsOfHolds(t *testing.T) {
	skipIfShort(t) // and it starts a redis-server
	server := storetest.Start(t)
	raw := server.Client()
	defer raw.Close()
	w := &testEnv{Env: &envtest.Env{T: t, Ctx: t.Context(), Log: zap.NewNop(),
		Sim: stripesim.New(stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1})}}
	st, _, err := store.Open(t.Context(), store.Options{URL: server.URL(), Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	g, err := gateway.New(gateway.Options{APIKey: envtest.APIKey, BaseURL: "http://stripe.test",
		Transport: w.Sim.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	wk, err := wiring.NewWorker(st, g, worker.Options{
		Replica: "one", ReadRate: 1_000_000, Rules: hold.Rules{ExpiryMargin: time.Hour},
		Schedules: worker.Schedules{Reconcile: "@every 24h", Report: "@every 1s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- wk.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	r := &replica{Worker: wk, parts: partsOf(wk), store: st}

	waitForRun := func(exceptID string) (run reconcile.Reconciliation) {
		storetest.WaitUntil(t, 5*time.Minute, "a comparison that has ended", func() bool {
			found, ok, err := wk.Reconciler.Reconciliation(t.Context(), "")
			run = found
			return err == nil && ok && run.ID != exceptID && run.State == reconcile.RunFinished
		})
		return run
	}
	const many = 2_000
	first := waitForRun("")
	before := w.scheduleAndMirror(r, newMixedRequests(w, many, time.Hour))
	if err := raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	run := waitForRun(first.ID)
	t.Logf("rebuilt %d holds %s after they were lost", run.Counts[reconcile.FoundScheduled],
		time.Since(began).Round(time.Millisecond))
	if run.Counts[reconcile.FoundScheduled] != many || len(run.Counts) != 1 || run.Accounts != 2 {
		t.Errorf("%+v", run.Counts)
	}
	w.checkSameHolds(r, before)
	again, _, err := wk.Reconciler.Reconcile(t.Context(), false, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	if run := waitForRun(run.ID); run.ID != again.ID || len(run.Counts) != 0 ||
		run.Compared != many || run.Retrieved != 0 {
		t.Errorf("a second run: %+v", run)
	}
}
