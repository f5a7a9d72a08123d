package store

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replicas knows which replicas are alive, by their heartbeats.
type Replicas struct{ conn *conn }

const (
	maxReplicas     = 1000
	maxDeadReplicas = 100
	// deadReplicaTTL is when a replica whose heartbeat ended is forgotten.
	deadReplicaTTL = 24 * time.Hour
)

// Heartbeat says that a replica is alive for at most ttl, and returns the
// replicas that are alive.
func (s *Replicas) Heartbeat(
	ctx context.Context, replica string, ttl time.Duration,
) ([]string, error) {
	// The servers of a Cluster may disagree on the time by a little, which is
	// far below ttl.
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	pipe := s.conn.client.Pipeline()
	pipe.ZAdd(ctx, keyReplicas, redis.Z{Score: float64(now.Add(ttl).UnixMilli()), Member: replica})
	alive := aliveReplicas(ctx, pipe, now, maxReplicas)
	forgotten := strconv.FormatInt(now.Add(-deadReplicaTTL).UnixMilli(), 10)
	pipe.ZRemRangeByScore(ctx, keyReplicas, "-inf", forgotten)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	return alive.Val(), nil
}

func aliveReplicas(
	ctx context.Context, c redis.Cmdable, now time.Time, n int64,
) *redis.StringSliceCmd {
	return c.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{
		Min: strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf", Count: n,
	})
}

// Deregister removes a replica that has stopped as it should.
func (s *Replicas) Deregister(ctx context.Context, replica string) error {
	return s.conn.client.ZRem(ctx, keyReplicas, replica).Err()
}

// DeadReplicas returns the replicas whose heartbeat ended without
// [Replicas.Deregister].
func (s *Replicas) DeadReplicas(ctx context.Context) ([]string, error) {
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return s.conn.client.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{
		Min: "-inf", Max: "(" + strconv.FormatInt(now.UnixMilli(), 10), Count: maxDeadReplicas,
	}).Result()
}
