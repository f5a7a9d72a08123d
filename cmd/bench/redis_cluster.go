package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const hashSlots = 16384

// startMasters starts one server, or a Cluster of n masters without replicas,
// and returns its URL. After an error the caller stops the servers as well.
func (l *launcher) startMasters(
	ctx context.Context, n int,
) (all []*redisServer, url string, err error) {
	if n == 1 {
		s, err := l.startRedis(ctx)
		if err != nil {
			return nil, "", err
		}
		return []*redisServer{s}, "redis://" + s.addr, nil
	}
	var hosts []string
	for i := range n {
		s, bus, err := l.startMaster(ctx, i, n)
		if s != nil {
			all, hosts = append(all, s), append(hosts, s.addr)
		}
		if err != nil {
			return all, "", err
		}
		if i > 0 {
			_, port, _ := strings.Cut(s.addr, ":")
			if err := all[0].rdb.Do(ctx, "cluster", "meet", "127.0.0.1", port,
				bus).Err(); err != nil {
				return all, "", err
			}
		}
	}
	until := time.Now().Add(processTimeout)
	for _, s := range all {
		if err := s.waitForCluster(ctx, n, until); err != nil {
			return all, "", err
		}
	}
	return all, "redis+cluster://" + strings.Join(hosts, ","), nil
}

// startMaster starts the master with the i-th of n shares of the hash slots.
func (l *launcher) startMaster(
	ctx context.Context, i, n int,
) (s *redisServer, busPort int, err error) {
	busPort, err = freePort()
	if err != nil {
		return nil, 0, err
	}
	s, err = l.startRedis(ctx, "--cluster-enabled", "yes",
		"--cluster-port", strconv.Itoa(busPort))
	if err != nil {
		return nil, 0, err
	}
	if err := s.rdb.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
		return s, 0, err
	}
	return s, busPort, s.rdb.Do(ctx, "cluster", "addslotsrange", i*hashSlots/n,
		(i+1)*hashSlots/n-1).Err()
}

// waitForCluster waits until the server knows n shards.
func (s *redisServer) waitForCluster(ctx context.Context, n int, until time.Time) error {
	for {
		info := s.rdb.ClusterInfo(ctx).Val()
		shards, err := s.rdb.ClusterShards(ctx).Result()
		if strings.Contains(info, "cluster_state:ok") && err == nil && len(shards) == n {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the Cluster did not form within %s: %s", processTimeout, info)
		}
		if err := sleepContext(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
