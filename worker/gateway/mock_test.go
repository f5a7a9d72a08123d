package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

// stripeMock is Stripe's own check of requests. It refuses parameters and values that its OpenAPI spec doesn't know, and keeps no state.
func stripeMock(t *testing.T) http.RoundTripper {
	t.Helper()
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return transport(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		stub.HandleRequest(w, r)
		return w.Result(), nil
	})
}

// TestStripeMockAcceptsEveryRequest: each request that the gateway can send has the parameters that Stripe has, and its answers, made
// from Stripe's own examples, can be read.
func TestStripeMockAcceptsEveryRequest(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	defer func(out *os.File) { os.Stdout = out }(os.Stdout)
	os.Stdout = null // stripe-mock prints each request
	mock := stripeMock(t)
	sent := 0
	g := open(t, gateway.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		sent++
		return mock.RoundTrip(r)
	})})
	now := time.Unix(1764000000, 0)
	for name, send := range map[string]func(*gateway.Gateway) hold.Answer{
		"capture all":      do(calls[hold.OpCapture]),
		"capture part":     do(hold.Call{Op: hold.OpCapture, PaymentIntent: intent, Account: account, Amount: 1250, Key: "k"}),
		"not final":        capture(gateway.CaptureParams{PaymentIntent: intent, Key: "k", Amount: new(int64(700)), Final: new(false)}),
		"final":            capture(gateway.CaptureParams{PaymentIntent: intent, Key: "k", Final: new(true)}),
		"release the rest": capture(gateway.CaptureParams{PaymentIntent: intent, Account: account, Key: "k", Amount: new(int64(0)), Final: new(true)}),
		"cancel":           do(calls[hold.OpCancel]),
		"cancel, account":  do(hold.Call{Op: hold.OpCancel, PaymentIntent: intent, Account: account, Key: "k"}),
		"read":             do(calls[hold.OpRead]),
		"read, account":    do(hold.Call{Op: hold.OpRead, PaymentIntent: intent, Account: account}),
		"authorize":        authorize(full),
		"authorize, off":   authorize(plain),
		"authorize, page":  authorize(hold.AuthorizeCall{Amount: 1, Currency: "eur", PaymentMethod: "pm_1", Key: "k"}),
		"confirm":          confirm(hold.AuthorizeCall{PaymentIntent: intent, Key: "k"}),
		"confirm, other":   confirm(hold.AuthorizeCall{PaymentIntent: intent, PaymentMethod: "pm_2", CVCToken: hold.NewSecret("cvctok_2"), ReturnURL: "https://hotel.example/", Key: "k"}),
		"look":             look(intent, ""),
		"update":           update(map[string]string{"holdd_capture_at": "2026-12-01T10:00:00Z", "holdd_paused": ""}, "", "k"),
		"update, account":  update(map[string]string{"a": "b"}, account, "k"),
		"list":             list(gateway.ListQuery{}),
		"list, everything": list(gateway.ListQuery{Account: account, CreatedFrom: now, CreatedTo: now.Add(time.Hour), StartingAfter: intent, Limit: 20}),
		"check":            func(g *gateway.Gateway) hold.Answer { return g.Check(t.Context()) },
	} {
		before := sent
		if a := send(g); a.Kind != hold.AnswerOK || a.HTTPStatus != 200 || a.RequestID == "" {
			t.Errorf("%s: %+v", name, a)
		}
		if sent != before+1 {
			t.Errorf("%s: %d requests", name, sent-before)
		}
	}

	// That it would say so if something were wrong:
	wrong := open(t, gateway.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.RawQuery = "expandd[0]=latest_charge"
		return mock.RoundTrip(r)
	})})
	if a := wrong.Do(t.Context(), calls[hold.OpRead]); a.Kind != hold.AnswerInvalid {
		t.Errorf("a parameter that doesn't exist: %+v", a)
	}
}
