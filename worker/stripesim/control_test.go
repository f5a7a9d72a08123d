package stripesim_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestControlHandler(t *testing.T) {
	openAPI() // parsing it takes longer than the rate limit below allows
	c := newTestClient(t, unlimitedOptions(1))
	h := c.sim.ControlHandler()
	sendControl := func(method, path, body string) testResponse {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		a := testResponse{status: w.Code, raw: w.Body.Bytes()}
		_ = json.Unmarshal(a.raw, &a.body)
		return a
	}
	mustControl := func(method, path, body string) testResponse {
		t.Helper()
		a := sendControl(method, path, body)
		if a.status != 200 {
			t.Fatalf("%s %s: %d %s", method, path, a.status, a.raw)
		}
		return a
	}
	assertEqual(t, "help", string(sendControl("GET", "/_sim/", "").raw), stripesim.ControlHelp)
	hold := func(more string) string {
		t.Helper()
		return mustControl("POST", "/_sim/holds", `{"amount":1000,"currency":"usd"`+more+`}`).id()
	}
	id := hold(`,"payment_method":"pm_card_amex","metadata":{"a":"b"}`)
	assertEqual(t, "amount", c.intentState(id).Amount, 1000)
	mustControl("POST", "/_sim/faults",
		`{"kind":"drop_reply","class":"payment_intents.capture","times":1,"before":"1ms"}`)
	if _, err := c.tryCall("POST", intentPath(id, "capture"), ""); err == nil {
		t.Error("the reply was not dropped")
	}
	if got := string(mustControl("GET", "/_sim/faults", "").raw); !strings.Contains(
		got, `"hits":1`) {
		t.Errorf("rules: %s", got)
	}
	mustControl("DELETE", "/_sim/faults/1", "")
	assertEqual(t, "rules", strings.TrimSpace(string(mustControl("GET", "/_sim/faults", "").raw)),
		"[]")
	mustControl("DELETE", "/_sim/faults", "")
	assertEqual(t, "ledger", mustControl("GET", "/_sim/ledger?payment_intent="+id, "").stringAt(
		"effects.1.kind"), "captured")
	assertEqual(t, "totals", mustControl("GET", "/_sim/ledger", "").numberAt("totals.0.captured"),
		1000)

	d := "/_sim/dashboard/"
	id = hold(`,"incremental":true`)
	mustControl("POST", d+id+"/increment", `{"amount":1200}`)
	mustControl("POST", d+id+"/open_review", "")
	mustControl("POST", d+id+"/close_review", `{"reason":"approved"}`)
	mustControl("POST", d+id+"/capture", `{"amount":700}`)
	assertEqual(t, "effects", c.formatEffects(id),
		"authorized 1000, incremented 200, captured 700!, released 500")
	id = hold("")
	mustControl("POST", d+id+"/cancel", `{"reason":"duplicate"}`)
	assertEqual(t, "status", c.intentState(id).Status, "canceled")
	assertEqual(t, "again", sendControl("POST", d+id+"/cancel", "").status, 400)
	mustControl("POST", d+hold(`,"payment_method":"pm_card_authenticationRequired"`)+
		"/complete_action", "")
	mustControl("POST", d+hold(`,"payment_method":"pm_card_authenticationRequired"`)+"/fail_action",
		"")
	id = hold("")
	mustControl("POST", d+id+"/capture_before", `{"in":"1h"}`)
	mustControl("POST", "/_sim/advance", `{"by":"2h"}`)
	assertEqual(t, "expired", c.intentState(id).Expired, true)
	mustControl("GET", "/_sim/clock", "")

	mustControl("POST", "/_sim/settings",
		`{"deadline":"1m","endpoint_rate":1,"service_time":"0s","search_lag":"1m","overall_rate":-1}`)
	id = hold("")
	assertEqual(t, "deadline", c.intentState(id).CaptureBefore.Sub(
		c.sim.Now()).Round(2e9).Minutes(), 1)
	c.mustSucceed("GET", intentPath(id), "")
	c.mustFail(429, "rate_limit", "GET", intentPath(id), "")
	mustControl("POST", "/_sim/settings", `{"deadline":"default","endpoint_rate":-1}`)
	mustControl("POST", "/_sim/keys", `{"key":"sk_test_9","do":"revoke"}`)
	c.mustFail(401, "", "GET", intentPath(id), "", "Authorization", "Bearer sk_test_9")
	mustControl("POST", "/_sim/keys",
		`{"key":"sk_test_9","do":"restrict","allow":["payment_intents.retrieve"]}`)
	mustControl("POST", "/_sim/keys", `{"key":"sk_test_9","do":"restore"}`)
	c.mustSucceed("GET", intentPath(id), "", "Authorization", "Bearer sk_test_9")
	mustControl("POST", "/_sim/prune", `{"key":""}`)
	saved := mustControl("POST", "/_sim/customers", `{"payment_method":"pm_card_visa"}`)
	card := saved.stringAt("payment_method")
	id = hold(`,"customer":"` + saved.stringAt("customer") + `","payment_method":"` + card +
		`","setup_future_usage":"off_session"`)
	assertEqual(t, "customer", c.intentState(id).Customer, saved.stringAt("customer"))
	assertEqual(t, "future usage", c.intentState(id).FutureUsage, "off_session")
	again := `{"amount":1000,"currency":"usd","kind":"off_session","customer":"` +
		saved.stringAt("customer") + `","payment_method":"` + card + `"}`
	mustControl("POST", "/_sim/cards/"+card, `{"credit":1999}`)
	assertEqual(t, "beyond the credit", sendControl("POST", "/_sim/holds", again).status, 402)
	mustControl("POST", "/_sim/cards/"+card, `{"credit":-1,
		"outcomes":[{"from":"2020-01-01T00:00:00Z",
		"times":1,"decline_code":"do_not_honor","advice_code":"do_not_try_again"}]}`)
	assertEqual(t, "declined", sendControl("POST", "/_sim/holds", again).status, 402)
	mustControl("POST", "/_sim/holds", again)
	mustControl("POST", "/_sim/cards/"+card, `{"outcomes":[]}`)
	mustControl("POST", "/_sim/features", `{"incremental":false}`)
	id = hold(`,"incremental":true,"multicapture":true`)
	assertEqual(t, "no increment", sendControl("POST", d+id+"/increment",
		`{"amount":1100}`).status, 400)
	mustControl("POST", d+id+"/capture", `{"amount":100,"final":false}`)
	mustControl("POST", "/_sim/features", `{}`)
	assertEqual(t, "429s", mustControl("GET", "/_sim/stats", "").numberAt("rate_limited"), 1)
	mustControl("GET", "/_sim/intents", "")
	klarna := hold(`,"payment_method_type":"klarna","manual_by_type":true`)
	assertEqual(t, "Klarna", c.intentState(klarna).Status, "requires_capture")
	assertEqual(t, "manual by type", c.intentState(klarna).CaptureMethod, "automatic_async")
	assertEqual(t, "card", c.intentState(hold(`,"payment_method_type":"card"`)).Status,
		"requires_capture")

	for path, body := range map[string]string{
		"/_sim/holds": `{"amount":0}`, "/_sim/holds ": `{"amount":1000,"payment_method_type":"x"}`,
		"/_sim/advance":  `{"by":"-1h"}`,
		"/_sim/settings": `{"deadline":"soon"}`, "/_sim/faults": `{"kind":"gremlins"}`,
		"/_sim/customers": `{"payment_method":"pm_none"}`, "/_sim/cards/" + card: `{}`,
		"/_sim/cards/pm_none": `{"credit":1}`, "/_sim/cards/pm_none ": `{"outcomes":[]}`,
		"/_sim/features": `{"teleport":true}`, "/_sim/features ": `{"account":"me"}`,
		"/_sim/customers ": `{"account":"me"}`,
		"/_sim/keys":       `{"key":"sk_` + `live_1","do":"revoke"}`, "/_sim/prune": `{"keys":""}`,
		d + "pi_none/capture": "", d + id + "/dance": "", "/_sim/faults ": `{`,
	} {
		if a := sendControl("POST", strings.TrimSpace(path), body); a.status < 400 ||
			a.stringAt("error") == "" {
			t.Errorf("%s %s: %d %s", path, body, a.status, a.raw)
		}
	}
	assertEqual(t, "account", sendControl("GET", "/_sim/intents?account=nobody", "").status, 400)
	for path, status := range map[string]int{"/_sim/ledger?intent=" + id: 400,
		"/_sim/intents?acct=x": 400, "/_sim/ledger?payment_intent=pi_none": 404,
		"/_sim/ledger?payment_intent=": 404} {
		assertEqual(t, path, sendControl("GET", path, "").status, status)
	}
}

// A rule that can have no effect, or another one than it says, is answered 400.
func TestControlHandler_InvalidFaultRule(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	h := c.sim.ControlHandler()
	for body, want := range map[string]string{
		`{"kind":"dwon"}`: `unknown fault kind "dwon": GET /_sim/ lists them`,
		`{"kind":"html","class":"payment_intents.captrue"}`: `unknown class ` +
			`"payment_intents.captrue": GET /_sim/ lists them`,
		`{"kind":"html","class":"payment_intents.list","payment_intent":"pi_1"}`: "payment_intent " +
			"with class payment_intents.list",
		`{"kind":"html","class":"payment_intents.create","payment_intent":"pi_1"}`: "payment_intent " +
			"with class payment_intents.create",
		`{"kind":"html","class":"setup_intents.confirm","payment_intent":"pi_1"}`: "payment_intent " +
			"with class setup_intents.confirm",
		`{"kind":"html","payment_intent":"ch_123"}`: `invalid payment_intent "ch_123": want an id ` +
			`that starts with pi_`,
		`{}`:                                     "no effect: want a kind, a duration or should_retry",
		`{"class":"payment_intents.capture"}`:    "no effect",
		`{"kind":"html","probability":0}`:        "invalid probability 0: want more than 0",
		`{"kind":"html","probability":1.1}`:      "invalid probability 1.1",
		`{"kind":"html","probability":-0.1}`:     "invalid probability -0.1",
		`{"kind":"html","nth":-1}`:               "invalid nth -1: want 1 or more",
		`{"kind":"html","times":-1}`:             "invalid times -1: want 1 or more",
		`{"kind":"html","status":42}`:            "invalid status 42: want 400 to 599",
		`{"kind":"error_after","status":200}`:    "invalid status 200",
		`{"kind":"unavailable","status":600}`:    "invalid status 600",
		`{"before":"-1s"}`:                       "invalid before -1s",
		`{"service":"-1s"}`:                      "service -1s",
		`{"kind":"html","after":"-1s"}`:          "after -1s: want no negative duration",
		`{"kind":"html","should_retry":"maybe"}`: `invalid should_retry "maybe": want true or false`,
		`{"kind":"drop_reply","status":500}`:     `status has no effect on kind "drop_reply"`,
		`{"kind":"conflict","status":500}`:       `status has no effect on kind "conflict"`,
		`{"before":"1s","status":500}`:           `status has no effect on kind ""`,
		`{"kind":"drop_reply","code":"x"}`:       `code has no effect on kind "drop_reply"`,
		`{"kind":"conflict","code":"x"}`:         `code has no effect on kind "conflict"`,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/_sim/faults", strings.NewReader(body)))
		var answer struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 400 ||
			!strings.Contains(answer.Error, want) {
			t.Errorf("%s: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	for _, body := range []string{`{"should_retry":"false"}`, `{"service":"1s"}`,
		`{"kind":"html","class":"payment_intents.update","payment_intent":"pi_1","probability":0.5}`} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/_sim/faults", strings.NewReader(body)))
		assertEqual(t, body, w.Code, 200)
	}
}

func BenchmarkCapture(b *testing.B) {
	c := newTestClient(b, unlimitedOptions(1))
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = c.authorize(stripesim.Hold{})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, id := range ids {
		r := c.newRequest(context.Background(), "POST", intentPath(id, "capture"),
			"", "Idempotency-Key", id)
		res, err := c.transport.RoundTrip(r)
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(res, err)
		}
		io.Copy(io.Discard, res.Body)
	}
}
