package store

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// KeyedRequests keeps the API's requests with an idempotency key, and the
// responses to them.
type KeyedRequests struct{ conn *redisConn }

var (
	requestBeginScript = newScript("request_begin")
	requestSaveScript  = newScript("request_save")
)

// Bounds of the requests. The oldest are dropped first. A dropped request is
// executed anew if it is repeated, which takes effect once as without a key.
const (
	requestTTL      = 24 * time.Hour
	maxRequests     = 100_000
	maxRequestBytes = 64 << 20
)

func keyedRequestKeys() []string {
	return []string{keyRequests, keyRequestTimes, keyRequestBytes}
}

// BeginRequest records a request with this digest under an id, for the length
// of the lease, or returns the response that was saved for it.
func (s *KeyedRequests) BeginRequest(
	ctx context.Context, id, digest string, lease time.Duration,
) (found hold.AttemptLookupResult, response string, err error) {
	r := newScriptReply(s.conn.callScript(ctx, requestBeginScript, keyedRequestKeys(),
		id, digest, lease.Milliseconds(), requestTTL.Milliseconds(), maxRequests, maxRequestBytes))
	found, response = hold.AttemptLookupResult(r.nextInt()), r.nextString()
	return found, response, r.err
}

// SaveResponse saves the response to a request that was begun. An empty
// response is not returned by BeginRequest, which then begins the request anew.
func (s *KeyedRequests) SaveResponse(ctx context.Context, id, digest, response string) error {
	return s.conn.callScript(ctx, requestSaveScript, keyedRequestKeys(),
		id, digest, response, boolArg(false)).Err()
}

// ForgetRequest removes a request that was begun and had no effect.
func (s *KeyedRequests) ForgetRequest(ctx context.Context, id, digest string) error {
	return s.conn.callScript(ctx, requestSaveScript, keyedRequestKeys(),
		id, digest, "", boolArg(true)).Err()
}
