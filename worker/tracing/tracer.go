// Package tracing records OpenTelemetry spans, with the official SDK, and sends
// them by OTLP over HTTP. It is off unless the standard variables name an
// endpoint: [New] then returns nil, and no part of holdd has a tracer.
//
// One trace has the request that schedules a hold, the hold's execution hours
// later, the requests to Stripe and the callbacks:
//
//   - [Tracer.StartRequest] continues the caller's traceparent.
//   - [Tracer.StartScheduling] begins the span that the hold keeps. A request
//     that changes the hold and has a traceparent replaces it.
//   - [Tracer.StartExecution] continues the kept span, as its child and with a
//     link to it.
//   - [Tracer.StartWebhook] and [Tracer.AttachWebhookToHold] record a webhook's
//     request under the kept span of its hold.
//   - [Tracer.StartChange] is of any other decision about the hold, such as one
//     that a webhook leads to, or a warning before its deadline.
//   - [Tracer.StartAuthorizationResumption] continues the request of an authorization that
//     another process finishes.
//   - [Tracer.StartCall] is of one request to Stripe, under a request, an
//     execution or a resumption. Stripe gets no traceparent.
//   - [Tracer.StartDelivery] continues the event's traceparent, and sends its
//     own to the receiver of callbacks.
//
// Only a sampled trace is kept with a hold, so what was not sampled once is not
// sampled later. Webhooks that concern no traced hold, and jobs in the background
// that change none, have no spans.
//
// Spans wait in a bounded queue. If the collector is slow or unavailable, spans
// are dropped: no request and no hold waits for it.
//
// A span has no amount, no reference, no metadata, no body, no address with a
// path, and no secret.
package tracing

import (
	"context"
	"net/url"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// shutdownTimeout bounds how long a stopping holdd waits for the collector.
const shutdownTimeout = 3 * time.Second

// Options configure a [Tracer]. The variables of OpenTelemetry configure the
// rest.
type Options struct {
	Version   string
	Replica   string
	StripeURL string // of Stripe's API
	Logger    *zap.Logger
	// Exporter replaces the exporter that the variables name, for tests. May be
	// nil.
	Exporter sdktrace.SpanExporter
}

// Tracer begins spans. It is safe for concurrent use.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	stop     context.CancelFunc   // ends exports under way
	stripe   []attribute.KeyValue // of every request to Stripe
	log      *zap.Logger
}

// New returns a tracer, or nil if tracing is off. It returns an error if a
// variable has an invalid value. It sends nothing.
func New(ctx context.Context, o Options) (*Tracer, error) {
	exporter := o.Exporter
	if exporter == nil {
		endpoint, err := endpointFromEnv()
		if err != nil || endpoint == nil {
			return nil, err
		}
		if exporter, err = newExporter(ctx, endpoint); err != nil {
			return nil, err
		}
	}
	res, err := newResource(ctx, &o)
	if err != nil {
		return nil, err
	}
	// The SDK reports its errors to handlers of the process.
	errors := &errorLog{log: o.Logger}
	otel.SetErrorHandler(errors)
	otel.SetLogger(newSDKLogger(errors))
	stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(res),
		sdktrace.WithBatcher(cancelOnStopExporter{exporter, stopped}))
	return &Tracer{provider: provider, log: o.Logger, stop: stop,
		tracer: provider.Tracer("github.com/holdd/holdd",
			trace.WithInstrumentationVersion(o.Version), trace.WithSchemaURL(semconv.SchemaURL)),
		stripe: serverAttributes(o.StripeURL)}, nil
}

// newResource describes this process. The variables OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES win.
func newResource(ctx context.Context, o *Options) (*resource.Resource, error) {
	return resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("holdd"), semconv.ServiceVersion(o.Version),
			semconv.ServiceInstanceID(o.Replica)),
		resource.WithFromEnv())
}

// serverAttributes returns the host and the port of a URL, which has no secret
// in them.
func serverAttributes(address string) []attribute.KeyValue {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return []attribute.KeyValue{semconv.ServerAddress(u.Hostname()), semconv.ServerPort(portOf(u))}
}

// Close sends the spans that wait, for at most a few seconds. t may be nil.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	defer t.stop()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("spans not sent before the stop", zap.String("cause", describeError(err)))
	}
}

// toRemoteSpanContext returns a kept context as that of a remote span.
func toRemoteSpanContext(c hold.TraceContext) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: c.TraceID, SpanID: c.SpanID,
		TraceFlags: trace.TraceFlags(c.Flags), Remote: true})
}

// traceContextOfSampledSpan returns the context of a span that a hold keeps: none unless
// the span is sampled.
func traceContextOfSampledSpan(span trace.Span) hold.TraceContext {
	c := span.SpanContext()
	if !c.IsSampled() {
		return hold.TraceContext{}
	}
	return hold.TraceContext{TraceID: c.TraceID(), SpanID: c.SpanID(),
		Flags: byte(c.TraceFlags())}
}
