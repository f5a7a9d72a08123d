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
	keyInbox    = "holdd:inbox"
	keyRejected = "holdd:inbox:rejected"
	inboxGroup  = "holdd"

	// rejectedMax is where the stream of rejects is trimmed: with the largest originals it has 64 MiB.
	rejectedMax = 1000
	// idleConsumer is after how long a consumer that is owed nothing belongs to a replica that is gone.
	idleConsumer = 24 * time.Hour
)

// ReadInbox takes up to n entries of the inbox for a consumer: those first that another took more than idle ago and did not answer. Each must be
// answered with [Store.Handled], or it comes again. An entry of more than most bytes comes cut.
func (s *Store) ReadInbox(ctx context.Context, consumer string, n int, idle time.Duration, most int) ([]hold.InboxEntry, time.Time, error) {
	if n, err := s.rdb.XLen(ctx, keyInbox).Result(); err != nil || n == 0 {
		return nil, time.Time{}, err // looked at every second, and empty most of the time
	}
	r := newReply(s.runScript(ctx, inboxScript, []scriptCall{{
		keys: []string{keyInbox}, args: []any{inboxGroup, consumer, clampBatch(n), idle.Milliseconds(), most},
	}})[0])
	now := r.time()
	var entries []hold.InboxEntry
	for r.more() {
		l := hold.InboxEntry{ID: r.str(), Size: int(r.int()), Text: r.str()}
		ms, _, _ := strings.Cut(l.ID, "-")
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
			l.At = time.UnixMilli(n).UTC()
		}
		if r.err == nil {
			entries = append(entries, l)
		}
	}
	return entries, now, r.err
}

// AckInbox acknowledges entries of the inbox and removes them.
func (s *Store) AckInbox(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	// Removed first: what is cut off in between is acknowledged by the next take-over, which finds it gone. The other way round it would stay for ever.
	pipe := s.rdb.Pipeline()
	pipe.XDel(ctx, keyInbox, ids...)
	pipe.XAck(ctx, keyInbox, inboxGroup, ids...)
	_, err := pipe.Exec(ctx)
	return err
}

// RecordRejection writes down what was not taken, and why.
func (s *Store) RecordRejection(ctx context.Context, r hold.RejectedRequest) error {
	return s.rdb.XAdd(ctx, &redis.XAddArgs{
		Stream: keyRejected, MaxLen: rejectedMax, Approx: true,
		Values: []any{"source", r.Source, "id", r.ID, "code", string(r.Code), "field", r.Field, "reason", r.Reason, "hold", r.Text},
	}).Err()
}

// PruneConsumers forgets consumers of replicas that are gone. One that is owed entries stays: with it they would be lost.
func (s *Store) PruneConsumers(ctx context.Context) error {
	consumers, err := s.rdb.XInfoConsumers(ctx, keyInbox, inboxGroup).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") || redis.HasErrorPrefix(err, "NOGROUP") {
			return nil // nobody has written to the inbox yet
		}
		return err
	}
	for _, c := range consumers {
		if c.Pending == 0 && c.Idle > idleConsumer {
			if err := s.rdb.XGroupDelConsumer(ctx, keyInbox, inboxGroup, c.Name).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
