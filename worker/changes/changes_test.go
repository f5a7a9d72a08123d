package changes_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/changes"
)

// counters are the counters of two partitions.
type counters struct {
	counts [2]atomic.Int64
	inbox  atomic.Int64
	reads  atomic.Int64
	failed atomic.Bool
}

func (c *counters) ReadChangeCountsAndInboxLength(context.Context) ([]int64, int64, error) {
	c.reads.Add(1)
	if c.failed.Load() {
		return nil, 0, errors.New("connection refused")
	}
	return []int64{c.counts[0].Load(), c.counts[1].Load()}, c.inbox.Load(), nil
}

// inBubble runs f in virtual time, with counters that a watcher has read once.
func inBubble(t *testing.T, f func(t *testing.T, c *counters, w *changes.Watcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &counters{}
		w := changes.NewWatcher(c)
		w.NewAllPartitionsPollGate(0).IsOpen(t.Context())
		f(t, c, w)
	})
}

func wantOpen(t *testing.T, g *changes.PollGate, want bool, when string) {
	t.Helper()
	if got := g.IsOpen(t.Context()); got != want {
		t.Errorf("%s: open %t, want %t", when, got, want)
	}
}

func TestGate_OpensAtTheTimeOfThePoll(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *counters, w *changes.Watcher) {
		g := w.NewAllPartitionsPollGate(changes.LongestWait)
		wantOpen(t, g, true, "at the start")
		now := time.Now()
		g.BeginPoll().CloseUntil(now.Add(4*time.Second), now)
		wantOpen(t, g, false, "closed")
		time.Sleep(4*time.Second - time.Nanosecond)
		wantOpen(t, g, false, "before the time")
		time.Sleep(time.Nanosecond)
		wantOpen(t, g, true, "at the time")

		poll := g.BeginPoll()
		wantOpen(t, g, true, "during a poll")
		poll.CloseUntil(time.Now().Add(-time.Hour), time.Now())
		wantOpen(t, g, true, "a time in the past")

		for _, next := range []time.Time{{}, time.Now().Add(time.Hour)} {
			g.BeginPoll().CloseUntil(next, time.Now())
			time.Sleep(changes.LongestWait - time.Nanosecond)
			wantOpen(t, g, false, "before the longest wait")
			time.Sleep(time.Nanosecond)
			wantOpen(t, g, true, "after the longest wait")
		}
		var none *changes.PollGate
		none.BeginPoll().CloseForLongestWait()
		none.WaitUntilOpen(t.Context())
		wantOpen(t, none, true, "without a gate")
	})
}

func TestGate_OpensWithAChange(t *testing.T) {
	inBubble(t, func(t *testing.T, c *counters, w *changes.Watcher) {
		all, first := w.NewAllPartitionsPollGate(time.Hour), w.NewPartitionPollGate(0, time.Hour)
		all.BeginPoll().CloseForLongestWait()
		first.BeginPoll().CloseForLongestWait()
		wantOpen(t, all, false, "without a change")
		time.Sleep(time.Second)
		c.counts[1].Add(1)
		wantOpen(t, all, true, "another partition changed")
		wantOpen(t, first, false, "another partition changed")
		all.BeginPoll().CloseForLongestWait()
		wantOpen(t, all, false, "after the poll")

		// The change happens during the poll, which may have read before it.
		polls := []changes.Poll{all.BeginPoll(), first.BeginPoll()}
		time.Sleep(time.Second)
		c.counts[0].Add(1)
		for _, p := range polls {
			p.CloseForLongestWait()
		}
		wantOpen(t, all, true, "changed during the poll")
		wantOpen(t, first, true, "changed during the poll")
		// Redis lost its data.
		all.BeginPoll().CloseForLongestWait()
		time.Sleep(time.Second)
		c.counts[0].Store(0)
		wantOpen(t, all, true, "the counter went back")
	})
}

// While the counters cannot be read, and once after that, every loop polls.
func TestGate_OpenWhileRedisFails(t *testing.T) {
	inBubble(t, func(t *testing.T, c *counters, w *changes.Watcher) {
		g, part := w.NewAllPartitionsPollGate(time.Hour), w.NewPartitionPollGate(1, time.Hour)
		g.BeginPoll().CloseForLongestWait()
		part.BeginPoll().CloseForLongestWait()
		c.failed.Store(true)
		for range 3 {
			time.Sleep(time.Second)
			wantOpen(t, g, true, "Redis fails")
			wantOpen(t, part, true, "Redis fails")
			g.BeginPoll().CloseForLongestWait()
			part.BeginPoll().CloseForLongestWait()
		}
		c.failed.Store(false)
		time.Sleep(time.Second)
		wantOpen(t, g, true, "Redis is back")
		wantOpen(t, part, true, "Redis is back")
		g.BeginPoll().CloseForLongestWait()
		part.BeginPoll().CloseForLongestWait()
		wantOpen(t, g, false, "after the poll")
		wantOpen(t, part, false, "after the poll")
	})
}

// The gate of the inbox is open while the inbox has entries, also if their
// number stays the same.
func TestGate_Inbox(t *testing.T) {
	inBubble(t, func(t *testing.T, c *counters, w *changes.Watcher) {
		g := w.NewInboxPollGate(time.Hour)
		wantOpen(t, g, true, "at the start")
		g.BeginPoll().CloseForLongestWait()
		wantOpen(t, g, false, "the inbox is empty")
		c.counts[0].Add(1)
		time.Sleep(time.Second)
		wantOpen(t, g, false, "a partition changed")
		c.inbox.Store(1)
		for range 3 {
			time.Sleep(time.Second)
			wantOpen(t, g, true, "the inbox has an entry")
			g.BeginPoll().CloseForLongestWait()
		}
		c.inbox.Store(0)
		time.Sleep(time.Second)
		wantOpen(t, g, false, "the entry is handled")
	})
}

// Without a change for ten seconds, the counters are read every two seconds.
func TestWatcher_QuietInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, c *counters, w *changes.Watcher) {
		g := w.NewAllPartitionsPollGate(time.Hour)
		readsIn := func(d time.Duration) int64 {
			before := c.reads.Load()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				g.IsOpen(t.Context())
			}
			return c.reads.Load() - before
		}
		if n := readsIn(8 * time.Second); n < 7 {
			t.Errorf("%d readings in the first 8 seconds", n)
		}
		time.Sleep(2 * time.Second)
		if n := readsIn(time.Minute); n < 29 || n > 31 {
			t.Errorf("%d readings in a quiet minute", n)
		}
		g.BeginPoll().CloseForLongestWait()
		c.counts[1].Add(1)
		time.Sleep(2 * time.Second)
		wantOpen(t, g, true, "changed in a quiet time")
		if n := readsIn(8 * time.Second); n < 7 {
			t.Errorf("%d readings in the 8 seconds after a change", n)
		}
	})
}

// Loops that ask at the same time share one reading.
func TestWatcher_SharesReadings(t *testing.T) {
	inBubble(t, func(t *testing.T, c *counters, w *changes.Watcher) {
		time.Sleep(time.Second)
		before := c.reads.Load()
		for range 50 {
			go w.NewAllPartitionsPollGate(time.Hour).IsOpen(t.Context())
		}
		synctest.Wait()
		if n := c.reads.Load() - before; n != 1 {
			t.Errorf("%d readings", n)
		}
	})
}

func TestGate_Wait(t *testing.T) {
	inBubble(t, func(t *testing.T, c *counters, w *changes.Watcher) {
		ctx, cancel := context.WithCancel(t.Context())
		go w.Run(ctx)
		g := w.NewPartitionPollGate(0, time.Minute)
		for _, tt := range []struct {
			name   string
			change time.Duration // 0: none
			least  time.Duration
			most   time.Duration
		}{
			{name: "by time", least: time.Minute, most: time.Minute},
			{name: "by a change", change: 20500 * time.Millisecond, least: 20500 * time.Millisecond,
				most: 20500*time.Millisecond + changes.LongestInterval + time.Second/4},
		} {
			began := time.Now()
			g.BeginPoll().CloseForLongestWait()
			if tt.change > 0 {
				time.AfterFunc(tt.change, func() { c.counts[0].Add(1) })
				// a change elsewhere does not end the wait
				time.AfterFunc(tt.change/2, func() { c.counts[1].Add(1) })
			}
			g.WaitUntilOpen(ctx)
			if took := time.Since(began); took < tt.least || took > tt.most {
				t.Errorf("%s: waited %s", tt.name, took)
			}
		}
		g.WaitUntilOpen(ctx) // it is open
		g.BeginPoll().CloseForLongestWait()
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if g.WaitUntilOpen(ctx); time.Since(began) > time.Second {
			t.Error("waited after the end of the context")
		}
	})
}
