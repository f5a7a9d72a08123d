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

// recovery bounds how long a Redis may take to be whole again. Sentinels that a standstill of the machine has confused begin half a minute later.
const recovery = 3 * time.Minute

// breakRedis ends, freezes or cuts off a Redis that stands alone, and starts it again with what is left of its file.
func (w *world) breakRedis(ctx context.Context, rng *rand.Rand, r *storetest.Redis) {
	switch rng.IntN(5) {
	case 0, 1:
		w.count("Redis frozen")
		r.Pause()
		pause(ctx, between(rng, 500*time.Millisecond, 5*time.Second))
		r.Resume()
	case 2:
		w.count("Redis killed -9")
		before := time.Now()
		r.Kill()
		w.died(before, time.Now())
		pause(ctx, between(rng, 0, 3*time.Second))
		r.Restart()
	default:
		w.powerCut(ctx, rng, r)
	}
}

// powerCut kills Redis and takes away the end of its file, as much as would not have been on the disk yet.
func (w *world) powerCut(ctx context.Context, rng *rand.Rand, r *storetest.Redis) {
	w.count("Redis without power: the end of its file lost")
	before := time.Now()
	file, flushed := appendOnly(w.t, r)
	pause(ctx, between(rng, 100*time.Millisecond, 900*time.Millisecond))
	r.Kill()
	w.died(before, time.Now())
	_, all := appendOnly(w.t, r)
	if all > flushed {
		if err := os.Truncate(file, flushed+rng.Int64N(all-flushed)); err != nil {
			w.t.Error(err)
		}
	}
	pause(ctx, between(rng, 0, 2*time.Second))
	r.Restart()
}

// appendOnly is the file that Redis appends to, and its length.
func appendOnly(t testing.TB, r *storetest.Redis) (string, int64) {
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

// failover kills the master that the sentinels watch, half of the time with replicas that lost touch a while ago, and waits until the old one
// follows the new one.
func (w *world) failover(ctx context.Context, rng *rand.Rand, s *storetest.Sentinel) {
	old := s.Master()
	apart := rng.IntN(2) == 0
	if apart {
		w.count("Redis master killed -9 with replicas behind: the tail lost")
		// A wrong password keeps a replica from coming back to its master.
		for _, r := range s.Servers {
			if r != old {
				order(w.t, r, "config", "set", "masterauth", "wrong")
			}
		}
		order(w.t, old, "client", "kill", "type", "replica")
		pause(ctx, between(rng, 200*time.Millisecond, 1400*time.Millisecond))
	} else {
		w.count("Redis master killed -9")
	}
	before := time.Now()
	old.Kill()
	w.died(before, time.Now())
	if apart {
		for _, r := range s.Servers {
			if r != old {
				order(w.t, r, "config", "set", "masterauth", "")
			}
		}
	}
	now, bound := old, time.Now().Add(electing)
	for now == old && time.Now().Before(bound) && pause(w.t.Context(), 50*time.Millisecond) {
		now = elected(s, old)
	}
	if now == old {
		// Replicas that have been without their master too often are none that a Sentinel takes: people start the old one again.
		w.count("Sentinel found no replica fit, the old master was started again")
		w.t.Logf("no master was elected within %s (apart: %v); what the sentinels think of the replicas:\n%s", electing, apart, unfit(s))
		old.Restart()
	} else {
		w.count("Sentinel failover")
		pause(ctx, between(rng, 0, 2*time.Second))
		old.Restart()
	}
	storetest.Until(w.t, recovery, "one master is followed by the others", func() bool {
		now = elected(s, now)
		for _, r := range s.Servers {
			if r != now && !follows(r, now) {
				return false
			}
		}
		return true
	})
}

// electing is how long a failover is waited for.
const electing = 20 * time.Second

// unfit tells by what a Sentinel judges a replica: it takes none that is down or silent, whose INFO is older than five seconds, or whose link to the
// master was down for longer than ten times down-after-milliseconds before the master was found down.
func unfit(s *storetest.Sentinel) string {
	var out strings.Builder
	for i, w := range s.Sentinels {
		c := w.Client()
		replicas, err := c.Do(context.Background(), "sentinel", "replicas", "holds").Slice()
		c.Close()
		fmt.Fprintf(&out, "  sentinel %d, tilt %v: %v", i+1, strings.Contains(ask(w, "info", "sentinel"), "sentinel_tilt:1"), err)
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
			fmt.Fprintf(&out, "\n    port %v: flags %v, link down %v ms, INFO %v ms old, last ping answered %v ms ago, priority %v, master %v", fields["port"], fields["flags"],
				fields["master-link-down-time"], fields["info-refresh"], fields["last-ok-ping-reply"], fields["slave-priority"], fields["master-port"])
		}
		out.WriteString("\n")
	}
	return out.String()
}

// elected is the server that most sentinels call the master, if it takes writes; else it is old.
func elected(s *storetest.Sentinel, old *storetest.Redis) *storetest.Redis {
	votes := map[string]int{}
	for _, w := range s.Sentinels {
		c := w.Client()
		if addr, err := c.Do(context.Background(), "sentinel", "get-master-addr-by-name", "holds").StringSlice(); err == nil && len(addr) == 2 {
			votes[addr[1]]++
		}
		c.Close()
	}
	for _, r := range s.Servers {
		if 2*votes[fmt.Sprint(r.Port())] > len(s.Sentinels) && strings.Contains(ask(r, "info", "replication"), "role:master") {
			return r
		}
	}
	return old
}

// follows says whether r is in step with its master.
func follows(r, master *storetest.Redis) bool {
	c := r.Client()
	defer c.Close()
	info := c.Info(context.Background(), "replication").Val()
	return strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up") && strings.Contains(info, fmt.Sprintf("master_port:%d\r", master.Port()))
}

func order(t testing.TB, r *storetest.Redis, args ...any) {
	t.Helper()
	c := r.Client()
	defer c.Close()
	if err := c.Do(context.Background(), args...).Err(); err != nil {
		t.Errorf("%v: %v", args, err)
	}
}

// cluster is three masters, each with a replica.
type cluster struct {
	url   string
	nodes []*storetest.Redis
}

func startCluster(t testing.TB) *cluster {
	t.Helper()
	three := storetest.StartCluster(t, 3)
	c := &cluster{url: three.URL(), nodes: three.Masters}
	var buses []int
	for range three.Masters {
		buses = append(buses, freePort(t))
		c.nodes = append(c.nodes, storetest.Start(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(buses[len(buses)-1]), "--cluster-node-timeout", "2000",
			"--repl-diskless-sync-delay", "0"))
	}
	replicas := c.nodes[3:]
	for i, r := range replicas {
		order(t, three.Masters[0], "cluster", "meet", "127.0.0.1", r.Port(), buses[i])
	}
	for i, r := range replicas {
		id := ask(three.Masters[i], "cluster", "myid")
		storetest.Until(t, recovery, "the new node knows its master", func() bool { return strings.Contains(ask(r, "cluster", "nodes"), id) })
		order(t, r, "cluster", "replicate", id)
	}
	for i, r := range replicas {
		storetest.Until(t, recovery, "the new node follows", func() bool { return follows(r, three.Masters[i]) })
	}
	for _, n := range c.nodes {
		storetest.Until(t, recovery, "all nodes know each other", func() bool { return c.whole(n) })
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

func ask(r *storetest.Redis, args ...any) string {
	c := r.Client()
	defer c.Close()
	s, err := c.Do(context.Background(), args...).Text()
	if err != nil {
		return ""
	}
	return s
}

// whole says whether a node sees three masters and three replicas, all well.
func (c *cluster) whole(n *storetest.Redis) bool {
	nodes := ask(n, "cluster", "nodes")
	return strings.Contains(ask(n, "cluster", "info"), "cluster_state:ok") && !strings.Contains(nodes, "fail") &&
		strings.Count(nodes, "master") == 3 && strings.Count(nodes, "slave") == 3
}

// killMaster kills one of the masters, and starts it again at once or after its replica has taken its place.
func (c *cluster) killMaster(ctx context.Context, w *world, rng *rand.Rand) {
	var masters []*storetest.Redis
	for _, n := range c.nodes {
		if strings.Contains(ask(n, "info", "replication"), "role:master") {
			masters = append(masters, n)
		}
	}
	if len(masters) != 3 {
		w.t.Errorf("the Cluster has %d masters", len(masters))
		return
	}
	m := masters[rng.IntN(3)]
	id := ask(m, "cluster", "myid")
	witness := c.nodes[0]
	if witness == m {
		witness = c.nodes[1]
	}
	before := time.Now()
	m.Kill()
	w.died(before, time.Now())
	if rng.IntN(3) == 0 {
		w.count("Cluster master killed -9 and started again at once")
	} else {
		w.count("Cluster master killed -9, its replica took over")
		storetest.Until(w.t, recovery, "another master has the slots", func() bool {
			for line := range strings.Lines(ask(witness, "cluster", "nodes")) {
				if strings.HasPrefix(line, id) {
					return len(strings.Fields(line)) == 8 // no slots at the end
				}
			}
			return false
		})
	}
	pause(ctx, between(rng, 0, 2*time.Second))
	m.Restart()
	for _, n := range c.nodes {
		storetest.Until(w.t, recovery, "the Cluster is whole again", func() bool { return c.whole(n) })
	}
	// A master is killed only when somebody could take its place.
	storetest.Until(w.t, recovery, "the replicas are in step", func() bool {
		for _, n := range c.nodes {
			if info := ask(n, "info", "replication"); strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
				return false
			}
		}
		return true
	})
}
