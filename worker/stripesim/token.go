package stripesim

import "strings"

// enteredCard is a card as a cardholder enters it.
type enteredCard struct {
	testCard
	expMonth, expYear int // 0: of the test card
}

// token is a Token of a card. It can be used once.
type token struct {
	id, cardID string
	created    int64
	card       enteredCard
	used       bool
}

// cardParams are the parameters of a card, below a name such as card.
func cardParams(name string) paramSpec {
	return paramSpec{name + "[number]": stringParam, name + "[exp_month]": integerParam,
		name + "[exp_year]": integerParam, name + "[cvc]": stringParam,
		name + "[token]": stringParam}
}

// parseEnteredCard returns the card of the parameters below name: a number, one of
// Stripe's test tokens, or a token that the account made.
func parseEnteredCard(a *account, f *form, name string) (e enteredCard, err *apiError) {
	if id := f.get(name + "[token]"); id != "" {
		return useCardToken(a, id, name+"[token]")
	}
	number := f.get(name + "[number]")
	if number == "" {
		return e, validationError("parameter_missing", name+"[number]",
			"Missing required param: %s[number].", name)
	}
	var ok bool
	if e.testCard, ok = cardByNumber(number); !ok {
		return e, &apiError{status: 402, typ: typeCard, code: "incorrect_number",
			param: "number",
			message: "Your card number is incorrect. The simulator knows Stripe's test cards " +
				"only, such as 4242424242424242."}
	}
	e.expMonth, e.expYear = int(f.int(name+"[exp_month]")), int(f.int(name+"[exp_year]"))
	if e.expMonth < 1 || e.expMonth > 12 {
		return e, &apiError{status: 402, typ: typeCard, code: "invalid_expiry_month",
			param: "exp_month", message: "Your card's expiration month is invalid."}
	}
	if e.expYear > 0 && e.expYear < 100 {
		e.expYear += 2000
	}
	return e, nil
}

// useCardToken returns the card of a token and uses the token up.
func useCardToken(a *account, id, param string) (e enteredCard, err *apiError) {
	if c, ok := cardByName("pm_card_" + strings.TrimPrefix(id, "tok_")); ok {
		return enteredCard{testCard: c}, nil
	}
	t := a.tokens[id]
	switch {
	case t == nil:
		return e, validationError("resource_missing", param, "No such token: '%s'", id)
	case t.used:
		return e, validationError("token_already_used", param,
			"You cannot use a Stripe token more than once: %s.", id)
	}
	t.used = true
	return t.card, nil
}

// newEnteredCard makes the PaymentMethod of a card that was entered.
func newEnteredCard(a *account, op *operation, e enteredCard) *paymentMethod {
	m := a.newCard(op, e.testCard, typeOfCard)
	if e.expMonth > 0 {
		m.expMonth = e.expMonth
	}
	if e.expYear > 0 {
		m.expYear = e.expYear
	}
	return m
}

// createToken makes the token of a card, or of a security code that the
// cardholder entered again. The simulator's cards accept every code.
func createToken(op *operation, a *account, _ string, f *form) (any, *apiError) {
	if f.has("cvc_update[cvc]") {
		return map[string]any{"id": a.newID("cvctok_"), "object": "token", "client_ip": nil,
			"created": op.now.Unix(), "livemode": false, "type": "cvc_update", "used": false}, nil
	}
	c, err := parseEnteredCard(a, f, "card")
	if err != nil {
		return nil, err
	}
	t := &token{id: a.newID("tok_"), cardID: a.newID("card_"), created: op.now.Unix(), card: c}
	a.tokens[t.id] = t
	return newTokenJSON(a, op, t), nil
}

func retrieveToken(op *operation, a *account, id string, _ *form) (any, *apiError) {
	if t := a.tokens[id]; t != nil {
		return newTokenJSON(a, op, t), nil
	}
	return nil, notFoundError("token", "token", id)
}

func newTokenJSON(a *account, op *operation, t *token) any {
	m := previewCard(a, op, t.card)
	return map[string]any{"id": t.id, "object": "token", "client_ip": nil, "created": t.created,
		"livemode": false, "type": "card", "used": t.used, "card": map[string]any{
			"id": t.cardID, "object": "card", "address_city": nil, "address_country": nil,
			"address_line1": nil, "address_line1_check": nil, "address_line2": nil,
			"address_state": nil, "address_zip": nil, "address_zip_check": nil,
			"brand": brandNames[m.brand], "country": "US", "cvc_check": "unchecked",
			"dynamic_last4": nil, "exp_month": m.expMonth, "exp_year": m.expYear,
			"fingerprint": m.fingerprint, "funding": m.funding, "last4": m.last4,
			"metadata": map[string]string{}, "name": nil, "tokenization_method": nil}}
}

// brandNames are the names of brands on a Card object. A PaymentMethod has
// other ones.
var brandNames = map[string]string{"visa": "Visa", "mastercard": "MasterCard",
	"amex": "American Express", "discover": "Discover", "diners": "Diners Club", "jcb": "JCB",
	"unionpay": "UnionPay"}
