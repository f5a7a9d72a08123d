package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// IdempotencyStore keeps the responses to requests with an idempotency key.
// store.Store implements it.
type IdempotencyStore interface {
	// BeginRequest records a request for the length of the lease, or returns the
	// response that was saved for it.
	BeginRequest(ctx context.Context, id, digest string, lease time.Duration) (
		found hold.AttemptLookupResult, response string, err error)
	// SaveResponse saves a response. BeginRequest does not find an empty one.
	SaveResponse(ctx context.Context, id, digest, response string) error
	ForgetRequest(ctx context.Context, id, digest string) error
}

const (
	// maxSavedResponseBytes bounds a saved response. A request with a larger
	// one, such as a batch, is executed again when it is repeated, which takes
	// effect once.
	maxSavedResponseBytes = 16 << 10
	// saveResponseTimeout bounds the call that saves a response, which
	// continues after the caller has disconnected.
	saveResponseTimeout = 2 * time.Second
	// leaseSlack is how much longer than a request its lease lasts.
	leaseSlack = 5 * time.Second
)

// replayedHeader marks a saved response, as Stripe marks it.
const replayedHeader = "Idempotent-Replayed"

// savedHeaders are the headers of a response that are saved with it.
var savedHeaders = []string{"Content-Type", "Etag", "Location"}

// savedResponse is a response as it is saved.
type savedResponse struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// idempotencyHandler answers a repeated POST with an Idempotency-Key from the
// response to the first one. It saves only responses of 2xx: another response
// means that the request had no effect, and the same one may succeed later.
//
// Authorizations have a record of their own, because it must exist before the
// card is authorized.
type idempotencyHandler struct {
	responseBuilder
	next  http.Handler
	store IdempotencyStore // nil: no request is kept
	lease time.Duration
}

func newIdempotencyHandler(next http.Handler, o *Options, r responseBuilder) *idempotencyHandler {
	return &idempotencyHandler{r, next, o.Requests, o.RequestTimeout + leaseSlack}
}

func (h *idempotencyHandler) serveOnceOrReplay(
	w http.ResponseWriter, r *http.Request, c *requestInfo,
) {
	keys := r.Header.Values("Idempotency-Key")
	if h.store == nil || len(keys) == 0 || r.Method != http.MethodPost ||
		strings.HasPrefix(r.URL.Path, "/v1/authorizations") {
		h.next.ServeHTTP(w, r)
		return
	}
	if err := hold.CheckIdempotencyKey(strings.Join(keys, "")); err != nil {
		h.logAndConvertError(r.Context(), err).Write(w)
		return
	}
	digest := digestRequest(r, c)
	id := hexDigestOfParts("key", c.by, keys[0])
	found, response, err := h.store.BeginRequest(r.Context(), id, digest, h.lease)
	switch {
	case err != nil:
		h.log.Warn("request not served: unavailable", append(c.logFields(), zap.Error(err))...)
		newProblem(Unavailable, "", "nothing was changed: send the same request again in a few "+
			"seconds").Write(w)
	case found == hold.LookupKeyReused:
		newProblem(hold.IdempotencyKeyReused, "Idempotency-Key",
			"this key was used for another request in the last 24 hours: send a new key").Write(w)
	case found == hold.LookupBusy:
		newProblem(hold.InProgress, "Idempotency-Key",
			"a request with this key is in progress: send the same again in a moment").Write(w)
	case found == hold.LookupFinished && replayResponse(w, response):
	default:
		h.executeAndSave(w, r, c, id, digest)
	}
}

// digestRequest returns a digest of what a request asks for.
func digestRequest(r *http.Request, c *requestInfo) string {
	return hexDigestOfParts(r.Method, r.URL.RequestURI(), r.Header.Get("If-Match"), string(c.body))
}

// executeAndSave executes a request and saves its response before the caller
// sees it.
func (h *idempotencyHandler) executeAndSave(
	w http.ResponseWriter, r *http.Request, c *requestInfo, id, digest string,
) {
	rec := &responseBuffer{header: maps.Clone(w.Header()), status: http.StatusOK}
	saved := false
	defer func() { // also after a panic
		if !saved {
			h.forgetRequest(r.Context(), c, id, digest)
		}
	}()
	h.next.ServeHTTP(rec, r)
	if rec.status/100 == 2 {
		h.saveResponse(r.Context(), c, rec, id, digest)
		saved = true
	}
	maps.Copy(w.Header(), rec.header)
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes()) // fails only if the caller has disconnected
}

func (h *idempotencyHandler) saveResponse(
	ctx context.Context, c *requestInfo, rec *responseBuffer, id, digest string,
) {
	s := savedResponse{Status: rec.status, Headers: map[string]string{}, Body: rec.body.String()}
	for _, name := range savedHeaders {
		if v := rec.header.Get(name); v != "" {
			s.Headers[name] = v
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		b = nil
	}
	if len(b) > maxSavedResponseBytes {
		b = nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveResponseTimeout)
	defer cancel()
	if err := h.store.SaveResponse(ctx, id, digest, string(b)); err != nil {
		h.log.Warn("response not saved: a repeated request is executed again",
			append(c.logFields(), zap.Error(err))...)
	}
}

func (h *idempotencyHandler) forgetRequest(ctx context.Context, c *requestInfo, id, digest string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveResponseTimeout)
	defer cancel()
	if err := h.store.ForgetRequest(ctx, id, digest); err != nil {
		h.log.Warn("request not forgotten: its key is in use until the lease ends",
			append(c.logFields(), zap.Error(err))...)
	}
}

// replayResponse writes a saved response. It reports false if it cannot be
// read, which only another release could have written.
func replayResponse(w http.ResponseWriter, response string) bool {
	var s savedResponse
	if json.Unmarshal([]byte(response), &s) != nil || s.Status/100 != 2 {
		return false
	}
	for name, v := range s.Headers {
		w.Header().Set(name, v)
	}
	w.Header().Set(replayedHeader, "true")
	w.WriteHeader(s.Status)
	_, _ = io.WriteString(w, s.Body) // fails only if the caller has disconnected
	return true
}

// hexDigestOfParts returns a digest of parts that no other list of parts has.
func hexDigestOfParts(parts ...string) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // only strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// responseBuffer keeps a response until it may be sent.
type responseBuffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (w *responseBuffer) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *responseBuffer) WriteHeader(status int) { w.status = status }

// Write implements [http.ResponseWriter].
func (w *responseBuffer) Write(b []byte) (int, error) { return w.body.Write(b) }
