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

var heartbeatScript = newScript("heartbeat")

// SendHeartbeat records that a replica is alive. Without another heartbeat, the
// replica counts as dead after ttl. It returns the replicas that are alive, and
// those whose heartbeat has ended and that did not call [Replicas.DeregisterReplica].
func (s *Replicas) SendHeartbeat(
	ctx context.Context, replica string, ttl time.Duration,
) (alive, dead []string, err error) {
	r := newScriptReply(s.conn.callScript(ctx, heartbeatScript, []string{keyReplicas}, replica,
		ttl.Milliseconds(), deadReplicaTTL.Milliseconds(), maxReplicas, maxDeadReplicas))
	n := int(r.nextInt())
	for r.hasMore() {
		if name := r.nextString(); len(alive) < n {
			alive = append(alive, name)
		} else {
			dead = append(dead, name)
		}
	}
	return alive, dead, r.err
}

// ListAliveReplicas returns the replicas whose heartbeat has not ended.
func (s *Replicas) ListAliveReplicas(ctx context.Context) ([]string, error) {
	now, err := s.conn.client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return s.conn.client.ZRangeByScore(ctx, keyReplicas, &redis.ZRangeBy{
		Min: strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf", Count: maxReplicas,
	}).Result()
}

// DeregisterReplica removes a replica that shuts down.
func (s *Replicas) DeregisterReplica(ctx context.Context, replica string) error {
	return s.conn.client.ZRem(ctx, keyReplicas, replica).Err()
}
