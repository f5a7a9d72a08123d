package storetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is a Redis Cluster of masters without replicas.
type Cluster struct {
	Masters []*Redis
}

// hashSlots is the number of hash slots of a Cluster.
const hashSlots = 16384

// StartCluster runs n masters that share the slots evenly, and waits until they
// agree on the Cluster. It takes about two seconds.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	c := &Cluster{}
	for range n {
		c.Masters = append(c.Masters, startOnFreePort(tb, &Redis{tb: tb, busPort: 1}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var clients []*redis.Client
	for i, m := range c.Masters {
		rdb := m.Client()
		defer rdb.Close()
		clients = append(clients, rdb)
		requireNoError(tb, rdb.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		first, last := i*hashSlots/n, (i+1)*hashSlots/n-1
		requireNoError(tb, rdb.Do(ctx, "cluster", "addslotsrange", first, last).Err())
	}
	for _, m := range c.Masters[1:] {
		meet := clients[0].Do(ctx, "cluster", "meet", "127.0.0.1", m.port, m.busPort)
		requireNoError(tb, meet.Err())
	}
	for i, rdb := range clients {
		what := fmt.Sprintf("master %d has joined the Cluster", i)
		WaitUntil(tb, startTimeout, what, func() bool {
			if !strings.Contains(rdb.ClusterInfo(ctx).Val(), "cluster_state:ok") {
				return false
			}
			shards, err := rdb.ClusterShards(ctx).Result()
			return err == nil && len(shards) == n
		})
	}
	return c
}

// URL returns a URL with all masters.
func (c *Cluster) URL() string {
	var hosts []string
	for _, m := range c.Masters {
		hosts = append(hosts, m.Addr())
	}
	return "redis+cluster://" + strings.Join(hosts, ",")
}

// Sentinel is a master with replicas, and sentinels that promote a replica when
// the master fails.
type Sentinel struct {
	Servers   []*Redis // the first is the master at the start
	Sentinels []*Redis
	tb        testing.TB
}

// masterName is the name of the master in the configuration of the sentinels.
const masterName = "holds"

// StartSentinel runs a master with two replicas and three sentinels, and waits
// until they can perform a failover. A sentinel considers a server down after
// 1.5 seconds. StartSentinel takes about three seconds.
func StartSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	s := &Sentinel{tb: tb}
	master := Start(tb, "--repl-diskless-sync-delay", "0")
	s.Servers = append(s.Servers, master)
	for range 2 {
		s.Servers = append(s.Servers, Start(tb,
			"--repl-diskless-sync-delay", "0",
			"--replicaof", "127.0.0.1 "+strconv.Itoa(master.port)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, replica := range s.Servers[1:] {
		rdb := replica.Client()
		defer rdb.Close()
		WaitUntil(tb, startTimeout, "the replica is in sync", func() bool {
			return strings.Contains(rdb.Info(ctx, "replication").Val(), "master_link_status:up")
		})
	}
	for range 3 {
		s.Sentinels = append(s.Sentinels, startSentinel(tb, master.port))
	}
	for _, w := range s.Sentinels {
		rdb := w.Client()
		defer rdb.Close()
		const what = "the sentinel has found the replicas and the other sentinels"
		WaitUntil(tb, startTimeout, what, func() bool {
			info := rdb.Info(ctx, "sentinel").Val()
			return strings.Contains(info, "status=ok") && strings.Contains(info, "slaves=2") &&
				strings.Contains(info, "sentinels=3")
		})
	}
	return s
}

func startSentinel(tb testing.TB, master int) *Redis {
	tb.Helper()
	r := &Redis{tb: tb, bin: redisServerPath(tb)}
	for range portAttempts {
		r.port = freePort(tb)
		r.dir = tb.TempDir()
		conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile %s\n"+
			"sentinel monitor %s 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds %[4]s 1500\n"+
			"sentinel failover-timeout %[4]s 5000\n"+
			"sentinel parallel-syncs %[4]s 2\n",
			r.port, r.dir, filepath.Join(r.dir, "log"), masterName, master)
		file := filepath.Join(r.dir, "sentinel.conf") // the sentinel saves its state in it
		requireNoError(tb, os.WriteFile(file, []byte(conf), 0o600))
		if err := r.startProcess([]string{file, "--sentinel"}); err == nil {
			tb.Cleanup(r.Kill)
			return r
		}
	}
	tb.Fatalf("no sentinel started:\n%s", r.readLog())
	return nil
}

// URL returns a URL with all sentinels.
func (s *Sentinel) URL() string {
	var hosts []string
	for _, w := range s.Sentinels {
		hosts = append(hosts, w.Addr())
	}
	return "redis+sentinel://" + strings.Join(hosts, ",") + "?master_name=" + masterName
}

// Master waits until most sentinels agree on a master, and returns it.
func (s *Sentinel) Master() *Redis {
	s.tb.Helper()
	var r *Redis
	WaitUntil(s.tb, startTimeout, "the sentinels agree on a master", func() bool {
		r = s.currentMaster()
		return r != nil
	})
	return r
}

// currentMaster returns the server that most sentinels name as the master, or
// nil.
func (s *Sentinel) currentMaster() *Redis {
	votes := map[string]int{}
	for _, w := range s.Sentinels {
		c := redis.NewSentinelClient(&redis.Options{Addr: w.Addr(), MaxRetries: -1})
		addr, err := c.GetMasterAddrByName(context.Background(), masterName).Result()
		if err == nil && len(addr) == 2 {
			votes[addr[1]]++
		}
		c.Close()
	}
	for _, r := range s.Servers {
		if 2*votes[strconv.Itoa(r.port)] > len(s.Sentinels) {
			return r
		}
	}
	return nil
}

// failoverTimeout bounds a failover. A sentinel whose timers are two seconds
// late, as on an overloaded machine, enters TILT mode and starts no failover
// for 30 seconds.
const failoverTimeout = 3 * time.Minute

// AwaitFailover waits until the sentinels agree on another master than old and
// this server has the role of a master.
func (s *Sentinel) AwaitFailover(old *Redis) *Redis {
	s.tb.Helper()
	var now *Redis
	WaitUntil(s.tb, failoverTimeout, "the sentinels have promoted a replica", func() bool {
		now = s.currentMaster()
		if now == nil || now == old {
			return false
		}
		c := now.Client()
		defer c.Close()
		return strings.Contains(c.Info(context.Background(), "replication").Val(), "role:master")
	})
	return now
}

func requireNoError(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
