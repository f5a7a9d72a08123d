package alert

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// maxProbeGroups is how many holds' events a sink that failed is tried with:
// one event that it cannot accept does not hide that it accepts others.
const maxProbeGroups = 3

// backlog is the events that wait for one sink in one partition: in the stream,
// parked, or requeued by the operator.
type backlog struct {
	sink   *sink
	render RenderOptions
	log    *zap.Logger

	reader *streamReader
	parked *parkedHolds
	dead   *unsavedDeadLetters
}

func (b *backlog) restoreFromState(s *deliveryState, parked map[string][]byte) {
	b.reader.restorePosition(s.streamPosition)
	b.parked = decodeParkedHolds(parked)
	b.dead.restoreTotal(s.DeadLetters)
}

// hasUnsavedChanges reports whether there is progress to save.
func (b *backlog) hasUnsavedChanges() bool {
	return b.reader.unsaved || b.parked.hasUnsavedChanges() || b.dead.hasUnsavedChanges()
}

func (b *backlog) clearUnsavedChanges() {
	b.reader.unsaved = false
	b.parked.clearUnsavedChanges()
	b.dead.clearUnsavedChanges()
}

// oldestPendingEventTime returns when the oldest event that waits happened;
// rest are the events after the cursor.
func (b *backlog) oldestPendingEventTime(rest []hold.StreamEvent) time.Time {
	t := b.parked.oldestParkedEventTime()
	if len(rest) > 0 {
		t = earlierNonZeroTime(t, parseEventTime(rest[0].Event))
	}
	return t
}

// collectMessageGroups returns what this round sends: the batch, requeued dead
// letters and parked holds. A probe is a few events of the batch.
func (b *backlog) collectMessageGroups(
	ctx context.Context, batch []hold.StreamEvent, probe bool, now time.Time,
) ([]*messageGroup, error) {
	groups := b.groupOrParkBatchEvents(batch)
	if probe {
		groups = groups[:min(len(groups), maxProbeGroups)]
		for _, g := range groups {
			g.messages = g.messages[:1]
		}
		return groups, nil
	}
	requeued, err := b.dead.readRequeuedIfDue(ctx, now)
	if err != nil {
		return nil, err
	}
	for _, e := range requeued {
		if m, ok := b.sink.newSinkMessage(e, b.render); ok {
			groups = append(groups, &messageGroup{orderKey: e.ID, source: fromRequeued,
				messages: []sinkMessage{m}})
		} else {
			b.dead.removeRequeuedOnSave(e.ID)
		}
	}
	for _, key := range b.parked.keysDueForRedelivery(now, eventBatchSize) {
		g := &messageGroup{orderKey: key, source: fromParked}
		for _, e := range b.parked.holds[key].Events {
			if m, ok := b.sink.newSinkMessage(hold.StreamEvent{Event: e}, b.render); ok {
				g.messages = append(g.messages, m)
			}
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// groupOrParkBatchEvents groups the events of a batch that are to be sent. Events
// that the sink does not take are done, and so are events that are parked
// behind others of their hold.
func (b *backlog) groupOrParkBatchEvents(batch []hold.StreamEvent) (groups []*messageGroup) {
	byKey := map[string]*messageGroup{}
	for _, e := range batch {
		if b.reader.isEntryDone(e.ID) {
			continue
		}
		m, ok := b.sink.newSinkMessage(e, b.render)
		if !ok {
			b.reader.addDoneEntry(e.ID)
			continue
		}
		if b.parked.has(m.orderKey) {
			if b.parked.appendEventIfRoom(m.orderKey, e.Event) {
				b.reader.addDoneEntry(e.ID)
			}
			continue
		}
		g := byKey[m.orderKey]
		if g == nil {
			g = &messageGroup{orderKey: m.orderKey, source: fromStream}
			byKey[m.orderKey] = g
			groups = append(groups, g)
		}
		g.messages = append(g.messages, m)
	}
	return groups
}

// recordDelivered records the delivered messages, and reports whether there are
// any.
func (b *backlog) recordDelivered(groups []*messageGroup) (anyDelivered bool) {
	for _, g := range groups {
		for _, m := range g.messages[:g.delivered] {
			anyDelivered = true
			switch g.source {
			case fromStream:
				b.reader.addDoneEntry(m.entryID)
				b.reader.unsaved = true
			case fromRequeued:
				b.dead.removeRequeuedOnSave(m.entryID)
			}
		}
		if g.source == fromParked && g.delivered > 0 {
			b.parked.removeDeliveredAndResetBackoff(g.orderKey, g.delivered)
		}
	}
	return anyDelivered
}

// parkHold holds a hold's events back while those of others are sent.
func (b *backlog) parkHold(g *messageGroup, now time.Time) {
	var events []json.RawMessage
	for _, m := range g.messages[g.delivered:] {
		events = append(events, m.eventJSON)
		b.reader.addDoneEntry(m.entryID)
	}
	b.parked.add(g.orderKey, events)
	b.deferHoldOrDeadLetterEvent(g, now)
	b.log.Warn("event not accepted: its hold is parked, other holds continue",
		zap.String("hold", g.orderKey), zap.String("reason", g.lastOutcome.reason))
}

func (b *backlog) deferHoldOrDeadLetterEvent(g *messageGroup, now time.Time) {
	if expired := b.parked.deferNextAttemptOrExpireEvent(g.orderKey, now); expired != nil {
		b.dead.add(expired, g.lastOutcome.reason)
	}
}

// deadLetterOldEvents gives up events that a failing sink has not accepted for
// [deadLetterAfter], and returns how many.
func (b *backlog) deadLetterOldEvents(
	batch []hold.StreamEvent, reason string, now time.Time,
) (n int64) {
	for _, e := range batch {
		if !b.reader.isEntryDone(e.ID) && now.Sub(parseEventTime(e.Event)) > deadLetterAfter {
			b.reader.addDoneEntry(e.ID)
			b.dead.add(e.Event, reason)
			n++
		}
	}
	return n
}

const eventBatchSize = 64

// EventStreamStore reads the streams of events. store.Outbox implements it.
type EventStreamStore interface {
	// ReadEvents returns up to n events after an entry. trimmed says that the
	// entry is no longer in the stream.
	ReadEvents(ctx context.Context, partition int, after string, n int) (events []hold.StreamEvent,
		trimmed bool, err error)
	// ReadStreamLengthAndEntriesAdded returns how many events a stream has and ever had; the
	// latter is -1 if Redis does not count them.
	ReadStreamLengthAndEntriesAdded(ctx context.Context, partition int) (length, added int64, err error)
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

// restorePosition continues from a saved position.
func (r *streamReader) restorePosition(pos streamPosition) {
	r.pos, r.done, r.unsaved = pos, map[string]bool{}, true
	for _, entry := range pos.DoneAhead {
		r.done[entry] = true
	}
}

// countEntriesEverAdded returns the position of a new sink, which gets no events
// from before it was added.
func (r *streamReader) countEntriesEverAdded(ctx context.Context) int64 {
	length, added, err := r.store.ReadStreamLengthAndEntriesAdded(ctx, r.partition)
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

// readBatchAfterCursor returns the next batch of events after the cursor. Some
// may be done.
func (r *streamReader) readBatchAfterCursor(ctx context.Context) (
	batch []hold.StreamEvent, trimmed bool, err error,
) {
	return r.store.ReadEvents(ctx, r.partition, r.pos.Cursor, eventBatchSize)
}

// skipTrimmedEvents moves the position past trimmed events. It returns how many
// of them the sink missed, -1 for an unknown number.
func (r *streamReader) skipTrimmedEvents(
	ctx context.Context, failing bool) (lost int64, err error,
) {
	length, added, err := r.store.ReadStreamLengthAndEntriesAdded(ctx, r.partition)
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

// forgetTrimmedDoneEntries forgets done entries that are no longer in the stream.
func (r *streamReader) forgetTrimmedDoneEntries(batch []hold.StreamEvent) {
	inStream := map[string]bool{}
	for _, e := range batch {
		inStream[e.ID] = true
	}
	maps.DeleteFunc(r.done, func(id string, _ bool) bool { return !inStream[id] })
}

func (r *streamReader) addDoneEntry(entry string) { r.done[entry] = true }

func (r *streamReader) isEntryDone(entry string) bool { return r.done[entry] }

// advanceCursorPastDone moves the cursor over done events, and returns the rest
// of the batch.
func (r *streamReader) advanceCursorPastDone(batch []hold.StreamEvent) (rest []hold.StreamEvent) {
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
