package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// RefreshQueue keeps the intents that webhooks of Stripe named and that a
// worker must refresh.
type RefreshQueue struct{ conn *redisConn }

var requestRefreshScript = newScript("request_refresh")

// Bounds for intents without a hold. A booking system schedules within seconds
// of the payment, and Stripe retries an event for three days.
const (
	unmatchedTTL = 72 * time.Hour
	maxUnmatched = 100_000
)

// RequestRefresh requests a refresh of an intent that a webhook named. The
// refresh is due at once if an open hold has the intent, or if there is no hold
// and adoptUnknown is set. Otherwise the store remembers the intent for three
// days, and makes the refresh due when its hold is created.
func (s *RefreshQueue) RequestRefresh(
	ctx context.Context, id, account string, adoptUnknown bool,
) error {
	k := s.conn.partitionKeysOfHold(id)
	member := ""
	if adoptUnknown {
		member = unknownIntentMember(id, account)
	}
	keys := []string{k.holds, k.refresh, k.unmatched, k.changes}
	return s.conn.callScript(ctx, requestRefreshScript, keys,
		id, member, unmatchedTTL.Milliseconds(), maxUnmatched/len(s.conn.partitions)).Err()
}

// ListDueRefreshes returns about n intents whose refresh is due, evenly of
// all partitions, oldest request first. Without any, due or not, the time is
// zero.
func (s *RefreshQueue) ListDueRefreshes(
	ctx context.Context, n int,
) ([]hold.PendingRefresh, time.Time, error) {
	refresh := func(k *partitionKeys) string { return k.refresh }
	if found, err := s.conn.hasAnyMembers(ctx, refresh); err != nil || !found {
		return nil, time.Time{}, err
	}
	found, now, err := s.conn.readHoldsByScore(ctx, refresh, s.conn.limitPerPartition(n), "")
	pending := make([]hold.PendingRefresh, len(found))
	for i := range found {
		p := hold.PendingRefresh{Hold: found[i].Hold, RequestedAt: found[i].DueAt}
		if id, account, known := parseRefreshMember(p.Hold.ID); !known {
			p.Hold, p.AdoptUnknown = hold.Hold{ID: id, PaymentIntent: id, Account: account}, true
		}
		pending[i] = p
	}
	slices.SortStableFunc(pending, func(a, b hold.PendingRefresh) int {
		return cmp.Compare(a.RequestedAt.UnixMilli(), b.RequestedAt.UnixMilli())
	})
	return pending, now, err
}

// FinishOrPostponeRefresh removes a refresh, or postpones it to retryAt if that
// is set. It does nothing if the refresh was requested again after the caller
// read it.
func (s *RefreshQueue) FinishOrPostponeRefresh(
	ctx context.Context, p hold.PendingRefresh, retryAt time.Time,
) error {
	k := s.conn.partitionKeysOfHold(p.Hold.ID)
	member := p.Hold.ID
	if p.AdoptUnknown {
		member = unknownIntentMember(p.Hold.ID, p.Hold.Account)
	}
	args := []any{s.conn.maxEventBytes}
	args = appendAdvanceMilestoneArgs(args, member, anyVersion, p.RequestedAt, retryAt, nil)
	keys := []string{k.refresh, k.events, k.holds, k.changes}
	return s.conn.callScript(ctx, advanceScript, keys, args...).Err()
}
