package store

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

var (
	pageSettledScript = newScript("page_settled")
	readSettledScript = newScript("read_settled")
)

// chunkConstants are the sizes of the chunks of settled holds. Redis stores a
// sorted set of at most 128 members as one string, which takes a third of the
// memory. Larger chunks than these save little and make a commit slower, because
// Redis reads the whole string. A full chunk gets no later hold, so it has room
// for those that are committed late.
var chunkConstants = []luaConstant{
	{"CHUNK_FULL", 40},
	{"CHUNK_LIMIT", 64},
}

// ListHoldsSettledBefore returns up to n holds per partition that were settled
// before a time, after those that it returned for the same cursor. more reports
// whether there may be others. The caller drops them with [Holds.Commit].
// Unreadable records are left out; a batch may have no other.
func (s *Queue) ListHoldsSettledBefore(
	ctx context.Context, before time.Time, cursor *hold.SettledCursor, n int,
) (found []hold.HoldWithDueMilestone, more bool, failed error) {
	if cursor.Partitions == nil {
		cursor.Partitions = make([]hold.SortedSetPosition, len(s.conn.partitions))
	}
	n = clampBatchSize(n)
	calls := make([]scriptCall, len(s.conn.partitions))
	for p := range calls {
		k, after := &s.conn.partitions[p], &cursor.Partitions[p]
		calls[p] = scriptCall{keys: []string{k.settled, k.holds},
			args: []any{n, before.UnixMilli(), after.Score, after.Member}}
	}
	for p, cmd := range s.conn.callScriptBatch(ctx, readSettledScript, calls) {
		batch, err := s.conn.decodeDueHolds(cmd)
		if batch.count > 0 {
			cursor.Partitions[p] = batch.last
		}
		found, failed = append(found, batch.holds...), errors.Join(failed, err)
		more = more || batch.count == n
	}
	return found, more, failed
}

// pipelineSettledCount adds the number of settled holds of a partition to *to
// when the pipeline has run. Each hold without a milestone is settled.
func pipelineSettledCount(
	ctx context.Context, pipe redis.Pipeliner, k *partitionKeys, to *int64,
) func() {
	all, open := pipe.HLen(ctx, k.holds), pipe.ZCard(ctx, k.expiring)
	return func() { *to += max(0, all.Val()-open.Val()) }
}
