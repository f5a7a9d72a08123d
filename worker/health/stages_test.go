package health_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/health"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// redisReplyError is an error that Redis answered with.
type redisReply string

func (r redisReply) Error() string { return string(r) }
func (redisReply) RedisError()     {}

func everySecond(t time.Time) time.Time { return t.Add(time.Second) }
func everyHour(t time.Time) time.Time   { return t.Add(time.Hour) }

// runStage makes one run of a stage that ends with err.
func runStage(t *testing.T, r *health.Reporter, s *health.Stage, err error) bool {
	ctx, run := s.BeginRun(t.Context())
	if err != nil {
		r.ReportError(ctx, "poll the schedule", err)
	}
	return run.EndRun()
}

func TestStageRegistry_Failing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		s := r.AddStage("promote", everySecond)
		r.AddStage("other", nil) // without work it has not stalled
		r.StartWatchingStages()
		broken := fmt.Errorf("run: %w", redisReply("WRONGTYPE Operation against a key"))
		began := time.Now()
		for range 30 {
			if runStage(t, r, s, broken) {
				t.Fatal("a run with an error succeeded")
			}
			if got := r.StalledStages(); len(got) != 0 {
				t.Fatalf("after %s: %+v", time.Since(began), got)
			}
			time.Sleep(time.Second)
		}
		runStage(t, r, s, broken)
		got := r.StalledStages()
		if len(got) != 1 || got[0].Name != "promote" || !got[0].Since.Equal(began) ||
			got[0].Operation != "poll the schedule" || got[0].Cause != "WRONGTYPE Operation against a key" {
			t.Errorf("%+v", got)
		}
		if !runStage(t, r, s, nil) || len(r.StalledStages()) != 0 {
			t.Error("still stalled after a success")
		}
		if at := r.LastSuccesses()["promote"]; !at.Equal(time.Now()) {
			t.Errorf("last success at %s", at)
		}
	})
}

// A job that runs once an hour and fails once has not stalled.
func TestStageRegistry_OneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		s := r.AddStage("purge", everyHour)
		r.StartWatchingStages()
		runStage(t, r, s, errRefused)
		time.Sleep(time.Minute)
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		runStage(t, r, s, errRefused)
		if got := r.StalledStages(); len(got) != 1 || got[0].Cause != health.CauseNoAnswer {
			t.Errorf("%+v", got)
		}
	})
}

func TestStageRegistry_DoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		s := r.AddStage("expiry", everySecond)
		time.Sleep(time.Hour) // the worker has not begun
		r.StartWatchingStages()
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("at the start: %+v", got)
		}
		time.Sleep(32 * time.Second)
		if got := r.StalledStages(); len(got) != 1 || got[0].Name != "expiry" {
			t.Errorf("%+v", got)
		}
		s.BeginWork() // a long run is no stall
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("under way: %+v", got)
		}
		s.EndWork()
		r.StopWatchingStages()
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("at the stop: %+v", got)
		}
	})
}

// Work that does not end is a stall, also if it began after a long silence.
func TestStageRegistry_WorkDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		s := r.AddStage("execute", nil)
		s.SetMaxTimeWithoutSuccess(40 * time.Second)
		r.StartWatchingStages()
		time.Sleep(time.Hour)
		s.BeginWork()
		time.Sleep(40 * time.Second)
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Second)
		if got := r.StalledStages(); len(got) != 1 || got[0].Name != "execute" {
			t.Errorf("%+v", got)
		}
	})
}

// Work that reports its progress, or for how long it waits, is no stall until it
// is quiet.
func TestStageRegistry_Progress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		s := r.AddStage("reconcile", everyHour)
		s.SetMaxTimeWithoutSuccess(40 * time.Second)
		r.StartWatchingStages()
		s.BeginWork()
		for range 10 {
			time.Sleep(30 * time.Second)
			s.ReportProgress(0)
		}
		s.ReportProgress(5 * time.Minute)
		s.ReportProgress(0) // of another call of the same work
		time.Sleep(5*time.Minute + 40*time.Second)
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("it goes on: %+v", got)
		}
		time.Sleep(time.Second)
		if got := r.StalledStages(); len(got) != 1 || got[0].Cause != "work under way does not end" {
			t.Errorf("it hangs: %+v", got)
		}
	})
}

// Without further requests, old failures of the API do not count.
func TestStageRegistry_FailureTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		s := r.AddStage("api", nil)
		s.SetFailureTTL(2 * time.Minute)
		r.StartWatchingStages()
		rejected := redisReply("NOPERM")
		runStage(t, r, s, rejected)
		time.Sleep(health.StallLimit)
		runStage(t, r, s, rejected)
		if got := r.StalledStages(); len(got) != 1 || got[0].Name != "api" {
			t.Errorf("requests fail: %+v", got)
		}
		time.Sleep(2*time.Minute + time.Second)
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("no requests come: %+v", got)
		}
		runStage(t, r, s, rejected)
		runStage(t, r, s, rejected)
		if got := r.StalledStages(); len(got) != 0 {
			t.Errorf("two requests failed just now: %+v", got)
		}
	})
}

// Of several parts with one name, each can stall, and the name appears once.
func TestStageRegistry_SameName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := health.NewRedisHealthReporter(zap.NewNop())
		good, bad, worse := r.AddStage("deliver", nil), r.AddStage("deliver", nil), r.AddStage("deliver", nil)
		r.StartWatchingStages()
		for range 40 {
			runStage(t, r, good, nil)
			runStage(t, r, bad, redisReply("OOM command not allowed"))
			runStage(t, r, worse, redisReply("OOM command not allowed"))
			time.Sleep(time.Second)
		}
		if got := r.StalledStages(); len(got) != 1 || got[0].Name != "deliver" {
			t.Errorf("%+v", got)
		}
	})
}

// An operation that Redis rejects is logged once a minute, with what to do. It
// is no outage.
func TestReportError_Rejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, lines := newTracker(zapcore.InfoLevel)
		for range 90 {
			r.ReportError(t.Context(), "poll the schedule", redisReply("OOM command not allowed"))
			r.ReportSuccess()
			time.Sleep(time.Second)
		}
		got := lines()
		if len(got) != 2 || got[0] != got[1] || !strings.Contains(got[0], "raise maxmemory") {
			t.Errorf("%q", got)
		}
		r.ReportError(t.Context(), "poll the schedule", redisReply("LOADING Redis is loading"))
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "Redis unavailable") {
			t.Errorf("%q", got)
		}
	})
}

// An outage is logged once a minute while it lasts.
func TestReportError_LongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, lines := newTracker(zapcore.InfoLevel)
		for range 150 {
			r.ReportError(t.Context(), "claim holds", errRefused)
			time.Sleep(time.Second)
		}
		if got := lines(); len(got) != 3 {
			t.Errorf("%q", got)
		}
	})
}

// A cause quotes only what Redis itself answered.
func TestDescribeCause(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errRefused, health.CauseNoAnswer},
		{errors.New("dial redis://user:s3cret@10.0.0.7"), health.CauseNoAnswer},
		{errors.Join(errRefused, redisReply("NOPERM no 'zrem'\nmore")), "NOPERM no 'zrem'"},
		{redisReply(strings.Repeat("x", 300)), strings.Repeat("x", 200) + "…"},
	} {
		if got := health.DescribeCause(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
