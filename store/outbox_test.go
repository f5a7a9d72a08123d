package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

// One replica at a time delivers to a sink. The next replica continues from the
// saved state, and the previous one can no longer save.
func TestAcquireSinkLease_OneDeliverer(t *testing.T) {
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		ctx := t.Context()
		if _, err := e.store.PublishOnce(ctx, "before", []byte("old")); err != nil {
			t.Fatal(err)
		}
		first, state, start, parked, err := e.store.AcquireSinkLease(
			ctx, "callback", 0, "one", time.Minute)
		if err != nil || first == 0 || state != nil || len(parked) != 0 {
			t.Fatal(first, string(state), parked, err)
		}
		if events, gap, err := e.store.ReadEvents(ctx, 0, start, 10); err != nil ||
			gap || len(events) != 0 {
			t.Fatal("a new sink gets events from before it:", events, gap, err)
		}
		token, _, _, _, err := e.store.AcquireSinkLease(ctx, "callback", 0, "two", time.Minute)
		if err != nil || token != 0 {
			t.Fatal("two deliver:", token, err)
		}
		token, _, _, _, err = e.store.AcquireSinkLease(ctx, "other", 0, "two", time.Minute)
		if err != nil || token == 0 {
			t.Fatal("another sink is held as well:", token, err)
		}
		p := hold.SinkProgressWrite{State: []byte("s1"), Park: map[string][]byte{"pi_1": []byte("a"),
			"pi_2": []byte("b")}, DeadLetters: []hold.DeadLetter{{Event: []byte("e1"),
			Reason: "HTTP 500"}, {Event: []byte("e2"), Reason: "HTTP 500"}}}
		ok, err := e.store.SaveSinkProgressIfLeaseHeld(ctx, "callback", 0, first, p, 50*time.Millisecond)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		var second int64
		storetest.WaitUntil(t, 5*time.Second, "the lease's end", func() bool {
			second, state, _, parked, err = e.store.AcquireSinkLease(
				ctx, "callback", 0, "two", time.Minute)
			return err != nil || second != 0
		})
		if err != nil || second <= first || string(state) != "s1" || len(parked) != 2 ||
			string(parked["pi_2"]) != "b" {
			t.Fatal(second, first, string(state), parked, err)
		}
		late := hold.SinkProgressWrite{State: []byte("late"), Unpark: []string{"pi_1"}}
		ok, err = e.store.SaveSinkProgressIfLeaseHeld(ctx, "callback", 0, first, late, time.Minute)
		if err != nil || ok {
			t.Fatal("who lost the lease wrote:", ok, err)
		}
		last := hold.SinkProgressWrite{State: []byte("s2"), Unpark: []string{"pi_1"}}
		ok, err = e.store.SaveSinkProgressIfLeaseHeld(ctx, "callback", 0, second, last, 0)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if third, state, _, parked, err := e.store.AcquireSinkLease(ctx, "callback", 0, "three",
			time.Minute); err != nil || third <= second ||
			string(state) != "s2" || len(parked) != 1 {
			t.Fatal("what was given back is not free:", third, string(state), parked, err)
		}

		dead, total, err := e.store.ListDeadLetters(ctx, "callback", 1)
		if err != nil || total != 2 || len(dead) != 1 || string(dead[0].Event) != "e1" ||
			dead[0].Reason != "HTTP 500" {
			t.Fatal(dead, total, err)
		}
		ids := []string{dead[0].ID, "0:1-1", "7:1-1", "nonsense"}
		if n, err := e.store.RequeueDeadLetters(ctx, "callback", ids); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		again, err := e.store.ReadRequeuedDeadLetters(ctx, "callback", 0, 10)
		if err != nil || len(again) != 1 || string(again[0].Event) != "e1" {
			t.Fatal(again, err)
		}
		if n, err := e.store.RequeueDeadLetters(ctx, "callback", nil); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if _, total, err := e.store.ListDeadLetters(ctx, "callback", 10); err != nil || total != 0 {
			t.Fatal(total, err)
		}
	})
}

// ReadEvents reports whether the last entry of the reader is still in the
// stream. ReadStreamLengthAndEntriesAdded counts all events that were ever added.
func TestReadEvents_ReportsGap(t *testing.T) {
	e := startRedis(t, store.Options{MaxEventBytes: 3 * 4096})
	ctx := t.Context()
	publish := func(n int) {
		for i := range n {
			if _, err := e.store.PublishOnce(ctx, fmt.Sprint(time.Now().UnixNano(), i),
				[]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(1)
	events, gap, err := e.store.ReadEvents(ctx, 0, "0-0", 10)
	if err != nil || gap || len(events) != 1 {
		t.Fatal(events, gap, err)
	}
	at := events[0].ID
	publish(3)
	if events, gap, err := e.store.ReadEvents(ctx, 0, at, 2); err != nil ||
		gap || len(events) != 2 {
		t.Fatal(events, gap, err)
	}
	publish(1000)
	if _, gap, err := e.store.ReadEvents(ctx, 0, at, 2); err != nil || !gap {
		t.Fatal("what was trimmed isn't noticed:", gap, err)
	}
	length, added, err := e.store.ReadStreamLengthAndEntriesAdded(ctx, 0)
	if err != nil || added != 1004 || length >= 500 {
		t.Fatal(length, added, err)
	}
}

// Whatever the size of the events, their stream takes about as many bytes as it
// may, and keeps the newest.
func TestEvents_TrimmedBySize(t *testing.T) {
	t.Parallel()
	const most = 256 << 10
	r := storetest.StartUnix(t)
	raw := r.Client()
	defer raw.Close()
	e := &testStore{TB: t, rdb: raw,
		store: mustOpen(t, store.Options{URL: r.URL(), MaxEventBytes: most})}
	for round, size := range []int{600, 3000, 150} {
		text := strings.Repeat("x", size)
		last := ""
		for i := range 4 * most / size / 50 {
			w := newScheduledWrite(fmt.Sprintf("pi_%d_%d", round, i), futureDue, nearDeadline)
			for n := range 50 {
				last = fmt.Sprintf("%d %d %d %s", round, i, n, text)
				w.Events = append(w.Events, []byte(last))
			}
			e.mustCommit(w)
		}
		used := e.rdb.MemoryUsage(t.Context(), "holdd:{0}:events", 0).Val()
		newest := e.rdb.XRevRangeN(t.Context(), "holdd:{0}:events", "+", "-", 1).Val()
		// The allocator of Redis may round a node up to the next of its sizes, a
		// quarter above.
		if used < most/2 || used > most+most/4 {
			t.Errorf("events of %d bytes: the stream takes %d bytes, want about %d", size, used,
				most)
		}
		if len(newest) != 1 || newest[0].Values["event"] != last {
			t.Errorf("events of %d bytes: the newest is %v", size, newest)
		}
	}
	in, err := store.Inspect(t.Context(), store.Options{URL: r.URL()})
	if err != nil || in.Events.Events == 0 || in.Events.Bytes < most/2 || in.Events.Bytes > most {
		t.Errorf("inspected: %+v, %v", in.Events, err)
	}
}

// The start, each worsening and the end of an episode are published once over
// all replicas. The report of a dead replica expires.
func TestReportConditions_Episodes(t *testing.T) {
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		ctx := t.Context()
		report := func(
			replica string, active bool, level int, ttl time.Duration,
		) hold.DaemonConditionChange {
			t.Helper()
			changes, err := e.store.ReportConditions(ctx, replica, ttl, 0,
				[]hold.DaemonConditionReport{{Name: "stripe_unavailable", Active: active, Severity: level,
					RaisedEvent: []byte("unavailable"), ClearedEvent: []byte("recovered")}})
			if err != nil {
				t.Fatal(err)
			}
			return changes[0]
		}
		for i, c := range []struct {
			replica string
			active  bool
			level   int
			want    hold.DaemonConditionChange
		}{
			{"one", false, 0, 0}, {"one", true, 1, hold.ConditionBegan}, {"one", true, 1, 0},
			{"two", true, 1, 0}, {"two", true, 3, hold.ConditionWorsened}, {"one", true, 2, 0},
			{"one", false, 0, 0}, {"three", false, 0, 0}, {"two", false, 0, hold.ConditionEnded},
			{"two", false, 0, 0},
		} {
			if got := report(c.replica, c.active, c.level, time.Minute); got != c.want {
				t.Fatalf("step %d: %d, want %d", i, got, c.want)
			}
		}
		if got := report("dies", true, 0, 50*time.Millisecond); got != hold.ConditionBegan {
			t.Fatal(got)
		}
		storetest.WaitUntil(t, 5*time.Second, "the report expires", func() bool {
			return report("lives", false, 0,
				time.Minute) == hold.ConditionEnded
		})
		events, _, err := e.store.ReadEvents(ctx, 0, "0-0", 20)
		if err != nil || len(events) != 5 {
			t.Fatalf("%d events %v", len(events), err)
		}
		for i, want := range []string{"unavailable", "unavailable", "recovered",
			"unavailable", "recovered"} {
			if string(events[i].Event) != want {
				t.Errorf("event %d is %s", i, events[i].Event)
			}
		}
		if a, err := e.store.PublishOnce(ctx, "x", []byte("1")); err != nil || !a {
			t.Error(a, err)
		}
		if a, err := e.store.PublishOnce(ctx, "x", []byte("2")); err != nil || a {
			t.Error("published twice", err)
		}
	})
}

func TestReadNewestEvents_NewestFirst(t *testing.T) {
	e := startRedis(t, store.Options{})
	for _, event := range []string{"first", "second", "third"} {
		if _, err := e.store.PublishOnce(t.Context(), event, []byte(event)); err != nil {
			t.Fatal(err)
		}
	}
	events, err := e.store.ReadNewestEvents(t.Context(), 2)
	if err != nil || len(events) != 2 || string(events[0].Event) != "third" ||
		string(events[1].Event) != "second" {
		t.Fatalf("%s %v", events, err)
	}
}

func TestAliveReplicas(t *testing.T) {
	e := startRedis(t, store.Options{})
	for replica, ttl := range map[string]time.Duration{"a": time.Minute, "dead": -time.Minute} {
		if _, _, err := e.store.SendHeartbeat(t.Context(), replica, ttl); err != nil {
			t.Fatal(err)
		}
	}
	alive, err := e.store.ListAliveReplicas(t.Context())
	if err != nil || len(alive) != 1 || alive[0] != "a" {
		t.Fatal(alive, err)
	}
}
