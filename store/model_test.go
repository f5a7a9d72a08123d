package store_test

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
	"pgregory.net/rapid"
)

// modelHold is a hold in the model. Its times are in the distant past or
// future, so that none of them passes during the test.
type modelHold struct {
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

// storeModel is a simple model of the store.
type storeModel struct {
	*testStore
	partitions int
	holds      map[string]*modelHold
	events     []string          // in order, all partitions together
	dumps      map[string]string // of the keys that replicas poll; nil on miniredis
	changes    []int64           // the counters of the partitions
	eventCount int               // events made so far
}

// partition must never change: after an upgrade, holdd would not find its
// holds.
func (m *storeModel) partition(id string) int {
	f := fnv.New32a()
	f.Write([]byte(id))
	return int(f.Sum32() % uint32(m.partitions))
}

func (m *storeModel) hasPassed(t time.Time) bool { return !t.IsZero() && t.Before(farFuture) }

// holdsIn lists the holds of a partition (of all: -1) that are in a set, by
// score, then by name.
func (m *storeModel) holdsIn(p int, set func(*modelHold) time.Time) []*modelHold {
	var out []*modelHold
	for id, h := range m.holds {
		if (p < 0 || m.partition(id) == p) && !set(h).IsZero() {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *modelHold) int {
		return cmp.Or(set(a).Compare(set(b)), cmp.Compare(a.hold.ID, b.hold.ID))
	})
	return out
}

func scheduledAt(h *modelHold) time.Time { return h.scheduled }
func leasedUntil(h *modelHold) time.Time { return h.leased }
func milestoneAt(h *modelHold) time.Time { return h.milestone }
func settledAt(h *modelHold) time.Time   { return h.settled }
func attentionAt(h *modelHold) time.Time { return h.attention }
func doubleHeldSince(h *modelHold) time.Time {
	since, _ := h.hold.Renewal.OverlapSince()
	return since
}
func verifyAt(h *modelHold) time.Time { return h.verify }

func (m *storeModel) holdsInLane(l hold.ReadyHoldLane) []*modelHold {
	return m.holdsIn(l.Partition, func(h *modelHold) time.Time {
		if !h.ready || h.hold.NextOp != l.Op || h.hold.Account != l.Account {
			return time.Time{}
		}
		return h.hold.ExpiresAt
	})
}

// applyWrite applies a write to the model as Commit must.
func (m *storeModel) applyWrite(w hold.HoldWrite) bool {
	h := m.holds[w.Hold.ID]
	same := w.Hold
	same.Version = w.Version + 1
	switch {
	case h != nil && !w.Drop && h.since.IsZero() && reflect.DeepEqual(h.hold, same):
		// the record is in place already: its reply was lost, or another writer
		// wrote the same
		return true
	case w.Drop && h == nil:
		return true
	case w.Version == 0 && h != nil, w.Version != 0 && (h == nil || h.hold.Version != w.Version):
		return false
	}
	for _, e := range w.Events {
		m.events = append(m.events, string(e))
	}
	if w.Drop {
		delete(m.holds, w.Hold.ID)
		return true
	}
	previousMilestone := time.Time{}
	if h != nil {
		previousMilestone = h.milestone
	}
	p := w.Placement
	n := &modelHold{hold: w.Hold, milestone: p.NextMilestone,
		settled: p.SettledAt, verify: p.VerifyAt}
	n.hold.Version = w.Version + 1
	if p.KeepMilestone || p.KeepOverdueMilestone && m.hasPassed(previousMilestone) &&
		previousMilestone.Before(p.NextMilestone) {
		n.milestone = previousMilestone
	}
	if p.KeepOverdueMilestone && m.hasPassed(previousMilestone) && !p.UnwarnedBy.IsZero() &&
		!previousMilestone.After(p.UnwarnedBy) && p.UnwarnedAt.Before(previousMilestone) {
		n.milestone = p.UnwarnedAt
	}
	if p.NeedsAttention {
		n.attention = w.Hold.ExpiresAt
	}
	switch {
	case p.DueAt.IsZero():
	case p.Ready:
		n.ready = true
	case p.Urgent:
		n.leased = p.DueAt
	default:
		n.scheduled = p.DueAt
	}
	m.holds[w.Hold.ID] = n
	return true
}

var (
	modelIDs = rapid.SampledFrom([]string{"pi_a", "pi_b", "pi_c", "pi_d", "pi_e",
		"pi_f", "pi_ab", "pi_abc"})
	references = rapid.SampledFrom([]string{"", "", "BK", "BK-1", "BK-10", "BK-2",
		"BK-é", "é", "\x01", "\xff"})
	accounts = rapid.SampledFrom([]string{"", "acct_a", "acct_b"})
	// A few times, so that many are equal. Half of them are in the past.
	instants = rapid.Custom(func(t *rapid.T) time.Time {
		base := baseTime
		if rapid.Bool().Draw(t, "later") {
			base = farFuture
		}
		return base.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "hours")) * time.Hour)
	})
)

// drawWrite draws a write to a hold, about half of the time on the right
// version.
func (m *storeModel) drawWrite(t *rapid.T, id string) hold.HoldWrite {
	w := hold.HoldWrite{Hold: newScheduledWrite(id, baseTime, instants.Draw(t, "deadline")).Hold}
	if h := m.holds[id]; h != nil {
		w.Hold, w.Version, w.PreviousReference = h.hold, h.hold.Version, h.hold.Reference
		w.Drop = rapid.IntRange(0, 5).Draw(t, "drop") == 0
	}
	if rapid.IntRange(0, 7).Draw(t, "stale") == 0 {
		w.Version = rapid.Uint64Range(0, 3).Draw(t, "version")
	}
	w.Hold.Reference, w.Hold.Account, w.Hold.Revision = references.Draw(t, "reference"),
		accounts.Draw(t, "account"), rapid.Uint64Range(1, 3).Draw(t, "revision")
	w.Hold.ExpiresAt, w.Hold.PreviousState = instants.Draw(t, "deadline"), 0
	w.Hold.State = rapid.SampledFrom([]hold.State{hold.Waiting, hold.Scheduled, hold.Scheduled,
		hold.Working, hold.Attention, hold.Captured}).Draw(t, "state")
	w.Hold.NextOp = hold.Op(rapid.IntRange(1, 3).Draw(t, "op"))
	w.Hold.NextAt = instants.Draw(t, "next")
	switch rapid.IntRange(0, 3).Draw(t, "renewal") {
	case 0:
		w.Hold.Renewal = &hold.Renewal{Step: hold.RenewalIdle, Releasing: "pi_old",
			ReleasingSince: instants.Draw(t, "held twice since")}
	case 1:
		if w.Hold.Renewal != nil {
			w.Hold.Renewal = &hold.Renewal{Step: hold.RenewalIdle}
		}
	}
	w.Placement = hold.SortedSetPlacement{NextMilestone: instants.Draw(t, "milestone")}
	switch w.Hold.State {
	case hold.Captured:
		w.Hold.NextOp, w.Hold.NextAt, w.Hold.SettledAt = 0, time.Time{}, instants.Draw(t, "end")
		w.Placement = hold.SortedSetPlacement{SettledAt: w.Hold.SettledAt}
	case hold.Waiting, hold.Attention:
		w.Hold.NextOp, w.Hold.NextAt = 0, time.Time{}
		w.Placement.NeedsAttention = w.Hold.State == hold.Attention
	default:
		w.Placement.DueAt, w.Placement.Ready = w.Hold.NextAt, rapid.Bool().Draw(t, "ready")
		w.Placement.Urgent = w.Hold.State == hold.Working
	}
	if !w.Hold.State.IsFinal() {
		// An open hold always has a milestone: one that is kept must exist.
		if h := m.holds[id]; h != nil && !h.milestone.IsZero() {
			w.Placement.KeepMilestone = rapid.Bool().Draw(t, "keep")
		}
		w.Placement.KeepOverdueMilestone = !w.Placement.KeepMilestone &&
			rapid.Bool().Draw(t, "overdue")
		if w.Placement.KeepOverdueMilestone && rapid.Bool().Draw(t, "perhaps unwarned") {
			w.Placement.UnwarnedBy, w.Placement.UnwarnedAt = instants.Draw(t, "unwarned by"),
				instants.Draw(t, "unwarned at")
		}
		if rapid.Bool().Draw(t, "unverified") {
			w.Placement.VerifyAt = instants.Draw(t, "verify")
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "events") {
		m.eventCount++
		w.Events = append(w.Events, fmt.Appendf(nil, "event %d", m.eventCount))
	}
	return w
}

func TestStore_AgreesWithModel(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 7} {
		for name, open := range map[string]func(testing.TB, store.Options) *testStore{
			"redis":     func(t testing.TB, o store.Options) *testStore { return startRedis(t, o) },
			"miniredis": startMiniredis,
		} {
			t.Run(fmt.Sprintf("%s/%d", name, partitions), func(t *testing.T) {
				t.Parallel()
				e := open(t, store.Options{Partitions: partitions})
				checks, failed := 0, false
				rapid.Check(t, func(rt *rapid.T) {
					// miniredis compiles a script anew at each call, so it runs
					// only some of the sequences. rapid may shrink one that
					// failed.
					if checks++; name == "miniredis" && checks > 100/(2*partitions) && !failed {
						return
					}
					passed := false
					defer func() { failed = failed || !passed }()
					if err := e.rdb.FlushDB(t.Context()).Err(); err != nil {
						rt.Fatal(err)
					}
					m := &storeModel{testStore: &testStore{TB: t, store: e.store, rdb: e.rdb},
						partitions: partitions,
						holds:      map[string]*modelHold{}}
					rt.Repeat(map[string]func(*rapid.T){
						"": func(t *rapid.T) {
							m.checkState(t)
							m.checkChanges(t, name == "redis")
						},
						"commit": m.stepCommit, "commit more": m.stepCommit,
						"due":   m.stepPromoteDue,
						"claim": m.stepClaim, "claim more": m.stepClaim,
						"read due": m.readDueSets, "advance": m.advanceMilestones,
						"page": m.stepPage,
					})
					m.checkInvariants(partitions)
					passed = true
				})
			})
		}
	}
}
