package worker

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// PurgeStore finds settled holds to delete. store.Queue and store.Inbox
// implement it.
type PurgeStore interface {
	// ListHoldsSettledBefore returns up to n holds that were settled before a time,
	// after those that it returned for the same cursor.
	ListHoldsSettledBefore(ctx context.Context, before time.Time, cursor *hold.SettledCursor,
		n int) (found []hold.HoldWithDueMilestone, more bool, err error)
	// PruneConsumers deletes the inbox consumers of dead replicas.
	PruneConsumers(ctx context.Context) error
}

// HoldDeleter deletes settled holds. [commit.Committer] implements it.
type HoldDeleter interface {
	DeleteHoldsIfUnmodified(ctx context.Context, holds []hold.Hold) (deleted int, err error)
}

// PurgeOptions configure a [PurgeJob].
type PurgeOptions struct {
	Retention time.Duration // of settled holds
	Clock     *clock.RedisClock
	Health    *health.Reporter
	Logger    *zap.Logger
}

// PurgeJob deletes settled holds after their retention.
type PurgeJob struct {
	store   PurgeStore
	deleter HoldDeleter
	o       PurgeOptions
}

func newPurgeJob(s PurgeStore, d HoldDeleter, o PurgeOptions) *PurgeJob {
	return &PurgeJob{store: s, deleter: d, o: o}
}

// Run deletes every hold whose retention is over.
func (j *PurgeJob) Run(ctx context.Context) {
	before := j.o.Clock.Now().Add(-j.o.Retention)
	deleted := 0
	var cursor hold.SettledCursor // unreadable records stay behind it
	for range maxJobBatches {
		found, more, err := j.store.ListHoldsSettledBefore(ctx, before, &cursor, jobBatchSize)
		if err != nil {
			j.o.Health.ReportError(ctx, "read settled holds", err)
		}
		settled := make([]hold.Hold, 0, len(found))
		for i := range found {
			if found[i].Hold.State.IsFinal() {
				settled = append(settled, found[i].Hold)
			}
		}
		n, err := j.deleter.DeleteHoldsIfUnmodified(ctx, settled)
		if err != nil {
			j.o.Health.ReportError(ctx, "delete settled holds", err)
			return
		}
		deleted += n
		if !more {
			break
		}
	}
	if err := j.store.PruneConsumers(ctx); err != nil {
		j.o.Health.ReportError(ctx, "prune inbox consumers", err)
	}
	if deleted > 0 {
		j.o.Logger.Info("purged settled holds", zap.Int("holds", deleted),
			zap.Duration("older_than", j.o.Retention))
	}
}
