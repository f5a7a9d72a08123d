package query

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// simulatedQueue simulates how the dispatcher processes a queue of holds.
type simulatedQueue struct {
	now   time.Time
	added map[string]struct{}         // ids
	items map[string]*[2][]queuedHold // by account; captures, cancels
}

// Positions in simulatedQueue.items.
const (
	captures = iota
	cancels
)

// queuedHold is one hold in the queue. Its times count from now.
type queuedHold struct {
	id            string
	due, deadline time.Duration
	amount        int64
	currency      string
}

func (q *simulatedQueue) hasReachedForecastLimit() bool { return len(q.added) >= maxForecastHolds }

// add adds a hold once. One that nothing protects has no amount to capture in
// time.
func (q *simulatedQueue) add(h *hold.Hold, due time.Time) {
	if hold.IsOpenWithoutAuthorization(h) || h.NextOp != hold.OpCapture && h.NextOp != hold.OpCancel ||
		!due.Before(h.ExpiresAt) {
		return
	}
	item := queuedHold{id: h.ID, due: max(0, due.Sub(q.now)), deadline: h.ExpiresAt.Sub(q.now),
		amount: h.Amount, currency: h.Currency}
	if h.NextOp == hold.OpCapture {
		item.amount, _ = hold.NextCaptureAmount(h)
	}
	if _, again := q.added[h.ID]; again {
		return
	}
	if q.items == nil {
		q.items, q.added = map[string]*[2][]queuedHold{}, map[string]struct{}{}
	}
	q.added[h.ID] = struct{}{}
	if q.items[h.Account] == nil {
		q.items[h.Account] = &[2][]queuedHold{}
	}
	kind := captures
	if h.NextOp == hold.OpCancel {
		kind = cancels
	}
	q.items[h.Account][kind] = append(q.items[h.Account][kind], item)
}

// recordLateCaptures processes every hold and records the captures that miss
// their deadline. A late cancel loses no money and is not recorded. A hold
// whose deadline has passed uses no request.
func (q *simulatedQueue) recordLateCaptures(risk *event.CapacityRisk, rates forecastRates) {
	for account, kinds := range q.items {
		late := risk.Holds
		q.recordLateCapturesOfAccount(risk, kinds, rates.ratesOfAccount(account))
		if lowered, ok := rates.lowered[account]; ok && risk.Holds > late {
			risk.Rate = min(risk.Rate, max(1, int(lowered.slowestRate())))
		}
	}
	sortSums(risk.Sums)
}

// recordLateCapturesOfAccount processes the holds of one account at its rates.
func (q *simulatedQueue) recordLateCapturesOfAccount(
	risk *event.CapacityRisk, kinds *[2][]queuedHold, rates accountRateLimits,
) {
	gap := [2]time.Duration{captures: requestInterval(rates.capture),
		cancels: requestInterval(rates.cancel)}
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
			free[kind], totalFree = at+gap[kind], at+requestInterval(rates.all)
			continue
		}
		if kind == captures {
			q.addLateCaptureToRisk(risk, item)
		}
	}
}

func (q *simulatedQueue) addLateCaptureToRisk(risk *event.CapacityRisk, item queuedHold) {
	risk.Holds++
	risk.Sums = hold.AddToCurrencySums(risk.Sums, item.currency, item.amount)
	if end := q.now.Add(item.deadline); risk.FirstAt.IsZero() || end.Before(risk.FirstAt) {
		risk.FirstAt = end
	}
}

// deadlineHeap is a heap of holds by deadline, with the store's order.
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
