package bulkread

import (
	"maps"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// confirmMissingAfter is how long after a 404 an intent is read again before
	// the 404 is believed. Stripe rarely fails to see an intent for a moment, and
	// a wrong key finds none: within that time the caller sees that many are
	// missing, and believes none of their 404s.
	confirmMissingAfter = 10 * time.Second
	// maxMissing bounds the intents that wait for their second read.
	maxMissing = MaxWaiting
	// forgetMissingAfter is after how long an intent that was not read again no
	// longer counts as missing.
	forgetMissingAfter = time.Hour
	// maxMissingInRow is how many intents in a row may be missing before no 404
	// is believed until an intent is found: the key may be that of another
	// account. Reconcile still reports intents that are missing for good.
	maxMissingInRow = 8
)

// missingIntents remembers when Stripe first did not find an intent.
type missingIntents struct {
	mu    sync.Mutex
	since map[string]time.Time // by PaymentIntent, at most maxMissing
	inRow int                  // first 404s since an intent was found
}

// mayRetrieve reports whether an intent may be read: false if Stripe did not
// find it a moment ago.
func (m *missingIntents) mayRetrieve(intent string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, missing := m.since[intent]
	return !missing || time.Since(at) >= confirmMissingAfter
}

// recordAnswerAndCheckBelieved records what an answer says of an intent. It
// returns false for the first 404.
func (m *missingIntents) recordAnswerAndCheckBelieved(intent string, kind hold.AnswerKind) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, missing := m.since[intent]
	switch {
	case kind == hold.AnswerOK:
		delete(m.since, intent)
		m.inRow = 0
		return true
	case kind != hold.AnswerNotFound:
		return true
	case missing && time.Since(at) >= confirmMissingAfter && m.inRow < maxMissingInRow:
		delete(m.since, intent)
		return true
	case missing:
		return false
	}
	m.inRow++
	if len(m.since) >= maxMissing {
		maps.DeleteFunc(m.since, func(_ string, at time.Time) bool {
			return time.Since(at) > forgetMissingAfter
		})
	}
	if m.since == nil {
		m.since = map[string]time.Time{}
	}
	if len(m.since) < maxMissing {
		m.since[intent] = time.Now()
	}
	return false
}
