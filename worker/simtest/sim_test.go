package simtest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedCount = flag.Int("seeds", 30,
		"how many worlds TestSeeds simulates; make prove asks for 1,000")
	runTwice = flag.Uint64("twice", 3,
		"how many seeds TestRunPlan_Deterministic runs twice; make prove asks for 16")
	firstSeed   = flag.Uint64("seed", 1, "the first of their seeds")
	runFor      = flag.Duration("for", 0, "simulate fresh seeds for this long instead")
	stopAtFirst = flag.Bool("hunt", false,
		"stop at the first world that fails, and don't shrink it")
	listFailures = flag.Bool("survey", false, "run all seeds and only list the failures")
	intakeOnly   = flag.Bool("ways", false,
		"only worlds with holds from sources other than the API")
)

// totals are the figures that TestSeeds prints at the end.
type totals struct {
	startedAt               time.Time
	mu                      sync.Mutex
	worlds, holds, requests int
	simulated               time.Duration
	faultHits               map[string]int
}

func (y *totals) add(o *runResult) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.worlds++
	y.holds += len(o.plan.holds)
	y.requests += o.requestCount
	y.simulated += o.simulated
	for k, n := range o.faultHits {
		y.faultHits[k] += n
	}
}

func (y *totals) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d seeds, %d holds, %d requests, %.1f years simulated in %s; faults survived:",
		y.worlds, y.holds, y.requests, y.simulated.Hours()/24/365,
		time.Since(y.startedAt).Round(time.Second))
	for _, k := range slices.Sorted(maps.Keys(y.faultHits)) {
		fmt.Fprintf(&s, "\n  %-24s %d", k, y.faultHits[k])
	}
	return s.String()
}

// TestSeeds runs many small worlds and judges each.
func TestSeeds(t *testing.T) {
	y := &totals{startedAt: time.Now(), faultHits: map[string]int{}}
	var next atomic.Uint64
	next.Store(*firstSeed)
	count := uint64(*seedCount)
	if testing.Short() {
		count = min(count, 12)
	}
	last, until := *firstSeed+count, time.Time{}
	if *runFor > 0 {
		next.Store(uint64(time.Now().UnixNano()))
		last, until = 0, time.Now().Add(*runFor)
	}
	var failed atomic.Int64
	t.Run("worlds", func(t *testing.T) {
		for shard := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for failed.Load() < 3 || *listFailures {
					seed := next.Add(1) - 1
					if last > 0 && seed >= last || last == 0 && time.Now().After(until) {
						return
					}
					p := drawPlan(seed)
					if *intakeOnly && !p.intake.enabled {
						continue
					}
					if *stopAtFirst {
						if failed.Load() > 0 {
							return
						}
						fmt.Printf("seed %d begins\n", seed)
					}
					o := runPlan(t, p)
					y.add(&o)
					if len(o.breaches) == 0 {
						continue
					}
					failed.Add(1)
					if *stopAtFirst || *listFailures {
						t.Errorf("seed %d: %s", seed, o.breaches[0])
						continue
					}
					small, runs := shrinkPlan(t, o)
					t.Errorf("seed %d breaks a promise; replay it with\n\tSIMTEST_SEED=%d go test -run TestReplaySeed -v ./worker/simtest\n%s\nshrunk in %d runs to\n%s%s\n%s\nfor regression_test.go:\n%s",
						seed, seed, strings.Join(o.breaches, "\n"), runs, &small.plan,
						small.summary, strings.Join(small.breaches, "\n"),
						strings.ReplaceAll(fmt.Sprintf("%#v", small.plan), "simtest.", ""))
				}
			})
		}
	})
	fmt.Println(y)
}

// TestReplaySeed prints the trace of one seed: SIMTEST_SEED, or 1.
func TestReplaySeed(t *testing.T) {
	seed := uint64(1)
	// read here: go test takes what a package reads as it begins for no reason
	// to run it again
	replayed := os.Getenv("SIMTEST_SEED")
	if replayed != "" {
		var err error
		if seed, err = strconv.ParseUint(replayed, 10, 64); err != nil {
			t.Fatalf("SIMTEST_SEED is %q: set it to a seed that TestSeeds printed", replayed)
		}
	}
	o := runPlan(t, drawPlan(seed))
	t.Logf("seed %d, %s simulated, digest %s\n%s%s", seed, o.simulated,
		o.digest, &o.plan, o.summary)
	for _, b := range o.breaches {
		t.Error(b)
	}
}

// TestRunPlan_Deterministic checks that a failure can be replayed.
func TestRunPlan_Deterministic(t *testing.T) {
	count := *runTwice
	if testing.Short() {
		count = min(count, 3)
	}
	for seed := uint64(1); seed <= count; seed++ {
		a, b := runPlan(t, drawPlan(seed)), runPlan(t, drawPlan(seed))
		if a.digest == b.digest {
			continue
		}
		x, y := strings.Split(a.fullTrace, "\n"), strings.Split(b.fullTrace, "\n")
		for i := range x {
			if i >= len(y) || x[i] != y[i] {
				t.Errorf("seed %d goes two ways after\n%s\n---\n%s\n---\n%s", seed,
					strings.Join(x[max(0, i-5):i], "\n"), x[i],
					strings.Join(y[min(i, len(y)):min(i+1, len(y))], ""))
				break
			}
		}
	}
}

// shrinkPlan looks for a smaller plan that breaks the same promise.
func shrinkPlan(t *testing.T, o runResult) (small runResult, runs int) {
	rule := func(b string) string { r, _, _ := strings.Cut(b, ":"); return r }
	want := rule(o.breaches[0])
	try := func(p plan) bool {
		if runs++; runs > 150 {
			return false
		}
		n := runPlan(t, p)
		for _, b := range n.breaches {
			if rule(b) == want {
				o = n
				return true
			}
		}
		return false
	}
	without := func(i int, p plan) (plan, bool) {
		for k := range p.faults {
			if i == 0 {
				p.faults = slices.Delete(slices.Clone(p.faults), k, k+1)
				return p, true
			}
			i--
		}
		for k := range p.holds {
			if i == 0 && len(p.holds) > 1 {
				p.holds = slices.Delete(slices.Clone(p.holds), k, k+1)
				return p, true
			}
			i--
		}
		for k := range p.holds {
			for m := range p.holds[k].actions {
				if i == 0 {
					p.holds = slices.Clone(p.holds)
					p.holds[k].actions = slices.Delete(slices.Clone(p.holds[k].actions), m, m+1)
					return p, true
				}
				i--
			}
		}
		return p, false
	}
	for again := true; again; {
		again = false
		for i := 0; ; {
			p, more := without(i, o.plan)
			if !more {
				break
			}
			if try(p) {
				again = true
			} else {
				i++
			}
		}
	}
	for _, simpler := range []func(*plan){
		func(p *plan) { p.partitions = 1 }, func(p *plan) { p.concurrency = 1 },
		func(p *plan) { p.serviceTime = 0 },
		func(p *plan) { p.redisClockAhead = 0 },
		func(p *plan) {
			p.faults = slices.Clone(p.faults)
			for i := range p.faults {
				p.faults[i].clockStep = 0
			}
		},
		func(p *plan) {
			if !slices.ContainsFunc(p.faults, func(f fault) bool { return f.replicaIndex > 0 }) {
				p.replicas = 1
			}
		},
	} {
		p := o.plan
		if simpler(&p); fmt.Sprint(p) != fmt.Sprint(o.plan) {
			try(p)
		}
	}
	return o, runs
}
