package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// measureMemory measures what pending holds take in Redis.
func (b *bench) measureMemory(
	ctx context.Context, e engine, n int, m measure, references bool,
) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	if _, err := e.seed(ctx, s, newTasks(1, time.Now().Add(time.Hour), references)); err != nil {
		// scripts and what every user has
		return err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	// Spread over a week, as bookings are: scores that are all the same would
	// be shorter.
	all := newTasks(n+1, time.Now().Add(24*time.Hour).Truncate(time.Millisecond), references)[1:]
	for i := range all {
		all[i].captureAt = all[i].captureAt.Add(
			time.Duration(i) * (5 * 24 * time.Hour / time.Duration(n)))
		all[i].expiresAt = all[i].captureAt.Add(24 * time.Hour)
	}
	if _, err := e.seed(ctx, s, all); err != nil {
		return err
	}
	// Clients' buffers are no part of a hold: Redis gives them back while it is
	// idle.
	if err := sleepContext(ctx, 2*time.Second); err != nil {
		return err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	b.addSample(m, e, float64(after.memory-before.memory)/float64(n))
	return nil
}

// measureHTTP measures how fast the API takes batches of holds that carry their
// own amount, currency and deadline.
func (b *bench) measureHTTP(ctx context.Context, e holddEngine, n int) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	p, url, err := e.serve(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	defer p.stop()
	took, err := e.seedHTTP(ctx, url, newTasks(n, time.Now().Add(24*time.Hour), true))
	if err != nil {
		return err
	}
	b.addSample(scheduleHTTPRate, e, float64(n)/took.Seconds())
	return nil
}

// measureStartup measures how long a worker takes until it works.
func (b *bench) measureStartup(ctx context.Context, e engine) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	p, err := e.start(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	b.addSample(startupTime, e, float64(time.Since(p.startedAt).Microseconds())/1000)
	p.stop()
	return nil
}

// measureIdle measures what workers with a thousand holds that are not due
// cost. They are measured at the same time: each one's CPU time is its own.
func (b *bench) measureIdle(ctx context.Context, engines []engine, span time.Duration) error {
	type running struct {
		e   engine
		p   *process
		cpu time.Duration
	}
	var all []running
	for _, e := range engines {
		s, err := b.startRedis(ctx)
		if err != nil {
			return err
		}
		defer s.stop()
		if _, err := e.seed(ctx, s,
			newTasks(1000, time.Now().Add(24*time.Hour), true)); err != nil {
			return err
		}
		p, err := e.start(ctx, s, b.stripe.url)
		if err != nil {
			return err
		}
		defer p.stop()
		all = append(all, running{e: e, p: p})
	}
	// What comes up has caches to fill and garbage to give back; holdd does the
	// latter once it has been quiet for five seconds.
	if err := sleepContext(ctx, 10*time.Second); err != nil {
		return err
	}
	var err error
	for i := range all {
		if all[i].cpu, err = cpuTime(all[i].p.pid()); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := sleepContext(ctx, span); err != nil {
		return err
	}
	for _, r := range all {
		cpu, err := cpuTime(r.p.pid())
		if err != nil {
			return err
		}
		b.addSample(idleCPU, r.e, 100*(cpu-r.cpu).Seconds()/time.Since(began).Seconds())
		rss, err := residentMemory(r.p.pid())
		if err != nil {
			return err
		}
		b.addSample(idleMemory, r.e, float64(rss)/1e6)
	}
	return nil
}

// measureBinarySizes are those of the binaries, stripped.
func (b *bench) measureBinarySizes() error {
	for _, program := range []struct {
		e   engine
		bin string
	}{{holddEngine{bench: b}, "holdd"}, {asynqEngine{bench: b}, "asynqworker"}} {
		info, err := os.Stat(b.binPath(program.bin))
		if err != nil {
			return fmt.Errorf("%w: run make bench", err)
		}
		b.addSample(binarySize, program.e, float64(info.Size())/1e6)
	}
	return nil
}

// sampleSet are the measured values, by measure and engine.
type sampleSet struct {
	mu sync.Mutex
	by map[measure]map[string][]float64
}

func (b *bench) addSample(m measure, e engine, v float64) {
	b.samples.mu.Lock()
	defer b.samples.mu.Unlock()
	if b.samples.by[m] == nil {
		b.samples.by[m] = map[string][]float64{}
	}
	b.samples.by[m][e.name()] = append(b.samples.by[m][e.name()], v)
	b.logf("  %-10s %-44s %s", e.name(), m.title(), m.format(v))
}
