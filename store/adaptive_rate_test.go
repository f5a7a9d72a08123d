package store_test

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

// limiter is a model of how Stripe may limit a rate. It is not safe for
// concurrent use.
type limiter interface {
	// accept reports whether a request is accepted at a time.
	accept(now time.Time) bool
}

// tokenBucket accepts a burst beyond the rate.
type tokenBucket struct {
	rate, burst, tokens float64
	at                  time.Time
}

func (b *tokenBucket) accept(now time.Time) bool {
	if !b.at.IsZero() {
		b.tokens = min(b.burst+1, b.tokens+b.rate*now.Sub(b.at).Seconds())
	} else {
		b.tokens = b.burst + 1
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// fixedWindow accepts a number of requests in each second of the clock.
type fixedWindow struct {
	rate, used int
	second     int64
}

func (w *fixedWindow) accept(now time.Time) bool {
	if s := now.Unix(); s != w.second {
		w.second, w.used = s, 0
	}
	if w.used == w.rate {
		return false
	}
	w.used++
	return true
}

// slidingWindow accepts a number of requests in any second.
type slidingWindow struct {
	rate     int
	accepted []time.Time
}

func (w *slidingWindow) accept(now time.Time) bool {
	for len(w.accepted) > 0 && now.Sub(w.accepted[0]) >= time.Second {
		w.accepted = w.accepted[1:]
	}
	if len(w.accepted) >= w.rate {
		return false
	}
	w.accepted = append(w.accepted, now)
	return true
}

// halving is a token bucket whose rate is half for a minute.
type halving struct {
	tokenBucket
	from time.Time
}

func (h *halving) accept(now time.Time) bool {
	h.rate = 25
	if d := now.Sub(h.from); d >= 0 && d < time.Minute {
		h.rate = 12.5
	}
	return h.tokenBucket.accept(now)
}

// limitedRun is replicas that capture under a limiter, in virtual time.
type limitedRun struct {
	mu                 sync.Mutex
	limiter            limiter
	accepted, rejected []time.Time
	rand               *rand.Rand
	latest             time.Duration
}

func (r *limitedRun) send(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limiter.accept(now) {
		r.accepted = append(r.accepted, now)
		return true
	}
	r.rejected = append(r.rejected, now)
	return false
}

// late returns how much later than planned a request leaves.
func (r *limitedRun) late() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.rand.IntN(int(r.latest)))
}

// sendOtherClient sends n requests a second of another system until end.
func (r *limitedRun) sendOtherClient(n float64, end time.Time) {
	for time.Now().Before(end) {
		time.Sleep(time.Duration(float64(time.Second) / n)) // in the bubble
		r.mu.Lock()
		r.limiter.accept(time.Now())
		r.mu.Unlock()
	}
}

// captureUntil captures with one replica until end.
func (r *limitedRun) captureUntil(t *testing.T, s *store.Store, end time.Time) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for time.Now().Before(end) {
		got, err := s.ReserveRequests(t.Context(), hold.BudgetRequest{Op: hold.OpCapture, Requests: 64,
			Ahead: 200 * time.Millisecond, Priority: hold.PriorityDue})
		if err != nil {
			t.Error(err)
			return
		}
		now := time.Now()
		for n := range got[0].Requests {
			calls.Go(func() {
				at := now.Add(got[0].First + time.Duration(n)*got[0].Step)
				time.Sleep(time.Until(at) + r.late()) // in the bubble
				if sent := time.Now(); !r.send(sent) {
					time.Sleep(50 * time.Millisecond) // until the answer arrives
					if err := s.LowerRate(t.Context(), "", hold.OpCapture, hold.LimitOfEndpoint,
						time.Since(sent)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		time.Sleep(got[0].Wait + r.late()) // in the bubble
	}
}

// countWithin counts the times within a span.
func countWithin(times []time.Time, from, until time.Time) (n int) {
	for _, at := range times {
		if !at.Before(from) && at.Before(until) {
			n++
		}
	}
	return n
}

// concurrencyLimit accepts a request while fewer than 10 are under way, each for
// half a second.
type concurrencyLimit struct{ ends []time.Time }

func (c *concurrencyLimit) accept(now time.Time) bool {
	c.ends = slices.DeleteFunc(c.ends, func(end time.Time) bool { return !end.After(now) })
	if len(c.ends) >= 10 {
		return false
	}
	c.ends = append(c.ends, now.Add(500*time.Millisecond))
	return true
}

// limiterCase is a limiter, and what the replicas must reach under it.
type limiterCase struct {
	name     string
	limiter  limiter
	late     time.Duration // at most, between the planned time and the request; 0: 30 ms
	other    float64       // requests a second of another client
	learning time.Duration // before the measurement
	capacity float64       // requests a second that are left; 0: 25
	least    float64       // part of the capacity; 0: 0.95
	deep     bool          // only with -limiters
}

// Three minutes under one limiter take five seconds of CPU time, and several
// times that with the race detector.
var allLimiters = flag.Bool("limiters", false,
	"TestLowerRate_FollowsTheLimiter runs under all limiters, as in make prove")

// Whatever the limiter, the replicas use nearly all of it after at most a minute
// of learning, and less than 2 % of their requests are rejected.
func TestLowerRate_FollowsTheLimiter(t *testing.T) {
	t.Parallel()
	for _, tt := range []limiterCase{
		// A bucket of one token rejects each request that comes a moment too early.
		{name: "one token", limiter: &tokenBucket{rate: 25}, late: 2 * time.Millisecond, least: 0.93},
		{name: "burst 25", limiter: &tokenBucket{rate: 25, burst: 25}, deep: true},
		{name: "fixed window", limiter: &fixedWindow{rate: 25}, deep: true},
		{name: "sliding window", limiter: &slidingWindow{rate: 25}},
		// Requests that are up to 30 ms late overlap more often than their mean says.
		{name: "ten at once", limiter: &concurrencyLimit{}, learning: time.Minute, capacity: 20,
			least: 0.93, deep: true},
		{name: "half used by another client", limiter: &tokenBucket{rate: 25, burst: 25},
			other: 12.5, learning: time.Minute, capacity: 12.5},
		// In a second of 25 requests, one more or less of the other client's is 8 %.
		{name: "half used by another client, sliding window", limiter: &slidingWindow{rate: 25},
			other: 12.5, learning: time.Minute, capacity: 12.5, least: 0.9, deep: true},
		{name: "halves for a minute", limiter: &halving{tokenBucket: tokenBucket{burst: 5}},
			capacity: 25 - 12.5/3, deep: true},
	} {
		if tt.deep && !*allLimiters {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
}

// run captures for three minutes with three replicas.
func (c *limiterCase) run(t *testing.T) {
	start := time.Now()
	end := start.Add(3 * time.Minute)
	if h, ok := c.limiter.(*halving); ok {
		h.from = start.Add(30 * time.Second)
	}
	r := &limitedRun{limiter: c.limiter, rand: rand.New(rand.NewPCG(1, 1)),
		latest: cmp.Or(c.late, 30*time.Millisecond)}
	var running sync.WaitGroup
	for _, s := range openThreeStores(t, store.RateLimitOptions{Write: 25, Total: 100}) {
		running.Go(func() { r.captureUntil(t, s, end) })
	}
	if c.other > 0 {
		running.Go(func() { r.sendOtherClient(c.other, end) })
	}
	running.Wait()
	ideal := cmp.Or(c.capacity, 25) * (end.Sub(start) - c.learning).Seconds()
	r.check(t, start.Add(c.learning), end, ideal*cmp.Or(c.least, 0.95))
}

// check fails the test if fewer requests than least are accepted from a time on,
// or 2 % are rejected.
func (r *limitedRun) check(t *testing.T, from, until time.Time, least float64) {
	t.Helper()
	accepted, rejected := countWithin(r.accepted, from, until), countWithin(r.rejected, from, until)
	if float64(accepted) < least || 100*rejected >= 2*(accepted+rejected) {
		t.Errorf("%d accepted, want %.0f; %d rejected", accepted, least, rejected)
	}
}

// After a quiet hour, the replicas start with the rate that Stripe accepted.
func TestLowerRate_OutlastsAQuietHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &limitedRun{limiter: &tokenBucket{rate: 10, burst: 2}, rand: rand.New(rand.NewPCG(1, 1)),
			latest: time.Millisecond}
		s := openThreeStores(t, store.RateLimitOptions{Write: 25, Total: 100})[0]
		r.captureUntil(t, s, time.Now().Add(time.Minute))
		time.Sleep(time.Hour) // in the bubble
		from, until := time.Now(), time.Now().Add(30*time.Second)
		r.captureUntil(t, s, until)
		r.check(t, from, until, 270)
	})
}

// A 429 for the limit on all requests lowers that of all kinds; the rates are
// listed by account.
func TestLoweredRates_ListsAccountsAndKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openThreeStores(t, store.RateLimitOptions{Write: 25, Total: 100})[0]
		for _, l := range []struct {
			account string
			op      hold.Op
			scope   hold.ExceededRateLimit
		}{
			{"", hold.OpCapture, hold.LimitOfEndpoint},
			{"acct_1", hold.OpCancel, hold.LimitOfAccount},
			{"acct_1", hold.OpCancel, hold.LimitOfEndpoint},
		} {
			if err := s.LowerRate(t.Context(), l.account, l.op, l.scope, 0); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.ListLoweredRates(t.Context())
		for i := range got {
			got[i].PerSecond = 0
		}
		want := []hold.LoweredRate{{Kind: "capture"}, {Account: "acct_1", Kind: "all"},
			{Account: "acct_1", Kind: "cancel"}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	})
}
