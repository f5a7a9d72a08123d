package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/tracing"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

const (
	bookingTrace       = "0af7651916cd43dd8448eb211c80319c"
	bookingTraceparent = "00-" + bookingTrace + "-b7ad6b7169203331-01"
)

// spanRecorder keeps the spans that a tracer exports.
type spanRecorder struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

func (r *spanRecorder) ExportSpans(_ context.Context, s []sdktrace.ReadOnlySpan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, s...)
	return nil
}

func (r *spanRecorder) Shutdown(context.Context) error { return nil }

// named returns the spans with a name.
func (r *spanRecorder) named(name string) (out []sdktrace.ReadOnlySpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name() == name {
			out = append(out, s)
		}
	}
	return out
}

// mustFind returns the first span of the booking's trace with a name.
func (r *spanRecorder) mustFind(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []sdktrace.ReadOnlySpan
	var names []string
	for _, s := range r.spans {
		names = append(names, s.SpanContext().TraceID().String()[:4]+" "+s.Name())
		if s.Name() == name && s.SpanContext().TraceID().String() == bookingTrace {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no span %q in %q", name, names)
	}
	return found[0]
}

func (w *testEnv) newTracer(r *spanRecorder) *tracing.Tracer {
	w.T.Helper()
	tracer, err := tracing.New(w.Ctx, tracing.Options{Logger: zap.NewNop(), Exporter: r,
		StripeURL: "https://api.stripe.com"})
	if err != nil {
		w.T.Fatal(err)
	}
	w.OnStop(tracer.Close)
	return tracer
}

// A capture two hours after the request, by another process, is in the trace of
// the request: as a child of its span, and with a link to it.
func TestTraces_CaptureHoursLaterAfterRestart(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		spans := &spanRecorder{}
		first := w.newTracer(spans)
		w.opts.Tracer = first
		r, id := w.startReplica(), w.AuthorizeIntent()
		req := httptest.NewRequest(http.MethodPost, "/v1/holds", nil)
		req.Header.Set("Traceparent", bookingTraceparent)
		ctx, end := first.StartRequest(w.Ctx, req, "POST /v1/holds")
		s := r.Schedule(ctx, []hold.ScheduleRequest{{PaymentIntent: id,
			CaptureAt: envtest.In(2 * time.Hour)}}, "test")[0]
		end(http.StatusCreated)
		if s.Err != nil || s.Hold.Trace.TraceIDText() != bookingTrace {
			t.Fatal(s.Err, s.Hold.Trace)
		}
		r.stopAndWait()
		first.Close()
		w.opts.Tracer = w.newTracer(spans)
		r = w.startReplica()
		w.waitForState(r, id, hold.Captured, 3*time.Hour)
		time.Sleep(10 * time.Second) // the queue is sent

		request, schedule := spans.mustFind(t, "POST /v1/holds"), spans.mustFind(t, "schedule hold")
		read := spans.mustFind(t, "GET /v1/payment_intents/{intent}")
		capture := spans.mustFind(t, "capture hold")
		call := spans.mustFind(t, "POST /v1/payment_intents/{intent}/capture")
		for child, parent := range map[sdktrace.ReadOnlySpan]sdktrace.ReadOnlySpan{
			read: request, schedule: request, capture: schedule, call: capture,
		} {
			if child.Parent().SpanID() != parent.SpanContext().SpanID() {
				t.Errorf("%s is no child of %s", child.Name(), parent.Name())
			}
		}
		if l := capture.Links(); len(l) != 1 ||
			l[0].SpanContext.SpanID() != schedule.SpanContext().SpanID() {
			t.Errorf("links %+v", l)
		}
		if gap := capture.StartTime().Sub(schedule.EndTime()); gap < 119*time.Minute {
			t.Errorf("captured %s after the request", gap)
		}
		want := `"traceparent":"00-` + bookingTrace + "-" + capture.SpanContext().SpanID().String() + `-01"`
		if events := w.streamEntries("holdd:{0}:events"); !strings.Contains(events[len(events)-1], want) {
			t.Errorf("the last event lacks %s:\n%s", want, events[len(events)-1])
		}
	})
}

// An entry of the inbox brings its own trace. Entries without one, or with an
// invalid one, begin a trace of their own.
func TestTraces_InboxEntry(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		spans := &spanRecorder{}
		w.opts.Tracer = w.newTracer(spans)
		r, ids := w.startReplica(), []string{}
		for _, fields := range [][]string{{"traceparent", bookingTraceparent},
			{"traceparent", "nonsense"}, nil} {
			id := w.AuthorizeIntent()
			ids = append(ids, id)
			text := fmt.Sprintf(`{"payment_intent":%q,"cancel_at":%q}`, id, envtest.In(time.Minute))
			if _, err := w.Redis.XAdd("holdd:inbox", "*", append(fields, "hold", text)); err != nil {
				t.Fatal(err)
			}
		}
		for i, id := range ids {
			trace := w.waitForHold(r, id, hold.Scheduled, time.Minute).Trace
			if !trace.IsSampled() || (trace.TraceIDText() == bookingTrace) != (i == 0) {
				t.Errorf("entry %d: %s", i, trace.Traceparent())
			}
		}
		w.waitForState(r, ids[0], hold.Canceled, 2*time.Minute)
		time.Sleep(10 * time.Second)
		spans.mustFind(t, "cancel hold")
		spans.mustFind(t, "POST /v1/payment_intents/{intent}/cancel")
	}, enableInbox)
}

// Each step of a renewal is in the trace of the hold.
func TestTraces_Renewal(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		spans := &spanRecorder{}
		w.opts.Tracer = w.newTracer(spans)
		r := w.startReplica()
		id, _ := w.longStay(r, hold.ScheduleRequest{CaptureAt: envtest.In(11 * time.Minute),
			Renewal: &hold.RenewalRequest{Until: envtest.In(12 * time.Minute)},
			Trace:   tracing.ParseTraceparent(bookingTraceparent)})
		w.waitForState(r, id, hold.Captured, 13*time.Minute)
		time.Sleep(10 * time.Second)
		spans.mustFind(t, "renew hold")
		spans.mustFind(t, "capture hold")
		spans.mustFind(t, "POST /v1/payment_intents")
		spans.mustFind(t, "POST /v1/payment_intents/{intent}/capture")
		spans.mustFind(t, "POST /v1/payment_intents/{intent}/cancel")
	}, withWindow(4*time.Minute))
}

// An authorization that holdd places is in the trace of its request, and so is
// what becomes of its hold.
func TestTraces_Authorization(t *testing.T) {
	runTestEnv(t, func(w *testEnv) {
		spans := &spanRecorder{}
		tracer := w.newTracer(spans)
		w.opts.Tracer = tracer
		r := w.startReplica()
		req := httptest.NewRequest(http.MethodPost, "/v1/authorizations", nil)
		req.Header.Set("Traceparent", bookingTraceparent)
		ctx, end := tracer.StartRequest(w.Ctx, req, "POST /v1/authorizations")
		a, err := r.Authorize(ctx, callerKey, newAuthorizeRequest(time.Minute), "api")
		end(http.StatusCreated)
		if err != nil || a.Hold == nil {
			t.Fatal(err)
		}
		w.waitForState(r, a.Hold.ID, hold.Captured, 2*time.Minute)
		time.Sleep(10 * time.Second)
		request := spans.mustFind(t, "POST /v1/authorizations").SpanContext().SpanID()
		if spans.mustFind(t, "POST /v1/payment_intents").Parent().SpanID() != request ||
			spans.mustFind(t, "schedule hold").Parent().SpanID() != request {
			t.Error("Stripe's request or the schedule is no child of the request")
		}
		spans.mustFind(t, "capture hold")
	})
}

// A webhook's request is in the trace of its hold, before the change that a read
// then makes. A forged event and one without a traced hold have no span.
func TestTraces_Webhook(t *testing.T) {
	spans := &spanRecorder{}
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		w.handler = newTracedWebhookHandler(t, r, w.newTracer(spans), signingSecret)
		id, untraced := w.AuthorizeIntent(), w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(time.Hour),
			Trace: tracing.ParseTraceparent(bookingTraceparent)})
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: untraced,
			CaptureAt: envtest.In(time.Hour),
			Trace:     tracing.ParseTraceparent(strings.TrimSuffix(bookingTraceparent, "1") + "0")})
		w.takeEvents()      // of the authorizations
		w.AuthorizeIntent() // without a hold
		d := w.Sim.Dashboard()
		for _, err := range []error{d.OpenReview(id), d.OpenReview(untraced)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		events := w.takeEvents()
		for _, e := range events {
			if code, _ := postWebhook(w.handler, e.Payload, stripesim.Sign(e.Payload, time.Now(),
				"whsec_another")); code != http.StatusBadRequest {
				t.Fatalf("a forged event: %d", code)
			}
		}
		w.deliverEvents(events)
		time.Sleep(10 * time.Second) // the queue is sent
		schedule := spans.mustFind(t, "schedule hold").SpanContext()
		webhooks := spans.named("POST /webhooks/stripe")
		if len(webhooks) != 1 {
			t.Fatalf("%d webhooks of %d have a span", len(webhooks), len(events))
		}
		webhook, change := webhooks[0], spans.mustFind(t, "change hold")
		if webhook.Parent().SpanID() != schedule.SpanID() ||
			webhook.SpanKind() != trace.SpanKindServer || len(webhook.Links()) != 1 ||
			webhook.Links()[0].SpanContext.SpanID() != schedule.SpanID() {
			t.Errorf("the webhook has the parent %s, the kind %s and %d links",
				webhook.Parent().SpanID(), webhook.SpanKind(), len(webhook.Links()))
		}
		for _, a := range []attribute.KeyValue{attribute.Int("http.response.status_code", 200),
			attribute.String("http.route", "/webhooks/stripe"), attribute.String("holdd.hold", id),
			attribute.String("stripe.event_type", "review.opened")} {
			if !slices.Contains(webhook.Attributes(), a) {
				t.Errorf("the webhook lacks %v: %v", a, webhook.Attributes())
			}
		}
		if change.StartTime().Before(webhook.EndTime()) {
			t.Errorf("changed %s before the webhook ended", webhook.EndTime().Sub(change.StartTime()))
		}
	}, recordSpans(spans))
}

// A warning before a deadline is in the trace of the hold, and its event
// continues the span of the warning.
func TestTraces_Warning(t *testing.T) {
	spans := &spanRecorder{}
	runTestEnv(t, func(w *testEnv) {
		r := w.startReplica()
		id := w.ending(5 * time.Hour)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, OnExpiry: "alert",
			Trace: tracing.ParseTraceparent(bookingTraceparent)})
		untraced := w.ending(5 * time.Hour)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: untraced, OnExpiry: "alert",
			Trace: tracing.ParseTraceparent(strings.TrimSuffix(bookingTraceparent, "1") + "0")})
		time.Sleep(4*time.Hour + time.Minute)
		w.warned(id, "6h0m0s", "1h0m0s")
		w.warned(untraced, "6h0m0s", "1h0m0s")
		schedule := spans.mustFind(t, "schedule hold").SpanContext().SpanID()
		warnings, events := spans.named("warn of expiry"), w.events(id)
		if len(warnings) != 2 || len(events) != 3 {
			t.Fatalf("%d warnings, %d events", len(warnings), len(events))
		}
		for i, s := range warnings {
			if s.Parent().SpanID() != schedule || !slices.Contains(s.Attributes(),
				attribute.StringSlice("holdd.events", []string{"hold.expiring"})) ||
				!slices.Contains(s.Attributes(), attribute.Bool("holdd.written", true)) {
				t.Errorf("warning %d has the parent %s and %v", i, s.Parent().SpanID(), s.Attributes())
			}
			if got, want := events[i+1].Traceparent, "00-"+bookingTrace+"-"+
				s.SpanContext().SpanID().String()+"-01"; got != want {
				t.Errorf("event %d has %s, want %s", i, got, want)
			}
		}
		if changes := spans.named("change hold"); len(changes) != 0 {
			t.Errorf("%d changes", len(changes))
		}
	}, recordSpans(spans))
}

// recordSpans makes every replica record its spans.
func recordSpans(spans *spanRecorder) func(*testEnv, *stripesim.Options) {
	return func(w *testEnv, _ *stripesim.Options) { w.spans = spans }
}

// What a webhook, or a request without a traceparent, changes is in the trace of
// the hold, and so are the events of it.
func TestTraces_Change(t *testing.T) {
	spans := &spanRecorder{}
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Hour), Trace: tracing.ParseTraceparent(bookingTraceparent)})
		tracer := w.newTracer(spans)
		ctx, end := tracer.StartRequest(w.Ctx,
			httptest.NewRequest(http.MethodPost, "/v1/holds/"+id+"/pause", nil), "POST /v1/holds/{id}/pause")
		if _, _, err := r.PauseHold(ctx, id, 0, false, "test"); err != nil {
			t.Fatal(err)
		}
		end(http.StatusOK)
		if err := w.Sim.Dashboard().Capture(id, 4_000); err != nil {
			t.Fatal(err)
		}
		w.deliverPending()
		w.waitForState(r, id, hold.Captured, time.Minute)
		time.Sleep(10 * time.Second) // the queue is sent
		schedule := spans.mustFind(t, "schedule hold").SpanContext().SpanID()
		changes := spans.named("change hold")
		events := w.streamEntries("holdd:{0}:events")
		if len(changes) != 2 || len(events) != 3 {
			t.Fatalf("%d changes, %d events", len(changes), len(events))
		}
		for i, want := range []string{"hold.paused", "hold.captured"} {
			c := changes[i]
			if c.Parent().SpanID() != schedule || len(c.Links()) != 1-i {
				t.Errorf("%s has the parent %s and %d links", want, c.Parent().SpanID(), len(c.Links()))
			}
			if !slices.Contains(c.Attributes(), attribute.StringSlice("holdd.events",
				[]string{want})) {
				t.Errorf("%s: %v", want, c.Attributes())
			}
			if !strings.Contains(events[i+1], want) || !strings.Contains(events[i+1],
				"-"+c.SpanContext().SpanID().String()+"-01") {
				t.Errorf("event of %s: %s", want, events[i+1])
			}
		}
	}, recordSpans(spans))
}
