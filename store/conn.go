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

// redisConn is the Redis client and the keys that all parts of a [Store] share.
type redisConn struct {
	client     redis.UniversalClient
	partitions []partitionKeys
	// maxEventBytes is how large the stream of events of each partition may be.
	maxEventBytes int
}

// partitionIndex returns the index of a hold's partition.
func (c *redisConn) partitionIndex(id string) int { return hashToPartition(id, len(c.partitions)) }

func (c *redisConn) partitionKeysOf(id string) *partitionKeys {
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

// partitionBatch is a part of a list of holds that fits into one script call.
type partitionBatch struct {
	partition int
	indexes   []int // in the list
}

// splitByPartition splits a list of n holds into batches.
func (c *redisConn) splitByPartition(n int, id func(i int) string) []partitionBatch {
	indexes := make([][]int, len(c.partitions))
	for i := range n {
		p := c.partitionIndex(id(i))
		indexes[p] = append(indexes[p], i)
	}
	var batches []partitionBatch
	for p := range indexes {
		for chunk := range slices.Chunk(indexes[p], maxBatchSize) {
			batches = append(batches, partitionBatch{partition: p, indexes: chunk})
		}
	}
	return batches
}

// readByScore returns up to n holds per partition of a set whose score is at most
// highest ("": now), lowest score first, and the time of Redis. It reads more
// than maxBatchSize in several rounds. A set that changes meanwhile may show a
// hold twice or not at all.
func (c *redisConn) readByScore(
	ctx context.Context, set func(*partitionKeys) string, n int, highest string,
) ([]hold.DueHold, time.Time, error) {
	return c.readWithScores(ctx, readDueScript, set, n, highest)
}

// readWithScores is readByScore with read_due.lua or a script like it.
func (c *redisConn) readWithScores(
	ctx context.Context, script *redis.Script, set func(*partitionKeys) string, n int,
	highest string,
) (found []hold.DueHold, now time.Time, failed error) {
	open := make([]int, len(c.partitions)) // partitions that have more
	for p := range open {
		open[p] = p
	}
	byPartition := make([][]hold.DueHold, len(c.partitions))
	for offset := 0; offset == 0 || offset < n && len(open) > 0; offset += maxBatchSize {
		calls := make([]scriptCall, len(open))
		for i, p := range open {
			k := &c.partitions[p]
			calls[i] = scriptCall{
				keys: []string{set(k), k.holds}, args: []any{clampBatchSize(n - offset), highest},
			}
			if offset > 0 {
				calls[i].args = append(calls[i].args, offset)
			}
		}
		var full []int
		for i, cmd := range c.callScriptBatch(ctx, script, calls) {
			batch, at, count, err := decodeDueHolds(cmd)
			failed = errors.Join(failed, err)
			if !at.IsZero() {
				now = at
			}
			byPartition[open[i]] = append(byPartition[open[i]], batch...)
			if count == maxBatchSize {
				full = append(full, open[i])
			}
		}
		open = full
	}
	return slices.Concat(byPartition...), now, failed
}

// decodeDueHolds decodes a reply of read_due.lua. count includes the records
// that it could not decode.
func decodeDueHolds(cmd *redis.Cmd) (found []hold.DueHold, now time.Time, count int, failed error) {
	r := newScriptReply(cmd)
	now = r.nextTime()
	for ; r.hasMore(); count++ {
		id, due, rec := r.nextString(), r.nextTime(), r.nextString()
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
	return found, now, count, errors.Join(failed, r.err)
}

// perPartition returns how many of n each partition gives.
func (c *redisConn) perPartition(n int) int {
	return (n + len(c.partitions) - 1) / len(c.partitions)
}

// hasAnyMembers reports whether a set has members in any partition. While a set
// is empty, ZCARD costs Redis less than a script.
func (c *redisConn) hasAnyMembers(
	ctx context.Context, set func(*partitionKeys) string,
) (bool, error) {
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
