package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

const (
	testKey = "sk_test_51GatewayTestsOnly"
	intent  = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"
	account = "acct_1PxYzA2eZvKYlo2C"
)

// calls are one of each operation that Do knows.
var calls = map[hold.Op]hold.Call{
	hold.OpCapture: {Op: hold.OpCapture, PaymentIntent: intent, Key: "holdd-capture-1"},
	hold.OpCancel:  {Op: hold.OpCancel, PaymentIntent: intent, Key: "holdd-cancel-1"},
	hold.OpRead:    {Op: hold.OpRead, PaymentIntent: intent},
}

// transport answers requests within the process.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply makes an answer; headers are "Name: value".
func reply(status int, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}, "Request-Id": {"req_A1b2C3"}}
	for _, s := range headers {
		k, v, _ := strings.Cut(s, ": ")
		h.Set(k, v)
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// always answers every request alike.
func always(status int, body string, headers ...string) transport {
	return func(*http.Request) (*http.Response, error) { return reply(status, body, headers...), nil }
}

func open(t testing.TB, o gateway.Options) *gateway.Gateway {
	t.Helper()
	if o.Key == "" {
		o.Key = testKey
	}
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// body is a PaymentIntent as Stripe sends it, with the charge expanded.
func body(status string) string {
	return `{"id":"` + intent + `","object":"payment_intent","amount":10000,"amount_capturable":10000,"amount_received":0,
	"currency":"eur","status":"` + status + `","created":1764000000,"livemode":false,"cancellation_reason":null,
	"client_secret":"` + intent + `_secret_Zq8Ty","metadata":{"holdd_reference":"BK-2071"},"payment_method_types":["card","link"],
	"latest_charge":{"id":"ch_3PxYzA2eZvKYlo2C1x","object":"charge","payment_method_details":{"type":"card",
	"card":{"brand":"visa","last4":"4242","capture_before":1764604800}}}}`
}

// fault is an error body of Stripe's; more goes into the error object.
func fault(kind, code, more string) string {
	return `{"error":{"type":"` + kind + `","code":"` + code + `","message":"It is so.","doc_url":"https://stripe.com/docs/error-codes"` + more + `}}`
}
