package stripesim

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
)

// Handler is Stripe's API as an HTTP handler. Dropped connections are real
// ones.
func (s *Sim) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := apiRequest{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, header: r.Header}
		c.body, c.tooLarge = readBody(r.Body)
		out := s.serve(r.Context(), c)
		switch {
		case out.err != nil, out.connDrop == dropBeforeExecution,
			out.connDrop == dropAfterExecution:
			panic(http.ErrAbortHandler)
		}
		for k, v := range out.header {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(out.body)))
		w.WriteHeader(out.status)
		if out.connDrop == dropMidBody {
			w.Write(out.body[:len(out.body)/2])
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			panic(http.ErrAbortHandler)
		}
		w.Write(out.body)
	})
}

func readBody(r io.Reader) (body []byte, tooLarge bool) {
	if r == nil {
		return nil, false
	}
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil || len(b) > maxBody {
		return nil, len(b) > maxBody
	}
	return b, false
}

// Transport is Stripe's API as an http.RoundTripper: no listener, no goroutine,
// any host. A request that is dropped gives ECONNRESET, a reply that is dropped
// io.ErrUnexpectedEOF; a context that ends gives its error, with the effect
// done or not as it happens.
func (s *Sim) Transport() http.RoundTripper { return transport{s} }

type transport struct{ sim *Sim }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := apiRequest{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, header: r.Header}
	if r.Body != nil {
		c.body, c.tooLarge = readBody(r.Body)
		r.Body.Close()
	}
	out := t.sim.serve(r.Context(), c)
	switch {
	case out.err != nil:
		return nil, out.err
	case out.connDrop == dropBeforeExecution:
		return nil, fmt.Errorf("stripesim: request dropped: %w", syscall.ECONNRESET)
	case out.connDrop == dropAfterExecution:
		return nil, fmt.Errorf("stripesim: reply dropped: %w", io.ErrUnexpectedEOF)
	}
	var body io.Reader = bytes.NewReader(out.body)
	if out.connDrop == dropMidBody {
		body = io.MultiReader(bytes.NewReader(out.body[:len(out.body)/2]), truncatedReader{})
	}
	return &http.Response{
		Status:     strconv.Itoa(out.status) + " " + http.StatusText(out.status),
		StatusCode: out.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: out.header,
		Body:          io.NopCloser(body),
		ContentLength: int64(len(out.body)), Request: r,
	}, nil
}

type truncatedReader struct{}

func (truncatedReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
