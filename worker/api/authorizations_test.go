package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// fakeAuthorizer authorizes every request that package hold accepts.
type fakeAuthorizer struct {
	now      time.Time
	calls    int
	lastCall hold.AuthorizeParams
	result   hold.AuthorizationResult
	err      error
}

func (c *fakeAuthorizer) Authorize(_ context.Context, key string, req hold.AuthorizeRequest, _ string) (hold.AuthorizationResult, error) {
	id, err := hold.DeriveAttemptIDFromKey(key)
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	_, call, err := req.ValidateAndBuildParams(id, c.now)
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	c.calls, c.lastCall = c.calls+1, call
	return c.result, c.err
}

func (c *fakeAuthorizer) Confirm(_ context.Context, id, key string, w hold.ConfirmRequest, _ string) (hold.AuthorizationResult, error) {
	call, err := w.ValidateAndBuildParams(id)
	if err != nil {
		return hold.AuthorizationResult{}, err
	}
	c.calls, c.lastCall = c.calls+1, call
	return c.result, c.err
}

const validIdempotencyKey = "0b1f8a52-6c1e-4c33-9a6e-3f1d1c9e7a10"

func postJSON(t testing.TB, h http.Handler, path, key, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func newAPIWithFakeAuthorizer(t testing.TB) (*api.API, *fakeAuthorizer) {
	t.Helper()
	c := &fakeAuthorizer{now: time.Now().UTC()}
	a, err := api.New(api.Options{Holds: holdsOf(newFakeHolds()), Authorizer: c})
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func TestAuthorizations_Responses(t *testing.T) {
	a, c := newAPIWithFakeAuthorizer(t)
	good := `{"payment_method":"pm_1","amount":12500,"currency":"eur"}`
	c.result = hold.AuthorizationResult{PaymentIntent: testHoldID, Status: hold.AuthorizationRequiresAction, ClientSecret: hold.NewSecret(testHoldID + "_secret_x"), NextAction: "redirect_to_url", RedirectURL: hold.NewSecret("https://bank.example/x")}
	w := postJSON(t, a, "/v1/authorizations", validIdempotencyKey, good)
	var out api.Authorization
	if w.Code != 202 || json.Unmarshal(w.Body.Bytes(), &out) != nil || out.ClientSecret != testHoldID+"_secret_x" || out.NextAction.RedirectURL != "https://bank.example/x" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c.result = hold.AuthorizationResult{PaymentIntent: testHoldID, Status: hold.AuthorizationDone, Hold: &hold.Hold{ID: testHoldID, State: hold.Scheduled}, Created: true}
	for _, path := range []string{"/v1/authorizations", "/v1/authorizations/" + testHoldID + "/confirm"} {
		body := good
		if strings.HasSuffix(path, "confirm") {
			body = ""
		}
		if w := postJSON(t, a, path, validIdempotencyKey, body); w.Code != 201 || w.Header().Get("Location") != "/v1/holds/"+testHoldID || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	c.err = &hold.Problem{Code: hold.CardDeclined, DeclineCode: "insufficient_funds", Detail: "Your card has insufficient funds.", PaymentIntent: testHoldID}
	w = postJSON(t, a, "/v1/authorizations", validIdempotencyKey, good)
	var p api.Problem
	if w.Code != 402 || json.Unmarshal(w.Body.Bytes(), &p) != nil || p.DeclineCode != "insufficient_funds" || p.Detail != "Your card has insufficient funds." || p.PaymentIntent != testHoldID {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c.err = &hold.Problem{Code: hold.OutcomeUnknown, Detail: "d"}
	if w = postJSON(t, a, "/v1/authorizations", validIdempotencyKey, good); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestAuthorizations_InvalidRequests(t *testing.T) {
	a, c := newAPIWithFakeAuthorizer(t)
	with := func(more string) string {
		return `{"payment_method":"pm_1","amount":12500,"currency":"eur",` + more + `}`
	}
	confirm := "/v1/authorizations/" + testHoldID + "/confirm"
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf(`"k%02d%s":"%s"`, i, strings.Repeat("k", 37), strings.Repeat("€", 500))
	}
	for _, tt := range []struct {
		what, path, key, body string
		status                int
		code                  hold.ProblemCode
		field                 string
	}{
		{"no key", "/v1/authorizations", "", with(`"reference":"x"`), 400, hold.InvalidIdempotencyKey, "Idempotency-Key"},
		{"short key", "/v1/authorizations", "1234567", with(`"reference":"x"`), 400, hold.InvalidIdempotencyKey, "Idempotency-Key"},
		{"long key", "/v1/authorizations", strings.Repeat("k", 129), with(`"reference":"x"`), 400, hold.InvalidIdempotencyKey, "Idempotency-Key"},
		{"key with a space", "/v1/authorizations", "12345678 9", with(`"reference":"x"`), 400, hold.InvalidIdempotencyKey, "Idempotency-Key"},
		{"confirm without key", confirm, "", "", 400, hold.InvalidIdempotencyKey, "Idempotency-Key"},
		{"no body", "/v1/authorizations", validIdempotencyKey, "", 400, api.BodyRequired, ""},
		{"a card number", "/v1/authorizations", validIdempotencyKey, `{"payment_method":"4242424242424242","amount":1,"currency":"eur"}`, 422, hold.InvalidField, "payment_method"},
		{"no method", "/v1/authorizations", validIdempotencyKey, `{"amount":1,"currency":"eur"}`, 422, hold.InvalidField, "payment_method"},
		{"no amount", "/v1/authorizations", validIdempotencyKey, `{"payment_method":"pm_1","currency":"eur"}`, 422, hold.InvalidAmount, "amount"},
		{"negative", "/v1/authorizations", validIdempotencyKey, `{"payment_method":"pm_1","amount":-1,"currency":"eur"}`, 422, hold.InvalidAmount, "amount"},
		{"fraction", "/v1/authorizations", validIdempotencyKey, `{"payment_method":"pm_1","amount":12.5,"currency":"eur"}`, 422, hold.InvalidAmount, "amount"},
		{"no currency", "/v1/authorizations", validIdempotencyKey, `{"payment_method":"pm_1","amount":1}`, 422, hold.InvalidAmount, "amount"},
		{"currency", "/v1/authorizations", validIdempotencyKey, `{"payment_method":"pm_1","amount":1,"currency":"euro"}`, 422, hold.InvalidCurrency, "currency"},
		{"twice", "/v1/authorizations", validIdempotencyKey, with(`"amount":1`), 400, api.InvalidJSON, "amount"},
		{"unknown", "/v1/authorizations", validIdempotencyKey, with(`"Amount":1`), 422, api.UnknownField, "Amount"},
		{"null", "/v1/authorizations", validIdempotencyKey, with(`"customer":null`), 422, api.InvalidType, "customer"},
		{"text for a flag", "/v1/authorizations", validIdempotencyKey, with(`"off_session":"yes"`), 422, api.InvalidType, "off_session"},
		{"account", "/v1/authorizations", validIdempotencyKey, with(`"account":"hotel"`), 422, hold.InvalidID, "account"},
		{"customer", "/v1/authorizations", validIdempotencyKey, with(`"customer":"guest"`), 422, hold.InvalidField, "customer"},
		{"setup_future_usage without a customer", "/v1/authorizations", validIdempotencyKey, with(`"setup_future_usage":"off_session"`), 422, hold.InvalidField, "customer"},
		{"usage", "/v1/authorizations", validIdempotencyKey, with(`"customer":"cus_1","setup_future_usage":"always"`), 422, hold.InvalidField, "setup_future_usage"},
		{"a code for a token", "/v1/authorizations", validIdempotencyKey, with(`"cvc_token":"123"`), 422, hold.InvalidField, "cvc_token"},
		{"code of an absent guest", "/v1/authorizations", validIdempotencyKey, with(`"customer":"cus_1","off_session":true,"cvc_token":"cvctok_1"`), 422, hold.InvalidField, "cvc_token"},
		{"mail", "/v1/authorizations", validIdempotencyKey, with(`"receipt_email":"Guest <guest@example.com>"`), 422, hold.InvalidField, "receipt_email"},
		{"script", "/v1/authorizations", validIdempotencyKey, with(`"return_url":"javascript://x/%0aalert(1)"`), 422, hold.InvalidField, "return_url"},
		{"half an address", "/v1/authorizations", validIdempotencyKey, with(`"return_url":"/booked"`), 422, hold.InvalidField, "return_url"},
		{"description", "/v1/authorizations", validIdempotencyKey, with(`"description":"a\nb"`), 422, hold.InvalidField, "description"},
		{"past", "/v1/authorizations", validIdempotencyKey, with(`"capture_at":"2020-01-01T00:00:00Z"`), 422, hold.InThePast, "capture_at"},
		{"both times", "/v1/authorizations", validIdempotencyKey, with(`"capture_at":"2020-01-01T00:00:00Z","cancel_at":"2020-01-01T00:00:00Z"`), 422, hold.ConflictingTimes, "cancel_at"},
		{"more than authorized", "/v1/authorizations", validIdempotencyKey, with(`"capture_amount":12501`), 422, hold.AmountTooLarge, "capture_amount"},
		{"our names", "/v1/authorizations", validIdempotencyKey, with(`"metadata":{"holdd_authorization":"x"}`), 422, hold.InvalidMetadata, "metadata"},
		{"brackets", "/v1/authorizations", validIdempotencyKey, with(`"metadata":{"a][b":"x"}`), 422, hold.InvalidMetadata, "metadata"},
		{"confirm no id", "/v1/authorizations/ch_1/confirm", validIdempotencyKey, "", 422, hold.InvalidID, "id"},
		{"confirm a secret", "/v1/authorizations/" + testHoldID + "_secret_abc/confirm", validIdempotencyKey, "", 422, hold.InvalidID, "id"},
		{"confirm an amount", confirm, validIdempotencyKey, `{"amount":1}`, 422, api.UnknownField, "amount"},
		{"confirm a card number", confirm, validIdempotencyKey, `{"payment_method":"4242424242424242"}`, 422, hold.InvalidField, "payment_method"},
		{"confirm a code", confirm, validIdempotencyKey, `{"cvc_token":"123"}`, 422, hold.InvalidField, "cvc_token"},
	} {
		w := postJSON(t, a, tt.path, tt.key, tt.body)
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != tt.status || p.Code != tt.code || p.Field != tt.field {
			t.Errorf("%s: %d %s", tt.what, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "_secret_") || strings.Contains(w.Body.String(), `"123"`) {
			t.Errorf("%s: repeated a secret: %s", tt.what, w.Body)
		}
	}
	if w := postJSON(t, a, "/v1/authorizations", validIdempotencyKey, with(`"metadata":{`+strings.Join(many, ",")+`}`)); w.Code != 422 && w.Code != 201 && w.Code != 202 {
		t.Errorf("large metadata: %d %.200s", w.Code, w.Body)
	}
	if c.calls > 1 {
		t.Errorf("%d authorizations", c.calls)
	}
	plain, err := api.New(api.Options{Holds: holdsOf(newFakeHolds())})
	if err != nil {
		t.Fatal(err)
	}
	if w := postJSON(t, plain, "/v1/authorizations", validIdempotencyKey, with(`"reference":"x"`)); w.Code != 503 {
		t.Errorf("without cards: %d %s", w.Code, w.Body)
	}
}

// FuzzAuthorize checks that any body leads either to a call with the body's
// terms within Stripe's limits, or to a problem and no call.
func FuzzAuthorize(f *testing.F) {
	a, c := newAPIWithFakeAuthorizer(f)
	c.result = hold.AuthorizationResult{PaymentIntent: testHoldID, Status: hold.AuthorizationDone, Hold: &hold.Hold{ID: testHoldID, State: hold.Scheduled}, Created: true}
	for _, s := range []string{
		`{"payment_method":"pm_1","amount":12500,"currency":"eur"}`, `{"payment_method":"pm_1","amount":1,"currency":"jpy","metadata":{"a":"b"},"on_expiry":"capture","cvc_token":"cvctok_1"}`,
		`{"payment_method":"pm_1","amount":1,"currency":"eur","customer":"cus_1","off_session":true,"return_url":"app://x/y","receipt_email":"a@b.c"}`, `{"amount":1e3}`, `null`, `{"amount":1,"amount":2}`, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c.calls = 0
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/v1/authorizations", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", validIdempotencyKey)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		switch {
		case w.Code == 201:
			var sent hold.AuthorizeRequest
			if json.Unmarshal(body, &sent) != nil || c.calls != 1 || c.lastCall.Amount != sent.Amount || c.lastCall.Amount <= 0 || c.lastCall.PaymentMethod != sent.PaymentMethod ||
				len(c.lastCall.Metadata) > 50 || c.lastCall.Metadata[hold.MetaAuthorization] == "" {
				t.Errorf("%q: %+v", body, c.lastCall)
			}
		case w.Code >= 400 && w.Code < 500:
			problemCode(t, response{w.Code, w.Header(), w.Body.String()})
			if c.calls != 0 {
				t.Errorf("%q was refused and authorized", body)
			}
		default:
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
