package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/cmd/bench/capture"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	limitRate     = 25 // captures a second: Stripe's limit, and holdd's default
	limitReplicas = 2
	limitSetup    = 15 * time.Second // to start the engines of a group and schedule the holds
)

// limitCase is a limiter, and how much of it an engine may use.
type limitCase struct {
	name     string
	limiter  func(due time.Time) limiter
	latency  time.Duration // of a capture; 0: as fast as the simulator
	other    float64       // captures a second of another client
	capacity float64       // captures a second that are left, on average
	unknown  bool          // the capacity is below the configured rate
}

func limitCases(span time.Duration) []limitCase {
	bucket := func(burst float64) func(time.Time) limiter {
		return func(time.Time) limiter { return &tokenBucket{rate: limitRate, burst: burst} }
	}
	return []limitCase{
		{name: "one token", limiter: bucket(0), capacity: limitRate},
		{name: "burst of 25", limiter: bucket(25), capacity: limitRate},
		{name: "burst of 100", limiter: bucket(100), capacity: limitRate},
		{name: "fixed window", capacity: limitRate,
			limiter: func(time.Time) limiter { return &fixedWindow{rate: limitRate} }},
		{name: "sliding window", capacity: limitRate,
			limiter: func(time.Time) limiter { return &slidingWindow{rate: limitRate} }},
		{name: "10 at once, 0.5 s each", latency: 500 * time.Millisecond, capacity: 20, unknown: true,
			limiter: func(time.Time) limiter { return &concurrencyLimit{most: 10} }},
		{name: "half used by another", limiter: bucket(25), other: limitRate / 2.0,
			capacity: limitRate / 2.0, unknown: true},
		{name: "halves for a third", capacity: limitRate - limitRate/2.0/3,
			limiter: func(due time.Time) limiter {
				return &halving{tokenBucket{burst: 5}, due.Add(span / 6), due.Add(span / 2)}
			}},
	}
}

// limitResult is what an engine captured under a limiter.
type limitResult struct {
	limiter, engine    string
	accepted, rejected int
	possible           float64 // captures
	// passedOver is the part of the captures before which another one with a
	// nearer deadline waited.
	passedOver float64
}

func (r *limitResult) ratio() float64 { return float64(r.accepted) / r.possible }

func (r *limitResult) rejectedPart() float64 {
	return float64(r.rejected) / float64(max(1, r.accepted+r.rejected))
}

// limitBench measures engines under limiters. More holds are due at one instant
// than the limiter allows within the time.
type limitBench struct {
	lab
	span     time.Duration // of a run
	learning time.Duration // its part that does not count if the capacity is unknown
}

// limitGroups are the engines that are measured at the same time. asynq has
// thousands of requests rejected at first, which leaves no CPU time for engines
// that keep to a rate.
var limitGroups = [][]string{{"holdd", "bare"}, {"asynq"}}

// measureAll runs all cases of a group of engines at the same time: together
// they are a few hundred requests a second.
func (b *limitBench) measureAll(ctx context.Context) (results []limitResult, err error) {
	cases := limitCases(b.span)
	for _, engines := range limitGroups {
		part := make([]limitResult, len(cases)*len(engines))
		errs := make([]error, len(part))
		var running sync.WaitGroup
		for i := range part {
			running.Go(func() {
				part[i], errs[i] = b.measureCase(
					ctx, engines[i%len(engines)], cases[i/len(engines)])
			})
		}
		running.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		results = append(results, part...)
	}
	order := func(r limitResult) int {
		return slices.IndexFunc(cases, func(c limitCase) bool { return c.name == r.limiter })
	}
	slices.SortStableFunc(results, func(a, b limitResult) int { return order(a) - order(b) })
	return results, nil
}

func (b *limitBench) measureCase(
	ctx context.Context, engineName string, c limitCase,
) (r limitResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := b.startRedis(ctx)
	if err != nil {
		cancel()
		return r, err
	}
	defer s.stop()
	sim := stripesim.New(stripesim.Options{Seed: 1, EndpointRate: 1e6, OverallRate: 1e6})
	due := time.Now().Add(limitSetup).Truncate(time.Second)
	server, err := startLimitedServer(ctx, sim, c.limiter(due), c.latency)
	if err != nil {
		cancel()
		return r, err
	}
	defer server.stop()
	defer cancel()
	tasks, err := placeLimitedHolds(sim, due, int(1.3*limitRate*b.span.Seconds()))
	if err != nil {
		return r, err
	}
	stop, err := b.startLimited(ctx, engineName, s, server.url, tasks)
	if err != nil {
		return r, err
	}
	defer stop()
	if !time.Now().Before(due) {
		return r, errTooBusy
	}
	if err := sleepContext(ctx, time.Until(due)); err != nil {
		return r, err
	}
	if c.other > 0 {
		go server.runOtherClient(ctx, c.other)
	}
	if err := sleepContext(ctx, b.span); err != nil {
		return r, err
	}
	from := due
	if c.unknown {
		from = due.Add(b.learning)
	}
	r = server.result(tasks, from, due.Add(b.span))
	r.limiter, r.engine = c.name, engineName
	r.possible = c.capacity * due.Add(b.span).Sub(from).Seconds()
	return r, nil
}

// startLimited starts the workers of an engine.
func (b *limitBench) startLimited(
	ctx context.Context, engineName string, s *redisServer, url string, tasks []task,
) (stop func(), err error) {
	var e engine
	switch engineName {
	case "holdd":
		e = holddEngine{launcher: b.launcher, rate: limitRate}
	case "asynq":
		e = asynqEngine{launcher: b.launcher}
	default:
		loop, end := context.WithCancel(ctx)
		var running sync.WaitGroup
		captureInLoop(loop, &running, url, tasks)
		return func() { end(); running.Wait() }, nil
	}
	if _, err := e.seed(ctx, s, tasks); err != nil {
		return nil, err
	}
	var workers []*process
	stop = func() {
		for _, p := range workers {
			p.stop()
		}
	}
	for range limitReplicas {
		p, err := e.start(ctx, s, url)
		if err != nil {
			stop()
			return nil, err
		}
		workers = append(workers, p)
	}
	return stop, nil
}

// captureInLoop captures in order of the deadlines with stripe-go in 16
// goroutines, without a queue. After a 429 a goroutine waits with exponential
// back-off and full jitter, at most 30 seconds, and tries again.
func captureInLoop(ctx context.Context, running *sync.WaitGroup, url string, tasks []task) {
	const callers = 16
	do := capture.New(url, callers)
	byDeadline := make(chan string)
	running.Go(func() {
		defer close(byDeadline)
		if sleepContext(ctx, time.Until(tasks[0].captureAt)) != nil {
			return
		}
		intents := make([]string, len(tasks))
		for i := range tasks {
			intents[rankOf(&tasks[i])] = tasks[i].id
		}
		for _, id := range intents {
			select {
			case byDeadline <- id:
			case <-ctx.Done():
				return
			}
		}
	})
	for range callers {
		running.Go(func() {
			for id := range byDeadline {
				for try := 0; do(ctx, id) != nil; try++ {
					most := min(30*time.Second, 500*time.Millisecond<<min(try, 6))
					if sleepContext(ctx, rand.N(most)) != nil {
						return
					}
				}
			}
		})
	}
}

// placeLimitedHolds places n holds that are due at one instant. The order of
// scheduling does not depend on the deadlines.
func placeLimitedHolds(sim *stripesim.Sim, due time.Time, n int) ([]task, error) {
	tasks := make([]task, n)
	for rank, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		id, err := sim.Authorize(stripesim.Hold{Amount: 12000, Currency: "eur"})
		if err != nil {
			return nil, err
		}
		expires := due.Add(24*time.Hour + time.Duration(rank)*time.Second)
		if err := sim.Dashboard().SetCaptureBefore(id, expires); err != nil {
			return nil, err
		}
		tasks[i] = task{number: i, id: id, captureAt: due, expiresAt: expires}
	}
	return tasks, nil
}

// rankOf returns the position of a hold by its deadline.
func rankOf(t *task) int {
	return int(t.expiresAt.Sub(t.captureAt.Add(24*time.Hour)) / time.Second)
}

// result counts what the server accepted and rejected within a span.
func (s *limitedServer) result(tasks []task, from, until time.Time) (r limitResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rank := make(map[string]int, len(tasks))
	for i := range tasks {
		rank[tasks[i].id] = rankOf(&tasks[i])
	}
	within := func(at time.Time) bool { return !at.Before(from) && at.Before(until) }
	passedOver := 0
	captured := map[int]bool{}
	next := 0 // the nearest deadline that is not captured
	for _, a := range s.accepted {
		n := rank[a.intent]
		// A rejected hold waits a moment, and both replicas have some claimed.
		if n > next+2*concurrency {
			passedOver++
		}
		captured[n] = true
		for captured[next] {
			next++
		}
		if within(a.at) {
			r.accepted++
		}
	}
	r.passedOver = float64(passedOver) / float64(max(1, len(s.accepted)))
	for _, at := range s.rejected {
		if within(at) {
			r.rejected++
		}
	}
	return r
}

// limitTable shows the engines side by side for each limiter.
func limitTable(results []limitResult, span time.Duration) table {
	t := table{inDocs: true, title: fmt.Sprintf("More holds due at one instant than a limiter of %d captures a "+
		"second allows in %.0f s, %d workers: captures of those possible, and 429s of the requests",
		limitRate, span.Seconds(), limitReplicas),
		header: tableRow{"limiter", "engine", "captured", "of possible", "429s", "passed over"}}
	for _, r := range results {
		t.rows = append(t.rows, tableRow{r.limiter, r.engine, fmt.Sprint(r.accepted),
			fmt.Sprintf("%.1f %%", 100*r.ratio()), fmt.Sprintf("%.1f %%", 100*r.rejectedPart()),
			fmt.Sprintf("%.1f %%", 100*r.passedOver)})
	}
	return t
}
