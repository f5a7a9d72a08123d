package store

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Rates are the numbers of requests a second that one account may send to
// Stripe; 0 is no limit.
type Rates struct {
	Write int // captures; as many cancels, and half as many updates
	Read  int
	Total int // of all kinds
}

// Budget shares [Rates] between all replicas.
type Budget struct {
	conn  *conn
	rates Rates
}

var (
	reserveScript = newScript("reserve")
	pauseScript   = newScript("pause")
)

// A bucket's burst is this part of its rate. In any second at most the rate and
// the burst are sent. Captures and cancels meet Stripe's limit day after day,
// so they have almost no burst. A few reads at once come from a booking system
// that schedules several holds and waits for the answers.
const (
	writeBurstDivisor = 100
	otherBurstDivisor = 10
)

func burstSize(rate, part int) int { return max(1, rate/part) }

// TryReserve reserves up to n requests of one kind to be sent now. With 0
// granted, wait is when the caller should try again.
func (s *Budget) TryReserve(
	ctx context.Context, account string, op hold.Op, n int,
) (granted int, wait time.Duration, err error) {
	r, err := s.Reserve(ctx, account, op, n, 0)
	return r.Granted, r.Wait, err
}

// Reserve reserves up to n requests of one kind to be sent within a time from
// now, each at its moment.
func (s *Budget) Reserve(
	ctx context.Context, account string, op hold.Op, n int, ahead time.Duration,
) (hold.Reservation, error) {
	if n <= 0 {
		return hold.Reservation{}, nil
	}
	rate, part := s.rates.Write, writeBurstDivisor
	switch {
	case op == hold.OpRead:
		rate, part = s.rates.Read, otherBurstDivisor
	case op == hold.OpUpdate && rate > 0:
		// No caller waits for an update: half of the rate is left for the other
		// kinds.
		rate, part = max(1, rate/2), otherBurstDivisor
	}
	k := newBudgetKeys(account, op)
	r := newReply(s.conn.runOnce(ctx, reserveScript, []string{k.pause, k.kind, k.all},
		n, rate, burstSize(rate, part), s.rates.Total, burstSize(s.rates.Total, otherBurstDivisor),
		ahead.Microseconds()))
	reserved := hold.Reservation{
		Granted: int(r.int()), Wait: r.duration(), First: r.duration(), Step: r.duration(),
	}
	return reserved, r.err
}

// PauseAccount stops requests of one kind on all replicas for a while, after
// Stripe found them too many.
func (s *Budget) PauseAccount(
	ctx context.Context, account string, op hold.Op, d time.Duration,
) error {
	if d < time.Millisecond {
		return nil
	}
	return s.conn.runOnce(ctx, pauseScript, []string{newBudgetKeys(account, op).pause},
		d.Milliseconds()).Err()
}
