package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Changes reads the counters of changes. Each script that changes something that
// a replica polls raises the counter of its partition.
type Changes struct{ conn *redisConn }

// ReadChangeCountsAndInboxLength returns the counter of each partition and the number of
// entries in the inbox. While a counter stays the same, no replica has changed
// the partition. The counter of a Redis that lost data may go back. It is one
// round trip of two commands, or on a Cluster one to each server, with a command
// for each partition.
func (s *Changes) ReadChangeCountsAndInboxLength(
	ctx context.Context,
) (partitions []int64, inboxLength int64, err error) {
	pipe := s.conn.client.Pipeline()
	inbox := pipe.XLen(ctx, keyInbox)
	readCounts := s.pipelineCounterReads(ctx, pipe)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, 0, err
	}
	if partitions, err = readCounts(); err != nil {
		return nil, 0, err
	}
	return partitions, inbox.Val(), nil
}

// pipelineCounterReads adds the reads of the counters to pipe. The returned
// function decodes their replies.
func (s *Changes) pipelineCounterReads(
	ctx context.Context, pipe redis.Pipeliner,
) func() ([]int64, error) {
	keys := make([]string, len(s.conn.partitions))
	for p := range keys {
		keys[p] = s.conn.partitions[p].changes
	}
	if _, ok := s.conn.client.(*redis.ClusterClient); !ok {
		values := pipe.MGet(ctx, keys...)
		return func() ([]int64, error) { return decodeChangeCounters(values.Val()) }
	}
	// The keys of a Cluster are on several servers.
	cmds := make([]*redis.StringCmd, len(keys))
	for p, key := range keys {
		cmds[p] = pipe.Get(ctx, key)
	}
	return func() ([]int64, error) {
		values := make([]any, len(cmds))
		for p, cmd := range cmds {
			if cmd.Err() == nil {
				values[p] = cmd.Val()
			} else if !errors.Is(cmd.Err(), redis.Nil) {
				return nil, cmd.Err()
			}
		}
		return decodeChangeCounters(values)
	}
}

// decodeChangeCounters decodes the counters of all partitions; a nil one is 0.
func decodeChangeCounters(values []any) ([]int64, error) {
	counts := make([]int64, len(values))
	for p, v := range values {
		if text, ok := v.(string); ok {
			var err error
			if counts[p], err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, err
			}
		}
	}
	return counts, nil
}
