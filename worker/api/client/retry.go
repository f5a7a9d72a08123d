package client

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/retryafter"
)

// Retries of a client that is made by WithRetries.
const (
	maxAttempts = 4
	firstDelay  = 250 * time.Millisecond
	maxDelay    = 8 * time.Second
	// maxRetryAfter bounds a wait: a longer Retry-After is the caller's decision.
	maxRetryAfter = time.Minute
)

// WithRetries returns a client that repeats a request up to three times if it
// got no answer, or an answer of 429, 502, 503, 504 or 409 in_progress. It waits
// for a random delay or for Retry-After, at most a minute. Each POST has an
// Idempotency-Key, yours or a random one, so that it takes effect once. A Patch
// with a revision is not repeated: its own first attempt would make it outdated.
func (c *Client) WithRetries() *Client {
	d := *c.clientConnection
	d.retries = true
	return newClientWithConnection(&d)
}

// IsOutcomeUnknown reports whether a request that returned err may have taken
// effect or may still do so, in this or in an earlier call: repeat it with the
// same key. If it is false for an error, holdd has decided the request.
func IsOutcomeUnknown(err error) bool {
	var unreachable *UnreachableError
	var p *Problem
	if !errors.As(err, &p) {
		return errors.As(err, &unreachable)
	}
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout,
		http.StatusTooManyRequests: // they say nothing of an earlier request with the key
		return true
	}
	return p.Status >= http.StatusInternalServerError || p.Code == hold.InProgress ||
		p.Code == UnexpectedResponse
}

// sendWithRetries sends a request until it has a final answer.
func (c *clientConnection) sendWithRetries(
	ctx context.Context, r clientRequest, out any,
) (int, error) {
	if r.method == http.MethodPost && r.idempotencyKey == "" {
		r.idempotencyKey = rand.Text()
	}
	attempts := maxAttempts
	if r.method == http.MethodPatch && r.revision != 0 {
		attempts = 1
	}
	sent := false // an attempt that may have taken effect
	for attempt := 1; ; attempt++ {
		status, retryAfter, err := c.sendOnce(ctx, &r, out)
		var unreachable *UnreachableError
		if errors.As(err, &unreachable) {
			sent = sent || unreachable.OutcomeUnknown
			unreachable.OutcomeUnknown = sent
		}
		delay, ok := retryDelayUnlessFinal(err, retryAfter, backoff(attempt))
		if !ok || attempt == attempts {
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, err
		case <-time.After(delay):
		}
	}
}

// retryDelayUnlessFinal returns how long to wait before a repetition, and false if err is
// final.
func retryDelayUnlessFinal(err error, retryAfter string, delay time.Duration) (time.Duration, bool) {
	var p *Problem
	var unreachable *UnreachableError
	switch {
	case errors.As(err, &unreachable):
		return delay, true
	case !errors.As(err, &p):
		return 0, false
	}
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
	default:
		if p.Code != hold.InProgress {
			return 0, false
		}
	}
	wait, _ := retryafter.Parse(retryAfter, time.Now())
	return max(delay, wait), wait <= maxRetryAfter
}

// backoff returns a random delay below an exponential bound, so that clients do
// not come back together.
func backoff(attempt int) time.Duration {
	return mathrand.N(min(maxDelay, firstDelay<<attempt))
}
