package stripesim

import (
	"slices"
	"strconv"
)

// Endpoint is a webhook endpoint of the platform's account as GET /v1/webhook_endpoints shows it. It is only shown: where events really go
// is said by Options.Webhook, whose URL, if it has one, is listed as an endpoint as well.
type Endpoint struct {
	URL        string
	APIVersion string   // empty: the account's default, which is shown as null
	Events     []string // empty: all
	Disabled   bool
}

// maxEndpoints is how many an account may have at Stripe.
const maxEndpoints = 16

// SetEndpoints says which webhook endpoints the account has, besides the one of Options.Webhook. More than Stripe allows are left out.
func (s *Sim) SetEndpoints(all ...Endpoint) {
	s.endpoints.Store(new(slices.Clone(all[:min(len(all), maxEndpoints)])))
}

type endpointJSON struct {
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

func runEndpoints(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	s := a.sim
	var all []Endpoint
	if w := s.opt.Webhook; w.URL != "" {
		all = append(all, Endpoint{URL: w.URL, APIVersion: w.APIVersion})
	}
	if more := s.endpoints.Load(); more != nil {
		all = append(all, *more...)
	}
	if a.id != s.platform {
		all = nil
	}
	id := func(i int) string { return "we_1" + digest(s.opt.Seed, 23, "endpoint", strconv.Itoa(i)) }
	at, more, err := page(f, len(all), func(int) int64 { return s.base.Unix() }, func(wanted string) int {
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
	out := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more, URL: "/v1/webhook_endpoints"}
	for _, i := range at {
		e := endpointJSON{ID: id(i), Object: "webhook_endpoint", Created: s.base.Unix(), EnabledEvents: all[i].Events,
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
