package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func discardLogger() *log.Logger { return log.New(io.Discard, "", 0) }

// forbiddenTexts must not appear in any answer, nor on standard output or
// standard error.
var forbiddenTexts = []string{
	testAPIKey, "51GatewayTestsOnly", "_secret_", "Zq8Ty", "whsec_", "rk_live_", "sk_live_",
	"4242424242424242", "4242 4242 4242 4242", "hunter2",
}

const (
	textWithSecrets = secretsInJSON + "\r\n\x1b[2J"
	secretsInJSON   = testAPIKey + " glued" + testAPIKey + " " + testIntentID + "_secret_Zq8Ty " +
		"client_secret=hunter2 whsec_Zq8Ty+/= rk_live_Zq8Ty sk_live_*********Zq8Ty " +
		"4242424242424242 4242 4242 4242 4242 "
)

// intentWithSecrets returns an intent with secrets in every text field. In
// metadata, only secrets are redacted: a number as long as a card's may be a
// booking number.
func intentWithSecrets() string {
	const text = `"` + secretsInJSON + `"`
	nextAction := `"next_action":{"type":` + text + `,"redirect_to_url":{"url":` + text + `}}`
	lastError := `"last_payment_error":{"type":` + text + `,"code":` + text + `,"message":` + text + `}`
	return strings.NewReplacer(
		`"cancellation_reason":null`, `"cancellation_reason":`+text+`,`+nextAction+`,`+lastError,
		`"type":"card"`, `"type":`+text,
		"BK-2071", strings.ReplaceAll(secretsInJSON, "4242", ""),
	).Replace(intentBody("succeeded"))
}

// responsesWithSecrets returns responses with secrets in every text.
func responsesWithSecrets() map[string]roundTripFunc {
	const text = `"` + secretsInJSON + `"`
	in := intentWithSecrets()
	errorFields := `,"payment_intent":` + in + `,"param":` + text + `,"charge":` + text +
		`,"request_log_url":` + text + `,"payment_method":{"id":` + text +
		`,"card":{"last4":"4242"}}` +
		`,"setup_intent":{"client_secret":"seti_1_secret_Zq8Ty"},"source":{"id":` + text + `,"object":"card"}`
	headers := []string{
		"Request-Id: req_" + textWithSecrets, "Content-Type: text/html; x=" + testAPIKey,
		"Stripe-Should-Retry: " + textWithSecrets, "Idempotent-Replayed: " + textWithSecrets,
	}
	types := []string{invalidRequestType, "card_error", "idempotency_error",
		"api_error", secretsInJSON}
	codes := []string{
		"", "payment_intent_unexpected_state", "amount_too_large",
		"resource_missing", "lock_timeout",
		secretsInJSON, "pi_1_secret_zq8ty",
	}
	all := map[string]roundTripFunc{}
	for _, status := range []int{200, 204, 302, 400, 401, 402, 403, 404, 408, 409,
		424, 429, 500, 502, 503} {
		add := func(name, body string) {
			all[fmt.Sprintf("%d %s", status, name)] = respondWith(status, body, headers...)
		}
		for i, typ := range types {
			for j, code := range codes {
				b := errorBody(typ, code, `,"decline_code":"`+code+`"`+errorFields)
				b = strings.Replace(b, "It is so.", "No: "+secretsInJSON, 1)
				add(fmt.Sprintf("type %d code %d", i, j), b)
			}
		}
		add("text", textWithSecrets)
		add("cut", in[:len(in)-9])
		add("intent", in)
		add("status with secrets", strings.Replace(in, `"succeeded"`, text, 1))
		add("currency with secrets", strings.Replace(in, `"eur"`, text, 1))
		add("list", `{"object":"list","has_more":true,"data":[`+in+`]}`)
		all[fmt.Sprintf("%d breaks", status)] = respondWithBrokenBody(status, in)
	}
	all["error"] = failWith(errors.New(textWithSecrets))
	all["panic"] = func(*http.Request) (*http.Response, error) { panic(textWithSecrets) }
	return all
}

// TestDo_NeverLeaksSecrets gives every kind of call bodies, headers and errors
// with secrets. It checks the answers and the output of all packages.
func TestDo_NeverLeaksSecrets(t *testing.T) {
	calls := map[string]hold.Call{
		"authorize": authorizeWith(minimalAuthorize, "", "k"),
		"confirm":   confirmWith(hold.AuthorizeParams{}, "", "k"),
		"update":    updateWith(map[string]string{"a": "b"}, "", "k"),
		"list":      {Op: hold.OpList},
		"check":     {Op: hold.OpCheck},
	}
	for op, call := range callsByOp {
		calls[op.String()] = call
	}
	var answers []string
	n := 0
	printed := captureOutput(t, func() {
		for name, res := range responsesWithSecrets() {
			g := gatewayOn(t, res)
			for what, call := range calls {
				n++
				a := g.Do(t.Context(), call)
				answers = append(answers, name+", "+what+": "+printEveryWay(a))
				if len(a.Message) > hold.MaxNoteBytes {
					t.Errorf("%s: a message of %d bytes", name, len(a.Message))
				}
				isControl := func(r rune) bool { return r < ' ' || r == 0x7f }
				if strings.ContainsFunc(a.Message+a.Code+a.RequestID, isControl) {
					t.Errorf("%s: control characters in %q", name, a.Message)
				}
			}
		}
	})
	if printed != "" {
		t.Errorf("printed: %.500s", printed)
	}
	for _, a := range answers {
		for _, s := range forbiddenTexts {
			if strings.Contains(a, s) {
				t.Fatalf("%q is in %.600s", s, a)
			}
		}
	}
	t.Logf("%d answers checked", n)
}

// printEveryWay prints an answer and the values that it points to, with several
// verbs and as JSON.
func printEveryWay(a hold.Answer) string {
	parts := []any{a}
	if a.Intent != nil {
		parts = append(parts, *a.Intent)
	}
	if a.Page != nil {
		parts = append(parts, *a.Page)
	}
	if ch := a.Cardholder; ch != nil {
		parts = append(parts, *ch, ch.ClientSecret, ch.RedirectURL)
	}
	var out strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&out, "%+v %#v %q ", p, p, p)
		if b, err := json.Marshal(p); err == nil {
			out.Write(b)
		}
	}
	return out.String()
}

// captureOutput returns what f wrote to standard output and standard error.
func captureOutput(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, errs, std := os.Stdout, os.Stderr, log.Writer()
	os.Stdout, os.Stderr = w, w
	log.SetOutput(w)
	text := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		text <- string(b)
	}()
	defer func() {
		os.Stdout, os.Stderr = out, errs
		log.SetOutput(std)
	}()
	f()
	w.Close()
	return <-text
}

// TestSecretScrubber_KeepsHarmlessText checks that texts without secrets stay
// as they are.
func TestSecretScrubber_KeepsHarmlessText(t *testing.T) {
	wrongMode := "No such payment_intent: '" + testIntentID +
		"'; a similar object exists in live mode, " +
		"but a test mode key was used to make this request."
	const amount = "Amount 999999999999 idr at 1764000000 is too much."
	for _, tt := range []struct{ in, want string }{
		{wrongMode, wrongMode},
		{"Invalid API Key provided: sk_test_****************Only",
			"Invalid API Key provided: [withheld]"},
		{amount, amount},
		{"Basic room, article SK_1002, task_secretary",
			"Basic room, article SK_1002, task_secretary"},
		{strings.Repeat("é", 400), strings.Repeat("é", hold.MaxNoteBytes/2)},
		{"a\nb", "a b"},
	} {
		b := errorBody(invalidRequestType, "", "")
		b = strings.Replace(b, "It is so.", strings.ReplaceAll(tt.in, "\n", `\n`), 1)
		a := gatewayOn(t, respondWith(400, b)).Do(t.Context(), callsByOp[hold.OpCapture])
		if a.Message != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, a.Message, tt.want)
		}
	}
}

// FuzzDo_Response checks that every response gives an answer of a known kind,
// without secrets, and that an ok answer has the requested intent.
func FuzzDo_Response(f *testing.F) {
	declined := errorBody("card_error", "card_declined",
		`,"decline_code":"x","source":{"object":"card"}`)
	unexpected := errorBody(invalidRequestType, "payment_intent_unexpected_state",
		`,"payment_intent":`+intentBody("canceled"))
	f.Add(200, intentBody("succeeded"), "")
	f.Add(400, unexpected, "true")
	f.Add(402, declined, "false")
	f.Add(429, textWithSecrets, "")
	f.Add(500, `{"error":null}`, "false")
	f.Fuzz(func(t *testing.T, status int, b, retry string) {
		if status < 100 || status > 999 {
			return
		}
		g := gatewayOn(t, respondWith(status, b, "Stripe-Should-Retry: "+retry))
		for op, call := range callsByOp {
			a := g.Do(t.Context(), call)
			if a.Kind < hold.AnswerOK || a.Kind > hold.AnswerReplayedError {
				t.Errorf("%s: kind %d", op, a.Kind)
			}
			if a.Kind == hold.AnswerOK && (a.Intent == nil || a.Intent.ID != testIntentID) {
				t.Errorf("%s: ok with %+v", op, a.Intent)
			}
			if len(a.Message) > hold.MaxNoteBytes ||
				strings.Contains(fmt.Sprintf("%+v", a), testAPIKey) ||
				strings.Contains(a.Message, "panicked") {
				t.Errorf("%s: %+v", op, a)
			}
		}
	})
}
