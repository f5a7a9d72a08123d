package query_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// world is the queries of one replica on a real store, in virtual time.
type world struct {
	t         *testing.T
	ctx       context.Context
	redis     *storetest.MemoryRedis
	store     *store.Store
	committer *commit.Committer
	reader    *query.HoldReader
	planner   *query.Planner
	start     time.Time
}

var rules = hold.DecisionRules{ExpiryMargin: time.Hour}

// quietLogger drops what go-redis logs about errors that the tests cause.
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
		w := &world{t: t, ctx: t.Context(), redis: storetest.StartInProcess(t), start: time.Now()}
		var err error
		w.store, _, err = store.Open(w.ctx, store.Options{
			URL: w.redis.URL(), Dialer: w.redis.Dial,
			Rates: store.RateLimitOptions{Write: 25, Read: 25, Total: 100},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			w.store.Close()
			w.redis.Close()
			time.Sleep(5 * time.Second) // goroutines of go-redis end within seconds of their pool
		}()
		redisClock, redisHealth := &clock.RedisClock{}, health.NewRedisHealthReporter(zap.NewNop())
		w.committer = commit.New(w.store, commit.Options{Rules: rules, WakeAhead: time.Second,
			Now: redisClock.Now, Wake: func() {}, Logger: zap.NewNop()})
		w.reader = query.NewHoldReader(w.store, redisClock, redisHealth)
		w.planner = query.NewPlanner(w.store, rules, redisHealth)
		f(w)
	})
}

// request completes a request that needs no read at Stripe: 100.00 EUR with a
// deadline in six days.
func (w *world) request(req hold.ScheduleRequest) hold.ScheduleRequest {
	if req.Amount == 0 {
		req.Amount, req.Currency = 10_000, "eur"
	}
	if req.ExpiresAt == "" {
		req.ExpiresAt = w.in(6 * 24 * time.Hour)
	}
	return req
}

// schedule commits a new hold for each request.
func (w *world) schedule(reqs ...hold.ScheduleRequest) {
	w.t.Helper()
	now := time.Now()
	for batch := range slices.Chunk(reqs, 200) {
		changes := make([]commit.Change, 0, len(batch))
		for _, req := range batch {
			req = w.request(req)
			valid, err := req.Validate(now)
			if err != nil {
				w.t.Fatal(err)
			}
			d, err := hold.DecideNewHold(valid, nil, "test", now)
			if err != nil {
				w.t.Fatal(err)
			}
			changes = append(changes, commit.Change{Before: &hold.Hold{}, Decision: d, At: now})
		}
		w.commit(changes)
	}
}

// change commits a decision about a stored hold.
func (w *world) change(id string, decide func(h hold.Hold, now time.Time) hold.Decision) {
	w.t.Helper()
	h, now, err := w.reader.Get(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit([]commit.Change{{Before: &h, Decision: decide(h, now), At: now}})
}

func (w *world) commit(changes []commit.Change) {
	w.t.Helper()
	written, err := w.committer.Commit(w.ctx, changes)
	if err != nil || slices.Contains(written, false) {
		w.t.Fatalf("written %v, %v", written, err)
	}
}

func pause(h hold.Hold, now time.Time) hold.Decision {
	d, err := h.Pause(0, "test", now)
	if err != nil {
		panic(err)
	}
	return d
}

// cancelElsewhere settles a hold as if it had been canceled in the Dashboard.
func cancelElsewhere(h hold.Hold, now time.Time) hold.Decision {
	return h.ApplyPaymentIntent(&hold.PaymentIntent{ID: h.ID, Status: hold.StatusCanceled,
		Currency: h.Currency}, now)
}

// in returns a time after the start of the test, as requests write it.
func (w *world) in(d time.Duration) string {
	return w.start.Add(d).UTC().Format(time.RFC3339Nano)
}

// id returns the n-th id of a test.
func id(n int) string { return fmt.Sprintf("pi_query%04d", n) }

func ids(holds []hold.Hold) []string {
	out := make([]string, 0, len(holds))
	for i := range holds {
		out = append(out, holds[i].ID)
	}
	return out
}
