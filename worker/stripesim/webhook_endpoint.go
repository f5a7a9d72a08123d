package stripesim

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
)

// WebhookEndpoint is a webhook endpoint of the platform's account that GET
// /v1/webhook_endpoints lists and that receives no events. Events go to
// [Options].Webhook, whose URL is listed as an endpoint as well, and to the
// endpoints that POST /v1/webhook_endpoints made.
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

// webhookEndpoint is an endpoint that a call made. Its events are sent to it,
// signed with its secret. Webhooks.mu guards what an update changes.
type webhookEndpoint struct {
	id, account, secret string
	created             int64
	apiVersion          string // in which its events are rendered
	namesVersion        bool   // the call gave the version
	connect             bool   // events of connected accounts, not of the own one
	deleted             bool

	url, description string
	events           []string
	disabled         bool
	metadata         map[string]string
}

// receives reports whether the endpoint gets events of a type and an account.
func (e *webhookEndpoint) receives(a *account, eventType string) bool {
	own := e.account == a.id
	fromConnected := e.account == a.env.platformAccount && a.id != e.account
	return !e.deleted && !e.disabled && (own && !e.connect || fromConnected && e.connect) &&
		(slices.Contains(e.events, "*") || slices.Contains(e.events, eventType))
}

// subscribed returns the endpoints that get events of a type and an account.
func (h *Webhooks) subscribed(a *account, eventType string) []*webhookEndpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*webhookEndpoint
	for _, e := range h.made {
		if e.receives(a, eventType) {
			out = append(out, e)
		}
	}
	return out
}

// target returns where the events of an endpoint are sent. It is empty if the
// endpoint takes no events any more.
func (h *Webhooks) target(e *webhookEndpoint) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.deleted || e.disabled {
		return ""
	}
	return e.url
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
	Secret        string            `json:"secret,omitempty"` // at creation only
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

func (e *webhookEndpoint) toJSON() webhookEndpointJSON {
	j := WebhookEndpoint{URL: e.url, Events: e.events, Disabled: e.disabled}.toJSON(e.id, e.created)
	j.Description = stringOrNil(e.description)
	if e.namesVersion {
		j.APIVersion = &e.apiVersion
	}
	if e.metadata != nil {
		j.Metadata = e.metadata
	}
	return j
}

// listedEndpoints returns every endpoint of the account, oldest first.
func listedEndpoints(a *account) []webhookEndpointJSON {
	h := a.env.webhooks
	var out []webhookEndpointJSON
	if a.id == a.env.platformAccount {
		for i, e := range h.allEndpoints() {
			out = append(out, e.toJSON("we_1"+seededToken(a.env.options.Seed, 23, "endpoint",
				strconv.Itoa(i)), a.env.clock.start.Unix()))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.made {
		if e.account == a.id && !e.deleted {
			out = append(out, e.toJSON())
		}
	}
	return out
}

func listWebhookEndpoints(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	all := listedEndpoints(a)
	p := pageSource{kind: "webhook_endpoint", length: len(all),
		created: func(i int) int64 { return all[i].Created },
		find: func(wanted string) int {
			return slices.IndexFunc(all, func(e webhookEndpointJSON) bool { return e.ID == wanted })
		},
	}
	at, more, err := paginate(f, p)
	if err != nil {
		return nil, err
	}
	out := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more,
		URL: "/v1/webhook_endpoints"}
	for _, i := range at {
		out.Data = append(out.Data, all[i])
	}
	return out, nil
}

func retrieveWebhookEndpoint(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	for _, e := range listedEndpoints(a) {
		if e.ID == id {
			return e, nil
		}
	}
	return nil, notFoundError("webhook endpoint", "id", id)
}

var eventTypePattern = regexp.MustCompile(`^(\*|[a-z0-9_]+(\.[a-z0-9_]+)+)$`)

// checkEndpoint checks the parameters that create and update share.
func checkEndpoint(f *form) *apiError {
	if f.has("url") {
		u, err := url.Parse(f.get("url"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return validationError("url_invalid", "url", "Invalid URL: An explicit scheme (such "+
				"as https) must be provided.")
		}
	}
	for _, t := range f.lists["enabled_events"] {
		if !eventTypePattern.MatchString(t) {
			return validationError("", "enabled_events",
				"Invalid enabled_events: %q is no event type", t)
		}
	}
	if f.has("api_version") && !IsAPIVersion(f.get("api_version")) {
		return validationError("", "api_version", "Invalid API version: %s", f.get("api_version"))
	}
	return nil
}

func createWebhookEndpoint(op *operation, a *account, _ string, f *form) (any, *apiError) {
	if err := checkEndpoint(f); err != nil {
		return nil, err
	}
	if len(f.lists["enabled_events"]) == 0 {
		return nil, validationError("parameter_missing", "enabled_events",
			"Missing required param: enabled_events.")
	}
	if len(listedEndpoints(a)) >= maxWebhookEndpoints {
		return nil, invalidRequestError("", "",
			"You have reached the maximum of %d test webhook endpoints.", maxWebhookEndpoints)
	}
	metadata, err := mergeMetadata(nil, f)
	if err != nil {
		return nil, err
	}
	e := &webhookEndpoint{id: a.newID("we_"), account: a.id, created: op.now.Unix(),
		apiVersion: a.env.options.APIVersion, namesVersion: f.has("api_version"),
		connect: f.isTrue("connect"), url: f.get("url"), description: f.get("description"),
		events: f.lists["enabled_events"], metadata: metadata}
	if e.namesVersion {
		e.apiVersion = f.get("api_version")
	}
	e.secret = "whsec_" + seededToken(a.env.options.Seed, 32, "whsec", e.id)
	h := a.env.webhooks
	h.mu.Lock()
	h.made = append(h.made, e)
	h.mu.Unlock()
	j := e.toJSON()
	j.Secret = e.secret
	return j, nil
}

// withMadeEndpoint calls do for an endpoint that a call made. No delivery begins
// meanwhile.
func withMadeEndpoint(a *account, id string, do func(*webhookEndpoint) *apiError) *apiError {
	h := a.env.webhooks
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.made {
		if e.id == id && e.account == a.id && !e.deleted {
			return do(e)
		}
	}
	return notFoundError("webhook endpoint", "id", id)
}

func updateWebhookEndpoint(_ *operation, a *account, id string, f *form) (any, *apiError) {
	if err := checkEndpoint(f); err != nil {
		return nil, err
	}
	var j webhookEndpointJSON
	err := withMadeEndpoint(a, id, func(e *webhookEndpoint) *apiError {
		metadata, err := mergeMetadata(e.metadata, f)
		if err != nil {
			return err
		}
		e.metadata = metadata
		if f.has("url") {
			e.url = f.get("url")
		}
		if f.has("description") {
			e.description = f.get("description")
		}
		if types := f.lists["enabled_events"]; len(types) > 0 {
			e.events = types
		}
		if f.has("disabled") {
			e.disabled = f.isTrue("disabled")
		}
		j = e.toJSON()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// deletedJSON is the answer to the deletion of an object.
type deletedJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

func deleteWebhookEndpoint(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	err := withMadeEndpoint(a, id, func(e *webhookEndpoint) *apiError {
		e.deleted = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	h := a.env.webhooks
	h.mu.Lock()
	h.made = slices.DeleteFunc(h.made, func(e *webhookEndpoint) bool { return e.deleted })
	h.mu.Unlock()
	return deletedJSON{ID: id, Object: "webhook_endpoint", Deleted: true}, nil
}
