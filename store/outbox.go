package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

const (
	keyPublished  = "holdd:{0}:told"
	keyEpisodes   = "holdd:{0}:episodes"
	keyConditions = "holdd:{0}:condition"

	// publishedFor is how long it is remembered that something was told of: longer than any authorization lasts.
	publishedFor = 35 * 24 * time.Hour
	maxPublished = 10_000

	// sinkTTL is how long a sink is remembered that no replica serves any more.
	sinkTTL = 35 * 24 * time.Hour
	// maxDeadLetters is where a partition's dead letters of a sink are trimmed.
	maxDeadLetters = 10_000
	// maxRequeue bounds how many dead letters one call takes up, in each partition.
	maxRequeue = 1000
)

var (
	publishScript    = script("publish")
	conditionsScript = script("conditions")
	sinkBeginScript  = script("sink_begin")
	sinkSaveScript   = script("sink_save")
	sinkReplayScript = script("sink_replay")
	streamScript     = script("stream")
)

// sinkKeys are one sink's keys in one partition.
func (s *Store) sinkKeys(sink string, partition int) (state, parked, dead, again string) {
	k := "holdd:{" + strconv.Itoa(partition) + "}:sink:" + sink
	return k, k + ":parked", k + ":dead", k + ":again"
}

// Partitions is how many parts the holds are spread over; each has a stream of events.
func (s *Store) Partitions() int { return len(s.parts) }

// PublishOnce puts an event that is no hold's on the first partition's stream, once for whatever it is about. first is false if it was told before.
func (s *Store) PublishOnce(ctx context.Context, about string, event []byte) (first bool, err error) {
	r := newReply(s.runScript(ctx, publishScript, []scriptCall{{
		keys: []string{keyPublished, s.parts[0].events}, args: []any{about, event, publishedFor.Milliseconds(), maxPublished, s.eventsMax},
	}})[0])
	return r.int() == 1, r.err
}

// ReportConditions takes in what a replica sees, and publishes the beginning and the end of each episode, once over all replicas. Its word counts
// for ttl; an episode ends once nobody has seen the condition for quiet.
func (s *Store) ReportConditions(ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.Condition) ([]hold.ConditionChange, error) {
	args := make([]any, 0, 4+5*len(list))
	args = append(args, s.eventsMax, replica, ttl.Milliseconds(), quiet.Milliseconds())
	for i := range list {
		c := &list[i]
		active := "0"
		if c.Active {
			active = "1"
		}
		args = append(args, c.Name, active, c.Severity, c.RaisedEvent, c.ClearedEvent)
	}
	changes := make([]hold.ConditionChange, len(list))
	r := newReply(s.runScript(ctx, conditionsScript, []scriptCall{{keys: []string{keyEpisodes, s.parts[0].events, keyConditions}, args: args}})[0])
	for i := range changes {
		changes[i] = hold.ConditionChange(r.int())
	}
	return changes, r.err
}

// DeadReplicas are the replicas whose heartbeat has ended without a word.
func (s *Store) DeadReplicas(ctx context.Context) ([]string, error) {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return s.rdb.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{Min: "-inf", Max: "(" + strconv.FormatInt(now.UnixMilli(), 10), Count: 100}).Result()
}

// AcquireLock takes a turn at something that one replica at a time does, for d. It reports whether this call got it.
func (s *Store) AcquireLock(ctx context.Context, what string, d time.Duration) (bool, error) {
	return s.rdb.SetNX(ctx, "holdd:turn:"+what, 1, d).Result()
}

// BeginSink takes the lease under which one replica at a time delivers a partition's events to a sink. Token 0 means that another one has it. state is nil
// for a sink that has none yet; such a one begins after the event start, so that it isn't told of what was before it.
func (s *Store) BeginSink(ctx context.Context, sink string, partition int, holder string, lease time.Duration) (token int64, state []byte, start string, parked map[string][]byte, err error) {
	k, p, _, _ := s.sinkKeys(sink, partition)
	r := newReply(s.runScript(ctx, sinkBeginScript, []scriptCall{{keys: []string{k, p, s.parts[partition].events}, args: []any{lease.Milliseconds(), holder, sinkTTL.Milliseconds()}}})[0])
	token = r.int()
	if r.err != nil || token == 0 {
		return 0, nil, "", nil, r.err
	}
	if text := r.str(); text != "" {
		state = []byte(text)
	}
	start = r.str()
	for r.more() {
		if parked == nil {
			parked = map[string][]byte{}
		}
		id := r.str()
		parked[id] = []byte(r.str())
	}
	return token, state, start, parked, r.err
}

// SaveSink notes how far the deliverer with this token has come, and renews its lease; a lease of 0 gives it back. ok is false where the lease is somebody
// else's by now: whoever is told so stops.
func (s *Store) SaveSink(ctx context.Context, sink string, partition int, token int64, p hold.SinkProgress, lease time.Duration) (ok bool, err error) {
	k, parked, dead, again := s.sinkKeys(sink, partition)
	args := []any{token, lease.Milliseconds(), p.State, sinkTTL.Milliseconds(), maxDeadLetters}
	args = append(args, len(p.Park))
	for id, v := range p.Park {
		args = append(args, id, v)
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
	r := newReply(s.runScript(ctx, sinkSaveScript, []scriptCall{{keys: []string{k, parked, dead, again}, args: args}})[0])
	return r.int() == 1, r.err
}

// ReadEvents returns up to n events of a partition that come after the entry named. torn says that this entry is not in the stream any more, so that some that came
// after it may be gone as well.
func (s *Store) ReadEvents(ctx context.Context, partition int, after string, n int) (events []hold.StreamEvent, torn bool, err error) {
	found, err := s.rdb.XRangeN(ctx, s.parts[partition].events, after, "+", int64(clampBatch(n))+1).Result()
	if err != nil {
		return nil, false, err
	}
	torn = after != "0-0"
	if len(found) > 0 && found[0].ID == after {
		torn, found = false, found[1:]
	}
	return streamEvents(found[:min(len(found), n)]), torn && len(found) > 0, nil
}

// StreamLength tells how many events a partition's stream has, and how many it ever had: -1 where Redis (before 7.0) doesn't count them.
func (s *Store) StreamLength(ctx context.Context, partition int) (length, added int64, err error) {
	r := newReply(s.runScript(ctx, streamScript, []scriptCall{{keys: []string{s.parts[partition].events}}})[0])
	length, added = r.int(), r.int()
	return length, added, r.err
}

// RequeuedDeadLetters returns up to n dead letters that are to be delivered once more.
func (s *Store) RequeuedDeadLetters(ctx context.Context, sink string, partition, n int) ([]hold.StreamEvent, error) {
	_, _, _, again := s.sinkKeys(sink, partition)
	found, err := s.rdb.XRangeN(ctx, again, "-", "+", int64(clampBatch(n))).Result()
	return streamEvents(found), err
}

func streamEvents(found []redis.XMessage) []hold.StreamEvent {
	out := make([]hold.StreamEvent, 0, len(found))
	for _, m := range found {
		event, _ := m.Values["event"].(string)
		out = append(out, hold.StreamEvent{ID: m.ID, Event: []byte(event)})
	}
	return out
}

// DeadLetters returns up to n events that a sink was not able to take, of all partitions, oldest first in each, and how many there are.
func (s *Store) DeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64, err error) {
	for p := range s.parts {
		_, _, dead, _ := s.sinkKeys(sink, p)
		pipe := s.rdb.Pipeline()
		length := pipe.XLen(ctx, dead)
		found := pipe.XRangeN(ctx, dead, "-", "+", int64(max(1, n-len(list))))
		if _, err := pipe.Exec(ctx); err != nil {
			return list, total, err
		}
		total += length.Val()
		for _, m := range found.Val() {
			if len(list) >= n {
				break
			}
			event, _ := m.Values["event"].(string)
			reason, _ := m.Values["reason"].(string)
			list = append(list, hold.DeadLetter{Sink: sink, Partition: p, ID: strconv.Itoa(p) + ":" + m.ID, Event: []byte(event), Reason: reason})
		}
	}
	return list, total, nil
}

// RequeueDeadLetters takes up dead letters again: those named as [Store.DeadLetters] names them, or all. At most 1,000 of a partition in one call.
func (s *Store) RequeueDeadLetters(ctx context.Context, sink string, ids []string) (n int64, err error) {
	by := map[int][]any{}
	for _, id := range ids {
		p, entry, _ := strings.Cut(id, ":")
		if i, err := strconv.Atoi(p); err == nil && i >= 0 && i < len(s.parts) && isStreamID(entry) {
			by[i] = append(by[i], entry)
		}
	}
	for p := range s.parts {
		args := []any{maxRequeue}
		if len(ids) > 0 {
			if len(by[p]) == 0 {
				continue
			}
			args = append(args, by[p]...)
		}
		_, _, dead, again := s.sinkKeys(sink, p)
		r := newReply(s.runScript(ctx, sinkReplayScript, []scriptCall{{keys: []string{dead, again}, args: args}})[0])
		n += r.int()
		if r.err != nil {
			return n, r.err
		}
	}
	return n, nil
}

// isStreamID says whether s can be an entry's id.
func isStreamID(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}

// SinkStates reads how far a sink has come in each partition, for whoever wants to know.
func (s *Store) SinkStates(ctx context.Context, sink string) ([][]byte, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(s.parts))
	for p := range s.parts {
		k, _, _, _ := s.sinkKeys(sink, p)
		cmds[p] = pipe.HGet(ctx, k, "state")
	}
	if _, err := pipe.Exec(ctx); err != nil && err != redis.Nil { //nolint:errorlint // go-redis returns it bare
		return nil, err
	}
	out := make([][]byte, len(cmds))
	for i, c := range cmds {
		out[i] = []byte(c.Val())
	}
	return out, nil
}
