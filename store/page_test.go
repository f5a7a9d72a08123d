package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

// readPages reads a set to its end, in pages of n, and calls between after each
// page.
func (e *testStore) readPages(
	set hold.SortedSet, after hold.SortedSetPosition, n int, between func(page int),
) (ids []string) {
	e.Helper()
	for page := 0; ; page++ {
		if page > 1000 {
			e.Fatalf("the pages don't end: %v", ids[:20])
		}
		listed, now, err := e.store.ReadSortedSetPage(e.Context(), set, after, n)
		if err != nil || now.IsZero() || len(listed) > n {
			e.Fatalf("page %d: %d, %v, %v", page, len(listed), now, err)
		}
		for _, l := range listed {
			ids, after = append(ids, l.Hold.ID), l.Position
		}
		if len(listed) < n {
			return ids
		}
		if between != nil {
			between(page)
		}
	}
}

func TestReadPage_EqualScores(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 5} {
		e := startRedis(t, store.Options{Partitions: partitions})
		var writes []hold.HoldWrite
		var want []string
		for i := range 500 {
			id := fmt.Sprintf("pi_%03d", i)
			// all of them at the same time
			writes, want = append(writes, newScheduledWrite(id, futureDue, nearDeadline)),
				append(want, id)
		}
		e.mustCommit(writes...)
		for _, n := range []int{1, 7, 100, 256, 1000} {
			got := e.readPages(hold.SetScheduled, hold.SortedSetPosition{}, min(n, 256), nil)
			if !slices.Equal(got, want) {
				t.Errorf("%d partitions, pages of %d: %d of %d, in order: %t",
					partitions, n, len(got),
					len(want), slices.IsSorted(got))
			}
		}
		// While a caller reads, holds before and after its position are deleted
		// and created.
		gone := map[string]bool{}
		drop := func(id string) {
			if h := e.mustRead(id); h != nil {
				w := newUpdateWrite(*h)
				w.Drop = true
				e.mustCommit(w)
				gone[id] = true
			}
		}
		got := e.readPages(hold.SetScheduled, hold.SortedSetPosition{}, 50, func(page int) {
			last := page*50 + 49
			drop(want[last])   // the hold of the position
			drop(want[last-9]) // before it
			if last+60 < len(want) {
				drop(want[last+60]) // after it
			}
			// a new one, before it
			e.mustCommit(newScheduledWrite(fmt.Sprintf("pi_%03da", last-20),
				futureDue, nearDeadline))
		})
		seen := map[string]int{}
		for _, id := range got {
			seen[id]++
		}
		for i, id := range want {
			if seen[id] > 1 || seen[id] == 0 && !gone[id] {
				t.Errorf("%d partitions: hold %d was listed %d times, gone: %t",
					partitions, i, seen[id], gone[id])
			}
		}
		if !slices.IsSorted(got) {
			t.Error("out of order")
		}
	}
}

func TestReadPage_SettledNewestFirst(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 5} {
		e := startRedis(t, store.Options{Partitions: partitions})
		var writes []hold.HoldWrite
		for i := range 300 {
			w := newScheduledWrite(fmt.Sprintf("pi_%03d", i), futureDue, nearDeadline)
			// ten at each time
			w.Hold.State, w.Hold.NextOp, w.Hold.SettledAt = hold.Captured, 0,
				baseTime.Add(time.Duration(i/10)*time.Minute)
			w.Placement = hold.SortedSetPlacement{SettledAt: w.Hold.SettledAt}
			writes = append(writes, w)
		}
		e.mustCommit(writes...)
		var want []string
		for i := range 300 {
			want = append(want, fmt.Sprintf("pi_%03d", 299-i))
		}
		for _, n := range []int{1, 10, 64} {
			got := e.readPages(hold.SetSettled, hold.SortedSetPosition{}, n, nil)
			if !slices.Equal(got, want) {
				t.Errorf("%d partitions, pages of %d: %v", partitions, n, got)
			}
		}
		// A hold that settles while a caller reads is newer than all others. It
		// does not move into a later page.
		got := e.readPages(hold.SetSettled, hold.SortedSetPosition{}, 40, func(page int) {
			w := writes[0]
			w.Hold.ID = fmt.Sprintf("pi_new_%d", page)
			w.Hold.SettledAt, w.Placement.SettledAt = changedTime, changedTime
			e.mustCommit(w)
		})
		if !slices.Equal(got, want) {
			t.Errorf("with others coming: %v", got)
		}
	}
}

func TestReadPage_ReferencesByPrefix(t *testing.T) {
	t.Parallel()
	references := []string{
		"B", "BK", "BK-", "BK-1", "BK-10", "BK-2", "BK.", "BK-é", "BK-ü", "BK-日本", "BK-\U0001F600",
		"BK-\x7f", "BK- ", "bk-1", "BL", "A", "é", "\x01", "\x01\x01", "BK-\u0080", "BK-\u07ff",
		"BK-\uffff",
	}
	for _, partitions := range []int{1, 5} {
		onBothPartitioned(t, partitions, func(t *testing.T, e *testStore) {
			var all []string
			for i, ref := range references {
				for j := range 3 { // several holds of one booking
					w := newScheduledWrite(fmt.Sprintf("pi_%d_%d", j, i), futureDue, nearDeadline)
					w.Hold.Reference = ref
					e.mustCommit(w)
					all = append(all, ref+"\x00"+w.Hold.ID)
				}
			}
			e.mustCommit(newScheduledWrite("pi_without", futureDue, nearDeadline))
			slices.Sort(all) // by byte, as Redis does
			for _, prefix := range append([]string{"", "BK-\xc3", "BK-\xff", "\x00", "\xff", "C"},
				references...) {
				for _, n := range []int{1, 4, 100} {
					var want, got []string
					for _, m := range all {
						if strings.HasPrefix(m, prefix) {
							want = append(want, m)
						}
					}
					after := hold.SortedSetPosition{Member: prefix}
				pages:
					for len(got) <= len(all) {
						listed, _, err := e.store.ReadSortedSetPage(
							t.Context(), hold.SetReferences, after, n)
						if err != nil {
							t.Fatal(err)
						}
						for _, l := range listed {
							if !strings.HasPrefix(l.Hold.Reference, prefix) &&
								!strings.HasPrefix(l.Position.Member, prefix) {
								break pages
							}
							got, after = append(got, l.Hold.Reference+"\x00"+l.Hold.ID), l.Position
						}
						if len(listed) < n {
							break
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("%d partitions, prefix %q, pages of %d:\n got %q\nwant %q",
							partitions,
							prefix, n, got, want)
					}
				}
			}
		})
	}
}

func onBothPartitioned(t *testing.T, partitions int, f func(t *testing.T, e *testStore)) {
	t.Helper()
	o := store.Options{Partitions: partitions}
	t.Run(fmt.Sprintf("redis/%d", partitions), func(t *testing.T) { f(t, startRedis(t, o)) })
	t.Run(fmt.Sprintf("miniredis/%d", partitions),
		func(t *testing.T) { f(t, startMiniredis(t, o)) })
}

func TestReadPage_MergesPartitions(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{Partitions: 5})
	var writes []hold.HoldWrite
	for i := range 200 {
		w := newScheduledWrite(fmt.Sprintf("pi_%03d", (i*73)%200),
			futureDue.Add(time.Duration(i)*time.Second),
			nearDeadline.Add(-time.Duration(i)*time.Minute))
		if i%2 == 0 {
			w.Hold.State, w.Hold.NextOp, w.Placement = hold.Attention, 0,
				hold.SortedSetPlacement{NextMilestone: milestoneTime, NeedsAttention: true}
		}
		writes = append(writes, w)
	}
	e.mustCommit(writes...)
	for name, c := range map[string]struct {
		set hold.SortedSet
		key func(h *hold.Hold) time.Time
		n   int
	}{
		"scheduled": {hold.SetScheduled, func(h *hold.Hold) time.Time { return h.NextAt }, 100},
		"attention": {hold.SetAttention, func(h *hold.Hold) time.Time { return h.ExpiresAt }, 100},
	} {
		last := time.Time{}
		got := e.readPages(c.set, hold.SortedSetPosition{}, 9, nil)
		for _, id := range got {
			k := c.key(e.mustRead(id))
			if k.Before(last) {
				t.Errorf("%s: %s comes too late", name, id)
			}
			last = k
		}
		if len(got) != c.n {
			t.Errorf("%s: %d of %d", name, len(got), c.n)
		}
	}
	if got := e.readPages(hold.SetWorking, hold.SortedSetPosition{}, 10, nil); len(got) != 0 {
		t.Errorf("no hold is claimed, listed are %v", got)
	}
}

// A page of ready holds has the holds of all lanes and partitions by deadline,
// and no other holds.
func TestReadPage_ReadyHolds(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 5} {
		e := startRedis(t, store.Options{Partitions: partitions})
		if got := e.readPages(hold.SetReady, hold.SortedSetPosition{}, 7, nil); len(got) != 0 {
			t.Errorf("an empty store: %v", got)
		}
		var want []string
		for i := range 100 {
			id := fmt.Sprintf("pi_%03d", i)
			want = append(want, id)
			op := []hold.Op{hold.OpCapture, hold.OpCancel}[i%2]
			account := []string{"", "acct_a", "acct_b"}[i%3]
			deadline := nearDeadline.Add(time.Duration(i) * time.Minute)
			e.mustCommit(newReadyWrite(id, op, account, deadline))
		}
		e.mustCommit(newScheduledWrite("pi_later", farFuture, farFuture.Add(time.Hour)))
		for _, n := range []int{1, 7, 256} {
			got := e.readPages(hold.SetReady, hold.SortedSetPosition{}, n, nil)
			if !slices.Equal(got, want) {
				t.Errorf("%d partitions, pages of %d: %v", partitions, n, got)
			}
		}
	}
}
