// Package health tracks whether Redis answers and whether the stages of the
// worker succeed.
//
// The parts of the worker report their errors here instead of logging them, so
// that an outage is one log line a minute instead of one for each part and
// second. A stage that has had no success for [StallLimit] counts as stalled,
// even if Redis answers a ping.
package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// ErrUnavailable is wrapped by errors after which a caller can send the same
// request again.
var ErrUnavailable = errors.New("temporarily unavailable: send the same again in a moment")

// maxHoldsLogged bounds the holds that a line of the log names.
const maxHoldsLogged = 10

// ErrMemoryLimit is wrapped by errors of requests that Redis refused because it
// has reached maxmemory. Nothing was written. It wraps [ErrUnavailable].
var ErrMemoryLimit = fmt.Errorf("the memory of Redis is full: %w", ErrUnavailable)

// ErrCurrencyUnchecked is wrapped by errors of requests that name the currency of their amounts
// while Stripe cannot be read to compare it. Nothing was written. It wraps [ErrUnavailable].
var ErrCurrencyUnchecked = fmt.Errorf("the currency cannot be compared with Stripe: %w",
	ErrUnavailable)

// logInterval limits how often an error is logged that every poll finds again.
const logInterval = time.Minute

// Reporter tracks whether Redis answers, and the stages. Make it
// with [NewRedisHealthReporter].
type Reporter struct {
	log         *zap.Logger
	unavailable atomic.Bool
	loggedAt    sync.Map // what was logged last, by subject: time.Time
	stages      stageRegistry
}

// NewRedisHealthReporter returns a reporter that logs to log.
func NewRedisHealthReporter(log *zap.Logger) *Reporter {
	return &Reporter{log: log}
}

// ReportError records that an operation such as "claim holds" failed. If ctx is
// of a [StageRun], the run fails. It logs an outage, a rejected operation and
// unreadable records once a minute. Unreadable records are neither an outage
// nor a failure, because other holds are not affected.
func (r *Reporter) ReportError(ctx context.Context, operation string, err error) {
	if ctx.Err() != nil {
		return
	}
	rejected := redisRejectionReply(err)
	if rejected == "" && errors.Is(err, hold.ErrUnreadableRecord) {
		ids := hold.UnreadableHoldIDsInError(err)
		r.logOncePerMinute("unreadable",
			"unreadable records in Redis; other holds are not affected", operation,
			zap.Strings("holds", ids[:min(len(ids), maxHoldsLogged)]),
			zap.Int("count", len(ids)), zap.NamedError("error", hold.ErrUnreadableRecord))
		return
	}
	if run, ok := ctx.Value(stageRunContextKey{}).(*StageRun); ok {
		run.RecordFailure(operation, err)
	}
	if rejected != "" {
		r.logOncePerMinute(operation, "Redis rejects an operation: "+HintForCause(rejected),
			operation, zap.Error(err))
		return
	}
	if r.unavailable.CompareAndSwap(false, true) {
		r.loggedAt.Delete("unavailable") // a new outage
	}
	r.logOncePerMinute("unavailable", "Redis unavailable: claims paused", operation,
		zap.Error(err))
}

func (r *Reporter) logOncePerMinute(
	subject, message, operation string, fields ...zap.Field,
) {
	now := time.Now()
	last, found := r.loggedAt.LoadOrStore(subject, now)
	if found {
		at, _ := last.(time.Time)
		if now.Sub(at) < logInterval || !r.loggedAt.CompareAndSwap(subject, last, now) {
			return
		}
	}
	r.log.Error(message, append(fields, zap.String("operation", operation))...)
}

// ReportSuccess records that Redis answered, and logs the end of an outage.
func (r *Reporter) ReportSuccess() {
	if r.unavailable.CompareAndSwap(true, false) {
		r.log.Info("Redis available again")
	}
}

// ReportAndWrapUnavailable reports err as [Reporter.ReportError]
// does, and returns an error for an API caller. That wraps [ErrUnavailable] and
// not err, which may contain addresses. If a record is unreadable, the same
// request cannot succeed later: the error is then a *[hold.Problem].
func (r *Reporter) ReportAndWrapUnavailable(
	ctx context.Context, operation string, err error,
) error {
	if ctx.Err() == nil {
		r.ReportError(ctx, operation, err)
		r.log.Debug("request failed: Redis unavailable", zap.String("operation", operation),
			zap.Error(err))
	}
	if ids := hold.UnreadableHoldIDsInError(err); len(ids) > 0 {
		return hold.NewUnreadableProblem(ids[0])
	}
	if IsMemoryLimit(err) {
		return fmt.Errorf("%w (%s)", ErrMemoryLimit, operation)
	}
	return fmt.Errorf("%w (%s)", ErrUnavailable, operation)
}

// ReadinessCheckResult is one line of the readiness report.
type ReadinessCheckResult struct {
	// redis, stripe, scheduler, stages or redis_settings; schedule while it is
	// rebuilt
	Name string
	OK   bool
	// Detail says what failed and what to do. A check that is OK may have a
	// detail that the operator should know.
	Detail string
}
