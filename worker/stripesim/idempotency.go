package stripesim

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"time"
)

// idempotencyEntry is the answer to the first execution under an idempotency
// key.
type idempotencyEntry struct {
	key        string
	path       string
	paramsHash [sha256.Size]byte
	createdAt  time.Time // by the simulator's clock
	busyUntil  time.Time // by the machine's clock: the end of the first execution
	status     int
	code       string
	body       []byte
	requestID  string
}

// idempotencyStore holds the entries of one account, oldest first in queue.
type idempotencyStore struct {
	retention time.Duration
	byKey     map[string]*idempotencyEntry
	queue     []*idempotencyEntry
}

// lookup returns the entry to replay, or nil if the call is the first of its
// key. It returns an error if the key cannot be used for this call.
func (s *idempotencyStore) lookup(
	key, path string, params [sha256.Size]byte, now, wallNow time.Time,
) (*idempotencyEntry, *apiError) {
	s.prune(now)
	e := s.byKey[key]
	if e == nil {
		return nil, nil
	}
	idempotencyError := func(format string, args ...any) *apiError {
		return &apiError{status: 400, typ: typeIdempotency, skipsIdempotency: true,
			message: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.path != path:
		return nil, idempotencyError("Keys for idempotent requests can only be used for the same "+
			"endpoint they were first used for ('%s' vs '%s'). "+
			"Try using a key other than '%s' if you meant to execute a different request.", path,
			e.path, key)
	case e.paramsHash != params:
		return nil, idempotencyError("Keys for idempotent requests can only be used with the "+
			"same parameters they were first used with. "+
			"Try using a key other than '%s' if you meant to execute a different request.", key)
	case wallNow.Before(e.busyUntil):
		return nil, keyInUseError(key)
	}
	return e, nil
}

func (s *idempotencyStore) add(e *idempotencyEntry) {
	s.byKey[e.key] = e
	s.queue = append(s.queue, e)
}

func (s *idempotencyStore) prune(now time.Time) {
	old := now.Add(-s.retention)
	n := 0
	for n < len(s.queue) && !s.queue[n].createdAt.After(old) {
		e := s.queue[n]
		if s.byKey[e.key] == e {
			delete(s.byKey, e.key)
		}
		s.queue[n] = nil
		n++
	}
	s.queue = s.queue[n:]
}

// remove removes one key, or all of them if key is empty.
func (s *idempotencyStore) remove(key string) {
	if key == "" {
		clear(s.byKey)
		s.queue = nil
		return
	}
	delete(s.byKey, key)
}

// hashParams returns a digest that does not depend on the order of the
// parameters.
func hashParams(v url.Values) [sha256.Size]byte {
	return sha256.Sum256([]byte(v.Encode()))
}
