package reconcile_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
)

const longList = 8_000 // intents

// placeLongList creates canceled intents evenly over 34 days, and makes each page
// take two seconds. It returns the rule that does.
func (w *world) placeLongList() (slow int) {
	w.T.Helper()
	w.Sim.Settings.SetRateLimits(-1, -1)
	for range longList {
		id := w.authorize("")
		if err := w.Sim.Dashboard().Cancel(id, "abandoned"); err != nil {
			w.T.Fatal(err)
		}
		time.Sleep(34 * 24 * time.Hour / longList)
	}
	w.Sim.Settings.SetRateLimits(25, 100)
	return w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList,
		Fault: stripesim.Fault{ReplyDelay: 2 * time.Second}})
}

// The pages of a long list are requested eight at a time, each intent is
// compared once, and a run uses half of the budget.
func TestReconcile_LongList(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		w.placeLongList()
		run := r.reconcile(false)
		took := run.FinishedAt.Sub(run.StartedAt)
		// 80 pages one after the other would take 160 s. Each range may end with
		// a page that is not full.
		if run.Listed != longList || run.Pages < 80 || run.Pages > 80+16 || took > 60*time.Second {
			t.Errorf("%d of %d intents on %d pages in %s", run.Listed, longList, run.Pages, took)
		}
		if n := w.Sim.Stats().RateLimited; n != 0 || len(run.Counts) != 0 || run.Percent != 100 {
			t.Errorf("%d answers of 429, %+v", n, run)
		}
	})
}

// An outage ends the lists of all ranges. Another replica continues each range
// after its last page.
func TestReconcile_LongListIsContinued(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.start(), w.start()
		slow := w.placeLongList()
		run, started, err := first.StartRun(w.Ctx, false, nil, "test")
		if err != nil || !started {
			t.Fatal(started, err)
		}
		time.Sleep(26 * time.Second)
		w.Sim.Faults.RemoveFaultRule(slow)
		outage := w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		left := first.await(run.ID, reconcile.RunInterrupted)
		if left.Pages < 12 || left.Pages > 60 {
			t.Fatalf("interrupted: %+v", left)
		}
		w.Sim.Faults.RemoveFaultRule(outage)
		time.Sleep(time.Minute)
		second.StartRunAfterDataLossOrResume(w.Ctx)
		done := second.await(run.ID, reconcile.RunFinished)
		if done.Listed != longList || done.Pages > 80+16 || done.Takeovers != 1 {
			t.Errorf("%d of %d intents on %d pages, %d takeovers", done.Listed, longList,
				done.Pages, done.Takeovers)
		}
	})
}
