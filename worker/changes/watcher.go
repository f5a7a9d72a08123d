package changes

import (
	"context"
	"sync"
	"time"
)

const (
	// interval is how often [Watcher.Run] reads the counters, unless a loop has
	// read them meanwhile. After [quietAfter] without a change it reads them
	// every [LongestInterval].
	interval   = time.Second
	quietAfter = 10 * time.Second
	// slack is by how much the reading of a loop that asks every second may be
	// late until Run reads instead.
	slack = interval / 4
	// sharedFor is how long a reading counts as new, so that loops which ask at
	// the same tick share it.
	sharedFor = interval / 10
)

// LongestInterval is the time between two readings of the counters in a quiet
// time. A replica that learns by itself of a change which matters earlier must
// not wait for them.
const LongestInterval = 2 * time.Second

// Store reads the counters. store.Changes implements it.
type Store interface {
	// ReadChangeCountsAndInboxLength returns how often each partition was changed, and the number
	// of entries in the inbox.
	ReadChangeCountsAndInboxLength(
		ctx context.Context,
	) (partitions []int64, inboxLength int64, err error)
}

// Watcher reads the counters of changes for all gates of a replica. Make it
// with [NewWatcher].
type Watcher struct {
	store   Store
	reading chan struct{} // has room for one: the reader

	mu      sync.Mutex
	readAt  time.Time
	counts  []int64 // nil: not known
	current int64   // number of readings that found a change
	// currentAt is when the reading current was made.
	currentAt time.Time
	// changedAt is the reading that last found a change of each partition.
	changedAt []int64
	// inboxAt is the reading that last found entries in the inbox.
	inboxAt int64
	changed chan struct{} // closed by the next reading that finds a change
}

// NewWatcher returns a watcher of the counters in s.
func NewWatcher(s Store) *Watcher {
	return &Watcher{store: s, reading: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Run reads the counters about every second until ctx ends, for
// [PollGate.WaitUntilOpen].
func (w *Watcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.timeSinceReading() >= w.readInterval() {
			w.readAndCompareCountersIfDue(ctx)
		}
		timer := time.NewTimer(max(w.readInterval()-w.timeSinceReading(), 0) + slack)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// readInterval is how long a reading is good for.
func (w *Watcher) readInterval() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts != nil && time.Since(w.currentAt) >= quietAfter {
		return LongestInterval
	}
	return interval
}

// timeSinceReading returns how long ago the counters were last read, at least
// the interval if they were not.
func (w *Watcher) timeSinceReading() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readAt.IsZero() {
		return interval
	}
	return time.Since(w.readAt)
}

// readAndCompareCountersIfDue reads the counters, unless another caller has
// just done so.
func (w *Watcher) readAndCompareCountersIfDue(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case w.reading <- struct{}{}:
	}
	defer func() { <-w.reading }()
	// Loops ask once a second. In quiet times every other of them shares.
	if w.timeSinceReading() < w.readInterval()-interval+sharedFor {
		return
	}
	counts, inboxLength, err := w.store.ReadChangeCountsAndInboxLength(ctx)
	if err != nil {
		counts, inboxLength = nil, 1
	}
	w.compareCounters(counts, inboxLength > 0)
}

// compareCounters compares the counters with the last ones. Without counters every
// partition counts as changed. An inbox with entries always does.
func (w *Watcher) compareCounters(counts []int64, inboxHasEntries bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readAt = time.Now()
	known := counts != nil && len(counts) == len(w.counts)
	for len(w.changedAt) < len(counts) {
		w.changedAt = append(w.changedAt, w.current)
	}
	any := !known || inboxHasEntries
	if inboxHasEntries {
		w.inboxAt = w.current + 1
	}
	for p := range w.changedAt {
		if !known || counts[p] != w.counts[p] {
			w.changedAt[p], any = w.current+1, true
		}
	}
	w.counts = counts
	if any {
		w.current++
		w.currentAt = w.readAt
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// lastChangeOfPartition returns the reading that last found a change of a
// partition, and a channel that is closed by the next reading that finds any
// change.
func (w *Watcher) lastChangeOfPartition(partition int) (at int64, next <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if partition == inboxOnly {
		return w.inboxAt, w.changed
	}
	if partition < 0 || partition >= len(w.changedAt) {
		return w.current, w.changed
	}
	return w.changedAt[partition], w.changed
}
