package stripesim

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"time"
)

// keyEntry is what an idempotency key remembers: the first execution's answer.
type keyEntry struct {
	key       string
	path      string
	params    [sha256.Size]byte
	made      time.Time // the simulator's clock: counts towards pruning
	busyUntil time.Time // the machine's clock: the first execution is still under way
	status    int
	code      string
	body      []byte
	requestID string
}

// recall looks a key up: an entry to replay, an error, or neither if the call is the key's first.
func (a *account) recall(key, path string, params [sha256.Size]byte, now, real time.Time) (*keyEntry, *apiError) {
	a.pruneKeys(now)
	e := a.keys[key]
	if e == nil {
		return nil, nil
	}
	misuse := func(format string, args ...any) *apiError {
		return &apiError{status: 400, typ: typeIdempotency, unstored: true, message: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.path != path:
		return nil, misuse("Keys for idempotent requests can only be used for the same endpoint they were first used for ('%s' vs '%s'). "+
			"Try using a key other than '%s' if you meant to execute a different request.", path, e.path, key)
	case e.params != params:
		return nil, misuse("Keys for idempotent requests can only be used with the same parameters they were first used with. "+
			"Try using a key other than '%s' if you meant to execute a different request.", key)
	case real.Before(e.busyUntil):
		return nil, keyInUse(key)
	}
	return e, nil
}

func (a *account) remember(e *keyEntry) {
	a.keys[e.key] = e
	a.keyQueue = append(a.keyQueue, e)
}

func (a *account) pruneKeys(now time.Time) {
	old := now.Add(-a.sim.opt.KeyRetention)
	n := 0
	for n < len(a.keyQueue) && !a.keyQueue[n].made.After(old) {
		e := a.keyQueue[n]
		if a.keys[e.key] == e {
			delete(a.keys, e.key)
		}
		a.keyQueue[n] = nil
		n++
	}
	a.keyQueue = a.keyQueue[n:]
}

// PruneKeys forgets idempotency keys now: one by its name, or all of them with an empty one.
func (s *Sim) PruneKeys(key string) {
	for _, a := range s.accountList() {
		a.mu.Lock()
		if key == "" {
			clear(a.keys)
			a.keyQueue = nil
		} else {
			delete(a.keys, key)
		}
		a.mu.Unlock()
	}
}

// fingerprint is the same for the same parameters in any order.
func fingerprint(v url.Values) [sha256.Size]byte {
	return sha256.Sum256([]byte(v.Encode()))
}
