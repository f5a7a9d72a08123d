package worker

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/health"
)

// RedisWriteChecker pings Redis. store.Store implements it.
type RedisWriteChecker interface {
	CheckWritable(ctx context.Context) error
}

// StripeHealthReader reports whether Stripe answers and accepts the key.
// gateway.Caller implements it.
type StripeHealthReader interface {
	IsKeyRejected() bool
	IsBreakerOpen() bool
	// IsWrongKeySuspected reports whether Stripe has not found any of the last
	// many PaymentIntents of an account.
	IsWrongKeySuspected() bool
}

// StalledStageReader reports which stages have stalled. [health.Reporter]
// implements it.
type StalledStageReader interface {
	StalledStages() []health.StalledStage
}

// ReadinessChecker checks whether this replica can work. GET /readyz serves its
// checks.
type ReadinessChecker struct {
	redis   RedisWriteChecker
	stripe  StripeHealthReader
	running func() bool // whether Engine.Run runs
	stages  StalledStageReader
	extra   func() []health.ReadinessCheckResult // [reconcile]
}

// Check returns a check of Redis, one of Stripe, one of the scheduler and one of
// the stages. A check of the schedule follows while the schedule is rebuilt after a data
// loss.
func (r *ReadinessChecker) Check(ctx context.Context) []health.ReadinessCheckResult {
	redis := health.ReadinessCheckResult{Name: "redis", OK: true}
	if err := r.redis.CheckWritable(ctx); err != nil {
		redis.OK, redis.Detail = false, describeRedisError(err)
	}
	stripe := health.ReadinessCheckResult{Name: "stripe", OK: true}
	switch {
	case r.stripe.IsKeyRejected():
		stripe.OK, stripe.Detail = false,
			"Stripe rejects the key: set stripe_api_key to a valid one and restart"
	case r.stripe.IsBreakerOpen():
		stripe.OK, stripe.Detail = false,
			"Stripe does not answer: due holds wait, and captures resume when Stripe answers"
	case r.stripe.IsWrongKeySuspected():
		stripe.OK, stripe.Detail = false,
			"wrong key? Stripe finds none of many PaymentIntents in a row: their holds wait; "+
				"set stripe_api_key to a key of the account of these holds and restart"
	}
	scheduler := health.ReadinessCheckResult{Name: "scheduler", OK: r.running()}
	if !scheduler.OK {
		scheduler.Detail = "this replica is starting or stopping"
	}
	return append([]health.ReadinessCheckResult{redis, stripe, scheduler, r.checkStages()},
		r.extra()...)
}

// describeRedisError says why Redis does not accept a write, and what to do.
func describeRedisError(err error) string {
	if health.IsMemoryLimit(err) {
		return "Redis has reached maxmemory: new holds are refused, and those that it has are " +
			"still captured and released; raise maxmemory, or shorten retention"
	}
	cause := health.DescribeCause(err)
	if cause == health.CauseNoAnswer {
		return cause + ": due holds wait; check that Redis runs and is reachable"
	}
	return cause + ": due holds wait; " + health.HintForCause(cause)
}

// maxNamedStages bounds the stages that a check names.
const maxNamedStages = 3

// checkStages fails if a stage has had no success for [health.StallLimit].
func (r *ReadinessChecker) checkStages() health.ReadinessCheckResult {
	check := health.ReadinessCheckResult{Name: health.CheckStages, OK: true}
	stalled := r.stages.StalledStages()
	if len(stalled) == 0 {
		return check
	}
	check.OK = false
	var parts []string
	for _, s := range stalled[:min(len(stalled), maxNamedStages)] {
		parts = append(parts, describeStalledStage(&s))
	}
	if more := len(stalled) - len(parts); more > 0 {
		parts = append(parts, strconv.Itoa(more)+" more")
	}
	check.Detail = strings.Join(parts, "; ") + "; " + health.HintForCause(stalled[0].Cause)
	return check
}

func describeStalledStage(s *health.StalledStage) string {
	text := "stage " + s.Name + " has stalled since " + s.Since.UTC().Format(time.RFC3339) + ": "
	if s.Operation != "" {
		text += "cannot " + s.Operation + ": "
	}
	return text + s.Cause
}
