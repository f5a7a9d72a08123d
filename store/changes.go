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

// ReadChangeCounts returns the counter of each partition. While a counter stays
// the same, no replica has changed the partition. The counter of a Redis that
// lost data may go back. It is one command, or on a Cluster one for each
// partition.
func (s *Changes) ReadChangeCounts(ctx context.Context) ([]int64, error) {
	if _, ok := s.conn.client.(*redis.ClusterClient); ok {
		return s.readClusterChangeCounts(ctx)
	}
	keys := make([]string, len(s.conn.partitions))
	for p := range keys {
		keys[p] = s.conn.partitions[p].changes
	}
	values, err := s.conn.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, err
	}
	counts := make([]int64, len(keys))
	for p, v := range values {
		if text, ok := v.(string); ok { // nil: nothing has changed yet
			if counts[p], err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, err
			}
		}
	}
	return counts, nil
}

// readClusterChangeCounts is ReadChangeCounts on a Cluster, where the keys are
// on several servers.
func (s *Changes) readClusterChangeCounts(ctx context.Context) ([]int64, error) {
	pipe := s.conn.client.Pipeline()
	cmds := make([]*redis.StringCmd, len(s.conn.partitions))
	for p := range cmds {
		cmds[p] = pipe.Get(ctx, s.conn.partitions[p].changes)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	counts := make([]int64, len(cmds))
	for p, cmd := range cmds {
		n, err := cmd.Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		counts[p] = n
	}
	return counts, nil
}
