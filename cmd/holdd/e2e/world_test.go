package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdd/holdd/store/storetest"
	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const apiKey = "sk_test_e2e_51HoldsAreSeenToTheirEnd"

// boundless is a Stripe without limits of its own.
var boundless = stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1}

// highBudget are settings that keep the budget out of the way.
var highBudget = []string{"HOLDD_RATE=100000", "HOLDD_RATE_READ=100000"}

// world is a Redis, a Stripe, and the replicas of holdd that share them.
type world struct {
	tb       testing.TB
	sim      *stripesim.Sim
	stripe   *stripeServer
	redis    *storetest.Redis
	replicas []*replica
}

// newWorld starts a Stripe and, with args, a Redis.
func newWorld(tb testing.TB, o stripesim.Options, args ...string) *world {
	tb.Helper()
	w := &world{tb: tb, sim: stripesim.New(o), redis: storetest.Start(tb, args...)}
	w.stripe = &stripeServer{tb: tb, handler: w.sim.Handler()}
	w.stripe.open()
	tb.Cleanup(w.stripe.close)
	return w
}

// env are the settings that lead to this world.
func (w *world) env() []string {
	return []string{"STRIPE_API_KEY=" + apiKey, "STRIPE_API_BASE=http://" + w.stripe.addr, "REDIS_URL=" + w.redis.URL()}
}

// start adds a replica.
func (w *world) start(bin string, settings ...string) *replica {
	w.tb.Helper()
	r := startReplica(w.tb, fmt.Sprintf("replica %d", len(w.replicas)+1), bin, append(w.env(), settings...)...)
	w.replicas = append(w.replicas, r)
	return r
}

// stripeServer is the simulator behind a listener that can be closed and opened again at the same address.
type stripeServer struct {
	tb      testing.TB
	handler http.Handler
	addr    string
	server  *http.Server
	keyless atomic.Int64 // requests that could move money and carried no idempotency key
}

func (s *stripeServer) open() {
	s.tb.Helper()
	var l net.Listener
	storetest.Until(s.tb, startTime, "the address of Stripe is free again", func() bool {
		at := s.addr
		if at == "" {
			at = "127.0.0.1:0"
		}
		var err error
		l, err = net.Listen("tcp", at)
		return err == nil
	})
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: startTime}
	go func(server *http.Server) {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.tb.Errorf("the server of Stripe ended: %v", err)
		}
	}(s.server)
}

// close drops the listener and all connections, whatever is under way on them.
func (s *stripeServer) close() { _ = s.server.Close() }

func (s *stripeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && r.Header.Get("Idempotency-Key") == "" {
		s.keyless.Add(1)
	}
	s.handler.ServeHTTP(w, r)
}

// booking is a hold as the test knows it.
type booking struct {
	id       string
	amount   int64
	deadline time.Time
	due      time.Time
}

// authorize places n holds of different amounts at Stripe.
func (w *world) authorize(n int) []booking {
	w.tb.Helper()
	out := make([]booking, n)
	for i := range out {
		out[i].amount = int64(10_000 + i)
		id, err := w.sim.Authorize(stripesim.Hold{Amount: out[i].amount, Currency: "eur", PaymentMethod: "pm_card_visa"})
		if err != nil {
			w.tb.Fatal(err)
		}
		st, _ := w.sim.Intent(id)
		out[i].id, out[i].deadline = id, st.CaptureBefore
	}
	return out
}

func reference(i int) string { return fmt.Sprintf("BK-%05d", i) }

// schedule has all bookings captured at the time that each has. What Stripe would tell is sent along, so that it costs no read.
func (w *world) schedule(r *replica, all []booking) {
	w.tb.Helper()
	wishes := make([]hold.ScheduleRequest, len(all))
	for i, b := range all {
		wishes[i] = hold.ScheduleRequest{PaymentIntent: b.id, Reference: reference(i), Amount: b.amount, Currency: "eur",
			ExpiresAt: stamp(b.deadline), CaptureAt: stamp(b.due)}
	}
	w.send(r, wishes)
}

// batch sends wishes, and leaves what is answered to the caller.
func (w *world) batch(r *replica, wishes []hold.ScheduleRequest) []api.BatchResult {
	w.tb.Helper()
	results, err := r.client.ScheduleBatch(w.tb.Context(), wishes)
	if err != nil {
		w.tb.Fatal(err)
	}
	return results
}

func (w *world) send(r *replica, wishes []hold.ScheduleRequest) {
	w.tb.Helper()
	for i, res := range w.batch(r, wishes) {
		if res.Status != http.StatusCreated {
			w.tb.Fatalf("hold %d was not scheduled: %d %v", i, res.Status, res.Problem)
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// soon is a time in whole milliseconds, which is what Redis keeps.
func soon(d time.Duration) time.Time { return time.Now().Add(d).Truncate(time.Millisecond) }

// dueAt gives all bookings the same time.
func dueAt(all []booking, t time.Time) []booking {
	for i := range all {
		all[i].due = t
	}
	return all
}

// taken is how many captures the ledger has.
func (w *world) taken() int {
	n := 0
	for _, e := range w.sim.Ledger() {
		if e.Kind == stripesim.Captured {
			n++
		}
	}
	return n
}

// await waits until the ledger has n captures and r shows as many holds as captured.
func (w *world) await(r *replica, n int, within time.Duration) {
	w.tb.Helper()
	defer func() {
		if w.tb.Failed() {
			w.tb.Logf("%d of %d captured, by what Stripe did; open by what %s says: %s", w.taken(), n, r.name, w.open(r))
		}
	}()
	until := time.Now().Add(within)
	storetest.Until(w.tb, within, fmt.Sprintf("%d captures at Stripe", n), func() bool { return w.taken() >= n })
	storetest.Until(w.tb, max(time.Until(until), time.Second), fmt.Sprintf("%d holds shown as captured", n), func() bool {
		return len(w.views(r, hold.Captured)) >= n
	})
}

// views lists what a replica has in one state, nil while it can't tell.
func (w *world) views(r *replica, state hold.State) map[string]hold.View {
	out := map[string]hold.View{}
	for v, err := range r.client.All(w.tb.Context(), api.ListQuery{State: state, Limit: api.MaxList}) {
		if err != nil {
			return nil
		}
		out[v.ID] = v
	}
	return out
}

// open describes what is not final, for a test that failed.
func (w *world) open(r *replica) string {
	var b strings.Builder
	n := 0
	for _, s := range hold.States() {
		if s.Final() {
			continue
		}
		for id, v := range w.views(r, s) {
			if n++; n <= 10 {
				fmt.Fprintf(&b, "\n%s %s, next %s at %v", id, v.State, v.Next, v.NextAt)
				if h, err := r.client.Get(w.tb.Context(), id); err == nil {
					for _, e := range h.History {
						fmt.Fprintf(&b, "\n    %s %s %s %s %s", e.At.Format("15:04:05.000"), e.Kind, e.Op, e.Answer, e.Note)
					}
				}
			}
		}
	}
	return fmt.Sprintf("%d%s", n, b.String())
}

// lines says how many lines of the log each outcome may have.
type lines int

const (
	ofTheFirst lines = iota + 1 // exactly one, and it tells of the first request, because nothing went wrong
	oneLine                     // exactly one
	mayBeLost                   // one at the most: a replica that was killed may not have come to write it
)

// judge holds the ledger, the holds as r shows them, and the log against what was booked. It returns the captures in their order.
func (w *world) judge(r *replica, all []booking, want lines) []stripesim.Effect {
	w.tb.Helper()
	if n := w.stripe.keyless.Load(); n > 0 {
		w.tb.Errorf("%d requests that could move money carried no idempotency key", n)
	}
	effects := map[string][]stripesim.Effect{}
	var captures []stripesim.Effect
	for _, e := range w.sim.Ledger() {
		if e.Kind != stripesim.Authorized {
			effects[e.Intent] = append(effects[e.Intent], e)
		}
		if e.Kind == stripesim.Captured {
			captures = append(captures, e)
		}
	}
	shown := w.views(r, hold.Captured)
	lost := 0
	for i, b := range all {
		got := effects[b.id]
		if len(got) != 1 || got[0].Kind != stripesim.Captured || got[0].Amount != b.amount || got[0].Currency != "eur" || !got[0].Final || got[0].By != "api" || got[0].Key == "" {
			w.tb.Errorf("booking %d of %d cents: the ledger has %+v, and it should have one capture of all, with a key", i, b.amount, got)
			continue
		}
		if got[0].Time.Before(b.due) {
			w.tb.Errorf("booking %d was captured %s early", i, b.due.Sub(got[0].Time))
		}
		if v := shown[b.id]; v.CapturedAmount != b.amount {
			w.tb.Errorf("booking %d: holdd shows it as %q with %d captured, and %d were", i, v.State, v.CapturedAmount, b.amount)
		}
		var told []entry
		for _, r := range w.replicas {
			told = append(told, r.log.of(b.id)...)
		}
		switch {
		case len(told) == 0 && want == mayBeLost:
			lost++
		case len(told) != 1:
			w.tb.Errorf("booking %d has %d lines of its outcome in the log: %+v", i, len(told), told)
		default:
			w.judgeLine(i, b, got[0], told[0], want)
		}
		if w.tb.Failed() && i > 20 {
			w.tb.Fatal("and so on")
		}
	}
	if lost > 0 {
		w.tb.Logf("%d outcomes were written by a replica that was killed before it could log them", lost)
	}
	return captures
}

func (w *world) judgeLine(i int, b booking, done stripesim.Effect, e entry, want lines) {
	w.tb.Helper()
	good := e.Event == "hold.captured" && e.Level == "info" && e.Hold == b.id && e.PaymentIntent == b.id && e.Account == "" && e.Reference == reference(i) &&
		e.Amount == b.amount && e.Currency == "eur" && e.LatenessMS >= 0 && e.Cause == "schedule"
	if want == ofTheFirst {
		good = good && e.Attempt == 1 && e.IdempotencyKey == done.Key && e.RequestID == done.RequestID
	}
	if !good {
		w.tb.Errorf("booking %d: the line %+v does not tell of %+v", i, e, done)
	}
}
