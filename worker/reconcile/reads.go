package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxBudgetDrought is how long a run waits for the budget before it is
	// interrupted.
	maxBudgetDrought = 10 * time.Minute
	// minBudgetWait and maxBudgetWait bound the time between two tries to
	// reserve a read.
	minBudgetWait = 10 * time.Millisecond
	maxBudgetWait = 5 * time.Second
	// maxConcurrentReads bounds the single reads under way at once.
	maxConcurrentReads = 8
	// maxUnansweredLists is after how many unanswered list calls in a row the
	// run is interrupted.
	maxUnansweredLists = 6
	// listRetryBase and listRetryLimit bound the back-off of an unanswered list
	// call.
	listRetryBase  = 2 * time.Second
	listRetryLimit = 20 * time.Second
)

// retrievePacer spaces the reads of all comparisons of a replica.
type retrievePacer struct {
	step time.Duration // between two reads

	mu   sync.Mutex
	next time.Time // when the next read may be sent
}

// tryTakeSlot returns how long to wait before the next read. If it returns 0,
// the caller may read now.
func (p *retrievePacer) tryTakeSlot() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if wait := p.next.Sub(now); wait > 0 {
		return wait
	}
	p.next = now.Add(p.step)
	return 0
}

// pacedRetriever sends the reads of one run.
type pacedRetriever struct {
	budget Budget
	caller StripeCaller
	pace   *retrievePacer
	run    *run // its lock is renewed while the reader waits
}

// waitForReadBudget reserves one read of an account, and calls renewLockIfDue while
// it waits; nil: another goroutine renews the lock. It uses at most half of the
// read budget, so that a comparison does not delay requests, verifications and
// captures.
func (r *pacedRetriever) waitForReadBudget(
	ctx context.Context, account string, renewLock func(context.Context) error,
) error {
	began := time.Now()
	for {
		if renewLock != nil {
			if err := renewLock(ctx); err != nil {
				return err
			}
		}
		wait := r.pace.tryTakeSlot()
		if wait <= 0 {
			reserved, err := r.budget.ReserveRequests(ctx,
				hold.BudgetRequest{Account: account, Op: hold.OpRead, Requests: 1,
					Priority: hold.PriorityReconcile})
			if err != nil {
				return fmt.Errorf("reserve a read: %w", err)
			}
			if reserved[0].Requests > 0 {
				return nil
			}
			if time.Since(began) > maxBudgetDrought {
				return fmt.Errorf("%w: the budget allowed no read for %s",
					errNoAnswer, maxBudgetDrought)
			}
			wait = min(max(reserved[0].Wait, minBudgetWait), maxBudgetWait)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// sendReservedCall sends a call whose read is reserved. It returns an answer
// without outcome for a call that was not sent and for a list without a page.
func (r *pacedRetriever) sendReservedCall(ctx context.Context, call hold.Call) hold.Answer {
	a, err := r.caller.Do(ctx, call)
	switch {
	case err != nil:
		return hold.Answer{Kind: hold.AnswerUnreachable}
	case call.Op == hold.OpList && a.Kind == hold.AnswerOK && a.Page == nil:
		return hold.Answer{Kind: hold.AnswerUnknown}
	}
	return a
}

// listPage lists a page, and retries while Stripe does not answer. requestedAt
// is when the last call was sent. refused is the answer if Stripe refuses to
// list the account; then and with an error, the page is nil.
func (r *pacedRetriever) listPage(
	ctx context.Context, call hold.Call, renewLock func(context.Context) error,
) (page *hold.IntentListPage, refused *hold.Answer, requestedAt time.Time, err error) {
	for unanswered := 1; ; unanswered++ {
		if err := r.waitForReadBudget(ctx, call.Account, renewLock); err != nil {
			return nil, nil, requestedAt, err
		}
		requestedAt = r.run.clock.Now()
		a := r.sendReservedCall(ctx, call)
		switch a.Kind {
		case hold.AnswerOK:
			return a.Page, nil, requestedAt, nil
		case hold.AnswerUnauthorized:
			return nil, nil, requestedAt, errKeyRejected
		case hold.AnswerUnknown, hold.AnswerUnreachable,
			hold.AnswerRateLimited, hold.AnswerLockTimeout,
			hold.AnswerReplayedError, hold.AnswerKeyInUse:
			if unanswered >= maxUnansweredLists {
				return nil, nil, requestedAt, fmt.Errorf("%w (%s)", errNoAnswer, a.Kind)
			}
			wait := execute.Backoff(unanswered, listRetryBase, listRetryLimit)
			if err := sleep(ctx, wait); err != nil {
				return nil, nil, requestedAt, err
			}
		default:
			return nil, &a, requestedAt, nil
		}
	}
}

// newRetrieveCall returns the call that reads a hold's intent.
func newRetrieveCall(h *hold.Hold) hold.Call {
	return hold.Call{Op: hold.OpRead, PaymentIntent: h.PaymentIntent, Account: h.Account,
		MayBeMissing: !h.Verified}
}

// sleep waits for d. It returns an error if ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	if !execute.SleepUnlessCanceled(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// retrieveIntentBatch reads the intents of holds as the budget allows, and
// returns when all reads are answered.
func (r *pacedRetriever) retrieveIntentBatch(
	ctx context.Context, holds []hold.Hold,
) ([]hold.Answer, error) {
	answers := make([]hold.Answer, len(holds))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range holds {
		h := &holds[i]
		if err := r.waitForReadBudget(ctx, h.Account, r.run.renewLockIfDue); err != nil {
			return nil, err
		}
		wg.Go(func() {
			answers[i] = r.sendReservedCall(ctx, newRetrieveCall(h))
		})
	}
	wg.Wait()
	return answers, nil
}
