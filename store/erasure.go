package store

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Erasure erases what Redis keeps about a hold beside its record. Every method
// can be repeated.
type Erasure struct{ conn *redisConn }

var eraseEventScript = newScript("erase_event")

const (
	// maxErased bounds the deleted events that the store remembers in each
	// partition, see [Outbox.ReadEvents].
	maxErased = 10_000
	// erasePage is how many entries of a stream are read at once.
	erasePage = 100
)

// ListSinksWithParkedEvents returns those of the sinks for which events of a
// hold are parked.
func (s *Erasure) ListSinksWithParkedEvents(
	ctx context.Context, id string, sinks []string,
) (parked []string, err error) {
	for _, sink := range sinks {
		k := newSinkKeys(sink, s.conn.partitionIndex(id))
		n, err := s.conn.client.HGet(ctx, k.parked, id).Result()
		switch {
		case err == nil && n != "":
			parked = append(parked, sink)
		case err != nil && err != redis.Nil: //nolint:errorlint // go-redis compares it so
			return nil, err
		}
	}
	return parked, nil
}

// ErasePersonalDataInEvents blanks the events that name a hold. A stream cannot be changed in
// place: ErasePersonalDataInEvents deletes an event, and adds a copy at the end if the event
// is after deliveredUpTo, so that a sink still gets it. deliveredUpTo
// returns the entry of a partition's stream that every sink has passed. blank
// returns an equal text for an event without personal data.
func (s *Erasure) ErasePersonalDataInEvents(
	ctx context.Context, id string, blank func([]byte) []byte,
	deliveredUpTo func(partition int) (entry string, err error),
) error {
	for _, p := range s.eventPartitionsOfHold(id) {
		delivered, err := deliveredUpTo(p)
		if err != nil {
			return err
		}
		k := &s.conn.partitions[p]
		err = s.conn.forEachEntry(ctx, k.events, func(e redis.XMessage) error {
			blanked, changed := blankEventIfMentionsHold(e, id, blank)
			if !changed {
				return nil
			}
			args := []any{e.ID, maxErased}
			if compareStreamIDs(e.ID, delivered) > 0 {
				args = append(args, "event", blanked)
			}
			keys := []string{k.events, k.erased, k.changes}
			return s.conn.callScript(ctx, eraseEventScript, keys, args...).Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ErasePersonalDataInDeadLetters blanks the dead letters of the sinks that name a hold, also
// those that are requeued.
func (s *Erasure) ErasePersonalDataInDeadLetters(
	ctx context.Context, id string, sinks []string, blank func([]byte) []byte,
) error {
	for _, p := range s.eventPartitionsOfHold(id) {
		partition := &s.conn.partitions[p]
		for _, sink := range sinks {
			k := newSinkKeys(sink, p)
			for _, stream := range []string{k.deadLetters, k.requeued} {
				err := s.conn.forEachEntry(ctx, stream, func(e redis.XMessage) error {
					blanked, changed := blankEventIfMentionsHold(e, id, blank)
					if !changed {
						return nil
					}
					args := []any{e.ID, "", "event", blanked}
					for field, value := range e.Values {
						if field != "event" {
							args = append(args, field, value)
						}
					}
					keys := []string{stream, partition.erased, partition.changes}
					return s.conn.callScript(ctx, eraseEventScript, keys, args...).Err()
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// DeleteRequestsAndQuarantinedRecords deletes the rejected requests, the
// responses to requests with an idempotency key and the quarantined records
// that name a hold.
func (s *Erasure) DeleteRequestsAndQuarantinedRecords(ctx context.Context, id string) error {
	c := s.conn
	err := c.forEachEntry(ctx, keyRejected, func(e redis.XMessage) error {
		for _, v := range e.Values {
			if text, ok := v.(string); ok && mentionsHold(text, id) {
				return c.client.XDel(ctx, keyRejected, e.ID).Err()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.forEachEntry(ctx, keyQuarantine, func(e redis.XMessage) error {
		if e.Values["hold"] != id {
			return nil
		}
		return c.client.XDel(ctx, keyQuarantine, e.ID).Err()
	})
	if err != nil {
		return err
	}
	return s.eraseKeyedRequests(ctx, id)
}

// eraseKeyedRequests forgets requests whose saved response names a hold. Such a
// request is executed anew if it is repeated, and the hold is settled.
func (s *Erasure) eraseKeyedRequests(ctx context.Context, id string) error {
	cursor := uint64(0)
	for {
		found, next, err := s.conn.client.HScan(ctx, keyRequests, cursor, "", erasePage).Result()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(found); i += 2 { // id, request, id, request, …
			digest, response, _ := strings.Cut(found[i+1], " ")
			if !mentionsHold(response, id) {
				continue
			}
			err := s.conn.callScript(ctx, requestSaveScript, keyedRequestKeys(),
				found[i], digest, "", boolArg(true)).Err()
			if err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// eventPartitionsOfHold returns the partitions with events about a hold: its own, and the
// first, which has the events about the daemon.
func (s *Erasure) eventPartitionsOfHold(id string) []int {
	return slices.Compact([]int{0, s.conn.partitionIndex(id)})
}

// forEachEntry calls f for each entry of a stream that was there when it began,
// oldest first.
func (c *redisConn) forEachEntry(
	ctx context.Context, stream string, f func(redis.XMessage) error,
) error {
	newest, err := c.client.XRevRangeN(ctx, stream, "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		return err
	}
	from := "-"
	for {
		found, err := c.client.XRangeN(ctx, stream, from, newest[0].ID, erasePage).Result()
		if err != nil {
			return err
		}
		for _, e := range found {
			if err := f(e); err != nil {
				return err
			}
		}
		if len(found) < erasePage {
			return nil
		}
		from = "(" + found[len(found)-1].ID
	}
}

// blankEventIfMentionsHold returns the event of an entry without personal data. changed
// is false if the event does not name the hold or has none.
func blankEventIfMentionsHold(
	e redis.XMessage, id string, blank func([]byte) []byte,
) (blanked []byte, changed bool) {
	text, _ := e.Values["event"].(string)
	if !mentionsHold(text, id) {
		return nil, false
	}
	blanked = blank([]byte(text))
	return blanked, string(blanked) != text
}

// mentionsHold reports whether a text has the id of a hold as a whole word.
func mentionsHold(text, id string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], id)
		if i < 0 {
			return false
		}
		from += i + len(id)
		if from == len(text) || !isIDByte(text[from]) {
			return true
		}
	}
}

func isIDByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// compareStreamIDs compares the ids of two entries of a stream. An id that is
// empty is before all others.
func compareStreamIDs(a, b string) int {
	sequence := func(id string) uint64 {
		_, text, _ := strings.Cut(id, "-")
		n, _ := strconv.ParseUint(text, 10, 64) // Redis assigned the id
		return n
	}
	return cmp.Or(cmp.Compare(streamIDMillis(a), streamIDMillis(b)),
		cmp.Compare(sequence(a), sequence(b)))
}

// wasCursorErased reports whether a sink's cursor is an event that was deleted
// to erase personal data: then no event behind it is missing.
func (s *Outbox) wasCursorErased(ctx context.Context, partition int, entry string) (bool, error) {
	found, err := s.conn.client.ZRangeByScore(ctx, s.conn.partitions[partition].erased,
		&redis.ZRangeBy{Min: strconv.FormatUint(streamIDMillis(entry), 10),
			Max: strconv.FormatUint(streamIDMillis(entry), 10)}).Result()
	return slices.Contains(found, entry), err
}
