// Package health knows whether Redis answers, and says so once for each outage.
//
// Every part of the worker reports its errors here instead of logging them, so
// that an outage is two log lines and not one for each part and second.
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

// ErrUnavailable is wrapped by errors after which the same request can be sent
// again.
var ErrUnavailable = errors.New("not available right now: send the same again in a moment")

// unreadableLogInterval bounds how often unreadable records are logged: every
// poll meets them again.
const unreadableLogInterval = time.Minute

// Redis tracks whether Redis answers. Make it with [NewRedis].
type Redis struct {
	log          *zap.Logger
	down         atomic.Bool
	unreadableAt atomic.Int64 // when unreadable records were last logged, Unix nanoseconds
}

// NewRedis returns a tracker that logs to log.
func NewRedis(log *zap.Logger) *Redis { return &Redis{log: log} }

// ReportError notes that Redis failed while the caller was doing something,
// such as "claim holds". The first error of an outage is logged. An error that
// only concerns unreadable records is no outage.
func (r *Redis) ReportError(ctx context.Context, doing string, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, hold.ErrUnreadableRecord) {
		now := time.Now().UnixNano()
		last := r.unreadableAt.Load()
		if now-last >= int64(unreadableLogInterval) && r.unreadableAt.CompareAndSwap(last, now) {
			r.log.Error("unreadable records in Redis; other holds are not affected",
				zap.String("doing", doing), zap.Error(err))
		}
		return
	}
	if r.down.CompareAndSwap(false, true) {
		r.log.Error("Redis unavailable: claims paused", zap.String("doing", doing), zap.Error(err))
	}
}

// ReportSuccess notes that Redis answers, and logs the end of an outage.
func (r *Redis) ReportSuccess() {
	if r.down.CompareAndSwap(true, false) {
		r.log.Info("Redis available again")
	}
}

// Unavailable reports err as [Redis.ReportError] does, and returns the error
// for a caller outside. It wraps [ErrUnavailable] and does not carry err, which
// may name addresses.
func (r *Redis) Unavailable(ctx context.Context, doing string, err error) error {
	if ctx.Err() == nil {
		r.ReportError(ctx, doing, err)
		r.log.Debug("request failed: Redis unavailable", zap.String("doing", doing), zap.Error(err))
	}
	return fmt.Errorf("%w (%s)", ErrUnavailable, doing)
}

// Check is one line of the readiness report.
type Check struct {
	Name string // redis, stripe, scheduler; and schedule while it is rebuilt
	OK   bool
	// what is wrong and what to do; of a check that is OK, what an operator
	// should know
	Detail string
}
