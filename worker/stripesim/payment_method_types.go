package stripesim

import (
	"maps"
	"slices"
	"time"
)

const (
	typeOfCard        = "card"
	typeOfCardPresent = "card_present"
)

// redirectType is a type of payment method whose provider the cardholder
// visits. Its authorizations have no capture_before.
type redirectType struct {
	window  time.Duration // Klarna's ends at a midnight: see DefaultAuthorizationWindow
	details any           // payment_method_details of a charge
	method  any           // the type's part of a PaymentMethod
}

var redirectTypes = map[string]redirectType{
	"klarna": {window: 28 * day,
		details: map[string]any{"payment_method_category": "pay_later",
			"preferred_locale": "en-US"},
		method: map[string]any{"dob": nil}},
	"paypal": {window: 10 * day,
		details: map[string]any{"payer_email": "ada@example.com", "payer_id": "SIMULATEDPAYER",
			"payer_name": "Ada", "seller_protection": nil, "transaction_id": "SIMULATED"},
		method: map[string]any{"payer_email": "ada@example.com", "payer_id": "SIMULATEDPAYER"}},
	"affirm": {window: 30 * day, details: map[string]any{}, method: map[string]any{}},
	"afterpay_clearpay": {window: 13 * day, details: map[string]any{"order_id": nil,
		"reference": nil}, method: map[string]any{}},
	"cashapp": {window: 7 * day,
		details: map[string]any{"buyer_id": "SIMULATED", "cashtag": "$ada"},
		method:  map[string]any{"buyer_id": "SIMULATED", "cashtag": "$ada"}},
}

// methodTypes are the types of payment methods that the simulator knows, and
// link, which it lists without paying with it.
var methodTypes = append([]string{typeOfCard, typeOfCardPresent, "link"},
	slices.Sorted(maps.Keys(redirectTypes))...)

func allowsCards(types []string) bool {
	return slices.Contains(types, typeOfCard) || slices.Contains(types, typeOfCardPresent)
}

// methodDataJSON has the properties that are named after a type of payment
// method, of those with a redirect.
type methodDataJSON struct {
	Affirm           any `json:"affirm,omitempty"`
	AfterpayClearpay any `json:"afterpay_clearpay,omitempty"`
	CashApp          any `json:"cashapp,omitempty"`
	Klarna           any `json:"klarna,omitempty"`
	PayPal           any `json:"paypal,omitempty"`
}

func (j *methodDataJSON) set(methodType string, v any) {
	switch methodType {
	case "affirm":
		j.Affirm = v
	case "afterpay_clearpay":
		j.AfterpayClearpay = v
	case "cashapp":
		j.CashApp = v
	case "klarna":
		j.Klarna = v
	case "paypal":
		j.PayPal = v
	}
}

// newRedirectMethod makes a PaymentMethod of a type with a redirect.
func (a *account) newRedirectMethod(op *operation, methodType string) *paymentMethod {
	m := &paymentMethod{id: a.newID("pm_"), created: op.now.Unix(), methodType: methodType}
	a.addPaymentMethod(m)
	return m
}

// checkMethodType checks that the intent allows the type of its payment method.
func checkMethodType(in *intent) *apiError {
	m := in.paymentMethod
	switch {
	case m == nil || slices.Contains(in.paymentMethodTypes, m.methodType):
		return nil
	case in.automaticPaymentMethods != nil && !m.isCard():
		in.paymentMethodTypes = append(slices.Clip(in.paymentMethodTypes), m.methodType)
		return nil
	case m.isCard() && slices.Contains(in.paymentMethodTypes, "link"):
		return nil
	}
	return validationError("payment_intent_incompatible_payment_method", "payment_method",
		"The PaymentMethod provided (%s) is not allowed for this PaymentIntent. Please attach a "+
			"PaymentMethod of one of the following types: %v.", m.methodType,
		in.paymentMethodTypes)
}

// checkRedirect checks that the cardholder can visit the provider and come
// back.
func checkRedirect(in *intent) *apiError {
	switch m := in.paymentMethod; {
	case m == nil || m.isCard():
		return nil
	case in.offSession:
		return validationError("payment_intent_invalid_parameter", "off_session",
			"The simulator has no mandates: %s cannot be used off session.", m.methodType)
	case in.returnURL == "":
		return validationError("parameter_missing", "return_url",
			"Missing required param: return_url.")
	}
	return nil
}

// isManual reports whether Stripe waits for a capture. The payment method's own
// capture method overrides the intent's.
func isManual(in *intent) bool {
	if in.captureMethod == "manual" {
		return true
	}
	switch in.captureByType[in.paymentMethod.methodType] {
	case "manual", "manual_preferred":
		return true
	}
	return false
}

func captureParam(methodType string) string {
	return "payment_method_options[" + methodType + "][capture_method]"
}

// applyCaptureMethods applies payment_method_options[x][capture_method].
func applyCaptureMethods(in *intent, f *form) {
	for _, t := range methodTypes {
		if name := captureParam(t); f.has(name) {
			byType := map[string]string{}
			maps.Copy(byType, in.captureByType)
			byType[t] = f.get(name)
			in.captureByType = byType
		}
	}
}

// captureMethodSpec returns the parameters that set the capture method of one
// type of payment method.
func captureMethodSpec() paramSpec {
	spec := paramSpec{}
	for _, t := range methodTypes {
		spec[captureParam(t)] = enumParam("manual").allowEmpty()
	}
	spec[captureParam(typeOfCardPresent)] = enumParam("manual", "manual_preferred")
	return spec
}
