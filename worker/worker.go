package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/robfig/cron/v3"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

// Store is what the worker needs of the place where holds are kept. Its methods are described at package store.
type Store interface {
	Read(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
	Commit(ctx context.Context, writes []hold.RecordWrite) ([]bool, error)
	Page(ctx context.Context, set hold.SortedSet, after hold.Position, n int) ([]hold.ListedHold, time.Time, error)

	PromoteDue(ctx context.Context, promote bool, limit int) (hold.PromoteResult, error)
	Claim(ctx context.Context, lane hold.Lane, n int, lease time.Duration, before time.Time) ([]hold.Claim, time.Time, error)
	DueMilestones(ctx context.Context, n int) ([]hold.DueHold, time.Time, error)
	AdvanceMilestones(ctx context.Context, touches []hold.MilestoneAdvance) ([]bool, error)
	Unverified(ctx context.Context, n int) ([]hold.DueHold, time.Time, error)
	SettledBefore(ctx context.Context, before time.Time, n int) ([]hold.DueHold, error)

	TryReserve(ctx context.Context, account string, op hold.Op, n int) (granted int, wait time.Duration, err error)
	Reserve(ctx context.Context, account string, op hold.Op, n int, ahead time.Duration) (hold.Reservation, error)
	PauseAccount(ctx context.Context, account string, op hold.Op, d time.Duration) error

	Counts(ctx context.Context) (hold.Counts, error)
	Heartbeat(ctx context.Context, replica string, ttl time.Duration) (alive []string, err error)
	Deregister(ctx context.Context, replica string) error
	Ping(ctx context.Context) error

	Attempts
	WebhookStore
	InboxStore
	EventPublisher
	Unmirrored(ctx context.Context, n int) ([]hold.DueHold, time.Time, error)

	BeginReconcile(ctx context.Context, state []byte, lease, stale, gap time.Duration) (token int64, found []byte, err error)
	SaveReconcile(ctx context.Context, token int64, state []byte, findings [][]byte, lease time.Duration, done bool) (ok bool, err error)
	ReadReconcile(ctx context.Context, n int) (state []byte, findings [][]byte, held, done bool, err error)
	DetectDataLoss(ctx context.Context) (emptied bool, err error)
	ShareAccounts(ctx context.Context, met []string) (all []string, err error)
}

// Stripe is what the worker needs of Stripe. Every answer is one of the closed kinds; there is no error beside it.
type Stripe interface {
	Do(ctx context.Context, call hold.Call) hold.Answer
	// List returns one page of intents, newest first, that come after the intent named.
	List(ctx context.Context, account, after string, n int) (page []hold.Intent, more bool, a hold.Answer)
	// Check asks something cheap, to learn whether Stripe answers and takes the key.
	Check(ctx context.Context) hold.Answer
	// Update sets pairs of an intent's metadata; an empty value removes its pair.
	Update(ctx context.Context, id, account string, metadata map[string]string, key string) hold.Answer

	Authorizer
}

// Observer is told what happens, for metrics. Its methods must be quick and safe for concurrent use.
type Observer interface {
	CallFinished(op hold.Op, kind hold.AnswerKind, took time.Duration)
	EventRecorded(h *hold.Hold, n hold.Event, lateness time.Duration)
	HoldsCounted(c hold.Counts, alive int, nearest time.Time)
	ReconcileFinished(r Reconciliation)
	RequestRejected(source string, code hold.Code) // a wish of the inbox, or terms in metadata
	ReadinessChecked(checks []Check)               // with each turn of the report job
	CapacityChecked(c Capacity)                    // whenever it was looked at; the zero value: nothing is
}

// Schedules are cron expressions, one for each job.
type Schedules struct {
	Capture, Expiry, Report, Purge string
	Reconcile                      string
	Verify                         string // of the checks in the background; not a setting
	Abandon                        string // of authorizations that nobody finished; not a setting
	Refresh, Inbox, Mirror         string // not settings
}

// Options say how to work. Zero values mean the defaults of the settings.
type Options struct {
	Rules       hold.Rules
	Schedules   Schedules
	Concurrency int           // calls to Stripe under way at once
	Lease       time.Duration // within this time a crashed replica's work is taken over
	CallTimeout time.Duration // of one call to Stripe
	Grace       time.Duration // for what is under way when stopping
	ReadRate    int           // reads a second that the budget has; reconcile takes half of them at the most
	WriteRate   int           // captures, and as many cancels, a second of each account that the budget has; 0: no limit is known, and none is warned of
	TotalRate   int           // requests a second of each account over all kinds; 0: no limit
	Retention   time.Duration // of settled holds
	Livemode    bool
	Replica     string // this process, unique among the replicas
	Logger      *zap.Logger
	Observer    Observer // may be nil
	// Decode reads a wish of the inbox, by the same rules as the API's; its errors are *[hold.Problem]. Nil: the inbox is not read.
	DecodeRequest func(text []byte) (hold.ScheduleRequest, error)
}

func (o *Options) defaults() error {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Lease, 30*time.Second)
	set(&o.CallTimeout, 10*time.Second)
	set(&o.Grace, 20*time.Second)
	set(&o.Retention, 90*24*time.Hour)
	set(&o.Rules.ExpiryMargin, time.Hour)
	if o.Concurrency == 0 {
		o.Concurrency = 64
	}
	if o.ReadRate == 0 {
		o.ReadRate = 25
	}
	for p, v := range map[*string]string{
		&o.Schedules.Reconcile: "@every 15m",
		&o.Schedules.Capture:   "@every 1s", &o.Schedules.Expiry: "@every 1s", &o.Schedules.Report: "@every 15s", &o.Schedules.Purge: "@hourly", &o.Schedules.Verify: "@every 5s",
		&o.Schedules.Abandon: "@every 10s",
		&o.Schedules.Refresh: "@every 1s", &o.Schedules.Inbox: "@every 1s", &o.Schedules.Mirror: "@every 2s",
	} {
		if *p == "" {
			*p = v
		}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Replica == "" {
		return errors.New("a replica needs a name that no other has")
	}
	if o.CallTimeout*2 > o.Lease {
		return fmt.Errorf("a call may take %s and a lease lasts %s: a lease must last at least twice as long, or a slow call outlives it", o.CallTimeout, o.Lease)
	}
	return nil
}

// lookahead is how far a look at the schedule sees. What falls due within it is acted on at its moment, not at the next tick.
const lookahead = time.Second

// leaseSlack is taken off a lease, so that the next look after its end still comes within the time promised for taking over.
const leaseSlack = 2 * time.Second

// Worker sees holds to their end. Make it with New; it works while Run runs, and takes wishes at any time.
type Worker struct {
	o      Options
	store  Store
	stripe Stripe
	log    *zap.Logger

	offset             atomic.Int64 // Redis' time minus ours, in nanoseconds
	promoteUntil       atomic.Int64 // until when scheduled holds are promoted, Unix nanoseconds of our clock: set by the capture job
	wake               chan struct{}
	running            atomic.Bool
	storeDown          atomic.Bool
	budgetShortAt      atomic.Int64 // when holds that are due last had to wait for the budget, Unix nanoseconds of our clock
	rateLimitedCalls   atomic.Int64 // refusals for the rate since the last report
	unreadableLoggedAt atomic.Int64 // when records that can't be read were last told of, Unix seconds

	breaker     *gobreaker.TwoStepCircuitBreaker[hold.Answer]
	keyRejected atomic.Bool // Stripe refuses the key
	lastProbe   time.Time   // when it was last asked whether it still does; of the verify job alone

	jobs              chan claimedHold
	results           chan outcome
	awaitingStripe    atomic.Int64 // claims that wait for Stripe
	uncommittedClaims atomic.Int64 // claims that are not committed yet

	recon          reconciler
	conditionState conditionState // of the report job alone
}

// New makes a worker. Its options are checked here; schedules by [Worker.Run].
func New(s Store, st Stripe, o Options) (*Worker, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	w := &Worker{
		o: o, store: s, stripe: st, log: o.Logger,
		wake: make(chan struct{}, 1),
		jobs: make(chan claimedHold, o.maxAwaitingStripe()), results: make(chan outcome, o.maxUncommitted()),
	}
	w.breaker = newBreaker(w)
	return w, nil
}

// maxAwaitingStripe is how many claims may wait for Stripe: as many as can be under way, and as many again, so that no handler waits for Redis and a claim takes
// as many at once as there are handlers. More would only make others wait behind this replica.
func (o *Options) maxAwaitingStripe() int { return 2 * o.Concurrency }

// maxUncommitted is how many claims a replica may have that are not settled in the store: handlers go on while the last outcomes are written,
// and what has piled up meanwhile shares the next round trip.
func (o *Options) maxUncommitted() int { return 4 * o.Concurrency }

// redisNow is Redis' time as far as this replica knows. Whether a hold is due is never decided by it.
func (w *Worker) redisNow() time.Time {
	return time.Now().Add(time.Duration(w.offset.Load())).UTC().Truncate(time.Millisecond)
}

func (w *Worker) syncClock(redis time.Time) {
	if !redis.IsZero() {
		w.offset.Store(int64(time.Until(redis)))
	}
}

// Run works until ctx ends. Then it claims nothing more, lets calls that are under way finish within the grace time, gives the rest back,
// and returns. What is still open then is safe in the store.
func (w *Worker) Run(ctx context.Context) error {
	c, err := w.newCron(ctx)
	if err != nil {
		return err
	}
	// Calls outlive ctx by the grace time; results are committed after that still.
	calls, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	var handlers, settler, drainer sync.WaitGroup
	for range w.o.Concurrency {
		handlers.Go(func() {
			for j := range w.jobs {
				r := w.execute(ctx, calls, j)
				n := w.awaitingStripe.Add(-1) // before the settler sees the result: it waits for others only while some are at Stripe
				w.results <- r
				// Half the handlers' worth of claims is worth a look; waking for each would be a look for each.
				if n == int64(w.o.Concurrency) || n == 0 {
					w.Wake()
				}
			}
		})
	}
	settler.Go(w.completeOutcomes)
	drainer.Go(func() { w.dispatchLoop(ctx) })
	w.running.Store(true)
	w.recon.open(ctx)
	c.Start()
	w.reportStatus(ctx)

	<-ctx.Done()
	w.running.Store(false)
	ticks := c.Stop()
	drainer.Wait()
	w.recon.close()
	close(w.jobs)
	timer := time.AfterFunc(w.o.Grace, hangUp)
	defer timer.Stop()
	handlers.Wait()
	close(w.results)
	settler.Wait()
	<-ticks.Done()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := w.store.Deregister(leave, w.o.Replica); err != nil {
		w.log.Warn("this replica's heartbeat could not be taken back; others may report it as stopped", zap.Error(err))
	}
	return nil
}

func (w *Worker) newCron(ctx context.Context) (*cron.Cron, error) {
	logger := cronLogger{w.log}
	c := cron.New(cron.WithLogger(logger), cron.WithChain(cron.Recover(logger), cron.SkipIfStillRunning(logger)))
	for _, j := range []struct {
		name, spec string
		run        func(context.Context)
	}{
		{"capture", w.o.Schedules.Capture, w.openPromotion},
		{"expiry", w.o.Schedules.Expiry, w.passDueMilestones},
		{"report", w.o.Schedules.Report, w.reportStatus},
		{"purge", w.o.Schedules.Purge, w.purgeSettled},
		{"reconcile", w.o.Schedules.Reconcile, w.reconcile},
		{"verify", w.o.Schedules.Verify, w.verifyUnverified},
		{"look", w.o.Schedules.Refresh, w.refreshPending},
		{"inbox", w.o.Schedules.Inbox, w.readInbox},
		{"mirror", w.o.Schedules.Mirror, w.mirrorTerms},
		{"abandon", w.o.Schedules.Abandon, w.resumeAttempts},
	} {
		if _, err := c.AddFunc(j.spec, func() { j.run(ctx) }); err != nil {
			return nil, fmt.Errorf("schedule_%s %q is no cron schedule: write it as %q or %q: %w", j.name, j.spec, "@every 1s", "TZ=Europe/Paris */5 9-18 * * *", err)
		}
	}
	return c, nil
}

// openPromotion is the job that lets scheduled holds become ready. The work itself is done by the drain loop, which goes on between two ticks.
func (w *Worker) openPromotion(context.Context) {
	w.promoteUntil.Store(time.Now().Add(lookahead + lookahead/10).UnixNano())
	w.Wake()
}

// Wake makes the worker look at the schedule now: something may have become due that a tick would see only later.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default: // a look is coming already
	}
}

type cronLogger struct{ log *zap.Logger }

func (l cronLogger) Info(msg string, kv ...any) { l.log.Sugar().Debugw("cron: "+msg, kv...) }
func (l cronLogger) Error(err error, msg string, kv ...any) {
	l.log.Sugar().Errorw("cron: "+msg, append(kv, "error", err)...)
}
