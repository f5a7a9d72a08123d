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
	hurry     = 20         // times faster than with Stripe, so that it takes seconds and not minutes: the limit and asynq's retries alike
	limitRate = 25 * hurry // a second
	replicas  = 4
	slack     = 3 * time.Second // that even the nearest deadline leaves
)

// underLimit is what became of holds that all fell due at one instant, under a simulator that limits as Stripe does.
type underLimit struct {
	engine   string
	holds    int
	took     time.Duration // from the instant to the last hold that was captured or had lapsed
	limited  int64         // 429s
	captured int
	lapsed   int
	open     int           // were neither when time was up
	passed   time.Duration // the most by which a hold was captured before another whose deadline was nearer
}

// underLimit runs holdd and, side by side, asynq with its own retries, as much sooner as the limit is higher.
func (b *bench) underLimit(ctx context.Context) error {
	b.say("under a limit")
	for _, e := range []engine{holdd{b: b, rate: limitRate}, asynqEngine{b: b, hurry: hurry}} {
		if err := b.limited(ctx, e, b.size.limited); err != nil {
			return err
		}
	}
	return nil
}

// limited runs four workers against the simulator. Deadlines are such that taking the nearest first saves every hold, with some seconds to
// spare, and the order in which holds were scheduled says nothing about them.
func (b *bench) limited(ctx context.Context, e engine, n int) error {
	s, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: limitRate, OverallRate: 4 * limitRate})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	defer func() { _ = web.Close(); <-served }()
	living, die := context.WithCancel(ctx)
	lived := make(chan struct{})
	go func() { sim.Run(living); close(lived) }()
	defer func() { die(); <-lived }()

	at := time.Now().Add(4*time.Second + time.Duration(n)*time.Second/3000).Truncate(time.Second)
	all := make([]task, n)
	deadline := make(map[string]time.Time, n)
	for rank, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		id, err := sim.Authorize(stripesim.Hold{Amount: 12000, Currency: "eur"})
		if err != nil {
			return err
		}
		// 5 % more time than the limit needs.
		expires := at.Add(slack + time.Duration(rank)*time.Second/limitRate*21/20).Truncate(time.Second).Add(time.Second)
		if err := sim.SetCaptureBefore(id, expires); err != nil {
			return err
		}
		all[i] = task{number: i, id: id, at: at, expires: expires}
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
		return errors.New("this machine is too busy: what was to wait fell due before all was in place")
	}
	until := at.Add(b.size.limitedPatience)
	r := underLimit{engine: e.name(), holds: n}
	for {
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		r.count(sim.Ledger(), at, deadline)
		if r.open == 0 || time.Now().After(until) {
			break
		}
	}
	r.limited = sim.Stats().RateLimited
	if r.open > 0 {
		r.took = b.size.limitedPatience
	}
	b.say("  %s", r)
	b.limits = append(b.limits, r)
	return nil
}

// count reads the simulator's ledger.
func (r *underLimit) count(ledger []stripesim.Effect, at time.Time, deadline map[string]time.Time) {
	r.captured, r.lapsed, r.took, r.passed = 0, 0, 0, 0
	var order []time.Time
	var missed time.Time // nearest deadline that lapsed
	for _, e := range ledger {
		switch e.Kind {
		case stripesim.Captured:
			r.captured++
			order = append(order, deadline[e.Intent])
		case stripesim.Expired:
			r.lapsed++
			if d := deadline[e.Intent]; missed.IsZero() || d.Before(missed) {
				missed = d
			}
		default:
			continue
		}
		r.took = max(r.took, e.Time.Sub(at))
	}
	r.open = r.holds - r.captured - r.lapsed
	nearest := missed
	for _, d := range slices.Backward(order) {
		if nearest.IsZero() || d.Before(nearest) {
			nearest = d
		}
		r.passed = max(r.passed, d.Sub(nearest))
	}
}

// ideal is how long the limit makes it take at the least.
func (r underLimit) ideal() time.Duration {
	return time.Duration(r.holds) * time.Second / limitRate
}

// good tells whether the bars are met: hardly longer than the limit allows, never above it, nothing lost.
func (r underLimit) good() bool {
	return r.open == 0 && r.lapsed == 0 && r.limited == 0 && r.took <= r.ideal()*102/100
}

func (r underLimit) String() string {
	return fmt.Sprintf("%s: %d holds due at once, %d/s allowed, %d workers: %.1f s (the limit makes it %.1f s), %d captured, %d lapsed, %d open, %d times 429, passed over by %s at the most",
		r.engine, r.holds, limitRate, replicas, r.took.Seconds(), r.ideal().Seconds(), r.captured, r.lapsed, r.open, r.limited, r.passed)
}
