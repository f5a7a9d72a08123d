package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"go.uber.org/zap"
)

const (
	// runLease is how long the lock of a run outlives a dead replica.
	runLease = 45 * time.Second
	// saveEndTimeout bounds the last save of a run, which may happen while the
	// replica stops.
	saveEndTimeout = 3 * time.Second

	pagesPerProgressLog = 50 // pages between two log lines
)

// errTokenOutdated ends a run whose token is outdated.
var errTokenOutdated = errors.New("another replica continues the run, or Redis has lost it")

// RunState is the state of a run.
type RunState string

// States of a run. [Reconciler.StartRunAfterDataLossOrResume] of any replica continues an
// interrupted run.
const (
	RunRunning     RunState = "running"
	RunFinished    RunState = "finished"
	RunInterrupted RunState = "interrupted"
)

// Reconciliation is the report of one comparison of Stripe with the schedule.
type Reconciliation struct {
	ID         string    `json:"id"`
	DryRun     bool      `json:"dry_run"`
	State      RunState  `json:"state"`
	By         string    `json:"by"`
	Replica    string    `json:"replica"` // the current or last replica of the run
	StartedAt  time.Time `json:"started_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	FinishedAt time.Time `json:"finished_at"` // zero while it runs
	Percent    int       `json:"percent"`     // estimated from the age of the last listed intent
	Accounts   int       `json:"accounts"`    // to be listed, the platform's own included
	Pages      int64     `json:"pages"`
	Listed     int64     `json:"listed"`   // intents in Stripe's lists
	Compared   int64     `json:"compared"` // listed intents that have a hold
	// Retrieved counts the unlisted holds whose intents were read one by one.
	// RetrieveFailed counts those without an answer; the next run reads them
	// again.
	Retrieved      int64                 `json:"retrieved"`
	RetrieveFailed int64                 `json:"retrieve_failed"`
	Takeovers      int                   `json:"takeovers"`
	Counts         map[FindingKind]int64 `json:"counts"`
	Findings       []Finding             `json:"-"` // the first 1,000, at most 500 of a kind
	Error          string                `json:"error,omitempty"`
}

// runCheckpoint is the state of a run in Redis, from which another replica can
// continue it.
type runCheckpoint struct {
	Reconciliation
	AccountOrder []string            `json:"order"`            // accounts
	AccountIndex int                 `json:"at"`               // the account being listed
	AfterIntent  string              `json:"after"`            // last intent listed of it
	Ranges       []creationTimeRange `json:"ranges,omitempty"` // of a long list of this account
	CreatedSince time.Time           `json:"bound"`            // older intents are not compared
	Unreadable   map[string]bool     `json:"unreadable,omitempty"`
	KeptByKind   map[FindingKind]int `json:"kept,omitempty"` // findings kept so far
}

// initMaps makes the maps that are nil after decoding.
func (s *runCheckpoint) initMaps() {
	if s.Counts == nil {
		s.Counts = map[FindingKind]int64{}
	}
	if s.KeptByKind == nil {
		s.KeptByKind = map[FindingKind]int{}
	}
	if s.Unreadable == nil {
		s.Unreadable = map[string]bool{}
	}
}

// updateProgressPercent sets Percent. The lists count for nine tenths of a run.
// ofAccount is the listed part of the current account, 0 to 1.
func (s *runCheckpoint) updateProgressPercent(ofAccount float64) {
	if len(s.AccountOrder) > 0 {
		done := float64(s.AccountIndex) + min(max(ofAccount, 0), 1)
		s.Percent = int(90 * done / float64(len(s.AccountOrder)))
	}
}

// RunStore keeps the newest run that is no dry run, and its lock. store.Store
// implements it.
type RunStore interface {
	// BeginOrResumeReconcileRun acquires the lock and starts a run with state. If an
	// unfinished run is younger than stale, it continues that one and returns
	// its state as found. Token 0 means that another replica has the lock, or
	// that a run began less than gap ago and has finished.
	BeginOrResumeReconcileRun(
		ctx context.Context, state []byte, lease, stale, gap time.Duration,
	) (token int64, found []byte, err error)
	// SaveReconcileRunIfLockHeld saves the run of this token, adds findings, and renews the
	// lock. A lease of 0 releases the lock. ok is false if the token is
	// outdated.
	SaveReconcileRunIfLockHeld(
		ctx context.Context, token int64, state []byte, findings [][]byte,
		lease time.Duration, done bool,
	) (ok bool, err error)
	// ReadReconcileRun reads the newest run and up to n of its findings. state is
	// nil if there was no run.
	ReadReconcileRun(
		ctx context.Context, n int,
	) (state []byte, findings [][]byte, held, done bool, err error)
}

// run is the progress and the lock of one comparison. Only the goroutine of its
// comparison changes it; others read [run.currentReport]. A dry run has no lock
// and is never saved.
type run struct {
	store  RunStore
	clock  *clock.RedisClock
	dryRun bool
	token  int64 // the fencing token of the lock
	saved  time.Time

	mu      sync.Mutex // guards the fields below
	state   runCheckpoint
	unsaved []Finding // kept findings that are not saved; all findings of a dry run
}

// currentReport returns a copy of the current report with the unsaved findings.
func (r *run) currentReport() Reconciliation {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.state.Reconciliation
	report.Counts = map[FindingKind]int64{}
	maps.Copy(report.Counts, r.state.Counts)
	report.Findings = slices.Clone(r.unsaved)
	return report
}

// updateCheckpoint calls f under the mutex.
func (r *run) updateCheckpoint(f func(s *runCheckpoint)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

// addFinding counts a finding, and keeps it up to maxFindings and maxOfOneKind.
func (r *run) addFinding(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Counts[f.Kind]++
	kept := 0
	for _, n := range r.state.KeptByKind {
		kept += n
	}
	if kept < maxFindings && r.state.KeptByKind[f.Kind] < maxOfOneKind {
		r.state.KeptByKind[f.Kind]++
		r.unsaved = append(r.unsaved, f)
	}
}

// saveProgressAndRenewLock saves the run's position and renews its lock. It
// returns [errTokenOutdated] if the token is outdated.
func (r *run) saveProgressAndRenewLock(ctx context.Context) error {
	return r.saveRunAndRenewLock(ctx, runLease, false)
}

// renewLockIfDue renews the lock if it was last renewed a third of runLease ago.
func (r *run) renewLockIfDue(ctx context.Context) error {
	if r.dryRun || time.Since(r.saved) < runLease/3 {
		return nil
	}
	return r.saveProgressAndRenewLock(ctx)
}

// saveEndAndReleaseLock saves the end of the run and releases the lock. If
// cause is not nil, another replica can continue the run.
func (r *run) saveEndAndReleaseLock(ctx context.Context, cause error) error {
	now := r.clock.Now()
	r.updateCheckpoint(func(s *runCheckpoint) {
		s.UpdatedAt = now
		if cause == nil {
			s.State, s.FinishedAt, s.Percent = RunFinished, now, 100
			return
		}
		s.State, s.Error = RunInterrupted, cause.Error()
		if r.dryRun {
			s.FinishedAt = now
		}
	})
	if errors.Is(cause, errTokenOutdated) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveEndTimeout)
	defer cancel()
	err := r.saveRunAndRenewLock(ctx, 0, cause == nil)
	if err != nil && cause == nil {
		r.updateCheckpoint(func(s *runCheckpoint) {
			s.State, s.Error, s.FinishedAt = RunInterrupted, err.Error(), time.Time{}
		})
	}
	return err
}

// saveRunAndRenewLock saves the run and its unsaved findings, and renews the
// lock by lease.
func (r *run) saveRunAndRenewLock(ctx context.Context, lease time.Duration, done bool) error {
	if r.dryRun {
		return nil
	}
	now := r.clock.Now()
	r.updateCheckpoint(func(s *runCheckpoint) { s.UpdatedAt = now })
	state, err := json.Marshal(&r.state)
	if err != nil {
		return fmt.Errorf("encode the run: %w", err)
	}
	findings := make([][]byte, 0, len(r.unsaved))
	for i := range r.unsaved {
		b, err := json.Marshal(&r.unsaved[i])
		if err != nil {
			return fmt.Errorf("encode a finding: %w", err)
		}
		findings = append(findings, b)
	}
	ok, err := r.store.SaveReconcileRunIfLockHeld(ctx, r.token, state, findings, lease, done)
	switch {
	case err != nil:
		return fmt.Errorf("save the run: %w", err)
	case !ok:
		return errTokenOutdated
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved, r.saved = nil, time.Now()
	return nil
}

// logProgressIfDue logs the run after every pagesPerProgressLog pages.
func (r *run) logProgressIfDue(log *zap.Logger) {
	if r.state.Pages%pagesPerProgressLog == 0 {
		log.Info("reconcile.progress", r.logFields()...)
	}
}

// logFields are the fields of a log line about the run.
func (r *run) logFields() []zap.Field {
	s := r.currentReport()
	fields := []zap.Field{
		zap.String("run", s.ID), zap.Bool("dry_run", s.DryRun), zap.String("by", s.By),
		zap.Int("percent", s.Percent), zap.Int64("pages", s.Pages),
		zap.Int64("listed", s.Listed), zap.Int64("compared", s.Compared),
		zap.Int64("retrieved", s.Retrieved), zap.Int64("retrieve_failed", s.RetrieveFailed),
		zap.Duration("took", s.UpdatedAt.Sub(s.StartedAt)),
	}
	for _, k := range FindingKinds() {
		if n := s.Counts[k]; n > 0 {
			fields = append(fields, zap.Int64(string(k), n))
		}
	}
	return fields
}

// decodeFindings decodes saved findings.
func decodeFindings(saved [][]byte) (findings []Finding) {
	for _, b := range saved {
		var f Finding
		if json.Unmarshal(b, &f) == nil {
			findings = append(findings, f)
		}
	}
	return findings
}
