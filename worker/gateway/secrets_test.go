package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// secrets are what may never come out, in no answer and on no stream.
var secrets = []string{testKey, "51GatewayTestsOnly", "_secret_", "Zq8Ty", "whsec_", "rk_live_", "sk_live_", "4242424242424242", "4242 4242 4242 4242", "hunter2"}

const poison = testKey + " glued" + testKey + " " + intent + "_secret_Zq8Ty client_secret=hunter2 whsec_Zq8Ty+/= rk_live_Zq8Ty sk_live_*********Zq8Ty 4242424242424242 4242 4242 4242 4242 \r\n\x1b[2J"

// poisoned are answers with secrets wherever an answer has room for them.
func poisoned() map[string]transport {
	q := strings.NewReplacer("\r", " ", "\n", " ", "\x1b", " ").Replace(poison)
	in := strings.NewReplacer(`"cancellation_reason":null`, `"cancellation_reason":"`+q+`"`, `"type":"card"`, `"type":"`+q+`"`, "BK-2071", strings.ReplaceAll(q, "4242", "")).Replace(body("succeeded"))
	// The caller's metadata is searched for secrets alone: what has the length of a card number is a booking's there.
	rich := `,"payment_intent":` + in + `,"param":"` + q + `","charge":"` + q + `","request_log_url":"` + q + `","payment_method":{"id":"` + q + `","card":{"last4":"4242"}},"setup_intent":{"client_secret":"seti_1_secret_Zq8Ty"},"source":{"id":"` + q + `","object":"card"}`
	all := map[string]transport{}
	headers := []string{"Request-Id: req_" + poison, "Content-Type: text/html; x=" + testKey, "Stripe-Should-Retry: " + poison, "Idempotent-Replayed: " + poison}
	for _, status := range []int{200, 204, 302, 400, 401, 402, 403, 404, 408, 409, 424, 429, 500, 502, 503} {
		for i, kind := range []string{invalid, "card_error", "idempotency_error", "api_error", q} {
			for j, code := range []string{"", "payment_intent_unexpected_state", "amount_too_large", "resource_missing", "lock_timeout", q, "pi_1_secret_zq8ty"} {
				b := strings.Replace(fault(kind, code, `,"decline_code":"`+code+`"`+rich), "It is so.", "No: "+q, 1)
				all[fmt.Sprintf("%d type %d code %d", status, i, j)] = always(status, b, headers...)
			}
		}
		all[fmt.Sprintf("%d text", status)] = always(status, poison, headers...)
		all[fmt.Sprintf("%d cut", status)] = always(status, in[:len(in)-9], headers...)
		all[fmt.Sprintf("%d intent", status)] = always(status, in, headers...)
		all[fmt.Sprintf("%d poisoned status", status)] = always(status, strings.Replace(in, `"succeeded"`, `"`+q+`"`, 1), headers...)
		all[fmt.Sprintf("%d poisoned currency", status)] = always(status, strings.Replace(in, `"eur"`, `"`+q+`"`, 1), headers...)
		all[fmt.Sprintf("%d breaks", status)] = breaks(status, in)
		all[fmt.Sprintf("%d list", status)] = always(status, `{"object":"list","has_more":true,"data":[`+in+`]}`, headers...)
	}
	all["error"] = fails(fmt.Errorf("%s", poison))
	all["panic"] = func(*http.Request) (*http.Response, error) { panic(poison) }
	return all
}

// TestNoSecretComesOut runs every kind of failure with bodies, headers and errors full of secrets, and looks at the answers, and at what
// stripe-go or anything else printed meanwhile.
func TestNoSecretComesOut(t *testing.T) {
	var answers []string
	n := 0
	printed := printedBy(t, func() {
		for name, res := range poisoned() {
			g := open(t, gateway.Options{Transport: res})
			look := func(what string, a hold.Answer) {
				n++
				answers = append(answers, fmt.Sprintf("%s, %s: %+v %#v", name, what, a, a))
				if a.Intent != nil {
					answers = append(answers, fmt.Sprintf("%s, %s, intent: %+v", name, what, *a.Intent))
				}
				if len(a.Message) > hold.MaxNoteBytes {
					t.Errorf("%s: a message of %d bytes", name, len(a.Message))
				}
				if strings.ContainsFunc(a.Message+a.Code+a.RequestID, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Errorf("%s: control characters in %q", name, a.Message)
				}
			}
			for op, call := range calls {
				look(op.String(), g.Do(t.Context(), call))
			}
			for what, au := range map[string]hold.AuthorizeAnswer{
				"authorize": g.Authorize(t.Context(), plain), "confirm": g.Confirm(t.Context(), hold.AuthorizeCall{PaymentIntent: intent, Key: "k"}), "peek": g.RetrieveAuthorization(t.Context(), intent, ""),
			} {
				look(what, au.Answer)
				answers = append(answers, fmt.Sprintf("%s, %s: %+v %#v %s %q %x", name, what, au, au, au.ClientSecret, au.RedirectURL, au.ClientSecret))
				if b, err := json.Marshal(au); err == nil {
					answers = append(answers, string(b))
				}
			}
			look("update", g.Update(t.Context(), intent, "", map[string]string{"a": "b"}, "k"))
			page, _, a := g.List(t.Context(), gateway.ListQuery{})
			look("list", a)
			answers = append(answers, fmt.Sprintf("%s: %+v", name, page))
			look("check", g.Check(t.Context()))
		}
	})
	if printed != "" {
		t.Errorf("printed: %.500s", printed)
	}
	for _, a := range answers {
		for _, s := range secrets {
			if strings.Contains(a, s) {
				t.Fatalf("%q is in %.600s", s, a)
			}
		}
	}
	t.Logf("%d answers looked at", n)
}

// printedBy returns what f wrote to standard output and standard error.
func printedBy(t *testing.T, f func()) string {
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

// TestMessagesSurvive: what an operator needs isn't scrubbed away.
func TestMessagesSurvive(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"No such payment_intent: '" + intent + "'; a similar object exists in live mode, but a test mode key was used to make this request.",
			"No such payment_intent: '" + intent + "'; a similar object exists in live mode, but a test mode key was used to make this request."},
		{"Invalid API Key provided: sk_test_****************Only", "Invalid API Key provided: [withheld]"},
		{"Amount 999999999999 idr at 1764000000 is too much.", "Amount 999999999999 idr at 1764000000 is too much."},
		{"Basic room, article SK_1002, task_secretary", "Basic room, article SK_1002, task_secretary"},
		{strings.Repeat("é", 400), strings.Repeat("é", hold.MaxNoteBytes/2)},
		{"a\nb", "a b"},
	} {
		b := strings.Replace(fault(invalid, "", ""), "It is so.", strings.ReplaceAll(tt.in, "\n", `\n`), 1)
		a := open(t, gateway.Options{Transport: always(400, b)}).Do(t.Context(), calls[hold.OpCapture])
		if a.Message != tt.want {
			t.Errorf("%q became %q, want %q", tt.in, a.Message, tt.want)
		}
	}
}

// FuzzAnswer: whatever comes back, there is an answer of a known kind, without secrets, and ok only with the intent that was asked for.
func FuzzAnswer(f *testing.F) {
	f.Add(200, body("succeeded"), "")
	f.Add(400, fault(invalid, "payment_intent_unexpected_state", `,"payment_intent":`+body("canceled")), "true")
	f.Add(402, fault("card_error", "card_declined", `,"decline_code":"x","source":{"object":"card"}`), "false")
	f.Add(429, poison, "")
	f.Add(500, `{"error":null}`, "false")
	f.Fuzz(func(t *testing.T, status int, b, retry string) {
		if status < 100 || status > 999 {
			return
		}
		g := open(t, gateway.Options{Transport: always(status, b, "Stripe-Should-Retry: "+retry)})
		for op, call := range calls {
			a := g.Do(t.Context(), call)
			if a.Kind < hold.AnswerOK || a.Kind > hold.AnswerReplayedError {
				t.Errorf("%s: kind %d", op, a.Kind)
			}
			if a.Kind == hold.AnswerOK && (a.Intent == nil || a.Intent.ID != intent) {
				t.Errorf("%s: ok with %+v", op, a.Intent)
			}
			if len(a.Message) > hold.MaxNoteBytes || strings.Contains(fmt.Sprintf("%+v", a), testKey) || strings.Contains(a.Message, "panicked") {
				t.Errorf("%s: %+v", op, a)
			}
		}
	})
}
