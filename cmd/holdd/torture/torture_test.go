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
	tortureFor = flag.Duration("torture.for", 0,
		"how long the faults last in each scenario; 0: the short form")
	tortureSeed     = flag.Uint64("torture.seed", 0, "seed of the plan of faults; 0 draws one")
	tortureScenario = flag.String("torture.scenario", "", "run this scenario alone")
	tortureRace     = flag.Bool("torture.race", false, "build the binary with the race detector")
)

const (
	shortDuration = 14 * time.Second
	// settleTimeout bounds how long the holds may take to come to their end
	// once the faults have ended: an error that Stripe keeps for its key, half
	// a minute until a request can't be on its way any more, and what retries
	// were put off by, a minute at the most.
	settleTimeout = 150 * time.Second
)

// scenarios start what they need and return what breaks it.
var scenarios = []struct {
	name  string
	setup func(t testing.TB, w *world) (start func(ctx context.Context), faults []faultSource)
}{
	{"standalone", setUpStandalone},
	{"network", setUpNetwork},
	{"sentinel", setUpSentinel},
	{"cluster", setUpCluster},
}

// faultSource is one source of faults.
type faultSource struct {
	name                     string
	minInterval, maxInterval time.Duration // between two of them
	inject                   func(ctx context.Context, rng *rand.Rand)
}

func TestTorture(t *testing.T) {
	seed, lasts := *tortureSeed, *tortureFor
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	short := lasts == 0
	if short {
		lasts = shortDuration
	}
	t.Logf("seed %d, faults for %s: replay with go test ./cmd/holdd/torture -run TestTorture -torture.for=%[2]s -torture.seed=%[1]d -v", seed, lasts)
	redis.SetLogger(silentRedisLogger{})
	bin := buildBinary(t)
	// They wait more than they compute, so all of them run at once, whatever
	// the number of cores.
	var wg sync.WaitGroup
	for _, s := range scenarios {
		if *tortureScenario != "" && *tortureScenario != s.name {
			continue
		}
		wg.Go(func() {
			t.Run(s.name, func(t *testing.T) {
				w := newWorld(t, s.name, bin, seed, lasts, short)
				start, faults := s.setup(t, w)
				w.runScenario(start, faults)
			})
		})
	}
	wg.Wait()
}

// silentRedisLogger takes what go-redis says of servers that this test has
// killed.
type silentRedisLogger struct{}

func (silentRedisLogger) Printf(context.Context, string, ...any) {}

func buildBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holdd")
	// as it is shipped
	args, cgo := []string{"build", "-o", path, "-trimpath", "-ldflags", "-s -w"}, "0"
	if *tortureRace {
		args, cgo = []string{"build", "-o", path, "-race"}, "1"
	}
	cmd := exec.CommandContext(t.Context(), "go",
		append(args, "github.com/holdd/holdd/cmd/holdd")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func (w *world) replicaAndClerkCount() (replicas, clerks int) {
	if w.short {
		return 2, 10
	}
	return 3, 20
}

func (w *world) replicaStarter(
	redis, stripe func(n int) string, settings ...string,
) func(context.Context) {
	return func(ctx context.Context) {
		n, _ := w.replicaAndClerkCount()
		for i := range n {
			w.startReplica(ctx, redis(i), stripe(i), settings...)
		}
	}
}

func sameForAll(s string) func(int) string { return func(int) string { return s } }

func (w *world) replicaFaults(minDelay, maxDelay time.Duration) []faultSource {
	return []faultSource{{"killer", minDelay, maxDelay, w.killReplica}, {"freezer", 3 * time.Second,
		15 * time.Second, w.freezeReplica}}
}

func setUpStandalone(t testing.TB, w *world) (func(context.Context), []faultSource) {
	r := storetest.Start(t)
	return w.replicaStarter(sameForAll(r.URL()), sameForAll(w.stripeURL)),
		append(w.replicaFaults(2*time.Second, 8*time.Second),
			faultSource{"redis", 5 * time.Second, 15 * time.Second,
				func(ctx context.Context, rng *rand.Rand) { w.injectRedisFault(ctx, rng, r) }})
}

func setUpNetwork(t testing.TB, w *world) (func(context.Context), []faultSource) {
	r := storetest.Start(t)
	n, _ := w.replicaAndClerkCount()
	var redis, stripe, all []*faultyProxy
	for range n {
		redis = append(redis, newFaultyProxy(t, "connection to Redis", r.Addr()))
		stripe = append(stripe, newFaultyProxy(t, "connection to Stripe",
			strings.TrimPrefix(w.stripeURL, "http://")))
	}
	all = append(append(all, redis...), stripe...)
	tear := func(ctx context.Context, rng *rand.Rand) { w.injectNetworkFault(ctx, rng, all) }
	return w.replicaStarter(func(i int) string { return "redis://" + redis[i].addr() },
			func(i int) string { return "http://" + stripe[i].addr() }),
		[]faultSource{{"wires 1", 300 * time.Millisecond, 3 * time.Second, tear},
			{"wires 2", 300 * time.Millisecond, 3 * time.Second, tear},
			{"killer", 5 * time.Second, 15 * time.Second, w.killReplica}}
}

func setUpSentinel(t testing.TB, w *world) (func(context.Context), []faultSource) {
	s := storetest.StartSentinel(t)
	return w.replicaStarter(sameForAll(s.URL()), sameForAll(w.stripeURL)),
		append(w.replicaFaults(5*time.Second, 15*time.Second),
			faultSource{"redis", 6 * time.Second, 15 * time.Second,
				func(ctx context.Context, rng *rand.Rand) { w.killSentinelMaster(ctx, rng, s) }})
}

func setUpCluster(t testing.TB, w *world) (func(context.Context), []faultSource) {
	c := startCluster(t)
	return w.replicaStarter(sameForAll(c.url), sameForAll(w.stripeURL), "HOLDD_PARTITIONS=8"),
		append(w.replicaFaults(5*time.Second, 15*time.Second),
			faultSource{"redis", 6 * time.Second, 15 * time.Second,
				func(ctx context.Context, rng *rand.Rand) { c.killMaster(ctx, w, rng) }})
}

// runScenario lets the hotel work while everything breaks, waits until the
// holds have come to their end, and judges.
func (w *world) runScenario(start func(context.Context), faults []faultSource) {
	t := w.t
	all, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	start(all)
	storetest.WaitUntil(t, 30*time.Second, "every replica is ready", func() bool {
		for _, r := range w.replicas {
			c := r.apiClient()
			if c == nil {
				return false
			}
			if ready, err := c.GetReadiness(all); err != nil || !ready.Ready {
				return false
			}
		}
		return true
	})
	w.faultsBeganAt = time.Now()
	open, closing := context.WithTimeout(all, w.faultDuration)
	defer closing()
	var breaking, working sync.WaitGroup
	for _, f := range faults {
		breaking.Go(
			func() { w.injectRepeatedly(open, f.name, f.minInterval, f.maxInterval, f.inject) })
	}
	_, clerks := w.replicaAndClerkCount()
	for i := range clerks {
		working.Go(func() { w.runClerk(open, all, fmt.Sprintf("clerk %d", i)) })
	}
	breaking.Wait()
	w.faultsOver.Store(true)
	calm := time.Now()
	working.Wait()
	w.waitUntilSettled(all)
	settled := time.Since(calm)
	w.readFinalViews(all)
	w.checkAndReport(settled)
}

// waitUntilSettled waits until nothing is open that holdd has something to do
// for. What is left over the judge tells.
func (w *world) waitUntilSettled(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		if busy, err := w.countUnsettled(bounded); err == nil && busy == 0 ||
			!sleepContext(bounded, 200*time.Millisecond) {
			return
		}
	}
}

func (w *world) countUnsettled(ctx context.Context) (n int, err error) {
	c := w.replicas[0].apiClient()
	if c == nil {
		return 0, errors.New("down")
	}
	for v, err := range c.ListAll(ctx, api.ListQuery{ExpiringWithin: 80 * 24 * time.Hour,
		Limit: api.MaxPageSize}) {
		if err != nil {
			return 0, err
		}
		if v.State != "waiting" {
			n++
		}
	}
	return n, nil
}

// readFinalViews asks for all holds, one by one and in the list.
func (w *world) readFinalViews(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	byID := map[string]*booking{}
	for i, b := range w.bookings {
		byID[b.id] = b
		for b.id != "" && !b.readAtEnd && bounded.Err() == nil {
			c := w.replicas[i%len(w.replicas)].apiClient()
			if c == nil {
				sleepContext(bounded, 100*time.Millisecond)
				continue
			}
			v, err := c.Get(bounded, b.id)
			if err == nil {
				b.finalView, b.readAtEnd = &v, true
			} else if errors.Is(err, &api.Problem{Code: hold.HoldNotFound}) {
				b.readAtEnd = true
			}
		}
	}
	c := w.replicas[0].apiClient()
	if c == nil {
		w.t.Error("replica-1 is down long after the last fault")
		return
	}
	for v, err := range c.ListAll(bounded, api.ListQuery{Limit: api.MaxPageSize}) {
		if err != nil {
			w.t.Errorf("list all holds: %v", err)
			return
		}
		b := byID[v.ID]
		if b == nil || b.inFinalList {
			w.t.Errorf("the list has %s unasked or twice", v.ID)
			continue
		}
		b.inFinalList = true
	}
}

// maxPrintedViolations bounds what a failing run prints.
const maxPrintedViolations = 8

func (w *world) checkAndReport(settled time.Duration) {
	t := w.t
	effects := w.effectsByIntent()
	v := &checker{losses: w.losses, countAllowed: w.increment}
	bad := 0
	for _, b := range w.bookings {
		if b.id == "" {
			continue
		}
		if wrong := v.checkBooking(b, effects[b.id]); len(wrong) > 0 {
			if bad++; bad <= maxPrintedViolations {
				t.Errorf("%s\n%s", strings.Join(wrong, "; "), w.describeBooking(b))
			}
		}
		w.countOutcomes(b, effects)
	}
	if bad > 0 {
		t.Errorf("%d of %d holds are wrong", bad, len(w.bookings))
	}
	for i, s := range w.unexpectedAnswers {
		if i < maxPrintedViolations {
			t.Errorf("an answer that no caller should get: %s", s)
		}
	}
	for _, r := range w.replicas {
		if crash := r.grepLog(20, "panic:", "fatal error:", "DATA RACE",
			"goroutine "); len(crash) > 0 {
			t.Errorf("%s crashed:\n%s", r.name, strings.Join(crash, "\n"))
		}
		if leaks := r.grepLog(3, apiKey, "_secret_"); len(leaks) > 0 {
			t.Errorf("%s logged a secret, in %d lines", r.name, len(leaks))
		}
		w.addCount("results refused because another replica had taken the hold over",
			len(r.grepLog(1<<30, "another replica has taken this hold over")))
	}
	if t.Failed() {
		w.saveLogs()
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s, seed %d: faults for %s, all ended %s after them\n", w.name, w.seed,
		w.faultDuration, settled.Round(100*time.Millisecond))
	for _, k := range sortedKeys(w.counts) {
		fmt.Fprintf(&s, "  %6d %s\n", w.counts[k], k)
	}
	st := w.sim.Stats()
	fmt.Fprintf(
		&s, "  %6d answers replayed by Stripe for a key used before\n  %6d refusals by Stripe for a rate\n  %6d violations", st.Replayed, st.RateLimited, bad)
	t.Log(s.String())
}

// countOutcomes counts what came to pass, for the report.
func (w *world) countOutcomes(b *booking, effects map[string][]stripesim.Effect) {
	w.increment("holds")
	for _, x := range b.requests {
		if !x.acceptedAt.IsZero() {
			what, _, _ := strings.Cut(x.description, " ")
			w.increment("asked and granted: " + what)
			if x.unansweredTries > 0 {
				w.increment("granted after tries with no answer")
			}
		} else {
			w.increment("asked and not granted: " + x.lastAnswer)
		}
	}
	for _, e := range effects[b.id] {
		switch e.Kind {
		case "captured", "canceled":
			w.increment(fmt.Sprintf("%s by %s", e.Kind, e.Actor))
		default:
			continue
		}
		if b.finalView == nil || e.Actor != "api" {
			continue
		}
		own, unknown := false, false
		for _, h := range b.finalView.History {
			own = own || h.RequestID == e.RequestID
			unknown = unknown || h.Answer == hold.AnswerUnknown.String() ||
				h.Answer == hold.AnswerReplayedError.String()
		}
		if !own && !unknown && b.finalView.HistoryOmitted == 0 {
			w.increment("taken over after the money had moved: found out by the key or by reading")
		}
	}
}

// saveLogs leaves the replicas' logs where they can be looked at after a
// failure.
func (w *world) saveLogs() {
	dir, err := os.MkdirTemp("", "holdd-torture-"+w.name+"-")
	if err != nil {
		w.t.Log(err)
		return
	}
	for _, r := range w.replicas {
		b, err := os.ReadFile(r.logPath)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(r.logPath)), b, 0o600)
		}
		if err != nil {
			w.t.Log(err)
		}
	}
	w.t.Logf("the replicas' logs are in %s", dir)
}
