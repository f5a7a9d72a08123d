package store_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

// reservation is a number of requests that a budget reserved at one time.
type reservation struct {
	at time.Time
	n  int
}

// maxPerSecond returns the most requests in any window of a second.
func maxPerSecond(reserved []reservation) int {
	slices.SortFunc(reserved, func(a, b reservation) int { return a.at.Compare(b.at) })
	most, sum, first := 0, 0, 0
	for _, g := range reserved {
		sum += g.n
		for g.at.Sub(reserved[first].at) >= time.Second {
			sum -= reserved[first].n
			first++
		}
		most = max(most, sum)
	}
	return most
}

// tryReserve reserves up to n requests of one kind to send now. If it reserves
// none, wait is the time until the next try.
func tryReserve(
	ctx context.Context, s *store.Store, account string, op hold.Op, n int,
) (reserved int, wait time.Duration, err error) {
	r, err := s.ReserveRequests(ctx, hold.BudgetRequest{Account: account, Op: op, Requests: n,
		Priority: hold.PriorityDue})
	return r[0].Requests, r[0].Wait, err
}

// reserveFor reserves each kind of request from each store for d, and waits for
// the returned time after each try.
func reserveFor(t *testing.T, stores []*store.Store, ops []hold.Op, account string, n int,
	d time.Duration) (reserved []reservation, attempts int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i, s := range stores {
		for _, op := range ops {
			wg.Go(func() {
				for time.Now().Before(end) {
					got, wait, err := tryReserve(t.Context(), s, account, op, n)
					mu.Lock()
					attempts++
					reserved = append(reserved, reservation{time.Now(), got})
					tooMany := attempts > 50_000
					mu.Unlock()
					switch {
					case tooMany:
						t.Error("time doesn't go on: nothing is ever refused")
						return
					case err != nil, got < 0, got > n, got > 0 && wait != 0, got == 0 &&
						(wait <= 0 || wait > 2*time.Second):
						t.Errorf("reserved %d of %d, wait %s: %v", got, n, wait, err)
						return
					case got == 0:
						// The caller wakes up late.
						timer := time.NewTimer(wait + time.Duration(i)*700*time.Microsecond)
						<-timer.C
					}
				}
			})
		}
	}
	wg.Wait()
	return reserved, attempts
}

func countReserved(reserved []reservation) int {
	n := 0
	for _, g := range reserved {
		n += g.n
	}
	return n
}

// openThreeStores opens three stores on one Redis inside a bubble.
func openThreeStores(t *testing.T, b store.RateLimitOptions) []*store.Store {
	t.Helper()
	m := storetest.StartInProcess(t)
	var all []*store.Store
	for range 3 {
		all = append(all, mustOpen(t, store.Options{URL: m.URL(), Dialer: m.Dial, Rates: b,
			PoolSize: 256}))
	}
	return all
}

func TestReserve_UsesWholeRate(t *testing.T) {
	t.Parallel()
	const seconds = 5
	for _, c := range []struct {
		b     store.RateLimitOptions
		ops   []hold.Op
		n     int
		limit int // a second
		burst int
	}{
		{store.RateLimitOptions{Write: 25}, []hold.Op{hold.OpCapture}, 64, 25, 1},
		{store.RateLimitOptions{Write: 25}, []hold.Op{hold.OpCapture}, 1, 25, 1},
		{store.RateLimitOptions{Write: 25, Total: 25}, []hold.Op{hold.OpCapture, hold.OpCancel}, 64, 25,
			2},
		{store.RateLimitOptions{Write: 25, Read: 80, Total: 30}, []hold.Op{hold.OpCapture, hold.OpCancel,
			hold.OpRead}, 64, 30, 3},
		{store.RateLimitOptions{Write: 1}, []hold.Op{hold.OpCapture}, 64, 1, 1},
		{store.RateLimitOptions{Write: 7}, []hold.Op{hold.OpCancel}, 5, 7, 1},
		{store.RateLimitOptions{Write: 300}, []hold.Op{hold.OpCapture}, 64, 300, 3},
		{store.RateLimitOptions{Read: 10, Write: 1}, []hold.Op{hold.OpRead}, 64, 10, 1},
		{store.RateLimitOptions{Total: 40}, []hold.Op{hold.OpRead, hold.OpCapture}, 64, 40, 4},
	} {
		t.Run(fmt.Sprintf("%+v, %v, %d at once", c.b, c.ops, c.n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				reserved, asked := reserveFor(t, openThreeStores(t, c.b), c.ops, "acct_a",
					c.n, seconds*time.Second)
				if most := maxPerSecond(reserved); most > c.limit+c.burst {
					t.Errorf("%d in one second, allowed are %d and a burst of %d", most, c.limit,
						c.burst)
				}
				got := countReserved(reserved)
				if got > c.limit*seconds+c.burst || got < c.limit*seconds*95/100-1 {
					t.Errorf("%d in %d seconds at %d a second", got, seconds, c.limit)
				}
				// A caller that waits for the returned time rarely fails.
				if most := 12*got*len(c.ops) + 100; asked > most {
					t.Errorf("asked %d times for %d", asked, got)
				}
			})
		})
	}
}

func TestReserve_SeparatesAccountsAndKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openThreeStores(t, store.RateLimitOptions{Write: 10, Read: 20})
		take := func(account string, op hold.Op) int {
			t.Helper()
			n, _, err := tryReserve(t.Context(), s[0], account, op, 100)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for _, account := range []string{"", "acct_a", "acct_b"} {
			if c, x, r := take(account, hold.OpCapture), take(account, hold.OpCancel),
				take(account, hold.OpRead); c != 1 || x != 1 || r != 2 {
				t.Errorf("%q: %d captures, %d cancels, %d reads at first", account, c, x, r)
			}
			if c := take(account, hold.OpCapture); c != 0 {
				t.Errorf("%q: %d more", account, c)
			}
		}
		if n, wait, err := tryReserve(t.Context(), s[1], "", hold.OpCapture, 0); n != 0 ||
			err != nil {
			t.Errorf("of nothing: %d, %s, %v", n, wait, err)
		}
		for range 5 {
			if n, _, err := tryReserve(t.Context(), openThreeStores(t, store.RateLimitOptions{})[0], "",
				hold.OpCapture, 1000); n != 1000 || err != nil {
				t.Errorf("without a limit: %d, %v", n, err)
			}
		}
	})
}

// A bucket that was not used for a while allows its whole burst, at every rate.
func TestReserve_FullBucketAllowsBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := storetest.StartInProcess(t)
		for _, rate := range []int{1, 2, 3, 7, 10, 19, 20, 25, 33, 99, 100, 999, 1000, 12_345} {
			s := mustOpen(t, store.Options{URL: m.URL(), Dialer: m.Dial,
				Rates: store.RateLimitOptions{Write: rate, Total: rate}})
			for round := range 5 {
				time.Sleep(2*time.Second + 137*time.Microsecond) // in the bubble
				if n, wait, err := tryReserve(t.Context(), s, fmt.Sprint(rate), hold.OpCapture,
					1<<20); n != max(1, rate/100) || err != nil {
					t.Errorf("rate %d, round %d: %d, wait %s, %v", rate, round, n, wait, err)
				}
			}
		}
	})
}

func TestPauseAccount_StopsAllReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openThreeStores(t, store.RateLimitOptions{Write: 1000, Total: 2000})
		ctx := t.Context()
		if err := s[0].PauseOpOfAccount(ctx, "acct_a", hold.OpCapture, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		// A shorter pause by another replica does not end the first pause.
		for _, d := range []time.Duration{time.Second, 0, -time.Second, time.Nanosecond} {
			if err := s[1].PauseOpOfAccount(ctx, "acct_a", hold.OpCapture, d); err != nil {
				t.Fatal(err)
			}
		}
		for i := range s {
			if n, wait, err := tryReserve(ctx, s[i], "acct_a", hold.OpCapture, 3); n != 0 ||
				err != nil || wait <= 4*time.Second || wait > 5*time.Second {
				t.Errorf("replica %d: %d, wait %s, %v", i, n, wait, err)
			}
			if n, _, err := tryReserve(ctx, s[i], "acct_a", hold.OpCancel, 3); n != 3 ||
				err != nil {
				t.Errorf("another kind: %d, %v", n, err)
			}
			if n, _, err := tryReserve(ctx, s[i], "acct_b", hold.OpCapture, 3); n != 3 ||
				err != nil {
				t.Errorf("another account: %d, %v", n, err)
			}
		}
		if err := s[2].PauseOpOfAccount(ctx, "acct_a", hold.OpCapture, 7*time.Second); err != nil {
			t.Fatal(err)
		}
		_, wait, _ := tryReserve(ctx, s[0], "acct_a", hold.OpCapture, 3)
		if wait <= 6*time.Second {
			t.Errorf("a longer pause was asked for, it is %s", wait)
		}
		time.Sleep(wait + time.Millisecond) // in the bubble
		if n, _, err := tryReserve(ctx, s[0], "acct_a", hold.OpCapture, 3); n != 3 || err != nil {
			t.Errorf("after the pause: %d, %v", n, err)
		}
	})
}

// A caller that reserves ahead uses the whole rate although it wakes up late,
// and the requests that it reserves for later stay within the rate.
func TestReserve_AheadUsesWholeRate(t *testing.T) {
	t.Parallel()
	const seconds, ahead = 20, 200 * time.Millisecond
	for _, b := range []store.RateLimitOptions{{Write: 25}, {Write: 25, Total: 25}, {Write: 500,
		Total: 2000},
		{Write: 7}, {Write: 1}, {Write: 100, Total: 30}} {
		t.Run(fmt.Sprintf("%+v", b), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := b.Write
				if b.Total > 0 {
					limit = min(limit, b.Total)
				}
				var mu sync.Mutex
				var wg sync.WaitGroup
				var reserved []reservation
				inVain := 0
				end := time.Now().Add(seconds * time.Second)
				for i, s := range openThreeStores(t, b) {
					wg.Go(func() {
						for time.Now().Before(end) {
							got, err := s.ReserveRequests(t.Context(), hold.BudgetRequest{
								Account: "acct_a", Op: hold.OpCapture, Requests: 64, Ahead: ahead,
								Priority: hold.PriorityDue})
							r := got[0]
							if err != nil || r.Requests == 0 && r.Wait <= 0 || r.Requests > 0 &&
								(r.Wait != 0 || r.First < 0 || r.First > ahead) {
								t.Errorf("%+v: %v", r, err)
								return
							}
							mu.Lock()
							if r.Requests == 0 {
								inVain++
							}
							for n := range r.Requests {
								reserved = append(reserved,
									reservation{time.Now().Add(r.First + time.Duration(n)*r.Step),
										1})
							}
							mu.Unlock()
							// in the bubble: each replica is late by another
							// time
							time.Sleep(r.Wait + time.Duration(10+30*i)*time.Millisecond)
						}
					})
				}
				wg.Wait()
				if most := maxPerSecond(reserved); most > limit+max(1, limit/10) {
					t.Errorf("%d in one second, allowed are %d", most, limit)
				}
				if got := len(reserved); got < limit*seconds*98/100-1 || got > limit*(seconds+1)+2 {
					t.Errorf("%d in %d seconds at %d a second", got, seconds, limit)
				}
				if most := 3 * seconds * int(time.Second/(ahead/2)); inVain > most {
					t.Errorf("asked in vain %d times", inVain)
				}
			})
		})
	}
}

// slowConn delays each reply.
type slowConn struct {
	net.Conn
	delay *atomic.Int64 // nanoseconds
}

func (c slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	time.Sleep(time.Duration(c.delay.Load())) // in the bubble
	return n, err
}

// A reply that arrives late moves the time of a request by half of its delay.
func TestReserve_LateReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := storetest.StartInProcess(t)
		var delay atomic.Int64
		s := mustOpen(t, store.Options{URL: m.URL(), Rates: store.RateLimitOptions{Write: 25},
			Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := m.Dial(ctx, network, addr)
				return slowConn{conn, &delay}, err
			}})
		want := hold.BudgetRequest{Op: hold.OpCapture, Requests: 1, Ahead: 200 * time.Millisecond,
			Priority: hold.PriorityDue}
		if _, err := s.ReserveRequests(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		delay.Store(int64(10 * time.Millisecond))
		asked := time.Now()
		got, err := s.ReserveRequests(t.Context(), want)
		sendAt := time.Since(asked) + got[0].First
		if err != nil || sendAt < 44*time.Millisecond || sendAt > 46*time.Millisecond {
			t.Errorf("the second request is sent after %s: %+v, %v", sendAt, got, err)
		}
	})
}

// On a real Redis with a real clock, the budget never allows more than the rate
// and one burst.
func TestReserve_OnRedis(t *testing.T) {
	t.Parallel()
	r := storetest.StartUnix(t)
	const rate, goal = 4000, 2000
	var stores []*store.Store
	for range 3 {
		stores = append(stores,
			mustOpen(t, store.Options{URL: r.URL(), Rates: store.RateLimitOptions{Write: rate,
				Total: 2 * rate}}))
	}
	began := time.Now()
	var mu sync.Mutex
	got := 0
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for {
				n, _, err := tryReserve(t.Context(), s, "", hold.OpCapture, 64)
				mu.Lock()
				got += n
				done := got >= goal || err != nil
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if done {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if most := int(rate*took.Seconds()) + rate/10 + 1; got > most {
		t.Errorf("%d in %s, at most %d were allowed", got, took, most)
	}
	raw := r.Client()
	defer raw.Close()
	storetest.WaitUntil(t, 5*time.Second, "buckets that are full again are forgotten",
		func() bool { return len(raw.Keys(t.Context(), "*budget*").Val()) == 0 })
}

// While captures use the whole limit, a lower priority gets its guaranteed share
// and no more. Without them it gets the whole limit.
func TestReserve_HigherPriorityFirst(t *testing.T) {
	t.Parallel()
	const seconds = 60
	for _, tt := range []struct {
		name        string
		captures    bool
		least, most int
	}{
		{"beside captures", true, seconds / 5, seconds / 2}, // 1 % of 25 a second
		{"alone", false, 24 * seconds, 25*seconds + 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stores := openThreeStores(t, store.RateLimitOptions{Write: 25, Read: 25, Total: 25})
				end := time.Now().Add(seconds * time.Second)
				var running sync.WaitGroup
				var captures, reads int
				if tt.captures {
					running.Go(func() {
						captures = reserveUntil(t, stores[0], end, hold.BudgetRequest{
							Op: hold.OpCapture, Requests: 64, Ahead: 200 * time.Millisecond,
							Priority: hold.PriorityDue})
					})
				}
				running.Go(func() {
					reads = reserveUntil(t, stores[1], end, hold.BudgetRequest{
						Op: hold.OpRead, Requests: 64, Priority: hold.PriorityReconcile})
				})
				running.Wait()
				if tt.captures && captures < 24*seconds {
					t.Errorf("%d captures in %d s at 25 a second", captures, seconds)
				}
				if reads < tt.least || reads > tt.most {
					t.Errorf("%d reads, want %d to %d", reads, tt.least, tt.most)
				}
			})
		})
	}
}

// reserveUntil reserves what it can until end, and returns how many requests.
func reserveUntil(t *testing.T, s *store.Store, end time.Time, want hold.BudgetRequest) (n int) {
	for time.Now().Before(end) {
		got, err := s.ReserveRequests(t.Context(), want)
		if err != nil {
			t.Error(err)
			return n
		}
		n += got[0].Requests
		time.Sleep(max(got[0].Wait, got[0].Step)) // in the bubble
	}
	return n
}

// All guaranteed shares together stay within each rate, and leave the rest of a
// lowered one to what is due.
func TestReserve_SharesStayWithinTheRate(t *testing.T) {
	t.Parallel()
	const seconds = 120
	synctest.Test(t, func(t *testing.T) {
		rates := store.RateLimitOptions{Write: 25, Read: 2, Total: 100}
		stores := openThreeStores(t, rates)
		for range 6 { // to the least rate, 5 in all
			err := stores[0].LowerRate(t.Context(), "", hold.OpCapture, hold.LimitOfAccount, 0)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // in the bubble
		}
		end := time.Now().Add(seconds * time.Second)
		var running sync.WaitGroup
		var captures int
		var reads [hold.PriorityDue]int
		running.Go(func() {
			captures = reserveUntil(t, stores[0], end, hold.BudgetRequest{Op: hold.OpCapture,
				Requests: 64, Ahead: 200 * time.Millisecond, Priority: hold.PriorityDue})
		})
		for p := range reads {
			running.Go(func() {
				reads[p] = reserveUntil(t, stores[p%3], end, hold.BudgetRequest{Op: hold.OpRead,
					Requests: 64, Priority: hold.RateLimitPriority(p)})
			})
		}
		running.Wait()
		sum := 0
		for _, n := range reads {
			sum += n
		}
		if sum > rates.Read*seconds || captures < 3*seconds {
			t.Errorf("%d reads at %d a second, %d captures in %d s", sum, rates.Read, captures, seconds)
		}
	})
}

// A bucket or an episode in the future, after Redis' clock went back, stops
// nothing for long.
func TestReserve_ClockGoesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := storetest.StartInProcess(t)
		s := mustOpen(t, store.Options{URL: m.URL(), Dialer: m.Dial,
			Rates: store.RateLimitOptions{Write: 25, Total: 100}})
		rdb := redis.NewClient(&redis.Options{Addr: "in-process", Dialer: m.Dial})
		defer rdb.Close()
		future := time.Now().Add(time.Hour).UnixMicro()
		const key = "holdd:budget:{own}:"
		lowered := fmt.Sprintf("20.0 20.0 1.0 %d %d 0 0", future, future/1e6)
		for _, err := range []error{
			rdb.Set(t.Context(), key+"bucket:capture", fmt.Sprintf("%d 0 0 0", future), 0).Err(),
			rdb.HSet(t.Context(), key+"lowered", "capture", lowered).Err(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.ReserveRequests(t.Context(), hold.BudgetRequest{Op: hold.OpCapture, Requests: 1,
			Ahead: 200 * time.Millisecond, Priority: hold.PriorityDue})
		if err != nil || got[0].Wait > 5*time.Second {
			t.Errorf("%+v, %v", got, err)
		}
		if err := s.LowerRate(t.Context(), "", hold.OpCapture, hold.LimitOfEndpoint, 0); err != nil {
			t.Fatal(err)
		}
		rates, err := s.ListLoweredRates(t.Context())
		if err != nil || len(rates) != 1 || rates[0].PerSecond > 19.9 {
			t.Errorf("%+v, %v: a rejection lowered nothing", rates, err)
		}
	})
}
