package stripesim

import (
	"cmp"
	"net/http"
	"strings"
)

// isOrganizationKey reports whether a test key belongs to an organization. The
// platform's account is the organization's only account.
func isOrganizationKey(key string) bool { return strings.HasPrefix(key, "sk_org_test_") }

// targetAccount returns the account that a request is for. Stripe-Context
// supersedes Stripe-Account. It is a path that begins below the owner of the
// key: acct_connected for an account's key, acct_own/acct_connected for an
// organization's.
func targetAccount(h http.Header, own string) string {
	if !isOrganizationKey(apiKeyFromHeader(h)) {
		return cmp.Or(h.Get("Stripe-Context"), h.Get("Stripe-Account"), own)
	}
	path := h.Get("Stripe-Context")
	return cmp.Or(strings.TrimPrefix(path, own+"/"), own)
}

// checkContext refuses a request with an organization's key that does not say
// what it is for: which account, and which version of the API.
func checkContext(h http.Header, own string) *apiError {
	key := apiKeyFromHeader(h)
	path := h.Get("Stripe-Context")
	owner, connected, _ := strings.Cut(path, "/")
	deny := func(status int, message string) *apiError {
		return &apiError{status: status, typ: typeInvalidRequest, message: message,
			skipsIdempotency: true}
	}
	switch {
	case !isOrganizationKey(key):
		return nil
	case path == "":
		return deny(400, "Please include the Stripe-Context header with your target account "+
			"when using an Organization API key.")
	case h.Get("Stripe-Version") == "":
		return deny(400, "Please include the Stripe-Version header "+
			"when using an Organization API key.")
	case owner != own || strings.Contains(connected, "/"):
		return deny(403, "The provided key '"+maskKey(key)+"' does not have access to account '"+
			path+"' (or that account does not exist). Application access may have been revoked.")
	}
	return nil
}
