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
	// dueSoon is how far ahead a tick of the capture job sees. What falls due
	// within it is claimed at its moment, not at the next tick.
	dueSoon = time.Second
	// leaseSlack is taken off a lease, so that the next poll after its end
	// comes within the time promised for a takeover.
	leaseSlack = 2 * time.Second
	// reserveAhead is how far into the future requests are reserved: far enough
	// that nothing of a slow rate is lost between two polls and that a claim is
	// worth its round trip, near enough that a nearer deadline that arrives
	// meanwhile hardly waits.
	reserveAhead = 200 * time.Millisecond
	// promoteLimit bounds how many holds one poll promotes in each partition.
	promoteLimit = 256
	// pollInterval is how long the result of one poll is worked on before the
	// next: long enough that polls cost nothing beside the work, short enough
	// that nothing nearer waits.
	pollInterval = 100 * time.Millisecond
	// claimRetryInterval is how long the dispatcher waits for room unless a
	// worker wakes it.
	claimRetryInterval = time.Second
)

// Queue is what the dispatcher needs of the store.
type Queue interface {
	// PromoteDue makes expired leases ready, and due holds if promote is set,
	// up to limit in each partition.
	PromoteDue(ctx context.Context, promote bool, limit int) (hold.PromoteResult, error)
	// Reserve grants up to n requests that may be sent within ahead from now.
	Reserve(
		ctx context.Context, account string, op hold.Op, n int, ahead time.Duration,
	) (hold.Reservation, error)
	// Claim leases up to n holds of a lane, nearest deadline first. A before
	// that is not zero leaves out holds whose deadline is later.
	Claim(
		ctx context.Context, lane hold.Lane, n int, lease time.Duration, before time.Time,
	) ([]hold.Claim, time.Time, error)
}

// CallLimiter tells the dispatcher how many calls make sense.
type CallLimiter interface {
	// MaxInFlight is none while Stripe is unavailable, one while that is tried,
	// any number (-1) otherwise.
	MaxInFlight() int
}

// DispatcherOptions configure a [Dispatcher].
type DispatcherOptions struct {
	Concurrency int           // calls to Stripe under way at once
	Lease       time.Duration // within this time a crashed replica's work is taken over
	Clock       *clock.Redis
	Health      *health.Redis
}

// Dispatcher promotes due holds, reserves budget for them and claims them,
// nearest deadline first.
//
// Cron fires once a second, which alone would make a capture up to a second
// late. The capture job therefore opens promotion for everything due within the
// next second, and the dispatcher waits for each hold's exact time. A new
// request wakes it directly. It does not run inside a cron job, so a long drain
// makes no tick skip.
type Dispatcher struct {
	queue  Queue
	stripe CallLimiter
	o      DispatcherOptions
	flight *inFlight
	claims chan<- claimedHold

	wake chan struct{}
	// until when due holds are promoted, Unix nanoseconds of this machine's
	// clock
	promoteUntil      atomic.Int64
	waitedForBudgetAt atomic.Int64 // when due holds last had to wait for the budget, likewise
}

// claimedHold is a claim on its way to the executor.
type claimedHold struct {
	claim    hold.Claim
	reserved hold.Op   // one request of this kind is reserved
	leaseEnd time.Time // this machine's clock, counted from before the claim was sent
	sendAt   time.Time // this machine's clock: when the reserved request may be sent
}

func newDispatcher(
	q Queue, s CallLimiter, f *inFlight, claims chan<- claimedHold, o DispatcherOptions,
) *Dispatcher {
	return &Dispatcher{queue: q, stripe: s, o: o, flight: f, claims: claims,
		wake: make(chan struct{}, 1)}
}

// Wake makes the dispatcher poll now: a hold may have become due that a tick
// would see only later.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // a poll is coming already
	}
}

// AllowPromotion is the capture job: it lets scheduled holds become ready until
// shortly after the next tick.
func (d *Dispatcher) AllowPromotion(context.Context) {
	d.promoteUntil.Store(time.Now().Add(dueSoon + dueSoon/10).UnixNano())
	d.Wake()
}

// WaitedForBudget reports whether due holds had to wait for the budget within the
// given time.
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
			d.dispatchReady(ctx)
		}
	}
}

// dispatchReady claims ready holds for as long as there are any, or some are
// about to be.
func (d *Dispatcher) dispatchReady(ctx context.Context) {
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
		if !due.NextDueAt.IsZero() && promote {
			if next := due.NextDueAt.Sub(d.o.Clock.Now()); next <= dueSoon &&
				(wait == 0 || next < wait) {
				wait = max(next, time.Millisecond)
			}
		}
		if wait == 0 || !d.waitForWake(ctx, wait) {
			return
		}
	}
}

// poll reads what is ready into due. It reports false if the store failed and
// returned nothing.
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
	d.o.Clock.Sync(due.Now)
	return true
}

// countReady counts the holds of the lanes that are not claimed yet.
func countReady(lanes []hold.Lane) (n int) {
	for i := range lanes {
		n += lanes[i].Ready
	}
	return n
}

// waitForWake waits for t, or less if the dispatcher is woken. It reports
// whether to go on.
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

// claimReady claims holds from the lanes, nearest deadline first, as many as
// there is room and budget for. With nothing claimed, wait tells when to try
// again; 0 means that there is nothing to wait for. It keeps the lanes' counts,
// so that the next call can go on with the same lanes unless they are stale.
func (d *Dispatcher) claimReady(
	ctx context.Context, lanes []hold.Lane,
) (claimed int, wait time.Duration, stale bool) {
	if countReady(lanes) == 0 {
		return 0, 0, false
	}
	room, limit := d.flight.claimsAllowed(), d.stripe.MaxInFlight()
	switch {
	case limit == 0:
		return 0, 0, false // a tick polls again, and the verify job probes Stripe
	case limit > 0:
		room = min(room, limit)
	case room < d.o.Concurrency/2:
		// a few at a time would cost a round trip each; a worker that finishes
		// wakes the dispatcher
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

// laneClaim is what came of claiming from one lane.
type laneClaim struct {
	claimed    int
	budgetWait time.Duration // until the budget grants more, if it granted nothing
	partial    bool          // only up to the next deadline of the same lane in another partition
	failed     bool          // Redis failed
}

// claimLane claims up to room holds of lanes[i].
func (d *Dispatcher) claimLane(ctx context.Context, lanes []hold.Lane, i, room int) (r laneClaim) {
	lane := lanes[i]
	want := min(room, lane.Ready)
	if want <= 0 {
		return r
	}
	budget, err := d.queue.Reserve(ctx, lane.Account, lane.Op, want, reserveAhead)
	if err != nil {
		d.o.Health.ReportError(ctx, "reserve requests", err)
		r.failed = true
		return r
	}
	if budget.Granted == 0 {
		r.budgetWait = budget.Wait
		return r
	}
	sendAt := time.Now().Add(budget.First)
	// Where the budget is the bound, the same lane in another partition may
	// have nearer deadlines: claim no further than to its head.
	before := time.Time{}
	if budget.Granted < want {
		before = nextDeadline(lanes[i+1:], lane)
	}
	lease := d.o.Lease - leaseSlack
	leaseEnd := time.Now().Add(lease)
	claims, _, err := d.queue.Claim(ctx, lane, budget.Granted, lease, before)
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
	if len(claims) == 0 || len(claims) < budget.Granted && !r.partial {
		lanes[i].Ready = 0 // other replicas were faster
	}
	r.failed = err != nil && !errors.Is(err, hold.ErrUnreadableRecord)
	return r
}

// nextDeadline is the nearest deadline of the same account and kind in another
// partition, zero if none waits.
func nextDeadline(others []hold.Lane, lane hold.Lane) time.Time {
	for i := range others {
		if others[i].Account == lane.Account && others[i].Op == lane.Op {
			return others[i].NearestDeadline
		}
	}
	return time.Time{}
}
