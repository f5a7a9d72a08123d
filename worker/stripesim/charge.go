package stripesim

import "slices"

// charge is one attempt to charge a card.
type charge struct {
	id               string
	seq              int // place in the account's order of creation
	intent           *intent
	created          int64
	amount           int64
	amountCaptured   int64
	amountRefunded   int64
	balanceAt        int64 // of its balance transaction; 0 if nothing was captured
	isCaptured       bool
	fullyRefunded    bool
	failed           bool
	failureCode      string
	failureMessage   string
	decline          decline // of a failed charge
	captureBefore    int64
	channel          PaymentChannel
	paymentMethod    *paymentMethod
	extended         bool
	multicapture     bool
	incremental      bool
	maxCapturable    int64 // overcapture.maximum_amount_capturable
	overcapture      bool
	threeDSecure     bool
	review           *review
	refunds          []*refund
	metadata         map[string]string
	description      string
	customer         string
	receiptEmail     string
	descriptorSuffix string
}

type review struct {
	id           string
	created      int64
	open         bool
	reason       string
	closedReason string
	charge       string
	intent       string
}

type billingDetailsJSON struct {
	Address addressJSON `json:"address"`
	Email   *string     `json:"email"`
	Name    *string     `json:"name"`
	Phone   *string     `json:"phone"`
}

type addressJSON struct {
	City       *string `json:"city"`
	Country    *string `json:"country"`
	Line1      *string `json:"line1"`
	Line2      *string `json:"line2"`
	PostalCode *string `json:"postal_code"`
	State      *string `json:"state"`
}

type outcomeJSON struct {
	AdviceCode         string  `json:"advice_code,omitempty"`
	NetworkAdviceCode  string  `json:"network_advice_code,omitempty"`
	NetworkDeclineCode string  `json:"network_decline_code,omitempty"`
	NetworkStatus      string  `json:"network_status"`
	Reason             *string `json:"reason"`
	RiskLevel          string  `json:"risk_level"`
	RiskScore          int     `json:"risk_score"`
	SellerMessage      string  `json:"seller_message"`
	Type               string  `json:"type"`
}

type statusJSON struct {
	Status string `json:"status"`
}

type overcaptureJSON struct {
	MaximumAmountCapturable int64  `json:"maximum_amount_capturable"`
	Status                  string `json:"status"`
}

type cardDetailsJSON struct {
	AmountAuthorized         *int64            `json:"amount_authorized"`
	Brand                    string            `json:"brand"`
	CaptureBefore            *int64            `json:"capture_before,omitempty"`
	Checks                   *checksJSON       `json:"checks"`
	Country                  string            `json:"country"`
	ExpMonth                 int               `json:"exp_month"`
	ExpYear                  int               `json:"exp_year"`
	ExtendedAuthorization    *statusJSON       `json:"extended_authorization,omitempty"`
	Fingerprint              string            `json:"fingerprint"`
	Funding                  string            `json:"funding"`
	IncrementalAuthorization *statusJSON       `json:"incremental_authorization,omitempty"`
	Installments             *string           `json:"installments"`
	Last4                    string            `json:"last4"`
	Mandate                  *string           `json:"mandate"`
	Multicapture             *statusJSON       `json:"multicapture,omitempty"`
	Network                  string            `json:"network"`
	Overcapture              *overcaptureJSON  `json:"overcapture,omitempty"`
	ThreeDSecure             *threeDSecureJSON `json:"three_d_secure"`
	Wallet                   *string           `json:"wallet"`
}

type threeDSecureJSON struct {
	AuthenticationFlow *string `json:"authentication_flow"`
	Result             string  `json:"result"`
	ResultReason       *string `json:"result_reason"`
	Version            string  `json:"version"`
}

type checksJSON struct {
	AddressLine1Check      *string `json:"address_line1_check"`
	AddressPostalCodeCheck *string `json:"address_postal_code_check"`
	CVCCheck               string  `json:"cvc_check"`
}

type cardPresentDetailsJSON struct {
	AmountAuthorized                  *int64  `json:"amount_authorized"`
	Brand                             string  `json:"brand"`
	CaptureBefore                     *int64  `json:"capture_before,omitempty"`
	CardholderName                    *string `json:"cardholder_name"`
	Country                           string  `json:"country"`
	ExpMonth                          int     `json:"exp_month"`
	ExpYear                           int     `json:"exp_year"`
	Fingerprint                       string  `json:"fingerprint"`
	Funding                           string  `json:"funding"`
	GeneratedCard                     *string `json:"generated_card"`
	IncrementalAuthorizationSupported bool    `json:"incremental_authorization_supported"`
	Last4                             string  `json:"last4"`
	Network                           string  `json:"network"`
	OvercaptureSupported              bool    `json:"overcapture_supported"`
	ReadMethod                        string  `json:"read_method"`
	Receipt                           *string `json:"receipt"`
}

type paymentMethodDetailsJSON struct {
	Card        *cardDetailsJSON        `json:"card,omitempty"`
	CardPresent *cardPresentDetailsJSON `json:"card_present,omitempty"`
	Type        string                  `json:"type"`
	methodDataJSON
}

// chargeJSON is charge as version 2023-10-16 shows it.
type chargeJSON struct {
	ID                            string                    `json:"id"`
	Object                        string                    `json:"object"`
	Amount                        int64                     `json:"amount"`
	AmountCaptured                int64                     `json:"amount_captured"`
	AmountRefunded                int64                     `json:"amount_refunded"`
	Application                   *string                   `json:"application"`
	ApplicationFee                *string                   `json:"application_fee"`
	ApplicationFeeAmount          *int64                    `json:"application_fee_amount"`
	BalanceTransaction            any                       `json:"balance_transaction"`
	BillingDetails                billingDetailsJSON        `json:"billing_details"`
	CalculatedStatementDescriptor string                    `json:"calculated_statement_descriptor"`
	Captured                      bool                      `json:"captured"`
	Created                       int64                     `json:"created"`
	Currency                      string                    `json:"currency"`
	Customer                      *string                   `json:"customer"`
	Description                   *string                   `json:"description"`
	Disputed                      bool                      `json:"disputed"`
	FailureBalanceTransaction     *string                   `json:"failure_balance_transaction"`
	FailureCode                   *string                   `json:"failure_code"`
	FailureMessage                *string                   `json:"failure_message"`
	FraudDetails                  struct{}                  `json:"fraud_details"`
	Invoice                       *string                   `json:"invoice"`
	Livemode                      bool                      `json:"livemode"`
	Metadata                      map[string]string         `json:"metadata"`
	OnBehalfOf                    *string                   `json:"on_behalf_of"`
	Outcome                       outcomeJSON               `json:"outcome"`
	Paid                          bool                      `json:"paid"`
	PaymentIntent                 any                       `json:"payment_intent"`
	PaymentMethod                 string                    `json:"payment_method"`
	PaymentMethodDetails          *paymentMethodDetailsJSON `json:"payment_method_details"`
	ReceiptEmail                  *string                   `json:"receipt_email"`
	ReceiptNumber                 *string                   `json:"receipt_number"`
	ReceiptURL                    *string                   `json:"receipt_url"`
	Refunded                      bool                      `json:"refunded"`
	Refunds                       *listJSON                 `json:"refunds,omitempty"`
	Review                        *string                   `json:"review"`
	Shipping                      *string                   `json:"shipping"`
	Source                        *string                   `json:"source"`
	SourceTransfer                *string                   `json:"source_transfer"`
	StatementDescriptor           *string                   `json:"statement_descriptor"`
	StatementDescriptorSuffix     *string                   `json:"statement_descriptor_suffix"`
	Status                        string                    `json:"status"`
	TransferData                  *string                   `json:"transfer_data"`
	TransferGroup                 *string                   `json:"transfer_group"`
}

func availabilityJSON(b bool) *statusJSON {
	if b {
		return &statusJSON{"available"}
	}
	return &statusJSON{"unavailable"}
}

// toJSON renders the charge.
func (c *charge) toJSON() *chargeJSON {
	in := c.intent
	j := &chargeJSON{
		ID: c.id, Object: "charge", Amount: c.amount, AmountCaptured: c.amountCaptured,
		AmountRefunded:       c.amountRefunded,
		ApplicationFeeAmount: in.applicationFee, CalculatedStatementDescriptor: "STRIPESIM",
		Captured: c.isCaptured, Created: c.created,
		Currency: in.currency, Customer: stringOrNil(c.customer), Description: stringOrNil(
			c.description), FailureCode: stringOrNil(c.failureCode),
		FailureMessage: stringOrNil(c.failureMessage), Metadata: c.metadata,
		OnBehalfOf: stringOrNil(in.onBehalfOf), Paid: !c.failed,
		PaymentIntent: in.id, PaymentMethod: c.paymentMethod.id, ReceiptEmail: stringOrNil(
			c.receiptEmail), Refunded: c.fullyRefunded,
		StatementDescriptorSuffix: stringOrNil(c.descriptorSuffix),
		StatementDescriptor:       stringOrNil(in.statementDescriptor), Status: "succeeded",
		TransferGroup: stringOrNil(in.transferGroup),
		Outcome: outcomeJSON{NetworkStatus: "approved_by_network", RiskLevel: "normal",
			RiskScore: 20, SellerMessage: "Payment complete.", Type: "authorized"},
	}
	if in.unlisted {
		j.PaymentIntent = nil
	}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	if c.review != nil && c.review.open {
		j.Review = &c.review.id
	}
	if c.failed {
		j.Status, j.Outcome = "failed", declinedOutcomeJSON(c.decline)
	}
	if c.balanceAt != 0 {
		j.BalanceTransaction = c.balanceTransactionID()
	}
	j.PaymentMethodDetails = c.paymentMethodDetailsJSON()
	return j
}

// expand shows the object at path in full.
func (j *chargeJSON) expand(c *charge, path string) {
	switch path {
	case "payment_intent":
		j.PaymentIntent = newIntentJSON(c.intent, nil)
	case "balance_transaction":
		if c.balanceAt != 0 {
			j.BalanceTransaction = c.balanceTransactionJSON()
		}
	case "refunds":
		l := &listJSON{Object: "list", Data: []any{}, URL: "/v1/charges/" + c.id + "/refunds"}
		for _, r := range slices.Backward(c.refunds) {
			l.Data = append(l.Data, r.toJSON())
		}
		j.Refunds = l
	}
}

func declinedOutcomeJSON(d decline) outcomeJSON {
	return outcomeJSON{AdviceCode: d.adviceCode, NetworkAdviceCode: d.networkAdviceCode,
		NetworkDeclineCode: d.networkDeclineCode,
		NetworkStatus:      "declined_by_network", Reason: &d.declineCode,
		RiskLevel: "normal", RiskScore: 20,
		SellerMessage: "The bank returned the decline code `" + d.declineCode + "`.",
		Type:          "issuer_declined"}
}

func (c *charge) paymentMethodDetailsJSON() *paymentMethodDetailsJSON {
	m := c.paymentMethod
	if !m.isCard() {
		j := &paymentMethodDetailsJSON{Type: m.methodType}
		j.set(m.methodType, redirectTypes[m.methodType].details)
		return j
	}
	var authorized, before *int64
	if !c.failed {
		authorized = intOrNil(c.amount)
	}
	if !c.isCaptured && !c.failed {
		before = intOrNil(c.captureBefore)
	}
	if c.channel == ChannelTerminal {
		return &paymentMethodDetailsJSON{Type: "card_present",
			CardPresent: &cardPresentDetailsJSON{
				AmountAuthorized: authorized, Brand: m.brand, CaptureBefore: before, Country: "US",
				ExpMonth: m.expMonth, ExpYear: m.expYear,
				Fingerprint: m.fingerprint, Funding: m.funding,
				IncrementalAuthorizationSupported: c.incremental, Last4: m.last4,
				Network: m.brand, OvercaptureSupported: c.overcapture,
				ReadMethod: "contactless_emv",
			}}
	}
	d := &cardDetailsJSON{
		AmountAuthorized: authorized, Brand: m.brand, CaptureBefore: before,
		Checks: &checksJSON{CVCCheck: "pass"}, Country: "US",
		ExpMonth: m.expMonth, ExpYear: m.expYear, Fingerprint: m.fingerprint, Funding: m.funding,
		Last4: m.last4, Network: m.brand,
		ExtendedAuthorization:    &statusJSON{"disabled"},
		IncrementalAuthorization: availabilityJSON(c.incremental),
		Multicapture:             availabilityJSON(c.multicapture),
		Overcapture: &overcaptureJSON{MaximumAmountCapturable: c.maxCapturable,
			Status: availabilityJSON(c.overcapture).Status},
	}
	if c.extended {
		d.ExtendedAuthorization.Status = "enabled"
	}
	if c.threeDSecure {
		d.ThreeDSecure = &threeDSecureJSON{Result: "authenticated", Version: "2.2.0",
			AuthenticationFlow: stringOrNil("challenge")}
	}
	return &paymentMethodDetailsJSON{Type: "card", Card: d}
}

type reviewJSON struct {
	ID                string  `json:"id"`
	Object            string  `json:"object"`
	BillingZip        *string `json:"billing_zip"`
	Charge            string  `json:"charge"`
	ClosedReason      *string `json:"closed_reason"`
	Created           int64   `json:"created"`
	IPAddress         *string `json:"ip_address"`
	IPAddressLocation *string `json:"ip_address_location"`
	Livemode          bool    `json:"livemode"`
	Open              bool    `json:"open"`
	OpenedReason      string  `json:"opened_reason"`
	PaymentIntent     string  `json:"payment_intent"`
	Reason            string  `json:"reason"`
	Session           *string `json:"session"`
}

func (r *review) toJSON() *reviewJSON {
	return &reviewJSON{ID: r.id, Object: "review", Charge: r.charge,
		ClosedReason: stringOrNil(r.closedReason), Created: r.created, Open: r.open,
		OpenedReason: "rule", PaymentIntent: r.intent, Reason: r.reason}
}
