package tracing

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context.
const (
	traceparentHeader = "traceparent"
	tracestateHeader  = "tracestate"
)

// maxTracestateBytes is the length of a tracestate that each participant should
// pass on. A longer one is dropped, because the spans of a full queue keep it.
const maxTracestateBytes = 512

var propagator propagation.TraceContext

// ParseTraceparent returns the context that a header traceparent names, and
// zero if it is invalid.
func ParseTraceparent(s string) hold.TraceContext {
	ctx := propagator.Extract(context.Background(),
		propagation.MapCarrier{traceparentHeader: s})
	c := trace.SpanContextFromContext(ctx)
	return hold.TraceContext{TraceID: c.TraceID(), SpanID: c.SpanID(),
		Flags: byte(c.TraceFlags())}
}

// ParseTraceparent is the function of this name, for parts that have a tracer
// only if tracing is on.
func (t *Tracer) ParseTraceparent(s string) hold.TraceContext { return ParseTraceparent(s) }

// StartRequest begins the span of a request to the API. pattern has the method
// and the route. The path is left out, because it may have a reference.
func (t *Tracer) StartRequest(
	ctx context.Context, r *http.Request, pattern string,
) (context.Context, func(status int)) {
	if parents := r.Header.Values(traceparentHeader); len(parents) == 1 {
		state := strings.Join(r.Header.Values(tracestateHeader), ",")
		if len(state) > maxTracestateBytes {
			state = ""
		}
		ctx = propagator.Extract(ctx, propagation.MapCarrier{traceparentHeader: parents[0],
			tracestateHeader: state})
	}
	_, route, _ := strings.Cut(pattern, " ")
	ctx, span := t.tracer.Start(ctx, r.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.HTTPRequestMethodKey.String(r.Method),
			semconv.HTTPRoute(route)))
	return ctx, func(status int) { endRequest(span, status) }
}

func endRequest(span trace.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// webhookRequest is a webhook whose hold is not known yet.
type webhookRequest struct {
	began time.Time
	route string
	span  trace.Span // nil unless its hold has a trace
}

type webhookContextKey struct{}

// StartWebhook notes that a webhook's request begins. Its span begins once
// [Tracer.AttachWebhookToHold] knows the hold, so that the many events of an
// account that concern no hold have none.
func (t *Tracer) StartWebhook(
	ctx context.Context, route string,
) (context.Context, func(status int)) {
	w := &webhookRequest{began: time.Now(), route: route}
	return context.WithValue(ctx, webhookContextKey{}, w), func(status int) {
		if w.span != nil {
			endRequest(w.span, status)
		}
	}
}

// AttachWebhookToHold begins the span of the request of ctx, if it is a
// webhook's, under the span that the hold keeps. There is none if the hold has no
// trace. The span begins when the request did.
func (t *Tracer) AttachWebhookToHold(
	ctx context.Context, eventID, eventType string, h *hold.Hold,
) context.Context {
	w, _ := ctx.Value(webhookContextKey{}).(*webhookRequest)
	if w == nil || w.span != nil || !h.Trace.IsSampled() {
		return ctx
	}
	kept := toRemoteSpanContext(h.Trace)
	ctx, w.span = t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, kept),
		http.MethodPost+" "+w.route, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(w.began), trace.WithLinks(trace.Link{SpanContext: kept}),
		trace.WithAttributes(holdAttributes(h)...), trace.WithAttributes(
			semconv.HTTPRequestMethodPost, semconv.HTTPRoute(w.route),
			attribute.String("stripe.event", eventID),
			attribute.String("stripe.event_type", eventType)))
	return ctx
}

// StartScheduling begins the span under which a new hold is written, and keeps
// it with the hold. It continues the context of the hold's request, or else
// that of ctx.
func (t *Tracer) StartScheduling(
	ctx context.Context, h *hold.Hold,
) (end func(hold.CommitResult)) {
	if h.Trace != (hold.TraceContext{}) {
		ctx = trace.ContextWithRemoteSpanContext(ctx, toRemoteSpanContext(h.Trace))
	}
	_, span := t.tracer.Start(ctx, "schedule hold", trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(holdAttributes(h)...))
	h.Trace = traceContextOfSampledSpan(span)
	return func(r hold.CommitResult) { endCommit(span, r) }
}

// StartChange begins the span of a decision of no execution: of a request, a
// webhook or a job. A decision that leaves the hold unchanged is a warning before
// its deadline. The span continues the span that the hold keeps, with a link to
// that of a request. There is none if the hold has no trace, or keeps the span
// of the request itself.
func (t *Tracer) StartChange(
	ctx context.Context, d *hold.Decision,
) (end func(hold.CommitResult)) {
	request, kept := trace.SpanFromContext(ctx), d.Hold.Trace
	if !kept.IsSampled() || d.Trace != (hold.TraceContext{}) || len(d.Events) == 0 ||
		kept == traceContextOfSampledSpan(request) {
		return nil
	}
	events := make([]string, len(d.Events))
	for i := range d.Events {
		events[i] = string(d.Events[i].Type)
	}
	name := "change hold"
	if d.Unchanged {
		name = "warn of expiry"
	}
	_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, toRemoteSpanContext(kept)),
		name, trace.WithAttributes(holdAttributes(&d.Hold)...), trace.WithAttributes(
			attribute.String("holdd.state", d.Hold.State.String()),
			attribute.StringSlice("holdd.events", events)))
	if request.IsRecording() {
		span.AddLink(trace.Link{SpanContext: request.SpanContext()})
	}
	if d.Hold.State == hold.Attention && !d.Unchanged {
		span.SetStatus(codes.Error, d.Hold.Reason.String())
	}
	d.Trace = traceContextOfSampledSpan(span)
	return func(r hold.CommitResult) { endCommit(span, r) }
}

// endCommit ends the span of a commit. r is zero if the result is not known.
func endCommit(span trace.Span, r hold.CommitResult) {
	if r == 0 {
		span.SetStatus(codes.Error, "it is not known whether the hold was written")
	} else {
		span.SetAttributes(attribute.Bool("holdd.written", r.IsCommitted()))
	}
	span.End()
}

// LinkRequestSpanToHold records on the span of a request which hold it changes, with a
// link to the span that the hold kept. If the request had a traceparent, the
// hold keeps the span of the request from now on.
func (t *Tracer) LinkRequestSpanToHold(ctx context.Context, before, after *hold.Hold) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(holdAttributes(after)...)
	if before.Trace != (hold.TraceContext{}) {
		span.AddLink(trace.Link{SpanContext: toRemoteSpanContext(before.Trace)})
	}
	request, ok := span.(sdktrace.ReadOnlySpan)
	if ok && request.Parent().IsRemote() && span.SpanContext().IsSampled() {
		after.Trace = traceContextOfSampledSpan(span)
	}
}

// StartExecution begins the span of a claimed hold's execution, under the span
// that the hold keeps, which it must have. It returns the context of the span
// as well.
func (t *Tracer) StartExecution(ctx context.Context, h *hold.Hold) (
	context.Context, hold.TraceContext, func(d *hold.Decision, a hold.Answer, late time.Duration),
) {
	scheduled := toRemoteSpanContext(h.Trace)
	ctx, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, scheduled),
		h.NextOp.String()+" hold", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.Link{SpanContext: scheduled}),
		trace.WithAttributes(holdAttributes(h)...))
	return ctx, traceContextOfSampledSpan(
			span,
		), func(d *hold.Decision, a hold.Answer, late time.Duration) {
			span.SetAttributes(attribute.String("holdd.state", d.Hold.State.String()),
				attribute.Float64("holdd.lateness", late.Seconds()))
			if a.Kind != 0 {
				span.SetAttributes(attribute.String("holdd.answer", a.Kind.String()))
			}
			if d.Hold.State == hold.Attention {
				span.SetStatus(codes.Error, d.Hold.Reason.String())
			}
			span.End()
		}
}

// TraceparentOf returns the span of ctx, empty unless it is sampled.
func (t *Tracer) TraceparentOf(ctx context.Context) string {
	return traceContextOfSampledSpan(trace.SpanFromContext(ctx)).Traceparent()
}

// StartAuthorizationResumption begins the span of a run that resumes an attempt to authorize
// a card, under the span of the request that began the attempt. There is none if
// the attempt has no trace.
func (t *Tracer) StartAuthorizationResumption(
	ctx context.Context, a *hold.AuthorizationAttempt,
) (context.Context, func()) {
	begun := ParseTraceparent(a.Traceparent)
	if !begun.IsSampled() {
		return ctx, func() {}
	}
	request := toRemoteSpanContext(begun)
	ctx, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, request),
		"resume authorization", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.Link{SpanContext: request}))
	setIfNotEmpty(span, "holdd.payment_intent", a.PaymentIntent)
	setIfNotEmpty(span, "holdd.account", a.Account)
	return ctx, func() { span.End() }
}

// StartCall begins the span of a request to Stripe, if it belongs to a span. It
// returns nil otherwise.
func (t *Tracer) StartCall(ctx context.Context, c *hold.Call) func(a *hold.Answer) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return nil
	}
	method, template := requestOfCall(c)
	_, span := t.tracer.Start(ctx, method+" "+template, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(t.stripe...), trace.WithAttributes(
			semconv.HTTPRequestMethodKey.String(method), semconv.URLTemplate(template),
			attribute.String("holdd.operation", c.Op.String())))
	setIfNotEmpty(span, "holdd.payment_intent", c.PaymentIntent)
	setIfNotEmpty(span, "holdd.account", c.Account)
	setIfNotEmpty(span, "holdd.idempotency_key", c.Key)
	return func(a *hold.Answer) {
		span.SetAttributes(attribute.String("holdd.answer", a.Kind.String()))
		setIfNotEmpty(span, "stripe.request_id", a.RequestID)
		if a.HTTPStatus != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(a.HTTPStatus))
		}
		if a.Kind != hold.AnswerOK { // the message may repeat what the request had
			span.SetAttributes(semconv.ErrorTypeKey.String(a.Kind.String()))
			setIfNotEmpty(span, "stripe.code", a.Code)
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// StartDelivery begins the span of one attempt to deliver an event, under the
// event's traceparent, and sets the headers by which the receiver continues it.
// It returns nil for an event without one. address is the receiver's URL.
func (t *Tracer) StartDelivery(
	ctx context.Context, traceparent, eventID, address string, header http.Header,
) func(status int, result string) {
	event := ParseTraceparent(traceparent)
	if !event.IsSampled() {
		return nil
	}
	cause := toRemoteSpanContext(event)
	ctx, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, cause), http.MethodPost,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithLinks(trace.Link{SpanContext: cause}),
		trace.WithAttributes(serverAttributes(address)...),
		trace.WithAttributes(semconv.HTTPRequestMethodPost,
			attribute.String("holdd.event", eventID)))
	propagator.Inject(ctx, propagation.HeaderCarrier(header))
	return func(status int, result string) {
		span.SetAttributes(attribute.String("holdd.result", result))
		if status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		}
		if status/100 != 2 {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// holdAttributes names a hold and its next operation.
func holdAttributes(h *hold.Hold) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, 5)
	out = append(out, attribute.String("holdd.hold", h.ID),
		attribute.String("holdd.payment_intent", h.PaymentIntent))
	if h.Account != "" {
		out = append(out, attribute.String("holdd.account", h.Account))
	}
	if h.NextOp != 0 {
		out = append(out, attribute.String("holdd.operation", h.NextOp.String()),
			attribute.String("holdd.next_at", h.NextAt.UTC().Format(time.RFC3339Nano)))
	}
	return out
}

func setIfNotEmpty(span trace.Span, key attribute.Key, value string) {
	if value != "" {
		span.SetAttributes(key.String(value))
	}
}
