package e2e_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func TestDrain_CapturesEachHoldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease), highBudgetSettings...)
	all := setDueAt(w.authorizeBookings(1000), afterNow(3*time.Second))
	w.scheduleBookings(r, all)
	w.waitForCaptures(r, len(all), time.Minute)
	captures := w.checkCaptures(r, all, onceByFirstAttempt)
	t.Logf("1,000 captures, the last %s after they fell due", captures[len(captures)-1].Time.Sub(
		all[0].due).Round(time.Millisecond))

	keys := map[string]bool{}
	for _, e := range captures {
		keys[e.IdempotencyKey] = true
	}
	if len(keys) != len(all) {
		t.Errorf("%d different idempotency keys for %d captures", len(keys), len(all))
	}
	if st := w.sim.Stats(); st.Replayed != 0 ||
		st.Calls[stripesim.CallOutcome{Class: stripesim.ClassCapture, Status: 200}] != int64(
			len(all)) {
		t.Errorf("more was sent than needed: %+v", st)
	}
}

// The measuring tests share the machine with each other only: the others wait
// until they are done.
func TestPerformance(t *testing.T) {
	t.Run("lateness", testLateness)
	t.Run("budget", testBudget)
	t.Run("idle", testIdle)
	t.Run("size", testSize)
}

// testLateness measures the lateness of captures on an idle system.
func testLateness(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stripesim.Options{Seed: 2})
	r := w.startReplica(binaryPath(t, buildRelease))
	all := w.authorizeBookings(20)
	first := afterNow(2 * time.Second)
	for i := range all {
		// never twice at the same place between two ticks
		all[i].due = first.Add(time.Duration(i) * 233 * time.Millisecond)
	}
	stalls := measureMachineStalls(t)
	w.scheduleBookings(r, all)
	w.waitForCaptures(r, len(all), 30*time.Second)
	captures := w.checkCaptures(r, all, onceByFirstAttempt)
	due := map[string]time.Time{}
	for _, b := range all {
		due[b.id] = b.due
	}
	worst := time.Duration(0)
	for _, e := range captures {
		worst = max(worst, e.Time.Sub(due[e.Intent]))
		logged := time.Duration(r.log.outcomesOf(e.Intent)[0].LatenessMS) * time.Millisecond
		worst = max(worst, logged)
	}
	t.Logf("the latest of %d was %s late; the machine stood still for %s", len(all),
		worst.Round(time.Millisecond), stalls().Round(time.Millisecond))
	if worst-stalls() >= 1500*time.Millisecond {
		t.Errorf("%s late without a backlog: it has to be under 1.5 s", worst)
	}
}

// testBudget makes more holds due than Stripe accepts in a second, with default
// settings. Stripe refuses no request, and the nearest deadline goes first.
func testBudget(t *testing.T) {
	t.Parallel()
	// A sandbox has 25 a second over all, not only for each endpoint. Reads are
	// drawn from the same.
	w := newWorld(t, stripesim.Options{Seed: 3, EndpointRate: 25, OverallRate: 25})
	r := w.startReplica(binaryPath(t, buildRelease))
	all := setDueAt(w.authorizeBookings(150), afterNow(2*time.Second))
	for i, n := range rand.New(rand.NewPCG(1, 1)).Perm(len(all)) {
		all[i].deadline = all[i].deadline.Add(-time.Duration(n) * time.Minute).Truncate(time.Second)
		w.sim.Dashboard().SetCaptureBefore(all[i].id, all[i].deadline)
	}
	w.scheduleBookings(r, all)
	// These have nothing told along: they are read at Stripe while the budget
	// allows, and the rest in the background.
	const unknown = 40
	reads := w.authorizeBookings(unknown)
	reqs := make([]hold.ScheduleRequest, unknown)
	for i, b := range reads {
		reqs[i] = hold.ScheduleRequest{PaymentIntent: b.id,
			CaptureAt: formatTime(all[0].due.Add(24 * time.Hour))}
	}
	w.scheduleAll(r, reqs)
	w.waitForCaptures(r, len(all), time.Minute)
	captures := w.checkCaptures(r, all, onceByFirstAttempt)

	st := w.sim.Stats()
	t.Logf("%d captures in %s; the most in a second: %d of all kinds", len(captures),
		captures[len(captures)-1].Time.Sub(all[0].due).Round(time.Millisecond), st.MaxOverall)
	if st.RateLimited != 0 || st.LockTimeouts != 0 {
		t.Errorf("%d requests were refused for a rate, %d for a lock: %+v", st.RateLimited,
			st.LockTimeouts, st.Calls)
	}
	slices.SortFunc(all, func(a, b booking) int { return a.deadline.Compare(b.deadline) })
	rank := map[string]int{}
	for i, b := range all {
		rank[b.id] = i
	}
	slices.SortStableFunc(captures, func(a, b stripesim.Effect) int {
		return cmp.Compare(a.Seq, b.Seq)
	})
	for i, e := range captures {
		// What is under way at the same time may arrive in any order; with this
		// budget that is a handful.
		if d := i - rank[e.Intent]; d < -5 || d > 5 {
			t.Errorf("capture %d was of the hold with the %d. nearest deadline", i+1,
				rank[e.Intent]+1)
		}
	}
}
