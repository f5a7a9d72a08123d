package store

import (
	"context"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/holdd/holdd/worker/hold"
)

// Budget is how many requests may go to Stripe. All replicas draw on the same one.
type Budget struct {
	Write int // captures, and as many cancels, a second for each account; 0: no limit
	Read  int // reads a second for each account; 0: no limit
	Total int // a second for each account over all kinds; 0: no limit
}

// burst is how much may be taken at once. The first second of a drain sends burst more than the rate: keeping it small keeps even
// that second within what Stripe's own bucket lets through when requests arrive unevenly.
func burst(rate int) int { return max(1, rate/10) }

// Take draws up to n requests of one kind. With 0 granted, wait tells when it makes sense to ask again.
func (s *Store) Take(ctx context.Context, account string, op hold.Op, n int) (granted int, wait time.Duration, err error) {
	b := s.budget
	slow, err := s.rdb.PTTL(ctx, slowKey(account, op)).Result()
	if err != nil {
		return 0, 0, err
	}
	if slow > 0 {
		return 0, slow, nil
	}
	granted = n
	perOp := b.Write
	if op == hold.OpRead {
		perOp = b.Read
	}
	for _, l := range []struct {
		key  string
		rate int
	}{{"holdd:budget:" + op.String() + ":" + account, perOp}, {totalKey(account), b.Total}} {
		if l.rate == 0 || b.Total > 0 && l.rate >= b.Total && l.key != totalKey(account) {
			continue // no limit, or one that the total covers
		}
		r, err := s.limiter.AllowAtMost(ctx, l.key, redis_rate.Limit{Rate: l.rate, Burst: burst(l.rate), Period: time.Second}, granted)
		if err != nil {
			return 0, 0, err
		}
		// What the first bucket gave and the second didn't is not given back: the budget is never overdrawn, and it refills within a second.
		if r.Allowed == 0 {
			return 0, max(r.RetryAfter, time.Millisecond), nil
		}
		granted = r.Allowed
	}
	return granted, 0, nil
}

// Slow stops requests of one kind on all replicas for a while, because Stripe said that they are too many.
func (s *Store) Slow(ctx context.Context, account string, op hold.Op, d time.Duration) error {
	return s.rdb.Set(ctx, slowKey(account, op), 1, d).Err()
}

func totalKey(account string) string { return "holdd:budget:all:" + account }

func slowKey(account string, op hold.Op) string { return keySlow + op.String() + ":" + account }
