package authorize

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// AttemptStore keeps the records of attempts.
type AttemptStore interface {
	// BeginAuthorization records an attempt, or takes on the one that is
	// recorded, for the time of a lease. An attempt without a state is only
	// taken on. token names the holder of the lease.
	BeginAuthorization(
		ctx context.Context, a hold.AuthorizationAttempt, token string, lease,
		resumeAfter time.Duration,
	) (
		hold.AuthorizationAttempt, hold.AttemptLookup, time.Time, error,
	)
	// SaveAuthorization saves an attempt unless another token has its lease.
	// With release the lease ends. resumeAt is when the attempt is due, zero
	// for never.
	SaveAuthorization(
		ctx context.Context, a hold.AuthorizationAttempt, token string,
		release bool, resumeAt time.Time,
	) (bool, error)
	// ForgetAuthorization deletes an attempt unless another token has its
	// lease.
	ForgetAuthorization(ctx context.Context, a hold.AuthorizationAttempt, token string) error
	// DueAuthorizations returns the ids of up to n attempts that are due.
	DueAuthorizations(ctx context.Context, n int) (ids []string, now time.Time, err error)
}

// HoldReader reads holds. The result has nil for an id without a hold.
type HoldReader interface {
	Read(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
}

// Caller sends calls to Stripe.
type Caller interface {
	execute.Caller
	// KeyRejected reports whether Stripe rejects the key.
	KeyRejected() bool
}

// Committer writes decisions about holds.
type Committer interface {
	CommitWithRetry(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// Publisher publishes system events.
type Publisher interface {
	PublishOnce(ctx context.Context, t hold.EventType, about string, data event.Data) (bool, error)
}

// Options are what an [Authorizer] and a [Resumer] work with. All are required.
type Options struct {
	Attempts  AttemptStore
	Holds     HoldReader
	Caller    Caller
	Committer Committer
	Publisher Publisher // of the Resumer alone
	Clock     *clock.Redis
	Health    *health.Redis
	Logger    *zap.Logger

	Lease       time.Duration // within this time another process takes on what a crashed one left
	CallTimeout time.Duration // of one call to Stripe
}

const (
	// budgetWait is how long one call waits for the budget while a caller waits
	// for the answer.
	budgetWait = 3 * time.Second
	// leaseSlack is taken off a lease, because its end at Redis is known only
	// so well.
	leaseSlack = 2 * time.Second
)

// errLeaseLost says that another process has the lease of the attempt.
var errLeaseLost = errors.New("another process works on this attempt")

// attemptRun carries one attempt to its end under one lease. It is an
// [execute.Machine].
type attemptRun struct {
	o        *Options
	machine  *hold.AuthorizationMachine
	token    string    // of the lease
	leaseEnd time.Time // when the lease ends, by this machine's clock
}

// driveToEnd does what the machine needs until it needs nothing more. Its calls end
// with the lease or with ctx.
func (r *attemptRun) driveToEnd(ctx context.Context) {
	o := r.o
	driver := execute.Driver{Caller: keyChecker{o.Caller}, Now: o.Clock.Now,
		CallTimeout: o.CallTimeout}
	bounded, cancel := context.WithDeadline(ctx, r.leaseEnd)
	defer cancel()
	// The driver keeps every call within the lease. Calls that need their whole
	// timeout are kept here.
	limits := execute.Limits{MaxCalls: hold.MaxCallsPerAttempt, BudgetWait: budgetWait,
		LeaseEnd: r.leaseEnd.Add(o.CallTimeout)}
	_, err := driver.Drive(bounded, bounded, localSteps{r, ctx}, limits)
	if err == nil {
		return
	}
	result := hold.StepResult{TooLate: true}
	if notSent := (*hold.NotSentError)(nil); errors.As(err, &notSent) {
		result = hold.StepResult{Err: notSent}
	}
	r.machine.Apply(result, o.Clock.Now())
	r.doLocalSteps(ctx)
}

// localSteps lets the driver see the machine's calls alone. ctx outlives the
// calls: what they came to is saved though the lease ends.
type localSteps struct {
	*attemptRun
	ctx context.Context
}

// Next does the steps that are not calls and returns the next call.
func (s localSteps) Next(_ context.Context, _ time.Time) (hold.Call, time.Duration, bool) {
	step := s.doLocalSteps(s.ctx)
	return step.Call, step.Wait, step.Kind == hold.StepCall
}

// Apply hands the answer to a call to the machine.
func (s localSteps) Apply(_ context.Context, _ hold.Call, a hold.Answer, now time.Time) {
	s.machine.Apply(hold.StepResult{Answer: a}, now)
}

// doLocalSteps does the steps that are not calls, until a call is needed that
// may be sent, or nothing more.
func (r *attemptRun) doLocalSteps(ctx context.Context) hold.Step {
	for {
		step := r.machine.Next(r.o.Clock.Now())
		var result hold.StepResult
		switch {
		case step.Kind == hold.StepDone:
			return step
		case step.NeedsCallTimeout && time.Until(r.leaseEnd) < r.o.CallTimeout:
			result.TooLate = true
		case step.Kind == hold.StepCall:
			return step
		default:
			result = r.doStep(ctx, step)
		}
		r.machine.Apply(result, r.o.Clock.Now())
	}
}

// doStep does one step that is not a call.
func (r *attemptRun) doStep(ctx context.Context, step hold.Step) (result hold.StepResult) {
	attempt, in := r.machine.Attempt(), step.Intent
	switch step.Kind {
	case hold.StepSave, hold.StepRelease:
		result.Err = r.saveAttempt(ctx, attempt, step)
	case hold.StepForget:
		if result.Err = r.o.Attempts.ForgetAuthorization(ctx, attempt, r.token); result.Err != nil {
			r.o.Health.ReportError(ctx, "delete an authorization attempt", result.Err)
		}
	case hold.StepReadHold:
		result.Hold, result.Err = readHold(ctx, r.o, attempt.PaymentIntent)
	case hold.StepPlaceHold:
		result.Hold, result.Created, result.Err = placeHold(ctx, r.o, in,
			attempt.Account, attempt.By)
	case hold.StepPublishAbandoned:
		result.Err = publishAbandoned(ctx, r.o, in, attempt.Account)
	}
	return result
}

func (r *attemptRun) saveAttempt(ctx context.Context, attempt hold.AuthorizationAttempt, step hold.Step) error {
	release := step.Kind == hold.StepRelease
	saved, err := r.o.Attempts.SaveAuthorization(ctx, attempt, r.token, release, step.ResumeAt)
	if err != nil {
		r.o.Health.ReportError(ctx, "save an authorization attempt", err)
		return err
	}
	if !saved {
		return errLeaseLost
	}
	return nil
}

// keyChecker sends nothing while Stripe rejects the key.
type keyChecker struct{ Caller }

// Reserve is [execute.Caller]'s.
func (c keyChecker) Reserve(ctx context.Context, call hold.Call, maxWait time.Duration) error {
	if c.KeyRejected() {
		return &hold.NotSentError{Reason: "Stripe rejects the key"}
	}
	return c.Caller.Reserve(ctx, call, maxWait)
}
