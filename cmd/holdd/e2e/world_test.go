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

// unlimitedStripeOptions is a Stripe without limits of its own.
var unlimitedStripeOptions = stripesim.Options{Seed: 1, EndpointRate: -1, OverallRate: -1}

// highBudgetSettings are settings that keep the budget out of the way.
var highBudgetSettings = []string{"HOLDD_RATE=100000", "HOLDD_RATE_READ=100000"}

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

// settings are the settings that lead to this world.
func (w *world) settings() []string {
	return []string{"STRIPE_API_KEY=" + apiKey, "STRIPE_API_BASE=http://" + w.stripe.addr,
		"REDIS_URL=" + w.redis.URL(), "HOLDD_LOG_REFERENCES=true"}
}

// startReplica adds a replica.
func (w *world) startReplica(bin string, settings ...string) *replica {
	w.tb.Helper()
	r := startReplica(w.tb, fmt.Sprintf("replica %d", len(w.replicas)+1), bin,
		append(w.settings(), settings...)...)
	w.replicas = append(w.replicas, r)
	return r
}

// stripeServer is the simulator behind a listener that can be closed and opened
// again at the same address.
type stripeServer struct {
	tb              testing.TB
	handler         http.Handler
	addr            string
	server          *http.Server
	keylessRequests atomic.Int64 // requests that could move money and carried no idempotency key
}

func (s *stripeServer) open() {
	s.tb.Helper()
	var l net.Listener
	storetest.WaitUntil(s.tb, processTimeout, "the address of Stripe is free again", func() bool {
		at := s.addr
		if at == "" {
			at = "127.0.0.1:0"
		}
		var err error
		l, err = net.Listen("tcp", at)
		return err == nil
	})
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: processTimeout}
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
		s.keylessRequests.Add(1)
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

// authorizeBookings places n holds of different amounts at Stripe.
func (w *world) authorizeBookings(n int) []booking {
	w.tb.Helper()
	out := make([]booking, n)
	for i := range out {
		out[i].amount = int64(10_000 + i)
		id, err := w.sim.Authorize(stripesim.Hold{Amount: out[i].amount, Currency: "eur",
			PaymentMethod: "pm_card_visa"})
		if err != nil {
			w.tb.Fatal(err)
		}
		st, _ := w.sim.Intent(id)
		out[i].id, out[i].deadline = id, st.CaptureBefore
	}
	return out
}

func bookingReference(i int) string { return fmt.Sprintf("BK-%05d", i) }

// scheduleBookings schedules the capture of each booking at its time. The
// requests declare what a read would show, so holdd needs none.
func (w *world) scheduleBookings(r *replica, all []booking) {
	w.tb.Helper()
	reqs := make([]hold.ScheduleRequest, len(all))
	for i, b := range all {
		reqs[i] = hold.ScheduleRequest{PaymentIntent: b.id, Reference: bookingReference(i),
			Amount: b.amount, Currency: "eur",
			ExpiresAt: formatTime(b.deadline), CaptureAt: formatTime(b.due)}
	}
	w.scheduleAll(r, reqs)
}

// scheduleBatch sends requests and returns the answers.
func (w *world) scheduleBatch(r *replica, reqs []hold.ScheduleRequest) []api.BatchResult {
	w.tb.Helper()
	results, err := r.client.ScheduleBatch(w.tb.Context(), reqs)
	if err != nil {
		w.tb.Fatal(err)
	}
	return results
}

func (w *world) scheduleAll(r *replica, reqs []hold.ScheduleRequest) {
	w.tb.Helper()
	for i, res := range w.scheduleBatch(r, reqs) {
		if res.Status != http.StatusCreated {
			w.tb.Fatalf("hold %d was not scheduled: %d %v", i, res.Status, res.Problem)
		}
	}
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// afterNow is a time in whole milliseconds, which is what Redis keeps.
func afterNow(d time.Duration) time.Time { return time.Now().Add(d).Truncate(time.Millisecond) }

// setDueAt gives all bookings the same time.
func setDueAt(all []booking, t time.Time) []booking {
	for i := range all {
		all[i].due = t
	}
	return all
}

// countCaptures is how many captures the ledger has.
func (w *world) countCaptures() int {
	n := 0
	for _, e := range w.sim.Ledger() {
		if e.Kind == stripesim.EffectCaptured {
			n++
		}
	}
	return n
}

// waitForCaptures waits until the ledger has n captures and r shows as many
// holds as captured.
func (w *world) waitForCaptures(r *replica, n int, within time.Duration) {
	w.tb.Helper()
	defer func() {
		if w.tb.Failed() {
			w.tb.Logf("%d of %d captured, by what Stripe did; open by what %s says: %s",
				w.countCaptures(), n, r.name, w.describeOpenHolds(r))
		}
	}()
	until := time.Now().Add(within)
	storetest.WaitUntil(w.tb, within, fmt.Sprintf("%d captures at Stripe", n),
		func() bool { return w.countCaptures() >= n })
	storetest.WaitUntil(w.tb, max(time.Until(until), time.Second),
		fmt.Sprintf("%d holds shown as captured", n), func() bool {
			return len(w.listByState(r, hold.Captured)) >= n
		})
}

// listByState lists the holds in one state, nil while the replica has no
// answer.
func (w *world) listByState(r *replica, state hold.State) map[string]hold.View {
	out := map[string]hold.View{}
	for v, err := range r.client.ListAll(w.tb.Context(),
		api.ListQuery{State: state, Limit: api.MaxPageSize}) {
		if err != nil {
			return nil
		}
		out[v.ID] = v
	}
	return out
}

// describeOpenHolds describes the open holds, for a test that failed.
func (w *world) describeOpenHolds(r *replica) string {
	var b strings.Builder
	n := 0
	for _, s := range hold.States() {
		if s.IsFinal() {
			continue
		}
		for id, v := range w.listByState(r, s) {
			if n++; n <= 10 {
				fmt.Fprintf(&b, "\n%s %s, next %s at %v", id, v.State, v.Next, v.NextAt)
				if h, err := r.client.Get(w.tb.Context(), id); err == nil {
					for _, e := range h.History {
						fmt.Fprintf(&b, "\n    %s %s %s %s %s", e.At.Format("15:04:05.000"),
							e.Kind, e.Op, e.Answer, e.Note)
					}
				}
			}
		}
	}
	return fmt.Sprintf("%d%s", n, b.String())
}

// loggedOutcomes says how many lines of the log each outcome may have.
type loggedOutcomes int

const (
	// exactly one, and it tells of the first request, because nothing went
	// wrong
	onceByFirstAttempt loggedOutcomes = iota + 1
	exactlyOnce                       // exactly one
	// one at the most: a replica that was killed may not have come to write it
	atMostOnce
)

// checkCaptures compares the ledger, the holds as r shows them, and the log
// with the bookings. It returns the captures in their order.
func (w *world) checkCaptures(r *replica, all []booking, want loggedOutcomes) []stripesim.Effect {
	w.tb.Helper()
	if n := w.stripe.keylessRequests.Load(); n > 0 {
		w.tb.Errorf("%d requests that could move money carried no idempotency key", n)
	}
	effects := map[string][]stripesim.Effect{}
	var captures []stripesim.Effect
	for _, e := range w.sim.Ledger() {
		if e.Kind != stripesim.EffectAuthorized {
			effects[e.Intent] = append(effects[e.Intent], e)
		}
		if e.Kind == stripesim.EffectCaptured {
			captures = append(captures, e)
		}
	}
	shown := w.listByState(r, hold.Captured)
	lost := 0
	for i, b := range all {
		got := effects[b.id]
		if len(got) != 1 || got[0].Kind != stripesim.EffectCaptured || got[0].Amount != b.amount ||
			got[0].Currency != "eur" || !got[0].Final || got[0].Actor != "api" ||
			got[0].IdempotencyKey == "" {
			w.tb.Errorf(
				"booking %d of %d cents: the ledger has %+v, and it should have one capture of all, with a key", i, b.amount, got)
			continue
		}
		if got[0].Time.Before(b.due) {
			w.tb.Errorf("booking %d was captured %s early", i, b.due.Sub(got[0].Time))
		}
		if v := shown[b.id]; v.CapturedAmount != b.amount {
			w.tb.Errorf("booking %d: holdd shows it as %q with %d captured, and %d were", i,
				v.State, v.CapturedAmount, b.amount)
		}
		var logged []logLine
		for _, r := range w.replicas {
			logged = append(logged, r.log.outcomesOf(b.id)...)
		}
		switch {
		case len(logged) == 0 && want == atMostOnce:
			lost++
		case len(logged) != 1:
			w.tb.Errorf("booking %d has %d lines of its outcome in the log: %+v", i, len(logged),
				logged)
		default:
			w.checkOutcomeLine(i, b, got[0], logged[0], want)
		}
		if w.tb.Failed() && i > 20 {
			w.tb.Fatal("and so on")
		}
	}
	if lost > 0 {
		w.tb.Logf("%d outcomes were written by a replica that was killed before it could log them",
			lost)
	}
	return captures
}

func (w *world) checkOutcomeLine(
	i int, b booking, done stripesim.Effect, e logLine, want loggedOutcomes,
) {
	w.tb.Helper()
	good := e.Event == "hold.captured" && e.Level == "info" && e.Hold == b.id &&
		e.PaymentIntent == b.id && e.Account == "" && e.Reference == bookingReference(i) &&
		e.Amount == b.amount && e.Currency == "eur" && e.LatenessMS >= 0 && e.Cause == "schedule"
	if want == onceByFirstAttempt {
		good = good && e.Attempt == 1 && e.IdempotencyKey == done.IdempotencyKey &&
			e.RequestID == done.RequestID
	}
	if !good {
		w.tb.Errorf("booking %d: the line %+v does not tell of %+v", i, e, done)
	}
}
