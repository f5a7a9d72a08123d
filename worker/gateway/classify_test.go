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

	"github.com/holdd/holdd/worker/hold"
)

const (
	invalidRequestType = "invalid_request_error"
	otherIntentID      = "pi_3Another0ne0000"
)

var (
	// Bodies that many cases share.
	succeeded   = intentBody("succeeded")
	serverError = errorBody("api_error", "", "")
	badGateway  = "<html>Bad Gateway</html>"

	insufficientFunds = `,"decline_code":"insufficient_funds"`
)

// unexpectedState returns the error of a call on an intent in another state,
// with that intent unless it is empty.
func unexpectedState(intent string, headers ...string) roundTripFunc {
	more := ""
	if intent != "" {
		more = `,"payment_intent":` + intent
	}
	body := errorBody(invalidRequestType, "payment_intent_unexpected_state", more)
	return respondWith(400, body, headers...)
}

// invalidRequest returns an error of the type invalid_request_error.
func invalidRequest(status int, code string, headers ...string) roundTripFunc {
	return respondWith(status, errorBody(invalidRequestType, code, ""), headers...)
}

// answerCases has the rows of the table in doc.go. read is the kind for a read
// if it differs.
var answerCases = []struct {
	name      string
	res       roundTripFunc
	want      hold.AnswerKind
	read      hold.AnswerKind
	code      string
	hasIntent bool
}{
	{name: "200", res: respondWith(200, succeeded), want: hold.AnswerOK, hasIntent: true},
	{name: "200 replayed", res: respondWith(200, succeeded, "Idempotent-Replayed: true"),
		want: hold.AnswerOK, hasIntent: true},
	{name: "200 without request id", res: respondWith(200, succeeded, "Request-Id: "),
		want: hold.AnswerOK, hasIntent: true},

	{name: "200 cut JSON", res: respondWith(200, succeeded[:200]), want: hold.AnswerUnknown},
	{name: "200 empty", res: respondWith(200, ""), want: hold.AnswerUnknown},
	{name: "200 null", res: respondWith(200, "null"), want: hold.AnswerUnknown},
	{name: "200 {}", res: respondWith(200, "{}"), want: hold.AnswerUnknown},
	{name: "200 string", res: respondWith(200, `"`+testIntentID+`"`), want: hold.AnswerUnknown},
	{name: "200 array", res: respondWith(200, "[]"), want: hold.AnswerUnknown},
	{name: "200 wrong type",
		res:  respondWith(200, strings.Replace(succeeded, "10000", `"10000"`, 1)),
		want: hold.AnswerUnknown},
	{name: "200 another intent",
		res:  respondWith(200, strings.ReplaceAll(succeeded, testIntentID, otherIntentID)),
		want: hold.AnswerUnknown},
	{name: "200 another object",
		res:  respondWith(200, strings.Replace(succeeded, "payment_intent", "charge", 1)),
		want: hold.AnswerUnknown},
	{name: "200 no status", res: respondWith(200, intentBody("")), want: hold.AnswerUnknown},
	{name: "200 negative amount",
		res:  respondWith(200, strings.Replace(succeeded, "10000", "-1", 1)),
		want: hold.AnswerUnknown},
	{name: "200 HTML",
		res: respondWith(200, "<html>Sign in to the hotel's wifi</html>",
			"Content-Type: text/html"),
		want: hold.AnswerUnknown},
	{name: "200 an error", res: invalidRequest(200, "lock_timeout"), want: hold.AnswerUnknown},
	{name: "200 too long", res: respondWith(200, succeeded+strings.Repeat(" ", 1<<20)),
		want: hold.AnswerUnknown},
	{name: "200 body breaks", res: respondWithBrokenBody(200, succeeded), want: hold.AnswerUnknown},
	{name: "201", res: respondWith(201, succeeded), want: hold.AnswerUnknown},
	{name: "204", res: respondWith(204, ""), want: hold.AnswerUnknown},
	{name: "302", res: respondWith(302, succeeded, "Location: https://elsewhere.example/"),
		want: hold.AnswerUnknown},
	{name: "307", res: respondWith(307, "", "Location: https://elsewhere.example/"),
		want: hold.AnswerUnknown},
	{name: "304", res: respondWith(304, ""), want: hold.AnswerUnknown},

	{name: "500", res: respondWith(500, serverError), want: hold.AnswerUnknown},
	{name: "500 with a code", res: invalidRequest(500, "amount_too_large"),
		want: hold.AnswerUnknown, code: "amount_too_large"},
	{name: "500 should retry", res: respondWith(500, serverError, "Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown},
	{name: "500 replayed", res: respondWith(500, serverError, "Idempotent-Replayed: true"),
		want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "500 should not retry",
		res:  respondWith(500, serverError, "Stripe-Should-Retry: false"),
		want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "500 replayed, no JSON",
		res:  respondWith(500, "oops", "Idempotent-Replayed: true", "Content-Type: text/plain"),
		want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "502 HTML", res: respondWith(502, badGateway, "Content-Type: text/html"),
		want: hold.AnswerUnknown},
	{name: "502 HTML, should not retry",
		res:  respondWith(502, badGateway, "Content-Type: text/html", "Stripe-Should-Retry: false"),
		want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "503", res: respondWith(503, serverError), want: hold.AnswerUnknown},
	{name: "504 empty", res: respondWith(504, ""), want: hold.AnswerUnknown},
	{name: "599", res: respondWith(599, serverError), want: hold.AnswerUnknown},
	{name: "424", res: respondWith(424, serverError), want: hold.AnswerUnknown},
	{name: "424 replayed", res: respondWith(424, serverError, "Idempotent-Replayed: true"),
		want: hold.AnswerReplayedError, read: hold.AnswerUnknown},

	{name: "409 in use",
		res:  respondWith(409, errorBody("idempotency_error", "idempotency_key_in_use", "")),
		want: hold.AnswerKeyInUse, code: "idempotency_key_in_use"},
	{name: "409 in use, no code", res: respondWith(409, errorBody("idempotency_error", "", "")),
		want: hold.AnswerKeyInUse},
	{name: "409 other", res: invalidRequest(409, ""), want: hold.AnswerUnknown},
	{name: "409 HTML", res: respondWith(409, "<html>", "Content-Type: text/html"),
		want: hold.AnswerUnknown},
	{name: "408", res: invalidRequest(408, ""), want: hold.AnswerUnknown},
	{name: "425", res: invalidRequest(425, ""), want: hold.AnswerUnknown},

	{name: "429 lock", res: invalidRequest(429, "lock_timeout"), want: hold.AnswerLockTimeout,
		code: "lock_timeout"},
	{name: "429 rate",
		res:  invalidRequest(429, "rate_limit", "Stripe-Rate-Limited-Reason: endpoint-rate"),
		want: hold.AnswerRateLimited, code: "rate_limit"},
	{name: "429 no code", res: invalidRequest(429, ""), want: hold.AnswerRateLimited},
	{name: "429 rate, should not retry",
		res:  invalidRequest(429, "rate_limit", "Stripe-Should-Retry: false"),
		want: hold.AnswerReplayedError, read: hold.AnswerRateLimited, code: "rate_limit"},
	{name: "429 lock, should not retry",
		res:  invalidRequest(429, "lock_timeout", "Stripe-Should-Retry: false"),
		want: hold.AnswerReplayedError, read: hold.AnswerLockTimeout, code: "lock_timeout"},
	{name: "429 lock, should retry",
		res:  invalidRequest(429, "lock_timeout", "Stripe-Should-Retry: true"),
		want: hold.AnswerLockTimeout, code: "lock_timeout"},
	{name: "429 text", res: respondWith(429, "Too many requests", "Content-Type: text/plain"),
		want: hold.AnswerRateLimited},
	{name: "429 empty", res: respondWith(429, ""), want: hold.AnswerRateLimited},
	{name: "429 body breaks",
		res:  respondWithBrokenBody(429, errorBody(invalidRequestType, "lock_timeout", "")),
		want: hold.AnswerRateLimited},

	{name: "unexpected state", res: unexpectedState(succeeded), want: hold.AnswerUnexpectedState,
		code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "unexpected state replayed",
		res:  unexpectedState(intentBody("canceled"), "Idempotent-Replayed: true"),
		want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "unexpected state, charge not expanded",
		res: unexpectedState(withUnexpandedCharge(succeeded)), want: hold.AnswerUnexpectedState,
		code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "unexpected state, no intent", res: unexpectedState(""),
		want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state"},
	{name: "unexpected state, another intent",
		res:  unexpectedState(strings.ReplaceAll(succeeded, testIntentID, otherIntentID)),
		want: hold.AnswerUnexpectedState, code: "payment_intent_unexpected_state"},
	{name: "already captured", res: invalidRequest(400, "charge_already_captured"),
		want: hold.AnswerChargeGone, code: "charge_already_captured"},
	{name: "expired for capture", res: invalidRequest(400, "charge_expired_for_capture"),
		want: hold.AnswerChargeGone, code: "charge_expired_for_capture"},
	{name: "authorization expired",
		res:  respondWith(402, errorBody("card_error", "capture_charge_authorization_expired", "")),
		want: hold.AnswerChargeGone, code: "capture_charge_authorization_expired"},
	{name: "unauthorized payment", res: invalidRequest(400, "capture_unauthorized_payment"),
		want: hold.AnswerChargeGone, code: "capture_unauthorized_payment"},
	{name: "too large", res: invalidRequest(400, "amount_too_large"),
		want: hold.AnswerAmountTooLarge, code: "amount_too_large"},
	{name: "too large, should retry",
		res:  invalidRequest(400, "amount_too_large", "Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown, code: "amount_too_large"},
	{name: "declined, should retry",
		res: respondWith(402, errorBody("card_error", "card_declined", insufficientFunds),
			"Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown, code: "insufficient_funds"},
	{name: "missing, should retry",
		res:  invalidRequest(404, "resource_missing", "Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown, code: "resource_missing"},
	{name: "unexpected state, should retry",
		res:  unexpectedState(succeeded, "Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown, code: "payment_intent_unexpected_state", hasIntent: true},
	{name: "401, should retry", res: invalidRequest(401, "", "Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown},
	{name: "409 in use, should not retry",
		res: respondWith(409, errorBody("idempotency_error", "idempotency_key_in_use", ""),
			"Stripe-Should-Retry: false"),
		want: hold.AnswerReplayedError, read: hold.AnswerKeyInUse, code: "idempotency_key_in_use"},
	{name: "409 other, should not retry",
		res:  invalidRequest(409, "", "Stripe-Should-Retry: false"),
		want: hold.AnswerReplayedError, read: hold.AnswerUnknown},
	{name: "missing", res: invalidRequest(404, "resource_missing"), want: hold.AnswerNotFound,
		code: "resource_missing"},
	{name: "no such URL", res: invalidRequest(404, ""), want: hold.AnswerInvalid},
	{name: "404 HTML", res: respondWith(404, "<html>", "Content-Type: text/html"),
		want: hold.AnswerUnknown},

	{name: "401", res: invalidRequest(401, ""), want: hold.AnswerUnauthorized},
	{name: "403", res: invalidRequest(403, "account_invalid"), want: hold.AnswerForbidden,
		code: "account_invalid"},
	{name: "403 HTML", res: respondWith(403, "<html>Blocked</html>", "Content-Type: text/html"),
		want: hold.AnswerUnknown},
	{name: "407 HTML", res: respondWith(407, "<html>", "Content-Type: text/html"),
		want: hold.AnswerUnknown},

	{name: "other parameters", res: respondWith(400, errorBody("idempotency_error", "", "")),
		want: hold.AnswerIdempotencyError},
	{name: "declined",
		res:  respondWith(402, errorBody("card_error", "card_declined", insufficientFunds)),
		want: hold.AnswerDeclined, code: "insufficient_funds"},
	{name: "declined, no decline code",
		res:  respondWith(402, errorBody("card_error", "expired_card", "")),
		want: hold.AnswerDeclined, code: "expired_card"},
	{name: "402 other", res: invalidRequest(402, ""), want: hold.AnswerInvalid},

	{name: "400", res: invalidRequest(400, "parameter_unknown"), want: hold.AnswerInvalid,
		code: "parameter_unknown"},
	{name: "400 new code", res: invalidRequest(400, "something_new", "Stripe-Should-Retry: false"),
		want: hold.AnswerInvalid, code: "something_new"},
	{name: "400 should retry",
		res:  invalidRequest(400, "something_new", "Stripe-Should-Retry: true"),
		want: hold.AnswerUnknown, code: "something_new"},
	{name: "418", res: invalidRequest(418, ""), want: hold.AnswerInvalid},
	{name: "400 not Stripe's", res: respondWith(400, `{"error":"bad request"}`),
		want: hold.AnswerUnknown},
	{name: "400 no error", res: respondWith(400, `{"message":"bad request"}`),
		want: hold.AnswerUnknown},
	{name: "400 no type", res: respondWith(400, `{"error":{"message":"bad request"}}`),
		want: hold.AnswerUnknown},
	{name: "400 body breaks",
		res:  respondWithBrokenBody(400, errorBody(invalidRequestType, "parameter_unknown", "")),
		want: hold.AnswerUnknown},

	{name: "no reply", res: failWith(io.ErrUnexpectedEOF), want: hold.AnswerUnknown},
	{name: "reset",
		res:  failWith(connError("read", syscall.ECONNRESET)),
		want: hold.AnswerUnknown},
	{name: "another error", res: failWith(errors.New("anything")), want: hold.AnswerUnknown},
	{name: "dial refused",
		res:  failWith(connError("dial", syscall.ECONNREFUSED)),
		want: hold.AnswerUnreachable},
	{name: "no such host",
		res: failWith(&net.DNSError{
			Err: "no such host", Name: "api.stripe.com", IsNotFound: true,
		}),
		want: hold.AnswerUnreachable},
	{name: "neither answer nor error",
		res:  func(*http.Request) (*http.Response, error) { return nil, nil },
		want: hold.AnswerUnknown},
	{name: "panic",
		res:  func(*http.Request) (*http.Response, error) { panic("bug: " + testAPIKey) },
		want: hold.AnswerUnknown},
}

func connError(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError("socket", errno)}
}

func failWith(err error) roundTripFunc {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// respondWithBrokenBody cuts the connection in the middle of the body.
func respondWithBrokenBody(status int, s string) roundTripFunc {
	return func(*http.Request) (*http.Response, error) {
		res := newResponse(status, s)
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader(s[:len(s)/2]), failingBody{}))
		return res, nil
	}
}

type failingBody struct{}

func (failingBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// withUnexpandedCharge makes the charge of a body its id, as in the intent of
// an error.
func withUnexpandedCharge(s string) string {
	return s[:strings.Index(s, `"latest_charge"`)] + `"latest_charge":"ch_3PxYzA2eZvKYlo2C1x"}`
}

func TestDo_ClassifiesEveryAnswer(t *testing.T) {
	seen := map[hold.AnswerKind]bool{}
	for _, tt := range answerCases {
		g := gatewayOn(t, tt.res)
		for op, call := range callsByOp {
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

// TestDo_ClassifiesListsAndChecks applies the table to lists and checks. A
// response that is not ok for an intent is not ok for them.
func TestDo_ClassifiesListsAndChecks(t *testing.T) {
	for _, tt := range answerCases {
		if tt.want == hold.AnswerOK {
			continue
		}
		want := tt.want
		if tt.read != 0 {
			want = tt.read
		}
		g := gatewayOn(t, tt.res)
		for _, op := range []hold.Op{hold.OpList, hold.OpCheck} {
			if a := g.Do(t.Context(), hold.Call{Op: op}); a.Kind != want || a.Page != nil {
				t.Errorf("%s, %s: %+v, want %s", tt.name, op, a, want)
			}
		}
	}
}

func TestDoc_ListsEveryAnswerKind(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "//\tresponse ")
	table, _, _ = strings.Cut(table, "\n// The first matching row")
	for _, k := range hold.AnswerKinds() {
		if !strings.Contains(table, k.String()) {
			t.Errorf("doc.go's table has no row for %s", k)
		}
	}
}

func TestDo_ReadsResponseHeaders(t *testing.T) {
	for _, tt := range []struct {
		name     string
		res      roundTripFunc
		id       string
		replayed bool
		status   int
	}{
		{"ok", respondWith(200, succeeded, "Idempotent-Replayed: true"), "req_A1b2C3", true, 200},
		{"error", invalidRequest(400, "amount_too_large", "Idempotent-Replayed: true"),
			"req_A1b2C3", true, 400},
		{"no JSON", respondWith(502, "<html>"), "req_A1b2C3", false, 502},
		{"cut body", respondWith(200, "{"), "req_A1b2C3", false, 200},
		{"no reply", failWith(io.EOF), "", false, 0},
		{"no id", respondWith(200, intentBody("succeeded"), "Request-Id: "+testAPIKey), "", false,
			200},
	} {
		a := gatewayOn(t, tt.res).Do(t.Context(), callsByOp[hold.OpCapture])
		if a.RequestID != tt.id || a.Replayed != tt.replayed || a.HTTPStatus != tt.status {
			t.Errorf("%s: %+v", tt.name, a)
		}
	}
}
