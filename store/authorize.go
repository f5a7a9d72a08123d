package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// attemptTTL is how long an attempt to authorize is remembered: three times as long as Stripe promises to remember a key. Who repeats a
// request later than that meets what Stripe has, or begins anew.
const attemptTTL = 72 * time.Hour

// attempts to authorize share one hash tag whatever the number of partitions: they come at the pace of guests.
const (
	keyAttempt      = "holdd:{authorizations}:attempt:"
	keyOpenAttempts = "holdd:{authorizations}:open"
)

var (
	authorizeBeginScript = script("authorize_begin")
	authorizeSaveScript  = script("authorize_save")
	authorizeDueScript   = script("authorize_due")
)

// BeginAuthorization writes an attempt down, or takes on one that was written down before, for the time of the lease. Who has it is told by
// the token. One without state is only taken on and never made, one without digest is taken on whatever was asked, finished or not. The attempt that is returned is the one that counts, at Redis' time.
func (s *Store) BeginAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string, lease, look time.Duration) (hold.AuthorizationAttempt, hold.AttemptLookup, time.Time, error) {
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
	r := newReply(s.runScript(ctx, authorizeBeginScript, []scriptCall{{
		keys: []string{keyAttempt + a.ID, keyOpenAttempts},
		args: []any{a.ID, a.Digest, token, lease.Milliseconds(), attemptTTL.Milliseconds(), look.Milliseconds(), record, finished},
	}})[0])
	now := r.time()
	begin, stored, begun := hold.AttemptLookup(r.int()), r.str(), r.time()
	if r.err != nil {
		return a, 0, now, r.err
	}
	if stored != "" {
		if err := json.Unmarshal([]byte(stored), &a); err != nil {
			return a, 0, now, fmt.Errorf("the attempt to authorize %s: %w", a.ID, hold.ErrUnreadableRecord)
		}
	}
	a.BegunAt = begun
	if a.KeyUsedSince.IsZero() {
		a.KeyUsedSince = begun
	}
	return a, begin, now, nil
}

// SaveAuthorization writes what became of an attempt, unless somebody else has it by now. With release it is let go. next is when to look after it
// again, zero for never.
func (s *Store) SaveAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string, release bool, next time.Time) (bool, error) {
	record, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	return s.saveAuthorization(ctx, a, token, string(record), release, next)
}

// ForgetAuthorization drops an attempt that never was.
func (s *Store) ForgetAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string) error {
	_, err := s.saveAuthorization(ctx, a, token, "", true, time.Time{})
	return err
}

func (s *Store) saveAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token, record string, release bool, next time.Time) (bool, error) {
	flag := map[bool]string{true: "1", false: "0"}
	n, err := s.runScript(ctx, authorizeSaveScript, []scriptCall{{
		keys: []string{keyAttempt + a.ID, keyOpenAttempts},
		args: []any{a.ID, token, record, flag[a.State.Finished()], flag[release], scoreArg(next), a.Digest, attemptTTL.Milliseconds()},
	}})[0].Int64()
	return n == 1, err
}

// DueAuthorizations are the attempts to be looked after now, up to n.
func (s *Store) DueAuthorizations(ctx context.Context, n int) (ids []string, now time.Time, err error) {
	r := newReply(s.runScript(ctx, authorizeDueScript, []scriptCall{{keys: []string{keyOpenAttempts}, args: []any{clampBatch(n)}}})[0])
	now = r.time()
	for r.more() {
		ids = append(ids, r.str())
	}
	return ids, now, r.err
}
