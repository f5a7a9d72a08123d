package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// Inbox reads the stream to which booking systems add requests.
type Inbox struct{ conn *conn }

var inboxScript = newScript("inbox")

const (
	inboxGroup = "holdd"
	// maxRejected trims the stream of rejected requests. With originals of the
	// largest size it has 64 MiB.
	maxRejected = 1000
	// maxConsumerIdle is when the replica of a consumer without pending
	// entries counts as gone.
	maxConsumerIdle = 24 * time.Hour
)

// ReadInbox reads up to n entries for a consumer: first those that another
// consumer took more than idle ago and did not acknowledge. The caller
// acknowledges each with [Inbox.AckInbox], or it is read again. The text of an
// entry is cut to maxBytes.
func (s *Inbox) ReadInbox(
	ctx context.Context, consumer string, n int, idle time.Duration, maxBytes int,
) ([]hold.InboxEntry, time.Time, error) {
	// The inbox is read every second and mostly empty: a plain command costs
	// less than the script.
	if length, err := s.conn.client.XLen(ctx, keyInbox).Result(); err != nil || length == 0 {
		return nil, time.Time{}, err
	}
	r := newReply(s.conn.runOnce(ctx, inboxScript, []string{keyInbox},
		inboxGroup, consumer, clampBatch(n), idle.Milliseconds(), maxBytes))
	now := r.time()
	var entries []hold.InboxEntry
	for r.hasMore() {
		e := hold.InboxEntry{ID: r.str(), Size: int(r.int()), Text: r.str()}
		millis, _, _ := strings.Cut(e.ID, "-")
		if at, err := strconv.ParseInt(millis, 10, 64); err == nil {
			e.At = time.UnixMilli(at).UTC()
		}
		if r.err == nil {
			entries = append(entries, e)
		}
	}
	return entries, now, r.err
}

// AckInbox acknowledges entries and removes them from the stream.
func (s *Inbox) AckInbox(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	// Remove first. If the connection breaks in between, the next consumer that
	// takes the entry over finds it gone and Redis drops it from the group. In
	// the other order it would stay in the stream for ever.
	pipe := s.conn.client.Pipeline()
	pipe.XDel(ctx, keyInbox, ids...)
	pipe.XAck(ctx, keyInbox, inboxGroup, ids...)
	_, err := pipe.Exec(ctx)
	return err
}

// RecordRejection writes down a request that was rejected, and why.
func (s *Inbox) RecordRejection(ctx context.Context, r hold.RejectedRequest) error {
	return s.conn.client.XAdd(ctx, &redis.XAddArgs{
		Stream: keyRejected, MaxLen: maxRejected, Approx: true,
		Values: []any{
			"source", r.Source, "id", r.ID, "code", string(r.Code), "field",
			r.Field, "reason", r.Reason,
			"hold", r.Text,
		},
	}).Err()
}

// PruneConsumers removes the consumers of replicas that are gone. It keeps a
// consumer with pending entries, which would be lost with it.
func (s *Inbox) PruneConsumers(ctx context.Context) error {
	consumers, err := s.conn.client.XInfoConsumers(ctx, keyInbox, inboxGroup).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") || redis.HasErrorPrefix(err, "NOGROUP") {
			return nil // the inbox has never been used
		}
		return err
	}
	for _, c := range consumers {
		if c.Pending == 0 && c.Idle > maxConsumerIdle {
			if err := s.conn.client.XGroupDelConsumer(ctx, keyInbox, inboxGroup,
				c.Name).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
