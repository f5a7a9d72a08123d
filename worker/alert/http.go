package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/retryafter"
)

// maxResponseBytes is how much of a response is read, so that the connection
// can be used again.
const maxResponseBytes = 4 << 10

// newHTTPClient returns a client that follows no redirects: they would hand
// signed events and tokens to another address.
func newHTTPClient(t http.RoundTripper) *http.Client {
	if t == nil {
		t = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: 2, MaxConnsPerHost: 2 * maxConcurrentSends,
			IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2: true,
		}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// sendHTTPRequest sends a request and returns the outcome.
func sendHTTPRequest(c *http.Client, req *http.Request) deliveryOutcome {
	res, err := c.Do(req)
	if err != nil {
		return deliveryOutcome{result: resultFailed, reason: describeNetworkError(err)}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxResponseBytes)
	return outcomeFromResponse(res, time.Now())
}

// outcomeFromResponse maps a response to an outcome, as package alert documents
// it.
func outcomeFromResponse(res *http.Response, now time.Time) deliveryOutcome {
	o := deliveryOutcome{reason: "HTTP " + strconv.Itoa(res.StatusCode), status: res.StatusCode}
	o.retryAfter, _ = retryafter.Parse(res.Header.Get("Retry-After"), now)
	switch code := res.StatusCode; {
	case code/100 == 2:
		return deliveryOutcome{result: resultDelivered, status: code}
	case code == http.StatusGone:
		o.result = resultGone
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable &&
		o.retryAfter > 0:
		o.result = resultRetryLater
		o.retryAfter = max(o.retryAfter, sinkBackoffMin)
	case code/100 == 3:
		o.result, o.reason = resultFailed, o.reason+
			": redirects are not followed, set the final address"
	case code == http.StatusBadRequest, code == http.StatusConflict,
		code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		o.result = resultRejected
	default:
		o.result = resultFailed
	}
	return o
}

// describeNetworkError names the kind of a failure. The error itself is not
// safe for logs: it may contain the address, and the address a token.
func describeNetworkError(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %s", sendTimeout)
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &dns):
		return "unknown host name"
	case errors.As(err, &op) && op.Op == "dial":
		return "connection failed"
	}
	return "connection broken, or certificate not trusted"
}
