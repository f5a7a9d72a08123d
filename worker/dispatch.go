package worker

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// claimedHold is a claim on its way to a handler.
type claimedHold struct {
	claim      hold.Claim
	lane       hold.Op
	leaseUntil time.Time // our clock: when the lease ends, reckoned from before the claim was sent
	sendAt     time.Time // our clock: when the budget lets its first request go
}

// reserveAhead is how far into the future requests are taken from the budget: far enough that nothing of a slow rate is lost between two looks and that a
// claim is worth its round trip, near enough that a nearer deadline which comes meanwhile hardly waits.
const reserveAhead = 200 * time.Millisecond

// promoteLimit bounds how many holds one look promotes in each partition.
const promoteLimit = 256

func (w *Worker) dispatchLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			w.dispatchReady(ctx)
		}
	}
}

// pollInterval is how long what a look at the schedule said is worked on before the next look: long enough that looks cost nothing beside the
// work, short enough that nothing nearer waits.
const pollInterval = 100 * time.Millisecond

// dispatchReady claims and hands out ready holds for as long as there are any, or some are about to be.
func (w *Worker) dispatchReady(ctx context.Context) {
	var due hold.PromoteResult
	var looked time.Time
	for ctx.Err() == nil {
		promote := due.More || time.Now().UnixNano() < w.promoteUntil.Load()
		if countReady(due.Lanes) == 0 || due.More || time.Since(looked) >= pollInterval {
			var err error
			looked = time.Now()
			if due, err = w.store.PromoteDue(ctx, promote, promoteLimit); err != nil {
				w.reportStoreError(ctx, "look at the schedule", err)
				if len(due.Lanes) == 0 {
					return
				}
			} else {
				w.reportStoreRecovered()
			}
			w.syncClock(due.Now)
		}
		claimed, wait, stale := w.claimReady(ctx, due.Lanes)
		if stale {
			looked = time.Time{}
		}
		if claimed == 0 && wait > 0 {
			w.budgetShortAt.Store(time.Now().UnixNano())
		}
		if claimed > 0 || due.More {
			continue
		}
		if !due.NextDueAt.IsZero() && promote {
			if d := due.NextDueAt.Sub(w.redisNow()); d <= lookahead && (wait == 0 || d < wait) {
				wait = max(d, time.Millisecond)
			}
		}
		if wait == 0 {
			return
		}
		if !w.waitForWake(ctx, wait) {
			return
		}
	}
}

// countReady counts the holds of the lanes that are not claimed yet.
func countReady(lanes []hold.Lane) (n int) {
	for i := range lanes {
		n += lanes[i].Ready
	}
	return n
}

// waitForWake waits, or less if there is something to look at. It reports whether to go on.
func (w *Worker) waitForWake(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
	case <-t.C:
	}
	return true
}

// claimReady takes holds from the lanes, nearest deadline first, as many as there are handlers and budget for. With nothing claimed, wait tells
// when to try again; 0 means that there is nothing to wait for. It keeps the lanes' counts, so that it can go on with the same lanes unless they
// are stale.
func (w *Worker) claimReady(ctx context.Context, lanes []hold.Lane) (claimed int, wait time.Duration, stale bool) {
	if countReady(lanes) == 0 {
		return 0, 0, false
	}
	if w.keyRejected.Load() {
		return 0, 0, false // the verify job asks Stripe whether the key works again
	}
	free := min(w.o.maxAwaitingStripe()-int(w.awaitingStripe.Load()), w.o.maxUncommitted()-int(w.uncommittedClaims.Load()))
	switch w.breaker.State() {
	case gobreaker.StateOpen:
		return 0, 0, false // the next tick looks again
	case gobreaker.StateHalfOpen:
		free = min(free, 1)
	}
	// Taking a few at a time would spend a round trip on each: wait until a good part is free. A finishing handler wakes us.
	if free <= 0 || free < w.o.Concurrency/2 && w.breaker.State() == gobreaker.StateClosed {
		return 0, time.Second, false
	}
	for i, lane := range lanes {
		if free <= 0 {
			break
		}
		want := min(free, lane.Ready)
		if want <= 0 {
			continue
		}
		budget, err := w.store.Reserve(ctx, lane.Account, lane.Op, want, reserveAhead)
		if err != nil {
			w.reportStoreError(ctx, "take from the budget", err)
			return claimed, 0, true
		}
		granted := budget.Granted
		if granted == 0 {
			if wait == 0 || budget.Wait < wait {
				wait = budget.Wait
			}
			continue
		}
		turn := time.Now().Add(budget.First)
		// Where the budget is the bound, the same lane in another partition may have nearer deadlines: take no further than to its head.
		before := time.Time{}
		if granted < want {
			for _, other := range lanes[i+1:] {
				if other.Account == lane.Account && other.Op == lane.Op {
					before = other.NearestDeadline
					break
				}
			}
		}
		sent := time.Now()
		claims, _, err := w.store.Claim(ctx, lane, granted, w.o.Lease-leaseSlack, before)
		if err != nil {
			w.reportStoreError(ctx, "claim holds", err)
		}
		for _, c := range claims {
			w.uncommittedClaims.Add(1)
			w.awaitingStripe.Add(1)
			w.jobs <- claimedHold{claim: c, lane: lane.Op, leaseUntil: sent.Add(w.o.Lease - leaseSlack), sendAt: turn}
			turn = turn.Add(budget.Step)
		}
		claimed += len(claims)
		free -= len(claims)
		lanes[i].Ready -= len(claims)
		if len(claims) == 0 || len(claims) < granted && before.IsZero() {
			lanes[i].Ready = 0 // others were faster
		}
		stale = stale || !before.IsZero()
		if err != nil && !errors.Is(err, hold.ErrUnreadableRecord) {
			return claimed, 0, true
		}
	}
	return claimed, wait, stale || wait > 0
}

func (w *Worker) reportStoreError(ctx context.Context, doing string, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, hold.ErrUnreadableRecord) {
		// Met again with every look: once a minute is enough to be found.
		now := time.Now().Unix()
		if last := w.unreadableLoggedAt.Load(); now-last >= 60 && w.unreadableLoggedAt.CompareAndSwap(last, now) {
			w.log.Error("Redis holds records that can't be read; the other holds are not touched by it", zap.String("doing", doing), zap.Error(err))
		}
		return
	}
	if w.storeDown.CompareAndSwap(false, true) {
		w.log.Error("Redis is away: nothing is claimed until it is back", zap.String("doing", doing), zap.Error(err))
	}
}

func (w *Worker) reportStoreRecovered() {
	if w.storeDown.CompareAndSwap(true, false) {
		w.log.Info("Redis is back")
	}
}
