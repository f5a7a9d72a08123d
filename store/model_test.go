package store_test

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
	"pgregory.net/rapid"
)

// modelled is what the model keeps of one hold. The model's times are far from now, so that Redis' clock doesn't matter: a
// time has come, or it won't come during the test.
type modelled struct {
	hold      hold.Hold
	since     time.Time
	scheduled time.Time // in one of scheduled, leased, ready, or in none
	leased    time.Time
	ready     bool
	milestone time.Time
	settled   time.Time
	attention time.Time
	verify    time.Time
}

// model is the store as it should be, written for being read, not for speed.
type model struct {
	*env
	partitions int
	holds      map[string]*modelled
	published  []string // in order, all partitions together
	n          int      // events made so far
}

// partition is a promise: were it another, an upgrade would look for holds in the wrong place.
func (m *model) partition(id string) int {
	f := fnv.New32a()
	f.Write([]byte(id))
	return int(f.Sum32() % uint32(m.partitions))
}

func (m *model) come(t time.Time) bool { return !t.IsZero() && t.Before(later) }

// in lists the holds of a partition (or of all: -1) that are in a set, by score, then by name.
func (m *model) in(p int, set func(*modelled) time.Time) []*modelled {
	var out []*modelled
	for id, h := range m.holds {
		if (p < 0 || m.partition(id) == p) && !set(h).IsZero() {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *modelled) int {
		return cmp.Or(set(a).Compare(set(b)), cmp.Compare(a.hold.ID, b.hold.ID))
	})
	return out
}

func scheduledAt(h *modelled) time.Time { return h.scheduled }
func leasedTo(h *modelled) time.Time    { return h.leased }
func milestone(h *modelled) time.Time   { return h.milestone }
func settledAt(h *modelled) time.Time   { return h.settled }
func attention(h *modelled) time.Time   { return h.attention }
func verify(h *modelled) time.Time      { return h.verify }

func (m *model) lane(l hold.Lane) []*modelled {
	return m.in(l.Partition, func(h *modelled) time.Time {
		if !h.ready || h.hold.Next != l.Op || h.hold.Account != l.Account {
			return time.Time{}
		}
		return h.hold.ExpiresAt
	})
}

// write is what Commit should do.
func (m *model) write(w hold.Write) bool {
	h := m.holds[w.Hold.ID]
	switch {
	case w.Drop && h == nil:
		return true
	case w.Version == 0 && h != nil, w.Version != 0 && (h == nil || h.hold.Version != w.Version):
		return false
	}
	for _, e := range w.Events {
		m.published = append(m.published, string(e))
	}
	if w.Drop {
		delete(m.holds, w.Hold.ID)
		return true
	}
	was := time.Time{}
	if h != nil {
		was = h.milestone
	}
	p := w.Place
	n := &modelled{hold: w.Hold, milestone: p.Milestone, settled: p.Settled, verify: p.Verify}
	n.hold.Version = w.Version + 1
	if p.Keep || p.Overdue && m.come(was) && was.Before(p.Milestone) {
		n.milestone = was
	}
	if p.Attention {
		n.attention = w.Hold.ExpiresAt
	}
	switch {
	case p.Due.IsZero():
	case p.Ready:
		n.ready = true
	case p.Pressing:
		n.leased = p.Due
	default:
		n.scheduled = p.Due
	}
	m.holds[w.Hold.ID] = n
	return true
}

var (
	modelIDs   = rapid.SampledFrom([]string{"pi_a", "pi_b", "pi_c", "pi_d", "pi_e", "pi_f", "pi_ab", "pi_abc"})
	references = rapid.SampledFrom([]string{"", "", "BK", "BK-1", "BK-10", "BK-2", "BK-é", "é", "\x01", "\xff"})
	accounts   = rapid.SampledFrom([]string{"", "acct_a", "acct_b"})
	// Few different times, so that many are equal; half of them have come.
	times = rapid.Custom(func(t *rapid.T) time.Time {
		base := at
		if rapid.Bool().Draw(t, "later") {
			base = later
		}
		return base.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "hours")) * time.Hour)
	})
)

// draw makes a write to a hold: as often as not on the right version, with some place.
func (m *model) draw(t *rapid.T, id string) hold.Write {
	w := hold.Write{Hold: scheduled(id, at, times.Draw(t, "deadline")).Hold}
	if h := m.holds[id]; h != nil {
		w.Hold, w.Version, w.Was = h.hold, h.hold.Version, h.hold.Reference
		w.Drop = rapid.IntRange(0, 5).Draw(t, "drop") == 0
	}
	if rapid.IntRange(0, 7).Draw(t, "stale") == 0 {
		w.Version = rapid.Uint64Range(0, 3).Draw(t, "version")
	}
	w.Hold.Reference, w.Hold.Account, w.Hold.Revision = references.Draw(t, "reference"), accounts.Draw(t, "account"), rapid.Uint64Range(1, 3).Draw(t, "revision")
	w.Hold.ExpiresAt, w.Hold.Prior = times.Draw(t, "deadline"), 0
	w.Hold.State = rapid.SampledFrom([]hold.State{hold.Waiting, hold.Scheduled, hold.Scheduled, hold.Working, hold.Attention, hold.Captured}).Draw(t, "state")
	w.Hold.Next = hold.Op(rapid.IntRange(1, 3).Draw(t, "op"))
	w.Hold.NextAt = times.Draw(t, "next")
	w.Place = hold.Placement{Milestone: times.Draw(t, "milestone")}
	switch w.Hold.State {
	case hold.Captured:
		w.Hold.Next, w.Hold.NextAt, w.Hold.SettledAt = 0, time.Time{}, times.Draw(t, "end")
		w.Place = hold.Placement{Settled: w.Hold.SettledAt}
	case hold.Waiting, hold.Attention:
		w.Hold.Next, w.Hold.NextAt = 0, time.Time{}
		w.Place.Attention = w.Hold.State == hold.Attention
	default:
		w.Place.Due, w.Place.Ready = w.Hold.NextAt, rapid.Bool().Draw(t, "ready")
		w.Place.Pressing = w.Hold.State == hold.Working
	}
	if !w.Hold.State.Final() {
		// An open hold always has a milestone: what stays must be there.
		if h := m.holds[id]; h != nil && !h.milestone.IsZero() {
			w.Place.Keep = rapid.Bool().Draw(t, "keep")
		}
		w.Place.Overdue = !w.Place.Keep && rapid.Bool().Draw(t, "overdue")
		if rapid.Bool().Draw(t, "unverified") {
			w.Place.Verify = times.Draw(t, "verify")
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "events") {
		m.n++
		w.Events = append(w.Events, fmt.Appendf(nil, "event %d", m.n))
	}
	return w
}

func (m *model) commit(t *rapid.T) {
	var writes []hold.Write
	for _, id := range rapid.SliceOfNDistinct(modelIDs, 1, 5, rapid.ID).Draw(t, "ids") {
		writes = append(writes, m.draw(t, id))
	}
	var want []bool
	for _, w := range writes {
		want = append(want, m.write(w))
	}
	for range rapid.IntRange(1, 2).Draw(t, "times sent") { // again: its reply was lost
		ok, err := m.s.Commit(m.Context(), writes)
		if err != nil || !slices.Equal(ok, want) {
			t.Fatalf("commit: %v, %v, should be %v\n%+v", ok, err, want, writes)
		}
	}
}

func (m *model) due(t *rapid.T) {
	promote, limit := rapid.Bool().Draw(t, "promote"), rapid.IntRange(1, 4).Draw(t, "limit")
	d, err := m.s.Due(m.Context(), promote, limit)
	if err != nil {
		t.Fatal(err)
	}
	var want hold.Due
	for p := range m.partitions {
		move := func(set func(*modelled) time.Time) int {
			n := 0
			for _, h := range m.in(p, set) {
				if m.come(set(h)) && n < limit {
					h.scheduled, h.leased, h.ready = time.Time{}, time.Time{}, true
					n++
				}
			}
			return n
		}
		taken, promoted := move(leasedTo), 0
		if promote {
			promoted = move(scheduledAt)
			if left := m.in(p, scheduledAt); len(left) > 0 && (want.Next.IsZero() || left[0].scheduled.Before(want.Next)) {
				want.Next = left[0].scheduled
			}
		}
		want.TakenOver, want.Promoted = want.TakenOver+taken, want.Promoted+promoted
		want.More = want.More || taken == limit || promoted == limit
	}
	want.Lanes = m.lanes()
	for i := 1; i < len(d.Lanes); i++ {
		if d.Lanes[i].Head.Before(d.Lanes[i-1].Head) {
			t.Fatalf("lanes out of order: %+v", d.Lanes)
		}
	}
	slices.SortFunc(d.Lanes, compareLanes)
	if d.Now.IsZero() || d.Now.After(later) {
		t.Fatalf("now is %v", d.Now)
	}
	d.Now = time.Time{}
	if !reflect.DeepEqual(d, want) {
		t.Fatalf("due (promote %t, %d):\n got %+v\nwant %+v", promote, limit, d, want)
	}
}

func compareLanes(a, b hold.Lane) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Account, b.Account))
}

// lanes are those that have work, by name.
func (m *model) lanes() []hold.Lane {
	found := map[hold.Lane]bool{}
	for id, h := range m.holds {
		if h.ready {
			found[hold.Lane{Partition: m.partition(id), Account: h.hold.Account, Op: h.hold.Next}] = true
		}
	}
	var out []hold.Lane
	for l := range found {
		in := m.lane(l)
		l.Head, l.Ready = in[0].hold.ExpiresAt, len(in)
		out = append(out, l)
	}
	slices.SortFunc(out, compareLanes)
	return out
}

func (m *model) claim(t *rapid.T) {
	l := hold.Lane{Partition: rapid.IntRange(0, m.partitions-1).Draw(t, "partition"), Op: hold.Op(rapid.IntRange(1, 3).Draw(t, "op")), Account: accounts.Draw(t, "account")}
	if all := m.lanes(); len(all) > 0 {
		l = rapid.SampledFrom(all).Draw(t, "lane")
	}
	n, before := rapid.IntRange(1, 4).Draw(t, "n"), time.Time{}
	if rapid.Bool().Draw(t, "bounded") {
		before = times.Draw(t, "before")
	}
	lease := rapid.SampledFrom([]time.Duration{-time.Hour, 100 * 24 * time.Hour}).Draw(t, "lease") // one that has run out, one that won't
	claims, now, err := m.s.Claim(m.Context(), l, n, lease, before)
	if err != nil {
		t.Fatal(err)
	}
	var want []hold.Claim
	for _, h := range m.lane(l) {
		if len(want) == n || !before.IsZero() && h.hold.ExpiresAt.After(before) {
			break
		}
		takenOver := h.hold.State == hold.Working
		if !takenOver {
			h.hold.Prior, h.hold.State, h.since = h.hold.State, hold.Working, now
		}
		if i := len(want); i < len(claims) {
			if v := claims[i].Hold.Version; v <= h.hold.Version {
				t.Fatalf("a claim's version is %d, before it was %d", v, h.hold.Version)
			}
			h.hold.Version = claims[i].Hold.Version
		}
		h.ready, h.leased = false, now.Add(lease)
		want = append(want, hold.Claim{Hold: h.hold, Since: h.since, TakenOver: takenOver})
	}
	if !reflect.DeepEqual(claims, want) {
		t.Fatalf("claim of %+v:\n got %+v\nwant %+v", l, claims, want)
	}
}

func (m *model) sweeps(t *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(t, "n")
	expect := func(what string, set func(*modelled) time.Time, upto time.Time, got []hold.Milestone, err error) {
		var want []hold.Milestone
		for p := range m.partitions {
			in := m.in(p, set)
			for _, h := range in[:min(n, len(in))] {
				if !set(h).After(upto) {
					want = append(want, hold.Milestone{Hold: h.hold, Due: set(h)})
				}
			}
		}
		if what == "unverified" {
			slices.SortStableFunc(want, func(a, b hold.Milestone) int { return a.Due.Compare(b.Due) })
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v\n got %+v\nwant %+v", what, err, got, want)
		}
	}
	ctx := m.Context()
	found, _, err := m.s.Milestones(ctx, n)
	expect("milestones", milestone, later.Add(-time.Hour), found, err)
	found, _, err = m.s.Unverified(ctx, n)
	expect("unverified", verify, later.Add(1000*time.Hour), found, err)
	before := times.Draw(t, "before")
	found, err = m.s.Settled(ctx, before, n)
	expect("settled", settledAt, before, found, err)
}

func (m *model) touch(t *rapid.T) {
	var touches []hold.Touch
	var want []bool
	for range rapid.IntRange(1, 4).Draw(t, "touches") {
		touch := hold.Touch{ID: modelIDs.Draw(t, "id"), Was: times.Draw(t, "was"), New: times.Draw(t, "new")}
		h := m.holds[touch.ID]
		if h != nil && rapid.Bool().Draw(t, "right") {
			touch.Was = h.milestone
		}
		m.n++
		touch.Events = [][]byte{fmt.Appendf(nil, "event %d", m.n)}
		ok := h != nil && !h.milestone.IsZero() && h.milestone.Equal(touch.Was)
		if ok {
			h.milestone = touch.New
			m.published = append(m.published, string(touch.Events[0]))
		}
		touches, want = append(touches, touch), append(want, ok)
	}
	if got, err := m.s.Touch(m.Context(), touches); err != nil || !slices.Equal(got, want) {
		t.Fatalf("touch: %v, %v, should be %v\n%+v", got, err, want, touches)
	}
}

// page walks through a whole set, a few at a time, from the beginning or from somewhere.
func (m *model) page(t *rapid.T) {
	sets := map[hold.Set]func(*modelled) time.Time{
		hold.SetScheduled: scheduledAt, hold.SetExpiring: milestone, hold.SetWorking: leasedTo, hold.SetAttention: attention, hold.SetSettled: settledAt,
	}
	set := hold.Set(rapid.IntRange(1, 6).Draw(t, "set"))
	n := rapid.IntRange(1, 3).Draw(t, "n")
	var after hold.Mark
	var want, got []string
	if key := sets[set]; key != nil {
		for _, h := range m.in(-1, key) {
			want = append(want, h.hold.ID)
		}
		if set == hold.SetSettled {
			slices.Reverse(want)
		}
	} else {
		after.Name = references.Draw(t, "from")
		var members []string
		for id, h := range m.holds {
			if h.hold.Reference != "" && h.hold.Reference+"\x00" > after.Name {
				members = append(members, h.hold.Reference+"\x00"+id)
			}
		}
		slices.Sort(members)
		for _, member := range members {
			want = append(want, member[strings.IndexByte(member, 0)+1:])
		}
	}
	for {
		listed, _, err := m.s.Page(m.Context(), set, after, n)
		if err != nil || len(listed) > n {
			t.Fatalf("page of %d: %d, %v", n, len(listed), err)
		}
		for _, l := range listed {
			if h := m.holds[l.Hold.ID]; h == nil || !reflect.DeepEqual(l.Hold, h.hold) {
				t.Fatalf("listed %+v, which is %+v", l.Hold, h)
			}
			got = append(got, l.Hold.ID)
			after = l.Mark
		}
		if len(listed) < n {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("set %d in pages of %d: %v, should be %v", set, n, got, want)
	}
}

// check compares everything that can be read after each step.
func (m *model) check(t *rapid.T) {
	var names []string
	want := hold.Counts{}
	for id := range m.holds {
		names = append(names, id)
	}
	names = append(names, "pi_never")
	holds, _, err := m.s.Read(m.Context(), names...)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range names {
		if h := m.holds[id]; (h == nil) != (holds[i] == nil) || h != nil && !reflect.DeepEqual(*holds[i], h.hold) {
			t.Fatalf("%s is %+v, should be %+v", id, holds[i], h)
		}
	}
	for set, n := range map[*int64]func(*modelled) time.Time{
		&want.Open: milestone, &want.Scheduled: scheduledAt, &want.Working: leasedTo, &want.Attention: attention, &want.Settled: settledAt, &want.Unverified: verify,
	} {
		*set = int64(len(m.in(-1, n)))
	}
	if got, err := m.s.Counts(m.Context()); err != nil || got != want {
		t.Fatalf("counts: %+v, %v, should be %+v", got, err, want)
	}
	got, published := m.env.events(m.partitions), slices.Clone(m.published)
	slices.Sort(got)
	slices.Sort(published)
	if !slices.Equal(got, published) {
		t.Fatalf("events: %v, should be %v", got, published)
	}
}

func TestStoreIsItsModel(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 7} {
		for name, open := range map[string]func(testing.TB, store.Options) *env{
			"redis":     func(t testing.TB, o store.Options) *env { return onReal(t, o) },
			"miniredis": inProcess,
		} {
			t.Run(fmt.Sprintf("%s/%d", name, partitions), func(t *testing.T) {
				t.Parallel()
				e := open(t, store.Options{Partitions: partitions})
				rapid.Check(t, func(rt *rapid.T) {
					if err := e.rdb.FlushDB(t.Context()).Err(); err != nil {
						rt.Fatal(err)
					}
					m := &model{env: &env{TB: t, s: e.s, rdb: e.rdb}, partitions: partitions, holds: map[string]*modelled{}}
					rt.Repeat(map[string]func(*rapid.T){
						"": m.check, "commit": m.commit, "change": m.commit, "due": m.due, "claim": m.claim, "take": m.claim,
						"sweeps": m.sweeps, "touch": m.touch, "page": m.page,
					})
					m.invariants(partitions)
				})
			})
		}
	}
}
