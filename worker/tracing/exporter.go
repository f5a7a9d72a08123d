package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/retryafter"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	retryBase  = time.Second
	retryLimit = 10 * time.Second
	// maxResponseBytes is how much of a response is read, so that the connection
	// can be used again.
	maxResponseBytes = 4 << 10
)

// otlpClient sends spans by OTLP over HTTP, for the SDK's exporter. The SDK's
// own client, otlptracehttp, links gRPC, which would take the binary beyond its
// limit.
type otlpClient struct {
	endpoint *endpoint
	http     *http.Client
}

func newExporter(ctx context.Context, e *endpoint) (*otlptrace.Exporter, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = e.tls
	c := &otlpClient{endpoint: e, http: &http.Client{Transport: transport, Timeout: e.timeout,
		// A redirect could send the headers to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}}
	return otlptrace.New(ctx, c)
}

// Start implements [otlptrace.Client]. Each upload connects as it needs.
func (c *otlpClient) Start(context.Context) error { return nil }

// Stop implements [otlptrace.Client].
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements [otlptrace.Client]. It tries again until ctx ends if
// the collector is unavailable.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData has the encoding of ExportTraceServiceRequest, whose package
	// imports gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.endpoint.gzip {
		body = compress(body)
	}
	for try := 1; ; try++ {
		wait, err := c.post(ctx, body)
		if err == nil || wait < 0 {
			return err
		}
		wait = max(wait, execute.Backoff(try, retryBase, retryLimit))
		if end, ok := ctx.Deadline(); ok && time.Until(end) < wait ||
			!execute.SleepUnlessCanceled(ctx, wait) {
			return err
		}
	}
}

// post sends one request. After an error, wait is how long the collector asks to
// wait before the next try, and below zero if another try is useless.
func (c *otlpClient) post(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.url.String(),
		bytes.NewReader(body))
	if err != nil {
		return -1, errors.New("the address of the collector cannot be used")
	}
	req.Header = c.endpoint.headers.Clone()
	req.Header.Set("Content-Type", "application/x-protobuf")
	if c.endpoint.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, maxResponseBytes))
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		wait, _ = retryafter.Parse(res.Header.Get("Retry-After"), time.Now())
	default:
		wait = -1
	}
	if res.StatusCode/100 != 2 {
		return wait, fmt.Errorf("the collector answered HTTP %d", res.StatusCode)
	}
	if n := countRejectedSpans(answer); n > 0 {
		return -1, fmt.Errorf("the collector rejected %s",
			hold.FormatCount(int64(n), "span", "spans"))
	}
	return 0, nil
}

// countRejectedSpans returns how many spans a collector has rejected, by its
// ExportTraceServiceResponse, whose package imports gRPC.
func countRejectedSpans(response []byte) uint64 {
	partialSuccess, _ := decodeProtobufField1(response)
	_, rejected := decodeProtobufField1(partialSuccess)
	return rejected
}

// decodeProtobufField1 returns the value of field 1 of a message: a message or a number.
func decodeProtobufField1(b []byte) (message []byte, number uint64) {
	for len(b) > 0 {
		field, wireType, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return nil, 0
		}
		size := protowire.ConsumeFieldValue(field, wireType, b[tag:])
		switch {
		case size < 0:
			return nil, 0
		case field == 1 && wireType == protowire.BytesType:
			message, _ = protowire.ConsumeBytes(b[tag:])
		case field == 1 && wireType == protowire.VarintType:
			number, _ = protowire.ConsumeVarint(b[tag:])
		}
		b = b[tag+size:]
	}
	return message, number
}

// cancelOnStopExporter ends its exports once stopped ends. The SDK would otherwise
// go on with the queue after the stop.
type cancelOnStopExporter struct {
	sdktrace.SpanExporter
	stopped context.Context
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e cancelOnStopExporter) ExportSpans(ctx context.Context, s []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stopped, cancel)()
	return e.SpanExporter.ExportSpans(ctx, s)
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // to memory
	_ = w.Close()
	return b.Bytes()
}

// describeError returns the text of an error without the address, which may
// have a password or a token.
func describeError(err error) string {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}
