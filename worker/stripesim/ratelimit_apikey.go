package stripesim

import (
	"strings"
	"sync"
	"time"
)

// bucket is a token bucket: capacity and refill a second are both the rate.
type bucket struct {
	tokens     float64
	refilledAt time.Time
}

func (b *bucket) hasToken(rate float64, now time.Time) bool {
	if b.refilledAt.IsZero() {
		b.tokens = rate
	} else {
		b.tokens = min(rate, b.tokens+rate*now.Sub(b.refilledAt).Seconds())
	}
	b.refilledAt = now
	return b.tokens >= 1-1e-9
}

func (a *account) bucket(c EndpointClass) *bucket {
	b := a.buckets[c]
	if b == nil {
		b = &bucket{}
		a.buckets[c] = b
	}
	return b
}

// takeRateTokens takes a token for a class and one over all, or neither.
func (a *account) takeRateTokens(c EndpointClass, t *liveSettings, now time.Time) *apiError {
	rate := t.endpointRate
	if c == ClassSearch {
		rate = t.searchRate
	}
	var all, one *bucket
	if t.overallRate > 0 {
		if all = a.bucket(""); !all.hasToken(t.overallRate, now) {
			return rateLimitError("global-rate")
		}
	}
	if rate > 0 {
		if one = a.bucket(c); !one.hasToken(rate, now) {
			return rateLimitError("endpoint-rate")
		}
		one.tokens--
	}
	if all != nil {
		all.tokens--
	}
	return nil
}

// apiKeyRegistry is what is known about API keys.
type apiKeyRegistry struct {
	mu         sync.RWMutex
	revoked    map[string]bool
	restricted map[string]map[EndpointClass]bool
}

// RevokeKey makes calls with this API key answer 401 until RestoreKey.
func (s *Sim) RevokeKey(key string) {
	s.apiKeys.mu.Lock()
	defer s.apiKeys.mu.Unlock()
	if s.apiKeys.revoked == nil {
		s.apiKeys.revoked = map[string]bool{}
	}
	s.apiKeys.revoked[key] = true
}

// RestrictKey makes calls with this API key answer 403, except for the classes
// named.
func (s *Sim) RestrictKey(key string, allowed ...EndpointClass) {
	s.apiKeys.mu.Lock()
	defer s.apiKeys.mu.Unlock()
	if s.apiKeys.restricted == nil {
		s.apiKeys.restricted = map[string]map[EndpointClass]bool{}
	}
	m := map[EndpointClass]bool{}
	for _, c := range allowed {
		m[c] = true
	}
	s.apiKeys.restricted[key] = m
}

// RestoreKey undoes RevokeKey and RestrictKey.
func (s *Sim) RestoreKey(key string) {
	s.apiKeys.mu.Lock()
	defer s.apiKeys.mu.Unlock()
	delete(s.apiKeys.revoked, key)
	delete(s.apiKeys.restricted, key)
}

// IsLiveKey tells whether a key would move real money. Such keys have no
// business near a simulator.
func IsLiveKey(key string) bool {
	key = strings.TrimSpace(key)
	for _, p := range [...]string{"sk_live_", "rk_live_", "pk_live_"} {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// maskKey shows as much of a key as Stripe does.
func maskKey(key string) string {
	if len(key) < 16 {
		return "****"
	}
	return key[:8] + strings.Repeat("*", 8) + key[len(key)-4:]
}

func (k *apiKeyRegistry) verify(key string, c EndpointClass, account string) *apiError {
	deny := func(status int, code, message string) *apiError {
		return &apiError{status: status, typ: typeInvalidRequest, code: code,
			message: message, skipsIdempotency: true}
	}
	switch {
	case key == "":
		return deny(401, "",
			"You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "+
				"(e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	case IsLiveKey(key):
		return deny(401, "testmode_charges_only",
			"This is a simulator and a LIVE key was sent to it. Live keys must never leave your production "+
				"systems: roll this key now, and point the simulator's clients at a key that starts with sk_test_ or rk_test_.")
	case !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_"):
		return deny(401, "", "Invalid API Key provided: "+maskKey(key))
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.revoked[key] {
		return deny(401, "", "Invalid API Key provided: "+maskKey(key))
	}
	if allowed, ok := k.restricted[key]; ok && !allowed[c] {
		return forbiddenError(key, account)
	}
	return nil
}

func forbiddenError(key, account string) *apiError {
	return &apiError{status: 403, typ: typeInvalidRequest, skipsIdempotency: true,
		message: "The provided key '" + maskKey(key) +
			"' does not have the required permissions for this endpoint on account '" + account +
			"'."}
}
