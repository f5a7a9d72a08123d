package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestKnownAccounts_Bounds(t *testing.T) {
	var k KnownAccounts
	k.Add("")
	if got := k.List(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	for i := range maxAccounts + 10 {
		k.Add(fmt.Sprintf("acct_%08d", i))
		k.Add(fmt.Sprintf("acct_%08d", i))
	}
	if got := k.List(); len(got) != maxAccounts || got[0] != "acct_00000000" ||
		got[1] != "acct_00000001" {
		t.Errorf("%d accounts, first %q", len(got), got[:2])
	}
}

func TestRun_KeepsABoundedNumberOfFindings(t *testing.T) {
	r := &run{clock: &clock.RedisClock{}}
	r.state.initMaps()
	for range maxFindings {
		r.addFinding(Finding{Kind: FoundScheduled})
	}
	for range maxFindings {
		r.addFinding(Finding{Kind: FoundOrphan})
	}
	r.addFinding(Finding{Kind: FoundRejected})
	report := r.currentReport()
	counted := map[FindingKind]int64{FoundScheduled: maxFindings, FoundOrphan: maxFindings,
		FoundRejected: 1}
	if !maps.Equal(report.Counts, counted) {
		t.Errorf("counted %v", report.Counts)
	}
	kept := map[FindingKind]int{FoundScheduled: maxOfOneKind, FoundOrphan: maxOfOneKind}
	if len(report.Findings) != maxFindings || !maps.Equal(r.state.KeptByKind, kept) {
		t.Errorf("%d kept: %v", len(report.Findings), r.state.KeptByKind)
	}
}

// fencedStore is a store in which another replica holds the lock.
type fencedStore struct {
	RunStore
	saves int
}

func (s *fencedStore) SaveReconcileRunIfLockHeld(
	context.Context, int64, []byte, [][]byte, time.Duration, bool,
) (bool, error) {
	s.saves++
	return false, nil
}

func TestRun_StopsWithAnOutdatedToken(t *testing.T) {
	s := &fencedStore{}
	r := &run{store: s, clock: &clock.RedisClock{}, token: 1}
	r.state.initMaps()
	if err := r.saveProgressAndRenewLock(t.Context()); !errors.Is(err, errTokenOutdated) {
		t.Error(err)
	}
	if err := r.saveEndAndReleaseLock(t.Context(), errTokenOutdated); err != nil || s.saves != 1 {
		t.Errorf("%d saves, %v", s.saves, err)
	}
}

// countingPublisher counts what is published.
type countingPublisher struct{ events map[hold.EventType]int }

func (p *countingPublisher) PublishOnce(
	_ context.Context, t hold.EventType, _ string, _ event.EventData,
) (bool, error) {
	p.events[t]++
	return true, nil
}

func TestFindingReporter_LogsOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		p := &countingPublisher{events: map[hold.EventType]int{}}
		r := &findingReporter{publisher: p, health: health.NewRedisHealthReporter(zap.NewNop()),
			log: zap.New(core)}
		orphan := Finding{Kind: FoundOrphan, PaymentIntent: "pi_00000001"}
		if !r.reportOncePerInterval(t.Context(), orphan) || r.reportOncePerInterval(t.Context(), orphan) {
			t.Error("an orphan is not reported once")
		}
		other := orphan
		other.Detail = "another"
		if !r.reportOncePerInterval(t.Context(), other) {
			t.Error("another finding is not reported")
		}
		time.Sleep(findingLogInterval)
		if !r.reportOncePerInterval(t.Context(), orphan) {
			t.Error("not reported after a day")
		}
		if logs.Len() != 3 || p.events[event.Orphan] != 3 {
			t.Errorf("%d lines, %v", logs.Len(), p.events)
		}
		for i := range maxLoggedFindings {
			r.rememberLoggedIfDue(Finding{Kind: FoundOrphan, PaymentIntent: fmt.Sprint(i)})
		}
		if len(r.logged) > maxLoggedFindings {
			t.Errorf("%d findings are remembered", len(r.logged))
		}
	})
}

func TestComparison_LogsABoundedNumberOfFindings(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	p := &countingPublisher{events: map[hold.EventType]int{}}
	r := &findingRecorder{run: &run{}, reporter: &findingReporter{
		publisher: p, health: health.NewRedisHealthReporter(zap.NewNop()), log: zap.New(core),
	}}
	r.run.state.initMaps()
	for i := range maxFindingLines + 10 {
		r.recordFindingAndReportManual(t.Context(),
			Finding{Kind: FoundOrphan, PaymentIntent: fmt.Sprint(i)})
	}
	r.recordFindingAndReportManual(t.Context(), Finding{Kind: FoundCaptured})
	counted := r.run.state.Counts[FoundOrphan]
	if logs.Len() != maxFindingLines || p.events[event.Orphan] != maxFindingLines ||
		counted != maxFindingLines+10 {
		t.Errorf("%d lines, %v, %v", logs.Len(), p.events, r.run.state.Counts)
	}
}

func TestReadPace_SpacesReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &retrievePacer{step: 80 * time.Millisecond}
		if wait := p.tryTakeSlot(); wait != 0 {
			t.Error(wait)
		}
		if wait := p.tryTakeSlot(); wait != p.step {
			t.Error(wait)
		}
		time.Sleep(p.step)
		if wait := p.tryTakeSlot(); wait != 0 {
			t.Error(wait)
		}
	})
}

// The ranges of a long list cover each second from the last listed intent to
// the oldest one once.
func TestSplitList(t *testing.T) {
	newest := time.Unix(1_800_000_000, 0).UTC()
	last := &hold.PaymentIntent{ID: "pi_last", Created: newest}
	for _, tt := range []struct {
		name         string
		listed, left time.Duration
		split        bool
	}{
		{"long", time.Hour, 34*24*time.Hour + 1234567*time.Microsecond, true},
		{"short", 6 * 24 * time.Hour, 34 * 24 * time.Hour, false},
		{"a burst", 10 * time.Second, 34 * 24 * time.Hour, false},
		{"nearly done", time.Minute, 15 * time.Second, false},
	} {
		oldest := newest.Add(-tt.left)
		ranges := splitListIntoRanges(last, splitAfterPages, newest.Add(tt.listed), oldest)
		if (len(ranges) == listRanges) != tt.split || !tt.split && ranges != nil {
			t.Errorf("%s: %d ranges", tt.name, len(ranges))
			continue
		}
		next := newest
		for i, r := range ranges {
			if !r.UpTo.Equal(next) || r.From.After(r.UpTo) || r.Done ||
				(r.After == last.ID) != (i == 0) {
				t.Errorf("%s: range %d is %+v, want it up to %s", tt.name, i, r, next)
			}
			next = r.From.Add(-time.Second)
		}
		if tt.split && !ranges[listRanges-1].From.Equal(oldest) {
			t.Errorf("%s: the last range begins at %s, want %s", tt.name,
				ranges[listRanges-1].From, oldest)
		}
	}
}
