package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// AuthorizationAttempts keeps attempts to authorize a card. One caller at a
// time has the lease of an attempt.
type AuthorizationAttempts struct{ conn *redisConn }

var (
	authorizeBeginScript = newScript("authorize_begin")
	authorizeSaveScript  = newScript("authorize_save")
	authorizeDueScript   = newScript("authorize_due")
)

// attemptTTL is how long the store keeps an attempt: three times as long as
// Stripe guarantees to keep an idempotency key.
const attemptTTL = 72 * time.Hour

// BeginOrResumeAuthorization records an attempt, or resumes the stored one with
// its id, under a lease for the caller with this token. If a has no state, it
// only resumes. If a has no digest, it resumes the attempt of any request, even
// a finished one. It returns the stored attempt and the time of Redis. The
// attempt is due for a check after checkIn.
func (s *AuthorizationAttempts) BeginOrResumeAuthorization(
	ctx context.Context, a hold.AuthorizationAttempt, token string, lease, checkIn time.Duration,
) (hold.AuthorizationAttempt, hold.AttemptLookupResult, time.Time, error) {
	record := ""
	if a.State != 0 {
		b, err := json.Marshal(a)
		if err != nil {
			return a, 0, time.Time{}, err
		}
		record = string(b)
	}
	keys := []string{keyAttempt + a.ID, keyOpenAttempts}
	r := newScriptReply(s.conn.callScript(ctx, authorizeBeginScript, keys,
		a.ID, a.Digest, token, lease.Milliseconds(), attemptTTL.Milliseconds(),
		checkIn.Milliseconds(), record, boolArg(a.Digest == "")))
	now := r.nextTime()
	lookup, stored, begunAt := hold.AttemptLookupResult(r.nextInt()), r.nextString(), r.nextTime()
	if r.err != nil {
		return a, 0, now, r.err
	}
	if stored != "" {
		if err := json.Unmarshal([]byte(stored), &a); err != nil {
			return a, 0, now, fmt.Errorf("authorization attempt %s: %w",
				a.ID, hold.ErrUnreadableRecord)
		}
	}
	a.BegunAt = begunAt
	if a.KeyUsedSince.IsZero() {
		a.KeyUsedSince = begunAt
	}
	return a, lookup, now, nil
}

// SaveAuthorizationIfLeaseHeld saves the progress of an attempt, unless another caller has
// the lease. With release it releases the lease. next is the time of the next
// check; zero means none.
func (s *AuthorizationAttempts) SaveAuthorizationIfLeaseHeld(
	ctx context.Context, a hold.AuthorizationAttempt, token string, release bool, next time.Time,
) (bool, error) {
	record, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	return s.callSaveScript(ctx, a, token, string(record), release, next)
}

// DeleteAuthorizationIfLeaseHeld deletes an attempt whose request was not sent.
func (s *AuthorizationAttempts) DeleteAuthorizationIfLeaseHeld(
	ctx context.Context, a hold.AuthorizationAttempt, token string,
) error {
	_, err := s.callSaveScript(ctx, a, token, "", true, time.Time{})
	return err
}

func (s *AuthorizationAttempts) callSaveScript(
	ctx context.Context, a hold.AuthorizationAttempt, token, record string,
	release bool, next time.Time,
) (bool, error) {
	keys := []string{keyAttempt + a.ID, keyOpenAttempts}
	n, err := s.conn.callScript(ctx, authorizeSaveScript, keys,
		a.ID, token, record, boolArg(a.State.IsFinished()), boolArg(release),
		scoreArg(next), a.Digest, attemptTTL.Milliseconds()).Int64()
	return n == 1, err
}

// ListDueAttemptIDs returns up to n attempts whose next check is due.
func (s *AuthorizationAttempts) ListDueAttemptIDs(
	ctx context.Context, n int,
) (ids []string, now time.Time, err error) {
	keys := []string{keyOpenAttempts}
	r := newScriptReply(s.conn.callScript(ctx, authorizeDueScript, keys, clampBatchSize(n)))
	now = r.nextTime()
	for r.hasMore() {
		ids = append(ids, r.nextString())
	}
	return ids, now, r.err
}
