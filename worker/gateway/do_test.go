package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

// fullAuthorize has every optional field of an authorization, minimalAuthorize
// none.
var (
	fullAuthorize = hold.AuthorizeParams{
		Amount: 12500, Currency: "eur", PaymentMethod: "pm_1", Customer: "cus_1",
		SetupFutureUsage: "off_session", Extended: true, CVCToken: hold.NewSecret("cvctok_1"),
		Description: "Room 12", ReceiptEmail: "guest@example.com",
		ReturnURL: "https://hotel.example/booked",
		Metadata:  map[string]string{"room": "12", "holdd_capture_at": "2026-12-01T10:00:00Z"},
	}
	minimalAuthorize = hold.AuthorizeParams{
		Amount: 12500, Currency: "eur", PaymentMethod: "pm_1", OffSession: true,
	}
	otherCardConfirm = hold.AuthorizeParams{
		PaymentMethod: "pm_2", CVCToken: hold.NewSecret("cvctok_2"), ReturnURL: "app://back/x",
	}
)

func authorizeWith(c hold.AuthorizeParams, account, key string) hold.Call {
	return hold.Call{Op: hold.OpAuthorize, Account: account, Key: key, Authorize: &c}
}

func confirmWith(c hold.AuthorizeParams, account, key string) hold.Call {
	return hold.Call{
		Op: hold.OpConfirm, PaymentIntent: testIntentID, Account: account, Key: key, Authorize: &c,
	}
}

func updateWith(pairs map[string]string, account, key string) hold.Call {
	return hold.Call{
		Op: hold.OpUpdate, PaymentIntent: testIntentID, Account: account, Metadata: pairs, Key: key,
	}
}

// TestDo_RequestParametersAreStable pins the request of every call. Stripe
// compares parameters when an idempotency key is used again, even by a later
// version of holdd. A change here needs new keys.
func TestDo_RequestParametersAreStable(t *testing.T) {
	const path = "/v1/payment_intents/" + testIntentID
	const expand = "expand[0]=latest_charge&expand[1]=review"
	const expandList = "expand[0]=data.latest_charge&expand[1]=data.review"
	const authorize = "amount=12500&capture_method=manual&confirm=true" +
		"&confirmation_method=manual&currency=eur"
	terms := map[string]string{"holdd_capture_at": "2026-12-01T10:00:00Z", "holdd_paused": ""}
	for _, tt := range []struct {
		name string
		call hold.Call
		want string
	}{
		{"capture all", hold.Call{Op: hold.OpCapture, PaymentIntent: testIntentID, Key: "k-1"},
			"POST " + path + "/capture key=k-1 account= "},
		{"increment", hold.Call{Op: hold.OpIncrement, PaymentIntent: testIntentID, Amount: 15000,
			Account: testAccountID, Key: "k-1"},
			"POST " + path + "/increment_authorization key=k-1 account=" + testAccountID +
				" amount=15000&" + expand},
		{"capture part", hold.Call{
			Op: hold.OpCapture, PaymentIntent: testIntentID, Account: testAccountID,
			Amount: 1250, Key: "k-2",
		}, "POST " + path + "/capture key=k-2 account=" + testAccountID +
			" amount_to_capture=1250"},
		{"cancel", hold.Call{Op: hold.OpCancel, PaymentIntent: testIntentID, Key: "k-3",
			CancellationReason: hold.ReasonAbandoned},
			"POST " + path + "/cancel key=k-3 account= cancellation_reason=abandoned"},
		{"cancel for the customer", hold.Call{Op: hold.OpCancel, PaymentIntent: testIntentID,
			Key: "k-3", CancellationReason: hold.ReasonRequestedByCustomer},
			"POST " + path + "/cancel key=k-3 account= cancellation_reason=requested_by_customer"},
		{"read", hold.Call{Op: hold.OpRead, PaymentIntent: testIntentID, Account: testAccountID},
			"GET " + path + " key= account=" + testAccountID + " " + expand},
		{"read ignores key and amount",
			hold.Call{Op: hold.OpRead, PaymentIntent: testIntentID, Amount: 5, Key: "k-4"},
			"GET " + path + " key= account= " + expand},
		{"update", updateWith(terms, testAccountID, "k-7"),
			"POST " + path + " key=k-7 account=" + testAccountID + " " + expand +
				"&metadata[holdd_capture_at]=2026-12-01T10:00:00Z&metadata[holdd_paused]="},
		{"authorize", authorizeWith(fullAuthorize, testAccountID, "k-8"),
			"POST /v1/payment_intents key=k-8 account=" + testAccountID + " " + authorize +
				"&customer=cus_1&description=Room 12&" + expand +
				"&metadata[holdd_capture_at]=2026-12-01T10:00:00Z&metadata[room]=12&payment_method=pm_1" +
				"&payment_method_options[card][cvc_token]=cvctok_1" +
				"&payment_method_options[card][request_extended_authorization]=if_available" +
				"&payment_method_types[0]=card&receipt_email=guest@example.com" +
				"&return_url=https://hotel.example/booked&setup_future_usage=off_session"},
		{"authorize off session", authorizeWith(minimalAuthorize, "", "k-9"),
			"POST /v1/payment_intents key=k-9 account= " + authorize + "&" + expand +
				"&off_session=true&payment_method=pm_1&payment_method_types[0]=card"},
		{"confirm", confirmWith(hold.AuthorizeParams{}, "", "k-10"),
			"POST " + path + "/confirm key=k-10 account= " + expand + "&use_stripe_sdk=true"},
		{"confirm with another card", confirmWith(otherCardConfirm, testAccountID, "k-11"),
			"POST " + path + "/confirm key=k-11 account=" + testAccountID + " " + expand +
				"&payment_method=pm_2&payment_method_options[card][cvc_token]=cvctok_2" +
				"&return_url=app://back/x"},
		{"list", hold.Call{Op: hold.OpList},
			"GET /v1/payment_intents key= account= " + expandList + "&limit=100"},
		{"list page",
			hold.Call{Op: hold.OpList, Account: testAccountID, After: testIntentID, Limit: 20},
			"GET /v1/payment_intents key= account=" + testAccountID + " " + expandList +
				"&limit=20&starting_after=" + testIntentID},
		{"check", hold.Call{Op: hold.OpCheck}, "GET /v1/payment_intents key= account= limit=1"},
	} {
		var got []string
		g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
			got = append(got, describeRequest(t, r))
			if r.Header.Get("Authorization") != "Bearer "+testAPIKey ||
				r.Header.Get("Stripe-Version") != "2023-10-16" ||
				r.URL.Host != "api.stripe.com" || r.URL.Scheme != "https" {
				t.Errorf("%s: %v %v", tt.name, r.URL, r.Header)
			}
			if r.URL.Path == "/v1/payment_intents" && r.Method == "GET" {
				return newResponse(200, `{"object":"list","has_more":false,"data":[]}`), nil
			}
			return newResponse(200, intentBody("requires_capture")), nil
		})
		if a := g.Do(t.Context(), tt.call); a.Kind != hold.AnswerOK {
			t.Errorf("%s: %+v", tt.name, a)
		}
		if !reflect.DeepEqual(got, []string{tt.want}) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// describeRequest returns the parts of a request that Stripe compares, in one
// line.
func describeRequest(t *testing.T, r *http.Request) string {
	t.Helper()
	encoded := r.URL.RawQuery
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		encoded += string(b)
	}
	v, err := url.ParseQuery(encoded)
	if err != nil {
		t.Error(err)
	}
	decoded, _ := url.QueryUnescape(v.Encode())
	return fmt.Sprintf("%s %s key=%s account=%s %s", r.Method, r.URL.Path,
		r.Header.Get("Idempotency-Key"), r.Header.Get("Stripe-Account"), decoded)
}

func TestDo_RejectsInvalidCalls(t *testing.T) {
	g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent %s %s", r.Method, r.URL)
		return newResponse(200, intentBody("succeeded")), nil
	})
	good := callsByOp[hold.OpCapture]
	with := func(change func(*hold.Call)) hold.Call {
		c := good
		change(&c)
		return c
	}
	pair := map[string]string{"a": "b"}
	noAmount, noCard, noCurrency := minimalAuthorize, minimalAuthorize, minimalAuthorize
	noAmount.Amount, noCard.PaymentMethod, noCurrency.Currency = 0, "", ""
	brackets := minimalAuthorize
	brackets.Metadata = map[string]string{"a]": "b"}
	secret := testIntentID + "_secret_abc"
	for name, call := range map[string]hold.Call{
		"no op":                {},
		"unknown op":           with(func(c *hold.Call) { c.Op = 99 }),
		"increment to nothing": with(func(c *hold.Call) { c.Op = hold.OpIncrement }),
		"increment without a key": {Op: hold.OpIncrement, PaymentIntent: testIntentID,
			Amount: 15000},
		"capture without key": with(func(c *hold.Call) { c.Key = "" }),
		"cancel without key": with(func(c *hold.Call) {
			c.Op, c.Key, c.CancellationReason = hold.OpCancel, "", hold.ReasonAbandoned
		}),
		"cancel without reason": with(func(c *hold.Call) { c.Op = hold.OpCancel }),
		"cancel for a mood": with(func(c *hold.Call) {
			c.Op, c.CancellationReason = hold.OpCancel, "mood"
		}),
		"key too long": with(func(c *hold.Call) { c.Key = strings.Repeat("k", 256) }),
		"key with a line break": with(
			func(c *hold.Call) { c.Key = "a\r\nStripe-Account: acct_1" }),
		"key with a space":       with(func(c *hold.Call) { c.Key = " k" }),
		"key not ASCII":          with(func(c *hold.Call) { c.Key = "ключ" }),
		"key not UTF-8":          with(func(c *hold.Call) { c.Key = "\xff" }),
		"no id":                  with(func(c *hold.Call) { c.PaymentIntent = "" }),
		"a path as id":           with(func(c *hold.Call) { c.PaymentIntent = ".." }),
		"a client secret as id":  with(func(c *hold.Call) { c.PaymentIntent = secret }),
		"invalid account":        with(func(c *hold.Call) { c.Account = "acct_1\r\n" }),
		"negative amount":        with(func(c *hold.Call) { c.Amount = -1 }),
		"read, invalid id":       {Op: hold.OpRead, PaymentIntent: "ch_1"},
		"read, a client secret":  {Op: hold.OpRead, PaymentIntent: secret},
		"authorize, no key":      authorizeWith(minimalAuthorize, "", ""),
		"authorize, no account":  authorizeWith(minimalAuthorize, "hotel", "k"),
		"authorize, nothing":     {Op: hold.OpAuthorize, Key: "k"},
		"authorize, no amount":   authorizeWith(noAmount, "", "k"),
		"authorize, no card":     authorizeWith(noCard, "", "k"),
		"authorize, no currency": authorizeWith(noCurrency, "", "k"),
		"authorize, brackets":    authorizeWith(brackets, "", "k"),
		"confirm, no key":        confirmWith(hold.AuthorizeParams{}, "", ""),
		"confirm, invalid id": {
			Op: hold.OpConfirm, PaymentIntent: "..", Key: "k", Authorize: &noCard,
		},
		"confirm, nothing":        {Op: hold.OpConfirm, PaymentIntent: testIntentID, Key: "k"},
		"update, no pairs":        updateWith(nil, "", "k"),
		"update, no key":          updateWith(pair, "", ""),
		"update, invalid account": updateWith(pair, "hotel", "k"),
		"update, long key": updateWith(
			map[string]string{strings.Repeat("k", 41): "b"}, "", "k"),
		"update, empty key": updateWith(map[string]string{"": "b"}, "", "k"),
		"update, brackets":  updateWith(map[string]string{"a][amount": "b"}, "", "k"),
		"update, long value": updateWith(
			map[string]string{"a": strings.Repeat("é", 501)}, "", "k"),
		"update, not UTF-8":     updateWith(map[string]string{"a": "\xff"}, "", "k"),
		"list, page too large":  {Op: hold.OpList, Limit: 101},
		"list, page negative":   {Op: hold.OpList, Limit: -1},
		"list, invalid account": {Op: hold.OpList, Account: "hotel"},
		"list, after no id":     {Op: hold.OpList, After: "pi_1&limit=1"},
	} {
		a := g.Do(t.Context(), call)
		sent := a.HTTPStatus != 0 || !strings.HasPrefix(a.Message, "not sent: ")
		if a.Kind != hold.AnswerInvalid || sent {
			t.Errorf("%s: %+v", name, a)
		}
		if strings.Contains(a.Message, "_secret_") {
			t.Errorf("%s: %s", name, a.Message)
		}
	}
	longest := with(func(c *hold.Call) { c.Key = strings.Repeat("k", 255) })
	ok := gatewayOn(t, respondWith(200, intentBody("succeeded")))
	if a := ok.Do(t.Context(), longest); a.Kind != hold.AnswerOK {
		t.Errorf("a key of 255: %+v", a)
	}
}

// TestDo_ReturnsCardholder checks which answers have the values that the
// cardholder's browser needs.
func TestDo_ReturnsCardholder(t *testing.T) {
	const redirectURL = "https://hooks.stripe.com/3ds?key=hunter2"
	const fields = `"next_action":{"type":"redirect_to_url","redirect_to_url":{"url":"` +
		redirectURL + `"}},` +
		`"last_payment_error":{"type":"card_error","code":"card_declined",` +
		`"decline_code":"insufficient_funds","message":"No funds."},`
	action := strings.Replace(intentBody("requires_action"), `"metadata"`, fields+`"metadata"`, 1)
	secret := testIntentID + "_secret_Zq8Ty"
	for _, tt := range []struct {
		name string
		call hold.Call
		want bool
	}{
		{"authorize", authorizeWith(minimalAuthorize, "", "k"), true},
		{"confirm", confirmWith(hold.AuthorizeParams{}, "", "k"), true},
		{"read", callsByOp[hold.OpRead], true},
		{"update", updateWith(map[string]string{"a": "b"}, "", "k"), false},
		{"capture", callsByOp[hold.OpCapture], false},
		{"cancel", callsByOp[hold.OpCancel], false},
	} {
		a := gatewayOn(t, respondWith(200, action)).Do(t.Context(), tt.call)
		switch ch := a.Cardholder; {
		case a.Kind != hold.AnswerOK || (ch != nil) != tt.want:
			t.Errorf("%s: %+v", tt.name, a)
		case tt.want && (ch.ClientSecret.Reveal() != secret || ch.NextAction != "redirect_to_url" ||
			ch.RedirectURL.Reveal() != redirectURL ||
			ch.FailureCode != "insufficient_funds" || ch.FailureMessage != "No funds."):
			t.Errorf("%s: %+v", tt.name, ch)
		}
	}
	declined := errorBody("card_error", "card_declined", `,"payment_intent":`+action)
	a := gatewayOn(t, respondWith(402, declined)).Do(t.Context(),
		authorizeWith(minimalAuthorize, "", "k"))
	if a.Kind != hold.AnswerDeclined || a.Cardholder != nil {
		t.Errorf("declined: %+v", a)
	}
}

func TestDo_ConvertsIntent(t *testing.T) {
	read := func(s string) *hold.PaymentIntent {
		t.Helper()
		a := gatewayOn(t, respondWith(200, s)).Do(t.Context(), callsByOp[hold.OpRead])
		if a.Intent == nil {
			t.Fatalf("%+v", a)
		}
		return a.Intent
	}
	want := hold.PaymentIntent{
		ID: testIntentID, Status: hold.StatusRequiresCapture,
		Amount: 10000, AmountCapturable: 10000, Currency: "eur",
		Created: time.Unix(1764000000, 0).UTC(), CaptureBefore: time.Unix(1764604800, 0).UTC(),
		Features:          hold.FeaturesKnown,
		PaymentMethodType: "card", Metadata: map[string]string{"holdd_reference": "BK-2071"},
	}
	body := intentBody("requires_capture")
	if got := read(body); !reflect.DeepEqual(*got, want) {
		t.Errorf("\n got %+v\nwant %+v", *got, want)
	}

	terminal := strings.ReplaceAll(body, `"type":"card"`, `"type":"card_present"`)
	terminal = strings.ReplaceAll(terminal, `"card":{`, `"card_present":{`)
	got := read(terminal)
	if got.PaymentMethodType != "card_present" || !got.CaptureBefore.Equal(want.CaptureBefore) {
		t.Errorf("terminal: %+v", got)
	}
	card := `"card":{"brand":"visa","last4":"4242","capture_before":1764604800}`
	klarna := strings.Replace(body, `"type":"card"`, `"type":"klarna"`, 1)
	klarna = strings.Replace(klarna, card, `"klarna":{"payment_method_category":"pay_later"}`, 1)
	if got = read(klarna); got.PaymentMethodType != "klarna" || !got.CaptureBefore.IsZero() {
		t.Errorf("a charge without capture_before: %+v", got)
	}
	got = read(withUnexpandedCharge(body))
	if got.PaymentMethodType != "" || !got.CaptureBefore.IsZero() {
		t.Errorf("of two allowed methods one was guessed: %+v", got)
	}
	onlyMethod := strings.Replace(withUnexpandedCharge(body), `["card","link"]`, `["klarna"]`, 1)
	if got := read(onlyMethod); got.PaymentMethodType != "klarna" {
		t.Errorf("the only allowed method: %+v", got)
	}
	noCharge := body[:strings.Index(body, `"latest_charge"`)] + `"latest_charge":null}`
	if got := read(noCharge); !got.CaptureBefore.IsZero() {
		t.Errorf("no charge: %+v", got)
	}
	expired := strings.NewReplacer(`"cancellation_reason":null`, `"cancellation_reason":"expired"`,
		`"livemode":false`, `"livemode":true`, `"amount_received":0`, `"amount_received":400`).
		Replace(intentBody("canceled"))
	got = read(expired)
	if got.CancellationReason != "expired" || !got.Livemode || got.AmountReceived != 400 ||
		got.Status != hold.StatusCanceled {
		t.Errorf("expired: %+v", got)
	}
	got = read(intentBody("expired"))
	if got.Status != hold.StatusCanceled || got.CancellationReason != hold.ReasonExpired {
		t.Errorf("the status expired: %+v", got)
	}
}

func TestDo_ListReadsOnePage(t *testing.T) {
	second := strings.ReplaceAll(intentBody("canceled"), testIntentID, "pi_3Second00000000")
	page := func(more string, items ...string) string {
		return `{"object":"list","has_more":` + more + `,"data":[` + strings.Join(items, ",") + `]}`
	}
	repeated := func(n int) []string {
		return strings.Split(strings.Repeat(second+"\x00", n-1)+second, "\x00")
	}
	first := intentBody("requires_capture")
	for _, tt := range []struct {
		name, body string
		want       hold.AnswerKind
		n          int
		more       bool
	}{
		{"more", page("true", first, second), hold.AnswerOK, 2, true},
		{"last", page("false", first), hold.AnswerOK, 1, false},
		{"empty", page("false"), hold.AnswerOK, 0, false},
		{"empty and yet more", page("true"), hold.AnswerUnknown, 0, false},
		{"one unreadable", page("false", first, "null"), hold.AnswerUnknown, 0, false},
		{"one an id", page("false", `"`+testIntentID+`"`), hold.AnswerUnknown, 0, false},
		{"no data", `{"object":"list","has_more":false}`, hold.AnswerUnknown, 0, false},
		{"more than Stripe sends", page("false", repeated(101)...), hold.AnswerUnknown, 0, false},
		{"100 with charges", page("true", repeated(100)...), hold.AnswerOK, 100, true},
		{"too long", page("false", first) + strings.Repeat(" ", 4<<20),
			hold.AnswerUnknown, 0, false},
	} {
		n := 0
		g := gatewayOn(t, func(*http.Request) (*http.Response, error) {
			n++
			return newResponse(200, tt.body), nil
		})
		a := g.Do(t.Context(), hold.Call{Op: hold.OpList})
		hasPage := a.Page != nil
		if a.Kind != tt.want || a.RequestID != "req_A1b2C3" ||
			hasPage != (tt.want == hold.AnswerOK) {
			t.Errorf("%s: %+v", tt.name, a)
		}
		if n != 1 {
			t.Errorf("%s: %d requests", tt.name, n)
		}
		if !hasPage {
			continue
		}
		got := a.Page.Intents
		if len(got) != tt.n || a.Page.More != tt.more {
			t.Errorf("%s: %d intents, more %t", tt.name, len(got), a.Page.More)
		}
		if tt.name == "more" && (got[0].ID != testIntentID || got[0].CaptureBefore.IsZero() ||
			got[1].Status != hold.StatusCanceled) {
			t.Errorf("%+v", got)
		}
	}
}

// TestDo_Timeout checks that each call ends within the timeout, or with its
// context if that ends sooner.
func TestDo_Timeout(t *testing.T) {
	hangs := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		caller  time.Duration
		want    time.Duration
	}{
		{"default", 0, 0, gateway.DefaultTimeout},
		{"set", 3 * time.Second, 0, 3 * time.Second},
		{"caller's is sooner", 0, time.Second, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, gateway.Options{Transport: hangs, Timeout: tt.timeout})
			ctx := t.Context()
			if tt.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.caller)
				defer cancel()
			}
			start := time.Now()
			a := g.Do(ctx, callsByOp[hold.OpCapture])
			took := time.Since(start)
			const message = "no answer: the call timed out"
			if took != tt.want || a.Kind != hold.AnswerUnknown || a.Message != message {
				t.Errorf("%s: after %s %+v", tt.name, took, a)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	g := gatewayOn(t, func(*http.Request) (*http.Response, error) {
		t.Error("sent although the context had ended")
		return nil, io.EOF
	})
	a := g.Do(ended, callsByOp[hold.OpCapture])
	if a.Kind != hold.AnswerUnreachable || a.Message != "nothing was sent: the caller canceled" {
		t.Errorf("ended before: %+v", a)
	}
}

// TestDo_NeverRetriesOrFollowsRedirects checks that stripe-go and net/http send
// each request once.
func TestDo_NeverRetriesOrFollowsRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308, 409, 424, 429, 500, 502, 503} {
		n := 0
		g := gatewayOn(t, func(r *http.Request) (*http.Response, error) {
			n++
			return newResponse(status, "", "Location: https://elsewhere.example/v1/payment_intents",
				"Stripe-Should-Retry: true"), nil
		})
		for _, call := range callsByOp {
			n = 0
			g.Do(t.Context(), call)
			if n != 1 {
				t.Errorf("%d, %s: %d requests", status, call.Op, n)
			}
		}
	}
}
