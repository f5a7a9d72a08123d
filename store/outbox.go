package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// Outbox keeps the streams of events and the delivery progress of each sink.
type Outbox struct{ conn *redisConn }

var (
	publishScript      = newScript("publish")
	conditionsScript   = newScript("conditions")
	sinkBeginScript    = newScript("sink_begin")
	sinkSaveScript     = newScript("sink_save")
	streamLengthScript = newScript("stream_length")
)

const (
	// publishedSubjectTTL is how long the store remembers the subject of an
	// event: longer than any authorization lasts.
	publishedSubjectTTL  = 35 * 24 * time.Hour
	maxPublishedSubjects = 10_000

	// sinkTTL is how long the store keeps a sink that no replica serves.
	sinkTTL = 35 * 24 * time.Hour

	// beginningOfStream is an id before that of every entry.
	beginningOfStream = "0-0"
)

// PartitionCount returns the number of partitions. Each has one stream of
// events.
func (s *Outbox) PartitionCount() int { return len(s.conn.partitions) }

// PublishOnce publishes an event about the daemon in the first partition, once
// per subject. first is false if the subject was published before.
func (s *Outbox) PublishOnce(
	ctx context.Context, subject string, event []byte,
) (first bool, err error) {
	r := newScriptReply(s.conn.callScript(ctx, publishScript,
		[]string{keyPublishedSubjects, s.conn.partitions[0].events, s.conn.partitions[0].changes},
		subject, event, publishedSubjectTTL.Milliseconds(), maxPublishedSubjects,
		s.conn.maxEventBytes))
	return r.nextInt() == 1, r.err
}

// Arguments of one condition, in the order in which conditions.lua gets them.
const (
	conditionName = iota
	conditionActive
	conditionSeverity
	conditionRaisedEvent
	conditionClearedEvent
	conditionSize
)

var conditionArgs = scriptArgNames{"CONDITION", []string{
	conditionName:         "NAME",
	conditionActive:       "ACTIVE",
	conditionSeverity:     "SEVERITY",
	conditionRaisedEvent:  "RAISED_EVENT",
	conditionClearedEvent: "CLEARED_EVENT",
}}

// ReportConditions records the conditions that a replica observes, and
// publishes the start and the end of each episode once over all replicas. The
// report expires after ttl. An episode ends when no replica has observed its
// condition for quiet.
func (s *Outbox) ReportConditions(
	ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.DaemonConditionReport,
) ([]hold.DaemonConditionChange, error) {
	args := append(make([]any, 0, 4+conditionSize*len(list)),
		s.conn.maxEventBytes, replica, ttl.Milliseconds(), quiet.Milliseconds())
	for i := range list {
		c := &list[i]
		a := [conditionSize]any{
			conditionName:         c.Name,
			conditionActive:       boolArg(c.Active),
			conditionSeverity:     c.Severity,
			conditionRaisedEvent:  c.RaisedEvent,
			conditionClearedEvent: c.ClearedEvent,
		}
		args = append(args, a[:]...)
	}
	first := &s.conn.partitions[0]
	keys := []string{keyEpisodes, first.events, keyCondition, first.changes}
	r := newScriptReply(s.conn.callScript(ctx, conditionsScript, keys, args...))
	changes := make([]hold.DaemonConditionChange, len(list))
	for i := range changes {
		changes[i] = hold.DaemonConditionChange(r.nextInt())
	}
	return changes, r.err
}

// ReadEvents returns up to n events of a partition after an entry. gap says
// that the stream was trimmed beyond this entry, so later events may be missing
// too.
func (s *Outbox) ReadEvents(
	ctx context.Context, partition int, after string, n int,
) (events []hold.StreamEvent, gap bool, err error) {
	stream := s.conn.partitions[partition].events
	limit := int64(clampBatchSize(n)) + 1
	found, err := s.conn.client.XRangeN(ctx, stream, after, "+", limit).Result()
	if err != nil {
		return nil, false, err
	}
	gap = after != beginningOfStream
	if len(found) > 0 && found[0].ID == after {
		gap, found = false, found[1:]
	}
	gap = gap && len(found) > 0
	if gap {
		erased, err := s.wasCursorErased(ctx, partition, after)
		if err != nil {
			return nil, false, err
		}
		gap = !erased
	}
	return convertStreamEntries(found[:min(len(found), n)]), gap, nil
}

// ReadNewestEvents returns up to n events of all partitions, newest first.
func (s *Outbox) ReadNewestEvents(ctx context.Context, n int) ([]hold.StreamEvent, error) {
	pipe := s.conn.client.Pipeline()
	found := make([]*redis.XMessageSliceCmd, len(s.conn.partitions))
	for p := range s.conn.partitions {
		found[p] = pipe.XRevRangeN(ctx, s.conn.partitions[p].events, "+", "-",
			int64(clampBatchSize(n)))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var all []hold.StreamEvent
	for _, cmd := range found {
		all = append(all, convertStreamEntries(cmd.Val())...)
	}
	slices.SortStableFunc(all, func(a, b hold.StreamEvent) int {
		return cmp.Compare(streamIDMillis(b.ID), streamIDMillis(a.ID))
	})
	return all[:min(len(all), n)], nil
}

// streamIDMillis returns the time in the id of a stream's entry.
func streamIDMillis(id string) uint64 {
	millis, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseUint(millis, 10, 64) // Redis assigned the id
	return n
}

func convertStreamEntries(found []redis.XMessage) []hold.StreamEvent {
	out := make([]hold.StreamEvent, 0, len(found))
	for _, m := range found {
		event, _ := m.Values["event"].(string)
		out = append(out, hold.StreamEvent{ID: m.ID, Event: []byte(event)})
	}
	return out
}

// ReadStreamLengthAndEntriesAdded returns the number of events in a partition's stream, and
// the number ever added: -1 before Redis 7.0, which does not count them.
func (s *Outbox) ReadStreamLengthAndEntriesAdded(
	ctx context.Context, partition int,
) (length, added int64, err error) {
	r := newScriptReply(s.conn.callScript(ctx, streamLengthScript,
		[]string{s.conn.partitions[partition].events}))
	length, added = r.nextInt(), r.nextInt()
	return length, added, r.err
}

// AcquireSinkLease acquires the lease under which one replica delivers a
// partition's events to a sink. Token 0 means that another replica has the
// lease. state is nil for a new sink, which begins after the event start.
func (s *Outbox) AcquireSinkLease(
	ctx context.Context, sink string, partition int, holder string, lease time.Duration,
) (token int64, state []byte, start string, parked map[string][]byte, err error) {
	k := newSinkKeys(sink, partition)
	keys := []string{k.sink, k.parked, s.conn.partitions[partition].events}
	r := newScriptReply(s.conn.callScript(ctx, sinkBeginScript, keys,
		lease.Milliseconds(), holder, sinkTTL.Milliseconds()))
	token = r.nextInt()
	if r.err != nil || token == 0 {
		return 0, nil, "", nil, r.err
	}
	if text := r.nextString(); text != "" {
		state = []byte(text)
	}
	start = r.nextString()
	for r.hasMore() {
		if parked == nil {
			parked = map[string][]byte{}
		}
		id := r.nextString()
		parked[id] = []byte(r.nextString())
	}
	return token, state, start, parked, r.err
}

// SaveSinkProgressIfLeaseHeld saves the progress of the deliverer with this token, and
// extends its lease; a lease of 0 releases it. If ok is false, another replica
// has the lease and the caller must stop.
func (s *Outbox) SaveSinkProgressIfLeaseHeld(
	ctx context.Context, sink string, partition int, token int64,
	p hold.SinkProgressWrite, lease time.Duration,
) (ok bool, err error) {
	args := []any{token, lease.Milliseconds(), p.State, sinkTTL.Milliseconds(), maxDeadLetters}
	args = append(args, len(p.Park))
	for id, delivery := range p.Park {
		args = append(args, id, delivery)
	}
	args = append(args, len(p.Unpark))
	for _, id := range p.Unpark {
		args = append(args, id)
	}
	args = append(args, len(p.DeadLetters))
	for i := range p.DeadLetters {
		args = append(args, p.DeadLetters[i].Event, p.DeadLetters[i].Reason)
	}
	args = append(args, len(p.Requeued))
	for _, id := range p.Requeued {
		args = append(args, id)
	}
	k := newSinkKeys(sink, partition)
	keys := []string{k.sink, k.parked, k.deadLetters, k.requeued}
	r := newScriptReply(s.conn.callScript(ctx, sinkSaveScript, keys, args...))
	return r.nextInt() == 1, r.err
}

// ReadSinkPartitionStates returns the state of a sink in each partition, empty
// if it has none there.
func (s *Outbox) ReadSinkPartitionStates(ctx context.Context, sink string) ([][]byte, error) {
	pipe := s.conn.client.Pipeline()
	cmds := make([]*redis.StringCmd, len(s.conn.partitions))
	for p := range s.conn.partitions {
		cmds[p] = pipe.HGet(ctx, newSinkKeys(sink, p).sink, "state")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	states := make([][]byte, len(cmds))
	for i, cmd := range cmds {
		states[i] = []byte(cmd.Val())
	}
	return states, nil
}
