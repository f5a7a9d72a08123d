package api

import (
	"fmt"
	"net/http"
)

// WebhookHandler returns a handler that serves only [WebhookPath], for a
// listener that Stripe reaches.
func (a *API) WebhookHandler() http.Handler {
	return http.HandlerFunc(func(unwrapped http.ResponseWriter, r *http.Request) {
		w := newRecorderWithCommonHeaders(unwrapped)
		defer a.recoverPanic(w, &requestInfo{method: r.Method, path: r.URL.Path})
		if r.URL.Path != WebhookPath {
			rejectWithoutReadingBody(w, r, newProblem(RouteNotFound, "",
				"this address serves only "+WebhookPath).Write)
			return
		}
		a.webhook.serve(w, unwrapped, r)
	})
}

// MetricsAndHealthHandler returns a handler that serves /metrics, /healthz and /readyz
// to callers without a token, for a listener that only a monitoring system
// reaches. The two checks omit version and details.
func (a *API) MetricsAndHealthHandler() http.Handler {
	return http.HandlerFunc(func(unwrapped http.ResponseWriter, r *http.Request) {
		w := newRecorderWithCommonHeaders(unwrapped)
		c := &requestInfo{method: r.Method, path: r.URL.Path, by: "api"}
		defer a.recoverPanic(w, c)
		if !isExemptFromInFlightLimit(r.URL.Path) || !isReadOnlyMethod(r.Method) {
			rejectWithoutReadingBody(w, r, newProblem(RouteNotFound, "", fmt.Sprintf(
				"this address serves only GET /metrics, /healthz and /readyz, not %.10s %.100s",
				r.Method, r.URL.Path)).Write)
			return
		}
		a.serveInSlot(w, r, c)
	})
}

// newRecorderWithCommonHeaders returns the writer of a response with the headers of
// all responses.
func newRecorderWithCommonHeaders(unwrapped http.ResponseWriter) *responseStartRecorder {
	h := unwrapped.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return &responseStartRecorder{ResponseWriter: unwrapped}
}
