package gateway

import (
	"errors"
	"net/http"

	"github.com/holdd/holdd/worker/hold"
)

// validateStripeContextForKey returns an error unless the key has the context that it
// needs.
func validateStripeContextForKey(k APIKey, account string) error {
	switch {
	case k.isOrganization() && account == "":
		return errors.New("missing Stripe context: an organization key (sk_org_…) needs the " +
			"account of the organization to act for, such as acct_…")
	case !k.isOrganization() && account != "":
		return errors.New("unexpected Stripe context: only an organization key (sk_org_…) needs " +
			"one; the key of an account acts for that account")
	}
	return hold.CheckAccountID(account)
}

// stripeContextTransport sends the header Stripe-Context, which an organization
// key needs on every request. It takes the place of Stripe-Account: the context
// of a connected account is the path from the organization's account to it.
type stripeContextTransport struct {
	next    http.RoundTripper
	account string // of the organization
}

// RoundTrip sends a copy of the request, because a transport must not change
// the original.
func (t *stripeContextTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	path := t.account
	if a := req.Header.Get("Stripe-Account"); a != "" && a != t.account {
		path += "/" + a
	}
	req = req.Clone(req.Context())
	req.Header.Del("Stripe-Account")
	req.Header.Set("Stripe-Context", path)
	return t.next.RoundTrip(req)
}
