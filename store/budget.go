package store

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Budget is how many requests may go to Stripe. All replicas draw on the same one.
type Budget struct {
	Write int // captures, as many cancels, and half as many updates a second for each account; 0: no limit
	Read  int // reads a second for each account; 0: no limit
	Total int // a second for each account over all kinds; 0: no limit
}

// burstSize is how much of a bucket may be taken at once, beyond which it only drips. Any second then sees at most the rate and the burst.
// Captures and cancels are what Stripe's limit is met with, day after day, so they hardly have any; a few reads at once are a booking system
// that schedules several holds and waits for the answers.
func burstSize(rate, share int) int { return max(1, rate/share) }

const (
	writeBurst = 100 // a hundredth of the rate
	otherBurst = 10
)

// budgetKeys are of one account, and so on one server of a Cluster.
func budgetKeys(account string, op hold.Op) []string {
	k := keyBudget + "{" + account + "}:"
	if account == "" {
		k = keyBudget + "{own}:" // an empty hash tag would be none
	}
	return []string{k + "slow:" + op.String(), k + op.String(), k + "all"}
}

// TryReserve draws up to n requests of one kind, to be sent at once. With 0 granted, wait tells when it makes sense to ask again.
func (s *Store) TryReserve(ctx context.Context, account string, op hold.Op, n int) (granted int, wait time.Duration, err error) {
	r, err := s.Reserve(ctx, account, op, n, 0)
	return r.Granted, r.Wait, err
}

// Reserve draws up to n requests of one kind that may be sent within a time from now on, each at its moment.
func (s *Store) Reserve(ctx context.Context, account string, op hold.Op, n int, ahead time.Duration) (hold.Reservation, error) {
	if n <= 0 {
		return hold.Reservation{}, nil
	}
	rate, share := s.budget.Write, writeBurst
	switch {
	case op == hold.OpRead:
		rate, share = s.budget.Read, otherBurst
	case op == hold.OpUpdate && rate > 0:
		rate, share = max(1, rate/2), otherBurst // nobody waits for it: half is left for what somebody waits for
	}
	r := newReply(s.runScript(ctx, reserveScript, []scriptCall{{
		keys: budgetKeys(account, op),
		args: []any{n, rate, burstSize(rate, share), s.budget.Total, burstSize(s.budget.Total, otherBurst), ahead.Microseconds()},
	}})[0])
	us := func() time.Duration { return time.Duration(r.int()) * time.Microsecond }
	granted := hold.Reservation{Granted: int(r.int()), Wait: us(), First: us(), Step: us()}
	return granted, r.err
}

// PauseAccount stops requests of one kind on all replicas for a while, because Stripe said that they are too many.
func (s *Store) PauseAccount(ctx context.Context, account string, op hold.Op, d time.Duration) error {
	if d < time.Millisecond {
		return nil
	}
	return s.runScript(ctx, pauseScript, []scriptCall{{keys: budgetKeys(account, op)[:1], args: []any{d.Milliseconds()}}})[0].Err()
}
