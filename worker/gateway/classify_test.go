package gateway_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

const invalid = "invalid_request_error"

// answers is the table of doc.go, row by row. read is the kind for a read where it differs.
var answers = []struct {
	name      string
	res       transport
	want      hold.AnswerKind
	read      hold.AnswerKind
	code      string
	hasIntent bool
}{
	{name: "200", res: always(200, body("succeeded")), want: hold.AnswerOK, hasIntent: true},
	{name: "200 replayed", res: always(200, body("succeeded"), "Idempotent-Replayed: true"), want: hold.AnswerOK, hasIntent: true},
	{name: "200 without request id", res: always(200, body("succeeded"), "Request-Id: "), want: hold.AnswerOK, hasIntent: true},

	{name: "200 cut JSON", res: always(200, body("succeeded")[:200]), want: hold.AnswerUnknown},
	{name: "200 empty", res: always(200, ""), want: hold.AnswerUnknown},
	{name: "200 null", res: always(200, "null"), want: hold.AnswerUnknown},
	{name: "200 {}", res: always(200, "{}"), want: hold.AnswerUnknown},
	{name: "200 string", res: always(200, `"`+intent+`"`), want: hold.AnswerUnknown},
	{name: "200 array", res: always(200, "[]"), want: hold.AnswerUnknown},
	{name: "200 wrong type", res: always(200, strings.Replace(body("succeeded"), "10000", `"10000"`, 1)), want: hold.AnswerUnknown},
	{name: "200 another intent", res: always(200, strings.ReplaceAll(body("succeeded"), intent, "pi_3Another0ne0000")), want: hold.AnswerUnknown},
	{name: "200 another object", res: always(200, strings.Replace(body("succeeded"), "payment_intent", "charge", 1)), want: hold.AnswerUnknown},
	{name: "200 no status", res: always(200, body("")), want: hold.AnswerUnknown},
	{name: "200 negative amount", res: always(200, strings.Replace(body("succeeded"), "10000", "-1", 1)), want: hold.AnswerUnknown},
	{name: "200 HTML", res: always(200, "<html>Sign in to the hotel's wifi</html>", "Content-Type: text/html"), want: hold.AnswerUnknown},
	{name: "200 an error", res: always(200, fault(invalid, "lock_timeout", "")), want: hold.AnswerUnknown},
	{name: "200 too long", res: always(200, body("succeeded")+strings.Repeat(" ", 1<<20)), want: hold.AnswerUnknown},
	{name: "200 body breaks", res: breaks(200, body("succeeded")), want: hold.AnswerUnknown},
	{name: "201", res: always(201, body("succeeded")), want: hold.AnswerUnknown},
	{name: "204", res: always(204, ""), want: hold.AnswerUnknown},
	{name: "302", res: always(302, body("succeeded"), "Location: https://elsewhere.example/"), want: hold.AnswerUnknown},
	{name: "307", res: always(307, "", "Location: https://elsewhere.example/"), want: hold.AnswerUnknown},
	{name: "304", res: always(304, ""), want: hold.AnswerUnknown},

	{name: "500", res: always(500, fault("api_error", "", "")), want: hold.AnswerUnknown},
	{name: "500 with a code", res: always(500, fault(invalid, "amount_too_large", "")), want: hold.AnswerUnknown, code: "amount_too_large"},
	{name: "500 to be retried", res: always(500, fault("api_error", "", ""), "Stripe-Should-Retry: true"), want: hold.AnswerUnknown},
	{name: "500 replayed", res: always(500, fault("api_error", "", ""), "Idempotent-Replayed: true"), want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "500 spent", res: always(500, fault("api_error", "", ""), "Stripe-Should-Retry: false"), want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "500 replayed, no JSON", res: always(500, "oops", "Idempotent-Replayed: true", "Content-Type: text/plain"), want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "502 HTML", res: always(502, "<html>Bad Gateway</html>", "Content-Type: text/html"), want: hold.AnswerUnknown},
	{name: "502 HTML, don't retry", res: always(502, "<html>Bad Gateway</html>", "Content-Type: text/html", "Stripe-Should-Retry: false"), want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "503", res: always(503, fault("api_error", "", "")), want: hold.AnswerUnknown},
	{name: "504 empty", res: always(504, ""), want: hold.AnswerUnknown},
	{name: "599", res: always(599, fault("api_error", "", "")), want: hold.AnswerUnknown},
	{name: "424", res: always(424, fault("api_error", "", "")), want: hold.AnswerUnknown},
	{name: "424 replayed", res: always(424, fault("api_error", "", ""), "Idempotent-Replayed: true"), want: hold.AnswerReplayedError, read: hold.AnswerUnknown},

	{name: "409 in use", res: always(409, fault("idempotency_error", "idempotency_key_in_use", "")), want: hold.AnswerKeyInUse, code: "idempotency_key_in_use"},
	{name: "409 in use, no code", res: always(409, fault("idempotency_error", "", "")), want: hold.AnswerKeyInUse},
	{name: "409 other", res: always(409, fault(invalid, "", "")), want: hold.AnswerUnknown},
	{name: "409 HTML", res: always(409, "<html>", "Content-Type: text/html"), want: hold.AnswerUnknown},
	{name: "408", res: always(408, fault(invalid, "", "")), want: hold.AnswerUnknown},
	{name: "425", res: always(425, fault(invalid, "", "")), want: hold.AnswerUnknown},

	{name: "429 lock", res: always(429, fault(invalid, "lock_timeout", "")), want: hold.AnswerLockTimeout, code: "lock_timeout"},
	{name: "429 rate", res: always(429, fault(invalid, "rate_limit", ""), "Stripe-Rate-Limited-Reason: endpoint-rate"), want: hold.AnswerRateLimited, code: "rate_limit"},
	{name: "429 no code", res: always(429, fault(invalid, "", "")), want: hold.AnswerRateLimited},
	{name: "429 rate, don't retry", res: always(429, fault(invalid, "rate_limit", ""), "Stripe-Should-Retry: false"), want: hold.AnswerRateLimited, code: "rate_limit"},
	{name: "429 text", res: always(429, "Too many requests", "Content-Type: text/plain"), want: hold.AnswerRateLimited},
	{name: "429 empty", res: always(429, ""), want: hold.AnswerRateLimited},
	{name: "429 body breaks", res: breaks(429, fault(invalid, "lock_timeout", "")), want: hold.AnswerRateLimited},

	{name: "unexpected state", res: always(400, fault(invalid, "payment_intent_unexpected_state", `,"payment_intent":`+body("succeeded"))), want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "unexpected state replayed", res: always(400, fault(invalid, "payment_intent_unexpected_state", `,"payment_intent":`+body("canceled")), "Idempotent-Replayed: true"), want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "unexpected state, charge as id", res: always(400, fault(invalid, "payment_intent_unexpected_state", `,"payment_intent":`+idOnly(body("succeeded")))), want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "unexpected state, no intent", res: always(400, fault(invalid, "payment_intent_unexpected_state", "")), want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state"},
	{name: "unexpected state, another intent", res: always(400, fault(invalid, "payment_intent_unexpected_state", `,"payment_intent":`+strings.ReplaceAll(body("succeeded"), intent, "pi_3Another0ne0000"))), want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state"},
	{name: "already captured", res: always(400, fault(invalid, "charge_already_captured", "")), want: hold.AnswerChargeGone, code: "charge_already_captured"},
	{name: "expired for capture", res: always(400, fault(invalid, "charge_expired_for_capture", "")), want: hold.AnswerChargeGone, code: "charge_expired_for_capture"},
	{name: "authorization expired", res: always(402, fault("card_error", "capture_charge_authorization_expired", "")), want: hold.AnswerChargeGone, code: "capture_charge_authorization_expired"},
	{name: "unauthorized payment", res: always(400, fault(invalid, "capture_unauthorized_payment", "")), want: hold.AnswerChargeGone, code: "capture_unauthorized_payment"},
	{name: "too large", res: always(400, fault(invalid, "amount_too_large", "")), want: hold.AnswerAmountTooLarge, code: "amount_too_large"},
	{name: "too large, retry", res: always(400, fault(invalid, "amount_too_large", ""), "Stripe-Should-Retry: true"), want: hold.AnswerAmountTooLarge, code: "amount_too_large"},
	{name: "missing", res: always(404, fault(invalid, "resource_missing", "")), want: hold.AnswerNotFound, code: "resource_missing"},
	{name: "no such URL", res: always(404, fault(invalid, "", "")), want: hold.AnswerInvalid},
	{name: "404 HTML", res: always(404, "<html>", "Content-Type: text/html"), want: hold.AnswerUnknown},

	{name: "401", res: always(401, fault(invalid, "", "")), want: hold.AnswerUnauthorized},
	{name: "403", res: always(403, fault(invalid, "account_invalid", "")), want: hold.AnswerForbidden, code: "account_invalid"},
	{name: "403 HTML", res: always(403, "<html>Blocked</html>", "Content-Type: text/html"), want: hold.AnswerUnknown},
	{name: "407 HTML", res: always(407, "<html>", "Content-Type: text/html"), want: hold.AnswerUnknown},

	{name: "other parameters", res: always(400, fault("idempotency_error", "", "")), want: hold.AnswerIdempotencyError},
	{name: "declined", res: always(402, fault("card_error", "card_declined", `,"decline_code":"insufficient_funds"`)), want: hold.AnswerDeclined, code: "insufficient_funds"},
	{name: "declined, no decline code", res: always(402, fault("card_error", "expired_card", "")), want: hold.AnswerDeclined, code: "expired_card"},
	{name: "402 other", res: always(402, fault(invalid, "", "")), want: hold.AnswerInvalid},

	{name: "400", res: always(400, fault(invalid, "parameter_unknown", "")), want: hold.AnswerInvalid, code: "parameter_unknown"},
	{name: "400 new code", res: always(400, fault(invalid, "something_new", ""), "Stripe-Should-Retry: false"), want: hold.AnswerInvalid, code: "something_new"},
	{name: "400 to be retried", res: always(400, fault(invalid, "something_new", ""), "Stripe-Should-Retry: true"), want: hold.AnswerUnknown, code: "something_new"},
	{name: "418", res: always(418, fault(invalid, "", "")), want: hold.AnswerInvalid},
	{name: "400 not Stripe's", res: always(400, `{"error":"bad request"}`), want: hold.AnswerUnknown},
	{name: "400 no error", res: always(400, `{"message":"bad request"}`), want: hold.AnswerUnknown},
	{name: "400 no type", res: always(400, `{"error":{"message":"bad request"}}`), want: hold.AnswerUnknown},
	{name: "400 body breaks", res: breaks(400, fault(invalid, "parameter_unknown", "")), want: hold.AnswerUnknown},

	{name: "no reply", res: fails(io.ErrUnexpectedEOF), want: hold.AnswerUnknown},
	{name: "reset", res: fails(&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}), want: hold.AnswerUnknown},
	{name: "anything", res: fails(errors.New("anything")), want: hold.AnswerUnknown},
	{name: "dial refused", res: fails(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), want: hold.AnswerUnreachable},
	{name: "no such host", res: fails(&net.DNSError{Err: "no such host", Name: "api.stripe.com", IsNotFound: true}), want: hold.AnswerUnreachable},
	{name: "neither", res: func(*http.Request) (*http.Response, error) { return nil, nil }, want: hold.AnswerUnknown},
	{name: "panic", res: func(*http.Request) (*http.Response, error) { panic("bug: " + testKey) }, want: hold.AnswerUnknown},
}

func fails(err error) transport {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// breaks cuts the connection in the middle of the body.
func breaks(status int, s string) transport {
	return func(*http.Request) (*http.Response, error) {
		res := reply(status, s)
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader(s[:len(s)/2]), broken{}))
		return res, nil
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// idOnly makes the charge of a body its id, as in the intent of an error.
func idOnly(s string) string {
	return s[:strings.Index(s, `"latest_charge"`)] + `"latest_charge":"ch_3PxYzA2eZvKYlo2C1x"}`
}

func TestEveryAnswerHasItsKind(t *testing.T) {
	seen := map[hold.AnswerKind]bool{}
	for _, tt := range answers {
		g := open(t, gateway.Options{Transport: tt.res})
		for op, call := range calls {
			want := tt.want
			if op == hold.OpRead && tt.read != 0 {
				want = tt.read
			}
			a := g.Do(t.Context(), call)
			seen[a.Kind] = true
			if a.Kind != want {
				t.Errorf("%s, %s: %s (%s), want %s", tt.name, op, a.Kind, a.Message, want)
			}
			if a.Code != tt.code {
				t.Errorf("%s, %s: code %q, want %q", tt.name, op, a.Code, tt.code)
			}
			if (a.Intent != nil) != tt.hasIntent {
				t.Errorf("%s, %s: intent %+v, want one: %t", tt.name, op, a.Intent, tt.hasIntent)
			}
			if a.Kind != hold.AnswerOK && a.Message == "" {
				t.Errorf("%s, %s: no message", tt.name, op)
			}
		}
	}
	for _, k := range hold.AnswerKinds() {
		if !seen[k] {
			t.Errorf("no row for %s", k)
		}
	}
}

// TestListHasTheSameKinds: what isn't ok for one intent isn't ok for a page.
func TestListHasTheSameKinds(t *testing.T) {
	for _, tt := range answers {
		if tt.want == hold.AnswerOK {
			continue
		}
		want := tt.want
		if tt.read != 0 {
			want = tt.read
		}
		g := open(t, gateway.Options{Transport: tt.res})
		page, more, a := g.List(t.Context(), gateway.ListQuery{})
		if a.Kind != want || page != nil || more {
			t.Errorf("%s: %s (%s), want %s; page %v, more %t", tt.name, a.Kind, a.Message, want, page, more)
		}
		if a := g.Check(t.Context()); a.Kind != want {
			t.Errorf("%s: check says %s, want %s", tt.name, a.Kind, want)
		}
	}
}

func TestDocNamesEveryKind(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "//\twhat came back")
	table, _, _ = strings.Cut(table, "\n// The rows")
	for _, k := range hold.AnswerKinds() {
		if !strings.Contains(table, k.String()) {
			t.Errorf("doc.go's table has no row for %s", k)
		}
	}
}

func TestHeadersOfAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		name     string
		res      transport
		id       string
		replayed bool
		status   int
	}{
		{"ok", always(200, body("succeeded"), "Idempotent-Replayed: true"), "req_A1b2C3", true, 200},
		{"error", always(400, fault(invalid, "amount_too_large", ""), "Idempotent-Replayed: true"), "req_A1b2C3", true, 400},
		{"no JSON", always(502, "<html>"), "req_A1b2C3", false, 502},
		{"cut body", always(200, "{"), "req_A1b2C3", false, 200},
		{"no reply", fails(io.EOF), "", false, 0},
		{"no id", always(200, body("succeeded"), "Request-Id: "+testKey), "", false, 200},
	} {
		a := open(t, gateway.Options{Transport: tt.res}).Do(t.Context(), calls[hold.OpCapture])
		if a.RequestID != tt.id || a.Replayed != tt.replayed || a.HTTPStatus != tt.status {
			t.Errorf("%s: %+v", tt.name, a)
		}
	}
}
