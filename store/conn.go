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
	unreadable    unreadableRecords
}

// partitionIndex returns the index of a hold's partition.
func (c *redisConn) partitionIndex(id string) int { return hashToPartition(id, len(c.partitions)) }

func (c *redisConn) partitionKeysOfHold(id string) *partitionKeys {
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

// maxUnreadableBatches bounds the batches of unreadable records that a read of
// a set skips.
const maxUnreadableBatches = 20

// readHoldsByScore returns up to n holds per partition of a set whose score is
// at most highest ("": now), lowest score first, and the time of Redis. It
// reads more than maxBatchSize in several rounds, and skips unreadable records,
// so that they hide no other hold. A set that changes meanwhile may show a hold
// twice or not at all.
func (c *redisConn) readHoldsByScore(
	ctx context.Context, set func(*partitionKeys) string, n int, highest string,
) ([]hold.HoldWithDueMilestone, time.Time, error) {
	open := make([]int, len(c.partitions)) // partitions that have more
	for p := range open {
		open[p] = p
	}
	read := make([]int, len(c.partitions))
	found := make([][]hold.HoldWithDueMilestone, len(c.partitions))
	var now time.Time
	var failed error
	for round := 0; len(open) > 0 && round < n/maxBatchSize+1+maxUnreadableBatches; round++ {
		calls := make([]scriptCall, len(open))
		size := maxBatchSize
		if round == 0 {
			size = clampBatchSize(n)
		}
		for i, p := range open {
			k := &c.partitions[p]
			calls[i] = scriptCall{keys: []string{set(k), k.holds}, args: []any{size, highest}}
			if read[p] > 0 {
				calls[i].args = append(calls[i].args, read[p])
			}
		}
		var more []int
		for i, cmd := range c.callScriptBatch(ctx, readDueScript, calls) {
			p := open[i]
			batch, err := c.decodeDueHolds(cmd)
			failed = errors.Join(failed, err)
			if !batch.now.IsZero() {
				now = batch.now
			}
			holds := batch.holds[:min(len(batch.holds), n-len(found[p]))]
			found[p], read[p] = append(found[p], holds...), read[p]+batch.count
			if batch.count == size && len(found[p]) < n {
				more = append(more, p)
			}
		}
		open = more
	}
	return slices.Concat(found...), now, failed
}

// dueBatch is a reply of read_due.lua.
type dueBatch struct {
	holds []hold.HoldWithDueMilestone
	now   time.Time // of Redis; zero if it did not answer
	// count and last include the records that could not be decoded.
	count int
	last  hold.SortedSetPosition
}

// decodeDueHolds decodes a reply of read_due.lua.
func (c *redisConn) decodeDueHolds(cmd *redis.Cmd) (b dueBatch, failed error) {
	r := newScriptReply(cmd)
	b.now = r.nextTime()
	for ; r.hasMore(); b.count++ {
		id, due := r.nextString(), r.nextTime()
		rec, exists := r.nextOptionalString()
		if r.err != nil {
			break
		}
		b.last = hold.SortedSetPosition{Score: due.UnixMilli(), Member: id}
		h := hold.Hold{ID: id} // returned for an id without a record
		if exists {
			var err error
			if h, _, err = c.decodeAndTrackUnreadable(id, rec); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
		}
		b.holds = append(b.holds, hold.HoldWithDueMilestone{Hold: h, DueAt: due})
	}
	return b, errors.Join(failed, r.err)
}

// limitPerPartition returns how many of n each partition gives.
func (c *redisConn) limitPerPartition(n int) int {
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
