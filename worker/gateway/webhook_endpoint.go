package gateway

import (
	"context"
	"net/url"
	"strings"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// WebhookEndpoint is a webhook endpoint of the account.
type WebhookEndpoint struct {
	ID         string
	URL        string // without user, query and fragment, which may contain secrets
	Path       string // of URL
	APIVersion string // of its events; empty means the account's default
	Events     []string
	Enabled    bool
}

// ListWebhookEndpoints lists the webhook endpoints of the account, at most 100,
// which is more than Stripe allows.
func (g *Gateway) ListWebhookEndpoints(ctx context.Context) ([]WebhookEndpoint, hold.Answer) {
	return g.account.listWebhookEndpoints(ctx)
}

func (cl *accountClient) listWebhookEndpoints(
	ctx context.Context,
) (all []WebhookEndpoint, a hold.Answer) {
	p := &stripe.WebhookEndpointListParams{}
	p.Limit = stripe.Int64(maxPageSize)
	p.Single = true
	a = cl.sender.sendAndClassify(ctx, classifyOptions{}, func(ctx context.Context) (bool, error) {
		p.Context = ctx
		it := cl.endpoints.List(p)
		if err := it.Err(); err != nil {
			return false, err
		}
		l := it.WebhookEndpointList()
		if l.Data == nil || len(l.Data) > maxPageSize {
			return false, nil
		}
		for _, e := range l.Data {
			if e == nil {
				return false, nil
			}
			all = append(all, convertWebhookEndpoint(cl.sender.scrubber, e))
		}
		return true, nil
	})
	if a.Kind != hold.AnswerOK {
		return nil, a
	}
	return all, a
}

// CreateWebhookEndpoint creates an endpoint that receives events of these types.
// It returns the signing secret as well, which Stripe shows only once. A repeat
// with the same key returns the same endpoint and secret.
func (g *Gateway) CreateWebhookEndpoint(
	ctx context.Context, address string, events []string, key string,
) (e WebhookEndpoint, secret hold.Secret, a hold.Answer) {
	return g.account.createWebhookEndpoint(ctx, address, events, key)
}

func (cl *accountClient) createWebhookEndpoint(
	ctx context.Context, address string, events []string, key string,
) (e WebhookEndpoint, secret hold.Secret, a hold.Answer) {
	p := &stripe.WebhookEndpointParams{URL: &address, EnabledEvents: stripe.StringSlice(events),
		Description: stripe.String("holdd")}
	a = cl.sender.sendAndClassify(ctx, classifyOptions{mutation: true},
		func(ctx context.Context) (bool, error) {
			p.Params = newRequestParams(ctx, "", key)
			created, err := cl.endpoints.New(p)
			if err != nil {
				return false, err
			}
			e = convertWebhookEndpoint(cl.sender.scrubber, created)
			secret = hold.NewSecret(created.Secret)
			return strings.HasPrefix(created.Secret, "whsec_"), nil
		})
	return e, secret, a
}

// EnableWebhookEndpointWithEvents enables an endpoint and gives it exactly these types of
// events.
func (g *Gateway) EnableWebhookEndpointWithEvents(
	ctx context.Context, id string, events []string, key string,
) hold.Answer {
	return g.account.enableWebhookEndpointWithEvents(ctx, id, events, key)
}

func (cl *accountClient) enableWebhookEndpointWithEvents(
	ctx context.Context, id string, events []string, key string,
) hold.Answer {
	p := &stripe.WebhookEndpointParams{EnabledEvents: stripe.StringSlice(events),
		Disabled: stripe.Bool(false)}
	return cl.sender.sendAndClassify(ctx, classifyOptions{mutation: true},
		func(ctx context.Context) (bool, error) {
			p.Params = newRequestParams(ctx, "", key)
			e, err := cl.endpoints.Update(id, p)
			return err == nil && e.ID == id, err
		})
}

func convertWebhookEndpoint(s *secretScrubber, e *stripe.WebhookEndpoint) WebhookEndpoint {
	out := WebhookEndpoint{ID: validObjectIDOrEmpty(e.ID),
		APIVersion: s.redactMessage(e.APIVersion), Enabled: e.Status == "enabled",
	}
	if u, err := url.Parse(e.URL); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		out.URL, out.Path = s.redactMessage(u.String()), s.redactMessage(u.Path)
	}
	for _, t := range e.EnabledEvents {
		out.Events = append(out.Events, s.redactMessage(t))
	}
	return out
}
