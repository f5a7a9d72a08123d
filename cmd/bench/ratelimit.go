package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const (
	// speedup makes the limit and asynq's retries faster than with Stripe, so
	// that the run takes seconds and not minutes.
	speedup       = 20
	limitRate     = 25 * speedup // a second
	replicas      = 4
	deadlineSlack = 3 * time.Second // left before the nearest deadline
)

// limitResult is the outcome of holds that all fell due at one instant, at a
// simulator that limits as Stripe does.
type limitResult struct {
	engine      string
	holds       int
	took        time.Duration // until the last hold was captured or had expired
	rateLimited int64         // 429s
	captured    int
	expired     int
	open        int // neither when the time was up
	// the most by which a hold was captured before another whose deadline was
	// nearer
	passedOverBy time.Duration
}

// limitBench measures engines at a simulator that limits captures.
type limitBench struct{ lab }

// measureUnderLimit measures holdd, and asynq with its own retries. The retries
// are faster by the same factor as the limit.
func (b *limitBench) measureUnderLimit(ctx context.Context) (out []limitResult, err error) {
	b.logf("under a limit")
	for _, e := range []engine{holddEngine{launcher: b.launcher, rate: limitRate},
		asynqEngine{launcher: b.launcher, retrySpeedup: speedup}} {
		r, err := b.measureEngine(ctx, e, b.workload.limitedHolds)
		if err != nil {
			return nil, err
		}
		b.logf("  %s", r)
		out = append(out, r)
	}
	return out, nil
}

// limitedHolds are holds that all fall due at one instant.
type limitedHolds struct {
	at       time.Time
	tasks    []task
	deadline map[string]time.Time // by PaymentIntent
}

// measureEngine runs four workers of an engine against a simulator.
func (b *limitBench) measureEngine(
	ctx context.Context, e engine, n int,
) (r limitResult, err error) {
	s, err := b.startRedis(ctx)
	if err != nil {
		return r, err
	}
	defer s.stop()
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: limitRate,
		OverallRate: 4 * limitRate})
	url, stopSim, err := serveSimulator(ctx, sim)
	if err != nil {
		return r, err
	}
	defer stopSim()
	holds, err := placeLimitedHolds(sim, n)
	if err != nil {
		return r, err
	}
	if _, err := e.seed(ctx, s, holds.tasks); err != nil {
		return r, err
	}
	for range replicas {
		p, err := e.start(ctx, s, url)
		if err != nil {
			return r, err
		}
		defer p.stop()
	}
	if !time.Now().Before(holds.at) {
		return r, errTooBusy
	}
	r = limitResult{engine: e.name(), holds: n}
	return r, r.follow(ctx, sim, holds, b.workload.limitedTimeout)
}

// serveSimulator serves sim on a free port. stop waits until it has ended.
func serveSimulator(
	ctx context.Context, sim *stripesim.Sim,
) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: processTimeout}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	running.Go(func() { sim.Run(ctx) })
	return "http://" + l.Addr().String(), func() {
		cancel()
		_ = server.Close()
		running.Wait()
	}, nil
}

// placeLimitedHolds places n holds. If the nearest deadline is always captured
// first, every hold is captured seconds before its deadline. The order of
// scheduling does not depend on the deadlines.
func placeLimitedHolds(sim *stripesim.Sim, n int) (limitedHolds, error) {
	h := limitedHolds{tasks: make([]task, n), deadline: make(map[string]time.Time, n),
		at: time.Now().Add(4*time.Second + time.Duration(n)*time.Second/3000).Truncate(
			time.Second)}
	for rank, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		id, err := sim.Authorize(stripesim.Hold{Amount: 12000, Currency: "eur"})
		if err != nil {
			return h, err
		}
		// 5 % more time than the limit needs.
		expires := h.at.Add(deadlineSlack + time.Duration(rank)*time.Second/limitRate*21/20).
			Truncate(time.Second).Add(time.Second)
		if err := sim.SetCaptureBefore(id, expires); err != nil {
			return h, err
		}
		h.tasks[i] = task{number: i, id: id, captureAt: h.at, expiresAt: expires}
		h.deadline[id] = expires
	}
	return h, nil
}

// follow reads the simulator's ledger until no hold is open or the time is up.
func (r *limitResult) follow(
	ctx context.Context, sim *stripesim.Sim, holds limitedHolds, timeout time.Duration,
) error {
	for until := holds.at.Add(timeout); ; {
		if err := sleepContext(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		r.readLedger(sim.Ledger(), holds.at, holds.deadline)
		if r.open == 0 || time.Now().After(until) {
			break
		}
	}
	r.rateLimited = sim.Stats().RateLimited
	if r.open > 0 {
		r.took = timeout
	}
	return nil
}

// readLedger computes the result from the simulator's ledger.
func (r *limitResult) readLedger(
	ledger []stripesim.Effect, at time.Time, deadline map[string]time.Time,
) {
	r.captured, r.expired, r.took, r.passedOverBy = 0, 0, 0, 0
	var order []time.Time
	var missed time.Time // nearest deadline that passed
	for _, e := range ledger {
		switch e.Kind {
		case stripesim.EffectCaptured:
			r.captured++
			order = append(order, deadline[e.Intent])
		case stripesim.EffectExpired:
			r.expired++
			if d := deadline[e.Intent]; missed.IsZero() || d.Before(missed) {
				missed = d
			}
		default:
			continue
		}
		r.took = max(r.took, e.Time.Sub(at))
	}
	r.open = r.holds - r.captured - r.expired
	nearest := missed
	for _, d := range slices.Backward(order) {
		if nearest.IsZero() || d.Before(nearest) {
			nearest = d
		}
		r.passedOverBy = max(r.passedOverBy, d.Sub(nearest))
	}
}

// idealTime is the least time that the limit allows.
func (r limitResult) idealTime() time.Duration {
	return time.Duration(r.holds) * time.Second / limitRate
}

// meetsTargets reports whether the run takes at most 2 % longer than the limit
// allows, without a 429 and without an expired hold.
func (r limitResult) meetsTargets() bool {
	return r.open == 0 && r.expired == 0 && r.rateLimited == 0 && r.took <= r.idealTime()*102/100
}

func (r limitResult) String() string {
	return fmt.Sprintf(
		"%s: %d holds due at once, %d/s allowed, %d workers: %.1f s (the limit makes it %.1f s), "+
			"%d captured, %d expired, %d open, %d times 429, passed over by %s at the most",
		r.engine, r.holds, limitRate, replicas, r.took.Seconds(), r.idealTime().Seconds(),
		r.captured, r.expired, r.open, r.rateLimited, r.passedOverBy)
}
