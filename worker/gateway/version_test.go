package gateway_test

import (
	"net/http"
	"testing"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// TestGateway_SendsItsVersionToNewAccount checks that each request names its
// version, because the account's own may refuse its parameters.
func TestGateway_SendsItsVersionToNewAccount(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1, APIVersion: stripesim.NewestAPIVersion})
	sent := 0
	g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
		sent++
		if v := r.Header.Get("Stripe-Version"); v != stripesim.APIVersion {
			t.Errorf("%s %s: version %q", r.Method, r.URL.Path, v)
		}
		return sim.Transport().RoundTrip(r)
	})
	do := func(c hold.Call, want hold.AnswerKind) hold.Answer {
		t.Helper()
		a := g.Do(t.Context(), c)
		if a.Kind != want {
			t.Fatalf("%s: %+v, want %s", c.Op, a, want)
		}
		return a
	}
	authorize := func(key, method string, want hold.PaymentIntentStatus) string {
		t.Helper()
		in := do(authorizeWith(hold.AuthorizeParams{Amount: 1000, Currency: "eur",
			PaymentMethod: method}, "", key), hold.AnswerOK).Intent
		if in.Status != want {
			t.Fatalf("%s: %+v", method, in)
		}
		return in.ID
	}
	first := authorize("k1", "pm_card_visa", hold.StatusRequiresCapture)
	second := authorize("k2", "pm_card_visa", hold.StatusRequiresCapture)
	third := authorize("k3", "pm_card_threeDSecure2Required", hold.StatusRequiresAction)
	if err := sim.Dashboard().CompleteAction(third); err != nil {
		t.Fatal(err)
	}
	for _, c := range []hold.Call{
		{Op: hold.OpConfirm, PaymentIntent: third, Key: "k4", Authorize: &hold.AuthorizeParams{}},
		{Op: hold.OpUpdate, PaymentIntent: first, Key: "k5",
			Metadata: map[string]string{"a": "b"}},
		{Op: hold.OpRead, PaymentIntent: first},
		{Op: hold.OpCapture, PaymentIntent: first, Amount: 400, Key: "k6"},
		{Op: hold.OpCancel, PaymentIntent: second, Key: "k7",
			CancellationReason: hold.ReasonDuplicate},
		{Op: hold.OpList}, {Op: hold.OpCheck},
	} {
		do(c, hold.AnswerOK)
	}
	if in := g.InspectAPIKeyAndAccount(t.Context()); in.ListEndpoints.Kind != hold.AnswerOK ||
		sent != 16 {
		t.Errorf("%d requests, %+v", sent, in)
	}
}

// TestParseEvent_NewestRendering parses an event whose object has the fields
// and the values that versions after 2023-10-16 add.
func TestParseEvent_NewestRendering(t *testing.T) {
	const body = `{"id":"evt_1","object":"event","type":"payment_intent.canceled",
		"api_version":"2026-11-18.endive","context":"acct_12345678","account":"acct_12345678",
		"created":1764000000,"livemode":false,"pending_webhooks":1,
		"request":{"id":null,"idempotency_key":null},"data":{"object":{"id":"pi_12345678",
		"object":"payment_intent","allowed_payment_method_types":null,"amount":500,
		"amount_capturable":0,"amount_details":{"discount_amount":0,"error":null,
		"line_items":{"object":"list","data":[]},"shipping":null,"tax":{"total_tax_amount":0},
		"tip":{}},"amount_received":0,"automatic_payment_methods":{"allow_redirects":"never",
		"enabled":true},"cancellation_reason":"expired","capture_method":"automatic_async",
		"created":1764000000,"currency":"eur","customer":null,"customer_account":"acct_9",
		"excluded_payment_method_types":["klarna"],"hooks":{"inputs":{"tax":{"calculation":"t"}}},
		"latest_charge":"ch_1","managed_payments":{"enabled":false},"metadata":{"a":"b"},
		"payment_details":{"customer_reference":null,"order_reference":"BK-1"},
		"payment_method_configuration_details":{"id":"pmc_1","parent":null},
		"payment_method_options":{"card":{"request_multicapture":"if_available"},
		"card_present":{"capture_method":"manual_preferred","routing":{"requested_priority":null}}},
		"payment_method_types":["card","card_present"],"payment_record":"pr_1",
		"presentment_details":{"presentment_amount":540,"presentment_currency":"usd"},
		"review":null,"status":"canceled"}}}`
	e, err := parseSignedEvent(body)
	if err != nil || e.Account != "acct_12345678" || e.AutomaticCapture || e.Intent == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	in := e.Intent
	if in.ID != "pi_12345678" || in.Status != hold.StatusCanceled || in.CancellationReason != "expired" ||
		in.Amount != 500 || in.Currency != "eur" ||
		in.Metadata["a"] != "b" {
		t.Errorf("%+v", in)
	}
}
