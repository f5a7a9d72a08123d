package worker

import (
	"context"
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
// it in store/queue.go and store/claim.go, and store.Budget in store/budget.go.
type Queue interface {
	// PromoteDue makes holds with expired leases and due holds ready, and lists
	// the lanes that have ready holds.
	PromoteDue(ctx context.Context, r hold.PromoteRequest) (hold.PromoteResult, error)
	// ReserveRequests reserves requests for every want, in one round trip.
	ReserveRequests(ctx context.Context, wants ...hold.BudgetRequest) ([]hold.BudgetReservation, error)
	// Claim leases holds of many lanes, in one round trip. The result has the
	// claims of each share.
	Claim(
		ctx context.Context, shares []hold.ClaimShare, lease time.Duration,
	) ([]hold.ClaimedShare, error)
}

// CallLimiter limits the calls under way while Stripe is unavailable.
// gateway.Caller implements it.
type CallLimiter interface {
	// MaxInFlight returns 0 while Stripe is unavailable, 1 while the circuit
	// breaker tries one call, and -1 for no limit.
	MaxInFlight() int
}

// DispatcherOptions configure a [Dispatcher].
type DispatcherOptions struct {
	Concurrency int           // calls to Stripe under way at once
	Lease       time.Duration // other replicas take over a crashed replica's holds within it
	Clock       *clock.RedisClock
	Health      *health.RedisHealthReporter
	NextPoll    health.Schedule   // when the cron jobs may wake the dispatcher; nil: unknown
	Gate        *changes.PollGate // closed while no hold is ready or falls due
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
	stripe CallLimiter
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
	claim    hold.Claim
	reserved hold.Op   // one request of this kind is reserved
	leaseEnd time.Time // by this machine's clock, counted from before the claim was sent
	sendAt   time.Time // when the reserved request may be sent, by this machine's clock
}

func newDispatcher(
	q Queue, s CallLimiter, f *claimsInFlight, claims chan<- claimedHold, o DispatcherOptions,
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

// PromoteUntilNextTick is the capture job. It lets the dispatcher promote due
// holds until shortly after the next tick.
func (d *Dispatcher) PromoteUntilNextTick(ctx context.Context) {
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
			if poll, ok = d.pollSchedule(ctx, promote, &due); !ok {
				return
			}
		}
		pass := d.claimReadyHolds(ctx, &due)
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
			d.closePollGate(poll, &due, &pass, promote)
			return
		}
		if !d.waitForWake(ctx, wait) {
			return
		}
	}
}

// closePollGate closes the gate until the next lease ends or the next hold
// falls due soon. It does not while holds are ready: they wait for Stripe, or
// other replicas claim them.
func (d *Dispatcher) closePollGate(
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

// pollSchedule polls the store: it promotes holds and reads the
// lanes of ready holds into due. ok is false if Redis failed and returned no
// lanes. A poll that failed in part does not close the gate.
func (d *Dispatcher) pollSchedule(
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

// countReadyHolds counts the unclaimed holds of the lanes.
func countReadyHolds(lanes []hold.RateLimitLane) (n int) {
	for i := range lanes {
		n += lanes[i].Ready
	}
	return n
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

// claimsInFlight counts the claims of this replica. The dispatcher adds to it.
// The executor and the completer subtract.
type claimsInFlight struct {
	awaitingStripe atomic.Int64 // claims whose calls are not finished
	uncommitted    atomic.Int64 // claims whose outcome is not committed
	concurrency    int
}

// allowedNewClaims returns how many more holds may be claimed now.
//
// Twice the concurrency may await Stripe: the calls under way and as many
// again, so that no goroutine of the executor waits for Redis. More would take
// holds that other replicas could execute earlier. Four times the concurrency
// may be uncommitted, so that the executor continues while the completer writes
// a batch.
func (f *claimsInFlight) allowedNewClaims() int {
	return min(f.maxAwaitingStripe()-int(f.awaitingStripe.Load()),
		f.maxUncommitted()-int(f.uncommitted.Load()))
}

func (f *claimsInFlight) maxAwaitingStripe() int { return 2 * f.concurrency }
func (f *claimsInFlight) maxUncommitted() int    { return 4 * f.concurrency }
