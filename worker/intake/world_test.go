package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// world is the intake of one replica on a real store and the Stripe simulator,
// in virtual time.
type world struct {
	t         *testing.T
	ctx       context.Context
	sim       *stripesim.Sim
	events    []stripesim.Event
	redis     *miniredis.Miniredis
	store     *store.Store
	commits   *commitStore
	caller    *gateway.Caller
	committer *commit.Committer
	logs      *observer.ObservedLogs
	wakes     atomic.Int64
	mu        sync.Mutex
	rejected  []string // source and code, as told to the observer

	scheduler *intake.Scheduler
	changer   *intake.Changer
	webhooks  *intake.Webhooks
	refresher *intake.Refresher
	rejector  *intake.Rejector
	inbox     *intake.Inbox
	clock     *clock.Redis
	health    *health.Redis
	log       *zap.Logger
}

var rules = hold.Rules{ExpiryMargin: time.Hour}

// commitStore is the store with writers in between and replies that are lost.
type commitStore struct {
	*store.Store
	before    func() // runs once, before the next write
	loseReply int    // replies to lose
	afterLoss func() // runs once, after a lost reply
}

var errLostReply = errors.New("connection reset by peer")

func (s *commitStore) Commit(ctx context.Context, writes []hold.RecordWrite) ([]bool, error) {
	run(&s.before)
	ok, err := s.Store.Commit(ctx, writes)
	if s.loseReply > 0 {
		s.loseReply--
		run(&s.afterLoss)
		return nil, errLostReply
	}
	return ok, err
}

func run(f *func()) {
	if g := *f; g != nil {
		*f = nil
		g()
	}
}

func (w *world) RequestRejected(source string, code hold.Code) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = append(w.rejected, source+" "+string(code))
}

// quietLogger drops what go-redis logs about errors that the tests cause.
type quietLogger struct{}

func (quietLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quietLogger{})
	m.Run()
}

// inWorld runs f in a bubble of virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.DebugLevel)
		w := &world{t: t, ctx: ctx, logs: logs, log: zap.New(core), clock: &clock.Redis{}}
		w.redis = miniredis.NewMiniRedis()
		w.redis.ClockTTL(true)
		w.sim = stripesim.New(stripesim.Options{Seed: 1, OnEvent: func(e stripesim.Event) {
			w.events = append(w.events, e)
		}})
		w.open()
		defer func() {
			cancel()
			w.store.Close()
			w.redis.Close()
			time.Sleep(5 * time.Second) // goroutines of go-redis end within seconds of their pool
		}()
		w.build()
		f(w)
	})
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.store, _, err = store.Open(w.ctx, store.Options{
		URL:    "redis://in-process:6379",
		Rates:  store.Rates{Write: 25, Read: 25, Total: 100},
		Dialer: func(context.Context, string, string) (net.Conn, error) { return w.redis.Dial() },
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) build() {
	w.t.Helper()
	g, err := gateway.New(gateway.Options{
		APIKey: "sk_test_world", BaseURL: "http://stripe.test", Transport: w.sim.Transport()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.health = health.NewRedis(w.log)
	w.commits = &commitStore{Store: w.store}
	w.caller = gateway.NewCaller(g, w.store, gateway.CallerOptions{
		Timeout: 10 * time.Second, Health: w.health, Logger: w.log})
	w.committer = commit.New(w.commits, commit.Options{
		Rules: rules, DueSoon: time.Second, Now: w.clock.Now,
		Wake: func() { w.wakes.Add(1) }, Logger: w.log,
	})
	publisher := event.NewPublisher(w.store, w.clock.Now)
	w.rejector = intake.NewRejector(w.store, publisher,
		intake.RejectorOptions{Health: w.health, Observer: w, Logger: w.log})
	w.scheduler = intake.NewScheduler(w.store, w.caller, w.committer,
		intake.SchedulerOptions{Rules: rules, Clock: w.clock, Health: w.health})
	w.changer = intake.NewChanger(w.store, w.committer, intake.ChangerOptions{Rules: rules, Health: w.health})
	w.webhooks = intake.NewWebhooks(w.store, w.committer,
		intake.WebhooksOptions{Clock: w.clock, Health: w.health})
	w.refresher = w.newRefresher(w.rejector)
	w.inbox = w.newInbox(decodeRequest, w.rejector)
}

// decodeRequest stands in for the API's decoder.
func decodeRequest(text []byte) (req hold.ScheduleRequest, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, &hold.Problem{Code: hold.InvalidField, Detail: err.Error()}
	}
	return req, nil
}

func (w *world) newInbox(
	decode func([]byte) (hold.ScheduleRequest, error), rejector intake.RequestRejector,
) *intake.Inbox {
	return intake.NewInbox(w.store, w.scheduler, rejector, intake.InboxOptions{
		Replica: "replica-1", Lease: 30 * time.Second, DecodeRequest: decode,
		Clock: w.clock, Health: w.health, Logger: w.log,
	})
}

func (w *world) newRefresher(rejector intake.RequestRejector) *intake.Refresher {
	return intake.NewRefresher(w.store, w.caller, w.committer, rejector,
		intake.RefresherOptions{Clock: w.clock, Health: w.health, Logger: w.log})
}

func (w *world) fault(r stripesim.FaultRule) {
	w.t.Helper()
	if _, err := w.sim.AddFaultRule(r); err != nil {
		w.t.Fatal(err)
	}
}

// captureIn is a request to capture a hold after d.
func captureIn(d time.Duration, id string) hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(d)}
}

// completeRequest says everything that a read at Stripe would.
func completeRequest(id string) hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Hour),
		Amount: 10_000, Currency: "eur", ExpiresAt: in(48 * time.Hour)}
}

// authorize places a hold of 100.00 EUR at Stripe.
func (w *world) authorize(f ...func(*stripesim.Hold)) string {
	w.t.Helper()
	h := stripesim.Hold{Amount: 10_000, Currency: "eur", PaymentMethod: "pm_card_visa"}
	for _, f := range f {
		f(&h)
	}
	id, err := w.sim.Authorize(h)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func withMetadata(pairs map[string]string) func(*stripesim.Hold) {
	return func(h *stripesim.Hold) { h.Metadata = pairs }
}

func (w *world) schedule(req hold.ScheduleRequest) hold.Hold {
	w.t.Helper()
	r := w.scheduler.Schedule(w.ctx, []hold.ScheduleRequest{req}, "test")[0]
	if r.Err != nil {
		w.t.Fatalf("schedule %+v: %v", req, r.Err)
	}
	return r.Hold
}

// hold returns the stored hold, nil if there is none.
func (w *world) hold(id string) *hold.Hold {
	w.t.Helper()
	found, _, err := w.store.Read(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return found[0]
}

// claim claims the hold, which must be due, as the dispatcher would.
func (w *world) claim(id string) hold.Hold {
	w.t.Helper()
	due, err := w.store.PromoteDue(w.ctx, true, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, lane := range due.Lanes {
		claims, _, err := w.store.Claim(w.ctx, lane, 10, 30*time.Second, time.Time{})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range claims {
			if c.Hold.ID == id {
				return c.Hold
			}
		}
	}
	w.t.Fatalf("hold %s is not due", id)
	return hold.Hold{}
}

// apply applies one event of the simulator.
func (w *world) apply(e stripesim.Event) (string, error) {
	w.t.Helper()
	const secret = "whsec_world"
	signature := stripesim.Sign(e.Payload, time.Now(), secret)
	parsed, err := gateway.ParseEvent(e.Payload, signature, []string{secret}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.webhooks.ApplyStripeEvent(w.ctx, parsed)
}

// takeEvents returns the events of an intent since the last call, oldest first.
func (w *world) takeEvents(intent string, types ...string) (out []stripesim.Event) {
	for _, e := range w.events {
		if e.Intent == intent && (len(types) == 0 || strings.Contains(strings.Join(types, " "), e.Type)) {
			out = append(out, e)
		}
	}
	w.events = nil
	return out
}

// retrieves is how many intents were read at Stripe.
func (w *world) retrieves() (n int64) {
	for a, count := range w.sim.Stats().Calls {
		if a.Class == stripesim.ClassRetrieve {
			n += count
		}
	}
	return n
}

// stream returns the values of a stream's entries.
func (w *world) stream(key string) (out []string) {
	entries, err := w.redis.Stream(key)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, strings.Join(e.Values, "|"))
	}
	return out
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

// isProblem reports whether err is a problem with the code.
func isProblem(err error, code hold.Code) bool { return errors.Is(err, &hold.Problem{Code: code}) }

// hasCode reports whether err is a problem with the code, or nil where the code
// is empty.
func hasCode(err error, code hold.Code) bool {
	if code == "" {
		return err == nil
	}
	return isProblem(err, code)
}
