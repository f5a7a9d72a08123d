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

// slowStripeOptions delays the answer to each capture after its effect, so that
// a killed replica leaves calls without an answer.
var slowStripeOptions = stripesim.Options{Seed: 5, EndpointRate: -1, OverallRate: -1,
	ServiceTime: 150 * time.Millisecond}

// shortLeaseDuration is short, so that the tests don't take long. That it is 30
// s if nothing is set is shown by TestConfig_DefaultLease.
const shortLeaseDuration = 10 * time.Second

var shortLeaseSettings = append([]string{"HOLDD_LEASE=10s", "HOLDD_CALL_TIMEOUT=4s",
	"HOLDD_CONCURRENCY=32"}, highBudgetSettings...)

// waitMidDrain waits until each replica has settled some holds and most are
// still open.
func (w *world) waitMidDrain(all []booking) {
	w.tb.Helper()
	storetest.WaitUntil(w.tb, processTimeout, "every replica takes part in the drain", func() bool {
		for _, r := range w.replicas {
			if r.log.countOutcomes() < 50 {
				return false
			}
		}
		return true
	})
	if n := w.countCaptures(); n > len(all)*9/10 {
		w.tb.Fatalf("%d of %d are captured already: this is not the middle of the drain", n,
			len(all))
	}
}

// leaseEnds are the holds that a replica has claimed, with the end of each
// lease in Redis' time.
func (w *world) leaseEnds() map[string]float64 {
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

func TestDrain_ReplicaKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripeOptions)
	bin := binaryPath(t, buildRace)
	victim, other := w.startReplica(bin, shortLeaseSettings...),
		w.startReplica(bin, shortLeaseSettings...)
	all := setDueAt(w.authorizeBookings(1000), afterNow(3*time.Second))
	w.scheduleBookings(victim, all)
	w.waitMidDrain(all)

	stalls := measureMachineStalls(t)
	victim.sendSignal(syscall.SIGKILL)
	killed, before := time.Now(), w.countCaptures()
	claimed := w.leaseEnds()
	storetest.WaitUntil(t, time.Minute, "every claim of the dead is taken over", func() bool {
		now := w.leaseEnds()
		for id, until := range claimed {
			if now[id] != until {
				delete(claimed, id)
			}
		}
		return len(claimed) == 0
	})
	took := time.Since(killed) - stalls()
	w.waitForCaptures(other, len(all), time.Minute)
	w.checkCaptures(other, all, atMostOnce)
	t.Logf("killed after %d captures; the last claim was taken over %s later; %d answers were of captures that the dead had sent", before,
		took.Round(time.Millisecond), w.sim.Stats().Replayed)
	// The lease itself ends earlier, so that there is room for a busy machine.
	if took > shortLeaseDuration+time.Second {
		t.Errorf("the last claim of the dead was taken over %s after the kill: it has to be within the lease of %s", took, shortLeaseDuration)
	}
	if w.sim.Stats().Replayed == 0 {
		t.Error("no capture of the dead was asked for again: the kill came to no harm, and this test shows nothing")
	}
}

func TestDrain_ReplicaResumesAfterLeaseExpired(t *testing.T) {
	t.Parallel()
	// On a busy machine the moment of the stop can be one at which the replica
	// holds no claim. Such a round is right and shows nothing.
	for range 3 {
		if resumeAfterLeaseExpired(t) {
			return
		}
	}
	t.Error("the sleeper never had anything to lose: this test shows nothing")
}

// resumeAfterLeaseExpired reports whether the paused replica found its claims
// taken over.
func resumeAfterLeaseExpired(t *testing.T) bool {
	w := newWorld(t, slowStripeOptions)
	bin := binaryPath(t, buildRace)
	sleeper, other := w.startReplica(bin, shortLeaseSettings...),
		w.startReplica(bin, shortLeaseSettings...)
	all := setDueAt(w.authorizeBookings(1000), afterNow(3*time.Second))
	w.scheduleBookings(other, all)
	w.waitMidDrain(all)

	slept := time.Now()
	sleeper.sendSignal(syscall.SIGSTOP)
	w.waitForCaptures(other, len(all), time.Minute)
	storetest.WaitUntil(t, processTimeout, "the lease of the sleeper is over",
		func() bool { return time.Since(slept) > shortLeaseDuration })
	loggedBefore := sleeper.log.countOutcomes()
	sleeper.sendSignal(syscall.SIGCONT)

	// It finds its claims taken over, and then it works on like any other.
	other.sendSignal(syscall.SIGTERM)
	more := setDueAt(w.authorizeBookings(50), afterNow(time.Second))
	w.scheduleBookings(sleeper, more)
	w.waitForCaptures(sleeper, len(all)+len(more), time.Minute)
	w.checkCaptures(sleeper, all, exactlyOnce)
	w.checkCaptures(sleeper, more, exactlyOnce)
	t.Logf("%d answers were of captures that the sleeper had sent; awake, it told %d outcomes",
		w.sim.Stats().Replayed, sleeper.log.countOutcomes()-loggedBefore)
	return sleeper.log.contains("another replica has taken over this hold")
}

func TestDrain_GracefulShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripeOptions)
	bin := binaryPath(t, buildRace)
	// A lease of ten minutes: who had to wait for one would not be done in
	// time.
	settings := append([]string{"HOLDD_LEASE=10m", "HOLDD_SHUTDOWN_GRACE=10s",
		"HOLDD_CONCURRENCY=32"}, highBudgetSettings...)
	first := w.startReplica(bin, settings...)
	all := setDueAt(w.authorizeBookings(600), afterNow(2*time.Second))
	w.scheduleBookings(first, all)
	w.waitMidDrain(all)

	stalls, signaledAt := measureMachineStalls(t), time.Now()
	first.sendSignal(syscall.SIGTERM)
	took := time.Since(signaledAt) - stalls()
	if code := first.cmd.ProcessState.ExitCode(); code != 0 || took > 10*time.Second {
		t.Errorf("told to stop, it ended with %d after %s: it should be 0, within the grace time of 10 s", code, took)
	}
	done := w.countCaptures()
	if c := w.leaseEnds(); len(c) != 0 {
		t.Errorf("%d holds are still claimed, by nobody", len(c))
	}
	if n := first.log.countOutcomes(); n != done {
		t.Errorf("%d captures at Stripe and %d outcomes told: everything in flight should have been finished", done, n)
	}

	second := w.startReplica(bin, settings...)
	w.waitForCaptures(second, len(all), time.Minute)
	w.checkCaptures(second, all, onceByFirstAttempt)
	t.Logf("stopped after %d captures in %s; no answer of %d was a replay", done,
		took.Round(time.Millisecond), len(all))
	if n := w.sim.Stats().Replayed; n != 0 {
		t.Errorf("%d captures were sent twice", n)
	}
}

func TestDrain_RedisKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripeOptions, storetest.KillSafeArgs...)
	bin := binaryPath(t, buildRace)
	one, two := w.startReplica(bin, shortLeaseSettings...),
		w.startReplica(bin, shortLeaseSettings...)
	all := setDueAt(w.authorizeBookings(1000), afterNow(3*time.Second))
	w.scheduleBookings(one, all)
	w.waitMidDrain(all)

	w.redis.Kill()
	before := w.countCaptures()
	for _, r := range w.replicas {
		storetest.WaitUntil(t, processTimeout, r.name+" says that Redis is away", func() bool {
			ok, checks := r.readiness()
			return !ok && checks["redis"].Name != "" && !checks["redis"].OK
		})
	}
	_, _, err := one.client.Schedule(t.Context(), hold.ScheduleRequest{PaymentIntent: all[0].id,
		CaptureAt: formatTime(all[0].due)})
	if !errors.Is(err, &api.Problem{Code: api.Unavailable}) {
		t.Errorf("without Redis a schedule is answered with %v", err)
	}
	w.redis.Restart()
	for _, r := range w.replicas {
		storetest.WaitUntil(t, processTimeout, r.name+" is ready again",
			func() bool { ok, _ := r.readiness(); return ok })
	}
	w.waitForCaptures(two, len(all), time.Minute)
	w.checkCaptures(two, all, exactlyOnce)
	t.Logf("Redis died after %d captures; %d answers were of captures whose outcome could not be written the first time", before, w.sim.Stats().Replayed)
}

func TestConfig_DefaultLease(t *testing.T) {
	t.Parallel()
	code, out, errs := runHoldd(t, binaryPath(t, buildRelease),
		[]string{"STRIPE_API_KEY=" + apiKey}, "config", "show")
	if code != 0 || !strings.Contains(out, "\nlease: 30s ") || strings.Contains(out, apiKey) {
		t.Errorf("exit code %d, and the settings in effect are\n%s%s", code, out, errs)
	}
}
