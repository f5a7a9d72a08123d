package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

// CronSchedules are the cron expressions of the jobs. Only the first five are
// settings.
type CronSchedules struct {
	Capture, Expiry, Report, Purge, Reconcile string

	Verify  string // reads holds that were accepted unverified
	Resume  string // continues attempts to authorize
	Refresh string // reads intents that webhooks announced
	Inbox   string // reads requests from the Redis inbox
	Mirror  string // writes terms to metadata

	RedisCheck string // repeats the checks of Redis' settings
}

// jobRetryInterval is when a job that failed runs again, if its schedule is
// slower.
const jobRetryInterval = 30 * time.Second

// cronJob is one job and its cron expression.
type cronJob struct {
	name, schedule string
	run            func(ctx context.Context)
	stage          *health.Stage // nil: the job uses neither Redis nor Stripe
}

// newCron returns a cron scheduler for jobs. It skips a tick while the job's
// last run continues. A panic ends one run of one job.
func newCron(ctx context.Context, log *zap.Logger, jobs []cronJob) (*cron.Cron, error) {
	logger := cronLogger{log}
	c := cron.New(cron.WithLogger(logger),
		cron.WithChain(cron.Recover(logger), cron.SkipIfStillRunning(logger)))
	for i := range jobs {
		j := &jobs[i]
		if _, err := c.AddFunc(j.schedule, func() { j.runWithRetry(ctx) }); err != nil {
			return nil, fmt.Errorf("invalid schedule_%s %q: want %q or %q: %w", j.name, j.schedule,
				"@every 1s", "TZ=Europe/Paris */5 9-18 * * *", err)
		}
	}
	return c, nil
}

// runWithRetry runs a job. A job with a slow schedule that fails runs again
// soon, so that an outage of Redis does not cost it an hour.
func (j *cronJob) runWithRetry(ctx context.Context) {
	if j.stage == nil {
		j.run(ctx)
		return
	}
	for !j.runOnce(ctx) && cronInterval(j.schedule) > jobRetryInterval {
		if execute.SleepUnlessCanceled(ctx, jobRetryInterval); ctx.Err() != nil {
			return
		}
	}
}

// runOnce runs a job and reports whether it succeeded.
func (j *cronJob) runOnce(ctx context.Context) (ok bool) {
	ctx, run := j.stage.BeginRun(execute.WithProgress(ctx, j.stage.ReportProgress))
	ended := false
	defer func() {
		if !ended {
			run.RecordPanic() // the panic goes on, and cron logs it
		}
		ok = run.EndRun()
	}()
	j.run(ctx)
	ended = true
	return ok
}

// newCronSchedule returns the schedule of a cron expression. It is nil for an
// invalid one, which [Engine.Run] rejects.
func newCronSchedule(spec string) health.NextRunFunc {
	s, err := cron.ParseStandard(spec)
	if err != nil {
		return nil
	}
	return s.Next
}

// earliestSchedule returns the schedule of what runs with each of several.
func earliestSchedule(schedules ...health.NextRunFunc) health.NextRunFunc {
	return func(after time.Time) (first time.Time) {
		for _, next := range schedules {
			if next == nil {
				continue
			}
			if at := next(after); first.IsZero() || at.Before(first) {
				first = at
			}
		}
		return first
	}
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
