package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxCallsPerClaim bounds the calls under one claim: act, read back, act
	// again, read back.
	maxCallsPerClaim = 4
	// maxBudgetWait is how long a claimed hold waits for the budget before it
	// is deferred.
	maxBudgetWait = time.Second
	// deferAfterCalls is for how long a hold is deferred that used up its
	// calls.
	deferAfterCalls = time.Second
	// minSendWait is the shortest wait for a reserved request's moment that is
	// worth a timer.
	minSendWait = time.Millisecond / 2
)

// ExecutorOptions configure an [Executor].
type ExecutorOptions struct {
	Concurrency int           // calls to Stripe under way at once
	CallTimeout time.Duration // of one call
	Clock       *clock.Redis
	Wake        func() // wakes the dispatcher when there is room for claims
}

// Executor runs claimed holds: it asks the hold for its next call, sends it,
// and lets the hold decide what the answer means, again under the same claim if
// the hold says so.
//
// It sends nothing when the worker stops, when the lease may end before the
// answer comes, and when Stripe is unavailable. A hold for which nothing was
// sent is released as it was.
type Executor struct {
	driver   execute.Driver
	o        ExecutorOptions
	flight   *inFlight
	claims   <-chan claimedHold
	outcomes chan<- outcome
}

func newExecutor(
	c execute.Caller, f *inFlight, claims <-chan claimedHold,
	outcomes chan<- outcome, o ExecutorOptions,
) *Executor {
	return &Executor{
		driver: execute.Driver{Caller: c, Now: o.Clock.Now, CallTimeout: o.CallTimeout},
		o:      o, flight: f, claims: claims, outcomes: outcomes,
	}
}

// Run executes claims until their channel is closed. Once stopping ends it
// sends nothing more; calls bounds what is under way.
func (e *Executor) Run(stopping, calls context.Context) {
	var workers sync.WaitGroup
	for range e.o.Concurrency {
		workers.Go(func() {
			var m holdMachine // reused: a hold is large
			for claimed := range e.claims {
				out := e.execute(stopping, calls, claimed, &m)
				// Before the completer sees the outcome: it waits for others
				// only while some await Stripe.
				left := e.flight.awaitingStripe.Add(-1)
				e.outcomes <- out
				// Room for half of what may await Stripe is worth a poll; a
				// wake-up for each claim would be a poll for each.
				if left == int64(e.o.Concurrency) || left == 0 {
					e.o.Wake()
				}
			}
		})
	}
	workers.Wait()
}

// execute drives one claimed hold to what follows from Stripe's answers.
func (e *Executor) execute(
	stopping, calls context.Context, c claimedHold, m *holdMachine,
) outcome {
	*m = holdMachine{hold: c.claim.Hold}
	defer func() { *m = holdMachine{} }()
	m.hold.MarkClaimed(c.claim.Since, c.claim.TakenOver)
	if d := time.Until(c.sendAt); d > minSendWait {
		execute.Sleep(stopping, d)
	}
	_, err := e.driver.Drive(stopping, calls, m, execute.Limits{
		MaxCalls: maxCallsPerClaim, LeaseEnd: c.leaseEnd,
		BudgetWait: maxBudgetWait, Reserved: c.reserved,
	})
	if err != nil {
		m.suspend(deferralAfter(err), e.o.Clock.Now())
	}
	return outcome{before: c.claim.Hold, decision: m.decision, call: m.call, answer: m.answer,
		at: m.at}
}

// deferralAfter is how long to wait with a hold whose drive ended with err.
func deferralAfter(err error) time.Duration {
	var notSent *hold.NotSentError
	switch {
	case errors.As(err, &notSent):
		return notSent.RetryAfter
	case errors.Is(err, execute.ErrCallLimit):
		return deferAfterCalls
	}
	return 0
}

// holdMachine is a claimed hold as [execute.Machine] and what has followed so
// far.
type holdMachine struct {
	hold     hold.Hold // as the next call finds it
	decision hold.Decision
	call     hold.Call // the last one that was sent
	answer   hold.Answer
	at       time.Time // of the decision
	done     bool
}

// Next implements [execute.Machine].
func (m *holdMachine) Next(_ context.Context, now time.Time) (hold.Call, time.Duration, bool) {
	if m.done {
		return hold.Call{}, 0, false
	}
	return m.hold.NextCall(now), 0, true
}

// Apply implements [execute.Machine].
func (m *holdMachine) Apply(_ context.Context, call hold.Call, a hold.Answer, now time.Time) {
	m.call, m.answer, m.at = call, a, now
	m.decision = m.decision.FollowedBy(m.hold.ApplyAnswer(call, a, now))
	m.done = !m.decision.Again
	m.hold = m.decision.Hold
}

// suspend ends the claim before the hold is done. With nothing sent the hold is
// released as it was.
func (m *holdMachine) suspend(wait time.Duration, now time.Time) {
	m.at = now
	sent := m.call.Op != 0
	if !sent {
		m.decision = m.hold.ReleaseUnsent()
	}
	if sent || wait > 0 {
		m.decision = m.decision.DeferUntil(now.Add(wait))
	}
}
