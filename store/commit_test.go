package store_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

var captureLane = hold.ReadyHoldLane{Op: hold.OpCapture}

// publishedEvents returns the events in the streams of all partitions, in no
// order over the partitions.
func (e *testStore) publishedEvents(partitions int) []string {
	e.Helper()
	var all []string
	for p := range partitions {
		for _, m := range e.rdb.XRange(e.Context(), fmt.Sprintf("holdd:{%d}:events", p), "-",
			"+").Val() {
			all = append(all, m.Values["event"].(string))
		}
	}
	return all
}

// awaitExpiredLeases waits until n leases have ended and their holds are ready
// again.
func (e *testStore) awaitExpiredLeases(n int) {
	e.Helper()
	storetest.WaitUntil(e, 5*time.Second, fmt.Sprintf("%d leases run out", n), func() bool {
		n -= e.mustPromoteDue(false).ExpiredLeases
		return n <= 0
	})
}

func TestCommit_RejectsClaimThatWasTakenOver(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline))
		old, began := e.mustClaim(captureLane, 1, time.Millisecond)
		e.awaitExpiredLeases(1)
		now, _ := e.mustClaim(captureLane, 1, time.Minute)
		if len(now) != 1 || !now[0].TakenOver || !now[0].Since.Equal(began) ||
			now[0].Hold.Version <= old[0].Hold.Version ||
			now[0].Hold.PreviousState != hold.Scheduled {
			t.Fatalf("taken over: %+v\nbefore: %+v", now, old)
		}
		late := capturedWrite(old[0].Hold, changedTime)
		late.Events = [][]byte{[]byte("late")}
		if e.tryCommit(late)[0] {
			t.Fatal("a claim that was taken over has committed")
		}
		good := capturedWrite(now[0].Hold, changedTime)
		good.Events = [][]byte{[]byte("good")}
		e.mustCommit(good)
		if e.tryCommit(late)[0] {
			t.Fatal("a claim that was taken over has committed after the end")
		}
		if ev := e.publishedEvents(1); !slices.Equal(ev, []string{"good"}) {
			t.Fatalf("events: %v", ev)
		}
		e.checkInvariants(1)
	})
}

// A claim whose lease has ended can still commit while no other worker has
// claimed the hold, in every queue.
func TestCommit_AcceptsExpiredClaimThatWasNotTakenOver(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "acct_x", nearDeadline))
		old, _ := e.mustClaim(
			hold.ReadyHoldLane{Op: hold.OpCapture, Account: "acct_x"},
			1,
			time.Millisecond,
		)
		e.awaitExpiredLeases(1)
		e.mustCommit(capturedWrite(old[0].Hold, changedTime))
		e.checkInvariants(1)
		if d := e.mustPromoteDue(true); len(d.Lanes) != 0 {
			t.Fatalf("its lane is still there: %+v", d.Lanes)
		}
	})
}

// A failover or a crash can lose a claim. The worker of that claim must not
// overwrite a later decision.
func TestCommit_RejectsClaimLostByRedis(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline))
		before := e.rdb.HGet(t.Context(), "holdd:{0}:holds", "pi_a").Val()
		lost, _ := e.mustClaim(captureLane, 1, time.Minute)
		// This is the state of a Redis replica that did not receive the claim.
		e.rdb.HSet(t.Context(), "holdd:{0}:holds", "pi_a", before)
		e.rdb.Del(t.Context(), "holdd:{0}:leased")
		e.rdb.ZAdd(t.Context(), "holdd:{0}:ready:1:", scored(nearDeadline, "pi_a"))
		e.rdb.ZAdd(t.Context(), "holdd:{0}:lanes", scored(nearDeadline, "1:"))

		cancel := newUpdateWrite(*e.mustRead("pi_a"))
		cancel.Hold.NextOp, cancel.Hold.CancelWanted = hold.OpCancel, true
		cancel.Placement = hold.SortedSetPlacement{DueAt: pastDue, Ready: true, KeepMilestone: true}
		e.mustCommit(cancel)

		again := newUpdateWrite(lost[0].Hold)
		again.Hold.State, again.Hold.NextAt = hold.Scheduled, futureDue
		again.Placement = hold.SortedSetPlacement{DueAt: futureDue, KeepMilestone: true}
		if e.tryCommit(again)[0] {
			t.Errorf("a forgotten claim has overwritten an accepted cancel: cancel wanted is %t now",
				e.mustRead("pi_a").CancelWanted)
		}
	})
}

// lossyConn is a connection that can lose a reply after Redis has executed the
// command.
type lossyConn struct {
	net.Conn
	lose *atomic.Int32
}

func (c lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.Add(-1) == 0 {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

// openWithLossyConn opens a store on r. The nth read from Redis after
// lose.Store(n) is lost with its connection.
func openWithLossyConn(
	t *testing.T, r *storetest.Redis, o store.Options,
) (s *store.Store, lose *atomic.Int32) {
	t.Helper()
	lose = &atomic.Int32{}
	o.URL = r.URL()
	o.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr())
		return lossyConn{c, lose}, err
	}
	return mustOpen(t, o), lose
}

func TestCommit_RepeatedAfterLostReply(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	c := r.Client()
	defer c.Close()
	s, lose := openWithLossyConn(t, r, store.Options{Partitions: 3})
	e := &testStore{TB: t, store: s, rdb: c}
	ctx := t.Context()
	var births []hold.HoldWrite
	for i := range 40 {
		w := newReadyWrite(fmt.Sprintf("pi_%d", i), hold.OpCapture, "", nearDeadline)
		w.Events = [][]byte{fmt.Appendf(nil, "born %d", i)}
		births = append(births, w)
	}
	// This loads the script into Redis.
	e.mustCommit(hold.HoldWrite{Version: 1, Hold: hold.Hold{ID: "pi_missing"}, Drop: true})
	lossy := func(writes []hold.HoldWrite) {
		t.Helper()
		if _, err := s.PromoteDue(ctx, hold.PromoteRequest{Holds: 1}); err != nil {
			// the connection is open: the next read is the reply
			t.Fatal(err)
		}
		lose.Store(1)
		if ok, err := s.Commit(ctx, writes); err == nil {
			t.Fatalf("the reply was not lost: %v", ok)
		}
		lose.Store(0)
		for range 2 {
			results, err := e.store.Commit(ctx, writes)
			if err != nil || slices.ContainsFunc(results, func(r hold.CommitResult) bool {
				return r != hold.CommitRepeated
			}) {
				t.Fatal(results, err)
			}
		}
	}
	lossy(births)
	var ends []hold.HoldWrite
	for p := range 3 {
		claims, _ := e.mustClaim(hold.ReadyHoldLane{Partition: p, Op: hold.OpCapture}, 100, time.Minute)
		for _, c := range claims {
			w := capturedWrite(c.Hold, changedTime)
			w.Events = [][]byte{[]byte("end " + c.Hold.ID)}
			ends = append(ends, w)
		}
	}
	if len(ends) != 40 {
		t.Fatalf("claimed %d of 40", len(ends))
	}
	lossy(ends)
	ev := e.publishedEvents(3)
	slices.Sort(ev)
	if len(ev) != 80 || len(slices.Compact(ev)) != 80 {
		t.Fatalf("%d events, %d different ones, of 80", len(ev), len(slices.Compact(ev)))
	}
	var drops []hold.HoldWrite
	for _, w := range ends {
		d := newUpdateWrite(*e.mustRead(w.Hold.ID))
		d.Drop = true
		drops = append(drops, d)
	}
	lossy(drops)
	e.checkInvariants(3)
	if keys := e.keysMatching("holdd:{*"); len(keys) != 6 {
		t.Errorf("left behind beside three event streams and counters: %v", keys)
	}
}

// The client does not repeat a claim whose reply was lost. Its holds are
// claimed again when the lease ends, marked as taken over.
func TestClaim_NotRepeatedAfterLostReply(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	c := r.Client()
	defer c.Close()
	s, lose := openWithLossyConn(t, r, store.Options{})
	e := &testStore{TB: t, store: s, rdb: c}
	e.mustClaim(captureLane, 1, time.Minute) // loads the script into Redis
	e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline),
		newReadyWrite("pi_b", hold.OpCapture, "", secondDeadline))
	lose.Store(1)
	if _, _, err := claimLane(t.Context(), s, captureLane, 1, time.Millisecond,
		time.Time{}); err == nil {
		t.Fatal("the reply was not lost")
	}
	ready := c.ZRange(t.Context(), "holdd:{0}:ready:1:", 0, -1).Val()
	if !slices.Equal(ready, []string{"pi_b"}) {
		t.Fatalf("still ready: %v", ready)
	}
	e.awaitExpiredLeases(1)
	claims, _ := e.mustClaim(captureLane, 2, time.Minute)
	if len(claims) != 2 || claims[0].Hold.ID != "pi_a" ||
		!claims[0].TakenOver || claims[1].TakenOver {
		t.Fatalf("%+v", claims)
	}
}

func TestCommit_OneOfManyRacingWritersWins(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{})
	const holds, racers = 50, 8
	for i := range holds {
		e.mustCommit(newScheduledWrite(fmt.Sprintf("pi_%d", i), futureDue, nearDeadline))
	}
	wins := make([][racers]bool, holds)
	var wg sync.WaitGroup
	for r := range racers {
		wg.Go(func() {
			var writes []hold.HoldWrite
			for i := range holds {
				h := newScheduledWrite(fmt.Sprintf("pi_%d", i), futureDue, nearDeadline).Hold
				h.Version = 1
				w := newUpdateWrite(h)
				w.Hold.Reference = fmt.Sprintf("racer %d", r)
				w.Placement =
					hold.SortedSetPlacement{DueAt: futureDue.Add(time.Duration(r) * time.Second),
						KeepMilestone: true}
				w.Events = [][]byte{fmt.Appendf(nil, "%d by %d", i, r)}
				writes = append(writes, w)
			}
			// Half of the writers commit one by one, so that batches and single
			// calls interleave.
			if r%2 == 0 {
				ok, err := e.store.Commit(t.Context(), writes)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range ok {
					wins[i][r] = ok[i].IsCommitted()
				}
				return
			}
			for i := range writes {
				ok, err := e.store.Commit(t.Context(), writes[i:i+1])
				if err != nil {
					t.Error(err)
					return
				}
				wins[i][r] = ok[0].IsCommitted()
			}
		})
	}
	wg.Wait()
	var want []string
	for i := range holds {
		winner := slices.Index(wins[i][:], true)
		if winner < 0 || slices.Contains(wins[i][winner+1:], true) {
			t.Fatalf("hold %d was won by %v", i, wins[i])
		}
		h := e.mustRead(fmt.Sprintf("pi_%d", i))
		if h.Version != 2 || h.Reference != fmt.Sprintf("racer %d", winner) {
			t.Errorf("hold %d: version %d, %q, won by %d", i, h.Version, h.Reference, winner)
		}
		want = append(want, fmt.Sprintf("%d by %d", i, winner))
	}
	got := e.publishedEvents(1)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("events of others than the winners:\n%v\n%v", got, want)
	}
	if n := e.rdb.ZCard(t.Context(), "holdd:{0}:references").Val(); n != holds {
		t.Errorf("%d references of %d", n, holds)
	}
	e.checkInvariants(1)
}

func TestCommit_ManyWithConflicts(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 7} {
		e := startRedis(t, store.Options{Partitions: partitions})
		const n = 700 // several pieces in one partition
		var first, second []hold.HoldWrite
		for i := range n {
			first = append(first, newScheduledWrite(fmt.Sprintf("pi_%d", i),
				futureDue, nearDeadline))
		}
		e.mustCommit(first...)
		for i := range n {
			w := newUpdateWrite(first[i].Hold)
			w.Version = 1
			if i%3 == 0 {
				w.Version = 2
			}
			w.Hold.Reference = "new"
			w.Placement = hold.SortedSetPlacement{DueAt: changedTime, KeepMilestone: true}
			second = append(second, w)
		}
		for i, ok := range e.tryCommit(second...) {
			h := e.mustRead(first[i].Hold.ID)
			if ok != (i%3 != 0) || (h.Reference == "new") != ok {
				t.Fatalf("%d partitions, write %d: committed %t, reference %q",
					partitions, i, ok, h.Reference)
			}
		}
		e.checkInvariants(partitions)
		if ok := e.tryCommit(); len(ok) != 0 {
			t.Fatal("nothing to commit")
		}
	}
}

// Commit documents that a hold must not have two writes. If it has, only one of
// them commits.
func TestCommit_HoldNamedTwice(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		a, b := newScheduledWrite("pi_a", futureDue, nearDeadline),
			newReadyWrite("pi_a", hold.OpCancel, "", nearDeadline)
		b.Hold.Reference = "second"
		ok := e.tryCommit(a, b)
		if h := e.mustRead("pi_a"); !ok[0] || ok[1] || h.Reference != "" {
			t.Errorf("named twice in one commit: %v, reference %q", ok, h.Reference)
		}
		e.checkInvariants(1)
	})
}

// At maxmemory a new hold is refused and leaves nothing behind. What ends the
// holds that Redis has goes on, with events and a hold in the same call.
func TestCommit_MaxMemory(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{})
	ctx := t.Context()
	e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline),
		newScheduledWrite("pi_c", pastDue, nearDeadline))
	claimed, _ := e.mustClaim(captureLane, 1, time.Minute)
	before := e.dumpRedis(timeNames)
	e.rdb.ConfigSet(ctx, "maxmemory", "1")
	// A new Redis process would not have the scripts.
	e.rdb.ScriptFlush(ctx)
	w := newScheduledWrite("pi_b", futureDue, nearDeadline)
	w.Hold.Reference, w.Events = "BK", [][]byte{[]byte("no")}
	if ok, err := e.store.Commit(ctx, []hold.HoldWrite{w}); !health.IsMemoryLimit(err) || ok[0] != 0 {
		t.Errorf("a new hold without room: %v, %v", ok, err)
	}
	if after := e.dumpRedis(timeNames); after != before {
		t.Errorf("it was changed in part:\n%s\nbefore:\n%s", after, before)
	}
	held := newScheduledWrite("pi_held", futureDue, nearDeadline)
	held.DespiteMaxmemory = true
	e.mustCommit(held)
	captured := capturedWrite(claimed[0].Hold, changedTime)
	captured.Events = [][]byte{[]byte("captured")}
	e.mustCommit(captured)
	e.mustPromoteDue(true)
	if claimed, _ = e.mustClaim(captureLane, 1, time.Minute); len(claimed) != 1 {
		t.Errorf("claimed without room: %+v", claimed)
	}
	if ok, err := e.store.AcquireLock(ctx, "job", time.Minute); err != nil || !ok {
		t.Errorf("a lock without room: %v, %v", ok, err)
	}
	if ok, err := e.store.AcquireLock(ctx, "job", time.Minute); err != nil || ok {
		t.Errorf("the lock twice: %v, %v", ok, err)
	}
	if err := e.store.ReleaseLock(ctx, "job"); err != nil {
		t.Error(err)
	}
	if ok, err := e.store.AcquireLock(ctx, "job", time.Minute); err != nil || !ok {
		t.Errorf("a released lock: %v, %v", ok, err)
	}
	if alive, _, err := e.store.SendHeartbeat(ctx, "a", time.Minute); err != nil || len(alive) != 1 {
		t.Errorf("a heartbeat without room: %v, %v", alive, err)
	}
	e.rdb.ConfigSet(ctx, "maxmemory", "0")
	e.mustCommit(w)
	e.checkInvariants(1)
}
