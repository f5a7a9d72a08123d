package e2e_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/tracing/tracingtest"
)

const (
	collectorToken = "t0ken-of-the-collector"
	bookingTrace   = "0af7651916cd43dd8448eb211c80319c"
	bookingSpan    = "b7ad6b7169203331"
)

// callbackReceiver keeps the header traceparent of each event that it receives.
type callbackReceiver struct {
	mu           sync.Mutex
	traceparents map[string]string // by the event's type
}

func (c *callbackReceiver) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a short body fails the test
	_, rest, _ := strings.Cut(string(body), `"type":"`)
	name, _, _ := strings.Cut(rest, `"`)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.traceparents[name] = r.Header.Get("Traceparent")
}

func (c *callbackReceiver) traceparentOf(eventType string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traceparents[eventType]
}

// scheduleTraced schedules the capture of a new authorization with a traceparent.
func (w *world) scheduleTraced(r *replica, traceparent string, due time.Time) booking {
	w.tb.Helper()
	b := setDueAt(w.authorizeBookings(1), due)[0]
	req, err := http.NewRequestWithContext(w.tb.Context(), http.MethodPost, r.url+"/v1/holds",
		strings.NewReader(`{"payment_intent":"`+b.id+`","reference":"BK-00000","capture_at":"`+
			formatTime(due)+`","metadata":{"guest":"Ms Example"}}`))
	if err != nil {
		w.tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", traceparent)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		body, _ := io.ReadAll(res.Body)
		w.tb.Fatalf("%d %s", res.StatusCode, body)
	}
	return b
}

// TestTraces_OneTraceAcrossRestart follows one trace through the shipped binary:
// the request, a restart, the capture, Stripe's request, the callback, and the
// exemplar of the lateness.
func TestTraces_OneTraceAcrossRestart(t *testing.T) {
	t.Parallel()
	collector, events := tracingtest.Start(t), &callbackReceiver{traceparents: map[string]string{}}
	server := httptest.NewServer(events)
	defer server.Close()
	w := newWorld(t, stripesim.Options{Seed: 21})
	settings := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL,
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20" + collectorToken,
		"OTEL_BSP_SCHEDULE_DELAY=200", "HOLDD_CALLBACK_URL=" + server.URL + "/c4llback-path",
		"HOLDD_CALLBACK_SECRET=" + callbackSecret}
	r := w.startReplica(binaryPath(t, buildRace), settings...)
	storetest.WaitUntil(t, processTimeout, "the deliverer", func() bool {
		rdb := w.redis.Client()
		defer rdb.Close()
		return rdb.Exists(t.Context(), "holdd:{0}:sink:callback").Val() == 1
	})
	b := w.scheduleTraced(r, "00-"+bookingTrace+"-"+bookingSpan+"-01", afterNow(6*time.Second))
	storetest.WaitUntil(t, processTimeout, "the callback of the schedule", func() bool {
		return events.traceparentOf("hold.scheduled") != ""
	})
	r.terminate(0)
	r = w.startReplica(binaryPath(t, buildRace), settings...)
	w.waitForCaptures(r, 1, processTimeout)
	storetest.WaitUntil(t, processTimeout, "the callback of the capture", func() bool {
		return events.traceparentOf("hold.captured") != ""
	})
	exemplar := scrapeOpenMetrics(t, r)
	r.terminate(0)

	parent := bookingSpan
	for _, name := range []string{"POST /v1/holds", "schedule hold", "capture hold",
		"POST /v1/payment_intents/{intent}/capture"} {
		spans := collector.FindSpansByTraceAndName(bookingTrace, name)
		if len(spans) != 1 || spans[0].Parent != parent || spans[0].Failed {
			t.Fatalf("%s: %+v, want a child of %s", name, spans, parent)
		}
		parent = spans[0].ID
	}
	capture := collector.FindSpansByTraceAndName(bookingTrace, "capture hold")[0]
	if capture.Attributes["holdd.hold"] != b.id || capture.Resource["service.name"] != "holdd" ||
		len(capture.Links) != 1 || !strings.HasPrefix(capture.Links[0], bookingTrace+" ") {
		t.Errorf("%+v", capture)
	}
	deliveries := collector.FindSpansByTraceAndName(bookingTrace, "POST")
	header := events.traceparentOf("hold.captured")
	if !slices.ContainsFunc(deliveries, func(s tracingtest.Span) bool {
		return s.Parent == capture.ID && header == "00-"+bookingTrace+"-"+s.ID+"-01"
	}) {
		t.Errorf("the callback has %s, the deliveries are %+v", header, deliveries)
	}
	if want := `# {trace_id="` + bookingTrace + `"}`; !strings.Contains(exemplar, want) {
		t.Errorf("no exemplar %s in:\n%s", want, exemplar)
	}
	for _, secret := range []string{apiKey, callbackSecret, collectorToken, "c4llback-path",
		"BK-00000", "Ms Example", "_secret_"} {
		if strings.Contains(string(collector.DecompressedBodies()), secret) {
			t.Errorf("a span has %s", secret)
		}
	}
	if n := len(collector.ReceivedRequests()); n == 0 ||
		collector.ReceivedRequests()[0].Header.Get("Authorization") != "Bearer "+collectorToken {
		t.Errorf("%d requests without the header of the variables", n)
	}
}

// scrapeOpenMetrics returns the lines of the lateness in OpenMetrics.
func scrapeOpenMetrics(t *testing.T, r *replica) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/openmetrics-text") {
		t.Fatal(res.Header, err)
	}
	var out []string
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "holdd_lateness_seconds_bucket") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// TestTraces_CollectorHangs checks that a collector that accepts connections and
// never answers delays no capture and no stop, and that a kill loses no money
// work.
func TestTraces_CollectorHangs(t *testing.T) {
	t.Parallel()
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	w := newWorld(t, unlimitedStripeOptions)
	settings := append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + hanging.Addr().String(),
		"OTEL_EXPORTER_OTLP_TIMEOUT=200", "OTEL_BSP_SCHEDULE_DELAY=100",
		"OTEL_BSP_EXPORT_TIMEOUT=300"}, shortLeaseSettings...)
	bin := binaryPath(t, buildRace)
	began := time.Now()
	victim, other := w.startReplica(bin, settings...), w.startReplica(bin, settings...)
	all := setDueAt(w.authorizeBookings(300), afterNow(3*time.Second))
	w.scheduleBookings(victim, all)
	storetest.WaitUntil(t, processTimeout, "a part is captured", func() bool {
		return w.countCaptures() > 20
	})
	victim.sendSignal(syscall.SIGKILL)
	w.waitForCaptures(other, len(all), processTimeout)
	w.checkCaptures(other, all, atMostOnce)
	minutes := int(time.Since(began)/time.Minute) + 1
	if n := other.log.count("traces incomplete"); n < 1 || n > minutes {
		t.Errorf("the log says %d times in %d minutes that spans are lost", n, minutes)
	}
	began = time.Now()
	other.terminate(0)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// TestTraces_OffWithoutEndpoint checks that a traceparent changes nothing if no
// endpoint is set, and that a variable that holdd cannot use does not keep it
// from starting.
func TestTraces_OffWithoutEndpoint(t *testing.T) {
	t.Parallel()
	collector := tracingtest.Start(t)
	for name, variables := range map[string][]string{
		"disabled": {"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_SDK_DISABLED=true"},
		"gRPC":     {"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		"unset":    {"OTEL_SERVICE_NAME=holdd"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, stripesim.Options{Seed: 22})
			r := w.startReplica(binaryPath(t, buildRace), variables...)
			b := w.scheduleTraced(r, "00-"+bookingTrace+"-"+bookingSpan+"-01", afterNow(time.Second))
			w.waitForCaptures(r, 1, processTimeout)
			rdb := w.redis.Client()
			defer rdb.Close()
			stream := rdb.XRange(t.Context(), "holdd:{0}:events", "-", "+").Val()
			for _, e := range stream {
				if text, _ := e.Values["event"].(string); text == "" ||
					strings.Contains(text, "traceparent") {
					t.Errorf("%v", e.Values)
				}
			}
			if len(stream) != 2 || len(collector.ReceivedRequests()) != 0 {
				t.Errorf("%d events of %s, %d requests to the collector", len(stream), b.id,
					len(collector.ReceivedRequests()))
			}
			if n := r.log.count("traces are off"); (n == 1) != (name == "gRPC") {
				t.Errorf("%d warnings", n)
			}
		})
	}
}
