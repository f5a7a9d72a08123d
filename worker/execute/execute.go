// Package execute drives a machine through its calls to Stripe.
//
// A machine decides: it names the next call and says what an answer means.
// [Driver.Drive] does the rest, the same way for holds and for authorizations:
// it waits for the budget, makes sure that the lease outlives the call, sends,
// and hands the answer back, until the machine is done or a limit is reached.
//
// Nothing here decides what happens to a hold, and nothing is sent twice: a
// call whose outcome is unknown goes back to the machine as such.
package execute

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Machine decides which call is next and what its answer means. It is used by
// one Drive at a time.
type Machine interface {
	// Next returns the call that is needed now. A wait above zero says that
	// none may be sent before it is over. Without ok the machine is done. Next
	// is asked again after every wait, so the same call may be named several
	// times before it is sent.
	Next(ctx context.Context, now time.Time) (call hold.Call, wait time.Duration, ok bool)
	// Apply takes in the answer to a call that was sent.
	Apply(ctx context.Context, call hold.Call, a hold.Answer, now time.Time)
}

// Caller sends calls to Stripe. An error of either method is a
// *[hold.NotSentError]: nothing was sent.
type Caller interface {
	// Reserve takes one request from the budget and waits for its moment,
	// maxWait at most.
	Reserve(ctx context.Context, call hold.Call, maxWait time.Duration) error
	// Do sends a call whose request is reserved.
	Do(ctx context.Context, call hold.Call) (hold.Answer, error)
}

// Reasons why a drive ends before its machine is done. A *[hold.NotSentError]
// is the fourth.
var (
	ErrStopping      = errors.New("stopping")
	ErrLeaseTooShort = errors.New("the lease may end before the answer comes")
	ErrCallLimit     = errors.New("no more calls under this lease")
)

// Limits bound one drive.
type Limits struct {
	// MaxCalls is how many calls may be sent.
	MaxCalls int
	// LeaseEnd is when the lease ends, by this machine's clock. No call begins
	// that may outlast it.
	LeaseEnd time.Time
	// BudgetWait is how long one call may wait for the budget.
	BudgetWait time.Duration
	// Reserved is the kind of call of which one request is reserved already.
	// Zero means none.
	Reserved hold.Op
}

// Driver drives machines. It is safe for concurrent use.
type Driver struct {
	Caller      Caller
	Now         func() time.Time // Redis' time
	CallTimeout time.Duration    // the longest that one call takes
}

// Drive sends what m asks for until m is done, and returns nil then. Once
// stopping ends nothing more is sent; ctx bounds the call under way. It returns
// how many calls were sent.
func (d *Driver) Drive(stopping, ctx context.Context, m Machine, l Limits) (sent int, err error) {
	reserved := map[hold.Op]int{}
	if l.Reserved != 0 {
		reserved[l.Reserved] = 1
	}
	for {
		call, wait, ok := m.Next(ctx, d.Now())
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
			Sleep(stopping, wait)
			continue // what is needed may have changed meanwhile, and the lease has grown shorter
		case reserved[call.Op] == 0:
			if err := d.Caller.Reserve(stopping, call, l.BudgetWait); err != nil {
				if stopping.Err() != nil {
					return sent, ErrStopping
				}
				return sent, err
			}
			reserved[call.Op] = 1
			continue
		}
		a, err := d.Caller.Do(ctx, call)
		if err != nil {
			return sent, err
		}
		reserved[call.Op]--
		sent++
		m.Apply(ctx, call, a, d.Now())
	}
}

// BatchOptions says how many calls are sent together.
type BatchOptions struct {
	Concurrency int           // calls under way at once
	MaxWait     time.Duration // for the budget; 0 sends only what it grants now
	Timeout     time.Duration // of one call; 0 means the caller's own
}

// Backoff is how long to wait before try n of a loop outside of any machine,
// counted from 1: base, doubled with each try, up to limit.
func Backoff(n int, base, limit time.Duration) time.Duration {
	d := base
	for i := 1; i < n && d < limit; i++ {
		d *= 2
	}
	return min(d, limit)
}

// Sleep waits for d. It returns false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
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
