// Package tracingtest gives tests an OpenTelemetry collector. Only tests import
// it.
package tracingtest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector receives spans by OTLP over HTTP.
type Collector struct {
	URL string

	mu       sync.Mutex
	spans    []Span
	requests []*http.Request
	bodies   []byte
	failures int // requests to answer with 503
}

// Span is a received span. Its ids are in lower-case hex; Parent is empty for a
// root.
type Span struct {
	TraceID, ID, Parent, Name string
	TraceState                string
	Links                     []string // "trace span"
	Kind                      tracepb.Span_SpanKind
	Failed                    bool
	Attributes, Resource      map[string]string
}

// Start starts a collector that runs until the test ends.
func Start(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{}
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// FailNext makes the collector answer n requests with 503.
func (c *Collector) FailNext(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = n
}

// ReceivedSpans returns the spans that were received.
func (c *Collector) ReceivedSpans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// FindSpansByTraceAndName returns the spans of a trace with a name.
func (c *Collector) FindSpansByTraceAndName(traceID, name string) (out []Span) {
	for _, s := range c.ReceivedSpans() {
		if s.TraceID == traceID && s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// ReceivedRequests returns the requests that were received, failed ones too.
func (c *Collector) ReceivedRequests() []*http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*http.Request(nil), c.requests...)
}

// DecompressedBodies returns all bodies that were received, decompressed, to search them for
// what they must not have.
func (c *Collector) DecompressedBodies() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.bodies...)
}

// ServeHTTP implements [http.Handler].
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r)
	var data tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r)
	c.bodies = append(c.bodies, body...)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case c.failures > 0:
		c.failures--
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		for _, resource := range data.ResourceSpans {
			c.add(resource)
		}
	}
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func (c *Collector) add(in *tracepb.ResourceSpans) {
	resource := map[string]string{}
	for _, a := range in.Resource.Attributes {
		resource[a.Key] = a.Value.GetStringValue()
	}
	for _, scope := range in.ScopeSpans {
		for _, s := range scope.Spans {
			span := Span{TraceID: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId),
				Parent: hex.EncodeToString(s.ParentSpanId), Name: s.Name, Kind: s.Kind,
				TraceState: s.TraceState,
				Failed:     s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR,
				Attributes: map[string]string{}, Resource: resource}
			for _, l := range s.Links {
				span.Links = append(span.Links, fmt.Sprintf("%x %x", l.TraceId, l.SpanId))
			}
			for _, a := range s.Attributes {
				span.Attributes[a.Key] = a.Value.GetStringValue()
				if a.Value.GetStringValue() == "" {
					span.Attributes[a.Key] = fmt.Sprint(a.Value.GetIntValue())
				}
			}
			c.spans = append(c.spans, span)
		}
	}
}
