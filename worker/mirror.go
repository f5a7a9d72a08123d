package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

const (
	mirrorBatch       = 100
	mirrorAtOnce      = 4
	mirrorTimeBudget  = 10 * time.Second // that one tick goes on while there is more
	mirrorRetryAfter  = time.Minute      // until one that came to nothing is tried again
	mirrorQuietPeriod = 5 * time.Second  // a hold that is about to be acted on is left alone
	budgetShortPause  = 2 * time.Second  // after holds had to wait for the budget nothing is mirrored
)

// mirrorTerms is the job that writes holds' terms to their intents' metadata, where a lost schedule is found again. It is the last in every queue: it has
// a budget of its own that leaves half of the rate alone, and it stops while anything that is due waits for the budget.
func (w *Worker) mirrorTerms(ctx context.Context) {
	if !w.o.Rules.Mirror {
		return
	}
	for end := time.Now().Add(mirrorTimeBudget); ctx.Err() == nil && time.Now().Before(end); {
		found, now, err := w.store.Unmirrored(ctx, mirrorBatch)
		if err != nil {
			w.reportStoreError(ctx, "look for terms to mirror", err)
		}
		w.syncClock(now)
		var todo []hold.DueHold
		for _, m := range found {
			h := &m.Hold
			if h.State == 0 || h.State.Final() || h.State == hold.Working || h.NextOp != 0 && h.NextAt.Before(now.Add(mirrorQuietPeriod)) {
				continue
			}
			todo = append(todo, m)
		}
		if len(todo) == 0 || !w.mirrorHolds(ctx, todo, end) {
			return
		}
	}
}

// mayMirror tells whether Stripe is there and nothing more urgent waits for it.
func (w *Worker) mayMirror() bool {
	return !w.keyRejected.Load() && w.breaker.State() == gobreaker.StateClosed && time.Since(time.Unix(0, w.budgetShortAt.Load())) > budgetShortPause
}

// mirrorHolds reports whether it makes sense to look for more at once.
func (w *Worker) mirrorHolds(ctx context.Context, todo []hold.DueHold, end time.Time) bool {
	var left atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	gate := make(chan struct{}, mirrorAtOnce)
	shut := map[string]bool{} // accounts that have to wait longer than this tick
	for _, m := range todo {
		a := m.Hold.Account
		for !shut[a] {
			if !w.mayMirror() || ctx.Err() != nil || time.Now().After(end) {
				return false
			}
			granted, wait, err := w.store.TryReserve(ctx, a, hold.OpUpdate, 1)
			if err != nil {
				w.reportStoreError(ctx, "take from the budget", err)
				return false
			}
			if granted > 0 {
				gate <- struct{}{}
				wg.Go(func() {
					defer func() { <-gate }()
					if !w.mirrorHold(ctx, &m) {
						left.Store(true)
					}
				})
				break
			}
			if wait > maxBudgetWait {
				shut[a] = true
				break
			}
			select {
			case <-ctx.Done():
				return false
			case <-time.After(wait):
			}
		}
	}
	wg.Wait()
	return len(shut) == 0 && !left.Load()
}

// mirrorHold writes one hold's terms. The answer shows what stands there then: what earlier terms have left is taken out by a second request. It reports
// false where the hold would be found again at once: it was left to another replica, or Redis didn't take the note.
func (w *Worker) mirrorHold(ctx context.Context, m *hold.DueHold) bool {
	h := &m.Hold
	var known map[string]string
	for try := 0; ; try++ {
		pairs, key, fits := h.MetadataUpdate(known, m.DueAt)
		switch {
		case !fits:
			return w.commitUnmirrorable(ctx, h, hold.Answer{}, "they don't fit beside what stands there: Stripe keeps 50 pairs")
		case len(pairs) == 0:
			return w.commitMirrored(ctx, h, h.MarkMirrored(true))
		case try == 2:
			return w.commitUnmirrorable(ctx, h, hold.Answer{}, "Stripe shows other terms than were written")
		case try == 1: // rare, and so is waited for
			if !w.waitForBudget(ctx, h.Account, hold.OpUpdate) {
				return w.commitMirrored(ctx, h, h.DeferMirror(w.redisNow().Add(mirrorQuietPeriod)))
			}
		}
		a := w.callOutsideClaim(ctx, h.Account, hold.OpUpdate, w.o.CallTimeout, func(ctx context.Context) hold.Answer {
			return w.stripe.Update(ctx, h.PaymentIntent, h.Account, pairs, key)
		})
		switch a.Kind {
		case hold.AnswerOK:
			known = map[string]string{}
			if a.Intent != nil && a.Intent.Metadata != nil {
				known = a.Intent.Metadata
			}
		case hold.AnswerKeyInUse:
			return false // another replica is writing the very same: putting it off would take the hold away from under its note
		case hold.AnswerNotFound, hold.AnswerInvalid, hold.AnswerIdempotencyError, hold.AnswerUnexpectedState, hold.AnswerDeclined:
			return w.commitUnmirrorable(ctx, h, a, "Stripe doesn't take them")
		default:
			return w.commitMirrored(ctx, h, h.DeferMirror(w.redisNow().Add(mirrorRetryAfter)))
		}
	}
}

func (w *Worker) commitUnmirrorable(ctx context.Context, h *hold.Hold, a hold.Answer, why string) bool {
	w.log.Warn("a hold's terms can't be written to its intent: were Redis lost, this hold would not be found again",
		zap.String("hold", h.ID), zap.String("payment_intent", h.PaymentIntent), zap.String("account", h.Account), zap.String("reference", h.Reference),
		zap.String("reason", why), zap.String("code", a.Code), zap.String("message", a.Message), zap.String("request_id", a.RequestID))
	return w.commitMirrored(ctx, h, h.MarkMirrored(false))
}

// commitMirrored notes how it went. If the hold was changed or claimed meanwhile nothing is noted, and its terms are written once more. It reports whether Redis
// was there to tell.
func (w *Worker) commitMirrored(ctx context.Context, h *hold.Hold, c hold.Decision) bool {
	if h.NextOp != 0 && h.NextAt.Before(w.redisNow().Add(time.Second)) {
		return true // it fell due during the request, and may be in the queue: it must not be taken out of it by this
	}
	if _, err := w.store.Commit(ctx, []hold.RecordWrite{w.newWrite(h, &c, w.redisNow())}); err != nil {
		w.reportStoreError(ctx, "note that terms are mirrored", err)
		return false
	}
	return true
}
