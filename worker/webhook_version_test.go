package worker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestWebhook_EveryVersionHandledAlike sends every event of one scenario in
// several renderings, in order and backwards, and expects the same holds.
func TestWebhook_EveryVersionHandledAlike(t *testing.T) {
	for _, backwards := range []bool{false, true} {
		want := strings.Join(applyEventsInVersion(t, stripesim.APIVersion, backwards), "\n")
		for _, typ := range []string{"payment_intent.amount_capturable_updated",
			"payment_intent.succeeded", "payment_intent.canceled",
			"payment_intent.payment_failed", "payment_intent.requires_action",
			"charge.captured", "charge.expired", "charge.updated", "review.opened",
			"review.closed"} {
			if !strings.Contains(want, typ) {
				t.Errorf("the scenario has no %s", typ)
			}
		}
		for _, version := range []string{"2025-03-31.basil", stripesim.NewestAPIVersion} {
			got := strings.Join(applyEventsInVersion(t, version, backwards), "\n")
			if got != want {
				t.Errorf("%s, backwards %t:\n%s\nwant\n%s", version, backwards, got, want)
			}
		}
	}
}

// versionScenario has one hold for each thing that may happen to it at Stripe.
var versionScenario = []struct {
	name  string
	do    func(w *webhookEnv, id string) error
	state hold.State
}{
	{"captured", func(w *webhookEnv, id string) error {
		return w.Sim.Dashboard().Capture(id, 10_000)
	}, hold.Captured},
	{"captured in part", func(w *webhookEnv, id string) error {
		return w.Sim.Dashboard().Capture(id, 4_000)
	}, hold.Captured},
	{"shared", func(w *webhookEnv, id string) error {
		return w.Sim.Dashboard().CapturePart(id, 3_000)
	}, hold.Scheduled},
	{"canceled", func(w *webhookEnv, id string) error {
		return w.Sim.Dashboard().Cancel(id, "requested_by_customer")
	}, hold.Canceled},
	{"expired", func(w *webhookEnv, id string) error {
		err := w.Sim.Dashboard().SetCaptureBefore(id, time.Now())
		w.Sim.ProcessDue()
		return err
	}, hold.Expired},
	{"incremented", func(w *webhookEnv, id string) error {
		return w.Sim.Dashboard().Increment(id, 12_000)
	}, hold.Scheduled},
	{"under review", func(w *webhookEnv, id string) error {
		return w.Sim.Dashboard().OpenReview(id)
	}, hold.Paused},
	{"approved", func(w *webhookEnv, id string) error {
		d := w.Sim.Dashboard()
		return errors.Join(d.OpenReview(id), d.CloseReview(id, "approved"))
	}, hold.Scheduled},
	{"canceled under review", func(w *webhookEnv, id string) error {
		d := w.Sim.Dashboard()
		return errors.Join(d.OpenReview(id), d.Cancel(id, "fraudulent"))
	}, hold.Canceled},
}

// applyEventsInVersion returns the type of each event of the scenario, and then
// each hold.
func applyEventsInVersion(t *testing.T, version string, backwards bool) (out []string) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		ids := make([]string, len(versionScenario))
		for i, s := range versionScenario {
			ids[i] = w.AuthorizeIntent(func(h *stripesim.Hold) {
				h.Multicapture, h.Incremental = s.name == "shared", s.name == "incremented"
				h.Metadata = map[string]string{"holdd_capture_at": envtest.In(time.Hour)}
			})
		}
		out = w.deliverInVersion(version, false) // the metadata schedules each hold
		for i, s := range versionScenario {
			if err := s.do(w, ids[i]); err != nil {
				t.Fatal(s.name, err)
			}
		}
		for _, method := range []string{"pm_card_chargeCustomerFail",
			"pm_card_threeDSecure2Required"} {
			// The first one is declined.
			_, _ = w.Sim.Authorize(stripesim.Hold{Amount: 500, PaymentMethod: method})
		}
		out = append(out, w.deliverInVersion(version, backwards)...)
		for i, s := range versionScenario {
			h := w.mustGet(r, ids[i])
			out = append(out, fmt.Sprint(s.name, ": ", h.State, " ", h.Reason, " ", h.Amount, " ",
				h.CapturedAmount, " ", h.CapturedElsewhere, " ", h.ExpiresAt))
			if h.State != s.state {
				t.Errorf("%s, %s: %s, want %s", version, s.name, h.State, s.state)
			}
		}
	}, func(_ *testEnv, o *stripesim.Options) { o.Webhook.APIVersion = version })
	return out
}

// deliverInVersion delivers what has happened and returns the types of events.
// It leaves out charge.refunded, which only older versions send and which must
// be ignored.
func (h *webhookEnv) deliverInVersion(version string, backwards bool) (types []string) {
	h.T.Helper()
	events := h.takeEvents()
	if backwards {
		slices.Reverse(events)
	}
	for _, e := range events {
		if !strings.Contains(string(e.Payload), `"api_version":"`+version+`"`) {
			h.T.Fatalf("%s", e.Payload)
		}
		code, body := postWebhook(h.handler, e.Payload,
			stripesim.Sign(e.Payload, time.Now(), signingSecret))
		time.Sleep(5 * time.Second) // for the read that the event asks for
		switch {
		case code != 200 || e.Type == "charge.refunded" && !strings.Contains(body, "ignored"):
			h.T.Errorf("%s: %d %s", e.Type, code, body)
		case e.Type != "charge.refunded":
			types = append(types, e.Type)
		}
	}
	return types
}
