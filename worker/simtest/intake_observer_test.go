package simtest

import (
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logRecorder hear what a replica tells its operator, for the judge.
type logRecorder struct {
	world   *world
	replica *replica
}

func (e *logRecorder) Enabled(l zapcore.Level) bool      { return l >= zapcore.InfoLevel }
func (e *logRecorder) With([]zapcore.Field) zapcore.Core { return e }
func (e *logRecorder) Sync() error                       { return nil }
func (e *logRecorder) Check(x zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Enabled(x.Level) {
		return c.AddCore(x, e)
	}
	return c
}

func (e *logRecorder) Write(x zapcore.Entry, fields []zap.Field) error {
	event, id := x.Message, ""
	for _, f := range fields {
		switch f.Key {
		case "event":
			event = f.String
		case "payment_intent", "id":
			id = f.String
		}
	}
	e.world.mu.Lock()
	defer e.world.mu.Unlock()
	if k := event + " " + id; e.world.intakeObserved.firstLoggedAt[k].IsZero() &&
		!e.replica.dead.Load() {
		e.world.intakeObserved.firstLoggedAt[k] = time.Now()
	}
	return nil
}

// reconcileObserver sees the comparisons that a replica has finished.
type reconcileObserver struct {
	world   *world
	replica *replica
}

func (reconcileObserver) ReadinessChecked([]health.ReadinessCheckResult)          {}
func (reconcileObserver) CapacityRiskComputed(event.CapacityRisk)                 {}
func (reconcileObserver) CallFinished(hold.Op, hold.AnswerKind, time.Duration)    {}
func (reconcileObserver) EventRecorded(*hold.Hold, hold.Event, time.Duration)     {}
func (reconcileObserver) OverlapEnded(time.Duration)                              {}
func (reconcileObserver) HoldCountsReported(hold.HoldCounts, int, time.Time)      {}
func (reconcileObserver) InboxOrMetadataRequestRejected(string, hold.ProblemCode) {}
func (e reconcileObserver) ReconcileFinished(r reconcile.Reconciliation) {
	e.world.mu.Lock()
	defer e.world.mu.Unlock()
	e.world.intakeObserved.reconciliations = append(e.world.intakeObserved.reconciliations, r)
}

// inboxRejects are what stands in the stream of rejects, by source and id.
func (w *world) inboxRejects() map[string]map[string]string {
	out := map[string]map[string]string{}
	entries, _ := w.redis.Stream("holdd:inbox:rejected")
	for _, e := range entries {
		m := map[string]string{}
		for i := 0; i+1 < len(e.Values); i += 2 {
			m[e.Values[i]] = e.Values[i+1]
		}
		out[m["source"]+" "+m["id"]] = m
	}
	return out
}

// stripeEventFunc is what the simulator tells its events to.
func (w *world) stripeEventFunc() func(stripesim.Event) {
	if !w.plan.intake.enabled {
		return nil
	}
	return w.onStripeEvent
}
