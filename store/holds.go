package store

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Holds reads, lists and writes holds.
type Holds struct{ conn *redisConn }

var readScript = newScript("read")

// ReadHolds returns the holds with these ids, nil for a hold that does not exist,
// and the time of Redis. With [hold.ErrUnreadableRecord], it also returns the
// readable holds.
func (s *Holds) ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error) {
	batches := s.conn.splitByPartition(len(ids), func(i int) string { return ids[i] })
	if len(ids) == 0 {
		batches = []partitionBatch{{}} // reads only the time
	}
	calls := make([]scriptCall, len(batches))
	for n, b := range batches {
		calls[n].keys = []string{s.conn.partitions[b.partition].holds}
		for _, i := range b.indexes {
			calls[n].args = append(calls[n].args, ids[i])
		}
	}
	holds := make([]*hold.Hold, len(ids))
	now := time.Time{}
	var unreadable error
	for n, cmd := range s.conn.callScriptBatch(ctx, readScript, calls) {
		r := newScriptReply(cmd)
		now = r.nextTime()
		for _, i := range batches[n].indexes {
			rec, exists := r.nextOptionalString()
			if !exists {
				continue
			}
			h, _, err := s.conn.decodeAndTrackUnreadable(ids[i], rec)
			if err != nil {
				unreadable = errors.Join(unreadable, err)
				continue
			}
			holds[i] = &h
		}
		if r.err != nil {
			return nil, now, r.err
		}
	}
	return holds, now, unreadable
}
