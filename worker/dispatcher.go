package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// dueSoon is how far ahead the dispatcher waits for a hold's exact time. A
	// hold that is due later waits for a later tick of the capture job.
	dueSoon = time.Second
	// leaseSlack shortens a lease, so that the poll that finds it expired runs
	// within the time promised for a takeover.
	leaseSlack = 2 * time.Second
	// reserveAhead is how far into the future requests are reserved. A shorter
	// time would waste budget between two polls. A longer one would delay a
	// nearer deadline that arrives meanwhile.
	reserveAhead = 200 * time.Millisecond
	// promoteLimit bounds how many holds one poll promotes in each partition.
	promoteLimit = 256
	// pollInterval is how long the dispatcher claims from the result of one
	// poll before it polls again.
	pollInterval = 100 * time.Millisecond
	// claimRetryInterval is how long the dispatcher waits when no more holds
	// may be claimed, unless the executor or the completer wakes it.
	claimRetryInterval = time.Second
)

// Queue promotes and claims holds, and reserves budget. store.Queue and
// store.Budget implement it.
type Queue interface {
	// PromoteDue makes holds with expired leases ready, and due holds if
	// promote is set, up to limit in each partition.
	PromoteDue(ctx context.Context, promote bool, limit int) (hold.PromoteResult, error)
	// Reserve reserves requests for every want, in one round trip.
	Reserve(ctx context.Context, wants ...hold.BudgetRequest) ([]hold.BudgetReservation, error)
	// Claim leases up to n holds of a lane, nearest deadline first. If before
	// is set, it skips holds whose deadline is later.
	Claim(
		ctx context.Context, lane hold.RateLimitLane, n int, lease time.Duration, before time.Time,
	) ([]hold.Claim, time.Time, error)
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
	Health      *health.RedisReporter
}

// Dispatcher promotes due holds, reserves budget for them, claims them by
// nearest deadline, and sends the claims to the [Executor].
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
	flight *inFlight
	claims chan<- claimedHold

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
	q Queue, s CallLimiter, f *inFlight, claims chan<- claimedHold, o DispatcherOptions,
) *Dispatcher {
	return &Dispatcher{queue: q, stripe: s, o: o, flight: f, claims: claims,
		wake: make(chan struct{}, 1)}
}

// Wake makes [Dispatcher.Run] poll now.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // a wake-up is pending
	}
}

// AllowPromotion is the capture job. It lets the dispatcher promote due holds
// until shortly after the next tick.
func (d *Dispatcher) AllowPromotion(context.Context) {
	d.promoteUntil.Store(time.Now().Add(dueSoon + dueSoon/10).UnixNano())
	d.Wake()
}

// WaitedForBudget reports whether due holds have waited for the budget within
// the given time.
func (d *Dispatcher) WaitedForBudget(within time.Duration) bool {
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
	for ctx.Err() == nil {
		promote := due.More || time.Now().UnixNano() < d.promoteUntil.Load()
		if countReady(due.Lanes) == 0 || due.More || time.Since(polledAt) >= pollInterval {
			polledAt = time.Now()
			if !d.poll(ctx, promote, &due) {
				return
			}
		}
		claimed, wait, stale := d.claimReady(ctx, due.Lanes)
		if stale {
			polledAt = time.Time{}
		}
		if claimed == 0 && wait > 0 {
			d.waitedForBudgetAt.Store(time.Now().UnixNano())
		}
		if claimed > 0 || due.More {
			continue
		}
		if promote {
			wait = d.limitToNextDue(wait, due.NextDueAt)
		}
		if wait == 0 || !d.waitForWake(ctx, wait) {
			return
		}
	}
}

// limitToNextDue shortens wait to the time until the next hold is due, if that
// is at most dueSoon. A wait of 0 means that there was nothing to wait for.
func (d *Dispatcher) limitToNextDue(wait time.Duration, nextDueAt time.Time) time.Duration {
	next := nextDueAt.Sub(d.o.Clock.Now())
	if nextDueAt.IsZero() || next > dueSoon || wait != 0 && next >= wait {
		return wait
	}
	return max(next, time.Millisecond)
}

// poll polls the store: it promotes holds and reads the lanes of ready
// holds into due. It returns false if Redis failed and returned no lanes.
func (d *Dispatcher) poll(ctx context.Context, promote bool, due *hold.PromoteResult) bool {
	var err error
	if *due, err = d.queue.PromoteDue(ctx, promote, promoteLimit); err != nil {
		d.o.Health.ReportError(ctx, "poll the schedule", err)
		if len(due.Lanes) == 0 {
			return false
		}
	} else {
		d.o.Health.ReportSuccess()
	}
	d.o.Clock.AdjustTo(due.Now)
	return true
}

// countReady counts the unclaimed holds of the lanes.
func countReady(lanes []hold.RateLimitLane) (n int) {
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

// claimReady claims holds from the lanes by nearest deadline, as many as
// [inFlight] and the budget allow. If it claimed none, wait is when to try
// again; 0 means not to. It updates the lanes' counts, so that the next call
// can use the same lanes unless they are stale.
func (d *Dispatcher) claimReady(
	ctx context.Context, lanes []hold.RateLimitLane,
) (claimed int, wait time.Duration, stale bool) {
	if countReady(lanes) == 0 {
		return 0, 0, false
	}
	room, limit := d.flight.claimsAllowed(), d.stripe.MaxInFlight()
	switch {
	case limit == 0:
		return 0, 0, false // the next tick polls again; the verify job probes Stripe
	case limit > 0:
		room = min(room, limit)
	case room < d.o.Concurrency/2:
		// Few claims would cost a round trip each. The executor wakes the
		// dispatcher later.
		room = 0
	}
	if room <= 0 {
		return 0, claimRetryInterval, false
	}
	for i := range lanes {
		if room <= 0 {
			break
		}
		r := d.claimLane(ctx, lanes, i, room)
		if r.failed {
			return claimed + r.claimed, 0, true
		}
		if r.budgetWait > 0 && (wait == 0 || r.budgetWait < wait) {
			wait = r.budgetWait
		}
		claimed, room, stale = claimed+r.claimed, room-r.claimed, stale || r.partial
	}
	return claimed, wait, stale || wait > 0
}

// laneClaimResult is the result of claiming from one lane.
type laneClaimResult struct {
	claimed    int
	budgetWait time.Duration // until the budget allows a request, if it allowed none
	partial    bool          // stopped at the nearest deadline of another partition
	failed     bool          // Redis failed
}

// claimLane claims up to room holds of lanes[i].
func (d *Dispatcher) claimLane(
	ctx context.Context, lanes []hold.RateLimitLane, i, room int,
) (r laneClaimResult) {
	lane := lanes[i]
	want := min(room, lane.Ready)
	if want <= 0 {
		return r
	}
	reserved, err := d.queue.Reserve(ctx, hold.BudgetRequest{
		Account: lane.Account, Op: lane.Op, Requests: want, Ahead: reserveAhead,
	})
	if err != nil {
		d.o.Health.ReportError(ctx, "reserve requests", err)
		r.failed = true
		return r
	}
	budget := reserved[0]
	if budget.Requests == 0 {
		r.budgetWait = budget.Wait
		return r
	}
	sendAt := time.Now().Add(budget.First)
	// The budget is not enough for the lane, and the same lane in another
	// partition may have nearer deadlines: claim only up to the nearest of
	// these.
	before := time.Time{}
	if budget.Requests < want {
		before = sameLaneDeadline(lanes[i+1:], lane)
	}
	lease := d.o.Lease - leaseSlack
	leaseEnd := time.Now().Add(lease)
	claims, _, err := d.queue.Claim(ctx, lane, budget.Requests, lease, before)
	if err != nil {
		d.o.Health.ReportError(ctx, "claim holds", err)
	}
	for _, c := range claims {
		d.flight.uncommitted.Add(1)
		d.flight.awaitingStripe.Add(1)
		d.claims <- claimedHold{claim: c, reserved: lane.Op, leaseEnd: leaseEnd, sendAt: sendAt}
		sendAt = sendAt.Add(budget.Step)
	}
	r.claimed, r.partial = len(claims), !before.IsZero()
	lanes[i].Ready -= len(claims)
	if len(claims) == 0 || len(claims) < budget.Requests && !r.partial {
		lanes[i].Ready = 0 // other replicas have claimed the rest
	}
	r.failed = err != nil && !errors.Is(err, hold.ErrUnreadableRecord)
	return r
}

// sameLaneDeadline returns the nearest deadline of the same lane in another
// partition, zero if there is none.
func sameLaneDeadline(others []hold.RateLimitLane, lane hold.RateLimitLane) time.Time {
	for i := range others {
		if others[i].Account == lane.Account && others[i].Op == lane.Op {
			return others[i].NearestDeadline
		}
	}
	return time.Time{}
}
