package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Inspection is what [Inspect] learned of a Redis.
type Inspection struct {
	Address    string // the URL, without its password
	Cluster    bool
	Servers    []Server // of a Cluster, its masters
	Partitions string   // as recorded; empty if no holdd has run on it yet
	Mode       string   // test or live, as recorded; empty likewise
	Now        time.Time
	// at most 100, latest heartbeat first, without those that stopped as they
	// should
	Replicas []Replica
}

// Replica is a holdd process that has sent a heartbeat.
type Replica struct {
	Name            string
	HeartbeatEndsAt time.Time // when its heartbeat ends
}

const maxInspectedReplicas = 100

// Inspect examines a Redis without writing to it, even one that [Open] would
// refuse. With an error, it returns what it learned so far. Errors say what to
// do, and contain no password.
func Inspect(ctx context.Context, o Options) (in Inspection, err error) {
	in.Address = redactURL(o.URL)
	client, err := newClient(o)
	if err != nil {
		return in, err
	}
	defer client.Close() // nothing was written that an error could lose
	if err := client.Ping(ctx).Err(); err != nil {
		return in, unreachableError(o.URL, err)
	}
	_, in.Cluster = client.(*redis.ClusterClient)
	var mu sync.Mutex
	err = forEachServer(ctx, client, func(ctx context.Context, c *redis.Client) error {
		s := inspectServer(ctx, c)
		s.checkPermissions(ctx, c)
		err := s.measureClockOffset(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		in.Servers = append(in.Servers, s)
		return err
	})
	if err != nil {
		return in, fmt.Errorf("cannot examine every Redis server: %w", err)
	}
	slices.SortFunc(in.Servers, func(a, b Server) int { return cmp.Compare(a.Address, b.Address) })
	if err := in.readRecorded(ctx, client); err != nil {
		return in, fmt.Errorf("cannot read from Redis: %w", err)
	}
	return in, nil
}

func (in *Inspection) readRecorded(ctx context.Context, client redis.UniversalClient) (err error) {
	for key, to := range map[string]*string{keyPartitions: &in.Partitions, keyMode: &in.Mode} {
		if *to, err = client.Get(ctx, key).Result(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	if in.Now, err = client.Time(ctx).Result(); err != nil {
		return err
	}
	replicas, err := client.ZRevRangeWithScores(ctx, keyReplicas, 0,
		maxInspectedReplicas-1).Result()
	if err != nil {
		return err
	}
	for _, z := range replicas {
		name, _ := z.Member.(string)
		in.Replicas = append(in.Replicas,
			Replica{Name: name, HeartbeatEndsAt: time.UnixMilli(int64(z.Score))})
	}
	return nil
}

// forEachServer calls f for the server, or for each master of a Cluster,
// concurrently.
func forEachServer(
	ctx context.Context, client redis.UniversalClient, f func(context.Context, *redis.Client) error,
) error {
	switch c := client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, c)
	}
	return nil
}

// inspectServers lists what can make Redis lose holds, and what could not be
// found out.
func (c *conn) inspectServers(ctx context.Context) (faults, warnings []string) {
	var mu sync.Mutex
	err := forEachServer(ctx, c.client, func(ctx context.Context, client *redis.Client) error {
		s := inspectServer(ctx, client)
		mu.Lock()
		defer mu.Unlock()
		for _, p := range []ServerProperty{s.Version, s.Eviction, s.Persistence} {
			if p.Fault != "" {
				faults = append(faults, p.Fault+": "+p.Hint)
			}
			if p.Warning != "" {
				warnings = append(warnings, p.Warning+": "+p.Hint)
			}
		}
		return nil
	})
	if err != nil {
		warnings = append(warnings, "cannot examine every Redis server: "+err.Error())
	}
	return faults, warnings
}
