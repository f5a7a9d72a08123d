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

const slots = 16384

// layout is a way to spread holds over Redis servers.
type layout struct {
	masters, partitions int
	rates               map[string][]float64 // by what is measured
}

func (l *layout) add(what string, v float64) { l.rates[what] = append(l.rates[what], v) }

func (l *layout) median(what string) float64 {
	all := slices.Clone(l.rates[what])
	slices.Sort(all)
	return all[len(all)/2]
}

const (
	perSchedule = "schedule"
	perDrain    = "claim and settle"
	perCPU      = "Redis CPU a hold, busiest master"
	perTick     = "Redis commands a second, idle daemon"
	perTrip     = "Redis round trips a second, idle daemon"
)

// cluster compares one server with a Cluster. The client has the same two cores as the servers, so what the servers could do shows in the
// CPU time of the busiest of them rather than in the rate.
func (b *bench) cluster(ctx context.Context, w io.Writer) error {
	layouts := []*layout{{masters: 1, partitions: 1}, {masters: 1, partitions: 64}, {masters: 3, partitions: 64}}
	for range b.size.rounds {
		for _, l := range layouts {
			if l.rates == nil {
				l.rates = map[string][]float64{}
			}
			if err := b.spread(ctx, l, b.size.drain); err != nil {
				return err
			}
		}
	}
	head := row{""}
	for _, l := range layouts {
		head = append(head, fmt.Sprintf("%d master, %d partitions", l.masters, l.partitions))
	}
	var rows []row
	for _, what := range []string{perSchedule, perDrain, perCPU, perTick, perTrip} {
		unit := "/s"
		if what == perCPU {
			unit = " µs"
		}
		r := row{what}
		for _, l := range layouts {
			r = append(r, fmt.Sprintf("%.1f%s", l.median(what), unit))
		}
		rows = append(rows, r)
	}
	text(w, head, rows)
	return nil
}

// spread schedules n holds and settles them through the store alone, and then looks at an idle daemon.
func (b *bench) spread(ctx context.Context, l *layout, n int) error {
	servers, url, err := b.masters(ctx, l.masters)
	for _, s := range servers {
		defer s.stop()
	}
	if err != nil {
		return err
	}
	e := holdd{b: b, url: url, partitions: l.partitions}
	_, st, err := e.scheduler(ctx, servers[0])
	if err != nil {
		return err
	}
	defer st.Close()
	before, err := usages(ctx, servers)
	if err != nil {
		return err
	}
	took, err := e.seed(ctx, servers[0], tasks(n, time.Now().Add(-time.Minute), true))
	if err != nil {
		return err
	}
	l.add(perSchedule, float64(n)/took.Seconds())
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
		err = inParallel(len(due.Lanes), 1, callers, func(i, _ int) error {
			for {
				claims, _, err := st.Claim(ctx, due.Lanes[i], scaleBatch, time.Minute, time.Time{})
				if err != nil || len(claims) == 0 {
					return err
				}
				ok, err := st.Commit(ctx, captured(claims))
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
	l.add(perDrain, float64(n)/time.Since(began).Seconds())
	after, err := usages(ctx, servers)
	if err != nil {
		return err
	}
	busiest := time.Duration(0)
	for i := range servers {
		busiest = max(busiest, after[i].cpu-before[i].cpu)
	}
	l.add(perCPU, float64(busiest.Nanoseconds())/1000/float64(n))

	later := tasks(1000, time.Now().Add(24*time.Hour), true)
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
	if err := wait(ctx, 2*time.Second); err != nil {
		return err
	}
	if before, err = usages(ctx, servers); err != nil {
		return err
	}
	began = time.Now()
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	if after, err = usages(ctx, servers); err != nil {
		return err
	}
	span := time.Since(began).Seconds()
	var commands, reads float64
	for i := range servers {
		commands += float64(after[i].commands - before[i].commands)
		reads += float64(after[i].reads - before[i].reads)
	}
	l.add(perTick, commands/span)
	l.add(perTrip, reads/span)
	b.say("  %d masters, %d partitions: %.0f/s scheduled, %.0f/s settled, %.1f µs, %.0f commands a second idle", l.masters, l.partitions,
		l.median(perSchedule), l.median(perDrain), l.median(perCPU), l.median(perTick))
	return nil
}

func usages(ctx context.Context, servers []*server) ([]usage, error) {
	out := make([]usage, len(servers))
	for i, s := range servers {
		var err error
		if out[i], err = s.usage(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// masters are one server, or a Cluster without replicas, and its URL.
func (b *bench) masters(ctx context.Context, n int) (all []*server, url string, err error) {
	if n == 1 {
		s, err := b.redis(ctx)
		if err != nil {
			return nil, "", err
		}
		return []*server{s}, "redis://" + s.addr, nil
	}
	var hosts []string
	for i := range n {
		bus, err := freePort()
		if err != nil {
			return all, "", err
		}
		s, err := b.redis(ctx, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus))
		if err != nil {
			return all, "", err
		}
		all, hosts = append(all, s), append(hosts, s.addr)
		if err := s.rdb.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return all, "", err
		}
		if err := s.rdb.Do(ctx, "cluster", "addslotsrange", i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			return all, "", err
		}
		if i > 0 {
			_, port, _ := strings.Cut(s.addr, ":")
			if err := all[0].rdb.Do(ctx, "cluster", "meet", "127.0.0.1", port, bus).Err(); err != nil {
				return all, "", err
			}
		}
	}
	until := time.Now().Add(patience)
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
			if err := wait(ctx, 20*time.Millisecond); err != nil {
				return all, "", err
			}
		}
	}
	return all, "redis+cluster://" + strings.Join(hosts, ","), nil
}
