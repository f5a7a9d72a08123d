package worker

import (
	"cmp"
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
		d.claimStage.RecordSuccess() // another replica has claimed what this one could not
	} else {
		room, wait := d.allowedClaimsOrWait()
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

// allowedClaimsOrWait returns how many holds may be claimed now. If none may,
// wait is when to try again; 0 means not to.
func (d *Dispatcher) allowedClaimsOrWait() (room int, wait time.Duration) {
	room, limit := d.flight.allowedNewClaims(), d.stripe.MaxInFlight()
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

// lanePriority returns the priority of a lane. Ready holds wait for a capture, a
// cancel or a renewal that is due, for a requested increment, or for a read at
// their deadline.
func lanePriority(op hold.Op) hold.Priority {
	switch op {
	case hold.OpCapture, hold.OpCancel, hold.OpAuthorize:
		return hold.PriorityDue
	}
	if op == hold.OpIncrement {
		return hold.PriorityRequested
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
		claims, err := d.queue.Claim(ctx, request, lease)
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

// budgetKey names a budget: the lanes of one account and kind of request share
// it, whatever their partition.
type budgetKey struct {
	account string
	op      hold.Op
}

func budgetKeyOf(lane *hold.RateLimitLane) budgetKey {
	return budgetKey{lane.Account, lane.Op.RateLimitBucket()}
}

// budgetLaneGroup is the ready lanes that share a budget, in one pass of the
// dispatcher.
type budgetLaneGroup struct {
	budgetKey
	lanes    []*hold.RateLimitLane // in different partitions
	want     int                   // holds to claim in this pass, at most
	reserved hold.BudgetReservation
	unused   int       // reserved requests for which no hold is claimed yet
	sendAt   time.Time // of the first reserved request, by this machine's clock
	claims   []claimedHold
}

// groupLanesByBudget returns the lanes that have ready holds, by their budget.
// The group with the nearest deadline is first.
func groupLanesByBudget(lanes []hold.RateLimitLane) (groups []*budgetLaneGroup) {
	ready := make([]*hold.RateLimitLane, 0, len(lanes))
	for i := range lanes {
		if lanes[i].Ready > 0 {
			ready = append(ready, &lanes[i])
		}
	}
	sortLanesByDeadline(ready)
	byBudget := make(map[budgetKey]*budgetLaneGroup, len(ready))
	for _, lane := range ready {
		g := byBudget[budgetKeyOf(lane)]
		if g == nil {
			g = &budgetLaneGroup{budgetKey: budgetKeyOf(lane)}
			byBudget[g.budgetKey] = g
			groups = append(groups, g)
		}
		g.lanes = append(g.lanes, lane)
	}
	return groups
}

func sortLanesByDeadline(lanes []*hold.RateLimitLane) {
	slices.SortStableFunc(lanes, func(a, b *hold.RateLimitLane) int {
		return a.NearestDeadline.Compare(b.NearestDeadline)
	})
}

// countReady counts the unclaimed holds of the group.
func (g *budgetLaneGroup) countReady() (n int) {
	for _, lane := range g.lanes {
		n += lane.Ready
	}
	return n
}

// divideClaimsAmongGroups divides room between the groups and returns those
// that got a part. The parts are equal, so a group with many holds does not
// keep the others waiting. What a group cannot use goes to the others.
func divideClaimsAmongGroups(groups []*budgetLaneGroup, room int) []*budgetLaneGroup {
	groups = groups[:min(room, len(groups))]
	ready := make([]int, len(groups))
	for i, g := range groups {
		ready[i] = g.countReady()
	}
	for i, part := range divideEvenlyUpToWanted(room, ready) {
		groups[i].want = part
	}
	return groups
}

// divideEvenlyUpToWanted divides n into parts that are as equal as possible and
// at most as large as wanted. The first parts get what is left over.
func divideEvenlyUpToWanted(n int, wanted []int) []int {
	parts, open := make([]int, len(wanted)), len(wanted)
	for n > 0 && open > 0 {
		equal := max(1, n/open)
		open = 0
		for i := range parts {
			add := min(equal, wanted[i]-parts[i], n)
			parts[i] += add
			n -= add
			if parts[i] < wanted[i] {
				open++
			}
		}
	}
	return parts
}

// recordReservation records what the budget allows the group.
func (g *budgetLaneGroup) recordReservation(r hold.BudgetReservation, now time.Time) {
	g.reserved, g.unused, g.sendAt = r, r.Requests, now.Add(r.First)
}

// laneClaimShare is a [hold.ClaimShare] of a group's lane.
type laneClaimShare struct {
	group *budgetLaneGroup
	lane  *hold.RateLimitLane
	holds int
	until time.Time
}

// appendClaimShares appends the group's shares of the next claim.
//
// If the budget is not enough for what the group wants, the order between
// partitions matters: the share is of the lane with the nearest deadline, and
// it ends where the next lane begins. The last claim of a pass wastes no
// reserved request: it takes as many holds of each lane.
func (g *budgetLaneGroup) appendClaimShares(shares []laneClaimShare, last bool) []laneClaimShare {
	lanes := slices.DeleteFunc(slices.Clone(g.lanes),
		func(lane *hold.RateLimitLane) bool { return lane.Ready <= 0 })
	if g.unused <= 0 || len(lanes) == 0 {
		return shares
	}
	sortLanesByDeadline(lanes)
	if len(lanes) > 1 && g.reserved.Requests < g.want && !last {
		return append(shares, laneClaimShare{g, lanes[0], g.unused, lanes[1].NearestDeadline})
	}
	ready := make([]int, len(lanes))
	for i, lane := range lanes {
		ready[i] = lane.Ready
	}
	for i, n := range divideEvenlyUpToWanted(g.unused, ready) {
		if n > 0 {
			shares = append(shares, laneClaimShare{g, lanes[i], n, time.Time{}})
		}
	}
	return shares
}

// recordClaims records the claims of a share. leaseEnd is when their leases
// end, by this machine's clock. It returns false if Redis did not answer.
func (s *laneClaimShare) recordClaims(c *hold.ClaimedShare, leaseEnd time.Time) bool {
	if c.LeasedAt.IsZero() {
		s.lane.Ready, s.group.unused = 0, 0
		return false
	}
	for i := range c.Claims {
		s.group.claims = append(s.group.claims,
			claimedHold{claim: c.Claims[i], reserved: s.group.op, leaseEnd: leaseEnd})
	}
	s.group.unused -= len(c.Claims)
	s.lane.Ready = max(0, s.lane.Ready-len(c.Claims))
	s.lane.NearestDeadline = c.NearestDeadline
	if c.NearestDeadline.IsZero() || len(c.Claims) == 0 && s.until.IsZero() {
		s.lane.Ready = 0 // other replicas have claimed the rest
	}
	return true
}

// assignReservedTimesToClaims gives each claim the time of a reserved request,
// nearest deadline first.
func (g *budgetLaneGroup) assignReservedTimesToClaims() []claimedHold {
	slices.SortStableFunc(g.claims, func(a, b claimedHold) int {
		return a.claim.Hold.ExpiresAt.Compare(b.claim.Hold.ExpiresAt)
	})
	sendAt := g.sendAt
	for i := range g.claims {
		g.claims[i].sendAt = sendAt
		sendAt = sendAt.Add(g.reserved.Step)
	}
	return g.claims
}

// lanesWithoutBudget are the lanes without budget, each until a time. The
// dispatcher does not list them meanwhile, so that they do not hide the lanes
// behind them. Its zero value is empty.
type lanesWithoutBudget struct {
	budgets map[budgetKey]*laneBudgetWait
	lanes   int
}

type laneBudgetWait struct {
	until time.Time
	lanes []hold.RateLimitLane
}

// deferUntil makes the lanes of a group wait until a time. If too many lanes
// wait already, it returns false, and the next poll may list these again.
func (w *lanesWithoutBudget) deferUntil(g *budgetLaneGroup, until time.Time) bool {
	if w.lanes+len(g.lanes) > maxWaitingLanes {
		return false
	}
	if w.budgets == nil {
		w.budgets = map[budgetKey]*laneBudgetWait{}
	}
	b := w.budgets[g.budgetKey]
	if b == nil {
		b = &laneBudgetWait{}
		w.budgets[g.budgetKey] = b
	}
	b.until = until
	for _, lane := range g.lanes {
		b.lanes = append(b.lanes, *lane)
	}
	w.lanes += len(g.lanes)
	return true
}

// removeWaitingLanes removes from lanes those whose budget is waiting already.
func (w *lanesWithoutBudget) removeWaitingLanes(lanes []hold.RateLimitLane) []hold.RateLimitLane {
	return slices.DeleteFunc(lanes, func(lane hold.RateLimitLane) bool {
		b := w.budgets[budgetKeyOf(&lane)]
		if b == nil {
			return false
		}
		if w.lanes < maxWaitingLanes {
			b.lanes = append(b.lanes, lane)
			w.lanes++
		}
		return true
	})
}

// removeEndedWaits removes and returns the lanes whose wait has ended.
func (w *lanesWithoutBudget) removeEndedWaits(now time.Time) (ended []hold.RateLimitLane) {
	for key, b := range w.budgets {
		if !b.until.After(now) {
			ended = append(ended, b.lanes...)
			w.lanes -= len(b.lanes)
			delete(w.budgets, key)
		}
	}
	slices.SortFunc(ended, compareLanes) // a map has no order
	return ended
}

func compareLanes(a, b hold.RateLimitLane) int {
	return cmp.Or(a.NearestDeadline.Compare(b.NearestDeadline),
		cmp.Compare(a.Account, b.Account), cmp.Compare(a.Op, b.Op),
		cmp.Compare(a.Partition, b.Partition))
}

// listLanes returns the waiting lanes.
func (w *lanesWithoutBudget) listLanes() []hold.RateLimitLane {
	all := make([]hold.RateLimitLane, 0, w.lanes)
	for _, b := range w.budgets {
		all = append(all, b.lanes...)
	}
	slices.SortFunc(all, compareLanes)
	return all
}

// timeUntilNextWaitEnds returns how long the first wait still takes; 0 if no
// lane waits.
func (w *lanesWithoutBudget) timeUntilNextWaitEnds(now time.Time) (wait time.Duration) {
	for _, b := range w.budgets {
		if left := max(b.until.Sub(now), time.Nanosecond); wait == 0 || left < wait {
			wait = left
		}
	}
	return wait
}
