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
	rememberFor = 72 * time.Hour
	remembered  = 100_000
)

// seekMark parts the id from the account in the name of an intent that is to be looked at though it is no hold.
const seekMark = "\x00"

// Note says that Stripe told something of an intent. If it is an open hold's, the hold will be looked at. If there is no such hold, seek asks for
// the intent to be looked at all the same; without it that Stripe spoke is remembered for some days, and the hold is looked at as soon as it comes.
func (s *Store) Note(ctx context.Context, id, account string, seek bool) error {
	k := &s.parts[s.partition(id)]
	member := ""
	if seek {
		member = id + seekMark + account
	}
	return s.exec(ctx, noteScript, []run{{
		keys: []string{k.holds, k.looks, k.heard},
		args: []any{id, member, int(hold.Captured), rememberFor.Milliseconds(), remembered / len(s.parts)},
	}})[0].Err()
}

// any tells whether any partition has something in a set that is empty most of the time: a plain command costs Redis less than a script.
func (s *Store) any(ctx context.Context, set func(*keys) string) (bool, error) {
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

// Looks returns up to n intents per partition that are to be looked at now, those asked for first.
func (s *Store) Looks(ctx context.Context, n int) ([]hold.Look, time.Time, error) {
	if some, err := s.any(ctx, func(k *keys) string { return k.looks }); err != nil || !some {
		return nil, time.Time{}, err
	}
	found, now, err := s.sweep(ctx, func(k *keys) string { return k.looks }, n, "")
	looks := make([]hold.Look, len(found))
	for i := range found {
		l := hold.Look{Hold: found[i].Hold, Asked: found[i].Due}
		if id, account, seek := strings.Cut(l.Hold.ID, seekMark); seek {
			l.Hold = hold.Hold{ID: id, PaymentIntent: id, Account: account}
			l.Seek = true
		}
		looks[i] = l
	}
	slices.SortStableFunc(looks, func(a, b hold.Look) int { return cmp.Compare(a.Asked.UnixMilli(), b.Asked.UnixMilli()) })
	return looks, now, err
}

// Looked takes a look off, or puts it off until again, unless it was asked for anew meanwhile.
func (s *Store) Looked(ctx context.Context, l hold.Look, again time.Time) error {
	k := &s.parts[s.partition(l.Hold.ID)]
	member := l.Hold.ID
	if l.Seek {
		member += seekMark + l.Hold.Account
	}
	return s.exec(ctx, touchScript, []run{{
		keys: []string{k.looks, k.events, k.holds},
		args: []any{s.eventsMax, member, "=", score(l.Asked), score(again), 0},
	}})[0].Err()
}

// Unmirrored returns up to n holds per partition whose terms are to be written to their intents.
func (s *Store) Unmirrored(ctx context.Context, n int) ([]hold.Milestone, time.Time, error) {
	if some, err := s.any(ctx, func(k *keys) string { return k.mirror }); err != nil || !some {
		return nil, time.Time{}, err
	}
	found, now, err := s.sweep(ctx, func(k *keys) string { return k.mirror }, n, "")
	slices.SortStableFunc(found, func(a, b hold.Milestone) int { return a.Due.Compare(b.Due) })
	return found, now, err
}
