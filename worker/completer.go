package worker

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	// commitBatchSize bounds how many outcomes share a round trip.
	commitBatchSize = 256
	// commitBatchDelay is how long an outcome waits for others that are about
	// to come: in batches a hold costs Redis less than a script of its own.
	commitBatchDelay = 5 * time.Millisecond
	// commitTimeout bounds one try to write a batch.
	commitTimeout = 5 * time.Second
	// commitRetryBase and commitRetryLimit bound the wait between two tries.
	commitRetryBase  = 50 * time.Millisecond
	commitRetryLimit = 2 * time.Second
	// commitTimeoutAtStop is how long outcomes are kept for an unavailable
	// Redis once the worker stops. After it they are left to the replica that
	// takes over the lease: the idempotency key makes Stripe answer the same
	// again.
	commitTimeoutAtStop = 5 * time.Second
)

// Committer writes decisions. [commit.Committer] implements it.
type Committer interface {
	Commit(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// CompleterOptions configure a [Completer].
type CompleterOptions struct {
	Concurrency int // calls to Stripe under way at once
	Health      *health.Redis
	Wake        func() // wakes the dispatcher when there is room for claims
	Logger      *zap.Logger
}

// Completer commits outcomes in batches and keeps them while Redis is
// unavailable.
type Completer struct {
	committer Committer
	o         CompleterOptions
	flight    *inFlight
	outcomes  <-chan outcome
	changes   []commit.Change // buffer of the batch that is written
}

// outcome is an executed claim on its way to the store.
type outcome struct {
	before   hold.Hold // as claimed; its version is the fencing token
	decision hold.Decision
	call     hold.Call // the last one that was sent
	answer   hold.Answer
	at       time.Time // of the decision, Redis' time
}

func newCompleter(
	c Committer, f *inFlight, outcomes <-chan outcome, o CompleterOptions,
) *Completer {
	return &Completer{committer: c, o: o, flight: f, outcomes: outcomes,
		changes: make([]commit.Change, 0, commitBatchSize)}
}

// Run commits outcomes until their channel is closed: as many at once as have
// come in while the last ones were written, and a little longer while others
// await Stripe. Once stopping ends it keeps outcomes for an unavailable Redis
// only for a short time.
func (c *Completer) Run(stopping context.Context) {
	delay := time.NewTimer(commitBatchDelay)
	defer delay.Stop()
	batch := make([]outcome, 0, commitBatchSize)
	for first := range c.outcomes {
		delay.Reset(commitBatchDelay)
		batch = c.collect(append(batch[:0], first), delay.C)
		c.commitBatch(stopping, batch)
		c.flight.uncommitted.Add(-int64(len(batch)))
		clear(batch) // or it would keep the last burst's holds alive
		clear(c.changes)
		c.o.Wake()
	}
}

// collect adds outcomes to a batch until it is full or no more are about to
// come.
func (c *Completer) collect(batch []outcome, late <-chan time.Time) []outcome {
	for len(batch) < commitBatchSize {
		select {
		case out, ok := <-c.outcomes:
			if !ok {
				return batch
			}
			batch = append(batch, out)
			continue
		default:
		}
		if len(batch) >= c.o.Concurrency || c.flight.awaitingStripe.Load() == 0 {
			return batch
		}
		select {
		case out, ok := <-c.outcomes:
			if !ok {
				return batch
			}
			batch = append(batch, out)
		case <-late:
			return batch
		}
	}
	return batch
}

// commitBatch writes a batch, again and again while Redis is unavailable.
func (c *Completer) commitBatch(stopping context.Context, batch []outcome) {
	c.changes = c.changes[:0]
	for i := range batch {
		c.changes = append(c.changes, batch[i].change())
	}
	var stoppedAt time.Time
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		written, err := c.committer.Commit(ctx, c.changes)
		cancel()
		if err == nil {
			c.o.Health.ReportSuccess()
			c.logTakeovers(batch, written)
			return
		}
		c.o.Health.ReportError(context.Background(), "write outcomes", err)
		if stopping.Err() != nil {
			if stoppedAt.IsZero() {
				stoppedAt = time.Now()
			}
			if time.Since(stoppedAt) > commitTimeoutAtStop {
				c.logUncommitted(batch)
				return
			}
		}
		time.Sleep(execute.Backoff(try, commitRetryBase, commitRetryLimit))
	}
}

// change is the outcome as the committer takes it.
func (o *outcome) change() commit.Change {
	due := o.before.NextAt
	if own := o.before.ActionTime(); o.before.Reason == hold.CauseSchedule && !own.IsZero() {
		due = own
	}
	return commit.Change{Before: &o.before, Decision: o.decision, Call: o.call, Answer: o.answer,
		Lateness: max(0, o.at.Sub(due)), At: o.at}
}

// logTakeovers logs outcomes that were not written: another replica has the
// hold and meets the same truth.
func (c *Completer) logTakeovers(batch []outcome, written []bool) {
	for i := range batch {
		if !written[i] {
			c.o.Logger.Warn("another replica has taken over this hold; its outcome counts",
				batch[i].fields()...)
		}
	}
}

func (c *Completer) logUncommitted(batch []outcome) {
	for i := range batch {
		c.o.Logger.Error(
			"outcome not written before stopping; another replica asks for it again when the lease ends",
			batch[i].fields()...)
	}
}

func (o *outcome) fields() []zap.Field {
	return []zap.Field{zap.String("hold", o.before.ID), zap.Stringer("op", o.call.Op),
		zap.Stringer("answer", o.answer.Kind), zap.String("request_id", o.answer.RequestID)}
}
