package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
)

// HoldService are the parts of the worker that the API serves. Their errors are
// *[hold.Problem] where the caller is at fault, and wrap
// [health.ErrUnavailable] where the same request may work in a moment. A time
// that they return is Redis' time. A revision of 0 means any.
type HoldService struct {
	Scheduler
	Changer
	Reader
	Planner
	ReadinessChecker
}

// Scheduler schedules holds.
type Scheduler interface {
	// Schedule returns one result for each request, in their order.
	Schedule(ctx context.Context, reqs []hold.ScheduleRequest, by string) []intake.ScheduleResult
}

// Changer changes holds.
type Changer interface {
	Patch(ctx context.Context, id string, p hold.Patch, revision uint64, by string) (
		hold.Hold, time.Time, error)
	Capture(ctx context.Context, id string, amount int64, revision uint64, by string) (
		hold.Hold, time.Time, error)
	Cancel(ctx context.Context, id string, revision uint64, by string) (hold.Hold, time.Time, error)
	Pause(ctx context.Context, id string, revision uint64, confirmed bool, by string) (
		hold.Hold, time.Time, error)
	Resume(ctx context.Context, id string, revision uint64, confirmed bool, by string) (
		hold.Hold, time.Time, error)
	Acknowledge(ctx context.Context, id string, revision uint64, by string) (
		hold.Hold, time.Time, error)
}

// Reader finds and lists holds.
type Reader interface {
	Get(ctx context.Context, id string) (hold.Hold, time.Time, error)
	List(ctx context.Context, q query.Query) (query.Page, error)
}

// Planner tells what will happen.
type Planner interface {
	Plan(ctx context.Context, next time.Duration) (query.Plan, error)
}

// ReadinessChecker tells what keeps this replica from working.
type ReadinessChecker interface {
	Check(ctx context.Context) []health.Check
}

// Options of an API. Only Holds must be set.
type Options struct {
	Holds HoldService
	// Reconciler compares with Stripe; nil: what asks for it is answered that
	// it is not available.
	Reconciler Reconciler
	// Authorizer authorizes cards; nil: what asks for it is answered that it is
	// not available.
	Authorizer Authorizer
	// Deliveries are the ways out; nil: what asks for them is answered that
	// they are not available.
	Deliveries DeliveryService
	// Webhook takes Stripe's events; nil: the path is not found.
	Webhook  *WebhookOptions
	Livemode bool   // shown with each hold
	Version  string // shown in the OpenAPI document and by /healthz

	// Tokens are required from every caller. Nil: none are, and only callers on
	// this machine are answered.
	Tokens *Tokens

	Metrics http.Handler // serves /metrics; nil: not found
	Logger  *zap.Logger  // nil: nothing is logged
	// Level is that of Logger, for operators to change; nil: they can't.
	LogLevel *zap.AtomicLevel

	MaxBatchBodyBytes int64         // bytes of a batch; 0: 1 MiB. Other bodies may have 64 KiB
	MaxInFlight       int           // requests served at a time, others wait; 0: 128
	RequestTimeout    time.Duration // of one request, waiting included; 0: 30 s
}

// API is the HTTP API. It is an [http.Handler].
type API struct {
	opts           Options
	log            *zap.Logger
	mux            *http.ServeMux
	crossOrigin    *http.CrossOriginProtection
	requestSlots   chan struct{}
	webhookHandler *webhookHandler
	logLevel       *logLevelControl
	openAPIJSON    []byte // OpenAPI document
	docsHTML       []byte // documentation page
	unauthorized   atomic.Uint64
}

// New makes the API.
func New(o Options) (*API, error) {
	if o.Holds.Scheduler == nil || o.Holds.Changer == nil || o.Holds.Reader == nil ||
		o.Holds.Planner == nil || o.Holds.ReadinessChecker == nil {
		return nil, errors.New("an API needs holds to serve")
	}
	if o.MaxBatchBodyBytes < 0 || o.MaxInFlight < 0 || o.RequestTimeout < 0 {
		return nil, errors.New("the API's bounds must not be negative")
	}
	if o.MaxBatchBodyBytes == 0 {
		o.MaxBatchBodyBytes = maxBatchBodyBytes
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 128
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	a := &API{opts: o, webhookHandler: newWebhookHandler(o.Webhook, o.Logger), log: o.Logger,
		mux: http.NewServeMux(), crossOrigin: http.NewCrossOriginProtection(),
		requestSlots: make(chan struct{}, o.MaxInFlight)}

	a.logLevel = newLogLevelControl(o.LogLevel, o.Logger)

	doc := huma.NewAPI(huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "holdd", Version: o.Version, Description: apiDescription},
			Components: &huma.Components{Schemas: huma.NewMapRegistry(
				"#/components/schemas/", schemaName)},
		},
		// the second for …+json
		Formats: map[string]huma.Format{
			"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{convertHumaError},
	}, humago.NewAdapter(a.mux, ""))
	a.registerHolds(doc)
	a.registerTriggers(doc)
	a.registerQueries(doc)
	a.registerReconcile(doc)
	a.registerAuthorizations(doc)
	a.registerLogLevel(doc)
	a.registerDeliveries(doc)

	spec, err := buildOpenAPI(doc.OpenAPI(), o.Tokens != nil)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	a.openAPIJSON = spec
	a.docsHTML = renderDocsPage(doc.OpenAPI())
	dropResponses(doc.OpenAPI())
	a.mux.HandleFunc("GET /openapi.json", a.serveOpenAPI)
	a.mux.HandleFunc("GET /docs", a.serveDocs)
	if o.Metrics != nil {
		a.mux.Handle("GET /metrics", o.Metrics)
	}
	return a, nil
}

// UnauthorizedRequests is how many requests were refused for their token or
// their role since the start.
func (a *API) UnauthorizedRequests() uint64 { return a.unauthorized.Load() }

// ServeHTTP guards, bounds and routes.
func (a *API) ServeHTTP(unwrapped http.ResponseWriter, r *http.Request) {
	w := &trackingWriter{ResponseWriter: unwrapped}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")

	c := &requestInfo{method: r.Method, path: r.URL.Path}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(p)
			}
			a.log.Error("request ended in a panic", append(c.logFields(), zap.Any("panic", p),
				zap.ByteString("stack", debug.Stack()))...)
			if w.started { // half an answer must not look like a whole one
				panic(http.ErrAbortHandler)
			}
			newProblem(InternalError, "", "internal error: holdd's log tells more").write(w)
		}
	}()
	if r.URL.Path == WebhookPath {
		a.webhookHandler.serve(w, unwrapped, r)
		return
	}
	if p := a.checkAccess(r, c); p != nil {
		p.write(w)
		return
	}
	// The mux's own answers are plain text: find out first whether it knows the
	// route.
	handler, pattern := a.mux.Handler(r)
	if pattern == "" {
		muxProblem(handler, r).write(w)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), requestInfoKey{}, c),
		a.opts.RequestTimeout)
	defer cancel()
	if !exemptFromInFlightLimit(r.URL.Path) {
		select {
		case a.requestSlots <- struct{}{}:
			defer func() { <-a.requestSlots }()
		case <-ctx.Done():
			newProblem(Unavailable, "",
				"too many requests at a time: send the same again in a moment").write(w)
			return
		}
	}
	r = r.WithContext(ctx)
	c.w, c.r = unwrapped, r // MaxBytesReader must meet net/http's own
	a.mux.ServeHTTP(w, r)
}

// exemptFromInFlightLimit routes must answer while all else is stuck: what
// watches the process asks them.
func exemptFromInFlightLimit(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// muxProblem turns the mux's 404 and 405 into problems.
func muxProblem(h http.Handler, r *http.Request) problemWithAllow {
	rec := &headerRecorder{header: http.Header{}}
	h.ServeHTTP(rec, r)
	if rec.status == http.StatusMethodNotAllowed {
		allow := rec.header.Get("Allow")
		return problemWithAllow{
			newProblem(MethodNotAllowed, "", fmt.Sprintf("%s knows %s, not %.20s",
				truncate(r.URL.Path, 100), allow, r.Method)), allow}
	}
	return problemWithAllow{
		newProblem(RouteNotFound, "",
			fmt.Sprintf("there is nothing at %s: /docs lists what there is",
				truncate(r.URL.Path, 100))), ""}
}

type problemWithAllow struct {
	*Problem
	allow string
}

func (r problemWithAllow) write(w http.ResponseWriter) {
	if r.allow != "" {
		w.Header().Set("Allow", r.allow)
	}
	r.Problem.write(w)
}

// trackingWriter knows whether the answer has begun.
type trackingWriter struct {
	http.ResponseWriter
	started bool
}

func (w *trackingWriter) WriteHeader(status int) {
	w.started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackingWriter) Write(b []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *trackingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// headerRecorder keeps status and header of an answer and drops the rest.
type headerRecorder struct {
	header http.Header
	status int
}

func (h *headerRecorder) Header() http.Header         { return h.header }
func (h *headerRecorder) WriteHeader(status int)      { h.status = status }
func (h *headerRecorder) Write(b []byte) (int, error) { return len(b), nil }

func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// requestInfo is what is known of the request that is being served.
type requestInfo struct {
	method, path string
	by           string // who, for the history
	trusted      bool   // may be told more than that the process is alive
	w            http.ResponseWriter
	r            *http.Request
}

type requestInfoKey struct{}

func requestInfoFrom(ctx context.Context) *requestInfo {
	if c, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		return c
	}
	return &requestInfo{}
}

func (c *requestInfo) logFields() []zap.Field {
	return []zap.Field{zap.String("method", c.method), zap.String("path", truncate(c.path, 200)),
		zap.String("by", c.by)}
}

func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(a.openAPIJSON) // the caller has gone: nobody is left to tell
}

// schemaName gives the types of other packages the names that callers know them
// by.
func schemaName(t reflect.Type, hint string) string {
	switch t {
	case reflect.TypeFor[hold.View](), reflect.TypeFor[*hold.View]():
		return "Hold"
	case reflect.TypeFor[hold.HistoryEntryView]():
		return "HistoryEntry"
	case reflect.TypeFor[captureRequest]():
		return "Capture"
	case reflect.TypeFor[confirmBody]():
		return "Confirm"
	case reflect.TypeFor[batchRequest]():
		return "ScheduleRequests"
	case reflect.TypeFor[reconcileRequest]():
		return "Reconcile"
	case reflect.TypeFor[replayRequest]():
		return "Replay"
	}
	return huma.DefaultSchemaNamer(t, hint)
}
