package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/tracing"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// hangingExporter is a collector that does not answer.
type hangingExporter struct{ spans atomic.Int64 }

func (e *hangingExporter) ExportSpans(ctx context.Context, s []sdktrace.ReadOnlySpan) error {
	e.spans.Add(int64(len(s)))
	<-ctx.Done()
	return errors.New("no answer")
}

func (e *hangingExporter) Shutdown(context.Context) error { return nil }

// A collector that does not answer delays nothing, and costs bounded memory and
// a line of the log a minute.
func TestTracer_CollectorHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		e := &hangingExporter{}
		tracer, err := tracing.New(t.Context(), tracing.Options{Logger: zap.New(core), Exporter: e})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range 20_000 {
			_, end := tracer.StartRequest(t.Context(), newRequest("POST", "/v1/holds"),
				"POST /v1/holds")
			end(http.StatusCreated)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("requests waited %s", took)
		}
		time.Sleep(10 * time.Minute)
		if n := e.spans.Load(); n > 4096 {
			t.Errorf("%d spans were kept for the collector", n)
		}
		if n := logs.Len(); n == 0 || n > 10 {
			t.Errorf("%d lines of the log in 10 minutes: %v", n, logs.All())
		}
		for range 1000 {
			_, end := tracer.StartRequest(t.Context(), newRequest("GET", "/v1/plan"), "GET /v1/plan")
			end(http.StatusOK)
		}
		began = time.Now()
		tracer.Close()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the stop took %s", took)
		}
		time.Sleep(time.Minute) // the last export ends
	})
}

// slowExporter is a collector that takes a second for each request.
type slowExporter struct{ hangingExporter }

func (e *slowExporter) ExportSpans(_ context.Context, s []sdktrace.ReadOnlySpan) error {
	e.spans.Add(int64(len(s)))
	time.Sleep(time.Second)
	return nil
}

// The SDK says nothing of spans for which its queue has no room.
func TestTracer_LogsDroppedSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		e := &slowExporter{}
		tracer, err := tracing.New(t.Context(), tracing.Options{Logger: zap.New(core), Exporter: e})
		if err != nil {
			t.Fatal(err)
		}
		const made = 20_000
		for range made {
			_, end := tracer.StartRequest(t.Context(), newRequest("POST", "/v1/holds"),
				"POST /v1/holds")
			end(http.StatusCreated)
		}
		time.Sleep(10 * time.Minute)
		want := fmt.Sprintf("the queue was full: %d spans dropped since the start",
			made-e.spans.Load())
		if all := logs.All(); len(all) != 1 || all[0].ContextMap()["cause"] != want {
			t.Errorf("%v, want %q", all, want)
		}
		tracer.Close()
	})
}

// A collector may answer 200 and reject a part of the spans.
func TestTracer_LogsRejectedSpans(t *testing.T) {
	// partial_success has rejected_spans and an error_message.
	response := []byte{0x0a, 0x09, 0x08, 0x83, 0x01, 0x12, 0x04, 'l', 'o', 'n', 'g'}
	oneRejected := []byte{0x0a, 0x02, 0x08, 0x01}
	for name, tc := range map[string]struct {
		body []byte
		want string // in the only line of the log; "" if there is none
	}{
		"some rejected": {response, "rejected 131 spans"},
		"one rejected":  {oneRejected, "rejected 1 span"},
		"a warning":     {[]byte{0x0a, 0x06, 0x12, 0x04, 'l', 'o', 'n', 'g'}, ""},
		"cut":           {response[:4], ""},
		"JSON":          {[]byte(`{"partialSuccess":{}}`), ""},
		"empty":         {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(
				func(w http.ResponseWriter, _ *http.Request) {
					requests.Add(1)
					_, _ = w.Write(tc.body)
				}))
			defer server.Close()
			core, logs := observer.New(zapcore.DebugLevel)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			tracer, err := tracing.New(t.Context(), tracing.Options{Logger: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			_, end := tracer.StartRequest(t.Context(), newRequest("GET", "/v1/plan"), "GET /v1/plan")
			end(http.StatusOK)
			tracer.Close()
			if n := logs.Len(); n > 1 || (n == 1) != (tc.want != "") || requests.Load() != 1 {
				t.Errorf("%d requests, %v", requests.Load(), logs.All())
			}
			if tc.want != "" && logs.Len() == 1 && !strings.HasSuffix(
				fmt.Sprint(logs.All()[0].ContextMap()["cause"]), tc.want) {
				t.Error(logs.All())
			}
		})
	}
}

// A collector says by seconds or by a date when it is ready. A time beyond the
// bound of an export ends the export.
func TestTracer_WaitsForRetryAfter(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		want   int32 // requests
	}{
		"none":             {"", 2},
		"invalid":          {"soon", 2},
		"an hour":          {"3600", 1},
		"a date ahead":     {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 1},
		"a date of before": {time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), 2},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(
				func(w http.ResponseWriter, _ *http.Request) {
					if requests.Add(1) == 1 {
						w.Header().Set("Retry-After", tc.header)
						w.WriteHeader(http.StatusServiceUnavailable)
					}
				}))
			defer server.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			tracer, err := tracing.New(t.Context(), tracing.Options{Logger: zap.NewNop()})
			if err != nil {
				t.Fatal(err)
			}
			_, end := tracer.StartRequest(t.Context(), newRequest("GET", "/v1/plan"), "GET /v1/plan")
			end(http.StatusOK)
			tracer.Close()
			if n := requests.Load(); n != tc.want {
				t.Errorf("%d requests, want %d", n, tc.want)
			}
		})
	}
}

// A collector's refusal is final, and a redirect is not followed: it could send
// the headers to another host.
func TestTracer_SendsOnceIfRefused(t *testing.T) {
	for _, status := range []int{302, 307, 400, 401, 404, 413, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var requests, followed atomic.Int32
			other := httptest.NewServer(http.HandlerFunc(
				func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
			defer other.Close()
			server := httptest.NewServer(http.HandlerFunc(
				func(w http.ResponseWriter, _ *http.Request) {
					requests.Add(1)
					w.Header().Set("Location", other.URL)
					w.WriteHeader(status)
				}))
			defer server.Close()
			core, logs := observer.New(zapcore.DebugLevel)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			tracer, err := tracing.New(t.Context(), tracing.Options{Logger: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			_, end := tracer.StartRequest(t.Context(), newRequest("GET", "/v1/plan"), "GET /v1/plan")
			end(http.StatusOK)
			tracer.Close()
			if requests.Load() != 1 || followed.Load() != 0 || logs.Len() != 1 ||
				!strings.Contains(fmt.Sprint(logs.All()[0].Context), fmt.Sprint("HTTP ", status)) {
				t.Errorf("%d requests, %d followed, %v", requests.Load(), followed.Load(), logs.All())
			}
		})
	}
}
