package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/authorize"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"go.uber.org/zap"
)

// signOffTimeout bounds the end of this replica's heartbeat.
const signOffTimeout = time.Second

// Stores are what the parts of a worker need of the store, one value per
// concern.
type Stores struct {
	Queue      Queue
	Deadlines  DeadlineStore
	Purge      PurgeStore
	Status     StatusStore
	Ping       Pinger
	Commit     commit.Store
	Events     event.Store
	Holds      query.Store
	Capacity   query.CapacityStore
	Inbox      intake.InboxStore
	Rejections intake.RejectionStore
	Refresh    intake.RefreshStore
	Attempts   authorize.Attempts
	Reconcile  reconcile.Stores
	Unverified reconcile.UnverifiedStore
	Unmirrored reconcile.UnmirroredStore
}

// Stripe is how the parts of a worker call Stripe and learn of its state.
// gateway.Caller is both.
type Stripe struct {
	StripeCalls
	StripeState
}

// StripeCalls sends calls. An error is a *[hold.NotSentError]: nothing was
// sent.
type StripeCalls interface {
	execute.Caller
	// ReserveAndDo reserves a request, waiting at most maxWait for the budget,
	// and sends the call.
	ReserveAndDo(ctx context.Context, call hold.Call, maxWait time.Duration) (hold.Answer, error)
	// DoEach sends calls as the budget allows and hands each answer to done,
	// concurrently. It returns the positions of the calls that were not sent.
	DoEach(
		ctx context.Context, calls []hold.Call, b execute.Batch, done func(i int, a hold.Answer),
	) (unsent []int)
}

// StripeState is whether Stripe answers, and whether it accepts the key and the
// rate.
type StripeState interface {
	StripeStatus
	CallLimit
	// Available reports whether Stripe answers and accepts the key.
	Available() bool
	// Probe asks Stripe something harmless if it is unavailable. It reports
	// whether it asked.
	Probe(ctx context.Context) bool
}

// Observer records what happens, for metrics. Its methods must be quick and
// safe for concurrent use.
type Observer interface {
	commit.Observer
	reconcile.Observer
	intake.RejectionObserver
	StatusObserver
	// CallFinished records a finished call. gateway.Caller calls it.
	CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration)
}

// Worker carries holds to their end. Make it with [New]. Its exported parts
// take requests and answer questions at any time; holds are carried out while
// [Worker.Run] runs.
type Worker struct {
	Scheduler  *intake.Scheduler
	Changer    *intake.Changer
	Webhooks   *intake.Webhooks
	Reader     *query.Reader
	Planner    *query.Planner
	Authorizer *authorize.Authorizer
	Reconciler *reconcile.Reconciler
	Readiness  *Readiness
	Dispatcher *Dispatcher

	o         Options
	status    *StatusJob
	jobs      []cronJob
	executor  *Executor
	completer *Completer
	claims    chan claimedHold
	outcomes  chan outcome
	running   atomic.Bool
}

// New wires a worker. It checks the options; [Worker.Run] checks the schedules.
func New(s Stores, stripe Stripe, o Options) (*Worker, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	redisClock, accounts := &clock.Redis{}, &reconcile.KnownAccounts{}
	flight := &inFlight{concurrency: o.Concurrency}
	observers := splitObserver(o.Observer)
	w := &Worker{
		o:        o,
		claims:   make(chan claimedHold, flight.maxAwaitingStripe()),
		outcomes: make(chan outcome, flight.maxUncommitted()),
	}

	w.Dispatcher = newDispatcher(s.Queue, stripe, flight, w.claims, DispatcherOptions{
		Concurrency: o.Concurrency, Lease: o.Lease, Clock: redisClock, Health: o.Health,
	})
	wake := w.Dispatcher.Wake
	committer := commit.New(s.Commit, commit.Options{
		Rules: o.Rules, Livemode: o.Livemode, DueSoon: dueSoon, Now: redisClock.Now, Wake: wake,
		RecordAccount: accounts.Add, Observer: observers.commit, Logger: o.Logger,
	})
	w.executor = newExecutor(stripe, flight, w.claims, w.outcomes, ExecutorOptions{
		Concurrency: o.Concurrency, CallTimeout: o.CallTimeout, Clock: redisClock, Wake: wake,
	})
	w.completer = newCompleter(committer, flight, w.outcomes, CompleterOptions{
		Concurrency: o.Concurrency, Health: o.Health, Wake: wake, Logger: o.Logger,
	})
	publisher := event.NewPublisher(s.Events, redisClock.Now)

	w.Reader = query.NewReader(s.Holds, redisClock, o.Health)
	w.Planner = query.NewPlanner(s.Holds, o.Rules, o.Health)
	forecaster := query.NewForecaster(s.Capacity, query.ForecasterOptions{
		WriteRate: o.WriteRate, TotalRate: o.TotalRate, Wake: wake,
	})

	w.Scheduler = intake.NewScheduler(s.Holds, stripe, committer,
		intake.SchedulerOptions{Rules: o.Rules, Clock: redisClock, Health: o.Health})
	w.Changer = intake.NewChanger(s.Holds, committer, intake.ChangerOptions{
		Rules: o.Rules, Health: o.Health,
	})
	w.Webhooks = intake.NewWebhooks(s.Refresh, committer, intake.WebhooksOptions{
		Livemode: o.Livemode, Clock: redisClock, Health: o.Health,
	})
	rejector := intake.NewRejector(s.Rejections, publisher, intake.RejectorOptions{
		Health: o.Health, Observer: observers.rejection, Logger: o.Logger,
	})
	refresher := intake.NewRefresher(s.Refresh, stripe, committer, rejector,
		intake.RefresherOptions{Clock: redisClock, Health: o.Health, Logger: o.Logger})
	inbox := intake.NewInbox(s.Inbox, w.Scheduler, rejector, intake.InboxOptions{
		Replica: o.Replica, Lease: o.Lease, DecodeRequest: o.DecodeRequest,
		Clock: redisClock, Health: o.Health, Logger: o.Logger,
	})

	attempts := authorize.Options{
		Attempts: s.Attempts, Holds: s.Holds, Caller: stripe, Committer: committer,
		Publisher: publisher, Clock: redisClock, Health: o.Health, Logger: o.Logger,
		Lease: o.Lease, CallTimeout: o.CallTimeout,
	}
	w.Authorizer = authorize.NewAuthorizer(attempts)
	resumer := authorize.NewResumer(attempts)

	w.Reconciler = reconcile.NewReconciler(s.Reconcile, stripe, reconcile.Options{
		Rules: o.Rules, Replica: o.Replica, Schedule: o.Schedules.Reconcile, ReadRate: o.ReadRate,
		Accounts: accounts, Committer: committer, Publisher: publisher,
		Clock: redisClock, Health: o.Health, Observer: observers.reconcile, Logger: o.Logger,
	})
	verifier := reconcile.NewVerifier(s.Unverified, stripe, committer, reconcile.VerifierOptions{
		Wake: wake, Clock: redisClock, Health: o.Health,
	})
	mirror := reconcile.NewMirror(s.Unmirrored, s.Reconcile.Budget, stripe, committer,
		reconcile.MirrorOptions{
			Enabled: o.Rules.Mirror, BudgetShort: w.Dispatcher.BudgetShort,
			Clock: redisClock, Health: o.Health, Logger: o.Logger,
		})

	w.Readiness = &Readiness{redis: s.Ping, stripe: stripe, running: w.running.Load,
		extra: w.Reconciler.ReadinessChecks}
	w.status = &StatusJob{
		store: s.Status, stripe: stripe, capacity: forecaster, publisher: publisher,
		readiness: w.Readiness,
		o: StatusOptions{
			Replica: o.Replica, Schedule: o.Schedules.Report, Clock: redisClock, Health: o.Health,
			Observer: observers.status, Logger: o.Logger,
		},
	}
	deadlines := newDeadlineJob(s.Deadlines, committer, DeadlineOptions{
		Rules: o.Rules, Clock: redisClock, Health: o.Health, Wake: wake,
	})
	purge := newPurgeJob(s.Purge, committer, PurgeOptions{
		Retention: o.Retention, Clock: redisClock, Health: o.Health, Logger: o.Logger,
	})
	w.jobs = []cronJob{
		{"capture", o.Schedules.Capture, w.Dispatcher.OpenPromotion},
		{"expiry", o.Schedules.Expiry, deadlines.Run},
		{"report", o.Schedules.Report, w.report},
		{"purge", o.Schedules.Purge, purge.Run},
		{"reconcile", o.Schedules.Reconcile, w.Reconciler.RunJob},
		{"verify", o.Schedules.Verify, verifier.Run},
		{"refresh", o.Schedules.Refresh, refresher.Run},
		{"inbox", o.Schedules.Inbox, inbox.Run},
		{"mirror", o.Schedules.Mirror, mirror.Run},
		{"resume", o.Schedules.Resume, resumer.Run},
	}
	return w, nil
}

// observers are the parts of an [Observer], each nil without one.
type observers struct {
	commit    commit.Observer
	reconcile reconcile.Observer
	rejection intake.RejectionObserver
	status    StatusObserver
}

func splitObserver(o Observer) observers {
	if o == nil {
		return observers{}
	}
	return observers{commit: o, reconcile: o, rejection: o, status: o}
}

// Run works until ctx ends. Then it claims nothing more, lets calls that are
// under way finish within the grace time, releases the rest, and returns. What
// is still open then is safe in the store.
func (w *Worker) Run(ctx context.Context) error {
	c, err := newCron(ctx, w.o.Logger, w.jobs)
	if err != nil {
		return err
	}
	// Calls outlive ctx by the grace time; outcomes are committed even after
	// that.
	calls, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	var executor, completer, dispatcher sync.WaitGroup
	executor.Go(func() { w.executor.Run(ctx, calls) })
	completer.Go(func() { w.completer.Run(ctx) })
	dispatcher.Go(func() { w.Dispatcher.Run(ctx) })
	w.running.Store(true)
	w.Reconciler.Start(ctx)
	c.Start()
	w.report(ctx)

	<-ctx.Done()
	w.running.Store(false)
	ticks := c.Stop()
	dispatcher.Wait()
	w.Reconciler.Stop()
	close(w.claims)
	grace := time.AfterFunc(w.o.Grace, hangUp)
	defer grace.Stop()
	executor.Wait()
	close(w.outcomes)
	completer.Wait()
	<-ticks.Done()
	w.signOff(ctx)
	return nil
}

// signOff ends this replica's heartbeat, so that the others do not report it as
// stopped.
func (w *Worker) signOff(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), signOffTimeout)
	defer cancel()
	if err := w.status.store.Deregister(bounded, w.o.Replica); err != nil {
		w.o.Logger.Warn("heartbeat not signed off; other replicas may report this one as stopped",
			zap.Error(err))
	}
}

// report is the report job. After the heartbeat it lets the reconciler watch
// for a loss of Redis' data.
func (w *Worker) report(ctx context.Context) {
	if w.status.Run(ctx) {
		w.Reconciler.Watch(ctx)
	}
}
