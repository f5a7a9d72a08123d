package gateway

import (
	"bytes"
	"errors"
	"io"
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

// RoundTrip sends a copy of the request, because a transport must not change
// the original.
func (t *apiKeyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(r.Context())
	r.Header = r.Header.Clone()
	r.Header.Set("Authorization", "Bearer "+string(*t.key.key.Load()))
	if err := bufferRequestBodyAndSetLength(r); err != nil {
		return nil, err
	}
	return t.next.RoundTrip(r)
}

// bufferRequestBodyAndSetLength replaces the body of a request by one of known length.
// stripe-go does not say how long its bodies are, and gives even a GET one.
// net/http would send the headers, the body and its end in three writes, and
// start a goroutine to find out that a GET has no body.
func bufferRequestBodyAndSetLength(r *http.Request) error {
	if r.Body == nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { // also for a second try on another connection
		if len(body) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	r.Body, err = r.GetBody()
	return err
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
