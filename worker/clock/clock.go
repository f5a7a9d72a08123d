// Package clock follows the clock of Redis, which decides what is due.
//
// The clocks of replicas differ, Redis has one. Scripts decide by Redis' TIME.
// What Go computes (milestones, history, lateness) uses the time of Redis' last
// reply.
package clock

import (
	"sync/atomic"
	"time"
)

// Redis is Redis' clock as far as this process knows it. Its zero value is this
// machine's clock.
type Redis struct {
	offset atomic.Int64 // Redis' time minus ours, in nanoseconds
}

// Now is Redis' time, in UTC and whole milliseconds.
func (r *Redis) Now() time.Time {
	return time.Now().Add(time.Duration(r.offset.Load())).UTC().Truncate(time.Millisecond)
}

// Sync sets the clock to the time of a reply that has just arrived. A zero time
// changes nothing.
func (r *Redis) Sync(now time.Time) {
	if !now.IsZero() {
		r.offset.Store(int64(time.Until(now)))
	}
}
