package hold

import (
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// AuthorizeRequest is a request to authorize a card, with the terms of the
// hold.
type AuthorizeRequest struct {
	PaymentMethod         string `json:"payment_method" doc:"The PaymentMethod, from Stripe.js or of a saved customer" example:"pm_1PxYzA2eZvKYlo2C"`
	Amount                int64  `json:"amount" doc:"To authorize, in minor units" example:"12500"`
	Currency              string `json:"currency" doc:"ISO 4217, three letters" example:"eur"`
	Account               string `json:"account,omitempty" doc:"Connected account; empty for your own"`
	Customer              string `json:"customer,omitempty" doc:"Stripe customer; required to save a card or to use a saved one"`
	SetupFutureUsage      string `json:"setup_future_usage,omitempty" doc:"off_session saves the card for charges without the cardholder, on_session for the next visit"`
	OffSession            bool   `json:"off_session,omitempty" doc:"The cardholder is not present: a bank that requires authentication declines with authentication_required"`
	CVCToken              string `json:"cvc_token,omitempty" doc:"A security code that the cardholder entered again, as a token of Stripe.js; used once"`
	ExtendedAuthorization bool   `json:"extended_authorization,omitempty" doc:"Request up to 30 days, if the card and the account allow it"`
	Multicapture          bool   `json:"multicapture,omitempty" doc:"Request that the hold can be captured in parts, if the card and the account allow it"`
	Overcapture           bool   `json:"overcapture,omitempty" doc:"Request that more than the amount can be captured, such as a tip, if the card and the account allow it"`
	Description           string `json:"description,omitempty" doc:"Shown in Stripe's Dashboard"`
	ReceiptEmail          string `json:"receipt_email,omitempty" doc:"Where Stripe sends the receipt"`
	ReturnURL             string `json:"return_url,omitempty" doc:"Where the bank returns the cardholder's browser. Without it, your page shows the authentication with Stripe.js"`

	Reference     string                `json:"reference,omitempty" doc:"Your booking; searchable by prefix" example:"BK-2071"`
	CaptureAt     string                `json:"capture_at,omitempty" doc:"When to capture. RFC 3339, or a local time with time_zone"`
	CancelAt      string                `json:"cancel_at,omitempty" doc:"When to release instead"`
	TimeZone      string                `json:"time_zone,omitempty" doc:"IANA zone of local times"`
	CaptureAmount int64                 `json:"capture_amount,omitempty" doc:"Capture only this much, in minor units; the rest is released"`
	OnExpiry      string                `json:"on_expiry,omitempty" doc:"What to do with a hold that is still open near its deadline: cancel (default), capture or alert"`
	Captures      []CaptureStageRequest `json:"captures,omitempty" maxItems:"50" doc:"Captures in parts. Multicapture is requested for the card. Without it, the hold requires attention" nullable:"false"`
	Renewal       *RenewalRequest       `json:"renewal,omitempty" doc:"Keeps the amount held after the authorization ends. The card is saved for the customer, and an extended authorization is requested"`
	Metadata      map[string]string     `json:"metadata,omitempty" doc:"Up to 20 pairs of your own; the PaymentIntent gets them as well"`
}

// ConfirmRequest is a request to confirm an authorization after the cardholder
// has acted, or with another card.
type ConfirmRequest struct {
	Account       string `json:"account,omitempty" doc:"Connected account; empty for your own"`
	PaymentMethod string `json:"payment_method,omitempty" doc:"Another card, after the first was declined"`
	OffSession    bool   `json:"off_session,omitempty" doc:"The cardholder is no longer present"`
	CVCToken      string `json:"cvc_token,omitempty" doc:"A security code that the cardholder entered again, as a token of Stripe.js; used once"`
	ReturnURL     string `json:"return_url,omitempty" doc:"Where the bank returns the cardholder's browser"`
}

// AuthorizeParams has the parameters of a request that creates and confirms an
// intent, or that confirms PaymentIntent if it is set.
type AuthorizeParams struct {
	PaymentIntent    string
	Account          string
	Amount           int64
	Currency         string
	PaymentMethod    string
	Customer         string
	SetupFutureUsage string
	OffSession       bool
	// ErrorOnRequiresAction makes a confirmation fail if the bank requires the
	// cardholder.
	ErrorOnRequiresAction bool
	Extended              bool
	Multicapture          bool
	Overcapture           bool
	CVCToken              Secret
	Description           string
	ReceiptEmail          string
	ReturnURL             string
	Metadata              map[string]string
	Key                   string // idempotency key
}

// Digest identifies the request without revealing its fields.
func (req *AuthorizeRequest) Digest() string { return requestDigest("authorize", req) }

// Digest identifies the request to confirm an intent without revealing its
// fields.
func (req *ConfirmRequest) Digest(id string) string { return requestDigest("confirm", id, req) }

var (
	paymentMethodPattern = regexp.MustCompile(`^(pm|card|src)_[A-Za-z0-9_]+$`)
	customerPattern      = regexp.MustCompile(`^cus_[A-Za-z0-9]+$`)
	cvcTokenPattern      = regexp.MustCompile(`^cvctok_[A-Za-z0-9_]+$`)
	urlSchemePattern     = regexp.MustCompile(`^[a-z][a-z0-9+.-]{1,40}$`)
)

const (
	// maxIDLength is the most characters of an object's id. Stripe's have some
	// 30 today.
	maxIDLength          = 105
	maxReturnURLLength   = 2048
	maxDescriptionLength = 1000
	maxEmailLength       = 512
)

func checkPaymentMethod(id string) error {
	if len(id) > maxIDLength || !paymentMethodPattern.MatchString(id) {
		return newProblem(InvalidField, "payment_method",
			"invalid payment_method %s: want an id of Stripe.js that starts with pm_",
			quoteUnlessSecret(id))
	}
	return nil
}

// checkCVCToken never quotes the token: it may be the code itself.
func checkCVCToken(token string, offSession bool) error {
	if token == "" {
		return nil
	}
	if len(token) > maxIDLength || !cvcTokenPattern.MatchString(token) {
		return newProblem(InvalidField, "cvc_token",
			"invalid cvc_token: want a token of Stripe.js that starts with cvctok_")
	}
	if offSession {
		return newProblem(
			InvalidField,
			"cvc_token",
			"cvc_token and off_session exclude each other: an absent cardholder enters no security code",
		)
	}
	return nil
}

// checkReturnURL accepts pages and the links by which phones return to an app.
func checkReturnURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > maxReturnURLLength || !urlSchemePattern.MatchString(u.Scheme) ||
		u.Scheme == "javascript" || u.Scheme == "data" || u.Host == "" || u.User != nil {
		return newProblem(InvalidField, "return_url",
			"invalid URL: want at most %d characters, such as https://hotel.example/booked",
			maxReturnURLLength)
	}
	return nil
}

func checkReceiptEmail(s string) error {
	if s == "" {
		return nil
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s || len(s) > maxEmailLength {
		return newProblem(InvalidField, "receipt_email", "invalid e-mail address %.80q", s)
	}
	return nil
}

// ValidateAndBuildParams checks the request as far as possible without Stripe. The call has
// no key yet; its metadata names the attempt beside the terms. Errors are
// *[Problem].
func (req *AuthorizeRequest) ValidateAndBuildParams(
	attempt string, now time.Time,
) (*ValidRequest, AuthorizeParams, error) {
	valid, pairs, err := req.validateAndBuildMetadata(attempt, now)
	if err != nil {
		return nil, AuthorizeParams{}, err
	}
	use := req.SetupFutureUsage
	if req.Renewal != nil {
		use = "off_session" // a renewal authorizes the saved card
	}
	return valid, AuthorizeParams{
		Account: valid.Account, Amount: valid.Amount, Currency: valid.Currency,
		PaymentMethod: req.PaymentMethod,
		Customer:      req.Customer, SetupFutureUsage: use,
		OffSession: req.OffSession,
		Extended:   req.ExtendedAuthorization || req.Renewal != nil, CVCToken: NewSecret(req.CVCToken),
		Multicapture: req.Multicapture || len(req.Captures) > 1, Overcapture: req.Overcapture,
		Description:  req.Description,
		ReceiptEmail: req.ReceiptEmail, ReturnURL: req.ReturnURL, Metadata: pairs,
	}, nil
}

func (req *AuthorizeRequest) validateAndBuildMetadata(
	attempt string, now time.Time,
) (*ValidRequest, map[string]string, error) {
	if err := checkPaymentMethod(req.PaymentMethod); err != nil {
		return nil, nil, err
	}
	if req.Amount <= 0 {
		return nil, nil, newProblem(InvalidAmount, "amount",
			"invalid amount: want minor units above zero, such as 1250 for 12.50")
	}
	terms := ScheduleRequest{Account: req.Account, Reference: req.Reference, Amount: req.Amount,
		Currency: req.Currency, CaptureAt: req.CaptureAt,
		CancelAt: req.CancelAt, TimeZone: req.TimeZone,
		CaptureAmount: req.CaptureAmount, OnExpiry: req.OnExpiry, Metadata: req.Metadata,
		Renewal: req.Renewal, Captures: req.Captures}
	if err := checkNewReference(req.Reference); err != nil {
		return nil, nil, err
	}
	valid, err := terms.validateTerms(now)
	if err != nil {
		return nil, nil, err
	}
	for _, check := range []func() error{
		func() error { return checkCaptureAmount(req.CaptureAmount, valid.Amount, valid.Currency) },
		func() error { return checkMinAmount(valid.Amount, valid.Currency) },
		func() error { return checkReservedMetadataKeys(valid.Metadata) },
		req.checkCustomerAndDescription,
		func() error { return checkCVCToken(req.CVCToken, req.OffSession) },
		func() error { return checkReturnURL(req.ReturnURL) },
		func() error { return checkReceiptEmail(req.ReceiptEmail) },
	} {
		if err := check(); err != nil {
			return nil, nil, err
		}
	}
	pairs, err := attemptIntentMetadata(valid, attempt)
	return valid, pairs, err
}

// checkReservedMetadataKeys keeps the caller's pairs apart from those of holdd.
func checkReservedMetadataKeys(pairs map[string]string) error {
	for k := range pairs {
		if strings.HasPrefix(k, "holdd_") || strings.ContainsAny(k, "[]") {
			return newProblem(
				InvalidMetadata,
				"metadata",
				"invalid key %.60q: keys that begin with holdd_ are reserved, and Stripe accepts no brackets",
				k,
			)
		}
	}
	return nil
}

// checkCustomerAndDescription checks the customer, what depends on one, and the
// description.
func (req *AuthorizeRequest) checkCustomerAndDescription() error {
	switch id, use := req.Customer, req.SetupFutureUsage; {
	case id != "" && (len(id) > maxIDLength || !customerPattern.MatchString(id)):
		return newProblem(InvalidField, "customer",
			"invalid customer %s: want an id that starts with cus_",
			quoteUnlessSecret(id))
	case use != "" && use != "off_session" && use != "on_session":
		return newProblem(InvalidField, "setup_future_usage",
			"invalid setup_future_usage %.40q: want off_session or on_session", use)
	case use == "on_session" && req.Renewal != nil:
		return newProblem(InvalidField, "setup_future_usage",
			"renewal needs setup_future_usage off_session, or none")
	case id == "" && (use != "" || req.OffSession || req.Renewal != nil):
		return newProblem(InvalidField, "customer",
			"a saved card belongs to a customer: send the customer")
	case utf8.RuneCountInString(req.Description) > maxDescriptionLength ||
		!isSingleLine(req.Description):
		return newProblem(InvalidField, "description",
			"invalid description: want at most %d characters on one line",
			maxDescriptionLength)
	}
	return nil
}

// attemptIntentMetadata is the metadata of the intent: the caller's pairs, the
// terms and the attempt.
func attemptIntentMetadata(d *ValidRequest, attempt string) (map[string]string, error) {
	h := Hold{Reference: d.Reference, CaptureAt: d.CaptureAt, CancelAt: d.CancelAt,
		CaptureAmount: d.CaptureAmount, OnExpiry: d.OnExpiry, Metadata: d.Metadata}
	if !d.Renewal.Until.IsZero() {
		h.Renewal = newIdleRenewal(d.Renewal)
	}
	if len(d.Captures) > 0 {
		setCapturePlan(&h, d.Captures, 0)
	}
	pairs, fits := MetadataDiff(&h, d.Metadata)
	maps.Copy(pairs, d.Metadata)
	pairs[MetaAuthorization] = attempt
	if !fits || len(pairs) > stripeMetadataKeys {
		return nil, newProblem(
			InvalidMetadata,
			"metadata",
			"the pairs and the hold's terms exceed the metadata of a PaymentIntent: send fewer or shorter pairs",
		)
	}
	return pairs, nil
}

// ValidateAndBuildParams checks the request to confirm an intent and returns the
// parameters of the call. Errors are *[Problem].
func (req *ConfirmRequest) ValidateAndBuildParams(id string) (AuthorizeParams, error) {
	checks := []error{CheckPaymentIntentID(id), CheckAccountID(req.Account)}
	if req.PaymentMethod != "" {
		checks = append(checks, checkPaymentMethod(req.PaymentMethod))
	}
	checks = append(checks, checkCVCToken(req.CVCToken, req.OffSession), checkReturnURL(req.ReturnURL))
	for _, err := range checks {
		if err != nil {
			return AuthorizeParams{}, err
		}
	}
	return AuthorizeParams{PaymentIntent: id, Account: req.Account,
			PaymentMethod: req.PaymentMethod,
			OffSession:    req.OffSession, CVCToken: NewSecret(req.CVCToken),
			ReturnURL: req.ReturnURL},
		nil
}

func isSingleLine(s string) bool {
	return utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// NewFromAuthorizedIntent makes the hold of an intent that holdd authorized,
// with the terms in its metadata. Terms that cannot act in time lead to
// attention, never to a refusal, because the money is held already.
func NewFromAuthorizedIntent(
	d *ValidRequest, in *PaymentIntent, by string, now time.Time,
) (Decision, error) {
	valid := *d
	valid.ID, valid.Amount, valid.Currency, valid.FromMetadata = in.ID, 0, "", true
	return DecideNewHold(&valid, in, by, now)
}
