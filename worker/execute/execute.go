// Package execute drives a state machine through its calls to Stripe.
//
// The machine decides which call is next and what an answer means.
// [MachineDriver.Drive] waits for the budget, checks that the lease outlasts
// the call, sends the call, and applies the answer to the machine, until the
// machine is done or a limit is reached. Holds and authorizations use the same
// loop.
//
// The driver never sends a call twice. It applies an unknown outcome to the
// machine as such.
package execute

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Machine decides which call is next and what its answer means. One Drive at a
// time uses it. The worker's holdMachine, which the executor makes for a claim,
// and the machines of package authorize implement it.
type Machine interface {
	// NextCall returns the next call. If wait is above zero, no call may be sent
	// before it is over. If ok is false, the machine is done. Drive calls
	// NextCall again after every wait, so it may return the same call several
	// times before it is sent.
	NextCall(ctx context.Context, now time.Time) (call hold.Call, wait time.Duration, ok bool)
	// AdvanceWithAnswer applies the answer to a call that was sent.
	AdvanceWithAnswer(ctx context.Context, call hold.Call, a hold.Answer, now time.Time)
}

// StripeCaller sends calls to Stripe. gateway.Caller implements it. An error of
// either method is a *[hold.CallNotSentError]: no request was sent.
type StripeCaller interface {
	// WaitForBudget takes one request from the budget and waits until it may be
	// sent, at most maxWait.
	WaitForBudget(ctx context.Context, call hold.Call, maxWait time.Duration) error
	// Do sends a call whose request is reserved.
	Do(ctx context.Context, call hold.Call) (hold.Answer, error)
}

// Errors of [MachineDriver.Drive] when it ends before its machine is done. It
// may also return a *[hold.CallNotSentError].
var (
	ErrStopping      = errors.New("stopping")
	ErrLeaseTooShort = errors.New("lease may end before the answer arrives")
	ErrCallLimit     = errors.New("call limit of this lease reached")
)

// DriveLimits bound one drive.
type DriveLimits struct {
	// MaxCalls is how many calls may be sent.
	MaxCalls int
	// LeaseEnd is when the lease ends, by this machine's clock. Drive sends no
	// call that may outlast it.
	LeaseEnd time.Time
	// BudgetWait is how long one call may wait for the budget.
	BudgetWait time.Duration
	// Reserved is the kind of call for which one request is already reserved.
	// Zero means none.
	Reserved hold.Op
}

// MachineDriver drives machines. It is safe for concurrent use.
type MachineDriver struct {
	Caller      StripeCaller
	Now         func() time.Time // Redis' time
	CallTimeout time.Duration    // the longest time that one call takes
}

// Drive sends the calls of m until m is done, and returns how many it sent.
// Once stopping ends, it sends no more calls. ctx bounds the call under way.
func (d *MachineDriver) Drive(
	stopping, ctx context.Context, m Machine, l DriveLimits,
) (sent int, err error) {
	reserved := map[hold.Op]int{}
	if l.Reserved != 0 {
		reserved[l.Reserved.RateLimitBucket()] = 1
	}
	for {
		call, wait, ok := m.NextCall(ctx, d.Now())
		switch {
		case !ok:
			return sent, nil
		case stopping.Err() != nil:
			return sent, ErrStopping
		case sent >= l.MaxCalls:
			return sent, ErrCallLimit
		case time.Until(l.LeaseEnd) < d.CallTimeout:
			return sent, ErrLeaseTooShort
		case wait > 0:
			SleepUnlessCanceled(stopping, wait)
			continue // the next call may have changed, and the lease is shorter
		case reserved[call.Op.RateLimitBucket()] == 0:
			if err := d.Caller.WaitForBudget(stopping, call, l.BudgetWait); err != nil {
				if stopping.Err() != nil {
					return sent, ErrStopping
				}
				return sent, err
			}
			reserved[call.Op.RateLimitBucket()] = 1
			continue
		}
		a, err := d.Caller.Do(ctx, call)
		if err != nil {
			return sent, err
		}
		reserved[call.Op.RateLimitBucket()]--
		sent++
		m.AdvanceWithAnswer(ctx, call, a, d.Now())
	}
}

// CallBatchOptions configure a batch of independent calls, such as reads.
type CallBatchOptions struct {
	Concurrency int           // calls under way at once
	MaxWait     time.Duration // for the budget; 0 sends only the calls that it allows now
	Timeout     time.Duration // of one call; 0 means the caller's default
	Priority    hold.RateLimitPriority
}

// Backoff returns how long to wait after try n, counted from 1: base, doubled
// with each try, at most limit. Machines have a back-off of their own.
func Backoff(n int, base, limit time.Duration) time.Duration {
	d := base
	for i := 1; i < n && d < limit; i++ {
		d *= 2
	}
	return min(d, limit)
}

type progressContextKey struct{}

// WithProgress returns a context whose holder says that its work goes on:
// progress gets how long it may now wait.
func WithProgress(ctx context.Context, progress func(time.Duration)) context.Context {
	return context.WithValue(ctx, progressContextKey{}, progress)
}

// ReportProgress says that the work of ctx goes on, and may now wait for d.
func ReportProgress(ctx context.Context, d time.Duration) {
	if progress, ok := ctx.Value(progressContextKey{}).(func(time.Duration)); ok {
		progress(d)
	}
}

// SleepUnlessCanceled waits for d. It returns false if ctx ended first.
func SleepUnlessCanceled(ctx context.Context, d time.Duration) bool {
	ReportProgress(ctx, d)
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
