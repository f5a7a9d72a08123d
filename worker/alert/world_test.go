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

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	m.Run()
}

var errDead = errors.New("this process is dead")

// world is Stripe, Redis, a booking system, a chat and some replicas in virtual time.
type world struct {
	t     *testing.T
	ctx   context.Context
	sim   *stripesim.Sim
	redis *storetest.Memory
	work  worker.Options
	store store.Options
	poll  time.Duration

	mu    sync.Mutex
	posts []post
	lines []string // of what the chat was sent
	down  bool     // the booking system
	cuts  int      // of each so many answers of the booking system one never arrives; 0: all do
	lost  int      // answers that never arrived
	n     int
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

func inWorld(t *testing.T, f func(w *world), tune ...func(*world, *stripesim.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &world{t: t, ctx: ctx, redis: storetest.InProcess(t), poll: time.Second}
		w.redis.ClockTTL(true)
		w.work = worker.Options{Rules: hold.Rules{ExpiryMargin: time.Hour, Thresholds: []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}}}
		w.store = store.Options{URL: "redis://in-process:6379"}
		o := stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1}
		for _, f := range tune {
			f(w, &o)
		}
		w.sim = stripesim.New(o)
		defer func() {
			cancel()
			w.redis.Close()
			time.Sleep(5 * time.Second) // go-redis' own goroutines end within seconds of their pool's end
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
					w.lines = append(w.lines, strings.TrimSpace(line))
				}
			}
		} else {
			w.lines = append(w.lines, m.Title)
		}
		return answer, nil
	}
	if w.down {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	w.posts = append(w.posts, post{time.Now(), q.Header.Get("webhook-id"), body})
	if w.cuts > 0 && len(w.posts)%w.cuts == 0 {
		w.lost++
		return nil, io.ErrUnexpectedEOF
	}
	return answer, nil
}

type lifeline struct {
	r    *replica
	next http.RoundTripper
}

func (l lifeline) RoundTrip(q *http.Request) (*http.Response, error) {
	if l.r.dead.Load() {
		return nil, errDead
	}
	a, err := l.next.RoundTrip(q)
	if l.r.dead.Load() {
		return nil, io.ErrUnexpectedEOF
	}
	return a, err
}

func (w *world) start() *replica {
	w.t.Helper()
	w.n++
	r := &replica{w: w, name: fmt.Sprint("replica-", w.n), done: make(chan struct{})}
	so := w.store
	so.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if r.dead.Load() {
			return nil, errDead
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
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: lifeline{r, w.sim.Transport()}})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := alert.New(alert.Options{Store: r.store, Replica: r.name, Poll: w.poll, Transport: lifeline{r, w},
		Callback: &alert.Callback{URL: "http://hotel.test/events", Secret: secret}, Notify: []string{"generic+http://chat.test/?severity=info"}})
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.work
	o.Replica, o.Observer = r.name, reports{a}
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

// end stops it as it should; a dead one is only cleaned up.
func (r *replica) end() {
	r.stop()
	<-r.done
	r.store.Close()
}

// kill is kill -9 as others see it.
func (r *replica) kill() {
	r.dead.Store(true)
	r.conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	r.end()
}

// reports hands what the report job found on.
type reports struct{ a *alert.Alerts }

func (reports) CallFinished(hold.Op, hold.AnswerKind, time.Duration) {}
func (reports) EventRecorded(*hold.Hold, hold.Event, time.Duration)  {}
func (reports) HoldsCounted(hold.Counts, int, time.Time)             {}
func (reports) ReconcileFinished(reconcile.Reconciliation)           {}
func (reports) RequestRejected(string, hold.Code)                    {}
func (reports) CapacityChecked(event.CapacityRisk)                   {}
func (r reports) ReadinessChecked(checks []health.Check)             { r.a.Reported(checks) }

// guest is a hold as the test knows it.
type guest struct {
	id           string
	placed, ends time.Time
	captureAt    time.Time
	cancelAt     time.Time
	onExpiry     string
	paused       bool
	acknowledged time.Time
}

const tick = 30 * time.Minute

// want is what people are to be told of a guest, by rules written down a second time and without the machine that decides.
func (g *guest) want() (out []string) {
	tell := func(k alert.Kind, s alert.Severity) { out = append(out, fmt.Sprintf("%s %s %s", g.id, k, s)) }
	margin := g.ends.Add(-time.Hour)
	own := g.captureAt
	if own.IsZero() {
		own = g.cancelAt
	}
	acts := !own.IsZero() && !g.paused                                                              // by its own time
	first := g.placed.Add(tick)                                                                     // the job's first turn
	if left := g.ends.Sub(first); g.ends.Sub(g.placed) <= 72*time.Hour && g.acknowledged.IsZero() { // it came inside a threshold, and is warned of at once
		severity := alert.Info
		switch {
		case acts:
		case left <= 6*time.Hour:
			severity = alert.Critical
		case left <= 24*time.Hour || g.paused:
			severity = alert.Warning
		}
		tell(alert.ExpiryNear, severity)
	}
	for _, before := range []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour} {
		at := g.ends.Add(-before)
		switch {
		case !at.After(g.placed), !at.After(first) && before < 72*time.Hour, acts && at.After(own), !g.acknowledged.IsZero() && at.After(g.acknowledged):
		case acts:
			tell(alert.ExpiryNear, alert.Info)
		case before == 72*time.Hour && g.paused:
			tell(alert.ExpiryNear, alert.Warning)
		default:
			tell(alert.ExpiryNear, map[time.Duration]alert.Severity{72 * time.Hour: alert.Info, 24 * time.Hour: alert.Warning, 6 * time.Hour: alert.Critical}[before])
		}
	}
	switch known := !g.acknowledged.IsZero(); {
	case acts && own.Before(margin):
	case acts: // its own time is within the last hour
		if !known {
			tell(alert.ExpiryNear, alert.Info)
		}
	case g.onExpiry == "cancel", g.onExpiry == "capture" && !g.paused:
		if !known {
			tell(alert.ExpiryNear, alert.Info) // the last warning says that it is being seen to
		}
		tell(alert.DeadlinePolicy, map[string]alert.Severity{"cancel": alert.Warning, "capture": alert.Info}[g.onExpiry])
	default:
		if !known {
			tell(alert.DeadlinePolicy, alert.Critical)
		}
		tell(alert.DeadlinePassed, alert.Critical)
		tell(alert.ExpiredUncaptured, alert.Critical)
	}
	return out
}

var (
	worlds   = flag.Uint64("worlds", 1, "worlds that TestThirtyDaysOfHolds lives through")
	perWorld = flag.Int("holds", holdsInAWorld, "holds in each of them")
)

func TestThirtyDaysOfHolds(t *testing.T) {
	// Most of what a world costs is an in-process Redis that throws away what it makes for each command.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for seed := range *worlds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { thirtyDays(t, seed, *perWorld) })
	}
}

func thirtyDays(t *testing.T, seed uint64, n int) {
	days := map[string]time.Duration{}
	inWorld(t, func(w *world) {
		random := rand.New(rand.NewPCG(seed, 7))
		replicas := []*replica{w.start(), w.start(), w.start()}
		began := time.Now()
		day := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
		guests := make([]*guest, n)
		var wishes []hold.ScheduleRequest
		for i := range guests {
			life := tick * time.Duration(8+random.IntN(int(day(28)/tick))) // from 2 h on
			key := fmt.Sprint(i)
			days[key] = life
			id, err := w.sim.Authorize(stripesim.Hold{Amount: int64(1000 + i), Currency: "eur", PaymentMethod: "pm_card_visa", Metadata: map[string]string{"life": key}})
			if err != nil {
				t.Fatal(err)
			}
			in, _ := w.sim.Intent(id)
			g := &guest{id: id, placed: time.Now(), ends: in.CaptureBefore, onExpiry: []string{"cancel", "capture", "alert"}[random.IntN(3)]}
			// Own times lie between two ticks and thresholds, so that what comes first is no matter of luck.
			own := g.placed.Truncate(tick).Add(tick*time.Duration(3+random.IntN(max(1, int(life/tick)-6))) + 2*tick/3)
			switch random.IntN(4) {
			case 0:
				g.captureAt = own
			case 1:
				g.cancelAt = own
			case 2:
				g.captureAt, g.paused = own, true
			}
			for _, th := range w.work.Rules.Thresholds {
				for _, own := range []*time.Time{&g.captureAt, &g.cancelAt} {
					if d := g.ends.Add(-th).Sub(*own); !own.IsZero() && d > -2*tick && d < 2*tick {
						*own = own.Add(-4 * tick)
						if own.Before(g.placed.Add(tick)) { // the first warning comes then
							*own = time.Time{}
						}
					}
				}
			}
			guests[i] = g
			wish := hold.ScheduleRequest{PaymentIntent: id, Reference: fmt.Sprintf("BK-%04d", i), Amount: int64(1000 + i), Currency: "eur", ExpiresAt: stamp(g.ends), OnExpiry: g.onExpiry}
			if !g.captureAt.IsZero() {
				wish.CaptureAt = stamp(g.captureAt)
			}
			if !g.cancelAt.IsZero() {
				wish.CancelAt = stamp(g.cancelAt)
			}
			wishes = append(wishes, wish)
		}
		for part := range slices.Chunk(wishes, 100) {
			for _, s := range replicas[0].Schedule(w.ctx, part, "test") {
				if s.Err != nil {
					t.Fatal(s.Err)
				}
			}
		}
		for _, g := range guests {
			if g.paused {
				if _, _, err := replicas[0].Pause(w.ctx, g.id, 0, false, "test"); err != nil {
					t.Fatal(err)
				}
			}
			// A part is acknowledged at once: silence until the terms change.
			if g.captureAt.IsZero() && g.cancelAt.IsZero() && random.IntN(5) == 0 {
				if _, _, err := replicas[0].Acknowledge(w.ctx, g.id, 0, "test"); err != nil {
					t.Fatal(err)
				}
				g.acknowledged = time.Now()
			}
		}
		kills := 0
		var outage int // posts that had arrived when the booking system went down
		for hour := range 30 * 24 {
			time.Sleep(time.Hour)
			w.mu.Lock()
			switch hour {
			case 10 * 24:
				w.down, outage = true, len(w.posts)
			case 12 * 24:
				if len(w.posts) != outage {
					t.Error("it was down and was told")
				}
				w.down = false
			}
			w.mu.Unlock()
			if random.IntN(20) != 0 {
				continue
			}
			i := random.IntN(len(replicas))
			if random.IntN(2) == 0 {
				replicas[i].kill()
				kills++
			} else {
				replicas[i].end()
			}
			time.Sleep(time.Duration(random.IntN(90)) * time.Minute)
			replicas[i] = w.start()
		}
		time.Sleep(24 * time.Hour)
		for _, r := range replicas {
			r.end()
		}
		w.judge(guests, kills, began)
	}, func(w *world, o *stripesim.Options) {
		every, never := "@every 30m", "@every 2000h"
		w.work.Schedules = worker.Schedules{Capture: every, Expiry: every, Report: "@every 3h", Purge: never, Reconcile: never, Verify: never,
			Resume: never, Refresh: never, Inbox: never, Mirror: never}
		w.store.Partitions = 2
		w.poll, w.cuts = time.Hour, 97
		o.Deadline = func(c stripesim.Card) time.Duration { return days[c.Metadata["life"]] }
	})
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func (w *world) judge(guests []*guest, kills int, began time.Time) {
	t := w.t
	seen := map[string]bool{}
	doubles := 0
	var got []string
	last := map[string]time.Time{}
	stopped := 0
	titles := map[string]int{}
	for _, p := range w.posts {
		if seen[p.id] {
			doubles++
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
		a, ok := alert.Of(&e, alert.Style{})
		if !ok {
			continue
		}
		titles[a.Title]++
		switch a.Kind {
		case alert.ReplicaStopped:
			stopped++
		case alert.SinkDown:
		default:
			got = append(got, fmt.Sprintf("%s %s %s", a.Hold, a.Kind, a.Severity))
		}
	}
	var want []string
	for _, g := range guests {
		want = append(want, g.want()...)
	}
	slices.Sort(got)
	slices.Sort(want)
	t.Logf("%d alerts about %d holds, %d deliveries, %d doubles after %d kills and %d lost answers", len(got), len(guests), len(w.posts), doubles, kills, w.lost)
	if d := diff(want, got); len(d) > 0 {
		t.Errorf("%d differences:\n%s", len(d), strings.Join(d[:min(len(d), 30)], "\n"))
	}
	if stopped != kills {
		t.Errorf("%d replicas were killed, and %d alerts tell of it", kills, stopped)
	}
	if doubles < w.lost || doubles > w.lost+64*2*kills {
		t.Errorf("%d doubles, and %d answers were lost", doubles, w.lost)
	}
	// The chat is told of the same, whatever happens to the booking system.
	for _, l := range w.lines {
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
	for _, g := range guests {
		if !g.captureAt.IsZero() && !g.paused {
			due[g.id] = g.captureAt
		}
	}
	captured := 0
	for _, e := range w.sim.Ledger() {
		if at, ok := due[e.Intent]; ok && e.Kind == stripesim.Captured {
			captured++
			if late := e.Time.Sub(at); late < 0 || late > 2*tick {
				t.Errorf("%s was captured %s after its time", e.Intent, late)
			}
		}
	}
	if captured != len(due) {
		t.Errorf("%d of %d were captured", captured, len(due))
	}
}

// diff lists what is missing and what is too much.
func diff(want, got []string) (out []string) {
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
