package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// attemptsKept is how long an attempt to authorize is remembered: three times as long as Stripe promises to remember a key. Who repeats a
// request later than that meets what Stripe has, or begins anew.
const attemptsKept = 72 * time.Hour

// attempts to authorize share one hash tag whatever the number of partitions: they come at the pace of guests.
const (
	keyAttempt  = "holdd:{authorizations}:attempt:"
	keyAttempts = "holdd:{authorizations}:open"
)

var (
	authorizeBeginScript = script("authorize_begin")
	authorizeSaveScript  = script("authorize_save")
	authorizeDueScript   = script("authorize_due")
)

// BeginAuthorization writes an attempt down, or takes on one that was written down before, for the time of the lease. Who has it is told by
// the token. One without state is only taken on and never made, one without digest is taken on whatever was asked, finished or not. The attempt that is returned is the one that counts, at Redis' time.
func (s *Store) BeginAuthorization(ctx context.Context, a hold.Authorization, token string, lease, look time.Duration) (hold.Authorization, hold.Begin, time.Time, error) {
	record := ""
	if a.State != 0 {
		b, err := json.Marshal(a)
		if err != nil {
			return a, 0, time.Time{}, err // strings, numbers and times
		}
		record = string(b)
	}
	finished := "0"
	if a.Digest == "" {
		finished = "1"
	}
	r := open(s.exec(ctx, authorizeBeginScript, []run{{
		keys: []string{keyAttempt + a.ID, keyAttempts},
		args: []any{a.ID, a.Digest, token, lease.Milliseconds(), attemptsKept.Milliseconds(), look.Milliseconds(), record, finished},
	}})[0])
	now := r.time()
	begin, stored, begun := hold.Begin(r.int()), r.str(), r.time()
	if r.err != nil {
		return a, 0, now, r.err
	}
	if stored != "" {
		if err := json.Unmarshal([]byte(stored), &a); err != nil {
			return a, 0, now, fmt.Errorf("the attempt to authorize %s: %w", a.ID, hold.ErrRecord)
		}
	}
	a.BegunAt = begun
	if a.KeyAt.IsZero() {
		a.KeyAt = begun
	}
	return a, begin, now, nil
}

// SaveAuthorization writes what became of an attempt, unless somebody else has it by now. With release it is let go. next is when to look after it
// again, zero for never.
func (s *Store) SaveAuthorization(ctx context.Context, a hold.Authorization, token string, release bool, next time.Time) (bool, error) {
	record, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	return s.saveAuthorization(ctx, a, token, string(record), release, next)
}

// ForgetAuthorization drops an attempt that never was.
func (s *Store) ForgetAuthorization(ctx context.Context, a hold.Authorization, token string) error {
	_, err := s.saveAuthorization(ctx, a, token, "", true, time.Time{})
	return err
}

func (s *Store) saveAuthorization(ctx context.Context, a hold.Authorization, token, record string, release bool, next time.Time) (bool, error) {
	flag := map[bool]string{true: "1", false: "0"}
	n, err := s.exec(ctx, authorizeSaveScript, []run{{
		keys: []string{keyAttempt + a.ID, keyAttempts},
		args: []any{a.ID, token, record, flag[a.State.Finished()], flag[release], score(next), a.Digest, attemptsKept.Milliseconds()},
	}})[0].Int64()
	return n == 1, err
}

// DueAuthorizations are the attempts to be looked after now, up to n.
func (s *Store) DueAuthorizations(ctx context.Context, n int) (ids []string, now time.Time, err error) {
	r := open(s.exec(ctx, authorizeDueScript, []run{{keys: []string{keyAttempts}, args: []any{bounded(n)}}})[0])
	now = r.time()
	for r.more() {
		ids = append(ids, r.str())
	}
	return ids, now, r.err
}
