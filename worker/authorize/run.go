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

// AttemptStore keeps the records of attempts. store.AuthorizationAttempts
// implements it.
type AttemptStore interface {
	// BeginOrResumeAuthorization records an attempt, or resumes the recorded
	// one, under a lease. An attempt without a state is only resumed. token
	// identifies the owner of the lease.
	BeginOrResumeAuthorization(
		ctx context.Context, a hold.AuthorizationAttempt, token string,
		lease, resumeAfter time.Duration,
	) (hold.AuthorizationAttempt, hold.AttemptLookupResult, time.Time, error)
	// SaveAuthorizationIfLeaseHeld saves an attempt unless another token has its lease.
	// With release, it ends the lease. resumeAt is when the Resumer resumes the
	// attempt; zero means never.
	SaveAuthorizationIfLeaseHeld(
		ctx context.Context, a hold.AuthorizationAttempt, token string,
		release bool, resumeAt time.Time,
	) (bool, error)
	// DeleteAuthorizationIfLeaseHeld deletes an attempt unless another token has its
	// lease.
	DeleteAuthorizationIfLeaseHeld(ctx context.Context, a hold.AuthorizationAttempt, token string) error
	// ListDueAttemptIDs returns the ids of up to n attempts to resume now.
	ListDueAttemptIDs(ctx context.Context, n int) (ids []string, now time.Time, err error)
}

// HoldReader reads holds; a hold that does not exist is nil. store.Store
// implements it.
type HoldReader interface {
	ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
}

// StripeCaller sends calls to Stripe. gateway.Caller implements it.
type StripeCaller interface {
	execute.StripeCaller
	// IsKeyRejected reports whether Stripe rejects the key.
	IsKeyRejected() bool
}

// Committer writes decisions about holds. [commit.Committer] implements it.
type Committer interface {
	CommitWithRetry(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// SystemEventPublisher publishes system events. [event.SystemEventPublisher]
// implements it.
type SystemEventPublisher interface {
	PublishOnce(
		ctx context.Context, t hold.EventType, about string, data event.EventData,
	) (first bool, err error)
}

// Tracer continues the trace of the request that began an attempt. tracing.Tracer
// implements it.
type Tracer interface {
	// TraceparentOf returns the span of ctx, to keep with an attempt; empty if
	// it is not recorded.
	TraceparentOf(ctx context.Context) string
	// StartAuthorizationResumption begins the span of a run that resumes an attempt.
	StartAuthorizationResumption(ctx context.Context, a *hold.AuthorizationAttempt) (
		traced context.Context, end func())
}

// Options configure an [Authorizer] and a [AttemptResumer]. All but Tracer are
// required.
type Options struct {
	Attempts  AttemptStore
	Holds     HoldReader
	Caller    StripeCaller
	Committer Committer
	Publisher SystemEventPublisher // used by the Resumer only
	Tracer    Tracer               // may be nil
	Clock     *clock.RedisClock
	Health    *health.Reporter
	Logger    *zap.Logger

	Lease       time.Duration // another process may resume a crashed one's attempt after it
	CallTimeout time.Duration // of one call to Stripe
}

const (
	// budgetWait is how long one call waits for the budget.
	budgetWait = 3 * time.Second
	// leaseSlack shortens a lease, because this process does not know exactly
	// when it ends in Redis.
	leaseSlack = 2 * time.Second
)

// errLeaseLost means that another process has the lease of the attempt.
var errLeaseLost = errors.New("another process has the lease of this attempt")

// attemptRun drives one attempt under one lease.
type attemptRun struct {
	o        *Options
	machine  *hold.AuthorizationAttemptMachine
	token    string    // identifies this run as owner of the lease
	leaseEnd time.Time // by this machine's clock
}

// driveToEnd performs the machine's steps until the machine is done. Calls end
// with the lease or with ctx.
func (r *attemptRun) driveToEnd(ctx context.Context) {
	o := r.o
	driver := execute.MachineDriver{Caller: rejectedKeyBlockingCaller{o.Caller}, Now: o.Clock.Now,
		CallTimeout: o.CallTimeout}
	bounded, cancel := context.WithDeadline(ctx, r.leaseEnd)
	defer cancel()
	// Drive sends no call after the end of the lease, and the context ends the
	// call under way. performLocalSteps checks calls that need their whole
	// timeout.
	limits := execute.DriveLimits{MaxCalls: hold.MaxCallsPerAttempt, BudgetWait: budgetWait,
		LeaseEnd: r.leaseEnd.Add(o.CallTimeout)}
	_, err := driver.Drive(bounded, bounded, localStepPerformingMachine{r, ctx}, limits)
	if err == nil {
		return
	}
	result := hold.AuthorizationStepResult{TooLate: true}
	if notSent := (*hold.CallNotSentError)(nil); errors.As(err, &notSent) {
		result = hold.AuthorizationStepResult{Err: notSent}
	}
	r.machine.ApplyStepResult(result, o.Clock.Now())
	r.performLocalSteps(ctx)
}

// localStepPerformingMachine is an attemptRun as an [execute.Machine]. It performs the
// steps that are not calls and passes the calls to the driver. ctx outlives the
// calls, so that their outcome is saved after the lease ends.
type localStepPerformingMachine struct {
	*attemptRun
	ctx context.Context
}

// NextCall implements [execute.Machine].
func (s localStepPerformingMachine) NextCall(
	_ context.Context,
	_ time.Time,
) (hold.Call, time.Duration, bool) {
	step := s.performLocalSteps(s.ctx)
	return step.Call, step.Wait, step.Kind == hold.StepCall
}

// AdvanceWithAnswer implements [execute.Machine].
func (s localStepPerformingMachine) AdvanceWithAnswer(
	_ context.Context, _ hold.Call, a hold.Answer, now time.Time,
) {
	s.machine.ApplyStepResult(hold.AuthorizationStepResult{Answer: a}, now)
}

// performLocalSteps performs the steps that are not calls. It returns the next
// step that is a call, or [hold.StepDone].
func (r *attemptRun) performLocalSteps(ctx context.Context) hold.AuthorizationStep {
	for {
		step := r.machine.NextStep(r.o.Clock.Now())
		var result hold.AuthorizationStepResult
		switch {
		case step.Kind == hold.StepDone:
			return step
		case step.NeedsCallTimeout && time.Until(r.leaseEnd) < r.o.CallTimeout:
			result.TooLate = true
		case step.Kind == hold.StepCall:
			return step
		default:
			result = r.performLocalStep(ctx, step)
		}
		r.machine.ApplyStepResult(result, r.o.Clock.Now())
	}
}

// performLocalStep performs one step that is not a call.
func (r *attemptRun) performLocalStep(
	ctx context.Context, step hold.AuthorizationStep,
) (result hold.AuthorizationStepResult) {
	attempt, in := r.machine.Attempt(), step.Intent
	switch step.Kind {
	case hold.StepSave, hold.StepReleaseLease:
		result.Err = r.saveAttempt(ctx, attempt, step)
	case hold.StepForget:
		result.Err = r.o.Attempts.DeleteAuthorizationIfLeaseHeld(ctx, attempt, r.token)
		if result.Err != nil {
			r.o.Health.ReportError(ctx, "delete an authorization attempt", result.Err)
		}
	case hold.StepReadHold:
		result.Hold, result.Err = readHoldOrNil(ctx, r.o, attempt.PaymentIntent)
	case hold.StepPlaceHold:
		result.Hold, result.Created, result.Err = createOrLoadHold(ctx, r.o, in,
			attempt.Account, attempt.By)
	case hold.StepPublishAbandoned:
		result.Err = publishAuthorizationAbandoned(ctx, r.o, in, attempt.Account)
	case hold.StepPublishUnresolved:
		result.Err = publishUnresolvedAttempt(ctx, r.o, &attempt)
	}
	return result
}

// saveAttempt saves the attempt, and releases its lease if the
// step says so.
func (r *attemptRun) saveAttempt(
	ctx context.Context, attempt hold.AuthorizationAttempt, step hold.AuthorizationStep,
) error {
	release := step.Kind == hold.StepReleaseLease
	saved, err := r.o.Attempts.SaveAuthorizationIfLeaseHeld(
		ctx,
		attempt,
		r.token,
		release,
		step.ResumeAt,
	)
	if err != nil {
		r.o.Health.ReportError(ctx, "save an authorization attempt", err)
		return err
	}
	if !saved {
		return errLeaseLost
	}
	return nil
}

// rejectedKeyBlockingCaller sends nothing while Stripe rejects the key.
type rejectedKeyBlockingCaller struct{ StripeCaller }

// WaitForBudget implements [execute.StripeCaller].
func (c rejectedKeyBlockingCaller) WaitForBudget(
	ctx context.Context,
	call hold.Call,
	maxWait time.Duration,
) error {
	if c.IsKeyRejected() {
		return &hold.CallNotSentError{Reason: "Stripe rejects the key"}
	}
	return c.StripeCaller.WaitForBudget(ctx, call, maxWait)
}
