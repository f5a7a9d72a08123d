package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/robfig/cron/v3"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)

const (
	// listWindow is how far back intents are listed. The longest authorization lasts 30 days.
	listWindow = 35 * 24 * time.Hour
	// reconcileLease is how long a replica that died keeps others from going on.
	reconcileLease = 45 * time.Second
	// reconcileStale is how long an unfinished run is worth going on with: what came since it began is not in it.
	reconcileStale = time.Hour
	maxAccounts    = 1000
	maxFindings    = 1000    // kept of one run; the counts are exact
	maxOfOneKind   = 500     // of these, so that thousands that were rebuilt leave room for those that need a person
	maxSeen        = 1 << 20 // intents of one run that are remembered as seen
	// orphanAge is how long an intent's own system may still be about to schedule it.
	orphanAge = 10 * time.Minute
	// findingLogInterval is how long the log isn't told again of what has not changed.
	findingLogInterval = 24 * time.Hour
	progressEvery      = 50     // pages between two lines of the log
	maxLoggedFindings  = 10_000 // findings that are remembered as told
)

// FindingKind says what a comparison with Stripe found out about an intent.
type FindingKind string

// What can be found. The last four need a person.
const (
	FoundScheduled  FindingKind = "scheduled"  // terms stood in the metadata and no hold in the schedule: it is there now
	FoundChanged    FindingKind = "changed"    // amount or deadline were others than known
	FoundCaptured   FindingKind = "captured"   // somebody else captured it
	FoundCanceled   FindingKind = "canceled"   // somebody else released it
	FoundExpired    FindingKind = "expired"    // the card network let it go
	FoundAttention  FindingKind = "attention"  // the hold can't go on by itself
	FoundOrphan     FindingKind = "orphan"     // holds money and has no terms: never touched
	FoundRejected   FindingKind = "rejected"   // the terms in its metadata are wrong
	FoundUnreadable FindingKind = "unreadable" // Stripe refuses to list this account's intents
)

// FindingKinds lists every kind.
func FindingKinds() []FindingKind {
	return []FindingKind{FoundScheduled, FoundChanged, FoundCaptured, FoundCanceled, FoundExpired, FoundAttention, FoundOrphan, FoundRejected, FoundUnreadable}
}

// Finding is one thing in which Stripe and the schedule differed.
type Finding struct {
	Kind          FindingKind `json:"kind"`
	PaymentIntent string      `json:"payment_intent,omitempty"`
	Account       string      `json:"account,omitempty"`
	Reference     string      `json:"reference,omitempty"`
	Amount        int64       `json:"amount,omitempty"` // minor units
	Currency      string      `json:"currency,omitempty"`
	Detail        string      `json:"detail,omitempty"` // a sentence for people
}

// RunState says where a comparison stands.
type RunState string

// A run that is interrupted goes on by itself where it was.
const (
	RunRunning     RunState = "running"
	RunFinished    RunState = "finished"
	RunInterrupted RunState = "interrupted"
)

// Reconciliation is one comparison of Stripe with the schedule.
type Reconciliation struct {
	ID         string                `json:"id"`
	DryRun     bool                  `json:"dry_run"`
	State      RunState              `json:"state"`
	By         string                `json:"by"`
	Replica    string                `json:"replica"` // that works on it, or did last
	StartedAt  time.Time             `json:"started_at"`
	UpdatedAt  time.Time             `json:"updated_at"`
	FinishedAt time.Time             `json:"finished_at"` // zero while it goes on
	Percent    int                   `json:"percent"`     // estimated from how far back it has come
	Accounts   int                   `json:"accounts"`    // that are listed, one's own included
	Pages      int64                 `json:"pages"`
	Listed     int64                 `json:"listed"`   // intents that Stripe told of
	Compared   int64                 `json:"compared"` // of these, known to the schedule
	Read       int64                 `json:"read"`     // holds that the lists did not tell of, read one by one
	Unread     int64                 `json:"unread"`   // of these, not answered: the next run asks again
	Takeovers  int                   `json:"takeovers"`
	Counts     map[FindingKind]int64 `json:"counts"`
	Findings   []Finding             `json:"-"` // the first 1,000, at most 500 of a kind
	Error      string                `json:"error,omitempty"`
}

// checkpoint is a run as it is kept in Redis: what is needed to go on.
type checkpoint struct {
	Reconciliation
	Order      []string            `json:"order"` // accounts
	At         int                 `json:"at"`    // the one being listed
	After      string              `json:"after"` // the last intent seen of it
	Bound      time.Time           `json:"bound"`
	Unreadable map[string]bool     `json:"unreadable,omitempty"`
	Kept       map[FindingKind]int `json:"kept,omitempty"`
}

// reconciler is what a replica knows of comparisons.
type reconciler struct {
	mu             sync.Mutex
	runContext     context.Context // of the worker's Run; nil while it doesn't run
	running        sync.WaitGroup
	nextReadAt     time.Time            // when the next read of a comparison may go out
	dry            *comparison          // under way, or the last of this replica
	accountsMu     sync.Mutex           // guards accounts alone: whoever acts on a hold doesn't wait for a comparison to begin
	accounts       map[string]bool      // met since the start: an emptied Redis knows none
	loggedFindings map[string]time.Time // what the log was told, and when
	dataLostAt     atomic.Int64         // when Redis was found to have lost everything, until it is rebuilt: Unix milliseconds, 0 if it has not
}

func (r *reconciler) open(life context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runContext = life
}

// close waits for what is under way, whose context has ended.
func (r *reconciler) close() {
	r.mu.Lock()
	r.runContext = nil
	r.mu.Unlock()
	r.running.Wait()
}

// aliveHeld reports whether a run can begin; r.mu is held.
func (r *reconciler) aliveHeld() bool { return r.runContext != nil && r.runContext.Err() == nil }

func (r *reconciler) alive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aliveHeld()
}

// addAccount remembers an account, so that it is listed though nothing in Redis tells of it.
func (r *reconciler) addAccount(account string) {
	if account == "" {
		return
	}
	r.accountsMu.Lock()
	defer r.accountsMu.Unlock()
	if r.accounts == nil {
		r.accounts = map[string]bool{}
	}
	if len(r.accounts) < maxAccounts {
		r.accounts[account] = true
	}
}

// knownAccounts are the accounts that were met.
func (r *reconciler) knownAccounts() []string {
	r.accountsMu.Lock()
	defer r.accountsMu.Unlock()
	return slices.Sorted(maps.Keys(r.accounts))
}

// Reconcile begins to compare Stripe with the schedule, in the background, or joins the run that is under way (started is false then). accounts are connected ones
// that may hold money though no hold of theirs is known; a run that is joined may be past them. A dry run changes nothing, is
// known to this replica alone, and does not keep a real one from beginning. Errors are *hold.Problem or wrap ErrUnavailable.
func (w *Worker) Reconcile(ctx context.Context, dryRun bool, accounts []string, by string) (run Reconciliation, started bool, err error) {
	for _, a := range accounts {
		if err := hold.CheckAccountID(a); err != nil {
			return run, false, err
		}
	}
	for _, a := range accounts {
		w.recon.addAccount(a)
	}
	if dryRun {
		return w.reconcileDry(by)
	}
	c, err := w.startReconcile(ctx, by, 0)
	if err != nil {
		return run, false, err
	}
	if c != nil {
		return c.snapshot(), true, nil
	}
	run, _, err = w.Reconciliation(ctx, "")
	return run, false, err
}

func (w *Worker) reconcileDry(by string) (Reconciliation, bool, error) {
	r := &w.recon
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.aliveHeld() {
		return Reconciliation{}, false, errNotRunning
	}
	if r.dry != nil {
		if v := r.dry.snapshot(); v.State == RunRunning {
			return v, false, nil
		}
	}
	r.dry = w.newComparison(by)
	r.dry.dry, r.dry.run.DryRun = true, true
	v := r.dry.snapshot()
	w.startComparison(r.dry)
	return v, true, nil
}

// Reconciliation tells of a run by its id, or with an empty id of the newest: ok is false where it isn't known. Of real runs the newest
// is known to all replicas, of dry ones the newest to the replica that made it.
func (w *Worker) Reconciliation(ctx context.Context, id string) (run Reconciliation, ok bool, err error) {
	w.recon.mu.Lock()
	dry := w.recon.dry
	w.recon.mu.Unlock()
	if dry != nil {
		if run = dry.snapshot(); run.ID == id {
			return run, true, nil
		}
	}
	state, findings, held, done, err := w.store.ReadReconcile(ctx, maxFindings)
	if err != nil {
		return run, false, w.unavailable(ctx, "read the last comparison", err)
	}
	var last checkpoint
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
	for _, b := range findings {
		var f Finding
		if json.Unmarshal(b, &f) == nil {
			run.Findings = append(run.Findings, f)
		}
	}
	return run, true, nil
}

// reconcile is the job. Each replica has it; a run that another began within the same turn of the schedule is enough.
func (w *Worker) reconcile(ctx context.Context) {
	if w.keyRejected.Load() || w.breaker.State() != gobreaker.StateClosed {
		return
	}
	gap := time.Duration(0)
	if s, err := cron.ParseStandard(w.o.Schedules.Reconcile); err == nil {
		now := time.Now()
		gap = s.Next(now.Add(time.Second)).Sub(now) * 9 / 10
	}
	c, err := w.startReconcile(ctx, "schedule", gap)
	if err == nil && c != nil {
		<-c.done // the next tick is skipped while it lasts
	}
}

// startReconcile takes the lock and begins, or goes on with what a replica that died left. It returns nil if there is nothing to do.
func (w *Worker) startReconcile(ctx context.Context, by string, gap time.Duration) (*comparison, error) {
	r := &w.recon
	if !r.alive() {
		return nil, errNotRunning
	}
	c := w.newComparison(by)
	state, err := json.Marshal(&c.run)
	if err != nil {
		return nil, fmt.Errorf("a run can't be written down: %w", err)
	}
	token, found, err := w.store.BeginReconcile(ctx, state, reconcileLease, reconcileStale, gap)
	if err != nil {
		return nil, w.unavailable(ctx, "begin to compare with Stripe", err)
	}
	if token == 0 {
		return nil, nil
	}
	c.token, c.saved = token, time.Now()
	var left checkpoint
	if found != nil && json.Unmarshal(found, &left) == nil {
		c.run = left
		c.run.Replica, c.run.State, c.run.Error = w.o.Replica, RunRunning, ""
		c.run.Takeovers++
		c.partial = len(c.run.Order) > 0
		c.initMaps()
	}
	// Not held while Redis was asked: a slow one must not keep a run under way, or the end of this process, waiting.
	r.mu.Lock()
	goes := r.aliveHeld()
	if goes {
		w.startComparison(c)
	}
	r.mu.Unlock()
	if !goes {
		c.finish(ctx, errNotRunning) // gives the lock back, for another to go on
		return nil, errNotRunning
	}
	return c, nil
}

// startComparison lets a run begin; w.recon.mu is held.
func (w *Worker) startComparison(c *comparison) {
	life := w.recon.runContext
	w.recon.running.Go(func() { c.work(life) })
}

func (w *Worker) newComparison(by string) *comparison {
	now := w.redisNow()
	c := &comparison{w: w, seen: map[string]struct{}{}, done: make(chan struct{})}
	c.run = checkpoint{Bound: now.Add(-listWindow), Reconciliation: Reconciliation{
		ID: "rec_" + strings.ToLower(rand.Text()[:16]), State: RunRunning, By: by, Replica: w.o.Replica, StartedAt: now, UpdatedAt: now,
	}}
	c.initMaps()
	return c
}

// detectDataLoss looks whether Redis was emptied, whether a run waits to be gone on with, and whether there never was one: an emptied Redis that was met at the start.
func (w *Worker) detectDataLoss(ctx context.Context) {
	emptied, err := w.store.DetectDataLoss(ctx)
	if err != nil {
		w.reportStoreError(ctx, "look whether Redis still has its holds", err)
		return
	}
	if emptied {
		w.recon.dataLostAt.Store(w.redisNow().UnixMilli())
		w.log.Error("Redis was emptied while in use: every hold is being looked for at Stripe and scheduled anew where its terms stand in the intent's metadata",
			zap.String("event", string(TypeRedisDataLost)))
		if err := w.publishOnce(ctx, TypeRedisDataLost, w.redisNow().Format(time.RFC3339), EventData{Replica: w.o.Replica}); err != nil {
			w.reportStoreError(ctx, "tell that Redis was emptied", err)
		}
	}
	if all, err := w.store.ShareAccounts(ctx, w.recon.knownAccounts()); err != nil {
		w.reportStoreError(ctx, "share the accounts that were met", err)
	} else {
		for _, a := range all {
			w.recon.addAccount(a) // whichever replica compares after Redis lost everything knows them
		}
	}
	state, _, held, done, err := w.store.ReadReconcile(ctx, 0)
	if err != nil {
		w.reportStoreError(ctx, "look at the last comparison", err)
		return
	}
	if held {
		return
	}
	if done {
		var last checkpoint
		if json.Unmarshal(state, &last) != nil {
			return
		}
		if at := w.recon.dataLostAt.Load(); last.StartedAt.UnixMilli() >= at {
			w.recon.dataLostAt.CompareAndSwap(at, 0)
		}
		return
	}
	if w.keyRejected.Load() || w.breaker.State() != gobreaker.StateClosed {
		return
	}
	if _, err := w.startReconcile(ctx, "holdd", 0); err != nil && ctx.Err() == nil {
		w.log.Warn("a comparison with Stripe could not begin; it is tried again in a moment", zap.Error(err))
	}
}

// dataLossCheck is the line of the readiness report that tells that Redis was emptied, for as long as it is so.
func (w *Worker) dataLossCheck() []Check {
	at := w.recon.dataLostAt.Load()
	if at == 0 {
		return nil
	}
	return []Check{{Name: "schedule", OK: true, Detail: "Redis was found emptied at " + time.UnixMilli(at).UTC().Format(time.RFC3339) +
		": the schedule is being rebuilt from Stripe; see holdd reconcile for what was found, and find out what emptied it"}}
}

var (
	errFenced = errors.New("another replica goes on with it, or Redis has forgotten it")
	errStripe = errors.New("Stripe does not answer")

	errNotRunning = fmt.Errorf("%w (this replica is starting or stopping)", ErrUnavailable)
)

// comparison is a run under way in this replica.
type comparison struct {
	w             *Worker
	dry           bool
	token         int64
	partial       bool                // part of the lists was read by another: what it saw isn't known
	seen          map[string]struct{} // payment intents that the lists told of and the schedule knows
	seenTruncated bool                // there were more of them than are remembered
	saved         time.Time
	logged        int
	done          chan struct{}

	mu    sync.Mutex // guards run for readers; only the run's own goroutine writes
	run   checkpoint
	fresh []Finding // not saved yet; of a dry run all
}

// initMaps makes maps of what JSON may have left nil.
func (c *comparison) initMaps() {
	if c.run.Counts == nil {
		c.run.Counts = map[FindingKind]int64{}
	}
	if c.run.Kept == nil {
		c.run.Kept = map[FindingKind]int{}
	}
	if c.run.Unreadable == nil {
		c.run.Unreadable = map[string]bool{}
	}
}

func (c *comparison) snapshot() Reconciliation {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.run.Reconciliation
	v.Counts = map[FindingKind]int64{}
	for k, n := range c.run.Counts {
		v.Counts[k] = n
	}
	v.Findings = slices.Clone(c.fresh)
	return v
}

func (c *comparison) edit(f func(*checkpoint)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.run)
}

func (c *comparison) work(ctx context.Context) {
	defer close(c.done)
	w := c.w
	fields := []zap.Field{zap.String("run", c.run.ID), zap.Bool("dry_run", c.dry), zap.String("by", c.run.By)}
	if c.run.Takeovers > 0 {
		w.log.Info("reconcile.resumed", append(fields, zap.Int("position", c.run.At+1), zap.Int("accounts", len(c.run.Order)), zap.String("after", c.run.After))...)
	} else {
		w.log.Info("reconcile.started", fields...)
	}
	err := c.compare(ctx)
	c.finish(ctx, err)
	fields = append(fields, c.fields()...)
	switch {
	case err == nil:
		w.log.Info("reconcile.finished", fields...)
		if w.o.Observer != nil && !c.dry {
			w.o.Observer.ReconcileFinished(c.snapshot())
		}
	case ctx.Err() != nil, errors.Is(err, errFenced):
		w.log.Info("reconcile.left", append(fields, zap.Error(err))...)
	default:
		w.log.Warn("reconcile.interrupted", append(fields, zap.Error(err))...)
	}
}

// finish writes how the run ended. One that did not get to its end gives the lock back, so that whoever looks next goes on with it.
func (c *comparison) finish(ctx context.Context, err error) {
	now := c.w.redisNow()
	c.edit(func(r *checkpoint) {
		r.UpdatedAt = now
		if err == nil {
			r.State, r.FinishedAt, r.Percent = RunFinished, now, 100
			return
		}
		r.State, r.Error = RunInterrupted, err.Error()
		if c.dry {
			r.FinishedAt = now
		}
	})
	if errors.Is(err, errFenced) {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if e := c.save(last, 0, err == nil); e != nil && !errors.Is(e, errFenced) {
		c.w.reportStoreError(ctx, "write the end of a comparison", e)
	}
}

// save notes how far the run has come and holds the lock for as long again.
func (c *comparison) save(ctx context.Context, lease time.Duration, done bool) error {
	if c.dry {
		return nil
	}
	now := c.w.redisNow()
	c.edit(func(r *checkpoint) { r.UpdatedAt = now })
	state, err := json.Marshal(&c.run)
	if err != nil {
		return fmt.Errorf("a run can't be written down: %w", err)
	}
	findings := make([][]byte, 0, len(c.fresh))
	for i := range c.fresh {
		b, err := json.Marshal(&c.fresh[i])
		if err != nil {
			return fmt.Errorf("a finding can't be written down: %w", err)
		}
		findings = append(findings, b)
	}
	ok, err := c.w.store.SaveReconcile(ctx, c.token, state, findings, lease, done)
	switch {
	case err != nil:
		return fmt.Errorf("how far it came can't be written down: %w", err)
	case !ok:
		return errFenced
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh, c.saved = nil, time.Now()
	return nil
}

// renew holds the lock while nothing else is to be noted.
func (c *comparison) renew(ctx context.Context) error {
	if c.dry || time.Since(c.saved) < reconcileLease/3 {
		return nil
	}
	return c.save(ctx, reconcileLease, false)
}

func (c *comparison) fields() []zap.Field {
	v := c.snapshot()
	f := []zap.Field{zap.Int("percent", v.Percent), zap.Int64("pages", v.Pages), zap.Int64("listed", v.Listed), zap.Int64("compared", v.Compared), zap.Int64("read", v.Read),
		zap.Int64("unread", v.Unread), zap.Duration("took", v.UpdatedAt.Sub(v.StartedAt))}
	for _, k := range FindingKinds() {
		if n := v.Counts[k]; n > 0 {
			f = append(f, zap.Int64(string(k), n))
		}
	}
	return f
}
