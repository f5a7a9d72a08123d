package e2e_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	readToken    = "e2e-read-0123456789abcdef0123456789"
	operateToken = "e2e-operate-0123456789abcdef0123456"
)

// metricValue is a value of /metrics.
func metricValue(tb testing.TB, r *replica, name string, header http.Header) float64 {
	tb.Helper()
	a := sendRaw(tb, r, http.MethodGet, "/metrics", header, nil, false)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (.+)$`).FindStringSubmatch(a.text)
	if m == nil {
		tb.Fatalf("there is no metric %s: %d", name, a.status)
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(m[1]), 64)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// A request without a token, with a wrong one or with one for reading changes
// nothing and is counted. Stripe's webhooks need no token.
func TestTokens_EveryEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	file := writeTempFile(t, "tokens", "board read "+readToken+"\ndesk operate "+operateToken+"\n")
	r := w.startReplica(binaryPath(t, buildRelease), append(webhookSettings, "HOLDD_TOKENS_FILE="+
		file, "HOLDD_SCHEDULE_RECONCILE=@every 5h", "HOLDD_SCHEDULE_REPORT=@every 1h")...)
	w.waitForFirstReconcile(r)
	pi := w.authorizeHold(stripesim.Hold{Amount: 10_000})
	with := func(token string) http.Header {
		h := http.Header{"Idempotency-Key": {"click-0001"}}
		if token != "" {
			h.Set("Authorization", "Bearer "+token)
		}
		return h
	}
	card := `{"payment_method":"pm_card_visa","amount":12500,"currency":"eur"}`
	req := `{"payment_intent":"` + pi + `"}`
	before := w.dumpRedis()
	refused := 0
	for _, c := range []struct {
		method, path, body, token string
		status                    int
		code                      hold.ProblemCode
	}{
		{"POST", "/v1/holds", req, "", 401, api.TokenRequired},
		{"POST", "/v1/holds", req, readToken, 403, api.TokenReadOnly},
		{"POST", "/v1/holds:batch", `{"holds":[` + req + `]}`, readToken, 403, api.TokenReadOnly},
		{"POST", "/v1/authorizations", card, "", 401, api.TokenRequired},
		{"POST", "/v1/authorizations", card, operateToken + "x", 401, api.TokenInvalid},
		{"POST", "/v1/authorizations", card, operateToken[:len(operateToken)-1], 401,
			api.TokenInvalid},
		{"POST", "/v1/authorizations", card, readToken, 403, api.TokenReadOnly},
		{"POST", "/v1/authorizations/" + pi + "/confirm", "", readToken, 403, api.TokenReadOnly},
		{"POST", "/v1/reconcile", "", "", 401, api.TokenRequired},
		{"POST", "/v1/holds/" + pi + "/repair", "", readToken, 403, api.TokenReadOnly},
		{"DELETE", "/v1/holds/" + pi + "/personal_data", "", "", 401, api.TokenRequired},
		{"DELETE", "/v1/holds/" + pi + "/personal_data", "", readToken, 403, api.TokenReadOnly},
		{"POST", "/v1/reconcile", `{"dry_run":true}`, readToken, 403, api.TokenReadOnly},
		{"GET", "/v1/reconcile", "", "", 401, api.TokenRequired},
		{"GET", "/metrics", "", "", 401, api.TokenRequired},
	} {
		checkProblem(t, c.method+" "+c.path+" with "+c.token, sendRaw(t, r, c.method, c.path,
			with(c.token), []byte(c.body), false), c.status, c.code)
		refused++
	}
	if after := w.dumpRedis(); !maps.Equal(before, after) {
		t.Error("somebody without the right token changed something")
	}
	if n := len(w.countAuthorizations()); n != 1 {
		t.Errorf("%d cards were authorized, and one by Stripe's own page", n)
	}
	if n := metricValue(t, r, "holdd_api_unauthorized_total", with(readToken)); n != float64(
		refused) {
		t.Errorf("%v refusals are counted, and there were %d", n, refused)
	}
	if a := sendRaw(t, r, "GET", "/v1/reconcile", with(readToken), nil, false); a.status != 200 {
		t.Errorf("a look with a token that may read: %d %s", a.status, a.text)
	}
	if a := sendRaw(t, r, "POST", "/v1/authorizations", with(operateToken), []byte(card),
		false); a.status != 201 {
		t.Errorf("a card with a token that may: %d %s", a.status, a.text)
	}
	body := fmt.Appendf(
		nil, `{"id":"evt_1","object":"event","type":"charge.captured","created":1,"livemode":false,"data":{"object":{"object":"charge","payment_intent":%q}}}`, pi)
	if status, text := postWebhook(t, r, body, stripesim.Sign(body, time.Now(),
		signingSecret)); status != 200 {
		t.Errorf("an event, without a token: %d %s", status, text)
	}
}

// Only a webhook with a recent signature by one of the secrets is accepted. Any
// other changes nothing and is counted.
func TestWebhook_InvalidSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease),
		append(webhookSettings, "HOLDD_SCHEDULE_RECONCILE=@every 5h",
			"HOLDD_SCHEDULE_REPORT=@every 1h")...)
	w.waitForFirstReconcile(r)
	pi := w.authorizeHold(stripesim.Hold{Amount: 10_000})
	w.scheduleAll(
		r, []hold.ScheduleRequest{{PaymentIntent: pi, CaptureAt: formatTime(afterNow(48 * time.Hour))}})
	storetest.WaitUntil(t, processTimeout, "it is met with Stripe, and mirrored", func() bool {
		v := w.listByState(r, hold.Scheduled)[pi]
		return v.Verified && v.Mirrored
	})
	event := fmt.Appendf(
		nil, `{"id":"evt_1","object":"event","type":"payment_intent.canceled","created":1,"livemode":false,"data":{"object":{"id":%q,"object":"payment_intent","status":"canceled","amount":10000,"currency":"eur","created":1}}}`, pi)
	large := append(bytes.TrimSuffix(bytes.Clone(event), []byte("}")),
		[]byte(`,"x":"`+strings.Repeat("x", 1<<20)+`"}`)...)
	now := time.Now()
	before := w.dumpRedis()
	rejected := 0
	for _, c := range []struct {
		what, signature string
		body            []byte
		status          int
		code            hold.ProblemCode
	}{
		{"no signature", "", event, 400, "invalid_signature"},
		{"no signature in the header", "x", event, 400, "invalid_signature"},
		{"no secret of ours", stripesim.Sign(event, now, "whsec_of_somebody_else"), event,
			400, "invalid_signature"},
		{"an empty secret", stripesim.Sign(event, now, ""), event, 400, "invalid_signature"},
		{"both secrets as one", stripesim.Sign(event, now, "whsec_e2e_the_old_one,"+signingSecret),
			event, 400, "invalid_signature"},
		{"a signature of ten minutes ago", stripesim.Sign(event, now.Add(-10*time.Minute),
			signingSecret), event, 400, "invalid_signature"},
		{"another body", stripesim.Sign(event, now, signingSecret), append(bytes.Clone(event), ' '),
			400, "invalid_signature"},
		{"a time that was changed", strings.Replace(stripesim.Sign(event, now.Add(-10*time.Minute),
			signingSecret), "t=", fmt.Sprintf("t=%d,t=", now.Unix()), 1), event,
			400, "invalid_signature"},
		{"five thousand bytes of signatures",
			strings.Repeat(stripesim.Sign(event, now, "whsec_of_somebody_else")+",", 60), event,
			400, "invalid_signature"},
		{"a body over 1 MiB", stripesim.Sign(large, now, signingSecret),
			large, 413, "body_too_large"},
	} {
		h := http.Header{}
		if c.signature != "" {
			h.Set("Stripe-Signature", c.signature)
		}
		for _, chunked := range []bool{false, true} {
			checkProblem(t, c.what, sendRaw(t, r, http.MethodPost, api.WebhookPath, h, c.body,
				chunked), c.status, c.code)
			if c.status == 400 {
				rejected++
			}
		}
	}
	if after := w.dumpRedis(); !maps.Equal(before, after) {
		t.Error("a forged event changed something")
	}
	if n := metricValue(t, r, "holdd_webhooks_invalid_signature_total", http.Header{}); n != float64(rejected) {
		t.Errorf("%v forged ones are counted, and there were %d", n, rejected)
	}
	storetest.WaitUntil(t, processTimeout, "the log tells of refusals", func() bool { return r.log.countLines("webhook rejected: invalid signature") > 0 })
	if n := r.log.countLines("webhook rejected: invalid signature"); n > 2 {
		t.Errorf("%d lines tell of %d refusals", n, rejected)
	}
	// Both secrets are good while one is being replaced. Stripe did not cancel
	// the payment, so the event only leads to a read.
	for _, secret := range []string{signingSecret, "whsec_e2e_the_old_one"} {
		reads := w.countRequests(stripesim.ClassRetrieve)
		if status, text := postWebhook(t, r, event, stripesim.Sign(event, time.Now(),
			secret)); status != 200 {
			t.Errorf("%d %s", status, text)
		}
		storetest.WaitUntil(t, processTimeout, "the event leads to a read", func() bool {
			return w.countRequests(stripesim.ClassRetrieve) > reads
		})
	}
	if v := w.listByState(r, hold.Scheduled); len(v) != 1 {
		t.Errorf("scheduled: %+v", v)
	}
}

// holdd cuts off slow connections, endless headers and floods. Its memory stays
// small, and it serves other clients meanwhile.
func TestAPI_SlowClientsAndFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease), webhookSettings...)
	addr := strings.TrimPrefix(r.url, "http://")
	dial := func() net.Conn {
		t.Helper()
		c, err := net.DialTimeout("tcp", addr, processTimeout)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var worst time.Duration
	stalls := measureMachineStalls(t)
	served := func(when string) {
		t.Helper()
		began, before := time.Now(), stalls()
		if _, err := r.client.GetReadiness(t.Context()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := r.client.List(t.Context(), api.ListQuery{}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		took := time.Since(began) - (stalls() - before)
		worst = max(worst, took)
		if took > 5*time.Second {
			t.Errorf("%s an answer took %s", when, took)
		}
	}

	// Headers that never end, events and bodies that never come. Of bodies
	// there are fewer than requests that the API serves at a time: who may send
	// one is let in, by a token or from this machine, before it is read. Each
	// connection's time is its own: it begins when it is dialled.
	kinds := []struct {
		what, begins string
		longest      time.Duration // until one was cut off
	}{
		{what: "headers without end",
			begins: "GET /v1/holds HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
		{what: "events", begins: "POST " + api.WebhookPath +
			" HTTP/1.1\r\nHost: localhost\r\nStripe-Signature: t=1,v1=00\r\nContent-Length: 1000\r\n\r\n{"},
		{what: "bodies",
			begins: "POST /v1/holds HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"},
	}
	// Time is counted in ticks of this process: while the whole machine stands
	// still, as virtual ones do at times, nobody can be cut off.
	const tick = 100 * time.Millisecond
	var ticks atomic.Int64
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	go func() {
		for {
			select {
			case <-ticker.C:
				ticks.Add(1)
			case <-t.Context().Done():
				return
			}
		}
	}()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 300 {
		kind := &kinds[i%len(kinds)]
		began, from := time.Now(), ticks.Load()
		c := dial()
		fmt.Fprint(c, kind.begins)
		wg.Go(func() {
			// a connection that can't have one fails below
			_ = c.SetReadDeadline(began.Add(2 * time.Minute))
			_, err := io.Copy(io.Discard, c)
			took := time.Duration(ticks.Load()-from) * tick
			mu.Lock()
			defer mu.Unlock()
			kind.longest = max(kind.longest, took)
			if os.IsTimeout(err) {
				t.Error("a connection that trickles is kept for more than two minutes")
			}
		})
	}
	for range 10 {
		served("while others trickle,")
	}
	wg.Wait()
	for _, kind := range kinds {
		t.Logf("the last of the slow %s was cut off after %s", kind.what, kind.longest)
		if kind.longest > 45*time.Second {
			t.Errorf("the last of the slow %s was cut off after %s", kind.what, kind.longest)
		}
	}

	// Headers that are too many bytes.
	c := dial()
	_ = c.SetDeadline(time.Now().Add(processTimeout))
	go fmt.Fprintf(c, "GET /v1/holds HTTP/1.1\r\nHost: localhost\r\nX-Huge: %s\r\n\r\n",
		strings.Repeat("x", 1<<20))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 1 MiB: %v %v", res, err)
	}

	// A flood of forged events, each with the largest body.
	junk := bytes.Repeat([]byte("x"), 1<<20)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200},
		Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for range 200 {
		wg.Go(func() {
			for range 3 {
				status, err := postWebhookWith(client, r.url, junk, "t=1,v1=00")
				if err == nil && status != http.StatusBadRequest &&
					status != http.StatusRequestTimeout && // not read within 2 s
					status != http.StatusServiceUnavailable {
					t.Errorf("a forged event is answered with %d", status)
				}
			}
		})
	}
	served("under a flood")
	wg.Wait()
	served("after the flood")
	if _, err := os.Stat("/proc/self/status"); err == nil {
		rss := residentBytes(t, r.pid())
		t.Logf("%.1f MB resident after 600 MiB of forged events, 200 at a time", float64(rss)/1e6)
		if rss > 250e6 { // 64 at a time, of 1 MiB each, and what the collector has not come to yet
			t.Errorf("%d bytes resident", rss)
		}
	}
	t.Logf("the others were served within %s", worst)
	if n := r.log.countLines("webhook rejected: invalid signature"); n > 3 {
		t.Errorf("%d lines of log for one flood", n)
	}
}
