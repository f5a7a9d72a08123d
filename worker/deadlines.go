package worker

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// jobBatchSize is how many holds of a partition a job reads at once.
	jobBatchSize = 256
	// maxJobBatches bounds the batches of one run of a job.
	maxJobBatches = 1000
)

// DeadlineStore reads the deadline milestones that are due. store.Store
// implements it.
type DeadlineStore interface {
	ListDueMilestones(ctx context.Context, n int) ([]hold.HoldWithDueMilestone, time.Time, error)
	// ReadNextMilestone returns the earliest milestone, zero if there is none.
	ReadNextMilestone(ctx context.Context) (time.Time, error)
}

// MilestoneCommitter commits decisions about milestones. [commit.Committer]
// implements it.
type MilestoneCommitter interface {
	CommitMilestones(
		ctx context.Context,
		passed []commit.PassedMilestoneChange,
	) (advanced int, err error)
}

// DeadlineOptions configure a [DeadlineJob].
type DeadlineOptions struct {
	Rules  hold.DecisionRules
	Clock  *clock.RedisClock
	Health *health.Reporter
	Gate   *changes.PollGate // closed until the next milestone
	// WakeIfGateOpen is [Dispatcher.WakeIfGateOpen].
	WakeIfGateOpen func(ctx context.Context)
}

// DeadlineJob passes deadline milestones: it warns, applies on_expiry, and
// makes holds past their deadline due for a read.
type DeadlineJob struct {
	store     DeadlineStore
	committer MilestoneCommitter
	o         DeadlineOptions
}

func newDeadlineJob(s DeadlineStore, c MilestoneCommitter, o DeadlineOptions) *DeadlineJob {
	return &DeadlineJob{store: s, committer: c, o: o}
}

// Run passes every milestone that is due. Then it wakes the dispatcher, so that
// ready holds and expired leases are found while the capture schedule is
// outside its window.
func (j *DeadlineJob) Run(ctx context.Context) {
	defer j.o.WakeIfGateOpen(ctx)
	if !j.o.Gate.IsOpen(ctx) {
		return
	}
	for range maxJobBatches {
		poll := j.o.Gate.BeginPoll()
		found, now, err := j.store.ListDueMilestones(ctx, jobBatchSize)
		j.o.Clock.AdjustTo(now)
		if err != nil {
			j.o.Health.ReportError(ctx, "read due deadlines", err)
		}
		if len(found) == 0 {
			if err == nil {
				j.pausePollingUntilNextMilestone(ctx, poll, now)
			}
			return
		}
		if j.passDueMilestones(ctx, found, now) == 0 || len(found) < jobBatchSize {
			return
		}
	}
}

// pausePollingUntilNextMilestone closes the gate until the next milestone. No milestone was due
// at now.
func (j *DeadlineJob) pausePollingUntilNextMilestone(
	ctx context.Context,
	poll changes.Poll,
	now time.Time,
) {
	next, err := j.store.ReadNextMilestone(ctx)
	if err != nil {
		j.o.Health.ReportError(ctx, "read the next deadline", err)
		return
	}
	poll.CloseUntil(next, now)
}

// passDueMilestones passes milestones and returns how many this replica
// passed. If several replicas find the same milestone, one of them passes it.
func (j *DeadlineJob) passDueMilestones(
	ctx context.Context, found []hold.HoldWithDueMilestone, now time.Time,
) int {
	passed := make([]commit.PassedMilestoneChange, len(found))
	for i := range found {
		h := &found[i].Hold
		m := &passed[i]
		m.Before, m.DueAt, m.At = h, found[i].DueAt, now
		if h.State == 0 { // the milestone has no hold and is removed
			m.Decision = hold.Decision{Hold: *h, Unchanged: true}
			continue
		}
		m.Decision, m.Next = h.ApplyMilestone(found[i].DueAt, now, j.o.Rules)
	}
	advanced, err := j.committer.CommitMilestones(ctx, passed)
	if err != nil {
		j.o.Health.ReportError(ctx, "pass deadlines", err)
	}
	return advanced
}
