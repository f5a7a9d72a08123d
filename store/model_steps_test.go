package store_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"pgregory.net/rapid"
)

func (m *storeModel) stepCommit(t *rapid.T) {
	var writes []hold.HoldWrite
	for _, id := range rapid.SliceOfNDistinct(modelIDs, 1, 5, rapid.ID).Draw(t, "ids") {
		writes = append(writes, m.drawWrite(t, id))
	}
	var want []bool
	for _, w := range writes {
		want = append(want, m.applyWrite(w))
	}
	for sent := range rapid.IntRange(1, 2).Draw(t, "times sent") { // again: its reply was lost
		results, err := m.store.Commit(m.Context(), writes)
		if err != nil || len(results) != len(want) {
			t.Fatalf("commit: %v, %v", results, err)
		}
		for i, r := range results {
			if r.IsCommitted() != want[i] || sent > 0 && r == hold.CommitWritten {
				t.Fatalf("commit %d: %v, should be %v\n%+v", sent, results, want, writes)
			}
		}
	}
}

func (m *storeModel) stepPromoteDue(t *rapid.T) {
	promote, limit := rapid.Bool().Draw(t, "promote"), rapid.IntRange(1, 4).Draw(t, "limit")
	d, err := m.store.PromoteDue(m.Context(), hold.PromoteRequest{Scheduled: promote, Holds: limit})
	if err != nil {
		t.Fatal(err)
	}
	var want hold.PromoteResult
	for p := range m.partitions {
		moveToReady := func(set func(*modelHold) time.Time) int {
			n := 0
			for _, h := range m.holdsIn(p, set) {
				if m.hasPassed(set(h)) && n < limit {
					h.scheduled, h.leased, h.ready = time.Time{}, time.Time{}, true
					n++
				}
			}
			return n
		}
		expired, promoted := moveToReady(leasedUntil), 0
		if promote {
			promoted = moveToReady(scheduledAt)
		}
		want.ExpiredLeases, want.PromotedHolds = want.ExpiredLeases+expired,
			want.PromotedHolds+promoted
		want.More = want.More || expired == limit || promoted == limit
	}
	if left := m.holdsIn(-1, scheduledAt); len(left) > 0 {
		want.NextDueAt = left[0].scheduled
	}
	if left := m.holdsIn(-1, leasedUntil); len(left) > 0 {
		want.NextLeaseEnd = left[0].leased
	}
	want.Lanes = m.wantLanes()
	for i := 1; i < len(d.Lanes); i++ {
		if d.Lanes[i].NearestDeadline.Before(d.Lanes[i-1].NearestDeadline) {
			t.Fatalf("lanes out of order: %+v", d.Lanes)
		}
	}
	slices.SortFunc(d.Lanes, compareLanes)
	if d.Now.IsZero() || d.Now.After(farFuture) {
		t.Fatalf("now is %v", d.Now)
	}
	d.Now = time.Time{}
	if !reflect.DeepEqual(d, want) {
		t.Fatalf("due (promote %t, %d):\n got %+v\nwant %+v", promote, limit, d, want)
	}
}

func compareLanes(a, b hold.ReadyHoldLane) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Op, b.Op),
		cmp.Compare(a.Account, b.Account))
}

// wantLanes returns the lanes that have ready holds, by name.
func (m *storeModel) wantLanes() []hold.ReadyHoldLane {
	found := map[hold.ReadyHoldLane]bool{}
	for id, h := range m.holds {
		if h.ready {
			found[hold.ReadyHoldLane{Partition: m.partition(id), Account: h.hold.Account,
				Op: h.hold.NextOp}] = true
		}
	}
	var out []hold.ReadyHoldLane
	for l := range found {
		in := m.holdsInLane(l)
		l.NearestDeadline, l.Ready = in[0].hold.ExpiresAt, len(in)
		out = append(out, l)
	}
	slices.SortFunc(out, compareLanes)
	return out
}

func (m *storeModel) stepClaim(t *rapid.T) {
	var shares []hold.ClaimShare
	named := map[hold.ReadyHoldLane]bool{}
	for range rapid.IntRange(1, 3).Draw(t, "shares") {
		s := m.drawShare(t)
		if s.Lane.NearestDeadline, s.Lane.Ready = (time.Time{}), 0; named[s.Lane] {
			continue
		}
		named[s.Lane] = true
		shares = append(shares, s)
	}
	// one that has ended, one that does not end
	lease := rapid.SampledFrom([]time.Duration{-time.Hour, 100 * 24 * time.Hour}).Draw(t, "lease")
	claims, err := m.store.ClaimReadyHolds(m.Context(), shares, lease)
	if err != nil {
		t.Fatal(err)
	}
	for i := range shares {
		want := m.applyClaim(t, &shares[i], &claims[i], lease)
		if !reflect.DeepEqual(claims[i], want) {
			t.Fatalf("claim of %+v:\n got %+v\nwant %+v", shares[i], claims[i], want)
		}
	}
}

// drawShare returns a share of a lane that has ready holds, if there is one.
func (m *storeModel) drawShare(t *rapid.T) hold.ClaimShare {
	l := hold.ReadyHoldLane{Partition: rapid.IntRange(0, m.partitions-1).Draw(t, "partition"),
		Op: hold.Op(rapid.IntRange(1, 3).Draw(t, "op")), Account: accounts.Draw(t, "account")}
	if all := m.wantLanes(); len(all) > 0 {
		l = rapid.SampledFrom(all).Draw(t, "lane")
	}
	s := hold.ClaimShare{Lane: l, Holds: rapid.IntRange(1, 4).Draw(t, "n")}
	if rapid.Bool().Draw(t, "bounded") {
		s.Until = instants.Draw(t, "until")
	}
	return s
}

// applyClaim claims the holds of a share in the model. It takes the times and
// the versions from what the store has claimed.
func (m *storeModel) applyClaim(
	t *rapid.T, s *hold.ClaimShare, got *hold.ClaimedShare, lease time.Duration,
) hold.ClaimedShare {
	now := got.LeasedAt
	want := hold.ClaimedShare{LeasedAt: now}
	for _, h := range m.holdsInLane(s.Lane) {
		if len(want.Claims) == s.Holds || !s.Until.IsZero() && h.hold.ExpiresAt.After(s.Until) {
			want.NearestDeadline = h.hold.ExpiresAt
			break
		}
		takenOver := h.hold.State == hold.Working
		if !takenOver {
			h.hold.PreviousState, h.hold.State, h.since = h.hold.State, hold.Working, now
		}
		if i := len(want.Claims); i < len(got.Claims) {
			if v := got.Claims[i].Hold.Version; v <= h.hold.Version {
				t.Fatalf("a claim's version is %d, before it was %d", v, h.hold.Version)
			}
			h.hold.Version = got.Claims[i].Hold.Version
		}
		h.ready, h.leased = false, now.Add(lease)
		want.Claims = append(want.Claims,
			hold.Claim{Hold: h.hold, Since: h.since, TakenOver: takenOver})
	}
	return want
}

func (m *storeModel) readDueSets(t *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(t, "n")
	expect := func(what string, set func(*modelHold) time.Time, upto time.Time,
		got []hold.HoldWithDueMilestone, err error) {
		var want []hold.HoldWithDueMilestone
		n := n
		if what == "unverified" { // n is about all partitions together
			n = (n + m.partitions - 1) / m.partitions
		}
		for p := range m.partitions {
			in := m.holdsIn(p, set)
			for _, h := range in[:min(n, len(in))] {
				if !set(h).After(upto) {
					want = append(want, hold.HoldWithDueMilestone{Hold: h.hold, DueAt: set(h)})
				}
			}
		}
		if what == "unverified" {
			slices.SortStableFunc(want, func(a, b hold.HoldWithDueMilestone) int {
				return a.DueAt.Compare(b.DueAt)
			})
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v\n got %+v\nwant %+v", what, err, got, want)
		}
	}
	ctx := m.Context()
	found, _, err := m.store.ListDueMilestones(ctx, n)
	expect("milestones", milestoneAt, farFuture.Add(-time.Hour), found, err)
	next := time.Time{}
	if in := m.holdsIn(-1, milestoneAt); len(in) > 0 {
		next = in[0].milestone
	}
	if got, err := m.store.ReadNextMilestone(ctx); err != nil || !got.Equal(next) {
		t.Fatalf("next milestone: %v, %v, want %v", got, err, next)
	}
	found, _, err = m.store.ListUnverifiedHolds(ctx, n)
	expect("unverified", verifyAt, farFuture.Add(1000*time.Hour), found, err)
	before := instants.Draw(t, "before")
	found, _, err = m.store.ListHoldsSettledBefore(ctx, before, &hold.SettledCursor{}, n)
	expect("settled", settledAt, before, found, err)
}

func (m *storeModel) advanceMilestones(t *rapid.T) {
	var advances []hold.MilestoneWrite
	var want []bool
	for range rapid.IntRange(1, 4).Draw(t, "advances") {
		advance := hold.MilestoneWrite{ID: modelIDs.Draw(t, "id"), From: instants.Draw(t, "was"),
			To: instants.Draw(t, "new")}
		h := m.holds[advance.ID]
		if h != nil && rapid.Bool().Draw(t, "right") {
			advance.From = h.milestone
		}
		m.eventCount++
		advance.Events = [][]byte{fmt.Appendf(nil, "event %d", m.eventCount)}
		if h != nil && rapid.IntRange(0, 3).Draw(t, "current") > 0 {
			advance.Version = h.hold.Version
		} else {
			advance.Version = rapid.Uint64Range(0, 3).Draw(t, "version")
		}
		ok := h != nil && !h.milestone.IsZero() && h.milestone.Equal(advance.From) &&
			h.hold.Version == advance.Version
		if ok {
			h.milestone = advance.To
			m.events = append(m.events, string(advance.Events[0]))
		}
		advances, want = append(advances, advance), append(want, ok)
	}
	if got, err := m.store.AdvanceMilestones(m.Context(), advances); err != nil ||
		!slices.Equal(got, want) {
		t.Fatalf("advance: %v, %v, should be %v\n%+v", got, err, want, advances)
	}
}

// stepPage reads a whole set, a few holds at a time, from the beginning or from
// a position.
func (m *storeModel) stepPage(t *rapid.T) {
	sets := map[hold.SortedSet]func(*modelHold) time.Time{
		hold.SetScheduled: scheduledAt, hold.SetExpiring: milestoneAt, hold.SetWorking: leasedUntil,
		hold.SetAttention: attentionAt, hold.SetSettled: settledAt,
		hold.SetDoubleHeld: doubleHeldSince,
	}
	set := rapid.SampledFrom([]hold.SortedSet{hold.SetScheduled, hold.SetExpiring,
		hold.SetWorking, hold.SetAttention, hold.SetSettled, hold.SetReferences,
		hold.SetDoubleHeld}).Draw(t, "set")
	n := rapid.IntRange(1, 3).Draw(t, "n")
	var after hold.SortedSetPosition
	var want, got []string
	if key := sets[set]; key != nil {
		for _, h := range m.holdsIn(-1, key) {
			want = append(want, h.hold.ID)
		}
		if set == hold.SetSettled {
			slices.Reverse(want)
		}
	} else {
		after.Member = references.Draw(t, "from")
		var members []string
		for id, h := range m.holds {
			if h.hold.Reference != "" && h.hold.Reference+"\x00" > after.Member {
				members = append(members, h.hold.Reference+"\x00"+id)
			}
		}
		slices.Sort(members)
		for _, member := range members {
			want = append(want, member[strings.IndexByte(member, 0)+1:])
		}
	}
	for len(got) <= len(m.holds) {
		listed, _, err := m.store.ReadSortedSetPage(m.Context(), set, after, n)
		if err != nil || len(listed) > n {
			t.Fatalf("page of %d: %d, %v", n, len(listed), err)
		}
		for _, l := range listed {
			if h := m.holds[l.Hold.ID]; h == nil || !reflect.DeepEqual(l.Hold, h.hold) {
				t.Fatalf("listed %+v, which is %+v", l.Hold, h)
			}
			got = append(got, l.Hold.ID)
			after = l.Position
		}
		if len(listed) < n {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("set %d in pages of %d: %v, should be %v", set, n, got, want)
	}
}

// checkState compares the whole state of the store with the model.
func (m *storeModel) checkState(t *rapid.T) {
	var names []string
	want := hold.HoldCounts{}
	for id := range m.holds {
		names = append(names, id)
	}
	names = append(names, "pi_never")
	holds, _, err := m.store.ReadHolds(m.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range names {
		if h := m.holds[id]; (h == nil) != (holds[i] == nil) || h != nil &&
			!reflect.DeepEqual(*holds[i], h.hold) {
			t.Fatalf("%s is %+v, should be %+v", id, holds[i], h)
		}
	}
	for set, n := range map[*int64]func(*modelHold) time.Time{
		&want.Open: milestoneAt, &want.Scheduled: scheduledAt, &want.Working: leasedUntil,
		&want.Attention: attentionAt, &want.Settled: settledAt, &want.Unverified: verifyAt,
	} {
		*set = int64(len(m.holdsIn(-1, n)))
	}
	for _, h := range m.holds {
		if h != nil && h.ready {
			want.Ready++
		}
	}
	if got, err := m.store.CountHolds(m.Context()); err != nil || got != want {
		t.Fatalf("counts: %+v, %v, should be %+v", got, err, want)
	}
	got, published := m.testStore.publishedEvents(m.partitions), slices.Clone(m.events)
	slices.Sort(got)
	slices.Sort(published)
	if !slices.Equal(got, published) {
		t.Fatalf("events: %v, should be %v", got, published)
	}
}
