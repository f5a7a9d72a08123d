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

// TestRequestsAreFrozen pins what is sent for a call. Stripe compares parameters when a key comes again, also from the next
// version of the program: a change here needs other keys.
func TestRequestsAreFrozen(t *testing.T) {
	const path = "/v1/payment_intents/" + intent
	for _, tt := range []struct {
		name string
		send func(*gateway.Gateway) hold.Answer
		want string
	}{
		{"capture all", do(hold.Call{Op: hold.OpCapture, PaymentIntent: intent, Key: "k-1"}), "POST " + path + "/capture key=k-1 account= "},
		{"capture part", do(hold.Call{Op: hold.OpCapture, PaymentIntent: intent, Account: account, Amount: 1250, Key: "k-2"}),
			"POST " + path + "/capture key=k-2 account=" + account + " amount_to_capture=1250"},
		{"capture nothing, release the rest", do(hold.Call{Op: hold.OpCapture, PaymentIntent: intent, Key: "k-2", ReleaseRest: true}),
			"POST " + path + "/capture key=k-2 account= amount_to_capture=0&final_capture=true"},
		{"cancel", do(hold.Call{Op: hold.OpCancel, PaymentIntent: intent, Key: "k-3"}), "POST " + path + "/cancel key=k-3 account= cancellation_reason=abandoned"},
		{"read", do(hold.Call{Op: hold.OpRead, PaymentIntent: intent, Account: account}), "GET " + path + " key= account=" + account + " expand[0]=latest_charge&expand[1]=review"},
		{"read ignores key and amount", do(hold.Call{Op: hold.OpRead, PaymentIntent: intent, Amount: 5, Key: "k-4"}), "GET " + path + " key= account= expand[0]=latest_charge&expand[1]=review"},
		{"not final", capture(gateway.CaptureParams{PaymentIntent: intent, Key: "k-5", Amount: new(int64(700)), Final: new(false)}),
			"POST " + path + "/capture key=k-5 account= amount_to_capture=700&final_capture=false"},
		{"release the rest", capture(gateway.CaptureParams{PaymentIntent: intent, Key: "k-6", Amount: new(int64(0)), Final: new(true)}),
			"POST " + path + "/capture key=k-6 account= amount_to_capture=0&final_capture=true"},
		{"update", update(map[string]string{"holdd_capture_at": "2026-12-01T10:00:00Z", "holdd_paused": ""}, account, "k-7"),
			"POST " + path + " key=k-7 account=" + account + " expand[0]=latest_charge&expand[1]=review&metadata[holdd_capture_at]=2026-12-01T10:00:00Z&metadata[holdd_paused]="},
		{"authorize", authorize(full), "POST /v1/payment_intents key=k-8 account=" + account + " amount=12500&capture_method=manual&confirm=true&confirmation_method=manual" +
			"&currency=eur&customer=cus_1&description=Room 12&expand[0]=latest_charge&expand[1]=review&metadata[holdd_capture_at]=2026-12-01T10:00:00Z&metadata[room]=12&payment_method=pm_1" +
			"&payment_method_options[card][cvc_token]=cvctok_1&payment_method_options[card][request_extended_authorization]=if_available&payment_method_types[0]=card" +
			"&receipt_email=guest@example.com&return_url=https://hotel.example/booked&setup_future_usage=off_session"},
		{"authorize off session", authorize(plain), "POST /v1/payment_intents key=k-9 account= amount=12500&capture_method=manual&confirm=true&confirmation_method=manual" +
			"&currency=eur&expand[0]=latest_charge&expand[1]=review&off_session=true&payment_method=pm_1&payment_method_types[0]=card"},
		{"confirm", confirm(hold.AuthorizeCall{PaymentIntent: intent, Key: "k-10"}), "POST " + path + "/confirm key=k-10 account= expand[0]=latest_charge&expand[1]=review&use_stripe_sdk=true"},
		{"confirm with another card", confirm(hold.AuthorizeCall{PaymentIntent: intent, Account: account, PaymentMethod: "pm_2", CVCToken: hold.NewSecret("cvctok_2"), ReturnURL: "app://back/x", Key: "k-11"}),
			"POST " + path + "/confirm key=k-11 account=" + account + " expand[0]=latest_charge&expand[1]=review&payment_method=pm_2&payment_method_options[card][cvc_token]=cvctok_2&return_url=app://back/x"},
		{"look", look(intent, account), "GET " + path + " key= account=" + account + " expand[0]=latest_charge&expand[1]=review"},
		{"list", list(gateway.ListQuery{}), "GET /v1/payment_intents key= account= expand[0]=data.latest_charge&expand[1]=data.review&limit=100"},
		{"list page", list(gateway.ListQuery{Account: account, CreatedFrom: time.Unix(1764000000, 0), CreatedTo: time.Unix(1764003600, 1), StartingAfter: intent, Limit: 20}),
			"GET /v1/payment_intents key= account=" + account + " created[gte]=1764000000&created[lt]=1764003601&expand[0]=data.latest_charge&expand[1]=data.review&limit=20&starting_after=" + intent},
		{"list from", list(gateway.ListQuery{CreatedFrom: time.Unix(1764000000, 0)}), "GET /v1/payment_intents key= account= created[gte]=1764000000&expand[0]=data.latest_charge&expand[1]=data.review&limit=100"},
		{"check", func(g *gateway.Gateway) hold.Answer { return g.Check(context.Background()) }, "GET /v1/payment_intents key= account= limit=1"},
	} {
		var got []string
		g := open(t, gateway.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
			form := r.URL.RawQuery
			if r.Body != nil {
				b, _ := io.ReadAll(r.Body)
				form += string(b)
			}
			v, err := url.ParseQuery(form)
			if err != nil {
				t.Error(err)
			}
			plain, _ := url.QueryUnescape(v.Encode())
			got = append(got, fmt.Sprintf("%s %s key=%s account=%s %s", r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), r.Header.Get("Stripe-Account"), plain))
			if r.Header.Get("Authorization") != "Bearer "+testKey || r.Header.Get("Stripe-Version") != "2023-10-16" || r.URL.Host != "api.stripe.com" || r.URL.Scheme != "https" {
				t.Errorf("%s: %v %v", tt.name, r.URL, r.Header)
			}
			if r.URL.Path == "/v1/payment_intents" && r.Method == "GET" {
				return reply(200, `{"object":"list","has_more":false,"data":[]}`), nil
			}
			return reply(200, body("requires_capture")), nil
		})})
		if a := tt.send(g); a.Kind != hold.AnswerOK {
			t.Errorf("%s: %+v", tt.name, a)
		}
		if !reflect.DeepEqual(got, []string{tt.want}) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func do(c hold.Call) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer { return g.Do(context.Background(), c) }
}

func capture(c gateway.CaptureParams) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer { return g.Capture(context.Background(), c) }
}

func update(m map[string]string, account, key string) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer { return g.Update(context.Background(), intent, account, m, key) }
}

// full is an authorization with everything that can be asked for; plain one with nothing that can be left out.
var (
	full = hold.AuthorizeCall{Account: account, Amount: 12500, Currency: "eur", PaymentMethod: "pm_1", Customer: "cus_1", SetupFutureUsage: "off_session", Extended: true,
		CVCToken: hold.NewSecret("cvctok_1"), Description: "Room 12", ReceiptEmail: "guest@example.com", ReturnURL: "https://hotel.example/booked",
		Metadata: map[string]string{"room": "12", "holdd_capture_at": "2026-12-01T10:00:00Z"}, Key: "k-8"}
	plain = hold.AuthorizeCall{Amount: 12500, Currency: "eur", PaymentMethod: "pm_1", OffSession: true, Key: "k-9"}
)

func authorize(c hold.AuthorizeCall) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer { return g.Authorize(context.Background(), c).Answer }
}

func confirm(c hold.AuthorizeCall) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer { return g.Confirm(context.Background(), c).Answer }
}

func look(id, account string) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer {
		return g.RetrieveAuthorization(context.Background(), id, account).Answer
	}
}

func list(q gateway.ListQuery) func(*gateway.Gateway) hold.Answer {
	return func(g *gateway.Gateway) hold.Answer {
		_, _, a := g.List(context.Background(), q)
		return a
	}
}

func TestWrongCallsAreNotSent(t *testing.T) {
	g := open(t, gateway.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent %s %s", r.Method, r.URL)
		return reply(200, body("succeeded")), nil
	})})
	good := calls[hold.OpCapture]
	with := func(change func(*hold.Call)) func(*gateway.Gateway) hold.Answer {
		c := good
		change(&c)
		return do(c)
	}
	for name, send := range map[string]func(*gateway.Gateway) hold.Answer{
		"no op":                 do(hold.Call{}),
		"unknown op":            with(func(c *hold.Call) { c.Op = 99 }),
		"capture without key":   with(func(c *hold.Call) { c.Key = "" }),
		"cancel without key":    with(func(c *hold.Call) { c.Op, c.Key = hold.OpCancel, "" }),
		"key too long":          with(func(c *hold.Call) { c.Key = strings.Repeat("k", 256) }),
		"key with a line break": with(func(c *hold.Call) { c.Key = "a\r\nStripe-Account: acct_1" }),
		"key with a space":      with(func(c *hold.Call) { c.Key = " k" }),
		"key not ASCII":         with(func(c *hold.Call) { c.Key = "ключ" }),
		"no id":                 with(func(c *hold.Call) { c.PaymentIntent = "" }),
		"a path as id":          with(func(c *hold.Call) { c.PaymentIntent = ".." }),
		"a client secret as id": with(func(c *hold.Call) { c.PaymentIntent = intent + "_secret_abc" }),
		"read of no id":         do(hold.Call{Op: hold.OpRead, PaymentIntent: "ch_1"}),
		"no account's id":       with(func(c *hold.Call) { c.Account = "acct_1\r\n" }),
		"negative amount":       with(func(c *hold.Call) { c.Amount = -1 }),
		"zero, not final":       capture(gateway.CaptureParams{PaymentIntent: intent, Key: "k", Amount: new(int64(0)), Final: new(false)}),
		"zero":                  capture(gateway.CaptureParams{PaymentIntent: intent, Key: "k", Amount: new(int64(0))}),
		"authorize, no key":     authorize(hold.AuthorizeCall{Amount: 1, Currency: "eur", PaymentMethod: "pm_1"}),
		"authorize nothing":     authorize(hold.AuthorizeCall{Currency: "eur", PaymentMethod: "pm_1", Key: "k"}),
		"authorize, no card":    authorize(hold.AuthorizeCall{Amount: 1, Currency: "eur", Key: "k"}),
		"authorize, brackets":   authorize(hold.AuthorizeCall{Amount: 1, Currency: "eur", PaymentMethod: "pm_1", Key: "k", Metadata: map[string]string{"a]": "b"}}),
		"confirm, no key":       confirm(hold.AuthorizeCall{PaymentIntent: intent}),
		"confirm no id":         confirm(hold.AuthorizeCall{PaymentIntent: "..", Key: "k"}),
		"look at a secret":      look(intent+"_secret_abc", ""),
		"update of nothing":     update(nil, "", "k"),
		"update without key":    update(map[string]string{"a": "b"}, "", ""),
		"update, a bad account": update(map[string]string{"a": "b"}, "hotel", "k"),
		"update, long key":      update(map[string]string{strings.Repeat("k", 41): "b"}, "", "k"),
		"update, empty key":     update(map[string]string{"": "b"}, "", "k"),
		"update, brackets":      update(map[string]string{"a][amount": "b"}, "", "k"),
		"update, long value":    update(map[string]string{"a": strings.Repeat("é", 501)}, "", "k"),
		"update, not UTF-8":     update(map[string]string{"a": "\xff"}, "", "k"),
		"page too large":        list(gateway.ListQuery{Limit: 101}),
		"page negative":         list(gateway.ListQuery{Limit: -1}),
		"page of no account":    list(gateway.ListQuery{Account: "hotel"}),
		"page after no id":      list(gateway.ListQuery{StartingAfter: "pi_1&limit=1"}),
	} {
		a := send(g)
		if a.Kind != hold.AnswerInvalid || a.HTTPStatus != 0 || !strings.HasPrefix(a.Message, "not sent: ") {
			t.Errorf("%s: %+v", name, a)
		}
		if strings.Contains(a.Message, "_secret_") {
			t.Errorf("%s: %s", name, a.Message)
		}
	}
	longest := good
	longest.Key = strings.Repeat("k", 255)
	ok := open(t, gateway.Options{Transport: always(200, body("succeeded"))})
	if a := ok.Do(t.Context(), longest); a.Kind != hold.AnswerOK {
		t.Errorf("a key of 255: %+v", a)
	}
}

func TestIntentIsTranslated(t *testing.T) {
	read := func(s string) *hold.Intent {
		t.Helper()
		a := open(t, gateway.Options{Transport: always(200, s)}).Do(t.Context(), calls[hold.OpRead])
		if a.Intent == nil {
			t.Fatalf("%+v", a)
		}
		return a.Intent
	}
	want := hold.Intent{
		ID: intent, Status: hold.StatusRequiresCapture, Amount: 10000, AmountCapturable: 10000, Currency: "eur",
		Created: time.Unix(1764000000, 0).UTC(), CaptureBefore: time.Unix(1764604800, 0).UTC(), PaymentMethodType: "card",
		Metadata: map[string]string{"holdd_reference": "BK-2071"},
	}
	if got := read(body("requires_capture")); !reflect.DeepEqual(*got, want) {
		t.Errorf("\n got %+v\nwant %+v", *got, want)
	}

	terminal := strings.NewReplacer(`"type":"card"`, `"type":"card_present"`, `"card":{`, `"card_present":{`).Replace(body("requires_capture"))
	if got := read(terminal); got.PaymentMethodType != "card_present" || !got.CaptureBefore.Equal(want.CaptureBefore) {
		t.Errorf("terminal: %+v", got)
	}
	if got := read(idOnly(body("requires_capture"))); got.PaymentMethodType != "" || !got.CaptureBefore.IsZero() {
		t.Errorf("of two allowed methods one was guessed: %+v", got)
	}
	one := strings.Replace(idOnly(body("requires_capture")), `["card","link"]`, `["klarna"]`, 1)
	if got := read(one); got.PaymentMethodType != "klarna" {
		t.Errorf("the only allowed method: %+v", got)
	}
	klarna := strings.NewReplacer(`"type":"card"`, `"type":"klarna"`, `"card":{"brand":"visa","last4":"4242","capture_before":1764604800}`,
		`"klarna":{"payment_method_category":"pay_later"}`).Replace(body("requires_capture"))
	if got := read(klarna); got.PaymentMethodType != "klarna" || !got.CaptureBefore.IsZero() {
		t.Errorf("a charge without capture_before: %+v", got)
	}
	noCharge := body("requires_capture")
	noCharge = noCharge[:strings.Index(noCharge, `"latest_charge"`)] + `"latest_charge":null}`
	if got := read(noCharge); !got.CaptureBefore.IsZero() {
		t.Errorf("no charge: %+v", got)
	}
	lapsed := strings.NewReplacer(`"cancellation_reason":null`, `"cancellation_reason":"expired"`, `"livemode":false`, `"livemode":true`,
		`"amount_received":0`, `"amount_received":400`).Replace(body("canceled"))
	if got := read(lapsed); got.CancellationReason != "expired" || !got.Livemode || got.AmountReceived != 400 || got.Status != hold.StatusCanceled {
		t.Errorf("lapsed: %+v", got)
	}
}

func TestListReadsOnePage(t *testing.T) {
	second := strings.ReplaceAll(body("canceled"), intent, "pi_3Second00000000")
	page := func(more string, items ...string) string {
		return `{"object":"list","has_more":` + more + `,"data":[` + strings.Join(items, ",") + `]}`
	}
	for _, tt := range []struct {
		name, body string
		want       hold.AnswerKind
		n          int
		more       bool
	}{
		{"more", page("true", body("requires_capture"), second), hold.AnswerOK, 2, true},
		{"last", page("false", body("requires_capture")), hold.AnswerOK, 1, false},
		{"empty", page("false"), hold.AnswerOK, 0, false},
		{"empty and yet more", page("true"), hold.AnswerUnknown, 0, false},
		{"one unreadable", page("false", body("requires_capture"), "null"), hold.AnswerUnknown, 0, false},
		{"one an id", page("false", `"`+intent+`"`), hold.AnswerUnknown, 0, false},
		{"no data", `{"object":"list","has_more":false}`, hold.AnswerUnknown, 0, false},
		{"more than can be", page("false", strings.Split(strings.Repeat(second+"\x00", 100)+second, "\x00")...), hold.AnswerUnknown, 0, false},
		{"100 with charges", page("true", strings.Split(strings.Repeat(second+"\x00", 99)+second, "\x00")...), hold.AnswerOK, 100, true},
		{"too long", page("false", body("requires_capture")) + strings.Repeat(" ", 4<<20), hold.AnswerUnknown, 0, false},
	} {
		n := 0
		g := open(t, gateway.Options{Transport: transport(func(*http.Request) (*http.Response, error) {
			n++
			return reply(200, tt.body), nil
		})})
		got, more, a := g.List(t.Context(), gateway.ListQuery{})
		if a.Kind != tt.want || len(got) != tt.n || more != tt.more || a.RequestID != "req_A1b2C3" {
			t.Errorf("%s: %d intents, more %t, %+v", tt.name, len(got), more, a)
		}
		if n != 1 {
			t.Errorf("%s: %d requests", tt.name, n)
		}
		if tt.name == "more" && (got[0].ID != intent || got[0].CaptureBefore.IsZero() || got[1].Status != hold.StatusCanceled) {
			t.Errorf("%+v", got)
		}
	}
}

// TestTime: each call ends within the timeout, or with its context if that is sooner.
func TestTime(t *testing.T) {
	hangs := transport(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		caller  time.Duration
		want    time.Duration
		message string
	}{
		{"default", 0, 0, gateway.DefaultTimeout, "no answer: the time for the call ran out"},
		{"set", 3 * time.Second, 0, 3 * time.Second, "no answer: the time for the call ran out"},
		{"caller's is sooner", 0, time.Second, time.Second, "no answer: the time for the call ran out"},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := open(t, gateway.Options{Transport: hangs, Timeout: tt.timeout})
			ctx := t.Context()
			if tt.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.caller)
				defer cancel()
			}
			start := time.Now()
			a := g.Do(ctx, calls[hold.OpCapture])
			if took := time.Since(start); took != tt.want || a.Kind != hold.AnswerUnknown || a.Message != tt.message {
				t.Errorf("%s: after %s %+v", tt.name, took, a)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	g := open(t, gateway.Options{Transport: transport(func(*http.Request) (*http.Response, error) {
		t.Error("sent although the context had ended")
		return nil, io.EOF
	})})
	if a := g.Do(ended, calls[hold.OpCapture]); a.Kind != hold.AnswerUnreachable || a.Message != "nothing was sent: the caller went away" {
		t.Errorf("ended before: %+v", a)
	}
}

// TestOneAttempt: nothing beneath the gateway tries again or follows anybody elsewhere.
func TestOneAttempt(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308, 409, 424, 429, 500, 502, 503} {
		n := 0
		g := open(t, gateway.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
			n++
			return reply(status, "", "Location: https://elsewhere.example/v1/payment_intents", "Stripe-Should-Retry: true"), nil
		})})
		for _, call := range calls {
			n = 0
			g.Do(t.Context(), call)
			if n != 1 {
				t.Errorf("%d, %s: %d requests", status, call.Op, n)
			}
		}
	}
}
