package worker

import (
	"context"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// claimPassResult is the result of one pass of the dispatcher over the lanes.
type claimPassResult struct {
	claimed int
	wait    time.Duration // if none was claimed: when to try again; 0: not to
	stale   bool          // Redis failed: poll again before the next pass
	again   bool          // if none was claimed: other lanes may have budget
}

// claimReadyHolds claims holds from the lanes of due, as many as
// [claimsInFlight] and the budgets allow. All lanes share one round trip for
// the budgets and one for the claims. It updates the lanes, so that the next
// pass can use the same ones.
func (d *Dispatcher) claimReadyHolds(
	ctx context.Context, due *hold.PromoteResult,
) (r claimPassResult) {
	groups := groupLanesByBudget(due.Lanes)
	if len(groups) == 0 {
		d.claimStage.Succeed() // another replica has claimed what this one could not
	} else {
		room, wait := d.roomForClaims()
		if room <= 0 {
			return claimPassResult{wait: wait}
		}
		ahead := reservationHorizon(len(groups) + len(d.waiting.budgets))
		groups = divideRoom(groups, room)
		ctx, run := d.claimStage.BeginRun(ctx)
		reserved := d.reserveBudget(ctx, groups, ahead)
		waiting := d.deferLanesWithoutBudget(groups)
		claimed := d.claimReserved(ctx, groups)
		run.End()
		r.claimed, r.stale = d.sendToExecutor(groups), !reserved || !claimed
		r.again = waiting && !r.stale && (countReadyHolds(due.Lanes) > 0 || due.MoreLanes)
	}
	if r.claimed == 0 && !r.stale {
		if r.wait = d.waiting.timeUntilNext(time.Now()); r.wait > 0 {
			r.wait = max(r.wait, minBudgetWait)
		}
	}
	return r
}

// roomForClaims returns how many holds may be claimed now. If none may, wait is
// when to try again; 0 means not to.
func (d *Dispatcher) roomForClaims() (room int, wait time.Duration) {
	room, limit := d.flight.claimsAllowed(), d.stripe.MaxInFlight()
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

// reservationHorizon returns how far ahead each of n budgets is reserved.
func reservationHorizon(n int) time.Duration {
	ahead := reserveAhead * fullAheadBudgets / time.Duration(max(n, fullAheadBudgets))
	return max(minReserveAhead, ahead)
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
	reserved, err := d.queue.Reserve(ctx, wants...)
	now := time.Now()
	for i := range reserved {
		groups[i].recordReservation(reserved[i], now)
	}
	if err != nil {
		d.o.Health.ReportError(ctx, "reserve requests", err)
	}
	return err == nil
}

// lanePriority returns the priority of a lane. Ready holds wait for a capture,
// a cancel or a renewal that is due, or for a read at their deadline.
func lanePriority(op hold.Op) hold.Priority {
	switch op {
	case hold.OpCapture, hold.OpCancel, hold.OpAuthorize:
		return hold.PriorityDue
	}
	return hold.PriorityDeadline
}

// maxLaneWait bounds how long a lane waits for its budget before it asks again,
// because a pause may end early, and Redis' clock may change.
const maxLaneWait = 5 * time.Second

// deferLanesWithoutBudget makes the lanes without budget wait, and reports
// whether any do.
func (d *Dispatcher) deferLanesWithoutBudget(groups []*budgetLaneGroup) (deferred bool) {
	now := time.Now()
	for _, g := range groups {
		if g.reserved.Requests > 0 || g.reserved.Wait <= 0 {
			continue
		}
		wait := min(g.reserved.Wait, maxLaneWait)
		deferred = d.waiting.add(g, now.Add(wait)) || deferred
		for _, lane := range g.lanes {
			lane.Ready = 0
		}
	}
	return deferred
}

// claimReserved claims as many holds as the groups have reserved requests. It
// returns false if Redis failed for some of them.
func (d *Dispatcher) claimReserved(ctx context.Context, groups []*budgetLaneGroup) bool {
	ok := true
	for round := 1; round <= maxClaimRounds; round++ {
		var shares []laneClaimShare
		for _, g := range groups {
			shares = g.appendShares(shares, round == maxClaimRounds)
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
		claims, err := d.queue.Claim(ctx, request, lease)
		if err != nil {
			d.o.Health.ReportError(ctx, "claim holds", err)
		}
		for i := range claims {
			ok = shares[i].addClaims(&claims[i], leaseEnd) && ok
		}
	}
	return ok
}

// sendToExecutor sends the claims to the executor, in the order of their times,
// and returns their number.
func (d *Dispatcher) sendToExecutor(groups []*budgetLaneGroup) int {
	var claims []claimedHold
	for _, g := range groups {
		claims = append(claims, g.assignReservedTimes()...)
	}
	slices.SortStableFunc(claims, func(a, b claimedHold) int { return a.sendAt.Compare(b.sendAt) })
	for _, c := range claims {
		d.flight.uncommitted.Add(1)
		d.flight.awaitingStripe.Add(1)
		d.claims <- c
	}
	return len(claims)
}
