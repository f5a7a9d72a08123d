package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// DoEach sends calls as the budget allows and hands each answer to done,
// concurrently. Calls that draw on the same budget start in their order. While
// one budget is used up, calls on the others go on. DoEach returns when every
// call that it sent is done. unsent has the positions of the others, ascending.
func (c *Caller) DoEach(
	ctx context.Context, calls []hold.Call, b execute.BatchOptions, done func(i int, a hold.Answer),
) (unsent []int) {
	if b.Timeout == 0 {
		b.Timeout = c.o.Timeout
	}
	run := &batchRun{caller: c, calls: calls, batch: b, done: done}
	run.slots = make(chan struct{}, max(1, b.Concurrency))
	deadline := time.Now().Add(b.MaxWait)
	for queues := queuesByBudget(calls); len(queues) > 0; {
		var wait time.Duration
		queues, wait = run.sendReserved(ctx, queues)
		noTime := b.MaxWait <= 0 || time.Now().Add(wait).After(deadline)
		if len(queues) > 0 && (noTime || !execute.Sleep(ctx, wait)) {
			for _, q := range queues {
				run.addUnsent(q.positions...)
			}
			break
		}
	}
	run.inFlight.Wait()
	slices.Sort(run.unsent)
	return run.unsent
}

// budgetQueue is the calls of a batch that wait for one budget, by their
// position.
type budgetQueue struct {
	account   string
	op        hold.Op // whose budget it is
	positions []int
}

// queuesByBudget groups calls by the budget that they draw on, in the order of
// their first calls.
func queuesByBudget(calls []hold.Call) []*budgetQueue {
	type key struct {
		account string
		op      hold.Op
	}
	var queues []*budgetQueue
	byKey := map[key]*budgetQueue{}
	for i := range calls {
		k := key{calls[i].Account, calls[i].Op.Bucket()}
		q := byKey[k]
		if q == nil {
			q = &budgetQueue{account: k.account, op: k.op}
			byKey[k], queues = q, append(queues, q)
		}
		q.positions = append(q.positions, i)
	}
	return queues
}

// batchRun is one run of DoEach.
type batchRun struct {
	caller   *Caller
	calls    []hold.Call
	batch    execute.BatchOptions
	done     func(i int, a hold.Answer)
	slots    chan struct{} // one for each call under way
	inFlight sync.WaitGroup

	mu     sync.Mutex
	unsent []int
}

// sendReserved starts what the budgets grant now. It returns the queues that
// are not empty yet, and how long until one of those that got nothing is worth
// another try.
func (r *batchRun) sendReserved(
	ctx context.Context, queues []*budgetQueue,
) (rest []*budgetQueue, wait time.Duration) {
	for _, q := range queues {
		granted, err := r.caller.budget.Reserve(ctx, q.account, q.op, len(q.positions), 0)
		if err != nil {
			r.caller.o.Health.ReportError(ctx, "reserve requests", err)
			r.addUnsent(q.positions...)
			continue
		}
		for _, i := range q.positions[:granted.Granted] {
			r.start(ctx, i)
		}
		if q.positions = q.positions[granted.Granted:]; len(q.positions) == 0 {
			continue
		}
		rest = append(rest, q)
		if granted.Granted == 0 && (wait == 0 || granted.Wait < wait) {
			wait = granted.Wait
		}
	}
	return rest, wait
}

// start sends a call in the background once a slot is free.
func (r *batchRun) start(ctx context.Context, i int) {
	r.slots <- struct{}{}
	r.inFlight.Go(func() {
		defer func() { <-r.slots }()
		a, err := r.caller.send(ctx, r.calls[i], r.batch.Timeout)
		if err != nil {
			r.addUnsent(i)
			return
		}
		r.done(i, a)
	})
}

func (r *batchRun) addUnsent(positions ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsent = append(r.unsent, positions...)
}
