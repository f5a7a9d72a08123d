package store

import (
	"context"
	"strconv"
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

// HoldsSettledBefore returns up to n holds per partition that were settled
// before a time. The caller drops them with [Holds.Commit].
func (s *Queue) HoldsSettledBefore(
	ctx context.Context, before time.Time, n int,
) ([]hold.DueHold, error) {
	settled := func(k *partitionKeys) string { return k.settled }
	highest := strconv.FormatInt(before.UnixMilli(), 10)
	found, _, err := s.conn.readWithScores(ctx, readSettledScript, settled, clampBatchSize(n), highest)
	return found, err
}

// countSettled adds the number of settled holds of a partition to *to when
// the pipeline has run. Each hold without a milestone is settled.
func countSettled(ctx context.Context, pipe redis.Pipeliner, k *partitionKeys, to *int64) func() {
	all, open := pipe.HLen(ctx, k.holds), pipe.ZCard(ctx, k.expiring)
	return func() { *to += max(0, all.Val()-open.Val()) }
}
