package worker

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// capacityEvery is how often one of the replicas looks whether everything can be served in time.
	capacityEvery = 50 * time.Second
	// capacityHorizon is how far ahead it looks.
	capacityHorizon = 24 * time.Hour
	// capacityWindows is into how many windows that is cut in a single partition; the more partitions, the fewer.
	capacityWindows = 288
	// minQueueTime is how long a queue may be, in time, without being looked at more closely.
	minQueueTime = 30 * time.Second
	// maxCapacityHolds bounds how many holds a closer look reads.
	maxCapacityHolds = 20_000
)

// Capacity tells of holds whose authorization will end before their turn at Stripe comes, because more is due than the budget lets through.
type Capacity struct {
	Holds   int       `json:"holds"`
	Sums    []Sum     `json:"sums,omitempty"` // what would be lost, by currency
	First   time.Time `json:"first_at"`       // when the first of them ends
	Rate    int       `json:"rate"`           // captures a second of each account
	AtLeast bool      `json:"at_least,omitempty"`
}

// level grows with each fourfold number: a backlog that gets that much worse is news.
func (c *Capacity) level() int { return (bits.Len(uint(c.Holds)) + 1) / 2 }

// capacity looks whether what is due, and what falls due within a day, gets its turn in time. Of all replicas one looks at a time. Counting is
// enough to see that there is no queue; where there is one, the holds in it are read and served on paper, nearest deadline first, as the
// drain loop will serve them.
func (w *Worker) capacity(ctx context.Context) (c Capacity, looked bool, err error) {
	c.Rate = w.o.WriteRate
	if c.Rate <= 0 {
		return c, false, nil
	}
	if mine, err := w.store.AcquireLock(ctx, "capacity", capacityEvery); err != nil || !mine {
		return c, false, err
	}
	due, err := w.store.PromoteDue(ctx, false, 1)
	if err != nil {
		return c, false, err
	}
	if due.ExpiredLeases > 0 {
		w.Wake()
	}
	counts, err := w.store.Counts(ctx)
	if err != nil {
		return c, false, err
	}
	waiting := int64(countReady(due.Lanes))
	if waiting+counts.Scheduled < w.minQueueLength() {
		return c, true, nil // were all of it due at once, there would be no queue to speak of
	}
	windows := min(capacityWindows, max(24, 8*capacityWindows/w.store.Partitions()))
	step := capacityHorizon / time.Duration(windows)
	arrivals, err := w.store.DueHistogram(ctx, due.Now, step, windows)
	if err != nil {
		return c, false, err
	}
	from, until, busy := w.busyWindows(waiting, arrivals, step)
	if !busy {
		return c, true, nil
	}
	q := capacityQueue{now: due.Now}
	if from == 0 {
		for _, lane := range due.Lanes {
			if err := w.readLane(ctx, &q, lane); err != nil {
				return c, false, err
			}
		}
	}
	mark := hold.Position{Score: due.Now.Add(time.Duration(from)*step).UnixMilli() - 1, Member: "~"}
	if from == 0 {
		mark = hold.Position{}
	}
	end := due.Now.Add(time.Duration(until+1) * step)
	for !q.full() {
		page, _, err := w.store.Page(ctx, hold.SetScheduled, mark, sweepBatch)
		if err != nil {
			return c, false, err
		}
		over := len(page) < sweepBatch
		for i := range page {
			h := &page[i].Hold
			mark = page[i].Position
			if h.NextAt.After(end) {
				over = true
				break
			}
			if h.State == hold.Scheduled {
				q.add(h, h.NextAt)
			}
		}
		if over {
			break
		}
	}
	q.simulate(&c, w.o.WriteRate, w.o.TotalRate)
	c.AtLeast = q.full()
	return c, true, nil
}

// minQueueLength is how many holds make a queue that is worth a closer look.
func (w *Worker) minQueueLength() int64 {
	return int64(w.o.WriteRate) * int64(minQueueTime/time.Second)
}

// busyWindows finds the windows in which a queue may build up, as though all were of one account and kind, from where the queue was last empty.
func (w *Worker) busyWindows(waiting int64, arrivals []int64, step time.Duration) (from, until int, busy bool) {
	served := int64(float64(w.o.WriteRate) * step.Seconds())
	empty := 0
	for i, a := range arrivals {
		if waiting == 0 {
			empty = i
		}
		if waiting+a >= w.minQueueLength() {
			if !busy {
				from, busy = empty, true
			}
			until = i
		}
		waiting = max(0, waiting+a-served)
	}
	return from, until, busy
}

func (w *Worker) readLane(ctx context.Context, q *capacityQueue, lane hold.Lane) error {
	if lane.Op != hold.OpCapture && lane.Op != hold.OpCancel {
		return nil
	}
	for mark := (hold.Position{}); !q.full(); {
		page, err := w.store.PageLane(ctx, lane, mark, sweepBatch)
		if err != nil {
			return fmt.Errorf("a lane can't be read: %w", err)
		}
		for i := range page {
			mark = page[i].Position
			if page[i].Hold.State != 0 {
				q.add(&page[i].Hold, q.now)
			}
		}
		if len(page) < sweepBatch {
			return nil
		}
	}
	return nil
}

// capacityQueue serves holds on paper.
type capacityQueue struct {
	now   time.Time
	n     int
	items map[string]*[2][]queuedHold // by account; captures, cancels
}

// queuedHold is one hold in the queue. Times are from now.
type queuedHold struct {
	id            string
	due, deadline time.Duration
	amount        int64
	currency      string
}

func (q *capacityQueue) full() bool { return q.n >= maxCapacityHolds }

func (q *capacityQueue) add(h *hold.Hold, due time.Time) {
	if h.NextOp != hold.OpCapture && h.NextOp != hold.OpCancel || !due.Before(h.ExpiresAt) {
		return
	}
	t := queuedHold{id: h.ID, due: max(0, due.Sub(q.now)), deadline: h.ExpiresAt.Sub(q.now), amount: h.Amount, currency: h.Currency}
	if h.CaptureAmount > 0 {
		t.amount = h.CaptureAmount
	}
	if q.items == nil {
		q.items = map[string]*[2][]queuedHold{}
	}
	if q.items[h.Account] == nil {
		q.items[h.Account] = &[2][]queuedHold{}
	}
	kind := 0
	if h.NextOp == hold.OpCancel {
		kind = 1
	}
	q.items[h.Account][kind] = append(q.items[h.Account][kind], t)
	q.n++
}

// simulate gives each its turn and notes the captures that come too late. A release that comes too late costs nobody anything, but it takes a turn.
func (q *capacityQueue) simulate(c *Capacity, rate, total int) {
	gap, between := time.Second/time.Duration(rate), time.Duration(0)
	if total > 0 {
		between = time.Second / time.Duration(total)
	}
	for _, kinds := range q.items {
		var waiting [2]deadlineHeap
		var free [2]time.Duration
		all := time.Duration(0)
		for k := range kinds {
			slices.SortFunc(kinds[k], func(a, b queuedHold) int { return cmp.Compare(a.due, b.due) })
		}
		for {
			k, at := -1, time.Duration(0)
			for i := range kinds {
				next := max(free[i], all)
				switch {
				case len(waiting[i]) == 0 && len(kinds[i]) == 0:
					continue
				case len(waiting[i]) == 0:
					next = max(next, kinds[i][0].due)
				}
				if k < 0 || next < at {
					k, at = i, next
				}
			}
			if k < 0 {
				break
			}
			for len(kinds[k]) > 0 && kinds[k][0].due <= at {
				heap.Push(&waiting[k], kinds[k][0])
				kinds[k] = kinds[k][1:]
			}
			t, _ := heap.Pop(&waiting[k]).(queuedHold)
			if at < t.deadline {
				free[k], all = at+gap, at+between
				continue
			}
			if k == 0 {
				c.Holds++
				c.Sums = addSum(c.Sums, t.currency, t.amount)
				if end := q.now.Add(t.deadline); c.First.IsZero() || end.Before(c.First) {
					c.First = end
				}
			}
		}
	}
	slices.SortFunc(c.Sums, func(a, b Sum) int { return cmp.Compare(a.Currency, b.Currency) })
}

// deadlineHeap is a heap.
type deadlineHeap []queuedHold

func (b deadlineHeap) Len() int { return len(b) }
func (b deadlineHeap) Less(i, j int) bool { // as Redis orders them
	return cmp.Or(cmp.Compare(b[i].deadline, b[j].deadline), cmp.Compare(b[i].id, b[j].id)) < 0
}
func (b deadlineHeap) Swap(i, j int) { b[i], b[j] = b[j], b[i] }

// Push implements heap.Interface, as does Pop.
func (b *deadlineHeap) Push(x any) {
	if t, ok := x.(queuedHold); ok {
		*b = append(*b, t)
	}
}

func (b *deadlineHeap) Pop() any {
	old := *b
	t := old[len(old)-1]
	*b = old[:len(old)-1]
	return t
}
