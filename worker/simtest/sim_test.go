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
	seeds   = flag.Int("seeds", worlds, "how many worlds TestSeeds simulates")
	first   = flag.Uint64("seed", 1, "the first of their seeds")
	lasting = flag.Duration("for", 0, "simulate fresh seeds for so long instead")
	hunt    = flag.Bool("hunt", false, "stop at the first seed that fails, and don't shrink it")
	survey  = flag.Bool("survey", false, "go through all seeds whatever fails, and only list the failures")
	inWays  = flag.Bool("ways", false, "only worlds in which holds come by other ways than the API")
)

// tally is what the closing lines tell.
type tally struct {
	began              time.Time
	mu                 sync.Mutex
	worlds, holds, ask int
	lasted             time.Duration
	hits               map[string]int
}

func (y *tally) add(o *outcome) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.worlds++
	y.holds += len(o.plan.holds)
	y.ask += o.calls
	y.lasted += o.lasted
	for k, n := range o.hits {
		y.hits[k] += n
	}
}

func (y *tally) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d seeds, %d holds, %d wishes, %.1f years simulated in %s; faults survived:", y.worlds, y.holds, y.ask, y.lasted.Hours()/24/365,
		time.Since(y.began).Round(time.Second))
	for _, k := range slices.Sorted(maps.Keys(y.hits)) {
		fmt.Fprintf(&s, "\n  %-24s %d", k, y.hits[k])
	}
	return s.String()
}

// TestSeeds lets many small worlds happen and judges each.
func TestSeeds(t *testing.T) {
	y := &tally{began: time.Now(), hits: map[string]int{}}
	var next atomic.Uint64
	next.Store(*first)
	last, until := *first+uint64(*seeds), time.Time{}
	if *lasting > 0 {
		next.Store(uint64(time.Now().UnixNano()))
		last, until = 0, time.Now().Add(*lasting)
	}
	var failed atomic.Int64
	t.Run("worlds", func(t *testing.T) {
		for shard := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for failed.Load() < 3 || *survey {
					seed := next.Add(1) - 1
					if last > 0 && seed >= last || last == 0 && time.Now().After(until) {
						return
					}
					p := draw(seed)
					if *inWays && !p.ways.on {
						continue
					}
					if *hunt {
						if failed.Load() > 0 {
							return
						}
						fmt.Printf("seed %d begins\n", seed)
					}
					o := run(t, p)
					y.add(&o)
					if len(o.breaches) == 0 {
						continue
					}
					failed.Add(1)
					if *hunt || *survey {
						t.Errorf("seed %d: %s", seed, o.breaches[0])
						continue
					}
					small, runs := shrink(t, o)
					t.Errorf("seed %d breaks a promise; replay it with\n\tSIMTEST_SEED=%d go test -run TestReplay -v ./worker/simtest\n%s\nshrunk in %d runs to\n%s%s\n%s\nfor kept_test.go:\n%s",
						seed, seed, strings.Join(o.breaches, "\n"), runs, &small.plan, small.story, strings.Join(small.breaches, "\n"),
						strings.ReplaceAll(fmt.Sprintf("%#v", small.plan), "simtest.", ""))
				}
			})
		}
	})
	fmt.Println(y)
}

// TestReplay tells the story of one seed: that of SIMTEST_SEED, or one of a quiet world.
func TestReplay(t *testing.T) {
	seed := uint64(1)
	replayed := os.Getenv("SIMTEST_SEED") // read here: go test takes what a package reads as it begins for no reason to run it again
	if replayed != "" {
		var err error
		if seed, err = strconv.ParseUint(replayed, 10, 64); err != nil {
			t.Fatalf("SIMTEST_SEED is %q: set it to a seed that TestSeeds printed", replayed)
		}
	}
	o := run(t, draw(seed))
	t.Logf("seed %d, %s simulated, digest %s\n%s%s", seed, o.lasted, o.digest, &o.plan, o.story)
	for _, b := range o.breaches {
		t.Error(b)
	}
}

// TestSameSeedSameRun: without it no failure could be looked at twice.
func TestSameSeedSameRun(t *testing.T) {
	for seed := uint64(1); seed <= 24; seed++ {
		a, b := run(t, draw(seed)), run(t, draw(seed))
		if a.digest == b.digest {
			continue
		}
		x, y := strings.Split(a.full, "\n"), strings.Split(b.full, "\n")
		for i := range x {
			if i >= len(y) || x[i] != y[i] {
				t.Errorf("seed %d goes two ways after\n%s\n---\n%s\n---\n%s", seed, strings.Join(x[max(0, i-5):i], "\n"), x[i], strings.Join(y[min(i, len(y)):min(i+1, len(y))], ""))
				break
			}
		}
	}
}

// shrink looks for a smaller plan that breaks the same promise.
func shrink(t *testing.T, o outcome) (small outcome, runs int) {
	rule := func(b string) string { r, _, _ := strings.Cut(b, ":"); return r }
	want := rule(o.breaches[0])
	try := func(p plan) bool {
		if runs++; runs > 150 {
			return false
		}
		n := run(t, p)
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
			for m := range p.holds[k].acts {
				if i == 0 {
					p.holds = slices.Clone(p.holds)
					p.holds[k].acts = slices.Delete(slices.Clone(p.holds[k].acts), m, m+1)
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
		func(p *plan) { p.partitions = 1 }, func(p *plan) { p.handlers = 1 }, func(p *plan) { p.service = 0 },
		func(p *plan) { p.ahead = 0 },
		func(p *plan) {
			p.faults = slices.Clone(p.faults)
			for i := range p.faults {
				p.faults[i].step = 0
			}
		},
		func(p *plan) {
			if !slices.ContainsFunc(p.faults, func(f fault) bool { return f.slot > 0 }) {
				p.slots = 1
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
