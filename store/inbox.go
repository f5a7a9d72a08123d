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

// Inbox takes up to n entries of the inbox for a consumer: those first that another took more than idle ago and did not answer. Each must be
// answered with [Store.Handled], or it comes again. An entry of more than most bytes comes cut.
func (s *Store) Inbox(ctx context.Context, consumer string, n int, idle time.Duration, most int) ([]hold.Letter, time.Time, error) {
	if n, err := s.rdb.XLen(ctx, keyInbox).Result(); err != nil || n == 0 {
		return nil, time.Time{}, err // looked at every second, and empty most of the time
	}
	r := open(s.exec(ctx, inboxScript, []run{{
		keys: []string{keyInbox}, args: []any{inboxGroup, consumer, bounded(n), idle.Milliseconds(), most},
	}})[0])
	now := r.time()
	var letters []hold.Letter
	for r.more() {
		l := hold.Letter{ID: r.str(), Size: int(r.int()), Text: r.str()}
		ms, _, _ := strings.Cut(l.ID, "-")
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
			l.At = time.UnixMilli(n).UTC()
		}
		if r.err == nil {
			letters = append(letters, l)
		}
	}
	return letters, now, r.err
}

// Handled acknowledges entries of the inbox and removes them.
func (s *Store) Handled(ctx context.Context, ids []string) error {
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

// Reject writes down what was not taken, and why.
func (s *Store) Reject(ctx context.Context, r hold.Rejected) error {
	return s.rdb.XAdd(ctx, &redis.XAddArgs{
		Stream: keyRejected, MaxLen: rejectedMax, Approx: true,
		Values: []any{"source", r.Source, "id", r.ID, "code", string(r.Code), "field", r.Field, "reason", r.Reason, "hold", r.Text},
	}).Err()
}

// Tidy forgets consumers of replicas that are gone. One that is owed entries stays: with it they would be lost.
func (s *Store) Tidy(ctx context.Context) error {
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
