package gateway

import (
	"bytes"
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
	"sync/atomic"
)

// Bounds on what is read of a body. A PaymentIntent with its charge has some 8 KiB, a page of 100 some 800.
const (
	maxBody     = 1 << 20
	maxListBody = 4 << 20
)

// flight is what the wire saw of one call. stripe-go hands on neither the headers of an answer that it can't read nor whether a
// request left, and both decide what became of it.
type flight struct {
	limit int64 // of the body, in bytes
	trace httptrace.ClientTrace

	conns     atomic.Int32 // connections that were had; from the first on the request may have left
	given     bool         // the request was given to a transport that may not tell when it has a connection
	status    int          // 0 while there is no answer
	requestID string
	replayed  bool
	retry     string // Stripe-Should-Retry
	mediaType string
	body      *bytes.Buffer // where a good answer's body is kept, which is ours to read then; nil: nowhere
	taken     bool          // it is there, to its end
}

type flightKey struct{}

// begin puts a new flight on the context.
func begin(ctx context.Context, limit int64) (context.Context, *flight) {
	f := &flight{limit: limit}
	f.trace.GotConn = func(httptrace.GotConnInfo) { f.conns.Add(1) }
	return httptrace.WithClientTrace(context.WithValue(ctx, flightKey{}, f), &f.trace), f
}

// sent reports whether the request may have left.
func (f *flight) sent() bool { return f.given || f.conns.Load() > 0 }

// repeated reports whether the transport sent the request more than once: an answer that Stripe gives before it looks at the key
// then says nothing of the earlier try.
func (f *flight) repeated() bool { return f.conns.Load() > 1 }

// wire is the RoundTripper beneath stripe-go.
type wire struct {
	next   http.RoundTripper
	traces bool // next reports each connection that it uses
}

// RoundTrip sends the request and notes what it learns.
//
// net/http repeats a request that carries an Idempotency-Key by itself when a kept-alive connection turns out to be dead. So the
// last error may be that of a dial although an earlier try has left: only the sticky count tells. And the answer may be a 429 to the second
// try while the first one captures: [hold.Answer].Repeated says so.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	f := req.Context().Value(flightKey{}).(*flight)
	f.given = !w.traces // before the call, so that it holds even if the transport panics
	res, err := w.next.RoundTrip(req)
	if err != nil {
		if isDial(err) {
			f.given = false
		}
		return nil, err
	}
	if res == nil {
		return nil, errNoResponse
	}
	f.status = res.StatusCode
	f.requestID = requestID(res.Header)
	f.replayed = res.Header.Get("Idempotent-Replayed") == "true"
	f.retry = res.Header.Get("Stripe-Should-Retry")
	f.mediaType = mediaType(res.Header)
	if d, ok := req.Context().Value(dateKey{}).(*string); ok { // whoever asks for the time, see inspect.go
		*d = res.Header.Get("Date")
	}
	if res.Body != nil {
		res.Body = &bounded{ReadCloser: res.Body, left: f.limit}
		if f.body != nil && res.StatusCode == http.StatusOK {
			f.take(res)
		}
	}
	return res, nil
}

var (
	errNoResponse = errors.New("the transport gave neither an answer nor an error")
	errTooLong    = errors.New("the answer is longer than any of Stripe's")
)

// bounded is a body of which at most left bytes are read. One more is an error and not an end: a cut body must not pass for a whole one.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), errTooLong
	}
	b.left -= int64(n)
	return n, err
}

// isDial reports whether err is that of a connection which never came to be.
func isDial(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

// requestID is Stripe's id of the request. Headers are as much from outside as bodies: what doesn't look like an id is dropped.
func requestID(h http.Header) string {
	id := h.Get("Request-Id")
	rest, ok := strings.CutPrefix(id, "req_")
	if !ok || rest == "" || len(rest) > 64 {
		return ""
	}
	for i := range len(rest) {
		if c := rest[i]; !letter(c|0x20) && !digit(c) && c != '_' && c != '-' {
			return ""
		}
	}
	return id
}

var mediaTypeForm = regexp.MustCompile(`^[a-z]{1,20}/[a-z0-9.+-]{1,40}$`)

func mediaType(h http.Header) string {
	given := h.Get("Content-Type")
	if given == "application/json" { // as every good answer of Stripe's
		return given
	}
	t, _, _ := mime.ParseMediaType(given)
	if !mediaTypeForm.MatchString(t) {
		return "of no known type"
	}
	return t
}

// statusText says an HTTP status in words.
func statusText(code int) string {
	if t := http.StatusText(code); t != "" {
		return strconv.Itoa(code) + " " + t
	}
	return strconv.Itoa(code)
}
