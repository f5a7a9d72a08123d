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

const webhookSecret = "whsec_test_of_events"

func parseSignedEvent(body string) (hold.StripeEvent, error) {
	signature := stripesim.Sign([]byte(body), time.Now(), webhookSecret)
	return gateway.ParseEvent([]byte(body), signature,
		gateway.ParseEventOptions{Secrets: []string{"", "whsec_new", webhookSecret}})
}

// eventBody returns a minimal event with an object.
func eventBody(typ, object string) string {
	return `{"id":"evt_1","object":"event","type":"` + typ + `","created":1,"data":{"object":` + object + `}}`
}

// TestParseEvent_AllSimulatorEvents parses every event of the simulator, in
// several API versions.
func TestParseEvent_AllSimulatorEvents(t *testing.T) {
	for _, version := range []string{"2015-10-16", "2023-10-16", "2025-09-30.clover",
		stripesim.NewestAPIVersion} {
		seen := map[string]int{}
		onEvent := func(e stripesim.Event) {
			got, err := parseSignedEvent(string(e.Payload))
			if err != nil || got.ID != e.ID || got.Type != e.Type ||
				got.Created.Unix() != e.Created.Unix() || got.Livemode {
				t.Errorf("%s: %+v, %v", e.Type, got, err)
			}
			if got.PaymentIntent != e.Intent {
				t.Errorf("%s is about %q, not %q", e.Type, got.PaymentIntent, e.Intent)
			}
			if strings.HasPrefix(e.Type, "payment_intent.") != (got.Intent != nil) ||
				strings.HasPrefix(e.Type, "review.") != (got.Review != nil) {
				t.Errorf("%s: %+v", e.Type, got)
			}
			seen[e.Type]++
		}
		webhook := stripesim.Webhook{APIVersion: version}
		sim := stripesim.New(stripesim.Options{Seed: 3, Webhook: webhook, OnEvent: onEvent})
		id, err := sim.Authorize(stripesim.Hold{
			Amount: 1000, Currency: "eur", PaymentMethod: "pm_card_visa",
			Account:  "acct_connected1",
			Metadata: map[string]string{"holdd_capture_at": "x"},
		})
		if err != nil {
			t.Fatal(err)
		}
		d := sim.Dashboard()
		for _, err := range []error{
			d.OpenReview(id), d.CloseReview(id, "approved"), d.Capture(id, 600),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, typ := range []string{
			"payment_intent.amount_capturable_updated", "payment_intent.succeeded",
			"charge.captured",
			"review.opened", "review.closed",
		} {
			if seen[typ] == 0 {
				t.Errorf("%s did not occur: %v", typ, seen)
			}
		}
	}
}

func TestParseEvent_ReadsIntent(t *testing.T) {
	e, err := parseSignedEvent(`{"id":"evt_1","object":"event","type":"payment_intent.succeeded",
		"created":1764000000,"livemode":true,"api_version":"2030-01-01","account":"acct_12345678",
		"request":{"id":"req_1","idempotency_key":"holdd-pi_12345678-capture-0-1"},"new_in_2030":[1,{}],
		"data":{"object":{"id":"pi_12345678","object":"payment_intent","status":"succeeded","amount":500,
		"amount_capturable":0,"amount_received":400,"currency":"eur","created":1764000000,
		"capture_method":"manual","latest_charge":{"anything":1},"cancellation_reason":null,
		"review":{"x":1},"metadata":{"a":"b"}},"previous_attributes":{"status":"requires_capture"}}}`)
	if err != nil || !e.Livemode ||
		e.Account != "acct_12345678" || e.Intent.AmountReceived != 400 ||
		e.Intent.Status != hold.StatusSucceeded || e.AutomaticCapture {
		t.Errorf("%+v %+v %v", e, e.Intent, err)
	}
	e, err = parseSignedEvent(eventBody("payment_intent.canceled", `{"object":"payment_intent",
		"id":"pi_12345678","status":"expired","currency":"eur","created":1764000000}`))
	if err != nil || e.Intent.Status != hold.StatusCanceled ||
		e.Intent.CancellationReason != hold.ReasonExpired {
		t.Errorf("the status expired: %+v %v", e.Intent, err)
	}
	charge := `{"object":"charge","payment_intent":{"id":"pi_12345678"}}`
	e, err = parseSignedEvent(eventBody("charge.captured", charge))
	if err != nil || e.PaymentIntent != "pi_12345678" {
		t.Errorf("an expanded id: %+v %v", e, err)
	}
}

// TestParseEvent_ManualCapturePerMethod shows that an intent whose payment
// method is captured manually is a hold, whatever the intent's own capture
// method.
func TestParseEvent_ManualCapturePerMethod(t *testing.T) {
	for _, c := range []struct {
		status, captureMethod, options string
		automatic                      bool
	}{
		{"requires_capture", "manual", `{}`, false},
		{"requires_capture", "automatic", `{"card":{"capture_method":"manual"}}`, false},
		{"requires_capture", "automatic_async", `{}`, false},
		{"succeeded", "automatic", `{"klarna":{"capture_method":"manual"}}`, false},
		{"canceled", "automatic", `{"card_present":{"capture_method":"manual_preferred"}}`, false},
		{"succeeded", "automatic", `{"card":{"capture_method":null,"mandate_options":null}}`, true},
		{"succeeded", "automatic_async", `null`, true},
	} {
		e, err := parseSignedEvent(eventBody("payment_intent.succeeded",
			`{"id":"pi_12345678","object":"payment_intent","currency":"eur","created":1,"status":"`+
				c.status+`","capture_method":"`+c.captureMethod+`","payment_method_options":`+
				c.options+`}`))
		if err != nil || e.AutomaticCapture != c.automatic {
			t.Errorf("%+v: automatic %t, %v", c, e.AutomaticCapture, err)
		}
	}
}

// TestParseEvent_NotAboutAHold parses events that are not about a hold, with
// objects of any form.
func TestParseEvent_NotAboutAHold(t *testing.T) {
	for _, body := range []string{
		eventBody("invoice.paid", `{"id":5,"metadata":[]}`),
		eventBody("charge.dispute.created", `{"id":"dp_1","object":"dispute","metadata":5}`),
		`{"id":"evt_1","object":"event","type":"charge.updated","created":1,"request":"req_1",
			"data":{"object":{"id":"ch_1","object":"charge","payment_intent":null}}}`,
	} {
		if e, err := parseSignedEvent(body); err != nil || e.PaymentIntent != "" {
			t.Errorf("%s: %+v %v", body, e, err)
		}
	}
}

func TestParseEvent_RejectsOtherBodies(t *testing.T) {
	clientSecret := `{"id":"pi_12345678_secret_x","object":"payment_intent","status":"succeeded",
		"currency":"eur","created":1}`
	for _, body := range []string{
		``, `null`, `[]`, `{}`,
		eventBody("payment_intent.succeeded", clientSecret),
		eventBody("payment_intent.succeeded", "null"),
		eventBody("review.closed", `{"id":"x","object":"review"}`),
	} {
		if _, err := parseSignedEvent(body); !errors.Is(err, gateway.ErrNotAnEvent) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzParseEvent checks that ParseEvent reads only a body with a recent and
// valid signature, and never panics.
func FuzzParseEvent(f *testing.F) {
	intent := `{"id":"pi_12345678","object":"payment_intent","status":"succeeded","currency":"eur","created":1}`
	review := `{"id":"prv_1","object":"review","payment_intent":{"id":"pi_12345678"}}`
	f.Add([]byte(eventBody("payment_intent.succeeded", intent)), "t=1,v1=00", true)
	f.Add([]byte(eventBody("review.closed", review)), "t=9223372036854775807,v1=,v0", true)
	f.Add([]byte(thinEvent("v1.payment_intent.canceled", `"context":"acct_12345678",`,
		"payment_intent", "pi_12345678")), "t=1,v1=00", true)
	f.Add([]byte(thinEvent("v2.core.event_destination.ping", "", "event_destination", "ed_1")),
		"", true)
	f.Add([]byte(`{`), "", false)
	f.Fuzz(func(t *testing.T, body []byte, signature string, signed bool) {
		if signed {
			signature = stripesim.Sign(body, time.Now(), webhookSecret)
		}
		e, err := gateway.ParseEvent(body, signature,
			gateway.ParseEventOptions{Secrets: []string{webhookSecret}, Tolerance: time.Minute})
		known := errors.Is(err, gateway.ErrInvalidSignature) ||
			errors.Is(err, gateway.ErrSignatureTooOld) ||
			errors.Is(err, gateway.ErrSignatureInFuture) ||
			errors.Is(err, gateway.ErrNotAnEvent)
		switch {
		case err != nil && !known, err != nil && signed && !errors.Is(err, gateway.ErrNotAnEvent):
			t.Errorf("signed %t: %v", signed, err)
		case err != nil:
		case !signed && !strings.Contains(signature, "v1="):
			t.Errorf("read without a signature: %+v", e)
		case e.PaymentIntent != "" && hold.CheckPaymentIntentID(e.PaymentIntent) != nil,
			e.Intent != nil && e.Intent.ID != e.PaymentIntent,
			e.Account != "" && hold.CheckAccountID(e.Account) != nil:
			t.Errorf("%+v", e)
		}
	})
}

// A signature from the future would stay valid for longer than one from now.
func TestParseEvent_SignatureFromTheFuture(t *testing.T) {
	body := []byte(`{"id":"evt_1","object":"event","type":"charge.captured","created":1,` +
		`"data":{"object":{"object":"charge","id":"ch_1"}}}`)
	for ahead, want := range map[time.Duration]error{
		4 * time.Minute: nil, 6 * time.Minute: gateway.ErrSignatureInFuture,
	} {
		signature := stripesim.Sign(body, time.Now().Add(ahead), webhookSecret)
		_, err := gateway.ParseEvent(body, signature,
			gateway.ParseEventOptions{Secrets: []string{webhookSecret}})
		if !errors.Is(err, want) {
			t.Errorf("%s ahead: %v, want %v", ahead, err, want)
		}
	}
}
