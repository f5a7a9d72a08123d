package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// part is one measurement of the benchmark.
type part struct {
	name   string
	budget time.Duration // of its full form on two idle cores
	bound  time.Duration // of its longest form; exceeding it is an error
	run    func(ctx context.Context, b lab) ([]table, error)
	extra  bool // measured only if it is named
}

// allParts are the parts in their order. Those that are not extra have
// budgets of twelve minutes, which leaves time for the build.
var allParts = []part{
	{"drain", 85 * time.Second, 4 * time.Minute, measureDrains, false},
	{"schedule", 20 * time.Second, 2 * time.Minute, measureScheduling, false},
	{"lateness", 45 * time.Second, 2 * time.Minute, measureLateness, false},
	{"memory", 85 * time.Second, 4 * time.Minute, measureMemory, false},
	{"idle", 40 * time.Second, 2 * time.Minute, measureIdle, false},
	{"limit", 225 * time.Second, 4 * time.Minute, measureLimit, false},
	{"accounts", 100 * time.Second, 4 * time.Minute, measureAccounts, false},
	{"verify", 20 * time.Second, 2 * time.Minute, measureVerify, false},
	{"webhook-storm", 30 * time.Second, 2 * time.Minute, measureStorm, false},
	{"reconcile", 50 * time.Second, 6 * time.Minute, measureReconcile, false},  // or a million
	{"retention", 50 * time.Second, 30 * time.Minute, measureRetention, false}, // or ten million
	{"renewals", 3 * time.Minute, 10 * time.Minute, measureRenewals, true},
	{"scale", 3 * time.Minute, 20 * time.Minute, measureScale, true},
	{"cluster", time.Minute, 5 * time.Minute, measureCluster, true},
}

func partNames() (names []string) {
	for _, p := range allParts {
		names = append(names, p.name)
	}
	return names
}

func extraPartNames() (names []string) {
	for _, p := range allParts {
		if p.extra {
			names = append(names, p.name)
		}
	}
	return names
}

// chooseParts returns the parts that a list with commas names.
func chooseParts(list string) (chosen []part, err error) {
	names := strings.Split(list, ",")
	for _, name := range names {
		if list != "" && !slices.Contains(partNames(), name) {
			return nil, fmt.Errorf("invalid part %q: want one of %s", name,
				strings.Join(partNames(), ", "))
		}
	}
	for _, p := range allParts {
		if list == "" && !p.extra || slices.Contains(names, p.name) {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// runParts measures parts one after the other, each within its bound.
func runParts(ctx context.Context, b lab, parts []part) (tables []table, err error) {
	for _, p := range parts {
		b.logf("part %s, about %s, at most %s", p.name, p.budget, p.bound)
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, p.bound)
		more, err := p.run(bounded, b)
		cancel()
		if err != nil {
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("not done within its bound of %s: %w", p.bound, err)
			}
			return nil, fmt.Errorf("part %s: %w", p.name, err)
		}
		b.logf("part %s took %.0f s", p.name, time.Since(began).Seconds())
		tables = append(tables, more...)
	}
	return tables, nil
}

// queues returns holdd and the job engines beside it.
func (b lab) queues() []engine {
	all := []engine{holddEngine{launcher: b.launcher}, asynqEngine{launcher: b.launcher}}
	if e := newBullMQEngine(b.launcher); e != nil {
		return append(all, *e)
	}
	b.logf("BullMQ is left out: node or its packages are not installed")
	return all
}

// measureDrains measures captures of holds that fall due at one moment. The
// engines take turns, so that other load on the machine falls on all of them.
func measureDrains(ctx context.Context, b lab) ([]table, error) {
	engines := append(b.queues(), bareEngine{b.launcher})
	drains := newDrainBench(b)
	for r := range b.workload.rounds {
		b.logf("round %d of %d", r+1, b.workload.rounds)
		for i := range engines {
			e := engines[(i+r)%len(engines)]
			if err := drains.measureDrain(ctx, e, b.workload.drain, 0); err != nil {
				return nil, err
			}
		}
		if err := (&bareBench{b}).measureClaims(ctx, b.workload.drain); err != nil {
			return nil, err
		}
	}
	// One round is enough: Stripe's answers take nearly all of the time.
	for _, e := range engines {
		if err := drains.measureDrain(ctx, e, b.workload.slowDrain, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return []table{comparisonTable(b.samples, "Captures of holds that fall due at one moment",
		drainRate, drainRate50ms, workerCPU, redisCPU, redisCommands, redisRoundTrips)}, nil
}

// measureScheduling measures how fast holds are accepted.
func measureScheduling(ctx context.Context, b lab) ([]table, error) {
	resources, bare := &resourceBench{b}, &bareBench{b}
	for range b.workload.rounds {
		for _, e := range b.queues() {
			if err := resources.measureSchedule(ctx, e, b.workload.httpHolds); err != nil {
				return nil, err
			}
		}
		if err := bare.measureWrites(ctx, b.workload.httpHolds); err != nil {
			return nil, err
		}
		if err := resources.measureHTTP(ctx, holddEngine{launcher: b.launcher},
			b.workload.httpHolds); err != nil {
			return nil, err
		}
		if err := bare.measureHTTP(ctx, b.workload.httpHolds); err != nil {
			return nil, err
		}
	}
	return []table{comparisonTable(b.samples, "Scheduling", scheduleClientRate,
		scheduleHTTPRate)}, nil
}

// measureLateness measures how punctual captures are.
func measureLateness(ctx context.Context, b lab) ([]table, error) {
	for _, e := range b.queues() {
		if err := newDrainBench(b).measureLateness(ctx, e, b.workload.latenessSpan); err != nil {
			return nil, err
		}
	}
	return []table{comparisonTable(b.samples, "Lateness", latenessP50, latenessP99, earlyShare,
		maxEarliness)}, nil
}

// measureMemory measures the memory of pending holds in Redis.
func measureMemory(ctx context.Context, b lab) ([]table, error) {
	for _, e := range b.queues() {
		if err := (&resourceBench{b}).measurePending(ctx, e); err != nil {
			return nil, err
		}
	}
	if err := (&bareBench{b}).measurePending(ctx); err != nil {
		return nil, err
	}
	return []table{comparisonTable(b.samples, "Memory in Redis", pendingMemory,
		pendingMemoryWithReference, pendingMemoryMillion)}, nil
}

// measureIdle measures workers without work, their start, and their size.
func measureIdle(ctx context.Context, b lab) ([]table, error) {
	resources := &resourceBench{b}
	if err := resources.measureBinarySizes(); err != nil {
		return nil, err
	}
	for range b.workload.rounds {
		for _, e := range b.queues() {
			if err := resources.measureStartup(ctx, e); err != nil {
				return nil, err
			}
		}
	}
	if err := resources.measureIdle(ctx, b.queues(), b.workload.idleSpan); err != nil {
		return nil, err
	}
	return []table{comparisonTable(b.samples, "Idle", idleMemory, idleCPU, idleCommands,
		idleCommandsRun, idleCommandsPartitioned, startupTime, binarySize)}, nil
}

func measureLimit(ctx context.Context, b lab) ([]table, error) {
	limits := limitBench{lab: b, span: b.workload.limitSpan, learning: b.workload.limitSpan / 3}
	results, err := limits.measureAll(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		b.samples.addOf(limitedShare, r.engine, 100*r.ratio())
		b.samples.addOf(limitedRejections, r.engine, 100*r.rejectedPart())
	}
	return []table{limitTable(results, limits.span),
		comparisonTable(b.samples, "Medians of the limiters", limitedShare, limitedRejections)}, nil
}

func measureAccounts(ctx context.Context, b lab) ([]table, error) {
	return newAccountsBench(b).measureAccounts(ctx)
}

func measureVerify(ctx context.Context, b lab) ([]table, error) {
	return (&readsBench{b}).measureVerify(ctx)
}

func measureStorm(ctx context.Context, b lab) ([]table, error) {
	return (&readsBench{b}).measureStorm(ctx)
}

func measureReconcile(ctx context.Context, b lab) ([]table, error) {
	return (&readsBench{b}).measureReconcile(ctx)
}

func measureScale(ctx context.Context, b lab) ([]table, error) {
	return (&scaleBench{b}).measureScale(ctx, b.workload.scale)
}

func measureRetention(ctx context.Context, b lab) ([]table, error) {
	return (&scaleBench{b}).measureRetention(ctx, b.workload.settled, b.workload.settled/10)
}

func measureRenewals(ctx context.Context, b lab) ([]table, error) {
	return (&renewalsBench{b}).measureRenewals(ctx)
}

func measureCluster(ctx context.Context, b lab) ([]table, error) {
	return (&clusterBench{b}).measureCluster(ctx)
}
