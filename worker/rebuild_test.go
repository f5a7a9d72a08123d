package worker_test

import (
	"context"
	"testing"
	"time"

	"fmt"
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
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// FLUSHALL on a real Redis with holds of every kind in several partitions: the
// schedule is rebuilt from Stripe. The end-to-end tests do the same with the
// built binary.
func TestReconcile_RebuildsOnRealRedis(t *testing.T) {
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
	wk, err := wiring.NewEngine(st, g, worker.Options{
		Replica: "one", ReadRate: 1_000_000, Rules: hold.DecisionRules{ExpiryMargin: time.Hour},
		Schedules: worker.CronSchedules{Reconcile: "@every 24h", Report: "@every 1s"},
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
	r := &replica{Engine: wk, parts: partsOf(wk), store: st}

	waitForRun := func(exceptID string) (run reconcile.Reconciliation) {
		storetest.WaitUntil(t, 5*time.Minute, "a comparison that has ended", func() bool {
			found, ok, err := wk.Reconciler.ReadReconciliation(t.Context(), "")
			run = found
			return err == nil && ok && run.ID != exceptID && run.State == reconcile.RunFinished
		})
		return run
	}
	const many = 500
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
	again, _, err := wk.Reconciler.StartRun(t.Context(), false, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	if run := waitForRun(run.ID); run.ID != again.ID || len(run.Counts) != 0 ||
		run.Compared != many || run.Retrieved != 0 {
		t.Errorf("a second run: %+v", run)
	}
}

// If Redis is emptied while replicas run, they report it and rebuild the
// schedule at once, connected accounts included.
func TestReconcile_RebuildsAfterDataLoss(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		w.startReplica()
		reqs := newMixedRequests(w, 60, time.Minute)
		before := w.scheduleAndMirror(r, reqs)
		// two reports, in which each replica hears of the other's connected
		// account
		time.Sleep(31 * time.Second)
		w.Redis.FlushAll()
		time.Sleep(16 * time.Second)
		if n := w.Logs.FilterMessageSnippet("Redis was emptied").Len(); n != 1 {
			t.Errorf("%d lines say that Redis was emptied", n)
		}
		checks := r.Readiness.Check(w.Ctx)
		for _, c := range checks {
			if !c.OK {
				t.Errorf("not ready: %+v", c)
			}
		}
		run, ok, err := r.ReadReconciliation(w.Ctx, "")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		w.waitForReconcile(r, run.ID)
		w.checkSameHolds(r, before)
		time.Sleep(20 * time.Second)
		if n := len(r.Readiness.Check(w.Ctx)); n != 4 {
			t.Errorf("%d checks once it is rebuilt", n)
		}
		// Each is acted on at its own time, once.
		time.Sleep(time.Hour)
		for id, h := range before {
			if h.State == hold.Scheduled {
				if got := len(w.IntentEffects(id)); got < 1 || got > 2 {
					t.Errorf("%s: %v", id, w.IntentEffects(id))
				}
			}
		}
	}, pollEvery30s, func(w *testEnv, _ *stripesim.Options) {
		w.opts.Schedules.Report = "@every 15s"
		w.store.Rates = store.RateLimitOptions{} // each is checked when it is scheduled
	})
}

// newMixedRequests are requests of every kind, ten to forty units ahead.
func newMixedRequests(w *testEnv, n int, unit time.Duration) []hold.ScheduleRequest {
	var reqs []hold.ScheduleRequest
	w.Sim.Settings.SetRateLimits(-1, -1)
	for i := range n {
		account := ""
		if i%7 == 0 {
			account = "acct_00000001"
		}
		req := hold.ScheduleRequest{PaymentIntent: w.AuthorizeIntent(withAccount(account)),
			Account: account}
		at := envtest.In(time.Duration(10+i%30) * unit)
		switch i % 10 {
		case 0, 1, 2, 8, 9:
			req.CaptureAt = at
		case 3:
			req.CancelAt = at
		case 4:
			req.CaptureAt, req.CaptureAmount = at, int64(1+i%10_000)
		case 5:
			req.OnExpiry = "capture"
		case 6:
			req.CaptureAt, req.OnExpiry = at, "alert"
			req.Metadata = map[string]string{"room": fmt.Sprint(i), "note": "zimmer für zwei, " +
				strings.Repeat("n", 300), "more": strings.Repeat("x", 500)}
		case 7: // neither time nor policy
		}
		if i%3 == 0 {
			req.Reference = fmt.Sprint("BK-", i)
		}
		reqs = append(reqs, req)
	}
	return reqs
}

// scheduleAndMirror schedules requests, pauses every tenth, and writes the
// terms to the intents' metadata.
func (w *testEnv) scheduleAndMirror(r *replica, reqs []hold.ScheduleRequest) map[string]hold.Hold {
	w.T.Helper()
	out := map[string]hold.Hold{}
	for batch := range slices.Chunk(reqs, 200) {
		for _, s := range r.Schedule(w.Ctx, batch, "test") {
			if s.Err != nil {
				w.T.Fatal(s.Err)
			}
			out[s.Hold.ID] = s.Hold
		}
	}
	i := 0
	for _, req := range reqs {
		h := out[req.PaymentIntent]
		if i++; i%10 == 9 {
			var err error
			if h, _, err = r.PauseHold(w.Ctx, h.ID, 0, false, "test"); err != nil {
				w.T.Fatal(err)
			}
			out[h.ID] = h
		}
		pairs, fits := hold.MetadataDiff(&h, nil)
		if !fits {
			w.T.Fatalf("the terms of %s don't fit", h.ID)
		}
		w.updateStripeMetadata(h.ID, h.Account, pairs)
	}
	return out
}

// updateStripeMetadata writes an intent's metadata at Stripe.
func (w *testEnv) updateStripeMetadata(id, account string, pairs map[string]string) {
	w.T.Helper()
	form := url.Values{}
	for k, v := range pairs {
		form.Set("metadata["+k+"]", v)
	}
	req, err := http.NewRequestWithContext(w.Ctx, http.MethodPost,
		"http://stripe.test/v1/payment_intents/"+id, strings.NewReader(form.Encode()))
	if err != nil {
		w.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer sk_test_world")
	if account != "" {
		req.Header.Set("Stripe-Account", account)
	}
	res, err := w.Sim.Transport().RoundTrip(req)
	if err != nil {
		w.T.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		w.T.Fatalf("update: %s %s %v", res.Status, b, pairs)
	}
}

// checkSameHolds checks that the schedule is what it was: everything that
// terms, money and time are.
func (w *testEnv) checkSameHolds(r *replica, before map[string]hold.Hold) {
	w.T.Helper()
	mismatches := 0
	for id, previous := range before {
		current := w.mustGet(r, id)
		if diff := diffHolds(&previous, &current); diff != "" {
			if mismatches++; mismatches <= 5 {
				w.T.Errorf("%s: %s", id, diff)
			}
		}
	}
	if mismatches > 5 {
		w.T.Errorf("%d of %d holds differ", mismatches, len(before))
	}
}

func diffHolds(previous, current *hold.Hold) string {
	format := func(h *hold.Hold) string {
		return fmt.Sprint(h.ID, h.PaymentIntent, h.Account, h.Reference, h.Amount, h.Currency,
			h.CaptureAt.UnixMilli(), h.CancelAt.UnixMilli(), h.CaptureAmount, h.OnExpiry,
			h.State, h.NextOp, h.NextAt.UnixMilli(), h.Reason, h.Metadata, h.ExpiresAt.UnixMilli(),
			h.ExpiresSource, h.Verified, h.Revision)
	}
	if a, b := format(previous), format(current); a != b {
		return "was " + a + ", is " + b
	}
	return ""
}
