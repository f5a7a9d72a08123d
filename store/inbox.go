package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// RequestInbox reads the stream to which booking systems add requests.
type RequestInbox struct{ conn *redisConn }

var inboxScript = newScript("inbox")

const (
	inboxGroup = "holdd"
	// maxRejected is the length to which the stream of rejected requests is
	// trimmed. It then has at most 64 MiB.
	maxRejected = 1000
	// maxConsumerIdle is the idle time after which a consumer without pending
	// entries is removed.
	maxConsumerIdle = 24 * time.Hour
)

// ReadInboxEntries reads up to n entries for a consumer. It begins with entries
// that a consumer read more than idle ago and did not acknowledge with
// [Inbox.AckInboxEntries]. It cuts the text of an entry to maxBytes.
func (s *RequestInbox) ReadInboxEntries(
	ctx context.Context, consumer string, n int, idle time.Duration, maxBytes int,
) ([]hold.InboxEntry, time.Time, error) {
	r := newScriptReply(s.conn.callScript(ctx, inboxScript, []string{keyInbox},
		inboxGroup, consumer, clampBatchSize(n), idle.Milliseconds(), maxBytes))
	now := r.nextTime()
	var entries []hold.InboxEntry
	for r.hasMore() {
		e := hold.InboxEntry{ID: r.nextString(), Size: int(r.nextInt()), Text: r.nextString(),
			Traceparent: r.nextString()}
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

// AckInboxEntries acknowledges entries and removes them from the stream.
func (s *RequestInbox) AckInboxEntries(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	// Remove first. If the connection breaks in between, Redis drops the entry
	// from the group when another consumer takes it over. In the other order
	// the entry would stay in the stream.
	pipe := s.conn.client.Pipeline()
	pipe.XDel(ctx, keyInbox, ids...)
	pipe.XAck(ctx, keyInbox, inboxGroup, ids...)
	_, err := pipe.Exec(ctx)
	return err
}

// AppendRejectedRequest adds a request to the stream of rejected requests, with the
// reason.
func (s *RequestInbox) AppendRejectedRequest(ctx context.Context, r hold.RejectedRequest) error {
	return s.conn.client.XAdd(ctx, &redis.XAddArgs{
		Stream: keyRejected, MaxLen: maxRejected, Approx: true,
		Values: []any{
			"source", r.Source,
			"id", r.ID,
			"code", string(r.Code),
			"field", r.Field,
			"reason", r.Reason,
			"hold", r.Text,
		},
	}).Err()
}

// PruneConsumers removes idle consumers, whose replicas have ended. It keeps a
// consumer with pending entries, which Redis would delete with the consumer.
func (s *RequestInbox) PruneConsumers(ctx context.Context) error {
	consumers, err := s.conn.client.XInfoConsumers(ctx, keyInbox, inboxGroup).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") || redis.HasErrorPrefix(err, "NOGROUP") {
			return nil // no request was ever added
		}
		return err
	}
	for _, c := range consumers {
		if c.Pending > 0 || c.Idle <= maxConsumerIdle {
			continue
		}
		err := s.conn.client.XGroupDelConsumer(ctx, keyInbox, inboxGroup, c.Name).Err()
		if err != nil {
			return err
		}
	}
	return nil
}
