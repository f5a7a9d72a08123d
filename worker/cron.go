package worker

import (
	"context"
	"fmt"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

// Schedules are the cron expressions of the jobs. Only the first five are
// settings.
type Schedules struct {
	Capture, Expiry, Report, Purge, Reconcile string

	Verify  string // reads holds that were accepted unverified
	Resume  string // continues attempts to authorize
	Refresh string // reads intents that webhooks announced
	Inbox   string // reads requests from the Redis inbox
	Mirror  string // writes terms to metadata
}

// cronJob is one job and its cron expression.
type cronJob struct {
	name, schedule string
	run            func(ctx context.Context)
}

// newCron returns a cron scheduler for jobs. It skips a tick while the job's
// last run continues. A panic ends one run of one job.
func newCron(ctx context.Context, log *zap.Logger, jobs []cronJob) (*cron.Cron, error) {
	logger := cronLogger{log}
	c := cron.New(cron.WithLogger(logger),
		cron.WithChain(cron.Recover(logger), cron.SkipIfStillRunning(logger)))
	for _, j := range jobs {
		if _, err := c.AddFunc(j.schedule, func() { j.run(ctx) }); err != nil {
			return nil, fmt.Errorf("invalid schedule_%s %q: want %q or %q: %w", j.name, j.schedule,
				"@every 1s", "TZ=Europe/Paris */5 9-18 * * *", err)
		}
	}
	return c, nil
}

// cronLogger logs cron's messages through zap.
type cronLogger struct{ log *zap.Logger }

// Info implements [cron.Logger].
func (l cronLogger) Info(msg string, keysAndValues ...any) {
	l.log.Sugar().Debugw("cron: "+msg, keysAndValues...)
}

// Error implements [cron.Logger].
func (l cronLogger) Error(err error, msg string, keysAndValues ...any) {
	l.log.Sugar().Errorw("cron: "+msg, append(keysAndValues, "error", err)...)
}
