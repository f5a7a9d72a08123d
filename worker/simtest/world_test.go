package simtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/authorize"
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
	lua "github.com/yuin/gopher-lua"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// quiet drops what go-redis says of connections that are cut here.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	debug.SetGCPercent(1000)
	// Each script runs in a Lua state of its own; ours are small.
	lua.RegistrySize, lua.CallStackSize = 1024, 64
	os.Exit(m.Run())
}

// world is Stripe, Redis, some replicas and the people around them, in virtual time.
type world struct {
	p     plan
	ctx   context.Context
	began time.Time
	tr    *trace
	sim   *stripesim.Sim
	redis *miniredis.Miniredis
	work  sync.WaitGroup
	over  atomic.Bool // nothing goes wrong any more

	arriving sync.Mutex
	next     stripesim.Fault

	mu         sync.Mutex
	ordinals   map[string]int
	hits       map[string]int // faults that struck, by kind
	struck     map[int]int    // the same, by number in the plan
	server     int            // grows when Redis comes back as another
	slots      []*replica
	born       int
	ids        map[int]string // of holds
	calls      []*call
	requests   []*request
	unsent     map[string]bool   // keys of requests that a replica slept through
	owner      map[string]string // who claimed a hold last
	breaches   []string          // seen while it ran
	tails      [][2]time.Time
	lostEvents []event.Envelope // that stood in Redis before it lost something: somebody may have read them
	clocks     []reign          // of Redis' servers, in their order
	ups        []time.Time
	way        wayside
	closing    bool
}

// parts are the parts of a worker that tests call.
type parts struct {
	*intake.Scheduler
	*intake.Changer
	*query.Reader
	*query.Planner
	*authorize.Authorizer
	*reconcile.Reconciler
}

func partsOf(w *worker.Worker) parts {
	return parts{w.Scheduler, w.Changer, w.Reader, w.Planner, w.Authorizer, w.Reconciler}
}

// replica is one process.
type replica struct {
	*worker.Worker
	parts
	w     *world
	slot  int
	name  string
	store *store.Store
	stop  context.CancelFunc
	done  chan struct{}
	dead  atomic.Bool
	ready atomic.Bool
}

func (w *world) at(d time.Duration) time.Time     { return w.began.Add(d) }
func (w *world) in(d time.Duration) time.Duration { return time.Until(w.at(d)) }
func (w *world) since() time.Duration             { return time.Since(w.began) }

// reign is the time from which on one server's clock is Redis'.
type reign struct {
	from  time.Time
	ahead time.Duration
}

// there is what Redis' clock shows at a moment.
func (w *world) there(t time.Time) time.Time {
	i := len(w.clocks) - 1
	for i > 0 && w.clocks[i].from.After(t) {
		i--
	}
	return t.Add(w.clocks[i].ahead)
}

// here is the moment at which it shows a time: the last one, where it was set back, and where it was set forward and never showed it the moment of that.
func (w *world) here(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	i := len(w.clocks) - 1
	for i > 0 && t.Add(-w.clocks[i].ahead).Before(w.clocks[i].from) {
		i--
	}
	at := t.Add(-w.clocks[i].ahead)
	if i+1 < len(w.clocks) && at.After(w.clocks[i+1].from) {
		at = w.clocks[i+1].from
	}
	return at
}

// wind sets Redis' clock, which stands still until it is wound again, and tells what it shows.
func (w *world) wind() time.Time {
	w.mu.Lock()
	now := time.Now().Add(w.clocks[len(w.clocks)-1].ahead)
	w.mu.Unlock()
	w.redis.SetTime(now)
	return now
}

func (w *world) go_(f func()) {
	w.work.Go(f)
}

// ordinal counts how often the very same was done.
func (w *world) ordinal(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ordinals[key]++
	return w.ordinals[key]
}

func (w *world) epoch() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.server
}

// hit tells which of the plan's faults strikes a call, if any.
func (w *world) hit(side string, r *replica, label, key string) *fault {
	if w.over.Load() {
		return nil
	}
	now := w.since()
	for i := range w.p.faults {
		f := &w.p.faults[i]
		if !strings.HasPrefix(f.kind, side+":") || now < f.from || now >= f.to || f.slot >= 0 && f.slot != r.slot || f.where != "" && f.where != label || f.kind == "stripe:revoked" || f.kind == "redis:lose tail" {
			continue
		}
		whole := f.kind == "redis:down" || f.kind == "redis:freeze" || f.kind == "stripe:down"
		if !whole && float64(mix(w.p.seed, "hit", fmt.Sprint(f.n), key)%1024)/1024 >= f.p {
			continue
		}
		w.struckBy(f)
		return f
	}
	return nil
}

func (w *world) struckBy(f *fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hits[f.kind]++
	w.struck[f.n]++
}

// killHere says whether a replica dies at this call, and lets it die.
func (w *world) killHere(r *replica, label string, after bool) bool {
	if w.over.Load() {
		return false
	}
	now := w.since()
	for i := range w.p.faults {
		f := &w.p.faults[i]
		if f.kind != "kill at" || f.where != label || f.after != after || f.slot != r.slot || now < f.from || now >= f.to {
			continue
		}
		w.mu.Lock()
		spent := w.struck[f.n] > 0
		w.mu.Unlock()
		if !spent {
			w.struckBy(f)
			w.kill(r, f.back)
			return true
		}
	}
	return false
}

// stalled is how long a replica hangs from now on.
func (r *replica) stalled(key string) time.Duration {
	w := r.w
	if w.over.Load() {
		return 0
	}
	now := w.since()
	for i := range w.p.faults {
		f := &w.p.faults[i]
		if f.kind == "pause" && f.slot == r.slot && now >= f.from && now < f.to {
			if key == "" {
				return f.to - now
			}
			w.struckBy(f)
			key = r.name + " stall " + key
			return f.to - now + throw(w.p.seed, key, fmt.Sprint(w.ordinal(key))).between(0, time.Millisecond)
		}
	}
	return 0
}

// kill is kill -9: nothing leaves this replica any more. Another takes its place later.
func (w *world) kill(r *replica, back time.Duration) {
	if !r.dead.CompareAndSwap(false, true) {
		return
	}
	w.tr.add(false, "%s is killed", r.name)
	w.go_(func() {
		time.Sleep(back)
		w.start(r.slot)
	})
	r.stop()
}

// start brings up a replica, as soon as Redis lets it.
func (w *world) start(slot int) {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return
	}
	w.born++
	name := fmt.Sprintf("%c%d", 'a'+slot, w.ordinals["slot "+string(rune('a'+slot))]+1)
	w.ordinals["slot "+string(rune('a'+slot))]++
	w.mu.Unlock()
	r := &replica{w: w, slot: slot, name: name, done: make(chan struct{})}
	ctx, stop := context.WithCancel(w.ctx)
	r.stop = stop
	so := store.Options{URL: "redis://in-process:6379?protocol=2&conn_max_idle_time=-1", Partitions: w.p.partitions,
		Rates: store.Rates{Write: w.p.write, Read: w.p.write, Total: 4 * w.p.write},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if r.dead.Load() {
				return nil, errDead
			}
			inner, err := w.redis.Dial()
			if err != nil {
				return nil, err
			}
			return &wire{w: w, r: r, inner: inner, in: bufio.NewReader(inner), closed: make(chan struct{})}, nil
		}}
	var err error
	for try := 0; ; try++ {
		r.store, _, err = store.Open(ctx, so)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if try > 10_000 {
			w.breach("start: %s never came up: %v", r.name, err)
			return
		}
		wait := time.Second
		if try > 60 {
			wait = max(wait, w.p.tick/4)
		}
		time.Sleep(throw(w.p.seed, "open", name, fmt.Sprint(try)).between(wait/2, wait))
	}
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: &lifeline{w: w, r: r, next: w.sim.Transport()}})
	if err != nil {
		panic(err)
	}
	cores := []zapcore.Core{&ears{w: w, r: r}}
	if testing.Verbose() {
		cores = append(cores, &tale{w: w, r: r})
	}
	wo := worker.Options{}
	if w.p.ways.on {
		wo.Observer, wo.DecodeRequest = eye{w: w, r: r}, api.ParseScheduleRequest
	}
	log := zap.New(zapcore.NewTee(cores...))
	r.Worker, err = wiring.NewWorker(r.store, shortPages{g, w.p.ways.page}, worker.Options{
		Observer:      wo.Observer,
		DecodeRequest: wo.DecodeRequest,
		Rules:         hold.Rules{ExpiryMargin: w.p.margin, Thresholds: w.p.thresholds, Mirror: w.p.ways.mirror > 0},
		Schedules:     w.p.schedules(),
		ReadRate:      w.p.write, Concurrency: w.p.handlers, Lease: w.p.lease, Replica: name, Logger: log, CallTimeout: 10 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	r.parts = partsOf(r.Worker)
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		r.store.Close()
		return
	}
	w.slots[slot] = r
	w.ups = append(w.ups, time.Now())
	w.mu.Unlock()
	w.tr.add(false, "%s is up", name)
	r.ready.Store(true)
	w.go_(func() {
		if err := r.Run(ctx); err != nil {
			w.breach("start: %s: %v", name, err)
		}
		r.store.Close()
		close(r.done)
	})
}

// shortPages lists fewer intents at once than asked for, so that small worlds have several pages.
type shortPages struct {
	*gateway.Gateway
	page int // 0: as asked for
}

func (s shortPages) Do(ctx context.Context, c hold.Call) hold.Answer {
	if c.Op == hold.OpList && s.page > 0 {
		c.Limit = min(c.Limit, s.page)
	}
	return s.Gateway.Do(ctx, c)
}

// end stops a replica as SIGTERM does.
func (r *replica) end() {
	r.ready.Store(false)
	r.stop()
	<-r.done
}

// alive are the replicas that take calls.
func (w *world) alive() (out []*replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.slots {
		if r != nil && r.ready.Load() && !r.dead.Load() {
			out = append(out, r)
		}
	}
	return out
}

func (w *world) breach(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.tr.add(false, "BREACH %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.breaches) < 100 {
		w.breaches = append(w.breaches, text)
	}
}

// outcome is what a run leaves behind for the judge.
type outcome struct {
	plan     plan
	breaches []string
	digest   string
	story    string
	full     string
	hits     map[string]int
	calls    int
	lasted   time.Duration
}

// run lets a plan happen.
func run(t *testing.T, p plan) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w := &world{p: p, ctx: ctx, began: time.Now(), ordinals: map[string]int{}, hits: map[string]int{}, struck: map[int]int{}, ids: map[int]string{}, owner: map[string]string{}, unsent: map[string]bool{}, redis: miniredis.NewMiniRedis()}
		w.tr = &trace{began: w.began}
		w.clocks = []reign{{w.began, p.ahead}}
		w.redis.ClockTTL(true)
		w.redis.Seed(int(p.seed))
		w.slots = make([]*replica, p.slots)
		w.way = wayside{said: map[string]time.Time{}, guests: map[int]bool{}, reviews: map[int][]review{}, moved: map[int][]time.Time{}}
		w.sim = stripesim.New(stripesim.Options{OnEvent: w.listen(), Seed: p.seed, EndpointRate: float64(2*p.write + 2), OverallRate: float64(8*p.write + 8), ServiceTime: p.service,
			Deadline: func(c stripesim.Card) time.Duration {
				d, _ := time.ParseDuration(c.Metadata["life"])
				return d
			},
			Faults: func(stripesim.Call) stripesim.Fault {
				f := w.next
				w.arriving.Unlock()
				return f
			}})
		w.go_(func() { w.sim.Run(ctx) })
		if p.ahead != 0 {
			w.hits["redis:clock apart"] = 1
		}
		for slot := range p.slots {
			w.go_(func() {
				time.Sleep(time.Duration(slot+1) * 137 * time.Millisecond)
				w.start(slot)
			})
		}
		w.play()
		o = w.close(cancel)
	})
	return o
}

// play lets everything in the plan happen at its time, and then waits until every hold has ended.
func (w *world) play() {
	for i := range w.p.holds {
		w.go_(func() { w.live(&w.p.holds[i]) })
	}
	for i, a := range w.p.ways.asked {
		w.go_(func() { w.compare(i, a) })
	}
	for _, l := range w.p.ways.letters {
		w.go_(func() { w.post(0, l.at, l.text) })
	}
	for i := range w.p.faults {
		w.go_(func() { w.suffer(&w.p.faults[i]) })
	}
	for i := range 10 {
		w.go_(func() {
			w.nap(w.p.span*time.Duration(i+1)/8 + throw(w.p.seed, "person", fmt.Sprint(i)).between(0, time.Second))
			if !w.gone() {
				w.look(i)
			}
		})
	}
	last, calm := time.Duration(0), time.Duration(0)
	for _, h := range w.p.holds {
		calm = max(calm, h.told+h.again)
		last = max(last, h.at+h.life+max(0, h.lieLife))
		if h.card != nil && w.p.tick >= 30*time.Second {
			last = max(last, h.at+70*time.Minute)
		}
		for _, a := range h.acts {
			calm = max(calm, a.at)
			if a.kind == "stripe deadline" {
				last = max(last, a.time)
			}
		}
	}
	for _, a := range w.p.ways.asked {
		calm = max(calm, a.at)
	}
	for _, l := range w.p.ways.letters {
		calm = max(calm, l.at)
	}
	for _, f := range w.p.faults {
		calm = max(calm, f.to+f.back)
	}
	time.Sleep(w.in(calm + 2*time.Second))
	w.over.Store(true)
	w.tr.add(false, "from here on nothing goes wrong")
	horizon := max(last, w.since()) + 12*w.p.tick + 40*time.Minute
	for w.since() < horizon && !(w.settled() && w.waysSettled()) {
		time.Sleep(2*w.p.tick + time.Second)
	}
}

// nap sleeps, but not beyond the world's end.
func (w *world) nap(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
	}
}

func (w *world) gone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// settled says whether Redis knows of no open hold; those that are told to be of the wrong account don't count.
func (w *world) settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := range w.p.partitions {
		ids, _ := w.redis.ZMembers(fmt.Sprintf("holdd:{%d}:expiring", part))
		for _, h := range w.p.holds {
			if h.wished == "" && slices.Contains(ids, w.ids[h.n]) {
				return false
			}
		}
	}
	for _, c := range w.calls {
		if c.end.IsZero() {
			return false
		}
	}
	return true
}

// suffer makes those faults happen that have a moment.
func (w *world) suffer(f *fault) {
	time.Sleep(w.in(f.from))
	slot := func() *replica {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.slots[f.slot]
	}
	switch f.kind {
	case "kill":
		if r := slot(); r != nil && !r.dead.Load() {
			w.struckBy(f)
			w.kill(r, f.back)
		}
	case "stop":
		if r := slot(); r != nil && !r.dead.Load() && r.ready.Load() {
			w.struckBy(f)
			w.tr.add(false, "%s is stopped", r.name)
			r.end()
			time.Sleep(f.back)
			if !r.dead.Load() {
				w.start(f.slot)
			}
		}
	case "stripe:revoked":
		w.struckBy(f)
		w.tr.add(false, "Stripe rejects the key")
		w.sim.RevokeKey("sk_test_world")
		time.Sleep(w.in(f.to))
		w.sim.RestoreKey("sk_test_world")
		w.tr.add(false, "Stripe takes the key again")
	case "redis:emptied":
		w.struckBy(f)
		w.empty()
	case "redis:lose tail":
		w.struckBy(f)
		was := w.snapshot()
		time.Sleep(w.in(f.to))
		w.mu.Lock()
		if f.step != 0 {
			w.clocks = append(w.clocks, reign{time.Now(), w.clocks[len(w.clocks)-1].ahead + f.step})
			w.hits["redis:clock set"]++
		}
		w.mu.Unlock()
		lost := w.published()
		w.restore(was)
		w.mu.Lock()
		w.lostEvents = append(w.lostEvents, lost...)
		w.server++
		w.tails = append(w.tails, [2]time.Time{w.at(f.from), time.Now()})
		w.mu.Unlock()
		w.tr.add(false, "Redis comes back as it was at +%s", f.from.Round(time.Millisecond))
	}
}

// close ends the world and hands it to the judge.
func (w *world) close(cancel context.CancelFunc) (o outcome) {
	lasted := w.since()
	for back := w.since() + 4*w.p.tick + 5*time.Minute; len(w.alive()) == 0 && w.since() < back; { // who was killed last may not be back yet
		time.Sleep(time.Second)
	}
	rs := w.alive()
	final := map[string]*hold.Hold{}
	if len(rs) == 0 {
		w.breach("ends: no replica is up at the end")
	} else {
		for i := range w.p.holds {
			n := w.p.holds[i].n
			id := w.ids[n]
			if id == "" {
				continue
			}
			h, _, err := rs[0].Get(w.ctx, id)
			for range 100 { // connections from before Redis was another one
				if !errors.Is(err, health.ErrUnavailable) {
					break
				}
				time.Sleep(time.Second)
				h, _, err = rs[0].Get(w.ctx, id)
			}
			for i := range h.History {
				h.History[i].At = w.here(h.History[i].At)
			}
			switch {
			case err == nil:
				final[id] = &h
			case !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}):
				w.breach("ends: H%d can't be read: %v", n, err)
			}
		}
	}
	for _, r := range rs {
		r.end()
	}
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	cancel()
	w.work.Wait()
	j := &judge{world: w, final: final}
	for i := range w.way.compared {
		r := &w.way.compared[i]
		// A replica that has just come up has not heard of Redis' clock yet: its first comparison begins by its own.
		if !slices.ContainsFunc(w.ups, func(up time.Time) bool {
			return !r.StartedAt.Before(up.Truncate(time.Millisecond)) && r.StartedAt.Before(up.Add(time.Second))
		}) {
			r.StartedAt = w.here(r.StartedAt)
		}
		r.FinishedAt = w.here(r.FinishedAt)
	}
	j.events = w.published()
	j.rule()
	w.redis.Close()
	time.Sleep(5 * time.Second) // go-redis' own goroutines end within seconds of their pool's end
	var names []string
	for n, id := range w.ids {
		if id != "" {
			names = append(names, id, fmt.Sprintf("H%d", n))
		}
	}
	w.tr.names = strings.NewReplacer(names...)
	for i, b := range w.breaches {
		w.breaches[i] = w.tr.names.Replace(b)
	}
	slices.Sort(w.breaches)
	return outcome{plan: w.p, breaches: w.breaches, digest: w.tr.digest(), story: w.tr.story(), full: w.tr.full(), hits: w.hits, calls: len(w.calls), lasted: lasted}
}

// published are the events that stand in Redis.
func (w *world) published() (all []event.Envelope) {
	for part := range w.p.partitions {
		entries, _ := w.redis.Stream(fmt.Sprintf("holdd:{%d}:events", part))
		for _, e := range entries {
			var ev event.Envelope
			if err := json.Unmarshal([]byte(e.Values[1]), &ev); err != nil {
				w.breach("events: %q is no event: %v", e.Values[1], err)
				continue
			}
			ev.Timestamp = w.here(ev.Timestamp)
			all = append(all, ev)
		}
	}
	return all
}

// tale puts what a replica logs into the story; of no account for the digest, since it is only there when somebody reads.
type tale struct {
	zapcore.LevelEnabler
	w *world
	r *replica
}

func (t *tale) Enabled(l zapcore.Level) bool      { return l >= zapcore.InfoLevel }
func (t *tale) With([]zapcore.Field) zapcore.Core { return t }
func (t *tale) Sync() error                       { return nil }
func (t *tale) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if t.Enabled(e.Level) {
		return c.AddCore(e, t)
	}
	return c
}
func (t *tale) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	t.w.tr.put(line{aside: true, text: fmt.Sprintf("%s says %s: %v %v %v %v", t.r.name, e.Message, enc.Fields["hold"], enc.Fields["cause"], enc.Fields["answer"], enc.Fields["error"])})
	return nil
}
