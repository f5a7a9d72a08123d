package gateway

import (
	"context"
	"net/http"
	"strings"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhookendpoint"

	"github.com/holdd/holdd/worker/hold"
)

// accountClient sends what is about the account itself.
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
