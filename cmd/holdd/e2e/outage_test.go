package e2e_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// checkNoneGivenUp checks that each hold is captured or still scheduled.
func (w *world) checkNoneGivenUp(r *replica) {
	w.tb.Helper()
	for _, s := range []hold.State{hold.Attention, hold.Canceled, hold.Expired,
		hold.Paused, hold.Waiting} {
		if n := len(w.listByState(r, s)); n > 0 {
			w.tb.Errorf("%d holds are %s, and all should be captured or go on to be", n, s)
		}
	}
}

func TestDrain_StripeUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripeOptions)
	r := w.startReplica(binaryPath(t, buildRace), shortLeaseSettings...)
	all := setDueAt(w.authorizeBookings(500), afterNow(2*time.Second))
	w.scheduleBookings(r, all)
	w.waitMidDrain(all)

	w.stripe.close()
	gone := time.Now()
	storetest.WaitUntil(t, processTimeout, "readiness says that Stripe is away", func() bool {
		ok, checks := r.readiness()
		return !ok && checks["stripe"].Name != "" && !checks["stripe"].OK && checks["redis"].OK
	})
	// A hold can be scheduled all the same: a booking system must not go down
	// with Stripe.
	late := setDueAt(w.authorizeBookings(1), afterNow(time.Second))
	v, created, err := r.client.Schedule(t.Context(),
		hold.ScheduleRequest{PaymentIntent: late[0].id, Reference: bookingReference(0),
			CaptureAt: formatTime(late[0].due)})
	if err != nil || !created || v.Verified {
		t.Errorf("while Stripe is away a schedule is answered with %+v, created %v, %v", v, created,
			err)
	}
	// Long enough for some to be tried again and again.
	storetest.WaitUntil(t, time.Minute, "it is away for a while",
		func() bool { return time.Since(gone) > 5*time.Second })
	before := w.countCaptures()
	w.checkNoneGivenUp(r)
	w.stripe.open()

	w.waitForCaptures(r, len(all)+1, 2*time.Minute)
	back := time.Since(gone)
	w.checkCaptures(r, all, exactlyOnce)
	w.checkCaptures(r, late, exactlyOnce)
	w.checkNoneGivenUp(r)
	storetest.WaitUntil(t, processTimeout, "it is ready again",
		func() bool { ok, _ := r.readiness(); return ok })
	t.Logf("away after %d captures for 5 s; all done %s after it went", before,
		back.Round(time.Millisecond))
}

func TestDrain_KeyRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, slowStripeOptions)
	r := w.startReplica(binaryPath(t, buildRace), shortLeaseSettings...)
	all := setDueAt(w.authorizeBookings(500), afterNow(2*time.Second))
	w.scheduleBookings(r, all)
	w.waitMidDrain(all)

	w.sim.Keys.RevokeKey(apiKey)
	storetest.WaitUntil(t, processTimeout, "readiness says that the key is rejected", func() bool {
		ok, checks := r.readiness()
		return !ok && checks["stripe"].Name != "" && !checks["stripe"].OK
	})
	w.checkNoneGivenUp(r)
	if n := w.countCaptures(); n == len(all) {
		t.Error("all was done before the key was rejected: this test shows nothing")
	}
	w.sim.Keys.RestoreKey(apiKey)
	restored := time.Now()
	w.waitForCaptures(r, len(all), 2*time.Minute)
	w.checkCaptures(r, all, exactlyOnce)
	w.checkNoneGivenUp(r)
	storetest.WaitUntil(t, processTimeout, "it is ready again",
		func() bool { ok, _ := r.readiness(); return ok })
	refused := int64(0)
	for a, n := range w.sim.Stats().Calls {
		if a.Status == 401 {
			refused += n
		}
	}
	t.Logf("%d calls met the bad key; all done %s after it was good again", refused,
		time.Since(restored).Round(time.Millisecond))
	if refused > 200 {
		t.Errorf("%d calls were sent with a key that is rejected: claims should have stopped",
			refused)
	}
}

// newRandomFaults makes one call in several fail, a few times per intent at
// most, so that a test ends.
func newRandomFaults(seed uint64) func(stripesim.Call) stripesim.Fault {
	kinds := []stripesim.FaultKind{stripesim.FaultDropRequest, stripesim.FaultDropReply,
		stripesim.FaultBrokenBody, stripesim.FaultCutBody, stripesim.FaultErrorAfter,
		stripesim.FaultUnavailable, stripesim.FaultHTML, stripesim.FaultHTMLAfter,
		stripesim.FaultFailedDependency, stripesim.FaultKeyInUse, stripesim.FaultLockTimeout,
		stripesim.FaultRateLimited}
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 7))
	met := map[string]int{}
	return func(c stripesim.Call) stripesim.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Intent == "" || met[c.Intent] == 3 || r.IntN(6) > 0 {
			return stripesim.Fault{}
		}
		met[c.Intent]++
		if len(met) == 1 {
			// A stored 500 without an effect: only reading back can tell, and
			// that has to wait until no request can be under way.
			return stripesim.Fault{Kind: stripesim.FaultErrorBefore}
		}
		return stripesim.Fault{Kind: kinds[r.IntN(len(kinds))], ReplyDelay: time.Duration(
			r.IntN(50)) * time.Millisecond}
	}
}

func TestDrain_LostRepliesAndErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripesim.Options{Seed: 6, EndpointRate: -1, OverallRate: -1,
		FaultFunc: newRandomFaults(6)})
	r := w.startReplica(binaryPath(t, buildRace), shortLeaseSettings...)
	all := setDueAt(w.authorizeBookings(500), afterNow(2*time.Second))
	w.scheduleBookings(r, all)
	w.waitForCaptures(r, len(all), 2*time.Minute)
	w.checkCaptures(r, all, exactlyOnce)
	w.checkNoneGivenUp(r)
	bad, calls := int64(0), int64(0)
	for a, n := range w.sim.Stats().Calls {
		if calls += n; a.Status != 200 {
			bad += n
		}
	}
	t.Logf("%d calls for %d holds, %d of them ended badly, %d were answered from a stored key",
		calls, len(all), bad, w.sim.Stats().Replayed)
	if bad < 50 {
		t.Errorf("only %d calls went wrong: this test shows nothing", bad)
	}
}
