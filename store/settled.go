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
// before a time. The caller drops them with [Holds.Commit].
func (s *Queue) ListHoldsSettledBefore(
	ctx context.Context, before time.Time, n int,
) ([]hold.DueHold, error) {
	calls := make([]scriptCall, len(s.conn.partitions))
	for p := range calls {
		k := &s.conn.partitions[p]
		calls[p] = scriptCall{keys: []string{k.settled, k.holds},
			args: []any{clampBatchSize(n), before.UnixMilli()}}
	}
	var found []hold.DueHold
	var failed error
	for _, cmd := range s.conn.callScriptBatch(ctx, readSettledScript, calls) {
		batch, _, _, err := s.conn.decodeDueHolds(cmd)
		found, failed = append(found, batch...), errors.Join(failed, err)
	}
	return found, failed
}

// addSettledCount adds the number of settled holds of a partition to *to when
// the pipeline has run. Each hold without a milestone is settled.
func addSettledCount(
	ctx context.Context, pipe redis.Pipeliner, k *partitionKeys, to *int64,
) func() {
	all, open := pipe.HLen(ctx, k.holds), pipe.ZCard(ctx, k.expiring)
	return func() { *to += max(0, all.Val()-open.Val()) }
}
