package gateway_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// thinEvent returns a thin event about an object. more has further fields, each
// with its comma.
func thinEvent(eventType, more, objectType, id string) string {
	return `{"id":"evt_test_65R2Gp","object":"v2.core.event","type":"` + eventType + `",` + more +
		`"livemode":false,"created":"2026-08-10T16:24:41.328027017Z","related_object":{"id":"` +
		id +
		`","type":"` + objectType + `","url":"/v1/` + objectType + `s/` + id + `"}}`
}

// TestParseEvent_Thin parses thin events in the shapes that Stripe sends.
func TestParseEvent_Thin(t *testing.T) {
	const intent = "pi_12345678"
	authorized := "v1.payment_intent.amount_capturable_updated"
	for _, c := range []struct {
		name, body                 string
		eventType, account, intent string
	}{
		{"own account", thinEvent(authorized, "", "payment_intent", intent),
			"payment_intent.amount_capturable_updated", "", intent},
		{"null context and reason",
			thinEvent(authorized, `"context":null,"reason":null,`, "payment_intent", intent),
			"payment_intent.amount_capturable_updated", "", intent},
		{"connected account", thinEvent("v1.payment_intent.canceled",
			`"context":"acct_12345678","reason":{"type":"request","request":
			{"id":"req_1","idempotency_key":"k"}},`, "payment_intent", intent),
			"payment_intent.canceled", "acct_12345678", intent},
		{"recipient of a connected account", thinEvent("v1.payment_intent.canceled",
			`"context":"acct_12345678/acct_87654321",`, "payment_intent", intent),
			"payment_intent.canceled", "acct_87654321", ""},
		{"context of another form", thinEvent("v1.payment_intent.canceled",
			`"context":"wksp_test_123",`, "payment_intent", intent),
			"payment_intent.canceled", "", ""},
		{"charge", thinEvent("v1.charge.captured", "", "charge", "ch_12345678"),
			"charge.captured", "", ""},
		{"review", thinEvent("v1.review.closed", "", "review", "prv_12345678"),
			"review.closed", "", ""},
		{"ping", thinEvent("v2.core.event_destination.ping", `"reason":null,`,
			"v2.core.event_destination", "ed_test_ping"),
			"v2.core.event_destination.ping", "", ""},
		{"account", thinEvent("v2.core.account[configuration.merchant].capability_status_updated",
			"", "v2.core.account", "acct_12345678"),
			"v2.core.account[configuration.merchant].capability_status_updated", "", ""},
		{"no related object", `{"id":"evt_456","object":"v2.core.event","livemode":false,
			"type":"v1.billing.meter.no_meter_found","created":"2022-02-15T00:27:45.330Z",
			"context":"event_context_789"}`, "billing.meter.no_meter_found", "", ""},
	} {
		e, err := parseSignedEvent(c.body)
		if err != nil || e.Type != c.eventType || e.Account != c.account ||
			e.PaymentIntent != c.intent || e.Intent != nil || e.AutomaticCapture ||
			e.Created.Year() < 2022 || e.Livemode {
			t.Errorf("%s: %+v, %v", c.name, e, err)
		}
	}
}

func TestParseEvent_ThinRejected(t *testing.T) {
	good := thinEvent("v1.payment_intent.canceled", "", "payment_intent", "pi_12345678")
	for name, body := range map[string]string{
		"another object":  strings.ReplaceAll(good, `"type":"payment_intent"`, `"type":"charge"`),
		"a client secret": strings.ReplaceAll(good, "pi_12345678", "pi_12345678_secret_x"),
		"no intent":       strings.ReplaceAll(good, "pi_12345678", ""),
		"no type":         strings.ReplaceAll(good, "v1.payment_intent.canceled", ""),
		"no id":           strings.ReplaceAll(good, "evt_test_65R2Gp", ""),
		"a Unix time": strings.ReplaceAll(good, `"2026-08-10T16:24:41.328027017Z"`,
			"1754842000"),
	} {
		if e, err := parseSignedEvent(body); !errors.Is(err, gateway.ErrNotAnEvent) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// TestParseEvent_OrganizationContext shows whose events an organization key
// handles: those of its account and of the accounts connected to it.
func TestParseEvent_OrganizationContext(t *testing.T) {
	const own, connected, other = "acct_own12345", "acct_connected1", "acct_other123"
	intent := `{"id":"pi_12345678","object":"payment_intent","status":"requires_capture",
		"currency":"eur","created":1}`
	snapshot := func(account, context string) string {
		return strings.Replace(eventBody("payment_intent.succeeded", intent), `"created"`,
			`"account":"`+account+`","context":"`+context+`","created"`, 1)
	}
	thin := func(context string) string {
		return thinEvent("v1.payment_intent.succeeded", `"context":"`+context+`",`,
			"payment_intent", "pi_12345678")
	}
	for _, c := range []struct {
		name, body, account string
		foreign             bool
	}{
		{"own account", thin(own), "", false},
		{"own account without a context", thin(""), "", false},
		{"connected account", thin(own + "/" + connected), connected, false},
		{"another account", thin(other), other, true},
		{"connected account of another", thin(other + "/" + connected), connected, true},
		{"account that begins with the own id", thin(own + "6"), own + "6", true},
		{"recipient of a connected account", thin(own + "/" + connected + "/" + other), other,
			true},
		{"snapshot of the own account", snapshot("", own), "", false},
		{"snapshot of the own account, named twice", snapshot(own, own), "", false},
		{"snapshot of an older version", snapshot("", ""), "", false},
		{"snapshot of a connected account", snapshot(connected, own+"/"+connected), connected,
			false},
		{"snapshot from the platform's endpoint", snapshot(connected, connected), connected, false},
		{"snapshot of another account", snapshot("", other), other, true},
		{"snapshot of a connected account of another",
			snapshot(connected, other+"/"+connected), connected, true},
	} {
		signature := stripesim.Sign([]byte(c.body), time.Now(), webhookSecret)
		e, err := gateway.ParseEvent([]byte(c.body), signature,
			gateway.ParseEventOptions{Secrets: []string{webhookSecret}, Context: own})
		if err != nil || e.Account != c.account || (e.PaymentIntent == "") != c.foreign ||
			c.foreign && e.Intent != nil {
			t.Errorf("%s: %+v, %v", c.name, e, err)
		}
	}
}

// TestParseEvent_ThinSimulatorEvents parses every event of the simulator as a
// thin event.
func TestParseEvent_ThinSimulatorEvents(t *testing.T) {
	var seen []string
	sim := stripesim.New(stripesim.Options{Seed: 3, OnEvent: func(e stripesim.Event) {
		got, err := parseSignedEvent(string(e.ThinPayload("")))
		named := strings.HasPrefix(e.Type, "payment_intent.")
		if err != nil || got.ID != e.ID || got.Type != e.Type || got.Intent != nil ||
			got.Account != "acct_connected1" || !got.Created.Equal(e.Created) ||
			named != (got.PaymentIntent == e.Intent) || hold.CheckAccountID(got.Account) != nil {
			t.Errorf("%s: %+v, %v", e.Type, got, err)
		}
		seen = append(seen, e.Type)
	}})
	id, err := sim.Authorize(stripesim.Hold{Amount: 1000, Currency: "eur",
		PaymentMethod: "pm_card_visa", Account: "acct_connected1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{sim.Dashboard().OpenReview(id), sim.Dashboard().Capture(id, 600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if all := strings.Join(seen, " "); !strings.Contains(all, "charge.captured") ||
		!strings.Contains(all, "review.opened") {
		t.Error(all)
	}
}
