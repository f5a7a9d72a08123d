package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

func scored(t time.Time, member string) redis.Z {
	return redis.Z{Score: float64(t.UnixMilli()), Member: member}
}

func claimedIDs(claims []hold.Claim) []string {
	out := []string{}
	for _, c := range claims {
		out = append(out, c.Hold.ID)
	}
	return out
}

func TestPromoteDue_ExpiredLeasesByDeadline(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		// Neither the ids nor the order of creation follow the deadlines.
		for i, id := range []string{"pi_c", "pi_a", "pi_e", "pi_b", "pi_d"} {
			e.mustCommit(newReadyWrite(id, hold.OpCapture, "",
				nearDeadline.Add(time.Duration(i)*time.Hour)))
		}
		if c, _ := e.mustClaim(captureLane, 5, time.Millisecond); len(c) != 5 {
			t.Fatalf("%v", claimedIDs(c))
		}
		e.awaitExpiredLeases(5)
		e.mustCommit(newReadyWrite("pi_new", hold.OpCapture, "", nearDeadline.Add(90*time.Minute)))
		d := e.mustPromoteDue(true)
		if len(d.Lanes) != 1 || d.Lanes[0].Ready != 6 ||
			!d.Lanes[0].NearestDeadline.Equal(nearDeadline) {
			t.Fatalf("%+v", d.Lanes)
		}
		c, _ := e.mustClaim(captureLane, 10, time.Minute)
		want := []string{"pi_c", "pi_a", "pi_new", "pi_e", "pi_b", "pi_d"}
		if got := claimedIDs(c); !slices.Equal(got, want) {
			t.Fatalf("claimed %v, by deadline %v", got, want)
		}
		if d := e.mustPromoteDue(true); len(d.Lanes) != 0 {
			t.Fatalf("the empty lane is still there: %+v", d.Lanes)
		}
	})
}

func TestClaim_StopsAtDeadlineBound(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		for i := range 6 {
			e.mustCommit(newReadyWrite(fmt.Sprintf("pi_%d", i), hold.OpCapture, "",
				nearDeadline.Add(time.Duration(i)*time.Hour)))
		}
		claim := func(n int, before time.Time) []string {
			t.Helper()
			c, _, err := claimLane(t.Context(), e.store, captureLane, n, time.Minute, before)
			if err != nil {
				t.Fatal(err)
			}
			return claimedIDs(c)
		}
		if got := claim(5, nearDeadline.Add(-time.Second)); len(got) != 0 {
			t.Fatalf("before the first deadline: %v", got)
		}
		for _, n := range []int{0, -1} {
			if got := claim(n, time.Time{}); len(got) != 0 {
				t.Errorf("of %d wanted came %v", n, got)
			}
			if got := claim(n, nearDeadline); len(got) != 0 {
				t.Errorf("of %d wanted came %v", n, got)
			}
		}
		if got := claim(1, nearDeadline.Add(2*time.Hour)); !slices.Equal(got, []string{"pi_0"}) {
			t.Fatalf("one: %v", got)
		}
		// the bound itself belongs to it
		got := claim(5, nearDeadline.Add(2*time.Hour))
		if !slices.Equal(got, []string{"pi_1", "pi_2"}) {
			t.Fatalf("to the bound: %v", got)
		}
		if d := e.mustPromoteDue(false); len(d.Lanes) != 1 || d.Lanes[0].Ready != 3 ||
			!d.Lanes[0].NearestDeadline.Equal(nearDeadline.Add(3*time.Hour)) {
			t.Fatalf("%+v", d.Lanes)
		}
		e.checkInvariants(1)
	})
}

func TestPromoteDue_BoundsEachCall(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{})
	var writes []hold.HoldWrite
	for i := range 600 {
		writes = append(writes, newScheduledWrite(fmt.Sprintf("pi_%03d", i), pastDue,
			nearDeadline.Add(-time.Duration(i)*time.Second)))
	}
	e.mustCommit(writes...)
	for round, want := range []struct {
		promoted int
		more     bool
	}{{256, true}, {256, true}, {88, false}, {0, false}} {
		// More than one script call takes on.
		d, err := e.store.PromoteDue(t.Context(),
			hold.PromoteRequest{Scheduled: true, Holds: 1000})
		if err != nil || d.PromotedHolds != want.promoted || d.More != want.more {
			t.Fatalf("round %d: %+v, %v", round, d, err)
		}
	}
	c, _, err := claimLane(t.Context(), e.store, captureLane, 1000, time.Minute, time.Time{})
	if err != nil || len(c) != 256 || c[0].Hold.ID != "pi_599" || c[255].Hold.ID != "pi_344" {
		t.Fatalf("claimed %d, %v", len(c), err)
	}
	if m, _, err := e.store.ListDueMilestones(t.Context(), 1000); err != nil || len(m) != 256 {
		t.Fatalf("milestones: %d, %v", len(m), err)
	}
	for _, n := range []int{0, -5} {
		r := hold.PromoteRequest{Scheduled: true, Holds: n}
		if d, err := e.store.PromoteDue(t.Context(), r); err != nil ||
			d.PromotedHolds > 1 || d.ExpiredLeases > 1 {
			t.Errorf("at most %d: %+v, %v", n, d, err)
		}
		if m, _, err := e.store.ListDueMilestones(t.Context(), n); err != nil || len(m) > 1 {
			t.Errorf("at most %d milestones: %d, %v", n, len(m), err)
		}
	}
	e.checkInvariants(1)
}

func TestLanes_AreIndependent(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		type lane struct {
			op      hold.Op
			account string
		}
		all := []lane{{hold.OpRead, "acct_b"}, {hold.OpCapture, ""}, {hold.OpCapture, "acct_b"},
			{hold.OpCancel, ""}, {hold.OpCapture, "acct_a"}, {hold.OpCancel, "acct_a"}}
		for i, l := range all {
			for j := range 3 {
				e.mustCommit(newReadyWrite(fmt.Sprintf("pi_%d_%d", i, j), l.op, l.account,
					nearDeadline.Add(time.Duration(10*i+j)*time.Minute)))
			}
		}
		d := e.mustPromoteDue(true)
		if len(d.Lanes) != len(all) {
			t.Fatalf("%d lanes of %d: %+v", len(d.Lanes), len(all), d.Lanes)
		}
		for i, l := range d.Lanes { // nearest deadline first
			if l.Op != all[i].op || l.Account != all[i].account || l.Ready != 3 ||
				!l.NearestDeadline.Equal(nearDeadline.Add(time.Duration(10*i)*time.Minute)) {
				t.Errorf("lane %d: %+v", i, l)
			}
		}
		for i, l := range d.Lanes {
			c, _ := e.mustClaim(l, 10, time.Minute)
			if want := []string{fmt.Sprintf("pi_%d_0", i), fmt.Sprintf("pi_%d_1", i),
				fmt.Sprintf("pi_%d_2", i)}; !slices.Equal(claimedIDs(c), want) {
				t.Errorf("claimed %v of %v", claimedIDs(c), want)
			}
			if left := e.mustPromoteDue(false); len(left.Lanes) != len(all)-1-i {
				t.Errorf("%d lanes are left after %d were emptied", len(left.Lanes), i+1)
			}
		}
		if e.rdb.Exists(t.Context(), "holdd:{0}:lanes").Val() != 0 {
			t.Error("lanes without work")
		}
		none := hold.ReadyHoldLane{Op: hold.OpCapture, Account: "acct_none"}
		if c, _ := e.mustClaim(none, 5, time.Minute); len(c) != 0 {
			t.Errorf("claimed from nowhere: %v", claimedIDs(c))
		}
	})
}

// Accounts whose limits are used up keep holds in their lanes. PromoteDue must
// list the lane of another account even if there are many of them.
func TestPromoteDue_ListsEveryLaneOfMany(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{})
	const accounts = 300
	var writes []hold.HoldWrite
	for i := range accounts {
		id, account := fmt.Sprintf("pi_%d", i), fmt.Sprintf("acct_%d", i)
		deadline := nearDeadline.Add(time.Duration(i) * time.Second)
		writes = append(writes, newReadyWrite(id, hold.OpCapture, account, deadline))
	}
	e.mustCommit(writes...)
	seen := map[string]bool{}
	for range 10 { // several promotions may be needed, with no claim between them
		for _, l := range e.mustPromoteDue(true).Lanes {
			seen[l.Account] = true
		}
	}
	if len(seen) != accounts {
		t.Errorf("%d accounts have work, %d of them are seen", accounts, len(seen))
	}
}

// A lane is sorted by its nearest deadline, even after that hold left the lane
// without a claim.
func TestPromoteDue_ReordersLaneWhoseHeadLeft(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(
			newReadyWrite("pi_a", hold.OpCapture, "acct_a", nearDeadline),
			newReadyWrite("pi_z", hold.OpCapture, "acct_a", nearDeadline.Add(9*time.Hour)),
			newReadyWrite("pi_b", hold.OpCapture, "acct_b", secondDeadline))
		e.mustCommit(capturedWrite(*e.mustRead("pi_a"), changedTime))
		d := e.mustPromoteDue(false)
		if len(d.Lanes) != 2 || d.Lanes[0].Account != "acct_b" || d.Lanes[1].Account != "acct_a" ||
			!d.Lanes[1].NearestDeadline.Equal(nearDeadline.Add(9*time.Hour)) {
			t.Errorf("%+v", d.Lanes)
		}
		if first := e.rdb.ZRange(t.Context(), "holdd:{0}:lanes", 0, 0).Val(); !slices.Equal(first,
			[]string{"1:acct_b"}) {
			t.Errorf("first of the lanes is still %v", first)
		}
	})
}

// The store reports a record that is damaged or of a later release. It does not
// affect other holds.
func TestUnreadableRecord_HidesNoOtherHold(t *testing.T) {
	t.Parallel()
	for name, rec := range map[string]string{
		"empty": "", "short": "x", "text": "this is no record of a hold at all, is it?",
		"cut off":         "\x01\x03\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00",
		"account cut off": "\x01\x03\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x9d\x00\x00\x00\x00\x40acct",
		"later encoding":  "\x7f\x03\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x9d\x00\x00\x00\x00\x00",
		"broken body":     "\x01\x03\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x9d\x00\x00\x00\x00\x00\x0a\xff",
	} {
		t.Run(name, func(t *testing.T) {
			onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
				ctx := t.Context()
				k := "holdd:{0}:"
				bad := func(id string) { e.rdb.HSet(ctx, k+"holds", id, rec) }
				e.mustCommit(newScheduledWrite("pi_a", pastDue, nearDeadline),
					newReadyWrite("pi_b", hold.OpCapture, "", nearDeadline),
					newScheduledWrite("pi_c", pastDue, nearDeadline))
				e.mustCommit(capturedWrite(*e.mustRead("pi_c"), baseTime))
				for _, id := range []string{"pi_0", "pi_1", "pi_2", "pi_3"} {
					bad(id)
				}
				e.rdb.ZAdd(ctx, k+"scheduled", scored(baseTime.Add(-time.Hour), "pi_0"))
				e.rdb.ZAdd(ctx, k+"leased", scored(baseTime.Add(-time.Hour), "pi_1"))
				e.rdb.ZAdd(ctx, k+"ready:1:", scored(baseTime.Add(-time.Hour), "pi_2"))
				e.rdb.ZAdd(ctx, k+"settled", scored(baseTime.Add(-time.Hour), "pi_3"))
				e.rdb.ZAdd(ctx, k+"expiring", scored(baseTime.Add(-time.Hour), "pi_0"))

				r := hold.PromoteRequest{Scheduled: true, Holds: 10}
				if _, err := e.store.PromoteDue(ctx, r); err != nil {
					t.Errorf("due: %v", err)
				}
				if len(rec) < 23 || rec[0] > 3 { // unreadable for scripts: stays due
					for id, set := range map[string]string{"pi_0": "scheduled", "pi_1": "leased"} {
						at := int64(e.rdb.ZScore(ctx, k+set, id).Val())
						if at != baseTime.Add(-time.Hour).UnixMilli() {
							t.Errorf("%s is in %s at %d", id, set, at)
						}
					}
				}
				claims := map[string]bool{}
				for range 3 {
					c, _, err := claimLane(ctx, e.store, captureLane, 10, time.Minute, time.Time{})
					if err != nil {
						t.Logf("claim tells: %v", err)
					}
					for _, c := range c {
						claims[c.Hold.ID] = true
					}
				}
				if !claims["pi_a"] || !claims["pi_b"] {
					t.Errorf("claimed %v", claims)
				}
				if name == "later encoding" {
					for _, id := range []string{"pi_0", "pi_1", "pi_2"} {
						if got := e.rdb.HGet(ctx, k+"holds", id).Val(); got != rec {
							t.Errorf("a record that only a later holdd understands was rewritten: %q", got)
						}
					}
				}
				found, _, _ := e.store.ListDueMilestones(ctx, 10)
				for _, id := range []string{"pi_a", "pi_b"} {
					if !slices.ContainsFunc(found, func(m hold.HoldWithDueMilestone) bool {
						return m.Hold.ID == id
					}) {
						t.Errorf("the milestone of %s is missing", id)
					}
				}
				// One at a time: a page of unreadable records alone must not
				// look like the end.
				seen, after := 0, hold.SortedSetPosition{}
				for range 10 {
					listed, _, err := e.store.ReadSortedSetPage(ctx, hold.SetSettled, after, 1)
					if err != nil {
						t.Error(err)
					}
					if len(listed) == 0 {
						break
					}
					if listed[0].Hold.State != 0 {
						seen++
					}
					after = listed[0].Position
				}
				if seen != 1 {
					t.Errorf("%d settled holds were listed of 1", seen)
				}
				holds, _, err := e.store.ReadHolds(ctx, "pi_a", "pi_0", "pi_b")
				if len(holds) != 3 || holds[0] == nil || holds[2] == nil || holds[1] != nil {
					t.Errorf("read: %v, %v", holds, err)
				}
			})
		})
	}
}

// An earlier release leaves due records that it cannot read as they are, so that
// a replica of a later release promotes them at once. They hide no other hold,
// however many there are, and cause no polling.
func TestPromoteDue_LeavesUnreadable(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		ctx := t.Context()
		k := "holdd:{0}:"
		addUnreadable := func(n int) {
			for i := range n {
				id := fmt.Sprintf("pi_later_%03d", i)
				e.rdb.HSet(ctx, k+"holds", id, "of a later release, in every byte")
				e.rdb.ZAdd(ctx, k+"scheduled", scored(baseTime.Add(-time.Hour), id))
				e.rdb.ZAdd(ctx, k+"leased", scored(baseTime.Add(-time.Hour), id))
			}
		}
		addUnreadable(200)
		e.mustCommit(newScheduledWrite("pi_a", pastDue, nearDeadline),
			newScheduledWrite("pi_b", futureDue, nearDeadline))
		promote := func() hold.PromoteResult {
			t.Helper()
			r, err := e.store.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 50})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := promote(); r.PromotedHolds != 1 || r.More || !r.NextDueAt.Equal(futureDue) ||
			!r.NextLeaseEnd.IsZero() {
			t.Errorf("%+v", r)
		}
		before := e.dumpRedis(timeNames)
		if r := promote(); r.PromotedHolds != 0 || r.More || !r.NextDueAt.Equal(futureDue) {
			t.Errorf("%+v", r)
		}
		if after := e.dumpRedis(timeNames); after != before {
			t.Errorf("unreadable records alone change Redis:\n%s\nbefore:\n%s", after, before)
		}
		addUnreadable(600)
		e.mustCommit(newScheduledWrite("pi_c", pastDue, nearDeadline))
		for more := true; more; {
			more = promote().More
		}
		if ready := e.rdb.ZCard(ctx, k+"ready:1:").Val(); ready != 2 {
			t.Errorf("%d holds are ready", ready)
		}
		due := strconv.FormatInt(time.Now().UnixMilli(), 10)
		if n := e.rdb.ZCount(ctx, k+"scheduled", "-inf", due).Val(); n != 256 {
			t.Errorf("%d unreadable holds are still due", n)
		}
	})
}

// More unreadable records than one batch, all due before the others, do not stop
// the deadlines of their partition.
func TestDueMilestones_SkipUnreadableRecords(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(newScheduledWrite("pi_a", pastDue, nearDeadline))
		for i := range 600 {
			id := fmt.Sprintf("pi_later_%d", i)
			e.rdb.HSet(t.Context(), "holdd:{0}:holds", id, "of a later release, in every byte")
			e.rdb.ZAdd(t.Context(), "holdd:{0}:expiring", scored(baseTime.Add(-time.Hour), id))
		}
		found, _, err := e.store.ListDueMilestones(t.Context(), 10)
		if !errors.Is(err, hold.ErrUnreadableRecord) || len(found) != 1 ||
			found[0].Hold.ID != "pi_a" {
			t.Errorf("found %d milestones, %v", len(found), err)
		}
	})
}
