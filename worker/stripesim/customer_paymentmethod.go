package stripesim

import (
	"cmp"
	"slices"
	"strings"
)

// customer is a Customer.
type customer struct {
	id          string
	seq         int
	created     int64
	email, name string
	description string
	phone       string
	metadata    map[string]string
	holds       map[*intent]int64 // what each intent holds, if any
}

type customerJSON struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Address       *string           `json:"address"`
	Balance       int64             `json:"balance"`
	Created       int64             `json:"created"`
	Currency      *string           `json:"currency"`
	DefaultSource *string           `json:"default_source"`
	Delinquent    bool              `json:"delinquent"`
	Description   *string           `json:"description"`
	Discount      *string           `json:"discount"`
	Email         *string           `json:"email"`
	InvoicePrefix string            `json:"invoice_prefix"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Name          *string           `json:"name"`
	Phone         *string           `json:"phone"`
	Locales       []string          `json:"preferred_locales"`
	Shipping      *string           `json:"shipping"`
	TaxExempt     string            `json:"tax_exempt"`
	TestClock     *string           `json:"test_clock"`
}

func (c *customer) toJSON() *customerJSON {
	j := &customerJSON{ID: c.id, Object: "customer", Created: c.created, Description: stringOrNil(
		c.description), Email: stringOrNil(c.email),
		InvoicePrefix: strings.ToUpper(c.id[len(c.id)-8:]),
		Metadata:      c.metadata, Name: stringOrNil(c.name), Phone: stringOrNil(c.phone),
		Locales: []string{}, TaxExempt: "none"}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	return j
}

func createCustomer(op *operation, a *account, _ string, f *form) (any, *apiError) {
	metadata, err := mergeMetadata(nil, f)
	if err != nil {
		return nil, err
	}
	c := &customer{seq: len(a.customerOrder), created: op.now.Unix(), email: f.get("email"),
		name: f.get("name"), description: f.get("description"),
		phone: f.get("phone"), metadata: metadata}
	var m *paymentMethod
	if id := f.get("payment_method"); id != "" {
		if m, err = a.resolvePaymentMethod(op, id, nil); err != nil {
			return nil, err
		}
	}
	addCustomer(a, c)
	if m != nil {
		m.customer = c.id
	}
	return c.toJSON(), nil
}

func updateCustomer(_ *operation, a *account, id string, f *form) (any, *apiError) {
	c := a.customers[id]
	if c == nil {
		return nil, notFoundError("customer", "id", id)
	}
	metadata, err := mergeMetadata(c.metadata, f)
	if err != nil {
		return nil, err
	}
	c.metadata = metadata
	for name, to := range map[string]*string{"email": &c.email, "name": &c.name,
		"description": &c.description, "phone": &c.phone} {
		if f.has(name) {
			*to = f.get(name)
		}
	}
	return c.toJSON(), nil
}

// deleteCustomer deletes a customer. Its saved cards can no longer be used, and
// its payments stay.
func deleteCustomer(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	c := a.customers[id]
	if c == nil {
		return nil, notFoundError("customer", "id", id)
	}
	for _, m := range a.methodOrder {
		if m.customer == id {
			m.customer, m.usedOnce = "", true
		}
	}
	delete(a.customers, id)
	a.deletedCustomers[id] = true
	a.customerOrder = slices.Delete(a.customerOrder, c.seq, c.seq+1)
	for i, later := range a.customerOrder[c.seq:] {
		later.seq = c.seq + i
	}
	return deletedJSON{ID: id, Object: "customer", Deleted: true}, nil
}

func retrieveCustomer(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	if c := a.customers[id]; c != nil {
		return c.toJSON(), nil
	}
	if a.deletedCustomers[id] {
		return deletedJSON{ID: id, Object: "customer", Deleted: true}, nil
	}
	return nil, notFoundError("customer", "id", id)
}

func listCustomers(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	email := f.get("email")
	at, more, err := paginate(f, pageSource{kind: "customer", length: len(a.customerOrder),
		created: func(i int) int64 { return a.customerOrder[i].created },
		find: func(id string) int {
			if c := a.customers[id]; c != nil {
				return c.seq
			}
			return -1
		},
		keep: func(i int) bool { return email == "" || a.customerOrder[i].email == email },
	})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)),
		HasMore: more, URL: "/v1/customers"}
	for _, i := range at {
		l.Data = append(l.Data, a.customerOrder[i].toJSON())
	}
	return l, nil
}

// resolvePaymentMethod returns a PaymentMethod. For the name of a test card it
// makes one, as Stripe does. in, if not nil, is the intent to pay with it.
func (a *account) resolvePaymentMethod(
	op *operation, id string, in *intent,
) (*paymentMethod, *apiError) {
	if c, ok := cardByName(id); ok {
		methodType := typeOfCard
		if in != nil && len(in.paymentMethodTypes) > 0 &&
			in.paymentMethodTypes[0] == typeOfCardPresent {
			methodType = typeOfCardPresent
		}
		return a.newCard(op, c, methodType), nil
	}
	m := a.paymentMethods[id]
	switch {
	case m == nil:
		e := notFoundError("PaymentMethod", "payment_method", id)
		e.status, e.skipsIdempotency = 400, true
		return nil, e
	case in == nil, m == in.paymentMethod:
	case m.customer != "" && m.customer != in.customer:
		return nil, validationError("payment_intent_invalid_parameter", "payment_method",
			"The payment method you provided is attached to a customer so for security purposes "+
				"you must provide the "+
				"customer in the request.")
	case m.customer == "" && m.usedOnce:
		return nil, validationError("payment_method_unexpected_state", "payment_method",
			"The provided PaymentMethod was previously used with a PaymentIntent without "+
				"Customer attachment, shared with a "+
				"connected account without Customer attachment, or was detached from a Customer. "+
				"It may not be used again. To use a PaymentMethod multiple times, you must "+
				"attach it to a Customer first.")
	}
	return m, nil
}

// newCard makes a PaymentMethod of type card or card_present.
func (a *account) newCard(op *operation, c testCard, methodType string) *paymentMethod {
	m := previewCard(a, op, enteredCard{testCard: c})
	m.id, m.methodType = a.newID("pm_"), methodType
	a.addPaymentMethod(m)
	return m
}

// previewCard returns the PaymentMethod that a card would make. It has no id.
func previewCard(a *account, op *operation, e enteredCard) *paymentMethod {
	c := e.testCard
	return &paymentMethod{created: op.now.Unix(), brand: c.brand,
		funding: cmp.Or(c.funding, "credit"), last4: c.number[len(c.number)-4:],
		expMonth: cmp.Or(e.expMonth, 12), expYear: cmp.Or(e.expYear, op.now.Year()+4),
		card: c, methodType: typeOfCard,
		fingerprint: seededToken(a.env.options.Seed, 16, "card", c.number)}
}

func createPaymentMethod(op *operation, a *account, _ string, f *form) (any, *apiError) {
	metadata, err := mergeMetadata(nil, f)
	if err != nil {
		return nil, err
	}
	if t := f.get("type"); t != typeOfCard {
		m := a.newRedirectMethod(op, t)
		m.metadata = metadata
		return m.toJSON(), nil
	}
	c, err := parseEnteredCard(a, f, "card")
	if err != nil {
		return nil, err
	}
	m := newEnteredCard(a, op, c)
	m.metadata = metadata
	return m.toJSON(), nil
}

func retrievePaymentMethod(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	if m := a.paymentMethods[id]; m != nil {
		return m.toJSON(), nil
	}
	return nil, notFoundError("PaymentMethod", "payment_method", id)
}

func attachPaymentMethod(op *operation, a *account, id string, f *form) (any, *apiError) {
	c := f.get("customer")
	if a.customers[c] == nil {
		return nil, validationError("resource_missing", "customer", "No such customer: '%s'", c)
	}
	m, err := a.resolvePaymentMethod(op, id, nil)
	if err != nil {
		return nil, err
	}
	if m.customer != "" && m.customer != c {
		return nil, invalidRequestError("payment_method_unexpected_state", "",
			"The payment method you provided has already been attached to a customer.")
	}
	m.customer, m.usedOnce = c, false
	return m.toJSON(), nil
}

func retrieveReview(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	for _, in := range a.intentOrder {
		if in.review != nil && in.review.id == id {
			return in.review.toJSON(), nil
		}
	}
	return nil, notFoundError("review", "review", id)
}

func retrieveAccount(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	if id != "" && id != a.id {
		return nil, notFoundError("account", "account", id)
	}
	return map[string]any{
		"id": a.id, "object": "account", "business_type": nil, "charges_enabled": true,
		"payouts_enabled": true, "details_submitted": true,
		"country": "FR", "default_currency": "eur", "email": "hotel@example.com", "livemode": false,
		"type": "standard", "metadata": map[string]string{},
		"capabilities": map[string]string{"card_payments": "active"},
		"settings": map[string]any{
			"dashboard": map[string]any{"display_name": "Simulated hotel",
				"timezone": "Europe/Paris"}, "branding": map[string]any{"icon": nil, "logo": nil,
				"primary_color": nil, "secondary_color": nil}, "card_payments": map[string]any{
				"statement_descriptor_prefix": nil, "statement_descriptor_prefix_kana": nil,
				"statement_descriptor_prefix_kanji": nil}, "payments": map[string]any{
				"statement_descriptor": "STRIPESIM", "statement_descriptor_kana": nil,
				"statement_descriptor_kanji": nil}},
	}, nil
}

func retrieveBalance(_ *operation, a *account, _ string, _ *form) (any, *apiError) {
	receivedByCurrency := map[string]int64{}
	for _, in := range a.intentOrder {
		receivedByCurrency[in.currency] += in.received
	}
	type amount struct {
		Amount      int64            `json:"amount"`
		Currency    string           `json:"currency"`
		SourceTypes map[string]int64 `json:"source_types"`
	}
	available, pending := []amount{}, []amount{}
	for c, n := range receivedByCurrency {
		available = append(available, amount{0, c, map[string]int64{"card": 0}})
		pending = append(pending, amount{n, c, map[string]int64{"card": n}})
	}
	return map[string]any{"object": "balance", "available": available,
		"pending": pending, "livemode": false}, nil
}
