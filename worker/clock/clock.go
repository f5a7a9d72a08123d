// Package clock follows the clock of Redis, which decides what is due.
//
// The clocks of replicas differ; Redis has one. Scripts use Redis' TIME. Go
// code (milestones, history, lateness) uses this clock, which follows the time
// in Redis' last reply.
package clock

import (
	"sync/atomic"
	"time"
)

// RedisClock estimates the clock of Redis. Its zero value is this machine's
// clock.
type RedisClock struct {
	offset atomic.Int64 // Redis' time minus this machine's, in nanoseconds
}

// Now returns Redis' time, in UTC and whole milliseconds.
func (r *RedisClock) Now() time.Time {
	return time.Now().Add(time.Duration(r.offset.Load())).UTC().Truncate(time.Millisecond)
}

// AdjustTo sets the clock to the time in a reply that has just arrived. It
// ignores a zero time.
func (r *RedisClock) AdjustTo(now time.Time) {
	if !now.IsZero() {
		r.offset.Store(int64(time.Until(now)))
	}
}
