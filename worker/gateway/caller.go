package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// Budget is the rate limits that all replicas share, per account and kind of
// request.
type Budget interface {
	// Reserve grants up to n requests that may be sent within ahead from now.
	Reserve(
		ctx context.Context, account string, op hold.Op, n int, ahead time.Duration,
	) (hold.Reservation, error)
	// PauseAccount stops one kind of request of an account on all replicas for
	// d.
	PauseAccount(ctx context.Context, account string, op hold.Op, d time.Duration) error
}

// Client sends one request to Stripe. [Gateway] implements it.
type Client interface {
	Do(ctx context.Context, c hold.Call) hold.Answer
}

// CallObserver counts finished calls, for metrics. A call is reported under the
// operation whose budget it uses: a list as [hold.OpRead], a confirmation as
// [hold.OpAuthorize]. A check uses no budget and is reported as [hold.OpCheck].
type CallObserver interface {
	CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration)
}

// StoreHealth takes the errors of the budget.
type StoreHealth interface {
	ReportError(ctx context.Context, doing string, err error)
}

// CallerOptions configure a [Caller].
type CallerOptions struct {
	Timeout  time.Duration // of one call
	Observer CallObserver  // may be nil
	Health   StoreHealth
	Logger   *zap.Logger
}

// ReserveAhead is how far into the future requests are reserved. It is far
// enough to use a slow rate in full between two polls, and near enough that a
// hold with a nearer deadline hardly waits behind it.
const ReserveAhead = 200 * time.Millisecond

const (
	// rateLimitPause and forbiddenPause are how long a refusal pauses that kind
	// of request.
	rateLimitPause = 2 * time.Second
	forbiddenPause = time.Minute
	// breakerFailures is how many consecutive calls without an answer open the
	// breaker. After breakerTimeout it is half-open and lets one call through.
	breakerFailures = 5
	breakerTimeout  = 5 * time.Second
	// keyProbeInterval is how often a rejected key is tried again.
	keyProbeInterval = 30 * time.Second
	// notSentRetry is when to retry a call that was not sent for a reason
	// without a known end.
	notSentRetry = time.Second
)

// Caller sends calls to Stripe. It applies the shared budget, the circuit
// breaker, the timeout and the metrics to every one of them. It is safe for
// concurrent use.
//
// An error of its methods is a *[hold.NotSentError]: nothing was sent.
// Everything that was sent, or may have been, has an answer.
type Caller struct {
	client  Client
	budget  Budget
	o       CallerOptions
	breaker *gobreaker.TwoStepCircuitBreaker[hold.Answer]

	keyRejected atomic.Bool
	rateLimited atomic.Int64 // calls refused for their rate since the last TakeRateLimited

	probeMu   sync.Mutex
	lastProbe time.Time
}

// NewCaller returns a caller that sends through client.
func NewCaller(client Client, budget Budget, o CallerOptions) *Caller {
	c := &Caller{client: client, budget: budget, o: o}
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
				o.Logger.Error("Stripe unavailable: claims paused, " +
					"one call every few seconds tries again")
			case gobreaker.StateClosed:
				o.Logger.Info("Stripe available again")
			}
		},
	})
	return c
}

// Do sends a call whose request is reserved already.
func (c *Caller) Do(ctx context.Context, call hold.Call) (hold.Answer, error) {
	return c.send(ctx, call, c.o.Timeout)
}

// ReserveAndDo reserves a request, waiting at most maxWait for the budget, and
// sends the call.
func (c *Caller) ReserveAndDo(
	ctx context.Context, call hold.Call, maxWait time.Duration,
) (hold.Answer, error) {
	if err := c.Reserve(ctx, call, maxWait); err != nil {
		return hold.Answer{}, err
	}
	return c.send(ctx, call, c.o.Timeout)
}

// Reserve takes one request from the budget and waits for its moment, at most
// maxWait.
func (c *Caller) Reserve(ctx context.Context, call hold.Call, maxWait time.Duration) error {
	deadline := time.Now().Add(maxWait)
	for {
		r, err := c.budget.Reserve(ctx, call.Account, call.Op.Bucket(), 1, ReserveAhead)
		if err != nil {
			c.o.Health.ReportError(ctx, "reserve a request", err)
			return &hold.NotSentError{Reason: "the budget is unavailable", RetryAfter: notSentRetry}
		}
		wait := r.First
		if r.Granted == 0 {
			wait = r.Wait
			if time.Now().Add(wait).After(deadline) {
				return &hold.NotSentError{
					Reason: "the budget for requests to Stripe is used up", RetryAfter: wait,
				}
			}
		}
		if !execute.Sleep(ctx, wait) {
			return &hold.NotSentError{Reason: "the caller went away", RetryAfter: notSentRetry}
		}
		if r.Granted > 0 {
			return nil
		}
	}
}

// Errors that the breaker is told of.
var (
	errNoAnswer       = errors.New("no answer from Stripe")
	errCallerCanceled = errors.New("the caller went away")
)

// send makes one call through the breaker.
func (c *Caller) send(
	ctx context.Context, call hold.Call, timeout time.Duration,
) (hold.Answer, error) {
	report, err := c.breaker.Allow()
	if err != nil {
		notSent := &hold.NotSentError{Reason: "Stripe unavailable", RetryAfter: notSentRetry}
		return hold.Answer{}, notSent
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	a := c.client.Do(bounded, call)
	if ctx.Err() != nil && !isConclusive(a.Kind) {
		report(errCallerCanceled) // says nothing about Stripe
		return a, nil
	}
	c.recordOutcome(report, a)
	if c.o.Observer != nil {
		c.o.Observer.CallFinished(metricOp(call.Op), a.Kind, time.Since(began))
	}
	c.pauseIfRefused(ctx, call, a)
	return a, nil
}

// isConclusive reports whether Stripe gave an answer that says what happened.
func isConclusive(k hold.AnswerKind) bool {
	return k != hold.AnswerUnknown && k != hold.AnswerUnreachable
}

// metricOp returns the operation that a call is counted under.
func metricOp(op hold.Op) hold.Op {
	if op == hold.OpCheck {
		return op
	}
	return op.Bucket()
}

// recordOutcome tells the breaker whether Stripe answers, and records whether
// it accepts the key. A replayed error counts as an answer: Stripe stored it
// earlier, and answers now.
func (c *Caller) recordOutcome(report func(error), a hold.Answer) {
	if !isConclusive(a.Kind) {
		report(errNoAnswer)
		return
	}
	report(nil)
	rejected := a.Kind == hold.AnswerUnauthorized
	if !c.keyRejected.CompareAndSwap(!rejected, rejected) {
		return
	}
	if rejected {
		c.o.Logger.Error("Stripe rejects the key: claims paused; "+
			"set stripe_api_key to a valid key and restart", zap.String("request_id", a.RequestID))
		return
	}
	c.o.Logger.Info("Stripe accepts the key again")
}

// pauseIfRefused pauses that kind of request on all replicas if Stripe refused
// one for its rate or for a missing permission. A check uses no budget, so
// nothing is paused for it.
func (c *Caller) pauseIfRefused(ctx context.Context, call hold.Call, a hold.Answer) {
	d := time.Duration(0)
	switch {
	case call.Op == hold.OpCheck:
		return
	case a.Kind == hold.AnswerRateLimited:
		d = rateLimitPause
		c.rateLimited.Add(1)
	case a.Kind == hold.AnswerForbidden:
		d = forbiddenPause
		c.o.Logger.Error("Stripe forbids this request: "+
			"give the key the permission, or check the connected account",
			zap.String("account", call.Account), zap.Stringer("op", call.Op),
			zap.String("code", a.Code), zap.String("message", a.Message),
			zap.String("request_id", a.RequestID))
	default:
		return
	}
	if err := c.budget.PauseAccount(ctx, call.Account, call.Op.Bucket(), d); err != nil {
		c.o.Health.ReportError(ctx, "pause an account", err)
	}
}

// Available reports whether Stripe answers and accepts the key.
func (c *Caller) Available() bool { return !c.KeyRejected() && !c.BreakerOpen() }

// KeyRejected reports whether Stripe rejects the key.
func (c *Caller) KeyRejected() bool { return c.keyRejected.Load() }

// BreakerOpen reports whether the breaker refuses calls, all or all but one,
// because Stripe did not answer.
func (c *Caller) BreakerOpen() bool { return c.breaker.State() != gobreaker.StateClosed }

// MaxInFlight is how many calls are worth starting now: none while Stripe is
// unavailable, one while the breaker is half-open, otherwise any number (-1).
func (c *Caller) MaxInFlight() int {
	state := c.breaker.State()
	switch {
	case c.KeyRejected() || state == gobreaker.StateOpen:
		return 0
	case state == gobreaker.StateHalfOpen:
		return 1
	}
	return -1
}

// TakeRateLimitedCount returns how many calls Stripe refused for their rate since
// the last TakeRateLimited.
func (c *Caller) TakeRateLimitedCount() int64 { return c.rateLimited.Swap(0) }

// Probe sends a check if Stripe is unavailable, so that work resumes although
// nothing is due. It reports whether it sent one. A rejected key is tried every
// 30 seconds only.
func (c *Caller) Probe(ctx context.Context) bool {
	if c.Available() || !c.probeDue() {
		return false
	}
	_, err := c.send(ctx, hold.Call{Op: hold.OpCheck}, c.o.Timeout)
	return err == nil
}

// probeDue reports whether to probe now, and records that.
func (c *Caller) probeDue() bool {
	c.probeMu.Lock()
	defer c.probeMu.Unlock()
	if c.KeyRejected() && time.Since(c.lastProbe) < keyProbeInterval {
		return false
	}
	c.lastProbe = time.Now()
	return true
}
