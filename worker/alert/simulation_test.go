package alert_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/alert"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/query"
	"github.com/holdd/holdd/worker/reconcile"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/holdd/holdd/worker/wiring"
	"github.com/redis/go-redis/v9"
)

type silentRedisLogger struct{}

func (silentRedisLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silentRedisLogger{})
	// Most of the cost of a simulation is the garbage of the in-process Redis.
	debug.SetGCPercent(400)
	m.Run()
}

var errReplicaDead = errors.New("this process is dead")

// world is Stripe, Redis, a booking system, a chat and some replicas in virtual
// time.
type world struct {
	t             *testing.T
	ctx           context.Context
	sim           *stripesim.Sim
	redis         *storetest.MemoryRedis
	workerOptions worker.Options
	storeOptions  store.Options
	pollInterval  time.Duration

	mu           sync.Mutex
	callbacks    []post
	chatLines    []string // of what the chat was sent
	callbackDown bool     // the booking system
	// of each so many answers of the booking system one never arrives; 0: all
	// do
	loseEvery       int
	lostAnswers     int // answers that never arrived
	startedReplicas int
}

// post is a delivery to the booking system.
type post struct {
	at    time.Time
	id    string
	event []byte
}

// parts are the parts of a worker that tests call.
type parts struct {
	*intake.Scheduler
	*intake.Changer
	*query.Reader
	*reconcile.Reconciler
}

func partsOf(w *worker.Worker) parts {
	return parts{w.Scheduler, w.Changer, w.Reader, w.Reconciler}
}

type replica struct {
	*worker.Worker
	parts
	name  string
	w     *world
	dead  atomic.Bool
	conns sync.Map
	stop  context.CancelFunc
	done  chan struct{}
	store *store.Store
}

func runInWorld(t *testing.T, f func(w *world), tune ...func(*world, *stripesim.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{t: t, ctx: ctx, redis: storetest.StartInProcess(t), pollInterval: time.Second}
		w.redis.ClockTTL(true)
		w.workerOptions = worker.Options{Rules: hold.Rules{ExpiryMargin: time.Hour, Thresholds: []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}}}
		w.storeOptions = store.Options{URL: "redis://in-process:6379"}
		o := stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1}
		for _, f := range tune {
			f(w, &o)
		}
		w.sim = stripesim.New(o)
		defer func() {
			cancel()
			w.redis.Close()
			// go-redis' own goroutines end within seconds of their pool's end
			time.Sleep(5 * time.Second)
		}()
		f(w)
	})
}

// RoundTrip is the network to the booking system and to the chat.
func (w *world) RoundTrip(q *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := &http.Response{StatusCode: 204, Body: http.NoBody, Request: q, Header: http.Header{}}
	if q.URL.Host == "chat.test" {
		var m struct{ Title, Message string }
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, err
		}
		if strings.Contains(m.Title, " alerts") {
			for line := range strings.Lines(m.Message) {
				if strings.HasPrefix(line, "[") {
					w.chatLines = append(w.chatLines, strings.TrimSpace(line))
				}
			}
		} else {
			w.chatLines = append(w.chatLines, m.Title)
		}
		return answer, nil
	}
	if w.callbackDown {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	w.callbacks = append(w.callbacks, post{time.Now(), q.Header.Get("webhook-id"), body})
	if w.loseEvery > 0 && len(w.callbacks)%w.loseEvery == 0 {
		w.lostAnswers++
		return nil, io.ErrUnexpectedEOF
	}
	return answer, nil
}

type killableTransport struct {
	replica *replica
	next    http.RoundTripper
}

func (l killableTransport) RoundTrip(q *http.Request) (*http.Response, error) {
	if l.replica.dead.Load() {
		return nil, errReplicaDead
	}
	a, err := l.next.RoundTrip(q)
	if l.replica.dead.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	return a, err
}

func (w *world) startReplica() *replica {
	w.t.Helper()
	w.startedReplicas++
	r := &replica{w: w, name: fmt.Sprint("replica-", w.startedReplicas), done: make(chan struct{})}
	so := w.storeOptions
	so.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if r.dead.Load() {
			return nil, errReplicaDead
		}
		c, err := w.redis.Dial(w.ctx, "", "")
		if err == nil {
			r.conns.Store(c, nil)
		}
		return c, err
	}
	var err error
	if r.store, _, err = store.Open(w.ctx, so); err != nil {
		w.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: killableTransport{r, w.sim.Transport()}})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := alert.New(alert.Options{Store: r.store, Replica: r.name, PollInterval: w.pollInterval, Transport: killableTransport{r, w},
		Callback: &alert.Callback{URL: "http://hotel.test/events", Secret: callbackSecret}, NotifyURLs: []string{"generic+http://chat.test/?severity=info"}})
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.workerOptions
	o.Replica, o.Observer = r.name, readinessObserver{a}
	if r.Worker, err = wiring.NewWorker(r.store, g, o); err != nil {
		w.t.Fatal(err)
	}
	r.parts = partsOf(r.Worker)
	ctx, stop := context.WithCancel(w.ctx)
	r.stop = stop
	go func() {
		defer close(r.done)
		var both sync.WaitGroup
		both.Go(func() { a.Run(ctx) })
		if err := r.Run(ctx); err != nil {
			w.t.Error(err)
		}
		both.Wait()
	}()
	synctest.Wait()
	return r
}

// shutDown stops it as it should; a dead one is only cleaned up.
func (r *replica) shutDown() {
	r.stop()
	<-r.done
	r.store.Close()
}

// kill is kill -9 as others see it.
func (r *replica) kill() {
	r.dead.Store(true)
	r.conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	r.shutDown()
}

// readinessObserver hands what the report job found on.
type readinessObserver struct{ notifier *alert.Notifier }

func (readinessObserver) CallFinished(hold.Op, hold.AnswerKind, time.Duration) {}
func (readinessObserver) EventRecorded(*hold.Hold, hold.Event, time.Duration)  {}
func (readinessObserver) HoldsCounted(hold.Counts, int, time.Time)             {}
func (readinessObserver) ReconcileFinished(reconcile.Reconciliation)           {}
func (readinessObserver) RequestRejected(string, hold.Code)                    {}
func (readinessObserver) CapacityChecked(event.CapacityRisk)                   {}
func (r readinessObserver) ReadinessChecked(checks []health.Check) {
	r.notifier.ReadinessChecked(checks)
}

// expectedHold is a hold as the test knows it.
type expectedHold struct {
	id                      string
	authorizedAt, expiresAt time.Time
	captureAt               time.Time
	cancelAt                time.Time
	onExpiry                string
	paused                  bool
	acknowledgedAt          time.Time
}

const jobInterval = 30 * time.Minute

// expectedAlerts is what people are to be told of a guest, by rules written
// down a second time and without the machine that decides.
func (g *expectedHold) expectedAlerts() (out []string) {
	expect := func(k alert.Kind, s alert.Severity) { out = append(out, fmt.Sprintf("%s %s %s", g.id, k, s)) }
	margin := g.expiresAt.Add(-time.Hour)
	actionAt := g.captureAt
	if actionAt.IsZero() {
		actionAt = g.cancelAt
	}
	// by its own time
	acts := !actionAt.IsZero() && !g.paused
	// the job's first turn
	first := g.authorizedAt.Add(jobInterval)
	if left := g.expiresAt.Sub(first); g.expiresAt.Sub(g.authorizedAt) <= 72*time.Hour && g.acknowledgedAt.IsZero() {
		// it came inside a threshold, and is warned of at once
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
		case !at.After(g.authorizedAt), !at.After(first) && before < 72*time.Hour, acts && at.After(actionAt), !g.acknowledgedAt.IsZero() && at.After(g.acknowledgedAt):
		case acts:
			expect(alert.ExpiryNear, alert.Info)
		case before == 72*time.Hour && g.paused:
			expect(alert.ExpiryNear, alert.Warning)
		default:
			expect(alert.ExpiryNear, map[time.Duration]alert.Severity{72 * time.Hour: alert.Info, 24 * time.Hour: alert.Warning, 6 * time.Hour: alert.Critical}[before])
		}
	}
	switch acknowledged := !g.acknowledgedAt.IsZero(); {
	case acts && actionAt.Before(margin):
	case acts: // its own time is within the last hour
		if !acknowledged {
			expect(alert.ExpiryNear, alert.Info)
		}
	case g.onExpiry == "cancel", g.onExpiry == "capture" && !g.paused:
		if !acknowledged {
			expect(alert.ExpiryNear, alert.Info) // the last warning says that it is being seen to
		}
		expect(alert.OnExpiryPolicy, map[string]alert.Severity{"cancel": alert.Warning, "capture": alert.Info}[g.onExpiry])
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
	worldCount    = flag.Uint64("worlds", 1, "worlds that TestNotifier_ThirtyDaySimulation lives through")
	holdsPerWorld = flag.Int("holds", 300, "holds in each of them; make prove asks for 5,000")
)

func TestNotifier_ThirtyDaySimulation(t *testing.T) {
	t.Parallel()
	for seed := range *worldCount {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulateThirtyDays(t, seed, *holdsPerWorld) })
	}
}

func simulateThirtyDays(t *testing.T, seed uint64, n int) {
	lifetimes := map[string]time.Duration{}
	runInWorld(t, func(w *world) {
		rng := rand.New(rand.NewPCG(seed, 7))
		replicas := []*replica{w.startReplica(), w.startReplica(), w.startReplica()}
		began := time.Now()
		day := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
		holds := make([]*expectedHold, n)
		var reqs []hold.ScheduleRequest
		for i := range holds {
			// from 2 h on
			lifetime := jobInterval * time.Duration(8+rng.IntN(int(day(28)/jobInterval)))
			key := fmt.Sprint(i)
			lifetimes[key] = lifetime
			id, err := w.sim.Authorize(stripesim.Hold{Amount: int64(1000 + i), Currency: "eur", PaymentMethod: "pm_card_visa", Metadata: map[string]string{"life": key}})
			if err != nil {
				t.Fatal(err)
			}
			in, _ := w.sim.Intent(id)
			g := &expectedHold{id: id, authorizedAt: time.Now(), expiresAt: in.CaptureBefore, onExpiry: []string{"cancel", "capture", "alert"}[rng.IntN(3)]}
			// Own times lie between two ticks and thresholds, so that what
			// comes first is no matter of luck.
			actionAt := g.authorizedAt.Truncate(jobInterval).Add(jobInterval*time.Duration(3+rng.IntN(max(1, int(lifetime/jobInterval)-6))) + 2*jobInterval/3)
			switch rng.IntN(4) {
			case 0:
				g.captureAt = actionAt
			case 1:
				g.cancelAt = actionAt
			case 2:
				g.captureAt, g.paused = actionAt, true
			}
			for _, th := range w.workerOptions.Rules.Thresholds {
				for _, actionAt := range []*time.Time{&g.captureAt, &g.cancelAt} {
					if d := g.expiresAt.Add(-th).Sub(*actionAt); !actionAt.IsZero() && d > -2*jobInterval && d < 2*jobInterval {
						*actionAt = actionAt.Add(-4 * jobInterval)
						if actionAt.Before(g.authorizedAt.Add(jobInterval)) {
							// the first warning comes then
							*actionAt = time.Time{}
						}
					}
				}
			}
			holds[i] = g
			req := hold.ScheduleRequest{PaymentIntent: id, Reference: fmt.Sprintf("BK-%04d", i), Amount: int64(1000 + i), Currency: "eur", ExpiresAt: formatTime(g.expiresAt), OnExpiry: g.onExpiry}
			if !g.captureAt.IsZero() {
				req.CaptureAt = formatTime(g.captureAt)
			}
			if !g.cancelAt.IsZero() {
				req.CancelAt = formatTime(g.cancelAt)
			}
			reqs = append(reqs, req)
		}
		for part := range slices.Chunk(reqs, 100) {
			for _, s := range replicas[0].Schedule(w.ctx, part, "test") {
				if s.Err != nil {
					t.Fatal(s.Err)
				}
			}
		}
		for _, g := range holds {
			if g.paused {
				if _, _, err := replicas[0].Pause(w.ctx, g.id, 0, false, "test"); err != nil {
					t.Fatal(err)
				}
			}
			// A part is acknowledged at once: silence until the terms change.
			if g.captureAt.IsZero() && g.cancelAt.IsZero() && rng.IntN(5) == 0 {
				if _, _, err := replicas[0].Acknowledge(w.ctx, g.id, 0, "test"); err != nil {
					t.Fatal(err)
				}
				g.acknowledgedAt = time.Now()
			}
		}
		kills := 0
		var outage int // posts that had arrived when the booking system went down
		for hour := range 30 * 24 {
			time.Sleep(time.Hour)
			w.mu.Lock()
			switch hour {
			case 10 * 24:
				w.callbackDown, outage = true, len(w.callbacks)
			case 12 * 24:
				if len(w.callbacks) != outage {
					t.Error("it was down and was told")
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
		time.Sleep(24 * time.Hour)
		for _, r := range replicas {
			r.shutDown()
		}
		w.checkDeliveries(holds, kills, began)
	}, func(w *world, o *stripesim.Options) {
		every, never := "@every 30m", "@every 2000h"
		w.workerOptions.Schedules = worker.Schedules{Capture: every, Expiry: every, Report: "@every 3h", Purge: never, Reconcile: never, Verify: never,
			Resume: never, Refresh: never, Inbox: never, Mirror: never}
		w.storeOptions.Partitions = 2
		w.pollInterval, w.loseEvery = time.Hour, 97
		o.AuthorizationWindow = func(c stripesim.Card) time.Duration { return lifetimes[c.Metadata["life"]] }
	})
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func (w *world) checkDeliveries(holds []*expectedHold, kills int, began time.Time) {
	t := w.t
	seen := map[string]bool{}
	duplicates := 0
	var got []string
	last := map[string]time.Time{}
	stopped := 0
	titles := map[string]int{}
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
	var want []string
	for _, g := range holds {
		want = append(want, g.expectedAlerts()...)
	}
	slices.Sort(got)
	slices.Sort(want)
	t.Logf("%d alerts about %d holds, %d deliveries, %d doubles after %d kills and %d lost answers", len(got), len(holds), len(w.callbacks), duplicates, kills, w.lostAnswers)
	if d := diffSorted(want, got); len(d) > 0 {
		t.Errorf("%d differences:\n%s", len(d), strings.Join(d[:min(len(d), 30)], "\n"))
	}
	if stopped != kills {
		t.Errorf("%d replicas were killed, and %d alerts tell of it", kills, stopped)
	}
	if duplicates < w.lostAnswers || duplicates > w.lostAnswers+64*2*kills {
		t.Errorf("%d doubles, and %d answers were lost", duplicates, w.lostAnswers)
	}
	// The chat is told of the same, whatever happens to the booking system.
	for _, l := range w.chatLines {
		titles[l]--
	}
	missing := 0
	for title, n := range titles {
		if n > 0 {
			if missing++; missing < 10 {
				t.Errorf("the chat was not told: %s", title)
			}
		}
	}
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
				t.Errorf("%s was captured %s after its time", e.Intent, late)
			}
		}
	}
	if captured != len(due) {
		t.Errorf("%d of %d were captured", captured, len(due))
	}
}

// diffSorted lists what is missing and what is too much.
func diffSorted(want, got []string) (out []string) {
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case j >= len(got) || i < len(want) && cmp.Less(want[i], got[j]):
			out, i = append(out, "missing: "+want[i]), i+1
		case i >= len(want) || cmp.Less(got[j], want[i]):
			out, j = append(out, "too much: "+got[j]), j+1
		default:
			i, j = i+1, j+1
		}
	}
	return out
}
