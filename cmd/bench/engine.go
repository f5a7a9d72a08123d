package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// concurrency is how many captures each engine may have in flight.
const concurrency = 64

// task is a hold as every engine gets it.
type task struct {
	number    int
	captureAt time.Time
	expiresAt time.Time
	reference string
	id        string // empty: made from the number
	account   string // connected account; empty: the key's own
}

func (t *task) intent() string {
	if t.id != "" {
		return t.id
	}
	return fmt.Sprintf("pi_3PxYzA2eZvKYlo2C%08d", t.number) // as long as Stripe's
}

// newTasks returns n holds that fall due at the same time.
func newTasks(n int, at time.Time, references bool) []task {
	out := make([]task, n)
	for i := range out {
		out[i] = task{number: i, captureAt: at, expiresAt: at.Add(6 * 24 * time.Hour)}
		if references {
			out[i].reference = fmt.Sprintf("BK-%08d", i)
		}
	}
	return out
}

// engine is one way to capture later.
type engine interface {
	name() string
	// seed schedules tasks as fast as it can, and returns how long that took.
	// The bare loop has no queue and does nothing.
	seed(ctx context.Context, s *redisServer, all []task) (time.Duration, error)
	// start runs a worker and returns when it is ready.
	start(ctx context.Context, s *redisServer, stripe string) (*process, error)
}

// workerEnv returns the environment of the workers beside holdd.
func workerEnv(s *redisServer, stripe string) []string {
	addr := ""
	if s != nil {
		addr = s.addr
	}
	return []string{"BENCH_REDIS=" + addr, "BENCH_STRIPE=" + stripe, "BENCH_CONCURRENCY=" +
		strconv.Itoa(concurrency)}
}

// bareEngine is stripe-go in a loop, without a queue.
type bareEngine struct{ launcher *launcher }

func (bareEngine) name() string { return "bare" }

func (bareEngine) seed(context.Context, *redisServer, []task) (time.Duration, error) {
	return 0, nil
}

func (e bareEngine) start(_ context.Context, s *redisServer, stripe string) (*process, error) {
	p, err := e.launcher.startProcess("bare", workerEnv(s, stripe), e.launcher.binPath("bare"))
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// runInParallel runs f for the range from 0 to n in parts, at parts at a time.
// It returns the first error.
func runInParallel(n, part, at int, f func(from, to int) error) error {
	type span struct{ from, to int }
	spans := make(chan span)
	errs := make(chan error, at)
	for range at {
		go func() {
			var first error
			for s := range spans {
				if first == nil {
					first = f(s.from, s.to)
				}
			}
			errs <- first
		}()
	}
	for from := 0; from < n; from += part {
		spans <- span{from, min(from+part, n)}
	}
	close(spans)
	var err error
	for range at {
		if e := <-errs; err == nil {
			err = e
		}
	}
	return err
}
