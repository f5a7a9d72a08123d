package store_test

import (
	"maps"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Times, and their names in the tables.
var (
	pastDue        = baseTime
	nearDeadline   = baseTime.Add(7 * 24 * time.Hour)
	secondDeadline = nearDeadline.Add(2 * time.Hour)
	milestoneTime  = nearDeadline.Add(-time.Hour)
	futureDue      = farFuture
	changedTime    = farFuture.Add(time.Hour)
	timeNames      = map[time.Time]string{pastDue: "due", nearDeadline: "dead",
		secondDeadline: "dead2", milestoneTime: "mile", futureDue: "soon",
		changedTime: "moved", secondDeadline.Add(-time.Hour): "dead2-1h"}
	farDeadline = farFuture.Add(48 * time.Hour)
)

// Each script has the expected effect on all of Redis, except for the strings
// holdd:partitions and holdd:mode.
func TestScripts_BeforeAndAfter(t *testing.T) {
	t.Parallel()
	lane := hold.ReadyHoldLane{Op: hold.OpCapture}
	cases := []struct {
		name   string
		before func(e *testStore)
		was    string
		act    func(e *testStore, names map[time.Time]string)
		is     string
		odd    bool // the calls leave a hold without a milestone, which no caller does
	}{
		{
			name: "commit: a new hold, scheduled",
			act: func(e *testStore, _ map[time.Time]string) {
				w := newScheduledWrite("pi_a", futureDue, farDeadline)
				w.Hold.Reference, w.Placement.NextMilestone, w.Events = "BK-1", changedTime,
					[][]byte{[]byte("one"), []byte("two")}
				e.mustCommit(w)
			},
			is: `events one
				events two
				expiring pi_a moved
				holds pi_a v1 scheduled<unknown capture since:- deadline:?
				references BK-1|pi_a -
				scheduled pi_a soon`,
		}, {
			name: "commit: a new hold that is due goes straight to its lane",
			act: func(e *testStore, _ map[time.Time]string) {
				e.mustCommit(newReadyWrite("pi_a", hold.OpCancel, "acct_x", nearDeadline))
			},
			is: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown cancel since:- deadline:dead acct_x
				lanes 2:acct_x dead
				ready:2:acct_x pi_a dead`,
		}, {
			name: "commit: a new hold that waits, unverified",
			act: func(e *testStore, _ map[time.Time]string) {
				w := newScheduledWrite("pi_a", futureDue, nearDeadline)
				w.Hold.State, w.Hold.NextOp, w.Hold.NextAt, w.Hold.CaptureAt,
					w.Hold.Reason = hold.Waiting, 0, time.Time{}, time.Time{}, 0
				w.Hold.Verified = false
				w.Placement = hold.SortedSetPlacement{NextMilestone: milestoneTime,
					VerifyAt: nearDeadline}
				e.mustCommit(w)
			},
			is: `expiring pi_a mile
				holds pi_a v1 waiting<unknown unknown since:- deadline:dead
				unverified pi_a dead`,
		}, {
			name: "commit: from scheduled to attention, its milestone stays",
			before: func(e *testStore) {
				e.mustCommit(newScheduledWrite("pi_a", futureDue, nearDeadline))
			},
			was: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Hold.State, w.Hold.NextOp, w.Hold.NextAt = hold.Attention, 0, time.Time{}
				w.Placement = hold.SortedSetPlacement{KeepMilestone: true, NeedsAttention: true}
				e.mustCommit(w)
			},
			is: `attention pi_a dead
				expiring pi_a mile
				holds pi_a v2 attention<unknown unknown since:- deadline:dead`,
		}, {
			name: "commit: another reference, another deadline",
			before: func(e *testStore) {
				w := newScheduledWrite("pi_a", futureDue, nearDeadline)
				w.Hold.Reference = "BK-1"
				e.mustCommit(w)
			},
			was: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				references BK-1|pi_a -
				scheduled pi_a soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Hold.Reference, w.Hold.ExpiresAt = "BK-2", secondDeadline
				w.Placement = hold.SortedSetPlacement{DueAt: changedTime,
					NextMilestone: secondDeadline.Add(-time.Hour)}
				e.mustCommit(w)
			},
			is: `expiring pi_a dead2-1h
				holds pi_a v2 scheduled<unknown capture since:- deadline:dead2
				references BK-2|pi_a -
				scheduled pi_a moved`,
		}, {
			name: "commit: the reference is taken away",
			before: func(e *testStore) {
				w := newScheduledWrite("pi_a", futureDue, nearDeadline)
				w.Hold.Reference = "BK-1"
				e.mustCommit(w)
			},
			was: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				references BK-1|pi_a -
				scheduled pi_a soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Hold.Reference = ""
				w.Placement = hold.SortedSetPlacement{DueAt: futureDue, KeepMilestone: true}
				e.mustCommit(w)
			},
			is: `expiring pi_a mile
				holds pi_a v2 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a soon`,
		}, {
			name: "commit: a ready hold is canceled: another lane, the next promotion removes the empty one",
			before: func(e *testStore) {
				e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline))
			},
			was: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				lanes 1: dead
				ready:1: pi_a dead`,
			act: func(e *testStore, _ map[time.Time]string) {
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Hold.NextOp, w.Hold.CancelWanted = hold.OpCancel, true
				w.Placement = hold.SortedSetPlacement{DueAt: pastDue, Ready: true,
					KeepMilestone: true}
				e.mustCommit(w)
				e.mustPromoteDue(false)
			},
			is: `expiring pi_a mile
				holds pi_a v2 scheduled<unknown cancel since:- deadline:dead
				lanes 2: dead
				ready:2: pi_a dead`,
		}, {
			name: "commit: a stale decision changes nothing, nor does a second birth",
			before: func(e *testStore) {
				e.mustCommit(newScheduledWrite("pi_a", futureDue, nearDeadline))
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Hold.Revision++
				w.Placement = hold.SortedSetPlacement{DueAt: futureDue, KeepMilestone: true}
				e.mustCommit(w)
			},
			was: `expiring pi_a mile
				holds pi_a v2 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				stale, born := newUpdateWrite(*e.mustRead("pi_a")),
					newReadyWrite("pi_a", hold.OpCapture, "", secondDeadline)
				stale.Version, stale.Hold.Reference, stale.Placement = 1, "BK-9",
					hold.SortedSetPlacement{SettledAt: pastDue}
				stale.Events, born.Events = [][]byte{[]byte("no")}, [][]byte{[]byte("no")}
				gone := newScheduledWrite("pi_b", futureDue, nearDeadline)
				gone.Version = 4
				for _, w := range []hold.HoldWrite{stale, born, gone} {
					if e.tryCommit(w)[0] {
						e.Errorf("%s, version %d, was committed", w.Hold.ID, w.Version)
					}
				}
			},
			is: `expiring pi_a mile
				holds pi_a v2 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a soon`,
		}, {
			name: "promote: scheduled holds only if asked",
			before: func(e *testStore) {
				e.mustCommit(newScheduledWrite("pi_a", pastDue, nearDeadline),
					newScheduledWrite("pi_b", futureDue, nearDeadline))
			},
			was: `expiring pi_a mile
				expiring pi_b mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a due
				scheduled pi_b soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				if d := e.mustPromoteDue(false); d.PromotedHolds != 0 || len(d.Lanes) != 0 ||
					!d.NextDueAt.Equal(pastDue) || d.More {
					e.Errorf("not asked to promote: %+v", d)
				}
				d := e.mustPromoteDue(true)
				if d.PromotedHolds != 1 || d.ExpiredLeases != 0 || !d.NextDueAt.Equal(futureDue) ||
					d.More ||
					len(d.Lanes) != 1 {
					e.Errorf("%+v", d)
				} else if l := d.Lanes[0]; l.Op != hold.OpCapture ||
					l.Account != "" || l.Ready != 1 ||
					!l.NearestDeadline.Equal(nearDeadline) {
					e.Errorf("%+v", l)
				}
			},
			is: `expiring pi_a mile
				expiring pi_b mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown capture since:- deadline:dead
				lanes 1: dead
				ready:1: pi_a dead
				scheduled pi_b soon`,
		}, {
			name: "claim: the nearest deadline is leased, its version grows, the claim's beginning is stamped",
			before: func(e *testStore) {
				e.mustCommit(newReadyWrite("pi_b", hold.OpCapture, "", secondDeadline),
					newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline))
			},
			was: `expiring pi_a mile
				expiring pi_b dead2-1h
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown capture since:- deadline:dead2
				lanes 1: dead
				ready:1: pi_a dead
				ready:1: pi_b dead2`,
			act: func(e *testStore, names map[time.Time]string) {
				claims, now := e.mustClaim(lane, 1, time.Minute)
				names[now], names[now.Add(time.Minute)] = "now", "now+1m"
				if len(claims) != 1 || claims[0].TakenOver || !claims[0].Since.Equal(now) ||
					claims[0].Hold.State != hold.Working ||
					claims[0].Hold.PreviousState != hold.Scheduled {
					e.Errorf("%+v", claims)
				}
			},
			is: `expiring pi_a mile
				expiring pi_b dead2-1h
				holds pi_a v? working<scheduled capture since:now deadline:dead
				holds pi_b v1 scheduled<unknown capture since:- deadline:dead2
				lanes 1: dead2
				leased pi_a now+1m
				ready:1: pi_b dead2`,
		}, {
			name: "commit: a claimed hold ends: out of the lease and of all that waits",
			before: func(e *testStore) {
				w := newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline)
				w.Hold.Reference, w.Placement.VerifyAt = "BK-1", nearDeadline
				e.mustCommit(w)
			},
			was: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				lanes 1: dead
				ready:1: pi_a dead
				references BK-1|pi_a -
				unverified pi_a dead`,
			act: func(e *testStore, _ map[time.Time]string) {
				claims, _ := e.mustClaim(lane, 1, time.Minute)
				e.mustCommit(capturedWrite(claims[0].Hold, changedTime))
			},
			is: `holds pi_a v? captured<scheduled unknown since:moved deadline:dead
				references BK-1|pi_a -
				settled 0 -
				settled:0 pi_a moved`,
		}, {
			name: "commit: an unknown outcome stays closed until its time",
			before: func(e *testStore) {
				e.mustCommit(newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline))
			},
			was: `expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				lanes 1: dead
				ready:1: pi_a dead`,
			act: func(e *testStore, _ map[time.Time]string) {
				claims, _ := e.mustClaim(lane, 1, time.Minute)
				w := newUpdateWrite(claims[0].Hold)
				w.Hold.NextAt, w.Hold.Sent = futureDue,
					hold.IdempotencyKeyUsage{Count: 1, FirstAt: claims[0].Since, Unknown: true}
				w.Placement = hold.SortedSetPlacement{DueAt: futureDue, Urgent: true,
					KeepMilestone: true}
				e.mustCommit(w)
			},
			is: `expiring pi_a mile
				holds pi_a v? working<scheduled capture since:- deadline:dead
				leased pi_a soon`,
		}, {
			name: "commit: dropped, nothing is left but what happened",
			before: func(e *testStore) {
				w := newScheduledWrite("pi_a", futureDue, nearDeadline)
				w.Hold.State, w.Hold.NextOp, w.Hold.SettledAt, w.Hold.Reference = hold.Canceled, 0,
					changedTime, "BK-1"
				w.Placement, w.Events = hold.SortedSetPlacement{SettledAt: changedTime},
					[][]byte{[]byte("canceled")}
				e.mustCommit(w)
			},
			was: `events canceled
				holds pi_a v1 canceled<unknown unknown since:moved deadline:dead
				references BK-1|pi_a -
				settled 0 -
				settled:0 pi_a moved`,
			act: func(e *testStore, _ map[time.Time]string) {
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Drop = true
				e.mustCommit(w)
				e.mustCommit(w) // its reply was lost
			},
			is: `events canceled`,
		}, {
			name: "commit: an open hold is dropped from everywhere",
			before: func(e *testStore) {
				w := newReadyWrite("pi_a", hold.OpCapture, "", nearDeadline)
				w.Hold.Reference, w.Placement.NeedsAttention, w.Placement.VerifyAt = "BK-1", true,
					futureDue
				e.mustCommit(w)
			},
			was: `attention pi_a dead
				expiring pi_a mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				lanes 1: dead
				ready:1: pi_a dead
				references BK-1|pi_a -
				unverified pi_a soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				w := newUpdateWrite(*e.mustRead("pi_a"))
				w.Drop, w.Placement = true, hold.SortedSetPlacement{DueAt: pastDue,
					Ready: true, KeepMilestone: true}
				e.mustCommit(w)
				e.mustPromoteDue(true)
			},
			is: ``,
		}, {
			name: "advance: a milestone moves on once, the record stays",
			odd:  true,
			before: func(e *testStore) {
				e.mustCommit(newScheduledWrite("pi_a", futureDue, nearDeadline),
					newScheduledWrite("pi_b", futureDue, nearDeadline))
			},
			was: `expiring pi_a mile
				expiring pi_b mile
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a soon
				scheduled pi_b soon`,
			act: func(e *testStore, _ map[time.Time]string) {
				advances := []hold.MilestoneWrite{
					{ID: "pi_b", Version: 2, From: milestoneTime, To: changedTime,
						Events: [][]byte{[]byte("no")}},
					{ID: "pi_b", From: milestoneTime, To: changedTime,
						Events: [][]byte{[]byte("no")}},
					{ID: "pi_a", Version: 1, From: milestoneTime, To: changedTime,
						Events: [][]byte{[]byte("warned"),
							[]byte("twice")}},
					{ID: "pi_b", Version: 1, From: milestoneTime},
					{ID: "pi_b", Version: 1, From: milestoneTime, To: changedTime,
						Events: [][]byte{[]byte("no")}},
					{ID: "pi_c", From: milestoneTime, To: changedTime,
						Events: [][]byte{[]byte("no")}},
					{ID: "pi_a", Version: 1, To: nearDeadline, Events: [][]byte{[]byte("no")}},
				}
				for range 2 {
					moved, err := e.store.AdvanceMilestones(e.Context(), advances)
					if err != nil || moved[0] || moved[1] || moved[4] || moved[5] ||
						moved[6] || moved[2] != moved[3] {
						e.Errorf("%v, %v", moved, err)
					}
				}
			},
			is: `events warned
				events twice
				expiring pi_a moved
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown capture since:- deadline:dead
				scheduled pi_a soon
				scheduled pi_b soon`,
		}, {
			name: "milestones, unverified, settled, pages, reads, counts change nothing",
			before: func(e *testStore) {
				e.mustCommit(newScheduledWrite("pi_a", futureDue, nearDeadline),
					newReadyWrite("pi_b", hold.OpRead, "acct_y", secondDeadline))
			},
			was: `expiring pi_a mile
				expiring pi_b dead2-1h
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown read since:- deadline:dead2 acct_y
				lanes 3:acct_y dead2
				ready:3:acct_y pi_b dead2
				scheduled pi_a soon`,
			act: func(e *testStore, _ map[time.Time]string) { callReaders(e) },
			is: `expiring pi_a mile
				expiring pi_b dead2-1h
				holds pi_a v1 scheduled<unknown capture since:- deadline:dead
				holds pi_b v1 scheduled<unknown read since:- deadline:dead2 acct_y
				lanes 3:acct_y dead2
				ready:3:acct_y pi_b dead2
				scheduled pi_a soon`,
		},
	}
	onRedisAndMiniredis(t, func(t *testing.T, e *testStore) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				if err := e.rdb.FlushDB(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				e := &testStore{TB: t, store: e.store, rdb: e.rdb}
				names := maps.Clone(timeNames)
				if c.before != nil {
					c.before(e)
				}
				if got, want := e.dumpRedis(names), trimLines(c.was); got != want && c.was != "" {
					t.Errorf("before:\n%swant:\n%s", got, want)
				}
				c.act(e, names)
				if got, want := e.dumpRedis(names), trimLines(c.is); got != want &&
					!(c.is == "" && got == "") {
					t.Errorf("after:\n%swant:\n%s", got, want)
				}
				if !c.odd {
					e.checkInvariants(1)
				}
			})
		}
	})
}
