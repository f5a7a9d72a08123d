package health_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var errRefused = errors.New("dial tcp 10.0.0.7:6379: connection refused")

func newTracker(level zapcore.Level) (*health.Reporter, func() []string) {
	core, logs := observer.New(level)
	return health.NewRedisHealthReporter(zap.New(core)), func() (lines []string) {
		for _, e := range logs.TakeAll() {
			lines = append(lines, fmt.Sprintf("%s %s %v", e.Level, e.Message,
				e.ContextMap()["operation"]))
		}
		return lines
	}
}

func TestRedis_LogsOutageOnce(t *testing.T) {
	r, lines := newTracker(zapcore.InfoLevel)
	r.ReportSuccess()
	for range 3 {
		r.ReportError(t.Context(), "claim holds", errRefused)
		r.ReportError(t.Context(), "send a heartbeat", errRefused)
	}
	r.ReportSuccess()
	r.ReportSuccess()
	r.ReportError(t.Context(), "read events", errRefused)
	want := []string{"error Redis unavailable: claims paused claim holds",
		"info Redis available again <nil>", "error Redis unavailable: claims paused read events"}
	if got := lines(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// An operation that its caller cut off says nothing about Redis.
func TestRedis_IgnoresEndedContext(t *testing.T) {
	r, lines := newTracker(zapcore.DebugLevel)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.ReportError(ctx, "claim holds", errRefused)
	err := r.ReportAndWrapUnavailable(ctx, "list holds", errRefused)
	if !errors.Is(err, health.ErrUnavailable) {
		t.Error(err)
	}
	if got := lines(); len(got) != 0 {
		t.Errorf("logged: %q", got)
	}
}

// Unreadable records are logged once a minute and are not an outage.
func TestRedis_UnreadableRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, lines := newTracker(zapcore.InfoLevel)
		err := fmt.Errorf("pi_1: %w", hold.ErrUnreadableRecord)
		for range 90 {
			r.ReportError(t.Context(), "claim holds", err)
			time.Sleep(time.Second)
		}
		r.ReportSuccess()
		if got := lines(); len(got) != 2 || !strings.Contains(got[0], "unreadable records") {
			t.Errorf("logged: %q", got)
		}
	})
}

// The error for an API caller does not contain Redis' address.
func TestUnavailable(t *testing.T) {
	r, lines := newTracker(zapcore.InfoLevel)
	err := r.ReportAndWrapUnavailable(t.Context(), "list holds", errRefused)
	if !errors.Is(err, health.ErrUnavailable) || !strings.Contains(err.Error(), "list holds") ||
		strings.Contains(err.Error(), "10.0.0.7") || errors.Is(err, errRefused) {
		t.Error(err)
	}
	if got := lines(); len(got) != 1 ||
		got[0] != "error Redis unavailable: claims paused list holds" {
		t.Errorf("logged: %q", got)
	}
}
