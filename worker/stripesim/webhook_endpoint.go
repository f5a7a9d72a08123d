package stripesim

import (
	"slices"
	"strconv"
)

// WebhookEndpoint is a webhook endpoint of the platform's account, as GET
// /v1/webhook_endpoints shows it. It receives no events: they go to
// [Options].Webhook, whose URL is listed as an endpoint as well.
type WebhookEndpoint struct {
	URL        string
	APIVersion string   // empty: the account's default, shown as null
	Events     []string // empty: all
	Disabled   bool
}

// maxWebhookEndpoints is how many an account may have at Stripe.
const maxWebhookEndpoints = 16

// SetWebhookEndpoints sets the account's webhook endpoints, besides the one of
// [Options].Webhook. Endpoints beyond Stripe's limit are left out.
func (h *Webhooks) SetWebhookEndpoints(all ...WebhookEndpoint) {
	h.endpoints.Store(new(slices.Clone(all[:min(len(all), maxWebhookEndpoints)])))
}

// allEndpoints returns the endpoints of the platform's account.
func (h *Webhooks) allEndpoints() []WebhookEndpoint {
	var all []WebhookEndpoint
	if w := h.webhook; w.URL != "" && !w.Thin { // thin events have no endpoint in /v1
		all = append(all, WebhookEndpoint{URL: w.URL, APIVersion: w.APIVersion})
	}
	if more := h.endpoints.Load(); more != nil {
		all = append(all, *more...)
	}
	return all
}

type webhookEndpointJSON struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	APIVersion    *string           `json:"api_version"`
	Application   *string           `json:"application"`
	Created       int64             `json:"created"`
	Description   *string           `json:"description"`
	EnabledEvents []string          `json:"enabled_events"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Status        string            `json:"status"`
	URL           string            `json:"url"`
}

func (e WebhookEndpoint) toJSON(id string, created int64) webhookEndpointJSON {
	j := webhookEndpointJSON{ID: id, Object: "webhook_endpoint", Created: created,
		APIVersion: stringOrNil(e.APIVersion), EnabledEvents: e.Events,
		Metadata: map[string]string{}, Status: "enabled", URL: e.URL}
	if len(j.EnabledEvents) == 0 {
		j.EnabledEvents = []string{"*"}
	}
	if e.Disabled {
		j.Status = "disabled"
	}
	return j
}

func listWebhookEndpoints(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	var all []WebhookEndpoint
	if a.id == a.env.platformAccount {
		all = a.env.webhooks.allEndpoints()
	}
	created := a.env.clock.start.Unix()
	id := func(i int) string {
		return "we_1" + seededToken(a.env.options.Seed, 23, "endpoint", strconv.Itoa(i))
	}
	p := pageSource{kind: "webhook_endpoint", length: len(all),
		created: func(int) int64 { return created },
		find: func(wanted string) int {
			for i := range all {
				if id(i) == wanted {
					return i
				}
			}
			return -1
		},
	}
	at, more, err := paginate(f, p)
	if err != nil {
		return nil, err
	}
	out := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more,
		URL: "/v1/webhook_endpoints"}
	for _, i := range at {
		out.Data = append(out.Data, all[i].toJSON(id(i), created))
	}
	return out, nil
}
