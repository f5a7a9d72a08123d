package tracing_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/tracing"
	"github.com/holdd/holdd/worker/tracing/tracingtest"
	"go.uber.org/zap"
)

const (
	callerTrace = "0af7651916cd43dd8448eb211c80319c"
	callerSpan  = "b7ad6b7169203331"
	traceparent = "00-" + callerTrace + "-" + callerSpan + "-01"
	unsampled   = "00-" + callerTrace + "-" + callerSpan + "-00"
)

// newTracer returns a tracer that sends to the collector.
func newTracer(t *testing.T, c *tracingtest.Collector) *tracing.Tracer {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	tracer, err := tracing.New(t.Context(), tracing.Options{Version: "1.2.3", Replica: "replica-1",
		StripeURL: "https://api.stripe.com", Logger: zap.NewNop()})
	if err != nil || tracer == nil {
		t.Fatal(tracer, err)
	}
	return tracer
}

func newRequest(method, path string, traceparents ...string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	for _, v := range traceparents {
		r.Header.Add("Traceparent", v)
	}
	return r
}

func newHold() *hold.Hold {
	return &hold.Hold{ID: "pi_1", PaymentIntent: "pi_1", Reference: "BK-2071", Amount: 38_500,
		NextOp: hold.OpCapture, NextAt: time.Unix(1_800_000_000, 0), State: hold.Scheduled,
		Metadata: map[string]string{"guest": "Ms Example"}}
}

func TestNew_OffUnlessAnEndpointIsSet(t *testing.T) {
	for name, variables := range map[string]map[string]string{
		"nothing":  {},
		"headers":  {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"},
		"disabled": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "True"},
		"no exporter": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1",
			"OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range variables {
				t.Setenv(k, v)
			}
			if tracer, err := tracing.New(t.Context(), tracing.Options{}); tracer != nil || err != nil {
				t.Error(tracer, err)
			}
		})
	}
}

func TestNew_InvalidVariables(t *testing.T) {
	for name, v := range map[string][2]string{
		"protocol": {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"},
		"exporter": {"OTEL_TRACES_EXPORTER", "zipkin"},
		"address":  {"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:s3cret@:4318"},
		"no host":  {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://:4318/s3cret"},
		"headers":  {"OTEL_EXPORTER_OTLP_HEADERS", "s3cret"},
		"encoding": {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "key=s3cret%"},
		"timeout":  {"OTEL_EXPORTER_OTLP_TIMEOUT", "10s"},
		"ca":       {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere"},
		"key":      {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(v[0], v[1])
			tracer, err := tracing.New(t.Context(), tracing.Options{})
			if tracer != nil || err == nil || !strings.Contains(err.Error(), "OTEL_") ||
				strings.Contains(err.Error(), "s3cret") {
				t.Error(tracer, err)
			}
		})
	}
}

// A webhook's request has one span once its hold is known, and none if the hold
// has no trace.
func TestTracer_Webhook(t *testing.T) {
	const event, eventType = "evt_1", "charge.captured"
	for name, tc := range map[string]struct {
		traces []string // of the hold, each time that it is read
		status int
		want   int // spans
	}{
		"no hold":         {nil, 200, 0},
		"no trace":        {[]string{""}, 200, 0},
		"not sampled":     {[]string{unsampled}, 200, 0},
		"traced":          {[]string{traceparent}, 200, 1},
		"read again":      {[]string{traceparent, traceparent}, 200, 1},
		"not yet applied": {[]string{traceparent}, 503, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := tracingtest.Start(t)
			tracer := newTracer(t, c)
			ctx, end := tracer.StartWebhook(t.Context(), "/webhooks/stripe")
			for _, kept := range tc.traces {
				h := newHold()
				h.Trace = tracing.ParseTraceparent(kept)
				ctx = tracer.AttachWebhookToHold(ctx, event, eventType, h)
			}
			end(tc.status)
			tracer.Close()
			spans := c.ReceivedSpans()
			if len(spans) != tc.want {
				t.Fatalf("%+v", spans)
			}
			for _, s := range spans {
				if s.Name != "POST /webhooks/stripe" || s.TraceID != callerTrace ||
					s.Parent != callerSpan || !slices.Equal(s.Links, []string{callerTrace + " " + callerSpan}) ||
					s.Failed != (tc.status == 503) || s.Attributes["stripe.event"] != event ||
					s.Attributes["holdd.hold"] != "pi_1" {
					t.Errorf("%+v", s)
				}
			}
		})
	}
	tracer := newTracer(t, tracingtest.Start(t))
	defer tracer.Close()
	h := newHold()
	h.Trace = tracing.ParseTraceparent(traceparent)
	if ctx := tracer.AttachWebhookToHold(t.Context(), event, eventType, h); ctx != t.Context() {
		t.Error("an event that came otherwise than by a request has a span")
	}
}

func TestTracer_SendsAsTheVariablesSay(t *testing.T) {
	c := tracingtest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-tenant = hotel")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP")
	t.Setenv("OTEL_TRACES_SAMPLER", "ParentBased_TraceIDRatio")
	t.Setenv("OTEL_SERVICE_NAME", "holdd-paris")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	tracer := newTracer(t, c)
	c.FailNext(1) // and is asked again
	_, end := tracer.StartRequest(t.Context(), newRequest("GET", "/v1/holds"), "GET /v1/holds")
	end(http.StatusOK)
	tracer.Close()
	requests, spans := c.ReceivedRequests(), c.ReceivedSpans()
	if len(requests) != 2 || len(spans) != 1 {
		t.Fatalf("%d requests, %+v", len(requests), spans)
	}
	r, resource := requests[1], spans[0].Resource
	if r.URL.Path != "/v1/traces" || r.Header.Get("Authorization") != "Basic abc" ||
		r.Header.Get("X-Tenant") != "hotel" ||
		r.Header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	for k, want := range map[string]string{"service.name": "holdd-paris",
		"service.version": "1.2.3", "service.instance.id": "replica-1",
		"deployment.environment.name": "test", "telemetry.sdk.name": "opentelemetry"} {
		if resource[k] != want {
			t.Errorf("%s is %q, want %q", k, resource[k], want)
		}
	}
}

func TestStartRequest_ContinuesValidTraceparent(t *testing.T) {
	for name, tc := range map[string]struct {
		headers []string
		parent  string
	}{
		"valid":          {[]string{traceparent}, callerSpan},
		"later version":  {[]string{"01" + traceparent[2:] + "-more"}, callerSpan},
		"none":           {nil, ""},
		"two":            {[]string{traceparent, traceparent}, ""},
		"text":           {[]string{"nonsense"}, ""},
		"zero trace":     {[]string{"00-00000000000000000000000000000000-" + callerSpan + "-01"}, ""},
		"zero span":      {[]string{"00-" + callerTrace + "-0000000000000000-01"}, ""},
		"upper case":     {[]string{strings.ToUpper(traceparent)}, ""},
		"version ff":     {[]string{"ff" + traceparent[2:]}, ""},
		"longer than 00": {[]string{traceparent + "-more"}, ""},
		"short":          {[]string{traceparent[:54]}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := tracingtest.Start(t)
			tracer := newTracer(t, c)
			_, end := tracer.StartRequest(t.Context(),
				newRequest("POST", "/v1/holds", tc.headers...), "POST /v1/holds")
			end(http.StatusServiceUnavailable)
			tracer.Close()
			spans := c.ReceivedSpans()
			if len(spans) != 1 || spans[0].Parent != tc.parent || !spans[0].Failed ||
				(spans[0].TraceID == callerTrace) != (tc.parent != "") ||
				spans[0].Attributes["http.route"] != "/v1/holds" {
				t.Errorf("%+v", spans)
			}
		})
	}
}

func TestStartRequest_Tracestate(t *testing.T) {
	long := "vendor=" + strings.Repeat("v", 250)
	for name, tc := range map[string]struct {
		headers []string
		want    string
	}{
		"one":            {[]string{"a=1,b=2"}, "a=1,b=2"},
		"several":        {[]string{"a=1", "b=2"}, "a=1,b=2"},
		"invalid":        {[]string{"no state"}, ""},
		"512 characters": {[]string{long[:253], "x" + long}, long[:253] + ",x" + long},
		"more":           {[]string{long, "x" + long}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := tracingtest.Start(t)
			tracer := newTracer(t, c)
			r := newRequest("POST", "/v1/holds", traceparent)
			r.Header["Tracestate"] = tc.headers
			_, end := tracer.StartRequest(t.Context(), r, "POST /v1/holds")
			end(http.StatusCreated)
			tracer.Close()
			if s := c.ReceivedSpans(); len(s) != 1 || s[0].Parent != callerSpan ||
				s[0].TraceState != tc.want {
				t.Errorf("%+v, want %q", s, tc.want)
			}
		})
	}
}

// One trace has the request, the schedule, the execution by another process, the
// request to Stripe and the callback.
func TestTracer_OneTraceFromRequestToCallback(t *testing.T) {
	c, h := tracingtest.Start(t), newHold()
	first := newTracer(t, c)
	ctx, endRequest := first.StartRequest(t.Context(),
		newRequest("POST", "/v1/holds", traceparent), "POST /v1/holds")
	first.StartScheduling(ctx, h)(hold.CommitWritten)
	endRequest(http.StatusCreated)
	first.Close()
	if h.Trace.TraceIDText() != callerTrace || !h.Trace.IsSampled() {
		t.Fatalf("kept %+v", h.Trace)
	}

	second := newTracer(t, c)
	ctx, executed, endExecution := second.StartExecution(t.Context(), h)
	call := hold.Call{Op: hold.OpCapture, PaymentIntent: h.PaymentIntent, Key: "holdd-key"}
	endCall := second.StartCall(ctx, &call)
	endCall(&hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, RequestID: "req_1"})
	done := hold.Decision{Hold: *h}
	done.Hold.State = hold.Captured
	endExecution(&done, hold.Answer{Kind: hold.AnswerOK}, 1500*time.Millisecond)
	header := http.Header{}
	second.StartDelivery(t.Context(), executed.Traceparent(), "evt_1",
		"https://hotel.example/t0ken", header)(204, "delivered")
	second.Close()

	parent := callerSpan
	for _, name := range []string{"POST /v1/holds", "schedule hold", "capture hold",
		"POST /v1/payment_intents/{intent}/capture"} {
		spans := c.FindSpansByTraceAndName(callerTrace, name)
		if len(spans) != 1 || spans[0].Parent != parent {
			t.Fatalf("%s: %+v, want the parent %s", name, spans, parent)
		}
		parent = spans[0].ID
	}
	schedule, capture := c.FindSpansByTraceAndName(callerTrace, "schedule hold")[0], c.FindSpansByTraceAndName(callerTrace, "capture hold")[0]
	delivery := c.FindSpansByTraceAndName(callerTrace, "POST")[0]
	if !slices.Equal(capture.Links, []string{callerTrace + " " + schedule.ID}) ||
		delivery.Parent != capture.ID ||
		header.Get("Traceparent") != "00-"+callerTrace+"-"+delivery.ID+"-01" {
		t.Errorf("%+v %+v %v", capture, delivery, header)
	}
	sent := c.FindSpansByTraceAndName(callerTrace, "POST /v1/payment_intents/{intent}/capture")[0].Attributes
	if sent["stripe.request_id"] != "req_1" || sent["server.address"] != "api.stripe.com" ||
		sent["server.port"] != "443" || sent["http.response.status_code"] != "200" ||
		sent["holdd.idempotency_key"] != "holdd-key" || capture.Attributes["holdd.state"] != "captured" {
		t.Errorf("%v %v", sent, capture.Attributes)
	}
	for _, secret := range []string{"BK-2071", "Ms Example", "t0ken", "38500"} {
		if strings.Contains(string(c.DecompressedBodies()), secret) {
			t.Errorf("a span has %s", secret)
		}
	}
}

// A commit without a reply is neither written nor not written.
func TestStartScheduling_UnknownResult(t *testing.T) {
	c := tracingtest.Start(t)
	tracer := newTracer(t, c)
	tracer.StartScheduling(t.Context(), newHold())(0)
	tracer.Close()
	spans := c.ReceivedSpans()
	if len(spans) != 1 || !spans[0].Failed {
		t.Fatalf("%+v", spans)
	}
	if written, ok := spans[0].Attributes["holdd.written"]; ok {
		t.Errorf("written is %s", written)
	}
}

// What the caller does not sample is neither kept with the hold nor sampled
// later.
func TestTracer_UnsampledIsNotKept(t *testing.T) {
	c, h := tracingtest.Start(t), newHold()
	tracer := newTracer(t, c)
	ctx, end := tracer.StartRequest(t.Context(), newRequest("POST", "/v1/holds", unsampled),
		"POST /v1/holds")
	tracer.StartScheduling(ctx, h)(hold.CommitWritten)
	if tracer.StartCall(ctx, &hold.Call{Op: hold.OpRead}) != nil {
		t.Error("a call has a span")
	}
	end(http.StatusCreated)
	header := http.Header{}
	if tracer.StartDelivery(ctx, unsampled, "evt_1", "http://127.0.0.1", header) != nil ||
		len(header) != 0 {
		t.Error("a delivery has a span", header)
	}
	entry := newHold()
	entry.Trace = tracing.ParseTraceparent(unsampled) // as of the inbox
	tracer.StartScheduling(t.Context(), entry)(hold.CommitWritten)
	tracer.Close()
	if h.Trace != (hold.TraceContext{}) || entry.Trace != (hold.TraceContext{}) ||
		len(c.ReceivedSpans()) != 0 {
		t.Errorf("%+v %+v %+v", h.Trace, entry.Trace, c.ReceivedSpans())
	}
}

func TestTraceChange_ReplacesTheTraceOfTheHold(t *testing.T) {
	const otherTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, tc := range map[string]struct {
		headers []string
		want    string
	}{
		"with a traceparent": {[]string{"00-" + otherTrace + "-" + callerSpan + "-01"}, otherTrace},
		"without":            {nil, callerTrace},
		"not sampled":        {[]string{"00-" + otherTrace + "-" + callerSpan + "-00"}, callerTrace},
	} {
		t.Run(name, func(t *testing.T) {
			c, before := tracingtest.Start(t), newHold()
			before.Trace = tracing.ParseTraceparent(traceparent)
			after := *before
			tracer := newTracer(t, c)
			ctx, end := tracer.StartRequest(t.Context(),
				newRequest("POST", "/v1/holds/pi_1/capture", tc.headers...),
				"POST /v1/holds/{id}/capture")
			tracer.LinkRequestSpanToHold(ctx, before, &after)
			end(http.StatusAccepted)
			tracer.Close()
			if after.Trace.TraceIDText() != tc.want {
				t.Errorf("the hold keeps %s, want %s", after.Trace.Traceparent(), tc.want)
			}
			for _, s := range c.ReceivedSpans() {
				if s.Attributes["holdd.hold"] != "pi_1" ||
					!slices.Equal(s.Links, []string{callerTrace + " " + callerSpan}) {
					t.Errorf("%+v", s)
				}
			}
			if name != "not sampled" && len(c.ReceivedSpans()) != 1 {
				t.Errorf("%+v", c.ReceivedSpans())
			}
		})
	}
}
