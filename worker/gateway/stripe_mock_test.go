package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/holdd/holdd/worker/hold"
)

// newStripeMock returns stripe-mock, which rejects parameters and values that
// are not in Stripe's OpenAPI spec and keeps no state. It prints each request,
// so newStripeMock discards standard output.
func newStripeMock(t *testing.T) http.RoundTripper {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := os.Stdout
	os.Stdout = null
	t.Cleanup(func() {
		os.Stdout = out
		null.Close()
	})
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return roundTripFunc(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		stub.HandleRequest(w, r)
		return w.Result(), nil
	})
}

// TestDo_RequestsAcceptedByStripeMock checks that stripe-mock accepts each
// request and that the gateway can read its response, which has Stripe's
// examples.
func TestDo_RequestsAcceptedByStripeMock(t *testing.T) {
	mock := newStripeMock(t)
	sent := 0
	g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
		sent++
		return mock.RoundTrip(r)
	})
	terms := map[string]string{"holdd_capture_at": "2026-12-01T10:00:00Z", "holdd_paused": ""}
	otherCard := hold.AuthorizeParams{
		PaymentMethod: "pm_2", CVCToken: hold.NewSecret("cvctok_2"),
		ReturnURL: "https://hotel.example/",
	}
	present := hold.AuthorizeParams{Amount: 1, Currency: "eur", PaymentMethod: "pm_1"}
	connected := func(c hold.Call) hold.Call {
		c.Account = testAccountID
		return c
	}
	part := connected(callsByOp[hold.OpCapture])
	part.Amount = 1250
	divided := part
	divided.CaptureParams = allCaptureParams
	for name, call := range map[string]hold.Call{
		"capture all":            callsByOp[hold.OpCapture],
		"capture part":           part,
		"capture with a fee":     divided,
		"cancel":                 callsByOp[hold.OpCancel],
		"cancel, account":        connected(callsByOp[hold.OpCancel]),
		"read":                   callsByOp[hold.OpRead],
		"read, account":          connected(callsByOp[hold.OpRead]),
		"authorize":              authorizeWith(fullAuthorize, testAccountID, "k"),
		"authorize, off session": authorizeWith(minimalAuthorize, "", "k"),
		"authorize, Stripe.js":   authorizeWith(present, "", "k"),
		"confirm":                confirmWith(hold.AuthorizeParams{}, "", "k"),
		"confirm, other card":    confirmWith(otherCard, "", "k"),
		"confirm a renewal": confirmWith(hold.AuthorizeParams{PaymentMethod: "pm_1",
			OffSession: true, ErrorOnRequiresAction: true}, "", "k"),
		"create": {Op: hold.OpCreate, Key: "k", Account: testAccountID,
			Authorize: &hold.AuthorizeParams{Amount: 1250, Currency: "eur", Customer: "cus_1",
				PaymentMethod: "pm_1", Metadata: map[string]string{hold.MetaHold: testIntentID}}},
		"another card": {Op: hold.OpSetUpCard, Key: "k", Account: testAccountID,
			CardSetup: &hold.CardSetupSessionParams{Customer: "cus_1",
				ReturnURL: "https://hotel.example/",
				CancelURL: "https://hotel.example/", Metadata: map[string]string{"a": "b"}}},
		"confirm with the cardholder": confirmWith(hold.AuthorizeParams{PaymentMethod: "pm_1",
			ReturnURL: "https://hotel.example/"}, "", "k"),
		"list, of a customer": {Op: hold.OpList, Customer: "cus_1", Limit: 100},
		"update":              updateWith(terms, "", "k"),
		"update, account":     updateWith(map[string]string{"a": "b"}, testAccountID, "k"),
		"list":                {Op: hold.OpList},
		"list, everything": {Op: hold.OpList, Account: testAccountID,
			After: testIntentID, Limit: 20},
		"list, bounded": {Op: hold.OpList, CreatedUpTo: time.Unix(1_790_000_000, 0)},
		"list, histories": {Op: hold.OpList, Content: hold.ContentHistories,
			CreatedFrom: time.Unix(1_780_000_000, 0), CreatedUpTo: time.Unix(1_790_000_000, 0)},
		"list, charges": {Op: hold.OpList, Content: hold.ContentCharges},
		"list, plain charges": {Op: hold.OpList, Content: hold.ContentPlainHistories, After: "ch_1",
			CreatedFrom: time.Unix(1_780_000_000, 0)},
		"list, captures": {Op: hold.OpList, Content: hold.ContentCaptures, After: "evt_1"},
		"check":          {Op: hold.OpCheck},
	} {
		before := sent
		if a := g.Do(t.Context(), call); a.Kind != hold.AnswerOK ||
			a.HTTPStatus != 200 || a.RequestID == "" {
			t.Errorf("%s: %+v", name, a)
		}
		if sent != before+1 {
			t.Errorf("%s: %d requests", name, sent-before)
		}
	}

	// stripe-mock answers an increment with an intent of another id.
	if a := g.Do(t.Context(), hold.Call{Op: hold.OpIncrement, PaymentIntent: testIntentID,
		Amount: 15000, Key: "k"}); a.HTTPStatus != 200 {
		t.Errorf("increment: %+v", a)
	}

	// stripe-mock notices a wrong parameter:
	misspelled := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.RawQuery = "expandd[0]=latest_charge"
		return mock.RoundTrip(r)
	})
	if a := misspelled.Do(t.Context(), callsByOp[hold.OpRead]); a.Kind != hold.AnswerInvalid {
		t.Errorf("a parameter that does not exist: %+v", a)
	}
}
