package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
)

func captureLaneOf(account string) hold.ReadyHoldLane {
	return hold.ReadyHoldLane{Op: hold.OpCapture, Account: account}
}

// One call claims from many lanes, each within its own bounds.
func TestClaim_ManyLanes(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		for _, account := range []string{"", "acct_a", "acct_b"} {
			for i := range 3 {
				e.mustCommit(newReadyWrite(fmt.Sprintf("pi_%s%d", account, i), hold.OpCapture,
					account, nearDeadline.Add(time.Duration(i)*time.Hour)))
			}
		}
		claims, err := e.store.ClaimReadyHolds(t.Context(), []hold.ClaimShare{
			{Lane: captureLaneOf("acct_b"), Holds: 2},
			{Lane: captureLaneOf("acct_none"), Holds: 2},
			{Lane: captureLaneOf("acct_a"), Holds: 3, Until: nearDeadline},
			{Lane: hold.ReadyHoldLane{Op: hold.OpCancel}, Holds: 0},
			{Lane: captureLaneOf(""), Holds: 9},
		}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []struct {
			ids      []string
			nearest  time.Time
			answered bool
		}{
			{[]string{"pi_acct_b0", "pi_acct_b1"}, nearDeadline.Add(2 * time.Hour), true},
			{[]string{}, time.Time{}, true},
			{[]string{"pi_acct_a0"}, nearDeadline.Add(time.Hour), true},
			{[]string{}, time.Time{}, false}, // no hold was asked for
			{[]string{"pi_0", "pi_1", "pi_2"}, time.Time{}, true},
		} {
			c := &claims[i]
			if !slices.Equal(claimedIDs(c.Claims), want.ids) ||
				!c.NearestDeadline.Equal(want.nearest) || c.LeasedAt.IsZero() == want.answered {
				t.Errorf("share %d: %v, nearest left %s, leased at %s", i,
					claimedIDs(c.Claims), c.NearestDeadline, c.LeasedAt)
			}
		}
		lanes := e.mustPromoteDue(false).Lanes
		if len(lanes) != 2 || lanes[0].Account != "acct_a" || lanes[0].Ready != 2 ||
			lanes[1].Account != "acct_b" || lanes[1].Ready != 1 {
			t.Errorf("left: %+v", lanes)
		}
		e.checkInvariants(1)
	})
}

// A second share of a lane in the same call claims nothing: no hold is claimed
// twice.
func TestClaim_SecondShareOfLane(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline),
			newReadyWrite("pi_b", hold.OpCapture, "", nearDeadline))
		share := hold.ClaimShare{Lane: captureLane, Holds: 1}
		claims, err := e.store.ClaimReadyHolds(t.Context(), []hold.ClaimShare{share, share},
			time.Minute)
		if err != nil || len(claims[0].Claims) != 1 || len(claims[1].Claims) != 0 {
			t.Errorf("claimed %v and %v, %v", claimedIDs(claims[0].Claims),
				claimedIDs(claims[1].Claims), err)
		}
		if lanes := e.mustPromoteDue(false).Lanes; len(lanes) != 1 || lanes[0].Ready != 1 {
			t.Errorf("left: %+v", lanes)
		}
		e.checkInvariants(1)
	})
}

// More lanes and holds than one script call takes need several calls, in
// several partitions.
func TestClaim_DividesIntoCalls(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			t.Parallel()
			e := startRedis(t, store.Options{Partitions: partitions})
			const accounts, each = 300, 2
			var writes []hold.HoldWrite
			for i := range accounts * each {
				writes = append(writes, newReadyWrite(fmt.Sprintf("pi_%d", i), hold.OpCapture,
					fmt.Sprintf("acct_%d", i%accounts), nearDeadline))
			}
			e.mustCommit(writes...)
			var shares []hold.ClaimShare
			for _, lane := range e.mustPromoteDue(false).Lanes {
				shares = append(shares, hold.ClaimShare{Lane: lane, Holds: lane.Ready})
			}
			claims, err := e.store.ClaimReadyHolds(t.Context(), shares, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			claimed := map[string]bool{}
			for i := range claims {
				if got := claims[i].Claims; len(got) != shares[i].Lane.Ready {
					t.Errorf("%d holds of %+v", len(got), shares[i].Lane)
				}
				for _, c := range claims[i].Claims {
					if claimed[c.Hold.ID] || c.Hold.Account != shares[i].Lane.Account {
						t.Errorf("%s is claimed twice or in the wrong lane", c.Hold.ID)
					}
					claimed[c.Hold.ID] = true
				}
			}
			if len(claimed) != accounts*each {
				t.Errorf("claimed %d holds, want %d", len(claimed), accounts*each)
			}
			e.checkInvariants(partitions)
		})
	}
}

// PromoteDue lists the lanes with the nearest deadlines. Lanes to skip hide none
// behind them.
func TestPromoteDue_SkipsLanes(t *testing.T) {
	t.Parallel()
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		const accounts = 10
		lane := func(i int) hold.ReadyHoldLane { return captureLaneOf(fmt.Sprintf("acct_%d", i)) }
		for i := range accounts {
			e.mustCommit(newReadyWrite(fmt.Sprintf("pi_%d", i), hold.OpCapture, lane(i).Account,
				nearDeadline.Add(time.Duration(i)*time.Hour)))
		}
		for _, tt := range []struct {
			lanes int
			skip  []int
			want  []int
			more  bool
		}{
			{lanes: 3, want: []int{0, 1, 2}, more: true},
			{lanes: 3, skip: []int{0, 1, 2, 4}, want: []int{3, 5, 6}, more: true},
			{lanes: 3, skip: []int{0, 1, 2, 3, 4, 5, 6}, want: []int{7, 8, 9}},
			{lanes: 3, skip: []int{9}, want: []int{0, 1, 2}, more: true},
			{lanes: 10, want: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{lanes: 10, skip: []int{0}, want: []int{1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{lanes: 2, skip: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		} {
			r := hold.PromoteRequest{Holds: 10, Lanes: tt.lanes}
			for _, i := range tt.skip {
				r.SkipLanes = append(r.SkipLanes, lane(i))
			}
			due, err := e.store.PromoteDue(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, l := range due.Lanes {
				got = append(got, l.Account)
			}
			for _, i := range tt.want {
				want = append(want, lane(i).Account)
			}
			if !slices.Equal(got, want) || due.MoreLanes != tt.more {
				t.Errorf("%+v: listed %v, more %t", tt, got, due.MoreLanes)
			}
		}
	})
}

// A Redis that does not have a script yet gets its source once, however many
// calls the pipeline has.
func TestReserve_SendsSourceOnce(t *testing.T) {
	t.Parallel()
	e := startRedis(t, store.Options{Rates: store.RateLimitOptions{Write: 5}})
	e.rdb.ScriptFlush(t.Context())
	e.rdb.ConfigResetStat(t.Context())
	wants := make([]hold.BudgetRequest, 100)
	for i := range wants {
		wants[i] = hold.BudgetRequest{Account: fmt.Sprintf("acct_%d", i), Op: hold.OpCapture,
			Requests: 1}
	}
	reserved, err := e.store.ReserveRequests(t.Context(), wants...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range reserved {
		if r.Requests != 1 {
			t.Errorf("account %d: %+v", i, r)
		}
	}
	stats := e.rdb.Info(t.Context(), "commandstats").Val()
	if !strings.Contains(stats, "cmdstat_eval:calls=1,") {
		t.Errorf("the source was not sent once:\n%s", stats)
	}
}

// A failover can lose a claim and set the clock back, so that the hold is
// claimed again in the same millisecond. The claims have different versions.
func TestClaim_SameMillisecondHasAnotherVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var versions []uint64
		for range 2 { // before the failover, and after it
			m := storetest.StartInProcess(t)
			s := mustOpen(t, store.Options{URL: m.URL(), Dialer: m.Dial})
			w := newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline)
			if ok, err := s.Commit(t.Context(), []hold.HoldWrite{w}); err != nil ||
				!ok[0].IsCommitted() {
				t.Fatal(ok, err)
			}
			time.Sleep(100 * time.Microsecond) // in the bubble: within one millisecond
			claims, err := s.ClaimReadyHolds(t.Context(),
				[]hold.ClaimShare{{Lane: captureLane, Holds: 1}},
				time.Minute)
			if err != nil || len(claims[0].Claims) != 1 {
				t.Fatal(claims, err)
			}
			versions = append(versions, claims[0].Claims[0].Hold.Version)
		}
		if versions[0] == versions[1] {
			t.Errorf("both claims have version %d", versions[0])
		}
	})
}
