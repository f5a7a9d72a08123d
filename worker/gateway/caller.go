package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/hold"
)

// Budget is the shared rate limits of all replicas, per account and kind of
// request. store.Budget implements it.
type Budget interface {
	// ReserveRequests reserves requests for every want, in one round trip.
	ReserveRequests(ctx context.Context, wants ...hold.BudgetRequest) ([]hold.BudgetReservation, error)
	// LowerRate lowers the rate that a request exceeded, which was sent sentAgo
	// ago.
	LowerRate(
		ctx context.Context, account string, op hold.Op, scope hold.ExceededRateLimit,
		sentAgo time.Duration,
	) error
	// PauseOpOfAccount pauses one kind of request of an account on all replicas
	// for d.
	PauseOpOfAccount(ctx context.Context, account string, op hold.Op, d time.Duration) error
}

// Client sends one request to Stripe. [Gateway] implements it.
type Client interface {
	Do(ctx context.Context, c hold.Call) hold.Answer
}

// CallObserver counts finished calls for metrics. The op is the operation whose
// budget the call uses: [hold.OpRead] for a list, [hold.OpAuthorize] for a
// confirmation. A check uses no budget and has [hold.OpCheck]. daemon.metrics
// implements it.
type CallObserver interface {
	CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration)
}

// CallTracer begins the span of a request to Stripe. It returns nil if ctx
// belongs to no span. tracing.Tracer implements it.
type CallTracer interface {
	StartCall(ctx context.Context, c *hold.Call) (end func(a *hold.Answer))
}

// BudgetErrorReporter receives the errors of the budget. health.Reporter
// implements it.
type BudgetErrorReporter interface {
	ReportError(ctx context.Context, doing string, err error)
}

// CallerOptions configure a [Caller].
type CallerOptions struct {
	Timeout time.Duration // of one call
	// AccountKnown reports whether the key is known to be of the account of the
	// holds, so that a 404 is true; nil means that it never is.
	AccountKnown func() bool
	Observer     CallObserver // may be nil
	Tracer       CallTracer   // may be nil
	Health       BudgetErrorReporter
	Logger       *zap.Logger
}

// ReserveAhead is how far ahead requests are reserved. It is long enough to use
// a slow rate fully between two polls, and short enough that a hold with a
// nearer deadline hardly waits for the reserved requests.
const ReserveAhead = 200 * time.Millisecond

const (
	// forbiddenPause is how long a 403 pauses the kind of request.
	forbiddenPause = time.Minute
	// breakerFailures is the number of consecutive calls without an answer that
	// open the breaker. After breakerTimeout the breaker is half-open and lets
	// one call through.
	breakerFailures = 5
	breakerTimeout  = 5 * time.Second
	// keyProbeInterval is the minimum time between two probes of a rejected
	// key.
	keyProbeInterval = 30 * time.Second
	// notSentRetry is when to retry a call that was not sent, if the end of the
	// cause is unknown.
	notSentRetry = time.Second
)

// Caller sends calls to Stripe. It applies the shared budget, the circuit
// breaker, the timeout and the metrics to every one of them. It is safe for
// concurrent use.
//
// An error of its methods is a *[hold.CallNotSentError]: nothing was sent. If a
// request was or may have been sent, the method returns an answer.
type Caller struct {
	client  Client
	budget  Budget
	o       CallerOptions
	breaker *gobreaker.TwoStepCircuitBreaker[hold.Answer]
	outage  *outageLog

	keyRejected atomic.Bool
	missing     missingIntentCounter
	rateLimited atomic.Int64 // calls with a 429 since the last TakeRateLimitedCount

	probeMu   sync.Mutex
	lastProbe time.Time
}

// NewCaller returns a caller that sends through client.
func NewCaller(client Client, budget Budget, o CallerOptions) *Caller {
	outage := &outageLog{log: o.Logger}
	if named, ok := client.(interface{ Address() string }); ok {
		outage.address = named.Address()
	}
	c := &Caller{client: client, budget: budget, o: o, outage: outage,
		missing: missingIntentCounter{accountKnown: o.AccountKnown}}
	c.breaker = gobreaker.NewTwoStepCircuitBreaker[hold.Answer](gobreaker.Settings{
		Name:        "stripe",
		MaxRequests: 1,
		Timeout:     breakerTimeout,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= breakerFailures
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errCallerCanceled) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch to {
			case gobreaker.StateOpen:
				outage.logOutage()
			case gobreaker.StateClosed:
				outage.logEnd()
			}
		},
	})
	return c
}

// doTraced sends a call under a span. It is a function of its own so that an
// untraced call stays off the heap.
func (c *Caller) doTraced(ctx context.Context, call hold.Call) hold.Answer {
	end := c.o.Tracer.StartCall(ctx, &call)
	a := c.client.Do(ctx, call)
	if end != nil {
		end(&a)
	}
	return a
}

// IsStripeAvailable reports whether Stripe answers and accepts the key.
func (c *Caller) IsStripeAvailable() bool { return !c.IsKeyRejected() && !c.IsBreakerOpen() }

// IsKeyRejected reports whether Stripe rejects the key.
func (c *Caller) IsKeyRejected() bool { return c.keyRejected.Load() }

// IsWrongKeySuspected reports whether Stripe has not found any of the last many
// PaymentIntents of an account.
func (c *Caller) IsWrongKeySuspected() bool { return c.missing.hasSuspectedAccount() }

// IsBreakerOpen reports whether the breaker is open or half-open, because
// Stripe did not answer.
func (c *Caller) IsBreakerOpen() bool { return c.breaker.State() != gobreaker.StateClosed }

// MaxInFlightByBreaker returns the number of calls that may start now: none while Stripe
// is unavailable, one while the breaker is half-open, otherwise any number
// (-1).
func (c *Caller) MaxInFlightByBreaker() int {
	state := c.breaker.State()
	switch {
	case c.IsKeyRejected() || state == gobreaker.StateOpen:
		return 0
	case state == gobreaker.StateHalfOpen:
		return 1
	}
	return -1
}

// TakeRateLimitedCount returns the number of calls that Stripe answered with a
// 429 since the last TakeRateLimitedCount.
func (c *Caller) TakeRateLimitedCount() int64 { return c.rateLimited.Swap(0) }

// ProbeIfUnavailable sends a check if Stripe is unavailable, so that claims
// resume even if no other call is sent. It reports whether it sent one. It
// probes a rejected key at most every 30 seconds.
func (c *Caller) ProbeIfUnavailable(ctx context.Context) bool {
	if c.IsStripeAvailable() || !c.beginProbeIfDue() {
		return false
	}
	_, err := c.sendThroughBreaker(ctx, hold.Call{Op: hold.OpCheck}, c.o.Timeout)
	return err == nil
}

// beginProbeIfDue reports whether a probe is due, and if so records it as sent.
func (c *Caller) beginProbeIfDue() bool {
	c.probeMu.Lock()
	defer c.probeMu.Unlock()
	if c.IsKeyRejected() && time.Since(c.lastProbe) < keyProbeInterval {
		return false
	}
	c.lastProbe = time.Now()
	return true
}
