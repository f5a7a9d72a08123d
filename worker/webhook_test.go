package worker_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const signingSecret = "whsec_of_the_world"

// endpoint is the webhook's handler in front of a replica.
func endpoint(t *testing.T, r *replica, secrets ...string) http.Handler {
	t.Helper()
	a, err := api.New(api.Options{Holds: api.Holds{Scheduler: r, Changer: r, Reader: r, Planner: r, ReadinessChecker: r.Readiness}, Webhook: &api.Webhook{
		Parse: func(body []byte, signature string) (hold.StripeEvent, error) {
			return gateway.ParseEvent(body, signature, secrets, 0)
		},
		Take: r.Webhooks.ApplyStripeEvent,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func deliver(h http.Handler, payload []byte, signature string) (int, string) {
	req := httptest.NewRequest(http.MethodPost, "http://hooks.example.com/webhooks/stripe", bytes.NewReader(payload))
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Stripe-Signature", signature)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

// hooked is a world whose simulator delivers its webhooks to whatever takes them.
type hooked struct {
	*world
	take http.Handler

	mu     sync.Mutex
	events []stripesim.Event // that were not delivered yet
}

// pick takes out what has happened, as far as some is wanted; no types: all of it.
func (h *hooked) pick(types ...string) (out []stripesim.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if len(types) == 0 || slices.Contains(types, e.Type) {
			out = append(out, e)
		}
	}
	h.events = nil
	return out
}

// flush delivers what has happened, in order.
func (h *hooked) flush(types ...string) {
	h.t.Helper()
	h.send(h.pick(types...))
}

func (h *hooked) send(events []stripesim.Event) {
	h.t.Helper()
	for _, e := range events {
		if code, body := deliver(h.take, e.Payload, stripesim.Sign(e.Payload, time.Now(), signingSecret)); code != 200 {
			h.t.Fatalf("%s: %d %s", e.Type, code, body)
		}
	}
}

func inHookedWorld(t *testing.T, f func(h *hooked, r *replica), tune ...func(*world, *stripesim.Options)) {
	h := &hooked{}
	tune = append(tune, func(w *world, o *stripesim.Options) {
		o.OnEvent = func(e stripesim.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
		}
	})
	inWorld(t, func(w *world) {
		h.world = w
		r := w.start()
		h.take = endpoint(t, r, signingSecret)
		f(h, r)
	}, tune...)
}

func TestTermsInMetadataAreEnough(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		id := w.authorize(func(h *stripesim.Hold) {
			h.Metadata = map[string]string{"holdd_capture_at": in(4 * time.Minute), "holdd_capture_amount": "7000", "holdd_reference": "BK-7", "room": "12"}
		})
		paused := w.authorize(func(h *stripesim.Hold) {
			h.Metadata = map[string]string{"holdd_capture_at": in(2 * time.Minute), "holdd_paused": "true"}
		})
		other := w.authorize(func(h *stripesim.Hold) { h.Metadata = map[string]string{"room": "12"} })
		w.flush()
		time.Sleep(3 * time.Second)
		h := w.hold(r, id)
		if h.State != hold.Scheduled || !h.Verified || h.CaptureAmount != 7000 || h.Reference != "BK-7" || !h.Mirrored || h.History[0].By != "stripe" {
			t.Fatalf("%+v", h)
		}
		if h := w.hold(r, paused); h.State != hold.Paused {
			t.Errorf("%+v", h)
		}
		if _, _, err := r.Get(w.ctx, other); !errors.Is(err, &hold.Problem{Code: hold.HoldNotFound}) {
			t.Errorf("an intent without terms: %v", err)
		}
		time.Sleep(4 * time.Minute)
		w.eventually(r, id, hold.Captured, time.Minute)
		w.once(id, "captured 7000 by api", "released 3000 by api")
		w.once(paused)
		w.once(other)
	})
}

func TestBadTermsInMetadataAreToldAndKept(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		for _, m := range []map[string]string{
			{"holdd_capture_at": "tomorrow"}, {"holdd_capture_at": in(time.Hour), "holdd_capture_amount": "12,50"},
			{"holdd_cancel_at": in(time.Hour), "holdd_on_expiry": "explode"}, {"holdd_capture_at": in(time.Hour), "holdd_metadata": "["},
			{"holdd_capture_at": in(time.Hour), "holdd_capture_amount": "99999"},
		} {
			w.authorize(func(h *stripesim.Hold) { h.Metadata = m })
		}
		w.flush()
		time.Sleep(3 * time.Second)
		if n := w.logs.FilterMessage("metadata.rejected").Len(); n != 5 {
			t.Errorf("%d told of 5", n)
		}
		entries, err := w.redis.Stream("holdd:inbox:rejected")
		if err != nil || len(entries) != 5 {
			t.Errorf("%v, %v", entries, err)
		}
		for _, e := range entries {
			if got := strings.Join(e.Values, "|"); !strings.Contains(got, "source|stripe|") || !strings.Contains(got, "holdd_") {
				t.Errorf("%s", got)
			}
		}
	})
}

func TestWhatOthersDoIsSettledBySecondsAndIsNoFailure(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		ids := []string{w.authorize(), w.authorize(), w.authorize(), w.authorize()}
		for _, id := range ids[:3] {
			w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(10 * time.Minute)})
		}
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: ids[3], CaptureAt: in(time.Minute)})
		w.sim.Dashboard().Capture(ids[0], 4_000)
		w.sim.Dashboard().Cancel(ids[1], "requested_by_customer")
		w.flush()
		h := w.hold(r, ids[0])
		if h.State != hold.Captured || h.Reason != hold.CauseElsewhere || h.CapturedAmount != 4_000 {
			t.Errorf("%+v", h)
		}
		if h := w.hold(r, ids[1]); h.State != hold.Canceled || h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
		time.Sleep(2 * time.Minute)
		w.flush() // of our own capture
		if h := w.hold(r, ids[3]); h.State != hold.Captured || h.Reason != hold.CauseSchedule {
			t.Errorf("%+v", h)
		}
		// The network lets go, and its last event is lost: the other one is enough.
		w.sim.SetCaptureBefore(ids[2], time.Now().Add(time.Minute))
		time.Sleep(2 * time.Minute)
		w.sim.Tick()
		w.flush("charge.expired")
		w.eventually(r, ids[2], hold.Expired, 10*time.Second)
		time.Sleep(10 * time.Minute)
		w.flush()
		w.once(ids[0], "captured 4000 by dashboard", "released 6000 by dashboard")
		if n := w.logs.FilterMessage("hold.attention").Len(); n != 0 {
			t.Errorf("%d holds were reported", n)
		}
	})
}

// An answer that was lost must not make our own capture somebody else's.
func TestOurOwnCaptureIsNotElsewhere(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Minute)})
		w.sim.AddFault(stripesim.Rule{Class: stripesim.ClassCapture, Times: 1, Fault: stripesim.Fault{Kind: stripesim.DropReply}})
		for range 70 {
			time.Sleep(time.Second)
			w.flush()
		}
		if h := w.eventually(r, id, hold.Captured, time.Minute); h.Reason != hold.CauseSchedule {
			t.Errorf("%s", h.Reason)
		}
	})
}

func TestReviewsPauseAndResume(t *testing.T) {
	for name, lose := range map[string]func([]stripesim.Event) []stripesim.Event{
		"in order": func(e []stripesim.Event) []stripesim.Event { return e },
		"doubled":  func(e []stripesim.Event) []stripesim.Event { return append(e, e...) },
		"backwards": func(e []stripesim.Event) []stripesim.Event {
			var out []stripesim.Event
			for i := range e {
				out = append(out, e[len(e)-1-i])
			}
			return out
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHookedWorld(t, func(w *hooked, r *replica) {
				id, fraud := w.authorize(), w.authorize()
				for _, id := range []string{id, fraud} {
					w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(2 * time.Minute)})
				}
				w.flush()
				w.sim.Dashboard().OpenReview(id)
				w.sim.Dashboard().OpenReview(fraud)
				if name != "backwards" {
					w.send(lose(w.pick()))
					for _, id := range []string{id, fraud} {
						if h := w.eventually(r, id, hold.Paused, 5*time.Second); h.Reason != hold.CauseReview {
							t.Fatalf("%+v", h)
						}
					}
				}
				w.sim.Dashboard().CloseReview(id, "approved")
				w.sim.Dashboard().CloseReview(fraud, "disputed")
				w.send(lose(w.pick()))
				time.Sleep(5 * time.Second)
				if h := w.hold(r, id); h.State != hold.Scheduled {
					t.Errorf("approved and %s, %+v", h.State, h.History)
				}
				if h := w.hold(r, fraud); name != "backwards" && h.State != hold.Attention {
					t.Errorf("disputed and %s, %+v", h.State, h.History)
				}
				time.Sleep(3 * time.Minute)
				w.once(id, "captured 10000 by api")
			})
		})
	}
}

// What was told before there was a hold is looked at as soon as there is one, though the caller told everything.
func TestAnEventBeforeItsHoldIsNotLost(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		id := w.authorize()
		w.sim.Dashboard().Cancel(id, "")
		w.flush()
		time.Sleep(time.Minute)
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000, Currency: "eur", ExpiresAt: in(5 * 24 * time.Hour), CaptureAt: in(48 * time.Hour)})
		h := w.eventually(r, id, hold.Canceled, 5*time.Second)
		if h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
	})
}

func TestOnlySignedEventsAreTaken(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Hour)})
		w.sim.Dashboard().Cancel(id, "")
		payload := w.pick("payment_intent.canceled")[0].Payload
		two := endpoint(t, r, "whsec_new", "whsec_old")
		for name, c := range map[string]struct {
			signature string
			payload   []byte
			want      int
		}{
			"none":           {"", payload, 400},
			"garbage":        {"t=1,v1=zz", payload, 400},
			"wrong secret":   {stripesim.Sign(payload, time.Now(), "whsec_other"), payload, 400},
			"too old":        {stripesim.Sign(payload, time.Now().Add(-301*time.Second), "whsec_new"), payload, 400},
			"changed body":   {stripesim.Sign(payload, time.Now(), "whsec_new"), append([]byte(" "), payload...), 400},
			"no event":       {stripesim.Sign([]byte("{}"), time.Now(), "whsec_new"), []byte("{}"), 400},
			"live":           {sign(live(payload), "whsec_new"), live(payload), 400},
			"without secret": {sign(payload, ""), payload, 400},
		} {
			if code, body := deliver(two, c.payload, c.signature); code != c.want {
				t.Errorf("%s: %d %s", name, code, body)
			}
		}
		if h := w.hold(r, id); h.State != hold.Scheduled {
			t.Fatalf("%s by an event that nobody signed", h.State)
		}
		for _, signature := range []string{
			stripesim.Sign(payload, time.Now(), "whsec_old"), stripesim.Sign(payload, time.Now(), "whsec_new"),
			stripesim.Sign(payload, time.Now(), "whsec_older", "whsec_old"), stripesim.Sign(payload, time.Now().Add(-290*time.Second), "whsec_new"),
		} {
			if code, body := deliver(two, payload, signature); code != 200 {
				t.Errorf("%d %s", code, body)
			}
		}
		if h := w.hold(r, id); h.State != hold.Canceled {
			t.Errorf("%s", h.State)
		}
	})
}

func sign(payload []byte, secret string) string { return stripesim.Sign(payload, time.Now(), secret) }

func live(payload []byte) []byte {
	return bytes.ReplaceAll(payload, []byte(`"livemode":false`), []byte(`"livemode":true`))
}

// With Redis away an event is not taken, and Stripe's next try is.
func TestAnEventIsTakenOnlyOnceItIsSafe(t *testing.T) {
	inHookedWorld(t, func(w *hooked, r *replica) {
		id := w.authorize()
		w.schedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(time.Hour)})
		w.sim.Dashboard().Cancel(id, "")
		w.redis.SetError("LOADING away")
		canceled := w.pick("payment_intent.canceled")
		for _, e := range canceled {
			if code, body := deliver(w.take, e.Payload, sign(e.Payload, signingSecret)); code != 503 {
				t.Errorf("%d %s", code, body)
			}
		}
		w.redis.SetError("")
		time.Sleep(time.Minute)
		w.send(canceled)
		w.eventually(r, id, hold.Canceled, time.Second)
	})
}

// Thousands of webhooks, shuffled, doubled and partly dropped, leave every hold where Stripe's truth is. A hold of which no later
// event came through is judged at its own time, or by reconcile: acting meets the truth.
func TestAStormOfWebhooksLeavesTheTruth(t *testing.T) {
	const holds, storm = 400, 6_000 // the built binary is shown to stand 20,000
	for seed := range uint64(1) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inHookedWorld(t, func(w *hooked, r *replica) {
				rng := rand.New(rand.NewPCG(seed, 7))
				var ids []string
				w.sim.SetRates(-1, -1)
				for i := range holds {
					ids = append(ids, w.authorize(func(h *stripesim.Hold) {
						h.Incremental = true
						if i%3 == 0 {
							h.Metadata = map[string]string{"holdd_capture_at": in(15 * time.Minute)}
						}
					}))
				}
				var reqs []hold.ScheduleRequest
				for i, id := range ids {
					if i%3 == 1 {
						reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: in(15 * time.Minute)})
					}
				}
				schedule := func(reqs []hold.ScheduleRequest) {
					for i, s := range r.Schedule(w.ctx, reqs, "test") {
						if s.Err != nil && !errors.Is(s.Err, &hold.Problem{Code: hold.NotCapturable}) {
							t.Fatalf("%+v: %v", reqs[i], s.Err)
						}
					}
				}
				schedule(reqs)
				d := w.sim.Dashboard()
				increments := 0
				for range 4 {
					for _, id := range ids {
						switch rng.IntN(12) {
						case 0:
							d.Capture(id, int64(rng.IntN(2))*3_000)
						case 1:
							d.Cancel(id, "")
						case 2, 5, 6:
							if st, _ := w.sim.Intent(id); d.Increment(id, st.Amount+1_000) == nil {
								increments++
							}
						case 3:
							d.OpenReview(id)
						case 4:
							d.CloseReview(id, "approved")
						}
					}
				}
				if increments == 0 {
					t.Fatal("no hold grew")
				}
				// Of every intent something that was told last comes through, or is dropped: then only acting can tell.
				events := w.pick()
				dropped := map[string]bool{}
				var queue []stripesim.Event
				for i, e := range events {
					if rng.IntN(10) == 0 {
						dropped[e.Intent] = true
						continue
					}
					queue = append(queue, events[i])
				}
				for len(queue) < storm {
					queue = append(queue, queue[rng.IntN(len(queue))])
				}
				rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
				for i, e := range queue {
					if i == len(queue)/2 { // the booking system is late with the rest
						reqs = nil
						for i, id := range ids {
							if i%3 == 2 {
								reqs = append(reqs, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000, Currency: "eur", ExpiresAt: in(5 * 24 * time.Hour), CaptureAt: in(14 * time.Minute)})
							}
						}
						schedule(reqs)
					}
					if i%(storm/100) == 0 {
						time.Sleep(time.Second) // what was told is looked at in between
					}
					code, body := deliver(w.take, e.Payload, sign(e.Payload, signingSecret))
					if code != 200 {
						t.Fatalf("%s: %d %s", e.Type, code, body)
					}
				}
				time.Sleep(5 * time.Minute)
				wrong := 0
				for _, id := range ids {
					truth, _ := w.sim.Intent(id)
					h, _, err := r.Get(w.ctx, id)
					known := err == nil
					bad := ""
					switch {
					case !known && truth.Status == "requires_capture" && truth.Metadata["holdd_capture_at"] != "" && !dropped[id]:
						bad = "not scheduled"
					case !known:
					case truth.Status == "succeeded" && (h.State != hold.Captured || h.CapturedAmount != truth.Received),
						truth.Status == "canceled" && h.State != hold.Canceled:
						bad = "not settled"
					case truth.Status == "requires_capture" && h.State.Final():
						bad = "settled and held"
					case truth.Status == "requires_capture" && h.Amount != truth.Capturable && h.State != hold.Attention:
						bad = fmt.Sprint("amount ", h.Amount, " not ", truth.Capturable)
					case truth.Status == "requires_capture" && truth.Review != "" && h.State == hold.Scheduled:
						bad = "under review and scheduled"
					}
					if bad != "" && !dropped[id] {
						t.Errorf("%s is %s (%d received, review %q): %s, %s %s", id, truth.Status, truth.Received, truth.Review, bad, h.State, h.Reason)
						if wrong++; wrong > 5 {
							t.FailNow()
						}
					}
				}
				time.Sleep(20 * time.Minute) // everything acts: whatever was dropped, the truth is met
				for _, id := range ids {
					truth, _ := w.sim.Intent(id)
					h, _, err := r.Get(w.ctx, id)
					if err != nil {
						continue
					}
					switch {
					case truth.Status == "succeeded" && h.State != hold.Captured, truth.Status == "canceled" && h.State != hold.Canceled && h.State != hold.Expired,
						truth.Status == "requires_capture" && h.State.Final(), h.State == hold.Scheduled, h.State == hold.Working:
						if h.State == hold.Attention && h.Reason == hold.CauseMismatch && truth.Status == "requires_capture" {
							continue
						}
						t.Errorf("in the end %s is %s and its hold %s (%s)", id, truth.Status, h.State, h.Reason)
					}
				}
			})
		})
	}
}
