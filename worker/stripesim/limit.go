package stripesim

import (
	"strings"
	"sync"
	"time"
)

// bucket is a token bucket: capacity and refill a second are both the rate.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) ready(rate float64, now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = rate
	} else {
		b.tokens = min(rate, b.tokens+rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	return b.tokens >= 1-1e-9
}

func (a *account) bucket(c Class) *bucket {
	b := a.buckets[c]
	if b == nil {
		b = &bucket{}
		a.buckets[c] = b
	}
	return b
}

// admit takes a token for a class and one over all, or neither.
func (a *account) admit(c Class, t *tuning, now time.Time) *apiError {
	rate := t.endpointRate
	if c == ClassSearch {
		rate = t.searchRate
	}
	var all, one *bucket
	if t.overallRate > 0 {
		if all = a.bucket(""); !all.ready(t.overallRate, now) {
			return rateLimited("global-rate")
		}
	}
	if rate > 0 {
		if one = a.bucket(c); !one.ready(rate, now) {
			return rateLimited("endpoint-rate")
		}
		one.tokens--
	}
	if all != nil {
		all.tokens--
	}
	return nil
}

// keyring is what is known about API keys.
type keyring struct {
	mu         sync.RWMutex
	bad        map[string]bool
	restricted map[string]map[Class]bool
}

// RevokeKey makes calls with this API key answer 401 until RestoreKey.
func (s *Sim) RevokeKey(key string) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if s.keys.bad == nil {
		s.keys.bad = map[string]bool{}
	}
	s.keys.bad[key] = true
}

// RestrictKey makes calls with this API key answer 403, except for the classes named.
func (s *Sim) RestrictKey(key string, allowed ...Class) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if s.keys.restricted == nil {
		s.keys.restricted = map[string]map[Class]bool{}
	}
	m := map[Class]bool{}
	for _, c := range allowed {
		m[c] = true
	}
	s.keys.restricted[key] = m
}

// RestoreKey undoes RevokeKey and RestrictKey.
func (s *Sim) RestoreKey(key string) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	delete(s.keys.bad, key)
	delete(s.keys.restricted, key)
}

// IsLiveKey tells whether a key would move real money. Such keys have no business near a simulator.
func IsLiveKey(key string) bool {
	key = strings.TrimSpace(key)
	for _, p := range [...]string{"sk_live_", "rk_live_", "pk_live_"} {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// mask shows as much of a key as Stripe does.
func mask(key string) string {
	if len(key) < 16 {
		return "****"
	}
	return key[:8] + strings.Repeat("*", 8) + key[len(key)-4:]
}

func (k *keyring) check(key string, c Class, account string) *apiError {
	deny := func(status int, code, message string) *apiError {
		return &apiError{status: status, typ: typeInvalid, code: code, message: message, unstored: true}
	}
	switch {
	case key == "":
		return deny(401, "", "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "+
			"(e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	case IsLiveKey(key):
		return deny(401, "testmode_charges_only", "This is a simulator and a LIVE key was sent to it. Live keys must never leave your production "+
			"systems: roll this key now, and point the simulator's clients at a key that starts with sk_test_ or rk_test_.")
	case !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_"):
		return deny(401, "", "Invalid API Key provided: "+mask(key))
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.bad[key] {
		return deny(401, "", "Invalid API Key provided: "+mask(key))
	}
	if allowed, ok := k.restricted[key]; ok && !allowed[c] {
		return forbidden(key, account)
	}
	return nil
}

func forbidden(key, account string) *apiError {
	return &apiError{status: 403, typ: typeInvalid, unstored: true,
		message: "The provided key '" + mask(key) + "' does not have the required permissions for this endpoint on account '" + account + "'."}
}
