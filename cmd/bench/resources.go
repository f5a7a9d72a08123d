package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// resourceBench measures memory, startup, and the cost of an idle worker.
type resourceBench struct{ lab }

// measurePending measures the memory of pending holds, in each form that the
// workload asks for.
func (b *resourceBench) measurePending(ctx context.Context, e engine) error {
	if _, ok := e.(bullmqEngine); ok && !b.workload.references {
		return nil // it takes longest
	}
	n := b.workload.pending
	if err := b.measureMemory(ctx, e, n, pendingMemory, false); err != nil {
		return err
	}
	if !b.workload.references {
		return nil
	}
	if err := b.measureMemory(ctx, e, n, pendingMemoryWithReference, true); err != nil {
		return err
	}
	if _, ok := e.(holddEngine); !ok || !b.workload.withMillion {
		return nil // tasks of the others take as much memory as with fewer
	}
	return b.measureMemory(ctx, e, 1_000_000, pendingMemoryMillion, false)
}

// measureMemory measures the memory of pending holds in Redis.
func (b *resourceBench) measureMemory(
	ctx context.Context, e engine, n int, f figure, references bool,
) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	// The first hold brings scripts and other fixed costs.
	if _, err := e.seed(ctx, s, newTasks(1, time.Now().Add(time.Hour), references)); err != nil {
		return err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return err
	}
	// Bookings spread over a week. Equal scores would take less memory.
	all := newTasks(n+1, time.Now().Add(24*time.Hour).Truncate(time.Millisecond), references)[1:]
	for i := range all {
		all[i].captureAt = all[i].captureAt.Add(
			time.Duration(i) * (5 * 24 * time.Hour / time.Duration(n)))
		all[i].expiresAt = all[i].captureAt.Add(24 * time.Hour)
	}
	if _, err := e.seed(ctx, s, all); err != nil {
		return err
	}
	// Redis frees the buffers of clients while it is idle.
	if err := sleepContext(ctx, 2*time.Second); err != nil {
		return err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return err
	}
	b.samples.add(f, e, float64(after.memory-before.memory)/float64(n))
	return nil
}

// measureSchedule measures how fast the client library schedules holds.
func (b *resourceBench) measureSchedule(ctx context.Context, e engine, n int) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	took, err := e.seed(ctx, s, newTasks(n, time.Now().Add(24*time.Hour), false))
	if err != nil {
		return err
	}
	b.samples.add(scheduleClientRate, e, float64(n)/took.Seconds())
	return nil
}

// measureHTTP measures how fast the API accepts batches of holds that have
// amount, currency and deadline.
func (b *resourceBench) measureHTTP(ctx context.Context, e holddEngine, n int) error {
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
	b.samples.add(scheduleHTTPRate, e, float64(n)/took.Seconds())
	return nil
}

// measureStartup measures how long a worker takes until it is ready.
func (b *resourceBench) measureStartup(ctx context.Context, e engine) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	p, err := e.start(ctx, s, b.stripe.url)
	if err != nil {
		return err
	}
	b.samples.add(startupTime, e, float64(time.Since(p.startedAt).Microseconds())/1000)
	p.stop()
	return nil
}

// idlePartitions is the number of partitions of one idle holdd.
const idlePartitions = 64

// idleWorker is a worker with a thousand holds that are not due.
type idleWorker struct {
	engine  engine
	redis   *redisServer
	process *process
	before  drainUsage   // before the span
	sent    func() int64 // ends the count of commands
}

func (w *idleWorker) stop() {
	if w.process != nil {
		w.process.stop()
	}
	if w.redis != nil {
		w.redis.stop()
	}
}

func (b *resourceBench) startIdle(ctx context.Context, e engine) (*idleWorker, error) {
	w := &idleWorker{engine: e}
	var err error
	if w.redis, err = b.startRedis(ctx); err != nil {
		return w, err
	}
	if _, err := e.seed(ctx, w.redis,
		newTasks(1000, time.Now().Add(24*time.Hour), true)); err != nil {
		return w, err
	}
	w.process, err = e.start(ctx, w.redis, b.stripe.url)
	return w, err
}

// startIdleWorkers starts a worker of each engine, and a last one that shows what
// more partitions cost. With an error, it returns those that it started.
func (b *resourceBench) startIdleWorkers(
	ctx context.Context, engines []engine,
) (all []*idleWorker, err error) {
	for _, e := range append(slices.Clone(engines),
		holddEngine{launcher: b.launcher, partitions: idlePartitions}) {
		w, err := b.startIdle(ctx, e)
		all = append(all, w)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// measureIdle measures the cost of idle workers. All are measured at the same
// time, because each has a CPU time of its own.
func (b *resourceBench) measureIdle(
	ctx context.Context, engines []engine, span time.Duration,
) error {
	all, err := b.startIdleWorkers(ctx, engines)
	for _, w := range all {
		defer w.stop()
	}
	if err != nil {
		return err
	}
	// A new worker fills caches and collects garbage. holdd does the latter after
	// five quiet seconds, and reads less from Redis after ten.
	if err := sleepContext(ctx, 15*time.Second); err != nil {
		return err
	}
	for _, w := range all {
		if w.before, err = readDrainUsage(ctx, w.redis, w.process); err != nil {
			return err
		}
		if w.sent, err = countCommands(ctx, w.redis); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := sleepContext(ctx, span); err != nil {
		return err
	}
	for i, w := range all {
		after, err := readDrainUsage(ctx, w.redis, w.process)
		if err != nil {
			return err
		}
		seconds := time.Since(began).Seconds()
		sent := float64(w.sent()) / seconds
		if i == len(all)-1 {
			b.samples.add(idleCommandsPartitioned, w.engine, sent)
			continue
		}
		b.samples.add(idleCommands, w.engine, sent)
		b.samples.add(idleCommandsRun, w.engine,
			float64(after.redis.commands-w.before.redis.commands)/seconds)
		b.samples.add(idleCPU, w.engine, 100*(after.worker-w.before.worker).Seconds()/seconds)
		rss, err := residentMemory(w.process.pid())
		if err != nil {
			return err
		}
		b.samples.add(idleMemory, w.engine, float64(rss)/1e6)
	}
	return nil
}

// measureBinarySizes measures the stripped binaries.
func (b *resourceBench) measureBinarySizes() error {
	for _, program := range []struct {
		e   engine
		bin string
	}{{holddEngine{launcher: b.launcher}, "holdd"},
		{asynqEngine{launcher: b.launcher}, "asynqworker"}} {
		info, err := os.Stat(b.binPath(program.bin))
		if err != nil {
			return fmt.Errorf("%w: run make bench", err)
		}
		b.samples.add(binarySize, program.e, float64(info.Size())/1e6)
	}
	return nil
}
