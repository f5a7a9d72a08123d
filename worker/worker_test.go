package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestWorker_CapturesOnTime(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		at := time.Now().Add(2*time.Minute + 345*time.Millisecond)
		h := w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, Reference: "BK-1",
			CaptureAt: at.Format(time.RFC3339Nano)})
		if !h.Verified || h.Amount != 10_000 || h.Currency != "eur" ||
			h.ExpiresSource != hold.SourceCharge {
			t.Fatalf("scheduled as %+v", h)
		}
		time.Sleep(2*time.Minute + 300*time.Millisecond)
		w.CheckEffects(id)
		h = w.waitForState(r, id, hold.Captured, time.Second)
		if late := h.SettledAt.Sub(at); late < 0 || late > 100*time.Millisecond {
			t.Errorf("settled %s after its time", late)
		}
		w.CheckEffects(id, "captured 10000 by api")
		lines := w.Logs.FilterMessage("hold.captured").All()
		if len(lines) != 1 {
			t.Fatalf("%d lines tell of the capture", len(lines))
		}
		fields := lines[0].ContextMap()
		for _, name := range []string{"event", "hold", "payment_intent", "account", "reference",
			"amount", "currency", "attempt", "idempotency_key", "request_id",
			"lateness_ms", "cause"} {
			if v, ok := fields[name]; !ok || name != "account" &&
				name != "lateness_ms" && (v == "" || v == 0) {
				t.Errorf("the outcome's line says %s=%v", name, v)
			}
		}
	})
}

// How each fault of one capture ends: always captured once, whatever the reply
// was.
func TestWorker_MovesMoneyOnceDespiteFaults(t *testing.T) {
	for _, fault := range []stripesim.Fault{
		{Kind: stripesim.FaultDropRequest}, {Kind: stripesim.FaultDropReply},
		{Kind: stripesim.FaultBrokenBody}, {Kind: stripesim.FaultCutBody},
		{Kind: stripesim.FaultErrorBefore}, {Kind: stripesim.FaultErrorAfter},
		{Kind: stripesim.FaultUnavailable}, {Kind: stripesim.FaultHTML},
		{Kind: stripesim.FaultHTMLAfter}, {Kind: stripesim.FaultRateLimited},
		{Kind: stripesim.FaultLockTimeout}, {Kind: stripesim.FaultKeyInUse},
		{Kind: stripesim.FaultFailedDependency}, {Kind: stripesim.FaultForbidden},
		{Kind: stripesim.FaultNotFound},
		{Kind: stripesim.FaultUnauthorized},
		{RequestDelay: 40 * time.Second}, {ReplyDelay: 40 * time.Second},
		{ServiceTime: 40 * time.Second},
	} {
		for _, times := range []int{1, 4} {
			name := string(fault.Kind)
			if name == "" {
				name = "delay"
			}
			t.Run(name, func(t *testing.T) {
				runTestEnv(t, func(w *testEnv) {
					r := w.startReplica()
					id, released := w.AuthorizeIntent(), w.AuthorizeIntent()
					for _, class := range []stripesim.EndpointClass{stripesim.ClassCapture,
						stripesim.ClassCancel} {
						if _, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: class,
							Times: times, Fault: fault}); err != nil {
							t.Fatal(err)
						}
					}
					w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
						CaptureAt: envtest.In(time.Minute), CaptureAmount: 7_000})
					w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: released,
						CancelAt: envtest.In(time.Minute)})
					h := w.waitForState(r, id, hold.Captured, 20*time.Minute)
					w.waitForState(r, released, hold.Canceled, 20*time.Minute)
					w.CheckEffects(id, "captured 7000 by api", "released 3000 by api")
					if h.CapturedAmount != 7_000 || h.Reason != hold.CauseSchedule {
						t.Errorf("captured %d because of %s", h.CapturedAmount, h.Reason)
					}
					if got := w.IntentEffects(released); len(got) != 1 {
						t.Errorf("released by %q", got)
					}
				}, pollEvery5s)
			})
		}
	}
}

func TestWorker_NeverReusesExpiredKey(t *testing.T) {
	skipIfShort(t)
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Minute), CaptureAmount: 4_000})
		// The reply is lost after the effect, and then nothing gets through for
		// more than a day: by then Stripe has forgotten the key.
		if _, err := w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCapture, Nth: 1,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropReply}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute / 2)
		time.Sleep(500 * time.Millisecond)
		out, err := w.Sim.Faults.AddFaultRule(
			stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		if h := w.mustGet(r, id); h.State != hold.Working {
			t.Fatalf("%s while its outcome isn't known", h.State)
		}
		_, _, err = r.RequestCancel(w.Ctx, id, "", 0, "test")
		if !errors.Is(err, &hold.Problem{Code: hold.TooLate}) {
			t.Errorf("a cancel while the outcome isn't known: %v", err)
		}
		w.Sim.Faults.RemoveFaultRule(out)
		w.waitForState(r, id, hold.Captured, 10*time.Minute)
		w.CheckEffects(id, "captured 4000 by api", "released 6000 by api")
	}, pollEvery5m)
}

func TestWorker_SettledElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *testEnv, id string) error
		want hold.State
	}{
		{"captured in the Dashboard", func(w *testEnv, id string) error {
			return w.Sim.Dashboard().Capture(id, 0)
		}, hold.Captured},
		{"canceled in the Dashboard", func(w *testEnv, id string) error {
			return w.Sim.Dashboard().Cancel(id, "abandoned")
		}, hold.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				for _, releases := range []bool{false, true} {
					id := w.AuthorizeIntent()
					req := hold.ScheduleRequest{PaymentIntent: id}
					if at := envtest.In(time.Minute); releases {
						req.CancelAt = at
					} else {
						req.CaptureAt = at
					}
					w.mustSchedule(r, req)
					if err := tt.do(w, id); err != nil {
						t.Fatal(err)
					}
					h := w.waitForState(r, id, tt.want, 2*time.Minute)
					if h.Reason != hold.CauseElsewhere {
						t.Errorf("%s because of %s", h.State, h.Reason)
					}
				}
			})
		})
	}
}

func TestWorker_AppliesPolicyAtExpiryMargin(t *testing.T) {
	skipIfShort(t)
	for _, tt := range []struct {
		policy string
		want   hold.State
		cause  hold.Cause
		before time.Duration // the deadline
	}{
		{"", hold.Canceled, hold.CauseOnExpiry, 10 * time.Minute},
		{"cancel", hold.Canceled, hold.CauseOnExpiry, 10 * time.Minute},
		{"capture", hold.Captured, hold.CauseOnExpiry, 10 * time.Minute},
		{"alert", hold.Expired, hold.CauseExpired, 0},
	} {
		t.Run("on_expiry "+tt.policy, func(t *testing.T) {
			runTestEnv(t, func(w *testEnv) {
				r := w.startReplica()
				id := w.AuthorizeIntent()
				deadline := time.Now().Add(70 * time.Minute)
				if err := w.Sim.Dashboard().SetCaptureBefore(id, deadline); err != nil {
					t.Fatal(err)
				}
				h := w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: tt.policy})
				h = w.waitForState(r, id, tt.want, 90*time.Minute)
				if h.Reason != tt.cause {
					t.Errorf("because of %s, want %s", h.Reason, tt.cause)
				}
				if d := h.SettledAt.Sub(deadline.Add(-tt.before)); d < 0 || d > time.Minute {
					t.Errorf("settled %s after %s before the deadline", d, tt.before)
				}
				want := map[string]int{"1h0m0s": 1, "40m0s": 1, "20m0s": 1, "10m0s": 1}
				for _, e := range w.Logs.FilterMessage("hold.expiring").All() {
					d, _ := e.ContextMap()["threshold"].(time.Duration)
					want[d.String()]--
				}
				for th, n := range want {
					if th != "0s" && n > 0 {
						t.Errorf("%d warnings of %s too few", n, th)
					}
				}
				for th, n := range want {
					if th != "0s" && n < 0 {
						t.Errorf("%d warnings of %s too many", -n, th)
					}
				}
			}, pollEvery30s, func(w *testEnv, _ *stripesim.Options) {
				w.opts.Rules.ExpiryMargin = 10 * time.Minute
				w.opts.Rules.Thresholds = []time.Duration{60 * time.Minute, 40 * time.Minute,
					20 * time.Minute, 10 * time.Minute}
			})
		})
	}
}

// pollEvery30s makes a replica look for due holds every half minute, and for
// everything else every five minutes, so that days pass quickly.
func pollEvery30s(w *testEnv, _ *stripesim.Options) {
	w.opts.Schedules = worker.CronSchedules{Capture: "@every 30s", Expiry: "@every 30s",
		Report: "@every 1h", Verify: "@every 5m",
		Refresh: "@every 5m", Inbox: "@every 5m", Mirror: "@every 5m", Resume: "@every 5m"}
}

// pollEvery5m makes a replica poll every few minutes, for tests of days in
// which no minute matters.
func pollEvery5m(w *testEnv, _ *stripesim.Options) {
	w.opts.Schedules = worker.CronSchedules{Capture: "@every 5m", Expiry: "@every 5m",
		Report: "@every 1h", Verify: "@every 1h",
		Refresh: "@every 1h", Inbox: "@every 1h", Mirror: "@every 1h", Resume: "@every 1h"}
}

// pollEvery5s makes a replica poll every few seconds, for tests of minutes to
// an hour in which no second matters.
func pollEvery5s(w *testEnv, _ *stripesim.Options) {
	w.opts.Schedules = worker.CronSchedules{Capture: "@every 5s", Expiry: "@every 5s",
		Report: "@every 1m", Verify: "@every 30s",
		Refresh: "@every 5s", Inbox: "@every 1m", Mirror: "@every 10s"}
}

func TestSchedule_RejectsTimeAfterDeadline(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		s := r.Schedule(w.Ctx,
			[]hold.ScheduleRequest{{PaymentIntent: id, CaptureAt: envtest.In(8 * 24 * time.Hour)}},
			"test")[0]
		var p *hold.Problem
		if !errors.As(s.Err, &p) || p.Code != hold.AfterDeadline || p.Deadline.IsZero() {
			t.Fatalf("%+v", s.Err)
		}
		if _, _, err := r.Get(w.Ctx, id); !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) {
			t.Errorf("something was kept: %v", err)
		}
	})
}

func TestWorker_TakesOverAfterCrash(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a := w.startReplica()
		var ids []string
		for range 40 {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			w.mustSchedule(a, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000,
				Currency: "eur", ExpiresAt: envtest.In(6 * 24 * time.Hour),
				CaptureAt: envtest.In(time.Minute)})
		}
		w.Sim.Settings.SetServiceTime(3 * time.Second)
		time.Sleep(time.Minute + 2*time.Second)
		a.SimulateSIGKILL()
		died := time.Now()
		b := w.startReplica()
		for _, id := range ids {
			h := w.waitForState(b, id, hold.Captured, time.Minute)
			if since := h.SettledAt.Sub(died); since > 40*time.Second {
				t.Errorf("%s was captured %s after the crash", id, since)
			}
			w.CheckEffects(id, "captured 10000 by api")
		}
	}, func(w *testEnv, o *stripesim.Options) {
		w.store.Rates = store.RateLimitOptions{}
		o.EndpointRate, o.OverallRate = -1, -1
	})
}

func TestWorker_KeepsBudgetNearestDeadlineFirst(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		a := w.startReplica()
		w.startReplica()
		const n = 300
		ids := make([]string, n)
		for i := range ids {
			ids[i] = w.AuthorizeIntent()
			// Scheduled in the reverse order of their deadlines.
			w.mustSchedule(a, hold.ScheduleRequest{PaymentIntent: ids[i], Amount: 10_000,
				Currency: "eur", ExpiresAt: envtest.In(6*24*time.Hour - time.Duration(
					i)*time.Hour/10), CaptureAt: time.Now().Add(time.Minute).Format(time.RFC3339)})
		}
		began := time.Now().Add(time.Minute)
		time.Sleep(time.Minute + 30*time.Second)
		if s := w.Sim.Stats(); s.RateLimited > 0 {
			t.Errorf("%d requests were refused for a rate", s.RateLimited)
		}
		var order []time.Time
		last := began
		for i := n - 1; i >= 0; i-- {
			h := w.mustGet(a, ids[i])
			if h.State != hold.Captured {
				t.Fatalf("%d is %s", i, h.State)
			}
			order = append(order, h.SettledAt)
			if h.SettledAt.After(last) {
				last = h.SettledAt
			}
		}
		for i := 1; i < len(order); i++ {
			if order[i-1].Sub(order[i]) > time.Second {
				t.Errorf("a later deadline went %s before a nearer one", order[i-1].Sub(order[i]))
			}
		}
		if took := last.Sub(began); took > 13*time.Second {
			t.Errorf("%d holds at 25 a second took %s", n, took)
		}
	})
}

func TestWorker_StripeUnavailable(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Minute)})
		out, err := w.Sim.Faults.AddFaultRule(
			stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		if err != nil {
			t.Fatal(err)
		}
		var others []string
		for range 20 {
			other := w.AuthorizeIntent()
			h := w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: other,
				CaptureAt: envtest.In(20 * time.Minute)})
			if h.Verified {
				t.Fatal("verified while Stripe is away")
			}
			others = append(others, other)
		}
		missing := w.mustSchedule(
			r, hold.ScheduleRequest{PaymentIntent: "pi_000000000000000000000000",
				CaptureAt: envtest.In(20 * time.Minute)})
		time.Sleep(10 * time.Minute)
		ready := r.Readiness.Check(w.Ctx)
		if checkPassed(ready, "stripe") {
			t.Error("ready while Stripe is away")
		}
		w.Sim.Faults.RemoveFaultRule(out)
		w.waitForState(r, id, hold.Captured, 2*time.Minute)
		time.Sleep(10 * time.Second)
		for _, other := range others {
			if h := w.mustGet(r, other); !h.Verified || h.Amount != 10_000 {
				t.Errorf("not checked after Stripe was back: %+v", h)
			}
		}
		if h := w.waitForState(r, missing.ID, hold.Attention,
			time.Minute); h.Reason != hold.CauseNotFound {
			t.Errorf("because of %s", h.Reason)
		}
		for _, other := range others {
			w.waitForState(r, other, hold.Captured, 20*time.Minute)
			w.CheckEffects(other, "captured 10000 by api")
		}
	})
}

func checkPassed(checks []health.ReadinessCheckResult, name string) bool {
	for _, c := range checks {
		if c.Name == name {
			return c.OK
		}
	}
	return false
}

func TestWorker_RejectedAPIKeyPausesClaims(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		var ids []string
		for range 10 {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
				CaptureAt: envtest.In(time.Minute)})
		}
		w.Sim.Keys.RevokeKey(envtest.APIKey)
		time.Sleep(10 * time.Minute)
		if checkPassed(r.Readiness.Check(w.Ctx), "stripe") {
			t.Error("ready with a key that is rejected")
		}
		if calls := w.Sim.Stats().Calls; len(calls) == 0 {
			t.Error("nothing was asked")
		}
		w.Sim.Keys.RestoreKey(envtest.APIKey)
		for _, id := range ids {
			w.waitForState(r, id, hold.Captured, 3*time.Minute)
			w.CheckEffects(id, "captured 10000 by api")
		}
	})
}
