package commit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var (
	now   = time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	rules = hold.DecisionRules{ExpiryMargin: time.Hour, Thresholds: []time.Duration{
		24 * time.Hour, time.Hour}}
)

// memoryStore keeps the versions of holds and the events that were written.
type memoryStore struct {
	versions  map[string]uint64
	published []event.Envelope
	calls     int
	failCalls int                  // the first so many calls write nothing
	loseReply int                  // the first so many calls write, and their reply is lost
	records   map[string]hold.Hold // as last written
}

var errTimeout = errors.New("i/o timeout")

func (s *memoryStore) Commit(
	_ context.Context, writes []hold.HoldWrite,
) ([]hold.CommitResult, error) {
	s.calls++
	if s.calls <= s.failCalls {
		return nil, errTimeout
	}
	results := make([]hold.CommitResult, len(writes))
	for i, w := range writes {
		id := w.Hold.ID
		switch {
		case s.versions[id] == w.Version:
			results[i] = hold.CommitWritten
			s.versions[id], s.records[id] = w.Version+1, w.Hold
			s.publish(w.Events)
		case s.versions[id] == w.Version+1 && reflect.DeepEqual(s.records[id], w.Hold):
			results[i] = hold.CommitRepeated
		default:
			results[i] = hold.CommitConflict
		}
	}
	if s.calls <= s.loseReply {
		return nil, errTimeout
	}
	return results, nil
}

func (*memoryStore) AppendAuditEntries(context.Context, []hold.AuditLogEntry) (string, error) {
	return "", nil
}

func (s *memoryStore) AdvanceMilestones(
	_ context.Context, advances []hold.MilestoneWrite,
) ([]bool, error) {
	s.calls++
	if s.calls <= s.failCalls {
		return nil, errTimeout
	}
	written := make([]bool, len(advances))
	for i, a := range advances {
		if written[i] = s.versions[a.ID] == a.Version; written[i] {
			s.publish(a.Events)
		}
	}
	return written, nil
}

func (s *memoryStore) publish(events [][]byte) {
	for _, data := range events {
		var e event.Envelope
		if err := json.Unmarshal(data, &e); err != nil {
			panic(err)
		}
		s.published = append(s.published, e)
	}
}

// fixture is a committer and everything that it reports to.
type fixture struct {
	*commit.Committer
	store    *memoryStore
	logs     *observer.ObservedLogs
	recorded []string // by the metrics
	accounts []string
	wakes    int
}

func newFixture() *fixture { return newTracedFixture(nil) }

func newTracedFixture(tracer commit.Tracer) *fixture {
	core, logs := observer.New(zapcore.DebugLevel)
	f := &fixture{logs: logs,
		store: &memoryStore{versions: map[string]uint64{}, records: map[string]hold.Hold{}}}
	f.Committer = commit.New(f.store, commit.Options{Rules: rules, WakeAhead: time.Minute,
		Now: func() time.Time { return now }, Wake: func() { f.wakes++ },
		RecordAccount: func(account string) { f.accounts = append(f.accounts, account) },
		Observer:      f, Tracer: tracer, Logger: zap.New(core)})
	return f
}

func (f *fixture) EventRecorded(h *hold.Hold, e hold.Event, lateness time.Duration) {
	f.recorded = append(f.recorded, fmt.Sprint(e.Type, " ", lateness))
}

func (f *fixture) OverlapEnded(length time.Duration) {
	f.recorded = append(f.recorded, fmt.Sprint("overlap ", length))
}

// outputs are the events in the stream, in the log and in the metrics.
func (f *fixture) outputs() (out []string) {
	for _, e := range f.store.published {
		out = append(out, "published "+string(e.Type))
	}
	for _, l := range f.logs.All() {
		out = append(out, fmt.Sprintf("%s %s", l.Level, l.Message))
	}
	for _, r := range f.recorded {
		out = append(out, "metric "+r)
	}
	return out
}

func (f *fixture) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := f.outputs(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// newHold returns the decision that schedules a hold.
func newHold(t *testing.T, captureAt time.Time) hold.Decision {
	t.Helper()
	req := hold.ScheduleRequest{PaymentIntent: "pi_3PxYzA2eZvKYlo2C1gQmT0aB",
		Account:   "acct_1032D82eZvKYlo2C",
		Reference: "BK-2071", Amount: 12000, Currency: "eur",
		CaptureAt: captureAt.Format(time.RFC3339)}
	valid, err := req.Validate(now)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hold.DecideNewHold(valid, nil, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// paused returns a written hold and the decision that pauses it.
func (f *fixture) paused(t *testing.T) commit.Change {
	t.Helper()
	h := newHold(t, now.Add(30*time.Hour)).Hold
	h.Version = 3
	f.store.versions[h.ID] = 3
	d, err := h.Pause(0, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	return commit.Change{Before: &h, Decision: d, Lateness: 2 * time.Second}
}

func TestCommit_RecordsOnce(t *testing.T) {
	f := newFixture()
	c := f.paused(t)
	written, err := f.Commit(t.Context(), []commit.Change{c})
	if err != nil || !slices.Equal(written, []bool{true}) {
		t.Fatal(written, err)
	}
	f.expect(t, "published hold.paused", "info hold.paused", "metric hold.paused 2s")
	if f.store.versions[c.Before.ID] != 4 ||
		!slices.Equal(f.accounts, []string{"acct_1032D82eZvKYlo2C"}) {
		t.Error(f.store.versions, f.accounts)
	}
	fields := f.logs.All()[0].ContextMap()
	if fields["hold"] != c.Before.ID || fields["reference"] != "BK-2071" ||
		fields["amount"] != int64(12000) || fields["lateness_ms"] != int64(2000) {
		t.Errorf("%v", fields)
	}
}

// The commit that ends an overlap of two authorizations records its length.
func TestCommit_RecordsOverlap(t *testing.T) {
	f := newFixture()
	before := newHold(t, now.Add(30*time.Hour)).Hold
	before.Version = 3
	before.Renewal = &hold.Renewal{Step: hold.RenewalIdle, Releasing: "pi_old",
		ReleasingSince: now.Add(-7 * time.Second)}
	after := before
	after.Renewal = &hold.Renewal{Step: hold.RenewalIdle}
	for _, c := range []struct {
		name    string
		version uint64 // in the store
		hold    hold.Hold
		want    []string
	}{
		{"it goes on", 3, before, nil},
		{"another writer was first", 4, after, nil},
		{"it ends", 3, after, []string{"metric overlap 7s"}},
	} {
		f.store.versions[before.ID] = c.version
		_, err := f.Commit(t.Context(), []commit.Change{{Before: &before,
			Decision: hold.Decision{Hold: c.hold}}})
		if got := f.outputs(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// A decision that loses to another writer has no effect.
func TestCommit_LosesToAnotherWriter(t *testing.T) {
	f := newFixture()
	c := f.paused(t)
	f.store.versions[c.Before.ID] = 4
	for _, write := range []func(context.Context, []commit.Change) ([]bool, error){
		f.Commit, f.CommitWithRetry} {
		written, err := write(t.Context(), []commit.Change{c})
		if err != nil || !slices.Equal(written, []bool{false}) {
			t.Error(written, err)
		}
	}
	f.expect(t)
	if f.wakes != 0 || len(f.accounts) != 0 {
		t.Error(f.wakes, f.accounts)
	}
}

// A commit with an unknown outcome is neither logged nor counted.
func TestCommit_Error(t *testing.T) {
	f := newFixture()
	c := f.paused(t)
	f.store.failCalls = 3
	if _, err := f.Commit(t.Context(), []commit.Change{c}); !errors.Is(err, errTimeout) ||
		f.store.calls != 1 {
		t.Error(err, f.store.calls)
	}
	if _, err := f.CommitWithRetry(t.Context(), []commit.Change{c}); !errors.Is(err, errTimeout) ||
		f.store.calls != 3 {
		t.Error(err, f.store.calls)
	}
	f.expect(t)
	f.RecordCommittedDespiteError(c)
	f.expect(t, "info hold.paused", "metric hold.paused 2s")
}

func TestCommitWithRetry_LostReply(t *testing.T) {
	f := newFixture()
	c := f.paused(t)
	f.store.loseReply = 1
	written, err := f.CommitWithRetry(t.Context(), []commit.Change{c})
	if err != nil || !slices.Equal(written, []bool{true}) || f.store.calls != 2 {
		t.Fatal(written, err, f.store.calls)
	}
	f.expect(t, "published hold.paused", "info hold.paused", "metric hold.paused 2s")
}

// Two writers that make the same decision at the same time get the same record.
// Only the one that wrote it logs and counts it.
func TestCommit_EqualDecisionCountsOnce(t *testing.T) {
	f := newFixture()
	first := f.paused(t)
	second := first
	for _, c := range []commit.Change{first, second} {
		written, err := f.CommitWithRetry(t.Context(), []commit.Change{c})
		if err != nil || !slices.Equal(written, []bool{true}) {
			t.Fatal(written, err)
		}
	}
	f.expect(t, "published hold.paused", "info hold.paused", "metric hold.paused 2s")
}

// A caller that commits the same change again after an error counts it.
func TestCommit_RepeatedAfterError(t *testing.T) {
	f := newFixture()
	changes := []commit.Change{f.paused(t)}
	f.store.loseReply = 1
	if _, err := f.Commit(t.Context(), changes); !errors.Is(err, errTimeout) {
		t.Fatal(err)
	}
	if written, err := f.Commit(t.Context(), changes); err != nil || !written[0] {
		t.Fatal(written, err)
	}
	f.expect(t, "published hold.paused", "info hold.paused", "metric hold.paused 2s")
}

func TestCommit_WakesDispatcherIfDueSoon(t *testing.T) {
	for due, wakes := range map[time.Duration]int{30 * time.Second: 1, time.Hour: 0} {
		f := newFixture()
		d := newHold(t, now.Add(due))
		if _, err := f.Commit(t.Context(),
			[]commit.Change{{Before: &hold.Hold{}, Decision: d}}); err != nil {
			t.Fatal(err)
		}
		if f.wakes != wakes {
			t.Errorf("due in %s: %d wakes", due, f.wakes)
		}
	}
}

// A milestone that leaves the record as it is does not write it.
func TestPassMilestones(t *testing.T) {
	f := newFixture()
	c := f.paused(t)
	warning := []hold.Event{{Type: hold.EventExpiring, Threshold: time.Hour}}
	unchanged := commit.PassedMilestoneChange{DueAt: now, Change: commit.Change{Before: c.Before,
		Decision: hold.Decision{Hold: *c.Before, Events: warning, Unchanged: true}}}
	for want, version := range []uint64{4, 3} { // another writer was first, and then not
		f.store.versions[c.Before.ID] = version
		if n, err := f.CommitMilestones(t.Context(), []commit.PassedMilestoneChange{unchanged}); err != nil ||
			n != want {
			t.Error(n, err)
		}
	}
	f.expect(t, "published hold.expiring", "warn hold.expiring", "metric hold.expiring 0s")
	if f.store.versions[c.Before.ID] != 3 || f.wakes != 0 {
		t.Error("the record was written:", f.store.versions, f.wakes)
	}
	if n, err := f.CommitMilestones(t.Context(),
		[]commit.PassedMilestoneChange{{Change: c, DueAt: now}}); err != nil || n != 1 {
		t.Error(n, err)
	}
	if f.store.versions[c.Before.ID] != 4 {
		t.Error("the record was not written")
	}
}

func TestDeleteSettled(t *testing.T) {
	f := newFixture()
	c := f.paused(t)
	stale := *c.Before
	stale.Version = 2
	if n, err := f.DeleteHoldsIfUnmodified(t.Context(), []hold.Hold{stale, *c.Before}); err != nil ||
		n != 1 {
		t.Error(n, err)
	}
	f.expect(t)
}

// recordingTracer keeps how the span of each hold ended.
type recordingTracer struct {
	started byte
	ended   map[string][]hold.CommitResult
}

func (r *recordingTracer) StartScheduling(
	_ context.Context, h *hold.Hold,
) func(hold.CommitResult) {
	r.started++
	h.Trace = hold.TraceContext{TraceID: [16]byte{1}, SpanID: [8]byte{r.started}, Flags: 1}
	id := h.ID
	return func(result hold.CommitResult) { r.ended[id] = append(r.ended[id], result) }
}

func (r *recordingTracer) StartChange(
	_ context.Context, d *hold.Decision,
) func(hold.CommitResult) {
	if !d.Hold.Trace.IsSampled() {
		return nil
	}
	d.Trace = hold.TraceContext{TraceID: [16]byte{1}, SpanID: [8]byte{99}, Flags: 1}
	id := d.Hold.ID
	return func(result hold.CommitResult) { r.ended[id] = append(r.ended[id], result) }
}

// Each span of a batch ends once, with the result of its own hold.
func TestCommit_EndsSpans(t *testing.T) {
	tracer := &recordingTracer{ended: map[string][]hold.CommitResult{}}
	f := newTracedFixture(tracer)
	changes := []commit.Change{f.paused(t)} // has no span
	traced := f.paused(t)
	traced.Decision.Hold.ID, f.store.versions["pi_0"] = "pi_0", 3
	traced.Decision.Hold.Trace = hold.TraceContext{SpanID: [8]byte{98}, Flags: 1}
	changes = append(changes, traced)
	for _, id := range []string{"pi_1", "pi_2", "pi_3"} {
		d := newHold(t, now.Add(30*time.Hour))
		d.Hold.ID = id
		changes = append(changes, commit.Change{Before: &hold.Hold{}, Decision: d})
	}
	f.store.versions["pi_2"] = 7
	if _, err := f.Commit(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	want := map[string][]hold.CommitResult{"pi_0": {hold.CommitWritten}, "pi_1": {hold.CommitWritten},
		"pi_2": {hold.CommitConflict}, "pi_3": {hold.CommitWritten}}
	if !reflect.DeepEqual(tracer.ended, want) {
		t.Errorf("%v, want %v", tracer.ended, want)
	}
	// Each event names the span of its own decision.
	for i, span := range []string{"", "63", "01", "03"} {
		if got := f.store.published[i].Traceparent; span != "" &&
			!strings.HasSuffix(got, "-"+span+"00000000000000-01") || span == "" && got != "" {
			t.Errorf("event %d has %q, want span %s", i, got, span)
		}
	}
}

// A lost reply leaves the result of a span unknown. The same change committed
// again is still recognized as written.
func TestCommit_SpanOfUnknownResult(t *testing.T) {
	tracer := &recordingTracer{ended: map[string][]hold.CommitResult{}}
	f := newTracedFixture(tracer)
	changes := []commit.Change{{Before: &hold.Hold{},
		Decision: newHold(t, now.Add(30*time.Hour))}}
	f.store.loseReply = 1
	if _, err := f.Commit(t.Context(), changes); !errors.Is(err, errTimeout) {
		t.Fatal(err)
	}
	if got := tracer.ended[changes[0].Decision.Hold.ID]; !slices.Equal(got,
		[]hold.CommitResult{0}) {
		t.Errorf("the span ended with %v", got)
	}
	if written, err := f.Commit(t.Context(), changes); err != nil || !written[0] {
		t.Error(written, err)
	}
	f.expect(t, "published hold.scheduled", "debug hold.scheduled", "metric hold.scheduled 0s")
}

// A warning has a span as well, though its hold is not written. Its event
// continues the span.
func TestCommitMilestones_EndsSpansOfWarnings(t *testing.T) {
	tracer := &recordingTracer{ended: map[string][]hold.CommitResult{}}
	f := newTracedFixture(tracer)
	warning := f.paused(t)
	warning.Decision = hold.Decision{Hold: *warning.Before, Unchanged: true,
		Events: []hold.Event{{Type: hold.EventExpiring, Threshold: time.Hour}}}
	warning.Decision.Hold.Trace = hold.TraceContext{SpanID: [8]byte{98}, Flags: 1}
	passed := []commit.PassedMilestoneChange{{Change: warning, DueAt: now}}
	f.store.failCalls = 1
	if n, err := f.CommitMilestones(t.Context(), passed); n != 0 || !errors.Is(err, errTimeout) {
		t.Error(n, err)
	}
	version := f.store.versions[warning.Before.ID]
	f.store.versions[warning.Before.ID]++ // another writer
	if n, err := f.CommitMilestones(t.Context(), passed); n != 0 || err != nil {
		t.Error(n, err)
	}
	f.store.versions[warning.Before.ID] = version
	if n, err := f.CommitMilestones(t.Context(), passed); n != 1 || err != nil {
		t.Error(n, err)
	}
	if got := tracer.ended[warning.Before.ID]; !slices.Equal(got,
		[]hold.CommitResult{0, hold.CommitConflict, hold.CommitWritten}) {
		t.Errorf("ended %v", got)
	}
	if got := f.store.published; len(got) != 1 ||
		!strings.HasSuffix(got[0].Traceparent, "-6300000000000000-01") {
		t.Errorf("published %+v", got)
	}
}

// A decision after a milestone has a span, such as that of on_expiry.
func TestCommitMilestones_EndsSpans(t *testing.T) {
	tracer := &recordingTracer{ended: map[string][]hold.CommitResult{}}
	f := newTracedFixture(tracer)
	c := f.paused(t)
	c.Decision.Hold.Trace = hold.TraceContext{SpanID: [8]byte{98}, Flags: 1}
	passed := []commit.PassedMilestoneChange{{Change: c, DueAt: now}}
	f.store.failCalls = 1
	if n, err := f.CommitMilestones(t.Context(), passed); n != 0 || !errors.Is(err, errTimeout) {
		t.Error(n, err)
	}
	if n, err := f.CommitMilestones(t.Context(), passed); n != 1 || err != nil {
		t.Error(n, err)
	}
	if got := tracer.ended[c.Before.ID]; !slices.Equal(got,
		[]hold.CommitResult{0, hold.CommitWritten}) {
		t.Errorf("ended %v", got)
	}
	if got := f.store.published[0].Traceparent; !strings.HasSuffix(got, "-6300000000000000-01") {
		t.Errorf("the event has %q", got)
	}
}
