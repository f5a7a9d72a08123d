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

const hookSecret = "whsec_test_of_events"

func parse(body string) (hold.StripeEvent, error) {
	return gateway.ParseEvent([]byte(body), stripesim.Sign([]byte(body), time.Now(), hookSecret), []string{"", "whsec_new", hookSecret}, 0)
}

// Every event that the simulator makes is read, whatever version its endpoint has, and says what happened.
func TestEveryEventOfTheSimulatorIsRead(t *testing.T) {
	for _, version := range []string{"2015-10-16", "2023-10-16", "2025-09-30.clover"} {
		seen := map[string]int{}
		sim := stripesim.New(stripesim.Options{Seed: 3, Webhook: stripesim.Webhook{APIVersion: version}, OnEvent: func(e stripesim.Event) {
			got, err := parse(string(e.Payload))
			if err != nil || got.ID != e.ID || got.Type != e.Type || got.Created.Unix() != e.Created.Unix() || got.Livemode {
				t.Errorf("%s: %+v, %v", e.Type, got, err)
			}
			if got.PaymentIntent != e.Intent {
				t.Errorf("%s is about %q, not %q", e.Type, got.PaymentIntent, e.Intent)
			}
			if strings.HasPrefix(e.Type, "payment_intent.") != (got.Intent != nil) || strings.HasPrefix(e.Type, "review.") != (got.Review != nil) {
				t.Errorf("%s: %+v", e.Type, got)
			}
			seen[e.Type]++
		}})
		id, err := sim.Authorize(stripesim.Hold{Amount: 1000, Currency: "eur", PaymentMethod: "pm_card_visa", Account: "acct_connected1", Metadata: map[string]string{"holdd_capture_at": "x"}})
		if err != nil {
			t.Fatal(err)
		}
		d := sim.Dashboard()
		for _, err := range []error{d.OpenReview(id), d.CloseReview(id, "approved"), d.Capture(id, 600)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, typ := range []string{"payment_intent.amount_capturable_updated", "payment_intent.succeeded", "charge.captured", "review.opened", "review.closed"} {
			if seen[typ] == 0 {
				t.Errorf("%s was not made: %v", typ, seen)
			}
		}
	}
}

func TestWhatAnEventSays(t *testing.T) {
	e, err := parse(`{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1764000000,"livemode":true,"api_version":"2030-01-01","account":"acct_12345678",
		"request":{"id":"req_1","idempotency_key":"holdd-pi_12345678-capture-0-1"},"new_in_2030":[1,{}],
		"data":{"object":{"id":"pi_12345678","object":"payment_intent","status":"succeeded","amount":500,"amount_capturable":0,"amount_received":400,"currency":"eur","created":1764000000,
		"capture_method":"manual","latest_charge":{"anything":1},"cancellation_reason":null,"review":{"x":1},"metadata":{"a":"b"}},"previous_attributes":{"status":"requires_capture"}}}`)
	if err != nil || e.IdempotencyKey != "holdd-pi_12345678-capture-0-1" || !e.Livemode || e.Account != "acct_12345678" || e.Intent.AmountReceived != 400 || e.Intent.Status != hold.StatusSucceeded || e.AutomaticCapture {
		t.Errorf("%+v %+v %v", e, e.Intent, err)
	}
	// Those that concern no hold are read and say so; their objects may look however they like.
	for _, body := range []string{
		`{"id":"evt_1","object":"event","type":"invoice.paid","created":1,"data":{"object":{"id":5,"metadata":[]}}}`,
		`{"id":"evt_1","object":"event","type":"charge.dispute.created","created":1,"data":{"object":{"id":"dp_1","object":"dispute","metadata":5}}}`,
		`{"id":"evt_1","object":"event","type":"charge.updated","created":1,"request":"req_1","data":{"object":{"id":"ch_1","object":"charge","payment_intent":null}}}`,
	} {
		if e, err := parse(body); err != nil || e.PaymentIntent != "" {
			t.Errorf("%s: %+v %v", body, e, err)
		}
	}
	if e, err := parse(`{"id":"evt_1","object":"event","type":"charge.captured","created":1,"data":{"object":{"object":"charge","payment_intent":{"id":"pi_12345678"}}}}`); err != nil || e.PaymentIntent != "pi_12345678" {
		t.Errorf("%+v %v", e, err)
	}
	for _, body := range []string{``, `null`, `[]`, `{}`, `{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1,"data":{"object":{"id":"pi_12345678_secret_x","object":"payment_intent","status":"succeeded","currency":"eur","created":1}}}`,
		`{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1,"data":{"object":null}}`, `{"id":"evt_1","object":"event","type":"review.closed","created":1,"data":{"object":{"id":"x","object":"review"}}}`} {
		if _, err := parse(body); !errors.Is(err, gateway.ErrNoEvent) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// Whatever is signed or not, only what one of the secrets signed lately is read, and nothing panics.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1,"data":{"object":{"id":"pi_12345678","object":"payment_intent","status":"succeeded","currency":"eur","created":1}}}`), "t=1,v1=00", true)
	f.Add([]byte(`{"id":"evt_1","object":"event","type":"review.closed","created":1,"data":{"object":{"id":"prv_1","object":"review","payment_intent":{"id":"pi_12345678"}}}}`), "t=9223372036854775807,v1=,v0", true)
	f.Add([]byte(`{`), "", false)
	f.Fuzz(func(t *testing.T, body []byte, signature string, signed bool) {
		if signed {
			signature = stripesim.Sign(body, time.Now(), hookSecret)
		}
		e, err := gateway.ParseEvent(body, signature, []string{hookSecret}, time.Minute)
		switch {
		case err != nil:
			if !errors.Is(err, gateway.ErrForged) && !errors.Is(err, gateway.ErrTooOld) && !errors.Is(err, gateway.ErrNoEvent) {
				t.Errorf("%v", err)
			}
			if signed && !errors.Is(err, gateway.ErrNoEvent) {
				t.Errorf("signed, and %v", err)
			}
		case !signed && !strings.Contains(signature, "v1="):
			t.Errorf("read without a signature: %+v", e)
		case e.PaymentIntent != "" && hold.CheckPaymentIntentID(e.PaymentIntent) != nil, e.Intent != nil && e.Intent.ID != e.PaymentIntent, e.Account != "" && hold.CheckAccountID(e.Account) != nil:
			t.Errorf("%+v", e)
		}
	})
}
