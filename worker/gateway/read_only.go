package gateway

import (
	"errors"
	"net/http"
)

// errReadOnly says that a read-only gateway refused a request.
var errReadOnly = errors.New("the gateway is read-only")

// readOnlyTransport refuses every request that is not a GET. It is above the
// other transports, so that a refused request counts as not sent.
type readOnlyTransport struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t readOnlyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return nil, errReadOnly
	}
	return t.next.RoundTrip(r)
}
