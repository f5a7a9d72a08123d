package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// seedLead is how long before the moment at which all falls due everything has
// to be in place.
const seedLead = 300 * time.Millisecond

// measureDrain lets n holds fall due at one moment, with a worker that waits
// for them, and measures what it takes to capture them all.
func (b *bench) measureDrain(ctx context.Context, e engine, n int, delay time.Duration) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := b.stripe.reset(n, delay); err != nil {
		return err
	}
	p, err := b.seedAndWait(ctx, e, s, n, delay)
	if err != nil {
		return err
	}
	defer p.stop()

	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	cpu, err := cpuTime(p.pid())
	if err != nil {
		return err
	}
	if _, ok := e.(bareEngine); ok {
		fmt.Fprintln(p.stdin, n)
	}
	c, err := b.stripe.waitForCaptures(ctx, int64(n), p)
	if err != nil {
		return err
	}
	// The last outcomes are still to be written down.
	if err := sleepContext(ctx, 250*time.Millisecond); err != nil {
		return err
	}
	used, err := cpuTime(p.pid())
	if err != nil {
		return err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	each := func(v float64) float64 { return v / float64(n) }
	rate := float64(n-1) / time.Duration(c.Last-c.First).Seconds()
	if delay > 0 {
		b.addSample(drainRate50ms, e, rate)
		return nil
	}
	b.addSample(drainRate, e, rate)
	b.addSample(workerCPU, e, each(float64((used-cpu).Nanoseconds())/1000))
	if _, ok := e.(bareEngine); ok {
		return nil
	}
	b.addSample(redisCPU, e, each(float64((after.cpu-before.cpu).Nanoseconds())/1000))
	b.addSample(redisCommands, e, each(float64(after.commands-before.commands)))
	b.addSample(redisRoundTrips, e, each(float64(after.reads-before.reads)))
	return nil
}

// seedAndWait seeds n holds and starts a worker, and returns shortly before
// they fall due. How long seeding takes is learned from the runs before.
func (b *bench) seedAndWait(
	ctx context.Context, e engine, s *redisServer, n int, delay time.Duration,
) (*process, error) {
	if _, ok := e.(bareEngine); ok {
		return e.start(ctx, s, b.stripe.url)
	}
	rate := b.seedRates[e.name()]
	if rate == 0 {
		rate = 4000
	}
	for range 3 {
		at := time.Now().Add(2*time.Second +
			time.Duration(1.5*float64(n)/rate*float64(time.Second))).Truncate(
			time.Second).Add(time.Second)
		took, err := e.seed(ctx, s, newTasks(n, at, false))
		if err != nil {
			return nil, err
		}
		rate = float64(n) / took.Seconds()
		b.seedRates[e.name()] = rate
		p, err := e.start(ctx, s, b.stripe.url)
		if err != nil {
			return nil, err
		}
		// asynq counts in whole seconds and may begin a second early.
		if d := time.Until(at) - seedLead - time.Second; d >= 0 {
			if n >= b.workload.drain {
				b.addSample(scheduleClientRate, e, rate)
			}
			if err := sleepContext(ctx, d); err != nil {
				p.stop()
				return nil, err
			}
			return p, nil
		}
		p.stop()
		rate /= 2
		if err := s.rdb.FlushAll(ctx).Err(); err != nil {
			return nil, err
		}
		if err := b.stripe.reset(n, delay); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("this machine is too busy: what was to wait fell due before all was in place")
}
