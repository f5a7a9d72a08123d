package worker

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

var errAway = errors.New("Stripe did not answer")

// settleBatch bounds how many results share a round trip.
const settleBatch = 256

// settlePatience is how long results are kept for a Redis that is away once the worker stops. After it they are left to whoever takes over
// the lease, and the idempotency key makes Stripe tell the same again.
const settlePatience = 5 * time.Second

// settleWait is how long a result waits for others that are about to come: a script for each would cost Redis more than the work in it (38 µs a hold
// in batches of 16, 24 in batches of 32 and more).
const settleWait = 5 * time.Millisecond

// settle commits results, as many at once as have come in while the last ones were written, and a little longer while others are at Stripe.
func (w *Worker) settle() {
	late := time.NewTimer(settleWait)
	defer late.Stop()
	batch := make([]result, 0, settleBatch)
	for first := range w.results {
		batch = append(batch[:0], first)
		late.Reset(settleWait)
	collect:
		for len(batch) < settleBatch {
			select {
			case r, ok := <-w.results:
				if !ok {
					break collect
				}
				batch = append(batch, r)
				continue
			default:
			}
			if len(batch) >= w.o.Concurrency || w.unanswered.Load() == 0 {
				break
			}
			select {
			case r, ok := <-w.results:
				if !ok {
					break collect
				}
				batch = append(batch, r)
			case <-late.C:
				break collect
			}
		}
		w.commit(batch)
		w.outstanding.Add(-int64(len(batch)))
		clear(batch) // or it would keep what the last burst's holds refer to
		w.Nudge()
	}
}

func (w *Worker) commit(batch []result) {
	writes := make([]hold.Write, len(batch))
	for i := range batch {
		r := &batch[i]
		writes[i] = w.write(&r.before, &r.change, r.at)
	}
	var stopped time.Time
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		ok, err := w.store.Commit(ctx, writes)
		cancel()
		if err == nil {
			w.storeWorks()
			for i := range batch {
				w.tell(&batch[i], ok[i])
			}
			return
		}
		w.storeFailed(context.Background(), "write outcomes", err)
		if !w.running.Load() {
			if stopped.IsZero() {
				stopped = time.Now()
			}
			if time.Since(stopped) > settlePatience {
				for i := range batch {
					r := &batch[i]
					w.log.Error("an outcome could not be written before stopping; it is asked for again once the lease has ended",
						zap.String("hold", r.before.ID), zap.Stringer("op", r.call.Op), zap.Stringer("answer", r.answer.Kind), zap.String("request_id", r.answer.RequestID))
				}
				return
			}
		}
		time.Sleep(wait)
	}
}

// write is the change as the store takes it. A hold that its policy would act on without a warning is handed over first.
func (w *Worker) write(before *hold.Hold, c *hold.Change, now time.Time) hold.Write {
	c.HandOver(before, now, w.o.Rules)
	return hold.Write{
		Version: before.Version, Hold: c.Hold, Was: before.Reference,
		Place: c.Place(before, now, w.o.Rules), Events: w.events(c, before.Version+1, now),
	}
}

// tell logs a committed result. One that was not committed belongs to another replica, which meets the same truth.
func (w *Worker) tell(r *result, committed bool) {
	if !committed {
		w.log.Warn("another replica has taken this hold over; what it finds counts",
			zap.String("hold", r.before.ID), zap.Stringer("op", r.call.Op), zap.Stringer("answer", r.answer.Kind), zap.String("request_id", r.answer.RequestID))
		return
	}
	due := r.before.NextAt
	if own := r.before.OwnTime(); r.before.Why == hold.CauseSchedule && !own.IsZero() {
		due = own
	}
	lateness := max(0, r.at.Sub(due))
	w.notice(&r.change, r.call, r.answer, lateness)
}
