package stripesim_test

import (
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestCreateRefund(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{})
	charge := c.intentState(id).Charge
	c.mustFail(400, "", "POST", "/v1/refunds", "payment_intent="+id)
	c.mustFail(400, "", "POST", "/v1/refunds", "charge="+charge)
	c.mustFail(400, "parameter_missing", "POST", "/v1/refunds", "amount=10")
	c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=700")

	c.mustFail(400, "", "POST", "/v1/refunds", "payment_intent="+id+"&amount=701")
	part := c.mustSucceed("POST", "/v1/refunds", "payment_intent="+id+
		"&amount=200&reason=requested_by_customer&metadata[why]=minibar&expand[]=charge")
	assertEqual(t, "amount", part.numberAt("amount"), 200)
	assertEqual(t, "metadata", part.stringAt("metadata.why"), "minibar")
	assertEqual(t, "with the released rest", part.numberAt("charge.amount_refunded"), 500)
	txn := c.mustSucceed("GET", "/v1/balance_transactions/"+
		part.stringAt("balance_transaction"), "")
	assertEqual(t, "net", txn.numberAt("net"), -200)
	rest := c.mustSucceed("POST", "/v1/refunds", "charge="+charge)
	assertEqual(t, "rest", rest.numberAt("amount"), 500)
	c.mustFail(400, "charge_already_refunded", "POST", "/v1/refunds", "charge="+charge)
	assertEqual(t, "update", c.mustSucceed("POST", "/v1/refunds/"+rest.id(), "metadata[a]=b").
		stringAt("metadata.a"), "b")
	assertEqual(t, "effects", c.formatEffects(id),
		"authorized 1000, captured 700!, released 300, refunded 200, refunded 500")
	assertEqual(t, "total", c.sim.Totals()[0], stripesim.Total{Currency: "eur", Authorized: 1000,
		Captured: 700, Released: 300, Refunded: 700})
}

// Versions from 2025-03-31 on show refunds of captured money alone.
func TestCreateRefund_NewVersion(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	version := []string{"Stripe-Version", stripesim.NewestAPIVersion}
	id := c.authorize(stripesim.Hold{})
	path := "/v1/charges/" + c.intentState(id).Charge
	c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=700")
	before := c.mustSucceed("GET", path, "expand[]=refunds", version...)
	assertEqual(t, "before", before.numberAt("amount_refunded"), 0)
	assertEqual(t, "refunds before", len(before.valueAt("refunds.data").([]any)), 0)
	c.mustSucceed("POST", "/v1/refunds", "payment_intent="+id+"&amount=200", version...)
	after := c.mustSucceed("GET", path, "expand[]=refunds", version...)
	assertEqual(t, "after", after.numberAt("amount_refunded"), 200)
	assertEqual(t, "refunds after", len(after.valueAt("refunds.data").([]any)), 1)
	assertEqual(t, "refunded", after.valueAt("refunded"), any(false))
	c.mustSucceed("POST", "/v1/refunds", "payment_intent="+id, version...)
	assertEqual(t, "refunded", c.mustSucceed("GET", path, "", version...).valueAt("refunded"),
		any(true))
	assertEqual(t, "listed", len(c.mustSucceed("GET", "/v1/refunds", "", version...).ids()), 2)
}
