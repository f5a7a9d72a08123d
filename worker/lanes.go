package worker

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// reservationHorizon returns how far ahead each of n budgets is reserved.
func reservationHorizon(n int) time.Duration {
	ahead := reserveAhead * fullAheadBudgets / time.Duration(max(n, fullAheadBudgets))
	return max(minReserveAhead, ahead)
}

// lanePriority returns the priority of a lane. Ready holds wait for a capture, a
// cancel or a renewal that is due, for a requested increment, or for a read at
// their deadline.
func lanePriority(op hold.Op) hold.RateLimitPriority {
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

// budgetKey names a budget: the lanes of one account and kind of request share
// it, whatever their partition.
type budgetKey struct {
	account string
	op      hold.Op
}

func accountOpBudgetKey(lane *hold.ReadyHoldLane) budgetKey {
	return budgetKey{lane.Account, lane.Op.RateLimitBucket()}
}

// budgetLaneGroup is the ready lanes that share a budget, in one pass of the
// dispatcher.
type budgetLaneGroup struct {
	budgetKey
	lanes    []*hold.ReadyHoldLane // in different partitions
	want     int                   // holds to claim in this pass, at most
	reserved hold.BudgetReservation
	unused   int       // reserved requests for which no hold is claimed yet
	sendAt   time.Time // of the first reserved request, by this machine's clock
	claims   []claimedHold
}

// groupLanesByBudget returns the lanes that have ready holds, by their budget.
// The group with the nearest deadline is first.
func groupLanesByBudget(lanes []hold.ReadyHoldLane) (groups []*budgetLaneGroup) {
	ready := make([]*hold.ReadyHoldLane, 0, len(lanes))
	for i := range lanes {
		if lanes[i].Ready > 0 {
			ready = append(ready, &lanes[i])
		}
	}
	sortLanesByDeadline(ready)
	byBudget := make(map[budgetKey]*budgetLaneGroup, len(ready))
	for _, lane := range ready {
		g := byBudget[accountOpBudgetKey(lane)]
		if g == nil {
			g = &budgetLaneGroup{budgetKey: accountOpBudgetKey(lane)}
			byBudget[g.budgetKey] = g
			groups = append(groups, g)
		}
		g.lanes = append(g.lanes, lane)
	}
	return groups
}

func sortLanesByDeadline(lanes []*hold.ReadyHoldLane) {
	slices.SortStableFunc(lanes, func(a, b *hold.ReadyHoldLane) int {
		return a.NearestDeadline.Compare(b.NearestDeadline)
	})
}

// countReadyHolds counts the unclaimed holds of the lanes.
func countReadyHolds(lanes []hold.ReadyHoldLane) (n int) {
	for i := range lanes {
		n += lanes[i].Ready
	}
	return n
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
	lane  *hold.ReadyHoldLane
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
		func(lane *hold.ReadyHoldLane) bool { return lane.Ready <= 0 })
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
			claimedHold{claim: &c.Claims[i], reserved: s.group.op, leaseEnd: leaseEnd})
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
	lanes []hold.ReadyHoldLane
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
func (w *lanesWithoutBudget) removeWaitingLanes(lanes []hold.ReadyHoldLane) []hold.ReadyHoldLane {
	return slices.DeleteFunc(lanes, func(lane hold.ReadyHoldLane) bool {
		b := w.budgets[accountOpBudgetKey(&lane)]
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
func (w *lanesWithoutBudget) removeEndedWaits(now time.Time) (ended []hold.ReadyHoldLane) {
	for key, b := range w.budgets {
		if !b.until.After(now) {
			ended = append(ended, b.lanes...)
			w.lanes -= len(b.lanes)
			delete(w.budgets, key)
		}
	}
	slices.SortFunc(ended, compareLanesByDeadline) // a map has no order
	return ended
}

func compareLanesByDeadline(a, b hold.ReadyHoldLane) int {
	return cmp.Or(a.NearestDeadline.Compare(b.NearestDeadline),
		cmp.Compare(a.Account, b.Account), cmp.Compare(a.Op, b.Op),
		cmp.Compare(a.Partition, b.Partition))
}

// listLanes returns the waiting lanes.
func (w *lanesWithoutBudget) listLanes() []hold.ReadyHoldLane {
	all := make([]hold.ReadyHoldLane, 0, w.lanes)
	for _, b := range w.budgets {
		all = append(all, b.lanes...)
	}
	slices.SortFunc(all, compareLanesByDeadline)
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
