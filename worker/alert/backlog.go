package alert

import (
	"context"
	"encoding/json"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
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

func (b *backlog) restore(s *deliveryState, parked map[string][]byte) {
	b.reader.restore(s.streamPosition)
	b.parked = decodeParkedHolds(parked)
	b.dead.restore(s.DeadLetters)
}

// hasUnsavedChanges reports whether there is progress to save.
func (b *backlog) hasUnsavedChanges() bool {
	return b.reader.unsaved || b.parked.hasUnsavedChanges() || b.dead.hasUnsavedChanges()
}

func (b *backlog) clearUnsaved() {
	b.reader.unsaved = false
	b.parked.clearUnsaved()
	b.dead.clearUnsaved()
}

// oldestEventTime returns when the oldest event that waits happened; rest are
// the events after the cursor.
func (b *backlog) oldestEventTime(rest []hold.StreamEvent) time.Time {
	t := b.parked.oldestEventTime()
	if len(rest) > 0 {
		t = earlierTime(t, eventTime(rest[0].Event))
	}
	return t
}

// collectMessageGroups returns what this round sends: the batch, requeued dead
// letters and parked holds. A probe is a few events of the batch.
func (b *backlog) collectMessageGroups(
	ctx context.Context, batch []hold.StreamEvent, probe bool, now time.Time,
) ([]*messageGroup, error) {
	groups := b.groupBatch(batch)
	if probe {
		groups = groups[:min(len(groups), maxProbeGroups)]
		for _, g := range groups {
			g.messages = g.messages[:1]
		}
		return groups, nil
	}
	requeued, err := b.dead.pollRequeued(ctx, now)
	if err != nil {
		return nil, err
	}
	for _, e := range requeued {
		if m, ok := b.sink.newMessage(e, b.render); ok {
			groups = append(groups, &messageGroup{orderKey: e.ID, source: fromRequeued,
				messages: []sinkMessage{m}})
		} else {
			b.dead.finishRequeued(e.ID)
		}
	}
	for _, key := range b.parked.due(now, eventBatchSize) {
		g := &messageGroup{orderKey: key, source: fromParked}
		for _, e := range b.parked.holds[key].Events {
			if m, ok := b.sink.newMessage(hold.StreamEvent{Event: e}, b.render); ok {
				g.messages = append(g.messages, m)
			}
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// groupBatch groups the events of a batch that are to be sent. Events that the
// sink does not take are done, and so are events that are parked behind others
// of their hold.
func (b *backlog) groupBatch(batch []hold.StreamEvent) (groups []*messageGroup) {
	byKey := map[string]*messageGroup{}
	for _, e := range batch {
		if b.reader.isDone(e.ID) {
			continue
		}
		m, ok := b.sink.newMessage(e, b.render)
		if !ok {
			b.reader.setDone(e.ID)
			continue
		}
		if b.parked.has(m.orderKey) {
			if b.parked.addEvent(m.orderKey, e.Event) {
				b.reader.setDone(e.ID)
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
				b.reader.setDone(m.entryID)
				b.reader.unsaved = true
			case fromRequeued:
				b.dead.finishRequeued(m.entryID)
			}
		}
		if g.source == fromParked && g.delivered > 0 {
			b.parked.removeDelivered(g.orderKey, g.delivered)
		}
	}
	return anyDelivered
}

// parkHold holds a hold's events back while those of others are sent.
func (b *backlog) parkHold(g *messageGroup, now time.Time) {
	var events []json.RawMessage
	for _, m := range g.messages[g.delivered:] {
		events = append(events, m.eventJSON)
		b.reader.setDone(m.entryID)
	}
	b.parked.add(g.orderKey, events)
	b.deferParkedHold(g, now)
	b.log.Warn("event not accepted: its hold is parked, other holds continue",
		zap.String("hold", g.orderKey), zap.String("reason", g.lastOutcome.reason))
}

func (b *backlog) deferParkedHold(g *messageGroup, now time.Time) {
	if expired := b.parked.deferNextAttempt(g.orderKey, now); expired != nil {
		b.dead.add(expired, g.lastOutcome.reason)
	}
}

// deadLetterOldEvents gives up events that a failing sink has not accepted for
// [deadLetterAfter], and returns how many.
func (b *backlog) deadLetterOldEvents(
	batch []hold.StreamEvent, reason string, now time.Time,
) (n int64) {
	for _, e := range batch {
		if !b.reader.isDone(e.ID) && now.Sub(eventTime(e.Event)) > deadLetterAfter {
			b.reader.setDone(e.ID)
			b.dead.add(e.Event, reason)
			n++
		}
	}
	return n
}
