package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdd/holdd/worker/hold"
)

func newSettledWrite(id string, end time.Time) hold.HoldWrite {
	w := newScheduledWrite(id, baseTime, nearDeadline)
	return capturedWrite(w.Hold, end)
}

// settledIDs returns the ids of holds, latest settlement first, as a page has
// them.
func settledIDs(at map[string]time.Time) []string {
	ids := sortedKeys(at)
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(at[b].Compare(at[a]), cmp.Compare(b, a))
	})
	return ids
}

// However the holds are settled, pages list them in the order of their
// settlement, and Redis stores each chunk as one string unless more holds than
// that have the same time.
func TestSettled_ChunksKeepOrder(t *testing.T) {
	t.Parallel()
	const n = 700
	for name, offset := range map[string]func(rng *rand.Rand, i int) int{
		"in order":     func(_ *rand.Rand, i int) int { return i },
		"backward":     func(_ *rand.Rand, i int) int { return n - i },
		"nearly":       func(rng *rand.Rand, i int) int { return i + rng.IntN(40) },
		"at random":    func(rng *rand.Rand, _ int) int { return rng.IntN(n) },
		"at few times": func(rng *rand.Rand, _ int) int { return rng.IntN(6) },
	} {
		t.Run(name, func(t *testing.T) {
			onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
				rng := rand.New(rand.NewPCG(3, 4))
				at := map[string]time.Time{}
				for i := 0; i < n; {
					var writes []hold.HoldWrite
					for size := 1 + rng.IntN(100); i < n && len(writes) < size; i++ {
						id := fmt.Sprintf("pi_%06x", rng.IntN(1<<24))
						if at[id].IsZero() {
							at[id] = baseTime.Add(time.Duration(offset(rng, i)) * time.Millisecond)
							writes = append(writes, newSettledWrite(id, at[id]))
						}
					}
					e.mustCommit(writes...)
				}
				if got := e.readPages(hold.SetSettled, hold.SortedSetPosition{}, 90,
					nil); !slices.Equal(got,
					settledIDs(at)) {
					t.Errorf("listed %d of %d holds, or in another order", len(got), len(at))
				}
				e.checkInvariants(1)
				if name != "at few times" {
					e.checkChunks(n)
				}
				e.dropSettled(at)
			})
		})
	}
}

// checkChunks checks that the chunks are small, and not many: a split leaves 32
// holds in a chunk, and a chunk that a late hold opened may get few more.
func (e *testStore) checkChunks(n int) {
	e.Helper()
	chunks := e.keysMatching("holdd:{0}:settled:*")
	if len(chunks) > n/16 {
		e.Errorf("%d chunks for %d holds", len(chunks), n)
	}
	for _, key := range chunks {
		// miniredis does not know how Redis stores a value.
		encoding, err := e.rdb.ObjectEncoding(e.Context(), key).Result()
		if size := e.rdb.ZCard(e.Context(), key).Val(); size == 0 || size > 128 ||
			err == nil && !strings.HasSuffix(encoding, "list") &&
				!strings.HasSuffix(encoding, "listpack") {
			e.Errorf("%s has %d holds and is a %s", key, size, encoding)
		}
	}
}

// dropSettled deletes holds as the purge does, earliest settlement first, until
// nothing is left in Redis.
func (e *testStore) dropSettled(at map[string]time.Time) {
	e.Helper()
	ids := settledIDs(at)
	slices.Reverse(ids)
	for len(ids) > 0 {
		before := at[ids[0]].Add(20 * time.Millisecond)
		found, _, err := e.store.ListHoldsSettledBefore(e.Context(), before, &hold.SettledCursor{}, 100)
		if err != nil || len(found) == 0 || len(found) > 100 {
			e.Fatalf("found %d: %v", len(found), err)
		}
		var drops []hold.HoldWrite
		for _, d := range found {
			if d.Hold.ID != ids[0] || !d.DueAt.Equal(at[ids[0]]) || d.DueAt.After(before) {
				e.Fatalf("%s of %v is next, want %s of %v", d.Hold.ID, d.DueAt, ids[0], at[ids[0]])
			}
			ids = ids[1:]
			w := newUpdateWrite(d.Hold)
			w.Drop = true
			drops = append(drops, w)
		}
		e.mustCommit(drops...)
	}
	if left := e.keysMatching("holdd:{0}:settled*"); len(left) != 0 {
		e.Errorf("left are %v", left)
	}
}

// A crash can leave a hold in a chunk although the record was not written, or
// with another time. Pages leave it out, and the purge removes it.
func TestSettled_LeavesOutUnfinished(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(newSettledWrite("pi_a", baseTime), newSettledWrite("pi_b", changedTime),
			newScheduledWrite("pi_open", futureDue, nearDeadline))
		put := func(key string, score float64, member string) {
			z := redis.Z{Score: score, Member: member}
			if err := e.rdb.ZAdd(t.Context(), key, z).Err(); err != nil {
				t.Fatal(err)
			}
		}
		put("holdd:{0}:settled", 5, "5")
		put("holdd:{0}:settled", 9, "9") // has no hold
		for _, id := range []string{"pi_open", "pi_b", "pi_gone"} {
			put("holdd:{0}:settled:5", 7, id)
		}
		for _, n := range []int{1, 10} {
			got := e.readPages(hold.SetSettled, hold.SortedSetPosition{}, n, nil)
			if !slices.Equal(got, []string{"pi_b", "pi_a"}) {
				t.Errorf("pages of %d: %v", n, got)
			}
		}
		found, _, err := e.store.ListHoldsSettledBefore(t.Context(), changedTime,
			&hold.SettledCursor{}, 10)
		if err != nil || len(found) != 2 || found[0].Hold.ID != "pi_a" ||
			found[1].Hold.ID != "pi_b" {
			t.Errorf("settled: %+v, %v", found, err)
		}
		keys := e.keysMatching("holdd:{0}:settled*")
		if slices.Sort(keys); !slices.Equal(keys, []string{"holdd:{0}:settled",
			"holdd:{0}:settled:0"}) {
			t.Errorf("left are %v", keys)
		}
	})
}

// Unreadable records hide no hold from the purge: the cursor passes them. It
// passes each hold once, also within one millisecond and after deletions.
func TestSettled_CursorPassesUnreadable(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		const unreadable = 300
		var writes []hold.HoldWrite
		for i := range 500 {
			at := baseTime.Add(time.Duration(i/200) * time.Millisecond)
			writes = append(writes, newSettledWrite(fmt.Sprintf("pi_%03d", i), at))
		}
		e.mustCommit(writes...)
		for i := range unreadable {
			e.rdb.HSet(t.Context(), "holdd:{0}:holds", writes[i].Hold.ID, "of a later release")
		}
		var cursor hold.SettledCursor
		seen := map[string]bool{}
		for more := true; more; {
			var found []hold.HoldWithDueMilestone
			var err error
			found, more, err = e.store.ListHoldsSettledBefore(t.Context(), farFuture, &cursor, 7)
			if err != nil && !errors.Is(err, hold.ErrUnreadableRecord) {
				t.Fatal(err)
			}
			for _, d := range found {
				if seen[d.Hold.ID] {
					t.Errorf("%s is found twice", d.Hold.ID)
				}
				seen[d.Hold.ID] = true
				w := newUpdateWrite(d.Hold)
				w.Drop = true
				e.mustCommit(w)
			}
		}
		if len(seen) != len(writes)-unreadable {
			t.Errorf("found %d of %d", len(seen), len(writes)-unreadable)
		}
	})
}
