package stripesim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// intent is a PaymentIntent. Its maps and slices are replaced and never
// modified, so that a copy is a snapshot.
type intent struct {
	id, secret              string
	account                 *account
	seq                     int  // place in the account's order of creation
	unlisted                bool // made as by the Charges API: see [Hold].ChargesAPI
	created                 int64
	status                  string
	amount                  int64
	currency                string
	captureMethod           string
	captureByType           map[string]string // payment_method_options[x][capture_method]
	confirmMethod           string
	allowedMethodTypes      []string
	paymentMethodTypes      []string
	automaticPaymentMethods *automaticPaymentMethodsJSON
	customer                string
	description             string
	receiptEmail            string
	statementDescriptor     string
	descriptorSuffix        string
	transferGroup           string
	onBehalfOf              string
	applicationFee          *int64
	futureUsage             string
	returnURL               string
	metadata                map[string]string
	options                 cardOptions
	paymentMethod           *paymentMethod
	confirmationToken       *confirmationToken // of the confirmation that begins

	capturable, received, released int64
	captures, increments           int
	canceledAt                     int64
	cancelReason                   string
	expired                        bool
	charge                         *charge
	lastError                      *errorJSON
	nextAction                     *nextActionJSON
	offSession                     bool
	actionCompleted                bool // the cardholder's; for the next confirmation
	confirmDeadline                time.Time
	captureBefore                  time.Time
	review                         *review

	lockedUntil time.Time // by the machine's clock
	updates     updateLimiter
	history     searchHistory
}

type cardOptions struct {
	multicapture, incremental, overcapture, extended, threeDSecure, futureUsage string
}

type automaticPaymentMethodsJSON struct {
	AllowRedirects string `json:"allow_redirects"`
	Enabled        bool   `json:"enabled"`
}

type nextActionJSON struct {
	CashApp       *cashAppActionJSON `json:"cashapp_handle_redirect_or_display_qr_code,omitempty"`
	RedirectToURL *redirectJSON      `json:"redirect_to_url,omitempty"`
	Type          string             `json:"type"`
	UseStripeSDK  map[string]any     `json:"use_stripe_sdk,omitempty"`
}

type cashAppActionJSON struct {
	HostedInstructionsURL string        `json:"hosted_instructions_url"`
	MobileAuthURL         string        `json:"mobile_auth_url"`
	QRCode                cashAppQRJSON `json:"qr_code"`
}

type cashAppQRJSON struct {
	ExpiresAt   int64  `json:"expires_at"`
	ImageURLPNG string `json:"image_url_png"`
	ImageURLSVG string `json:"image_url_svg"`
}

type redirectJSON struct {
	ReturnURL string `json:"return_url"`
	URL       string `json:"url"`
}

// intentJSON is payment_intent as version 2023-10-16 shows it;
// renderInVersion changes it for later versions.
type intentJSON struct {
	ID                        string                       `json:"id"`
	Object                    string                       `json:"object"`
	AllowedPaymentMethodTypes []string                     `json:"allowed_payment_method_types,omitempty"`
	Amount                    int64                        `json:"amount"`
	AmountCapturable          int64                        `json:"amount_capturable"`
	AmountDetails             amountDetailsJSON            `json:"amount_details"`
	AmountReceived            int64                        `json:"amount_received"`
	Application               *string                      `json:"application"`
	ApplicationFeeAmount      *int64                       `json:"application_fee_amount"`
	AutomaticPaymentMethods   *automaticPaymentMethodsJSON `json:"automatic_payment_methods"`
	CanceledAt                *int64                       `json:"canceled_at"`
	CancellationReason        *string                      `json:"cancellation_reason"`
	CaptureMethod             string                       `json:"capture_method"`
	ClientSecret              string                       `json:"client_secret"`
	ConfirmationMethod        string                       `json:"confirmation_method"`
	Created                   int64                        `json:"created"`
	Currency                  string                       `json:"currency"`
	Customer                  any                          `json:"customer"`
	Description               *string                      `json:"description"`
	Invoice                   *string                      `json:"invoice"`
	LastPaymentError          *errorJSON                   `json:"last_payment_error"`
	LatestCharge              any                          `json:"latest_charge"`
	Livemode                  bool                         `json:"livemode"`
	Metadata                  map[string]string            `json:"metadata"`
	NextAction                *nextActionJSON              `json:"next_action"`
	OnBehalfOf                *string                      `json:"on_behalf_of"`
	PaymentMethod             any                          `json:"payment_method"`
	PaymentMethodOptions      paymentMethodOptionsJSON     `json:"payment_method_options"`
	PaymentMethodTypes        []string                     `json:"payment_method_types"`
	Processing                *string                      `json:"processing"`
	ReceiptEmail              *string                      `json:"receipt_email"`
	Review                    any                          `json:"review"`
	SetupFutureUsage          *string                      `json:"setup_future_usage"`
	Shipping                  *string                      `json:"shipping"`
	Source                    *string                      `json:"source"`
	StatementDescriptor       *string                      `json:"statement_descriptor"`
	StatementDescriptorSuffix *string                      `json:"statement_descriptor_suffix"`
	Status                    string                       `json:"status"`
	TransferData              *string                      `json:"transfer_data"`
	TransferGroup             *string                      `json:"transfer_group"`
}

type amountDetailsJSON struct {
	Tip struct{} `json:"tip"`
}

type paymentMethodOptionsJSON struct {
	Card        *cardOptionsJSON        `json:"card,omitempty"`
	CardPresent *cardPresentOptionsJSON `json:"card_present,omitempty"`
	methodDataJSON
}

type cardOptionsJSON struct {
	CaptureMethod                   string  `json:"capture_method,omitempty"`
	Installments                    *string `json:"installments"`
	MandateOptions                  *string `json:"mandate_options"`
	Network                         *string `json:"network"`
	RequestExtendedAuthorization    string  `json:"request_extended_authorization,omitempty"`
	RequestIncrementalAuthorization string  `json:"request_incremental_authorization,omitempty"`
	RequestMulticapture             string  `json:"request_multicapture,omitempty"`
	RequestOvercapture              string  `json:"request_overcapture,omitempty"`
	RequestThreeDSecure             string  `json:"request_three_d_secure"`
	SetupFutureUsage                string  `json:"setup_future_usage,omitempty"`
}

type cardPresentOptionsJSON struct {
	CaptureMethod                            string `json:"capture_method,omitempty"`
	RequestExtendedAuthorization             bool   `json:"request_extended_authorization"`
	RequestIncrementalAuthorizationSupported bool   `json:"request_incremental_authorization_support"`
}

func stringOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func intOrNil(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func idOrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// newIntentJSON renders the intent. expand names the objects to show in full instead
// of by id.
func newIntentJSON(in *intent, expand []string) *intentJSON {
	j := &intentJSON{
		ID: in.id, Object: "payment_intent", Amount: in.amount, AmountCapturable: in.capturable,
		AmountReceived: in.received, ApplicationFeeAmount: in.applicationFee,
		AllowedPaymentMethodTypes: in.allowedMethodTypes,
		AutomaticPaymentMethods:   in.automaticPaymentMethods, CanceledAt: intOrNil(in.canceledAt),
		CancellationReason: stringOrNil(in.cancelReason), CaptureMethod: in.captureMethod,
		ClientSecret: in.secret, ConfirmationMethod: in.confirmMethod, Created: in.created,
		Currency: in.currency, Customer: idOrNil(in.customer),
		Description: stringOrNil(in.description), LastPaymentError: in.lastError,
		Metadata: in.metadata, NextAction: in.nextAction, OnBehalfOf: stringOrNil(in.onBehalfOf),
		PaymentMethodOptions:      methodOptionsJSON(in),
		PaymentMethodTypes:        in.paymentMethodTypes,
		ReceiptEmail:              stringOrNil(in.receiptEmail),
		SetupFutureUsage:          stringOrNil(in.futureUsage),
		StatementDescriptor:       stringOrNil(in.statementDescriptor),
		StatementDescriptorSuffix: stringOrNil(in.descriptorSuffix),
		Status:                    in.status, TransferGroup: stringOrNil(in.transferGroup),
	}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	if in.charge != nil {
		j.LatestCharge = in.charge.id
	}
	if in.paymentMethod != nil {
		j.PaymentMethod = in.paymentMethod.id
	}
	if in.review != nil && in.review.open {
		j.Review = in.review.id
	}
	for _, e := range expand {
		j.expand(in, e)
	}
	return j
}

// redirectOptionsJSON are the options of a type with a redirect.
type redirectOptionsJSON struct {
	CaptureMethod string `json:"capture_method,omitempty"`
}

// methodOptionsJSON renders the options of the types that the intent allows.
func methodOptionsJSON(in *intent) (j paymentMethodOptionsJSON) {
	o, types := in.options, in.paymentMethodTypes
	for _, t := range types {
		j.set(t, redirectOptionsJSON{in.captureByType[t]})
	}
	if slices.Contains(types, typeOfCard) {
		j.Card = &cardOptionsJSON{
			CaptureMethod:                   in.captureByType[typeOfCard],
			RequestExtendedAuthorization:    o.extended,
			RequestIncrementalAuthorization: o.incremental,
			RequestMulticapture:             o.multicapture, RequestOvercapture: o.overcapture,
			RequestThreeDSecure: cmp.Or(o.threeDSecure, "automatic"),
			SetupFutureUsage:    o.futureUsage,
		}
	}
	if slices.Contains(types, typeOfCardPresent) {
		j.CardPresent = &cardPresentOptionsJSON{
			CaptureMethod:                            in.captureByType[typeOfCardPresent],
			RequestExtendedAuthorization:             o.extended != "",
			RequestIncrementalAuthorizationSupported: o.incremental != "",
		}
	}
	return j
}

// expand shows the object at path in full.
func (j *intentJSON) expand(in *intent, path string) {
	head, rest, _ := strings.Cut(path, ".")
	switch head {
	case "latest_charge":
		if in.charge == nil {
			return
		}
		c, ok := j.LatestCharge.(*chargeJSON)
		if !ok {
			c = in.charge.toJSON()
		}
		c.expand(in.charge, rest)
		j.LatestCharge = c
	case "payment_method":
		if in.paymentMethod != nil {
			j.PaymentMethod = in.paymentMethod.toJSON()
		}
	case "customer":
		if c := in.account.customers[in.customer]; c != nil {
			j.Customer = c.toJSON()
		}
	case "review":
		if in.review != nil && in.review.open {
			j.Review = in.review.toJSON()
		}
	}
}
