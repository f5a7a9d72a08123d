package worker

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// dueSoon is how far ahead the dispatcher waits for a hold's exact time. A
	// hold that is due later waits for a later tick of the capture job.
	dueSoon = time.Second
	// wakeAhead is how far ahead a commit wakes the dispatcher for a hold. The
	// dispatcher notices holds that are due later by the counters of changes,
	// at a tick of cron, in time to wait for the exact time.
	wakeAhead = changes.LongestInterval + 2*dueSoon
	// leaseSlack shortens a lease, so that the poll that finds it expired runs
	// within the time promised for a takeover.
	leaseSlack = 2 * time.Second
	// reserveAhead is how far into the future requests are reserved. A shorter
	// time would waste budget between two polls. A longer one would delay a
	// nearer deadline that arrives meanwhile.
	reserveAhead = 200 * time.Millisecond
	// With many accounts, many reserved requests would wait for their time at
	// once and keep the goroutines of the executor busy. So the more budgets
	// there are beyond fullAheadBudgets, the shorter ahead each is reserved, but
	// not below minReserveAhead.
	fullAheadBudgets = 4
	minReserveAhead  = 20 * time.Millisecond
	// minBudgetWait is the shortest wait for budget, so that many accounts that
	// wait share a pass. It is well below minReserveAhead, so it wastes none.
	minBudgetWait = 5 * time.Millisecond
	// promoteLimit bounds how many holds one poll promotes in each partition.
	promoteLimit = 256
	// listedLanes bounds how many lanes one poll lists in each partition, about
	// as many as a few passes can claim from.
	listedLanes = 256
	// maxWaitingLanes bounds how many lanes without budget a replica remembers.
	maxWaitingLanes = 8192
	// maxClaimRounds bounds the claims of one pass. One is the rule. More keep
	// the order of deadlines between partitions while the budget is short.
	maxClaimRounds = 8
	// pollInterval is how long the dispatcher claims from the result of one
	// poll before it polls again.
	pollInterval = 100 * time.Millisecond
	// claimRetryInterval is how long the dispatcher waits when no more holds
	// may be claimed, unless the executor or the completer wakes it.
	claimRetryInterval = time.Second
)

// Queue promotes and claims holds, and reserves budget. store.Queue implements
// it with promote.lua and claim.lua of store/lua, and store.Budget with
// reserve.lua.
type Queue interface {
	// PromoteDue makes holds with expired leases and due holds ready, and lists
	// the lanes that have ready holds.
	PromoteDue(ctx context.Context, r hold.PromoteRequest) (hold.PromoteResult, error)
	// ReserveRequests reserves requests for every want, in one round trip.
	ReserveRequests(ctx context.Context, wants ...hold.BudgetRequest) ([]hold.BudgetReservation, error)
	// ClaimReadyHolds leases holds of many lanes, in one round trip. The result
	// has the claims of each share.
	ClaimReadyHolds(
		ctx context.Context, shares []hold.ClaimShare, lease time.Duration,
	) ([]hold.ClaimedShare, error)
}

// BreakerLimitReader limits the calls under way while Stripe is unavailable.
// gateway.Caller implements it.
type BreakerLimitReader interface {
	// MaxInFlightByBreaker returns 0 while Stripe is unavailable, 1 while the circuit
	// breaker tries one call, and -1 for no limit.
	MaxInFlightByBreaker() int
}

// DispatcherOptions configure a [Dispatcher].
type DispatcherOptions struct {
	Concurrency int           // calls to Stripe under way at once
	Lease       time.Duration // other replicas take over a crashed replica's holds within it
	Clock       *clock.RedisClock
	Health      *health.Reporter
	NextPoll    health.NextRunFunc // when the cron jobs may wake the dispatcher; nil: unknown
	Gate        *changes.PollGate  // closed while no hold is ready or falls due
}

// Dispatcher promotes due holds, reserves budget for them, claims them by
// nearest deadline, and sends the claims to the [Executor]. All accounts share
// its round trips.
//
// Cron fires once a second, which alone would make a capture up to a second
// late. The capture job therefore allows promotion until the next tick, and the
// dispatcher waits for each hold's exact time. A new request wakes it directly.
// The dispatcher does not run inside a cron job, so a long queue does not make
// cron skip ticks.
type Dispatcher struct {
	queue  Queue
	stripe BreakerLimitReader
	o      DispatcherOptions
	flight *claimsInFlight
	claims chan<- claimedHold // to Executor.Run

	promoteStage, claimStage *health.Stage

	waiting lanesWithoutBudget // only Run uses it

	wake chan struct{} // Wake sends, Run and waitForWake receive
	// Unix nanoseconds of this machine's clock:
	promoteUntil      atomic.Int64 // due holds are promoted until then
	waitedForBudgetAt atomic.Int64 // due holds last waited for the budget then
}

// claimedHold is a claim. [Executor.Run] receives it.
type claimedHold struct {
	claim    *hold.Claim
	reserved hold.Op   // one request of this kind is reserved
	leaseEnd time.Time // by this machine's clock, counted from before the claim was sent
	sendAt   time.Time // when the reserved request may be sent, by this machine's clock
}

func newDispatcher(
	q Queue, s BreakerLimitReader, f *claimsInFlight, claims chan<- claimedHold, o DispatcherOptions,
) *Dispatcher {
	return &Dispatcher{queue: q, stripe: s, o: o, flight: f, claims: claims,
		promoteStage: o.Health.AddStage("promote", o.NextPoll),
		claimStage:   o.Health.AddStage("claim", nil),
		wake:         make(chan struct{}, 1)}
}

// Wake makes [Dispatcher.Run] poll now.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // a wake-up is pending
	}
}

// AllowPromotionUntilNextTick is the capture job. It lets the dispatcher promote due
// holds until shortly after the next tick.
func (d *Dispatcher) AllowPromotionUntilNextTick(ctx context.Context) {
	now := time.Now()
	was := d.promoteUntil.Swap(now.Add(dueSoon + dueSoon/10).UnixNano())
	if was <= now.UnixNano() {
		d.Wake() // the last poll may not have promoted
		return
	}
	d.WakeIfGateOpen(ctx)
}

// WakeIfGateOpen wakes the dispatcher unless its last poll found that there is
// nothing to do yet.
func (d *Dispatcher) WakeIfGateOpen(ctx context.Context) {
	if d.o.Gate.IsOpen(ctx) {
		d.Wake()
	}
}

// HasWaitedForBudget reports whether due holds have waited for the budget
// within the given time.
func (d *Dispatcher) HasWaitedForBudget(within time.Duration) bool {
	return time.Since(time.Unix(0, d.waitedForBudgetAt.Load())) <= within
}

// Run claims holds whenever it is woken, until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
			d.claimUntilIdle(ctx)
		}
	}
}

// claimUntilIdle claims ready holds until none is ready and none falls due
// soon.
func (d *Dispatcher) claimUntilIdle(ctx context.Context) {
	var due hold.PromoteResult
	var polledAt time.Time
	var poll changes.Poll
	for ctx.Err() == nil {
		promote := due.More || time.Now().UnixNano() < d.promoteUntil.Load()
		due.Lanes = append(due.Lanes, d.waiting.removeEndedWaits(time.Now())...)
		if countReadyHolds(due.Lanes) == 0 || due.More || time.Since(polledAt) >= pollInterval {
			polledAt = time.Now()
			var ok bool
			if poll, ok = d.promoteDueAndListLanes(ctx, promote, &due); !ok {
				return
			}
		}
		pass := d.claimReadyHoldsWithinBudgets(ctx, &due)
		if pass.stale {
			polledAt = time.Time{}
		}
		if pass.claimed == 0 && pass.wait > 0 {
			d.waitedForBudgetAt.Store(time.Now().UnixNano())
		}
		if pass.claimed > 0 || pass.again || due.More {
			continue
		}
		wait := pass.wait
		if promote {
			wait = d.shortenWaitToNextDue(wait, due.NextDueAt)
		}
		if wait == 0 {
			d.pausePollingUntilNextDue(poll, &due, &pass, promote)
			return
		}
		if !d.waitForWake(ctx, wait) {
			return
		}
	}
}

// pausePollingUntilNextDue closes the gate until the next lease ends or the next hold
// falls due soon. It does not while holds are ready: they wait for Stripe, or
// other replicas claim them.
func (d *Dispatcher) pausePollingUntilNextDue(
	poll changes.Poll, due *hold.PromoteResult, pass *claimPassResult, promote bool,
) {
	if pass.stale || countReadyHolds(due.Lanes) > 0 || due.MoreLanes || d.waiting.lanes > 0 {
		return
	}
	next := due.NextLeaseEnd
	if promote && !due.NextDueAt.IsZero() {
		if soon := due.NextDueAt.Add(-dueSoon); next.IsZero() || soon.Before(next) {
			next = soon
		}
	}
	poll.CloseUntil(next, d.o.Clock.Now())
}

// shortenWaitToNextDue shortens wait to the time until the next hold is due, if
// that is at most dueSoon. A wait of 0 means that there was nothing to wait
// for.
func (d *Dispatcher) shortenWaitToNextDue(wait time.Duration, nextDueAt time.Time) time.Duration {
	next := nextDueAt.Sub(d.o.Clock.Now())
	if nextDueAt.IsZero() || next > dueSoon || wait != 0 && next >= wait {
		return wait
	}
	return max(next, time.Millisecond)
}

// promoteDueAndListLanes polls the store: it promotes holds and reads the
// lanes of ready holds into due. ok is false if Redis failed and returned no
// lanes. A poll that failed in part does not close the gate.
func (d *Dispatcher) promoteDueAndListLanes(
	ctx context.Context, promote bool, due *hold.PromoteResult,
) (poll changes.Poll, ok bool) {
	poll = d.o.Gate.BeginPoll()
	ctx, run := d.promoteStage.BeginRun(ctx)
	defer run.EndRun()
	var err error
	if *due, err = d.queue.PromoteDue(ctx, hold.PromoteRequest{
		Scheduled: promote, Holds: promoteLimit,
		Lanes: listedLanes, SkipLanes: d.waiting.listLanes(),
	}); err != nil {
		d.o.Health.ReportError(ctx, "poll the schedule", err)
		if len(due.Lanes) == 0 {
			return changes.Poll{}, false
		}
		poll = changes.Poll{}
	} else {
		d.o.Health.ReportSuccess()
	}
	d.o.Clock.AdjustTo(due.Now)
	due.Lanes = d.waiting.removeWaitingLanes(due.Lanes)
	return poll, true
}

// waitForWake waits for t or for a wake-up. It returns false if ctx ended.
func (d *Dispatcher) waitForWake(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-d.wake:
	case <-timer.C:
	}
	return true
}

// claimPassResult is the result of one pass of the dispatcher over the lanes.
type claimPassResult struct {
	claimed int
	wait    time.Duration // if none was claimed: when to try again; 0: not to
	stale   bool          // Redis failed: poll again before the next pass
	again   bool          // if none was claimed: other lanes may have budget
}

// claimReadyHoldsWithinBudgets claims holds from the lanes of due, as many as
// [claimsInFlight] and the budgets allow. All lanes share one round trip for
// the budgets and one for the claims. It updates the lanes, so that the next
// pass can use the same ones.
func (d *Dispatcher) claimReadyHoldsWithinBudgets(
	ctx context.Context, due *hold.PromoteResult,
) (r claimPassResult) {
	groups := groupLanesByBudget(due.Lanes)
	if len(groups) == 0 {
		d.claimStage.RecordSuccess() // another replica has claimed what this one could not
	} else {
		room, wait := d.allowedClaimsAndRetryDelay()
		if room <= 0 {
			return claimPassResult{wait: wait}
		}
		ahead := reservationHorizon(len(groups) + len(d.waiting.budgets))
		groups = divideClaimsAmongGroups(groups, room)
		ctx, run := d.claimStage.BeginRun(ctx)
		reserved := d.reserveBudget(ctx, groups, ahead)
		waiting := d.deferLanesWithoutBudget(groups)
		claimed := d.claimReservedHolds(ctx, groups)
		run.EndRun()
		r.claimed, r.stale = d.sendClaimsToExecutor(groups), !reserved || !claimed
		r.again = waiting && !r.stale && (countReadyHolds(due.Lanes) > 0 || due.MoreLanes)
	}
	if r.claimed == 0 && !r.stale {
		if r.wait = d.waiting.timeUntilNextWaitEnds(time.Now()); r.wait > 0 {
			r.wait = max(r.wait, minBudgetWait)
		}
	}
	return r
}

// allowedClaimsAndRetryDelay returns how many holds may be claimed now. If none
// may, wait is when to try again; 0 means not to.
func (d *Dispatcher) allowedClaimsAndRetryDelay() (room int, wait time.Duration) {
	room, limit := d.flight.allowedNewClaims(), d.stripe.MaxInFlightByBreaker()
	switch {
	case limit == 0:
		return 0, 0 // the next tick polls again; the verify job probes Stripe
	case limit > 0:
		room = min(room, limit)
	case room < d.o.Concurrency/2:
		// Few claims would cost a round trip each. The executor wakes the
		// dispatcher later.
		room = 0
	}
	return room, claimRetryInterval
}

// reserveBudget reserves the requests that the groups want. It returns false if
// Redis failed for some of them, which then have none.
func (d *Dispatcher) reserveBudget(
	ctx context.Context, groups []*budgetLaneGroup, ahead time.Duration,
) bool {
	wants := make([]hold.BudgetRequest, len(groups))
	for i, g := range groups {
		wants[i] = hold.BudgetRequest{
			Account: g.account, Op: g.op, Requests: g.want, Ahead: ahead,
			Priority: lanePriority(g.op),
		}
	}
	reserved, err := d.queue.ReserveRequests(ctx, wants...)
	now := time.Now()
	for i := range reserved {
		groups[i].recordReservation(reserved[i], now)
	}
	if err != nil {
		d.o.Health.ReportError(ctx, "reserve requests", err)
	}
	return err == nil
}

// deferLanesWithoutBudget makes the lanes without budget wait, and reports
// whether any do.
func (d *Dispatcher) deferLanesWithoutBudget(groups []*budgetLaneGroup) (deferred bool) {
	now := time.Now()
	for _, g := range groups {
		if g.reserved.Requests > 0 || g.reserved.Wait <= 0 {
			continue
		}
		wait := min(g.reserved.Wait, maxLaneWait)
		deferred = d.waiting.deferUntil(g, now.Add(wait)) || deferred
		for _, lane := range g.lanes {
			lane.Ready = 0
		}
	}
	return deferred
}

// claimReservedHolds claims as many holds as the groups have reserved requests.
// It returns false if Redis failed for some of them.
func (d *Dispatcher) claimReservedHolds(ctx context.Context, groups []*budgetLaneGroup) bool {
	ok := true
	for round := 1; round <= maxClaimRounds; round++ {
		var shares []laneClaimShare
		for _, g := range groups {
			shares = g.appendClaimShares(shares, round == maxClaimRounds)
		}
		if len(shares) == 0 {
			break
		}
		request := make([]hold.ClaimShare, len(shares))
		for i, s := range shares {
			request[i] = hold.ClaimShare{Lane: *s.lane, Holds: s.holds, Until: s.until}
		}
		lease := d.o.Lease - leaseSlack
		leaseEnd := time.Now().Add(lease)
		claims, err := d.queue.ClaimReadyHolds(ctx, request, lease)
		if err != nil {
			d.o.Health.ReportError(ctx, "claim holds", err)
		}
		for i := range claims {
			ok = shares[i].recordClaims(&claims[i], leaseEnd) && ok
		}
	}
	return ok
}

// sendClaimsToExecutor sends the claims to the executor, in the order of their
// times, and returns their number.
func (d *Dispatcher) sendClaimsToExecutor(groups []*budgetLaneGroup) int {
	var claims []claimedHold
	for _, g := range groups {
		claims = append(claims, g.assignReservedTimesToClaims()...)
	}
	slices.SortStableFunc(claims, func(a, b claimedHold) int { return a.sendAt.Compare(b.sendAt) })
	for _, c := range claims {
		d.flight.uncommitted.Add(1)
		d.flight.awaitingStripe.Add(1)
		d.claims <- c
	}
	return len(claims)
}
