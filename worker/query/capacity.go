package query

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// forecastInterval is how often one of the replicas forecasts.
	forecastInterval = 50 * time.Second
	// forecastHorizon is how far ahead it looks.
	forecastHorizon = 24 * time.Hour
	// forecastWindows is the number of windows of the horizon with one
	// partition. With more partitions there are fewer.
	forecastWindows = 288
	// tolerableQueue is how long a queue may be, in time, before its holds are
	// read.
	tolerableQueue = 30 * time.Second
	// maxForecastHolds bounds how many holds are read.
	maxForecastHolds = 20_000
)

// CapacityStore is what a forecast reads.
type CapacityStore interface {
	AcquireLock(ctx context.Context, what string, d time.Duration) (bool, error)
	PromoteDue(ctx context.Context, promote bool, limit int) (hold.PromoteResult, error)
	CountHolds(ctx context.Context) (hold.Counts, error)
	// DueHistogram counts the holds that fall due in each of n windows.
	DueHistogram(ctx context.Context, from time.Time, step time.Duration, n int) ([]int64, error)
	ReadPage(
		ctx context.Context, set hold.SortedSet, after hold.Position, n int,
	) ([]hold.ListedHold, time.Time, error)
	ReadLanePage(
		ctx context.Context, lane hold.Lane, after hold.Position, n int,
	) ([]hold.ListedHold, error)
	Partitions() int
}

// ForecasterOptions configure a [Forecaster].
type ForecasterOptions struct {
	// captures, and as many cancels, a second of each account; 0: no limit is
	// known
	WriteRate int
	TotalRate int    // requests of all kinds a second of each account; 0: no limit
	Wake      func() // wakes the dispatcher when the forecast finds expired leases
}

// Forecaster finds out whether everything that is due, or falls due within a
// day, gets its turn at Stripe before its deadline. Counting suffices to see
// that there is no queue. Where there is one, the holds in it are read and
// served on paper, nearest deadline first, as the dispatcher will serve them.
// The forecast assumes that Stripe answers and that the budget is as
// configured.
type Forecaster struct {
	store CapacityStore
	o     ForecasterOptions
}

// NewForecaster returns a forecaster that reads store.
func NewForecaster(store CapacityStore, o ForecasterOptions) *Forecaster {
	return &Forecaster{store: store, o: o}
}

// Forecast tells which captures will come too late. Of all replicas one
// forecasts at a time; checked is false for the others, and where no limit is
// known.
func (f *Forecaster) Forecast(
	ctx context.Context,
) (risk event.CapacityRisk, checked bool, err error) {
	risk.Rate = f.o.WriteRate
	if risk.Rate <= 0 {
		return risk, false, nil
	}
	if mine, err := f.store.AcquireLock(ctx, "capacity", forecastInterval); err != nil || !mine {
		return risk, false, err
	}
	due, err := f.store.PromoteDue(ctx, false, 1)
	if err != nil {
		return risk, false, err
	}
	if due.ExpiredLeases > 0 {
		f.o.Wake()
	}
	span, busy, err := f.findQueue(ctx, &due)
	if err != nil || !busy {
		return risk, err == nil, err
	}
	queue := simulatedQueue{now: due.Now}
	if err := f.readQueue(ctx, &queue, &due, span); err != nil {
		return risk, false, err
	}
	queue.serve(&risk, f.o.WriteRate, f.o.TotalRate)
	risk.AtLeast = queue.full()
	return risk, true, nil
}

// timeSpan is a part of the horizon, as times from now.
type timeSpan struct{ from, until time.Duration }

// findQueue finds the span in which a queue may build up. busy is false where
// there is none.
func (f *Forecaster) findQueue(
	ctx context.Context, due *hold.PromoteResult,
) (span timeSpan, busy bool, err error) {
	counts, err := f.store.CountHolds(ctx)
	if err != nil {
		return span, false, err
	}
	waiting := int64(0)
	for i := range due.Lanes {
		waiting += int64(due.Lanes[i].Ready)
	}
	if waiting+counts.Scheduled < f.longQueue() {
		return span, false, nil // even if all of it were due now, the queue would be short
	}
	windows := min(forecastWindows, max(24, 8*forecastWindows/f.store.Partitions()))
	step := forecastHorizon / time.Duration(windows)
	arrivals, err := f.store.DueHistogram(ctx, due.Now, step, windows)
	if err != nil {
		return span, false, err
	}
	first, last, busy := f.busyWindows(waiting, arrivals, step)
	span = timeSpan{from: time.Duration(first) * step, until: time.Duration(last+1) * step}
	return span, busy, nil
}

// longQueue is the number of holds from which on a queue is read.
func (f *Forecaster) longQueue() int64 {
	return int64(f.o.WriteRate) * int64(tolerableQueue/time.Second)
}

// busyWindows finds the windows in which a queue may build up if all holds were
// of one account and kind, and begins with the one in which the queue was last
// empty.
func (f *Forecaster) busyWindows(
	waiting int64, arrivals []int64, step time.Duration,
) (first, last int, busy bool) {
	served := int64(float64(f.o.WriteRate) * step.Seconds())
	empty := 0
	for i, arriving := range arrivals {
		if waiting == 0 {
			empty = i
		}
		if waiting+arriving >= f.longQueue() {
			if !busy {
				first, busy = empty, true
			}
			last = i
		}
		waiting = max(0, waiting+arriving-served)
	}
	return first, last, busy
}

// readQueue reads the holds that are due within span, those that wait already
// included where it begins now.
func (f *Forecaster) readQueue(
	ctx context.Context, q *simulatedQueue, due *hold.PromoteResult, span timeSpan,
) error {
	after := hold.Position{Score: due.Now.Add(span.from).UnixMilli() - 1, Member: "~"}
	if span.from == 0 {
		after = hold.Position{}
		for _, lane := range due.Lanes {
			if err := f.readLane(ctx, q, lane); err != nil {
				return err
			}
		}
	}
	end := due.Now.Add(span.until)
	for !q.full() {
		page, _, err := f.store.ReadPage(ctx, hold.SetScheduled, after, setPage)
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

func (f *Forecaster) readLane(ctx context.Context, q *simulatedQueue, lane hold.Lane) error {
	if lane.Op != hold.OpCapture && lane.Op != hold.OpCancel {
		return nil
	}
	for after := (hold.Position{}); !q.full(); {
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

// simulatedQueue serves holds on paper.
type simulatedQueue struct {
	now   time.Time
	n     int
	items map[string]*[2][]queuedHold // by account; captures, cancels
}

// Positions in simulatedQueue.items.
const (
	captures = iota
	cancels
)

// queuedHold is one hold in the queue. Its times are from now.
type queuedHold struct {
	id            string
	due, deadline time.Duration
	amount        int64
	currency      string
}

func (q *simulatedQueue) full() bool { return q.n >= maxForecastHolds }

func (q *simulatedQueue) add(h *hold.Hold, due time.Time) {
	if h.NextOp != hold.OpCapture && h.NextOp != hold.OpCancel || !due.Before(h.ExpiresAt) {
		return
	}
	item := queuedHold{id: h.ID, due: max(0, due.Sub(q.now)), deadline: h.ExpiresAt.Sub(q.now),
		amount: h.Amount, currency: h.Currency}
	if h.CaptureAmount > 0 {
		item.amount = h.CaptureAmount
	}
	if q.items == nil {
		q.items = map[string]*[2][]queuedHold{}
	}
	if q.items[h.Account] == nil {
		q.items[h.Account] = &[2][]queuedHold{}
	}
	kind := captures
	if h.NextOp == hold.OpCancel {
		kind = cancels
	}
	q.items[h.Account][kind] = append(q.items[h.Account][kind], item)
	q.n++
}

// serve gives each hold its turn and records the captures that come too late. A
// cancel that comes too late costs no money, but it takes a turn.
func (q *simulatedQueue) serve(risk *event.CapacityRisk, rate, totalRate int) {
	gap, totalGap := time.Second/time.Duration(rate), time.Duration(0)
	if totalRate > 0 {
		totalGap = time.Second / time.Duration(totalRate)
	}
	for _, kinds := range q.items {
		q.serveAccount(risk, kinds, gap, totalGap)
	}
	sortSums(risk.Sums)
}

// serveAccount serves one account: a request of a kind every gap, one of any
// kind every totalGap.
func (q *simulatedQueue) serveAccount(
	risk *event.CapacityRisk, kinds *[2][]queuedHold, gap, totalGap time.Duration,
) {
	var waiting [2]deadlineHeap
	var free [2]time.Duration // when the next request of a kind may go out
	totalFree := time.Duration(0)
	for k := range kinds {
		slices.SortFunc(kinds[k], func(a, b queuedHold) int { return cmp.Compare(a.due, b.due) })
	}
	for {
		kind, at := -1, time.Duration(0)
		for k := range kinds {
			next := max(free[k], totalFree)
			switch {
			case len(waiting[k]) == 0 && len(kinds[k]) == 0:
				continue
			case len(waiting[k]) == 0:
				next = max(next, kinds[k][0].due)
			}
			if kind < 0 || next < at {
				kind, at = k, next
			}
		}
		if kind < 0 {
			return
		}
		for len(kinds[kind]) > 0 && kinds[kind][0].due <= at {
			heap.Push(&waiting[kind], kinds[kind][0])
			kinds[kind] = kinds[kind][1:]
		}
		item, _ := heap.Pop(&waiting[kind]).(queuedHold)
		if at < item.deadline {
			free[kind], totalFree = at+gap, at+totalGap
			continue
		}
		if kind == captures {
			q.recordLate(risk, item)
		}
	}
}

func (q *simulatedQueue) recordLate(risk *event.CapacityRisk, item queuedHold) {
	risk.Holds++
	risk.Sums = hold.AddToSums(risk.Sums, item.currency, item.amount)
	if end := q.now.Add(item.deadline); risk.FirstAt.IsZero() || end.Before(risk.FirstAt) {
		risk.FirstAt = end
	}
}

// deadlineHeap is a heap of holds by deadline, in the order in which the store
// keeps them.
type deadlineHeap []queuedHold

func (h deadlineHeap) Len() int { return len(h) }
func (h deadlineHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].deadline, h[j].deadline), cmp.Compare(h[i].id, h[j].id)) < 0
}
func (h deadlineHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *deadlineHeap) Push(x any) {
	if item, ok := x.(queuedHold); ok {
		*h = append(*h, item)
	}
}

// Pop implements [heap.Interface].
func (h *deadlineHeap) Pop() any {
	old := *h
	item := old[len(old)-1]
	*h = old[:len(old)-1]
	return item
}
