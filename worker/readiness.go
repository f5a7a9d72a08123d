package worker

import (
	"context"
	"strconv"
	"strings"
	"time"

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
	// WrongKeySuspected reports whether Stripe has not found any of the last
	// many PaymentIntents of an account.
	WrongKeySuspected() bool
}

// StageReader reports which stages have stalled. [health.RedisReporter]
// implements it.
type StageReader interface {
	StalledStages() []health.StalledStage
}

// Readiness checks whether this replica can work. GET /readyz serves its
// checks.
type Readiness struct {
	redis   Pinger
	stripe  StripeHealthReader
	running func() bool // whether Worker.Run runs
	stages  StageReader
	extra   func() []health.CheckResult // [reconcile]
}

// Check returns a check of Redis, one of Stripe, one of the scheduler and one of
// the stages. A check of the schedule follows while the schedule is rebuilt after a data
// loss.
func (r *Readiness) Check(ctx context.Context) []health.CheckResult {
	redis := health.CheckResult{Name: "redis", OK: true}
	if err := r.redis.CheckWritable(ctx); err != nil {
		redis.OK, redis.Detail = false, describeRedisError(err)
	}
	stripe := health.CheckResult{Name: "stripe", OK: true}
	switch {
	case r.stripe.KeyRejected():
		stripe.OK, stripe.Detail = false,
			"Stripe rejects the key: set stripe_api_key to a valid one and restart"
	case r.stripe.BreakerOpen():
		stripe.OK, stripe.Detail = false,
			"Stripe does not answer: due holds wait, and captures resume when Stripe answers"
	case r.stripe.WrongKeySuspected():
		stripe.OK, stripe.Detail = false,
			"wrong key? Stripe finds none of many PaymentIntents in a row: their holds wait; "+
				"set stripe_api_key to a key of the account of these holds and restart"
	}
	scheduler := health.CheckResult{Name: "scheduler", OK: r.running()}
	if !scheduler.OK {
		scheduler.Detail = "this replica is starting or stopping"
	}
	return append([]health.CheckResult{redis, stripe, scheduler, r.checkStages()}, r.extra()...)
}

// describeRedisError says why Redis does not accept a write, and what to do.
func describeRedisError(err error) string {
	cause := health.Cause(err)
	if cause == health.CauseNoAnswer {
		return cause + ": due holds wait; check that Redis runs and is reachable"
	}
	return cause + ": due holds wait; " + health.Hint(cause)
}

// maxNamedStages bounds the stages that a check names.
const maxNamedStages = 3

// checkStages fails if a stage has had no success for [health.StallLimit].
func (r *Readiness) checkStages() health.CheckResult {
	check := health.CheckResult{Name: health.CheckStages, OK: true}
	stalled := r.stages.StalledStages()
	if len(stalled) == 0 {
		return check
	}
	check.OK = false
	var parts []string
	for _, s := range stalled[:min(len(stalled), maxNamedStages)] {
		parts = append(parts, describeStalled(&s))
	}
	if more := len(stalled) - len(parts); more > 0 {
		parts = append(parts, strconv.Itoa(more)+" more")
	}
	check.Detail = strings.Join(parts, "; ") + "; " + health.Hint(stalled[0].Cause)
	return check
}

func describeStalled(s *health.StalledStage) string {
	text := "stage " + s.Name + " has stalled since " + s.Since.UTC().Format(time.RFC3339) + ": "
	if s.Operation != "" {
		text += "cannot " + s.Operation + ": "
	}
	return text + s.Cause
}
