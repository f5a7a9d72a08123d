package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// maxUnreadable bounds the unreadable records that a replica remembers.
const maxUnreadable = 1000

// unreadableRecords remembers the holds whose records were unreadable.
type unreadableRecords struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (u *unreadableRecords) add(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ids == nil {
		u.ids = map[string]struct{}{}
	}
	if len(u.ids) < maxUnreadable {
		u.ids[id] = struct{}{}
	}
}

func (u *unreadableRecords) remove(ids []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		delete(u.ids, id)
	}
}

func (u *unreadableRecords) list() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Keys(u.ids))
}

// decodeAndTrackUnreadable decodes a record and remembers an unreadable one.
func (c *redisConn) decodeAndTrackUnreadable(id, rec string) (hold.Hold, time.Time, error) {
	h, claimedAt, err := decodeRecord(id, rec)
	if err != nil {
		c.unreadable.add(id)
	}
	return h, claimedAt, err
}

// RecheckUnreadableRecords returns the ids of the holds whose records this process
// found unreadable, as far as they still are. It returns at most 1,000, sorted.
// Redis is read only if there are any.
func (s *Holds) RecheckUnreadableRecords(ctx context.Context) ([]string, error) {
	ids := s.conn.unreadable.list()
	if len(ids) == 0 {
		return nil, nil
	}
	_, _, err := s.ReadHolds(ctx, ids...)
	if err != nil && !errors.Is(err, hold.ErrUnreadableRecord) {
		return nil, err
	}
	unreadable := hold.UnreadableHoldIDsInError(err)
	slices.Sort(unreadable)
	s.conn.unreadable.remove(slices.DeleteFunc(ids, func(id string) bool {
		_, found := slices.BinarySearch(unreadable, id)
		return found
	}))
	return unreadable, nil
}
