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
	testAPIKey    = "sk_test_51GatewayTestsOnly"
	testIntentID  = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"
	testAccountID = "acct_1PxYzA2eZvKYlo2C"
)

// callsByOp has one call on a hold for each operation.
var callsByOp = map[hold.Op]hold.Call{
	hold.OpCapture: {Op: hold.OpCapture, PaymentIntent: testIntentID, Key: "holdd-capture-1"},
	hold.OpCancel: {Op: hold.OpCancel, PaymentIntent: testIntentID, Key: "holdd-cancel-1",
		CancellationReason: hold.ReasonAbandoned},
	hold.OpRead: {Op: hold.OpRead, PaymentIntent: testIntentID},
}

// roundTripFunc is a transport in the same process.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newResponse returns a response. A header is "Name: value".
func newResponse(status int, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}, "Request-Id": {"req_A1b2C3"}}
	for _, s := range headers {
		k, v, _ := strings.Cut(s, ": ")
		h.Set(k, v)
	}
	return &http.Response{
		StatusCode:    status,
		Status:        fmt.Sprint(status),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        h,
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// respondWith gives every request the same response.
func respondWith(status int, body string, headers ...string) roundTripFunc {
	return func(*http.Request) (*http.Response, error) {
		return newResponse(status, body, headers...), nil
	}
}

func newGateway(t testing.TB, o gateway.Options) *gateway.Gateway {
	t.Helper()
	if o.APIKey == "" {
		o.APIKey = testAPIKey
	}
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.CloseIdleConnections)
	return g
}

// gatewayOn returns a gateway whose requests go to transport.
func gatewayOn(t testing.TB, transport roundTripFunc) *gateway.Gateway {
	t.Helper()
	return newGateway(t, gateway.Options{Transport: transport})
}

// intentBody returns a PaymentIntent as Stripe sends it, with the charge
// expanded.
func intentBody(status string) string {
	return `{"id":"` + testIntentID + `","object":"payment_intent","amount":10000,
	"amount_capturable":10000,"amount_received":0,"currency":"eur","status":"` + status + `",
	"created":1764000000,"livemode":false,"cancellation_reason":null,
	"client_secret":"` + testIntentID + `_secret_Zq8Ty","metadata":{"holdd_reference":"BK-2071"},
	"payment_method_types":["card","link"],"latest_charge":{"id":"ch_3PxYzA2eZvKYlo2C1x",
	"object":"charge","payment_method_details":{"type":"card",
	"card":{"brand":"visa","last4":"4242","capture_before":1764604800}}}}`
}

// errorBody returns the body of an error. more is appended to the error object.
func errorBody(kind, code, more string) string {
	return `{"error":{"type":"` + kind + `","code":"` + code + `","message":"It is so.",` +
		`"doc_url":"https://stripe.com/docs/error-codes"` + more + `}}`
}
