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

func TestControl(t *testing.T) {
	c := newClient(t, free(1))
	h := c.sim.ControlHandler()
	order := func(method, path, body string) answer {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		a := answer{status: w.Code, raw: w.Body.Bytes()}
		_ = json.Unmarshal(a.raw, &a.body)
		return a
	}
	must := func(method, path, body string) answer {
		t.Helper()
		a := order(method, path, body)
		if a.status != 200 {
			t.Fatalf("%s %s: %d %s", method, path, a.status, a.raw)
		}
		return a
	}
	equal(t, "help", string(order("GET", "/_sim/", "").raw), stripesim.ControlHelp)
	hold := func(more string) string {
		t.Helper()
		return must("POST", "/_sim/holds", `{"amount":1000,"currency":"usd"`+more+`}`).id()
	}
	id := hold(`,"payment_method":"pm_card_amex","metadata":{"a":"b"}`)
	equal(t, "amount", c.state(id).Amount, 1000)
	must("POST", "/_sim/faults", `{"kind":"drop_reply","class":"payment_intents.capture","times":1,"before":"1ms"}`)
	if _, err := c.try("POST", path(id, "capture"), ""); err == nil {
		t.Error("the reply was not dropped")
	}
	if got := string(must("GET", "/_sim/faults", "").raw); !strings.Contains(got, `"hits":1`) {
		t.Errorf("rules: %s", got)
	}
	must("DELETE", "/_sim/faults/1", "")
	equal(t, "rules", strings.TrimSpace(string(must("GET", "/_sim/faults", "").raw)), "[]")
	must("DELETE", "/_sim/faults", "")
	equal(t, "ledger", must("GET", "/_sim/ledger?payment_intent="+id, "").str("effects.1.kind"), "captured")
	equal(t, "totals", must("GET", "/_sim/ledger", "").num("totals.0.captured"), 1000)

	d := "/_sim/dashboard/"
	id = hold(`,"incremental":true`)
	must("POST", d+id+"/increment", `{"amount":1200}`)
	must("POST", d+id+"/open_review", "")
	must("POST", d+id+"/close_review", `{"reason":"approved"}`)
	must("POST", d+id+"/capture", `{"amount":700}`)
	equal(t, "effects", c.effects(id), "authorized 1000, incremented 200, captured 700!, released 500")
	id = hold("")
	must("POST", d+id+"/cancel", `{"reason":"duplicate"}`)
	equal(t, "status", c.state(id).Status, "canceled")
	equal(t, "again", order("POST", d+id+"/cancel", "").status, 400)
	must("POST", d+hold(`,"payment_method":"pm_card_authenticationRequired"`)+"/complete_action", "")
	must("POST", d+hold(`,"payment_method":"pm_card_authenticationRequired"`)+"/fail_action", "")
	id = hold("")
	must("POST", d+id+"/capture_before", `{"in":"1h"}`)
	must("POST", "/_sim/advance", `{"by":"2h"}`)
	equal(t, "expired", c.state(id).Expired, true)
	must("GET", "/_sim/clock", "")

	must("POST", "/_sim/settings", `{"deadline":"1m","endpoint_rate":1,"service_time":"0s","search_lag":"1m","overall_rate":-1}`)
	id = hold("")
	equal(t, "deadline", c.state(id).CaptureBefore.Sub(c.sim.Now()).Round(2e9).Minutes(), 1)
	c.ok("GET", path(id), "")
	c.refused(429, "rate_limit", "GET", path(id), "")
	must("POST", "/_sim/settings", `{"deadline":"default","endpoint_rate":-1}`)
	must("POST", "/_sim/keys", `{"key":"sk_test_9","do":"revoke"}`)
	c.refused(401, "", "GET", path(id), "", "Authorization", "Bearer sk_test_9")
	must("POST", "/_sim/keys", `{"key":"sk_test_9","do":"restrict","allow":["payment_intents.retrieve"]}`)
	must("POST", "/_sim/keys", `{"key":"sk_test_9","do":"restore"}`)
	c.ok("GET", path(id), "", "Authorization", "Bearer sk_test_9")
	must("POST", "/_sim/prune", `{"key":""}`)
	equal(t, "429s", must("GET", "/_sim/stats", "").num("rate_limited"), 1)
	must("GET", "/_sim/intents", "")

	for path, body := range map[string]string{
		"/_sim/holds": `{"amount":0}`, "/_sim/advance": `{"by":"-1h"}`, "/_sim/settings": `{"deadline":"soon"}`, "/_sim/faults": `{"kind":"gremlins"}`,
		"/_sim/keys": `{"key":"sk_` + `live_1","do":"revoke"}`, "/_sim/prune": `{"keys":""}`, d + "pi_none/capture": "", d + id + "/dance": "", "/_sim/faults ": `{`,
	} {
		if a := order("POST", strings.TrimSpace(path), body); a.status < 400 || a.str("error") == "" {
			t.Errorf("%s %s: %d %s", path, body, a.status, a.raw)
		}
	}
	equal(t, "account", order("GET", "/_sim/intents?account=nobody", "").status, 400)
}

func BenchmarkCapture(b *testing.B) {
	c := newClient(b, free(1))
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = c.hold(stripesim.Hold{})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, id := range ids {
		r := c.request(context.Background(), "POST", path(id, "capture"), "", "Idempotency-Key", id)
		res, err := c.rt.RoundTrip(r)
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(res, err)
		}
		io.Copy(io.Discard, res.Body)
	}
}
