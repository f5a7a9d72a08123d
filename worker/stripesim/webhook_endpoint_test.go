package stripesim_test

import (
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
