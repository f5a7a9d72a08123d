package envtest

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// silentLogger drops what go-redis logs about connections that tests cut.
type silentLogger struct{}

func (silentLogger) Printf(context.Context, string, ...any) {}

// Main runs the tests of a package. Its TestMain calls it.
func Main(m *testing.M) {
	redis.SetLogger(silentLogger{})
	// Most of the cost of a simulation is the garbage of the in-process Redis.
	debug.SetGCPercent(400)
	m.Run()
}

// Env is Stripe and Redis in virtual time.
type Env struct {
	T     *testing.T
	Ctx   context.Context
	Sim   *stripesim.Sim
	Redis *miniredis.Miniredis
	Log   *zap.Logger
	Logs  *observer.ObservedLogs // what was written to Log

	stops []func()
}

// Run runs f in a bubble of virtual time, on a Stripe with options o.
func Run(t *testing.T, o stripesim.Options, f func(e *Env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.DebugLevel)
		e := &Env{T: t, Ctx: ctx, Sim: stripesim.New(o),
			Redis: storetest.StartInProcess(t).Miniredis,
			Log:   zap.New(core), Logs: logs}
		defer func() {
			for _, stop := range e.stops {
				stop()
			}
			cancel()
			synctest.Wait() // a dial that a canceled call began ends before its server does
			e.Redis.Close()
			time.Sleep(5 * time.Second) // goroutines of go-redis end within seconds of their pool
		}()
		f(e)
	})
}

// OnStop registers a function that the end of the environment calls.
func (e *Env) OnStop(stop func()) { e.stops = append(e.stops, stop) }

// In returns the time after d in RFC 3339.
func In(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

// AuthorizeIntent places a hold of 100.00 EUR at Stripe.
func (e *Env) AuthorizeIntent(f ...func(*stripesim.Hold)) string {
	e.T.Helper()
	h := stripesim.Hold{Amount: 10_000, Currency: "eur", PaymentMethod: "pm_card_visa"}
	for _, f := range f {
		f(&h)
	}
	id, err := e.Sim.Authorize(h)
	if err != nil {
		e.T.Fatal(err)
	}
	return id
}

// AddStripeFault makes Stripe misbehave. It returns the id of the rule.
func (e *Env) AddStripeFault(rule stripesim.FaultRule) int {
	e.T.Helper()
	id, err := e.Sim.Faults.AddFaultRule(rule)
	if err != nil {
		e.T.Fatal(err)
	}
	return id
}

// CountStripeCalls returns the number of calls of a class that Stripe has
// answered.
func (e *Env) CountStripeCalls(class stripesim.EndpointClass) (n int64) {
	for answer, count := range e.Sim.Stats().Calls {
		if answer.Class == class {
			n += count
		}
	}
	return n
}

// IntentEffects returns what happened to an intent after its authorization.
func (e *Env) IntentEffects(id string) (effects []string) {
	for _, x := range e.Sim.Ledger() {
		if x.Intent == id && x.Kind != stripesim.EffectAuthorized {
			effects = append(effects, fmt.Sprintf("%v %d by %v", x.Kind, x.Amount, x.Actor))
		}
	}
	return effects
}

// CheckEffects checks that exactly these effects happened to an intent.
func (e *Env) CheckEffects(id string, want ...string) {
	e.T.Helper()
	if got := e.IntentEffects(id); !slices.Equal(got, want) {
		e.T.Fatalf("%s: effects %q, want %q", id, got, want)
	}
}

// StreamEntryStrings returns the values of each entry of a Redis stream, joined
// by a bar.
func (e *Env) StreamEntryStrings(key string) (out []string) {
	entries, err := e.Redis.Stream(key)
	if err != nil {
		return nil // the stream does not exist
	}
	for _, entry := range entries {
		out = append(out, strings.Join(entry.Values, "|"))
	}
	return out
}
