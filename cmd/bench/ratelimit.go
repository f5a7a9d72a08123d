package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const (
	// times faster than with Stripe, so that it takes seconds and not minutes:
	// the limit and asynq's retries alike
	speedup       = 20
	limitRate     = 25 * speedup // a second
	replicas      = 4
	deadlineSlack = 3 * time.Second // that even the nearest deadline leaves
)

// limitResult is what became of holds that all fell due at one instant, under a
// simulator that limits as Stripe does.
type limitResult struct {
	engine      string
	holds       int
	took        time.Duration // from the instant to the last hold that was captured or had lapsed
	rateLimited int64         // 429s
	captured    int
	expired     int
	open        int // were neither when time was up
	// the most by which a hold was captured before another whose deadline was
	// nearer
	passedOverBy time.Duration
}

// measureUnderLimit runs holdd and, side by side, asynq with its own retries,
// as much sooner as the limit is higher.
func (b *bench) measureUnderLimit(ctx context.Context) error {
	b.logf("under a limit")
	for _, e := range []engine{holddEngine{bench: b, rate: limitRate},
		asynqEngine{bench: b, retrySpeedup: speedup}} {
		if err := b.measureEngineUnderLimit(ctx, e, b.workload.limitedHolds); err != nil {
			return err
		}
	}
	return nil
}

// measureEngineUnderLimit runs four workers against the simulator. Deadlines
// are such that taking the nearest first saves every hold, with some seconds to
// spare, and the order in which holds were scheduled says nothing about them.
func (b *bench) measureEngineUnderLimit(ctx context.Context, e engine, n int) error {
	s, err := b.startRedis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: limitRate,
		OverallRate: 4 * limitRate})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stripeServer := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: processTimeout}
	served := make(chan error, 1)
	go func() { served <- stripeServer.Serve(l) }()
	defer func() { _ = stripeServer.Close(); <-served }()
	simCtx, stopSim := context.WithCancel(ctx)
	simDone := make(chan struct{})
	go func() { sim.Run(simCtx); close(simDone) }()
	defer func() { stopSim(); <-simDone }()

	at := time.Now().Add(4*time.Second + time.Duration(n)*time.Second/3000).Truncate(time.Second)
	all := make([]task, n)
	deadline := make(map[string]time.Time, n)
	for rank, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		id, err := sim.Authorize(stripesim.Hold{Amount: 12000, Currency: "eur"})
		if err != nil {
			return err
		}
		// 5 % more time than the limit needs.
		expires := at.Add(deadlineSlack + time.Duration(rank)*time.Second/limitRate*21/20).Truncate(
			time.Second).Add(time.Second)
		if err := sim.SetCaptureBefore(id, expires); err != nil {
			return err
		}
		all[i] = task{number: i, id: id, captureAt: at, expiresAt: expires}
		deadline[id] = expires
	}
	if _, err := e.seed(ctx, s, all); err != nil {
		return err
	}
	for range replicas {
		p, err := e.start(ctx, s, "http://"+l.Addr().String())
		if err != nil {
			return err
		}
		defer p.stop()
	}
	if !time.Now().Before(at) {
		return errors.New(
			"this machine is too busy: what was to wait fell due before all was in place")
	}
	until := at.Add(b.workload.limitedTimeout)
	r := limitResult{engine: e.name(), holds: n}
	for {
		if err := sleepContext(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		r.readLedger(sim.Ledger(), at, deadline)
		if r.open == 0 || time.Now().After(until) {
			break
		}
	}
	r.rateLimited = sim.Stats().RateLimited
	if r.open > 0 {
		r.took = b.workload.limitedTimeout
	}
	b.logf("  %s", r)
	b.limits = append(b.limits, r)
	return nil
}

// readLedger reads the simulator's ledger.
func (r *limitResult) readLedger(
	ledger []stripesim.Effect, at time.Time, deadline map[string]time.Time,
) {
	r.captured, r.expired, r.took, r.passedOverBy = 0, 0, 0, 0
	var order []time.Time
	var missed time.Time // nearest deadline that lapsed
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

// idealTime is how long the limit makes it take at the least.
func (r limitResult) idealTime() time.Duration {
	return time.Duration(r.holds) * time.Second / limitRate
}

// meetsTargets tells whether the bars are met: hardly longer than the limit
// allows, never above it, nothing lost.
func (r limitResult) meetsTargets() bool {
	return r.open == 0 && r.expired == 0 && r.rateLimited == 0 && r.took <= r.idealTime()*102/100
}

func (r limitResult) String() string {
	return fmt.Sprintf(
		"%s: %d holds due at once, %d/s allowed, %d workers: %.1f s (the limit makes it %.1f s), %d captured, %d lapsed, %d open, %d times 429, passed over by %s at the most",
		r.engine, r.holds, limitRate, replicas, r.took.Seconds(), r.idealTime().Seconds(),
		r.captured, r.expired, r.open, r.rateLimited, r.passedOverBy)
}
