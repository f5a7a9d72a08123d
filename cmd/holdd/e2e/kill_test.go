package e2e_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// slowStripe takes a while for each capture, the effect first, so that whoever is killed leaves calls behind whose answer nobody hears.
var slowStripe = stripesim.Options{Seed: 5, EndpointRate: -1, OverallRate: -1, ServiceTime: 150 * time.Millisecond}

// lease is short, so that the tests don't take long. That it is 30 s if nothing is set is shown by TestLeaseIsHalfAMinuteByDefault.
const lease = 10 * time.Second

var shortLease = append([]string{"HOLDD_LEASE=10s", "HOLDD_CALL_TIMEOUT=4s", "HOLDD_CONCURRENCY=32"}, highBudget...)

// inTheMiddle waits until each replica has seen some holds to their end and most are still to come.
func (w *world) inTheMiddle(all []booking) {
	w.tb.Helper()
	storetest.Until(w.tb, startTime, "every replica takes part in the drain", func() bool {
		for _, r := range w.replicas {
			if r.log.outcomesCount() < 50 {
				return false
			}
		}
		return true
	})
	if n := w.taken(); n > len(all)*9/10 {
		w.tb.Fatalf("%d of %d are captured already: this is not the middle of the drain", n, len(all))
	}
}

// claims are the holds that a replica has claimed, with the end of each lease in Redis' time.
func (w *world) claims() map[string]float64 {
	w.tb.Helper()
	rdb := w.redis.Client()
	defer rdb.Close()
	leased, err := rdb.ZRangeWithScores(w.tb.Context(), "holdd:{0}:leased", 0, -1).Result()
	if err != nil {
		w.tb.Fatal(err)
	}
	out := map[string]float64{}
	for _, z := range leased {
		out[z.Member.(string)] = z.Score
	}
	return out
}

func TestReplicaKilledInTheMiddleOfADrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripe)
	bin := binary(t, watched)
	victim, other := w.start(bin, shortLease...), w.start(bin, shortLease...)
	all := dueAt(w.authorize(1000), soon(3*time.Second))
	w.schedule(victim, all)
	w.inTheMiddle(all)

	stood := standstill(t)
	victim.signal(syscall.SIGKILL)
	killed, before := time.Now(), w.taken()
	claimed := w.claims()
	storetest.Until(t, time.Minute, "every claim of the dead is taken over", func() bool {
		now := w.claims()
		for id, until := range claimed {
			if now[id] != until {
				delete(claimed, id)
			}
		}
		return len(claimed) == 0
	})
	took := time.Since(killed) - stood()
	w.await(other, len(all), time.Minute)
	w.judge(other, all, mayBeLost)
	t.Logf("killed after %d captures; the last claim was taken over %s later; %d answers were of captures that the dead had sent", before,
		took.Round(time.Millisecond), w.sim.Stats().Replayed)
	// The lease itself ends earlier, so that there is room for a busy machine.
	if took > lease+time.Second {
		t.Errorf("the last claim of the dead was taken over %s after the kill: it has to be within the lease of %s", took, lease)
	}
	if w.sim.Stats().Replayed == 0 {
		t.Error("no capture of the dead was asked for again: the kill came to no harm, and this test shows nothing")
	}
}

func TestReplicaWakesWithAnOldLease(t *testing.T) {
	t.Parallel()
	// On a busy machine the moment of the stop can be one at which the replica holds no claim. Such a round is right and shows nothing.
	for range 3 {
		if wakesWithAnOldLease(t) {
			return
		}
	}
	t.Error("the sleeper never had anything to lose: this test shows nothing")
}

// wakesWithAnOldLease reports whether the sleeper found claims of its own taken over.
func wakesWithAnOldLease(t *testing.T) bool {
	w := newWorld(t, slowStripe)
	bin := binary(t, watched)
	sleeper, other := w.start(bin, shortLease...), w.start(bin, shortLease...)
	all := dueAt(w.authorize(1000), soon(3*time.Second))
	w.schedule(other, all)
	w.inTheMiddle(all)

	slept := time.Now()
	sleeper.signal(syscall.SIGSTOP)
	w.await(other, len(all), time.Minute)
	storetest.Until(t, startTime, "the lease of the sleeper is over", func() bool { return time.Since(slept) > lease })
	told := sleeper.log.outcomesCount()
	sleeper.signal(syscall.SIGCONT)

	// It finds its claims taken over, and then it works on like any other.
	other.signal(syscall.SIGTERM)
	more := dueAt(w.authorize(50), soon(time.Second))
	w.schedule(sleeper, more)
	w.await(sleeper, len(all)+len(more), time.Minute)
	w.judge(sleeper, all, oneLine)
	w.judge(sleeper, more, oneLine)
	t.Logf("%d answers were of captures that the sleeper had sent; awake, it told %d outcomes", w.sim.Stats().Replayed, sleeper.log.outcomesCount()-told)
	return sleeper.log.says("another replica has taken over this hold")
}

func TestReplicaToldToStopGivesTheRestBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripe)
	bin := binary(t, watched)
	// A lease of ten minutes: who had to wait for one would not be done in time.
	settings := append([]string{"HOLDD_LEASE=10m", "HOLDD_SHUTDOWN_GRACE=10s", "HOLDD_CONCURRENCY=32"}, highBudget...)
	first := w.start(bin, settings...)
	all := dueAt(w.authorize(600), soon(2*time.Second))
	w.schedule(first, all)
	w.inTheMiddle(all)

	stood, told := standstill(t), time.Now()
	first.signal(syscall.SIGTERM)
	took := time.Since(told) - stood()
	if code := first.cmd.ProcessState.ExitCode(); code != 0 || took > 10*time.Second {
		t.Errorf("told to stop, it ended with %d after %s: it should be 0, within the grace time of 10 s", code, took)
	}
	done := w.taken()
	if c := w.claims(); len(c) != 0 {
		t.Errorf("%d holds are still claimed, by nobody", len(c))
	}
	if n := first.log.outcomesCount(); n != done {
		t.Errorf("%d captures at Stripe and %d outcomes told: everything in flight should have been finished", done, n)
	}

	second := w.start(bin, settings...)
	w.await(second, len(all), time.Minute)
	w.judge(second, all, ofTheFirst)
	t.Logf("stopped after %d captures in %s; no answer of %d was a replay", done, took.Round(time.Millisecond), len(all))
	if n := w.sim.Stats().Replayed; n != 0 {
		t.Errorf("%d captures were sent twice", n)
	}
}

func TestRedisKilledInTheMiddleOfADrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripe, storetest.WrittenFirst...)
	bin := binary(t, watched)
	one, two := w.start(bin, shortLease...), w.start(bin, shortLease...)
	all := dueAt(w.authorize(1000), soon(3*time.Second))
	w.schedule(one, all)
	w.inTheMiddle(all)

	w.redis.Kill()
	before := w.taken()
	for _, r := range w.replicas {
		storetest.Until(t, startTime, r.name+" says that Redis is away", func() bool {
			ok, checks := r.ready()
			return !ok && checks["redis"].Name != "" && !checks["redis"].OK
		})
	}
	_, _, err := one.client.Schedule(t.Context(), hold.ScheduleRequest{PaymentIntent: all[0].id, CaptureAt: stamp(all[0].due)})
	if !errors.Is(err, &api.Problem{Code: api.Unavailable}) {
		t.Errorf("without Redis a schedule is answered with %v", err)
	}
	w.redis.Restart()
	for _, r := range w.replicas {
		storetest.Until(t, startTime, r.name+" is ready again", func() bool { ok, _ := r.ready(); return ok })
	}
	w.await(two, len(all), time.Minute)
	w.judge(two, all, oneLine)
	t.Logf("Redis died after %d captures; %d answers were of captures whose outcome could not be written the first time", before, w.sim.Stats().Replayed)
}

func TestLeaseIsHalfAMinuteByDefault(t *testing.T) {
	t.Parallel()
	code, out, errs := command(t, binary(t, shipped), []string{"STRIPE_API_KEY=" + apiKey}, "config", "show")
	if code != 0 || !strings.Contains(out, "\nlease: 30s ") || strings.Contains(out, apiKey) {
		t.Errorf("exit code %d, and the settings in effect are\n%s%s", code, out, errs)
	}
}
