package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
)

// world is the intake of one replica in virtual time.
type world struct {
	*envtest.Env
	events    []stripesim.Event
	store     *store.Store
	commits   *commitStore
	caller    *gateway.Caller
	committer *commit.Committer
	wakes     atomic.Int64
	mu        sync.Mutex
	rejected  []string // source and code, as told to the observer

	scheduler *intake.Scheduler
	changer   *intake.Changer
	webhooks  *intake.WebhookProcessor
	refresher *intake.IntentRefresher
	rejector  *intake.Rejector
	inbox     *intake.RequestInboxConsumer
	clock     *clock.RedisClock
	health    *health.Reporter
}

var rules = hold.DecisionRules{ExpiryMargin: time.Hour, CaptureInterval: time.Second}

// commitStore is the store with writers in between and replies that are lost.
type commitStore struct {
	*store.Store
	before    func() // runs once, before the next write
	loseReply int    // replies to lose
	afterLoss func() // runs once, after a lost reply
}

var errLostReply = errors.New("connection reset by peer")

func (s *commitStore) Commit(
	ctx context.Context, writes []hold.HoldWrite,
) ([]hold.CommitResult, error) {
	run(&s.before)
	results, err := s.Store.Commit(ctx, writes)
	if s.loseReply > 0 {
		s.loseReply--
		run(&s.afterLoss)
		return nil, errLostReply
	}
	return results, err
}

func run(f *func()) {
	if g := *f; g != nil {
		*f = nil
		g()
	}
}

func (w *world) InboxOrMetadataRequestRejected(source string, code hold.ProblemCode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = append(w.rejected, source+" "+string(code))
}

func TestMain(m *testing.M) { envtest.Main(m) }

// inWorld runs f in a bubble of virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	w := &world{clock: &clock.RedisClock{}}
	onEvent := func(e stripesim.Event) { w.events = append(w.events, e) }
	envtest.Run(t, stripesim.Options{Seed: 1, OnEvent: onEvent}, func(e *envtest.Env) {
		w.Env = e
		process := e.NewProcess()
		w.store = process.OpenStore(store.Options{Rates: envtest.Rates})
		e.OnStop(func() { w.store.Close() })
		w.build(process.NewGateway(nil))
		f(w)
	})
}

func (w *world) build(g *gateway.Gateway) {
	w.T.Helper()
	w.health = health.NewRedisHealthReporter(w.Log)
	w.commits = &commitStore{Store: w.store}
	w.caller = gateway.NewCaller(g, w.store, gateway.CallerOptions{
		Timeout: 10 * time.Second, Health: w.health, Logger: w.Log})
	w.committer = commit.New(w.commits, commit.Options{
		Rules: rules, WakeAhead: time.Second, Now: w.clock.Now,
		Wake: func() { w.wakes.Add(1) }, Logger: w.Log,
	})
	publisher := event.NewSystemEventPublisher(w.store, w.clock.Now)
	w.rejector = intake.NewRejector(w.store, publisher,
		intake.RejectorOptions{Health: w.health, Observer: w, Logger: w.Log})
	w.scheduler = intake.NewScheduler(w.store, w.caller, w.committer,
		intake.SchedulerOptions{Rules: rules, Clock: w.clock, Health: w.health})
	w.changer = intake.NewChanger(w.store, w.committer,
		intake.ChangerOptions{Rules: rules, Health: w.health})
	w.webhooks = intake.NewWebhookProcessor(w.store, w.committer,
		intake.WebhookProcessorOptions{Clock: w.clock, Health: w.health})
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
) *intake.RequestInboxConsumer {
	return intake.NewRequestInboxConsumer(w.store, w.scheduler, rejector, intake.RequestInboxOptions{
		Replica: "replica-1", Lease: 30 * time.Second, DecodeRequest: decode,
		Clock: w.clock, Health: w.health, Logger: w.Log,
	})
}

func (w *world) newRefresher(rejector intake.RequestRejector) *intake.IntentRefresher {
	return intake.NewIntentRefresher(w.store, w.caller, w.committer, rejector,
		intake.IntentRefresherOptions{Locks: w.store, Clock: w.clock, Health: w.health,
			Logger: w.Log})
}

// captureIn is a request to capture a hold after d.
func captureIn(d time.Duration, id string) hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(d)}
}

// completeRequest says everything that a read at Stripe would.
func completeRequest(id string) hold.ScheduleRequest {
	return hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(time.Hour),
		Amount: 10_000, Currency: "eur", ExpiresAt: envtest.In(48 * time.Hour)}
}

func withMetadata(pairs map[string]string) func(*stripesim.Hold) {
	return func(h *stripesim.Hold) { h.Metadata = pairs }
}

func (w *world) schedule(req hold.ScheduleRequest) hold.Hold {
	w.T.Helper()
	r := w.scheduler.Schedule(w.Ctx, []hold.ScheduleRequest{req}, "test")[0]
	if r.Err != nil {
		w.T.Fatalf("schedule %+v: %v", req, r.Err)
	}
	return r.Hold
}

// hold returns the stored hold, nil if there is none.
func (w *world) hold(id string) *hold.Hold {
	w.T.Helper()
	found, _, err := w.store.ReadHolds(w.Ctx, id)
	if err != nil {
		w.T.Fatal(err)
	}
	return found[0]
}

// claim claims the hold, which must be due, as the dispatcher would.
func (w *world) claim(id string) hold.Hold {
	w.T.Helper()
	due, err := w.store.PromoteDue(w.Ctx, hold.PromoteRequest{Scheduled: true, Holds: 100})
	if err != nil {
		w.T.Fatal(err)
	}
	shares := make([]hold.ClaimShare, len(due.Lanes))
	for i, lane := range due.Lanes {
		shares[i] = hold.ClaimShare{Lane: lane, Holds: 10}
	}
	claims, err := w.store.ClaimReadyHolds(w.Ctx, shares, 30*time.Second)
	if err != nil {
		w.T.Fatal(err)
	}
	for i := range claims {
		for _, c := range claims[i].Claims {
			if c.Hold.ID == id {
				return c.Hold
			}
		}
	}
	w.T.Fatalf("hold %s is not due", id)
	return hold.Hold{}
}

// apply applies one event of the simulator.
func (w *world) apply(e stripesim.Event) (string, error) {
	w.T.Helper()
	const secret = "whsec_world"
	signature := stripesim.Sign(e.Payload, time.Now(), secret)
	parsed, err := gateway.ParseEvent(e.Payload, signature,
		gateway.ParseEventOptions{Secrets: []string{secret}})
	if err != nil {
		w.T.Fatal(err)
	}
	return w.webhooks.ApplyStripeEvent(w.Ctx, parsed)
}

// takeEvents returns the events of an intent since the last call, oldest first.
func (w *world) takeEvents(intent string, types ...string) (out []stripesim.Event) {
	for _, e := range w.events {
		if e.Intent == intent &&
			(len(types) == 0 || strings.Contains(strings.Join(types, " "), e.Type)) {
			out = append(out, e)
		}
	}
	w.events = nil
	return out
}

// countRetrieves returns how many intents were read at Stripe.
func (w *world) countRetrieves() int64 { return w.CountStripeCalls(stripesim.ClassRetrieve) }

// isProblem reports whether err is a problem with the code.
func isProblem(err error, code hold.ProblemCode) bool {
	return errors.Is(err, &hold.Problem{Code: code})
}

// hasCode reports whether err is a problem with the code, or nil where the code
// is empty.
func hasCode(err error, code hold.ProblemCode) bool {
	if code == "" {
		return err == nil
	}
	return isProblem(err, code)
}
