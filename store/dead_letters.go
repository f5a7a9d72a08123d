package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/holdd/holdd/worker/hold"
)

var sinkRequeueScript = newScript("sink_requeue")

const (
	maxDeadLetters = 10_000 // per sink and partition
	maxRequeue     = 1000   // per call and partition
)

// ListDeadLetters returns up to n dead letters of a sink, partition by
// partition and oldest first in each, and their total number.
func (s *Outbox) ListDeadLetters(
	ctx context.Context, sink string, n int,
) (list []hold.DeadLetter, total int64, err error) {
	for p := range s.conn.partitions {
		stream := newSinkKeys(sink, p).deadLetters
		pipe := s.conn.client.Pipeline()
		length := pipe.XLen(ctx, stream)
		found := pipe.XRangeN(ctx, stream, "-", "+", int64(max(1, n-len(list))))
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
			list = append(list, hold.DeadLetter{
				Sink: sink, Partition: p, ID: deadLetterID(p, m.ID),
				Event: []byte(event), Reason: reason,
			})
		}
	}
	return list, total, nil
}

// RequeueDeadLetters requeues the dead letters with these ids for another
// delivery, or all if ids is empty. One call requeues at most 1,000 per
// partition.
func (s *Outbox) RequeueDeadLetters(
	ctx context.Context, sink string, ids []string,
) (n int64, err error) {
	entries := make([][]any, len(s.conn.partitions))
	for _, id := range ids {
		if p, entry, ok := parseDeadLetterID(id); ok && p < len(entries) {
			entries[p] = append(entries[p], entry)
		}
	}
	for p := range s.conn.partitions {
		if len(ids) > 0 && len(entries[p]) == 0 {
			continue
		}
		k := newSinkKeys(sink, p)
		keys := []string{k.deadLetters, k.requeued, s.conn.partitions[p].changes}
		args := append([]any{maxRequeue}, entries[p]...)
		r := newScriptReply(s.conn.callScript(ctx, sinkRequeueScript, keys, args...))
		n += r.nextInt()
		if r.err != nil {
			return n, r.err
		}
	}
	return n, nil
}

// ReadRequeuedDeadLetters returns up to n requeued dead letters of a partition.
func (s *Outbox) ReadRequeuedDeadLetters(
	ctx context.Context, sink string, partition, n int,
) ([]hold.StreamEvent, error) {
	stream := newSinkKeys(sink, partition).requeued
	found, err := s.conn.client.XRangeN(ctx, stream, "-", "+", int64(clampBatchSize(n))).Result()
	return convertStreamEntries(found), err
}

func deadLetterID(partition int, entry string) string {
	return strconv.Itoa(partition) + ":" + entry
}

func parseDeadLetterID(id string) (partition int, entry string, ok bool) {
	number, entry, _ := strings.Cut(id, ":")
	partition, err := strconv.Atoi(number)
	return partition, entry, err == nil && partition >= 0 && isStreamID(entry)
}

// isStreamID reports whether s has the form of a stream entry's id.
func isStreamID(s string) bool {
	millis, sequence, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(millis, 10, 64)
	_, err2 := strconv.ParseUint(sequence, 10, 64)
	return ok && err1 == nil && err2 == nil
}
