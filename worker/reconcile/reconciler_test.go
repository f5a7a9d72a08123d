package reconcile_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"go.uber.org/zap"
)

type counts = map[reconcile.FindingKind]int64

func TestReconcile_FindsTermsOrphansAndInvalidTerms(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		terms := w.authorize("", hold.MetaCaptureAt, envtest.In(40*time.Hour),
			hold.MetaReference, "BK-7")
		overdue := w.authorize("", hold.MetaCaptureAt, envtest.In(time.Hour))
		orphan := w.authorize("", "order", "17")
		orphanEnds := time.Now().Add(7 * 24 * time.Hour)
		w.authorize("", hold.MetaCaptureAt, "soon")
		time.Sleep(30 * time.Hour)
		young := w.authorize("", "order", "18")

		run := r.reconcile(false)
		w.checkCounts(run, counts{
			reconcile.FoundScheduled: 1, reconcile.FoundAttention: 1,
			reconcile.FoundOrphan: 1, reconcile.FoundRejected: 1, reconcile.FoundRecent: 1,
		})
		if run.Listed != 5 || run.Compared != 0 || run.Percent != 100 || len(run.Findings) != 5 {
			t.Errorf("%+v", run)
		}
		for _, f := range run.Findings {
			switch f.Kind {
			case reconcile.FoundOrphan:
				if f.PaymentIntent != orphan || f.Reference != "17" ||
					f.ExpiresAt.Sub(orphanEnds).Abs() > time.Minute {
					t.Errorf("%+v, ends at %s", f, orphanEnds)
				}
			case reconcile.FoundScheduled:
				if f.PaymentIntent != terms || !f.ExpiresAt.Equal(r.hold(terms).ExpiresAt) {
					t.Errorf("%+v", f)
				}
			case reconcile.FoundRecent:
				if f.PaymentIntent != young || f.Reference != "18" || f.ExpiresAt.IsZero() {
					t.Errorf("%+v", f)
				}
			}
		}
		h := r.hold(terms)
		if h.State != hold.Scheduled || h.Reference != "BK-7" || !h.Verified ||
			h.History[0].By != "reconcile" {
			t.Errorf("%+v", h)
		}
		if h := r.hold(overdue); h.State != hold.Attention || h.Reason != hold.CauseOverdue {
			t.Errorf("%+v", h)
		}
		for _, id := range []string{orphan, young} {
			if h := r.hold(id); h.State != 0 {
				t.Errorf("%s without terms became a hold: %+v", id, h)
			}
		}

		w.checkCounts(r.reconcile(false), counts{reconcile.FoundOrphan: 1,
			reconcile.FoundRejected: 1, reconcile.FoundRecent: 1})
		for _, kind := range []hold.EventType{event.Orphan, event.MetadataRejected} {
			if n := w.Logs.FilterMessage(string(kind)).Len(); n != 1 {
				t.Errorf("%d lines of %s", n, kind)
			}
			if n := w.published(kind); n != 1 {
				t.Errorf("%d events of %s", n, kind)
			}
		}
	})
}

func TestReadReconciliation_DropsAdoptedIntents(t *testing.T) {
	inWorld(t, func(w *world) {
		r, other := w.start(), w.start()
		adopted, replaced, left := w.authorize(""), w.authorize(""), w.authorize("")
		invalid := w.authorize("", hold.MetaCaptureAt, "soon")
		time.Sleep(time.Hour)
		young := w.authorize("")
		dry, run := r.reconcile(true), other.reconcile(false)
		for _, found := range []reconcile.Reconciliation{dry, run} {
			w.checkCounts(found, counts{reconcile.FoundOrphan: 3, reconcile.FoundRecent: 1,
				reconcile.FoundRejected: 1})
		}

		other.place(hold.ScheduleRequest{PaymentIntent: adopted}, other.retrieve(adopted, ""))
		other.place(hold.ScheduleRequest{PaymentIntent: young}, nil)
		other.place(hold.ScheduleRequest{PaymentIntent: invalid}, nil)
		// A hold whose money another intent holds does not explain its first intent.
		h := other.place(hold.ScheduleRequest{PaymentIntent: replaced}, nil)
		before := other.hold(replaced)
		h.PaymentIntent = "pi_renewed0001"
		other.mustCommit(&before, hold.Decision{Hold: h})
		for _, id := range []string{dry.ID, run.ID} {
			found, ok, err := r.ReadReconciliation(w.Ctx, id)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			w.checkCounts(found, counts{reconcile.FoundOrphan: 2})
			var ids []string
			for _, f := range found.Findings {
				ids = append(ids, f.PaymentIntent)
			}
			slices.Sort(ids)
			want := []string{replaced, left}
			if slices.Sort(want); !slices.Equal(ids, want) {
				t.Errorf("findings about %v, want %v", ids, want)
			}
		}
	})
}

func TestReconcile_SettledElsewhere(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		var ids []string
		for range 4 {
			id := w.authorize("acct_00000001")
			ids = append(ids, id)
			req := hold.ScheduleRequest{PaymentIntent: id, Account: "acct_00000001",
				CaptureAt: envtest.In(60 * time.Hour)}
			r.place(req, r.retrieve(id, "acct_00000001"))
		}
		time.Sleep(time.Minute)
		if err := w.Sim.Dashboard().Capture(ids[0], 9_000); err != nil {
			t.Fatal(err)
		}
		if err := w.Sim.Dashboard().Cancel(ids[1], ""); err != nil {
			t.Fatal(err)
		}
		if err := w.Sim.Dashboard().SetCaptureBefore(ids[2], time.Now().Add(5*24*time.Hour).Truncate(
			time.Second)); err != nil {
			t.Fatal(err)
		}
		want := counts{reconcile.FoundCaptured: 1, reconcile.FoundCanceled: 1,
			reconcile.FoundChanged: 1}

		before := w.dump()
		dry := r.reconcile(true)
		w.checkCounts(dry, want)
		if after := w.dump(); !maps.Equal(before, after) {
			t.Errorf("the dry run changed Redis:\n%v\n%v", before, after)
		}
		if !dry.DryRun || len(dry.Findings) != 3 {
			t.Errorf("%+v", dry)
		}

		run := r.reconcile(false)
		w.checkCounts(run, want)
		if run.DryRun || run.Compared != 4 || run.Accounts != 2 || run.Retrieved != 0 {
			t.Errorf("%+v", run)
		}
		h := r.hold(ids[0])
		if h.State != hold.Captured || h.CapturedAmount != 9_000 ||
			h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
		w.checkCounts(r.reconcile(false), counts{})
	})
}

func TestReconcile_ReadsUnknownIntentTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		gone := r.place(hold.ScheduleRequest{PaymentIntent: "pi_00000000gone",
			CaptureAt: envtest.In(60 * time.Hour)}, nil)
		time.Sleep(time.Minute)
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList,
			Fault: stripesim.Fault{Kind: stripesim.FaultNotFound}})
		w.checkCounts(r.reconcile(false), counts{reconcile.FoundUnreadable: 1})
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n != 0 {
			t.Errorf("%d reads in an account that cannot be listed", n)
		}
		w.Sim.Faults.ClearFaultRules()

		run := r.reconcile(false)
		w.checkCounts(run, counts{reconcile.FoundAttention: 1})
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n != 2 || run.Retrieved != 1 {
			t.Errorf("%d reads, %d answered", n, run.Retrieved)
		}
		if h := r.hold(gone.ID); h.State != hold.Attention || h.Reason != hold.CauseNotFound {
			t.Errorf("%+v", h)
		}
	})
}

// An intent that Stripe does not see for a moment is no reason for attention.
func TestReconcile_IgnoresASingleNotFound(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize("")
		time.Sleep(36 * 24 * time.Hour) // beyond the lists
		r.place(hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(40 * time.Hour)}, nil)
		time.Sleep(time.Minute)
		notFound := stripesim.Fault{Kind: stripesim.FaultNotFound}
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve, Intent: id,
			Times: 1, Fault: notFound})
		run := r.reconcile(false)
		w.checkCounts(run, counts{reconcile.FoundExpired: 1})
		if n := w.CountStripeCalls(stripesim.ClassRetrieve); n != 2 || run.Listed != 0 {
			t.Errorf("%d reads, %+v", n, run)
		}
	})
}

func TestReconcile_IgnoresStaleList(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize("")
		r.place(hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(60 * time.Hour)},
			r.retrieve(id, ""))
		time.Sleep(time.Minute)
		// The list is made now and arrives five seconds later.
		late := stripesim.Fault{ReplyDelay: 5 * time.Second}
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList, Times: 1, Fault: late})
		run, _, err := r.StartRun(w.Ctx, false, nil, "test")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(4*24*time.Hour).Truncate(
			time.Second)); err != nil {
			t.Fatal(err)
		}
		before := r.hold(id)
		r.mustCommit(&before, before.ApplyPaymentIntent(r.retrieve(id, ""), r.clock.Now()))
		deadline := r.hold(id).ExpiresAt
		w.checkCounts(r.await(run.ID, reconcile.RunFinished), counts{})
		if h := r.hold(id); !h.ExpiresAt.Equal(deadline) || deadline.Equal(before.ExpiresAt) {
			t.Errorf("was %s, learned %s, is %s", before.ExpiresAt, deadline, h.ExpiresAt)
		}
	})
}

func TestReconcile_TakesEveryOtherRead(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		w.Sim.Settings.SetRateLimits(-1, -1)
		for range 1_500 {
			w.authorize("", "order", "1")
		}
		w.Sim.Settings.SetRateLimits(25, 100)
		run := r.reconcile(false)
		took := run.FinishedAt.Sub(run.StartedAt)
		if run.Pages != 15 || took < 14*80*time.Millisecond || took > 3*time.Second {
			t.Errorf("%d pages in %s", run.Pages, took)
		}
		if n := w.Sim.Stats().RateLimited; n != 0 {
			t.Errorf("%d answers of 429", n)
		}
	})
}

func TestReconcile_IsContinuedByAnotherReplica(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.start(), w.start()
		w.Sim.Settings.SetRateLimits(-1, -1)
		for i := range 800 {
			w.authorize("", hold.MetaCaptureAt, envtest.In(48*time.Hour),
				hold.MetaReference, fmt.Sprint("BK-", i))
		}
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList, Nth: 4,
			Fault: stripesim.Fault{RequestDelay: time.Hour}})
		run, started, err := first.StartRun(w.Ctx, false, nil, "test")
		if err != nil || !started {
			t.Fatal(started, err)
		}
		time.Sleep(3 * time.Second)
		joined, started, err := second.StartRun(w.Ctx, false, nil, "test")
		if err != nil || started || joined.ID != run.ID || joined.Pages != 3 {
			t.Fatalf("%v %v %+v", started, err, joined)
		}
		w.checkCounts(joined, counts{reconcile.FoundScheduled: 300})
		first.SimulateSIGKILL()
		for range 6 {
			second.StartRunAfterDataLossOrResume(w.Ctx)
			time.Sleep(15 * time.Second)
		}
		done := second.await(run.ID, reconcile.RunFinished)
		if done.Pages != 8 || done.Takeovers != 1 || done.Replica != "replica-2" ||
			len(done.Findings) != 500 {
			t.Errorf("%+v", done)
		}
		w.checkCounts(done, counts{reconcile.FoundScheduled: 800})
	})
}

func TestReconcile_InterruptedByOutage(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize("", hold.MetaCaptureAt, envtest.In(48*time.Hour))
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList,
			Fault: stripesim.Fault{Kind: stripesim.FaultUnavailable}})
		run, _, err := r.StartRun(w.Ctx, false, nil, "test")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		left := r.await(run.ID, reconcile.RunInterrupted)
		took := time.Since(began)
		if took < 50*time.Second || took > time.Minute || !strings.Contains(left.Error,
			"no answer from Stripe") {
			t.Errorf("after %s: %+v", took, left)
		}
		r.StartRunAfterDataLossOrResume(w.Ctx)
		if n := w.Logs.FilterMessage("reconcile.resumed").Len(); n != 0 ||
			r.caller.IsStripeAvailable() {
			t.Errorf("continued %d times while Stripe is unavailable", n)
		}
		w.Sim.Faults.ClearFaultRules()
		time.Sleep(10 * time.Second)
		r.caller.ProbeIfUnavailable(w.Ctx)
		r.retrieve(id, "")
		r.StartRunAfterDataLossOrResume(w.Ctx)
		done := r.await(run.ID, reconcile.RunFinished)
		if done.Takeovers != 1 || done.Error != "" {
			t.Errorf("%+v", done)
		}
		w.checkCounts(done, counts{reconcile.FoundScheduled: 1})
	})
}

func TestReconcile_OutsideOfStartAndStop(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.newReplica()
		check := func() {
			t.Helper()
			for _, dry := range []bool{true, false} {
				if _, _, err := r.StartRun(w.Ctx, dry, nil, "test"); !errors.Is(
					err, health.ErrUnavailable) {
					t.Errorf("dry %v: %v", dry, err)
				}
			}
			if _, ok, err := r.ReadReconciliation(w.Ctx, ""); ok || err != nil {
				t.Error(ok, err)
			}
		}
		check()
		running := w.start()
		_, _, err := running.StartRun(w.Ctx, false, []string{"no account"}, "test")
		if !errors.Is(err, &hold.Problem{Code: hold.InvalidID}) {
			t.Error(err)
		}
		running.stop()
		r = running
		check()
	})
}

// A run that is under way when the replica stops releases its lock at once.
func TestStop_InterruptsTheRun(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.start(), w.start()
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList, Nth: 1,
			Fault: stripesim.Fault{RequestDelay: time.Hour}})
		run, _, err := first.StartRun(w.Ctx, false, nil, "test")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		first.stop()
		first.StopRuns()
		second.StartRunAfterDataLossOrResume(w.Ctx)
		if done := second.await(run.ID, reconcile.RunFinished); done.Takeovers != 1 {
			t.Errorf("%+v", done)
		}
	})
}

func TestWatch_RebuildsAfterDataLoss(t *testing.T) {
	inWorld(t, func(w *world) {
		r, other := w.start(), w.start()
		connected := w.authorize("acct_00000001", hold.MetaCaptureAt, envtest.In(48*time.Hour))
		other.accounts.Add("acct_00000001")
		other.StartRunAfterDataLossOrResume(w.Ctx)
		first, ok, err := r.ReadReconciliation(w.Ctx, "")
		if err != nil || !ok {
			t.Fatal("a Redis without a run was not compared", err)
		}
		r.await(first.ID, reconcile.RunFinished)
		r.StartRunAfterDataLossOrResume(w.Ctx)
		w.Redis.FlushAll()
		time.Sleep(time.Second)
		r.StartRunAfterDataLossOrResume(w.Ctx)
		other.StartRunAfterDataLossOrResume(w.Ctx)
		if checks := r.DataLossReadinessChecks(); len(checks) != 1 || !checks[0].OK ||
			checks[0].Name != "schedule" {
			t.Errorf("%+v", checks)
		}
		run, ok, err := r.ReadReconciliation(w.Ctx, "")
		if err != nil || !ok || run.ID == first.ID {
			t.Fatalf("%v %v %+v", ok, err, run)
		}
		run = r.await(run.ID, reconcile.RunFinished)
		w.checkCounts(run, counts{reconcile.FoundScheduled: 1})
		if h := r.hold(connected); h.State != hold.Scheduled || h.Account != "acct_00000001" {
			t.Errorf("%+v", h)
		}
		if n := w.published(event.RedisDataLost); n != 1 {
			t.Errorf("%d events tell of the data loss", n)
		}
		if n := w.Logs.FilterMessageSnippet("Redis was emptied").Len(); n != 1 {
			t.Errorf("%d lines tell of the data loss", n)
		}
		r.StartRunAfterDataLossOrResume(w.Ctx)
		if checks := r.DataLossReadinessChecks(); checks != nil {
			t.Errorf("%+v", checks)
		}
	})
}

// Every replica has the job, and one run for each interval is enough.
func TestRunJob_OneRunPerInterval(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.start(), w.start()
		first.RunCronJob(w.Ctx)
		second.RunCronJob(w.Ctx)
		time.Sleep(10 * time.Minute)
		second.RunCronJob(w.Ctx)
		started := w.Logs.FilterMessage("reconcile.started")
		if started.Len() != 1 {
			t.Errorf("%d runs in ten minutes", started.Len())
		}
		time.Sleep(5 * time.Minute)
		second.RunCronJob(w.Ctx)
		if n := w.Logs.FilterMessage("reconcile.finished").FilterField(
			zap.String("by", "schedule")).Len(); n != 2 {
			t.Errorf("%d runs by the schedule", n)
		}
	})
}
