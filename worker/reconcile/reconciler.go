package reconcile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

const (
	// listWindow is the maximum age of a listed intent. The longest
	// authorization lasts 30 days.
	listWindow = 35 * 24 * time.Hour
	// resumeWithin is the maximum age of an unfinished run that is continued.
	// An older run is started again, because its lists lack newer intents.
	resumeWithin = time.Hour
)

var (
	errNoAnswer    = errors.New("no answer from Stripe")
	errKeyRejected = errors.New("key rejected by Stripe")

	errNotRunning = fmt.Errorf("%w (this replica is starting or stopping)", health.ErrUnavailable)
)

// HoldReader reads holds. store.Holds and store.Queue implement it.
type HoldReader interface {
	// ReadHolds returns the holds in the order of ids. A hold that does not
	// exist is nil.
	ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
	// ReadSortedSetPage returns up to n holds of a sorted set after a position.
	ReadSortedSetPage(
		ctx context.Context, set hold.SortedSet, after hold.SortedSetPosition, n int,
	) ([]hold.HoldAtPosition, time.Time, error)
	CountHolds(ctx context.Context) (hold.HoldCounts, error)
}

// AccountStore shares the known accounts of all replicas, and detects data loss
// in Redis. store.ReconcileRuns and store.Store implement it.
type AccountStore interface {
	// ShareKnownAccounts adds accounts to the list that all replicas share, and
	// returns up to 1,000 of the list.
	ShareKnownAccounts(ctx context.Context, accounts []string) (all []string, err error)
	// DetectDataLossAndRestoreProperties reports whether Redis lost its data while it was in use.
	// It reports each loss to one replica.
	DetectDataLossAndRestoreProperties(ctx context.Context) (emptied bool, err error)
}

// Budget is the shared budget of all replicas, per account and kind of request.
// store.Budget implements it.
type Budget interface {
	// ReserveRequests reserves requests for every want, in one round trip.
	ReserveRequests(ctx context.Context, wants ...hold.BudgetRequest) ([]hold.BudgetReservation, error)
}

// StripeCaller sends calls to Stripe whose request is reserved. gateway.Caller
// implements it.
type StripeCaller interface {
	// Do returns a *[hold.CallNotSentError] if no request was sent.
	Do(ctx context.Context, call hold.Call) (hold.Answer, error)
	// IsStripeAvailable reports whether Stripe answers and accepts the key.
	IsStripeAvailable() bool
}

// Committer writes decisions. [commit.Committer] implements it.
type Committer interface {
	// CommitWithRetry reports for each change whether it was written; false
	// means that another writer was first.
	CommitWithRetry(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// Observer records every finished run, except dry runs, for metrics.
// daemon.metrics implements it.
type Observer interface {
	ReconcileFinished(r Reconciliation)
}

// Stores are the interfaces that a [Reconciler] needs of the store.
type Stores struct {
	Runs     RunStore
	Holds    HoldReader
	Accounts AccountStore
	Budget   Budget
}

// Options configure a [Reconciler].
type Options struct {
	Rules     hold.DecisionRules
	Replica   string // this process, unique among the replicas
	Schedule  string // cron expression of the job
	ReadRate  int    // reads per second in the budget, above 0; a run uses at most half
	Accounts  *KnownAccounts
	Committer Committer
	Publisher EventPublisher
	Clock     *clock.RedisClock
	Health    *health.Reporter
	Observer  Observer // may be nil
	Logger    *zap.Logger
}

// Reconciler compares Stripe with the schedule, both ways, and continues
// interrupted runs of other replicas. It works between [Reconciler.AllowRuns] and
// [Reconciler.StopRuns] and is safe for concurrent use.
type Reconciler struct {
	stores   Stores
	caller   StripeCaller
	o        Options
	pace     *retrievePacer
	reporter *findingReporter

	dataLostAt atomic.Int64 // when Redis lost its data, Unix milliseconds; 0 after a full run
	running    sync.WaitGroup

	mu sync.Mutex
	// startComparison runs one in the background. It is nil before AllowRuns and
	// after StopRuns.
	startComparison func(*comparison)
	stopped         <-chan struct{} // closed when the replica stops
	dryRun          *comparison     // the current or newest dry run of this replica
}

// NewReconciler returns a reconciler. It starts no comparison before
// [Reconciler.AllowRuns].
func NewReconciler(s Stores, caller StripeCaller, o Options) *Reconciler {
	return &Reconciler{
		stores: s, caller: caller, o: o,
		// A run leaves half of the read budget to intake, the verifier and the
		// executor.
		pace:     &retrievePacer{step: 2 * time.Second / time.Duration(o.ReadRate)},
		reporter: &findingReporter{publisher: o.Publisher, health: o.Health, log: o.Logger},
	}
}

// AllowRuns allows comparisons. They are interrupted when ctx ends.
func (r *Reconciler) AllowRuns(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.startComparison = func(c *comparison) { r.running.Go(func() { c.runAndLog(ctx) }) }
	r.stopped = ctx.Done()
}

// StopRuns disallows comparisons and waits for the one under way. The context of
// [Reconciler.AllowRuns] must have ended.
func (r *Reconciler) StopRuns() {
	r.mu.Lock()
	r.startComparison = nil
	r.mu.Unlock()
	r.running.Wait()
}

// runInBackgroundUnlessStopped runs a comparison in the background. It returns
// false if the replica is starting or stopping.
func (r *Reconciler) runInBackgroundUnlessStopped(c *comparison) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.canStartRunLocked() {
		return false
	}
	r.startComparison(c)
	return true
}

func (r *Reconciler) canStartRun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.canStartRunLocked()
}

func (r *Reconciler) canStartRunLocked() bool {
	select {
	case <-r.stopped:
		return false
	default:
		return r.startComparison != nil
	}
}

// StartRun starts a run in the background, or returns the run under way;
// started is true if it started one. accounts are added to the [KnownAccounts];
// a run under way may not compare them. A dry run changes nothing. Only this
// replica knows it, and other runs may start beside it. Errors are
// *[hold.Problem] or wrap [health.ErrUnavailable].
func (r *Reconciler) StartRun(
	ctx context.Context, dryRun bool, accounts []string, by string,
) (run Reconciliation, started bool, err error) {
	for _, a := range accounts {
		if err := hold.CheckAccountID(a); err != nil {
			return run, false, err
		}
	}
	for _, a := range accounts {
		r.o.Accounts.Add(a)
	}
	if dryRun {
		return r.startDryRun(by)
	}
	c, err := r.tryStartOrContinueRun(ctx, by, 0)
	if err != nil {
		return run, false, err
	}
	if c != nil {
		return c.run.currentReport(), true, nil
	}
	run, _, err = r.ReadReconciliation(ctx, "")
	return run, false, err
}

// ReadReconciliation returns the report of the run with an id, or of the newest
// run if id is empty. It finds the newest dry run of this replica and the
// newest other run of all replicas. ok is false for any other id. An intent that
// was scheduled after the run found it without a hold is not reported.
func (r *Reconciler) ReadReconciliation(
	ctx context.Context, id string,
) (run Reconciliation, ok bool, err error) {
	if run, ok, err = r.readReport(ctx, id); err == nil && ok {
		err = r.dropAdoptedIntents(ctx, &run)
	}
	return run, ok, err
}

// readReport reads the report of a run as the run found it.
func (r *Reconciler) readReport(
	ctx context.Context, id string,
) (run Reconciliation, ok bool, err error) {
	r.mu.Lock()
	dry := r.dryRun
	r.mu.Unlock()
	if dry != nil {
		if run = dry.run.currentReport(); run.ID == id {
			return run, true, nil
		}
	}
	state, findings, held, done, err := r.stores.Runs.ReadReconcileRun(ctx, maxFindings)
	if err != nil {
		return run, false, r.o.Health.ReportAndWrapUnavailable(ctx, "read the newest run", err)
	}
	var last runCheckpoint
	if state == nil || json.Unmarshal(state, &last) != nil {
		return run, dry != nil && id == "", nil
	}
	if id == "" && dry != nil && run.StartedAt.After(last.StartedAt) {
		return run, true, nil
	}
	if id != "" && last.ID != id {
		return Reconciliation{}, false, nil
	}
	run = last.Reconciliation
	if !held && !done {
		run.State = RunInterrupted
	}
	run.Findings = decodeFindings(findings)
	return run, true, nil
}

// RunCronJob is the cron job. It waits for its run to end, so that cron skips
// the ticks meanwhile. Every replica has the job; it starts no run if another
// replica started one within nine tenths of the interval.
func (r *Reconciler) RunCronJob(ctx context.Context) {
	if !r.caller.IsStripeAvailable() {
		return
	}
	gap := time.Duration(0)
	if s, err := cron.ParseStandard(r.o.Schedule); err == nil {
		now := time.Now()
		gap = s.Next(now.Add(time.Second)).Sub(now) * 9 / 10
	}
	if c, err := r.tryStartOrContinueRun(ctx, "schedule", gap); err == nil && c != nil {
		<-c.done
	}
}

// startDryRun starts a dry run, or returns the one under way.
func (r *Reconciler) startDryRun(by string) (Reconciliation, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.canStartRunLocked() {
		return Reconciliation{}, false, errNotRunning
	}
	if r.dryRun != nil {
		if run := r.dryRun.run.currentReport(); run.State == RunRunning {
			return run, false, nil
		}
	}
	r.dryRun = r.newComparison(by)
	r.dryRun.run.dryRun, r.dryRun.run.state.DryRun = true, true
	run := r.dryRun.run.currentReport()
	r.startComparison(r.dryRun)
	return run, true, nil
}

// tryStartOrContinueRun acquires the lock and starts a run, or continues an
// interrupted one. It returns nil if another replica has the lock or a run
// began within gap.
func (r *Reconciler) tryStartOrContinueRun(
	ctx context.Context, by string, gap time.Duration,
) (*comparison, error) {
	if !r.canStartRun() {
		return nil, errNotRunning
	}
	c := r.newComparison(by)
	state, err := json.Marshal(&c.run.state)
	if err != nil {
		return nil, fmt.Errorf("encode the run: %w", err)
	}
	token, found, err := r.stores.Runs.BeginOrResumeReconcileRun(ctx, state, runLease, resumeWithin, gap)
	if err != nil {
		return nil, r.o.Health.ReportAndWrapUnavailable(ctx, "begin a comparison with Stripe", err)
	}
	if token == 0 {
		return nil, nil
	}
	c.run.token, c.run.saved = token, time.Now()
	var left runCheckpoint
	if found != nil && json.Unmarshal(found, &left) == nil {
		c.restoreCheckpoint(left, r.o.Replica)
	}
	// The mutex is not held during the call to Redis, so that a slow Redis
	// delays neither a report nor the stop.
	if !r.runInBackgroundUnlessStopped(c) {
		_ = c.saveRunEnd(ctx, errNotRunning) // releases the lock, so that another replica can continue
		return nil, errNotRunning
	}
	return c, nil
}

func (r *Reconciler) newComparison(by string) *comparison {
	now := r.o.Clock.Now()
	progress := &run{store: r.stores.Runs, clock: r.o.Clock}
	progress.state = runCheckpoint{
		CreatedSince: now.Add(-listWindow),
		Reconciliation: Reconciliation{
			ID: "rec_" + strings.ToLower(rand.Text()[:16]), State: RunRunning,
			By: by, Replica: r.o.Replica, StartedAt: now, UpdatedAt: now,
		},
	}
	progress.state.initMaps()
	reader := &pacedRetriever{
		budget: r.stores.Budget, caller: r.caller, pace: r.pace, run: progress,
	}
	return newComparison(progress, r.stores, reader, r.reporter, &r.o)
}

// StartRunAfterDataLossOrResume starts a comparison if Redis has lost its data or has never
// seen one, and continues an interrupted run. It also shares the known accounts
// with the other replicas. The worker calls it after every report.
func (r *Reconciler) StartRunAfterDataLossOrResume(ctx context.Context) {
	lost, err := r.stores.Accounts.DetectDataLossAndRestoreProperties(ctx)
	if err != nil {
		r.o.Health.ReportError(ctx, "detect data loss", err)
		return
	}
	if lost {
		r.reportDataLoss(ctx)
	}
	all, err := r.stores.Accounts.ShareKnownAccounts(ctx, r.o.Accounts.List())
	if err != nil {
		r.o.Health.ReportError(ctx, "share the known accounts", err)
	}
	for _, a := range all {
		r.o.Accounts.Add(a) // any replica may compare after a data loss
	}
	state, _, held, done, err := r.stores.Runs.ReadReconcileRun(ctx, 0)
	switch {
	case err != nil:
		r.o.Health.ReportError(ctx, "read the newest run", err)
		return
	case held:
		return
	case done:
		r.clearDataLossIfRebuilt(state)
		return
	case !r.caller.IsStripeAvailable():
		return
	}
	if _, err := r.tryStartOrContinueRun(ctx, "holdd", 0); err != nil && ctx.Err() == nil {
		r.o.Logger.Warn("comparison with Stripe not started; retrying with the next report",
			zap.Error(err))
	}
}

// reportDataLoss logs and publishes that Redis has lost its data.
func (r *Reconciler) reportDataLoss(ctx context.Context) {
	now := r.o.Clock.Now()
	r.dataLostAt.Store(now.UnixMilli())
	r.o.Logger.Error(
		"Redis was emptied while in use; rebuilding holds from their intents' metadata",
		zap.String("event", string(event.RedisDataLost)))
	data := event.EventData{Replica: r.o.Replica}
	_, err := r.o.Publisher.PublishOnce(ctx, event.RedisDataLost, now.Format(time.RFC3339), data)
	if err != nil {
		r.o.Health.ReportError(ctx, "publish the data loss", err)
	}
}

// clearDataLossIfRebuilt clears dataLostAt if the finished run with this state began
// after the data loss.
func (r *Reconciler) clearDataLossIfRebuilt(state []byte) {
	var last runCheckpoint
	if json.Unmarshal(state, &last) != nil {
		return
	}
	if at := r.dataLostAt.Load(); last.StartedAt.UnixMilli() >= at {
		r.dataLostAt.CompareAndSwap(at, 0)
	}
}

// DataLossReadinessChecks returns a check named schedule while the schedule is
// rebuilt after a data loss.
func (r *Reconciler) DataLossReadinessChecks() []health.ReadinessCheckResult {
	at := r.dataLostAt.Load()
	if at == 0 {
		return nil
	}
	return []health.ReadinessCheckResult{{Name: "schedule", OK: true,
		Detail: "Redis was found emptied at " +
			time.UnixMilli(at).UTC().Format(time.RFC3339) +
			": the schedule is being rebuilt from Stripe; " +
			"run holdd reconcile for the findings, and find out why Redis lost its data"}}
}
