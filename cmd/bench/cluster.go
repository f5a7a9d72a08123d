package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/hold"
)

// redisLayout is a way to spread holds over Redis servers.
type redisLayout struct {
	masters, partitions int
	samples             map[string][]float64 // by the name of the figure
}

func (l *redisLayout) add(name string, v float64) { l.samples[name] = append(l.samples[name], v) }

func (l *redisLayout) median(name string) float64 {
	all := slices.Clone(l.samples[name])
	slices.Sort(all)
	return all[len(all)/2]
}

const (
	scheduleRate     = "schedule"
	settleRate       = "claim and settle"
	busiestMasterCPU = "Redis CPU a hold, busiest master"
)

// clusterBench compares one Redis server with a Cluster.
type clusterBench struct{ lab }

// measureCluster measures each layout. The client shares the
// cores with the servers, so the limit of the servers shows in the CPU time of
// the busiest of them rather than in the rate.
func (b *clusterBench) measureCluster(ctx context.Context) ([]table, error) {
	layouts := []*redisLayout{{masters: 1, partitions: 1}, {masters: 1, partitions: 64},
		{masters: 3, partitions: 64}}
	for range b.workload.rounds {
		for _, l := range layouts {
			if l.samples == nil {
				l.samples = map[string][]float64{}
			}
			if err := b.measureLayout(ctx, l, b.workload.drain); err != nil {
				return nil, err
			}
		}
	}
	head := tableRow{""}
	for _, l := range layouts {
		head = append(head, fmt.Sprintf("%d master, %d partitions", l.masters, l.partitions))
	}
	var rows []tableRow
	for _, name := range []string{scheduleRate, settleRate, busiestMasterCPU} {
		unit := "/s"
		if name == busiestMasterCPU {
			unit = " µs"
		}
		r := tableRow{name}
		for _, l := range layouts {
			r = append(r, fmt.Sprintf("%.1f%s", l.median(name), unit))
		}
		rows = append(rows, r)
	}
	return []table{{title: "One Redis server and a Cluster", header: head, rows: rows}}, nil
}

// layoutRun is one run of a layout on its own servers.
type layoutRun struct {
	layout  *redisLayout
	servers []*redisServer
	engine  holddEngine
}

// measureLayout schedules n holds and settles them through the store alone.
func (b *clusterBench) measureLayout(ctx context.Context, l *redisLayout, n int) error {
	servers, url, err := b.startMasters(ctx, l.masters)
	for _, s := range servers {
		defer s.stop()
	}
	if err != nil {
		return err
	}
	r := &layoutRun{layout: l, servers: servers,
		engine: holddEngine{launcher: b.launcher, url: url, partitions: l.partitions}}
	if err := r.measureStore(ctx, n); err != nil {
		return err
	}
	b.logf("  %d masters, %d partitions: %.0f/s scheduled, %.0f/s settled, %.1f µs",
		l.masters, l.partitions, l.median(scheduleRate), l.median(settleRate),
		l.median(busiestMasterCPU))
	return nil
}

// measureStore schedules n holds that are due and settles them.
func (r *layoutRun) measureStore(ctx context.Context, n int) error {
	_, st, err := r.engine.scheduler(ctx, r.servers[0])
	if err != nil {
		return err
	}
	defer st.Close()
	before, err := redisUsages(ctx, r.servers)
	if err != nil {
		return err
	}
	took, err := r.engine.seed(ctx, r.servers[0],
		newTasks(n, time.Now().Add(-time.Minute), true))
	if err != nil {
		return err
	}
	r.layout.add(scheduleRate, float64(n)/took.Seconds())
	began := time.Now()
	if err := settleAll(ctx, st, n); err != nil {
		return err
	}
	r.layout.add(settleRate, float64(n)/time.Since(began).Seconds())
	after, err := redisUsages(ctx, r.servers)
	if err != nil {
		return err
	}
	busiest := time.Duration(0)
	for i := range r.servers {
		busiest = max(busiest, after[i].cpu-before[i].cpu)
	}
	r.layout.add(busiestMasterCPU, float64(busiest.Nanoseconds())/1000/float64(n))
	return nil
}

// settleAll claims and settles n holds that are due.
func settleAll(ctx context.Context, st *store.Store, n int) error {
	for left := int64(n); left > 0; {
		due, err := st.PromoteDue(ctx, hold.PromoteRequest{Scheduled: true, Holds: 256})
		if err != nil {
			return err
		}
		if len(due.Lanes) == 0 {
			return fmt.Errorf("%d holds are neither ready nor settled", left)
		}
		var settled atomic.Int64
		err = runInParallel(len(due.Lanes), 1, scheduleCallers, func(i, _ int) error {
			count, err := settleLane(ctx, st, due.Lanes[i])
			settled.Add(count)
			return err
		})
		if err != nil {
			return err
		}
		left -= settled.Load()
	}
	return nil
}

// claimLane claims up to n holds of a lane.
func claimLane(
	ctx context.Context, st *store.Store, lane hold.ReadyHoldLane, n int,
) ([]hold.Claim, error) {
	claims, err := st.ClaimReadyHolds(ctx, []hold.ClaimShare{{Lane: lane, Holds: n}}, time.Minute)
	return claims[0].Claims, err
}

// settleLane settles the ready holds of a lane, and returns how many.
func settleLane(
	ctx context.Context,
	st *store.Store,
	lane hold.ReadyHoldLane,
) (settled int64, err error) {
	for {
		claims, err := claimLane(ctx, st, lane, scaleBatch)
		if err != nil || len(claims) == 0 {
			return settled, err
		}
		if err := commitAll(ctx, st, captureWrites(claims)); err != nil {
			return settled, err
		}
		settled += int64(len(claims))
	}
}

func redisUsages(ctx context.Context, servers []*redisServer) ([]redisUsage, error) {
	out := make([]redisUsage, len(servers))
	for i, s := range servers {
		var err error
		if out[i], err = s.usage(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}
