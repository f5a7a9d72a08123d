package stripesim_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestWebhookEndpoints(t *testing.T) {
	o := free(1)
	o.Webhook.URL = "http://127.0.0.1:1/hook"
	c := newClient(t, o)
	c.sim.SetEndpoints(stripesim.Endpoint{URL: "https://hotel.example/webhooks/stripe", Events: []string{"charge.expired"}, Disabled: true})
	newest := c.get("/v1/webhook_endpoints", "limit=1")
	equal(t, "url", newest.str("data.0.url"), "https://hotel.example/webhooks/stripe")
	equal(t, "status", newest.str("data.0.status"), "disabled")
	equal(t, "event", newest.str("data.0.enabled_events.0"), "charge.expired")
	equal(t, "version", newest.at("data.0.api_version"), nil)
	equal(t, "more", newest.at("has_more"), any(true))
	oldest := c.get("/v1/webhook_endpoints", "starting_after="+newest.str("data.0.id"))
	equal(t, "url", oldest.str("data.0.url"), o.Webhook.URL)
	equal(t, "event", oldest.str("data.0.enabled_events.0"), "*")
	equal(t, "version", oldest.str("data.0.api_version"), stripesim.APIVersion)
	equal(t, "status of an unknown cursor", c.do("GET", "/v1/webhook_endpoints?starting_after=we_none", "").status, 404)
	connected := c.do("GET", "/v1/webhook_endpoints", "", "Stripe-Account", "acct_other")
	equal(t, "endpoints of a connected account", len(connected.at("data").([]any)), 0)
}

// The Date header tells the simulator's clock, over a listener as well as in process.
func TestDateHeader(t *testing.T) {
	sim := stripesim.New(free(1))
	sim.Advance(100 * time.Hour)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	for name, rt := range map[string]http.RoundTripper{"listener": http.DefaultTransport, "in process": sim.Transport()} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/balance", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		told, err := http.ParseTime(res.Header.Get("Date"))
		if off := sim.Now().Sub(told); err != nil || off < 0 || off > time.Minute {
			t.Errorf("%s: it is %s off: %v", name, off, err)
		}
	}
}
