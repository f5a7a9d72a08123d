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
	// commitBatchDelay is how long an outcome waits for others to share its
	// batch. One script for many holds costs Redis less than one for each.
	commitBatchDelay = 5 * time.Millisecond
	// commitTimeout bounds one try to write a batch.
	commitTimeout = 5 * time.Second
	// commitRetryBase and commitRetryLimit bound the wait between two tries.
	commitRetryBase  = 50 * time.Millisecond
	commitRetryLimit = 2 * time.Second
	// commitTimeoutAtStop is how long a stopping worker keeps outcomes while
	// Redis is unavailable. Then the replica that takes over the lease sends
	// the same call again, and Stripe gives the same answer under the same
	// idempotency key.
	commitTimeoutAtStop = 5 * time.Second
)

// Committer writes decisions. [commit.Committer] implements it.
type Committer interface {
	Commit(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// CompleterOptions configure a [Completer].
type CompleterOptions struct {
	Concurrency int // calls to Stripe under way at once
	Health      *health.Reporter
	Wake        func() // [Dispatcher.Wake], called when more holds may be claimed
	Logger      *zap.Logger
}

// Completer receives outcomes from the [Executor] and commits them in batches.
// It keeps them while Redis is unavailable.
type Completer struct {
	committer Committer
	o         CompleterOptions
	flight    *claimsInFlight
	outcomes  <-chan claimOutcome // from Executor.Run
	changes   []commit.Change     // reused for each batch
	stage     *health.Stage
}

func newCompleter(
	c Committer, f *claimsInFlight, outcomes <-chan claimOutcome, o CompleterOptions,
) *Completer {
	return &Completer{committer: c, o: o, flight: f, outcomes: outcomes,
		changes: make([]commit.Change, 0, commitBatchSize),
		stage:   o.Health.AddStage("commit", nil)}
}

// Run commits outcomes until their channel is closed. A batch has the outcomes
// that arrived while the last batch was written. While other claims await
// Stripe, it waits a few milliseconds for more. Once stopping ends, Run keeps
// outcomes for an unavailable Redis for [commitTimeoutAtStop] only.
func (c *Completer) Run(stopping context.Context) {
	delay := time.NewTimer(commitBatchDelay)
	defer delay.Stop()
	batch := make([]claimOutcome, 0, commitBatchSize)
	for first := range c.outcomes {
		delay.Reset(commitBatchDelay)
		batch = c.collectBatch(append(batch[:0], first), delay.C)
		c.commitBatch(stopping, batch)
		c.flight.uncommitted.Add(-int64(len(batch)))
		clear(batch) // lets the holds be garbage collected
		clear(c.changes)
		c.o.Wake()
	}
}

// collectBatch adds outcomes to a batch until the batch is full, late fires, or
// no claim awaits Stripe.
func (c *Completer) collectBatch(batch []claimOutcome, late <-chan time.Time) []claimOutcome {
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

// commitBatch writes a batch and retries while Redis is unavailable.
func (c *Completer) commitBatch(stopping context.Context, batch []claimOutcome) {
	c.changes = c.changes[:0]
	for i := range batch {
		c.changes = append(c.changes, batch[i].toChange())
	}
	var stoppedAt time.Time
	for try := 1; ; try++ {
		written, err := c.tryCommitBatch()
		if err == nil {
			c.logClaimsTakenOver(batch, written)
			return
		}
		if stopping.Err() != nil {
			if stoppedAt.IsZero() {
				stoppedAt = time.Now()
			}
			if time.Since(stoppedAt) > commitTimeoutAtStop {
				c.logUncommittedOutcomes(batch)
				return
			}
		}
		time.Sleep(execute.Backoff(try, commitRetryBase, commitRetryLimit))
	}
}

// tryCommitBatch writes the changes once.
func (c *Completer) tryCommitBatch() ([]bool, error) {
	ctx, run := c.stage.BeginRun(context.Background())
	defer run.EndRun()
	bounded, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	written, err := c.committer.Commit(bounded, c.changes)
	if err != nil {
		c.o.Health.ReportError(ctx, "write outcomes", err)
		return written, err
	}
	c.o.Health.ReportSuccess()
	return written, nil
}

// toChange returns the outcome as a change for the committer.
func (o *claimOutcome) toChange() commit.Change {
	return commit.Change{Before: &o.before, Decision: o.decision, Call: o.call, Answer: o.answer,
		Lateness: hold.LatenessAt(&o.before, o.at), At: o.at}
}

// logClaimsTakenOver logs the outcomes that were not written because another
// replica has taken over the hold. That replica reads the same state at Stripe.
func (c *Completer) logClaimsTakenOver(batch []claimOutcome, written []bool) {
	for i := range batch {
		if !written[i] {
			c.o.Logger.Warn("another replica has taken over this hold; outcome dropped",
				batch[i].logFields()...)
		}
	}
}

// logUncommittedOutcomes logs the outcomes of a batch that the stopping worker
// gives up.
func (c *Completer) logUncommittedOutcomes(batch []claimOutcome) {
	for i := range batch {
		c.o.Logger.Error("outcome not committed before the stop; another replica repeats the call "+
			"when the lease ends", batch[i].logFields()...)
	}
}

// logFields are the outcome's fields for a log line.
func (o *claimOutcome) logFields() []zap.Field {
	return []zap.Field{zap.String("hold", o.before.ID), zap.Stringer("op", o.call.Op),
		zap.Stringer("answer", o.answer.Kind), zap.String("request_id", o.answer.RequestID)}
}
