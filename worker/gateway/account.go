package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhookendpoint"

	"github.com/holdd/holdd/worker/hold"
)

// accountClient reads what Stripe says of the account itself.
type accountClient struct {
	backend   stripe.Backend
	key       string
	endpoints webhookendpoint.Client
	sender    *requestSender
}

// RetrieveAccountID reads the id of the account that the key acts for. The
// answer is [hold.AnswerForbidden] for a restricted key that may not read its
// account. It does not use the budget.
func (g *Gateway) RetrieveAccountID(ctx context.Context) (id string, a hold.Answer) {
	return g.account.retrieveAccountID(ctx)
}

func (cl *accountClient) retrieveAccountID(
	ctx context.Context,
) (id string, a hold.Answer) {
	var account stripe.Account
	a = cl.sender.sendAndClassify(ctx, classifyOptions{}, func(ctx context.Context) (bool, error) {
		p := &stripe.AccountParams{}
		p.Context = ctx
		err := cl.backend.Call(http.MethodGet, "/v1/account", cl.key, p, &account)
		return isAccountID(account.ID), err
	})
	if a.Kind != hold.AnswerOK {
		return "", a
	}
	return account.ID, a
}

// isAccountID reports whether Stripe could have made the id. The id becomes a
// value in Redis and a text in errors.
func isAccountID(id string) bool {
	rest, ok := strings.CutPrefix(id, "acct_")
	return ok && rest != "" && len(id) <= 64 && strings.Trim(rest,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// listWebhookEndpoints lists the webhook endpoints of the account, at most 100.
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

func convertWebhookEndpoint(s *secretScrubber, e *stripe.WebhookEndpoint) WebhookEndpoint {
	out := WebhookEndpoint{
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
