package main

import (
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/gateway"
)

// clockOffsetBounds is the bounds of the difference between two clocks.
type clockOffsetBounds struct {
	min, max time.Duration
	known    bool
}

// nearestOffset returns the least difference: 0 if the clocks may agree.
func (s clockOffsetBounds) nearestOffset() time.Duration {
	switch {
	case !s.known || s.min <= 0 && s.max >= 0:
		return 0
	case s.min > 0:
		return s.min
	}
	return s.max
}

// worstRedisClockOffset returns the offset of the Redis server that is farthest
// off. A single server's clock makes its holds early or late.
func worstRedisClockOffset(in store.Inspection) (worst clockOffsetBounds) {
	for _, s := range in.Servers {
		c := clockOffsetBounds{s.ClockOffsetMin, s.ClockOffsetMax, s.ClockOffsetKnown}
		if c.known && (!worst.known || c.nearestOffset().Abs() > worst.nearestOffset().Abs()) {
			worst = c
		}
	}
	return worst
}

func stripeClockOffset(in gateway.Inspection) clockOffsetBounds {
	return clockOffsetBounds{in.ClockOffsetMin, in.ClockOffsetMax, in.ClockOffsetKnown}
}

// Offsets from which a clock gets a warning and is wrong. Redis' clock decides
// which holds are due, and Stripe's when a hold expires. This machine's clock
// dates the log and decides whether a signed webhook is fresh.
const (
	clockWarningOffset = 5 * time.Second
	clockErrorOffset   = time.Minute
)

// checkClocks compares Redis' and Stripe's clock with this machine's. redis and
// stripe are their offsets from it. If two clocks agree, the hint names the
// third.
func checkClocks(redis, stripe clockOffsetBounds) []doctorCheckResult {
	between := clockOffsetBounds{min: redis.min - stripe.max, max: redis.max - stripe.min,
		known: redis.known && stripe.known}
	redisHint := "set the clock of the Redis server, for example by NTP"
	stripeHint := "set this machine's clock, for example by NTP"
	switch {
	case between.isBelowWarningOffset():
		redisHint = stripeHint
	case redis.isBelowWarningOffset():
		stripeHint = "set this machine's clock and that of the Redis server, for example by NTP"
	case !stripe.known:
		redisHint = "find out which of the two is right, and set the other, for example by NTP"
	}
	return append(
		checkClock("redis clock", "Redis'", redis, redisHint,
			"it decides when a hold is due"),
		checkClock("stripe clock", "Stripe's", stripe, stripeHint,
			"it decides when a hold expires and whether an event's signature is fresh")...)
}

func (s clockOffsetBounds) isBelowWarningOffset() bool {
	return s.known && s.nearestOffset().Abs() < clockWarningOffset
}

func checkClock(
	check, owner string, c clockOffsetBounds, hint, consequence string,
) []doctorCheckResult {
	if !c.known {
		return nil
	}
	if c.isBelowWarningOffset() {
		return []doctorCheckResult{okResult(check, "no difference from this machine's found")}
	}
	off := c.nearestOffset()
	result := errorResult(check, hint, "%s clock is %s this machine's: %s", owner,
		formatClockOffset(off), consequence)
	if off.Abs() < clockErrorOffset {
		result.Status = statusWarning
	}
	return []doctorCheckResult{result}
}

func formatClockOffset(d time.Duration) string {
	rounded := d.Abs().Round(100 * time.Millisecond)
	if d > 0 {
		return rounded.String() + " ahead of"
	}
	return rounded.String() + " behind"
}
