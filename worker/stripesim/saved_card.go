package stripesim

import (
	"cmp"
	"maps"
)

// addPaymentMethod adds a new PaymentMethod to the account.
func (a *account) addPaymentMethod(m *paymentMethod) {
	m.seq = len(a.methodOrder)
	a.paymentMethods[m.id] = m
	a.methodOrder = append(a.methodOrder, m)
}

// Cards makes saved cards, and says what their banks and the account allow.
type Cards struct{ accounts *accountRegistry }

// SaveCard makes a customer with a saved card, and returns the ids of both. The
// card is a test card such as pm_card_visa; empty means that one. An empty
// account is the platform's own.
func (c *Cards) SaveCard(account, card string) (customerID, paymentMethodID string, err error) {
	a := c.accounts.getOrCreate(account)
	a.change(actorDashboard, func(op *operation) {
		owner := &customer{seq: len(a.customerOrder), created: op.now.Unix()}
		m, failure := a.resolvePaymentMethod(op, cmp.Or(card, "pm_card_visa"), nil)
		if failure != nil {
			err = failure
			return
		}
		addCustomer(a, owner)
		m.customer, m.setUpOffSession = owner.id, true
		customerID, paymentMethodID = owner.id, m.id
	})
	return customerID, paymentMethodID, err
}

// addCustomer adds a new customer to the account.
func addCustomer(a *account, c *customer) {
	c.id = "cus_" + a.newID("")[10:]
	a.customers[c.id] = c
	a.customerOrder = append(a.customerOrder, c)
}

func detachPaymentMethod(_ *operation, a *account, id string, _ *form) (any, *apiError) {
	m := a.paymentMethods[id]
	switch {
	case m == nil:
		return nil, notFoundError("PaymentMethod", "payment_method", id)
	case m.customer == "":
		return nil, invalidRequestError("payment_method_unexpected_state", "",
			"The payment method you provided is not attached to a customer so detachment is "+
				"impossible.")
	}
	m.customer, m.usedOnce = "", true
	return m.toJSON(), nil
}

// listPaymentMethods lists the attached PaymentMethods, of one customer if the
// parameter is given.
func listPaymentMethods(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	return pageOfMethods(a, f, f.get("customer"), "/v1/payment_methods")
}

func listCustomerPaymentMethods(_ *operation, a *account, id string, f *form) (any, *apiError) {
	if a.customers[id] == nil {
		return nil, notFoundError("customer", "customer", id)
	}
	return pageOfMethods(a, f, id, "/v1/customers/"+id+"/payment_methods")
}

func pageOfMethods(a *account, f *form, customer, url string) (any, *apiError) {
	if customer != "" && a.customers[customer] == nil {
		return nil, validationError("resource_missing", "customer", "No such customer: '%s'",
			customer)
	}
	methodType := f.get("type")
	at, more, err := paginate(f, pageSource{kind: "PaymentMethod", length: len(a.methodOrder),
		created: func(i int) int64 { return a.methodOrder[i].created },
		find: func(id string) int {
			if m := a.paymentMethods[id]; m != nil {
				return m.seq
			}
			return -1
		},
		keep: func(i int) bool {
			m := a.methodOrder[i]
			return m.customer != "" && (customer == "" || m.customer == customer) &&
				(methodType == "" || m.methodType == methodType)
		},
	})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more, URL: url}
	for _, i := range at {
		l.Data = append(l.Data, a.methodOrder[i].toJSON())
	}
	return l, nil
}

// updateHolds records what the intent holds of its customer's money, and
// returns how many intents hold some, and how much in the intent's currency.
func (c *customer) updateHolds(in *intent) (holds int, held int64) {
	if c.holds == nil {
		c.holds = map[*intent]int64{}
	}
	c.holds[in] = in.capturable
	maps.DeleteFunc(c.holds, func(_ *intent, amount int64) bool { return amount == 0 })
	for other, amount := range c.holds {
		if other.currency == in.currency {
			held += amount
		}
	}
	return len(c.holds), held
}
