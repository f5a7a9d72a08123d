package gateway_test

import (
	"net/http"
	"testing"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/paymentintent"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

// The gateway beside stripe-go alone, over the same transport within the process.

func BenchmarkCapture(b *testing.B) {
	g := open(b, gateway.Options{Transport: always(200, body("succeeded"))})
	b.ReportAllocs()
	for b.Loop() {
		if a := g.Do(b.Context(), calls[hold.OpCapture]); a.Kind != hold.AnswerOK {
			b.Fatalf("%+v", a)
		}
	}
}

func BenchmarkCaptureStripeGoAlone(b *testing.B) {
	c := paymentintent.Client{Key: testKey, B: stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		HTTPClient:        &http.Client{Transport: always(200, body("succeeded"))},
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
	})}
	b.ReportAllocs()
	for b.Loop() {
		p := &stripe.PaymentIntentCaptureParams{}
		p.Context = b.Context()
		p.IdempotencyKey = stripe.String("holdd-capture-1")
		if _, err := c.Capture(intent, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnexpectedState(b *testing.B) {
	g := open(b, gateway.Options{Transport: always(400, fault(invalid, "payment_intent_unexpected_state", `,"payment_intent":`+body("succeeded")))})
	b.ReportAllocs()
	for b.Loop() {
		if a := g.Do(b.Context(), calls[hold.OpCapture]); a.Kind != hold.AnswerUnexpectedState {
			b.Fatalf("%+v", a)
		}
	}
}
