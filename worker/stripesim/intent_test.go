package stripesim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestCreateChecksParameters(t *testing.T) {
	c := newClient(t, free(1))
	for _, row := range []struct {
		form, code, param string
		status            int
	}{
		{"currency=eur", "parameter_missing", "amount", 400},
		{"amount=100", "parameter_missing", "currency", 400},
		{"amount=ten&currency=eur", "parameter_invalid_integer", "amount", 400},
		{"amount=10.5&currency=eur", "parameter_invalid_integer", "amount", 400},
		{"amount=99999999999999999999&currency=eur", "parameter_invalid_integer", "amount", 400},
		{"amount=0&currency=eur", "parameter_invalid_integer", "amount", 400},
		{"amount=-5&currency=eur", "parameter_invalid_integer", "amount", 400},
		{"amount=100000000&currency=eur", "amount_too_large", "amount", 400},
		{"amount=&currency=eur", "parameter_invalid_empty", "amount", 400},
		{"amount=100&currency=zzz", "", "currency", 400},
		{"amount=100&currency=eur&colour=red", "parameter_unknown", "colour", 400},
		{"amount=100&currency=eur&payment_method_options[card][colour]=red", "parameter_unknown", "payment_method_options[card][colour]", 400},
		{"amount=100&currency=eur&capture_method=later", "", "capture_method", 400},
		{"amount=100&currency=eur&confirm=perhaps", "", "confirm", 400},
		{"amount=100&currency=eur&customer=cus_none", "resource_missing", "customer", 400},
		{"amount=100&currency=eur&payment_method=pm_none", "resource_missing", "payment_method", 400},
		{"amount=100&currency=eur&payment_method_types[]=cheque", "payment_intent_invalid_parameter", "payment_method_types", 400},
		{"amount=100&currency=eur&off_session=true", "", "off_session", 400},
		{"amount=100&currency=eur&confirm=true", "parameter_missing", "payment_method", 400},
		{"amount=100&currency=eur&confirm=true&payment_method=pm_card_visa", "", "", 400}, // no return_url for redirects
		{"amount=100&currency=eur&payment_method_types[]=card&automatic_payment_methods[enabled]=true", "", "payment_method_types", 400},
		{"amount=100&currency=eur&metadata[" + strings.Repeat("k", 41) + "]=v", "", "metadata[" + strings.Repeat("k", 41) + "]", 400},
		{"amount=100&currency=eur&metadata[k]=" + strings.Repeat("v", 501), "", "metadata[k]", 400},
		{"amount=100&currency=eur&expand[]=everything", "", "expand", 400},
		{"amount=100&currency=eur&description=" + strings.Repeat("d", 1001), "parameter_invalid_string_too_long", "description", 400},
	} {
		a := c.refused(row.status, row.code, "POST", "/v1/payment_intents", row.form)
		equal(t, row.form, a.str("error.param"), row.param)
		equal(t, row.form, a.str("error.type"), "invalid_request_error")
	}
	if n := len(c.sim.Intents("")); n != 0 {
		t.Errorf("%d intents were made by wrong calls", n)
	}
	a := c.ok("POST", "/v1/payment_intents", "amount=99999999&currency=EUR&payment_method_types[0]=card")
	equal(t, "currency", a.str("currency"), "eur")
	equal(t, "status", a.str("status"), "requires_payment_method")
	equal(t, "livemode", a.at("livemode").(bool), false)
	a = c.ok("POST", "/v1/payment_intents", "amount=1&currency=eur&automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never&confirm=true&payment_method=pm_card_visa")
	equal(t, "status", a.str("status"), "succeeded")
	c.refused(400, "", "POST", "/v1/payment_intents", `{"amount":100}`, "Content-Type", "application/json")
	c.refused(413, "", "POST", "/v1/payment_intents", "description="+strings.Repeat("d", 2<<20))
	c.refused(404, "", "GET", "/v1/toasters", "")
	c.refused(404, "", "DELETE", path("pi_x"), "")
}

// states makes one intent in each status there is.
func states(c *client) map[string]string {
	out := map[string]string{}
	out["requires_payment_method"] = c.ok("POST", "/v1/payment_intents", "amount=1000&currency=eur&payment_method_types[]=card&capture_method=manual").id()
	out["requires_confirmation"] = c.ok("POST", "/v1/payment_intents", "amount=1000&currency=eur&payment_method_types[]=card&capture_method=manual&payment_method=pm_card_visa").id()
	out["requires_action"] = c.ok("POST", "/v1/payment_intents", manual+"pm_card_authenticationRequired").id()
	out["requires_capture"] = c.hold(stripesim.Hold{Incremental: true})
	out["succeeded"] = c.hold(stripesim.Hold{})
	c.ok("POST", path(out["succeeded"], "capture"), "")
	out["canceled"] = c.hold(stripesim.Hold{})
	c.ok("POST", path(out["canceled"], "cancel"), "")
	return out
}

func TestEveryTransition(t *testing.T) {
	const unexpected = "payment_intent_unexpected_state"
	want := map[string]map[string]string{ // act, status before: status after, or the error's code
		"capture": {"requires_payment_method": unexpected, "requires_confirmation": unexpected, "requires_action": unexpected,
			"requires_capture": "succeeded", "succeeded": unexpected, "canceled": unexpected},
		"cancel": {"requires_payment_method": "canceled", "requires_confirmation": "canceled", "requires_action": "canceled",
			"requires_capture": "canceled", "succeeded": unexpected, "canceled": unexpected},
		"confirm": {"requires_payment_method": "requires_capture", "requires_confirmation": "requires_capture", "requires_action": "requires_capture",
			"requires_capture": unexpected, "succeeded": unexpected, "canceled": unexpected},
		"increment_authorization": {"requires_payment_method": unexpected, "requires_confirmation": unexpected, "requires_action": unexpected,
			"requires_capture": "requires_capture", "succeeded": unexpected, "canceled": unexpected},
		"": {"requires_payment_method": "requires_payment_method", "requires_confirmation": "requires_confirmation", "requires_action": "requires_action",
			"requires_capture": unexpected, "succeeded": unexpected, "canceled": unexpected},
	}
	forms := map[string]string{"confirm": "payment_method=pm_card_visa", "increment_authorization": "amount=1500", "": "amount=900"}
	for act, rows := range want {
		for before, after := range rows {
			t.Run(act+" "+before, func(t *testing.T) {
				c := newClient(t, free(1))
				id := states(c)[before]
				equal(t, "before", c.state(id).Status, before)
				p := strings.TrimSuffix(path(id, act), "/")
				if after == unexpected {
					a := c.refused(400, unexpected, "POST", p, forms[act])
					equal(t, "payment_intent.id", a.str("error.payment_intent.id"), id)
					equal(t, "payment_intent.status", a.str("error.payment_intent.status"), before)
					equal(t, "status", c.state(id).Status, before)
					return
				}
				equal(t, "answer", c.ok("POST", p, forms[act]).str("status"), after)
				equal(t, "status", c.state(id).Status, after)
			})
		}
	}
	c := newClient(t, free(1))
	for _, act := range []string{"", "capture", "cancel", "confirm", "increment_authorization"} {
		a := c.refused(404, "resource_missing", "POST", strings.TrimSuffix(path("pi_3nothing", act), "/"), forms[act])
		equal(t, "param", a.str("error.param"), "intent")
	}
	c.refused(404, "resource_missing", "GET", path("pi_3nothing"), "")
}

func TestCapture(t *testing.T) {
	for _, row := range []struct {
		name    string
		hold    stripesim.Hold
		forms   []string // each a capture
		code    string   // of the last, if it is refused
		effects string
		status  string
	}{
		{name: "all", forms: []string{""}, effects: "authorized 1000, captured 1000!", status: "succeeded"},
		{name: "part", forms: []string{"amount_to_capture=700"}, effects: "authorized 1000, captured 700!, released 300", status: "succeeded"},
		{name: "too much", forms: []string{"amount_to_capture=1001"}, code: "amount_too_large", effects: "authorized 1000", status: "requires_capture"},
		{name: "beyond any", forms: []string{"amount_to_capture=100000000"}, code: "amount_too_large", effects: "authorized 1000", status: "requires_capture"},
		{name: "nothing", forms: []string{"amount_to_capture=0"}, code: "parameter_invalid_integer", effects: "authorized 1000", status: "requires_capture"},
		{name: "less than nothing", forms: []string{"amount_to_capture=-1"}, code: "parameter_invalid_integer", effects: "authorized 1000", status: "requires_capture"},
		{name: "twice", forms: []string{"amount_to_capture=700", "amount_to_capture=100"}, code: "payment_intent_unexpected_state", effects: "authorized 1000, captured 700!, released 300", status: "succeeded"},
		{name: "not final without multicapture", forms: []string{"amount_to_capture=100&final_capture=false"}, code: "payment_intent_invalid_parameter", effects: "authorized 1000", status: "requires_capture"},
		{name: "several", hold: stripesim.Hold{Multicapture: true}, forms: []string{"amount_to_capture=300&final_capture=false", "amount_to_capture=200&final_capture=false", "amount_to_capture=100"},
			effects: "authorized 1000, captured 300, captured 200, captured 100!, released 400", status: "succeeded"},
		{name: "several, all taken", hold: stripesim.Hold{Multicapture: true}, forms: []string{"amount_to_capture=300&final_capture=false", "amount_to_capture=700&final_capture=false"},
			effects: "authorized 1000, captured 300, captured 700!", status: "succeeded"},
		{name: "several, rest released", hold: stripesim.Hold{Multicapture: true}, forms: []string{"amount_to_capture=300&final_capture=false", "amount_to_capture=0&final_capture=true"},
			effects: "authorized 1000, captured 300, released 700!", status: "succeeded"},
		{name: "release before any", hold: stripesim.Hold{Multicapture: true}, forms: []string{"amount_to_capture=0&final_capture=true"}, code: "parameter_invalid_integer", effects: "authorized 1000", status: "requires_capture"},
		{name: "several, too much", hold: stripesim.Hold{Multicapture: true}, forms: []string{"amount_to_capture=300&final_capture=false", "amount_to_capture=701"}, code: "amount_too_large",
			effects: "authorized 1000, captured 300", status: "requires_capture"},
		{name: "over", hold: stripesim.Hold{Overcapture: true}, forms: []string{"amount_to_capture=1150"}, effects: "authorized 1000, overcaptured 150, captured 1150!", status: "succeeded"},
		{name: "over the over", hold: stripesim.Hold{Overcapture: true}, forms: []string{"amount_to_capture=1151"}, code: "amount_too_large", effects: "authorized 1000", status: "requires_capture"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newClient(t, free(1))
			id := c.hold(row.hold)
			for i, form := range row.forms {
				if i == len(row.forms)-1 && row.code != "" {
					c.refused(400, row.code, "POST", path(id, "capture"), form)
				} else {
					c.ok("POST", path(id, "capture"), form)
				}
			}
			equal(t, "effects", c.effects(id), row.effects)
			equal(t, "status", c.state(id).Status, row.status)
			st := c.state(id)
			ch := c.ok("GET", "/v1/charges/"+st.Charge, "")
			equal(t, "charge.amount_captured", ch.num("amount_captured"), st.Received)
			equal(t, "charge.amount_refunded", ch.num("amount_refunded"), st.Released)
			equal(t, "charge.captured", ch.at("captured").(bool), row.status == "succeeded")
		})
	}
}

func TestFiftyCaptures(t *testing.T) {
	c := newClient(t, free(1))
	id := c.hold(stripesim.Hold{Multicapture: true})
	for range 50 {
		c.ok("POST", path(id, "capture"), "amount_to_capture=1&final_capture=false")
	}
	c.refused(400, "payment_intent_invalid_parameter", "POST", path(id, "capture"), "amount_to_capture=1")
	c.ok("POST", path(id, "capture"), "amount_to_capture=0&final_capture=true")
	st := c.state(id)
	equal(t, "received", st.Received, 50)
	equal(t, "released", st.Released, 950)
}

func TestCancel(t *testing.T) {
	c := newClient(t, free(1))
	id := c.hold(stripesim.Hold{})
	c.refused(400, "", "POST", path(id, "cancel"), "cancellation_reason=mood")
	a := c.ok("POST", path(id, "cancel"), "cancellation_reason=duplicate")
	equal(t, "reason", a.str("cancellation_reason"), "duplicate")
	equal(t, "capturable", a.num("amount_capturable"), 0)
	if a.num("canceled_at") == 0 {
		t.Error("canceled_at is missing")
	}
	equal(t, "effects", c.effects(id), "authorized 1000, canceled 1000!")

	id = c.hold(stripesim.Hold{Multicapture: true})
	c.ok("POST", path(id, "capture"), "amount_to_capture=400&final_capture=false")
	equal(t, "status", c.ok("POST", path(id, "cancel"), "").str("status"), "succeeded")
	equal(t, "effects", c.effects(id), "authorized 1000, captured 400, released 600!")
}

func TestIncrement(t *testing.T) {
	c := newClient(t, free(1))
	id := c.hold(stripesim.Hold{})
	c.refused(400, "payment_intent_invalid_parameter", "POST", path(id, "increment_authorization"), "amount=2000")
	id = c.hold(stripesim.Hold{Incremental: true})
	c.refused(400, "parameter_invalid_integer", "POST", path(id, "increment_authorization"), "amount=1000")
	c.refused(400, "parameter_missing", "POST", path(id, "increment_authorization"), "")
	before := c.state(id).CaptureBefore
	a := c.ok("POST", path(id, "increment_authorization"), "amount=1500&expand[]=latest_charge")
	equal(t, "capturable", a.num("amount_capturable"), 1500)
	equal(t, "charge.amount", a.num("latest_charge.amount"), 1500)
	equal(t, "deadline", c.state(id).CaptureBefore, before)

	if _, err := c.sim.AddFault(stripesim.Rule{Class: stripesim.ClassIncrement, Times: 1, Fault: stripesim.Fault{Kind: stripesim.Decline, Code: "insufficient_funds"}}); err != nil {
		t.Fatal(err)
	}
	a = c.refused(402, "card_declined", "POST", path(id, "increment_authorization"), "amount=2000")
	equal(t, "decline_code", a.str("error.decline_code"), "insufficient_funds")
	equal(t, "capturable", c.state(id).Capturable, 1500)
	for i := range 8 {
		c.ok("POST", path(id, "increment_authorization"), fmt.Sprintf("amount=%d", 2000+i))
	}
	c.refused(400, "payment_intent_invalid_parameter", "POST", path(id, "increment_authorization"), "amount=9000")
	c.ok("POST", path(id, "capture"), "")
	equal(t, "received", c.state(id).Received, 2007)

	id = c.hold(stripesim.Hold{Incremental: true, Multicapture: true})
	c.ok("POST", path(id, "capture"), "amount_to_capture=300&final_capture=false")
	c.refused(400, "payment_intent_invalid_parameter", "POST", path(id, "increment_authorization"), "amount=2000")
}

func TestDeclines(t *testing.T) {
	for method, want := range map[string][2]string{
		"pm_card_chargeCustomerFail":                       {"card_declined", "generic_decline"},
		"pm_card_visa_chargeDeclined":                      {"card_declined", "generic_decline"},
		"pm_card_visa_chargeDeclinedInsufficientFunds":     {"card_declined", "insufficient_funds"},
		"pm_card_chargeDeclinedInsufficientFunds":          {"card_declined", "insufficient_funds"},
		"pm_card_visa_chargeDeclinedLostCard":              {"card_declined", "lost_card"},
		"pm_card_visa_chargeDeclinedStolenCard":            {"card_declined", "stolen_card"},
		"pm_card_visa_chargeDeclinedVelocityLimitExceeded": {"card_declined", "card_velocity_exceeded"},
		"pm_card_visa_chargeDeclinedExpiredCard":           {"expired_card", "expired_card"},
		"pm_card_visa_chargeDeclinedIncorrectCvc":          {"incorrect_cvc", "incorrect_cvc"},
		"pm_card_visa_chargeDeclinedProcessingError":       {"processing_error", "processing_error"},
	} {
		t.Run(method, func(t *testing.T) {
			c := newClient(t, free(1))
			a := c.refused(402, want[0], "POST", "/v1/payment_intents", manual+method)
			equal(t, "type", a.str("error.type"), "card_error")
			equal(t, "decline_code", a.str("error.decline_code"), want[1])
			id := a.str("error.payment_intent.id")
			equal(t, "status", a.str("error.payment_intent.status"), "requires_payment_method")
			equal(t, "last_payment_error", a.str("error.payment_intent.last_payment_error.code"), want[0])
			equal(t, "secret", a.str("error.payment_intent.client_secret"), c.state(id).ClientSecret)
			equal(t, "charge", a.str("error.charge"), c.state(id).Charge)
			equal(t, "method", strings.HasPrefix(a.str("error.payment_method.id"), "pm_"), true)
			equal(t, "effects", c.effects(id), "")
			// Another card helps.
			equal(t, "status", c.ok("POST", path(id, "confirm"), "payment_method=pm_card_mastercard").str("status"), "requires_capture")
			equal(t, "events", c.types(id), "payment_intent.created charge.failed payment_intent.payment_failed charge.succeeded payment_intent.amount_capturable_updated")
		})
	}
}

func TestThreeDSecure(t *testing.T) {
	c := newClient(t, free(1))
	person := c.sim.Dashboard()
	create := manual + "pm_card_authenticationRequired"

	a := c.ok("POST", "/v1/payment_intents", create+"&return_url="+q("https://hotel.example/back"))
	equal(t, "next_action", a.str("next_action.type"), "redirect_to_url")
	equal(t, "return_url", a.str("next_action.redirect_to_url.return_url"), "https://hotel.example/back")
	if err := person.CompleteAction(a.id()); err != nil {
		t.Fatal(err)
	}
	equal(t, "completed", c.state(a.id()).Status, "requires_capture")
	equal(t, "events", c.types(a.id()), "payment_intent.created payment_intent.requires_action charge.succeeded payment_intent.amount_capturable_updated")

	a = c.ok("POST", "/v1/payment_intents", create)
	equal(t, "next_action", a.str("next_action.type"), "use_stripe_sdk")
	if err := person.FailAction(a.id()); err != nil {
		t.Fatal(err)
	}
	a = c.ok("GET", path(a.id()), "")
	equal(t, "failed", a.str("status"), "requires_payment_method")
	equal(t, "error", a.str("last_payment_error.code"), "payment_intent_authentication_failure")
	if err := person.CompleteAction(a.id()); err == nil {
		t.Error("completed what had failed")
	}

	a = c.ok("POST", "/v1/payment_intents", create+"&confirmation_method=manual")
	if err := person.CompleteAction(a.id()); err != nil {
		t.Fatal(err)
	}
	equal(t, "manual", c.state(a.id()).Status, "requires_confirmation")
	equal(t, "confirmed", c.ok("POST", path(a.id(), "confirm"), "").str("status"), "requires_capture")

	a = c.ok("POST", "/v1/payment_intents", create+"&confirmation_method=manual")
	c.sim.Advance(59 * time.Minute)
	equal(t, "waiting", c.state(a.id()).Status, "requires_action")
	c.sim.Advance(2 * time.Minute)
	equal(t, "abandoned", c.state(a.id()).Status, "requires_payment_method")

	a = c.refused(402, "authentication_required", "POST", "/v1/payment_intents", create+"&off_session=true")
	equal(t, "decline_code", a.str("error.decline_code"), "authentication_required")
	c.refused(402, "authentication_required", "POST", "/v1/payment_intents", create+"&error_on_requires_action=true")

	a = c.ok("POST", "/v1/payment_intents", manual+"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
	if err := person.CompleteAction(a.id()); err != nil {
		t.Fatal(err)
	}
	equal(t, "passed, then declined", c.state(a.id()).Status, "requires_payment_method")
}

func TestSavedCard(t *testing.T) {
	c := newClient(t, free(1))
	guest := c.ok("POST", "/v1/customers", "email=guest@example.com&metadata[room]=7").id()
	equal(t, "customer", c.ok("GET", "/v1/customers/"+guest, "").str("email"), "guest@example.com")
	card := c.ok("POST", "/v1/payment_methods", "type=card&card[number]=4000002500003155&card[exp_month]=12&card[exp_year]=2034&card[cvc]=123").id()
	first := c.ok("POST", "/v1/payment_intents", manual+card+"&customer="+guest+"&setup_future_usage=off_session")
	equal(t, "first", first.str("status"), "requires_action")
	if err := c.sim.Dashboard().CompleteAction(first.id()); err != nil {
		t.Fatal(err)
	}
	again := c.ok("POST", "/v1/payment_intents", manual+card+"&customer="+guest+"&off_session=true&expand[]=latest_charge")
	equal(t, "again", again.str("status"), "requires_capture")
	equal(t, "window", again.num("latest_charge.payment_method_details.card.capture_before")-again.num("created"), int64((4*24+18)*3600))
	c.refused(400, "payment_intent_invalid_parameter", "POST", "/v1/payment_intents", manual+card)

	once := c.ok("POST", "/v1/payment_methods", "type=card&card[number]=4242424242424242&card[exp_month]=1&card[exp_year]=40").id()
	equal(t, "method", c.ok("GET", "/v1/payment_methods/"+once, "").num("card.exp_year"), 2040)
	c.ok("POST", "/v1/payment_intents", manual+once)
	c.refused(400, "payment_method_unexpected_state", "POST", "/v1/payment_intents", manual+once)
	c.refused(402, "incorrect_number", "POST", "/v1/payment_methods", "type=card&card[number]=4111111111111111&card[exp_month]=1&card[exp_year]=40")
	attached := c.ok("POST", "/v1/payment_methods/pm_card_amex/attach", "customer="+guest)
	equal(t, "customer", attached.str("customer"), guest)
	c.ok("POST", "/v1/payment_intents", manual+attached.id()+"&customer="+guest+"&payment_method_options[card][cvc_token]=cvctok_1")
	c.refused(400, "token_already_used", "POST", "/v1/payment_intents", manual+attached.id()+"&customer="+guest+"&payment_method_options[card][cvc_token]=cvctok_1")
	c.refused(400, "resource_missing", "POST", "/v1/payment_intents", manual+attached.id()+"&customer="+guest+"&payment_method_options[card][cvc_token]=tok_1")
	if l := c.ok("GET", "/v1/payment_intents", "customer="+guest); len(l.ids()) != 3 {
		t.Errorf("the guest has %d intents, want 3", len(l.ids()))
	}
	equal(t, "customers", len(c.ok("GET", "/v1/customers", "email=guest@example.com").ids()), 1)
	equal(t, "account", c.ok("GET", "/v1/account", "").id(), c.sim.Account())
	equal(t, "balance", c.ok("GET", "/v1/balance", "").str("object"), "balance")
}

func TestMetadata(t *testing.T) {
	c := newClient(t, free(1))
	id := c.hold(stripesim.Hold{Metadata: map[string]string{"booking": "1", "room": "7"}})
	a := c.ok("POST", path(id), "metadata[room]=&metadata[floor]=2&description=Late+checkout")
	equal(t, "metadata", fmt.Sprint(a.at("metadata")), "map[booking:1 floor:2]")
	equal(t, "description", a.str("description"), "Late checkout")
	a = c.ok("POST", path(id, "capture"), "metadata[done]=yes")
	equal(t, "metadata", fmt.Sprint(a.at("metadata")), "map[booking:1 done:yes floor:2]")
	a = c.ok("POST", path(id), "metadata=")
	equal(t, "metadata", fmt.Sprint(a.at("metadata")), "map[]")
}
