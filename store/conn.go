package store

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// conn is the Redis client and the keys that all parts of a [Store] share.
type conn struct {
	client     redis.UniversalClient
	partitions []partitionKeys
	// maxEventBytes is how large the stream of events of each partition may be.
	maxEventBytes int
}

// partitionIndex returns the index of a hold's partition.
func (c *conn) partitionIndex(id string) int { return hashToPartition(id, len(c.partitions)) }

func (c *conn) partitionKeysOf(id string) *partitionKeys {
	return &c.partitions[c.partitionIndex(id)]
}

func hashToPartition(id string, partitions int) int {
	if partitions == 1 {
		return 0
	}
	f := fnv.New32a()
	f.Write([]byte(id))
	return int(f.Sum32() % uint32(partitions))
}

// batch is a part of a list of holds that fits into one script call.
type batch struct {
	partition int
	indexes   []int // in the list
}

// splitByPartition splits a list of n holds into batches.
func (c *conn) splitByPartition(n int, id func(i int) string) []batch {
	indexes := make([][]int, len(c.partitions))
	for i := range n {
		p := c.partitionIndex(id(i))
		indexes[p] = append(indexes[p], i)
	}
	var batches []batch
	for p := range indexes {
		for chunk := range slices.Chunk(indexes[p], maxBatchSize) {
			batches = append(batches, batch{partition: p, indexes: chunk})
		}
	}
	return batches
}

// readByScore returns up to n holds per partition of a set whose score is at most
// highest ("": now), lowest score first, and the time of Redis.
func (c *conn) readByScore(
	ctx context.Context, set func(*partitionKeys) string, n int, highest string,
) ([]hold.DueHold, time.Time, error) {
	return c.readWithScores(ctx, readDueScript, set, n, highest)
}

// readWithScores is readByScore with read_due.lua or a script like it.
func (c *conn) readWithScores(
	ctx context.Context, script *redis.Script, set func(*partitionKeys) string, n int,
	highest string,
) ([]hold.DueHold, time.Time, error) {
	calls := make([]scriptCall, len(c.partitions))
	for p := range c.partitions {
		k := &c.partitions[p]
		calls[p] = scriptCall{
			keys: []string{set(k), k.holds},
			args: []any{clampBatchSize(n), highest},
		}
	}
	var found []hold.DueHold
	var failed error
	now := time.Time{}
	for _, cmd := range c.callScriptBatch(ctx, script, calls) {
		r := newReply(cmd)
		if t := r.time(); !t.IsZero() {
			now = t
		}
		for r.hasMore() {
			id, due, rec := r.str(), r.time(), r.str()
			if r.err != nil {
				break
			}
			h := hold.Hold{ID: id} // returned for an id without a record
			if rec != "" {
				var err error
				if h, _, err = decodeRecord(id, rec); err != nil {
					failed = errors.Join(failed, err)
					continue
				}
			}
			found = append(found, hold.DueHold{Hold: h, DueAt: due})
		}
		failed = errors.Join(failed, r.err)
	}
	return found, now, failed
}

// hasAnyMembers reports whether a set has members in any partition. While a set
// is empty, ZCARD costs Redis less than a script.
func (c *conn) hasAnyMembers(ctx context.Context, set func(*partitionKeys) string) (bool, error) {
	pipe := c.client.Pipeline()
	counts := make([]*redis.IntCmd, len(c.partitions))
	for p := range c.partitions {
		counts[p] = pipe.ZCard(ctx, set(&c.partitions[p]))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, err
	}
	return slices.ContainsFunc(counts, func(cmd *redis.IntCmd) bool { return cmd.Val() > 0 }), nil
}
