package store

import (
	"context"
	"errors"
	"time"
)

// maxOldestDueRecords bounds the records that [Queue.ReadOldestDueAge] reads in
// a partition.
const maxOldestDueRecords = 256

var oldestDueScript = newScript("oldest_due")

// ReadOldestDueAge returns for how long the oldest hold has been due that no
// replica has claimed; 0 if none is due. In a lane with very many holds it
// examines those with the nearest and the furthest deadlines. With an error, it
// returns the age in the partitions that answered.
func (s *Queue) ReadOldestDueAge(ctx context.Context) (time.Duration, error) {
	return s.conn.oldestDueAge(ctx)
}

func (c *redisConn) oldestDueAge(ctx context.Context) (age time.Duration, err error) {
	calls := make([]scriptCall, len(c.partitions))
	for p := range c.partitions {
		k := &c.partitions[p]
		calls[p] = scriptCall{keys: []string{k.scheduled, k.holds, k.lanes, k.ready},
			args: []any{maxOldestDueRecords}}
	}
	var failed error
	for _, cmd := range c.callScriptBatch(ctx, oldestDueScript, calls) {
		r := newScriptReply(cmd)
		now, due := r.nextTime(), r.nextOptionalTime()
		for r.hasMore() {
			id, rec := r.nextString(), r.nextString()
			h, _, err := c.decodeAndTrackUnreadable(id, rec)
			if err != nil { // reported by the poll
				continue
			}
			if !h.NextAt.IsZero() && (due.IsZero() || h.NextAt.Before(due)) {
				due = h.NextAt
			}
		}
		if failed = errors.Join(failed, r.err); r.err == nil && !due.IsZero() {
			age = max(age, now.Sub(due))
		}
	}
	return age, failed
}
