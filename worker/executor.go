package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxCallsPerClaim bounds the calls under one claim: act, read, act again,
	// read again.
	maxCallsPerClaim = 4
	// maxBudgetWait is how long a claimed hold waits for the budget before it
	// is deferred.
	maxBudgetWait = time.Second
	// deferAfterCalls is how long a hold is deferred after maxCallsPerClaim
	// calls.
	deferAfterCalls = time.Second
	// minSendWait is the shortest wait for a reserved request that is worth a
	// timer.
	minSendWait = time.Millisecond / 2
)

// ExecutionTracer begins the span of the execution of a hold that has a trace.
// Its calls belong to traced, and its events to span. tracing.Tracer implements
// it.
type ExecutionTracer interface {
	StartExecution(ctx context.Context, h *hold.Hold) (traced context.Context,
		span hold.TraceContext, end func(d *hold.Decision, a hold.Answer, late time.Duration))
}

// ExecutorOptions configure an [Executor].
type ExecutorOptions struct {
	Concurrency int           // calls to Stripe under way at once
	Lease       time.Duration // of a claim
	CallTimeout time.Duration // of one call
	Clock       *clock.RedisClock
	Health      *health.Reporter
	Wake        func()          // [Dispatcher.Wake], called when more holds may be claimed
	Tracer      ExecutionTracer // may be nil
}

// Executor receives claimed holds from the [Dispatcher] and sends their
// outcomes to the [Completer]. For each hold it asks [hold.Hold.NextCall] for a
// call, sends it, and passes the answer to [hold.Hold.ApplyAnswer]. It repeats
// this under the same claim if the decision says so.
//
// It sends no call when the worker stops, when the lease may end before the
// answer arrives, or when Stripe is unavailable. A hold for which it sent no
// call is released unchanged.
type Executor struct {
	driver   execute.MachineDriver
	o        ExecutorOptions
	flight   *claimsInFlight
	claims   <-chan claimedHold  // from Dispatcher.Run
	outcomes chan<- claimOutcome // to Completer.Run
	stage    *health.Stage
}

func newExecutor(
	c execute.StripeCaller, f *claimsInFlight, claims <-chan claimedHold,
	outcomes chan<- claimOutcome, o ExecutorOptions,
) *Executor {
	e := &Executor{
		driver: execute.MachineDriver{Caller: c, Now: o.Clock.Now, CallTimeout: o.CallTimeout},
		o:      o, flight: f, claims: claims, outcomes: outcomes,
		stage: o.Health.AddStage("execute", nil),
	}
	// The executor sends nothing after the lease.
	e.stage.SetMaxTimeWithoutSuccess(o.Lease + o.CallTimeout)
	return e
}

// claimOutcome is an executed claim. [Completer.Run] receives it.
type claimOutcome struct {
	before   hold.Hold // as claimed; its version is the fencing token
	decision hold.Decision
	call     hold.Call // the last call that was sent
	answer   hold.Answer
	at       time.Time // of the decision, Redis' time
}

// claimsInFlight counts the claims of this replica. The dispatcher adds to it.
// The executor and the completer subtract.
type claimsInFlight struct {
	awaitingStripe atomic.Int64 // claims whose calls are not finished
	uncommitted    atomic.Int64 // claims whose outcome is not committed
	concurrency    int
}

// allowedNewClaims returns how many more holds may be claimed now.
//
// Twice the concurrency may await Stripe: the calls under way and as many
// again, so that no goroutine of the executor waits for Redis. More would take
// holds that other replicas could execute earlier. Four times the concurrency
// may be uncommitted, so that the executor continues while the completer writes
// a batch.
func (f *claimsInFlight) allowedNewClaims() int {
	return min(f.maxAwaitingStripe()-int(f.awaitingStripe.Load()),
		f.maxUncommitted()-int(f.uncommitted.Load()))
}

func (f *claimsInFlight) maxAwaitingStripe() int { return 2 * f.concurrency }

func (f *claimsInFlight) maxUncommitted() int { return 4 * f.concurrency }

// Run executes claims until their channel is closed. Once stopping ends, Run
// sends no more calls. calls bounds the calls under way.
func (e *Executor) Run(stopping, calls context.Context) {
	var workers sync.WaitGroup
	for range e.o.Concurrency {
		workers.Go(func() {
			var m holdMachine // reused, because a hold is large
			for claimed := range e.claims {
				e.stage.BeginWork()
				out := e.executeClaim(stopping, calls, claimed, &m)
				e.stage.RecordSuccess()
				e.stage.EndWork()
				// Subtracted before the completer receives the outcome: the
				// completer waits for more outcomes only while claims await
				// Stripe.
				left := e.flight.awaitingStripe.Add(-1)
				e.outcomes <- out
				// Waking the dispatcher after each claim would cost a poll for
				// each claim.
				if left == int64(e.o.Concurrency) || left == 0 {
					e.o.Wake()
				}
			}
		})
	}
	workers.Wait()
}

// executeClaim drives one claimed hold through its calls and returns the
// outcome.
func (e *Executor) executeClaim(
	stopping, calls context.Context, c claimedHold, m *holdMachine,
) claimOutcome {
	*m = holdMachine{hold: c.claim.Hold}
	defer func() { *m = holdMachine{} }()
	m.hold.BeginClaim(c.claim.Since, c.claim.TakenOver)
	if d := time.Until(c.sendAt); d > minSendWait {
		execute.SleepUnlessCanceled(stopping, d)
	}
	calls, endSpan := e.startSpan(calls, m)
	_, err := e.driver.Drive(stopping, calls, m, execute.DriveLimits{
		MaxCalls: maxCallsPerClaim, LeaseEnd: c.leaseEnd,
		BudgetWait: maxBudgetWait, Reserved: c.reserved,
	})
	if err != nil {
		m.releaseClaimAndDefer(deferralAfterError(err), e.o.Clock.Now())
	}
	if endSpan != nil {
		endSpan(hold.LatenessAt(&c.claim.Hold, m.at))
	}
	return claimOutcome{before: c.claim.Hold, decision: m.decision, call: m.call, answer: m.answer,
		at: m.at}
}

// startSpan begins the span of a claim. endSpan is nil if there is none. It adds
// the span to the machine's decision.
func (e *Executor) startSpan(
	ctx context.Context, m *holdMachine,
) (traced context.Context, endSpan func(late time.Duration)) {
	if e.o.Tracer == nil || !m.hold.Trace.IsSampled() {
		return ctx, nil
	}
	traced, span, end := e.o.Tracer.StartExecution(ctx, &m.hold)
	return traced, func(late time.Duration) {
		m.decision.Trace = span
		end(&m.decision, m.answer, late)
	}
}

// deferralAfterError returns how long to defer a hold whose drive ended with
// err.
func deferralAfterError(err error) time.Duration {
	var notSent *hold.CallNotSentError
	switch {
	case errors.As(err, &notSent):
		return notSent.RetryAfter
	case errors.Is(err, execute.ErrCallLimit):
		return deferAfterCalls
	}
	return 0
}

// holdMachine drives a claimed hold as an [execute.Machine].
// [execute.MachineDriver.Drive] calls it.
type holdMachine struct {
	hold     hold.Hold     // as decided so far
	decision hold.Decision // all decisions under this claim together
	call     hold.Call     // the last call that was sent
	answer   hold.Answer
	at       time.Time // of the decision
	done     bool
}

// NextCall implements [execute.Machine].
func (m *holdMachine) NextCall(_ context.Context, now time.Time) (hold.Call, time.Duration, bool) {
	if m.done {
		return hold.Call{}, 0, false
	}
	return m.hold.NextCall(now), 0, true
}

// AdvanceWithAnswer implements [execute.Machine].
func (m *holdMachine) AdvanceWithAnswer(
	_ context.Context, call hold.Call, a hold.Answer, now time.Time,
) {
	m.call, m.answer, m.at = call, a, now
	m.decision = m.decision.Merge(m.hold.ApplyAnswer(call, a, now))
	m.done = !m.decision.NextStepNow
	m.hold = m.decision.Hold
}

// releaseClaimAndDefer ends the claim before the hold is done and defers the
// hold by wait. If no call was sent, the hold is released unchanged.
func (m *holdMachine) releaseClaimAndDefer(wait time.Duration, now time.Time) {
	m.at = now
	sent := m.call.Op != 0
	if !sent {
		m.decision = m.hold.ReleaseUnsentClaim()
	}
	if sent || wait > 0 {
		m.decision = m.decision.ReleaseClaimUntil(now.Add(wait))
	}
}
