package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
)

// recoveryTimeout bounds how long a Redis may take to be whole again. Sentinels
// that a standstill of the machine has confused begin half a minute later.
const recoveryTimeout = 3 * time.Minute

// injectRedisFault ends, freezes or cuts off a Redis that stands alone, and
// starts it again with what is left of its file.
func (w *world) injectRedisFault(ctx context.Context, rng *rand.Rand, r *storetest.Redis) {
	switch rng.IntN(5) {
	case 0, 1:
		w.increment("Redis frozen")
		r.Pause()
		sleepContext(ctx, randomDuration(rng, 500*time.Millisecond, 5*time.Second))
		r.Resume()
	case 2:
		w.increment("Redis killed -9")
		before := time.Now()
		r.Kill()
		w.recordRedisDeath(before, time.Now())
		sleepContext(ctx, randomDuration(rng, 0, 3*time.Second))
		r.Restart()
	default:
		w.killAndTruncateAOF(ctx, rng, r)
	}
}

// killAndTruncateAOF kills Redis and takes away the end of its file, as much as
// would not have been on the disk yet.
func (w *world) killAndTruncateAOF(ctx context.Context, rng *rand.Rand, r *storetest.Redis) {
	w.increment("Redis without power: the end of its file lost")
	before := time.Now()
	file, flushed := appendOnlyFile(w.t, r)
	sleepContext(ctx, randomDuration(rng, 100*time.Millisecond, 900*time.Millisecond))
	r.Kill()
	w.recordRedisDeath(before, time.Now())
	_, all := appendOnlyFile(w.t, r)
	if all > flushed {
		if err := os.Truncate(file, flushed+rng.Int64N(all-flushed)); err != nil {
			w.t.Error(err)
		}
	}
	sleepContext(ctx, randomDuration(rng, 0, 2*time.Second))
	r.Restart()
}

// appendOnlyFile is the file that Redis appends to, and its length.
func appendOnlyFile(t testing.TB, r *storetest.Redis) (string, int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("append-only files: %v %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return files[0], info.Size()
}

// killSentinelMaster kills the master that the sentinels watch, half of the
// time with replicas that lost touch a while ago, and waits until the old one
// follows the new one.
func (w *world) killSentinelMaster(ctx context.Context, rng *rand.Rand, s *storetest.Sentinel) {
	old := s.Master()
	apart := rng.IntN(2) == 0
	if apart {
		w.increment("Redis master killed -9 with replicas behind: the tail lost")
		// A wrong password keeps a replica from coming back to its master.
		for _, r := range s.Servers {
			if r != old {
				execRedis(w.t, r, "config", "set", "masterauth", "wrong")
			}
		}
		execRedis(w.t, old, "client", "kill", "type", "replica")
		sleepContext(ctx, randomDuration(rng, 200*time.Millisecond, 1400*time.Millisecond))
	} else {
		w.increment("Redis master killed -9")
	}
	before := time.Now()
	old.Kill()
	w.recordRedisDeath(before, time.Now())
	if apart {
		for _, r := range s.Servers {
			if r != old {
				execRedis(w.t, r, "config", "set", "masterauth", "")
			}
		}
	}
	now, bound := old, time.Now().Add(electionTimeout)
	for now == old && time.Now().Before(bound) && sleepContext(w.t.Context(), 50*time.Millisecond) {
		now = electedMaster(s, old)
	}
	if now == old {
		// Replicas that have been without their master too often are none that
		// a Sentinel takes: people start the old one again.
		w.increment("Sentinel found no replica fit, the old master was started again")
		w.t.Logf("no master was elected within %s (apart: %v); what the sentinels think of the replicas:\n%s", electionTimeout, apart, describeSentinels(s))
		old.Restart()
	} else {
		w.increment("Sentinel failover")
		sleepContext(ctx, randomDuration(rng, 0, 2*time.Second))
		old.Restart()
	}
	storetest.WaitUntil(w.t, recoveryTimeout, "one master is followed by the others", func() bool {
		now = electedMaster(s, now)
		for _, r := range s.Servers {
			if r != now && !isInSync(r, now) {
				return false
			}
		}
		return true
	})
}

// electionTimeout is how long a failover is waited for.
const electionTimeout = 20 * time.Second

// describeSentinels tells by what a Sentinel judges a replica: it takes none
// that is down or silent, whose INFO is older than five seconds, or whose link
// to the master was down for longer than ten times down-after-milliseconds
// before the master was found down.
func describeSentinels(s *storetest.Sentinel) string {
	var out strings.Builder
	for i, w := range s.Sentinels {
		c := w.Client()
		replicas, err := c.Do(context.Background(), "sentinel", "replicas", "holds").Slice()
		c.Close()
		fmt.Fprintf(&out, "  sentinel %d, tilt %v: %v", i+1,
			strings.Contains(queryRedis(w, "info", "sentinel"), "sentinel_tilt:1"), err)
		for _, r := range replicas {
			fields := map[any]any{}
			switch r := r.(type) {
			case map[any]any:
				fields = r
			case []any:
				for k := 0; k+1 < len(r); k += 2 {
					fields[r[k]] = r[k+1]
				}
			}
			fmt.Fprintf(&out,
				"\n    port %v: flags %v, link down %v ms, INFO %v ms old, last ping answered %v ms ago, priority %v, master %v", fields["port"], fields["flags"],
				fields["master-link-down-time"], fields["info-refresh"],
				fields["last-ok-ping-reply"], fields["slave-priority"], fields["master-port"])
		}
		out.WriteString("\n")
	}
	return out.String()
}

// electedMaster is the server that most sentinels call the master, if it takes
// writes; else it is old.
func electedMaster(s *storetest.Sentinel, old *storetest.Redis) *storetest.Redis {
	votes := map[string]int{}
	for _, w := range s.Sentinels {
		c := w.Client()
		if addr, err := c.Do(context.Background(), "sentinel", "get-master-addr-by-name",
			"holds").StringSlice(); err == nil && len(addr) == 2 {
			votes[addr[1]]++
		}
		c.Close()
	}
	for _, r := range s.Servers {
		if 2*votes[fmt.Sprint(r.Port())] > len(s.Sentinels) &&
			strings.Contains(queryRedis(r, "info", "replication"), "role:master") {
			return r
		}
	}
	return old
}

// isInSync says whether r is in step with its master.
func isInSync(r, master *storetest.Redis) bool {
	c := r.Client()
	defer c.Close()
	info := c.Info(context.Background(), "replication").Val()
	return strings.Contains(info, "role:slave") &&
		strings.Contains(info, "master_link_status:up") &&
		strings.Contains(info, fmt.Sprintf("master_port:%d\r", master.Port()))
}

func execRedis(t testing.TB, r *storetest.Redis, args ...any) {
	t.Helper()
	c := r.Client()
	defer c.Close()
	if err := c.Do(context.Background(), args...).Err(); err != nil {
		t.Errorf("%v: %v", args, err)
	}
}

// redisCluster is three masters, each with a replica.
type redisCluster struct {
	url   string
	nodes []*storetest.Redis
}

func startCluster(t testing.TB) *redisCluster {
	t.Helper()
	three := storetest.StartCluster(t, 3)
	c := &redisCluster{url: three.URL(), nodes: three.Masters}
	var buses []int
	for range three.Masters {
		buses = append(buses, freePort(t))
		c.nodes = append(c.nodes, storetest.Start(t, "--cluster-enabled", "yes", "--cluster-port",
			fmt.Sprint(buses[len(buses)-1]), "--cluster-node-timeout", "2000",
			"--repl-diskless-sync-delay", "0"))
	}
	replicas := c.nodes[3:]
	for i, r := range replicas {
		execRedis(t, three.Masters[0], "cluster", "meet", "127.0.0.1", r.Port(), buses[i])
	}
	for i, r := range replicas {
		id := queryRedis(three.Masters[i], "cluster", "myid")
		storetest.WaitUntil(t, recoveryTimeout, "the new node knows its master",
			func() bool { return strings.Contains(queryRedis(r, "cluster", "nodes"), id) })
		execRedis(t, r, "cluster", "replicate", id)
	}
	for i, r := range replicas {
		storetest.WaitUntil(t, recoveryTimeout, "the new node follows",
			func() bool { return isInSync(r, three.Masters[i]) })
	}
	for _, n := range c.nodes {
		storetest.WaitUntil(t, recoveryTimeout, "all nodes know each other",
			func() bool { return c.isHealthy(n) })
	}
	return c
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func queryRedis(r *storetest.Redis, args ...any) string {
	c := r.Client()
	defer c.Close()
	s, err := c.Do(context.Background(), args...).Text()
	if err != nil {
		return ""
	}
	return s
}

// isHealthy says whether a node sees three masters and three replicas, all
// well.
func (c *redisCluster) isHealthy(n *storetest.Redis) bool {
	nodes := queryRedis(n, "cluster", "nodes")
	return strings.Contains(queryRedis(n, "cluster", "info"), "cluster_state:ok") &&
		!strings.Contains(nodes, "fail") &&
		strings.Count(nodes, "master") == 3 && strings.Count(nodes, "slave") == 3
}

// killMaster kills one of the masters, and starts it again at once or after its
// replica has taken its place.
func (c *redisCluster) killMaster(ctx context.Context, w *world, rng *rand.Rand) {
	var masters []*storetest.Redis
	for _, n := range c.nodes {
		if strings.Contains(queryRedis(n, "info", "replication"), "role:master") {
			masters = append(masters, n)
		}
	}
	if len(masters) != 3 {
		w.t.Errorf("the Cluster has %d masters", len(masters))
		return
	}
	m := masters[rng.IntN(3)]
	id := queryRedis(m, "cluster", "myid")
	witness := c.nodes[0]
	if witness == m {
		witness = c.nodes[1]
	}
	before := time.Now()
	m.Kill()
	w.recordRedisDeath(before, time.Now())
	if rng.IntN(3) == 0 {
		w.increment("Cluster master killed -9 and started again at once")
	} else {
		w.increment("Cluster master killed -9, its replica took over")
		storetest.WaitUntil(w.t, recoveryTimeout, "another master has the slots", func() bool {
			for line := range strings.Lines(queryRedis(witness, "cluster", "nodes")) {
				if strings.HasPrefix(line, id) {
					return len(strings.Fields(line)) == 8 // no slots at the end
				}
			}
			return false
		})
	}
	sleepContext(ctx, randomDuration(rng, 0, 2*time.Second))
	m.Restart()
	for _, n := range c.nodes {
		storetest.WaitUntil(w.t, recoveryTimeout, "the Cluster is whole again",
			func() bool { return c.isHealthy(n) })
	}
	// A master is killed only when somebody could take its place.
	storetest.WaitUntil(w.t, recoveryTimeout, "the replicas are in step", func() bool {
		for _, n := range c.nodes {
			if info := queryRedis(n, "info", "replication"); strings.Contains(info, "role:slave") &&
				!strings.Contains(info, "master_link_status:up") {
				return false
			}
		}
		return true
	})
}
