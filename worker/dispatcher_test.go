package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// fakeQueue grants the configured budget and claims, and records both.
type fakeQueue struct {
	granted  map[string]int // by account; missing: everything
	wait     time.Duration  // with nothing granted
	left     int            // how many fewer holds a share gets than asked for
	err      error          // of a claim
	noAnswer bool           // Redis does not answer claims
	reserves []hold.BudgetRequest
	rounds   [][]hold.ClaimShare // of each claim
	claims   []string
}

func (q *fakeQueue) PromoteDue(
	context.Context, hold.PromoteRequest,
) (hold.PromoteResult, error) {
	return hold.PromoteResult{}, nil
}

func (q *fakeQueue) ReserveRequests(
	_ context.Context, wants ...hold.BudgetRequest,
) ([]hold.BudgetReservation, error) {
	q.reserves = append(q.reserves, wants...)
	reserved := make([]hold.BudgetReservation, len(wants))
	for i, w := range wants {
		n := w.Requests
		if granted, ok := q.granted[w.Account]; ok {
			n = min(n, granted)
		}
		reserved[i] = hold.BudgetReservation{
			Requests: n, First: 10 * time.Millisecond, Step: 40 * time.Millisecond,
		}
		if n == 0 {
			reserved[i] = hold.BudgetReservation{Wait: q.wait}
		}
	}
	return reserved, nil
}

func (q *fakeQueue) ClaimReadyHolds(
	_ context.Context, shares []hold.ClaimShare, lease time.Duration,
) ([]hold.ClaimedShare, error) {
	q.rounds = append(q.rounds, shares)
	claims := make([]hold.ClaimedShare, len(shares))
	for i, s := range shares {
		q.claims = append(q.claims, fmt.Sprintf("%s/%d: %d for %s, bounded %t", s.Lane.Account,
			s.Lane.Partition, s.Holds, lease, !s.Until.IsZero()))
		if q.noAnswer {
			continue
		}
		n := min(s.Lane.Ready, max(0, s.Holds-q.left))
		claims[i] = hold.ClaimedShare{Claims: make([]hold.Claim, n), LeasedAt: time.Now()}
		if n < s.Lane.Ready {
			claims[i].NearestDeadline = s.Lane.NearestDeadline.Add(time.Minute)
		}
	}
	return claims, q.err
}

// stripeLimit is how many calls make sense.
type stripeLimit int

func (l stripeLimit) MaxInFlightByBreaker() int { return int(l) }

func testDispatcher(q Queue, limit int, concurrency int) (*Dispatcher, chan claimedHold) {
	claims := make(chan claimedHold, 1000)
	return newDispatcher(q, stripeLimit(limit), &claimsInFlight{concurrency: concurrency},
		claims, DispatcherOptions{
			Concurrency: concurrency, Lease: 30 * time.Second, Clock: &clock.RedisClock{},
			Health: health.NewRedisHealthReporter(zap.NewNop()),
		}), claims
}

func testLane(account string, partition, ready int) hold.ReadyHoldLane {
	return hold.ReadyHoldLane{Account: account, Partition: partition, Op: hold.OpCapture,
		Ready: ready, NearestDeadline: time.Unix(1_800_000_000, 0)}
}

func TestDispatcher_ClaimsWithinRoomAndBudget(t *testing.T) {
	lane := testLane
	for _, tt := range []struct {
		name  string
		queue fakeQueue
		limit int
		busy  int // claims that await Stripe already
		lanes []hold.ReadyHoldLane
		more  bool // lanes beside the listed ones
		// what comes of it
		claims []string
		claimPassResult
	}{
		{name: "nothing is ready", limit: -1, lanes: []hold.ReadyHoldLane{lane("a", 0, 0)}},
		{name: "Stripe unavailable", limit: 0, lanes: []hold.ReadyHoldLane{lane("a", 0, 5)}},
		{name: "one call tries an unavailable Stripe", limit: 1,
			lanes:           []hold.ReadyHoldLane{lane("a", 0, 5), lane("b", 0, 5)},
			claims:          []string{"a/0: 1 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 1}},
		{name: "all lanes fit", limit: -1, lanes: []hold.ReadyHoldLane{lane("a", 0, 5), lane("b", 0, 3)},
			claims: []string{"a/0: 5 for 28s, bounded false",
				"b/0: 3 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 8}},
		{name: "accounts share the room", limit: -1,
			lanes: []hold.ReadyHoldLane{lane("a", 0, 100), lane("b", 0, 30), lane("c", 0, 2)},
			claims: []string{"a/0: 9 for 28s, bounded false", "b/0: 9 for 28s, bounded false",
				"c/0: 2 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 20}},
		{name: "partitions share an account's room", limit: -1,
			lanes: []hold.ReadyHoldLane{lane("a", 0, 15), lane("a", 1, 30)},
			claims: []string{"a/0: 10 for 28s, bounded false",
				"a/1: 10 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 20}},
		{name: "too little room for a round trip", limit: -1, busy: 16,
			lanes:           []hold.ReadyHoldLane{lane("a", 0, 15)},
			claimPassResult: claimPassResult{wait: claimRetryInterval}},
		{name: "no budget", limit: -1, queue: fakeQueue{granted: map[string]int{"a": 0},
			wait: 30 * time.Millisecond},
			lanes:           []hold.ReadyHoldLane{lane("a", 0, 5)},
			claimPassResult: claimPassResult{wait: 30 * time.Millisecond}},
		{name: "no budget, other lanes wait behind", limit: -1, more: true,
			queue:           fakeQueue{granted: map[string]int{"a": 0}, wait: time.Millisecond},
			lanes:           []hold.ReadyHoldLane{lane("a", 0, 5)},
			claimPassResult: claimPassResult{wait: minBudgetWait, again: true}},
		{name: "no budget for one account", limit: -1,
			queue:           fakeQueue{granted: map[string]int{"a": 0}, wait: time.Second},
			lanes:           []hold.ReadyHoldLane{lane("a", 0, 5), lane("b", 0, 3)},
			claims:          []string{"b/0: 3 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 3}},
		{name: "short budget stops at the next partition's deadline", limit: -1,
			queue: fakeQueue{granted: map[string]int{"a": 4}, left: 1},
			lanes: []hold.ReadyHoldLane{lane("a", 0, 5), lane("a", 1, 5)},
			claims: []string{"a/0: 4 for 28s, bounded true", "a/1: 1 for 28s, bounded true",
				"a/0: 1 for 28s, bounded true", "a/1: 1 for 28s, bounded true",
				"a/0: 1 for 28s, bounded true", "a/1: 1 for 28s, bounded true",
				"a/0: 1 for 28s, bounded true", "a/1: 1 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 3}},
		{name: "Redis fails", limit: -1,
			queue: fakeQueue{err: errors.New("refused"), noAnswer: true},
			lanes: []hold.ReadyHoldLane{lane("a", 0, 5), lane("b", 0, 3)},
			claims: []string{"a/0: 5 for 28s, bounded false",
				"b/0: 3 for 28s, bounded false"},
			claimPassResult: claimPassResult{stale: true}},
		{name: "unreadable records don't stop the others", limit: -1,
			queue: fakeQueue{err: hold.ErrUnreadableRecord},
			lanes: []hold.ReadyHoldLane{lane("a", 0, 5), lane("b", 0, 3)},
			claims: []string{"a/0: 5 for 28s, bounded false",
				"b/0: 3 for 28s, bounded false"},
			claimPassResult: claimPassResult{claimed: 8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, out := testDispatcher(&tt.queue, tt.limit, 10)
				d.flight.awaitingStripe.Add(int64(tt.busy))
				got := d.claimReadyHoldsWithinBudgets(t.Context(),
					&hold.PromoteResult{Lanes: tt.lanes, MoreLanes: tt.more})
				if got != tt.claimPassResult || !slices.Equal(tt.queue.claims, tt.claims) {
					t.Errorf("%+v, claims %q", got, tt.queue.claims)
				}
				if len(out) != tt.claimed || int(d.flight.uncommitted.Load()) != tt.claimed ||
					int(d.flight.awaitingStripe.Load()) != tt.busy+tt.claimed {
					t.Errorf("%d handed over, %+v counted", len(out), d.flight)
				}
			})
		})
	}
}

// However many accounts have ready holds, a pass asks for all budgets at once
// and claims at once, and reserves no request that it does not use.
func TestDispatcher_OneRoundTripForAllAccounts(t *testing.T) {
	for _, accounts := range []int{1, 10, 256} {
		q := &fakeQueue{}
		d, out := testDispatcher(q, -1, 64)
		lanes := make([]hold.ReadyHoldLane, accounts)
		for i := range lanes {
			lanes[i] = testLane(fmt.Sprintf("acct_%d", i), 0, 1000)
		}
		r := d.claimReadyHoldsWithinBudgets(t.Context(), &hold.PromoteResult{Lanes: lanes})
		asked := 0
		for _, w := range q.reserves {
			asked += w.Requests
		}
		if r.claimed != 128 || len(q.rounds) != 1 || asked != len(out) ||
			len(q.reserves) != min(accounts, 128) {
			t.Errorf("%d accounts: claimed %d of %d reserved requests in %d claims",
				accounts, r.claimed, asked, len(q.rounds))
		}
	}
}

// A lane without budget waits, and returns when its wait has ended. It does not
// hide other lanes meanwhile.
func TestDispatcher_LaneWithoutBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{granted: map[string]int{"a": 0}, wait: 80 * time.Millisecond}
		d, _ := testDispatcher(q, -1, 10)
		due := hold.PromoteResult{Lanes: []hold.ReadyHoldLane{testLane("a", 0, 7), testLane("b", 0, 1)}}
		d.claimReadyHoldsWithinBudgets(t.Context(), &due)
		if got := d.waiting.listLanes(); len(got) != 1 || got[0] != testLane("a", 0, 7) {
			t.Errorf("waiting: %+v", got)
		}
		// The next poll finds a lane of the same account in another partition.
		listed := []hold.ReadyHoldLane{testLane("a", 1, 2), testLane("c", 1, 2)}
		if got := d.waiting.removeWaitingLanes(listed); len(got) != 1 || got[0].Account != "c" {
			t.Errorf("not absorbed: %+v", got)
		}
		if got := d.waiting.removeEndedWaits(time.Now()); len(got) != 0 {
			t.Errorf("ended too early: %+v", got)
		}
		time.Sleep(80 * time.Millisecond)
		got := d.waiting.removeEndedWaits(time.Now())
		if len(got) != 2 || got[0].Ready != 7 || got[1].Ready != 2 ||
			len(d.waiting.listLanes()) != 0 || d.waiting.lanes != 0 {
			t.Errorf("ended: %+v", got)
		}
	})
}

// The memory of lanes without budget is bounded. A lane that does not fit is
// not asked for again at once.
func TestDispatcher_BoundsWaitingLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{granted: map[string]int{"a": 0}, wait: time.Second}
		d, _ := testDispatcher(q, -1, 10)
		for i := range maxWaitingLanes + 10 {
			lane := testLane(fmt.Sprintf("acct_%d", i), 0, 1)
			d.waiting.deferUntil(groupLanesByBudget([]hold.ReadyHoldLane{lane})[0],
				time.Now().Add(time.Second))
		}
		r := d.claimReadyHoldsWithinBudgets(t.Context(), &hold.PromoteResult{
			Lanes: []hold.ReadyHoldLane{testLane("a", 0, 1)}, MoreLanes: true,
		})
		if n := len(d.waiting.listLanes()); n != maxWaitingLanes || r.again ||
			r.wait != time.Second {
			t.Errorf("%d lanes wait, want %d; %+v", n, maxWaitingLanes, r)
		}
	})
}

func TestDivideEvenly(t *testing.T) {
	for _, tt := range []struct {
		n      int
		wanted []int
		parts  []int
	}{
		{0, []int{5}, []int{0}}, {3, nil, []int{}}, {3, []int{5}, []int{3}}, {9, []int{5}, []int{5}},
		{10, []int{100, 2, 100}, []int{4, 2, 4}}, {11, []int{100, 2, 100}, []int{5, 2, 4}},
		{2, []int{9, 9, 9}, []int{1, 1, 0}}, {5, []int{0, 9, 0}, []int{0, 5, 0}},
		{100, []int{1, 2, 3}, []int{1, 2, 3}},
	} {
		if got := divideEvenlyUpToWanted(tt.n, tt.wanted); !slices.Equal(got, tt.parts) {
			t.Errorf("%d among %v: %v, want %v", tt.n, tt.wanted, got, tt.parts)
		}
	}
}

// Each reserved request has a moment of its own, and the lease counts from
// before the claim.
func TestDispatcher_SpacesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, out := testDispatcher(&fakeQueue{}, -1, 10)
		d.claimReadyHoldsWithinBudgets(t.Context(),
			&hold.PromoteResult{Lanes: []hold.ReadyHoldLane{{Op: hold.OpCancel, Ready: 3}}})
		for _, want := range []time.Duration{10, 50, 90} {
			c := <-out
			if got := time.Until(c.sendAt); got != want*time.Millisecond ||
				time.Until(c.leaseEnd) != 28*time.Second ||
				c.reserved != hold.OpCancel {
				t.Errorf("sent in %s, want %d ms: %+v", got, want, c)
			}
		}
	})
}
