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
	apiKey      = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
	connected   = "acct_1NtPartnerHotel"
	lease       = 6 * time.Second
	callTimeout = 2 * time.Second
)

// world is one scenario: replicas, their Redis, Stripe, and what is known of them.
type world struct {
	t        testing.TB
	name     string
	seed     uint64
	lasts    time.Duration // of the faults
	short    bool
	bin, dir string
	began    time.Time
	sim      *stripesim.Sim
	stripe   string // where the simulator listens
	replicas []*replica
	calm     atomic.Bool // no more faults

	mu       sync.Mutex
	counts   map[string]int
	losses   []loss
	bookings []*booking
	odd      []string // answers that no caller should get
}

// loss is a moment in which Redis may have forgotten: what was written from "from" to "to" may be gone.
type loss struct{ from, to time.Time }

// tail is how much of what it has acknowledged a Redis that dies may lose: with appendfsync everysec it keeps back what it should append
// for up to two seconds, while the disk is busy with the last flush.
const tail = 2 * time.Second

func newWorld(t testing.TB, name, bin string, seed uint64, lasts time.Duration, short bool) *world {
	w := &world{t: t, name: name, seed: seed, lasts: lasts, short: short, bin: bin, dir: t.TempDir(), counts: map[string]int{}}
	stop := make(chan struct{})
	w.sim = stripesim.New(stripesim.Options{Seed: seed, Connected: []string{connected}, Faults: w.faults(stop)})
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
	w.stripe = "http://" + l.Addr().String()
	return w
}

// rand is a source of its own for each thing that draws, so that what one draws does not depend on how fast another is.
func (w *world) rand(who string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(w.name + "/" + who))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

func (w *world) count(what string) { w.add(what, 1) }

func (w *world) add(what string, n int) {
	w.mu.Lock()
	w.counts[what] += n
	w.mu.Unlock()
}

// died notes that Redis died between two moments.
func (w *world) died(before, after time.Time) {
	w.mu.Lock()
	w.losses = append(w.losses, loss{before.Add(-tail), after})
	w.mu.Unlock()
}

// start runs a replica; redis and stripe are where it finds them.
func (w *world) start(ctx context.Context, redis, stripe string, settings ...string) {
	r := &replica{w: w, name: fmt.Sprintf("replica-%d", len(w.replicas)+1), gone: make(chan struct{})}
	r.path = filepath.Join(w.dir, r.name+".log")
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	r.file = f
	r.env = append([]string{
		"GORACE=atexit_sleep_ms=0 halt_on_error=1", "STRIPE_API_KEY=" + apiKey, "STRIPE_API_BASE=" + stripe, "REDIS_URL=" + redis, "HOLDD_LISTEN=127.0.0.1:0",
		"HOLDD_LEASE=" + lease.String(), "HOLDD_CALL_TIMEOUT=" + callTimeout.String(), "HOLDD_SHUTDOWN_GRACE=5s", "HOLDD_LOG_LEVEL=debug", "HOLDD_LOG_FORMAT=json",
	}, settings...)
	w.replicas = append(w.replicas, r)
	life, stop := context.WithCancel(ctx)
	go r.supervise(life)
	w.t.Cleanup(func() {
		stop()
		<-r.gone
		f.Close()
	})
}

// torment runs f again and again until the faults end, with pauses between least and most. f leaves things as they were.
func (w *world) torment(ctx context.Context, who string, least, most time.Duration, f func(ctx context.Context, rng *rand.Rand)) {
	rng := w.rand(who)
	if w.short { // so that everything comes to pass at least once
		least, most = least/3, most/3
	}
	for pause(ctx, between(rng, least, most)) {
		f(ctx, rng)
	}
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}

// killer ends replicas: mostly at once, at times as an update would.
func (w *world) killer(ctx context.Context, rng *rand.Rand) {
	r, down := w.replicas[rng.IntN(len(w.replicas))], between(rng, 0, 2*time.Second)
	if rng.IntN(4) == 0 {
		if r.signal(syscall.SIGTERM, down) {
			w.count("replica restarted by SIGTERM")
		}
	} else if r.signal(syscall.SIGKILL, down) {
		w.count("replica killed -9")
	}
}

// freezer stops a replica for longer than its lease, so that it wakes up with claims that are no longer its own.
func (w *world) freezer(ctx context.Context, rng *rand.Rand) {
	r, d := w.replicas[rng.IntN(len(w.replicas))], lease+between(rng, 500*time.Millisecond, 3*time.Second)
	if r.freeze(ctx, d) {
		w.count("replica frozen for longer than its lease")
	}
}

// Faults of Stripe, by how often they come among those that go wrong.
var stripeFaults = []struct {
	weight int
	name   string
	draw   func(rng *rand.Rand) stripesim.Fault
}{
	{4, "", kind(stripesim.DropRequest)}, {6, "", kind(stripesim.DropReply)}, {3, "", kind(stripesim.BrokenBody)}, {3, "", kind(stripesim.CutBody)},
	{3, "", kind(stripesim.ErrorBefore)}, {3, "", kind(stripesim.ErrorAfter)}, {3, "", kind(stripesim.Unavailable)}, {2, "", kind(stripesim.HTML)},
	{3, "", kind(stripesim.HTMLAfter)}, {1, "", kind(stripesim.RateLimited)}, {4, "", kind(stripesim.LockTimeout)}, {3, "", kind(stripesim.Conflict)},
	{2, "", kind(stripesim.Dependency)},
	{4, "slow to arrive", func(rng *rand.Rand) stripesim.Fault {
		return stripesim.Fault{Before: between(rng, 0, 2*callTimeout)}
	}},
	{4, "slow to work, its lock held", func(rng *rand.Rand) stripesim.Fault {
		return stripesim.Fault{Service: between(rng, 0, 2*callTimeout)}
	}},
	{4, "slow to answer", func(rng *rand.Rand) stripesim.Fault {
		return stripesim.Fault{After: between(rng, 0, 2*callTimeout)}
	}},
}

func kind(k stripesim.FaultKind) func(*rand.Rand) stripesim.Fault {
	return func(*rand.Rand) stripesim.Fault { return stripesim.Fault{Kind: k} }
}

// faults draws what goes wrong with a call from the seed, the kind of call, its intent and how often that was asked before. The order in
// which calls of different holds arrive does not change it.
func (w *world) faults(stop <-chan struct{}) func(stripesim.Call) stripesim.Fault {
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
		if w.calm.Load() {
			return stripesim.Fault{}
		}
		share := 12
		if c.Class == stripesim.ClassCapture || c.Class == stripesim.ClassCancel {
			share = 35
		}
		who := string(c.Class) + "/" + c.Intent
		mu.Lock()
		nth[who]++
		n, before := nth[who], last[who]
		delete(last, who)
		mu.Unlock()
		rng := w.rand(fmt.Sprintf("stripe/%s/%d", who, n))
		if before == stripesim.DropReply && rng.IntN(2) == 0 {
			w.count("Stripe: lock_timeout, the try whose answer was lost still holds it")
			return stripesim.Fault{Kind: stripesim.LockTimeout}
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
			// After an error that Stripe keeps for its key half a minute must pass: the short form has no time for that at its end.
			if w.short && fault.Kind == stripesim.ErrorBefore && time.Since(w.began) > w.lasts/3 {
				return stripesim.Fault{}
			}
			name := f.name
			if name == "" {
				name = string(fault.Kind)
			}
			w.count("Stripe: " + name)
			mu.Lock()
			last[who] = fault.Kind
			mu.Unlock()
			return fault
		}
		return stripesim.Fault{}
	}
}

// effects is the ledger by intent.
func (w *world) effects() map[string][]stripesim.Effect {
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
