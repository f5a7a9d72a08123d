package store

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// Outbox keeps the streams of events, and how far each sink has delivered them.
type Outbox struct{ conn *conn }

var (
	publishScript      = newScript("publish")
	conditionsScript   = newScript("conditions")
	sinkBeginScript    = newScript("sink_begin")
	sinkSaveScript     = newScript("sink_save")
	streamLengthScript = newScript("stream_length")
)

const (
	// publishedSubjectTTL is how long the store remembers what was published once:
	// longer than any authorization.
	publishedSubjectTTL  = 35 * 24 * time.Hour
	maxPublishedSubjects = 10_000

	// sinkTTL is how long the store remembers a sink that no replica serves.
	sinkTTL = 35 * 24 * time.Hour

	// beginningOfStream is the id before every entry.
	beginningOfStream = "0-0"
)

// Partitions returns the number of partitions. Each has its own stream of
// events.
func (s *Outbox) Partitions() int { return len(s.conn.partitions) }

// PublishOnce publishes an event that is not about a hold, once per subject, in
// the first partition. first is false if it was published before.
func (s *Outbox) PublishOnce(
	ctx context.Context, about string, event []byte,
) (first bool, err error) {
	r := newReply(s.conn.runOnce(ctx, publishScript,
		[]string{keyPublishedSubjects, s.conn.partitions[0].events},
		about, event, publishedSubjectTTL.Milliseconds(), maxPublishedSubjects, s.conn.maxEvents))
	return r.int() == 1, r.err
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

var conditionArgs = argNames{"CONDITION", []string{
	conditionName: "NAME", conditionActive: "ACTIVE", conditionSeverity: "SEVERITY",
	conditionRaisedEvent: "RAISED_EVENT", conditionClearedEvent: "CLEARED_EVENT",
}}

// ReportConditions records the conditions that a replica sees, and publishes
// the start and the end of each episode once over all replicas. The report
// counts for ttl. An episode ends when no replica has seen its condition for
// quiet.
func (s *Outbox) ReportConditions(
	ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.Condition,
) ([]hold.ConditionChange, error) {
	args := append(make([]any, 0, 4+conditionSize*len(list)),
		s.conn.maxEvents, replica, ttl.Milliseconds(), quiet.Milliseconds())
	for i := range list {
		c := &list[i]
		var a [conditionSize]any
		a[conditionName], a[conditionActive], a[conditionSeverity] = c.Name,
			flagArg(c.Active), c.Severity
		a[conditionRaisedEvent], a[conditionClearedEvent] = c.RaisedEvent, c.ClearedEvent
		args = append(args, a[:]...)
	}
	keys := []string{keyEpisodes, s.conn.partitions[0].events, keyCondition}
	r := newReply(s.conn.runOnce(ctx, conditionsScript, keys, args...))
	changes := make([]hold.ConditionChange, len(list))
	for i := range changes {
		changes[i] = hold.ConditionChange(r.int())
	}
	return changes, r.err
}

// ReadEvents returns up to n events of a partition after an entry. torn says
// that this entry is no longer in the stream, so that later ones may be missing
// as well.
func (s *Outbox) ReadEvents(
	ctx context.Context, partition int, after string, n int,
) (events []hold.StreamEvent, torn bool, err error) {
	stream := s.conn.partitions[partition].events
	found, err := s.conn.client.XRangeN(ctx, stream, after, "+", int64(clampBatch(n))+1).Result()
	if err != nil {
		return nil, false, err
	}
	torn = after != beginningOfStream
	if len(found) > 0 && found[0].ID == after {
		torn, found = false, found[1:]
	}
	return streamEvents(found[:min(len(found), n)]), torn && len(found) > 0, nil
}

func streamEvents(found []redis.XMessage) []hold.StreamEvent {
	out := make([]hold.StreamEvent, 0, len(found))
	for _, m := range found {
		event, _ := m.Values["event"].(string)
		out = append(out, hold.StreamEvent{ID: m.ID, Event: []byte(event)})
	}
	return out
}

// StreamLength returns how many events a partition's stream has, and how many
// it ever had: -1 before Redis 7.0, which does not count them.
func (s *Outbox) StreamLength(ctx context.Context, partition int) (length, added int64, err error) {
	r := newReply(s.conn.runOnce(ctx, streamLengthScript,
		[]string{s.conn.partitions[partition].events}))
	length, added = r.int(), r.int()
	return length, added, r.err
}

// AcquireSinkLease takes the lease under which one replica delivers a
// partition's events to a sink. Token 0 means that another replica has it.
// state is nil for a new sink, which begins after the event start.
func (s *Outbox) AcquireSinkLease(
	ctx context.Context, sink string, partition int, holder string, lease time.Duration,
) (token int64, state []byte, start string, parked map[string][]byte, err error) {
	k := newSinkKeys(sink, partition)
	keys := []string{k.sink, k.parked, s.conn.partitions[partition].events}
	r := newReply(s.conn.runOnce(ctx, sinkBeginScript, keys,
		lease.Milliseconds(), holder, sinkTTL.Milliseconds()))
	token = r.int()
	if r.err != nil || token == 0 {
		return 0, nil, "", nil, r.err
	}
	if text := r.str(); text != "" {
		state = []byte(text)
	}
	start = r.str()
	for r.hasMore() {
		if parked == nil {
			parked = map[string][]byte{}
		}
		id := r.str()
		parked[id] = []byte(r.str())
	}
	return token, state, start, parked, r.err
}

// SaveSinkProgress saves the progress of the deliverer with this token, and
// extends its lease; a lease of 0 gives it back. ok is false if another replica
// has the lease now: the caller must stop.
func (s *Outbox) SaveSinkProgress(
	ctx context.Context, sink string, partition int, token int64,
	p hold.SinkProgress, lease time.Duration,
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
	r := newReply(s.conn.runOnce(ctx, sinkSaveScript, keys, args...))
	return r.int() == 1, r.err
}

// SinkStates returns the state of a sink in each partition, empty where it has
// none.
func (s *Outbox) SinkStates(ctx context.Context, sink string) ([][]byte, error) {
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
