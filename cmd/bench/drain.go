package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// seedLead is how long before the holds fall due all of them must be seeded.
const seedLead = 300 * time.Millisecond

var errTooBusy = errors.New("machine too busy: holds fell due before all were seeded")

// drainBench measures how fast and how punctually holds are captured.
type drainBench struct {
	lab
	seedRates map[string]float64 // tasks a second, by engine
}

func newDrainBench(l lab) *drainBench {
	return &drainBench{lab: l, seedRates: map[string]float64{}}
}

// drainUsage is what a worker and its Redis have used so far.
type drainUsage struct {
	redis  redisUsage
	worker time.Duration
}

func readDrainUsage(ctx context.Context, s *redisServer, p *process) (u drainUsage, err error) {
	if u.redis, err = s.usage(ctx); err != nil {
		return u, err
	}
	u.worker, err = cpuTime(p.pid())
	return u, err
}

// measureDrain lets n holds fall due at one moment, with a worker that waits
// for them, and measures how it captures them all.
func (b *drainBench) measureDrain(
	ctx context.Context, e engine, n int, delay time.Duration,
) error {
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
	before, err := readDrainUsage(ctx, s, p)
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
	// The worker writes the last outcomes meanwhile.
	if err := sleepContext(ctx, 250*time.Millisecond); err != nil {
		return err
	}
	after, err := readDrainUsage(ctx, s, p)
	if err != nil {
		return err
	}
	rate := float64(n-1) / time.Duration(c.Last-c.First).Seconds()
	if delay > 0 {
		b.samples.add(drainRate50ms, e, rate)
		return nil
	}
	b.samples.add(drainRate, e, rate)
	b.addUsage(e, n, before, after)
	return nil
}

// addUsage records what was used for each of n holds.
func (b *drainBench) addUsage(e engine, n int, before, after drainUsage) {
	each := func(v float64) float64 { return v / float64(n) }
	microseconds := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	b.samples.add(workerCPU, e, each(microseconds(after.worker-before.worker)))
	if _, ok := e.(bareEngine); ok {
		return
	}
	b.samples.add(redisCPU, e, each(microseconds(after.redis.cpu-before.redis.cpu)))
	b.samples.add(redisCommands, e, each(float64(after.redis.commands-before.redis.commands)))
	b.samples.add(redisRoundTrips, e, each(float64(after.redis.reads-before.redis.reads)))
}

// seedAndWait seeds n holds, starts a worker, and returns shortly before the
// holds fall due. It plans the time for seeding by the rate of earlier runs.
func (b *drainBench) seedAndWait(
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
		// asynq counts whole seconds and may start a second early.
		if d := time.Until(at) - seedLead - time.Second; d >= 0 {
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
	return nil, errTooBusy
}
