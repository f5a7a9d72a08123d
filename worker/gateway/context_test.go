package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	organizationKey = "sk_org_test_51GatewayTestsOnly"
	ownAccount      = "acct_1OwnAccountOfOrg"
)

func TestNew_OrganizationKeyNeedsContext(t *testing.T) {
	for _, tt := range []struct {
		key     gateway.APIKey
		context string
		want    string // part of the error; empty if there is none
	}{
		{organizationKey, ownAccount, ""},
		{"sk_org_live_51GatewayTestsOnly", ownAccount, ""},
		{organizationKey, "", "missing Stripe context"},
		{organizationKey, "pi_12345678", "invalid account"},
		{organizationKey, ownAccount + "/" + testAccountID, "invalid account"},
		{testAPIKey, ownAccount, "unexpected Stripe context"},
		{"sk_org_51GatewayTestsOnly", ownAccount, "truncated"},
	} {
		g, err := gateway.New(gateway.Options{APIKey: tt.key, Context: tt.context})
		switch {
		case tt.want == "" && err != nil:
			t.Error(err)
		case tt.want == "":
			if g.Livemode() != strings.Contains(string(tt.key), "_live_") {
				t.Errorf("livemode %t", g.Livemode())
			}
			g.CloseIdleConnections()
		case err == nil || !strings.Contains(err.Error(), tt.want),
			strings.Contains(err.Error(), "51Gateway"):
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
}

// TestOrganizationKey_SendsContext sends every kind of request with an
// organization's key. The simulator refuses one without a context.
func TestOrganizationKey_SendsContext(t *testing.T) {
	sim := stripesim.New(stripesim.Options{Seed: 1, Account: ownAccount,
		EndpointRate: -1, OverallRate: -1, ConnectedAccounts: []string{testAccountID}})
	var contexts []string
	g := newGateway(t, gateway.Options{APIKey: organizationKey, Context: ownAccount,
		Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Stripe-Account") != "" || r.Header.Get("Stripe-Version") == "" {
				t.Errorf("%s %s: %v", r.Method, r.URL.Path, r.Header)
			}
			contexts = append(contexts, r.Header.Get("Stripe-Context"))
			return sim.Transport().RoundTrip(r)
		})})
	for account, context := range map[string]string{
		"": ownAccount, ownAccount: ownAccount, testAccountID: ownAccount + "/" + testAccountID,
	} {
		for _, c := range holdCalls(t, sim, account) {
			if a := g.Do(t.Context(), c); a.Kind != hold.AnswerOK ||
				contexts[len(contexts)-1] != context {
				t.Errorf("%s of %q: %+v with context %q", c.Op, account, a, contexts)
			}
		}
	}
	if a := g.Do(t.Context(), hold.Call{Op: hold.OpCheck}); a.Kind != hold.AnswerOK {
		t.Errorf("check: %+v", a)
	}
	contexts = nil
	in := g.InspectAPIKeyAndAccount(t.Context())
	if in.ListEndpoints.Kind != hold.AnswerOK || in.CaptureIntent.Kind != hold.AnswerNotFound ||
		len(contexts) != 6 || slices.ContainsFunc(contexts,
		func(c string) bool { return c != ownAccount }) {
		t.Errorf("%+v with contexts %q", in, contexts)
	}
	a := g.Do(t.Context(), hold.Call{Op: hold.OpList, Account: "acct_ofanother1"})
	if a.Kind != hold.AnswerForbidden {
		t.Errorf("account that is not connected: %+v", a)
	}
}

// holdCalls places two holds of an account and returns the calls on them.
func holdCalls(t *testing.T, sim *stripesim.Sim, account string) []hold.Call {
	t.Helper()
	var ids [2]string
	for i := range ids {
		id, err := sim.Authorize(stripesim.Hold{Amount: 1000, Currency: "eur",
			PaymentMethod: "pm_card_visa", Account: account})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	calls := []hold.Call{
		{Op: hold.OpList},
		{Op: hold.OpRead, PaymentIntent: ids[0]},
		{Op: hold.OpUpdate, PaymentIntent: ids[0], Key: "u" + account,
			Metadata: map[string]string{"holdd_reference": "BK-1"}},
		{Op: hold.OpCapture, PaymentIntent: ids[0], Key: "c" + account},
		{Op: hold.OpCancel, PaymentIntent: ids[1], Key: "r" + account,
			CancellationReason: hold.ReasonDuplicate},
	}
	for i := range calls {
		calls[i].Account = account
	}
	return calls
}

// TestOrganizationKey_IsRedacted shows that no answer contains a key of an
// organization.
func TestOrganizationKey_IsRedacted(t *testing.T) {
	for _, key := range []string{organizationKey, "sk_org_live_Zq8Ty", "sk_org_********Zq8Ty"} {
		g := gatewayOn(t, respondWith(400, strings.Replace(
			errorBody(invalidRequestType, "", ""), "It is so.", "No: "+key, 1)))
		a := g.Do(t.Context(), callsByOp[hold.OpCapture])
		if !strings.HasPrefix(a.Message, "No: ") || strings.Contains(a.Message, "sk_org_") ||
			strings.Contains(a.Message, "Zq8Ty") {
			t.Errorf("%q", a.Message)
		}
	}
}
