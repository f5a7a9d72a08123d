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

// wire is a proxy between a replica and something that it needs.
type wire struct {
	name  string
	proxy *toxiproxy.Proxy
	busy  sync.Mutex // one fault at a time
}

func newWire(t testing.TB, name, upstream string) *wire {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // parts of the proxy have a logger of their own
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	w := &wire{name: name, proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)}
	if err := w.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.proxy.Stop)
	return w
}

func (w *wire) addr() string { return w.proxy.Listen }

// toxics are what a network does, as toxiproxy names it.
var toxics = []struct {
	name string
	draw func(rng *rand.Rand) string
}{
	{"blackholed, requests", fixed(`"timeout","stream":"upstream","attributes":{"timeout":0}`)},
	{"blackholed, answers", fixed(`"timeout","stream":"downstream","attributes":{"timeout":0}`)},
	{"slowed, requests", latency("upstream")},
	{"slowed, answers", latency("downstream")},
	{"reset, requests", fixed(`"reset_peer","stream":"upstream","attributes":{"timeout":0}`)},
	{"reset, answers", fixed(`"reset_peer","stream":"downstream","attributes":{"timeout":0}`)},
	{"closed after some bytes", func(rng *rand.Rand) string {
		return fmt.Sprintf(`"limit_data","stream":"downstream","attributes":{"bytes":%d}`, 1+rng.IntN(2000))
	}},
	{"in small pieces", fixed(`"slicer","stream":"downstream","attributes":{"average_size":40,"size_variation":20,"delay":2000}`)},
	{"at a few KB/s", fixed(`"bandwidth","stream":"downstream","attributes":{"rate":2}`)},
}

func fixed(s string) func(*rand.Rand) string { return func(*rand.Rand) string { return s } }

func latency(stream string) func(*rand.Rand) string {
	return func(rng *rand.Rand) string {
		ms := 50 + rng.IntN(3000)
		return fmt.Sprintf(`"latency","stream":%q,"attributes":{"latency":%d,"jitter":%d}`, stream, ms, ms/2)
	}
}

// tear does something to one of the connections for a while, and makes it whole again.
func (w *world) tear(ctx context.Context, rng *rand.Rand, wires []*wire) {
	x := wires[rng.IntN(len(wires))]
	n, lasts := rng.IntN(len(toxics)+2), between(rng, 300*time.Millisecond, 5*time.Second)
	if !x.busy.TryLock() {
		return
	}
	defer x.busy.Unlock()
	if n >= len(toxics) {
		w.count(x.name + ": cut")
		x.proxy.Stop()
		pause(ctx, lasts)
		for x.proxy.Start() != nil && pause(w.t.Context(), 50*time.Millisecond) { // its port may be in use for a moment
		}
		return
	}
	w.count(x.name + ": " + toxics[n].name)
	if _, err := x.proxy.Toxics.AddToxicJson(strings.NewReader(`{"name":"fault","type":` + toxics[n].draw(rng) + `}`)); err != nil {
		w.t.Errorf("%s: %v", x.name, err)
		return
	}
	pause(ctx, lasts)
	if err := x.proxy.Toxics.RemoveToxic(context.Background(), "fault"); err != nil {
		w.t.Errorf("%s: %v", x.name, err)
	}
}
