package worker_test

import (
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

// disableReconcileCron lets only what a test asks for compare.
func disableReconcileCron(w *testEnv, _ *stripesim.Options) {
	w.opts.Schedules.Reconcile = "@every 2000h"
}

// reconcileAndWait asks for a comparison and waits for its end.
func (w *testEnv) reconcileAndWait(
	r *replica, dryRun bool, accounts ...string,
) reconcile.Reconciliation {
	w.T.Helper()
	run, _, err := r.StartRun(w.Ctx, dryRun, accounts, "test")
	if err != nil {
		w.T.Fatal(err)
	}
	return w.waitForReconcile(r, run.ID)
}

func (w *testEnv) waitForReconcile(r *replica, id string) reconcile.Reconciliation {
	w.T.Helper()
	for end := time.Now().Add(2 * time.Hour); time.Now().Before(end); time.Sleep(time.Second) {
		run, ok, err := r.ReadReconciliation(w.Ctx, id)
		if err != nil {
			w.T.Fatal(err)
		}
		if ok && run.State == reconcile.RunFinished {
			return run
		}
	}
	run, _, _ := r.ReadReconciliation(w.Ctx, "")
	w.T.Fatalf("the run does not end: %+v", run)
	return run
}

func checkFindingCounts(
	t *testing.T, run reconcile.Reconciliation, want map[reconcile.FindingKind]int64,
) {
	t.Helper()
	if !maps.Equal(run.Counts, want) {
		t.Errorf("found %v, want %v\n%+v", run.Counts, want, run.Findings)
	}
}

func withMetadata(pairs ...string) func(*stripesim.Hold) {
	return func(h *stripesim.Hold) {
		h.Metadata = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			h.Metadata[pairs[i]] = pairs[i+1]
		}
	}
}

func withAccount(account string) func(*stripesim.Hold) {
	return func(h *stripesim.Hold) { h.Account = account }
}

// redisContents is all of Redis but what counts time and budget.
func (w *testEnv) redisContents() map[string]string {
	all := map[string]string{}
	for _, key := range w.Redis.Keys() {
		if strings.HasPrefix(key, "holdd:budget:") || key == "holdd:ping" ||
			key == "holdd:replicas" {
			continue
		}
		switch w.Redis.Type(key) {
		case "string":
			all[key], _ = w.Redis.Get(key)
		case "hash":
			fields, _ := w.Redis.HKeys(key)
			for _, f := range fields {
				all[key] += f + "=" + w.Redis.HGet(key, f) + ";"
			}
		case "zset":
			members, _ := w.Redis.SortedSet(key)
			all[key] = fmt.Sprint(members)
		case "list":
			l, _ := w.Redis.List(key)
			all[key] = fmt.Sprint(l)
		case "stream":
			s, _ := w.Redis.Stream(key)
			all[key] = fmt.Sprint(len(s))
		}
	}
	return all
}

// An intent whose webhook never came is found by the job and captured at its
// time, with no call to the API.
func TestReconcile_SchedulesFromMetadata(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		time.Sleep(time.Minute)
		at := time.Now().Add(40 * time.Minute).UTC().Truncate(time.Second)
		id := w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, at.Format(time.RFC3339),
			hold.MetaReference, "BK-7", hold.MetaCaptureAmount, "4200"))
		late := w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, envtest.In(3*time.Minute)))
		pausedID := w.AuthorizeIntent(withMetadata(hold.MetaPaused, "true", hold.MetaCancelAt,
			envtest.In(20*time.Minute)))
		orphan := w.AuthorizeIntent(withMetadata("order", "17"))
		invalidID := w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, "soon"))
		time.Sleep(16 * time.Minute)
		h := w.mustGet(r, id)
		if h.State != hold.Scheduled || !h.CaptureAt.Equal(at) || h.Reference != "BK-7" ||
			h.CaptureAmount != 4200 || h.Amount != 10_000 || !h.Verified ||
			h.History[0].By != "reconcile" {
			t.Errorf("found as %+v", h)
		}
		w.waitForState(r, late, hold.Captured, 10*time.Second)
		if h := w.mustGet(r, pausedID); h.State != hold.Paused {
			t.Errorf("paused, and found as %s", h.State)
		}
		time.Sleep(22 * time.Minute)
		w.CheckEffects(id)
		h = w.waitForState(r, id, hold.Captured, 4*time.Minute)
		if d := h.SettledAt.Sub(at); d < 0 || d > time.Second {
			t.Errorf("captured %s after its time", d)
		}
		w.CheckEffects(id, "captured 4200 by api", "released 5800 by api")
		for _, other := range []string{pausedID, orphan, invalidID} {
			w.CheckEffects(other)
		}
		time.Sleep(16 * time.Minute) // one more run
		if n := w.Logs.FilterMessage("metadata.rejected").Len(); n != 1 {
			t.Errorf("%d lines tell of the bad metadata", n)
		}
		line := w.Logs.FilterMessage("metadata.rejected").All()[0].ContextMap()
		if line["payment_intent"] != invalidID ||
			!strings.Contains(fmt.Sprint(line["reason"]), `invalid time "soon"`) {
			t.Errorf("%v", line)
		}
		if n := w.Logs.FilterMessage("reconcile.orphan").Len(); n != 1 {
			t.Errorf("%d lines tell of the orphan", n)
		}
	}, pollEvery5s)
}

// What others did is found, what is in order is left alone, and a second look
// finds nothing new.
func TestReconcile_SettledElsewhere(t *testing.T) {
	skipIfShort(t)
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		var ids []string
		for range 6 {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
				CaptureAt: envtest.In(6 * time.Hour), Reference: "BK"})
			time.Sleep(time.Second) // the budget lets each be checked
		}
		connected := w.AuthorizeIntent(withAccount("acct_00000001"))
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: connected, Account: "acct_00000001",
			CaptureAt: envtest.In(6 * time.Hour)})
		time.Sleep(time.Minute)
		if err := w.Sim.Dashboard().Capture(ids[0], 9_000); err != nil {
			t.Fatal(err)
		}
		if err := w.Sim.Dashboard().Cancel(ids[1], "requested_by_customer"); err != nil {
			t.Fatal(err)
		}
		w.Sim.Dashboard().SetCaptureBefore(ids[2], time.Now().Add(5*24*time.Hour).Truncate(time.Second))
		if err := w.Sim.Dashboard().Cancel(connected, ""); err != nil {
			t.Fatal(err)
		}
		// Known to Redis, and not to Stripe any more under this account.
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: "pi_00000000gone", Amount: 100,
			Currency: "eur", ExpiresAt: envtest.In(50 * time.Hour),
			CaptureAt: envtest.In(4 * time.Hour)})
		time.Sleep(time.Minute)
		before := w.redisContents()
		dry := w.reconcileAndWait(r, true)
		if after := w.redisContents(); !maps.Equal(before, after) {
			t.Errorf("the dry run changed Redis:\n%v\n%v", before, after)
		}
		want := map[reconcile.FindingKind]int64{reconcile.FoundCaptured: 1,
			reconcile.FoundCanceled: 2, reconcile.FoundChanged: 1, reconcile.FoundAttention: 1}
		checkFindingCounts(t, dry, want)
		run := w.reconcileAndWait(r, false)
		checkFindingCounts(t, run, want)
		if !dry.DryRun || run.DryRun || len(dry.Findings) != 5 || len(run.Findings) != 5 ||
			run.Listed != 7 || run.Compared != 7 || run.Accounts != 2 ||
			run.Retrieved != 1 || run.Percent != 100 {
			t.Errorf("%+v", run)
		}
		if h := w.mustGet(r, ids[0]); h.State != hold.Captured || h.CapturedAmount != 9_000 ||
			h.Reason != hold.CauseElsewhere {
			t.Errorf("%s of %d because of %s", h.State, h.CapturedAmount, h.Reason)
		}
		if h := w.mustGet(r, "pi_00000000gone"); h.State != hold.Attention ||
			h.Reason != hold.CauseNotFound {
			t.Errorf("%s because of %s", h.State, h.Reason)
		}
		checkFindingCounts(t, w.reconcileAndWait(r, false), map[reconcile.FindingKind]int64{})
		time.Sleep(7 * time.Hour)
		w.CheckEffects(ids[0], "captured 9000 by dashboard", "released 1000 by dashboard")
		w.CheckEffects(ids[3], "captured 10000 by api")
		for _, l := range w.Logs.FilterMessage("hold.attention").All() {
			if l.ContextMap()["hold"] != "pi_00000000gone" {
				t.Errorf("reported as a failure: %v", l.ContextMap())
			}
		}
	}, pollEvery30s, disableReconcileCron)
}

// Of intents found long after their time: a capture within a day is made, a
// later one is a person's, a release is always owed.
func TestReconcile_OverdueHolds(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		first := w.startReplica()
		hour := func(n int) string { return envtest.In(time.Duration(n) * time.Hour) }
		withinGrace, pastGrace := w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, hour(30))),
			w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, hour(20), hold.MetaReference, "BK-9"))
		release := w.AuthorizeIntent(withMetadata(hold.MetaCancelAt, hour(2)))
		afterDeadline := w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, hour(24*20)))
		first.stopAndWait()
		time.Sleep(50 * time.Hour)
		w.Redis.FlushAll()
		r := w.startReplica()
		w.waitForState(r, withinGrace, hold.Captured, 10*time.Second)
		w.waitForState(r, release, hold.Canceled, 10*time.Second)
		if h := w.mustGet(r, pastGrace); h.State != hold.Attention ||
			h.Reason != hold.CauseOverdue || h.Reference != "BK-9" || h.CaptureAt.IsZero() {
			t.Errorf("%+v", h)
		}
		if h := w.mustGet(r, afterDeadline); h.State != hold.Attention ||
			h.Reason != hold.CauseAfterDeadline {
			t.Errorf("%+v", h)
		}
		w.CheckEffects(pastGrace)
		if n := w.Logs.FilterMessage("hold.attention").Len(); n != 2 {
			t.Errorf("%d lines of attention", n)
		}
		// The person decides.
		if _, _, err := r.RequestCapture(w.Ctx, pastGrace, hold.CaptureRequest{}, 0, "desk"); err != nil {
			t.Fatal(err)
		}
		w.waitForState(r, pastGrace, hold.Captured, 10*time.Second)
	})
}

// A comparison leaves half of the budget alone, gets no 429, and what is due
// meanwhile is captured in time.
func TestReconcile_LeavesBudgetToCaptures(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		w.Sim.Settings.SetRateLimits(-1, -1)
		for range 3_000 {
			w.AuthorizeIntent(withMetadata("order", "1"))
		}
		at := time.Now().Add(time.Minute)
		var due []string
		for range 100 {
			id := w.AuthorizeIntent()
			due = append(due, id)
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000,
				Currency: "eur", ExpiresAt: envtest.In(100 * time.Hour),
				CaptureAt: at.Format(time.RFC3339Nano)})
		}
		time.Sleep(59 * time.Second)
		w.Sim.Settings.SetRateLimits(25, 100)
		before := w.Sim.Stats()
		run, started, err := r.StartRun(w.Ctx, false, nil, "test")
		if err != nil || !started {
			t.Fatal(started, err)
		}
		run = w.waitForReconcile(r, run.ID)
		if took := run.FinishedAt.Sub(run.StartedAt); run.Pages != 31 || took < 2*time.Second {
			t.Errorf("%d pages in %s: more than half of 25 a second", run.Pages, took)
		}
		for _, id := range due {
			h := w.waitForState(r, id, hold.Captured, 20*time.Second)
			if late := h.SettledAt.Sub(at); late > 6*time.Second { // 100 at 25 a second
				t.Errorf("captured %s late", late)
			}
		}
		if n := w.Sim.Stats().RateLimited - before.RateLimited; n != 0 {
			t.Errorf("%d answers of 429", n)
		}
	}, disableReconcileCron, func(w *testEnv, _ *stripesim.Options) {
		w.opts.Schedules.Verify = "@every 2000h"
	})
}

// Of two replicas whose job comes at the same time one compares. When it dies
// in the middle the other goes on where it was.
func TestReconcile_TakesOverFromDeadReplica(t *testing.T) {
	skipIfShort(t)
	var lists atomic.Int64
	var listLimit atomic.Int64
	runTestEnv(t, func(w *testEnv) {
		first := w.startReplica()
		second := w.startReplica()
		w.Sim.Settings.SetRateLimits(-1, -1)
		var ids []string
		for i := range 600 {
			ids = append(
				ids, w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, envtest.In(48*time.Hour),
					hold.MetaReference, fmt.Sprint("BK-", i))))
		}
		lists.Store(0)
		listLimit.Store(2) // the third page never comes
		time.Sleep(15*time.Minute + 3*time.Second)
		run, ok, err := second.ReadReconciliation(w.Ctx, "")
		if err != nil || !ok || run.State != reconcile.RunRunning || run.Pages != 2 ||
			run.Counts[reconcile.FoundScheduled] != 200 {
			t.Fatalf("%v %v %+v", ok, err, run)
		}
		if n := w.Logs.FilterMessage("reconcile.started").Len(); n != 2 {
			// one at the start, one by the job
			t.Errorf("%d runs", n)
		}
		holder, other := first, second
		if run.Replica == "replica-2" {
			holder, other = second, first
		}
		holder.SimulateSIGKILL()
		listLimit.Store(1 << 40)
		done := w.waitForReconcile(other, run.ID)
		if done.Pages != 6 || done.Takeovers != 1 || done.Replica == run.Replica {
			t.Errorf("%+v", done)
		}
		checkFindingCounts(t, done, map[reconcile.FindingKind]int64{reconcile.FoundScheduled: 600})
		if took := done.FinishedAt.Sub(run.UpdatedAt); took > 75*time.Second {
			t.Errorf("taken over after %s", took)
		}
		if len(done.Findings) != 500 {
			t.Errorf("%d findings are kept", len(done.Findings))
		}
		// Two by the first, the one that never came, four by the second; the
		// killed one's retries stay with it.
		if n := lists.Load(); n < 7 || n > 12 {
			t.Errorf("%d lists", n)
		}
		for _, id := range []string{ids[0], ids[300], ids[599]} {
			if h := w.mustGet(other, id); h.State != hold.Scheduled {
				t.Errorf("%s", h.State)
			}
		}
	}, func(w *testEnv, o *stripesim.Options) {
		o.FaultFunc = func(c stripesim.Call) stripesim.Fault {
			if c.Class == stripesim.ClassList && lists.Add(1) > listLimit.Load() &&
				listLimit.Load() > 0 {
				return stripesim.Fault{RequestDelay: time.Hour}
			}
			return stripesim.Fault{}
		}
		listLimit.Store(1 << 40)
		pollEvery5s(w, nil)
		w.opts.Schedules.Report, w.opts.Schedules.Verify = "@every 15s", "@every 2000h"
	})
}

// A hold that changes between the list and the look is not set back to what the
// list said.
func TestReconcile_IgnoresStaleList(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Incremental = true })
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(6 * time.Hour)})
		fresh := w.AuthorizeIntent(withMetadata(hold.MetaCaptureAt, envtest.In(50*time.Hour)))
		time.Sleep(time.Minute)
		// The reply to the list is made, and on its way for five seconds.
		if _, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassList, Times: 1,
			Fault: stripesim.Fault{ReplyDelay: 5 * time.Second}}); err != nil {
			t.Fatal(err)
		}
		run, _, err := r.StartRun(w.Ctx, false, nil, "test")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := w.Sim.Dashboard().Increment(id, 15_000); err != nil {
			t.Fatal(err)
		}
		patch := "BK-15"
		if _, _, err := r.PatchTerms(w.Ctx, id, hold.Patch{Reference: &patch}, 0, "test"); err != nil {
			t.Fatal(err)
		}
		// other terms, by the API, meanwhile
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: fresh,
			CancelAt: envtest.In(20 * time.Hour)})
		run = w.waitForReconcile(r, run.ID)
		if h := w.mustGet(r, id); h.Reference != "BK-15" || h.Amount != 10_000 {
			t.Errorf("%+v", h)
		}
		if h := w.mustGet(r, fresh); h.CancelAt.IsZero() || !h.CaptureAt.IsZero() {
			t.Errorf("%+v", h)
		}
		checkFindingCounts(t, run, map[reconcile.FindingKind]int64{})
		run = w.reconcileAndWait(r, false)
		checkFindingCounts(t, run, map[reconcile.FindingKind]int64{reconcile.FoundChanged: 1})
		if h := w.mustGet(r, id); h.Amount != 15_000 {
			t.Errorf("%+v", h)
		}
	}, disableReconcileCron)
}
