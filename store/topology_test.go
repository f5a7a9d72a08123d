package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// workload uses a store as replicas do: it schedules, claims and settles holds,
// and continues after errors until all are settled.
type workload struct {
	*testStore
	mu           sync.Mutex
	acknowledged map[string]bool // holds whose creation was acknowledged
	settledBy    map[string]int  // acknowledged commits that settled the hold
	failures     int
	placed       atomic.Bool // all holds are scheduled
}

func (c *workload) failed(err error) bool {
	if err == nil {
		return false
	}
	c.mu.Lock()
	c.failures++
	c.mu.Unlock()
	// Wait a little, as a replica would while Redis is unavailable. The context
	// ends with the test.
	wait, cancel := context.WithTimeout(c.Context(), 20*time.Millisecond)
	defer cancel()
	<-wait.Done()
	return true
}

// schedule creates n holds in batches, each repeated until it is acknowledged.
func (c *workload) schedule(from, n int) {
	for i := from; i < from+n && c.Context().Err() == nil; i += 20 {
		var writes []hold.HoldWrite
		for j := i; j < min(i+20, from+n); j++ {
			id := fmt.Sprintf("pi_%05d", j)
			w := newScheduledWrite(id, baseTime, nearDeadline.Add(time.Duration(j)*time.Second))
			w.Hold.Reference, w.Events = "BK-"+id, [][]byte{[]byte("scheduled " + id)}
			w.Placement.Ready = j%2 == 0
			writes = append(writes, w)
		}
		for c.Context().Err() == nil {
			ok, err := c.store.Commit(c.Context(), writes)
			if c.failed(err) {
				continue
			}
			c.mu.Lock()
			for k := range ok {
				// A write that is not committed, because the hold was claimed
				// already, shows that the hold exists.
				c.acknowledged[writes[k].Hold.ID] = true
			}
			c.mu.Unlock()
			break
		}
	}
}

// drain claims and settles holds until all that were scheduled are settled.
func (c *workload) drain(lease time.Duration) {
	for c.Context().Err() == nil {
		allScheduled := c.placed.Load()
		counts, err := c.store.CountHolds(c.Context())
		if err == nil && allScheduled && counts.Open == 0 {
			return
		}
		d, err := c.store.PromoteDue(c.Context(), hold.PromoteRequest{Scheduled: true, Holds: 50})
		if c.failed(err) {
			continue
		}
		for _, l := range d.Lanes {
			claims, _, err := claimLane(c.Context(), c.store, l, 20, lease, time.Time{})
			c.failed(err)
			var ends []hold.HoldWrite
			for _, cl := range claims {
				if rand.IntN(10) == 0 {
					continue // as a replica that dies with its claim
				}
				end := capturedWrite(cl.Hold, baseTime)
				end.Events = [][]byte{[]byte("captured " + cl.Hold.ID)}
				ends = append(ends, end)
			}
			// Repeat until Redis answers, as the worker does.
			for len(ends) > 0 && c.Context().Err() == nil {
				ok, err := c.store.Commit(c.Context(), ends)
				if c.failed(err) {
					continue
				}
				c.mu.Lock()
				for i := range ok {
					if ok[i].IsCommitted() {
						c.settledBy[ends[i].Hold.ID]++
					}
				}
				c.mu.Unlock()
				break
			}
		}
	}
}

func newWorkload(e *testStore) *workload {
	return &workload{testStore: e, acknowledged: map[string]bool{}, settledBy: map[string]int{}}
}

// work schedules and settles n holds with two replicas, while injectFaults
// runs.
func (c *workload) work(n int, injectFaults func()) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 5*time.Minute)
	defer cancel()
	c.testStore = &testStore{TB: withContext{c.TB, ctx}, store: c.store, rdb: c.rdb}
	var wg, scheduling sync.WaitGroup
	for i := range 2 {
		scheduling.Go(func() { c.schedule(i*n/2, n/2) })
		wg.Go(func() { c.drain(time.Second) })
	}
	wg.Go(func() {
		scheduling.Wait()
		c.placed.Store(true)
	})
	if injectFaults != nil {
		injectFaults()
	}
	wg.Wait()
	if ctx.Err() != nil {
		counts, err := c.store.CountHolds(context.Background())
		c.Fatalf("not done in five minutes: %+v, %v", counts, err)
	}
}

// withContext is a test whose context ends earlier.
type withContext struct {
	testing.TB
	ctx context.Context
}

func (t withContext) Context() context.Context { return t.ctx }

// checkComplete checks that each hold was scheduled, captured and published,
// and that nothing else is left.
func (c *workload) checkComplete(n, partitions int) {
	c.Helper()
	counts, err := c.store.CountHolds(c.Context())
	if err != nil || counts != (hold.HoldCounts{Settled: int64(n)}) {
		c.Fatalf("in the end: %+v, %v", counts, err)
	}
	for i := range n {
		id := fmt.Sprintf("pi_%05d", i)
		h := c.mustRead(id)
		if h == nil || h.State != hold.Captured {
			c.Errorf("%s: %+v", id, h)
		}
		if by := c.settledBy[id]; by > 1 {
			c.Errorf("%s was settled by %d replicas", id, by)
		}
	}
	c.checkInvariants(partitions)
	var after hold.SortedSetPosition
	var listed []string
	for len(listed) <= n {
		page, _, err := c.store.ReadSortedSetPage(c.Context(), hold.SetReferences, after, 100)
		if err != nil {
			c.Fatal(err)
		}
		for _, l := range page {
			listed, after = append(listed, l.Hold.ID), l.Position
		}
		if len(page) < 100 {
			break
		}
	}
	if len(listed) != n || !slices.IsSorted(listed) {
		c.Errorf("%d references of %d, in order: %t", len(listed), n, slices.IsSorted(listed))
	}
}

func (c *workload) checkEvents(n, partitions int) {
	c.Helper()
	ev := c.publishedEvents(partitions)
	all := len(ev)
	slices.Sort(ev)
	if ev = slices.Compact(ev); all != 2*n || len(ev) != all {
		c.Errorf("%d events, %d different ones, of %d", all, len(ev), 2*n)
	}
}

func TestCluster_Workload(t *testing.T) {
	t.Parallel()
	cluster := storetest.StartCluster(t, 3)
	s, warnings, err := store.Open(t.Context(), store.Options{URL: cluster.URL(), Partitions: 8,
		Rates: store.RateLimitOptions{Write: 100, Total: 150}})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %q", err, warnings)
	}
	defer s.Close()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Masters[0].Addr()},
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled}})
	defer rdb.Close()
	e := &testStore{TB: t, store: s, rdb: rdb}
	c := newWorkload(e)
	c.work(400, nil)
	c.testStore = e
	c.checkComplete(400, 8)
	c.checkEvents(400, 8)
	used := 0
	for _, m := range cluster.Masters {
		raw := m.Client()
		if keys := raw.Keys(t.Context(), "holdd:{*").Val(); len(keys) > 0 {
			used++
		}
		raw.Close()
	}
	if used < 2 {
		t.Errorf("8 partitions are on %d of 3 masters", used)
	}
	if n, _, err := tryReserve(t.Context(), s, "acct_a", hold.OpCapture, 3); err != nil || n < 1 {
		t.Errorf("reserve: %d, %v", n, err)
	}
	if alive, _, err := s.SendHeartbeat(t.Context(), "one", time.Minute); err != nil || len(alive) != 1 {
		t.Errorf("heartbeat: %v, %v", alive, err)
	}
	e.checkCountersByPartition(8)
}

// Open examines every master of a Cluster.
func TestOpen_RefusesClusterWithUnsafeMaster(t *testing.T) {
	t.Parallel()
	cluster := storetest.StartCluster(t, 3)
	raw := cluster.Masters[2].Client()
	defer raw.Close()
	if err := raw.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-random").Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Open(t.Context(), store.Options{URL: cluster.URL(),
		Partitions: 8}); err == nil || !strings.Contains(err.Error(), "allkeys-random") {
		t.Errorf("%v", err)
	}
}

// One master of a Cluster is down. The partitions of the others keep working.
func TestCluster_DeadMasterLeavesOthersWorking(t *testing.T) {
	t.Parallel()
	cluster := storetest.StartCluster(t, 3)
	// This setting keeps the rest of the Cluster in service.
	for _, m := range cluster.Masters {
		raw := m.Client()
		raw.ConfigSet(t.Context(), "cluster-require-full-coverage", "no")
		raw.Close()
	}
	s := mustOpen(t, store.Options{URL: cluster.URL(), Partitions: 8})
	e := &testStore{TB: t, store: s}
	var writes []hold.HoldWrite
	for i := range 80 {
		writes = append(writes, newReadyWrite(fmt.Sprintf("pi_%d", i),
			hold.OpCapture, "", nearDeadline))
	}
	e.mustCommit(writes...)
	all := e.mustPromoteDue(true).Lanes
	cluster.Masters[0].Kill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	claimed := 0
	for range 5 {
		d, _ := s.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 100})
		for _, l := range d.Lanes {
			c, _, _ := claimLane(ctx, s, l, 100, time.Minute, time.Time{})
			claimed += len(c)
		}
	}
	if len(all) != 8 || claimed == 0 || claimed == 80 {
		t.Errorf("of 80 holds in %d partitions, of which some can't be reached, %d were claimed",
			len(all), claimed)
	}
}

func TestSentinel_Failover(t *testing.T) {
	t.Parallel()
	sentinel := storetest.StartSentinel(t)
	s, warnings, err := store.Open(t.Context(), store.Options{URL: sentinel.URL(), Partitions: 8})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %q", err, warnings)
	}
	defer s.Close()
	const n = 600
	c := newWorkload(&testStore{TB: t, store: s})
	old := sentinel.Master()
	c.work(n, func() {
		storetest.WaitUntil(t, 30*time.Second, "some are settled and not all", func() bool {
			counts, err := s.CountHolds(t.Context())
			return err == nil && counts.Settled > n/6
		})
		old.Kill()
		sentinel.AwaitFailover(old)
	})
	if c.failures == 0 {
		t.Error("the failover went unnoticed: it tested nothing")
	}
	raw := sentinel.Master().Client()
	defer raw.Close()
	c.testStore = &testStore{TB: t, store: s, rdb: raw}
	// The Redis replica may not have received the last writes. The writes that
	// it did receive must be complete.
	lost := 0
	for id := range c.acknowledged {
		if c.mustRead(id) == nil {
			lost++
		}
	}
	t.Logf("%d calls failed, %d acknowledged holds were lost with the old master", c.failures, lost)
	c.checkInvariants(8)
	counts, err := s.CountHolds(t.Context())
	if err != nil || counts.Open != 0 || counts.Settled != int64(n-lost) {
		t.Errorf("after the failover: %+v, %v", counts, err)
	}
}
