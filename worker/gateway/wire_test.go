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

// listen opens a port on loopback and hands each connection to serve, which may do with it what it likes.
func listen(t *testing.T, serve func(net.Conn)) (base string) {
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

// request reads one request and reports whether there was one.
func request(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, req.Body)
	return true
}

func write(c net.Conn, status, typ, body string) {
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: %s\r\nRequest-Id: req_A1b2C3\r\nContent-Length: %d\r\n\r\n%s", status, typ, len(body), body)
}

// TestRealConnections: what real sockets do, told apart by whether the request may have been read.
func TestRealConnections(t *testing.T) {
	closed := listen(t, func(net.Conn) {})
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	silent := listen(t, func(c net.Conn) { // takes connections and bytes, says nothing
		io.Copy(io.Discard, c)
	})
	ok := body("succeeded")
	for _, tt := range []struct {
		name, base string
		want       hold.AnswerKind
		message    string
		timeout    time.Duration // 0: long enough for a busy machine
	}{
		{"nobody listens", "http://" + dead.Addr().String(), hold.AnswerUnreachable, "connection refused", 0},
		{"closed at once", closed, hold.AnswerUnknown, "", 0},
		{"closed after the request", listen(t, func(c net.Conn) { request(bufio.NewReader(c)) }), hold.AnswerUnknown, "", 0},
		{"closed in the body", listen(t, func(c net.Conn) {
			if request(bufio.NewReader(c)) {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(ok), ok[:len(ok)/2])
			}
		}), hold.AnswerUnknown, "the connection broke before its end", 0},
		{"no HTTP", listen(t, func(c net.Conn) {
			if request(bufio.NewReader(c)) {
				fmt.Fprintf(c, "SSH-2.0 %s %s_secret_abc\r\n\r\n", testKey, intent)
			}
		}), hold.AnswerUnknown, "no HTTP", 0},
		{"endless headers", listen(t, func(c net.Conn) {
			if request(bufio.NewReader(c)) {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX: %s\r\n\r\n%s", strings.Repeat("x", 1<<20), ok)
			}
		}), hold.AnswerUnknown, "", 0},
		{"TLS handshake never ends", strings.Replace(silent, "http", "https", 1), hold.AnswerUnreachable, "", 300 * time.Millisecond},
		{"TLS to a port without", strings.Replace(listen(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}), "http", "https", 1), hold.AnswerUnreachable, "", 0},
		{"502 HTML", listen(t, func(c net.Conn) {
			for r := bufio.NewReader(c); request(r); {
				write(c, "502 Bad Gateway", "text/html", "<html>")
			}
		}), hold.AnswerUnknown, "502 Bad Gateway, body text/html", 0},
		{"429 text", listen(t, func(c net.Conn) {
			for r := bufio.NewReader(c); request(r); {
				write(c, "429 Too Many Requests", "text/plain", "slow down")
			}
		}), hold.AnswerRateLimited, "", 0},
		{"good", listen(t, func(c net.Conn) {
			for r := bufio.NewReader(c); request(r); {
				write(c, "200 OK", "application/json", ok)
			}
		}), hold.AnswerOK, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := open(t, gateway.Options{Base: tt.base, Timeout: tt.timeout})
			for op, call := range calls {
				a := g.Do(t.Context(), call)
				if a.Kind != tt.want || !strings.Contains(a.Message, tt.message) {
					t.Errorf("%s: %s %q, want %s %q", op, a.Kind, a.Message, tt.want, tt.message)
				}
				if strings.Contains(a.Message, "_secret_") || strings.Contains(a.Message, testKey) {
					t.Errorf("%s: %s", op, a.Message)
				}
			}
		})
	}
}

func TestUntrustedCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	a := open(t, gateway.Options{Base: s.URL}).Do(t.Context(), calls[hold.OpCapture])
	if a.Kind != hold.AnswerUnreachable || !strings.Contains(a.Message, "certificate") {
		t.Errorf("%+v", a)
	}
}

// TestStaleConnection: a kept-alive connection that was closed meanwhile. net/http sends the request again by itself, with the same
// key. If that can't be done either, the first try may all the same have arrived, though the last error is that of a dial.
func TestStaleConnection(t *testing.T) {
	var conns, requests atomic.Int32
	base := listen(t, func(c net.Conn) {
		first := conns.Add(1) == 1
		r := bufio.NewReader(c)
		if request(r) {
			requests.Add(1)
			write(c, "200 OK", "application/json", body("succeeded"))
		}
		if first && request(r) { // takes a second request and hangs up
			requests.Add(1)
		}
	})
	g := open(t, gateway.Options{Base: base})
	if a := g.Do(t.Context(), calls[hold.OpCapture]); a.Kind != hold.AnswerOK {
		t.Fatalf("%+v", a)
	}
	if a := g.Do(t.Context(), calls[hold.OpCapture]); a.Kind != hold.AnswerOK {
		t.Errorf("not sent again: %+v", a)
	}
	if conns.Load() != 2 || requests.Load() != 3 {
		t.Errorf("%d connections, %d requests", conns.Load(), requests.Load())
	}

	pool := &http.Transport{}
	defer pool.CloseIdleConnections()
	for name, next := range map[string]http.RoundTripper{"own pool": nil, "wrapped pool": transport(pool.RoundTrip)} {
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
			request(r)
			write(c, "200 OK", "application/json", body("requires_capture"))
			request(r)
		})
		g := open(t, gateway.Options{Base: "http://" + l.Addr().String(), Transport: next})
		if a := g.Do(t.Context(), calls[hold.OpRead]); a.Kind != hold.AnswerOK {
			t.Fatalf("%s: %+v", name, a)
		}
		if a := g.Do(t.Context(), calls[hold.OpCapture]); a.Kind != hold.AnswerUnknown || !strings.Contains(a.Message, "refused") {
			t.Errorf("%s: a dial's error hid that the request had left: %+v", name, a)
		}
		wg.Wait()
	}
}

// TestWaitForConnectionIsUnreachable: with every connection busy, a call that runs out of time was never sent.
func TestWaitForConnectionIsUnreachable(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		arrived <- struct{}{}
		<-release
		io.WriteString(w, body("succeeded"))
	}))
	defer s.Close()
	g := open(t, gateway.Options{Base: s.URL, Transport: &http.Transport{MaxConnsPerHost: 1}})
	first := make(chan hold.Answer)
	go func() { first <- g.Do(context.Background(), calls[hold.OpCapture]) }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if a := g.Do(ctx, calls[hold.OpCancel]); a.Kind != hold.AnswerUnreachable {
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

// TestContextEndsAfterSending, over HTTP/1.1 and HTTP/2.
func TestContextEndsAfterSending(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		arrived := make(chan struct{})
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if h2 != (r.ProtoMajor == 2) {
				t.Errorf("spoken: %s", r.Proto)
			}
			arrived <- struct{}{}
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // a 200 could still be heard by a caller that is about to go
		}))
		s.EnableHTTP2 = h2
		s.Config.ErrorLog = quiet()
		s.StartTLS()
		g := open(t, gateway.Options{Base: s.URL, Transport: s.Client().Transport})
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan hold.Answer)
		go func() { answer <- g.Do(ctx, calls[hold.OpCapture]) }()
		<-arrived
		cancel()
		if a := <-answer; a.Kind != hold.AnswerUnknown || a.Message != "no answer: the caller went away" {
			t.Errorf("HTTP/2 %t: %+v", h2, a)
		}
		s.Close()
	}
}

// TestConnectionsAreKept: many captures at once share a pool of the size that was asked for.
func TestConnectionsAreKept(t *testing.T) {
	const concurrency, captures, workers = 64, 5000, 50
	var conns atomic.Int32
	ok := body("succeeded")
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
	g := open(t, gateway.Options{Base: s.URL, Concurrency: concurrency})
	var wg sync.WaitGroup
	var left atomic.Int32
	left.Store(captures)
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if a := g.Do(t.Context(), calls[hold.OpCapture]); a.Kind != hold.AnswerOK {
					t.Errorf("%+v", a)
				}
			}
		})
	}
	wg.Wait()
	// While a connection goes back to the pool its worker may already dial the next one, so a few more than workers is fair. None
	// is ever closed, so the pool's size bounds what was opened: those for calls and a few for reads.
	if n := conns.Load(); n > concurrency+8 {
		t.Errorf("%d connections for %d workers", n, workers)
	} else {
		t.Logf("%d connections for %d captures by %d workers", n, captures, workers)
	}
}
