package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	halfSentHeaders  = 10_000
	trickledWebhooks = 1_000
	maxFloodRSS      = 96 << 20
	// An event is answered within medianAnswer. On a busy machine a connection
	// may wait longer for its turn in the flood, and Stripe for ten times that.
	medianAnswer      = time.Second
	longestAnswer     = 10 * time.Second
	floodHeaders      = "GET /v1/holds HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
	floodWebhook      = "POST " + api.WebhookPath + " HTTP/1.1\r\nHost: localhost\r\nStripe-Signature: t=1,v1=00\r\nContent-Length: 1000000\r\n\r\n"
	connectionSenders = 4
)

// openFlood opens n connections from several addresses of this machine and
// sends each the beginning of a request.
func openFlood(t *testing.T, addr string, n int, text string) {
	t.Helper()
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range connectionSenders {
		wg.Go(func() {
			for i := range numbers {
				from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%100))}
				d := net.Dialer{LocalAddr: from, Timeout: processTimeout}
				c, err := d.DialContext(t.Context(), "tcp", addr)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					continue
				}
				t.Cleanup(func() { c.Close() })
				_, _ = io.WriteString(c, text) // holdd may have closed it already
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
}

// Ten thousand connections that send half of their headers, and a thousand
// whose bodies trickle, neither fill the memory nor keep out Stripe's events.
func TestFlood_EventsAreAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease), webhookSettings...)
	w.waitForFirstReconcile(r)
	addr := strings.TrimPrefix(r.url, "http://")
	pi := w.authorizeHold(stripesim.Hold{Amount: 10_000})
	stalls := measureMachineStalls(t)
	number, largest := 0, int64(0)
	var times []time.Duration
	sendEvent := func(when string) {
		t.Helper()
		number++
		body := fmt.Appendf(nil, `{"id":"evt_flood%d","object":"event","type":"charge.captured",`+
			`"created":1,"livemode":false,"data":{"object":{"object":"charge",`+
			`"payment_intent":%q}}}`, number, pi)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		began, before := time.Now(), stalls()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost,
			r.url+api.WebhookPath, strings.NewReader(string(body)))
		req.Header.Set("Stripe-Signature", stripesim.Sign(body, time.Now(), signingSecret))
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", when, err)
			return
		}
		res.Body.Close()
		took := time.Since(began) - (stalls() - before)
		times = append(times, took)
		if res.StatusCode != http.StatusOK || took > longestAnswer {
			t.Errorf("%s: a signed event got %d after %s", when, res.StatusCode, took)
		}
		largest = max(largest, residentBytes(t, r.pid()))
	}
	for _, flood := range []struct {
		name, text string
		n          int
	}{
		{"half-sent headers", floodHeaders + strings.Repeat("x", 4000), halfSentHeaders},
		{"trickled bodies", floodWebhook + strings.Repeat("x", 1000), trickledWebhooks},
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			openFlood(t, addr, flood.n, flood.text)
		}()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			default:
			}
			sendEvent("during " + flood.name)
		}
		for range 5 {
			sendEvent("after " + flood.name)
		}
	}
	slices.Sort(times)
	if len(times) == 0 {
		t.Fatal("no event was answered")
	}
	median, longest := times[len(times)/2], times[len(times)-1]
	t.Logf("%d events: the median answer took %s, the longest %s; %.1f MiB resident at most",
		number, median, longest, float64(largest)/(1<<20))
	if median > medianAnswer {
		t.Errorf("the median answer took %s, want %s at most", median, medianAnswer)
	}
	if largest > maxFloodRSS {
		t.Errorf("%d bytes resident, want %d at most", largest, maxFloodRSS)
	}
	if n := metricValue(t, r, "holdd_api_connections_closed_total", http.Header{}); n < 5000 {
		t.Errorf("%v connections closed", n)
	}
}
