// Package capture is the Stripe call of the engines beside holdd: a stripe-go
// capture as their users write it, with one pooled connection for each
// concurrent call.
package capture

import (
	"context"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
)

// Key is a test key that the stub and the simulator accept.
const Key = "sk_test_benchbenchbenchbench"

// New returns a function that captures at a base URL, for a number of
// concurrent calls. stripe-go's own retries are off, because a job engine has
// its own.
func New(base string, concurrency int) func(ctx context.Context, intent string) error {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(base),
		HTTPClient: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			MaxIdleConns: concurrency, MaxIdleConnsPerHost: concurrency,
			MaxConnsPerHost: concurrency, IdleConnTimeout: 90 * time.Second,
		}},
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
	})
	api := client.New(Key, &stripe.Backends{API: backend, Connect: backend, Uploads: backend})
	return func(ctx context.Context, intent string) error {
		p := &stripe.PaymentIntentCaptureParams{}
		p.Context = ctx
		p.SetIdempotencyKey("capture:" + intent)
		_, err := api.PaymentIntents.Capture(intent, p)
		return err
	}
}
