package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// startLimitedServer serves an API behind a limiter, as the daemon does.
func startLimitedServer(t *testing.T, o api.Options) *api.ConnectionLimiter {
	t.Helper()
	a, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := api.LimitConnections(inner)
	s := api.NewHTTPServer(a, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-served })
	return l
}

func dialServer(t *testing.T, l net.Listener, sends string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, sends); err != nil {
		t.Fatal(err)
	}
	return c
}

// Connections that have proved nothing make room for new ones. One whose
// request is served stays, and so does one that is idle after it.
func TestLimitConnections_ClosesUnprovenFirst(t *testing.T) {
	applying, release := make(chan struct{}), make(chan struct{})
	l := startLimitedServer(t, api.Options{Holds: holdsOf(newFakeHolds()),
		Webhook: newTestWebhook(func(context.Context, hold.StripeEvent) (string, error) {
			applying <- struct{}{}
			<-release
			return "queued", nil
		})})
	url := "http://" + l.Addr().String()
	transport := &http.Transport{}
	idle := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	read := func() {
		t.Helper()
		res, err := idle.Get(url + "/v1/holds")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("status %d", res.StatusCode)
		}
	}
	read()
	served := make(chan response, 1)
	go func() { served <- postWebhook(t, url, "evt", "good") }()
	<-applying
	for range 1500 {
		dialServer(t, l, "GET /v1/holds HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	}
	read() // on the idle connection
	if a := postWebhook(t, url, "evt", "bad"); a.status != 400 {
		t.Errorf("a new connection: %d", a.status) // accepted after all others
	}
	close(release)
	if a := <-served; a.status != 200 {
		t.Errorf("the event in progress: %d %s", a.status, a.body)
	}
	if n := l.ClosedConnections(); n < 900 || n > 1100 {
		t.Errorf("%d connections closed, want about 990: one address has at most 512", n)
	}
}

// A token cannot take the slots of the others.
func TestServeHTTP_SlotsPerToken(t *testing.T) {
	m := newFakeHolds()
	m.addHold(t, testHoldID)
	m.blockGet, m.getBlocked = make(chan struct{}), make(chan struct{}, 8)
	s, _ := startServer(t, api.Options{Holds: holdsOf(m), MaxInFlight: 4,
		Tokens: parseTestTokens(t), RequestTimeout: time.Minute})
	get := func(token, path string) int {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return doRequest(t, r).status
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { get(operateToken, "/v1/holds/"+testHoldID) })
	}
	for range 3 {
		<-m.getBlocked
	}
	done := make(chan int, 1)
	go func() { done <- get(readToken, "/v1/holds") }()
	select {
	case status := <-done:
		if status != 200 {
			t.Errorf("status %d", status)
		}
	case <-time.After(10 * time.Second):
		t.Error("another token waits for the slots of the first")
	}
	close(m.blockGet)
	wg.Wait()
}

// Bodies that arrive slowly have no slot, and large ones have a bound in all.
func TestReadBody_TakesNoSlot(t *testing.T) {
	l := startLimitedServer(t, api.Options{Holds: holdsOf(newFakeHolds()), MaxInFlight: 1,
		Webhook: newTestWebhook(func(context.Context, hold.StripeEvent) (string, error) {
			return "queued", nil
		})})
	url := "http://" + l.Addr().String()
	slow := dialServer(t, l, "POST /v1/holds HTTP/1.1\r\nHost: localhost\r\n"+
		"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	if a := sendRequest(t, "GET", url+"/v1/holds", ""); a.status != 200 {
		t.Errorf("while a body trickles: %d", a.status)
	}
	// 40 events of nearly 1 MiB each are more than all bodies may have.
	large := strings.Repeat("x", 1<<20-1)
	for range 40 {
		dialServer(t, l, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nStripe-Signature: bad\r\n"+
			"Content-Length: %d\r\n\r\n%s", api.WebhookPath, 1<<20, large))
	}
	if a := postWebhook(t, url, "evt", "good"); a.status != 200 {
		t.Errorf("a small event among large ones: %d %s", a.status, a.body)
	}
	if a := postWebhook(t, url, large, "good"); a.status != 503 && a.status != 200 {
		t.Errorf("a large event among large ones: %d %s", a.status, a.body)
	}
	began := time.Now()
	line := make([]byte, 64)
	n, _ := slow.Read(line)
	if took := time.Since(began); !strings.Contains(string(line[:n]), " 408 ") ||
		took > 5*time.Second {
		t.Errorf("after %s: %q", took, line[:n])
	}
}

func TestNewServer_HeaderSize(t *testing.T) {
	l := startLimitedServer(t, api.Options{Holds: holdsOf(newFakeHolds())})
	for size, want := range map[int]int{7 << 10: 200, 13 << 10: 431} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet,
			"http://"+l.Addr().String()+"/v1/holds", nil)
		r.Header.Set("X-Large", strings.Repeat("x", size))
		if a := doRequest(t, r); a.status != want {
			t.Errorf("%d bytes: %d, want %d", size, a.status, want)
		}
	}
}
