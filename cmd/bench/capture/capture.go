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

// newAPI returns a client for a base URL and a number of concurrent calls.
// stripe-go's own retries are off, because a job engine has its own.
func newAPI(base string, concurrency int) *client.API {
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
	return client.New(Key, &stripe.Backends{API: backend, Connect: backend, Uploads: backend})
}

// New returns a function that captures at a base URL, for a number of
// concurrent calls.
func New(base string, concurrency int) func(ctx context.Context, intent string) error {
	api := newAPI(base, concurrency)
	return func(ctx context.Context, intent string) error {
		p := &stripe.PaymentIntentCaptureParams{}
		p.Context = ctx
		p.SetIdempotencyKey("capture:" + intent)
		_, err := api.PaymentIntents.Capture(intent, p)
		return err
	}
}

// NewLister returns a function that lists the page of 100 intents after one,
// with their charges.
func NewLister(
	base string,
) func(ctx context.Context, after string) (ids []string, more bool, err error) {
	api := newAPI(base, 1)
	return func(ctx context.Context, after string) (ids []string, more bool, err error) {
		p := &stripe.PaymentIntentListParams{}
		p.Context, p.Single, p.Limit = ctx, true, stripe.Int64(100)
		p.AddExpand("data.latest_charge")
		if after != "" {
			p.StartingAfter = &after
		}
		it := api.PaymentIntents.List(p)
		if err := it.Err(); err != nil {
			return nil, false, err
		}
		for _, in := range it.PaymentIntentList().Data {
			ids = append(ids, in.ID)
		}
		return ids, it.Meta().HasMore, nil
	}
}
