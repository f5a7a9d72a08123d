package worker_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/envtest"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestWebhook_EveryVersionHandledAlike sends every event of one scenario in
// several renderings, and expects the same results and holds.
func TestWebhook_EveryVersionHandledAlike(t *testing.T) {
	want := strings.Join(applyEventsInVersion(t, stripesim.APIVersion), "\n")
	for _, typ := range []string{"payment_intent.amount_capturable_updated",
		"payment_intent.succeeded", "payment_intent.canceled", "payment_intent.payment_failed",
		"payment_intent.requires_action", "charge.captured", "charge.expired", "charge.updated",
		"review.opened", "review.closed"} {
		if !strings.Contains(want, typ) {
			t.Errorf("the scenario has no %s", typ)
		}
	}
	for _, version := range []string{"2025-02-24.acacia", "2025-03-31.basil",
		stripesim.NewestAPIVersion} {
		if got := strings.Join(applyEventsInVersion(t, version), "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", version, got, want)
		}
	}
}

// applyEventsInVersion returns the result of each event of the scenario, in
// order, and then each hold.
func applyEventsInVersion(t *testing.T, version string) (out []string) {
	runWebhookEnv(t, func(w *webhookEnv, r *replica) {
		deliver := func() {
			t.Helper()
			for _, e := range w.takeEvents() {
				if !strings.Contains(string(e.Payload), `"api_version":"`+version+`"`) {
					t.Fatalf("%s", e.Payload)
				}
				code, body := postWebhook(w.handler, e.Payload,
					stripesim.Sign(e.Payload, time.Now(), signingSecret))
				out = append(out, fmt.Sprint(e.Type, " ", code, " ", body))
				time.Sleep(5 * time.Second) // for the read that the event asks for
			}
		}
		d := w.Sim.Dashboard()
		do := map[string]func(id string) error{
			"captured":  func(id string) error { return d.Capture(id, 10_000) },
			"part":      func(id string) error { return d.Capture(id, 4_000) },
			"canceled":  func(id string) error { return d.Cancel(id, "requested_by_customer") },
			"expired":   func(id string) error { return w.Sim.SetCaptureBefore(id, time.Now()) },
			"increment": func(id string) error { return d.Increment(id, 12_000) },
			"shared":    func(id string) error { return d.CapturePart(id, 3_000) },
			"review":    d.OpenReview,
			"approved":  d.OpenReview, "withdrawn": d.OpenReview,
		}
		ids := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(do)) {
			ids[name] = w.CreateIntent(func(h *stripesim.Hold) {
				h.Multicapture, h.Incremental = name == "shared", name == "increment"
				h.Metadata = map[string]string{"holdd_capture_at": envtest.In(time.Hour),
					"holdd_reference": name}
			})
		}
		deliver() // the metadata schedules each hold
		for _, name := range slices.Sorted(maps.Keys(do)) {
			if err := do[name](ids[name]); err != nil {
				t.Fatal(name, err)
			}
		}
		w.Sim.ProcessDue()
		for _, method := range []string{"pm_card_chargeCustomerFail",
			"pm_card_threeDSecure2Required"} {
			id, err := w.Sim.Authorize(stripesim.Hold{Amount: 500, Currency: "eur",
				PaymentMethod: method})
			out = append(out, fmt.Sprint(method, " ", id, " ", err))
		}
		deliver()
		for _, err := range []error{d.CloseReview(ids["approved"], "approved"),
			d.Cancel(ids["withdrawn"], "fraudulent")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		deliver()
		for _, name := range slices.Sorted(maps.Keys(ids)) {
			h := w.mustGet(r, ids[name])
			out = append(out, fmt.Sprint(h.Reference, " ", h.State, " ",
				h.Reason, " ", h.Amount, " ",
				h.CapturedAmount, " ", h.CapturedElsewhere, " ", h.ExpiresAt, " ", len(h.History)))
		}
		for name, want := range map[string]hold.State{"captured": hold.Captured,
			"part": hold.Captured, "canceled": hold.Canceled, "expired": hold.Expired,
			"increment": hold.Scheduled, "review": hold.Paused, "approved": hold.Scheduled,
			"withdrawn": hold.Canceled} {
			if h := w.mustGet(r, ids[name]); h.State != want {
				t.Errorf("%s, %s: %s, want %s", version, name, h.State, want)
			}
		}
	}, func(_ *testEnv, o *stripesim.Options) { o.Webhook.APIVersion = version })
	return out
}
