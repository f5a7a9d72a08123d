package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

// serveConns listens on loopback and calls serve with each connection.
func serveConns(t *testing.T, serve func(net.Conn)) (base string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}

// readRequest reads one request and reports whether it could.
func readRequest(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, req.Body)
	return true
}

func writeResponse(c net.Conn, status, typ, body string) {
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: %s\r\nRequest-Id: req_A1b2C3\r\n"+
		"Content-Length: %d\r\n\r\n%s", status, typ, len(body), body)
}

// TestTransport_ConnectionFailures classifies failures of real sockets by
// whether the server may have read the request.
func TestTransport_ConnectionFailures(t *testing.T) {
	closed := serveConns(t, func(net.Conn) {})
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	silent := serveConns(t, func(c net.Conn) { // reads and never answers
		io.Copy(io.Discard, c)
	})
	ok := intentBody("succeeded")
	for _, tt := range []struct {
		name, base string
		want       hold.AnswerKind
		message    string
		timeout    time.Duration // 0 means the default
	}{
		{"no listener", "http://" + dead.Addr().String(), hold.AnswerUnreachable,
			"connection refused", 0},
		{"closed at once", closed, hold.AnswerUnknown, "", 0},
		{"closed after the request", serveConns(t, func(c net.Conn) {
			readRequest(bufio.NewReader(c))
		}), hold.AnswerUnknown, "", 0},
		{"closed in the body", serveConns(t, func(c net.Conn) {
			if readRequest(bufio.NewReader(c)) {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s",
					len(ok), ok[:len(ok)/2])
			}
		}), hold.AnswerUnknown, "the connection broke before its end", 0},
		{"not HTTP", serveConns(t, func(c net.Conn) {
			if readRequest(bufio.NewReader(c)) {
				fmt.Fprintf(c, "SSH-2.0 %s %s_secret_abc\r\n\r\n", testAPIKey, testIntentID)
			}
		}), hold.AnswerUnknown, "not HTTP", 0},
		{"endless headers", serveConns(t, func(c net.Conn) {
			if readRequest(bufio.NewReader(c)) {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX: %s\r\n\r\n%s", strings.Repeat("x", 1<<20), ok)
			}
		}), hold.AnswerUnknown, "", 0},
		{"TLS handshake never ends", strings.Replace(silent, "http", "https", 1),
			hold.AnswerUnreachable, "", 300 * time.Millisecond},
		{"TLS to a port without", strings.Replace(serveConns(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}), "http", "https", 1), hold.AnswerUnreachable, "", 0},
		{"502 HTML", serveConns(t, func(c net.Conn) {
			for r := bufio.NewReader(c); readRequest(r); {
				writeResponse(c, "502 Bad Gateway", "text/html", "<html>")
			}
		}), hold.AnswerUnknown, "502 Bad Gateway, body text/html", 0},
		{"429 text", serveConns(t, func(c net.Conn) {
			for r := bufio.NewReader(c); readRequest(r); {
				writeResponse(c, "429 Too Many Requests", "text/plain", "slow down")
			}
		}), hold.AnswerRateLimited, "", 0},
		{"good", serveConns(t, func(c net.Conn) {
			for r := bufio.NewReader(c); readRequest(r); {
				writeResponse(c, "200 OK", "application/json", ok)
			}
		}), hold.AnswerOK, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, gateway.Options{BaseURL: tt.base, Timeout: tt.timeout})
			for op, call := range callsByOp {
				a := g.Do(t.Context(), call)
				if a.Kind != tt.want || !strings.Contains(a.Message, tt.message) {
					t.Errorf("%s: %s %q, want %s %q", op, a.Kind, a.Message, tt.want, tt.message)
				}
				if strings.Contains(a.Message, "_secret_") ||
					strings.Contains(a.Message, testAPIKey) {
					t.Errorf("%s: %s", op, a.Message)
				}
			}
		})
	}
}

func TestTransport_UntrustedCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request came through")
	}))
	s.Config.ErrorLog = discardLogger()
	s.StartTLS()
	defer s.Close()
	a := newGateway(t, gateway.Options{BaseURL: s.URL}).Do(t.Context(), callsByOp[hold.OpCapture])
	if a.Kind != hold.AnswerUnreachable || !strings.Contains(a.Message, "certificate") {
		t.Errorf("%+v", a)
	}
}

// TestTransport_StaleConnection sends over a kept-alive connection that the
// server closes. net/http sends the request again with the same key. If that
// fails with a dial error, the first try may still have reached the server.
func TestTransport_StaleConnection(t *testing.T) {
	var conns, requests atomic.Int32
	base := serveConns(t, func(c net.Conn) {
		first := conns.Add(1) == 1
		r := bufio.NewReader(c)
		if readRequest(r) {
			requests.Add(1)
			writeResponse(c, "200 OK", "application/json", intentBody("succeeded"))
		}
		if first && readRequest(r) { // reads a second request and closes
			requests.Add(1)
		}
	})
	g := newGateway(t, gateway.Options{BaseURL: base})
	if a := g.Do(t.Context(), callsByOp[hold.OpCapture]); a.Kind != hold.AnswerOK {
		t.Fatalf("%+v", a)
	}
	if a := g.Do(t.Context(), callsByOp[hold.OpCapture]); a.Kind != hold.AnswerOK {
		t.Errorf("not sent again: %+v", a)
	}
	if conns.Load() != 2 || requests.Load() != 3 {
		t.Errorf("%d connections, %d requests", conns.Load(), requests.Load())
	}

	pool := &http.Transport{}
	defer pool.CloseIdleConnections()
	for name, next := range map[string]http.RoundTripper{
		"own pool": nil, "wrapped pool": roundTripFunc(pool.RoundTrip),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			l.Close() // no other connection
			r := bufio.NewReader(c)
			readRequest(r)
			writeResponse(c, "200 OK", "application/json", intentBody("requires_capture"))
			readRequest(r)
		})
		g := newGateway(t, gateway.Options{BaseURL: "http://" + l.Addr().String(), Transport: next})
		if a := g.Do(t.Context(), callsByOp[hold.OpRead]); a.Kind != hold.AnswerOK {
			t.Fatalf("%s: %+v", name, a)
		}
		a := g.Do(t.Context(), callsByOp[hold.OpCapture])
		if a.Kind != hold.AnswerUnknown || !strings.Contains(a.Message, "refused") {
			t.Errorf("%s: a dial error hid that the request was sent: %+v", name, a)
		}
		wg.Wait()
	}
}

// writeCountingConn counts the writes to a connection.
type writeCountingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c writeCountingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// Each request has the length of its body, so that net/http sends it in one
// write.
func TestTransport_SendsRequestInOneWrite(t *testing.T) {
	requests := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		requests <- r
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, intentBody("succeeded"))
	}))
	defer s.Close()
	var writes atomic.Int32
	g := newGateway(t, gateway.Options{BaseURL: s.URL, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return writeCountingConn{c, &writes}, err
		},
	}})
	part := callsByOp[hold.OpCapture]
	part.Amount = 900
	for _, tt := range []struct {
		call hold.Call
		body string
	}{
		{callsByOp[hold.OpCapture], ""},
		{part, "amount_to_capture=900"},
		{callsByOp[hold.OpRead], ""},
	} {
		writes.Store(0)
		g.Do(t.Context(), tt.call)
		r := <-requests
		if n := writes.Load(); n != 1 || r.PostForm.Encode() != tt.body ||
			r.ContentLength != int64(len(tt.body)) || len(r.TransferEncoding) > 0 {
			t.Errorf("%s %q: %d writes, length %d, body %q, encoding %q", r.Method, tt.body, n,
				r.ContentLength, r.PostForm.Encode(), r.TransferEncoding)
		}
	}
}

// TestTransport_TimeoutWaitingForConnection checks that a call is unreachable
// if it times out while all connections are busy.
func TestTransport_TimeoutWaitingForConnection(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		arrived <- struct{}{}
		<-release
		io.WriteString(w, intentBody("succeeded"))
	}))
	defer s.Close()
	g := newGateway(t, gateway.Options{BaseURL: s.URL,
		Transport: &http.Transport{MaxConnsPerHost: 1}})
	first := make(chan hold.Answer)
	go func() { first <- g.Do(context.Background(), callsByOp[hold.OpCapture]) }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if a := g.Do(ctx, callsByOp[hold.OpCancel]); a.Kind != hold.AnswerUnreachable {
		t.Errorf("%+v", a)
	}
	close(release)
	if a := <-first; a.Kind != hold.AnswerOK {
		t.Errorf("%+v", a)
	}
	if n.Load() != 1 {
		t.Errorf("%d requests", n.Load())
	}
}

// TestTransport_CanceledAfterSending cancels a call over HTTP/1.1 and HTTP/2.
func TestTransport_CanceledAfterSending(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		arrived := make(chan struct{})
		s := httptest.NewUnstartedServer(
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if h2 != (r.ProtoMajor == 2) {
					t.Errorf("protocol %s", r.Proto)
				}
				arrived <- struct{}{}
				<-r.Context().Done()
				panic(http.ErrAbortHandler) // a 200 could still reach the caller
			}))
		s.EnableHTTP2 = h2
		s.Config.ErrorLog = discardLogger()
		s.StartTLS()
		g := newGateway(t, gateway.Options{BaseURL: s.URL, Transport: s.Client().Transport})
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan hold.Answer)
		go func() { answer <- g.Do(ctx, callsByOp[hold.OpCapture]) }()
		<-arrived
		cancel()
		if a := <-answer; a.Kind != hold.AnswerUnknown ||
			a.Message != "no answer: the caller canceled" {
			t.Errorf("HTTP/2 %t: %+v", h2, a)
		}
		s.Close()
	}
}

// TestTransport_ReusesConnections checks that concurrent captures share a pool
// of the configured size.
func TestTransport_ReusesConnections(t *testing.T) {
	const concurrency, captures, workers = 64, 5000, 50
	var conns atomic.Int32
	ok := intentBody("succeeded")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, ok)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	g := newGateway(t, gateway.Options{BaseURL: s.URL, Concurrency: concurrency})
	var wg sync.WaitGroup
	var left atomic.Int32
	left.Store(captures)
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if a := g.Do(t.Context(), callsByOp[hold.OpCapture]); a.Kind != hold.AnswerOK {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	wg.Wait()
	// A worker may dial while its last connection still goes back to the pool,
	// so there may be a few more connections than workers. None is closed, so
	// the pool's size bounds them.
	if n := conns.Load(); n > concurrency+8 {
		t.Errorf("%d connections for %d workers", n, workers)
	} else {
		t.Logf("%d connections for %d captures by %d workers", n, captures, workers)
	}
}
