package worker

import (
	"context"

	"github.com/holdd/holdd/worker/health"
)

// Pinger pings Redis. store.Store implements it.
type Pinger interface {
	CheckWritable(ctx context.Context) error
}

// StripeHealthReader reports whether Stripe answers and accepts the key.
// gateway.Caller implements it.
type StripeHealthReader interface {
	KeyRejected() bool
	BreakerOpen() bool
}

// Readiness checks whether this replica can work. GET /readyz serves its
// checks.
type Readiness struct {
	redis   Pinger
	stripe  StripeHealthReader
	running func() bool                 // whether Worker.Run runs
	extra   func() []health.CheckResult // [reconcile]
}

// Check returns a check of Redis, one of Stripe and one of the scheduler. A
// check of the schedule follows while the schedule is rebuilt after a data
// loss.
func (r *Readiness) Check(ctx context.Context) []health.CheckResult {
	redis := health.CheckResult{Name: "redis", OK: true}
	if err := r.redis.CheckWritable(ctx); err != nil {
		redis.OK = false
		redis.Detail = "Redis does not answer: due holds wait; " +
			"check that Redis runs and is reachable"
	}
	stripe := health.CheckResult{Name: "stripe", OK: true}
	switch {
	case r.stripe.KeyRejected():
		stripe.OK, stripe.Detail = false,
			"Stripe rejects the key: set stripe_api_key to a valid one and restart"
	case r.stripe.BreakerOpen():
		stripe.OK, stripe.Detail = false,
			"Stripe does not answer: due holds wait, and captures resume when Stripe answers"
	}
	scheduler := health.CheckResult{Name: "scheduler", OK: r.running()}
	if !scheduler.OK {
		scheduler.Detail = "this replica is starting or stopping"
	}
	return append([]health.CheckResult{redis, stripe, scheduler}, r.extra()...)
}
