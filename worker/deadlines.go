package worker

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// jobBatchSize is how many holds of a partition a job takes on at once.
	jobBatchSize = 256
	// maxJobBatches bounds how often one tick of a job goes on while there
	// is more.
	maxJobBatches = 1000
)

// DeadlineStore finds deadline milestones that are due.
type DeadlineStore interface {
	DueMilestones(ctx context.Context, n int) ([]hold.DueHold, time.Time, error)
}

// MilestoneCommitter writes what follows from milestones. [commit.Committer]
// implements it.
type MilestoneCommitter interface {
	PassMilestones(ctx context.Context, passed []commit.Milestone) (advanced int, err error)
}

// DeadlineOptions configure a [DeadlineJob].
type DeadlineOptions struct {
	Rules  hold.Rules
	Clock  *clock.Redis
	Health *health.Redis
	Wake   func() // wakes the dispatcher
}

// DeadlineJob watches deadlines: it warns, lets the policy act, and rereads
// holds that are past their deadline.
type DeadlineJob struct {
	store     DeadlineStore
	committer MilestoneCommitter
	o         DeadlineOptions
}

func newDeadlineJob(s DeadlineStore, c MilestoneCommitter, o DeadlineOptions) *DeadlineJob {
	return &DeadlineJob{store: s, committer: c, o: o}
}

// Run passes every milestone that is due. It wakes the dispatcher as well, so
// that ready holds and expired leases are found even while the capture job
// waits for its window.
func (j *DeadlineJob) Run(ctx context.Context) {
	defer j.o.Wake()
	for range maxJobBatches {
		found, now, err := j.store.DueMilestones(ctx, jobBatchSize)
		if err != nil {
			j.o.Health.ReportError(ctx, "read due deadlines", err)
		}
		if len(found) == 0 {
			return
		}
		j.o.Clock.Sync(now)
		if j.passMilestones(ctx, found, now) == 0 || len(found) < jobBatchSize {
			return
		}
	}
}

// passMilestones reports how many were passed here. Of several replicas that
// find a milestone, one passes it.
func (j *DeadlineJob) passMilestones(ctx context.Context, found []hold.DueHold, now time.Time) int {
	passed := make([]commit.Milestone, len(found))
	for i := range found {
		h := &found[i].Hold
		m := &passed[i]
		m.Before, m.DueAt, m.At = h, found[i].DueAt, now
		if h.State == 0 { // a milestone without a hold: it is removed
			m.Decision = hold.Decision{Hold: *h, Unchanged: true}
			continue
		}
		m.Decision, m.Next = h.PassMilestone(found[i].DueAt, now, j.o.Rules)
	}
	advanced, err := j.committer.PassMilestones(ctx, passed)
	if err != nil {
		j.o.Health.ReportError(ctx, "pass deadlines", err)
	}
	return advanced
}
