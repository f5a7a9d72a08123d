package stripesim

import (
	"slices"
	"strconv"
)

// WebhookEndpoint is a webhook endpoint of the platform's account as GET
// /v1/webhook_endpoints shows it. It is only shown: where events really go is
// said by Options.Webhook, whose URL, if it has one, is listed as an endpoint
// as well.
type WebhookEndpoint struct {
	URL        string
	APIVersion string   // empty: the account's default, which is shown as null
	Events     []string // empty: all
	Disabled   bool
}

// maxWebhookEndpoints is how many an account may have at Stripe.
const maxWebhookEndpoints = 16

// SetWebhookEndpoints says which webhook endpoints the account has, besides the
// one of Options.Webhook. More than Stripe allows are left out.
func (s *Sim) SetWebhookEndpoints(all ...WebhookEndpoint) {
	s.webhookEndpoints.Store(new(slices.Clone(all[:min(len(all), maxWebhookEndpoints)])))
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

func listWebhookEndpoints(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	s := a.sim
	var all []WebhookEndpoint
	if w := s.options.Webhook; w.URL != "" {
		all = append(all, WebhookEndpoint{URL: w.URL, APIVersion: w.APIVersion})
	}
	if more := s.webhookEndpoints.Load(); more != nil {
		all = append(all, *more...)
	}
	if a.id != s.platformAccount {
		all = nil
	}
	id := func(i int) string {
		return "we_1" + seededToken(s.options.Seed, 23,
			"endpoint", strconv.Itoa(i))
	}
	at, more, err := paginate(f, len(all), func(int) int64 { return s.clockStart.Unix() },
		func(wanted string) int {
			for i := range all {
				if id(i) == wanted {
					return i
				}
			}
			return -1
		}, "webhook_endpoint", func(int) bool { return true })
	if err != nil {
		return nil, err
	}
	out := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more,
		URL: "/v1/webhook_endpoints"}
	for _, i := range at {
		e := webhookEndpointJSON{ID: id(i), Object: "webhook_endpoint",
			Created: s.clockStart.Unix(), EnabledEvents: all[i].Events,
			Metadata: map[string]string{}, Status: "enabled", URL: all[i].URL}
		if all[i].APIVersion != "" {
			e.APIVersion = &all[i].APIVersion
		}
		if len(e.EnabledEvents) == 0 {
			e.EnabledEvents = []string{"*"}
		}
		if all[i].Disabled {
			e.Status = "disabled"
		}
		out.Data = append(out.Data, e)
	}
	return out, nil
}
