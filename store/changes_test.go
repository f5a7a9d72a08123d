package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
	"pgregory.net/rapid"
)

// checkChanges checks that the counter of each partition has risen if what the
// replicas poll there differs from the last check. On Redis it compares the
// content of the keys.
func (m *storeModel) checkChanges(t *rapid.T, readKeys bool) {
	counts, _, err := m.store.ReadChangeCountsAndInboxLength(m.Context())
	if err != nil || len(counts) != m.partitions {
		t.Fatalf("counters: %v, %v", counts, err)
	}
	if !readKeys {
		return
	}
	dumps := map[string]string{}
	keys, err := m.rdb.Keys(m.Context(), "holdd:{*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		// a poll may correct the order of the lanes, which is read at each poll
		if !strings.HasSuffix(key, ":changes") && !strings.HasSuffix(key, ":lanes") {
			dumps[key] = m.rdb.Dump(m.Context(), key).Val()
		}
	}
	if m.changes == nil {
		m.changes = make([]int64, m.partitions)
	}
	for p := range counts {
		changed := ""
		prefix := fmt.Sprintf("holdd:{%d}:", p)
		for _, list := range []map[string]string{dumps, m.dumps} {
			for key := range list {
				if strings.HasPrefix(key, prefix) && dumps[key] != m.dumps[key] {
					changed = key
				}
			}
		}
		if counts[p] < m.changes[p] || changed != "" && counts[p] == m.changes[p] {
			t.Fatalf("partition %d: %q changed, and the counter is %d after %d", p, changed,
				counts[p], m.changes[p])
		}
	}
	m.dumps, m.changes = dumps, counts
}

// wantChange runs f and checks whether it raises the counter of the only
// partition.
func (e *testStore) wantChange(what string, want bool, f func() error) {
	e.Helper()
	before, _, err := e.store.ReadChangeCountsAndInboxLength(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	if err := f(); err != nil {
		e.Fatalf("%s: %v", what, err)
	}
	after, _, err := e.store.ReadChangeCountsAndInboxLength(e.Context())
	if err != nil || after[0] > before[0] != want {
		e.Errorf("%s: the counter is %v after %v, %v", what, after, before, err)
	}
}

func TestChangeCounts_RiseWithEachChange(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.TB = t
		ctx := t.Context()
		for _, want := range []bool{true, false} { // the second time nothing changes
			e.wantChange("publish", want, func() error {
				_, err := e.store.PublishOnce(ctx, "subject", []byte("{}"))
				return err
			})
			e.wantChange("condition", want, func() error {
				_, err := e.store.ReportConditions(ctx, "one", time.Hour, 0,
					[]hold.DaemonConditionReport{{Name: "c", Active: true, RaisedEvent: []byte("{}")}})
				return err
			})
		}
		e.wantChange("refresh", true, func() error {
			return e.store.RequestRefresh(ctx, "pi_a", "", true)
		})
		pending, _, err := e.store.ListDueRefreshes(ctx, 1)
		if err != nil || len(pending) != 1 {
			t.Fatal(pending, err)
		}
		e.wantChange("finish a refresh", true, func() error {
			return e.store.FinishOrPostponeRefresh(ctx, pending[0], time.Time{})
		})
		e.wantChange("remember an intent", false, func() error {
			return e.store.RequestRefresh(ctx, "pi_b", "", false)
		})
		token, _, _, _, err := e.store.AcquireSinkLease(ctx, "s", 0, "one", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		e.wantChange("dead letter", false, func() error {
			_, err := e.store.SaveSinkProgressIfLeaseHeld(
				ctx,
				"s",
				0,
				token,
				hold.SinkProgressWrite{State: []byte("{}"),
					DeadLetters: []hold.DeadLetter{{Event: []byte("{}"), Reason: "r"}}},
				time.Minute,
			)
			return err
		})
		for _, want := range []bool{true, false} {
			e.wantChange("requeue", want, func() error {
				_, err := e.store.RequeueDeadLetters(ctx, "s", nil)
				return err
			})
		}
		e.wantChange("poll", false, func() error {
			_, err := e.store.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 10})
			return err
		})
	})
}

// Each partition has a counter of its own, also on a Cluster.
func (e *testStore) checkCountersByPartition(partitions int) {
	e.Helper()
	changed := map[int]bool{}
	for i := range 2 {
		before, _, err := e.store.ReadChangeCountsAndInboxLength(e.Context())
		if err != nil || len(before) != partitions {
			e.Fatal(before, err)
		}
		w := newScheduledWrite(fmt.Sprintf("pi_counted_%d", i), farFuture, farFuture)
		e.mustCommit(w)
		after, _, err := e.store.ReadChangeCountsAndInboxLength(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		for p := range after {
			if after[p] != before[p] {
				changed[p] = true
			}
		}
		if len(changed) != i+1 {
			e.Fatalf("commit %d: the counters are %v after %v", i, after, before)
		}
	}
}

func TestChangeCounts_ByPartition(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{Partitions: 7})
	e.checkCountersByPartition(7)
}
