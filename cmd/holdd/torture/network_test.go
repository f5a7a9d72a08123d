package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// faultyProxy is a proxy between a replica and something that it needs.
type faultyProxy struct {
	name    string
	proxy   *toxiproxy.Proxy
	faultMu sync.Mutex // one fault at a time
}

func newFaultyProxy(t testing.TB, name, upstream string) *faultyProxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // parts of the proxy have a logger of their own
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	w := &faultyProxy{name: name, proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)}
	if err := w.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.proxy.Stop)
	return w
}

func (w *faultyProxy) addr() string { return w.proxy.Listen }

// networkFaults are what a network does, as toxiproxy names it.
var networkFaults = []struct {
	name string
	draw func(rng *rand.Rand) string
}{
	{"blackholed, requests",
		fixedToxic(`"timeout","stream":"upstream","attributes":{"timeout":0}`)},
	{"blackholed, answers",
		fixedToxic(`"timeout","stream":"downstream","attributes":{"timeout":0}`)},
	{"slowed, requests", latencyToxic("upstream")},
	{"slowed, answers", latencyToxic("downstream")},
	{"reset, requests", fixedToxic(`"reset_peer","stream":"upstream","attributes":{"timeout":0}`)},
	{"reset, answers", fixedToxic(`"reset_peer","stream":"downstream","attributes":{"timeout":0}`)},
	{"closed after some bytes", func(rng *rand.Rand) string {
		return fmt.Sprintf(`"limit_data","stream":"downstream","attributes":{"bytes":%d}`,
			1+rng.IntN(2000))
	}},
	{"in small pieces",
		fixedToxic(`"slicer","stream":"downstream","attributes":{"average_size":40,"size_variation":20,"delay":2000}`)},
	{"at a few KB/s", fixedToxic(`"bandwidth","stream":"downstream","attributes":{"rate":2}`)},
}

func fixedToxic(s string) func(*rand.Rand) string { return func(*rand.Rand) string { return s } }

func latencyToxic(stream string) func(*rand.Rand) string {
	return func(rng *rand.Rand) string {
		ms := 50 + rng.IntN(3000)
		return fmt.Sprintf(`"latency","stream":%q,"attributes":{"latency":%d,"jitter":%d}`, stream,
			ms, ms/2)
	}
}

// injectNetworkFault does something to one of the connections for a while, and
// makes it whole again.
func (w *world) injectNetworkFault(ctx context.Context, rng *rand.Rand, wires []*faultyProxy) {
	x := wires[rng.IntN(len(wires))]
	n, lasts := rng.IntN(len(networkFaults)+2),
		randomDuration(rng, 300*time.Millisecond, 5*time.Second)
	if !x.faultMu.TryLock() {
		return
	}
	defer x.faultMu.Unlock()
	if n >= len(networkFaults) {
		w.increment(x.name + ": cut")
		x.proxy.Stop()
		sleepContext(ctx, lasts)
		for x.proxy.Start() != nil && sleepContext(w.t.Context(), 50*time.Millisecond) {
			// its port may be in use for a moment
		}
		return
	}
	w.increment(x.name + ": " + networkFaults[n].name)
	if _, err := x.proxy.Toxics.AddToxicJson(strings.NewReader(`{"name":"fault","type":` +
		networkFaults[n].draw(rng) + `}`)); err != nil {
		w.t.Errorf("%s: %v", x.name, err)
		return
	}
	sleepContext(ctx, lasts)
	if err := x.proxy.Toxics.RemoveToxic(context.Background(), "fault"); err != nil {
		w.t.Errorf("%s: %v", x.name, err)
	}
}
