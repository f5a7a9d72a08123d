package alert_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// expectedHold is a hold with the terms that the test gave it.
type expectedHold struct {
	id, reference           string
	amount                  int64
	authorizedAt, expiresAt time.Time
	captureAt               time.Time
	cancelAt                time.Time
	onExpiry                string
	paused                  bool
	acknowledgedAt          time.Time
}

const jobInterval = 30 * time.Minute

// expectedAlerts returns the alerts about a hold, by rules that do not use the
// code under test.
func (g *expectedHold) expectedAlerts() (out []string) {
	expect := func(k alert.Kind, s alert.Severity) {
		out = append(out, fmt.Sprintf("%s %s %s", g.id, k, s))
	}
	margin := g.expiresAt.Add(-time.Hour)
	actionAt := g.captureAt
	if actionAt.IsZero() {
		actionAt = g.cancelAt
	}
	acts := !actionAt.IsZero() && !g.paused
	// the first run of the job
	first := g.authorizedAt.Add(jobInterval)
	if left := g.expiresAt.Sub(first); g.expiresAt.Sub(g.authorizedAt) <= 72*time.Hour &&
		g.acknowledgedAt.IsZero() {
		// scheduled inside a threshold: the alert follows at once
		severity := alert.Info
		switch {
		case acts:
		case left <= 6*time.Hour:
			severity = alert.Critical
		case left <= 24*time.Hour || g.paused:
			severity = alert.Warning
		}
		expect(alert.ExpiryNear, severity)
	}
	for _, before := range []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour} {
		at := g.expiresAt.Add(-before)
		switch {
		case !at.After(g.authorizedAt), !at.After(first) && before < 72*time.Hour, acts &&
			at.After(actionAt), !g.acknowledgedAt.IsZero() && at.After(g.acknowledgedAt):
		case acts:
			expect(alert.ExpiryNear, alert.Info)
		case before == 72*time.Hour && g.paused:
			expect(alert.ExpiryNear, alert.Warning)
		default:
			expect(alert.ExpiryNear, map[time.Duration]alert.Severity{72 * time.Hour: alert.Info,
				24 * time.Hour: alert.Warning, 6 * time.Hour: alert.Critical}[before])
		}
	}
	switch acknowledged := !g.acknowledgedAt.IsZero(); {
	case acts && actionAt.Before(margin):
	case acts: // due within the last hour
		if !acknowledged {
			expect(alert.ExpiryNear, alert.Info)
		}
	case g.onExpiry == "cancel", g.onExpiry == "capture" && !g.paused:
		if !acknowledged {
			expect(alert.ExpiryNear, alert.Info) // the last warning says that on_expiry acts
		}
		expect(alert.OnExpiryPolicy, map[string]alert.Severity{"cancel": alert.Warning,
			"capture": alert.Info}[g.onExpiry])
	default:
		if !acknowledged {
			expect(alert.OnExpiryPolicy, alert.Critical)
		}
		expect(alert.DeadlinePassed, alert.Critical)
		expect(alert.ExpiredUncaptured, alert.Critical)
	}
	return out
}

var (
	worldCount    = flag.Uint64("worlds", 1, "number of worlds in TestNotifier_ThirtyDaySimulation")
	holdsPerWorld = flag.Int("holds", 100, "holds in each world; make prove uses 5,000")
)

func TestNotifier_ThirtyDaySimulation(t *testing.T) {
	t.Parallel()
	for seed := range *worldCount {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulateThirtyDays(t, seed, *holdsPerWorld) })
	}
}

func simulateThirtyDays(t *testing.T, seed uint64, n int) {
	lifetimes := map[string]time.Duration{} // by the holds' metadata
	runInWorld(t, func(w *world) {
		rng := rand.New(rand.NewPCG(seed, 7))
		replicas := []*replica{w.startReplica(), w.startReplica(), w.startReplica()}
		holds := make([]*expectedHold, n)
		for i := range holds {
			holds[i] = w.authorizeHold(rng, i, lifetimes)
		}
		w.scheduleHolds(rng, replicas[0], holds)
		kills := w.passThirtyDays(rng, replicas)
		time.Sleep(24 * time.Hour)
		for _, r := range replicas {
			r.shutDown()
		}
		delivered := w.checkCallbacks(holds, kills)
		w.checkChat(delivered)
		w.checkCaptures(holds)
	}, func(w *world, o *stripesim.Options) {
		every, never := "@every 30m", "@every 2000h"
		w.workerOptions.Schedules = worker.CronSchedules{Capture: every, Expiry: every,
			Report: "@every 3h", Purge: never, Reconcile: never, Verify: never,
			Resume: never, Refresh: never, Inbox: never, Mirror: never}
		w.storeOptions.Partitions = 2
		w.pollInterval, w.loseEvery = time.Hour, 97
		o.AuthorizationWindow = func(c stripesim.Card) time.Duration {
			return lifetimes[c.Metadata["life"]]
		}
	})
}

// authorizeHold places an authorization of 4 h to 28 d and draws its terms.
func (w *world) authorizeHold(
	rng *rand.Rand, i int, lifetimes map[string]time.Duration,
) *expectedHold {
	const maxLifetime = 28 * 24 * time.Hour
	lifetime := jobInterval * time.Duration(8+rng.IntN(int(maxLifetime/jobInterval)))
	key := fmt.Sprint(i)
	lifetimes[key] = lifetime
	g := &expectedHold{authorizedAt: time.Now(), reference: fmt.Sprintf("BK-%04d", i),
		amount: int64(1000 + i)}
	var err error
	g.id, err = w.sim.Authorize(stripesim.Hold{Amount: g.amount, Currency: "eur",
		PaymentMethod: "pm_card_visa", Metadata: map[string]string{"life": key}})
	if err != nil {
		w.t.Fatal(err)
	}
	in, _ := w.sim.Intent(g.id)
	g.expiresAt = in.CaptureBefore
	g.onExpiry = []string{"cancel", "capture", "alert"}[rng.IntN(3)]
	// Due times lie between two runs of the jobs and between thresholds, so
	// that their order is certain.
	dueAt := g.authorizedAt.Truncate(jobInterval).Add(
		jobInterval*time.Duration(3+rng.IntN(max(1, int(lifetime/jobInterval)-6))) +
			2*jobInterval/3)
	switch rng.IntN(4) {
	case 0:
		g.captureAt = dueAt
	case 1:
		g.cancelAt = dueAt
	case 2:
		g.captureAt, g.paused = dueAt, true
	}
	for _, threshold := range w.workerOptions.Rules.Thresholds {
		g.moveFrom(&g.captureAt, threshold)
		g.moveFrom(&g.cancelAt, threshold)
	}
	return g
}

// moveFrom moves a due time away from a threshold, or removes it if it would be
// before the first warning.
func (g *expectedHold) moveFrom(dueAt *time.Time, threshold time.Duration) {
	d := g.expiresAt.Add(-threshold).Sub(*dueAt)
	if dueAt.IsZero() || d <= -2*jobInterval || d >= 2*jobInterval {
		return
	}
	*dueAt = dueAt.Add(-4 * jobInterval)
	if dueAt.Before(g.authorizedAt.Add(jobInterval)) {
		*dueAt = time.Time{}
	}
}

func (w *world) scheduleHolds(rng *rand.Rand, r *replica, holds []*expectedHold) {
	for part := range slices.Chunk(holds, 100) {
		var reqs []hold.ScheduleRequest
		for _, g := range part {
			req := hold.ScheduleRequest{PaymentIntent: g.id, Reference: g.reference,
				Amount: g.amount, Currency: "eur", ExpiresAt: formatTime(g.expiresAt),
				OnExpiry: g.onExpiry}
			if !g.captureAt.IsZero() {
				req.CaptureAt = formatTime(g.captureAt)
			}
			if !g.cancelAt.IsZero() {
				req.CancelAt = formatTime(g.cancelAt)
			}
			reqs = append(reqs, req)
		}
		for _, s := range r.Schedule(w.ctx, reqs, "test") {
			if s.Err != nil {
				w.t.Fatal(s.Err)
			}
		}
	}
	for _, g := range holds {
		if g.paused {
			if _, _, err := r.PauseHold(w.ctx, g.id, 0, false, "test"); err != nil {
				w.t.Fatal(err)
			}
		}
		// Some are acknowledged at once and send no alerts.
		if g.captureAt.IsZero() && g.cancelAt.IsZero() && rng.IntN(5) == 0 {
			if _, _, err := r.AcknowledgeWarnings(w.ctx, g.id, 0, "test"); err != nil {
				w.t.Fatal(err)
			}
			g.acknowledgedAt = time.Now()
		}
	}
}

// passThirtyDays kills and restarts replicas at random, and takes the booking
// system down for two days.
func (w *world) passThirtyDays(rng *rand.Rand, replicas []*replica) (kills int) {
	var outage int // deliveries before the booking system went down
	for hour := range 30 * 24 {
		time.Sleep(time.Hour)
		w.mu.Lock()
		switch hour {
		case 10 * 24:
			w.callbackDown, outage = true, len(w.callbacks)
		case 12 * 24:
			if len(w.callbacks) != outage {
				w.t.Error("a delivery to a receiver that is down")
			}
			w.callbackDown = false
		}
		w.mu.Unlock()
		if rng.IntN(20) != 0 {
			continue
		}
		i := rng.IntN(len(replicas))
		if rng.IntN(2) == 0 {
			replicas[i].kill()
			kills++
		} else {
			replicas[i].shutDown()
		}
		time.Sleep(time.Duration(rng.IntN(90)) * time.Minute)
		replicas[i] = w.startReplica()
	}
	return kills
}

// checkCallbacks compares the callbacks with the expected alerts. It returns
// how often each title was delivered, without duplicates.
func (w *world) checkCallbacks(holds []*expectedHold, kills int) (titles map[string]int) {
	t := w.t
	titles = map[string]int{}
	seen := map[string]bool{}
	last := map[string]time.Time{}
	duplicates, stopped := 0, 0
	var got, want []string
	for _, p := range w.callbacks {
		if seen[p.id] {
			duplicates++
			continue
		}
		seen[p.id] = true
		var e event.Envelope
		if err := json.Unmarshal(p.event, &e); err != nil {
			t.Fatal(err)
		}
		if id := e.Data.Hold.ID; id != "" {
			if e.Timestamp.Before(last[id]) {
				t.Errorf("%s: %s of %s arrived after one of %s", id, e.Type, e.Timestamp, last[id])
			}
			last[id] = e.Timestamp
		}
		a, ok := alert.FromEvent(&e, alert.RenderOptions{})
		if !ok {
			continue
		}
		titles[a.Title]++
		switch a.Kind {
		case alert.ReplicaStopped:
			stopped++
		case alert.SinkFailing:
		default:
			got = append(got, fmt.Sprintf("%s %s %s", a.HoldID, a.Kind, a.Severity))
		}
	}
	for _, g := range holds {
		want = append(want, g.expectedAlerts()...)
	}
	slices.Sort(got)
	slices.Sort(want)
	t.Logf("%d alerts about %d holds, %d deliveries, %d duplicates after %d kills and %d lost answers",
		len(got), len(holds), len(w.callbacks), duplicates, kills, w.lostAnswers)
	if d := diffSorted(want, got); len(d) > 0 {
		t.Errorf("%d differences:\n%s", len(d), strings.Join(d[:min(len(d), 30)], "\n"))
	}
	if stopped != kills {
		t.Errorf("%d replicas were killed, and %d alerts report it", kills, stopped)
	}
	if duplicates < w.lostAnswers || duplicates > w.lostAnswers+64*2*kills {
		t.Errorf("%d duplicates, and %d answers were lost", duplicates, w.lostAnswers)
	}
	return titles
}

// checkChat compares the chat with the callbacks: it gets the same alerts,
// although the booking system was down.
func (w *world) checkChat(titles map[string]int) {
	for _, l := range w.chatLines {
		titles[l]--
	}
	missing := 0
	for title, n := range titles {
		if n > 0 {
			if missing++; missing < 10 {
				w.t.Errorf("the chat lacks: %s", title)
			}
		}
	}
}

// checkCaptures compares the simulator's ledger with the holds to be captured.
func (w *world) checkCaptures(holds []*expectedHold) {
	due := map[string]time.Time{}
	for _, g := range holds {
		if !g.captureAt.IsZero() && !g.paused {
			due[g.id] = g.captureAt
		}
	}
	captured := 0
	for _, e := range w.sim.Ledger() {
		if at, ok := due[e.Intent]; ok && e.Kind == stripesim.EffectCaptured {
			captured++
			if late := e.Time.Sub(at); late < 0 || late > 2*jobInterval {
				w.t.Errorf("%s was captured %s after its time", e.Intent, late)
			}
		}
	}
	if captured != len(due) {
		w.t.Errorf("%d of %d were captured", captured, len(due))
	}
}

// diffSorted lists the missing and the unexpected lines.
func diffSorted(want, got []string) (out []string) {
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case j >= len(got) || i < len(want) && cmp.Less(want[i], got[j]):
			out, i = append(out, "missing: "+want[i]), i+1
		case i >= len(want) || cmp.Less(got[j], want[i]):
			out, j = append(out, "unexpected: "+got[j]), j+1
		default:
			i, j = i+1, j+1
		}
	}
	return out
}
