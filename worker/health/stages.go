package health

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// StallLimit is how long a stage may go without a success before it counts as
// stalled.
const StallLimit = 30 * time.Second

// CheckStages is the name of the readiness check of the stages.
const CheckStages = "stages"

// minFailures is how many failures in a row make a stage stall. A job that runs
// once an hour and fails once has not stalled.
const minFailures = 2

// NextRunFunc returns the first run of a stage after a time.
type NextRunFunc func(after time.Time) time.Time

// Stage is one stage of the worker: a cron job, or a part that runs all the
// time. It records its successes and failures.
type Stage struct {
	name     string
	schedule NextRunFunc   // nil: the stage runs when it has work
	maxQuiet time.Duration // with work under way; 0: no limit
	// failureTTL is how long failures count without another one; 0: until a
	// success.
	failureTTL time.Duration

	mu           sync.Mutex
	succeededAt  time.Time // or when the worker began
	quietSince   time.Time // the later of the last success and the begin of the work under way
	failingSince time.Time // zero: the last run succeeded
	failedAt     time.Time // the last failure
	failures     int       // in a row
	underWay     int
	operation    string // that failed last
	cause        string // of that failure, without secrets
}

// StalledStage is a stage that has had no success for [StallLimit].
type StalledStage struct {
	Name      string
	Since     time.Time // of the first failure, or of the last success
	Operation string    // that fails; empty if the stage does not run
	Cause     string
}

// SetMaxTimeWithoutSuccess sets how long work may be under way without a
// success.
func (s *Stage) SetMaxTimeWithoutSuccess(d time.Duration) { s.maxQuiet = d }

// SetFailureTTL sets how long failures count without another one, for a stage
// that runs only on request: a replica that gets no requests because
// it is not ready must become ready again.
func (s *Stage) SetFailureTTL(d time.Duration) { s.failureTTL = d }

// ReportProgress records that work under way goes on, and may be quiet for d
// from now on: it waits.
func (s *Stage) ReportProgress(d time.Duration) {
	until := time.Now().Add(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if until.After(s.quietSince) {
		s.quietSince = until
	}
}

// RecordSuccess records a success.
func (s *Stage) RecordSuccess() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.succeededAt, s.quietSince, s.failingSince, s.failures = now, now, time.Time{}, 0
}

// recordFailure records that an operation failed.
func (s *Stage) recordFailure(operation string, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failingSince.IsZero() || s.failuresExpired(now) {
		s.failingSince, s.failures = now, 0
	}
	s.failures++
	s.failedAt = now
	s.operation, s.cause = operation, DescribeCause(err)
}

func (s *Stage) failuresExpired(now time.Time) bool {
	return s.failureTTL > 0 && now.Sub(s.failedAt) > s.failureTTL
}

// BeginWork records that a piece of work is under way.
func (s *Stage) BeginWork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay == 0 {
		s.quietSince = time.Now()
	}
	s.underWay++
}

// EndWork records that a piece of work is no longer under way.
func (s *Stage) EndWork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay--
}

// resetFailures forgets failures and counts from now: the worker begins.
func (s *Stage) resetFailures(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.succeededAt, s.failingSince, s.failures = now, time.Time{}, 0
}

// stalledStageAt returns the stage as stalled, if it is.
func (s *Stage) stalledStageAt(now time.Time) (st StalledStage, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st = StalledStage{Name: s.name, Since: s.succeededAt}
	switch {
	case !s.failingSince.IsZero() && s.failures >= minFailures && !s.failuresExpired(now):
		st.Since, st.Operation, st.Cause = s.failingSince, s.operation, s.cause
		return st, now.Sub(s.failingSince) >= StallLimit
	case s.underWay > 0:
		st.Since, st.Cause = s.quietSince, "work under way does not end"
		return st, s.maxQuiet > 0 && now.Sub(s.quietSince) > s.maxQuiet
	case s.schedule != nil:
		st.Cause = "does not run"
		return st, now.Sub(s.schedule(s.schedule(s.succeededAt))) >= StallLimit
	}
	return st, false
}

// StageRun is one run of a stage that a job makes. Errors that are reported
// with its context make it fail.
type StageRun struct {
	stage  *Stage
	failed bool // only changed under stage.mu
}

type stageRunContextKey struct{}

// BeginRun begins a run. Its context is for the errors that the run reports.
func (s *Stage) BeginRun(ctx context.Context) (context.Context, *StageRun) {
	s.BeginWork()
	run := &StageRun{stage: s}
	return context.WithValue(ctx, stageRunContextKey{}, run), run
}

// RecordFailure makes the run fail.
func (r *StageRun) RecordFailure(operation string, err error) {
	r.stage.mu.Lock()
	first := !r.failed
	r.failed = true
	r.stage.mu.Unlock()
	if first { // one failed run is one failure
		r.stage.recordFailure(operation, err)
	}
}

// EndRun ends the run. It has succeeded unless it failed. It reports whether it
// succeeded.
func (r *StageRun) EndRun() bool {
	r.stage.EndWork()
	r.stage.mu.Lock()
	failed := r.failed
	r.stage.mu.Unlock()
	if !failed {
		r.stage.RecordSuccess()
	}
	return !failed
}

// stageRegistry are the stages of one process.
type stageRegistry struct {
	mu      sync.Mutex
	list    []*Stage
	running bool
}

// AddStage adds a stage. Several may have one name, such as one for each
// partition. The schedule may be nil.
func (r *Reporter) AddStage(name string, schedule NextRunFunc) *Stage {
	s := &Stage{name: name, schedule: schedule, succeededAt: time.Now()}
	r.stages.mu.Lock()
	defer r.stages.mu.Unlock()
	r.stages.list = append(r.stages.list, s)
	return s
}

// RemoveStage removes a stage that has ended.
func (r *Reporter) RemoveStage(s *Stage) {
	r.stages.mu.Lock()
	defer r.stages.mu.Unlock()
	r.stages.list = slices.DeleteFunc(r.stages.list, func(other *Stage) bool { return other == s })
}

// StartWatchingStages begins to watch the stages: the worker runs.
func (r *Reporter) StartWatchingStages() {
	now := time.Now()
	r.stages.mu.Lock()
	defer r.stages.mu.Unlock()
	r.stages.running = true
	for _, s := range r.stages.list {
		s.resetFailures(now)
	}
}

// StopWatchingStages ends what [Reporter.StartWatchingStages] began.
func (r *Reporter) StopWatchingStages() {
	r.stages.mu.Lock()
	defer r.stages.mu.Unlock()
	r.stages.running = false
}

// StalledStages returns the stages that have stalled while the worker runs,
// longest first, one for each name.
func (r *Reporter) StalledStages() (found []StalledStage) {
	now := time.Now()
	r.stages.mu.Lock()
	defer r.stages.mu.Unlock()
	if !r.stages.running {
		return nil
	}
	for _, s := range r.stages.list {
		if st, ok := s.stalledStageAt(now); ok {
			found = append(found, st)
		}
	}
	slices.SortStableFunc(found, func(a, b StalledStage) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	seen := map[string]bool{}
	return slices.DeleteFunc(found, func(s StalledStage) bool {
		again := seen[s.Name]
		seen[s.Name] = true
		return again
	})
}

// LastSuccesses returns when each stage last succeeded. Of several with one
// name it is the earliest.
func (r *Reporter) LastSuccesses() map[string]time.Time {
	out := map[string]time.Time{}
	r.stages.mu.Lock()
	defer r.stages.mu.Unlock()
	for _, s := range r.stages.list {
		s.mu.Lock()
		at := s.succeededAt
		s.mu.Unlock()
		if earliest, ok := out[s.name]; !ok || at.Before(earliest) {
			out[s.name] = at
		}
	}
	return out
}
