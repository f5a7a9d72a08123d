package stripesim

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
)

// newAPIRequest reads a request with its body.
func newAPIRequest(r *http.Request) apiRequest {
	c := apiRequest{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, header: r.Header}
	if r.Body != nil {
		c.body, c.tooLarge = readBody(r.Body)
	}
	return c
}

func readBody(r io.Reader) (body []byte, tooLarge bool) {
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil || len(b) > maxBody {
		return nil, len(b) > maxBody
	}
	return b, false
}

// httpHandler is apiServer as an http.Handler.
type httpHandler struct{ server *apiServer }

func (h httpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := h.server.serve(r.Context(), newAPIRequest(r))
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
}

// transport is apiServer as an http.RoundTripper.
type transport struct{ server *apiServer }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := newAPIRequest(r)
	if r.Body != nil {
		r.Body.Close()
	}
	out := t.server.serve(r.Context(), c)
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
