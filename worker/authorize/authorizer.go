package authorize

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	// duplicateWait is how long a repeated request waits for the attempt under
	// way.
	duplicateWait = 8 * time.Second
	// minBeginWait and maxBeginWait bound the time between two tries in that
	// wait.
	minBeginWait = 50 * time.Millisecond
	maxBeginWait = 500 * time.Millisecond
)

// Authorizer authorizes cards for waiting callers. It is safe for concurrent
// use.
type Authorizer struct{ o Options }

// NewAuthorizer returns an authorizer.
func NewAuthorizer(o Options) *Authorizer { return &Authorizer{o: o} }

// Authorize authorizes a card and places the hold. It does so once for each
// key. It continues after ctx ends, because the card may be authorized by then.
// Errors are *[hold.Problem] or wrap [health.ErrUnavailable].
func (a *Authorizer) Authorize(
	ctx context.Context, key string, req hold.AuthorizeRequest, by string,
) (hold.AuthorizationResult, error) {
	id, err := hold.DeriveAttemptIDFromKey(key)
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	attempt := hold.NewAuthorizeAttempt(id, &req, by)
	_, call, err := req.ValidateAndBuildParams(id, a.o.Clock.Now())
	past := errors.Is(err, &hold.Problem{Code: hold.InThePast})
	switch {
	case past:
		attempt.State = 0 // only resumes: a repeated request may be older than its times
	case err != nil:
		return hold.AuthorizationResult{}, err
	}
	r, lookup, begun, beginErr := a.beginOrResumeAttempt(ctx, attempt)
	switch {
	case beginErr != nil:
		return hold.AuthorizationResult{}, beginErr
	case lookup == hold.LookupNotFound:
		return hold.AuthorizationResult{}, err
	case past:
		if _, call, err = req.ValidateAndBuildParams(id, begun.BegunAt); err != nil {
			return hold.AuthorizationResult{}, err
		}
	}
	return a.driveMachineToResult(
		ctx,
		r,
		hold.NewAuthorizationAttemptMachine(begun, lookup, call, a.o.Clock.Now()),
	)
}

// Confirm confirms the intent of an authorization after the cardholder has
// completed its next action, or with another card. It works as
// [Authorizer.Authorize].
func (a *Authorizer) Confirm(
	ctx context.Context, intent, key string, req hold.ConfirmRequest, by string,
) (hold.AuthorizationResult, error) {
	id, err := hold.DeriveAttemptIDFromKey(key)
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	call, err := req.ValidateAndBuildParams(intent)
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	r, lookup, begun, err := a.beginOrResumeAttempt(ctx, hold.NewConfirmAttempt(id, intent, &req,
		by))
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	return a.driveMachineToResult(
		ctx,
		r,
		hold.NewAuthorizationAttemptMachine(begun, lookup, call, a.o.Clock.Now()),
	)
}

// beginOrResumeAttempt records the attempt, or resumes the recorded one with
// the same key. While another process has its lease, beginOrResumeAttempt waits
// up to duplicateWait.
func (a *Authorizer) beginOrResumeAttempt(
	ctx context.Context, attempt hold.AuthorizationAttempt,
) (*attemptRun, hold.AttemptLookupResult, hold.AuthorizationAttempt, error) {
	none := func(err error) (*attemptRun, hold.AttemptLookupResult, hold.AuthorizationAttempt,
		error) {
		return nil, 0, hold.AuthorizationAttempt{}, err
	}
	if a.o.Tracer != nil {
		attempt.Traceparent = a.o.Tracer.TraceparentOf(ctx)
	}
	r := &attemptRun{o: &a.o, token: rand.Text()}
	deadline := time.Now().Add(duplicateWait)
	failed := false
	for wait := minBeginWait; ; wait = min(2*wait, maxBeginWait) {
		r.leaseEnd = time.Now().Add(a.o.Lease - leaseSlack)
		begun, lookup, now, err := a.o.Attempts.BeginOrResumeAuthorization(
			ctx, attempt, r.token, a.o.Lease, hold.ResumeAttemptAfter)
		a.o.Clock.AdjustTo(now)
		switch {
		case err != nil && (failed || ctx.Err() != nil):
			return none(a.o.Health.ReportAndWrapUnavailable(ctx, "record an authorization attempt", err))
		case err != nil:
			failed = true // one retry with the same token: the reply may have been lost
		case lookup == hold.LookupKeyReused:
			return none(hold.IdempotencyKeyReusedProblem())
		case lookup != hold.LookupBusy:
			begun.ID, begun.Digest = attempt.ID, attempt.Digest
			return r, lookup, begun, nil
		case time.Now().After(deadline):
			return none(&hold.Problem{Code: hold.InProgress, Field: "Idempotency-Key",
				Detail: "the same request is in progress: repeat it in a moment with the same " +
					"Idempotency-Key"})
		}
		if !execute.SleepUnlessCanceled(ctx, wait) {
			return none(fmt.Errorf("%w (waiting for the same request)", health.ErrUnavailable))
		}
	}
}

// driveMachineToResult drives a machine to its end and returns the caller's
// answer.
func (a *Authorizer) driveMachineToResult(
	ctx context.Context, r *attemptRun, m *hold.AuthorizationAttemptMachine,
) (hold.AuthorizationResult, error) {
	r.machine = m
	r.driveToEnd(context.WithoutCancel(ctx))
	if answer := m.MismatchedAnswer(); answer != nil {
		a.o.Logger.Error(
			"Stripe answered with the intent of another authorization; intent not used",
			zap.String("payment_intent", answer.Intent.ID),
			zap.String("request_id", answer.RequestID))
	}
	result, err := m.Result()
	if notSent := (*hold.CallNotSentError)(nil); errors.As(err, &notSent) {
		err = fmt.Errorf("%w (%s)", health.ErrUnavailable, notSent.Reason)
	}
	return result, err
}
