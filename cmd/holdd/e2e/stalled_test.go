package e2e_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
)

// restrictedUser is a Redis user as an operator makes one for holdd.
const restrictedUser = "holdd"

// redisURLOf returns the address of this Redis for a user.
func (w *world) redisURLOf(user, password string) string {
	return strings.Replace(w.redis.URL(), "redis://", "redis://"+user+":"+password+"@", 1)
}

func (w *world) mustDo(c *redis.Client, args ...any) {
	w.tb.Helper()
	if err := c.Do(context.Background(), args...).Err(); err != nil {
		w.tb.Fatalf("%v: %v", args, err)
	}
}

// Redis answers a ping, and what a stage needs of it fails. Readiness says the
// cause, and work resumes when it is gone.
func TestStalled_RedisRejects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		attack, recover []any
		stage, cause    string
	}{
		{"command lost", []any{"ACL", "SETUSER", restrictedUser, "-zrem"},
			[]any{"ACL", "SETUSER", restrictedUser, "+zrem"}, "promote", "command"},
		{"wrong type", []any{"SET", "holdd:{0}:leased", "x"},
			[]any{"DEL", "holdd:{0}:leased"}, "promote", "WRONGTYPE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, unlimitedStripeOptions)
			raw := w.redis.Client()
			w.mustDo(raw, "ACL", "SETUSER", restrictedUser, "on", ">pw", "~holdd:*", "&*", "+@all")
			r := w.startReplica(binaryPath(t, buildRelease),
				"REDIS_URL="+w.redisURLOf(restrictedUser, "pw"))
			all := setDueAt(w.authorizeBookings(1), afterNow(3*time.Second))
			w.scheduleBookings(r, all)
			w.mustDo(raw, tt.attack...)
			storetest.WaitUntil(t, 2*processTimeout, "readiness says the cause", func() bool {
				ok, checks := r.readiness()
				c := checks["stages"]
				return !ok && !c.OK && strings.Contains(c.Detail, "stage "+tt.stage+" has stalled") &&
					strings.Contains(c.Detail, tt.cause) && checks["redis"].OK
			})
			if n := metricValue(t, r, `holdd_ready{check="stages"}`, nil); n != 0 {
				t.Errorf("holdd_ready of the stages is %v", n)
			}
			if age := metricValue(t, r, "holdd_oldest_due_seconds", nil); age < 20 {
				t.Errorf("the oldest hold has been due for %v s", age)
			}
			storetest.WaitUntil(t, processTimeout, "the log says it",
				func() bool { return r.log.countLines("stage stalled") > 0 })
			w.mustDo(raw, tt.recover...)
			w.waitForCaptures(r, 1, processTimeout)
			storetest.WaitUntil(t, processTimeout, "it is ready again",
				func() bool { ok, _ := r.readiness(); return ok })
			if age := metricValue(t, r, "holdd_oldest_due_seconds", nil); age != 0 {
				t.Errorf("nothing is due, and the oldest has been for %v s", age)
			}
			if n := len(w.listByState(r, hold.Attention)); n > 0 {
				t.Errorf("%d holds went to attention", n)
			}
		})
	}
}

// Only requests that change something fail. Readiness says so while they come,
// and without them the replica gets requests again.
func TestStalled_APIRejects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	raw := w.redis.Client()
	w.mustDo(raw, "ACL", "SETUSER", restrictedUser, "on", ">pw", "~holdd:*", "&*", "+@all")
	r := w.startReplica(binaryPath(t, buildRelease), "REDIS_URL="+w.redisURLOf(restrictedUser, "pw"))
	b := w.authorizeBookings(1)[0]
	schedule := func() error {
		_, _, err := r.client.Schedule(t.Context(), hold.ScheduleRequest{PaymentIntent: b.id,
			Amount: b.amount, Currency: "eur", ExpiresAt: formatTime(b.deadline),
			CaptureAt: formatTime(afterNow(time.Hour))})
		return err
	}
	w.mustDo(raw, "SET", "holdd:{0}:expiring", "x")
	storetest.WaitUntil(t, 2*processTimeout, "readiness names the API", func() bool {
		if schedule() == nil {
			t.Fatal("a hold was scheduled")
		}
		_, checks := r.readiness()
		return strings.Contains(checks["stages"].Detail, "stage api has stalled")
	})
	w.mustDo(raw, "DEL", "holdd:{0}:expiring")
	if err := schedule(); err != nil {
		t.Error(err)
	}
	storetest.WaitUntil(t, processTimeout, "it is ready again",
		func() bool { ok, _ := r.readiness(); return ok })
}

// serveAccount makes Stripe answer for another account of the same mode,
// or for the first one again.
func (w *world) serveAccount(s *stripesim.Sim) {
	w.tb.Helper()
	w.stripe.close()
	w.stripe.handler = s.Handler()
	w.stripe.open()
}

// Under a key of another account Stripe finds none of many PaymentIntents. The
// claims stop, no hold goes to attention, and the first one found ends it.
func TestWrongKey_ManyNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	// With a key that may read its account, the start would have refused it.
	w.sim.Keys.RestrictKey(apiKey, stripesim.ClassList, stripesim.ClassRetrieve,
		stripesim.ClassCapture, stripesim.ClassCancel, stripesim.ClassUpdate)
	r := w.startReplica(binaryPath(t, buildRelease), highBudgetSettings...)
	w.waitForFirstReconcile(r)
	all := setDueAt(w.authorizeBookings(100), afterNow(5*time.Second))
	w.scheduleBookings(r, all)
	other := stripesim.New(stripesim.Options{Seed: 2, EndpointRate: -1, OverallRate: -1})
	w.serveAccount(other)
	storetest.WaitUntil(t, 2*processTimeout, "readiness asks whether the key is wrong", func() bool {
		ok, checks := r.readiness()
		return !ok && strings.Contains(checks["stripe"].Detail, "wrong key?")
	})
	storetest.WaitUntil(t, processTimeout, "the log asks as well",
		func() bool { return r.log.countLines("wrong key?") > 0 })
	if n := len(w.listByState(r, hold.Attention)); n > 0 {
		t.Errorf("%d holds went to attention", n)
	}
	w.serveAccount(w.sim)
	w.waitForCaptures(r, len(all), 5*time.Minute)
	w.checkCaptures(r, all, exactlyOnce)
	storetest.WaitUntil(t, processTimeout, "it is ready again",
		func() bool { ok, _ := r.readiness(); return ok })
}

// The account of the first start is recorded, and a key of another one is
// refused with what to do. A key that may not read its account is accepted.
func TestWrongKey_OtherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease))
	if id := w.redis.Client().Get(t.Context(), "holdd:account").Val(); id != w.sim.Account() {
		t.Fatalf("recorded %q, want %q", id, w.sim.Account())
	}
	r.terminate(0)
	other := stripesim.New(stripesim.Options{Seed: 2, EndpointRate: -1, OverallRate: -1})
	w.serveAccount(other)
	cmd := exec.Command(binaryPath(t, buildRelease), "serve")
	cmd.Env = append(w.settings(), "HOLDD_LISTEN=127.0.0.1:0")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 2 ||
		!strings.Contains(string(out), "this Redis keeps holds of the Stripe account "+
			w.sim.Account()+", the Stripe key is of the account "+other.Account()) ||
		!strings.Contains(string(out), "set redis_url to another Redis") {
		t.Errorf("%v\n%s", err, out)
	}
	other.Keys.RestrictKey(apiKey, stripesim.ClassList, stripesim.ClassRetrieve)
	restricted := w.startReplica(binaryPath(t, buildRelease))
	if restricted.log.countLines("may not read its account") != 1 {
		t.Error("the log does not say that the account is unknown")
	}
}

// The settings of a running Redis change. Readiness names each fault, and is
// back when it is undone.
func TestRedisDrifts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		attack, recover []any
		check, detail   string
	}{
		{"evicts", []any{"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"},
			[]any{"CONFIG", "SET", "maxmemory-policy", "noeviction"}, "redis_settings",
			"maxmemory-policy is allkeys-lru, which evicts holds: set maxmemory-policy to noeviction"},
		{"full", []any{"CONFIG", "SET", "maxmemory", "1"},
			[]any{"CONFIG", "SET", "maxmemory", "0"}, "redis", "raise maxmemory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, unlimitedStripeOptions)
			raw := w.redis.Client()
			r := w.startReplica(binaryPath(t, buildRelease))
			storetest.WaitUntil(t, processTimeout, "it is ready",
				func() bool { ok, _ := r.readiness(); return ok })
			w.mustDo(raw, tt.attack...)
			storetest.WaitUntil(t, 3*processTimeout, "readiness says the cause", func() bool {
				ok, checks := r.readiness()
				return !ok && strings.Contains(checks[tt.check].Detail, tt.detail)
			})
			w.mustDo(raw, tt.recover...)
			storetest.WaitUntil(t, 3*processTimeout, "it is ready again",
				func() bool { ok, _ := r.readiness(); return ok })
		})
	}
}
