package worker_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const signingSecret = "whsec_of_the_world"

// newWebhookHandler is the webhook's handler in front of a replica.
func newWebhookHandler(t *testing.T, r *replica, secrets ...string) http.Handler {
	t.Helper()
	return newTracedWebhookHandler(t, r, nil, secrets...)
}

// newTracedWebhookHandler is a handler whose requests are recorded; tracer may be
// nil.
func newTracedWebhookHandler(
	t *testing.T, r *replica, tracer api.RequestTracer, secrets ...string,
) http.Handler {
	t.Helper()
	a, err := api.New(api.Options{Tracer: tracer, Holds: api.HoldServices{Scheduler: r, Changer: r, Reader: r,
		Planner: r, ReadinessChecker: r.Readiness}, Webhook: &api.WebhookOptions{
		VerifyAndParse: func(body []byte, signature string) (hold.StripeEvent, error) {
			return gateway.ParseEvent(body, signature, gateway.ParseEventOptions{Secrets: secrets})
		},
		ApplyEvent: r.Webhooks.ApplyStripeEvent,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func postWebhook(h http.Handler, payload []byte, signature string) (int, string) {
	req := httptest.NewRequest(http.MethodPost, "http://hooks.example.com/webhooks/stripe",
		bytes.NewReader(payload))
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Stripe-Signature", signature)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

// webhookEnv is a world whose simulator delivers its webhooks to whatever takes
// them.
type webhookEnv struct {
	*testEnv
	handler http.Handler

	mu          sync.Mutex
	undelivered []stripesim.Event // that were not delivered yet
}

// takeEvents takes out what has happened, as far as some is wanted; no types:
// all of it.
func (h *webhookEnv) takeEvents(types ...string) (out []stripesim.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.undelivered {
		if len(types) == 0 || slices.Contains(types, e.Type) {
			out = append(out, e)
		}
	}
	h.undelivered = nil
	return out
}

// deliverPending delivers what has happened, in order.
func (h *webhookEnv) deliverPending(types ...string) {
	h.T.Helper()
	h.deliverEvents(h.takeEvents(types...))
}

func (h *webhookEnv) deliverEvents(events []stripesim.Event) {
	h.T.Helper()
	for _, e := range events {
		if code, body := postWebhook(h.handler, e.Payload, stripesim.Sign(e.Payload, time.Now(),
			signingSecret)); code != 200 {
			h.T.Fatalf("%s: %d %s", e.Type, code, body)
		}
	}
}

func runWebhookEnv(
	t *testing.T, f func(h *webhookEnv, r *replica), options ...func(*testEnv, *stripesim.Options),
) {
	h := &webhookEnv{}
	options = append(options, func(w *testEnv, o *stripesim.Options) {
		o.OnEvent = func(e stripesim.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.undelivered = append(h.undelivered, e)
		}
	})
	runTestEnv(t, func(w *testEnv) {
		h.testEnv = w
		r := w.startReplica()
		h.handler = newWebhookHandler(t, r, signingSecret)
		f(h, r)
	}, options...)
}

func TestWebhook_SchedulesFromMetadata(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		id := w.AuthorizeIntent(func(h *stripesim.Hold) {
			h.Metadata = map[string]string{"holdd_capture_at": envtest.In(4 * time.Minute),
				"holdd_capture_amount": "7000", "holdd_reference": "BK-7", "room": "12"}
		})
		paused := w.AuthorizeIntent(func(h *stripesim.Hold) {
			h.Metadata = map[string]string{"holdd_capture_at": envtest.In(2 * time.Minute),
				"holdd_paused": "true"}
		})
		other := w.AuthorizeIntent(
			func(h *stripesim.Hold) { h.Metadata = map[string]string{"room": "12"} })
		w.deliverPending()
		time.Sleep(3 * time.Second)
		h := w.mustGet(r, id)
		if h.State != hold.Scheduled || !h.Verified || h.CaptureAmount != 7000 ||
			h.Reference != "BK-7" || !h.Mirrored || h.History[0].By != "stripe" {
			t.Fatalf("%+v", h)
		}
		if h := w.mustGet(r, paused); h.State != hold.Paused {
			t.Errorf("%+v", h)
		}
		if _, _, err := r.Get(w.Ctx, other); !errors.Is(
			err, &hold.Problem{Code: hold.HoldNotFound}) {
			t.Errorf("an intent without terms: %v", err)
		}
		time.Sleep(4 * time.Minute)
		w.waitForState(r, id, hold.Captured, time.Minute)
		w.CheckEffects(id, "captured 7000 by api", "released 3000 by api")
		w.CheckEffects(paused)
		w.CheckEffects(other)
	})
}

func TestWebhook_RejectsInvalidMetadata(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		for _, m := range []map[string]string{
			{"holdd_capture_at": "tomorrow"}, {"holdd_capture_at": envtest.In(time.Hour),
				"holdd_capture_amount": "12,50"},
			{"holdd_cancel_at": envtest.In(time.Hour), "holdd_on_expiry": "explode"},
			{"holdd_capture_at": envtest.In(time.Hour), "holdd_metadata": "["},
			{"holdd_capture_at": envtest.In(time.Hour), "holdd_capture_amount": "99999"},
		} {
			w.AuthorizeIntent(func(h *stripesim.Hold) { h.Metadata = m })
		}
		w.deliverPending()
		time.Sleep(3 * time.Second)
		if n := w.Logs.FilterMessage("metadata.rejected").Len(); n != 5 {
			t.Errorf("%d told of 5", n)
		}
		entries, err := w.Redis.Stream("holdd:inbox:rejected")
		if err != nil || len(entries) != 5 {
			t.Errorf("%v, %v", entries, err)
		}
		for _, e := range entries {
			if got := strings.Join(e.Values, "|"); !strings.Contains(got, "source|stripe|") ||
				!strings.Contains(got, "holdd_") {
				t.Errorf("%s", got)
			}
		}
	})
}

func TestWebhook_SettledElsewhere(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		ids := []string{w.AuthorizeIntent(), w.AuthorizeIntent(), w.AuthorizeIntent(), w.AuthorizeIntent()}
		for _, id := range ids[:3] {
			w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
				CaptureAt: envtest.In(10 * time.Minute)})
		}
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: ids[3],
			CaptureAt: envtest.In(time.Minute)})
		w.Sim.Dashboard().Capture(ids[0], 4_000)
		w.Sim.Dashboard().Cancel(ids[1], "requested_by_customer")
		w.deliverPending()
		time.Sleep(3 * time.Second)
		h := w.mustGet(r, ids[0])
		if h.State != hold.Captured || h.Reason != hold.CauseElsewhere ||
			h.CapturedAmount != 4_000 {
			t.Errorf("%+v", h)
		}
		if h := w.mustGet(r, ids[1]); h.State != hold.Canceled || h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
		time.Sleep(2 * time.Minute)
		w.deliverPending() // of our own capture
		if h := w.mustGet(r, ids[3]); h.State != hold.Captured || h.Reason != hold.CauseSchedule {
			t.Errorf("%+v", h)
		}
		// The network lets go, and its last event is lost: the other one is
		// enough.
		w.Sim.Dashboard().SetCaptureBefore(ids[2], time.Now().Add(time.Minute))
		time.Sleep(2 * time.Minute)
		w.Sim.ProcessDue()
		w.deliverPending("charge.expired")
		w.waitForState(r, ids[2], hold.Expired, 10*time.Second)
		time.Sleep(10 * time.Minute)
		w.deliverPending()
		w.CheckEffects(ids[0], "captured 4000 by dashboard", "released 6000 by dashboard")
		if n := w.Logs.FilterMessage("hold.attention").Len(); n != 0 {
			t.Errorf("%d holds were reported", n)
		}
	})
}

// A lost answer does not make holdd's own capture one of another system.
func TestWebhook_OwnCaptureAfterLostReply(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
			CaptureAt: envtest.In(time.Minute)})
		w.Sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCapture, Times: 1,
			Fault: stripesim.Fault{Kind: stripesim.FaultDropReply}})
		for range 70 {
			time.Sleep(time.Second)
			w.deliverPending()
		}
		if h := w.waitForState(r, id, hold.Captured, time.Minute); h.Reason != hold.CauseSchedule {
			t.Errorf("%s", h.Reason)
		}
	})
}

func TestWebhook_ReviewPausesAndResumes(t *testing.T) {
	for name, reorder := range map[string]func([]stripesim.Event) []stripesim.Event{
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
			runWebhookEnv(t, func(w *webhookEnv, r *replica) {
				id, fraudulent := w.AuthorizeIntent(), w.AuthorizeIntent()
				for _, id := range []string{id, fraudulent} {
					w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id,
						CaptureAt: envtest.In(2 * time.Minute)})
				}
				w.deliverPending()
				w.Sim.Dashboard().OpenReview(id)
				w.Sim.Dashboard().OpenReview(fraudulent)
				if name != "backwards" {
					w.deliverEvents(reorder(w.takeEvents()))
					for _, id := range []string{id, fraudulent} {
						if h := w.waitForState(r, id, hold.Paused,
							5*time.Second); h.Reason != hold.CauseReview {
							t.Fatalf("%+v", h)
						}
					}
				}
				w.Sim.Dashboard().CloseReview(id, "approved")
				w.Sim.Dashboard().CloseReview(fraudulent, "disputed")
				w.deliverEvents(reorder(w.takeEvents()))
				time.Sleep(5 * time.Second)
				if h := w.mustGet(r, id); h.State != hold.Scheduled {
					t.Errorf("approved and %s, %+v", h.State, h.History)
				}
				if h := w.mustGet(r, fraudulent); name != "backwards" && h.State != hold.Attention {
					t.Errorf("disputed and %s, %+v", h.State, h.History)
				}
				time.Sleep(3 * time.Minute)
				w.CheckEffects(id, "captured 10000 by api")
			})
		})
	}
}

// A webhook that arrived before its hold was scheduled leads to a refresh after
// it, even if the request declared everything.
func TestWebhook_EventBeforeHold(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		id := w.AuthorizeIntent()
		w.Sim.Dashboard().Cancel(id, "")
		w.deliverPending()
		time.Sleep(time.Minute)
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, Amount: 10_000, Currency: "eur",
			ExpiresAt: envtest.In(5 * 24 * time.Hour), CaptureAt: envtest.In(48 * time.Hour)})
		h := w.waitForState(r, id, hold.Canceled, 5*time.Second)
		if h.Reason != hold.CauseElsewhere {
			t.Errorf("%+v", h)
		}
	})
}

func TestWebhook_VerifiesSignature(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(time.Hour)})
		w.Sim.Dashboard().Cancel(id, "")
		payload := w.takeEvents("payment_intent.canceled")[0].Payload
		handler := newWebhookHandler(t, r, "whsec_new", "whsec_old")
		for name, c := range map[string]struct {
			signature string
			payload   []byte
			want      int
		}{
			"none":         {"", payload, 400},
			"garbage":      {"t=1,v1=zz", payload, 400},
			"wrong secret": {stripesim.Sign(payload, time.Now(), "whsec_other"), payload, 400},
			"too old": {stripesim.Sign(payload, time.Now().Add(-301*time.Second),
				"whsec_new"), payload, 400},
			"changed body": {stripesim.Sign(payload, time.Now(), "whsec_new"),
				append([]byte(" "), payload...), 400},
			"no event": {stripesim.Sign([]byte("{}"), time.Now(), "whsec_new"), []byte("{}"),
				400},
			"live": {signWebhook(asLivemode(payload), "whsec_new"),
				asLivemode(payload), 400},
			"without secret": {signWebhook(payload, ""), payload, 400},
		} {
			if code, body := postWebhook(handler, c.payload, c.signature); code != c.want {
				t.Errorf("%s: %d %s", name, code, body)
			}
		}
		if h := w.mustGet(r, id); h.State != hold.Scheduled {
			t.Fatalf("%s by an event that nobody signed", h.State)
		}
		for _, signature := range []string{
			stripesim.Sign(payload, time.Now(), "whsec_old"),
			stripesim.Sign(payload, time.Now(), "whsec_new"),
			stripesim.Sign(payload, time.Now(), "whsec_older", "whsec_old"),
			stripesim.Sign(payload, time.Now().Add(-290*time.Second), "whsec_new"),
		} {
			if code, body := postWebhook(handler, payload, signature); code != 200 {
				t.Errorf("%d %s", code, body)
			}
		}
		w.waitForState(r, id, hold.Canceled, 5*time.Second)
	})
}

func signWebhook(payload []byte, secret string) string {
	return stripesim.Sign(payload, time.Now(), secret)
}

func asLivemode(payload []byte) []byte {
	return bytes.ReplaceAll(payload, []byte(`"livemode":false`), []byte(`"livemode":true`))
}

// A webhook is rejected while Redis is unavailable. Stripe's next delivery is
// accepted.
func TestWebhook_RedisUnavailable(t *testing.T) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		id := w.AuthorizeIntent()
		w.mustSchedule(r, hold.ScheduleRequest{PaymentIntent: id, CaptureAt: envtest.In(time.Hour)})
		w.Sim.Dashboard().Cancel(id, "")
		w.Redis.SetError("LOADING away")
		canceled := w.takeEvents("payment_intent.canceled")
		for _, e := range canceled {
			if code, body := postWebhook(w.handler, e.Payload,
				signWebhook(e.Payload, signingSecret)); code != 503 {
				t.Errorf("%d %s", code, body)
			}
		}
		w.Redis.SetError("")
		time.Sleep(time.Minute)
		w.deliverEvents(canceled)
		w.waitForState(r, id, hold.Canceled, 5*time.Second)
	})
}
