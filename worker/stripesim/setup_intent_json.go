package stripesim

// setupIntentJSON is setup_intent as version 2023-10-16 shows it.
type setupIntentJSON struct {
	ID                      string                       `json:"id"`
	Object                  string                       `json:"object"`
	Application             *string                      `json:"application"`
	AutomaticPaymentMethods *automaticPaymentMethodsJSON `json:"automatic_payment_methods"`
	CancellationReason      *string                      `json:"cancellation_reason"`
	ClientSecret            string                       `json:"client_secret"`
	Created                 int64                        `json:"created"`
	Customer                any                          `json:"customer"`
	Description             *string                      `json:"description"`
	FlowDirections          []string                     `json:"flow_directions"`
	LastSetupError          *errorJSON                   `json:"last_setup_error"`
	LatestAttempt           *string                      `json:"latest_attempt"`
	Livemode                bool                         `json:"livemode"`
	Mandate                 *string                      `json:"mandate"`
	Metadata                map[string]string            `json:"metadata"`
	NextAction              *nextActionJSON              `json:"next_action"`
	OnBehalfOf              *string                      `json:"on_behalf_of"`
	PaymentMethod           any                          `json:"payment_method"`
	PaymentMethodOptions    setupOptionsJSON             `json:"payment_method_options"`
	PaymentMethodTypes      []string                     `json:"payment_method_types"`
	SingleUseMandate        *string                      `json:"single_use_mandate"`
	Status                  string                       `json:"status"`
	Usage                   string                       `json:"usage"`
}

type setupOptionsJSON struct {
	Card *setupCardOptionsJSON `json:"card,omitempty"`
}

type setupCardOptionsJSON struct {
	MandateOptions      *string `json:"mandate_options"`
	Network             *string `json:"network"`
	RequestThreeDSecure string  `json:"request_three_d_secure"`
}

// newSetupIntentJSON renders the SetupIntent. expand names the objects to show
// in full instead of by id.
func newSetupIntentJSON(si *setupIntent, expand []string) *setupIntentJSON {
	j := &setupIntentJSON{ID: si.id, Object: "setup_intent",
		AutomaticPaymentMethods: si.automaticMethods,
		CancellationReason:      stringOrNil(si.cancelReason), ClientSecret: si.secret,
		Created: si.created, Customer: idOrNil(si.customer),
		Description: stringOrNil(si.description), LastSetupError: si.lastError,
		Metadata: si.metadata, NextAction: si.nextAction, PaymentMethodTypes: si.methodTypes,
		PaymentMethodOptions: setupOptionsJSON{Card: &setupCardOptionsJSON{
			RequestThreeDSecure: "automatic"}},
		Status: si.status, Usage: si.usage}
	if si.threeDSecure != "" {
		j.PaymentMethodOptions.Card.RequestThreeDSecure = si.threeDSecure
	}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	if si.paymentMethod != nil {
		j.PaymentMethod = si.paymentMethod.id
	}
	for _, path := range expand {
		switch c := si.account.customers[si.customer]; {
		case path == "payment_method" && si.paymentMethod != nil:
			j.PaymentMethod = si.paymentMethod.toJSON()
		case path == "customer" && c != nil:
			j.Customer = c.toJSON()
		}
	}
	return j
}
