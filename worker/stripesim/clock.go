package stripesim

import (
	"sync/atomic"
	"time"
)

// clock is the simulator's clock: the machine's time, speed times as fast, plus
// an offset.
type clock struct {
	start  time.Time
	speed  float64
	offset atomic.Int64
}

func newClock(o Options) *clock {
	c := &clock{start: time.Now(), speed: o.Speed}
	c.offset.Store(int64(o.ClockOffset))
	return c
}

// Now is the simulator's time.
func (c *clock) Now() time.Time {
	t := time.Now()
	if c.speed != 1 {
		t = c.start.Add(time.Duration(float64(t.Sub(c.start)) * c.speed))
	}
	return t.Add(time.Duration(c.offset.Load()))
}

// wallDuration returns how long the machine's clock takes until the simulator's
// clock shows t.
func (c *clock) wallDuration(t time.Time) time.Duration {
	return time.Duration(float64(t.Sub(c.Now())) / c.speed)
}
