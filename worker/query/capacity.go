package query

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// forecastInterval is the least time between two forecasts of all replicas.
	forecastInterval = 50 * time.Second
	// forecastHorizon is how far ahead a forecast reaches.
	forecastHorizon = 24 * time.Hour
	// forecastWindows is the number of windows that divide the horizon. With
	// more than 8 partitions there are fewer.
	forecastWindows = 288
	// shortQueueDuration is the time that a queue may take without its holds
	// being read.
	shortQueueDuration = 30 * time.Second
	// ForecastLongestWait is how long a forecast without a risk holds if no
	// partition changes.
	ForecastLongestWait = 10 * time.Minute
	// maxForecastHolds bounds how many holds are read.
	maxForecastHolds = 20_000
)

// CapacityStore counts and reads holds for a forecast. store.Store implements
// it.
type CapacityStore interface {
	AcquireLock(ctx context.Context, what string, d time.Duration) (bool, error)
	PromoteDue(ctx context.Context, r hold.PromoteRequest) (hold.PromoteResult, error)
	CountHolds(ctx context.Context) (hold.HoldCounts, error)
	// CountDueByWindow counts the holds that fall due in each of n windows.
	CountDueByWindow(ctx context.Context, from time.Time, step time.Duration, n int) ([]int64, error)
	ReadSortedSetPage(
		ctx context.Context, set hold.SortedSet, after hold.SortedSetPosition, n int,
	) ([]hold.HoldAtPosition, time.Time, error)
	ReadLanePage(
		ctx context.Context, lane hold.ReadyHoldLane, after hold.SortedSetPosition, n int,
	) ([]hold.HoldAtPosition, error)
	// ListLoweredRates returns the rates that a 429 lowered.
	ListLoweredRates(ctx context.Context) ([]hold.LoweredRate, error)
	PartitionCount() int
}

// CapacityRiskForecasterOptions configure a [CapacityRiskForecaster].
type CapacityRiskForecasterOptions struct {
	// WriteRate is the number of captures per second and account, and also that
	// of cancels; 0: unknown, no forecast.
	WriteRate int
	TotalRate int               // requests of all kinds per second and account; 0: no limit
	Gate      *changes.PollGate // closed after a forecast without a risk
	Wake      func()            // wakes the dispatcher when the forecast finds expired leases
}

// CapacityRiskForecaster forecasts which captures of the next day will miss
// their deadline because Stripe's limits allow too few requests. It first
// counts holds: a short queue needs no more work. It reads the holds of a long
// queue and simulates how the dispatcher will process them, nearest deadline
// first. The forecast assumes that Stripe is available and that the rates stay
// as they are now: as configured, or lowered by a 429.
type CapacityRiskForecaster struct {
	store CapacityStore
	o     CapacityRiskForecasterOptions
}

// NewCapacityRiskForecaster returns a forecaster that reads store.
func NewCapacityRiskForecaster(
	store CapacityStore, o CapacityRiskForecasterOptions,
) *CapacityRiskForecaster {
	return &CapacityRiskForecaster{store: store, o: o}
}

// Forecast returns the captures that will miss their deadline. One replica
// forecasts at a time: checked is false for the others, and if no rate is
// configured. A forecast without a risk holds until the schedule changes. Rates
// fall with requests only, which change it.
func (f *CapacityRiskForecaster) Forecast(
	ctx context.Context,
) (risk event.CapacityRisk, checked bool, err error) {
	risk.Rate = f.o.WriteRate
	if risk.Rate <= 0 {
		return risk, false, nil
	}
	if !f.o.Gate.IsOpen(ctx) {
		return risk, true, nil
	}
	poll := f.o.Gate.BeginPoll()
	risk, checked, err = f.forecastOnOneReplica(ctx, risk)
	if err == nil && checked && risk.Holds == 0 {
		poll.CloseForLongestWait()
	}
	return risk, checked, err
}

// forecastOnOneReplica makes a forecast, if no other replica has just made one.
func (f *CapacityRiskForecaster) forecastOnOneReplica(
	ctx context.Context, risk event.CapacityRisk,
) (_ event.CapacityRisk, checked bool, err error) {
	if mine, err := f.store.AcquireLock(ctx, "capacity", forecastInterval); err != nil || !mine {
		return risk, false, err
	}
	due, err := f.store.PromoteDue(ctx, hold.PromoteRequest{Holds: 1})
	if err != nil {
		return risk, false, err
	}
	if due.ExpiredLeases > 0 {
		f.o.Wake()
	}
	lowered, err := f.store.ListLoweredRates(ctx)
	if err != nil {
		return risk, false, err
	}
	rates := newForecastRates(float64(f.o.WriteRate), float64(f.o.TotalRate), lowered)
	span, busy, err := f.findBusySpan(ctx, &due, rates.slowestRate())
	if err != nil || !busy {
		return risk, err == nil, err
	}
	queue := simulatedQueue{now: due.Now}
	if err := f.readHoldsDueInSpanIntoQueue(ctx, &queue, &due, span); err != nil {
		return risk, false, err
	}
	queue.recordLateCaptures(&risk, rates)
	risk.AtLeast = queue.hasReachedForecastLimit()
	return risk, true, nil
}

// timeSpan is a part of the horizon. Its times count from now.
type timeSpan struct{ from, until time.Duration }

// findBusySpan returns the span in which a long queue may build up. busy is
// false if there is none.
func (f *CapacityRiskForecaster) findBusySpan(
	ctx context.Context, due *hold.PromoteResult, rate float64,
) (span timeSpan, busy bool, err error) {
	counts, err := f.store.CountHolds(ctx)
	if err != nil {
		return span, false, err
	}
	waiting := int64(0)
	for i := range due.Lanes {
		waiting += int64(due.Lanes[i].Ready)
	}
	if waiting+counts.Scheduled < longQueueSize(rate) {
		return span, false, nil // the queue would be short even if all were due now
	}
	windows := min(forecastWindows, max(24, 8*forecastWindows/f.store.PartitionCount()))
	step := forecastHorizon / time.Duration(windows)
	arrivals, err := f.store.CountDueByWindow(ctx, due.Now, step, windows)
	if err != nil {
		return span, false, err
	}
	first, last, busy := findBusyWindows(waiting, arrivals, step, rate)
	span = timeSpan{from: time.Duration(first) * step, until: time.Duration(last+1) * step}
	return span, busy, nil
}

// longQueueSize returns the number of holds that make a queue long at a rate.
func longQueueSize(rate float64) int64 {
	return int64(rate * shortQueueDuration.Seconds())
}

// findBusyWindows returns the first and last window of a long queue, as if all
// holds were of one account and kind. The first is the window in which the
// queue was last empty.
func findBusyWindows(
	waiting int64, arrivals []int64, step time.Duration, rate float64,
) (first, last int, busy bool) {
	served := int64(rate * step.Seconds())
	empty := 0
	for i, arriving := range arrivals {
		if waiting == 0 {
			empty = i
		}
		if waiting+arriving >= longQueueSize(rate) {
			if !busy {
				first, busy = empty, true
			}
			last = i
		}
		waiting = max(0, waiting+arriving-served)
	}
	return first, last, busy
}

// readHoldsDueInSpanIntoQueue reads the holds that fall due within span. If span starts now,
// it also reads those that are ready. It reads these again at the end, because
// scheduled holds may become ready meanwhile.
func (f *CapacityRiskForecaster) readHoldsDueInSpanIntoQueue(
	ctx context.Context, q *simulatedQueue, due *hold.PromoteResult, span timeSpan,
) error {
	if span.from > 0 {
		return f.readScheduledHoldsIntoQueue(ctx, q, span)
	}
	if err := f.readReadyHoldsIntoQueue(ctx, q, due.Lanes); err != nil {
		return err
	}
	if err := f.readScheduledHoldsIntoQueue(ctx, q, span); err != nil {
		return err
	}
	later, err := f.store.PromoteDue(ctx, hold.PromoteRequest{Holds: 1})
	if err != nil {
		return err
	}
	return f.readReadyHoldsIntoQueue(ctx, q, later.Lanes)
}

func (f *CapacityRiskForecaster) readReadyHoldsIntoQueue(
	ctx context.Context, q *simulatedQueue, lanes []hold.ReadyHoldLane,
) error {
	for _, lane := range lanes {
		if err := f.readLaneHoldsIntoQueue(ctx, q, lane); err != nil {
			return err
		}
	}
	return nil
}

func (f *CapacityRiskForecaster) readScheduledHoldsIntoQueue(
	ctx context.Context, q *simulatedQueue, span timeSpan,
) error {
	after := hold.SortedSetPosition{}
	if span.from > 0 {
		after = hold.SortedSetPosition{
			Score: q.now.Add(span.from).UnixMilli() - 1, Member: "~",
		}
	}
	end := q.now.Add(span.until)
	for !q.hasReachedForecastLimit() {
		page, _, err := f.store.ReadSortedSetPage(ctx, hold.SetScheduled, after, setPage)
		if err != nil {
			return err
		}
		for i := range page {
			h := &page[i].Hold
			after = page[i].Position
			if h.NextAt.After(end) {
				return nil
			}
			if h.State == hold.Scheduled {
				q.add(h, h.NextAt)
			}
		}
		if len(page) < setPage {
			return nil
		}
	}
	return nil
}

func (f *CapacityRiskForecaster) readLaneHoldsIntoQueue(
	ctx context.Context,
	q *simulatedQueue,
	lane hold.ReadyHoldLane,
) error {
	if lane.Op != hold.OpCapture && lane.Op != hold.OpCancel {
		return nil
	}
	for after := (hold.SortedSetPosition{}); !q.hasReachedForecastLimit(); {
		page, err := f.store.ReadLanePage(ctx, lane, after, setPage)
		if err != nil {
			return fmt.Errorf("read a lane: %w", err)
		}
		for i := range page {
			after = page[i].Position
			if page[i].Hold.State != 0 {
				q.add(&page[i].Hold, q.now)
			}
		}
		if len(page) < setPage {
			return nil
		}
	}
	return nil
}
