package intake_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// pendingAfter lets d pass and returns the refreshes that are due then.
func (w *world) pendingAfter(d time.Duration) []hold.PendingRefresh {
	w.T.Helper()
	time.Sleep(d)
	pending, _, err := w.store.ListDueRefreshes(w.Ctx, 100)
	if err != nil {
		w.T.Fatal(err)
	}
	return pending
}

// refresh runs the job at its next tick. Of refreshes that were requested in
// one millisecond, the store dates the later ones ahead.
func (w *world) refresh() {
	time.Sleep(time.Second)
	w.refresher.Run(w.Ctx)
}

// applyAll applies all events since the last call and fails on an error.
func (w *world) applyAll() (results []string) {
	w.T.Helper()
	events := w.events
	w.events = nil
	for _, e := range events {
		result, err := w.apply(e)
		if err != nil {
			w.T.Fatalf("%s: %v", e.Type, err)
		}
		results = append(results, result)
	}
	return results
}

func TestIntentRefresher_ReadsEachIntentOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Incremental = true })
		w.schedule(captureIn(time.Hour, id))
		w.events = nil
		for _, amount := range []int64{11_000, 12_000, 13_000} {
			if err := w.Sim.Dashboard().Increment(id, amount); err != nil {
				t.Fatal(err)
			}
		}
		if results := w.applyAll(); len(results) < 3 {
			t.Fatalf("%q", results)
		}
		before := w.countRetrieves()
		w.refresh()
		if n := w.countRetrieves() - before; n != 1 {
			t.Errorf("%d reads", n)
		}
		if h := w.hold(id); h.Amount != 13_000 {
			t.Errorf("%+v", h)
		}
		if pending := w.pendingAfter(time.Minute); len(pending) != 0 {
			t.Errorf("still pending: %+v", pending)
		}
	})
}

func TestIntentRefresher_AdoptsTermsInMetadata(t *testing.T) {
	inWorld(t, func(w *world) {
		at := envtest.In(time.Hour)
		good := w.AuthorizeIntent(withMetadata(map[string]string{
			"holdd_capture_at": at, "holdd_reference": "BK-7", "room": "12"}))
		paused := w.AuthorizeIntent(
			withMetadata(map[string]string{"holdd_cancel_at": at, "holdd_paused": "true"}))
		bad := w.AuthorizeIntent(
			withMetadata(map[string]string{"holdd_capture_at": "tomorrow", "room": "12"}))
		none := w.AuthorizeIntent(withMetadata(map[string]string{"room": "12"}))
		over := w.AuthorizeIntent(
			withMetadata(map[string]string{"holdd_capture_at": envtest.In(time.Hour)}))
		w.applyAll()
		if err := w.Sim.Dashboard().Cancel(over, ""); err != nil {
			t.Fatal(err)
		}
		w.refresh()
		h := w.hold(good)
		if h == nil || h.State != hold.Scheduled || h.Reference != "BK-7" ||
			!h.Verified || !h.Mirrored {
			t.Fatalf("%+v", h)
		}
		if by := h.History[0].By; by != "stripe" {
			t.Errorf("scheduled by %s", by)
		}
		if h := w.hold(paused); h == nil || h.State != hold.Paused {
			t.Errorf("%+v", h)
		}
		for _, id := range []string{bad, none, over} {
			if h := w.hold(id); h != nil {
				t.Errorf("%+v", h)
			}
		}
		if !slices.Equal(w.rejected, []string{"stripe invalid_time"}) {
			t.Errorf("rejected %q", w.rejected)
		}
		recorded := w.StreamEntryStrings(rejectedKey)
		if len(recorded) != 1 || !strings.Contains(recorded[0], bad) ||
			!strings.Contains(recorded[0], `{"holdd_capture_at":"tomorrow"}`) {
			t.Errorf("recorded %q", recorded)
		}
		if pending := w.pendingAfter(time.Minute); len(pending) != 0 {
			t.Errorf("still pending: %+v", pending)
		}
	})
}

// An event of an intent that is scheduled later makes the intent read, even if
// the request says everything.
func TestIntentRefresher_EventBeforeRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.events = nil
		if err := w.Sim.Dashboard().Capture(id, 0); err != nil {
			t.Fatal(err)
		}
		w.applyAll()
		w.schedule(completeRequest(id))
		w.refresh()
		if h := w.hold(id); h.State != hold.Captured || h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
	})
}

// An intent that was scheduled between the event and the read is read once
// more, as a hold.
func TestIntentRefresher_ScheduledMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent(
			withMetadata(map[string]string{"holdd_capture_at": envtest.In(time.Hour)}))
		w.applyAll()
		w.schedule(captureIn(2*time.Hour, id))
		w.refresh()
		if h := w.hold(id); h.History[0].By != "test" {
			t.Errorf("%+v", h)
		}
		if pending := w.pendingAfter(time.Minute); len(pending) != 0 {
			t.Errorf("still pending: %+v", pending)
		}
	})
}

// A refresh that loses to another writer stays pending.
func TestIntentRefresher_Conflict(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Incremental = true })
		w.schedule(captureIn(time.Hour, id))
		w.events = nil
		if err := w.Sim.Dashboard().Increment(id, 12_000); err != nil {
			t.Fatal(err)
		}
		w.applyAll()
		w.commits.before = func() {
			if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "other"); err != nil {
				t.Error(err)
			}
		}
		w.refresh()
		if h := w.hold(id); h.State != hold.Paused || h.Amount != 10_000 {
			t.Errorf("%+v", h)
		}
		time.Sleep(6 * time.Second)
		w.refresh()
		if h := w.hold(id); h.State != hold.Paused || h.Amount != 12_000 {
			t.Errorf("%+v", h)
		}
	})
}

func TestIntentRefresher_StripeUnavailable(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		w.schedule(captureIn(time.Hour, id))
		w.events = nil
		if err := w.Sim.Dashboard().OpenReview(id); err != nil {
			t.Fatal(err)
		}
		w.applyAll()
		w.AddStripeFault(stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		for range 10 { // enough to open the breaker
			w.refresh()
			time.Sleep(6 * time.Second)
			if !w.caller.IsStripeAvailable() {
				break
			}
		}
		if w.caller.IsStripeAvailable() {
			t.Fatal("the breaker did not open")
		}
		before := w.countRetrieves()
		w.refresh()
		if n := w.countRetrieves() - before; n != 0 {
			t.Errorf("%d reads while Stripe is unavailable", n)
		}
		w.Sim.Faults.ClearFaultRules()
		time.Sleep(10 * time.Second)
		w.caller.ProbeIfUnavailable(w.Ctx)
		w.refresh()
		if h := w.hold(id); h.State != hold.Paused {
			t.Errorf("%+v", h)
		}
	})
}

func TestIntentRefresher_UnseenIntent(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent(
			withMetadata(map[string]string{"holdd_capture_at": envtest.In(time.Hour)}))
		w.applyAll()
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
			Fault: stripesim.Fault{Kind: stripesim.FaultNotFound}})
		if w.refresh(); len(w.rejected) != 0 {
			t.Errorf("rejected after one 404: %q", w.rejected)
		}
		time.Sleep(10 * time.Second)
		w.refresh()
		if !slices.Equal(w.rejected, []string{"stripe payment_intent_not_found"}) ||
			w.hold(id) != nil {
			t.Errorf("rejected %q, hold %+v", w.rejected, w.hold(id))
		}
		if pending := w.pendingAfter(time.Minute); len(pending) != 0 {
			t.Errorf("still pending: %+v", pending)
		}
	})
}

// More refreshes than the budget allows at once are read within one tick's
// time, in turn.
func TestIntentRefresher_WaitsForBudget(t *testing.T) {
	inWorld(t, func(w *world) {
		var ids []string
		for range 60 {
			ids = append(
				ids, w.AuthorizeIntent(withMetadata(map[string]string{"holdd_capture_at": envtest.In(time.Hour)})))
		}
		w.applyAll()
		began := time.Now()
		w.refresher.Run(w.Ctx)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("one tick took %s", took)
		}
		for _, id := range ids {
			if w.hold(id) == nil {
				t.Fatalf("%s is not scheduled", id)
			}
		}
		if max := w.Sim.Stats().MaxPerSecond[stripesim.ClassRetrieve]; max > 40 {
			t.Errorf("%d reads in one second", max)
		}
	})
}

func TestIntentRefresher_RejectionFails(t *testing.T) {
	inWorld(t, func(w *world) {
		w.AuthorizeIntent(withMetadata(map[string]string{"holdd_capture_at": "tomorrow"}))
		w.applyAll()
		w.newRefresher(failingRejector{errors.New("no reply")}).Run(w.Ctx)
		if pending := w.pendingAfter(6 * time.Second); len(pending) != 1 {
			t.Errorf("a rejection that is not recorded must be tried again: %+v", pending)
		}
	})
}

func TestIntentRefresher_RedisUnavailable(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent(
			withMetadata(map[string]string{"holdd_capture_at": envtest.In(time.Hour)}))
		w.applyAll()
		w.Redis.SetError("LOADING")
		w.refresh()
		w.Redis.SetError("")
		if n := w.Logs.FilterMessageSnippet("Redis unavailable").Len(); n == 0 {
			t.Error("not reported")
		}
		w.health.ReportSuccess()
		w.commits.loseReply = 2 // it is written, and not known to be
		w.refresh()
		time.Sleep(6 * time.Second)
		w.refresh()
		if h := w.hold(id); h == nil || len(h.History) != 1 {
			t.Errorf("%+v", h)
		}
		if _, _, err := w.changer.PauseHold(w.Ctx, id, 0, false, "test"); errors.Is(
			err, health.ErrUnavailable) {
			t.Error(err)
		}
		b, _ := json.Marshal(w.pendingAfter(time.Minute))
		if string(b) != "[]" && string(b) != "null" {
			t.Errorf("still pending: %s", b)
		}
	})
}

// Several replicas read an intent once, and one that dies keeps the others out
// for some seconds only.
func TestIntentRefresher_OneReplicaAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Incremental = true })
		w.schedule(captureIn(time.Hour, id))
		w.events = nil
		runEach := func(replicas int) int64 {
			if err := w.Sim.Dashboard().Increment(id, w.hold(id).Amount+1000); err != nil {
				t.Fatal(err)
			}
			w.applyAll()
			time.Sleep(time.Second)
			before := w.countRetrieves()
			var running sync.WaitGroup
			for range replicas {
				running.Go(func() { w.newRefresher(w.rejector).Run(w.Ctx) })
			}
			running.Wait()
			return w.countRetrieves() - before
		}
		if n := runEach(3); n != 1 {
			t.Errorf("three replicas sent %d reads, want 1", n)
		}
		if ok, err := w.store.AcquireLock(w.Ctx, "refresh", 7*time.Second); err != nil || !ok {
			t.Fatalf("the lock after the job: %v, %v", ok, err)
		}
		if n := runEach(1); n != 0 {
			t.Errorf("%d reads beside another replica", n)
		}
		time.Sleep(7 * time.Second) // it died
		w.refresh()
		if h := w.hold(id); h.Amount != 12_000 {
			t.Errorf("%+v", h)
		}
	})
}

// The reply to a list arrives after another replica has read and applied a
// newer state.
func TestIntentRefresher_OldListKeepsNewerHold(t *testing.T) {
	inWorld(t, func(w *world) {
		var ids []string
		for range 12 {
			id := w.AuthorizeIntent(func(h *stripesim.Hold) { h.Incremental = true })
			w.schedule(captureIn(time.Hour, id))
			ids = append(ids, id)
			time.Sleep(100 * time.Millisecond) // for the budget, so that each is verified
		}
		w.events = nil
		increment := func(amount int64) {
			for _, id := range ids {
				if err := w.Sim.Dashboard().Increment(id, amount); err != nil {
					t.Fatal(err)
				}
			}
			w.applyAll()
		}
		increment(11_000)
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassList, Times: 1,
			Fault: stripesim.Fault{ReplyDelay: 8 * time.Second}})
		var first sync.WaitGroup
		first.Go(w.refresh)
		time.Sleep(4 * time.Second)
		increment(13_000)
		time.Sleep(4200 * time.Millisecond) // the lock of the first has ended
		w.newRefresher(w.rejector).Run(w.Ctx)
		for _, id := range ids {
			if h := w.hold(id); h.Amount != 13_000 {
				t.Fatalf("before the late reply: %+v", h)
			}
		}
		first.Wait()
		if n := w.CountStripeCalls(stripesim.ClassList); n != 2 {
			t.Errorf("%d lists, want 2", n)
		}
		for _, id := range ids {
			if h := w.hold(id); h.Amount != 13_000 {
				t.Errorf("%+v", h)
			}
		}
	})
}
