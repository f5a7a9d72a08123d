package worker

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

var errNoAnswer = errors.New("Stripe did not answer")

// commitBatchSize bounds how many results share a round trip.
const commitBatchSize = 256

// commitTimeoutAtStop is how long results are kept for a Redis that is away once the worker stops. After it they are left to whoever takes over
// the lease, and the idempotency key makes Stripe tell the same again.
const commitTimeoutAtStop = 5 * time.Second

// commitBatchDelay is how long a result waits for others that are about to come: a script for each would cost Redis more than the work in it (38 µs a hold
// in batches of 16, 24 in batches of 32 and more).
const commitBatchDelay = 5 * time.Millisecond

// completeOutcomes commits results, as many at once as have come in while the last ones were written, and a little longer while others are at Stripe.
func (w *Worker) completeOutcomes() {
	late := time.NewTimer(commitBatchDelay)
	defer late.Stop()
	batch := make([]outcome, 0, commitBatchSize)
	for first := range w.results {
		batch = append(batch[:0], first)
		late.Reset(commitBatchDelay)
	collect:
		for len(batch) < commitBatchSize {
			select {
			case r, ok := <-w.results:
				if !ok {
					break collect
				}
				batch = append(batch, r)
				continue
			default:
			}
			if len(batch) >= w.o.Concurrency || w.awaitingStripe.Load() == 0 {
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
		w.commitBatch(batch)
		w.uncommittedClaims.Add(-int64(len(batch)))
		clear(batch) // or it would keep what the last burst's holds refer to
		w.Wake()
	}
}

func (w *Worker) commitBatch(batch []outcome) {
	writes := make([]hold.RecordWrite, len(batch))
	for i := range batch {
		r := &batch[i]
		writes[i] = w.newWrite(&r.before, &r.decision, r.at)
	}
	var stopped time.Time
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		ok, err := w.store.Commit(ctx, writes)
		cancel()
		if err == nil {
			w.reportStoreRecovered()
			for i := range batch {
				w.recordOutcome(&batch[i], ok[i])
			}
			return
		}
		w.reportStoreError(context.Background(), "write outcomes", err)
		if !w.running.Load() {
			if stopped.IsZero() {
				stopped = time.Now()
			}
			if time.Since(stopped) > commitTimeoutAtStop {
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

// newWrite is the change as the store takes it. A hold that its policy would act on without a warning is handed over first.
func (w *Worker) newWrite(before *hold.Hold, c *hold.Decision, now time.Time) hold.RecordWrite {
	c.HandOver(before, now, w.o.Rules)
	return hold.RecordWrite{
		Version: before.Version, Hold: c.Hold, PreviousReference: before.Reference,
		Placement: c.Placement(before, now, w.o.Rules), Events: w.encodeEvents(c, before.Version+1, now),
	}
}

// recordOutcome logs a committed result. One that was not committed belongs to another replica, which meets the same truth.
func (w *Worker) recordOutcome(r *outcome, committed bool) {
	if !committed {
		w.log.Warn("another replica has taken this hold over; what it finds counts",
			zap.String("hold", r.before.ID), zap.Stringer("op", r.call.Op), zap.Stringer("answer", r.answer.Kind), zap.String("request_id", r.answer.RequestID))
		return
	}
	due := r.before.NextAt
	if own := r.before.ActionTime(); r.before.Reason == hold.CauseSchedule && !own.IsZero() {
		due = own
	}
	lateness := max(0, r.at.Sub(due))
	w.recordEvents(&r.decision, r.call, r.answer, lateness)
}
