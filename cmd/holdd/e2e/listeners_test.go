package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// With an address of their own, the webhooks are served there and nothing else
// is, and metrics and health need no token at theirs. A request that a proxy
// forwarded is refused where no token is required.
func TestListeners_EachServesItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unlimitedStripeOptions)
	r := w.startReplica(binaryPath(t, buildRelease), append(webhookSettings,
		"HOLDD_WEBHOOK_LISTEN=127.0.0.1:0", "HOLDD_METRICS_LISTEN=127.0.0.1:0")...)
	at := func(url string) *replica { return &replica{tb: t, url: url} }
	main, webhooks, metrics := r, at(r.log.webhookAddr), at(r.log.metricsAddr)
	event := []byte(`{"id":"evt_1","object":"event","type":"customer.created","created":1,` +
		`"livemode":false,"data":{"object":{"object":"customer","id":"cus_1"}}}`)
	signed := http.Header{"Stripe-Signature": {stripesim.Sign(event, time.Now(), signingSecret)}}
	forwarded := http.Header{"X-Forwarded-For": {"203.0.113.9"}}
	forwardedEvent := http.Header{"X-Forwarded-For": {"203.0.113.9"},
		"Stripe-Signature": signed["Stripe-Signature"]}
	for _, c := range []struct {
		what         string
		to           *replica
		method, path string
		header       http.Header
		status       int
		code         hold.ProblemCode
	}{
		{"a read", main, "GET", "/v1/holds", nil, 200, ""},
		{"metrics of the API", main, "GET", "/metrics", nil, 200, ""},
		{"an event at the API", main, "POST", api.WebhookPath, signed, 404, api.RouteNotFound},
		{"a forwarded read", main, "GET", "/v1/holds", forwarded, 403, api.HostNotAllowed},
		{"an event", webhooks, "POST", api.WebhookPath, signed, 200, ""},
		{"a forwarded event", webhooks, "POST", api.WebhookPath, forwardedEvent, 200, ""},
		{"a read at the webhooks", webhooks, "GET", "/v1/holds", nil, 404, api.RouteNotFound},
		{"health at the webhooks", webhooks, "GET", "/healthz", nil, 404, api.RouteNotFound},
		{"metrics", metrics, "GET", "/metrics", nil, 200, ""},
		{"health", metrics, "GET", "/healthz", nil, 200, ""},
		{"a read at the metrics", metrics, "GET", "/v1/holds", nil, 404, api.RouteNotFound},
		{"a change at the metrics", metrics, "PUT", "/v1/log-level", nil, 404, api.RouteNotFound},
		{"an event at the metrics", metrics, "POST", api.WebhookPath, signed, 404,
			api.RouteNotFound},
	} {
		var body []byte
		if c.method == http.MethodPost {
			body = event
		}
		a := sendRaw(t, c.to, c.method, c.path, c.header, body, false)
		if c.code == "" && a.status != c.status {
			t.Errorf("%s: %d %s", c.what, a.status, a.text)
		} else if c.code != "" {
			checkProblem(t, c.what, a, c.status, c.code)
		}
	}
	if a := sendRaw(t, metrics, "GET", "/healthz", nil, nil, false); strings.Contains(a.text,
		"version") {
		t.Errorf("health without a token shows the version: %s", a.text)
	}
}
