package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const hashSlots = 16384

// redisLayout is a way to spread holds over Redis servers.
type redisLayout struct {
	masters, partitions int
	samples             map[string][]float64 // by what is measured
}

func (l *redisLayout) add(what string, v float64) { l.samples[what] = append(l.samples[what], v) }

func (l *redisLayout) median(what string) float64 {
	all := slices.Clone(l.samples[what])
	slices.Sort(all)
	return all[len(all)/2]
}

const (
	scheduleRate      = "schedule"
	settleRate        = "claim and settle"
	busiestMasterCPU  = "Redis CPU a hold, busiest master"
	idleCommandRate   = "Redis commands a second, idle daemon"
	idleRoundTripRate = "Redis round trips a second, idle daemon"
)

// measureCluster compares one server with a Cluster. The client has the same
// two cores as the servers, so what the servers could do shows in the CPU time
// of the busiest of them rather than in the rate.
func (b *bench) measureCluster(ctx context.Context, w io.Writer) error {
	layouts := []*redisLayout{{masters: 1, partitions: 1}, {masters: 1, partitions: 64},
		{masters: 3, partitions: 64}}
	for range b.workload.rounds {
		for _, l := range layouts {
			if l.samples == nil {
				l.samples = map[string][]float64{}
			}
			if err := b.measureLayout(ctx, l, b.workload.drain); err != nil {
				return err
			}
		}
	}
	head := tableRow{""}
	for _, l := range layouts {
		head = append(head, fmt.Sprintf("%d master, %d partitions", l.masters, l.partitions))
	}
	var rows []tableRow
	for _, what := range []string{scheduleRate, settleRate, busiestMasterCPU,
		idleCommandRate, idleRoundTripRate} {
		unit := "/s"
		if what == busiestMasterCPU {
			unit = " µs"
		}
		r := tableRow{what}
		for _, l := range layouts {
			r = append(r, fmt.Sprintf("%.1f%s", l.median(what), unit))
		}
		rows = append(rows, r)
	}
	writeTextTable(w, head, rows)
	return nil
}

// measureLayout schedules n holds and settles them through the store alone, and
// then looks at an idle daemon.
func (b *bench) measureLayout(ctx context.Context, l *redisLayout, n int) error {
	servers, url, err := b.startMasters(ctx, l.masters)
	for _, s := range servers {
		defer s.stop()
	}
	if err != nil {
		return err
	}
	e := holddEngine{bench: b, url: url, partitions: l.partitions}
	_, st, err := e.scheduler(ctx, servers[0])
	if err != nil {
		return err
	}
	defer st.Close()
	before, err := redisUsages(ctx, servers)
	if err != nil {
		return err
	}
	took, err := e.seed(ctx, servers[0], newTasks(n, time.Now().Add(-time.Minute), true))
	if err != nil {
		return err
	}
	l.add(scheduleRate, float64(n)/took.Seconds())
	began, left := time.Now(), int64(n)
	for left > 0 {
		due, err := st.PromoteDue(ctx, true, 256)
		if err != nil {
			return err
		}
		if len(due.Lanes) == 0 {
			return fmt.Errorf("%d holds are neither ready nor settled", left)
		}
		var settled atomic.Int64
		err = runInParallel(len(due.Lanes), 1, scheduleCallers, func(i, _ int) error {
			for {
				claims, _, err := st.Claim(ctx, due.Lanes[i], scaleBatch, time.Minute, time.Time{})
				if err != nil || len(claims) == 0 {
					return err
				}
				ok, err := st.Commit(ctx, captureWrites(claims))
				if err == nil && slices.Contains(ok, false) {
					err = errors.New("somebody else was first")
				}
				if err != nil {
					return err
				}
				settled.Add(int64(len(claims)))
			}
		})
		if err != nil {
			return err
		}
		left -= settled.Load()
	}
	l.add(settleRate, float64(n)/time.Since(began).Seconds())
	after, err := redisUsages(ctx, servers)
	if err != nil {
		return err
	}
	busiest := time.Duration(0)
	for i := range servers {
		busiest = max(busiest, after[i].cpu-before[i].cpu)
	}
	l.add(busiestMasterCPU, float64(busiest.Nanoseconds())/1000/float64(n))

	later := newTasks(1000, time.Now().Add(24*time.Hour), true)
	for i := range later {
		later[i].number += n
	}
	if _, err := e.seed(ctx, servers[0], later); err != nil {
		return err
	}
	p, err := e.start(ctx, servers[0], b.stripe.url)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := sleepContext(ctx, 2*time.Second); err != nil {
		return err
	}
	if before, err = redisUsages(ctx, servers); err != nil {
		return err
	}
	began = time.Now()
	if err := sleepContext(ctx, 5*time.Second); err != nil {
		return err
	}
	if after, err = redisUsages(ctx, servers); err != nil {
		return err
	}
	span := time.Since(began).Seconds()
	var commands, reads float64
	for i := range servers {
		commands += float64(after[i].commands - before[i].commands)
		reads += float64(after[i].reads - before[i].reads)
	}
	l.add(idleCommandRate, commands/span)
	l.add(idleRoundTripRate, reads/span)
	b.logf("  %d masters, %d partitions: %.0f/s scheduled, %.0f/s settled, %.1f µs, %.0f commands a second idle", l.masters, l.partitions,
		l.median(scheduleRate), l.median(settleRate), l.median(busiestMasterCPU),
		l.median(idleCommandRate))
	return nil
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

// startMasters are one server, or a Cluster without replicas, and its URL.
func (b *bench) startMasters(
	ctx context.Context, n int,
) (all []*redisServer, url string, err error) {
	if n == 1 {
		s, err := b.startRedis(ctx)
		if err != nil {
			return nil, "", err
		}
		return []*redisServer{s}, "redis://" + s.addr, nil
	}
	var hosts []string
	for i := range n {
		bus, err := freePort()
		if err != nil {
			return all, "", err
		}
		s, err := b.startRedis(ctx, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus))
		if err != nil {
			return all, "", err
		}
		all, hosts = append(all, s), append(hosts, s.addr)
		if err := s.rdb.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return all, "", err
		}
		if err := s.rdb.Do(ctx, "cluster", "addslotsrange", i*hashSlots/n,
			(i+1)*hashSlots/n-1).Err(); err != nil {
			return all, "", err
		}
		if i > 0 {
			_, port, _ := strings.Cut(s.addr, ":")
			if err := all[0].rdb.Do(ctx, "cluster", "meet", "127.0.0.1", port,
				bus).Err(); err != nil {
				return all, "", err
			}
		}
	}
	until := time.Now().Add(processTimeout)
	for _, s := range all {
		for {
			info := s.rdb.ClusterInfo(ctx).Val()
			shards, err := s.rdb.ClusterShards(ctx).Result()
			if strings.Contains(info, "cluster_state:ok") && err == nil && len(shards) == n {
				break
			}
			if time.Now().After(until) {
				return all, "", fmt.Errorf("the Cluster does not form: %s", info)
			}
			if err := sleepContext(ctx, 20*time.Millisecond); err != nil {
				return all, "", err
			}
		}
	}
	return all, "redis+cluster://" + strings.Join(hosts, ","), nil
}
