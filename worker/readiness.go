package worker

import (
	"context"

	"github.com/holdd/holdd/worker/health"
)

// Pinger asks Redis whether it answers.
type Pinger interface {
	Ping(ctx context.Context) error
}

// StripeHealth tells whether Stripe answers and accepts the key.
type StripeHealth interface {
	KeyRejected() bool
	BreakerOpen() bool
}

// Readiness reports what keeps this replica from working.
type Readiness struct {
	redis   Pinger
	stripe  StripeHealth
	running func() bool
	extra   func() []health.Check // lines of other parts
}

// Check returns a line for each thing that the replica needs.
func (r *Readiness) Check(ctx context.Context) []health.Check {
	redis := health.Check{Name: "redis", OK: true}
	if err := r.redis.Ping(ctx); err != nil {
		redis.OK = false
		redis.Detail = "Redis does not answer: holds are safe and wait; " +
			"start Redis, or find out what blocks it"
	}
	stripe := health.Check{Name: "stripe", OK: true}
	switch {
	case r.stripe.KeyRejected():
		stripe.OK, stripe.Detail = false,
			"Stripe rejects the key: set stripe_api_key to a valid one and restart"
	case r.stripe.BreakerOpen():
		stripe.OK, stripe.Detail = false,
			"Stripe does not answer: holds wait, and work resumes by itself"
	}
	scheduler := health.Check{Name: "scheduler", OK: r.running()}
	if !scheduler.OK {
		scheduler.Detail = "this replica is starting or stopping"
	}
	return append([]health.Check{redis, stripe, scheduler}, r.extra()...)
}
