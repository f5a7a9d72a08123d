package gateway_test

import (
	"net/http"
	"testing"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/paymentintent"

	"github.com/holdd/holdd/worker/hold"
)

// These benchmarks compare the gateway with stripe-go alone, over the same
// in-process transport.

func BenchmarkDo_Capture(b *testing.B) {
	g := gatewayOn(b, respondWith(200, intentBody("succeeded")))
	b.ReportAllocs()
	for b.Loop() {
		if a := g.Do(b.Context(), callsByOp[hold.OpCapture]); a.Kind != hold.AnswerOK {
			b.Fatalf("%+v", a)
		}
	}
}

func BenchmarkStripeGo_Capture(b *testing.B) {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		HTTPClient:        &http.Client{Transport: respondWith(200, intentBody("succeeded"))},
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
	})
	c := paymentintent.Client{Key: testAPIKey, B: backend}
	b.ReportAllocs()
	for b.Loop() {
		p := &stripe.PaymentIntentCaptureParams{}
		p.Context = b.Context()
		p.IdempotencyKey = stripe.String("holdd-capture-1")
		if _, err := c.Capture(testIntentID, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDo_UnexpectedState(b *testing.B) {
	g := gatewayOn(b, unexpectedState(intentBody("succeeded")))
	b.ReportAllocs()
	for b.Loop() {
		if a := g.Do(b.Context(), callsByOp[hold.OpCapture]); a.Kind != hold.AnswerUnexpectedState {
			b.Fatalf("%+v", a)
		}
	}
}
