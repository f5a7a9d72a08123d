package gateway

import (
	"context"
	"net/http"
	"strings"

	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// RetrieveAccountID reads the id of the account that the key acts for. The
// answer is [hold.AnswerForbidden] for a restricted key that may not read its
// account. It does not use the budget.
func (g *Gateway) RetrieveAccountID(ctx context.Context) (id string, a hold.Answer) {
	var account stripe.Account
	a = g.sendAndClassify(ctx, classifyOptions{}, func(ctx context.Context) (bool, error) {
		p := &stripe.AccountParams{}
		p.Context = ctx
		b := g.paymentIntents.B
		err := b.Call(http.MethodGet, "/v1/account", g.paymentIntents.Key, p, &account)
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
