package worker

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// memoryWarningPercent is how much of Redis' maxmemory may be used before an
// alert. A full Redis accepts no new holds.
const memoryWarningPercent = 80

// RedisInspector reads the properties of the Redis servers that decide whether
// holds are safe. store.Store implements it.
type RedisInspector interface {
	// ListServerFaultsAndMemoryUse returns what makes Redis lose holds or stop, each with
	// what to do about it, and how much of maxmemory is used; 0 without one.
	ListServerFaultsAndMemoryUse(ctx context.Context) (faults []string, memoryPercent int, err error)
}

// RedisCheckJob repeats the checks of the start, because the settings of a
// running Redis can change.
type RedisCheckJob struct {
	redis  RedisInspector // nil: nothing is checked
	health *health.Reporter

	mu            sync.Mutex
	faults        []string
	memoryPercent int
	wasReachable  bool
}

// Run checks the servers.
func (j *RedisCheckJob) Run(ctx context.Context) {
	if j.redis == nil {
		return
	}
	faults, percent, err := j.redis.ListServerFaultsAndMemoryUse(ctx)
	if err != nil {
		j.health.ReportError(ctx, "inspect the Redis servers", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults, j.memoryPercent = faults, percent
}

// runAfterReconnect checks the servers if Redis answers again: it may be
// another server.
func (j *RedisCheckJob) runAfterReconnect(ctx context.Context, reachable bool) {
	j.mu.Lock()
	again := reachable && !j.wasReachable
	j.wasReachable = reachable
	j.mu.Unlock()
	if again {
		j.Run(ctx)
	}
}

// readinessChecks returns the readiness check of the servers' settings.
func (j *RedisCheckJob) readinessChecks() []health.ReadinessCheckResult {
	if j.redis == nil {
		return nil
	}
	faults, percent := j.latestFaultsAndMemoryPercent()
	check := health.ReadinessCheckResult{Name: "redis_settings", OK: faults == "", Detail: faults}
	if faults == "" && percent >= memoryWarningPercent {
		check.Detail = describeMemoryUsage(percent)
	}
	return []health.ReadinessCheckResult{check}
}

// latestFaultsAndMemoryPercent returns the faults as one text, and the used part of
// maxmemory.
func (j *RedisCheckJob) latestFaultsAndMemoryPercent() (faults string, percent int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.faults, "; "), j.memoryPercent
}

func describeMemoryUsage(percent int) string {
	return strconv.Itoa(percent) + " % of maxmemory is used: raise it, or shorten retention; " +
		"a full Redis accepts no new holds"
}

// redisConditions returns the conditions of the servers' settings.
func (j *StatusJob) redisConditions() []hold.DaemonConditionReport {
	if j.redis == nil || j.redis.redis == nil {
		return nil
	}
	faults, percent := j.redis.latestFaultsAndMemoryPercent()
	return []hold.DaemonConditionReport{
		j.newConditionWithDetail(conditionRedisUnsafe, faults != "", faults,
			event.RedisUnsafe, event.RedisSafe),
		j.newConditionWithDetail(conditionRedisMemory, percent >= memoryWarningPercent,
			describeMemoryUsage(percent), event.RedisMemoryHigh, event.RedisMemoryNormal),
	}
}
