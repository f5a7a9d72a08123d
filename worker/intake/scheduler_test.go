package intake_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestSchedule_Batch(t *testing.T) {
	inWorld(t, func(w *world) {
		first, second := w.AuthorizeIntent(), w.AuthorizeIntent()
		at := envtest.In(time.Hour)
		results := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{
			{PaymentIntent: first, CaptureAt: at},
			{PaymentIntent: second, CancelAt: at},
			{PaymentIntent: first, CaptureAt: at},                      // the same again
			{PaymentIntent: first, CancelAt: at},                       // other terms
			{PaymentIntent: first, CaptureAt: "tomorrow"},              // invalid
			{PaymentIntent: second, CancelAt: at, CaptureAmount: 5000}, // other terms
		}, "test")
		for i, want := range []struct {
			created bool
			code    hold.ProblemCode
		}{
			{created: true}, {created: true}, {},
			{code: hold.HoldExists}, {code: hold.InvalidTime}, {code: hold.HoldExists},
		} {
			r := results[i]
			if r.Created != want.created || !hasCode(r.Err, want.code) {
				t.Errorf("request %d: created %v, %v; want %+v", i, r.Created, r.Err, want)
			}
		}
		for i, id := range []string{first, second} {
			h := w.hold(id)
			if h == nil || h.State != hold.Scheduled || !h.Verified || h.History[0].By != "test" {
				t.Fatalf("hold %s: %+v", id, h)
			}
			if got := results[i].Hold.Version; got != h.Version {
				t.Errorf("version %d, stored %d", got, h.Version)
			}
		}
		if n := w.countRetrieves(); n != 2 {
			t.Errorf("%d intents were read, want each once", n)
		}
	})
}

func TestSchedule_UnknownIntent(t *testing.T) {
	inWorld(t, func(w *world) {
		req := captureIn(time.Hour, "pi_unknownunknown")
		for i, r := range w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req, req}, "test") {
			if !isProblem(r.Err, hold.IntentNotFound) {
				t.Errorf("request %d: %+v", i, r)
			}
		}
	})
}

func TestSchedule_Repetition(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		req := captureIn(time.Minute, id)
		w.schedule(req)
		time.Sleep(3 * time.Hour)
		again := req
		other := req
		other.Reference = "BK-1"
		results := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{again}, "test")
		if results[0].Err != nil || results[0].Created || results[0].Hold.ID != id {
			t.Errorf("the same request after its time: %+v", results[0])
		}
		results = w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{other}, "test")
		if !isProblem(results[0].Err, hold.InThePast) {
			t.Errorf("another request whose time has passed: %v", results[0].Err)
		}
	})
}

func TestSchedule_Unverified(t *testing.T) {
	inWorld(t, func(w *world) {
		w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		if h := w.schedule(captureIn(time.Hour, w.AuthorizeIntent())); h.Verified ||
			h.State != hold.Scheduled {
			t.Errorf("Stripe unavailable: %+v", h)
		}
		w.Sim.Faults.ClearFaultRules()
		before := w.countRetrieves()
		h := w.schedule(completeRequest(w.AuthorizeIntent()))
		if h.Verified || w.countRetrieves() != before {
			t.Errorf("a request that says everything: verified %v, %d reads", h.Verified,
				w.countRetrieves()-before)
		}
	})
}

func TestSchedule_CurrencyAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, tt := range []struct {
			name, currency string
			unavailable    bool
			want           error
		}{
			{"the intent's", "eur", false, nil},
			{"another", "jpy", false, &hold.Problem{Code: hold.CurrencyMismatch}},
			{"not readable", "jpy", true, health.ErrCurrencyUnchecked},
		} {
			if tt.unavailable {
				w.AddStripeFault(stripesim.FaultRule{Class: stripesim.ClassRetrieve,
					Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
			}
			req := captureIn(time.Hour, w.AuthorizeIntent())
			req.Currency, req.CaptureAmount = tt.currency, 5_000
			r := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]
			if !errors.Is(r.Err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, r.Err, tt.want)
			}
		}
	})
}

func TestSchedule_KeyRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		w.AddStripeFault(stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultUnauthorized}})
		w.schedule(captureIn(time.Hour, w.AuthorizeIntent()))
		before := w.countRetrieves()
		w.schedule(captureIn(time.Hour, w.AuthorizeIntent()))
		if n := w.countRetrieves() - before; n != 0 {
			t.Errorf("%d requests with a rejected key", n)
		}
	})
}

func TestSchedule_BudgetSpent(t *testing.T) {
	inWorld(t, func(w *world) {
		var reqs []hold.ScheduleRequest
		for range 60 {
			reqs = append(reqs, captureIn(time.Hour, w.AuthorizeIntent()))
		}
		began := time.Now()
		verified := 0
		for i, r := range w.scheduler.Schedule(w.Ctx, reqs, "test") {
			if r.Err != nil {
				t.Fatalf("request %d: %v", i, r.Err)
			}
			if r.Hold.Verified {
				verified++
			}
		}
		if verified < envtest.Rates.Read*3/4 || verified == len(reqs) {
			t.Errorf("%d of %d verified, want the reads of a second", verified, len(reqs))
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("waited %s for the budget", took)
		}
	})
}

// TestSchedule_BurstOfImpossibleTimes checks that bookings which arrive together
// are refused as one alone would be.
func TestSchedule_BurstOfImpossibleTimes(t *testing.T) {
	inWorld(t, func(w *world) {
		var reqs []hold.ScheduleRequest
		for range 10 {
			reqs = append(reqs, captureIn(60*24*time.Hour, w.AuthorizeIntent()))
		}
		for i, r := range w.scheduler.Schedule(w.Ctx, reqs, "test") {
			if !isProblem(r.Err, hold.AfterDeadline) {
				t.Errorf("request %d: %v", i, r.Err)
			}
		}
	})
}

func TestSchedule_RedisUnavailable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.Redis.SetError("LOADING")
		req := captureIn(time.Hour, w.AuthorizeIntent())
		for i, r := range w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req, req}, "test") {
			if !errors.Is(r.Err, health.ErrUnavailable) {
				t.Errorf("request %d: %v", i, r.Err)
			}
		}
		w.Redis.SetError("")
		if r := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]; !r.Created {
			t.Errorf("after the outage: %+v", r)
		}
	})
}

func TestSchedule_LostReply(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commits.loseReply = 1
		id := w.AuthorizeIntent()
		if h := w.schedule(captureIn(time.Hour, id)); h.Version != w.hold(id).Version {
			t.Errorf("version %d, stored %d", h.Version, w.hold(id).Version)
		}
		w.commits.loseReply = 2
		reqs := []hold.ScheduleRequest{captureIn(time.Hour, w.AuthorizeIntent())}
		r := w.scheduler.Schedule(w.Ctx, reqs, "test")[0]
		if !errors.Is(r.Err, health.ErrUnavailable) {
			t.Errorf("both replies lost: %+v", r)
		}
	})
}

// A request that loses to another writer leaves nothing behind that a twin
// could be compared with.
func TestSchedule_Conflict(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		ours := captureIn(time.Hour, id)
		w.commits.before = func() {
			w.schedule(hold.ScheduleRequest{PaymentIntent: id, CancelAt: envtest.In(2 * time.Hour)})
		}
		for i, r := range w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{ours, ours}, "test") {
			if !isProblem(r.Err, hold.HoldExists) || r.Created {
				t.Errorf("request %d: created %v, %v", i, r.Created, r.Err)
			}
		}
		if h := w.hold(id); h.CancelAt.IsZero() {
			t.Errorf("the other writer lost: %+v", h)
		}
	})
}

func TestSchedule_WakesDispatcher(t *testing.T) {
	inWorld(t, func(w *world) {
		w.schedule(captureIn(time.Hour, w.AuthorizeIntent()))
		if n := w.wakes.Load(); n != 0 {
			t.Errorf("%d wake-ups for a hold that is due in an hour", n)
		}
		w.schedule(captureIn(-time.Minute, w.AuthorizeIntent()))
		if n := w.wakes.Load(); n != 1 {
			t.Errorf("%d wake-ups for a hold that is due", n)
		}
	})
}

func TestSchedule_Confirm(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.AuthorizeIntent()
		if err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now().Add(50*time.Minute)); err != nil {
			t.Fatal(err)
		}
		req := hold.ScheduleRequest{PaymentIntent: id, OnExpiry: "capture"}
		r := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]
		if !isProblem(r.Err, hold.WouldCaptureNow) || w.hold(id) != nil {
			t.Errorf("without a confirmation: %+v", r)
		}
		req.Confirm = true
		if h := w.schedule(req); h.NextOp != hold.OpCapture || h.Reason != hold.CauseOnExpiry ||
			w.wakes.Load() == 0 {
			t.Errorf("confirmed: %+v", h)
		}
		req.Confirm = false // no term, so a repetition may leave it out
		if r := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]; r.Err != nil ||
			r.Created {
			t.Errorf("the same again: %+v", r)
		}
	})
}
