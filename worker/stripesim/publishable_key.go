package stripesim

import (
	"bytes"
	"encoding/json"
	"strings"
)

func isPublishableKey(key string) bool { return strings.HasPrefix(key, "pk_test_") }

// publishableClasses are the calls that a browser makes with a publishable key.
var publishableClasses = map[EndpointClass]bool{
	ClassRetrieve: true, ClassConfirm: true, ClassSetupRetrieve: true, ClassSetupConfirm: true,
	ClassPaymentMethodCreate: true, ClassTokenCreate: true, ClassConfirmationTokenCreate: true,
	ClassUnknown: true,
}

// checkClientSecret refuses a call with a publishable key for an intent whose
// client secret it does not name. The handlers compare the secret.
func (c *apiCall) checkClientSecret(f *form) *apiError {
	switch c.class {
	case ClassRetrieve, ClassConfirm, ClassSetupRetrieve, ClassSetupConfirm:
	default:
		return nil
	}
	if c.publishable && f.get("client_secret") == "" {
		return validationError("parameter_missing", "client_secret",
			"Missing required param: client_secret.")
	}
	return nil
}

// compareClientSecret checks the secret of a call that names one. object is
// payment_intent or setup_intent.
func compareClientSecret(f *form, secret, object string) *apiError {
	if s := f.get("client_secret"); s != "" && s != secret {
		return validationError(object+"_invalid_parameter", "client_secret",
			"The client_secret provided does not match any associated %s.",
			map[string]string{"payment_intent": "PaymentIntent",
				"setup_intent": "SetupIntent"}[object])
	}
	return nil
}

// publicFields are what a publishable key can read of a PaymentIntent or a
// SetupIntent.
var publicFields = map[string]bool{
	"id": true, "object": true, "amount": true, "amount_details": true,
	"automatic_payment_methods": true, "canceled_at": true, "cancellation_reason": true,
	"capture_method": true, "client_secret": true, "confirmation_method": true, "created": true,
	"currency": true, "description": true, "last_payment_error": true, "last_setup_error": true,
	"livemode": true, "next_action": true, "payment_method": true, "payment_method_types": true,
	"processing": true, "receipt_email": true, "setup_future_usage": true, "shipping": true,
	"source": true, "status": true, "usage": true,
}

// renderPublic returns what a publishable key may read of an answer.
func renderPublic(v any) any {
	switch v.(type) {
	case *intentJSON, *setupIntentJSON:
	default:
		return v
	}
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(encodeJSON(v)))
	d.UseNumber() // amounts stay integers
	if err := d.Decode(&tree); err != nil {
		panic(err) // only what encodeJSON made gets here
	}
	for name := range tree {
		if !publicFields[name] {
			delete(tree, name)
		}
	}
	return tree
}
