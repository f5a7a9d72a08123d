package store_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

// Redis is killed several times during the work, and restarts with its
// append-only file.
func TestRedis_KilledKeepsAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t, storetest.KillSafeArgs...)
	s := mustOpen(t, store.Options{URL: r.URL(), Partitions: 3})
	raw := r.Client()
	defer raw.Close()
	e := &testStore{TB: t, store: s, rdb: raw}
	c := newWorkload(e)
	const n = 1000
	kills := 0
	c.work(n, func() {
		for i := range 4 {
			storetest.WaitUntil(t, 30*time.Second, "it gets on", func() bool {
				counts, err := s.CountHolds(t.Context())
				return err == nil && counts.Settled > int64(i*n/6)
			})
			r.Kill()
			r.Restart()
			kills++
			e.checkInvariants(3) // the file has each script completely or not at all
		}
	})
	c.testStore = e
	if c.failures == 0 {
		t.Error("no call failed: the test proved nothing")
	}
	t.Logf("%d kills, %d calls failed", kills, c.failures)
	c.checkComplete(n, 3)
	c.checkEvents(n, 3)
}

// Calls to a Redis that hangs time out, and the work continues when it answers
// again.
func TestRedis_PausedCallsTimeOut(t *testing.T) {
	t.Parallel()
	r := storetest.Start(t)
	const timeouts = "?read_timeout=200ms&write_timeout=200ms&dial_timeout=200ms"
	s := mustOpen(t, store.Options{URL: r.URL() + timeouts})
	raw := r.Client()
	defer raw.Close()
	e := &testStore{TB: t, store: s, rdb: raw}
	w := newReadyWrite("pi_a", 1, "", nearDeadline)
	w.Events = [][]byte{[]byte("once")}
	r.Pause()
	began := time.Now()
	if _, err := s.Commit(t.Context(), []hold.HoldWrite{w}); err == nil {
		t.Fatal("a stopped Redis has committed")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	r.Resume()
	storetest.WaitUntil(t, 10*time.Second, "it answers again",
		func() bool { return s.CheckWritable(t.Context()) == nil })
	e.mustCommit(w)
	if ev := e.publishedEvents(1); len(ev) != 1 {
		t.Errorf("events: %v", ev)
	}
	e.checkInvariants(1)
}

// Redis crashes while it writes the commands of a script to its append-only
// file. Redis 7.0 drops the commands at the next start, but truncates the file
// after the last complete command and not before MULTI. The start after that
// executes the first commands of the script, together with later writes. For
// every length of the file, every hold is settled, and none stays in a queue.
func TestScript_HalfWrittenToFile(t *testing.T) {
	t.Parallel()
	const n, lease = 3, 50 * time.Millisecond
	captured := func(claims []hold.Claim) (ends []hold.HoldWrite) {
		for _, c := range claims {
			ends = append(ends, capturedWrite(c.Hold, changedTime))
		}
		return ends
	}
	for script, steps := range []func(e *testStore){
		func(e *testStore) { e.mustPromoteDue(true) },
		func(e *testStore) { e.mustPromoteDue(true); e.mustClaim(captureLane, n, lease) },
		func(e *testStore) {
			e.mustPromoteDue(true)
			claims, _ := e.mustClaim(captureLane, n, lease)
			e.mustCommit(captured(claims)...)
		},
	} {
		t.Run([]string{"promote", "claim", "settle"}[script], func(t *testing.T) {
			t.Parallel()
			r := storetest.Start(t, storetest.KillSafeArgs...)
			raw := r.Client()
			t.Cleanup(func() { raw.Close() })
			e := &testStore{TB: t, store: mustOpen(t, store.Options{URL: r.URL()}), rdb: raw}
			for i := range n {
				e.mustCommit(newScheduledWrite(fmt.Sprintf("pi_%d", i), baseTime, nearDeadline))
			}
			steps(e)
			r.Kill()
			files, err := filepath.Glob(filepath.Join(r.Dir(), "appendonlydir", "*.incr.aof"))
			if err != nil || len(files) != 1 {
				t.Fatalf("the append-only file: %v %v", files, err)
			}
			whole, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			begin := bytes.LastIndex(whole, []byte("*1\r\n$5\r\nMULTI\r\n"))
			end := bytes.LastIndex(whole, []byte("*1\r\n$4\r\nEXEC\r\n"))
			if begin < 0 || end < begin {
				t.Fatal("the script is not in the file as a transaction")
			}
			cuts := 0
			for cut := begin + 1; cut <= end; cut++ {
				if whole[cut] != '*' || whole[cut-1] != '\n' { // a command ends here
					continue
				}
				cuts++
				if err := os.WriteFile(files[0], whole[:cut+5], 0o600); err != nil {
					t.Fatal(err)
				}
				r.Restart()
				e.mustCommit(newScheduledWrite(fmt.Sprintf("pi_later_%d", cut),
					baseTime, nearDeadline))
				r.Kill()
				r.Restart()
				storetest.WaitUntil(t, 30*time.Second,
					fmt.Sprintf("all are settled after a cut at command %d", cuts), func() bool {
						e.mustPromoteDue(true)
						claims, _ := e.mustClaim(captureLane, n+1, lease)
						e.mustCommit(captured(claims)...)
						// Counts can be wrong until the deadline of a hold has passed.
						// Each hold must be listed once.
						listed := e.readPages(hold.SetSettled, hold.SortedSetPosition{}, 2, nil)
						if slices.Sort(listed); len(listed) != n+1 ||
							len(slices.Compact(listed)) != n+1 {
							return false
						}
						_, sets := e.partitionContents(0)
						return len(sets["scheduled"])+len(sets["leased"])+len(sets["lanes"]) == 0
					})
				r.Kill()
			}
			t.Logf("%d places to cut", cuts)
			if cuts < 3 {
				t.Error("that tested next to nothing")
			}
		})
	}
}
