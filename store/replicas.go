package store

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replicas keeps the heartbeats of the replicas.
type Replicas struct{ conn *redisConn }

const (
	maxReplicas     = 1000
	maxDeadReplicas = 100
	// deadReplicaTTL is how long the store keeps a dead replica.
	deadReplicaTTL = 24 * time.Hour
)

// SendHeartbeat records that a replica is alive. Without another heartbeat, the
// replica counts as dead after ttl. It returns the replicas that are alive.
func (s *Replicas) SendHeartbeat(
	ctx context.Context, replica string, ttl time.Duration,
) ([]string, error) {
	// The clocks of a Cluster's servers differ by far less than ttl.
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	err = s.conn.writeEvenIfFull(ctx, "ZREM", "ZADD", keyReplicas, now.Add(ttl).UnixMilli(), replica)
	if err != nil {
		return nil, err
	}
	pipe := s.conn.client.Pipeline()
	alive := readAliveReplicas(ctx, pipe, now, maxReplicas)
	forgotten := strconv.FormatInt(now.Add(-deadReplicaTTL).UnixMilli(), 10)
	pipe.ZRemRangeByScore(ctx, keyReplicas, "-inf", forgotten)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	return alive.Val(), nil
}

func readAliveReplicas(
	ctx context.Context, c redis.Cmdable, now time.Time, n int64,
) *redis.StringSliceCmd {
	return c.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{
		Min: strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf", Count: n,
	})
}

// ListAliveReplicas returns the replicas whose heartbeat has not ended.
func (s *Replicas) ListAliveReplicas(ctx context.Context) ([]string, error) {
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return readAliveReplicas(ctx, s.conn.client, now, maxReplicas).Result()
}

// DeregisterReplica removes a replica that shuts down.
func (s *Replicas) DeregisterReplica(ctx context.Context, replica string) error {
	return s.conn.client.ZRem(ctx, keyReplicas, replica).Err()
}

// ListDeadReplicas returns the replicas whose heartbeat has ended and that did
// not call [Replicas.DeregisterReplica].
func (s *Replicas) ListDeadReplicas(ctx context.Context) ([]string, error) {
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return s.conn.client.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{
		Min: "-inf", Max: "(" + strconv.FormatInt(now.UnixMilli(), 10), Count: maxDeadReplicas,
	}).Result()
}
