// Package health tracks whether Redis answers, and logs each outage once.
//
// The parts of the worker report their errors here instead of logging them, so
// that an outage is two log lines instead of one for each part and second.
package health

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// ErrUnavailable is wrapped by errors after which a caller can send the same
// request again.
var ErrUnavailable = errors.New("temporarily unavailable: send the same again in a moment")

// unreadableLogInterval limits how often unreadable records are logged, because
// every poll reads them again.
const unreadableLogInterval = time.Minute

// RedisReporter tracks whether Redis answers. Make it with [NewRedisReporter].
type RedisReporter struct {
	log          *zap.Logger
	unavailable  atomic.Bool
	unreadableAt atomic.Int64 // when unreadable records were last logged, Unix nanoseconds
}

// NewRedisReporter returns a tracker that logs to log.
func NewRedisReporter(log *zap.Logger) *RedisReporter { return &RedisReporter{log: log} }

// ReportError records that an operation such as "claim holds" failed. It logs
// the first error of an outage. Unreadable records are not an outage.
func (r *RedisReporter) ReportError(ctx context.Context, operation string, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, hold.ErrUnreadableRecord) {
		now := time.Now().UnixNano()
		last := r.unreadableAt.Load()
		if now-last >= int64(unreadableLogInterval) && r.unreadableAt.CompareAndSwap(last, now) {
			r.log.Error("unreadable records in Redis; other holds are not affected",
				zap.String("operation", operation), zap.Error(err))
		}
		return
	}
	if r.unavailable.CompareAndSwap(false, true) {
		r.log.Error("Redis unavailable: claims paused", zap.String("operation", operation),
			zap.Error(err))
	}
}

// ReportSuccess records that Redis answered, and logs the end of an outage.
func (r *RedisReporter) ReportSuccess() {
	if r.unavailable.CompareAndSwap(true, false) {
		r.log.Info("Redis available again")
	}
}

// ReportUnavailable reports err as [RedisReporter.ReportError] does, and
// returns an error for an API caller. That wraps [ErrUnavailable] and not err,
// which may contain addresses.
func (r *RedisReporter) ReportUnavailable(ctx context.Context, operation string, err error) error {
	if ctx.Err() == nil {
		r.ReportError(ctx, operation, err)
		r.log.Debug("request failed: Redis unavailable", zap.String("operation", operation),
			zap.Error(err))
	}
	return fmt.Errorf("%w (%s)", ErrUnavailable, operation)
}

// CheckResult is one line of the readiness report.
type CheckResult struct {
	Name string // redis, stripe or scheduler; schedule while it is rebuilt
	OK   bool
	// Detail says what failed and what to do. A check that is OK may have a
	// detail that the operator should know.
	Detail string
}
