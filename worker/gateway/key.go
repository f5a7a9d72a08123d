package gateway

import (
	"errors"
	"net/http"
	"sync/atomic"
)

// currentAPIKey is the API key that requests are sent with.
type currentAPIKey struct{ key atomic.Pointer[APIKey] }

func newCurrentAPIKey(k APIKey) *currentAPIKey {
	c := &currentAPIKey{}
	c.key.Store(&k)
	return c
}

// apiKeyTransport sends each request with the current key. stripe-go has one
// key for each client, and a request in flight keeps the key that it began
// with.
type apiKeyTransport struct {
	next http.RoundTripper
	key  *currentAPIKey
}

// RoundTrip implements [http.RoundTripper].
func (t *apiKeyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(*t.key.key.Load()))
	return t.next.RoundTrip(r)
}

// ErrOtherMode says that a key is of the other mode than the holds.
var ErrOtherMode = errors.New("the new Stripe key is of the other mode, live or test, " +
	"than the holds in Redis: set a key of the same mode")

// SetAPIKey replaces the key for the requests that follow. It must be of the
// same mode and account. It sends nothing.
func (g *Gateway) SetAPIKey(k APIKey) error {
	if err := k.validate(); err != nil {
		return err
	}
	old := *g.key.key.Load()
	if k.isLive() != g.livemode {
		return ErrOtherMode
	}
	if k.isOrganization() != old.isOrganization() {
		return errors.New("the new Stripe key and the old one are not both keys of an " +
			"organization: restart holdd with the new key")
	}
	g.scrubber.addKey(k)
	g.key.key.Store(&k)
	return nil
}
