package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/bulkread"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// HoldReader reads holds. store.Holds implements it, in store/holds.go.
type HoldReader interface {
	// ReadHolds returns the holds in the order of ids and Redis' time. A hold
	// that does not exist is nil.
	ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
}

// Committer writes decisions. [commit.Committer] implements it.
type Committer interface {
	// CommitWithRetry reports for each change whether it was written; false
	// means that another writer was first.
	CommitWithRetry(ctx context.Context, changes []commit.Change) ([]bool, error)
	// RecordCommittedDespiteError logs and counts a change that was written
	// although its commit did not report so.
	RecordCommittedDespiteError(change commit.Change)
}

// StripeCaller sends reads to Stripe under the shared budget. gateway.Caller
// implements it.
type StripeCaller interface {
	bulkread.BatchCaller
	// IsStripeAvailable reports whether Stripe answers and accepts the key.
	IsStripeAvailable() bool
	// IsKeyRejected reports whether Stripe rejects the key.
	IsKeyRejected() bool
}

// maxConflictRetries bounds how often a request is decided because another
// writer changed the hold first.
const maxConflictRetries = 5

// tooManyConflictsError returns the error of a request that still conflicts
// with other writers after maxConflictRetries.
func tooManyConflictsError(id string) error {
	return fmt.Errorf("concurrent changes to hold %s: %w", id, health.ErrUnavailable)
}

// readHoldOrNil returns a hold and Redis' time. A hold that does not exist is nil.
// An error wraps [health.ErrUnavailable].
func readHoldOrNil(
	ctx context.Context, holds HoldReader, h *health.Reporter, id string,
) (*hold.Hold, time.Time, error) {
	found, now, err := holds.ReadHolds(ctx, id)
	if err != nil {
		return nil, now, h.ReportAndWrapUnavailable(ctx, "read a hold", err)
	}
	return found[0], now, nil
}

// commitChangeIfUnmodified writes one change. It returns false if another
// writer was first. The committer may hand the hold over to the operator;
// change then has the decision that was written. An error wraps
// [health.ErrUnavailable].
func commitChangeIfUnmodified(
	ctx context.Context, c Committer, h *health.Reporter, change *commit.Change,
) (written bool, err error) {
	changes := []commit.Change{*change}
	ok, err := c.CommitWithRetry(ctx, changes)
	*change = changes[0]
	if err != nil {
		return false, h.ReportAndWrapUnavailable(ctx, "write a hold", err)
	}
	return ok[0], nil
}

// queueIntentRefresh queues an intent for the [IntentRefresher]. An error wraps
// [health.ErrUnavailable].
func queueIntentRefresh(
	ctx context.Context,
	s WebhookStore,
	h *health.Reporter,
	id, account string,
	adoptUnknown bool,
) error {
	if err := s.RequestRefresh(ctx, id, account, adoptUnknown); err != nil {
		return h.ReportAndWrapUnavailable(ctx, "queue a refresh", err)
	}
	return nil
}
