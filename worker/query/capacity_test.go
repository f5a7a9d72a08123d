package query_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
)

// scheduleBurst schedules n captures of 100.00 EUR, and as many cancels, that
// fall due in one minute and expire in two.
func (w *world) scheduleBurst(captures, cancels int) {
	w.t.Helper()
	reqs := make([]hold.ScheduleRequest, captures+cancels)
	for i := range reqs {
		reqs[i] = hold.ScheduleRequest{PaymentIntent: id(i), OnExpiry: "alert",
			ExpiresAt: w.in(2 * time.Minute), CaptureAt: w.in(time.Minute)}
		if i >= captures {
			reqs[i].CaptureAt, reqs[i].CancelAt = "", w.in(time.Minute)
		}
	}
	w.schedule(reqs...)
}

func (w *world) forecast(o query.CapacityRiskForecasterOptions) (event.CapacityRisk, bool) {
	w.t.Helper()
	if o.Wake == nil {
		o.Wake = func() {}
	}
	risk, checked, err := query.NewCapacityRiskForecaster(w.store, o).Forecast(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return risk, checked
}

// One request a second from minute 1 to minute 2 makes 60.
func TestCapacityForecaster_Forecast(t *testing.T) {
	for _, tt := range []struct {
		name              string
		captures, cancels int
		o                 query.CapacityRiskForecasterOptions
		late              int
	}{
		{"a short queue", 29, 0, query.CapacityRiskForecasterOptions{WriteRate: 1}, 0},
		{"a long queue that ends in time", 60, 0,
			query.CapacityRiskForecasterOptions{WriteRate: 1}, 0},
		{"one capture too many", 61, 0, query.CapacityRiskForecasterOptions{WriteRate: 1}, 1},
		{"twice the rate", 121, 0, query.CapacityRiskForecasterOptions{WriteRate: 2}, 1},
		{"cancels have their own rate", 60, 60, query.CapacityRiskForecasterOptions{WriteRate: 1},
			0},
		{"late cancels are not at risk", 0, 100, query.CapacityRiskForecasterOptions{WriteRate: 1},
			0},
		{"a total rate below the write rate", 61, 0,
			query.CapacityRiskForecasterOptions{WriteRate: 2, TotalRate: 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.scheduleBurst(tt.captures, tt.cancels)
				risk, checked := w.forecast(tt.o)
				if !checked || risk.Holds != tt.late || risk.AtLeast || risk.Rate != tt.o.WriteRate {
					w.t.Fatalf("checked %v, %+v; want %d late", checked, risk, tt.late)
				}
				if tt.late == 0 {
					return
				}
				if len(risk.Sums) != 1 || risk.Sums[0].Amount != int64(tt.late)*10_000 ||
					!risk.FirstAt.Equal(w.start.Add(2*time.Minute)) {
					w.t.Errorf("%+v", risk)
				}
			})
		})
	}
}

func TestCapacityForecaster_Forecast_NearestDeadlineFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scheduleBurst(60, 0)
		w.schedule(hold.ScheduleRequest{PaymentIntent: id(900), CaptureAt: w.in(time.Minute),
			OnExpiry: "alert", ExpiresAt: w.in(2*time.Minute + time.Second)})
		if risk, _ := w.forecast(query.CapacityRiskForecasterOptions{WriteRate: 1}); risk.Holds != 0 {
			w.t.Errorf("the hold with the latest deadline is last and in time: %+v", risk)
		}
	})
}

func TestCapacityForecaster_Forecast_OneReplicaAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		if _, checked := w.forecast(query.CapacityRiskForecasterOptions{}); checked {
			w.t.Error("without a rate there is nothing to compare with")
		}
		o := query.CapacityRiskForecasterOptions{WriteRate: 1}
		if _, checked := w.forecast(o); !checked {
			w.t.Error("the first replica did not forecast")
		}
		if _, checked := w.forecast(o); checked {
			w.t.Error("a second replica forecast at the same time")
		}
		time.Sleep(time.Minute)
		if _, checked := w.forecast(o); !checked {
			w.t.Error("no replica forecast a minute later")
		}
	})
}

func TestCapacityForecaster_Forecast_WakesDispatcherForExpiredLeases(t *testing.T) {
	inWorld(t, func(w *world) {
		w.schedule(hold.ScheduleRequest{PaymentIntent: id(1), CaptureAt: w.in(time.Second)})
		time.Sleep(2 * time.Second)
		due, err := w.store.PromoteDue(w.ctx, hold.PromoteRequest{Scheduled: true, Holds: 10})
		if err != nil || len(due.Lanes) != 1 {
			w.t.Fatalf("%+v %v", due, err)
		}
		shares := []hold.ClaimShare{{Lane: due.Lanes[0], Holds: 1}}
		claims, err := w.store.ClaimReadyHolds(w.ctx, shares, 30*time.Second)
		if err != nil || len(claims[0].Claims) != 1 {
			w.t.Fatalf("%v %v", claims, err)
		}
		wakes := 0
		o := query.CapacityRiskForecasterOptions{WriteRate: 1, Wake: func() { wakes++ }}
		w.forecast(o)
		time.Sleep(time.Minute)
		if wakes != 0 {
			w.t.Error("woken while the lease is valid")
		}
		if w.forecast(o); wakes != 1 {
			w.t.Errorf("woken %d times after the lease ended", wakes)
		}
	})
}

// After 429s, the forecast reckons with the lowered rate.
func TestCapacityForecaster_Forecast_LoweredRate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scheduleBurst(25*60, 0)
		o := query.CapacityRiskForecasterOptions{WriteRate: 25, TotalRate: 100}
		if risk, _ := w.forecast(o); risk.Holds != 0 {
			w.t.Fatalf("%d late at the configured rate", risk.Holds)
		}
		for range 2 { // the second cut of an idle bucket is the deepest
			err := w.store.LowerRate(w.ctx, "", hold.OpCapture, hold.LimitOfEndpoint, 0)
			if err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		risk, _ := w.forecast(o)
		if risk.Holds < 25*30 || risk.Rate >= 25 {
			w.t.Errorf("%+v, want the holds beyond the lowered rate", risk)
		}
	})
}
