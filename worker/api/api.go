package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// HoldServices names the parts of the worker that serve holds. Their errors are
// *[hold.Problem] if the caller is at fault, and wrap [health.ErrUnavailable]
// if the same request may succeed later. A time that they return is Redis'
// time. Revision 0 accepts any revision.
type HoldServices struct {
	Scheduler        HoldScheduler
	Changer          HoldChanger
	Reader           HoldReader
	Planner          Planner
	ReadinessChecker ReadinessChecker
}

// RequestTracer begins the spans of requests. Each end gets the status of the
// response. tracing.Tracer implements it.
type RequestTracer interface {
	// StartRequest begins the span of a request to a route.
	StartRequest(ctx context.Context, r *http.Request, pattern string) (
		traced context.Context, end func(status int))
	// StartWebhook begins a webhook's request, whose span depends on its hold.
	StartWebhook(ctx context.Context, route string) (
		traced context.Context, end func(status int))
}

// Options configure an API. Only Holds is required.
type Options struct {
	Holds HoldServices
	// Reconciler compares the schedule with Stripe. Nil: its routes answer 503.
	Reconciler Reconciler
	// Repairer repairs unreadable records. Nil: its route answers 503.
	Repairer Repairer
	// Eraser erases personal data. Nil: its route answers 503.
	Eraser Eraser
	// Authorizer authorizes cards. Nil: its routes answer 503.
	Authorizer Authorizer
	// Deliveries shows and replays deliveries. Nil: its routes answer 503.
	Deliveries DeliveryService
	// Webhook receives Stripe's events. Nil: its route answers 404.
	Webhook *WebhookOptions
	// WebhookElsewhere says that only [API.WebhookHandler] serves the webhooks.
	WebhookElsewhere bool
	// Cardholder serves the page for cardholders. Nil: there are no links.
	Cardholder *CardholderOptions

	Livemode bool   // shown with each hold
	Version  string // shown in the OpenAPI document and by /healthz
	// Rules decide which warnings are shown with a hold.
	Rules hold.DecisionRules

	// Tokens are required from every caller. Nil: only callers on this machine
	// are admitted, without a token.
	Tokens *Tokens

	// Requests keeps the responses to requests with an Idempotency-Key. Nil:
	// the header is ignored, except by authorizations.
	Requests IdempotencyStore

	// RecordAct records what a caller did; nil: nothing does.
	RecordAct func(ctx context.Context, e hold.AuditLogEntry)

	Metrics http.Handler // serves /metrics; nil: 404
	// Console serves /console/. Nil: 404.
	Console ConsoleHandler
	Logger  *zap.Logger // nil: nothing is logged
	// Refusals logs refused authentication; nil: to Logger. The console has the
	// same one.
	Refusals *RefusalLog
	// Stage records whether requests that change something fail because of
	// Redis; may be nil.
	Stage *health.Stage
	// Tracer records the requests under /v1 and the webhooks. May be nil.
	Tracer RequestTracer
	// LogLevel is the level of Logger, which operators may change. Nil: they
	// may not.
	LogLevel *zap.AtomicLevel

	MaxBatchBodyBytes int64         // size of a batch; 0: 1 MiB. Other bodies have at most 64 KiB
	MaxInFlight       int           // requests served at a time, others wait; 0: 128
	RequestTimeout    time.Duration // of one request, waiting included; 0: 30 s
}

// checkAndSetDefaults checks o and fills in what is not set.
func (o *Options) checkAndSetDefaults() error {
	h := &o.Holds
	if h.Scheduler == nil || h.Changer == nil || h.Reader == nil || h.Planner == nil ||
		h.ReadinessChecker == nil {
		return errors.New("invalid API options: set every part of Holds")
	}
	if o.MaxBatchBodyBytes < 0 || o.MaxInFlight < 0 || o.RequestTimeout < 0 {
		return errors.New("invalid API options: limits must not be negative")
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
	if o.RecordAct == nil {
		o.RecordAct = func(context.Context, hold.AuditLogEntry) {}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Refusals == nil {
		o.Refusals = NewRefusalLog(o.Logger)
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	return nil
}

// API is the HTTP API. It is an [http.Handler].
type API struct {
	access         *accessControl
	mux            *http.ServeMux
	console        ConsoleHandler
	slots          *requestSlots
	bodies         *bodyReader
	maxBatchBody   int64
	requestTimeout time.Duration
	webhook        *webhookHandler
	repeats        *idempotencyHandler
	logLevel       *processLogLevel
	refusals       *RefusalLog
	stage          *health.Stage
	tracer         RequestTracer // may be nil
	// webhookElsewhere says that another listener serves the webhooks.
	webhookElsewhere bool
	cardholder       *CardholderOptions
	cardholderSlots  chan struct{} // one for each request in flight
	log              *zap.Logger
}

// routeRegistrar serves the routes of one concern. The handlers of this package
// implement it, such as scheduleHandler.
type routeRegistrar interface {
	register(doc huma.API)
}

// New returns an API with all its routes.
func New(o Options) (*API, error) {
	if err := o.checkAndSetDefaults(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	doc := newHumaAPI(mux, o.Version)
	logLevel := newProcessLogLevel(o.LogLevel, o.Logger)
	r := responseBuilder{livemode: o.Livemode, rules: o.Rules, log: o.Logger}
	handlers := newRouteHandlers(&o, r, logLevel)
	for _, h := range handlers {
		h.register(doc)
	}
	freeOpenAPIMemory(doc.OpenAPI())
	(&documentation{handlers: handlers, version: o.Version, tokens: o.Tokens != nil,
		log: o.Logger}).register(mux)
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	bodies := &bodyReader{}
	return &API{
		access:         newAccessControl(o.Tokens),
		mux:            mux,
		console:        o.Console,
		slots:          newRequestSlots(o.MaxInFlight),
		bodies:         bodies,
		maxBatchBody:   o.MaxBatchBodyBytes,
		requestTimeout: o.RequestTimeout,
		webhook:        newWebhookHandler(o.Webhook, bodies, o.Tracer, o.Logger),
		repeats:        newIdempotencyHandler(mux, &o, r),
		logLevel:       logLevel,
		refusals:       o.Refusals,
		stage:          o.Stage,
		tracer:         o.Tracer,
		log:            o.Logger,

		webhookElsewhere: o.WebhookElsewhere,
		cardholder:       o.Cardholder,
		cardholderSlots:  make(chan struct{}, maxCardholdersInFlight),
	}, nil
}

// newRouteHandlers returns the handler of each concern.
func newRouteHandlers(
	o *Options, r responseBuilder, logLevel *processLogLevel,
) []routeRegistrar {
	return []routeRegistrar{
		&scheduleHandler{r, o.Holds.Scheduler},
		&holdReadHandler{r, o.Holds.Reader},
		&holdTermsAndActionHandler{r, o.Holds.Changer, o.Holds.Reader},
		&cardholderLinkHandler{r, o.Holds.Reader, o.Cardholder},
		&planForecastHandler{r, o.Holds.Planner},
		&authorizationHandler{r, o.Authorizer},
		&reconcileHandler{r, o.Reconciler},
		&recordRepairHandler{r, o.Repairer},
		&eraseHandler{r, o.Eraser, o.Holds.Reader},
		&deliveryHandler{r, o.Deliveries, o.RecordAct},
		&logLevelHandler{logLevel, o.RecordAct},
		&healthHandler{o.Holds.ReadinessChecker, o.Version, o.Livemode,
			o.Rules.ExpiryMargin},
	}
}

// SetTokens replaces the tokens for the requests that follow. It changes nothing
// if the API has no tokens.
func (a *API) SetTokens(t *Tokens) {
	if a.access.tokens.Load() != nil && t != nil {
		a.access.tokens.Store(t)
	}
}

// ApplyConfiguredLogLevel changes the log level, as a request does, and the level
// of the settings. It changes nothing if operators may not change the level.
func (a *API) ApplyConfiguredLogLevel(level zapcore.Level, by string) {
	if a.logLevel != nil {
		a.logLevel.configured.Store(int32(level))
		a.logLevel.set(level, by)
	}
}

// UnauthorizedRequests returns how many requests were rejected for their token
// or its role since the start.
func (a *API) UnauthorizedRequests() uint64 { return a.access.unauthorized.Load() }

// InvalidSignatures returns how many webhooks were rejected for their signature
// since the start.
func (a *API) InvalidSignatures() uint64 { return a.webhook.invalidSignatures.Load() }

// ServeHTTP checks access, limits the requests in flight, and routes.
func (a *API) ServeHTTP(unwrapped http.ResponseWriter, r *http.Request) {
	w := newRecorderWithCommonHeaders(unwrapped)
	c := &requestInfo{method: r.Method, path: r.URL.Path}
	defer a.recoverPanic(w, c)
	if a.isCardholderPath(r.URL.Path) {
		c.path = CardholderPath // the rest is the link
		a.serveCardholder(w, r)
		return
	}
	if r.URL.Path == WebhookPath && !a.webhookElsewhere {
		a.webhook.serve(w, unwrapped, r)
		return
	}
	if a.console != nil && isConsolePath(r.URL.Path) {
		a.serveConsole(w, unwrapped, r)
		return
	}
	if p := a.access.authenticate(r, c); p != nil {
		a.logRefusedAccess(r, p, c)
		rejectWithoutReadingBody(w, r, p.Write)
		return
	}
	// The mux's own 404 and 405 are plain text, so check first whether it has
	// the route.
	handler, pattern := a.mux.Handler(r)
	if pattern == "" {
		rejectWithoutReadingBody(w, r, problemOfUnmatchedRoute(handler, r).Write)
		return
	}
	body, p := a.bodies.readBody(unwrapped, r, a.maxBodyBytes(pattern))
	defer body.releaseReservedBytes()
	if p != nil {
		p.Write(w)
		return
	}
	if conn := connFromContext(r.Context()); c.trusted {
		conn.setServingRequest(true)
		defer conn.setServingRequest(false)
	}
	c.header, c.body, c.pattern = r.Header, body.bytes, pattern
	a.serveInSlot(w, r, c)
}

// logRefusedAccess logs that a request was refused for its token or its sender.
func (a *API) logRefusedAccess(r *http.Request, p *Problem, c *requestInfo) {
	by := ""
	if p.Code == TokenReadOnly {
		by = c.by
	}
	a.refusals.LogRefusedRequest(r, string(p.Code), by)
}

// rejectWithoutReadingBody writes a problem before the request's body is read.
// It closes the connection of a request with a body: net/http would wait for
// the body otherwise.
func rejectWithoutReadingBody(
	w http.ResponseWriter, r *http.Request, write func(http.ResponseWriter),
) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	write(w)
}

// maxBodyBytes returns the maximum size of a route's body.
func (a *API) maxBodyBytes(pattern string) int64 {
	if pattern == http.MethodPost+" "+batchPath {
		return a.maxBatchBody
	}
	return maxSingleBodyBytes
}

// serveInSlot waits for a slot and serves the request.
func (a *API) serveInSlot(w *responseStartRecorder, r *http.Request, c *requestInfo) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), requestInfoContextKey{}, c),
		a.requestTimeout)
	defer cancel()
	if a.tracer != nil && strings.HasPrefix(r.URL.Path, "/v1/") {
		var end func(status int)
		ctx, end = a.tracer.StartRequest(ctx, r, c.pattern)
		defer func() { end(cmp.Or(w.status, http.StatusInternalServerError)) }() // 0: a panic
	}
	if !isExemptFromInFlightLimit(r.URL.Path) {
		release := a.slots.waitForSlot(ctx, c.token)
		if release == nil {
			tooManyRequestsProblem().Write(w)
			return
		}
		defer release()
	}
	if a.stage != nil && !isReadOnlyMethod(r.Method) {
		var run *health.StageRun
		ctx, run = a.stage.BeginRun(ctx)
		defer run.EndRun()
	}
	a.repeats.serveOnceOrReplay(w, r.WithContext(ctx), c)
}

func tooManyRequestsProblem() *Problem {
	return newProblem(Unavailable, "", "too many requests in flight: retry in a few seconds")
}

// recoverPanic logs a panic and answers 500. It closes the connection instead
// if the response has begun, so that the client does not take it for complete.
func (a *API) recoverPanic(w *responseStartRecorder, c *requestInfo) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	a.log.Error("request panicked", append(c.logFields(), zap.Any("panic", p),
		zap.ByteString("stack", debug.Stack()))...)
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	newInternalProblem().Write(w)
}

// isExemptFromInFlightLimit reports whether a route must answer while all
// requests hang: supervisors use it.
func isExemptFromInFlightLimit(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// problemOfUnmatchedRoute turns the mux's 404 and 405 into problems.
func problemOfUnmatchedRoute(h http.Handler, r *http.Request) problemWithAllowHeader {
	rec := &statusAndHeaderRecorder{header: http.Header{}}
	h.ServeHTTP(rec, r)
	path := cutWithEllipsis(r.URL.Path, 100)
	if rec.status == http.StatusMethodNotAllowed {
		allow := rec.header.Get("Allow")
		return problemWithAllowHeader{newProblem(MethodNotAllowed, "",
			fmt.Sprintf("method %.20s not allowed for %s: use %s", r.Method, path, allow)), allow}
	}
	return problemWithAllowHeader{newProblem(RouteNotFound, "",
		fmt.Sprintf("no route %s: see /docs for all routes", path)), ""}
}

type problemWithAllowHeader struct {
	*Problem
	allow string
}

// Write writes the problem with its Allow header.
func (r problemWithAllowHeader) Write(w http.ResponseWriter) {
	if r.allow != "" {
		w.Header().Set("Allow", r.allow)
	}
	r.Problem.Write(w)
}
