package stripesim_test

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

// TestStripeContext sends requests with and without Stripe-Context. An
// organization's key needs it, and the version, on every request.
func TestStripeContext(t *testing.T) {
	const own, connected = "acct_own12345", "acct_connected1"
	o := unlimitedOptions(1)
	o.Account, o.ConnectedAccounts = own, []string{connected}
	c := newTestClient(t, o)
	ids := map[string]string{own: c.authorize(stripesim.Hold{}),
		connected: c.authorize(stripesim.Hold{Account: connected})}
	const organization, account = "Bearer sk_org_test_1", "Bearer sk_test_1"
	const version, missing = "2023-10-16", "Please include the Stripe-"
	for _, tt := range []struct {
		key, account, context, version string
		finds                          string // the account whose intent the key reads
		status                         int
	}{
		{organization, "", own, version, own, 200},
		{organization, "", own + "/" + connected, version, connected, 200},
		{organization, "", "", version, own, 400},
		{organization, connected, "", version, connected, 400},
		{organization, "", own, "", own, 400},
		{organization, "", "acct_other123", version, own, 403},
		{organization, "", connected, version, connected, 403},
		{organization, "", "acct_other123/" + connected, version, connected, 403},
		{organization, "", own + "/acct_stranger", version, connected, 403},
		{organization, "", own + "/" + connected + "/" + own, version, connected, 403},
		{account, "", connected, "", connected, 200},
		{account, "", own, "", own, 200},
		{account, own, connected, "", connected, 200},
		{account, "", "", "", own, 200},
		{account, "", own + "/" + connected, "", connected, 403},
	} {
		headers := []string{"Authorization", tt.key}
		for name, value := range map[string]string{
			"Stripe-Account": tt.account, "Stripe-Context": tt.context,
			"Stripe-Version": tt.version,
		} {
			if value != "" {
				headers = append(headers, name, value)
			}
		}
		a := c.call("GET", intentPath(ids[tt.finds]), "", headers...)
		message := a.stringAt("error.message")
		if a.status != tt.status || (tt.status == 400) != strings.HasPrefix(message, missing) {
			t.Errorf("%+v: %d %s", tt, a.status, message)
		}
	}
	live := c.call("GET", "/v1/payment_intents", "", "Authorization", "Bearer sk_org_live_1")
	assertEqual(t, "live key", live.stringAt("error.code"), "testmode_charges_only")
}
