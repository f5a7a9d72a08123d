package worker

import (
	"context"

	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/erase"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/repair"
)

// New returns an engine. It checks the options; [Engine.Run] checks the cron
// expressions.
func New(s Stores, stripe StripeClient, o Options) (*Engine, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	if o.Changes == nil {
		o.Changes = changes.NewWatcher(s.Changes)
	}
	w := &Engine{o: o}
	b := &engineBuilder{
		stores: s, stripe: stripe, o: o, observers: observerPartsOf(o.Observer),
		tracers: tracerPartsOf(o.Tracer),
		clock:   &clock.RedisClock{}, accounts: &reconcile.KnownAccounts{},
	}
	b.publisher = event.NewSystemEventPublisher(s.Events, b.clock.Now)
	b.buildStages(w)
	w.Reader = query.NewHoldReader(s.Holds, b.clock, o.Health)
	w.Planner = query.NewPlanner(s.Holds, o.Rules, o.Health)
	w.DoubleHeld = query.NewDoubleHeldReader(s.Holds)
	w.Repairer = repair.New(s.Repair, stripe, b.committer,
		repair.Options{Clock: b.clock, Health: o.Health, Logger: o.Logger})
	w.RecordAct = b.committer.RecordAct
	w.Eraser = erase.New(s.Erasure, b.committer,
		erase.Options{Deliveries: o.Deliveries, Health: o.Health, Logger: o.Logger})
	refresher, inbox := b.buildIntake(w)
	resumer := b.buildAuthorizer(w)
	verifier, mirror := b.buildReconciler(w)
	redisCheck := b.buildStatusJobs(w)
	deadlines := newDeadlineJob(s.Deadlines, b.committer, DeadlineOptions{
		Rules: o.Rules, Clock: b.clock, Health: o.Health, Gate: b.newAllPartitionsPollGate(),
		WakeIfGateOpen: w.Dispatcher.WakeIfGateOpen,
	})
	purge := newPurgeJob(s.Purge, b.committer, PurgeOptions{
		Retention: o.Retention, Clock: b.clock, Health: o.Health, Logger: o.Logger,
	})
	w.jobs = []cronJob{
		{name: "capture", schedule: o.Schedules.Capture, run: w.Dispatcher.AllowPromotionUntilNextTick},
		b.newJob("expiry", o.Schedules.Expiry, deadlines.Run),
		b.newJob("report", o.Schedules.Report, w.runStatusJobAndReconcileIfNeeded),
		b.newJob("purge", o.Schedules.Purge, purge.Run),
		b.newJob("reconcile", o.Schedules.Reconcile, w.Reconciler.RunCronJob),
		b.newJob("verify", o.Schedules.Verify, verifier.Run),
		b.newJob("refresh", o.Schedules.Refresh, refresher.Run),
		b.newJob("inbox", o.Schedules.Inbox, inbox.Run),
		b.newJob("mirror", o.Schedules.Mirror, mirror.Run),
		b.newJob("resume", o.Schedules.Resume, resumer.Run),
		b.newJob("redis_check", o.Schedules.RedisCheck, redisCheck.Run),
	}
	return w, nil
}

// engineBuilder holds the dependencies that the parts of an engine share.
type engineBuilder struct {
	stores    Stores
	stripe    StripeClient
	o         Options
	observers observerParts
	tracers   tracerParts
	clock     *clock.RedisClock
	accounts  *reconcile.KnownAccounts
	committer *commit.Committer
	publisher *event.SystemEventPublisher
	wake      func() // [Dispatcher.Wake]
}

// newJob returns a cron job that is a stage of its own.
func (b *engineBuilder) newJob(name, schedule string, run func(ctx context.Context)) cronJob {
	stage := b.o.Health.AddStage(name, newCronSchedule(schedule))
	// A call and what Redis needs for it end within this time, and a wait for
	// the budget is reported as progress.
	stage.SetMaxTimeWithoutSuccess(health.StallLimit + 2*b.o.CallTimeout)
	return cronJob{name, schedule, run, stage}
}

// newAllPartitionsPollGate returns a gate for a loop that polls Redis.
func (b *engineBuilder) newAllPartitionsPollGate() *changes.PollGate {
	return b.o.Changes.NewAllPartitionsPollGate(changes.LongestWait)
}

// buildStages builds the dispatcher, the executor and the completer, and the
// committer that every part writes through.
func (b *engineBuilder) buildStages(w *Engine) {
	o := b.o
	flight := &claimsInFlight{concurrency: o.Concurrency}
	w.claims = make(chan claimedHold, flight.maxAwaitingStripe())
	w.outcomes = make(chan claimOutcome, flight.maxUncommitted())

	w.Dispatcher = newDispatcher(b.stores.Queue, b.stripe, flight, w.claims, DispatcherOptions{
		Concurrency: o.Concurrency, Lease: o.Lease, Clock: b.clock, Health: o.Health,
		Gate: b.newAllPartitionsPollGate(),
		NextPoll: earliestSchedule(newCronSchedule(o.Schedules.Capture),
			newCronSchedule(o.Schedules.Expiry)),
	})
	b.wake = w.Dispatcher.Wake
	b.committer = commit.New(b.stores.Commit, commit.Options{
		Rules: o.Rules, Livemode: o.Livemode, WakeAhead: wakeAhead, Now: b.clock.Now, Wake: b.wake,
		RecordAccount: b.accounts.Add, Observer: b.observers.commit, Tracer: b.tracers.commit,
		CardholderLink: o.CardholderLink, Logger: o.Logger,
	})
	w.executor = newExecutor(b.stripe, flight, w.claims, w.outcomes, ExecutorOptions{
		Concurrency: o.Concurrency, Lease: o.Lease, CallTimeout: o.CallTimeout,
		Clock: b.clock, Health: o.Health, Wake: b.wake, Tracer: b.tracers.execution,
	})
	w.completer = newCompleter(b.committer, flight, w.outcomes, CompleterOptions{
		Concurrency: o.Concurrency, Health: o.Health, Wake: b.wake, Logger: o.Logger,
	})
}

// buildIntake builds the scheduler, the changer and the webhooks, and returns
// the jobs of intake.
func (b *engineBuilder) buildIntake(
	w *Engine,
) (*intake.IntentRefresher, *intake.RequestInboxConsumer) {
	s, o := b.stores, b.o
	w.Scheduler = intake.NewScheduler(s.Holds, b.stripe, b.committer, intake.SchedulerOptions{
		Rules: o.Rules, Clock: b.clock, Health: o.Health,
	})
	w.Changer = intake.NewChanger(s.Holds, b.committer, intake.ChangerOptions{
		Rules: o.Rules, Health: o.Health, Tracer: b.tracers.change,
	})
	w.Cardholder = intake.NewCardholderActionService(s.Holds, b.committer, b.stripe, o.Health)
	w.Webhooks = intake.NewWebhookProcessor(s.Refresh, b.committer, intake.WebhookProcessorOptions{
		Livemode: o.Livemode, Clock: b.clock, Health: o.Health, Tracer: b.tracers.webhook,
	})
	rejector := intake.NewRejector(s.Rejections, b.publisher, intake.RejectorOptions{
		Health: o.Health, Observer: b.observers.rejection, Logger: o.Logger,
	})
	refresher := intake.NewIntentRefresher(s.Refresh, b.stripe, b.committer, rejector,
		intake.IntentRefresherOptions{ListAbove: o.ListReadsAbove, Gate: b.newAllPartitionsPollGate(), Locks: s.Locks,
			Clock: b.clock, Health: o.Health, Logger: o.Logger})
	inbox := intake.NewRequestInboxConsumer(
		s.Inbox,
		w.Scheduler,
		rejector,
		intake.RequestInboxOptions{
			Replica: o.Replica, Lease: o.Lease, DecodeRequest: o.DecodeRequest,
			ParseTraceparent: b.tracers.parse,
			Gate:             o.Changes.NewInboxPollGate(changes.LongestWait),
			Clock:            b.clock, Health: o.Health, Logger: o.Logger,
		},
	)
	return refresher, inbox
}

// buildAuthorizer builds the authorizer, and returns the resume job.
func (b *engineBuilder) buildAuthorizer(w *Engine) *authorize.AttemptResumer {
	o := authorize.Options{
		Attempts: b.stores.Attempts, Holds: b.stores.Holds, Caller: b.stripe,
		Committer: b.committer, Publisher: b.publisher, Tracer: b.tracers.attempt,
		Clock: b.clock, Health: b.o.Health, Logger: b.o.Logger,
		Lease: b.o.Lease, CallTimeout: b.o.CallTimeout,
	}
	w.Authorizer = authorize.NewAuthorizer(o)
	return authorize.NewAttemptResumer(o)
}

// buildReconciler builds the reconciler, and returns the verify and mirror
// jobs.
func (b *engineBuilder) buildReconciler(
	w *Engine,
) (*reconcile.Verifier, *reconcile.MetadataMirror) {
	s, o := b.stores, b.o
	w.Reconciler = reconcile.NewReconciler(s.Reconcile, b.stripe, reconcile.Options{
		Rules: o.Rules, Replica: o.Replica, Schedule: o.Schedules.Reconcile, ReadRate: o.ReadRate,
		Accounts: b.accounts, Committer: b.committer, Publisher: b.publisher,
		Clock: b.clock, Health: o.Health, Observer: b.observers.reconcile, Logger: o.Logger,
	})
	verifier := reconcile.NewVerifier(s.Unverified, b.stripe, b.committer,
		reconcile.VerifierOptions{
			Wake: b.wake, ListAbove: o.ListReadsAbove, Gate: b.newAllPartitionsPollGate(), Locks: s.Locks,
			Clock: b.clock, Health: o.Health,
		})
	mirror := reconcile.NewMetadataMirror(s.Unmirrored, s.Reconcile.Budget, b.stripe, b.committer,
		reconcile.MetadataMirrorOptions{
			Enabled: o.Rules.Mirror, WaitedForBudget: w.Dispatcher.HasWaitedForBudget,
			Gate: b.newAllPartitionsPollGate(), Clock: b.clock, Health: o.Health, Logger: o.Logger,
		})
	return verifier, mirror
}

// buildStatusJobs builds the readiness report and the report job, and returns
// the job that checks Redis' settings.
func (b *engineBuilder) buildStatusJobs(w *Engine) *RedisCheckJob {
	o := b.o
	redis := &RedisCheckJob{redis: o.RedisInspector, health: o.Health}
	w.Readiness = &ReadinessChecker{
		redis: b.stores.Ping, stripe: b.stripe, running: w.running.Load,
		stages: o.Health, extra: func() []health.ReadinessCheckResult {
			return append(redis.readinessChecks(), w.Reconciler.DataLossReadinessChecks()...)
		},
	}
	w.status = &StatusJob{
		store: b.stores.Status, stripe: b.stripe, publisher: b.publisher, readiness: w.Readiness,
		redis: redis, doubleHeld: w.DoubleHeld,
		counts:         reportedCounts{gate: o.Changes.NewAllPartitionsPollGate(countsLongestWait)},
		doubleHeldGate: o.Changes.NewAllPartitionsPollGate(countsLongestWait),
		capacity: query.NewCapacityRiskForecaster(b.stores.Capacity,
			query.CapacityRiskForecasterOptions{
				WriteRate: o.WriteRate, TotalRate: o.TotalRate, Wake: b.wake,
				Gate: o.Changes.NewAllPartitionsPollGate(query.ForecastLongestWait),
			}),
		o: StatusOptions{
			Replica: o.Replica, Schedule: o.Schedules.Report, Clock: b.clock, Health: o.Health,
			Observer: b.observers.status, Logger: o.Logger,
		},
	}
	return redis
}

// observerParts are the parts of an [Observer], each nil without one.
type observerParts struct {
	commit    commit.Observer
	reconcile reconcile.Observer
	rejection intake.RejectionObserver
	status    StatusObserver
}

func observerPartsOf(o Observer) observerParts {
	if o == nil {
		return observerParts{}
	}
	return observerParts{commit: o, reconcile: o, rejection: o, status: o}
}

// tracerParts are the parts of a [Tracer], each nil without one.
type tracerParts struct {
	commit    commit.Tracer
	change    intake.RequestSpanLinker
	webhook   intake.WebhookTracer
	execution ExecutionTracer
	attempt   authorize.Tracer
	parse     func(text string) hold.TraceContext
}

func tracerPartsOf(t Tracer) tracerParts {
	if t == nil {
		return tracerParts{}
	}
	return tracerParts{commit: t, change: t, webhook: t, execution: t, attempt: t,
		parse: t.ParseTraceparent}
}
