package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/holdd/holdd/worker/hold"
)

// Maximum sizes of bodies. A PaymentIntent with its charge has about 8 KiB, a
// page of 100 about 800 KiB.
const (
	maxBodyBytes     = 1 << 20
	maxListBodyBytes = 4 << 20
)

// callTrace records the transport's view of one call. The classification needs
// the headers of every response, and whether a request was sent. stripe-go
// returns neither if it cannot decode the response.
type callTrace struct {
	maxBodyBytes int64
	clientTrace  httptrace.ClientTrace

	connsObtained     atomic.Int32 // after the first connection, the request may have been sent
	handedToTransport bool         // to a transport that does not report its connections
	status            int          // 0 without a response
	requestID         string
	replayed          bool
	shouldRetry       string // the header Stripe-Should-Retry
	rateLimitedReason string // the header Stripe-Rate-Limited-Reason
	mediaType         string
	bodyBuffer        *bytes.Buffer // receives the body of a 200; nil: stripe-go reads it
	bodyComplete      bool          // bodyBuffer has the whole body
}

type callTraceContextKey struct{}

// withCallTrace adds a new trace to the context. maxBody is the maximum size of
// the response's body; 0 means maxBodyBytes.
func withCallTrace(ctx context.Context, maxBody int64) (context.Context, *callTrace) {
	t := &callTrace{maxBodyBytes: cmp.Or(maxBody, maxBodyBytes)}
	t.clientTrace.GotConn = func(httptrace.GotConnInfo) { t.connsObtained.Add(1) }
	return httptrace.WithClientTrace(context.WithValue(ctx, callTraceContextKey{}, t),
		&t.clientTrace), t
}

// mayHaveBeenSent reports whether the request may have been sent.
func (t *callTrace) mayHaveBeenSent() bool {
	return t.handedToTransport || t.connsObtained.Load() > 0
}

// wasRetransmitted reports whether the transport sent the request more than
// once. If so, a response that Stripe gives before it checks the idempotency
// key says nothing about the first try.
func (t *callTrace) wasRetransmitted() bool { return t.connsObtained.Load() > 1 }

// newAnswer returns an answer of a kind with the values of the trace.
func (t *callTrace) newAnswer(k hold.AnswerKind) hold.Answer {
	return hold.Answer{
		Kind:       k,
		HTTPStatus: t.status,
		RequestID:  t.requestID,
		Replayed:   t.replayed,
	}
}

// tracingTransport is the RoundTripper below stripe-go.
type tracingTransport struct {
	next             http.RoundTripper
	nextReportsConns bool // next reports each connection that it uses
}

// RoundTrip sends the request and fills the trace.
//
// If a kept-alive connection is dead, net/http sends a request that has an
// Idempotency-Key again. The last error can therefore be a dial error although
// an earlier try was sent, so the trace counts connections. The response can
// also be a 429 to the second try while the first one captures. Then
// [hold.Answer].Retransmitted is set.
func (tt *tracingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	t := req.Context().Value(callTraceContextKey{}).(*callTrace)
	t.handedToTransport = !tt.nextReportsConns // set first, because the transport may panic
	res, err := tt.next.RoundTrip(req)
	if err != nil {
		if isDialError(err) {
			t.handedToTransport = false
		}
		return nil, err
	}
	if res == nil {
		return nil, errNoResponse
	}
	t.status = res.StatusCode
	t.requestID = parseRequestID(res.Header)
	t.replayed = res.Header.Get("Idempotent-Replayed") == "true"
	t.shouldRetry = res.Header.Get("Stripe-Should-Retry")
	t.rateLimitedReason = res.Header.Get("Stripe-Rate-Limited-Reason")
	t.mediaType = parseMediaType(res.Header)
	if d, ok := req.Context().Value(dateHeaderContextKey{}).(*string); ok {
		*d = res.Header.Get("Date")
	}
	if res.Body != nil {
		res.Body = &limitedBody{ReadCloser: res.Body, remaining: t.maxBodyBytes}
		if t.bodyBuffer != nil && res.StatusCode == http.StatusOK {
			t.bufferResponseBody(res)
		}
	}
	return res, nil
}

var (
	errNoResponse  = errors.New("the transport returned neither a response nor an error")
	errBodyTooLong = errors.New("it is longer than any response of Stripe")
)

// limitedBody is a body of at most remaining bytes. A longer body is an error,
// so that a truncated body is not read as a complete one.
type limitedBody struct {
	io.ReadCloser
	remaining int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.remaining+1 {
		p = p[:b.remaining+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.remaining {
		n, err = int(b.remaining), errBodyTooLong
	}
	b.remaining -= int64(n)
	return n, err
}

// isDialError reports whether err says that no connection was established.
func isDialError(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

// parseRequestID returns the request id of Stripe, or "" if the header has
// another form.
func parseRequestID(h http.Header) string {
	id := h.Get("Request-Id")
	rest, ok := strings.CutPrefix(id, "req_")
	if !ok || rest == "" || len(rest) > 64 {
		return ""
	}
	for i := range len(rest) {
		if c := rest[i]; !isLowercase(c|0x20) && !isDigit(c) && c != '_' && c != '-' {
			return ""
		}
	}
	return id
}

var mediaTypePattern = regexp.MustCompile(`^[a-z]{1,20}/[a-z0-9.+-]{1,40}$`)

func parseMediaType(h http.Header) string {
	contentType := h.Get("Content-Type")
	if contentType == "application/json" { // every good answer
		return contentType
	}
	t, _, _ := mime.ParseMediaType(contentType)
	if !mediaTypePattern.MatchString(t) {
		return "of no known type"
	}
	return t
}

// formatHTTPStatus returns an HTTP status with its name.
func formatHTTPStatus(code int) string {
	if t := http.StatusText(code); t != "" {
		return strconv.Itoa(code) + " " + t
	}
	return strconv.Itoa(code)
}

var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// bufferResponseBody reads the body of a 200 into the buffer and replaces it
// with an empty object. [tracingTransport.RoundTrip] calls it. If the body
// breaks off, stripe-go gets the same error.
func (t *callTrace) bufferResponseBody(res *http.Response) {
	_, err := t.bodyBuffer.ReadFrom(res.Body)
	_ = res.Body.Close() // it was read to its end or has failed
	if err != nil {
		res.Body = io.NopCloser(failingBody{err})
		return
	}
	t.bodyComplete = true
	res.Body = io.NopCloser(strings.NewReader("{}"))
}

// failingBody is a body that returns an error.
type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
