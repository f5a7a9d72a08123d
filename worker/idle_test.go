package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// pollCounts count the polls of a replica.
type pollCounts struct {
	worker.Queue
	worker.DeadlineStore
	changes.Store
	promote, milestones, counters atomic.Int64
}

func (c *pollCounts) PromoteDue(
	ctx context.Context, r hold.PromoteRequest,
) (hold.PromoteResult, error) {
	c.promote.Add(1)
	return c.Queue.PromoteDue(ctx, r)
}

func (c *pollCounts) ListDueMilestones(
	ctx context.Context, n int,
) ([]hold.HoldWithDueMilestone, time.Time, error) {
	c.milestones.Add(1)
	return c.DeadlineStore.ListDueMilestones(ctx, n)
}

func (c *pollCounts) ReadChangeCountsAndInboxLength(ctx context.Context) ([]int64, int64, error) {
	c.counters.Add(1)
	return c.Store.ReadChangeCountsAndInboxLength(ctx)
}

// wrap counts the polls of the stores of a replica.
func (c *pollCounts) wrap(s *worker.Stores) {
	c.Queue, c.DeadlineStore, c.Store = s.Queue, s.Deadlines, s.Changes
	s.Queue, s.Deadlines, s.Changes = c, c, c
}

// during returns the polls while f runs.
func (c *pollCounts) during(f func()) (promote, milestones, counters int64) {
	p, m, n := c.promote.Load(), c.milestones.Load(), c.counters.Load()
	f()
	return c.promote.Load() - p, c.milestones.Load() - m, c.counters.Load() - n
}

// A replica without work polls every 30 seconds, and reads the counters of
// changes every two seconds.
func TestWorker_IdlePolls(t *testing.T) {
	skipIfShort(t)
	c := &pollCounts{}
	runTestEnv(t, func(w *testEnv) {
		w.wrapStores = c.wrap
		r := w.startReplica()
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(20 * time.Hour)})
		time.Sleep(time.Minute)
		promote, milestones, counters := c.during(func() { time.Sleep(time.Hour) })
		if promote > 300 || milestones > 200 || counters > 1850 {
			t.Errorf("in an idle hour %d polls for due holds, %d for milestones, %d of counters",
				promote, milestones, counters)
		}
		if promote < 110 || milestones < 110 {
			t.Errorf("polls %d, %d: want one every 30 seconds", promote, milestones)
		}
	})
}

// A hold that is due and cannot be promoted or claimed costs at most the polls
// of each tick, and is acted on as soon as it can be.
func TestWorker_PollsOfAStuckHold(t *testing.T) {
	skipIfShort(t)
	for _, tt := range []struct {
		name  string
		set   func(w *testEnv)
		stick func(w *testEnv, r *replica, id string)
		most  int64 // polls for due holds in half an hour, with two ticks a second
	}{
		{name: "outside the window of the schedule", most: 400,
			set: func(w *testEnv) { w.opts.Schedules.Capture = "0 12 * * *" }},
		{name: "paused", most: 400, stick: func(w *testEnv, r *replica, id string) {
			if _, _, err := r.PauseHold(w.Ctx, id, 0, true, "test"); err != nil {
				w.T.Fatal(err)
			}
		}},
		{name: "Stripe unavailable", most: 8000, stick: func(w *testEnv, _ *replica, _ string) {
			w.AddStripeFault(stripesim.FaultRule{
				Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		}},
		{name: "leased by another replica", most: 400, stick: func(w *testEnv, _ *replica, id string) {
			w.Redis.ZRem("holdd:{0}:scheduled", id)
			end := time.Now().Add(time.Hour).UnixMilli()
			if _, err := w.Redis.ZAdd("holdd:{0}:leased", float64(end), id); err != nil {
				w.T.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &pollCounts{}
			runTestEnv(t, func(w *testEnv) {
				if tt.set != nil {
					tt.set(w)
				}
				w.wrapStores = c.wrap
				r := w.startReplica()
				id := w.AuthorizeIntent()
				w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
					CaptureAt: envtest.In(5 * time.Minute)})
				if tt.stick != nil {
					time.Sleep(4 * time.Minute)
					tt.stick(w, r, id)
				}
				time.Sleep(6 * time.Minute)
				promote, milestones, _ := c.during(func() { time.Sleep(30 * time.Minute) })
				t.Logf("%d polls for due holds, %d for milestones", promote, milestones)
				if promote > tt.most || milestones > 400 {
					t.Errorf("%d polls for due holds, %d for milestones", promote, milestones)
				}
			})
		})
	}
}

// An idle replica reads the counters of changes less often than it ticks. The
// holds that it accepts are on time all the same.
func TestWorker_IdleReplicaIsOnTime(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		for ahead := 250 * time.Millisecond; ahead < 6*time.Second; ahead += 375 * time.Millisecond {
			time.Sleep(time.Minute + ahead/3)
			id := w.AuthorizeIntent()
			due := time.Now().Add(ahead)
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(ahead)})
			time.Sleep(10 * time.Second)
			got := w.mustGet(r, id)
			if late := got.SettledAt.Sub(due); got.State != hold.Captured ||
				late > 100*time.Millisecond {
				t.Errorf("due in %s: %s, %s late", ahead, got.State, late)
			}
		}
	})
}
