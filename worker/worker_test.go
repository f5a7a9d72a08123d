package worker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestAHoldIsCapturedAtItsTime(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		at := time.Now().Add(2*time.Minute + 345*time.Millisecond)
		h := w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, Reference: "BK-1", CaptureAt: at.Format(time.RFC3339Nano)})
		if !h.Verified || h.Amount != 10_000 || h.Currency != "eur" || h.ExpiresSource != hold.SourceCharge {
			t.Fatalf("scheduled as %+v", h)
		}
		time.Sleep(2*time.Minute + 300*time.Millisecond)
		w.once(id)
		h = w.eventually(r, id, hold.Captured, time.Second)
		if late := h.SettledAt.Sub(at); late < 0 || late > 100*time.Millisecond {
			t.Errorf("settled %s after its time", late)
		}
		w.once(id, "captured 10000 by api")
		lines := w.logs.FilterMessage("hold.captured").All()
		if len(lines) != 1 {
			t.Fatalf("%d lines tell of the capture", len(lines))
		}
		fields := lines[0].ContextMap()
		for _, name := range []string{"event", "hold", "payment_intent", "account", "reference", "amount", "currency", "attempt", "idempotency_key", "request_id", "lateness_ms", "cause"} {
			if v, ok := fields[name]; !ok || name != "account" && name != "lateness_ms" && (v == "" || v == 0) {
				t.Errorf("the outcome's line says %s=%v", name, v)
			}
		}
	})
}

// How each fault of one capture ends: always captured once, whatever the reply was.
func TestWhateverTheReplyTheMoneyMovesOnce(t *testing.T) {
	for _, fault := range []stripesim.Fault{
		{Kind: stripesim.DropRequest}, {Kind: stripesim.DropReply}, {Kind: stripesim.BrokenBody}, {Kind: stripesim.CutBody},
		{Kind: stripesim.ErrorBefore}, {Kind: stripesim.ErrorAfter}, {Kind: stripesim.Unavailable}, {Kind: stripesim.HTML},
		{Kind: stripesim.HTMLAfter}, {Kind: stripesim.RateLimited}, {Kind: stripesim.LockTimeout}, {Kind: stripesim.Conflict},
		{Kind: stripesim.Dependency}, {Kind: stripesim.Forbidden}, {Kind: stripesim.NotFound},
		{Kind: stripesim.Unauthorized},
		{Before: 40 * time.Second}, {After: 40 * time.Second}, {Service: 40 * time.Second},
	} {
		for _, times := range []int{1, 4} {
			name := string(fault.Kind)
			if name == "" {
				name = "delay"
			}
			t.Run(name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					r := w.start()
					id, released := w.authorize(), w.authorize()
					for _, class := range []stripesim.Class{stripesim.ClassCapture, stripesim.ClassCancel} {
						if _, err := w.sim.AddFault(stripesim.Rule{Class: class, Times: times, Fault: fault}); err != nil {
							t.Fatal(err)
						}
					}
					w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Minute), CaptureAmount: 7_000})
					w.schedule(r, hold.ScheduleRequest{PaymentIntent: released, CancelAt: in(time.Minute)})
					h := w.eventually(r, id, hold.Captured, 20*time.Minute)
					w.eventually(r, released, hold.Canceled, 20*time.Minute)
					w.once(id, "captured 7000 by api", "released 3000 by api")
					if h.CapturedAmount != 7_000 || h.Reason != hold.CauseSchedule {
						t.Errorf("captured %d because of %s", h.CapturedAmount, h.Reason)
					}
					if got := w.effects(released); len(got) != 1 {
						t.Errorf("released by %q", got)
					}
				}, calmly)
			})
		}
	}
}

func TestAKeyOlderThanADayIsNotUsedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Minute), CaptureAmount: 4_000})
		// The reply is lost after the effect, and then nothing gets through for more than a day: by then Stripe has forgotten the key.
		if _, err := w.sim.AddFault(stripesim.Rule{Class: stripesim.ClassCapture, Nth: 1, Fault: stripesim.Fault{Kind: stripesim.DropReply}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute / 2)
		time.Sleep(500 * time.Millisecond)
		out, err := w.sim.AddFault(stripesim.Rule{Fault: stripesim.Fault{Kind: stripesim.DropRequest}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		if h := w.hold(r, id); h.State != hold.Working {
			t.Fatalf("%s while its outcome isn't known", h.State)
		}
		_, _, err = r.Cancel(w.ctx, id, 0, "test")
		if !errors.Is(err, &hold.Problem{Code: hold.TooLate}) {
			t.Errorf("a cancel while the outcome isn't known: %v", err)
		}
		w.sim.RemoveFault(out)
		w.eventually(r, id, hold.Captured, 10*time.Minute)
		w.once(id, "captured 4000 by api", "released 6000 by api")
	}, slowly)
}

func TestWhatOthersDidSettlesTheHoldWithTheCauseTold(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *world, id string) error
		want hold.State
	}{
		{"captured in the Dashboard", func(w *world, id string) error { return w.sim.Dashboard().Capture(id, 0) }, hold.Captured},
		{"canceled in the Dashboard", func(w *world, id string) error { return w.sim.Dashboard().Cancel(id, "abandoned") }, hold.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.start()
				for _, req := range []hold.ScheduleRequest{{CaptureAt: in(time.Minute)}, {CancelAt: in(time.Minute)}} {
					id := w.authorize()
					req.PaymentIntent = id
					w.schedule(r, req)
					if err := tt.do(w, id); err != nil {
						t.Fatal(err)
					}
					h := w.eventually(r, id, tt.want, 2*time.Minute)
					if h.Reason != hold.CauseElsewhere {
						t.Errorf("%s because of %s", h.State, h.Reason)
					}
				}
			})
		})
	}
}

func TestTheDeadlineIsActedOnAtItsMargin(t *testing.T) {
	for _, tt := range []struct {
		policy string
		want   hold.State
		cause  hold.Cause
		before time.Duration // the deadline
	}{
		{"", hold.Canceled, hold.CauseOnExpiry, time.Hour},
		{"cancel", hold.Canceled, hold.CauseOnExpiry, time.Hour},
		{"capture", hold.Captured, hold.CauseOnExpiry, time.Hour},
		{"alert", hold.Expired, hold.CauseExpired, 0},
	} {
		t.Run("on_expiry "+tt.policy, func(t *testing.T) {
			inWorld(t, func(w *world) {
				r := w.start()
				id := w.authorize()
				deadline := time.Now().Add(7 * time.Hour)
				if err := w.sim.SetCaptureBefore(id, deadline); err != nil {
					t.Fatal(err)
				}
				h := w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: tt.policy})
				h = w.eventually(r, id, tt.want, 9*time.Hour)
				if h.Reason != tt.cause {
					t.Errorf("because of %s, want %s", h.Reason, tt.cause)
				}
				if d := h.SettledAt.Sub(deadline.Add(-tt.before)); d < 0 || d > time.Minute {
					t.Errorf("settled %s after %s before the deadline", d, tt.before)
				}
				want := map[string]int{"6h0m0s": 1, "4h0m0s": 1, "2h0m0s": 1, "1h0m0s": 1}
				for _, e := range w.logs.FilterMessage("hold.expiring").All() {
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
			}, slowly, func(w *world, _ *stripesim.Options) {
				w.opts.Rules.Thresholds = []time.Duration{6 * time.Hour, 4 * time.Hour, 2 * time.Hour, time.Hour}
			})
		})
	}
}

// slowly lets a replica look every half minute, so that days go by quickly.
func slowly(w *world, _ *stripesim.Options) {
	w.opts.Schedules = worker.Schedules{Capture: "@every 30s", Expiry: "@every 30s", Report: "@every 1h", Verify: "@every 5m",
		Refresh: "@every 30s", Inbox: "@every 30s", Mirror: "@every 30s", Resume: "@every 5m"}
}

// calmly lets a replica look every few seconds, where minutes or an hour go by and no second of them counts.
func calmly(w *world, _ *stripesim.Options) {
	w.opts.Schedules = worker.Schedules{Capture: "@every 5s", Expiry: "@every 5s", Report: "@every 1m", Verify: "@every 30s",
		Refresh: "@every 5s", Inbox: "@every 1m", Mirror: "@every 10s"}
}

func TestATimeAfterTheDeadlineIsRefusedWithTheDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		s := r.Schedule(w.ctx, []hold.ScheduleRequest{{PaymentIntent: id, CaptureAt: in(8 * 24 * time.Hour)}}, "test")[0]
		var p *hold.Problem
		if !errors.As(s.Err, &p) || p.Code != hold.AfterDeadline || p.Deadline.IsZero() {
			t.Fatalf("%+v", s.Err)
		}
		if _, _, err := r.Get(w.ctx, id); !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) {
			t.Errorf("something was kept: %v", err)
		}
	})
}

func TestACrashedReplicasWorkIsTakenOverWithinTheLease(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start()
		var ids []string
		for range 40 {
			id := w.authorize()
			ids = append(ids, id)
			w.schedule(a, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000, Currency: "eur", ExpiresAt: in(6 * 24 * time.Hour), CaptureAt: in(time.Minute)})
		}
		w.sim.SetServiceTime(3 * time.Second)
		time.Sleep(time.Minute + 2*time.Second)
		a.kill()
		died := time.Now()
		b := w.start()
		for _, id := range ids {
			h := w.eventually(b, id, hold.Captured, time.Minute)
			if since := h.SettledAt.Sub(died); since > 40*time.Second {
				t.Errorf("%s was captured %s after the crash", id, since)
			}
			w.once(id, "captured 10000 by api")
		}
	}, func(w *world, o *stripesim.Options) {
		w.store.Rates = store.Rates{}
		o.EndpointRate, o.OverallRate = -1, -1
	})
}

func TestTheBudgetIsNeverOverdrawnAndDeadlinesGoFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start()
		w.start()
		const n = 300
		ids := make([]string, n)
		for i := range ids {
			ids[i] = w.authorize()
			// Scheduled in the reverse order of their deadlines.
			w.schedule(a, hold.ScheduleRequest{PaymentIntent: ids[i], Amount: 10_000, Currency: "eur", ExpiresAt: in(6*24*time.Hour - time.Duration(i)*time.Hour/10), CaptureAt: time.Now().Add(time.Minute).Format(time.RFC3339)})
		}
		began := time.Now().Add(time.Minute)
		time.Sleep(time.Minute + 30*time.Second)
		if s := w.sim.Stats(); s.RateLimited > 0 {
			t.Errorf("%d requests were refused for a rate", s.RateLimited)
		}
		var order []time.Time
		last := began
		for i := n - 1; i >= 0; i-- {
			h := w.hold(a, ids[i])
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

func TestStripeAwayBurnsNothingAndTurnsNobodyAway(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Minute)})
		out, err := w.sim.AddFault(stripesim.Rule{Fault: stripesim.Fault{Kind: stripesim.DropRequest}})
		if err != nil {
			t.Fatal(err)
		}
		var others []string
		for range 20 {
			other := w.authorize()
			h := w.schedule(r, hold.ScheduleRequest{PaymentIntent: other, CaptureAt: in(20 * time.Minute)})
			if h.Verified {
				t.Fatal("verified while Stripe is away")
			}
			others = append(others, other)
		}
		missing := w.schedule(r, hold.ScheduleRequest{PaymentIntent: "pi_000000000000000000000000", CaptureAt: in(20 * time.Minute)})
		time.Sleep(10 * time.Minute)
		ready := r.Readiness.Check(w.ctx)
		if ok(ready, "stripe") {
			t.Error("ready while Stripe is away")
		}
		w.sim.RemoveFault(out)
		w.eventually(r, id, hold.Captured, 2*time.Minute)
		time.Sleep(10 * time.Second)
		for _, other := range others {
			if h := w.hold(r, other); !h.Verified || h.Amount != 10_000 {
				t.Errorf("not checked after Stripe was back: %+v", h)
			}
		}
		if h := w.eventually(r, missing.ID, hold.Attention, time.Minute); h.Reason != hold.CauseNotFound {
			t.Errorf("because of %s", h.Reason)
		}
		for _, other := range others {
			w.eventually(r, other, hold.Captured, 20*time.Minute)
			w.once(other, "captured 10000 by api")
		}
	})
}

func ok(checks []health.Check, name string) bool {
	for _, c := range checks {
		if c.Name == name {
			return c.OK
		}
	}
	return false
}

func TestARejectedKeyStopsClaimsAndLosesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		var ids []string
		for range 10 {
			id := w.authorize()
			ids = append(ids, id)
			w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Minute)})
		}
		w.sim.RevokeKey("sk_test_world")
		time.Sleep(10 * time.Minute)
		if ok(r.Readiness.Check(w.ctx), "stripe") {
			t.Error("ready with a key that is rejected")
		}
		if calls := w.sim.Stats().Calls; len(calls) == 0 {
			t.Error("nothing was asked")
		}
		w.sim.RestoreKey("sk_test_world")
		for _, id := range ids {
			w.eventually(r, id, hold.Captured, 3*time.Minute)
			w.once(id, "captured 10000 by api")
		}
	})
}

func TestStoppingFinishesWhatIsUnderWayAndGivesTheRestBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start()
		var ids []string
		for range 100 {
			id := w.authorize()
			ids = append(ids, id)
			w.schedule(a, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000, Currency: "eur", ExpiresAt: in(6 * 24 * time.Hour), CaptureAt: in(time.Minute)})
		}
		w.sim.SetServiceTime(2 * time.Second)
		time.Sleep(time.Minute + time.Second)
		stopped := time.Now()
		a.stop()
		<-a.done
		a.done <- nil
		if took := time.Since(stopped); took > 3*time.Second {
			t.Errorf("stopping took %s", took)
		}
		w.sim.SetServiceTime(0)
		b := w.start()
		captured := 0
		for _, id := range ids {
			switch h := w.hold(b, id); h.State {
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
			w.eventually(b, id, hold.Captured, 5*time.Second)
			w.once(id, "captured 10000 by api")
		}
	}, func(w *world, o *stripesim.Options) {
		w.store.Rates = store.Rates{}
		w.opts.Concurrency = 8
		o.EndpointRate, o.OverallRate = -1, -1
	})
}

func TestAWindowHoldsTheScheduleBackAndNeverADeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		// The bubble begins at midnight UTC on 2000-01-01; the window opens at 09:00.
		inWindow, pressing, asked := w.authorize(), w.authorize(), w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: inWindow, CaptureAt: in(time.Hour)})
		if err := w.sim.SetCaptureBefore(pressing, time.Now().Add(5*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: pressing, CaptureAt: in(2 * time.Hour)})
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: asked})
		if _, _, err := r.Capture(w.ctx, asked, 0, 0, "test"); err != nil {
			t.Fatal(err)
		}
		w.eventually(r, asked, hold.Captured, 2*time.Second)
		time.Sleep(3*time.Hour + 30*time.Minute)
		w.once(pressing)
		w.eventually(r, pressing, hold.Captured, 40*time.Minute)
		w.once(inWindow)
		w.eventually(r, inWindow, hold.Captured, 6*time.Hour)
	}, func(w *world, _ *stripesim.Options) {
		slowly(w, nil)
		w.opts.Schedules.Capture = "TZ=UTC */5 9-18 * * *"
	})
}

func TestWishesUntilTheMomentOfTheClaim(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Hour)})
		later := in(3 * time.Hour)
		h, _, err := r.Patch(w.ctx, id, hold.Patch{CaptureAt: &later}, 1, "test")
		if err != nil || h.Revision != 2 {
			t.Fatal(h.Revision, err)
		}
		if _, _, err := r.Patch(w.ctx, id, hold.Patch{CaptureAt: &later}, 1, "test"); !errors.Is(err, &hold.Problem{Code: hold.RevisionMismatch}) {
			t.Error(err)
		}
		if _, _, err := r.Pause(w.ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Hour)
		w.once(id)
		if _, _, err := r.Resume(w.ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		w.eventually(r, id, hold.Captured, 10*time.Second)
		if _, _, err := r.Cancel(w.ctx, id, 0, "test"); !errors.Is(err, &hold.Problem{Code: hold.AlreadyCaptured}) {
			t.Error(err)
		}

		// A cancel that is accepted is for good, even if Stripe can't be reached for hours.
		id = w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Hour)})
		out, err := w.sim.AddFault(stripesim.Rule{Class: stripesim.ClassCancel, Fault: stripesim.Fault{Kind: stripesim.Unavailable}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Cancel(w.ctx, id, 0, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		if _, _, err := r.Capture(w.ctx, id, 0, 0, "test"); err == nil {
			t.Error("a capture was accepted after a cancel")
		}
		w.sim.RemoveFault(out)
		w.eventually(r, id, hold.Canceled, 5*time.Minute)
	}, func(w *world, _ *stripesim.Options) {
		slowly(w, nil)
		w.opts.Schedules.Capture, w.opts.Schedules.Expiry = "@every 5s", "@every 5s"
	})
}

func TestScheduleAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		req := hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Minute), Reference: "BK-7"}
		w.schedule(r, req)
		other := req
		other.CaptureAmount = 100
		got := r.Schedule(w.ctx, []hold.ScheduleRequest{req, other, req}, "test")
		if got[0].Err != nil || got[0].Created || got[2].Err != nil || got[2].Created {
			t.Errorf("the same again: %+v", got)
		}
		if !errors.Is(got[1].Err, &hold.Problem{Code: hold.HoldExists}) {
			t.Errorf("other terms: %v", got[1].Err)
		}
		time.Sleep(5 * time.Hour)
		if s := r.Schedule(w.ctx, []hold.ScheduleRequest{req}, "test")[0]; s.Err != nil || s.Created || s.Hold.State != hold.Captured {
			t.Errorf("the same again long after: %+v", s)
		}
	}, slowly)
}

func TestListAndPlan(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		for i := range 30 {
			req := hold.ScheduleRequest{PaymentIntent: w.authorize(), Amount: 10_000, Currency: "eur", ExpiresAt: in(6 * 24 * time.Hour), Reference: []string{"A-", "B-"}[i%2] + string(rune('a'+i))}
			switch i % 3 {
			case 0:
				req.CaptureAt = in(time.Duration(i) * time.Hour)
			case 1:
				req.CancelAt = in(time.Duration(i) * time.Hour)
			}
			w.schedule(r, req)
		}
		time.Sleep(10 * time.Second)
		count := func(q query.Query) (n int) {
			q.Limit = 4
			seen := map[string]bool{}
			for {
				p, err := r.List(w.ctx, q)
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
			q    query.Query
			want int
		}{
			{query.Query{}, 30}, {query.Query{State: hold.Captured}, 1}, {query.Query{State: hold.Waiting}, 10}, {query.Query{State: hold.Scheduled}, 19},
			{query.Query{Reference: "A-"}, 15}, {query.Query{Reference: "A-c"}, 1}, {query.Query{Reference: "C"}, 0},
			{query.Query{ExpiringWithin: 7 * 24 * time.Hour}, 29}, {query.Query{ExpiringWithin: time.Hour}, 0}, {query.Query{Account: "acct_nobodyhere"}, 0},
		} {
			if got := count(tt.q); got != tt.want {
				t.Errorf("%+v: %d holds, want %d", tt.q, got, tt.want)
			}
		}
		p, err := r.Plan(w.ctx, 24*time.Hour)
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

func TestSettledHoldsArePurged(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.start()
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Second), Reference: "BK"})
		w.eventually(r, id, hold.Captured, time.Minute)
		time.Sleep(26 * time.Hour)
		if _, _, err := r.Get(w.ctx, id); !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) {
			t.Error(err)
		}
		for _, key := range w.redis.Keys() {
			switch key {
			case "holdd:partitions", "holdd:mode", "holdd:{0}:events", "holdd:replicas", "holdd:{reconcile}:run":
			default:
				if !strings.HasPrefix(key, "holdd:budget:") {
					t.Errorf("%s is left", key)
				}
			}
		}
	}, slowly, func(w *world, _ *stripesim.Options) { w.opts.Retention = 24 * time.Hour })
}
