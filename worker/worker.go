package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/bulkread"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/erase"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/repair"
	"go.uber.org/zap"
)

// deregisterTimeout bounds the deletion of this replica's heartbeat.
const deregisterTimeout = time.Second

// Stores are the interfaces that the parts of a worker need of the store.
// store.Store implements each of them; wiring.NewStores fills them in.
type Stores struct {
	Queue      Queue
	Changes    changes.Store
	Deadlines  DeadlineStore
	Purge      PurgeStore
	Status     StatusStore
	Ping       RedisWriteChecker
	Commit     commit.Store
	Events     event.Store
	Holds      query.HoldStore
	Capacity   query.CapacityStore
	Inbox      intake.RequestInboxStore
	Rejections intake.RejectionStore
	Refresh    intake.RefreshStore
	Attempts   authorize.AttemptStore
	Reconcile  reconcile.Stores
	Unverified reconcile.UnverifiedHoldReader
	Locks      bulkread.JobLocks
	Unmirrored reconcile.UnmirroredStore
	Repair     repair.Store
	Erasure    erase.Store
}

// StripeClient sends calls to Stripe and reports its state. gateway.Caller
// implements both.
type StripeClient struct {
	StripeCaller
	StripeMonitor
}

// StripeCaller sends calls. An error is a *[hold.CallNotSentError]: no request
// was sent. gateway.Caller implements it.
type StripeCaller interface {
	execute.StripeCaller
	// WaitForBudgetAndSend reserves a request, waiting at most maxWait for the
	// budget, and sends the call.
	WaitForBudgetAndSend(ctx context.Context, call hold.Call, maxWait time.Duration) (hold.Answer,
		error)
	// DoEach sends calls as the budget allows and calls done with each answer,
	// concurrently. It returns the positions of the calls that were not sent.
	DoEach(
		ctx context.Context, calls []hold.Call, b execute.CallBatchOptions,
		done func(i int, a hold.Answer),
	) (unsent []int)
}

// StripeMonitor reports whether Stripe answers, accepts the key, and limits the
// rate. gateway.Caller implements it.
type StripeMonitor interface {
	StripeHealthAndRateLimitReader
	BreakerLimitReader
	// IsStripeAvailable reports whether Stripe answers and accepts the key.
	IsStripeAvailable() bool
	// ProbeIfUnavailable sends a harmless read if Stripe is unavailable. It
	// reports whether it sent one.
	ProbeIfUnavailable(ctx context.Context) bool
}

// Observer records metrics. Its methods must be fast and safe for concurrent
// use. daemon.workerObserver implements it.
type Observer interface {
	commit.Observer
	reconcile.Observer
	intake.RejectionObserver
	StatusObserver
	// CallFinished records a finished call. gateway.Caller calls it.
	CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration)
}

// Tracer records what happens to holds as spans. tracing.Tracer implements it.
type Tracer interface {
	commit.Tracer
	intake.RequestSpanLinker
	intake.WebhookTracer
	ExecutionTracer
	authorize.Tracer
	// StartCall begins the span of a request to Stripe. gateway.Caller calls it.
	StartCall(ctx context.Context, c *hold.Call) (end func(a *hold.Answer))
	// ParseTraceparent returns the trace that an entry of the inbox continues.
	ParseTraceparent(text string) hold.TraceContext
}

// Engine captures and releases holds on time. [New] makes one. Its exported
// parts accept requests and answer queries at any time. Holds are captured and
// released while [Engine.Run] runs.
type Engine struct {
	Scheduler  *intake.Scheduler
	Changer    *intake.Changer
	Cardholder *intake.CardholderActionService
	Webhooks   *intake.WebhookProcessor
	Reader     *query.HoldReader
	Planner    *query.Planner
	DoubleHeld *query.DoubleHeldReader
	Authorizer *authorize.Authorizer
	Reconciler *reconcile.Reconciler
	Readiness  *ReadinessChecker
	Dispatcher *Dispatcher
	Repairer   *repair.Repairer
	Eraser     *erase.Eraser
	// RecordAct records what an operator did in the audit stream.
	RecordAct func(ctx context.Context, e hold.AuditLogEntry)

	o         Options
	status    *StatusJob
	jobs      []cronJob
	executor  *Executor
	completer *Completer
	claims    chan claimedHold  // Dispatcher.Run sends, Executor.Run receives
	outcomes  chan claimOutcome // Executor.Run sends, Completer.Run receives
	running   atomic.Bool
}

// Run runs the jobs and the three stages until ctx ends: [Dispatcher.Run] sends
// claims to [Executor.Run], which sends outcomes to [Completer.Run]. When ctx
// ends, Run stops the stages in this order. Calls under way may finish within
// the grace time, and claimed holds without a call are released.
func (w *Engine) Run(ctx context.Context) error {
	c, err := newCron(ctx, w.o.Logger, w.jobs)
	if err != nil {
		return err
	}
	// Calls outlive ctx by the grace time. Outcomes are committed after that.
	calls, cancelCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelCalls()
	var executor, completer, dispatcher sync.WaitGroup
	executor.Go(func() { w.executor.Run(ctx, calls) })
	completer.Go(func() { w.completer.Run(ctx) })
	dispatcher.Go(func() { w.Dispatcher.Run(ctx) })
	w.o.Health.StartWatchingStages()
	w.running.Store(true)
	w.Reconciler.AllowRuns(ctx)
	c.Start()
	w.runStatusJobAndReconcileIfNeeded(ctx)

	<-ctx.Done()
	w.running.Store(false)
	w.o.Health.StopWatchingStages()
	ticks := c.Stop()
	dispatcher.Wait()
	w.Reconciler.StopRuns()
	close(w.claims)
	grace := time.AfterFunc(w.o.Grace, cancelCalls)
	defer grace.Stop()
	executor.Wait()
	close(w.outcomes)
	completer.Wait()
	<-ticks.Done()
	w.deregister(ctx)
	return nil
}

// deregister deletes this replica's heartbeat, so that other replicas do not
// report it as dead.
func (w *Engine) deregister(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), deregisterTimeout)
	defer cancel()
	if err := w.status.store.DeregisterReplica(bounded, w.o.Replica); err != nil {
		w.o.Logger.Warn("heartbeat not deleted; other replicas may report this replica as stopped",
			zap.Error(err))
	}
}

// runStatusJobAndReconcileIfNeeded is the report job. After a report it lets the reconciler detect
// data loss in Redis.
func (w *Engine) runStatusJobAndReconcileIfNeeded(ctx context.Context) {
	if w.status.Run(ctx) {
		w.Reconciler.StartRunAfterDataLossOrResume(ctx)
	}
}
