package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// memory measures what pending holds take in Redis.
func (b *bench) memory(ctx context.Context, e engine, n int, m measure, references bool) error {
	s, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	if _, err := e.seed(ctx, s, tasks(1, time.Now().Add(time.Hour), references)); err != nil { // scripts and what every user has
		return err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	// Spread over a week, as bookings are: scores that are all the same would be shorter.
	all := tasks(n+1, time.Now().Add(24*time.Hour).Truncate(time.Millisecond), references)[1:]
	for i := range all {
		all[i].at = all[i].at.Add(time.Duration(i) * (5 * 24 * time.Hour / time.Duration(n)))
		all[i].expires = all[i].at.Add(24 * time.Hour)
	}
	if _, err := e.seed(ctx, s, all); err != nil {
		return err
	}
	// Clients' buffers are no part of a hold: Redis gives them back while it is idle.
	if err := wait(ctx, 2*time.Second); err != nil {
		return err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	b.add(m, e, float64(after.memory-before.memory)/float64(n))
	return nil
}

// http measures how fast the API takes batches of holds that carry their own amount, currency and deadline.
func (b *bench) http(ctx context.Context, e holdd, n int) error {
	s, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	p, url, err := e.serve(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	defer p.stop()
	took, err := e.seedHTTP(ctx, url, tasks(n, time.Now().Add(24*time.Hour), true))
	if err != nil {
		return err
	}
	b.add(scheduleHTTP, e, float64(n)/took.Seconds())
	return nil
}

// startUp measures how long a worker takes until it works.
func (b *bench) startUp(ctx context.Context, e engine) error {
	s, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	p, err := e.start(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	b.add(startMS, e, float64(time.Since(p.began).Microseconds())/1000)
	p.stop()
	return nil
}

// idle measures what workers with a thousand holds that are not due cost. They are measured at the same time: each one's CPU time is its own.
func (b *bench) idle(ctx context.Context, engines []engine, span time.Duration) error {
	type running struct {
		e   engine
		p   *proc
		cpu time.Duration
	}
	var all []running
	for _, e := range engines {
		s, err := b.redis(ctx)
		if err != nil {
			return err
		}
		defer s.stop()
		if _, err := e.seed(ctx, s, tasks(1000, time.Now().Add(24*time.Hour), true)); err != nil {
			return err
		}
		p, err := e.start(ctx, s, b.stripe.url)
		if err != nil {
			return err
		}
		defer p.stop()
		all = append(all, running{e: e, p: p})
	}
	// What comes up has caches to fill and garbage to give back; holdd does the latter once it has been quiet for five seconds.
	if err := wait(ctx, 10*time.Second); err != nil {
		return err
	}
	var err error
	for i := range all {
		if all[i].cpu, err = cpuTime(all[i].p.pid()); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := wait(ctx, span); err != nil {
		return err
	}
	for _, r := range all {
		cpu, err := cpuTime(r.p.pid())
		if err != nil {
			return err
		}
		b.add(idleCPU, r.e, 100*(cpu-r.cpu).Seconds()/time.Since(began).Seconds())
		rss, err := resident(r.p.pid())
		if err != nil {
			return err
		}
		b.add(idleMB, r.e, float64(rss)/1e6)
	}
	return nil
}

// sizes are those of the binaries, stripped.
func (b *bench) sizes() error {
	for _, program := range []struct {
		e   engine
		bin string
	}{{holdd{b: b}, "holdd"}, {asynqEngine{b: b}, "asynqworker"}} {
		info, err := os.Stat(b.bin(program.bin))
		if err != nil {
			return fmt.Errorf("%w: run make bench", err)
		}
		b.add(binaryMB, program.e, float64(info.Size())/1e6)
	}
	return nil
}

// samples are the measured values, by measure and engine.
type samples struct {
	mu sync.Mutex
	by map[measure]map[string][]float64
}

func (b *bench) add(m measure, e engine, v float64) {
	b.samples.mu.Lock()
	defer b.samples.mu.Unlock()
	if b.samples.by[m] == nil {
		b.samples.by[m] = map[string][]float64{}
	}
	b.samples.by[m][e.name()] = append(b.samples.by[m][e.name()], v)
	b.say("  %-10s %-44s %s", e.name(), m.title(), m.format(v))
}
