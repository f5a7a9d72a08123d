package store

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Rates limit the requests per second of one account; 0 is no limit.
type Rates struct {
	Write int // of captures, and of cancels; updates have half of it
	Read  int
	Total int // of all kinds together
}

// Budget shares the [Rates] of each account between all replicas.
type Budget struct {
	conn  *conn
	rates Rates
}

var (
	reserveScript = newScript("reserve")
	pauseScript   = newScript("pause")
)

// The burst of a bucket is its rate divided by one of these. In any second, the
// replicas send at most the rate plus the burst. Captures and cancels reach
// Stripe's limit every day, so their burst is small. Reads have a larger one,
// because a booking system may schedule several holds at once and wait for the
// answers.
const (
	writeBurstDivisor = 100
	otherBurstDivisor = 10
)

func burstSize(rate, divisor int) int { return max(1, rate/divisor) }

// Reserve reserves requests for every want, each request at its own time, in
// one round trip to each server. A reservation of none has the time until the
// next try. With an error, it returns the reservations that succeeded.
func (s *Budget) Reserve(
	ctx context.Context, wants ...hold.BudgetRequest,
) ([]hold.BudgetReservation, error) {
	calls := make([]scriptCall, len(wants))
	for i, w := range wants {
		rate, divisor := s.rates.Write, writeBurstDivisor
		switch {
		case w.Op == hold.OpRead:
			rate, divisor = s.rates.Read, otherBurstDivisor
		case w.Op == hold.OpUpdate && rate > 0:
			// Updates leave room in the total for the other kinds: no caller
			// waits for an update.
			rate, divisor = max(1, rate/2), otherBurstDivisor
		}
		k := newBudgetKeys(w.Account, w.Op)
		calls[i] = scriptCall{
			keys: []string{k.pause, k.kind, k.all},
			args: []any{
				max(0, w.Requests), rate, burstSize(rate, divisor),
				s.rates.Total, burstSize(s.rates.Total, otherBurstDivisor),
				w.Ahead.Microseconds(),
			},
		}
	}
	reserved := make([]hold.BudgetReservation, len(wants))
	var failed error
	for i, cmd := range s.conn.callScriptBatch(ctx, reserveScript, calls) {
		r := newReply(cmd)
		got := hold.BudgetReservation{
			Requests: int(r.int()), Wait: r.micros(), First: r.micros(), Step: r.micros(),
		}
		if failed = errors.Join(failed, r.err); r.err == nil {
			reserved[i] = got
		}
	}
	return reserved, failed
}

// PauseRequests pauses requests of one kind on all replicas for d, after Stripe
// rejected one for its rate or its permission.
func (s *Budget) PauseRequests(
	ctx context.Context, account string, op hold.Op, d time.Duration,
) error {
	if d < time.Millisecond {
		return nil
	}
	keys := []string{newBudgetKeys(account, op).pause}
	return s.conn.callScript(ctx, pauseScript, keys, d.Milliseconds()).Err()
}
