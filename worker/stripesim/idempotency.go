package stripesim

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"time"
)

// idempotencyEntry is what an idempotency key remembers: the first execution's
// answer.
type idempotencyEntry struct {
	key        string
	path       string
	paramsHash [sha256.Size]byte
	createdAt  time.Time // the simulator's clock: counts towards pruning
	busyUntil  time.Time // the machine's clock: the first execution is still under way
	status     int
	code       string
	body       []byte
	requestID  string
}

// lookupIdempotencyKey looks a key up: an entry to replay, an error, or neither
// if the call is the key's first.
func (a *account) lookupIdempotencyKey(
	key, path string, params [sha256.Size]byte, now, wallNow time.Time,
) (*idempotencyEntry, *apiError) {
	a.pruneIdempotencyKeys(now)
	e := a.idempotencyKeys[key]
	if e == nil {
		return nil, nil
	}
	idempotencyError := func(format string, args ...any) *apiError {
		return &apiError{status: 400, typ: typeIdempotency, skipsIdempotency: true,
			message: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.path != path:
		return nil, idempotencyError("Keys for idempotent requests can only be used for the same endpoint they were first used for ('%s' vs '%s'). "+
			"Try using a key other than '%s' if you meant to execute a different request.", path,
			e.path, key)
	case e.paramsHash != params:
		return nil, idempotencyError("Keys for idempotent requests can only be used with the same parameters they were first used with. "+
			"Try using a key other than '%s' if you meant to execute a different request.", key)
	case wallNow.Before(e.busyUntil):
		return nil, keyInUseError(key)
	}
	return e, nil
}

func (a *account) storeIdempotencyEntry(e *idempotencyEntry) {
	a.idempotencyKeys[e.key] = e
	a.idempotencyKeyQueue = append(a.idempotencyKeyQueue, e)
}

func (a *account) pruneIdempotencyKeys(now time.Time) {
	old := now.Add(-a.sim.options.IdempotencyKeyRetention)
	n := 0
	for n < len(a.idempotencyKeyQueue) && !a.idempotencyKeyQueue[n].createdAt.After(old) {
		e := a.idempotencyKeyQueue[n]
		if a.idempotencyKeys[e.key] == e {
			delete(a.idempotencyKeys, e.key)
		}
		a.idempotencyKeyQueue[n] = nil
		n++
	}
	a.idempotencyKeyQueue = a.idempotencyKeyQueue[n:]
}

// PruneIdempotencyKeys forgets idempotency keys now: one by its name, or all of
// them with an empty one.
func (s *Sim) PruneIdempotencyKeys(key string) {
	for _, a := range s.sortedAccounts() {
		a.mu.Lock()
		if key == "" {
			clear(a.idempotencyKeys)
			a.idempotencyKeyQueue = nil
		} else {
			delete(a.idempotencyKeys, key)
		}
		a.mu.Unlock()
	}
}

// hashParams is the same for the same parameters in any order.
func hashParams(v url.Values) [sha256.Size]byte {
	return sha256.Sum256([]byte(v.Encode()))
}
