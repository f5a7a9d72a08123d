package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/health"
	"go.uber.org/zap"
)

// clockSlack is the maximum difference between two replicas' readings of Redis'
// time.
const clockSlack = 2 * time.Second

// comparison performs one run in this replica, from its accounts to its end.
type comparison struct {
	run      *run
	accounts *accountCollector
	lists    *listComparer
	unlisted *unlistedComparer
	listed   *listedIntentIDs // PaymentIntents that have a hold
	health   *health.Reporter
	observer Observer // may be nil
	log      *zap.Logger
	done     chan struct{} // closed at the end

	partial bool // another replica read some lists, so listed is incomplete
}

// newComparison returns a comparison of the run and connects its parts. All runs
// of the replica share the reporter.
func newComparison(
	r *run, s Stores, reader *pacedRetriever, reporter *findingReporter, o *Options,
) *comparison {
	listed := &listedIntentIDs{}
	schedule := &scheduleReader{holds: s.Holds, run: r, clock: o.Clock, health: o.Health}
	findings := &findingRecorder{run: r, reporter: reporter}
	leftovers := &leftoverReleaser{
		reader: reader, findings: findings, clock: o.Clock, log: o.Logger,
	}
	proposer := &changeProposer{
		rules: o.Rules, clock: o.Clock, findings: findings, leftovers: leftovers,
	}
	writer := &changeWriter{
		run: r, committer: o.Committer, clock: o.Clock, listed: listed, findings: findings,
		leftovers: leftovers,
	}
	pages := &pageComparer{
		run: r, schedule: schedule, listed: listed, proposer: proposer, writer: writer,
		contradictions: &contradictionVerifier{
			run: r, reader: reader, writer: writer, clock: o.Clock,
		},
	}
	ranges := &rangeComparer{
		run: r, reader: reader, pages: pages, findings: findings, log: o.Logger,
	}
	return &comparison{
		run: r, listed: listed, health: o.Health, observer: o.Observer, log: o.Logger,
		done: make(chan struct{}),
		accounts: &accountCollector{
			schedule: schedule, store: s.Accounts, known: o.Accounts, run: r,
		},
		lists: &listComparer{
			run: r, reader: reader, pages: pages, ranges: ranges, findings: findings,
			log: o.Logger,
		},
		unlisted: &unlistedComparer{
			run: r, schedule: schedule, reader: reader, listed: listed, proposer: proposer,
			writer: writer, clock: o.Clock,
		},
	}
}

// restoreCheckpoint takes over the run of another replica.
func (c *comparison) restoreCheckpoint(left runCheckpoint, replica string) {
	left.Replica, left.State, left.Error = replica, RunRunning, ""
	left.Takeovers++
	left.initMaps()
	c.run.state = left
	c.partial = len(left.AccountOrder) > 0
}

// runAndLog runs the comparison to its end, saves the end, and logs both.
func (c *comparison) runAndLog(ctx context.Context) {
	defer close(c.done)
	s := &c.run.state
	fields := []zap.Field{
		zap.String("run", s.ID), zap.Bool("dry_run", c.run.dryRun), zap.String("by", s.By),
	}
	if s.Takeovers > 0 {
		fields = append(fields, zap.Int("position", s.AccountIndex+1),
			zap.Int("accounts", len(s.AccountOrder)), zap.String("after", s.AfterIntent))
		c.log.Info("reconcile.resumed", fields...)
	} else {
		c.log.Info("reconcile.started", fields...)
	}
	err := c.compareBothWays(ctx)
	if notSaved := c.saveRunEnd(ctx, err); err == nil {
		err = notSaved // another replica continues the run and finishes it
	}
	fields = c.run.logFields()
	switch {
	case err == nil:
		c.log.Info("reconcile.finished", fields...)
		if c.observer != nil && !c.run.dryRun {
			c.observer.ReconcileFinished(c.run.currentReport())
		}
	case ctx.Err() != nil, errors.Is(err, errTokenOutdated):
		c.log.Info("reconcile.left", append(fields, zap.Error(err))...)
	default:
		c.log.Warn("reconcile.interrupted", append(fields, zap.Error(err))...)
	}
}

// saveRunEnd saves the end of the run; cause is nil if the run finished.
func (c *comparison) saveRunEnd(ctx context.Context, cause error) error {
	err := c.run.saveEndAndReleaseLock(ctx, cause)
	if err != nil && !errors.Is(err, errTokenOutdated) {
		c.health.ReportError(ctx, "save the end of a comparison", err)
	}
	return err
}

// compareBothWays compares each account's list with the schedule, then each
// unlisted hold with Stripe.
func (c *comparison) compareBothWays(ctx context.Context) error {
	if err := c.compareLists(ctx); err != nil {
		return err
	}
	if c.partial || c.listed.truncated {
		// Reading every open hold one by one would cost more than the next run.
		c.log.Info("reconcile: unlisted holds are left to the next run",
			zap.String("run", c.run.state.ID))
		return nil
	}
	return c.unlisted.compareUnlistedHolds(ctx)
}

// compareLists compares the lists of the accounts, from the run's position.
func (c *comparison) compareLists(ctx context.Context) error {
	s := &c.run.state
	if len(s.AccountOrder) == 0 {
		order, err := c.accounts.collectAccounts(ctx)
		if err != nil {
			return err
		}
		c.run.updateCheckpoint(func(s *runCheckpoint) {
			s.AccountOrder = order
			s.Accounts = len(order)
		})
		if err := c.run.saveProgressAndRenewLock(ctx); err != nil {
			return err
		}
	}
	for {
		if s.AccountIndex >= len(s.AccountOrder) {
			// Other replicas may have shared more accounts meanwhile.
			if more, err := c.accounts.addNewAccountsToRun(ctx); err != nil || !more {
				return err
			}
		}
		if err := c.lists.compareAccount(ctx, s.AccountOrder[s.AccountIndex]); err != nil {
			return err
		}
		c.run.updateCheckpoint(func(s *runCheckpoint) {
			s.AccountIndex, s.AfterIntent, s.Ranges = s.AccountIndex+1, "", nil
			s.updateProgressPercent(0)
		})
		if err := c.run.saveProgressAndRenewLock(ctx); err != nil {
			return err
		}
	}
}
