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
	// runLease is how long the lock of a run outlives a replica that died.
	runLease = 45 * time.Second
	// saveEndTimeout bounds the last save of a run, which outlives the
	// replica's stop.
	saveEndTimeout = 3 * time.Second
)

// errFenced ends a run that another replica has taken over.
var errFenced = errors.New("another replica continues the run, or Redis has lost it")

// RunState says how far a comparison is.
type RunState string

// States of a run. An interrupted run is continued by the next replica that
// calls [Reconciler.StartIfNeeded].
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
	Replica    string    `json:"replica"` // works on it, or was the last to do so
	StartedAt  time.Time `json:"started_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	FinishedAt time.Time `json:"finished_at"` // zero while it runs
	Percent    int       `json:"percent"`     // estimated from the age of the last listed intent
	Accounts   int       `json:"accounts"`    // to be listed, the platform's own included
	Pages      int64     `json:"pages"`
	Listed     int64     `json:"listed"`   // intents in Stripe's lists
	Compared   int64     `json:"compared"` // listed intents that have a hold
	// Retrieved counts the open holds that no list contained and that were read
	// one by one, RetrieveFailed those that Stripe did not answer for. The next
	// run reads them again.
	Retrieved      int64                 `json:"retrieved"`
	RetrieveFailed int64                 `json:"retrieve_failed"`
	Takeovers      int                   `json:"takeovers"`
	Counts         map[FindingKind]int64 `json:"counts"`
	Findings       []Finding             `json:"-"` // the first 1,000, at most 500 of a kind
	Error          string                `json:"error,omitempty"`
}

// checkpoint is what Redis keeps of a run, so that another replica can continue
// it.
type checkpoint struct {
	Reconciliation
	AccountOrder []string            `json:"order"` // accounts
	AccountIndex int                 `json:"at"`    // the account in Order that is being listed
	AfterIntent  string              `json:"after"` // the last intent listed of this account
	CreatedSince time.Time           `json:"bound"` // older intents are not compared
	Unreadable   map[string]bool     `json:"unreadable,omitempty"`
	KeptByKind   map[FindingKind]int `json:"kept,omitempty"` // findings kept so far
}

// initMaps makes the maps that JSON left nil.
func (s *checkpoint) initMaps() {
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

// estimatePercent sets how much of the run is done. The lists count for nine tenths of
// it. ofAccount is how much of the current account is listed, 0 to 1.
func (s *checkpoint) estimatePercent(ofAccount float64) {
	if len(s.AccountOrder) > 0 {
		s.Percent = int(90 * (float64(s.AccountIndex) + min(max(ofAccount, 0), 1)) / float64(len(s.AccountOrder)))
	}
}

// RunStore keeps the newest run that is no dry run, and its lock.
type RunStore interface {
	// BeginReconcile takes the lock and starts a run with state, or continues
	// an unfinished one that is younger than stale: found is its state. Token 0
	// means that another replica holds the lock, or that a run began less than
	// gap ago and has finished.
	BeginReconcile(ctx context.Context, state []byte, lease, stale, gap time.Duration) (
		token int64, found []byte, err error)
	// SaveReconcile saves the run of this token, adds findings, and renews the
	// lock. A lease of 0 releases it. ok is false if the token is outdated.
	SaveReconcile(ctx context.Context, token int64, state []byte, findings [][]byte,
		lease time.Duration, done bool) (ok bool, err error)
	// ReadReconcile reads the newest run and up to n of its findings. A nil
	// state means that there was none.
	ReadReconcile(ctx context.Context, n int) (
		state []byte, findings [][]byte, held, done bool, err error)
}

// run is the progress of one comparison and the lock under which it works. Only
// the goroutine of its comparison changes it; others take a [run.snapshot]. A
// dry run has no lock and is never saved.
type run struct {
	store  RunStore
	clock  *clock.Redis
	dryRun bool
	token  int64 // the fencing token of the lock
	saved  time.Time

	mu      sync.Mutex // guards what follows against other readers
	state   checkpoint
	unsaved []Finding // kept and not saved yet; all findings of a dry run
}

// snapshot returns the report as it is now, with the findings that are not
// saved yet.
func (r *run) snapshot() Reconciliation {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.state.Reconciliation
	report.Counts = map[FindingKind]int64{}
	maps.Copy(report.Counts, r.state.Counts)
	report.Findings = slices.Clone(r.unsaved)
	return report
}

func (r *run) updateCheckpoint(f func(s *checkpoint)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

// addFinding counts a finding, and keeps it while there is room.
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

// saveProgress saves how far the run is and renews its lock. An error is
// [errFenced] if another replica has it.
func (r *run) saveProgress(ctx context.Context) error { return r.save(ctx, runLease, false) }

// renewLock renews the lock while there is nothing else to save.
func (r *run) renewLock(ctx context.Context) error {
	if r.dryRun || time.Since(r.saved) < runLease/3 {
		return nil
	}
	return r.saveProgress(ctx)
}

// saveEnd saves how the run ended. A run that did not reach its end releases the
// lock, so that another replica can continue it.
func (r *run) saveEnd(ctx context.Context, cause error) error {
	now := r.clock.Now()
	r.updateCheckpoint(func(s *checkpoint) {
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
	if errors.Is(cause, errFenced) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveEndTimeout)
	defer cancel()
	if err := r.save(ctx, 0, cause == nil); !errors.Is(err, errFenced) {
		return err
	}
	return nil
}

func (r *run) save(ctx context.Context, lease time.Duration, done bool) error {
	if r.dryRun {
		return nil
	}
	now := r.clock.Now()
	r.updateCheckpoint(func(s *checkpoint) { s.UpdatedAt = now })
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
	ok, err := r.store.SaveReconcile(ctx, r.token, state, findings, lease, done)
	switch {
	case err != nil:
		return fmt.Errorf("save the run: %w", err)
	case !ok:
		return errFenced
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved, r.saved = nil, time.Now()
	return nil
}

// logFields are the fields of a log line about the run.
func (r *run) logFields() []zap.Field {
	s := r.snapshot()
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

// parseFindings decodes findings as they were saved.
func parseFindings(saved [][]byte) (findings []Finding) {
	for _, b := range saved {
		var f Finding
		if json.Unmarshal(b, &f) == nil {
			findings = append(findings, f)
		}
	}
	return findings
}
