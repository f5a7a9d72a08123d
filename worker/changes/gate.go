package changes

import (
	"context"
	"sync"
	"time"
)

// LongestWait is how long a gate stays closed at most, unless its loop needs a
// longer wait.
const LongestWait = 30 * time.Second

// What opens a gate that is not of one partition.
const (
	allPartitions = -1 // any change
	inboxOnly     = -2 // an entry in the inbox
)

// PollGate decides whether a loop polls Redis. Its methods are safe for
// concurrent use. Make it with [Watcher.NewAllPartitionsPollGate] or
// [Watcher.NewPartitionPollGate]. A nil gate is always open.
type PollGate struct {
	watcher   *Watcher
	partition int
	longest   time.Duration

	mu     sync.Mutex
	seen   int64     // the change that the last poll saw
	openAt time.Time // by this machine's clock; zero: open
}

// NewAllPartitionsPollGate returns an open gate for a loop that polls all partitions. It
// stays closed for at most longest.
func (w *Watcher) NewAllPartitionsPollGate(longest time.Duration) *PollGate {
	return w.NewPartitionPollGate(allPartitions, longest)
}

// NewPartitionPollGate is [Watcher.NewAllPartitionsPollGate] for a loop that polls one
// partition.
func (w *Watcher) NewPartitionPollGate(partition int, longest time.Duration) *PollGate {
	return &PollGate{watcher: w, partition: partition, longest: longest}
}

// NewInboxPollGate is [Watcher.NewAllPartitionsPollGate] for the loop that reads the inbox. It is
// open while the inbox has entries.
func (w *Watcher) NewInboxPollGate(longest time.Duration) *PollGate {
	return w.NewPartitionPollGate(inboxOnly, longest)
}

// IsOpen reads the counters and reports whether the loop has to poll.
func (g *PollGate) IsOpen(ctx context.Context) bool {
	if g == nil {
		return true
	}
	g.watcher.readAndCompareCountersIfDue(ctx)
	wait, _ := g.timeUntilOpen()
	return wait <= 0
}

// WaitUntilOpen waits until the gate opens or ctx ends. [Watcher.Run] has to
// run.
func (g *PollGate) WaitUntilOpen(ctx context.Context) {
	for g != nil && ctx.Err() == nil {
		wait, changed := g.timeUntilOpen()
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// timeUntilOpen returns when the gate opens by its time, 0 if it is open. The
// channel is closed by the next reading that finds a change.
func (g *PollGate) timeUntilOpen() (wait time.Duration, changed <-chan struct{}) {
	last, changed := g.watcher.lastChangeOfPartition(g.partition)
	g.mu.Lock()
	defer g.mu.Unlock()
	if last != g.seen {
		return 0, changed
	}
	return time.Until(g.openAt), changed
}

// Poll is one poll of a loop.
type Poll struct {
	gate *PollGate
	seen int64
}

// BeginPoll opens the gate: a poll begins.
func (g *PollGate) BeginPoll() Poll {
	if g == nil {
		return Poll{}
	}
	seen, _ := g.watcher.lastChangeOfPartition(g.partition)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.openAt = time.Time{}
	return Poll{gate: g, seen: seen}
}

// CloseFor closes the gate after a poll that found nothing to do: for d, or
// until the partition changes. The poll must have succeeded.
func (p Poll) CloseFor(d time.Duration) {
	g := p.gate
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen, g.openAt = p.seen, time.Now().Add(min(d, g.longest))
}

// CloseForLongestWait closes the gate for its longest wait: the poll told no
// time.
func (p Poll) CloseForLongestWait() {
	if p.gate != nil {
		p.CloseFor(p.gate.longest)
	}
}

// CloseUntil closes the gate until a time that the poll told; a zero time is
// none. now is by the same clock.
func (p Poll) CloseUntil(t, now time.Time) {
	if t.IsZero() {
		p.CloseForLongestWait()
		return
	}
	p.CloseFor(t.Sub(now))
}
