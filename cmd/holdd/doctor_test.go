package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/stripesim"
)

const doctorAPIKey = "rk_test_51DoctorTestsOnlyTopSecret"

// TestDoctorScripts runs "holdd doctor" against real Redis servers and the
// simulator of Stripe. Commands of the scripts beside testscript's own:
//
//	redis [ARGS…]     starts a redis-server with these arguments, and sets REDIS_URL
//	redis-do ARGS…    sends it one command, and shows the answer
//	redis-pause       stops the process: it accepts connections and does not answer
//	stripe            starts the simulator, and sets STRIPE_API_BASE and ACCOUNT_ID
//	sim revoke        rejects the key
//	sim allow CLASS…  limits the key to these classes, or to none
//	sim advance 2m    advances the clock
//	sim endpoint [-disabled] URL [EVENT…]   sets the account's only webhook endpoint
//	sim narrow        leaves each webhook endpoint that was created one event
//	sim drop          closes connections without an answer
func TestDoctorScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/doctor",
		Setup: func(env *testscript.Env) error {
			env.Values[doctorFixtureKey{}] = &doctorFixture{tb: t}
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("STRIPE_API_KEY", doctorAPIKey)
			env.Setenv("soon", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
			env.Setenv("past", fmt.Sprint(time.Now().Add(-time.Hour).UnixMilli()))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": expectExit, "redis": startRedis, "redis-do": runRedisCommand,
			"redis-pause": pauseRedis, "stripe": startStripe, "sim": controlSim,
		},
	})
}

// doctorFixture is the servers that a script has started.
type doctorFixture struct {
	tb    testing.TB
	redis *storetest.Redis
	sim   *stripesim.Sim
}

type doctorFixtureKey struct{}

func doctorFixtureOf(ts *testscript.TestScript) *doctorFixture {
	return ts.Value(doctorFixtureKey{}).(*doctorFixture)
}

func startRedis(ts *testscript.TestScript, _ bool, args []string) {
	p := doctorFixtureOf(ts)
	p.redis = storetest.Start(p.tb, args...)
	ts.Defer(p.redis.Kill)
	ts.Setenv("REDIS_URL", p.redis.URL())
	ts.Setenv("SERVER_ADDR", p.redis.Addr())
}

func runRedisCommand(ts *testscript.TestScript, _ bool, args []string) {
	c := doctorFixtureOf(ts).redis.Client()
	defer c.Close()
	cmd := make([]any, len(args))
	for i := range args {
		cmd[i] = args[i]
	}
	v, err := c.Do(doctorFixtureOf(ts).tb.Context(), cmd...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		ts.Fatalf("%q: %v", args, err)
	}
	fmt.Fprintln(ts.Stdout(), v)
}

func pauseRedis(ts *testscript.TestScript, _ bool, _ []string) { doctorFixtureOf(ts).redis.Pause() }

func startStripe(ts *testscript.TestScript, _ bool, _ []string) {
	p := doctorFixtureOf(ts)
	p.sim = stripesim.New(stripesim.Options{Seed: 1})
	server := httptest.NewServer(p.sim.Handler())
	ts.Defer(server.Close)
	ts.Setenv("STRIPE_API_BASE", server.URL)
	ts.Setenv("ACCOUNT_ID", p.sim.Account())
}

func controlSim(ts *testscript.TestScript, _ bool, args []string) {
	sim := doctorFixtureOf(ts).sim
	switch what, rest := args[0], args[1:]; what {
	case "revoke":
		sim.Keys.RevokeKey(doctorAPIKey)
	case "allow":
		classes := make([]stripesim.EndpointClass, len(rest))
		for i := range rest {
			classes[i] = stripesim.EndpointClass(rest[i])
		}
		if sim.Keys.RestoreKey(doctorAPIKey); len(classes) > 0 {
			sim.Keys.RestrictKey(doctorAPIKey, classes...)
		}
	case "advance":
		d, err := time.ParseDuration(rest[0])
		ts.Check(err)
		sim.Advance(d)
	case "endpoint":
		var e stripesim.WebhookEndpoint
		if rest[0] == "-disabled" {
			e.Disabled, rest = true, rest[1:]
		}
		e.URL, e.Events = rest[0], rest[1:]
		sim.Webhooks.SetWebhookEndpoints(e)
	case "narrow":
		narrowEndpoints(ts)
	case "drop":
		_, err := sim.Faults.AddFaultRule(
			stripesim.FaultRule{Fault: stripesim.Fault{Kind: stripesim.FaultDropRequest}})
		ts.Check(err)
	default:
		ts.Fatalf("sim does not know %s", what)
	}
}

func narrowEndpoints(ts *testscript.TestScript) {
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_narrows_endpoints",
		BaseURL: ts.Getenv("STRIPE_API_BASE")})
	ts.Check(err)
	defer g.CloseIdleConnections()
	ctx := doctorFixtureOf(ts).tb.Context()
	all, _ := g.ListWebhookEndpoints(ctx)
	for _, e := range all {
		if a := g.EnableWebhookEndpointWithEvents(ctx, e.ID, []string{"charge.captured"}, "narrow-"+
			e.ID); a.HTTPStatus != 200 {
			ts.Fatalf("%+v", a)
		}
	}
}

// The hint names the clock that differs from the other two.
func TestCheckClocks(t *testing.T) {
	at := func(least, most time.Duration) clockOffsetBounds {
		return clockOffsetBounds{least, most,
			true}
	}
	const none = doctorCheckStatus(0)
	for name, row := range map[string]struct {
		redis, stripe clockOffsetBounds
		want          [2]doctorCheckStatus // none: no such line
		hint          [2]string            // a part of it
	}{
		"all agree": {at(-time.Millisecond, time.Millisecond),
			at(-300*time.Millisecond, time.Second), [2]doctorCheckStatus{statusOK, statusOK},
			[2]string{}},
		"a little off": {at(4*time.Second, 5*time.Second), at(0, time.Second),
			[2]doctorCheckStatus{statusOK, statusOK}, [2]string{}},
		"Redis' is off": {at(9*time.Second, 10*time.Second), at(0, time.Second),
			[2]doctorCheckStatus{statusWarning, statusOK},
			[2]string{"the clock of the Redis server", ""}},
		"Redis' is far off": {at(-2*time.Hour, -time.Hour), at(0, time.Second),
			[2]doctorCheckStatus{statusError, statusOK}, [2]string{"the clock of the Redis server",
				""}},
		"this one is off": {at(time.Hour, time.Hour), at(time.Hour, time.Hour+time.Second),
			[2]doctorCheckStatus{statusError, statusError}, [2]string{"this machine's clock",
				"this machine's clock"}},
		"Redis' and this are off": {at(0, time.Millisecond), at(-time.Hour, -59*time.Minute),
			[2]doctorCheckStatus{statusOK, statusError}, [2]string{"",
				"and that of the Redis server"}},
		"no Stripe clock": {at(time.Hour, time.Hour), clockOffsetBounds{},
			[2]doctorCheckStatus{statusError, none}, [2]string{"which of the two is right", ""}},
		"no Redis clock": {clockOffsetBounds{}, at(time.Hour, time.Hour),
			[2]doctorCheckStatus{none, statusError}, [2]string{"", "this machine's clock"}},
		"no clocks": {clockOffsetBounds{}, clockOffsetBounds{}, [2]doctorCheckStatus{},
			[2]string{}},
	} {
		got := map[string]doctorCheckResult{}
		for _, f := range checkClocks(row.redis, row.stripe) {
			got[f.Check] = f
		}
		for i, check := range []string{"redis clock", "stripe clock"} {
			f := got[check]
			if f.Status != row.want[i] || !strings.Contains(f.Hint, row.hint[i]) ||
				(f.Hint == "") != (row.want[i] <= statusOK) {
				t.Errorf("%s: %s: %+v", name, check, f)
			}
		}
	}
}

func TestCheckRedisMemory(t *testing.T) {
	const mib = 1 << 20
	for _, row := range []struct {
		used, limit, machine int64
		want                 doctorCheckStatus
	}{
		{0, 0, 0, statusOK}, {10 * mib, 100 * mib, 1000 * mib, statusOK},
		{80 * mib, 100 * mib, 1000 * mib, statusWarning},
		{95 * mib, 100 * mib, 1000 * mib, statusError},
		{95 * mib, 0, 1000 * mib, statusOK}, {850 * mib, 0, 1000 * mib, statusWarning},
		{10 * mib, 0, 0, statusOK},
	} {
		if f := checkRedisMemory(&store.RedisServer{UsedMemory: row.used, MaxMemory: row.limit,
			MachineMemory: row.machine}); f.Status != row.want {
			t.Errorf("%+v: %+v", row, f)
		}
	}
}

func TestDoctorReport_CountsOneCheck(t *testing.T) {
	report := doctorReport{Checks: []doctorCheckResult{{Status: statusError}}}
	if err := report.failure(); err == nil || err.Error() != "1 of 1 check is wrong" {
		t.Error(err)
	}
}
