package stripesim

import "time"

// confirmationTokenLifetime is how long a ConfirmationToken can be used.
const confirmationTokenLifetime = 12 * time.Hour

// confirmationToken is a ConfirmationToken: what a page collected, for one
// confirmation by the server.
type confirmationToken struct {
	id          string
	created     time.Time
	method      *paymentMethod // an existing one; nil: the card
	card        enteredCard
	returnURL   string
	futureUsage string
	usedBy      string // the intent that it confirmed
}

func createConfirmationToken(op *operation, a *account, _ string, f *form) (any, *apiError) {
	t := &confirmationToken{created: op.now, returnURL: f.get("return_url"),
		futureUsage: f.get("setup_future_usage")}
	var err *apiError
	switch id := f.get("payment_method"); {
	case id == "":
		if t.card, err = parseEnteredCard(a, f, "payment_method_data[card]"); err != nil {
			return nil, err
		}
	default:
		if c, ok := cardByName(id); ok {
			t.card.testCard = c
		} else if t.method, err = a.resolvePaymentMethod(op, id, nil); err != nil {
			return nil, err
		}
	}
	t.id = "ctoken_" + a.newID("")
	a.confirmationTokens[t.id] = t
	return newConfirmationTokenJSON(op, a, t), nil
}

func retrieveConfirmationToken(op *operation, a *account, id string, _ *form) (any, *apiError) {
	if t := a.confirmationTokens[id]; t != nil {
		return newConfirmationTokenJSON(op, a, t), nil
	}
	return nil, notFoundError("confirmation_token", "confirmation_token", id)
}

func newConfirmationTokenJSON(op *operation, a *account, t *confirmationToken) any {
	m := t.method
	if m == nil {
		m = previewCard(a, op, t.card)
	}
	j := m.toJSON()
	preview := map[string]any{"billing_details": j.BillingDetails, "customer": j.Customer,
		"type": j.Type}
	if c := j.Card; c != nil {
		preview["card"] = map[string]any{"brand": c.Brand, "checks": c.Checks,
			"country": c.Country, "display_brand": c.Brand, "exp_month": c.ExpMonth,
			"exp_year": c.ExpYear, "fingerprint": c.Fingerprint, "funding": c.Funding,
			"generated_from": nil, "last4": c.Last4, "networks": nil,
			"three_d_secure_usage": map[string]bool{"supported": true}, "wallet": nil}
	} else {
		preview[j.Type] = map[string]any{}
	}
	return map[string]any{"id": t.id, "object": "confirmation_token",
		"created": t.created.Unix(), "livemode": false, "mandate_data": nil,
		"expires_at":     t.created.Add(confirmationTokenLifetime).Unix(),
		"payment_intent": idOrNil(intentOfKind(t.usedBy, "pi_")),
		"setup_intent":   idOrNil(intentOfKind(t.usedBy, "seti_")), "payment_method_options": nil,
		"payment_method_preview": preview, "return_url": stringOrNil(t.returnURL),
		"setup_future_usage": stringOrNil(t.futureUsage), "shipping": nil, "use_stripe_sdk": true}
}

// intentOfKind returns id if it begins with prefix.
func intentOfKind(id, prefix string) string {
	if len(id) > len(prefix) && id[:len(prefix)] == prefix {
		return id
	}
	return ""
}

// takeConfirmationToken returns the token that the call names, or nil. A token
// confirms one intent.
func takeConfirmationToken(
	a *account, op *operation, intentID string, f *form,
) (*confirmationToken, *apiError) {
	id := f.get("confirmation_token")
	if id == "" {
		return nil, nil
	}
	t := a.confirmationTokens[id]
	invalid := func(format string, args ...any) *apiError {
		return validationError("", "confirmation_token", format, args...)
	}
	switch {
	case f.has("payment_method") || f.has("payment_method_data[type]"):
		return nil, invalid("You may only specify one of these parameters: confirmation_token, " +
			"payment_method, payment_method_data.")
	case t == nil:
		return nil, validationError("resource_missing", "confirmation_token",
			"No such confirmation_token: '%s'", id)
	case t.usedBy != "" && t.usedBy != intentID:
		return nil, invalid("The ConfirmationToken %s was used before. Make another one.", id)
	case !op.now.Before(t.created.Add(confirmationTokenLifetime)):
		return nil, invalid("The ConfirmationToken %s has expired. Make another one.", id)
	}
	if t.method == nil {
		t.method = newEnteredCard(a, op, t.card)
	}
	return t, nil
}

// useConfirmationToken gives the intent what the token has.
func useConfirmationToken(op *operation, in *intent, f *form) *apiError {
	t, err := takeConfirmationToken(in.account, op, in.id, f)
	if t == nil || err != nil {
		return err
	}
	in.paymentMethod, in.confirmationToken = t.method, t
	if !f.has("return_url") && t.returnURL != "" {
		in.returnURL = t.returnURL
	}
	if !f.has("setup_future_usage") && t.futureUsage != "" {
		in.futureUsage = t.futureUsage
	}
	return nil
}
