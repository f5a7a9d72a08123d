package reconcile

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/bulkread"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// verifyMaxWait is how long the reads of one tick wait for the budget. Between
// two ticks, requests and refreshes have the budget to themselves.
// verifyLockTime is above it by the time that the last reads usually take.
const (
	verifyMaxWait  = 2 * time.Second
	verifyLockTime = 2 * verifyMaxWait
)

// UnverifiedHoldReader finds holds that were accepted unverified. store.Store
// implements it.
type UnverifiedHoldReader interface {
	// ListUnverifiedHolds returns about n holds, evenly of all partitions,
	// nearest action or deadline first. Without any, the time is zero.
	ListUnverifiedHolds(ctx context.Context, n int) ([]hold.HoldWithDueMilestone, time.Time, error)
}

// VerifierCaller sends the verifier's reads to Stripe. gateway.Caller
// implements it.
type VerifierCaller interface {
	bulkread.BatchCaller
	// IsStripeAvailable reports whether Stripe answers and accepts the key.
	IsStripeAvailable() bool
	// ProbeIfUnavailable sends a harmless read if Stripe is unavailable. It
	// reports whether it sent one.
	ProbeIfUnavailable(ctx context.Context) bool
}

// NoRetryCommitter writes decisions without a retry. [commit.Committer]
// implements it.
type NoRetryCommitter interface {
	Commit(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// VerifierOptions configure a [Verifier].
type VerifierOptions struct {
	Wake func() // worker.Dispatcher.Wake
	// ListAbove is above how many holds of an account its list is read; 0 means
	// [bulkread.DefaultListAbove].
	ListAbove int
	Gate      *changes.PollGate // closed while no hold is unverified
	Locks     bulkread.JobLocks
	Clock     *clock.RedisClock
	Health    *health.Reporter
}

// Verifier is the job that reads the intents of holds that were accepted
// unverified. While Stripe is unavailable, it probes Stripe instead and wakes
// the dispatcher.
type Verifier struct {
	store     UnverifiedHoldReader
	caller    VerifierCaller
	reader    *bulkread.IntentRetriever
	committer NoRetryCommitter
	o         VerifierOptions
}

// NewVerifier returns a verifier.
func NewVerifier(
	store UnverifiedHoldReader, caller VerifierCaller, committer NoRetryCommitter,
	o VerifierOptions,
) *Verifier {
	return &Verifier{store: store, caller: caller, committer: committer, o: o,
		reader: bulkread.NewIntentRetriever(caller, o.ListAbove)}
}

// Run verifies the most urgent holds, as many as the budget allows within
// verifyMaxWait. The next tick verifies the others. One replica at a time
// verifies.
func (v *Verifier) Run(ctx context.Context) {
	if !v.caller.IsStripeAvailable() {
		if v.caller.ProbeIfUnavailable(ctx) {
			v.o.Wake()
		}
		return
	}
	if v.o.Gate.IsOpen(ctx) {
		bulkread.RunOnOneReplica(ctx, v.o.Locks, "verify", verifyLockTime, func() {
			v.verifyMostUrgent(ctx)
		})
	}
}

func (v *Verifier) verifyMostUrgent(ctx context.Context) {
	poll := v.o.Gate.BeginPoll()
	found, now, err := v.store.ListUnverifiedHolds(ctx, bulkread.MaxWaiting)
	if err != nil {
		v.o.Health.ReportError(ctx, "read unverified holds", err)
	} else if now.IsZero() {
		poll.CloseForLongestWait()
	}
	v.o.Clock.AdjustTo(now)
	var holds []hold.Hold
	var reads []bulkread.PendingRetrieve
	for i := range found {
		h := &found[i].Hold
		if h.State == 0 || h.State.IsFinal() || h.State == hold.Working {
			continue
		}
		holds, reads = append(holds, *h), append(reads, bulkread.NewPendingRetrieve(h))
	}
	batch := execute.CallBatchOptions{Concurrency: maxConcurrentReads, MaxWait: verifyMaxWait,
		Priority: hold.PriorityVerify}
	v.reader.RetrieveEach(ctx, reads, batch, func(i int, a hold.Answer) {
		h := &holds[i]
		switch {
		case a.Kind == hold.AnswerOK && a.Intent != nil:
			v.commitVerification(ctx, h, h.ApplyPaymentIntent(a.Intent, v.o.Clock.Now()))
		case a.Kind == hold.AnswerNotFound:
			v.commitVerification(ctx, h, h.ApplyIntentNotFound(v.o.Clock.Now()))
		}
	})
}

// commitVerification commits the decision about a verified hold. If another
// writer was first, a later tick verifies the hold again.
func (v *Verifier) commitVerification(ctx context.Context, before *hold.Hold, d hold.Decision) {
	if d.Unchanged {
		return
	}
	changes := []commit.Change{{Before: before, Decision: d}}
	if _, err := v.committer.Commit(ctx, changes); err != nil {
		v.o.Health.ReportError(ctx, "commit verified holds", err)
	}
}
