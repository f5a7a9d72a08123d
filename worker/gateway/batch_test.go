package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// readsOf returns n reads of one account, with numbered PaymentIntents.
func readsOf(account string, n int) (calls []hold.Call) {
	for i := range n {
		id := fmt.Sprint(account, i)
		calls = append(calls, hold.Call{Op: hold.OpRead, Account: account, PaymentIntent: id})
	}
	return calls
}

// collector collects the positions of answered calls.
type collector struct {
	mu        sync.Mutex
	positions []int
}

func (c *collector) done(i int, _ hold.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.positions = append(c.positions, i)
}

func (c *collector) sorted() []int { return slices.Sorted(slices.Values(c.positions)) }

// tokens is a budget with a number of requests per account and interval.
type tokens struct {
	perRefill map[string]int
	interval  time.Duration
	start     time.Time
	used      map[string]int
}

func (b *tokens) reserve(account string, _ hold.Op, n int) (hold.BudgetReservation, error) {
	elapsed := time.Since(b.start)
	refills := int(elapsed/b.interval) + 1
	granted := min(n, refills*b.perRefill[account]-b.used[account])
	b.used[account] += granted
	if granted == 0 {
		return hold.BudgetReservation{Wait: b.interval - elapsed%b.interval}, nil
	}
	return hold.BudgetReservation{Requests: granted}, nil
}

func TestDoEach_SendsReservedCalls(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		b := &tokens{map[string]int{"a": 3, "b": 1}, time.Second, e.start, map[string]int{}}
		e.reserve = b.reserve
		calls := slices.Concat(readsOf("a", 5), readsOf("b", 2), readsOf("c", 1))
		var got collector
		unsent := e.DoEach(t.Context(), calls, execute.CallBatchOptions{Concurrency: 8}, got.done)
		if !slices.Equal(unsent, []int{3, 4, 6, 7}) || !slices.Equal(got.sorted(), []int{0, 1, 2, 5}) {
			t.Errorf("unsent %v, answered %v", unsent, got.sorted())
		}
		if len(e.reserved) != 3 || time.Since(e.start) != 0 {
			t.Errorf("%d reservations, %s", len(e.reserved), time.Since(e.start))
		}
		if r := e.reserved[0]; r != (reserveCall{"a", hold.OpRead, 5, 0}) {
			t.Errorf("%+v", r)
		}
	})
}

// TestDoEach_OneBudgetUsedUp checks that DoEach still sends the calls of
// another budget, and that the calls of each account start in their order.
func TestDoEach_OneBudgetUsedUp(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		b := &tokens{map[string]int{"slow": 1, "fast": 4}, time.Second, e.start, map[string]int{}}
		e.reserve = b.reserve
		calls := slices.Concat(readsOf("slow", 3), readsOf("fast", 8))
		var got collector
		batch := execute.CallBatchOptions{Concurrency: 1, MaxWait: 5 * time.Second}
		unsent := e.DoEach(t.Context(), calls, batch, got.done)
		if len(unsent) != 0 || len(got.positions) != len(calls) {
			t.Errorf("unsent %v, answered %v", unsent, got.positions)
		}
		next := map[string]int{}
		for i, c := range e.sent {
			if want := fmt.Sprint(c.Account, next[c.Account]); c.PaymentIntent != want {
				t.Errorf("%s sent before %s", c.PaymentIntent, want)
			}
			perSecond := map[string]int{"slow": 1, "fast": 4}[c.Account]
			if want := time.Duration(next[c.Account]/perSecond) * time.Second; e.sentAt[i] != want {
				t.Errorf("%s sent after %s, want %s", c.PaymentIntent, e.sentAt[i], want)
			}
			next[c.Account]++
		}
	})
}

func TestDoEach_SeparatesKindsOfRequest(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		calls := []hold.Call{{Op: hold.OpRead}, {Op: hold.OpUpdate}, {Op: hold.OpList}}
		var got collector
		e.DoEach(t.Context(), calls, execute.CallBatchOptions{Concurrency: 8}, got.done)
		want := []reserveCall{{"", hold.OpRead, 2, 0}, {"", hold.OpUpdate, 1, 0}}
		if !slices.Equal(e.reserved, want) || len(got.positions) != 3 {
			t.Errorf("reserved %+v, answered %v", e.reserved, got.positions)
		}
	})
}

func TestDoEach_StopsWaiting(t *testing.T) {
	for name, tt := range map[string]struct {
		maxWait  time.Duration
		canceled time.Duration // when the caller cancels; 0: never
		want     time.Duration
		sent     int
	}{
		"after MaxWait": {3500 * time.Millisecond, 0, 3 * time.Second, 4},
		"when the caller cancels": {
			time.Minute, 1500 * time.Millisecond, 1500 * time.Millisecond, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			runWithCaller(t, func(t *testing.T, e *callerEnv) {
				e.reserve = (&tokens{map[string]int{"a": 1}, time.Second, e.start,
					map[string]int{}}).reserve
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.canceled > 0 {
					time.AfterFunc(tt.canceled, cancel)
				}
				var got collector
				batch := execute.CallBatchOptions{Concurrency: 8, MaxWait: tt.maxWait}
				unsent := e.DoEach(ctx, readsOf("a", 10), batch, got.done)
				if len(got.positions) != tt.sent || len(unsent) != 10-tt.sent ||
					time.Since(e.start) != tt.want {
					t.Errorf("answered %v, unsent %v, after %s", got.positions,
						unsent, time.Since(e.start))
				}
			})
		})
	}
}

func TestDoEach_StoreDown(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.reserve = func(account string, _ hold.Op, n int) (hold.BudgetReservation, error) {
			if account == "a" {
				return hold.BudgetReservation{}, errStoreDown
			}
			return hold.BudgetReservation{Requests: n}, nil
		}
		var got collector
		calls := slices.Concat(readsOf("a", 2), readsOf("b", 2))
		batch := execute.CallBatchOptions{Concurrency: 8, MaxWait: time.Second}
		unsent := e.DoEach(t.Context(), calls, batch, got.done)
		if !slices.Equal(unsent, []int{0, 1}) || !slices.Equal(got.sorted(), []int{2, 3}) ||
			len(e.reported) != 1 {
			t.Errorf("unsent %v, answered %v, reported %q", unsent, got.sorted(), e.reported)
		}
	})
}

// TestDoEach_BreakerOpens checks that DoEach returns the calls that the breaker
// rejects.
func TestDoEach_BreakerOpens(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		e.answerAlways(hold.AnswerUnknown)
		var got collector
		unsent := e.DoEach(
			t.Context(),
			readsOf("a", 12),
			execute.CallBatchOptions{Concurrency: 1},
			got.done,
		)
		if !slices.Equal(got.sorted(), []int{0, 1, 2, 3, 4}) ||
			!slices.Equal(unsent, []int{5, 6, 7, 8, 9, 10, 11}) {
			t.Errorf("answered %v, unsent %v", got.sorted(), unsent)
		}
	})
}

func TestDoEach_BoundsConcurrencyAndTime(t *testing.T) {
	runWithCaller(t, func(t *testing.T, e *callerEnv) {
		var inFlight, highest atomic.Int32
		e.answer = func(ctx context.Context, _ hold.Call) hold.Answer {
			highest.Store(max(highest.Load(), inFlight.Add(1)))
			defer inFlight.Add(-1)
			<-ctx.Done()
			return hold.Answer{Kind: hold.AnswerDeclined}
		}
		var got collector
		batch := execute.CallBatchOptions{Concurrency: 3, Timeout: 2 * time.Second}
		unsent := e.DoEach(t.Context(), readsOf("a", 6), batch, got.done)
		if len(unsent) != 0 || highest.Load() != 3 || time.Since(e.start) != 4*time.Second {
			t.Errorf("unsent %v, %d at once, %s", unsent, highest.Load(), time.Since(e.start))
		}
	})
}
