package worker

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/hold"
)

// countsLongestWait is how long the report uses the same counts of a schedule
// that does not change.
const countsLongestWait = 2 * time.Minute

// reportedCounts are the counts of the last report. They are read again when a
// partition has changed.
type reportedCounts struct {
	gate    *changes.PollGate
	counts  hold.HoldCounts
	nearest time.Time // deadline
}

// readIfChanged returns the counts and the nearest deadline.
func (r *reportedCounts) readIfChanged(
	ctx context.Context, store StatusStore,
) (counts hold.HoldCounts, nearest time.Time, err error) {
	if !r.gate.IsOpen(ctx) {
		return r.counts, r.nearest, nil
	}
	poll := r.gate.BeginPoll()
	if counts, err = store.CountHolds(ctx); err != nil {
		return counts, nearest, err
	}
	first, _, err := store.ReadSortedSetPage(ctx, hold.SetExpiring, hold.SortedSetPosition{}, 1)
	if len(first) > 0 {
		nearest = first[0].Hold.ExpiresAt
	}
	r.counts, r.nearest = counts, nearest
	if err == nil {
		poll.CloseForLongestWait()
	}
	return counts, nearest, nil
}
