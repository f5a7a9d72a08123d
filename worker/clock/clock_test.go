package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/clock"
)

func TestRedis_FollowsLastReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock.RedisClock
		if got := c.Now(); !got.Equal(time.Now()) {
			t.Errorf("before a reply: %s", got)
		}
		redisTime := time.Now().Add(-90*time.Minute + 300*time.Microsecond)
		c.AdjustTo(redisTime)
		time.Sleep(2 * time.Second)
		c.AdjustTo(time.Time{})
		want := redisTime.Add(2 * time.Second).Truncate(time.Millisecond)
		if got := c.Now(); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
