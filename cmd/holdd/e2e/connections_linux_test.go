package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	// Each event is answered within maxAnswer. The flood itself makes a replica
	// wait for the CPU about as long as it runs. One that waits twice as long,
	// because the machine has other work, cannot accept connections as fast as
	// the flood connects: then half of the events are, and each within
	// maxStarvedAnswer.
	maxAnswer         = time.Second
	maxStarvedAnswer  = 10 * time.Second
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

// cpuTimes returns how long the threads of a process ran, and how long they
// were ready to run and waited for a CPU.
func cpuTimes(t *testing.T, pid int) (ran, waited time.Duration) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		var r, w time.Duration
		if _, err := fmt.Sscan(string(text), (*int64)(&r), (*int64)(&w)); err != nil {
			t.Fatalf("%s: %q", path, text)
		}
		ran, waited = ran+r, waited+w
	}
	return ran, waited
}

// floodedReplica is a replica that gets signed events during a flood.
type floodedReplica struct {
	*replica
	intent  string
	stalls  func() time.Duration
	times   []time.Duration // of the answers
	largest int64           // bytes resident
}

// sendEvent sends a new signed event on a new connection.
func (r *floodedReplica) sendEvent(t *testing.T, when string) {
	t.Helper()
	body := fmt.Appendf(nil, `{"id":"evt_flood%d","object":"event","type":"charge.captured",`+
		`"created":1,"livemode":false,"data":{"object":{"object":"charge",`+
		`"payment_intent":%q}}}`, len(r.times), r.intent)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	began, before := time.Now(), r.stalls()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost,
		r.url+api.WebhookPath, strings.NewReader(string(body)))
	req.Header.Set("Stripe-Signature", stripesim.Sign(body, time.Now(), signingSecret))
	res, err := client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s: a signed event got %d", when, res.StatusCode)
	}
	r.times = append(r.times, time.Since(began)-(r.stalls()-before))
	r.largest = max(r.largest, residentBytes(t, r.pid()))
}

// checkTimes checks how long the answers took while the replica ran for one
// time and waited for the CPU for another.
func (r *floodedReplica) checkTimes(t *testing.T, ran, waited time.Duration) {
	t.Helper()
	if len(r.times) == 0 {
		t.Fatal("no event was answered")
	}
	slices.Sort(r.times)
	median, longest := r.times[len(r.times)/2], r.times[len(r.times)-1]
	t.Logf("%d events: the median answer took %s, the longest %s; %.1f MiB resident at most; "+
		"ran for %s, and waited for the CPU for %s", len(r.times), median, longest,
		float64(r.largest)/(1<<20), ran, waited)
	limit := maxAnswer
	if waited > 2*ran {
		limit = maxStarvedAnswer
	}
	if longest > limit || median > maxAnswer {
		t.Errorf("the median answer took %s, the longest %s, want %s and %s at most", median,
			longest, maxAnswer, limit)
	}
}

// Ten thousand connections that send half of their headers, and a thousand
// whose bodies trickle, neither fill the memory nor keep out Stripe's events.
func TestFlood_EventsAreAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := &floodedReplica{replica: w.startReplica(binaryPath(t, buildRelease), webhookSettings...),
		stalls: measureMachineStalls(t)}
	w.waitForFirstReconcile(r.replica)
	addr := strings.TrimPrefix(r.url, "http://")
	r.intent = w.authorizeHold(stripesim.Hold{Amount: 10_000})
	ranBefore, waitedBefore := cpuTimes(t, r.pid())
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
			r.sendEvent(t, "during "+flood.name)
		}
		for range 5 {
			r.sendEvent(t, "after "+flood.name)
		}
	}
	ran, waited := cpuTimes(t, r.pid())
	r.checkTimes(t, ran-ranBefore, waited-waitedBefore)
	if r.largest > maxFloodRSS {
		t.Errorf("%d bytes resident, want %d at most", r.largest, maxFloodRSS)
	}
	if n := metricValue(t, r.replica, "holdd_api_connections_closed_total", http.Header{}); n < 5000 {
		t.Errorf("%v connections closed", n)
	}
}
