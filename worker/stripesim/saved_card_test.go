package stripesim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

const offSessionForm = "&off_session=true&error_on_requires_action=true"

// saveCard makes a customer with a saved card, and returns the parameters with
// which an intent uses it, and the card's id.
func (c *testClient) saveCard(card string) (form, method string) {
	c.t.Helper()
	customer, method, err := c.sim.Cards.SaveCard("", card)
	if err != nil {
		c.t.Fatal(err)
	}
	return manualCaptureForm + method + "&customer=" + customer, method
}

func TestSaveCard(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer, method, err := c.sim.Cards.SaveCard("", "pm_card_authenticationRequiredOnSetup")
	if err != nil {
		t.Fatal(err)
	}
	a := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+method+"&customer="+
		customer+"&setup_future_usage=off_session"+offSessionForm)
	assertEqual(t, "status", a.stringAt("status"), "requires_capture")
	assertEqual(t, "customer", a.stringAt("customer"), customer)
	assertEqual(t, "payment_method", a.stringAt("payment_method"), method)
	assertEqual(t, "setup_future_usage", a.stringAt("setup_future_usage"), "off_session")
	st := c.intentState(c.authorize(stripesim.Hold{Customer: customer, PaymentMethod: method,
		FutureUsage: "off_session"}))
	assertEqual(t, "customer", st.Customer, customer)
	assertEqual(t, "payment method", st.PaymentMethod, method)
	assertEqual(t, "future usage", st.FutureUsage, "off_session")
	if _, _, err := c.sim.Cards.SaveCard("", "pm_none"); err == nil {
		t.Error("an unknown card was saved")
	}
}

func TestListPaymentMethods(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer, first, _ := c.sim.Cards.SaveCard("", "")
	second := c.mustSucceed("POST", "/v1/payment_methods/pm_card_amex/attach",
		"customer="+customer).id()
	c.sim.Cards.SaveCard("", "")
	want := fmt.Sprint([]string{second, first})
	for path, query := range map[string]string{"/v1/payment_methods": "customer=" + customer,
		"/v1/customers/" + customer + "/payment_methods": "type=card"} {
		assertEqual(t, path, fmt.Sprint(c.mustSucceed("GET", path, query).ids()), want)
	}
	c.mustFail(400, "resource_missing", "GET", "/v1/payment_methods", "customer=cus_none")
	c.mustFail(404, "resource_missing", "GET", "/v1/customers/cus_none/payment_methods", "")
	c.mustSucceed("POST", "/v1/payment_methods/"+second+"/detach", "")
	c.mustFail(400, "payment_method_unexpected_state", "POST",
		"/v1/payment_methods/"+second+"/detach", "")
	c.mustFail(404, "resource_missing", "POST", "/v1/payment_methods/pm_none/detach", "")
	assertEqual(t, "after detach", fmt.Sprint(c.mustSucceed("GET", "/v1/payment_methods",
		"customer="+customer).ids()), fmt.Sprint([]string{first}))
	c.mustFail(400, "payment_method_unexpected_state", "POST", "/v1/payment_intents",
		manualCaptureForm+second+"&customer="+customer)
}

func TestCardOutcomes_ByDate(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	form, card := c.saveCard("")
	at := func(hours int) time.Time { return c.sim.Now().Add(time.Duration(hours) * time.Hour) }
	if err := c.sim.Cards.SetCardOutcomes(card,
		stripesim.CardOutcome{From: at(24), Until: at(48), DeclineCode: "insufficient_funds",
			AdviceCode: "try_again_later", NetworkAdviceCode: "02", NetworkDeclineCode: "51"},
		stripesim.CardOutcome{From: at(48), Until: at(72), Times: 1, Code: "expired_card",
			DeclineCode: "expired_card"},
		stripesim.CardOutcome{From: at(72), Code: "authentication_required"},
	); err != nil {
		t.Fatal(err)
	}
	c.mustSucceed("POST", "/v1/payment_intents", form+offSessionForm)
	c.sim.Advance(25 * time.Hour)
	a := c.mustFail(402, "card_declined", "POST", "/v1/payment_intents", form+offSessionForm)
	for path, want := range map[string]string{"decline_code": "insufficient_funds",
		"advice_code": "try_again_later", "network_advice_code": "02",
		"network_decline_code": "51", "message": "Your card has insufficient funds.",
		"payment_intent.status":                               "requires_payment_method",
		"payment_intent.last_payment_error.decline_code":      "insufficient_funds",
		"payment_intent.last_payment_error.advice_code":       "try_again_later",
		"payment_intent.last_payment_error.payment_method.id": card} {
		assertEqual(t, path, a.stringAt("error."+path), want)
	}
	charge := c.mustSucceed("GET", "/v1/charges/"+a.stringAt("error.charge"), "")
	assertEqual(t, "outcome", charge.stringAt("outcome.network_decline_code"), "51")
	assertEqual(t, "outcome", charge.stringAt("outcome.advice_code"), "try_again_later")

	c.sim.Advance(24 * time.Hour)
	c.mustFail(402, "expired_card", "POST", "/v1/payment_intents", form+offSessionForm)
	c.mustSucceed("POST", "/v1/payment_intents", form+offSessionForm)

	c.sim.Advance(24 * time.Hour)
	a = c.mustFail(402, "authentication_required", "POST", "/v1/payment_intents",
		form+offSessionForm)
	id := a.stringAt("error.payment_intent.id")
	assertEqual(t, "charge", c.intentState(id).Charge, "")
	a = c.mustSucceed("POST", intentPath(id, "confirm"), "payment_method="+card)
	assertEqual(t, "with the cardholder", a.stringAt("status"), "requires_action")
	if err := c.sim.Dashboard().CompleteAction(id); err != nil {
		t.Fatal(err)
	}
	assertEqual(t, "after 3-D Secure", c.intentState(id).Status, "requires_capture")
	if err := c.sim.Cards.SetCardOutcomes(card); err != nil {
		t.Fatal(err)
	}
	c.mustSucceed("POST", "/v1/payment_intents", form+offSessionForm)
}

func TestCardOutcomes_Increment(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	form, card := c.saveCard("")
	id := c.mustSucceed("POST", "/v1/payment_intents", form+
		"&payment_method_options[card][request_incremental_authorization]=if_available").id()
	if err := c.sim.Cards.SetCardOutcomes(card, stripesim.CardOutcome{Times: 1,
		DeclineCode: "do_not_honor", AdviceCode: "do_not_try_again"}); err != nil {
		t.Fatal(err)
	}
	a := c.mustFail(402, "card_declined", "POST", intentPath(id, "increment_authorization"),
		"amount=2000")
	assertEqual(t, "advice", a.stringAt("error.advice_code"), "do_not_try_again")
	assertEqual(t, "capturable", c.intentState(id).Capturable, 1000)
	c.mustSucceed("POST", intentPath(id, "increment_authorization"), "amount=2000")
}

func TestCardCredit(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	form, card := c.saveCard("pm_card_visa_debit")
	if err := c.sim.Cards.SetCardCredit(card, 1500); err != nil {
		t.Fatal(err)
	}
	const incremental = "&payment_method_options[card][request_incremental_authorization]=if_available"
	first := c.mustSucceed("POST", "/v1/payment_intents", form+incremental).id()
	refusal := c.mustFail(402, "card_declined", "POST", "/v1/payment_intents", form+offSessionForm)
	assertEqual(t, "while the first stands", refusal.stringAt("error.decline_code"),
		"insufficient_funds")
	c.mustFail(402, "card_declined", "POST", intentPath(first, "increment_authorization"),
		"amount=1501")
	c.mustSucceed("POST", intentPath(first, "increment_authorization"), "amount=1500")
	c.mustSucceed("POST", intentPath(first, "cancel"), "")
	second := c.mustSucceed("POST", "/v1/payment_intents", form+offSessionForm).id()
	c.mustSucceed("POST", intentPath(second, "capture"), "amount_to_capture=600")
	c.mustFail(402, "card_declined", "POST", "/v1/payment_intents", form+offSessionForm)
	if err := c.sim.Cards.SetCardCredit(card, -1); err != nil {
		t.Fatal(err)
	}
	c.mustSucceed("POST", "/v1/payment_intents", form+offSessionForm)
	for _, id := range []string{"pm_none", "pm_" + card[3:20] + "0000000"} {
		if c.sim.Cards.SetCardCredit(id, 1) == nil || c.sim.Cards.SetCardOutcomes(id) == nil {
			t.Errorf("%s has a bank", id)
		}
	}
}

func TestLedger_HoldsOfOneCustomer(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	form, _ := c.saveCard("")
	first := c.mustSucceed("POST", "/v1/payment_intents", form).id()
	second := c.mustSucceed("POST", "/v1/payment_intents", form+offSessionForm).id()
	c.mustSucceed("POST", intentPath(first, "cancel"), "")
	c.mustSucceed("POST", intentPath(second, "capture"), "amount_to_capture=400")
	c.authorize(stripesim.Hold{})
	var got []string
	for _, e := range c.sim.Ledger() {
		if (e.Customer == "") != (e.Intent != first && e.Intent != second) {
			t.Errorf("customer of %s: %q", e.Intent, e.Customer)
		}
		got = append(got, fmt.Sprintf("%s %d/%d", e.Kind, e.CustomerHolds, e.CustomerHeld))
	}
	assertEqual(t, "ledger", fmt.Sprint(got), "[authorized 1/1000 authorized 2/2000 "+
		"canceled 1/1000 captured 0/0 released 0/0 authorized 0/0]")
}

func TestCardFeatures(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	form := manualCaptureForm + "pm_card_visa&expand[]=latest_charge"
	for _, name := range []string{"extended_authorization", "incremental_authorization",
		"multicapture", "overcapture"} {
		form += "&payment_method_options[card][request_" + name + "]=if_available"
	}
	statuses := func(account string) string {
		a := c.mustSucceed("POST", "/v1/payment_intents", form, "Stripe-Account", account)
		card := "latest_charge.payment_method_details.card."
		return fmt.Sprint(a.stringAt(card+"extended_authorization.status"), " ",
			a.stringAt(card+"incremental_authorization.status"), " ",
			a.stringAt(card+"multicapture.status"), " ", a.stringAt(card+"overcapture.status"), " ",
			a.numberAt(card+"overcapture.maximum_amount_capturable"), " ",
			(a.numberAt(card+"capture_before")-a.numberAt("created"))/3600)
	}
	const all = "enabled available available available 1150 714"
	assertEqual(t, "default", statuses("acct_0000000000000001"), all)
	for want, f := range map[string]stripesim.CardFeatures{
		"disabled unavailable unavailable unavailable 1000 168": {},
		"enabled unavailable unavailable unavailable 1000 714":  {Extended: true},
		"disabled available unavailable unavailable 1000 168":   {Incremental: true},
		"disabled unavailable available unavailable 1000 168":   {Multicapture: true},
		"disabled unavailable unavailable available 1150 168":   {Overcapture: true},
	} {
		c.sim.Cards.SetCardFeatures("acct_0000000000000001", f)
		assertEqual(t, fmt.Sprint(f), statuses("acct_0000000000000001"), want)
	}
	assertEqual(t, "another account", statuses("acct_0000000000000002"), all)
}
