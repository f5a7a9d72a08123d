package stripesim

import (
	"strings"
	"sync"
)

// APIKeys are the API keys that were revoked or restricted.
type APIKeys struct {
	mu         sync.RWMutex
	revoked    map[string]bool
	restricted map[string]map[EndpointClass]bool
}

// RevokeKey makes calls with this API key answer 401 until RestoreKey.
func (k *APIKeys) RevokeKey(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.revoked == nil {
		k.revoked = map[string]bool{}
	}
	k.revoked[key] = true
}

// RestrictKey makes calls with this API key answer 403, except for the classes
// named.
func (k *APIKeys) RestrictKey(key string, allowed ...EndpointClass) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.restricted == nil {
		k.restricted = map[string]map[EndpointClass]bool{}
	}
	m := map[EndpointClass]bool{}
	for _, c := range allowed {
		m[c] = true
	}
	k.restricted[key] = m
}

// RestoreKey undoes RevokeKey and RestrictKey.
func (k *APIKeys) RestoreKey(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.revoked, key)
	delete(k.restricted, key)
}

// IsLiveKey reports whether a key moves real money. No such key may be sent to
// a simulator.
func IsLiveKey(key string) bool {
	key = strings.TrimSpace(key)
	for _, p := range [...]string{"sk_live_", "rk_live_", "pk_live_", "sk_org_live_"} {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// maskKey masks a key as Stripe does in its answers.
func maskKey(key string) string {
	if len(key) < 16 {
		return "****"
	}
	return key[:8] + strings.Repeat("*", 8) + key[len(key)-4:]
}

func (k *APIKeys) verify(key string, c EndpointClass, account string) *apiError {
	deny := func(status int, code, message string) *apiError {
		return &apiError{status: status, typ: typeInvalidRequest, code: code,
			message: message, skipsIdempotency: true}
	}
	switch {
	case key == "":
		return deny(401, "",
			"You did not provide an API key. You need to provide your API key in the "+
				"Authorization header, using Bearer auth "+
				"(e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	case IsLiveKey(key):
		return deny(401, "testmode_charges_only",
			"This is a simulator and a LIVE key was sent to it. Live keys must never leave your "+
				"production "+
				"systems: roll this key now, and point the simulator's clients at a key that "+
				"starts with sk_test_ or rk_test_.")
	case !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_") &&
		!isPublishableKey(key) && !isOrganizationKey(key):
		return deny(401, "", "Invalid API Key provided: "+maskKey(key))
	case isPublishableKey(key) && !publishableClasses[c]:
		return deny(401, "secret_key_required",
			"This API call cannot be made with a publishable API key. Please use a secret API "+
				"key. You can find a list of your API keys at "+
				"https://dashboard.stripe.com/account/apikeys.")
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
