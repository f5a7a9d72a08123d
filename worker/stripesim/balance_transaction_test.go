package stripesim_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

// checkBalanceTransaction checks the balance transaction of a charge against
// Stripe's document.
func checkBalanceTransaction(
	t *testing.T, c *testClient, check *schemaChecker, charge map[string]any,
) {
	t.Helper()
	if id, ok := charge["balance_transaction"].(string); ok {
		check.requireValid(t, "balance_transaction", any(c.get("/v1/balance_transactions/"+id, "").body))
	}
}

// TestBalanceTransaction_SaysWhenMoneyWasCaptured expands it in a list, as a
// program does that wants to know when each payment was captured.
func TestBalanceTransaction_SaysWhenMoneyWasCaptured(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	held := c.authorize(stripesim.Hold{})
	captured := c.authorize(stripesim.Hold{})
	c.sim.Advance(3 * time.Hour)
	at := c.sim.Now().Unix()
	c.mustSucceed("POST", intentPath(captured, "capture"), "")
	c.sim.Advance(time.Hour)
	list := c.get("/v1/payment_intents", "expand[]=data.latest_charge.balance_transaction")
	for _, v := range list.body["data"].([]any) {
		in := v.(map[string]any)
		b, _ := in["latest_charge"].(map[string]any)["balance_transaction"].(map[string]any)
		switch in["id"] {
		case held:
			if b != nil {
				t.Errorf("a charge that is not captured has %v", b)
			}
		case captured:
			if got := int64(b["created"].(float64)); got < at || got > at+60 {
				t.Errorf("captured at %d, and its balance transaction says %d", at, got)
			}
		}
	}
	c.mustFail(404, "resource_missing", "GET", "/v1/balance_transactions/txn_none", "")
}

func TestBalanceTransaction_NeedsItsOwnPermission(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	const key = "rk_test_reads_intents_only"
	c.sim.Keys.RestrictKey(key, stripesim.ClassList)
	auth := []string{"Authorization", "Bearer " + key}
	for query, status := range map[string]int{
		"expand[]=data.latest_charge":                     200,
		"expand[]=data.latest_charge.balance_transaction": 403,
	} {
		if got := c.call("GET", "/v1/payment_intents", query, auth...); got.status != status {
			t.Errorf("%s: %d, want %d", query, got.status, status)
		}
	}
}
