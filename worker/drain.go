package worker

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// job is a claim on its way to a handler.
type job struct {
	claim hold.Claim
	lane  hold.Op
	until time.Time // our clock: when the lease ends, reckoned from before the claim was sent
}

// perLook bounds how many holds one look promotes in each partition.
const perLook = 256

func (w *Worker) drainLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			w.drain(ctx)
		}
	}
}

// drain claims and hands out ready holds for as long as there are any, or some are about to be.
func (w *Worker) drain(ctx context.Context) {
	more := false
	for ctx.Err() == nil {
		promote := more || time.Now().UnixNano() < w.promotion.Load()
		due, err := w.store.Due(ctx, promote, perLook)
		if err != nil {
			w.storeFailed(ctx, "look at the schedule", err)
			if len(due.Lanes) == 0 {
				return
			}
		} else {
			w.storeWorks()
		}
		w.sync(due.Now)
		more = due.More
		claimed, wait := w.claim(ctx, due.Lanes)
		if claimed == 0 && wait > 0 {
			w.backlog.Store(time.Now().UnixNano())
		}
		if claimed > 0 || more {
			continue
		}
		if !due.Next.IsZero() && promote {
			if d := due.Next.Sub(due.Now); d <= lookahead && (wait == 0 || d < wait) {
				wait = max(d, time.Millisecond)
			}
		}
		if wait == 0 {
			return
		}
		if !w.sleep(ctx, wait) {
			return
		}
	}
}

// sleep waits, or less if there is something to look at. It reports whether to go on.
func (w *Worker) sleep(ctx context.Context, d time.Duration) bool {
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

// claim takes holds from the lanes, nearest deadline first, as many as there are handlers and budget for. With nothing claimed, wait tells
// when to try again; 0 means that there is nothing to wait for.
func (w *Worker) claim(ctx context.Context, lanes []hold.Lane) (claimed int, wait time.Duration) {
	if len(lanes) == 0 {
		return 0, 0
	}
	if w.rejected.Load() {
		return 0, 0 // the verify job asks Stripe whether the key works again
	}
	free := w.o.capacity() - int(w.outstanding.Load())
	switch w.breaker.State() {
	case gobreaker.StateOpen:
		return 0, 0 // the next tick looks again
	case gobreaker.StateHalfOpen:
		free = min(free, 1)
	}
	// Taking a few at a time would spend a round trip on each: wait until a good part is free. A finishing handler wakes us.
	if free <= 0 || free < w.o.Concurrency/4 && w.breaker.State() == gobreaker.StateClosed {
		return 0, time.Second
	}
	for i, lane := range lanes {
		if free <= 0 {
			break
		}
		want := min(free, lane.Ready)
		granted, retry, err := w.store.Take(ctx, lane.Account, lane.Op, want)
		if err != nil {
			w.storeFailed(ctx, "take from the budget", err)
			return claimed, 0
		}
		if granted == 0 {
			if wait == 0 || retry < wait {
				wait = retry
			}
			continue
		}
		// Where the budget is the bound, the same lane in another partition may have nearer deadlines: take no further than to its head.
		before := time.Time{}
		if granted < want {
			for _, other := range lanes[i+1:] {
				if other.Account == lane.Account && other.Op == lane.Op {
					before = other.Head
					break
				}
			}
		}
		sent := time.Now()
		claims, _, err := w.store.Claim(ctx, lane, granted, w.o.Lease-tickSlack, before)
		if err != nil {
			w.storeFailed(ctx, "claim holds", err)
		}
		for _, c := range claims {
			w.outstanding.Add(1)
			w.jobs <- job{claim: c, lane: lane.Op, until: sent.Add(w.o.Lease - tickSlack)}
		}
		claimed += len(claims)
		free -= len(claims)
		if err != nil && !errors.Is(err, hold.ErrRecord) {
			return claimed, 0
		}
	}
	return claimed, wait
}

func (w *Worker) storeFailed(ctx context.Context, doing string, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, hold.ErrRecord) {
		// Met again with every look: once a minute is enough to be found.
		now := time.Now().Unix()
		if last := w.oddRecord.Load(); now-last >= 60 && w.oddRecord.CompareAndSwap(last, now) {
			w.log.Error("Redis holds records that can't be read; the other holds are not touched by it", zap.String("doing", doing), zap.Error(err))
		}
		return
	}
	if w.storeDown.CompareAndSwap(false, true) {
		w.log.Error("Redis is away: nothing is claimed until it is back", zap.String("doing", doing), zap.Error(err))
	}
}

func (w *Worker) storeWorks() {
	if w.storeDown.CompareAndSwap(true, false) {
		w.log.Info("Redis is back")
	}
}
