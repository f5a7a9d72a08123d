package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/audit"
	"github.com/holdd/holdd/worker/hold"
)

// plainCharge returns a charge of 100 EUR as Stripe lists it, created at 1764000000
// plus a number of hours.
func plainCharge(id string, hours int, more string) string {
	return fmt.Sprintf(`{"id":%q,"object":"charge","amount":10000,"amount_captured":0,`+
		`"amount_refunded":0,"captured":false,"created":%d,"currency":"eur","customer":"cus_1",`+
		`"livemode":false,"metadata":{"booking":"BK-1","note":"pi_1_secret_Zq8TyZq8TyZq8TyZq8Ty"},`+
		`"paid":true,"payment_intent":null,"refunded":false,"status":"succeeded",`+
		`"payment_method_details":{"type":"card","card":{"brand":"visa"}}%s}`, id,
		1764000000+3600*hours, more)
}

func capturedCharge(id string, amount int, capturedAfter time.Duration) string {
	c := plainCharge(id, 0, fmt.Sprintf(`,"balance_transaction":{"id":"txn_1",`+
		`"object":"balance_transaction","created":%d}`, 1764000000+int(capturedAfter.Seconds())))
	c = strings.Replace(c, `"captured":false`, `"captured":true`, 1)
	return strings.Replace(c, `"amount_captured":0`, fmt.Sprintf(`"amount_captured":%d`, amount), 1)
}

func refundedCharge(id, reason string) string {
	c := plainCharge(id, 0, fmt.Sprintf(`,"refunds":{"object":"list","data":[{"id":"re_1",`+
		`"object":"refund","created":1764604800,"reason":%q}]}`, reason))
	c = strings.Replace(c, `"refunded":false`, `"refunded":true`, 1)
	return strings.Replace(c, `"amount_refunded":0`, `"amount_refunded":10000`, 1)
}

// TestList_PlainCharges reads charges of the Charges API in every state, between
// charges of intents and a declined one.
func TestList_PlainCharges(t *testing.T) {
	charges := []string{
		plainCharge("ch_held", 9, ""),
		strings.Replace(plainCharge("ch_of_intent", 8, ""), `"payment_intent":null`,
			`"payment_intent":"pi_1"`, 1),
		strings.Replace(plainCharge("ch_declined", 7, ""), `"succeeded"`, `"failed"`, 1),
		capturedCharge("ch_later", 10000, 3*time.Hour),
		capturedCharge("ch_part", 4000, time.Second),
		capturedCharge("ch_at_once", 10000, time.Second),
		refundedCharge("ch_expired", "expired_uncaptured_charge"),
		refundedCharge("ch_released", "requested_by_customer"),
		strings.Replace(plainCharge("ch_last", 0, ""), `"payment_intent":null`,
			`"payment_intent":"pi_2"`, 1),
	}
	var asked string
	g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
		asked = r.URL.Path + "?" + r.URL.RawQuery
		return respondWith(200, `{"object":"list","has_more":true,"data":[`+
			strings.Join(charges, ",")+`]}`)(r)
	})
	a := g.Do(t.Context(), hold.Call{Op: hold.OpList, Content: hold.ContentPlainHistories,
		After: "ch_before"})
	if a.Kind != hold.AnswerOK || a.Page.Last != "ch_last" || !a.Page.More ||
		a.Page.OldestAt.Unix() != 1764000000 {
		t.Fatalf("%+v", a)
	}
	for _, want := range []string{"/v1/charges?", "starting_after=ch_before", "limit=100",
		"data.balance_transaction", "data.refunds"} {
		if !strings.Contains(asked, want) {
			t.Errorf("%s was not requested: %s", want, asked)
		}
	}
	checkPlainPayments(t, a.Page)
}

// checkPlainPayments checks what an audit makes of the charges.
func checkPlainPayments(t *testing.T, page *hold.IntentListPage) {
	t.Helper()
	got := map[string]audit.Payment{}
	for i := range page.Intents {
		in := &page.Intents[i]
		if strings.Contains(in.Metadata["note"], "secret_Zq8Ty") {
			t.Errorf("a secret came out: %+v", in.Metadata)
		}
		if p, ok := audit.NewPayment(in, &page.Histories[i]); ok {
			got[p.ID] = p
		}
	}
	at := func(after time.Duration) time.Time { return time.Unix(1764000000, 0).UTC().Add(after) }
	for id, want := range map[string]audit.Payment{
		"ch_held":     {Outcome: audit.Held, Held: 10000, AuthorizedAt: at(9 * time.Hour)},
		"ch_later":    {Outcome: audit.Captured, Captured: 10000, EndedAt: at(3 * time.Hour)},
		"ch_part":     {Outcome: audit.Captured, Captured: 4000, EndedAt: at(time.Second)},
		"ch_expired":  {Outcome: audit.Expired, EndedAt: at(7 * 24 * time.Hour)},
		"ch_released": {Outcome: audit.Canceled, EndedAt: at(7 * 24 * time.Hour)},
	} {
		p := got[id]
		if p.Outcome != want.Outcome || p.Held != want.Held || p.Captured != want.Captured ||
			!p.EndedAt.Equal(want.EndedAt) || p.Amount != 10000 || p.Brand != "visa" ||
			p.Customer != "cus_1" || p.Currency != "eur" {
			t.Errorf("%s: %+v", id, p)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d payments that were to be captured by a request: %v", len(got), got)
	}
}

func TestList_PlainChargesInvalid(t *testing.T) {
	for name, body := range map[string]string{
		"no id":           `{"object":"list","data":[{"object":"charge"}]}`,
		"another object":  `{"object":"list","data":[{"id":"ch_1","object":"refund"}]}`,
		"null":            `{"object":"list","data":[null]}`,
		"an endless list": `{"object":"list","data":[],"has_more":true}`,
	} {
		a := gatewayOn(t, respondWith(200, body)).Do(t.Context(),
			hold.Call{Op: hold.OpList, Content: hold.ContentPlainCharges})
		if a.Kind != hold.AnswerUnknown {
			t.Errorf("%s: %+v", name, a)
		}
	}
	a := gatewayOn(t, respondWith(200, `{}`)).Do(t.Context(),
		hold.Call{Op: hold.OpList, Content: hold.ContentPlainCharges, After: "ch 1"})
	if a.Kind != hold.AnswerInvalid {
		t.Errorf("an invalid cursor: %+v", a)
	}
}

// TestWebhookEndpoints_AcceptedByStripeMock creates and updates an endpoint.
func TestWebhookEndpoints_AcceptedByStripeMock(t *testing.T) {
	mock := newStripeMock(t)
	g := gatewayOn(t, mock.RoundTrip)
	const address = "https://hotel.example/webhooks/stripe"
	events := []string{"charge.captured", "payment_intent.succeeded"}
	if e, _, a := g.CreateWebhookEndpoint(t.Context(), address, events, "k"); a.HTTPStatus != 200 ||
		e.ID == "" {
		t.Errorf("create: %+v, %+v", e, a)
	}
	if a := g.EnableWebhookEndpointWithEvents(t.Context(), "we_1", events, "k2"); a.HTTPStatus != 200 {
		t.Errorf("update: %+v", a)
	}
}
