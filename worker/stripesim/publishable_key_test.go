package stripesim_test

import (
	"fmt"
	"testing"

	"github.com/holdd/holdd/worker/stripesim"
)

var publishableKey = []string{"Authorization", "Bearer pk_test_browser00000000"}

func TestPublishableKey(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	in := c.mustSucceed("POST", "/v1/payment_intents",
		"amount=1000&currency=eur&capture_method=manual&payment_method_types[]=card"+
			"&metadata[reservation]=H-17")
	secret := "client_secret=" + in.stringAt("client_secret")
	for _, call := range []string{"POST /v1/payment_intents", "GET /v1/payment_intents",
		"POST /v1/customers", "POST /v1/refunds", "GET /v1/charges", "GET /v1/events",
		"GET /v1/account", "POST /v1/webhook_endpoints", "POST /v1/setup_intents",
		"POST " + intentPath(in.id(), "capture"), "POST " + intentPath(in.id(), "cancel"),
		"POST " + intentPath(in.id())} {
		method, path := call[:4], call[5:]
		if call[3] == ' ' {
			method, path = call[:3], call[4:]
		}
		c.mustFail(401, "secret_key_required", method, path, "", publishableKey...)
	}
	c.mustFail(400, "parameter_missing", "GET", intentPath(in.id()), "", publishableKey...)
	c.mustFail(400, "parameter_missing", "POST", intentPath(in.id(), "confirm"),
		"payment_method=pm_card_visa", publishableKey...)
	c.mustFail(400, "payment_intent_invalid_parameter", "GET", intentPath(in.id()),
		"client_secret=pi_1_secret_2", publishableKey...)

	read := c.mustSucceed("GET", intentPath(in.id()), secret, publishableKey...)
	assertEqual(t, "status", read.stringAt("status"), "requires_payment_method")
	for _, private := range []string{"metadata", "latest_charge", "customer"} {
		if _, shown := read.body[private]; shown {
			t.Errorf("a publishable key reads %s", private)
		}
	}
	method := c.mustSucceed("POST", "/v1/payment_methods", "type=card&card[number]=4242424242424242"+
		"&card[exp_month]=1&card[exp_year]=40", publishableKey...).id()
	confirmed := c.mustSucceed("POST", intentPath(in.id(), "confirm"), secret+
		"&payment_method="+method, publishableKey...)
	assertEqual(t, "status", confirmed.stringAt("status"), "requires_capture")
	assertEqual(t, "effects", c.formatEffects(in.id()), "authorized 1000")
}

// An intent whose server confirms it is not confirmed by a browser.
func TestPublishableKey_ManualConfirmation(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	in := c.mustSucceed("POST", "/v1/payment_intents", "amount=1000&currency=eur"+
		"&payment_method_types[]=card&confirmation_method=manual&payment_method=pm_card_visa")
	c.mustFail(400, "", "POST", intentPath(in.id(), "confirm"),
		"client_secret="+in.stringAt("client_secret"), publishableKey...)
	assertEqual(t, "effects", c.formatEffects(in.id()), "")
}

const cardForm = "card[number]=4000002500003155&card[exp_month]=1&card[exp_year]=40"

func TestToken(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	tok := c.mustSucceed("POST", "/v1/tokens", cardForm, publishableKey...)
	assertEqual(t, "last4", tok.stringAt("card.last4"), "3155")
	assertEqual(t, "brand", tok.stringAt("card.brand"), "Visa")
	use := "type=card&card[token]=" + tok.id()
	m := c.mustSucceed("POST", "/v1/payment_methods", use)
	assertEqual(t, "year", m.numberAt("card.exp_year"), 2040)
	c.mustFail(400, "token_already_used", "POST", "/v1/payment_methods", use)
	assertEqual(t, "used", c.mustSucceed("GET", "/v1/tokens/"+tok.id(), "").valueAt("used"),
		any(true))
	c.mustFail(400, "resource_missing", "POST", "/v1/payment_methods",
		"type=card&card[token]=tok_none")
	visa := c.mustSucceed("POST", "/v1/payment_intents", "amount=1000&currency=eur&confirm=true&"+
		"payment_method_types[]=card&payment_method_data[type]=card&"+
		"payment_method_data[card][token]=tok_visa")
	assertEqual(t, "status", visa.stringAt("status"), "succeeded")
	c.mustFail(402, "incorrect_number", "POST", "/v1/tokens", "card[number]=4111111111111112")
	c.mustFail(404, "resource_missing", "GET", "/v1/tokens/tok_none", "")

	cvc := c.mustSucceed("POST", "/v1/tokens", "cvc_update[cvc]=123", publishableKey...)
	assertEqual(t, "type", cvc.stringAt("type"), "cvc_update")
	in := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+
		"pm_card_visa&payment_method_options[card][cvc_token]="+cvc.id())
	assertEqual(t, "status", in.stringAt("status"), "requires_capture")
}

func TestConfirmationToken(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	newToken := func(form string) string {
		return c.mustSucceed("POST", "/v1/test_helpers/confirmation_tokens", form).id()
	}
	id := newToken("payment_method=pm_card_mastercard&return_url=" +
		queryEscape("https://hotel.example/back"))
	read := c.mustSucceed("GET", "/v1/confirmation_tokens/"+id, "")
	assertEqual(t, "brand", read.stringAt("payment_method_preview.card.brand"), "mastercard")
	const form = "amount=1000&currency=eur&capture_method=manual&confirm=true&confirmation_token="
	in := c.mustSucceed("POST", "/v1/payment_intents", form+id+"&expand[]=payment_method")
	assertEqual(t, "status", in.stringAt("status"), "requires_capture")
	assertEqual(t, "brand", in.stringAt("payment_method.card.brand"), "mastercard")
	read = c.mustSucceed("GET", "/v1/confirmation_tokens/"+id, "")
	assertEqual(t, "used by", read.stringAt("payment_intent"), in.id())
	c.mustFail(400, "", "POST", "/v1/payment_intents", form+id)

	entered := c.mustSucceed("POST", "/v1/confirmation_tokens",
		"payment_method_data[type]=card&payment_method_data[card][number]=4000002760003184"+
			"&payment_method_data[card][exp_month]=1&payment_method_data[card][exp_year]=40"+
			"&return_url="+queryEscape("https://hotel.example/back"), publishableKey...).id()
	c.mustFail(400, "", "POST", "/v1/payment_intents", form+entered+"&payment_method=pm_card_visa")
	c.mustFail(400, "resource_missing", "POST", "/v1/payment_intents", form+"ctoken_none")
	c.mustFail(400, "", "POST", "/v1/payment_intents",
		"amount=1000&currency=eur&confirmation_token="+entered)
	asked := c.mustSucceed("POST", "/v1/payment_intents", form+entered)
	assertEqual(t, "status", asked.stringAt("status"), "requires_action")
	assertEqual(t, "return_url", asked.stringAt("next_action.redirect_to_url.return_url"),
		"https://hotel.example/back")

	old := newToken("payment_method=pm_card_visa")
	c.sim.Advance(12 * 3600 * 1e9)
	c.mustFail(400, "", "POST", "/v1/payment_intents", form+old)
	assertEqual(t, "effects", len(c.sim.Ledger()), 1)
}

// A declined confirmation leaves the token with its intent, which may use it
// again.
func TestConfirmationToken_SameIntentAgain(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	in := c.mustSucceed("POST", "/v1/payment_intents",
		"amount=1000&currency=eur&payment_method_types[]=card")
	id := c.mustSucceed("POST", "/v1/test_helpers/confirmation_tokens",
		"payment_method=pm_card_chargeDeclined").id()
	for range 2 {
		c.mustFail(402, "card_declined", "POST", intentPath(in.id(), "confirm"),
			"confirmation_token="+id)
	}
	saved := c.mustSucceed("POST", "/v1/test_helpers/confirmation_tokens",
		"payment_method=pm_card_visa").id()
	c.mustFail(400, "", "POST", "/v1/setup_intents", "confirmation_token="+saved)
	si := c.mustSucceed("POST", "/v1/setup_intents", "confirm=true&confirmation_token="+saved)
	assertEqual(t, "used by", c.mustSucceed("GET", "/v1/confirmation_tokens/"+saved, "").
		stringAt("setup_intent"), si.id())
	other := c.mustSucceed("POST", "/v1/setup_intents", "usage=off_session")
	c.mustFail(400, "", "POST", "/v1/setup_intents/"+other.id()+"/confirm",
		"confirmation_token="+id)
}

func TestSetupIntent(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer := c.mustSucceed("POST", "/v1/customers", "").id()
	si := c.mustSucceed("POST", "/v1/setup_intents", "customer="+customer+
		"&payment_method_types[]=card&metadata[a]=b")
	path := "/v1/setup_intents/" + si.id()
	assertEqual(t, "status", si.stringAt("status"), "requires_payment_method")
	secret := "client_secret=" + si.stringAt("client_secret")
	c.mustFail(400, "parameter_missing", "GET", path, "", publishableKey...)
	c.mustFail(400, "setup_intent_unexpected_state", "POST", path+"/confirm", "")
	declined := c.mustFail(402, "card_declined", "POST", path+"/confirm",
		"payment_method=pm_card_chargeDeclined")
	assertEqual(t, "in the error", declined.stringAt("error.setup_intent.id"), si.id())
	asked := c.mustSucceed("POST", path+"/confirm", secret+
		"&payment_method=pm_card_authenticationRequiredOnSetup", publishableKey...)
	assertEqual(t, "status", asked.stringAt("status"), "requires_action")
	assertEqual(t, "customer", asked.valueAt("customer"), nil)
	if err := c.sim.Dashboard().CompleteAction(si.id()); err != nil {
		t.Fatal(err)
	}
	saved := c.mustSucceed("GET", path, "expand[]=payment_method&expand[]=customer")
	assertEqual(t, "status", saved.stringAt("status"), "succeeded")
	assertEqual(t, "owner", saved.stringAt("payment_method.customer"), customer)
	assertEqual(t, "customer", saved.stringAt("customer.id"), customer)
	card := saved.stringAt("payment_method.id")
	assertEqual(t, "list", c.mustSucceed("GET", "/v1/customers/"+customer+"/payment_methods", "").
		ids()[0], card)
	in := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+card+"&customer="+
		customer+offSessionForm)
	assertEqual(t, "authorized with it", in.stringAt("status"), "requires_capture")

	c.mustFail(400, "setup_intent_unexpected_state", "POST", path+"/cancel", "")
	if err := c.sim.Dashboard().FailAction(si.id()); err == nil {
		t.Error("an action failed after it had passed")
	}
	assertEqual(t, "events", setupEvents(c), "created setup_failed requires_action succeeded ")
	assertEqual(t, "of the customer", len(c.mustSucceed("GET", "/v1/setup_intents",
		"customer="+customer).ids()), 1)
}

// A SetupIntent takes a card as a PaymentIntent does: its number, or a token.
func TestSetupIntent_EnteredCard(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	const card = "payment_method_data[type]=card&payment_method_data[card]"
	const entered = card + "[number]=%s&payment_method_data[card][exp_month]=1" +
		"&payment_method_data[card][exp_year]=40&payment_method_data[card][cvc]=123"
	const path, expand = "/v1/setup_intents", "&expand[]=payment_method"
	visa := fmt.Sprintf(entered, "4242424242424242")
	si := c.mustSucceed("POST", path, visa)
	assertEqual(t, "status", si.stringAt("status"), "requires_confirmation")
	for _, form := range []string{visa, card + "[token]=tok_visa"} {
		si = c.mustSucceed("POST", path, "confirm=true&"+form+expand)
		assertEqual(t, "status", si.stringAt("status"), "succeeded")
		assertEqual(t, "last4", si.stringAt("payment_method.card.last4"), "4242")
		c.mustFail(400, "setup_intent_unexpected_state", "POST", path+"/"+si.id(), form)

		si = c.mustSucceed("POST", path, "")
		si = c.mustSucceed("POST", path+"/"+si.id()+"/confirm", form+"&client_secret="+
			si.stringAt("client_secret"), publishableKey...)
		assertEqual(t, "status", si.stringAt("status"), "succeeded")
	}
	c.mustFail(402, "card_declined", "POST", path, "confirm=true&"+
		fmt.Sprintf(entered, "4000000000000002"))
	c.mustFail(402, "incorrect_number", "POST", path, fmt.Sprintf(entered, "1"))
	c.mustFail(400, "resource_missing", "POST", path, card+"[token]=tok_none")
}

// setupEvents returns the types of all events about SetupIntents, oldest first.
func setupEvents(c *testClient) (types string) {
	for _, e := range c.mustSucceed("GET", "/v1/events", "limit=100").body["data"].([]any) {
		typ := e.(map[string]any)["type"].(string)
		if len(typ) > 13 && typ[:13] == "setup_intent." {
			types = typ[13:] + " " + types
		}
	}
	return types
}

func TestSetupIntent_FailAndCancel(t *testing.T) {
	c, browser := newCardholder(t)
	si := c.mustSucceed("POST", "/v1/setup_intents", "confirm=true&usage=on_session&"+
		"payment_method_types[]=card&payment_method=pm_card_authenticationRequired&return_url="+
		queryEscape("https://hotel.example/"))
	back := browser.submit(si.stringAt("next_action.redirect_to_url.url"),
		map[string][]string{"do": {"fail"}})
	if want := "https://hotel.example/?setup_intent=" + si.id(); len(back) < len(want) ||
		back[:len(want)] != want {
		t.Errorf("back to %s", back)
	}
	failed := c.mustSucceed("GET", "/v1/setup_intents/"+si.id(), "")
	assertEqual(t, "status", failed.stringAt("status"), "requires_payment_method")
	assertEqual(t, "error", failed.stringAt("last_setup_error.code"),
		"setup_intent_authentication_failure")
	updated := c.mustSucceed("POST", "/v1/setup_intents/"+si.id(),
		"payment_method=pm_card_visa&description=again")
	assertEqual(t, "status", updated.stringAt("status"), "requires_confirmation")
	canceled := c.mustSucceed("POST", "/v1/setup_intents/"+si.id()+"/cancel",
		"cancellation_reason=abandoned")
	assertEqual(t, "status", canceled.stringAt("status"), "canceled")
	c.mustFail(400, "setup_intent_unexpected_state", "POST",
		"/v1/setup_intents/"+si.id()+"/confirm", "")
	c.mustFail(404, "resource_missing", "GET", "/v1/setup_intents/seti_none", "")
}

func TestListCharges(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer := c.mustSucceed("POST", "/v1/customers", "").id()
	first := c.authorize(stripesim.Hold{})
	second := c.authorize(stripesim.Hold{Customer: customer})
	c.mustFail(402, "card_declined", "POST", "/v1/payment_intents", manualCaptureForm+
		"pm_card_chargeDeclined")
	all := c.mustSucceed("GET", "/v1/charges", "limit=2&expand[]=data.payment_intent")
	assertEqual(t, "newest", all.stringAt("data.0.status"), "failed")
	assertEqual(t, "expanded", all.stringAt("data.1.payment_intent.id"), second)
	assertEqual(t, "more", all.valueAt("has_more"), any(true))
	rest := c.mustSucceed("GET", "/v1/charges", "starting_after="+all.ids()[1])
	assertEqual(t, "oldest", rest.stringAt("data.0.payment_intent"), first)
	for _, filter := range []string{"customer=" + customer, "payment_intent=" + second} {
		got := c.mustSucceed("GET", "/v1/charges", filter)
		assertEqual(t, filter, len(got.ids()), 1)
		assertEqual(t, filter, got.stringAt("data.0.payment_intent"), second)
	}
}

func TestCustomer_UpdateAndDelete(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer, card, err := c.sim.Cards.SaveCard("", "")
	if err != nil {
		t.Fatal(err)
	}
	later := c.mustSucceed("POST", "/v1/customers", "").id()
	path := "/v1/customers/" + customer
	a := c.mustSucceed("POST", path, "name=Ada&metadata[room]=12")
	assertEqual(t, "name", a.stringAt("name"), "Ada")
	assertEqual(t, "metadata", a.stringAt("metadata.room"), "12")
	assertEqual(t, "deleted", c.mustSucceed("DELETE", path, "").valueAt("deleted"), any(true))
	assertEqual(t, "read", c.mustSucceed("GET", path, "").valueAt("deleted"), any(true))
	c.mustFail(404, "resource_missing", "DELETE", path, "")
	assertEqual(t, "the rest", c.mustSucceed("GET", "/v1/customers", "").ids()[0], later)
	c.mustFail(400, "payment_method_unexpected_state", "POST", "/v1/payment_intents",
		manualCaptureForm+card)
}
