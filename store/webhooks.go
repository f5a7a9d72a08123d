package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Webhooks remembers which intents Stripe's webhooks named and a worker must
// read.
type Webhooks struct{ conn *conn }

var requestRefreshScript = newScript("request_refresh")

// Intents that have no hold (yet) are remembered for so long, and at most so
// many. A booking system schedules within seconds of the payment; Stripe
// retries an event for three days.
const (
	unmatchedTTL = 72 * time.Hour
	maxUnmatched = 100_000
)

// RequestRefresh requests a refresh of an intent that a webhook named. If it is
// an open hold's intent, it becomes due. If it has no hold, adoptUnknown makes
// it due all the same; otherwise the store remembers it for some days, and it
// becomes due when its hold is created.
func (s *Webhooks) RequestRefresh(
	ctx context.Context, id, account string, adoptUnknown bool,
) error {
	k := s.conn.keysOf(id)
	member := ""
	if adoptUnknown {
		member = unknownIntentMember(id, account)
	}
	return s.conn.runOnce(ctx, requestRefreshScript, []string{k.holds, k.refresh, k.unmatched},
		id, member, unmatchedTTL.Milliseconds(), maxUnmatched/len(s.conn.partitions)).Err()
}

// PendingRefreshes returns up to n intents per partition whose refresh is due,
// oldest request first.
func (s *Webhooks) PendingRefreshes(
	ctx context.Context, n int,
) ([]hold.PendingRefresh, time.Time, error) {
	refresh := func(k *partitionKeys) string { return k.refresh }
	if some, err := s.conn.hasMembers(ctx, refresh); err != nil || !some {
		return nil, time.Time{}, err
	}
	found, now, err := s.conn.readDue(ctx, refresh, n, "")
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

// FinishRefresh removes a refresh, or puts it off until again. It does nothing
// if the refresh has been requested anew since it was read.
func (s *Webhooks) FinishRefresh(
	ctx context.Context, p hold.PendingRefresh, again time.Time,
) error {
	k := s.conn.keysOf(p.Hold.ID)
	member := p.Hold.ID
	if p.AdoptUnknown {
		member = unknownIntentMember(p.Hold.ID, p.Hold.Account)
	}
	args := appendAdvance([]any{s.conn.maxEvents}, member, anyVersion, p.RequestedAt, again, nil)
	return s.conn.runOnce(ctx, advanceScript, []string{k.refresh, k.events, k.holds}, args...).Err()
}
