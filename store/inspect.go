package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

// Inspection is the result of [Inspect].
type Inspection struct {
	Address    string        // the URL, without its password
	Cluster    bool          // Redis is a Cluster
	Servers    []RedisServer // the server, or the masters of a Cluster
	Partitions string        // as recorded; empty if holdd has never used this Redis
	Mode       string        // test or live, as recorded; empty if holdd has never used this Redis
	Account    string        // id of the Stripe account, as recorded; empty if unknown
	Now        time.Time     // the time of Redis
	Replicas   []Replica     // alive and dead ones, latest heartbeat first, at most 100
	// OldestDue is for how long the oldest hold has been due that no replica
	// has claimed. Known is false if holdd has never used this Redis, or if
	// Redis rejects the question.
	OldestDue      time.Duration
	OldestDueKnown bool
	LoweredRates   []hold.LoweredRate // that a 429 lowered
	Events         EventStreamSize
}

// EventStreamSize are the number of events in the streams of all partitions,
// and the memory of these streams.
type EventStreamSize struct {
	Events, Bytes int64
}

// streamNodeBytes is the size of a node of a stream, unless an event is larger.
// It is the default of stream-node-max-bytes.
const streamNodeBytes = 4096

// streamConstants are what the scripts know of streams.
var streamConstants = []luaConstant{{"NODE_BYTES", streamNodeBytes}}

// Replica is a replica of holdd that has sent a heartbeat and has not
// deregistered.
type Replica struct {
	Name            string
	HeartbeatEndsAt time.Time
}

const maxInspectedReplicas = 100

// Inspect examines a Redis without writing to it, even one that [Open] refuses.
// With an error, it also returns the results so far. Errors contain no
// password.
func Inspect(ctx context.Context, o Options) (in Inspection, err error) {
	in.Address = redactURL(o.URL)
	client, err := newClient(o)
	if err != nil {
		return in, err
	}
	defer client.Close() // nothing was written, so an error does not matter
	if err := client.Ping(ctx).Err(); err != nil {
		return in, unreachableError(o.URL, err)
	}
	_, in.Cluster = client.(*redis.ClusterClient)
	var mu sync.Mutex
	err = forEachMaster(ctx, client, func(ctx context.Context, c *redis.Client) error {
		s := inspectServer(ctx, c)
		s.readMissingCommands(ctx, c)
		err := s.measureClockOffset(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		in.Servers = append(in.Servers, s)
		return err
	})
	if err != nil {
		return in, fmt.Errorf("cannot examine every Redis server: %w", err)
	}
	slices.SortFunc(in.Servers, func(a, b RedisServer) int {
		return cmp.Compare(a.Address,
			b.Address)
	})
	if err := in.readDaemonState(ctx, client); err != nil {
		return in, fmt.Errorf("cannot read from Redis: %w", err)
	}
	return in, nil
}

func (in *Inspection) readDaemonState(
	ctx context.Context,
	client redis.UniversalClient,
) (err error) {
	for key, to := range map[string]*string{
		keyPartitions: &in.Partitions, keyMode: &in.Mode, keyAccount: &in.Account,
	} {
		if *to, err = client.Get(ctx, key).Result(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	if in.Now, err = client.Time(ctx).Result(); err != nil {
		return err
	}
	in.readOldestDue(ctx, client)
	if err := in.readEventStreamSize(ctx, client); err != nil {
		return err
	}
	const last = maxInspectedReplicas - 1
	replicas, err := client.ZRevRangeWithScores(ctx, keyReplicas, 0, last).Result()
	if err != nil {
		return err
	}
	for _, z := range replicas {
		name, _ := z.Member.(string)
		r := Replica{Name: name, HeartbeatEndsAt: time.UnixMilli(int64(z.Score))}
		in.Replicas = append(in.Replicas, r)
	}
	in.LoweredRates, err = readLoweredRates(ctx, client)
	return err
}

func (in *Inspection) readOldestDue(ctx context.Context, client redis.UniversalClient) {
	n, err := strconv.Atoi(in.Partitions)
	if err != nil {
		return // holdd has never used this Redis, or the partitions change now
	}
	c := &redisConn{client: client}
	for p := range n {
		c.partitions = append(c.partitions, newPartitionKeys(p))
	}
	in.OldestDue, err = c.oldestDueAge(ctx)
	in.OldestDueKnown = err == nil
}

// readEventStreamSize measures the streams as the scripts do, see trim_events.
func (in *Inspection) readEventStreamSize(ctx context.Context, client redis.UniversalClient) error {
	n, err := strconv.Atoi(in.Partitions)
	if err != nil || n > MaxPartitions {
		return nil // checked elsewhere
	}
	for p := range n {
		info, err := client.XInfoStream(ctx, newPartitionKeys(p).events).Result()
		if err != nil && redis.HasErrorPrefix(err, "no such key") {
			continue
		}
		if err != nil {
			return err
		}
		in.Events.Events += info.Length
		in.Events.Bytes += info.RadixTreeKeys * streamNodeBytes
	}
	return nil
}

// forEachMaster calls f for the server, or for each master of a Cluster,
// concurrently.
func forEachMaster(
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

// ListServerFaultsAndMemoryUse returns what makes Redis lose holds or reject changes, each
// with what to do about it, and how much of maxmemory is used; 0 without a
// maxmemory. [Options.AllowUnsafe] accepts eviction and a lack of persistence.
func (s *Store) ListServerFaultsAndMemoryUse(
	ctx context.Context,
) (faults []string, memoryPercent int, err error) {
	var mu sync.Mutex
	err = forEachMaster(ctx, s.conn.client, func(ctx context.Context, c *redis.Client) error {
		server := inspectServer(ctx, c)
		server.readMissingCommands(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, server.listFaults(s.allowUnsafe)...)
		if server.MaxMemory > 0 {
			memoryPercent = max(memoryPercent, int(server.UsedMemory*100/server.MaxMemory))
		}
		return ctx.Err()
	})
	slices.Sort(faults)
	return slices.Compact(faults), memoryPercent, err
}

// listFaults returns the faults of the server, each with what to do.
func (s *RedisServer) listFaults(allowUnsafe bool) (faults []string) {
	properties := []RedisServerProperty{s.Version, s.Disk}
	if !allowUnsafe {
		properties = append(properties, s.Eviction, s.Persistence)
	}
	for _, p := range properties {
		if p.Fault != "" {
			faults = append(faults, p.Fault+": "+p.Hint)
		}
	}
	if len(s.MissingCommands) > 0 {
		faults = append(faults, "the Redis user "+s.User+" may not use "+
			strings.Join(s.MissingCommands, ", ")+": grant what holdd doctor lists")
	}
	return faults
}

// listServerFaultsAndWarnings returns the faults with which Redis can lose holds, and
// warnings about properties that could not be read.
func (c *redisConn) listServerFaultsAndWarnings(ctx context.Context) (faults, warnings []string) {
	var mu sync.Mutex
	err := forEachMaster(ctx, c.client, func(ctx context.Context, client *redis.Client) error {
		s := inspectServer(ctx, client)
		mu.Lock()
		defer mu.Unlock()
		for _, p := range []RedisServerProperty{s.Version, s.Eviction, s.Persistence} {
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
