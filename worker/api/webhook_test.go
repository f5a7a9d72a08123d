package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
)

// newTestWebhook accepts the signature "good".
func newTestWebhook(apply func(context.Context, hold.StripeEvent) (string, error)) *api.WebhookOptions {
	return &api.WebhookOptions{
		VerifyAndParse: func(body []byte, signature string) (hold.StripeEvent, error) {
			if signature != "good" {
				return hold.StripeEvent{}, errors.New("signature matches no secret")
			}
			return hold.StripeEvent{ID: string(body)}, nil
		},
		ApplyEvent: apply,
	}
}

func postWebhook(t *testing.T, url, body, signature string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+api.WebhookPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "hooks.example.com" // as behind a proxy that hands the name on
	r.Header.Set("Stripe-Signature", signature)
	return doRequest(t, r)
}

func doRequest(t *testing.T, r *http.Request) response {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	return response{res.StatusCode, res.Header, b.String()}
}

func TestWebhook_SignatureAndResults(t *testing.T) {
	var applied []string
	result := map[string]error{"later": fmt.Errorf("x: %w", health.ErrUnavailable), "odd": errors.New("secret detail"), "mode": &hold.Problem{Code: intake.WrongMode, Detail: "other mode"}}
	core, logs := observer.New(zap.DebugLevel)
	a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds()), Tokens: parseTestTokens(t), Logger: zap.New(core), Webhook: newTestWebhook(func(_ context.Context, e hold.StripeEvent) (string, error) {
		applied = append(applied, e.ID)
		return "queued", result[e.ID]
	})})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a)
	defer s.Close()
	for _, c := range []struct {
		body, signature string
		want            int
		says            string
	}{
		{"evt", "good", 200, `{"result":"queued"}`}, {"evt", "bad", 400, "invalid_signature"}, {"evt", "", 400, "invalid_signature"}, {"evt", strings.Repeat("x", 5000), 400, "invalid_signature"},
		{"later", "good", 503, "unavailable"}, {"odd", "good", 503, "unavailable"}, {"mode", "good", 400, "wrong_mode"},
		{strings.Repeat("x", 1<<20+1), "good", 413, "body_too_large"}, {strings.Repeat("x", 1<<20), "good", 200, "queued"}, {"", "good", 200, "queued"},
	} {
		if got := postWebhook(t, s.URL, c.body, c.signature); got.status != c.want || !strings.Contains(got.body, c.says) || strings.Contains(got.body, "secret detail") {
			t.Errorf("%.10s %.10s: %d %s", c.body, c.signature, got.status, got.body)
		}
	}
	if len(applied) != 6 {
		t.Errorf("%d were taken", len(applied))
	}
	if a.InvalidSignatures() != 3 || a.UnauthorizedRequests() != 0 {
		t.Errorf("%d forged", a.InvalidSignatures())
	}
	if n := logs.FilterMessage("webhook rejected: invalid signature").Len(); n != 1 {
		t.Errorf("%d lines about refusals within a moment", n)
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+api.WebhookPath, nil)
	if got := doRequest(t, r); got.status != 405 || got.header.Get("Allow") != "POST" {
		t.Errorf("%d %v", got.status, got.header)
	}
	without, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds())})
	if got := postWebhook(t, without.URL, "evt", "good"); got.status != 404 || !strings.Contains(got.body, "STRIPE_WEBHOOK_SECRETS") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A slow sender occupies a slot for a limited time, and events that hang do not
// block the API.
func TestWebhook_TimeAndConcurrencyLimits(t *testing.T) {
	block := make(chan struct{})
	var mu sync.Mutex
	inside, most := 0, 0
	a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds()), Webhook: newTestWebhook(func(ctx context.Context, _ hold.StripeEvent) (string, error) {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		defer func() { mu.Lock(); inside--; mu.Unlock() }()
		select {
		case <-block:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		return "queued", nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewHTTPServer(a, nil)
	go server.Serve(l)
	defer server.Close()
	url := "http://" + l.Addr().String()

	slow, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	began := time.Now()
	fmt.Fprintf(slow, "POST %s HTTP/1.1\r\nHost: x\r\nStripe-Signature: good\r\nContent-Length: 100\r\n\r\nx", api.WebhookPath)

	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { postWebhook(t, url, "evt", "good") })
	}
	if got := sendRequest(t, "GET", url+"/v1/holds", ""); got.status != 200 {
		t.Errorf("while webhooks hang the API answers %d", got.status)
	}
	line := make([]byte, 64)
	n, _ := slow.Read(line)
	if took := time.Since(began); !strings.Contains(string(line[:n]), " 408 ") || took > 15*time.Second {
		t.Errorf("after %s: %q", took, line[:n])
	}
	close(block)
	wg.Wait()
	if most > 64 {
		t.Errorf("%d at a time", most)
	}
}

// The inbox accepts the requests that the API accepts, and a rejection has a
// code.
func FuzzParseScheduleRequest(f *testing.F) {
	for _, s := range []string{`{"payment_intent":"pi_12345678","amount":5,"currency":"eur"}`, `{"Amount":5}`, `{"amount":5,"amount":6}`, `null`, `{"metadata":{"a":null}}`, "{\"reference\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		w, err := api.DecodeScheduleRequest(text)
		var p *hold.Problem
		if err != nil {
			if !errors.As(err, &p) || p.Code == "" || p.Detail == "" {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var same hold.ScheduleRequest
		if json.Unmarshal(text, &same) != nil || same.PaymentIntent != w.PaymentIntent || same.Amount != w.Amount || same.CaptureAt != w.CaptureAt {
			t.Errorf("%q is read as %+v", text, w)
		}
		if _, err := w.Validate(time.Unix(1764000000, 0)); err != nil && !errors.As(err, &p) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
