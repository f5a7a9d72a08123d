package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/redis/go-redis/v9"
)

// What Stripe told of intents that are no holds (yet) is remembered for so long, and of so many. A booking system schedules within seconds of the
// payment; three days are Stripe's own patience with an endpoint that does not answer.
const (
	rememberUnknownFor   = 72 * time.Hour
	maxRememberedUnknown = 100_000
)

// accountSeparator parts the id from the account in the name of an intent that is to be looked at though it is no hold.
const accountSeparator = "\x00"

// RequestRefresh says that Stripe told something of an intent. If it is an open hold's, the hold will be looked at. If there is no such hold, seek asks for
// the intent to be looked at all the same; without it that Stripe spoke is remembered for some days, and the hold is looked at as soon as it comes.
func (s *Store) RequestRefresh(ctx context.Context, id, account string, adoptUnknown bool) error {
	k := &s.parts[s.partition(id)]
	member := ""
	if adoptUnknown {
		member = id + accountSeparator + account
	}
	return s.runScript(ctx, requestRefreshScript, []scriptCall{{
		keys: []string{k.holds, k.refresh, k.unmatched},
		args: []any{id, member, int(hold.Captured), rememberUnknownFor.Milliseconds(), maxRememberedUnknown / len(s.parts)},
	}})[0].Err()
}

// anyMember tells whether any partition has something in a set that is empty most of the time: a plain command costs Redis less than a script.
func (s *Store) anyMember(ctx context.Context, set func(*keys) string) (bool, error) {
	pipe := s.rdb.Pipeline()
	counts := make([]*redis.IntCmd, len(s.parts))
	for p := range s.parts {
		counts[p] = pipe.ZCard(ctx, set(&s.parts[p]))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, err
	}
	return slices.ContainsFunc(counts, func(c *redis.IntCmd) bool { return c.Val() > 0 }), nil
}

// PendingRefreshes returns up to n intents per partition that are to be looked at now, those asked for first.
func (s *Store) PendingRefreshes(ctx context.Context, n int) ([]hold.PendingRefresh, time.Time, error) {
	if some, err := s.anyMember(ctx, func(k *keys) string { return k.refresh }); err != nil || !some {
		return nil, time.Time{}, err
	}
	found, now, err := s.readDue(ctx, func(k *keys) string { return k.refresh }, n, "")
	refreshes := make([]hold.PendingRefresh, len(found))
	for i := range found {
		l := hold.PendingRefresh{Hold: found[i].Hold, RequestedAt: found[i].DueAt}
		if id, account, adoptUnknown := strings.Cut(l.Hold.ID, accountSeparator); adoptUnknown {
			l.Hold = hold.Hold{ID: id, PaymentIntent: id, Account: account}
			l.AdoptUnknown = true
		}
		refreshes[i] = l
	}
	slices.SortStableFunc(refreshes, func(a, b hold.PendingRefresh) int {
		return cmp.Compare(a.RequestedAt.UnixMilli(), b.RequestedAt.UnixMilli())
	})
	return refreshes, now, err
}

// FinishRefresh takes a look off, or puts it off until again, unless it was asked for anew meanwhile.
func (s *Store) FinishRefresh(ctx context.Context, l hold.PendingRefresh, again time.Time) error {
	k := &s.parts[s.partition(l.Hold.ID)]
	member := l.Hold.ID
	if l.AdoptUnknown {
		member += accountSeparator + l.Hold.Account
	}
	return s.runScript(ctx, advanceScript, []scriptCall{{
		keys: []string{k.refresh, k.events, k.holds},
		args: []any{s.eventsMax, member, "=", scoreArg(l.RequestedAt), scoreArg(again), 0},
	}})[0].Err()
}

// Unmirrored returns up to n holds per partition whose terms are to be written to their intents.
func (s *Store) Unmirrored(ctx context.Context, n int) ([]hold.DueHold, time.Time, error) {
	if some, err := s.anyMember(ctx, func(k *keys) string { return k.mirror }); err != nil || !some {
		return nil, time.Time{}, err
	}
	found, now, err := s.readDue(ctx, func(k *keys) string { return k.mirror }, n, "")
	slices.SortStableFunc(found, func(a, b hold.DueHold) int { return a.DueAt.Compare(b.DueAt) })
	return found, now, err
}
