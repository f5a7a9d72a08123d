package stripesim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/stripesim"
)

func TestCreateIntent_Validation(t *testing.T) {
	c, longKey := newTestClient(t, unlimitedOptions(1)), strings.Repeat("k", 41)
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
		{"amount=1000000000000&currency=eur", "amount_too_large", "amount", 400},
		{"amount=&currency=eur", "parameter_invalid_empty", "amount", 400},
		{"amount=100&currency=zzz", "", "currency", 400},
		{"amount=100&currency=eur&colour=red", "parameter_unknown", "colour", 400},
		{"amount=100&currency=eur&payment_method_options[card][colour]=red", "parameter_unknown",
			"payment_method_options[card][colour]", 400},
		{"amount=100&currency=eur&capture_method=later", "", "capture_method", 400},
		{"amount=100&currency=eur&confirm=perhaps", "", "confirm", 400},
		{"amount=100&currency=eur&customer=cus_none", "resource_missing", "customer", 400},
		{"amount=100&currency=eur&payment_method=pm_none", "resource_missing", "payment_method", 400},
		{"amount=100&currency=eur&payment_method_types[]=cheque",
			"payment_intent_invalid_parameter", "payment_method_types", 400},
		{"amount=100&currency=eur&off_session=true", "", "off_session", 400},
		{"amount=100&currency=eur&confirm=true", "parameter_missing", "payment_method", 400},
		// no return_url for redirects
		{"amount=100&currency=eur&confirm=true&payment_method=pm_card_visa", "", "", 400},
		{"amount=100&currency=eur&payment_method_types[]=card&automatic_payment_methods[enabled]=true", "", "payment_method_types", 400},
		{"amount=100&currency=eur&metadata[" + longKey + "]=v", "", "metadata[" + longKey + "]", 400},
		{"amount=100&currency=eur&metadata[k]=" + strings.Repeat("v", 501), "", "metadata[k]", 400},
		{"amount=100&currency=eur&expand[]=everything", "", "expand", 400},
		{"amount=100&currency=eur&description=" + strings.Repeat("d", 1001),
			"parameter_invalid_string_too_long", "description", 400},
	} {
		a := c.mustFail(row.status, row.code, "POST", "/v1/payment_intents", row.form)
		assertEqual(t, row.form, a.stringAt("error.param"), row.param)
		assertEqual(t, row.form, a.stringAt("error.type"), "invalid_request_error")
	}
	if n := len(c.sim.Intents("")); n != 0 {
		t.Errorf("%d intents were made by wrong calls", n)
	}
	a := c.mustSucceed("POST", "/v1/payment_intents",
		"amount=99999999&currency=EUR&payment_method_types[0]=card")
	assertEqual(t, "currency", a.stringAt("currency"), "eur")
	assertEqual(t, "status", a.stringAt("status"), "requires_payment_method")
	assertEqual(t, "livemode", a.valueAt("livemode").(bool), false)
	a = c.mustSucceed("POST", "/v1/payment_intents",
		"amount=50&currency=eur&automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never&confirm=true&payment_method=pm_card_visa")
	assertEqual(t, "status", a.stringAt("status"), "succeeded")
	c.mustFail(400, "", "POST", "/v1/payment_intents", `{"amount":100}`,
		"Content-Type", "application/json")
	c.mustFail(413, "", "POST", "/v1/payment_intents", "description="+strings.Repeat("d", 2<<20))
	c.mustFail(404, "", "GET", "/v1/toasters", "")
	c.mustFail(404, "", "DELETE", intentPath("pi_x"), "")
}

// intentPerStatus makes one intent in each status.
func intentPerStatus(c *testClient) map[string]string {
	out := map[string]string{}
	out["requires_payment_method"] = c.mustSucceed("POST", "/v1/payment_intents",
		"amount=1000&currency=eur&payment_method_types[]=card&capture_method=manual").id()
	out["requires_confirmation"] = c.mustSucceed("POST", "/v1/payment_intents",
		"amount=1000&currency=eur&payment_method_types[]=card&capture_method=manual&payment_method=pm_card_visa").id()
	out["requires_action"] = c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+
		"pm_card_authenticationRequired").id()
	out["requires_capture"] = c.authorize(stripesim.Hold{Incremental: true})
	out["succeeded"] = c.authorize(stripesim.Hold{})
	c.mustSucceed("POST", intentPath(out["succeeded"], "capture"), "")
	out["canceled"] = c.authorize(stripesim.Hold{})
	c.mustSucceed("POST", intentPath(out["canceled"], "cancel"), "")
	return out
}

func TestIntent_StatusTransitions(t *testing.T) {
	const unexpected = "payment_intent_unexpected_state"
	want := map[string]map[string]string{ // act, status before: status after, or the error's code
		"capture": {"requires_payment_method": unexpected, "requires_confirmation": unexpected,
			"requires_action":  unexpected,
			"requires_capture": "succeeded", "succeeded": unexpected, "canceled": unexpected},
		"cancel": {"requires_payment_method": "canceled", "requires_confirmation": "canceled",
			"requires_action":  "canceled",
			"requires_capture": "canceled", "succeeded": unexpected, "canceled": unexpected},
		"confirm": {"requires_payment_method": "requires_capture",
			"requires_confirmation": "requires_capture", "requires_action": "requires_capture",
			"requires_capture": unexpected, "succeeded": unexpected, "canceled": unexpected},
		"increment_authorization": {"requires_payment_method": unexpected,
			"requires_confirmation": unexpected, "requires_action": unexpected,
			"requires_capture": "requires_capture", "succeeded": unexpected,
			"canceled": unexpected},
		"": {"requires_payment_method": "requires_payment_method",
			"requires_confirmation": "requires_confirmation", "requires_action": "requires_action",
			"requires_capture": unexpected, "succeeded": unexpected, "canceled": unexpected},
	}
	forms := map[string]string{"confirm": "payment_method=pm_card_visa",
		"increment_authorization": "amount=1500", "": "amount=900"}
	for act, rows := range want {
		for before, after := range rows {
			t.Run(act+" "+before, func(t *testing.T) {
				c := newTestClient(t, unlimitedOptions(1))
				id := intentPerStatus(c)[before]
				assertEqual(t, "before", c.intentState(id).Status, before)
				p := strings.TrimSuffix(intentPath(id, act), "/")
				if after == unexpected {
					a := c.mustFail(400, unexpected, "POST", p, forms[act])
					assertEqual(t, "payment_intent.id", a.stringAt("error.payment_intent.id"), id)
					assertEqual(t, "payment_intent.status",
						a.stringAt("error.payment_intent.status"), before)
					assertEqual(t, "status", c.intentState(id).Status, before)
					return
				}
				assertEqual(t, "answer", c.mustSucceed("POST", p, forms[act]).stringAt("status"),
					after)
				assertEqual(t, "status", c.intentState(id).Status, after)
			})
		}
	}
	c := newTestClient(t, unlimitedOptions(1))
	for _, act := range []string{"", "capture", "cancel", "confirm", "increment_authorization"} {
		a := c.mustFail(404, "resource_missing", "POST",
			strings.TrimSuffix(intentPath("pi_3nothing", act), "/"), forms[act])
		assertEqual(t, "param", a.stringAt("error.param"), "intent")
	}
	c.mustFail(404, "resource_missing", "GET", intentPath("pi_3nothing"), "")
}

func TestCaptureIntent(t *testing.T) {
	for _, row := range []struct {
		name    string
		hold    stripesim.Hold
		forms   []string // each a capture
		code    string   // of the last, if it is refused
		refused bool     // the last, without a code
		effects string
		status  string
	}{
		{name: "all", forms: []string{""}, effects: "authorized 1000, captured 1000!",
			status: "succeeded"},
		{name: "part", forms: []string{"amount_to_capture=700"},
			effects: "authorized 1000, captured 700!, released 300", status: "succeeded"},
		{name: "too much", forms: []string{"amount_to_capture=1001"}, code: "amount_too_large",
			effects: "authorized 1000", status: "requires_capture"},
		{name: "beyond any", forms: []string{"amount_to_capture=100000000"},
			code: "amount_too_large", effects: "authorized 1000", status: "requires_capture"},
		{name: "nothing", forms: []string{"amount_to_capture=0"}, code: "parameter_invalid_integer",
			effects: "authorized 1000", status: "requires_capture"},
		{name: "less than nothing", forms: []string{"amount_to_capture=-1"},
			effects: "authorized 1000", refused: true, status: "requires_capture"},
		{name: "twice", forms: []string{"amount_to_capture=700", "amount_to_capture=100"},
			code:    "payment_intent_unexpected_state",
			effects: "authorized 1000, captured 700!, released 300", status: "succeeded"},
		{name: "not final without multicapture",
			forms: []string{"amount_to_capture=100&final_capture=false"},
			code:  "payment_intent_invalid_parameter", effects: "authorized 1000",
			status: "requires_capture"},
		{name: "several", hold: stripesim.Hold{Multicapture: true},
			forms: []string{"amount_to_capture=300&final_capture=false",
				"amount_to_capture=200&final_capture=false", "amount_to_capture=100"},
			effects: "authorized 1000, captured 300, captured 200, captured 100!, released 400",
			status:  "succeeded"},
		{name: "several, all taken", hold: stripesim.Hold{Multicapture: true},
			forms: []string{"amount_to_capture=300&final_capture=false",
				"amount_to_capture=700&final_capture=false"},
			effects: "authorized 1000, captured 300, captured 700!", status: "succeeded"},
		{name: "several, rest released", hold: stripesim.Hold{Multicapture: true},
			forms: []string{"amount_to_capture=300&final_capture=false",
				"amount_to_capture=0&final_capture=true"},
			effects: "authorized 1000, captured 300, released 700!", status: "succeeded"},
		{name: "release before any", hold: stripesim.Hold{Multicapture: true},
			forms: []string{"amount_to_capture=0&final_capture=true"},
			code:  "parameter_invalid_integer", effects: "authorized 1000",
			status: "requires_capture"},
		{name: "several, too much", hold: stripesim.Hold{Multicapture: true},
			forms:   []string{"amount_to_capture=300&final_capture=false", "amount_to_capture=701"},
			code:    "amount_too_large",
			effects: "authorized 1000, captured 300", status: "requires_capture"},
		{name: "over", hold: stripesim.Hold{Overcapture: true},
			forms:   []string{"amount_to_capture=1150"},
			effects: "authorized 1000, overcaptured 150, captured 1150!", status: "succeeded"},
		{name: "over the over", hold: stripesim.Hold{Overcapture: true},
			forms: []string{"amount_to_capture=1151"}, code: "amount_too_large",
			effects: "authorized 1000", status: "requires_capture"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newTestClient(t, unlimitedOptions(1))
			id := c.authorize(row.hold)
			for i, form := range row.forms {
				if i == len(row.forms)-1 && (row.code != "" || row.refused) {
					c.mustFail(400, row.code, "POST", intentPath(id, "capture"), form)
				} else {
					c.mustSucceed("POST", intentPath(id, "capture"), form)
				}
			}
			assertEqual(t, "effects", c.formatEffects(id), row.effects)
			assertEqual(t, "status", c.intentState(id).Status, row.status)
			st := c.intentState(id)
			ch := c.mustSucceed("GET", "/v1/charges/"+st.Charge, "")
			assertEqual(t, "charge.amount_captured", ch.numberAt("amount_captured"), st.Received)
			assertEqual(t, "charge.amount_refunded", ch.numberAt("amount_refunded"), st.Released)
			assertEqual(t, "charge.captured", ch.valueAt("captured").(bool),
				row.status == "succeeded")
		})
	}
}

func TestCaptureIntent_ParamsBesideTheAmount(t *testing.T) {
	for _, row := range []struct{ form, code string }{
		{"amount_to_capture=700&application_fee_amount=701", "parameter_invalid_integer"},
		{"application_fee_amount=1001", "parameter_invalid_integer"},
		{"application_fee_amount=-1", "parameter_invalid_integer"},
		{"amount_to_capture=700&transfer_data[amount]=701", "parameter_invalid_integer"},
		{"transfer_data[destination]=acct_1", "parameter_unknown"},
		{"statement_descriptor_suffix=2071", "invalid_characters"},
		{"statement_descriptor_suffix=BK*2071", "invalid_characters"},
	} {
		c := newTestClient(t, unlimitedOptions(1))
		id := c.authorize(stripesim.Hold{})
		c.mustFail(400, row.code, "POST", intentPath(id, "capture"), row.form)
		assertEqual(t, row.form, c.formatEffects(id), "authorized 1000")
	}
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{Metadata: map[string]string{"a": "1"}})
	in := c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=700&"+
		"application_fee_amount=700&transfer_data[amount]=600&statement_descriptor_suffix=BK-1&"+
		"metadata[room]=41")
	assertEqual(t, "fee", in.numberAt("application_fee_amount"), 700)
	assertEqual(t, "suffix", in.stringAt("statement_descriptor_suffix"), "BK-1")
	assertEqual(t, "metadata", in.stringAt("metadata.room")+in.stringAt("metadata.a"), "411")
	for _, e := range c.sim.Ledger() {
		if e.Kind == stripesim.EffectCaptured {
			assertEqual(t, "ledger", e.CaptureDetails, stripesim.CaptureDetails{
				ApplicationFeeAmount: 700, TransferAmount: 600, DescriptorSuffix: "BK-1",
				Metadata: `{"room":"41"}`})
		}
	}
}

func TestCaptureIntent_MaxCaptures(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{Multicapture: true})
	for range 50 {
		c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=1&final_capture=false")
	}
	c.mustFail(400, "payment_intent_invalid_parameter", "POST", intentPath(id, "capture"),
		"amount_to_capture=1")
	c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=0&final_capture=true")
	st := c.intentState(id)
	assertEqual(t, "received", st.Received, 50)
	assertEqual(t, "released", st.Released, 950)
}

func TestCancelIntent(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{})
	c.mustFail(400, "", "POST", intentPath(id, "cancel"), "cancellation_reason=mood")
	a := c.mustSucceed("POST", intentPath(id, "cancel"), "cancellation_reason=duplicate")
	assertEqual(t, "reason", a.stringAt("cancellation_reason"), "duplicate")
	assertEqual(t, "capturable", a.numberAt("amount_capturable"), 0)
	if a.numberAt("canceled_at") == 0 {
		t.Error("canceled_at is missing")
	}
	assertEqual(t, "effects", c.formatEffects(id), "authorized 1000, canceled 1000!")

	id = c.authorize(stripesim.Hold{Multicapture: true})
	c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=400&final_capture=false")
	assertEqual(t, "status", c.mustSucceed("POST", intentPath(id, "cancel"), "").stringAt("status"),
		"succeeded")
	assertEqual(t, "effects", c.formatEffects(id), "authorized 1000, captured 400, released 600!")
}

func TestIncrementAuthorization(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{})
	c.mustFail(400, "payment_intent_invalid_parameter", "POST",
		intentPath(id, "increment_authorization"), "amount=2000")
	id = c.authorize(stripesim.Hold{Incremental: true})
	c.mustFail(400, "parameter_invalid_integer", "POST", intentPath(id, "increment_authorization"),
		"amount=1000")
	c.mustFail(400, "parameter_missing", "POST", intentPath(id, "increment_authorization"), "")
	before := c.intentState(id).CaptureBefore
	a := c.mustSucceed("POST", intentPath(id, "increment_authorization"),
		"amount=1500&expand[]=latest_charge")
	assertEqual(t, "capturable", a.numberAt("amount_capturable"), 1500)
	assertEqual(t, "charge.amount", a.numberAt("latest_charge.amount"), 1500)
	assertEqual(t, "deadline", c.intentState(id).CaptureBefore, before)

	if _, err := c.sim.Faults.AddFaultRule(stripesim.FaultRule{
		Class: stripesim.ClassIncrement, Times: 1,
		Fault: stripesim.Fault{Kind: stripesim.FaultDecline,
			Code: "insufficient_funds"}}); err != nil {
		t.Fatal(err)
	}
	a = c.mustFail(402, "card_declined", "POST", intentPath(id, "increment_authorization"),
		"amount=2000")
	assertEqual(t, "decline_code", a.stringAt("error.decline_code"), "insufficient_funds")
	assertEqual(t, "capturable", c.intentState(id).Capturable, 1500)
	for i := range 8 {
		c.mustSucceed("POST", intentPath(id, "increment_authorization"),
			fmt.Sprintf("amount=%d", 2000+i))
	}
	c.mustFail(400, "payment_intent_invalid_parameter", "POST",
		intentPath(id, "increment_authorization"), "amount=9000")
	c.mustSucceed("POST", intentPath(id, "capture"), "")
	assertEqual(t, "received", c.intentState(id).Received, 2007)

	id = c.authorize(stripesim.Hold{Incremental: true, Multicapture: true})
	c.mustSucceed("POST", intentPath(id, "capture"), "amount_to_capture=300&final_capture=false")
	c.mustFail(400, "payment_intent_invalid_parameter", "POST",
		intentPath(id, "increment_authorization"), "amount=2000")
}

func TestConfirmIntent_Declined(t *testing.T) {
	for method, want := range map[string][2]string{
		"pm_card_chargeCustomerFail":                   {"card_declined", "generic_decline"},
		"pm_card_visa_chargeDeclined":                  {"card_declined", "generic_decline"},
		"pm_card_visa_chargeDeclinedInsufficientFunds": {"card_declined", "insufficient_funds"},
		"pm_card_chargeDeclinedInsufficientFunds":      {"card_declined", "insufficient_funds"},
		"pm_card_visa_chargeDeclinedLostCard":          {"card_declined", "lost_card"},
		"pm_card_visa_chargeDeclinedStolenCard":        {"card_declined", "stolen_card"},
		"pm_card_visa_chargeDeclinedVelocityLimitExceeded": {"card_declined",
			"card_velocity_exceeded"},
		"pm_card_visa_chargeDeclinedExpiredCard":  {"expired_card", "expired_card"},
		"pm_card_visa_chargeDeclinedIncorrectCvc": {"incorrect_cvc", "incorrect_cvc"},
		"pm_card_visa_chargeDeclinedProcessingError": {
			"processing_error", "processing_error"},
	} {
		t.Run(method, func(t *testing.T) {
			c := newTestClient(t, unlimitedOptions(1))
			a := c.mustFail(402, want[0], "POST", "/v1/payment_intents", manualCaptureForm+method)
			assertEqual(t, "type", a.stringAt("error.type"), "card_error")
			assertEqual(t, "decline_code", a.stringAt("error.decline_code"), want[1])
			id := a.stringAt("error.payment_intent.id")
			assertEqual(t, "status", a.stringAt("error.payment_intent.status"),
				"requires_payment_method")
			assertEqual(t, "last_payment_error",
				a.stringAt("error.payment_intent.last_payment_error.code"), want[0])
			assertEqual(t, "secret", a.stringAt("error.payment_intent.client_secret"),
				c.intentState(id).ClientSecret)
			assertEqual(t, "charge", a.stringAt("error.charge"), c.intentState(id).Charge)
			assertEqual(t, "method", strings.HasPrefix(a.stringAt("error.payment_method.id"),
				"pm_"), true)
			assertEqual(t, "effects", c.formatEffects(id), "")
			// Another card helps.
			assertEqual(t, "status", c.mustSucceed("POST", intentPath(id, "confirm"),
				"payment_method=pm_card_mastercard").stringAt("status"), "requires_capture")
			assertEqual(t, "events", c.eventTypes(id),
				"payment_intent.created charge.failed payment_intent.payment_failed charge.succeeded payment_intent.amount_capturable_updated")
		})
	}
}

func TestConfirmIntent_ThreeDSecure(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	dashboard := c.sim.Dashboard()
	create := manualCaptureForm + "pm_card_authenticationRequired"

	a := c.mustSucceed("POST", "/v1/payment_intents", create+"&return_url="+
		queryEscape("https://hotel.example/back"))
	assertEqual(t, "next_action", a.stringAt("next_action.type"), "redirect_to_url")
	assertEqual(t, "return_url", a.stringAt("next_action.redirect_to_url.return_url"),
		"https://hotel.example/back")
	if err := dashboard.CompleteAction(a.id()); err != nil {
		t.Fatal(err)
	}
	assertEqual(t, "completed", c.intentState(a.id()).Status, "requires_capture")
	assertEqual(t, "events", c.eventTypes(a.id()),
		"payment_intent.created payment_intent.requires_action charge.succeeded payment_intent.amount_capturable_updated")

	a = c.mustSucceed("POST", "/v1/payment_intents", create)
	assertEqual(t, "next_action", a.stringAt("next_action.type"), "use_stripe_sdk")
	if err := dashboard.FailAction(a.id()); err != nil {
		t.Fatal(err)
	}
	a = c.mustSucceed("GET", intentPath(a.id()), "")
	assertEqual(t, "failed", a.stringAt("status"), "requires_payment_method")
	assertEqual(t, "error", a.stringAt("last_payment_error.code"),
		"payment_intent_authentication_failure")
	if err := dashboard.CompleteAction(a.id()); err == nil {
		t.Error("completed what had failed")
	}

	a = c.mustSucceed("POST", "/v1/payment_intents", create+"&confirmation_method=manual")
	if err := dashboard.CompleteAction(a.id()); err != nil {
		t.Fatal(err)
	}
	assertEqual(t, "manual", c.intentState(a.id()).Status, "requires_confirmation")
	assertEqual(t, "confirmed", c.mustSucceed("POST", intentPath(a.id(), "confirm"), "").stringAt(
		"status"), "requires_capture")

	a = c.mustSucceed("POST", "/v1/payment_intents", create+"&confirmation_method=manual")
	c.sim.Advance(59 * time.Minute)
	assertEqual(t, "waiting", c.intentState(a.id()).Status, "requires_action")
	c.sim.Advance(2 * time.Minute)
	assertEqual(t, "abandoned", c.intentState(a.id()).Status, "requires_payment_method")

	a = c.mustFail(402, "authentication_required", "POST", "/v1/payment_intents",
		create+"&off_session=true")
	assertEqual(t, "decline_code", a.stringAt("error.decline_code"), "authentication_required")
	c.mustFail(402, "authentication_required", "POST", "/v1/payment_intents", create+
		"&error_on_requires_action=true")

	a = c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+
		"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
	if err := dashboard.CompleteAction(a.id()); err != nil {
		t.Fatal(err)
	}
	assertEqual(t, "passed, then declined", c.intentState(a.id()).Status, "requires_payment_method")
}

func TestPaymentMethod_SavedCard(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	customer := c.mustSucceed("POST", "/v1/customers",
		"email=guest@example.com&metadata[room]=7").id()
	assertEqual(t, "customer", c.mustSucceed("GET", "/v1/customers/"+customer, "").stringAt(
		"email"), "guest@example.com")
	card := c.mustSucceed("POST", "/v1/payment_methods",
		"type=card&card[number]=4000002500003155&card[exp_month]=12&card[exp_year]=2034&card[cvc]=123").id()
	first := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+card+"&customer="+
		customer+"&setup_future_usage=off_session")
	assertEqual(t, "first", first.stringAt("status"), "requires_action")
	if err := c.sim.Dashboard().CompleteAction(first.id()); err != nil {
		t.Fatal(err)
	}
	again := c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+card+"&customer="+
		customer+"&off_session=true&expand[]=latest_charge")
	assertEqual(t, "again", again.stringAt("status"), "requires_capture")
	assertEqual(t, "window",
		again.numberAt("latest_charge.payment_method_details.card.capture_before")-again.numberAt(
			"created"), int64((4*24+18)*3600))
	c.mustFail(400, "payment_intent_invalid_parameter", "POST",
		"/v1/payment_intents", manualCaptureForm+card)

	once := c.mustSucceed("POST", "/v1/payment_methods",
		"type=card&card[number]=4242424242424242&card[exp_month]=1&card[exp_year]=40").id()
	assertEqual(t, "method", c.mustSucceed("GET", "/v1/payment_methods/"+once,
		"").numberAt("card.exp_year"), 2040)
	c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+once)
	c.mustFail(400, "payment_method_unexpected_state", "POST",
		"/v1/payment_intents", manualCaptureForm+once)
	c.mustFail(402, "incorrect_number", "POST", "/v1/payment_methods",
		"type=card&card[number]=4111111111111111&card[exp_month]=1&card[exp_year]=40")
	attached := c.mustSucceed("POST", "/v1/payment_methods/pm_card_amex/attach", "customer="+
		customer)
	assertEqual(t, "customer", attached.stringAt("customer"), customer)
	c.mustSucceed("POST", "/v1/payment_intents", manualCaptureForm+attached.id()+"&customer="+
		customer+"&payment_method_options[card][cvc_token]=cvctok_1")
	c.mustFail(400, "token_already_used", "POST", "/v1/payment_intents", manualCaptureForm+
		attached.id()+"&customer="+customer+"&payment_method_options[card][cvc_token]=cvctok_1")
	c.mustFail(400, "resource_missing", "POST", "/v1/payment_intents", manualCaptureForm+
		attached.id()+"&customer="+customer+"&payment_method_options[card][cvc_token]=tok_1")
	if l := c.mustSucceed("GET", "/v1/payment_intents", "customer="+customer); len(l.ids()) != 3 {
		t.Errorf("the guest has %d intents, want 3", len(l.ids()))
	}
	assertEqual(t, "customers",
		len(c.mustSucceed("GET", "/v1/customers", "email=guest@example.com").ids()), 1)
	assertEqual(t, "account", c.mustSucceed("GET", "/v1/account", "").id(), c.sim.Account())
	assertEqual(t, "balance", c.mustSucceed("GET", "/v1/balance", "").stringAt("object"), "balance")
}

func TestUpdateIntent_Metadata(t *testing.T) {
	c := newTestClient(t, unlimitedOptions(1))
	id := c.authorize(stripesim.Hold{Metadata: map[string]string{"booking": "1", "room": "7"}})
	a := c.mustSucceed("POST", intentPath(id),
		"metadata[room]=&metadata[floor]=2&description=Late+checkout")
	assertEqual(t, "metadata", fmt.Sprint(a.valueAt("metadata")), "map[booking:1 floor:2]")
	assertEqual(t, "description", a.stringAt("description"), "Late checkout")
	a = c.mustSucceed("POST", intentPath(id, "capture"), "metadata[done]=yes")
	assertEqual(t, "metadata", fmt.Sprint(a.valueAt("metadata")), "map[booking:1 done:yes floor:2]")
	a = c.mustSucceed("POST", intentPath(id), "metadata=")
	assertEqual(t, "metadata", fmt.Sprint(a.valueAt("metadata")), "map[]")
}
