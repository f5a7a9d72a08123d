package torture

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
)

var (
	tortureFor  = flag.Duration("torture.for", 0, "how long the faults last in each scenario; 0: the short form")
	tortureSeed = flag.Uint64("torture.seed", 0, "seed of the plan of faults; 0 draws one")
	tortureOf   = flag.String("torture.scenario", "", "run this scenario alone")
	tortureRace = flag.Bool("torture.race", false, "build the binary with the race detector")
)

const (
	shortForm = 14 * time.Second
	// settling bounds how long the holds may take to come to their end once the faults have ended: an error that Stripe keeps for its key, half a
	// minute until a request can't be on its way any more, and what retries were put off by, a minute at the most.
	settling = 150 * time.Second
)

// scenarios start what they need and return what breaks it.
var scenarios = []struct {
	name  string
	setup func(t testing.TB, w *world) (start func(ctx context.Context), faults []tormentor)
}{
	{"standalone", standalone},
	{"network", network},
	{"sentinel", sentinel},
	{"cluster", clustered},
}

// tormentor is one source of faults.
type tormentor struct {
	name        string
	least, most time.Duration // between two of them
	do          func(ctx context.Context, rng *rand.Rand)
}

func TestTorture(t *testing.T) {
	seed, lasts := *tortureSeed, *tortureFor
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	short := lasts == 0
	if short {
		lasts = shortForm
	}
	t.Logf("seed %d, faults for %s: replay with go test ./cmd/holdd/torture -run TestTorture -torture.for=%[2]s -torture.seed=%[1]d -v", seed, lasts)
	redis.SetLogger(quiet{})
	bin := build(t)
	// They wait more than they compute, so all of them run at once, whatever the number of cores.
	var wg sync.WaitGroup
	for _, s := range scenarios {
		if *tortureOf != "" && *tortureOf != s.name {
			continue
		}
		wg.Go(func() {
			t.Run(s.name, func(t *testing.T) {
				w := newWorld(t, s.name, bin, seed, lasts, short)
				start, faults := s.setup(t, w)
				w.run(start, faults)
			})
		})
	}
	wg.Wait()
}

// quiet takes what go-redis says of servers that this test has killed.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holdd")
	args, cgo := []string{"build", "-o", path, "-trimpath", "-ldflags", "-s -w"}, "0" // as it is shipped
	if *tortureRace {
		args, cgo = []string{"build", "-o", path, "-race"}, "1"
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, "github.com/holdd/holdd/cmd/holdd")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func (w *world) size() (replicas, clerks int) {
	if w.short {
		return 2, 10
	}
	return 3, 20
}

func (w *world) startAll(redis, stripe func(n int) string, settings ...string) func(context.Context) {
	return func(ctx context.Context) {
		n, _ := w.size()
		for i := range n {
			w.start(ctx, redis(i), stripe(i), settings...)
		}
	}
}

func the(s string) func(int) string { return func(int) string { return s } }

func (w *world) replicaFaults(least, most time.Duration) []tormentor {
	return []tormentor{{"killer", least, most, w.killer}, {"freezer", 3 * time.Second, 15 * time.Second, w.freezer}}
}

func standalone(t testing.TB, w *world) (func(context.Context), []tormentor) {
	r := storetest.Start(t)
	return w.startAll(the(r.URL()), the(w.stripe)), append(w.replicaFaults(2*time.Second, 8*time.Second),
		tormentor{"redis", 5 * time.Second, 15 * time.Second, func(ctx context.Context, rng *rand.Rand) { w.breakRedis(ctx, rng, r) }})
}

func network(t testing.TB, w *world) (func(context.Context), []tormentor) {
	r := storetest.Start(t)
	n, _ := w.size()
	var redis, stripe, all []*wire
	for range n {
		redis = append(redis, newWire(t, "connection to Redis", r.Addr()))
		stripe = append(stripe, newWire(t, "connection to Stripe", strings.TrimPrefix(w.stripe, "http://")))
	}
	all = append(append(all, redis...), stripe...)
	tear := func(ctx context.Context, rng *rand.Rand) { w.tear(ctx, rng, all) }
	return w.startAll(func(i int) string { return "redis://" + redis[i].addr() }, func(i int) string { return "http://" + stripe[i].addr() }),
		[]tormentor{{"wires 1", 300 * time.Millisecond, 3 * time.Second, tear}, {"wires 2", 300 * time.Millisecond, 3 * time.Second, tear},
			{"killer", 5 * time.Second, 15 * time.Second, w.killer}}
}

func sentinel(t testing.TB, w *world) (func(context.Context), []tormentor) {
	s := storetest.StartSentinel(t)
	return w.startAll(the(s.URL()), the(w.stripe)), append(w.replicaFaults(5*time.Second, 15*time.Second),
		tormentor{"redis", 6 * time.Second, 15 * time.Second, func(ctx context.Context, rng *rand.Rand) { w.failover(ctx, rng, s) }})
}

func clustered(t testing.TB, w *world) (func(context.Context), []tormentor) {
	c := startCluster(t)
	return w.startAll(the(c.url), the(w.stripe), "HOLDD_PARTITIONS=8"), append(w.replicaFaults(5*time.Second, 15*time.Second),
		tormentor{"redis", 6 * time.Second, 15 * time.Second, func(ctx context.Context, rng *rand.Rand) { c.killMaster(ctx, w, rng) }})
}

// run lets the hotel work while everything breaks, waits until the holds have come to their end, and judges.
func (w *world) run(start func(context.Context), faults []tormentor) {
	t := w.t
	all, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	start(all)
	storetest.Until(t, 30*time.Second, "every replica is ready", func() bool {
		for _, r := range w.replicas {
			c := r.api()
			if c == nil {
				return false
			}
			if ready, err := c.Ready(all); err != nil || !ready.Ready {
				return false
			}
		}
		return true
	})
	w.began = time.Now()
	open, closing := context.WithTimeout(all, w.lasts)
	defer closing()
	var breaking, working sync.WaitGroup
	for _, f := range faults {
		breaking.Go(func() { w.torment(open, f.name, f.least, f.most, f.do) })
	}
	_, clerks := w.size()
	for i := range clerks {
		working.Go(func() { w.hotel(open, all, fmt.Sprintf("clerk %d", i)) })
	}
	breaking.Wait()
	w.calm.Store(true)
	calm := time.Now()
	working.Wait()
	w.settle(all)
	settled := time.Since(calm)
	w.look(all)
	w.verdict(settled)
}

// settle waits until nothing is open that holdd has something to do for. What is left over the judge tells.
func (w *world) settle(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	for {
		if busy, err := w.busy(bounded); err == nil && busy == 0 || !pause(bounded, 200*time.Millisecond) {
			return
		}
	}
}

func (w *world) busy(ctx context.Context) (n int, err error) {
	c := w.replicas[0].api()
	if c == nil {
		return 0, errors.New("down")
	}
	for v, err := range c.All(ctx, api.ListQuery{ExpiringWithin: 80 * 24 * time.Hour, Limit: api.MaxList}) {
		if err != nil {
			return 0, err
		}
		if v.State != "waiting" {
			n++
		}
	}
	return n, nil
}

// look asks for all holds, one by one and in the list.
func (w *world) look(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	byID := map[string]*booking{}
	for i, b := range w.bookings {
		byID[b.id] = b
		for b.id != "" && !b.viewed && bounded.Err() == nil {
			c := w.replicas[i%len(w.replicas)].api()
			if c == nil {
				pause(bounded, 100*time.Millisecond)
				continue
			}
			v, err := c.Get(bounded, b.id)
			if err == nil {
				b.view, b.viewed = &v, true
			} else if errors.Is(err, &api.Problem{Code: hold.HoldNotFound}) {
				b.viewed = true
			}
		}
	}
	c := w.replicas[0].api()
	if c == nil {
		w.t.Error("replica-1 is down long after the last fault")
		return
	}
	for v, err := range c.All(bounded, api.ListQuery{Limit: api.MaxList}) {
		if err != nil {
			w.t.Errorf("list all holds: %v", err)
			return
		}
		b := byID[v.ID]
		if b == nil || b.listed {
			w.t.Errorf("the list has %s unasked or twice", v.ID)
			continue
		}
		b.listed = true
	}
}

// maxStories bounds what a failing run prints.
const maxStories = 8

func (w *world) verdict(settled time.Duration) {
	t := w.t
	effects := w.effects()
	v := &evidence{losses: w.losses, count: w.count}
	bad := 0
	for _, b := range w.bookings {
		if b.id == "" {
			continue
		}
		if wrong := v.judge(b, effects[b.id]); len(wrong) > 0 {
			if bad++; bad <= maxStories {
				t.Errorf("%s\n%s", strings.Join(wrong, "; "), w.story(b))
			}
		}
		w.tally(b, effects)
	}
	if bad > 0 {
		t.Errorf("%d of %d holds are wrong", bad, len(w.bookings))
	}
	for i, s := range w.odd {
		if i < maxStories {
			t.Errorf("an answer that no caller should get: %s", s)
		}
	}
	for _, r := range w.replicas {
		if crash := r.lines(20, "panic:", "fatal error:", "DATA RACE", "goroutine "); len(crash) > 0 {
			t.Errorf("%s crashed:\n%s", r.name, strings.Join(crash, "\n"))
		}
		if leaks := r.lines(3, apiKey, "_secret_"); len(leaks) > 0 {
			t.Errorf("%s logged a secret, in %d lines", r.name, len(leaks))
		}
		w.add("results refused because another replica had taken the hold over", len(r.lines(1<<30, "another replica has taken this hold over")))
	}
	if t.Failed() {
		w.keepLogs()
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s, seed %d: faults for %s, all ended %s after them\n", w.name, w.seed, w.lasts, settled.Round(100*time.Millisecond))
	for _, k := range sortedKeys(w.counts) {
		fmt.Fprintf(&s, "  %6d %s\n", w.counts[k], k)
	}
	st := w.sim.Stats()
	fmt.Fprintf(&s, "  %6d answers replayed by Stripe for a key used before\n  %6d refusals by Stripe for a rate\n  %6d violations", st.Replayed, st.RateLimited, bad)
	t.Log(s.String())
}

// tally counts what came to pass, for the report.
func (w *world) tally(b *booking, effects map[string][]stripesim.Effect) {
	w.count("holds")
	for _, x := range b.wishes {
		if !x.acked.IsZero() {
			what, _, _ := strings.Cut(x.what, " ")
			w.count("asked and granted: " + what)
			if x.open > 0 {
				w.count("granted after tries with no answer")
			}
		} else {
			w.count("asked and not granted: " + x.last)
		}
	}
	for _, e := range effects[b.id] {
		switch e.Kind {
		case "captured", "canceled":
			w.count(fmt.Sprintf("%s by %s", e.Kind, e.By))
		default:
			continue
		}
		if b.view == nil || e.By != "api" {
			continue
		}
		own, unknown := false, false
		for _, h := range b.view.History {
			own = own || h.RequestID == e.RequestID
			unknown = unknown || h.Answer == hold.AnswerUnknown.String() || h.Answer == hold.AnswerReplayedError.String()
		}
		if !own && !unknown && b.view.HistoryOmitted == 0 {
			w.count("taken over after the money had moved: found out by the key or by reading")
		}
	}
}

// keepLogs leaves the replicas' logs where they can be looked at after a failure.
func (w *world) keepLogs() {
	dir, err := os.MkdirTemp("", "holdd-torture-"+w.name+"-")
	if err != nil {
		w.t.Log(err)
		return
	}
	for _, r := range w.replicas {
		b, err := os.ReadFile(r.path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(r.path)), b, 0o600)
		}
		if err != nil {
			w.t.Log(err)
		}
	}
	w.t.Logf("the replicas' logs are in %s", dir)
}
