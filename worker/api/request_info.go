package api

import (
	"cmp"
	"context"
	"net/http"

	"go.uber.org/zap"
)

// requestInfo describes the request that is being served.
type requestInfo struct {
	method, path string
	pattern      string // of the route
	by           string // the caller's name in the hold's history
	trusted      bool   // may see version, addresses and causes
	token        string // the name of the caller's token; empty without one
	header       http.Header
	body         []byte
}

type requestInfoContextKey struct{}

func requestInfoFromContext(ctx context.Context) *requestInfo {
	if c, ok := ctx.Value(requestInfoContextKey{}).(*requestInfo); ok {
		return c
	}
	return &requestInfo{}
}

func (c *requestInfo) logFields() []zap.Field {
	return []zap.Field{zap.String("method", c.method),
		zap.String("path", cutWithEllipsis(c.path, 200)),
		zap.String("by", c.by)}
}

// responseStartRecorder records the status of the response, once it has begun.
type responseStartRecorder struct {
	http.ResponseWriter
	status int // 0: the response has not begun
}

// WriteHeader implements [http.ResponseWriter].
func (w *responseStartRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *responseStartRecorder) Write(b []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *responseStartRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// statusAndHeaderRecorder keeps the status and header of a response and drops
// its body.
type statusAndHeaderRecorder struct {
	header http.Header
	status int
}

// Header implements [http.ResponseWriter].
func (h *statusAndHeaderRecorder) Header() http.Header { return h.header }

// WriteHeader implements [http.ResponseWriter].
func (h *statusAndHeaderRecorder) WriteHeader(status int) { h.status = status }

// Write implements [http.ResponseWriter].
func (h *statusAndHeaderRecorder) Write(b []byte) (int, error) { return len(b), nil }

func cutWithEllipsis(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
