package stripesim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestListWebhookEndpoints(t *testing.T) {
	o := unlimitedOptions(1)
	o.Webhook.URL = "http://127.0.0.1:1/hook"
	c := newTestClient(t, o)
	c.sim.Webhooks.SetWebhookEndpoints(
		stripesim.WebhookEndpoint{URL: "https://hotel.example/webhooks/stripe",
			Events: []string{"charge.expired"}, Disabled: true})
	newest := c.get("/v1/webhook_endpoints", "limit=1")
	assertEqual(t, "url", newest.stringAt("data.0.url"), "https://hotel.example/webhooks/stripe")
	assertEqual(t, "status", newest.stringAt("data.0.status"), "disabled")
	assertEqual(t, "event", newest.stringAt("data.0.enabled_events.0"), "charge.expired")
	assertEqual(t, "version", newest.valueAt("data.0.api_version"), nil)
	assertEqual(t, "more", newest.valueAt("has_more"), any(true))
	oldest := c.get("/v1/webhook_endpoints", "starting_after="+newest.stringAt("data.0.id"))
	assertEqual(t, "url", oldest.stringAt("data.0.url"), o.Webhook.URL)
	assertEqual(t, "event", oldest.stringAt("data.0.enabled_events.0"), "*")
	assertEqual(t, "version", oldest.stringAt("data.0.api_version"), stripesim.APIVersion)
	assertEqual(t, "status of an unknown cursor",
		c.call("GET", "/v1/webhook_endpoints?starting_after=we_none", "").status, 404)
	connected := c.call("GET", "/v1/webhook_endpoints", "", "Stripe-Account", "acct_other")
	assertEqual(t, "endpoints of a connected account", len(connected.valueAt("data").([]any)), 0)
}

// The Date header has the simulator's time, over a listener and in process.
func TestDateHeader(t *testing.T) {
	sim := stripesim.New(unlimitedOptions(1))
	sim.Advance(100 * time.Hour)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	for name, rt := range map[string]http.RoundTripper{"listener": http.DefaultTransport,
		"in process": sim.Transport()} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/balance", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		date, err := http.ParseTime(res.Header.Get("Date"))
		if off := sim.Now().Sub(date); err != nil || off < 0 || off > time.Minute {
			t.Errorf("%s: it is %s off: %v", name, off, err)
		}
	}
}

// received is what a webhook endpoint got.
type received struct {
	eventType, account, version, signature string
	payload                                []byte
}

// newReceiver returns the URL of an endpoint and what it gets.
func newReceiver(t *testing.T) (url string, got chan received) {
	got = make(chan received, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var e struct {
			Type, Account string
			Version       string `json:"api_version"`
		}
		if err := json.Unmarshal(payload, &e); err != nil {
			t.Error(err)
		}
		got <- received{e.Type, e.Account, e.Version, r.Header.Get("Stripe-Signature"), payload}
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

func TestWebhookEndpoint_ReceivesEvents(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	url, got := newReceiver(t)
	connectURL, gotConnected := newReceiver(t)
	e := c.mustSucceed("POST", "/v1/webhook_endpoints", "url="+url+"&description=hotel"+
		"&enabled_events[]=charge.captured&enabled_events[]=refund.created"+
		"&api_version=2025-03-31.basil&metadata[a]=b")
	connected := c.mustSucceed("POST", "/v1/webhook_endpoints", "url="+connectURL+
		"&enabled_events[]=*&connect=true")
	path := "/v1/webhook_endpoints/" + e.id()
	read := c.mustSucceed("GET", path, "")
	assertEqual(t, "secret, later", read.valueAt("secret"), nil)
	assertEqual(t, "description", read.stringAt("description"), "hotel")
	assertEqual(t, "version", read.stringAt("api_version"), "2025-03-31.basil")
	assertEqual(t, "listed", len(c.mustSucceed("GET", "/v1/webhook_endpoints", "").ids()), 2)

	id := c.authorize(stripesim.Hold{})
	c.mustSucceed("POST", intentPath(id, "capture"), "")
	assertEqual(t, "due", c.sim.DeliverDueWebhooks(t.Context()), 1)
	captured := <-got
	assertEqual(t, "type", captured.eventType, "charge.captured")
	assertEqual(t, "version", captured.version, "2025-03-31.basil")
	if !isSignatureValid(captured.payload, captured.signature, e.stringAt("secret")) {
		t.Error("the signature is not of the endpoint's secret")
	}
	pending := c.mustSucceed("GET", "/v1/events", "type=charge.captured")
	assertEqual(t, "pending", pending.numberAt("data.0.pending_webhooks"), 0)

	if _, err := c.sim.Authorize(stripesim.Hold{Account: "acct_other", Amount: 1000}); err != nil {
		t.Fatal(err)
	}
	assertEqual(t, "due", c.sim.DeliverDueWebhooks(t.Context()), 3)
	assertEqual(t, "account", (<-gotConnected).account, "acct_other")
	c.mustSucceed("DELETE", "/v1/webhook_endpoints/"+connected.id(), "")

	c.mustSucceed("POST", path, "disabled=true")
	c.mustSucceed("POST", "/v1/refunds", "payment_intent="+id+"&amount=10")
	assertEqual(t, "due while disabled", c.sim.DeliverDueWebhooks(t.Context()), 0)
	assertEqual(t, "status", c.mustSucceed("POST", path, "disabled=false").stringAt("status"),
		"enabled")
	c.mustSucceed("POST", "/v1/refunds", "payment_intent="+id+"&amount=10")
	assertEqual(t, "deleted", c.mustSucceed("DELETE", path, "").valueAt("deleted"), any(true))
	c.sim.DeliverDueWebhooks(t.Context())
	assertEqual(t, "after the deletion", len(got), 0)
	c.mustFail(404, "resource_missing", "GET", path, "")
	assertEqual(t, "given up", c.sim.Stats().WebhooksDropped, 1)
}

func TestWebhookEndpoint_Refusals(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	const ok = "url=https://hotel.example/hook&enabled_events[]=charge.captured"
	for form, code := range map[string]string{
		"enabled_events[]=*":                              "parameter_missing",
		"url=https://hotel.example/hook":                  "parameter_missing",
		"url=hotel&enabled_events[]=*":                    "url_invalid",
		"url=https://hotel.example&enabled_events[]=no/e": "",
		ok + "&api_version=basil":                         "",
	} {
		c.mustFail(400, code, "POST", "/v1/webhook_endpoints", form)
	}
	for range 16 {
		c.mustSucceed("POST", "/v1/webhook_endpoints", ok)
	}
	c.mustFail(400, "", "POST", "/v1/webhook_endpoints", ok)
}
