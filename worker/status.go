package worker

import (
	"context"
	"math/bits"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/query"
	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

const (
	// minHeartbeatTTL is how long a replica counts as alive after its last
	// heartbeat, or three ticks of the report job if that is longer.
	minHeartbeatTTL = 45 * time.Second
	// conditionClearAfter is how long a condition must be absent before its end
	// is published. A condition that returns within this time is not published
	// again.
	conditionClearAfter = time.Minute
	// rateLimitedThreshold is how many 429 answers between two reports raise
	// the condition. The adaptive budget causes a few of them in normal
	// operation.
	rateLimitedThreshold = 3
	// stalledLogInterval is how often a stalled stage is logged.
	stalledLogInterval = time.Minute
	// maxAliveNamed bounds the live replicas that an event names.
	maxAliveNamed = 10
)

// Names of the conditions. They are part of Redis keys.
const (
	conditionStripeUnavailable = "stripe_unavailable"
	conditionKeyRejected       = "key_rejected"
	conditionWrongKey          = "wrong_key"
	conditionRateLimited       = "rate_limited"
	conditionCapacityAtRisk    = "capacity_at_risk"
	conditionRedisUnsafe       = "redis_unsafe"
	conditionRedisMemory       = "redis_memory"
	conditionDoubleHeld        = "double_held"
	conditionUnreadable        = "records_unreadable"
)

// StatusStore keeps heartbeats and conditions, and counts holds. store.Store
// implements it.
type StatusStore interface {
	// SendHeartbeat records that a replica is alive for ttl. It returns all live
	// replicas, and those whose heartbeat ended without
	// DeregisterReplica.
	SendHeartbeat(
		ctx context.Context, replica string, ttl time.Duration,
	) (alive, dead []string, err error)
	// DeregisterReplica deletes a replica's heartbeat.
	DeregisterReplica(ctx context.Context, replica string) error
	CountHolds(ctx context.Context) (hold.HoldCounts, error)
	// RecheckUnreadableRecords returns the holds whose records this replica cannot
	// read, as far as it has found them.
	RecheckUnreadableRecords(ctx context.Context) (ids []string, err error)
	ReadSortedSetPage(
		ctx context.Context, set hold.SortedSet, after hold.SortedSetPosition, n int,
	) ([]hold.HoldAtPosition, time.Time, error)
	// ReportConditions records which conditions a replica sees. If a condition
	// begins or ends, one of the replicas receives the change.
	ReportConditions(
		ctx context.Context, replica string, ttl, quiet time.Duration, list []hold.DaemonConditionReport,
	) ([]hold.DaemonConditionChange, error)
}

// StripeHealthAndRateLimitReader reports Stripe's state to the report job. gateway.Caller
// implements it.
type StripeHealthAndRateLimitReader interface {
	StripeHealthReader
	// TakeRateLimitedCount returns how many calls Stripe has answered with 429
	// since the last TakeRateLimitedCount.
	TakeRateLimitedCount() int64
}

// CapacityRiskForecaster forecasts which holds expire before Stripe's limits
// allow their capture. [query.CapacityRiskForecaster] implements it.
type CapacityRiskForecaster interface {
	Forecast(ctx context.Context) (risk event.CapacityRisk, checked bool, err error)
}

// SystemEventPublisher publishes system events. [event.SystemEventPublisher]
// implements it.
type SystemEventPublisher interface {
	PublishOnce(
		ctx context.Context, t hold.EventType, about string, data event.EventData,
	) (first bool, err error)
}

// StatusObserver records every report, for metrics. daemon.workerObserver
// implements it.
type StatusObserver interface {
	HoldCountsReported(c hold.HoldCounts, alive int, nearest time.Time)
	ReadinessChecked(checks []health.ReadinessCheckResult)
	// CapacityRiskComputed records a forecast. Its Holds is 0 if no hold is at
	// risk.
	CapacityRiskComputed(c event.CapacityRisk)
}

// StatusOptions configure a [StatusJob].
type StatusOptions struct {
	Replica  string
	Schedule string // cron expression of the report job
	Clock    *clock.RedisClock
	Health   *health.Reporter
	Observer StatusObserver // may be nil
	Logger   *zap.Logger
}

// StatusJob is the report job. It sends the heartbeat, counts the holds,
// reports conditions (Stripe is unavailable, Stripe rejects the key, Stripe
// limits the rate, holds will expire before their capture, two authorizations
// hold the amount of a hold, records are unreadable), and reports dead replicas.
type StatusJob struct {
	store      StatusStore
	stripe     StripeHealthAndRateLimitReader
	capacity   CapacityRiskForecaster
	doubleHeld *query.DoubleHeldReader
	publisher  SystemEventPublisher
	readiness  *ReadinessChecker
	redis      *RedisCheckJob
	o          StatusOptions

	counts         reportedCounts
	doubleHeldGate *changes.PollGate // closed while no hold is held twice
	rateLimited    bool              // whether the last report had this condition
	// when each stalled stage was last logged; only Run uses it
	stalledLoggedAt map[string]time.Time
}

// Run makes one report. It returns false if Redis fails before the conditions
// are reported.
func (j *StatusJob) Run(ctx context.Context) bool {
	if j.o.Observer != nil {
		checks := j.readiness.Check(ctx)
		j.o.Observer.ReadinessChecked(checks)
		j.redis.runAfterReconnect(ctx, checks[0].OK)
	}
	j.logStalledAndRecoveredStages()
	ttl := j.heartbeatTTL()
	alive, dead, err := j.store.SendHeartbeat(ctx, j.o.Replica, ttl)
	if err != nil {
		j.o.Health.ReportError(ctx, "send the heartbeat", err)
		return false
	}
	if err := j.countAndReportHolds(ctx, len(alive)); err != nil {
		j.o.Health.ReportError(ctx, "count holds", err)
		return false
	}
	if j.reportConditions(ctx, 2*ttl) {
		j.publishDeadReplicas(ctx, alive, dead)
	}
	return true
}

// logStalledAndRecoveredStages logs each stalled stage once a minute, and its recovery.
func (j *StatusJob) logStalledAndRecoveredStages() {
	now, previous := time.Now(), j.stalledLoggedAt
	j.stalledLoggedAt = map[string]time.Time{}
	for _, s := range j.o.Health.StalledStages() {
		last := previous[s.Name]
		delete(previous, s.Name)
		if now.Sub(last) < stalledLogInterval {
			j.stalledLoggedAt[s.Name] = last
			continue
		}
		j.stalledLoggedAt[s.Name] = now
		j.o.Logger.Error("stage stalled: its work waits", zap.String("event", "stage.stalled"),
			zap.String("stage", s.Name), zap.Time("since", s.Since),
			zap.String("operation", s.Operation), zap.String("cause", s.Cause),
			zap.String("hint", health.HintForCause(s.Cause)))
	}
	for name := range previous {
		j.o.Logger.Info("stage succeeds again", zap.String("event", "stage.resumed"),
			zap.String("stage", name))
	}
}

// heartbeatTTL returns how long this replica counts as alive after a heartbeat.
func (j *StatusJob) heartbeatTTL() time.Duration {
	s, err := cron.ParseStandard(j.o.Schedule)
	if err != nil {
		return minHeartbeatTTL // Engine.Run has rejected the schedule
	}
	next := s.Next(time.Now())
	return max(minHeartbeatTTL, 3*s.Next(next).Sub(next))
}

func (j *StatusJob) countAndReportHolds(ctx context.Context, alive int) error {
	counts, nearest, err := j.counts.readIfChanged(ctx, j.store)
	if err != nil {
		return err
	}
	j.o.Logger.Debug("report", zap.Int64("open", counts.Open),
		zap.Int64("scheduled", counts.Scheduled),
		zap.Int64("working", counts.Working), zap.Int64("attention", counts.Attention),
		zap.Int64("settled", counts.Settled), zap.Int64("unverified", counts.Unverified),
		zap.Int("replicas", alive), zap.Time("nearest_deadline", nearest))
	if j.o.Observer != nil {
		j.o.Observer.HoldCountsReported(counts, alive, nearest)
	}
	return nil
}

// reportConditions reports which conditions this replica sees. It returns false
// if Redis fails.
func (j *StatusJob) reportConditions(ctx context.Context, ttl time.Duration) bool {
	refusals := j.stripe.TakeRateLimitedCount()
	j.rateLimited = refusals >= rateLimitedThreshold || j.rateLimited && refusals > 0
	list := []hold.DaemonConditionReport{
		j.newCondition(conditionStripeUnavailable, j.stripe.IsBreakerOpen(),
			event.StripeUnavailable, event.StripeRecovered),
		j.newCondition(conditionKeyRejected, j.stripe.IsKeyRejected(),
			event.KeyRejected, event.KeyAccepted),
		j.newCondition(conditionWrongKey, j.stripe.IsWrongKeySuspected(),
			event.WrongKeySuspected, event.WrongKeyCleared),
		j.newCondition(conditionRateLimited, j.rateLimited,
			event.StripeRateLimited, event.StripeRateLimitCleared),
	}
	list = append(list, j.redisConditions()...)
	list = j.appendDoubleHeldCondition(ctx, list)
	list = j.appendUnreadableCondition(ctx, list)
	risk, checked, err := j.capacity.Forecast(ctx)
	if err != nil {
		j.o.Health.ReportError(ctx, "forecast capacity", err)
	} else if checked {
		list = append(list, j.newCapacityCondition(&risk))
		if j.o.Observer != nil {
			j.o.Observer.CapacityRiskComputed(risk)
		}
	}
	changes, err := j.store.ReportConditions(ctx, j.o.Replica, ttl, conditionClearAfter, list)
	if err != nil {
		j.o.Health.ReportError(ctx, "report conditions", err)
		return false
	}
	for i, change := range changes {
		j.logConditionChange(list[i].Name, change, &risk)
	}
	return true
}

func (j *StatusJob) newCondition(
	name string, active bool, raised, cleared hold.EventType,
) hold.DaemonConditionReport {
	return j.newConditionWithDetail(name, active, "", raised, cleared)
}

func (j *StatusJob) newConditionWithDetail(
	name string, active bool, detail string, raised, cleared hold.EventType,
) hold.DaemonConditionReport {
	now, data := j.o.Clock.Now(), event.EventData{Replica: j.o.Replica, Detail: detail}
	return hold.DaemonConditionReport{Name: name, Active: active,
		RaisedEvent:  event.EncodeSystemEvent(raised, now, data),
		ClearedEvent: event.EncodeSystemEvent(cleared, now, data)}
}

func (j *StatusJob) newCapacityCondition(risk *event.CapacityRisk) hold.DaemonConditionReport {
	c := j.newCondition(conditionCapacityAtRisk, risk.Holds > 0, event.CapacityAtRisk,
		event.CapacityRecovered)
	c.Severity = severityByHoldsAtRisk(risk)
	c.RaisedEvent = event.EncodeSystemEvent(event.CapacityAtRisk, j.o.Clock.Now(),
		event.EventData{Replica: j.o.Replica, Capacity: risk})
	return c
}

// severityByHoldsAtRisk grows by one with each fourfold number of holds. A risk
// of higher severity is published again.
func severityByHoldsAtRisk(
	risk *event.CapacityRisk,
) int {
	return (bits.Len(uint(risk.Holds)) + 1) / 2
}

func (j *StatusJob) logConditionChange(
	name string, change hold.DaemonConditionChange, risk *event.CapacityRisk,
) {
	switch {
	case change == 0:
	case change == hold.ConditionEnded:
		j.o.Logger.Info("condition ended", zap.String("event", "condition.over"),
			zap.String("condition", name))
	case name == conditionCapacityAtRisk:
		j.o.Logger.Error(
			"holds will expire before their capture: more is due than Stripe's limits allow",
			zap.String("event", string(event.CapacityAtRisk)),
			zap.Int("holds", risk.Holds), zap.Any("sums", risk.Sums),
			zap.Time("first_at", risk.FirstAt), zap.Bool("at_least", risk.AtLeast))
	case name == conditionRedisUnsafe:
		faults, _ := j.redis.latestFaultsAndMemoryPercent()
		j.o.Logger.Error("Redis can lose holds or rejects changes since its settings changed",
			zap.String("event", string(event.RedisUnsafe)), zap.String("cause", faults))
	case name == conditionRedisMemory:
		_, percent := j.redis.latestFaultsAndMemoryPercent()
		j.o.Logger.Warn("the memory of Redis runs out",
			zap.String("event", string(event.RedisMemoryHigh)), zap.Int("percent", percent))
	case name == conditionDoubleHeld:
		j.logDoubleHeldConditionChange(change)
	case name == conditionUnreadable:
		j.o.Logger.Error("holdd cannot read the records of some holds and leaves them alone",
			zap.String("event", string(event.RecordsUnreadable)))
	case name == conditionRateLimited:
		j.o.Logger.Warn("Stripe answers 429: another system uses the same limits, "+
			"or the setting rate is too high",
			zap.String("event", string(event.StripeRateLimited)))
	}
}

// publishDeadReplicas publishes each dead replica, once over all live ones.
func (j *StatusJob) publishDeadReplicas(ctx context.Context, alive, dead []string) {
	for _, replica := range dead {
		data := event.EventData{Replica: replica, Alive: alive[:min(len(alive), maxAliveNamed)]}
		first, err := j.publisher.PublishOnce(ctx, event.ReplicaStopped, replica, data)
		if err == nil {
			err = j.store.DeregisterReplica(ctx, replica) // published, so no other replica must find it
		}
		if err != nil {
			j.o.Health.ReportError(ctx, "report a dead replica", err)
			return
		}
		if first {
			j.o.Logger.Error("replica died; other replicas take over its holds",
				zap.String("event", string(event.ReplicaStopped)),
				zap.String("stopped", replica), zap.Int("alive", len(alive)))
		}
	}
}
