package alert

import (
	"context"
	"maps"
	"slices"

	"github.com/holdd/holdd/worker/hold"
)

const eventBatchSize = 64

// EventStreamStore reads the streams of events. store.Outbox implements it.
type EventStreamStore interface {
	// ReadEvents returns up to n events after an entry. trimmed says that the
	// entry is no longer in the stream.
	ReadEvents(ctx context.Context, partition int, after string, n int) (events []hold.StreamEvent,
		trimmed bool, err error)
	// StreamCounts returns how many events a stream has and ever had; the
	// latter is -1 if Redis does not count them.
	StreamCounts(ctx context.Context, partition int) (length, added int64, err error)
}

// streamPosition is how far a sink has read a stream.
type streamPosition struct {
	// Cursor is the entry up to which every event is delivered, parked or a
	// dead letter. DoneAhead are entries after it of which the same is true.
	Cursor    string   `json:"cursor"`
	DoneAhead []string `json:"done_ahead,omitempty"`
	// EntriesRead counts the events of the stream up to the cursor; -1 is
	// unknown.
	EntriesRead int64 `json:"position"`
	EventsLost  int64 `json:"events_lost,omitempty"` // trimmed before they were read
}

// streamReader reads one partition's events from the cursor of a sink.
type streamReader struct {
	store     EventStreamStore
	partition int
	pos       streamPosition
	done      map[string]bool // entries after the cursor
	unsaved   bool            // since the position was saved
}

// restore continues from a saved position.
func (r *streamReader) restore(pos streamPosition) {
	r.pos, r.done, r.unsaved = pos, map[string]bool{}, true
	for _, entry := range pos.DoneAhead {
		r.done[entry] = true
	}
}

// countAddedEntries returns the position of a new sink, which gets no events
// from before it was added.
func (r *streamReader) countAddedEntries(ctx context.Context) int64 {
	length, added, err := r.store.StreamCounts(ctx, r.partition)
	if err == nil && (added >= 0 || length == 0) {
		return max(added, 0)
	}
	return -1
}

// currentPosition returns what to save.
func (r *streamReader) currentPosition() streamPosition {
	r.pos.DoneAhead = slices.Sorted(maps.Keys(r.done))
	return r.pos
}

// read returns the next batch of events after the cursor. Some may be done.
func (r *streamReader) read(ctx context.Context) (
	batch []hold.StreamEvent, trimmed bool, err error,
) {
	return r.store.ReadEvents(ctx, r.partition, r.pos.Cursor, eventBatchSize)
}

// skipTrimmed moves the position past trimmed events. It returns how many of
// them the sink missed, -1 for an unknown number.
func (r *streamReader) skipTrimmed(ctx context.Context, failing bool) (lost int64, err error) {
	length, added, err := r.store.StreamCounts(ctx, r.partition)
	if err != nil {
		return 0, err
	}
	lost = -1
	if added >= 0 {
		trimmed := added - length
		if r.pos.EntriesRead >= 0 && added >= r.pos.EntriesRead {
			lost = trimmed - r.pos.EntriesRead
		}
		r.pos.EntriesRead = trimmed
	} else if !failing {
		lost = 0 // the sink was up to date, and this Redis does not count
	}
	if lost != 0 {
		r.pos.EventsLost += max(lost, 0)
		r.unsaved = true
	}
	return lost, nil
}

// dropTrimmedIDs forgets done entries that are no longer in the stream.
func (r *streamReader) dropTrimmedIDs(batch []hold.StreamEvent) {
	inStream := map[string]bool{}
	for _, e := range batch {
		inStream[e.ID] = true
	}
	maps.DeleteFunc(r.done, func(id string, _ bool) bool { return !inStream[id] })
}

func (r *streamReader) setDone(entry string) { r.done[entry] = true }

func (r *streamReader) isDone(entry string) bool { return r.done[entry] }

// advancePastDone moves the cursor over done events, and returns the rest of
// the batch.
func (r *streamReader) advancePastDone(batch []hold.StreamEvent) (rest []hold.StreamEvent) {
	for i, e := range batch {
		if !r.done[e.ID] {
			return batch[i:]
		}
		delete(r.done, e.ID)
		r.pos.Cursor, r.unsaved = e.ID, true
		if r.pos.EntriesRead >= 0 {
			r.pos.EntriesRead++
		}
	}
	return nil
}
