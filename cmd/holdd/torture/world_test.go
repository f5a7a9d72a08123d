package torture

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const (
	apiKey           = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
	connectedAccount = "acct_1NtPartnerHotel"
	lease            = 6 * time.Second
	callTimeout      = 2 * time.Second
)

// world is one scenario: replicas, their Redis, Stripe, and what is known of
// them.
type world struct {
	t             testing.TB
	name          string
	seed          uint64
	faultDuration time.Duration // of the faults
	short         bool
	bin, dir      string
	faultsBeganAt time.Time
	sim           *stripesim.Sim
	stripeURL     string // where the simulator listens
	replicas      []*replica
	faultsOver    atomic.Bool // no more faults

	mu                sync.Mutex
	counts            map[string]int
	losses            []lossWindow
	bookings          []*booking
	unexpectedAnswers []string // answers that no caller should get
}

// lossWindow is a moment in which Redis may have forgotten: what was written
// from "from" to "to" may be gone.
type lossWindow struct{ from, to time.Time }

// maxRedisLoss is how much of what it has acknowledged a Redis that dies may
// lose: with appendfsync everysec it keeps back what it should append for up to
// two seconds, while the disk is busy with the last flush.
const maxRedisLoss = 2 * time.Second

func newWorld(t testing.TB, name, bin string, seed uint64, lasts time.Duration, short bool) *world {
	w := &world{t: t, name: name, seed: seed, faultDuration: lasts, short: short, bin: bin,
		dir: t.TempDir(), counts: map[string]int{}}
	stop := make(chan struct{})
	w.sim = stripesim.New(stripesim.Options{Seed: seed, ConnectedAccounts: []string{
		connectedAccount}, FaultFunc: w.newStripeFaults(stop)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: w.sim.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		close(stop)
		_ = srv.Close() // what Serve answers tells
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the simulator's server: %v", err)
		}
	})
	w.stripeURL = "http://" + l.Addr().String()
	return w
}

// newRand is a source of its own for each thing that draws, so that what one
// draws does not depend on how fast another is.
func (w *world) newRand(label string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(w.name + "/" + label))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

func (w *world) increment(what string) { w.addCount(what, 1) }

func (w *world) addCount(what string, n int) {
	w.mu.Lock()
	w.counts[what] += n
	w.mu.Unlock()
}

// recordRedisDeath notes that Redis died between two moments.
func (w *world) recordRedisDeath(before, after time.Time) {
	w.mu.Lock()
	w.losses = append(w.losses, lossWindow{before.Add(-maxRedisLoss), after})
	w.mu.Unlock()
}

// startReplica runs a replica; redis and stripe are where it finds them.
func (w *world) startReplica(ctx context.Context, redis, stripe string, settings ...string) {
	r := &replica{world: w, name: fmt.Sprintf("replica-%d", len(w.replicas)+1),
		exited: make(chan struct{})}
	r.logPath = filepath.Join(w.dir, r.name+".log")
	f, err := os.OpenFile(r.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	r.logFile = f
	r.env = append([]string{
		"GORACE=atexit_sleep_ms=0 halt_on_error=1", "STRIPE_API_KEY=" + apiKey, "STRIPE_API_BASE=" +
			stripe, "REDIS_URL=" + redis, "HOLDD_LISTEN=127.0.0.1:0",
		"HOLDD_LEASE=" + lease.String(), "HOLDD_CALL_TIMEOUT=" + callTimeout.String(),
		"HOLDD_SHUTDOWN_GRACE=5s", "HOLDD_LOG_LEVEL=debug", "HOLDD_LOG_FORMAT=json",
	}, settings...)
	w.replicas = append(w.replicas, r)
	life, stop := context.WithCancel(ctx)
	go r.supervise(life)
	w.t.Cleanup(func() {
		stop()
		<-r.exited
		f.Close()
	})
}

// injectRepeatedly runs f again and again until the faults end, with pauses
// between least and most. f leaves things as they were.
func (w *world) injectRepeatedly(
	ctx context.Context, label string, minDelay, maxDelay time.Duration,
	f func(ctx context.Context, rng *rand.Rand),
) {
	rng := w.newRand(label)
	if w.short { // so that everything comes to pass at least once
		minDelay, maxDelay = minDelay/3, maxDelay/3
	}
	for sleepContext(ctx, randomDuration(rng, minDelay, maxDelay)) {
		f(ctx, rng)
	}
}

func randomDuration(rng *rand.Rand, minDelay, maxDelay time.Duration) time.Duration {
	return minDelay + time.Duration(rng.Int64N(int64(maxDelay-minDelay)+1))
}

// killReplica ends replicas: mostly at once, at times as an update would.
func (w *world) killReplica(ctx context.Context, rng *rand.Rand) {
	r, down := w.replicas[rng.IntN(len(w.replicas))], randomDuration(rng, 0, 2*time.Second)
	if rng.IntN(4) == 0 {
		if r.sendSignal(syscall.SIGTERM, down) {
			w.increment("replica restarted by SIGTERM")
		}
	} else if r.sendSignal(syscall.SIGKILL, down) {
		w.increment("replica killed -9")
	}
}

// freezeReplica stops a replica for longer than its lease, so that it wakes up
// with claims that are no longer its own.
func (w *world) freezeReplica(ctx context.Context, rng *rand.Rand) {
	r, d := w.replicas[rng.IntN(len(w.replicas))], lease+
		randomDuration(rng, 500*time.Millisecond, 3*time.Second)
	if r.freeze(ctx, d) {
		w.increment("replica frozen for longer than its lease")
	}
}

// Faults of Stripe, by how often they come among those that go wrong.
var stripeFaults = []struct {
	weight int
	name   string
	draw   func(rng *rand.Rand) stripesim.Fault
}{
	{4, "", faultOfKind(stripesim.FaultDropRequest)},
	{6, "", faultOfKind(stripesim.FaultDropReply)}, {3, "", faultOfKind(stripesim.FaultBrokenBody)},
	{3, "", faultOfKind(stripesim.FaultCutBody)},
	{3, "", faultOfKind(stripesim.FaultErrorBefore)},
	{3, "", faultOfKind(stripesim.FaultErrorAfter)},
	{3, "", faultOfKind(stripesim.FaultUnavailable)}, {2, "", faultOfKind(stripesim.FaultHTML)},
	{3, "", faultOfKind(stripesim.FaultHTMLAfter)},
	{1, "", faultOfKind(stripesim.FaultRateLimited)},
	{4, "", faultOfKind(stripesim.FaultLockTimeout)}, {3, "", faultOfKind(stripesim.FaultKeyInUse)},
	{2, "", faultOfKind(stripesim.FaultFailedDependency)},
	{4, "slow to arrive", func(rng *rand.Rand) stripesim.Fault {
		return stripesim.Fault{RequestDelay: randomDuration(rng, 0, 2*callTimeout)}
	}},
	{4, "slow to work, its lock held", func(rng *rand.Rand) stripesim.Fault {
		return stripesim.Fault{ServiceTime: randomDuration(rng, 0, 2*callTimeout)}
	}},
	{4, "slow to answer", func(rng *rand.Rand) stripesim.Fault {
		return stripesim.Fault{ReplyDelay: randomDuration(rng, 0, 2*callTimeout)}
	}},
}

func faultOfKind(k stripesim.FaultKind) func(*rand.Rand) stripesim.Fault {
	return func(*rand.Rand) stripesim.Fault { return stripesim.Fault{Kind: k} }
}

// newStripeFaults draws what goes wrong with a call from the seed, the kind of
// call, its intent and how often that was asked before. The order in which
// calls of different holds arrive does not change it.
func (w *world) newStripeFaults(stop <-chan struct{}) func(stripesim.Call) stripesim.Fault {
	total := 0
	for _, f := range stripeFaults {
		total += f.weight
	}
	var mu sync.Mutex
	nth, last := map[string]int{}, map[string]stripesim.FaultKind{}
	return func(c stripesim.Call) stripesim.Fault {
		select {
		case <-stop:
			return stripesim.Fault{}
		default:
		}
		if w.faultsOver.Load() {
			return stripesim.Fault{}
		}
		share := 12
		if c.Class == stripesim.ClassCapture || c.Class == stripesim.ClassCancel {
			share = 35
		}
		label := string(c.Class) + "/" + c.Intent
		mu.Lock()
		nth[label]++
		n, before := nth[label], last[label]
		delete(last, label)
		mu.Unlock()
		rng := w.newRand(fmt.Sprintf("stripe/%s/%d", label, n))
		if before == stripesim.FaultDropReply && rng.IntN(2) == 0 {
			w.increment("Stripe: lock_timeout, the try whose answer was lost still holds it")
			return stripesim.Fault{Kind: stripesim.FaultLockTimeout}
		}
		if rng.IntN(100) >= share {
			return stripesim.Fault{}
		}
		at := rng.IntN(total)
		for _, f := range stripeFaults {
			if at -= f.weight; at >= 0 {
				continue
			}
			fault := f.draw(rng)
			// After an error that Stripe keeps for its key half a minute must
			// pass: the short form has no time for that at its end.
			if w.short && fault.Kind == stripesim.FaultErrorBefore &&
				time.Since(w.faultsBeganAt) > w.faultDuration/3 {
				return stripesim.Fault{}
			}
			name := f.name
			if name == "" {
				name = string(fault.Kind)
			}
			w.increment("Stripe: " + name)
			mu.Lock()
			last[label] = fault.Kind
			mu.Unlock()
			return fault
		}
		return stripesim.Fault{}
	}
}

// effectsByIntent is the ledger by intent.
func (w *world) effectsByIntent() map[string][]stripesim.Effect {
	out := map[string][]stripesim.Effect{}
	for _, e := range w.sim.Ledger() {
		out[e.Intent] = append(out[e.Intent], e)
	}
	return out
}

// sortedKeys gives the report a stable order.
func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
