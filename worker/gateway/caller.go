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

// Budget is the shared rate limits of all replicas, per account and kind of
// request. store.Budget implements it.
type Budget interface {
	// ReserveRequests reserves requests for every want, in one round trip.
	ReserveRequests(ctx context.Context, wants ...hold.BudgetRequest) ([]hold.BudgetReservation, error)
	// LowerRate lowers the rate that a request exceeded, which was sent sentAgo
	// ago.
	LowerRate(
		ctx context.Context, account string, op hold.Op, scope hold.RateLimitScope,
		sentAgo time.Duration,
	) error
	// PauseOneKind pauses one kind of request of an account on all replicas for
	// d.
	PauseOneKind(ctx context.Context, account string, op hold.Op, d time.Duration) error
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

// BudgetErrorReporter receives the errors of the budget. health.RedisHealthReporter
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

// Do sends a call whose request the caller has reserved, through [Gateway.Do].
func (c *Caller) Do(ctx context.Context, call hold.Call) (hold.Answer, error) {
	return c.sendThroughBreaker(ctx, call, c.o.Timeout)
}

// WaitAndDo reserves a request, waiting at most maxWait for the budget, and
// sends the call.
func (c *Caller) WaitAndDo(
	ctx context.Context, call hold.Call, maxWait time.Duration,
) (hold.Answer, error) {
	if err := c.WaitForBudget(ctx, call, maxWait); err != nil {
		return hold.Answer{}, err
	}
	return c.sendThroughBreaker(ctx, call, c.o.Timeout)
}

// WaitForBudget reserves one request and waits until it may be sent. It returns
// an error if the budget allows none within maxWait.
func (c *Caller) WaitForBudget(ctx context.Context, call hold.Call, maxWait time.Duration) error {
	deadline := time.Now().Add(maxWait)
	for {
		reserved, err := c.budget.ReserveRequests(ctx, hold.BudgetRequest{
			Account: call.Account, Op: call.Op.RateLimitBucket(), Requests: 1, Ahead: ReserveAhead,
			Priority: callPriority(call.Op),
		})
		if err != nil {
			c.o.Health.ReportError(ctx, "reserve a request", err)
			return &hold.CallNotSentError{Reason: "the budget is unavailable",
				RetryAfter: notSentRetry}
		}
		r := reserved[0]
		wait := r.First
		if r.Requests == 0 {
			wait = r.Wait
			if time.Now().Add(wait).After(deadline) {
				return &hold.CallNotSentError{
					Reason:     "the budget for requests to Stripe is used up",
					RetryAfter: wait,
				}
			}
		}
		if !execute.Sleep(ctx, wait) {
			return &hold.CallNotSentError{Reason: "the caller canceled", RetryAfter: notSentRetry}
		}
		if r.Requests > 0 {
			return nil
		}
	}
}

// Outcomes of a call for the breaker.
var (
	errNoAnswer       = errors.New("no answer from Stripe")
	errCallerCanceled = errors.New("the caller canceled")
)

// sendThroughBreaker sends one call through the breaker.
func (c *Caller) sendThroughBreaker(
	ctx context.Context, call hold.Call, timeout time.Duration,
) (hold.Answer, error) {
	report, err := c.breaker.Allow()
	if err != nil {
		notSent := &hold.CallNotSentError{Reason: "Stripe unavailable", RetryAfter: notSentRetry}
		return hold.Answer{}, notSent
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	a := c.client.Do(bounded, call)
	execute.ReportProgress(ctx, 0)
	if ctx.Err() != nil && !isConclusive(a.Kind) {
		report(errCallerCanceled) // not a failure of Stripe
		return a, nil
	}
	c.recordAnswerInBreaker(report, a)
	if c.o.Observer != nil {
		c.o.Observer.CallFinished(opForMetrics(call.Op), a.Kind, time.Since(began))
	}
	if c.trackMissingIntent(&call, &a) {
		a.Kind, a.Code = hold.AnswerForbidden, wrongKeyCode
	}
	c.lowerRateOrPauseRequests(ctx, call, a, began)
	return a, nil
}

// callPriority returns the priority of a single call. A batch has its own.
func callPriority(op hold.Op) hold.Priority {
	switch op {
	case hold.OpCapture, hold.OpCancel:
		return hold.PriorityDue
	case hold.OpUpdate:
		return hold.PriorityMirror
	case hold.OpList:
		return hold.PriorityVerify // many intents at once, which no request waits for
	}
	return hold.PriorityRequested // an increment too: a person waits for it
}

// isConclusive reports whether an answer says what happened to the request.
func isConclusive(k hold.AnswerKind) bool {
	return k != hold.AnswerUnknown && k != hold.AnswerUnreachable
}

// opForMetrics returns the operation under which a call is counted.
func opForMetrics(op hold.Op) hold.Op {
	if op == hold.OpCheck {
		return op
	}
	return op.RateLimitBucket()
}

// recordAnswerInBreaker reports to the breaker whether Stripe answered, and
// records whether Stripe accepts the key. A replayed error is an answer: Stripe
// is available and repeats an error that it stored.
func (c *Caller) recordAnswerInBreaker(report func(error), a hold.Answer) {
	if !isConclusive(a.Kind) {
		c.outage.recordUnanswered(a)
		report(errNoAnswer)
		return
	}
	c.outage.recordAnswered()
	report(nil)
	rejected := a.Kind == hold.AnswerUnauthorized
	if !c.keyRejected.CompareAndSwap(!rejected, rejected) {
		return
	}
	if rejected {
		c.o.Logger.Error("Stripe rejects the key: claims paused; "+
			"set stripe_api_key to a valid key and restart",
			zap.String("request_id", a.RequestID))
		return
	}
	c.o.Logger.Info("Stripe accepts the key again")
}

// trackMissingIntent records whether Stripe found the intent of a call. It
// reports whether a 404 must not be believed, because Stripe has found none of
// many intents of the account. The answer then counts as a 403: the hold is
// tried again later and does not require attention.
func (c *Caller) trackMissingIntent(call *hold.Call, a *hold.Answer) bool {
	suspected, changed := c.missing.recordAnswer(call, a.Kind)
	if changed && suspected {
		c.o.Logger.Error("Stripe does not find many PaymentIntents in a row: wrong key? "+
			"Claims of the account paused; set stripe_api_key to a key of the account of these holds",
			zap.String("account", call.Account), zap.Int("payment_intents", missingIntentsLimit),
			zap.String("payment_intent", call.PaymentIntent), zap.String("request_id", a.RequestID))
	}
	if changed && !suspected {
		c.o.Logger.Info("Stripe finds PaymentIntents again: claims of the account resume",
			zap.String("account", call.Account))
	}
	return suspected && a.Kind == hold.AnswerNotFound
}

// lowerRateOrPauseRequests lowers the rate after a 429, and pauses a kind of
// request after a 403, for all replicas. It ignores checks, which use no
// budget.
func (c *Caller) lowerRateOrPauseRequests(
	ctx context.Context, call hold.Call, a hold.Answer, began time.Time,
) {
	var err error
	switch {
	case call.Op == hold.OpCheck:
	case a.RateLimited:
		c.rateLimited.Add(1)
		if a.RateLimitScope != hold.LimitOfObject {
			err = c.budget.LowerRate(
				ctx, call.Account, call.Op.RateLimitBucket(), a.RateLimitScope, time.Since(began))
		}
	case a.Code == wrongKeyCode:
		err = c.budget.PauseOneKind(ctx, call.Account, call.Op.RateLimitBucket(),
			missingIntentsPause)
	case a.Kind == hold.AnswerForbidden:
		c.o.Logger.Error("Stripe forbids this request: "+
			"give the key the permission, or check the connected account",
			zap.String("account", call.Account),
			zap.Stringer("op", call.Op),
			zap.String("code", a.Code),
			zap.String("message", a.Message),
			zap.String("request_id", a.RequestID))
		err = c.budget.PauseOneKind(ctx, call.Account, call.Op.RateLimitBucket(), forbiddenPause)
	}
	if err != nil {
		c.o.Health.ReportError(ctx, "slow down an account", err)
	}
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

// MaxInFlight returns the number of calls that may start now: none while Stripe
// is unavailable, one while the breaker is half-open, otherwise any number
// (-1).
func (c *Caller) MaxInFlight() int {
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
	if c.IsStripeAvailable() || !c.shouldProbeNow() {
		return false
	}
	_, err := c.sendThroughBreaker(ctx, hold.Call{Op: hold.OpCheck}, c.o.Timeout)
	return err == nil
}

// shouldProbeNow reports whether a probe is due, and if so records it as sent.
func (c *Caller) shouldProbeNow() bool {
	c.probeMu.Lock()
	defer c.probeMu.Unlock()
	if c.IsKeyRejected() && time.Since(c.lastProbe) < keyProbeInterval {
		return false
	}
	c.lastProbe = time.Now()
	return true
}
