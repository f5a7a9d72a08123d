package gateway_test

import (
	"testing"

	"github.com/holdd/holdd/worker/gateway"
)

// A new key must have the form and the mode of a key for the same holds.
func TestSetAPIKey_Invalid(t *testing.T) {
	g, err := gateway.New(gateway.Options{APIKey: "sk_test_gatewayKey1234567890"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []gateway.APIKey{"", "pk_test_gatewayKey1234567890",
		"sk_live_gatewayKey1234567890", "sk_org_test_gatewayKey1234567890"} {
		if g.SetAPIKey(key) == nil {
			t.Errorf("accepted a key that begins with %.8s", string(key))
		}
	}
	if err := g.SetAPIKey("rk_test_gatewayKey1234567890"); err != nil {
		t.Error(err)
	}
}
