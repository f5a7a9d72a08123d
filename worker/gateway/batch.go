package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// DoEach sends calls concurrently as the budget allows, and calls done with
// each answer. Calls that use the same budget start in their order. A budget
// that is used up does not delay the calls of other budgets. DoEach returns
// when every call that it sent is done. unsent has the positions of the other
// calls in ascending order.
func (c *Caller) DoEach(
	ctx context.Context, calls []hold.Call, b execute.CallBatchOptions, done func(i int, a hold.Answer),
) (unsent []int) {
	if b.Timeout == 0 {
		b.Timeout = c.o.Timeout
	}
	run := &callBatchRun{caller: c, calls: calls, batch: b, done: done}
	run.slots = make(chan struct{}, max(1, b.Concurrency))
	deadline := time.Now().Add(b.MaxWait)
	for queues := groupByBudget(calls); len(queues) > 0; {
		var wait time.Duration
		queues, wait = run.reserveAndStartCalls(ctx, queues)
		noTime := b.MaxWait <= 0 || time.Now().Add(wait).After(deadline)
		if len(queues) > 0 && (noTime || !execute.SleepUnlessCanceled(ctx, wait)) {
			for _, q := range queues {
				run.addUnsentCalls(q.positions...)
			}
			break
		}
	}
	run.inFlight.Wait()
	slices.Sort(run.unsent)
	return run.unsent
}

// budgetCallQueue has the calls of a batch that wait for one budget.
type budgetCallQueue struct {
	account   string
	op        hold.Op // of the budget
	positions []int   // of the calls in the batch
}

// groupByBudget groups calls by their budget, in the order of the first call of
// each.
func groupByBudget(calls []hold.Call) []*budgetCallQueue {
	type key struct {
		account string
		op      hold.Op
	}
	var queues []*budgetCallQueue
	byKey := map[key]*budgetCallQueue{}
	for i := range calls {
		k := key{calls[i].Account, calls[i].Op.RateLimitBucket()}
		q := byKey[k]
		if q == nil {
			q = &budgetCallQueue{account: k.account, op: k.op}
			byKey[k], queues = q, append(queues, q)
		}
		q.positions = append(q.positions, i)
	}
	return queues
}

// callBatchRun is one run of DoEach.
type callBatchRun struct {
	caller   *Caller
	calls    []hold.Call
	batch    execute.CallBatchOptions
	done     func(i int, a hold.Answer)
	slots    chan struct{} // has one element for each call in flight
	inFlight sync.WaitGroup

	mu     sync.Mutex
	unsent []int
}

// reserveAndStartCalls starts the calls that the budgets allow now. It returns
// the queues that still have calls, and the time until the next try. wait is 0
// if every budget allowed a call.
func (r *callBatchRun) reserveAndStartCalls(
	ctx context.Context, queues []*budgetCallQueue,
) (rest []*budgetCallQueue, wait time.Duration) {
	wants := make([]hold.BudgetRequest, len(queues))
	for n, q := range queues {
		wants[n] = hold.BudgetRequest{
			Account: q.account, Op: q.op, Requests: len(q.positions), Priority: r.batch.Priority,
		}
	}
	reserved, err := r.caller.budget.ReserveRequests(ctx, wants...)
	if err != nil {
		r.caller.o.Health.ReportError(ctx, "reserve requests", err)
	}
	for n, q := range queues {
		allowed := reserved[n].Requests
		for _, i := range q.positions[:allowed] {
			r.startCall(ctx, i)
		}
		if q.positions = q.positions[allowed:]; len(q.positions) == 0 {
			continue
		}
		if err != nil {
			r.addUnsentCalls(q.positions...)
			continue
		}
		rest = append(rest, q)
		if allowed == 0 && (wait == 0 || reserved[n].Wait < wait) {
			wait = reserved[n].Wait
		}
	}
	return rest, wait
}

// startCall waits for a free slot and sends a call in the background.
func (r *callBatchRun) startCall(ctx context.Context, i int) {
	r.slots <- struct{}{}
	r.inFlight.Go(func() {
		defer func() { <-r.slots }()
		a, err := r.caller.sendThroughBreaker(ctx, r.calls[i], r.batch.Timeout)
		if err != nil {
			r.addUnsentCalls(i)
			return
		}
		r.done(i, a)
	})
}

func (r *callBatchRun) addUnsentCalls(positions ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsent = append(r.unsent, positions...)
}
