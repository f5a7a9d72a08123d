package worker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestWorker_GracefulStop(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a := w.startReplica()
		var ids []string
		for range 100 {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			w.mustSchedule(a, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000,
				Currency: "eur", ExpiresAt: envtest.In(6 * 24 * time.Hour),
				CaptureAt: envtest.In(time.Minute)})
		}
		w.Sim.Settings.SetServiceTime(2 * time.Second)
		time.Sleep(time.Minute + time.Second)
		stopped := time.Now()
		a.stop()
		<-a.done
		a.done <- nil
		if took := time.Since(stopped); took > 3*time.Second {
			t.Errorf("stopping took %s", took)
		}
		w.Sim.Settings.SetServiceTime(0)
		b := w.startReplica()
		captured := 0
		for _, id := range ids {
			switch h := w.mustGet(b, id); h.State {
			case hold.Captured:
				captured++
			case hold.Working:
				t.Errorf("%s was not given back", id)
			}
		}
		if captured != 8 {
			t.Errorf("%d were finished, want the 8 under way", captured)
		}
		for _, id := range ids {
			w.waitForState(b, id, hold.Captured, 5*time.Second)
			w.CheckEffects(id, "captured 10000 by api")
		}
	}, func(w *testEnv, o *stripesim.Options) {
		w.store.Rates = store.RateLimitOptions{}
		w.opts.Concurrency = 8
		o.EndpointRate, o.OverallRate = -1, -1
	})
}

func TestWorker_CaptureWindow(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		// The bubble begins at midnight UTC on 2000-01-01; the window opens at
		// 09:00.
		inWindow, urgent, requested := w.AuthorizeIntent(), w.AuthorizeIntent(), w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: inWindow,
			CaptureAt: envtest.In(time.Hour)})
		if err := w.Sim.Dashboard().SetCaptureBefore(urgent, time.Now().Add(5*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: urgent,
			CaptureAt: envtest.In(2 * time.Hour)})
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: requested})
		if _, _, err := r.RequestCapture(w.Ctx, requested, hold.CaptureRequest{}, 0, "test"); err != nil {
			t.Fatal(err)
		}
		w.waitForState(r, requested, hold.Captured, 2*time.Second)
		time.Sleep(3*time.Hour + 30*time.Minute)
		w.CheckEffects(urgent)
		w.waitForState(r, urgent, hold.Captured, 40*time.Minute)
		w.CheckEffects(inWindow)
		w.waitForState(r, inWindow, hold.Captured, 6*time.Hour)
	}, func(w *testEnv, _ *stripesim.Options) {
		pollEvery30s(w, nil)
		w.opts.Schedules.Capture = "TZ=UTC */5 9-18 * * *"
	})
}

func TestWorker_RequestsUntilClaim(t *testing.T) {
	skipIfShort(t)
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(10 * time.Minute)})
		later := envtest.In(30 * time.Minute)
		h, _, err := r.PatchTerms(w.Ctx, id, hold.Patch{CaptureAt: &later}, 1, "test")
		if err != nil || h.Revision != 2 {
			t.Fatal(h.Revision, err)
		}
		if _, _, err := r.PatchTerms(w.Ctx, id, hold.Patch{CaptureAt: &later}, 1, "test"); !errors.Is(
			err, &hold.Problem{Code: hold.RevisionMismatch}) {
			t.Error(err)
		}
		if _, _, err := r.PauseHold(w.Ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		w.CheckEffects(id)
		if _, _, err := r.ResumeHold(w.Ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		w.waitForState(r, id, hold.Captured, 10*time.Second)
		if _, _, err := r.RequestCancel(w.Ctx, id, "", 0, "test"); !errors.Is(
			err, &hold.Problem{Code: hold.AlreadyCaptured}) {
			t.Error(err)
		}

		// A cancel that is accepted is for good, even if Stripe can't be
		// reached for hours.
		id = w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(10 * time.Minute)})
		out, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCancel,
			Fault: stripesim.Fault{Kind: stripesim.FaultUnavailable}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.RequestCancel(w.Ctx, id, "", 0, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if _, _, err := r.RequestCapture(w.Ctx, id, hold.CaptureRequest{}, 0, "test"); err == nil {
			t.Error("a capture was accepted after a cancel")
		}
		w.Sim.Faults.RemoveFaultRule(out)
		w.waitForState(r, id, hold.Canceled, 5*time.Minute)
	}, func(w *testEnv, _ *stripesim.Options) {
		pollEvery30s(w, nil)
		w.opts.Schedules.Capture, w.opts.Schedules.Expiry = "@every 5s", "@every 5s"
	})
}

func TestSchedule_RepeatedRequest(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		req := hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(time.Minute),
			Reference: "BK-7"}
		w.mustSchedule(r, req)
		other := req
		other.CaptureAmount = 100
		got := r.Schedule(w.Ctx, []hold.ScheduleRequest{req, other, req}, "test")
		if got[0].Err != nil || got[0].Created || got[2].Err != nil || got[2].Created {
			t.Errorf("the same again: %+v", got)
		}
		if !errors.Is(got[1].Err, &hold.Problem{Code: hold.HoldExists}) {
			t.Errorf("other terms: %v", got[1].Err)
		}
		time.Sleep(5 * time.Hour)
		if s := r.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]; s.Err != nil ||
			s.Created || s.Hold.State != hold.Captured {
			t.Errorf("the same again long after: %+v", s)
		}
	}, pollEvery30s)
}

func TestListAndPlan_Counts(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		for i := range 30 {
			req := hold.ScheduleRequest{PaymentIntent: w.AuthorizeIntent(), Amount: 10_000,
				Currency: "eur", ExpiresAt: envtest.In(6 * 24 * time.Hour),
				Reference: []string{"A-", "B-"}[i%2] + string(rune('a'+i))}
			switch i % 3 {
			case 0:
				req.CaptureAt = envtest.In(time.Duration(i) * time.Hour)
			case 1:
				req.CancelAt = envtest.In(time.Duration(i) * time.Hour)
			}
			w.mustSchedule(r, req)
		}
		time.Sleep(10 * time.Second)
		count := func(q query.HoldQuery) (n int) {
			q.Limit = 4
			seen := map[string]bool{}
			for {
				p, err := r.List(w.Ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range p.Holds {
					if seen[h.ID] {
						t.Fatalf("%s is listed twice", h.ID)
					}
					seen[h.ID] = true
				}
				if q.Cursor = p.Next; q.Cursor == "" {
					return len(seen)
				}
			}
		}
		for _, tt := range []struct {
			q    query.HoldQuery
			want int
		}{
			{query.HoldQuery{}, 30}, {query.HoldQuery{State: hold.Captured}, 1},
			{query.HoldQuery{State: hold.Waiting}, 10}, {query.HoldQuery{State: hold.Scheduled},
				19},
			{query.HoldQuery{Reference: "A-"}, 15}, {query.HoldQuery{Reference: "A-c"}, 1},
			{query.HoldQuery{Reference: "C"}, 0},
			{query.HoldQuery{ExpiringWithin: 7 * 24 * time.Hour}, 29},
			{query.HoldQuery{ExpiringWithin: time.Hour}, 0},
			{query.HoldQuery{Account: "acct_nobodyhere"}, 0},
		} {
			if got := count(tt.q); got != tt.want {
				t.Errorf("%+v: %d holds, want %d", tt.q, got, tt.want)
			}
		}
		p, err := r.ForecastPlan(w.Ctx, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		captures, cancels := 0, 0
		for _, h := range p.Hours {
			for _, s := range h.Capture {
				captures += s.Count
			}
			for _, s := range h.Cancel {
				cancels += s.Count
			}
		}
		if captures != 8 || cancels != 8 {
			t.Errorf("plan: %d captures and %d cancels", captures, cancels)
		}
	})
}

func TestWorker_PurgesSettledHolds(t *testing.T) {
	skipIfShort(t)
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Second), Reference: "BK"})
		w.waitForState(r, id, hold.Captured, time.Minute)
		time.Sleep(26 * time.Hour)
		if _, _, err := r.Get(w.Ctx, id); !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) {
			t.Error(err)
		}
		for _, key := range w.Redis.Keys() {
			switch key {
			case "holdd:partitions", "holdd:mode", "holdd:{0}:changes", "holdd:{0}:events",
				"holdd:replicas", "holdd:{reconcile}:run":
			default:
				if !strings.HasPrefix(key, "holdd:budget:") {
					t.Errorf("%s is left", key)
				}
			}
		}
	}, pollEvery5m, func(w *testEnv, _ *stripesim.Options) {
		w.opts.Retention, w.opts.Schedules.Capture = 24*time.Hour, "@every 30s"
	})
}
