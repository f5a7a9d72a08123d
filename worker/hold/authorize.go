package hold

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// AuthorizeRequest is what a caller asks for when a card is to be authorized here: how to pay, and the terms of the hold that follows.
type AuthorizeRequest struct {
	PaymentMethod         string `json:"payment_method" doc:"The guest's card, as Stripe.js or a saved customer gives it" example:"pm_1PxYzA2eZvKYlo2C"`
	Amount                int64  `json:"amount" doc:"To authorize, in minor units" example:"12500"`
	Currency              string `json:"currency" doc:"ISO 4217, three letters" example:"eur"`
	Account               string `json:"account,omitempty" doc:"Connected account; empty for one's own"`
	Customer              string `json:"customer,omitempty" doc:"Stripe's customer, needed to keep a card or to use a kept one"`
	SetupFutureUsage      string `json:"setup_future_usage,omitempty" doc:"off_session keeps the card for charges without the guest, on_session for the guest's next visit"`
	OffSession            bool   `json:"off_session,omitempty" doc:"The guest is not there: a bank that wants the guest refuses with authentication_required"`
	CVCToken              string `json:"cvc_token,omitempty" doc:"Security code asked for anew, as a token of Stripe.js; used once"`
	ExtendedAuthorization bool   `json:"extended_authorization,omitempty" doc:"Ask for up to 30 days, where the card and the account have it"`
	Description           string `json:"description,omitempty" doc:"Shown in Stripe's Dashboard"`
	ReceiptEmail          string `json:"receipt_email,omitempty" doc:"Where Stripe sends the receipt"`
	ReturnURL             string `json:"return_url,omitempty" doc:"Where the guest's bank sends the browser back to. Left out: the page shows the bank's step itself, with Stripe.js"`

	Reference     string            `json:"reference,omitempty" doc:"Your booking; searchable by prefix" example:"BK-2071"`
	CaptureAt     string            `json:"capture_at,omitempty" doc:"When to capture. RFC 3339, or a local time with time_zone"`
	CancelAt      string            `json:"cancel_at,omitempty" doc:"When to release instead"`
	TimeZone      string            `json:"time_zone,omitempty" doc:"IANA zone of local times"`
	CaptureAmount int64             `json:"capture_amount,omitempty" doc:"Take only this much, in minor units; the rest is released"`
	OnExpiry      string            `json:"on_expiry,omitempty" doc:"What to do with a hold that is still open near its deadline: cancel (default), capture or alert"`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Up to 20 pairs of your own; they stand on the PaymentIntent as well"`
}

// ConfirmRequest is what a caller asks for once the guest has acted, or with another card.
type ConfirmRequest struct {
	Account       string `json:"account,omitempty" doc:"Connected account; empty for one's own"`
	PaymentMethod string `json:"payment_method,omitempty" doc:"Another card, after the first was refused"`
	OffSession    bool   `json:"off_session,omitempty" doc:"The guest is not there any more"`
	CVCToken      string `json:"cvc_token,omitempty" doc:"Security code asked for anew, as a token of Stripe.js; used once"`
	ReturnURL     string `json:"return_url,omitempty" doc:"Where the guest's bank sends the browser back to"`
}

// AuthorizeCall is one request that creates and confirms an intent, or with PaymentIntent set confirms it once more.
type AuthorizeCall struct {
	PaymentIntent    string
	Account          string
	Amount           int64
	Currency         string
	PaymentMethod    string
	Customer         string
	SetupFutureUsage string
	OffSession       bool
	Extended         bool
	CVCToken         Secret
	Description      string
	ReceiptEmail     string
	ReturnURL        string
	Metadata         map[string]string
	Key              string // idempotency key
}

// AuthorizeAnswer is what became of a request about an authorization. Beside the answer it has what only the guest's browser may see.
type AuthorizeAnswer struct {
	Answer
	ClientSecret Secret
	NextAction   string // type of what the guest is asked for, such as redirect_to_url
	RedirectURL  Secret // where it happens, if it is a page
	// Why the last try to pay with the intent failed, where the intent tells.
	FailureCode, FailureMessage string
}

// AttemptState is how far an attempt to authorize has come.
type AttemptState uint8

const (
	AttemptBegun            AttemptState = iota + 1 // written down; whether Stripe did it isn't known
	AttemptAwaitsCardholder                         // waits for the guest
	AttemptAuthorized                               // authorized, and the hold is in the store
	AttemptDeclined                                 // the bank said no
	AttemptInvalid                                  // Stripe refused the request: nothing happened
	AttemptAbandoned                                // canceled
)

// Finished reports whether the attempt's own answer is known for good.
func (s AttemptState) Finished() bool { return s >= AttemptAuthorized }

// AuthorizationAttempt is an attempt to authorize as it is written down before the request leaves. It holds no secret and nothing of the card.
type AuthorizationAttempt struct {
	ID              string       `json:"-"` // from the caller's idempotency key
	Digest          string       `json:"-"` // of what was asked for
	State           AttemptState `json:"s"`
	Confirm         bool         `json:"c,omitempty"` // of an intent that was there before
	Account         string       `json:"a,omitempty"`
	PaymentIntent   string       `json:"p,omitempty"` // empty until Stripe has told
	Generation      uint32       `json:"g"`           // of the key sent to Stripe
	KeyUsedSince    time.Time    `json:"k"`           // since when that key is in use
	BegunAt         time.Time    `json:"-"`           // first asked for, as far as Redis knows
	IntentNotBefore time.Time    `json:"n,omitzero"`  // asked for no earlier than this, where Redis had forgotten it
	ConfirmSent     bool         `json:"t,omitempty"` // of a confirmation: a request may have left
	FailureCode     string       `json:"e,omitempty"` // of a refusal
	FailureMessage  string       `json:"m,omitempty"`
	By              string       `json:"w,omitempty"`
}

// AttemptLookup is what came of writing an attempt down.
type AttemptLookup uint8

const (
	LookupCreated   AttemptLookup = iota + 1 // nobody asked before
	LookupResumed                            // asked before and not finished: go on with it
	LookupFinished                           // asked before: its outcome is known
	LookupBusy                               // somebody else is at it
	LookupKeyReused                          // the same key came with another request
	LookupNotFound                           // there is none, and none was to be made
)

// ConfirmWindow is how long a guest may take. After it Stripe forgets the confirmation, and holdd confirms nothing more.
const ConfirmWindow = time.Hour

// AbandonIntentAfter is when an intent that nobody finished is canceled, reckoned from its creation. Between GuestTime and this no request of holdd's
// that could authorize is under way any more, so the cancel can't meet an authorization: Stripe would cancel that as well.
const AbandonIntentAfter = ConfirmWindow + 2*time.Minute

// ConfirmWindowOver reports whether it is too late to confirm an intent.
func (in *Intent) ConfirmWindowOver(now time.Time) bool {
	return !now.Before(in.Created.Add(ConfirmWindow))
}

// IdempotencyKeyFresh reports whether Stripe surely still remembers the attempt's key.
func (a *AuthorizationAttempt) IdempotencyKeyFresh(now time.Time) bool {
	return now.Before(a.KeyUsedSince.Add(keyLifetime))
}

// IdempotencyKey is the idempotency key for Stripe. It is a function of the caller's, so that an attempt which Redis has forgotten meets its own answer.
func (a *AuthorizationAttempt) IdempotencyKey() string {
	verb := "authorize"
	if a.Confirm {
		verb = "confirm"
	}
	return "holdd-" + verb + "-" + a.ID + "-" + strconv.FormatUint(uint64(a.Generation), 10)
}

var callerKeyPattern = regexp.MustCompile(`^[!-~]{8,}$`)

// AttemptID names the attempt that belongs to a caller's idempotency key.
func AttemptID(key string) (string, error) {
	if len(key) > 128 || !callerKeyPattern.MatchString(key) {
		return "", problem(InvalidIdempotencyKey, "Idempotency-Key", "send 8 to 128 visible ASCII characters that are new for each authorization, such as a UUID, and the same again when you repeat it")
	}
	sum := sha256.Sum256([]byte("holdd authorization\x00" + key))
	return hex.EncodeToString(sum[:16]), nil
}

func requestDigest(parts ...any) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings, numbers and maps of strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Digest tells one request from another without holding what it says.
func (w *AuthorizeRequest) Digest() string { return requestDigest("authorize", w) }

// Digest tells one request from another without holding what it says.
func (w *ConfirmRequest) Digest(id string) string { return requestDigest("confirm", id, w) }

var (
	paymentMethodPattern = regexp.MustCompile(`^(pm|card|src)_[A-Za-z0-9_]+$`)
	customerPattern      = regexp.MustCompile(`^cus_[A-Za-z0-9]+$`)
	cvcTokenPattern      = regexp.MustCompile(`^cvctok_[A-Za-z0-9_]+$`)
	urlSchemePattern     = regexp.MustCompile(`^[a-z][a-z0-9+.-]{1,40}$`)
)

// maxIDLength is the most characters that an object's id may have. Stripe's have some 30 today.
const maxIDLength = 105

func checkPaymentMethod(id string) error {
	if len(id) > maxIDLength || !paymentMethodPattern.MatchString(id) {
		return problem(InvalidField, "payment_method", "%s is no PaymentMethod: send the id that Stripe.js gave, it starts with pm_", quoteUnlessSecret(id))
	}
	return nil
}

func checkCVC(token string) error {
	if token != "" && (len(token) > maxIDLength || !cvcTokenPattern.MatchString(token)) { // never shown: it may be the code itself
		return problem(InvalidField, "cvc_token", "this is no token of a security code: send what Stripe.js made of it, it starts with cvctok_")
	}
	return nil
}

// checkReturnURL takes pages and the links by which phones return to an app.
func checkReturnURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > 2048 || !urlSchemePattern.MatchString(u.Scheme) || u.Scheme == "javascript" || u.Scheme == "data" || u.Host == "" || u.User != nil {
		return problem(InvalidField, "return_url", "send a whole address of at most 2048 characters, such as https://hotel.example/booked")
	}
	return nil
}

// Validate checks the wish against everything that can be known without Stripe. The call lacks its key, and names the attempt in the intent's metadata
// beside the terms. Errors are *[Problem].
func (w *AuthorizeRequest) Validate(attempt string, now time.Time) (*Draft, AuthorizeCall, error) {
	none := func(err error) (*Draft, AuthorizeCall, error) { return nil, AuthorizeCall{}, err }
	if err := checkPaymentMethod(w.PaymentMethod); err != nil {
		return none(err)
	}
	if w.Amount <= 0 {
		return none(problem(InvalidAmount, "amount", "send the amount to authorize in minor units, such as 1250 for 12.50"))
	}
	terms := ScheduleRequest{Account: w.Account, Reference: w.Reference, Amount: w.Amount, Currency: w.Currency, CaptureAt: w.CaptureAt, CancelAt: w.CancelAt,
		TimeZone: w.TimeZone, CaptureAmount: w.CaptureAmount, OnExpiry: w.OnExpiry, Metadata: w.Metadata}
	d, err := terms.validateTerms(now)
	if err != nil {
		return none(err)
	}
	for k := range d.Metadata {
		if strings.HasPrefix(k, "holdd_") || strings.ContainsAny(k, "[]") {
			return none(problem(InvalidMetadata, "metadata", "key %.60q: names that begin with holdd_ are holdd's own, and Stripe takes no brackets", k))
		}
	}
	switch {
	case w.Customer != "" && (len(w.Customer) > maxIDLength || !customerPattern.MatchString(w.Customer)):
		return none(problem(InvalidField, "customer", "%s is no customer: send an id that starts with cus_", quoteUnlessSecret(w.Customer)))
	case w.SetupFutureUsage != "" && w.SetupFutureUsage != "off_session" && w.SetupFutureUsage != "on_session":
		return none(problem(InvalidField, "setup_future_usage", "%.40q is unknown: send off_session or on_session", w.SetupFutureUsage))
	case w.Customer == "" && (w.SetupFutureUsage != "" || w.OffSession):
		return none(problem(InvalidField, "customer", "a card is kept for a customer, and used without the guest from there: send the customer"))
	case w.OffSession && w.CVCToken != "":
		return none(problem(InvalidField, "cvc_token", "a guest who isn't there gives no security code: leave it or off_session out"))
	case utf8.RuneCountInString(w.Description) > 1000 || !isSingleLine(w.Description):
		return none(problem(InvalidField, "description", "send at most 1000 characters of one line"))
	}
	if err := checkCVC(w.CVCToken); err != nil {
		return none(err)
	}
	if err := checkReturnURL(w.ReturnURL); err != nil {
		return none(err)
	}
	if a, err := mail.ParseAddress(w.ReceiptEmail); w.ReceiptEmail != "" && (err != nil || a.Address != w.ReceiptEmail || len(w.ReceiptEmail) > 512) {
		return none(problem(InvalidField, "receipt_email", "%.80q is no e-mail address", w.ReceiptEmail))
	}
	h := Hold{Reference: d.Reference, CaptureAt: d.CaptureAt, CancelAt: d.CancelAt, CaptureAmount: d.CaptureAmount, OnExpiry: d.OnExpiry, Metadata: d.Metadata}
	pairs, fits := h.MetadataDiff(d.Metadata)
	maps.Copy(pairs, d.Metadata)
	pairs[MetaAuthorization] = attempt
	if !fits || len(pairs) > stripeMetadataKeys {
		return none(problem(InvalidMetadata, "metadata", "together with the hold's terms this is more than a PaymentIntent takes: send fewer or shorter pairs"))
	}
	return d, AuthorizeCall{
		Account: d.Account, Amount: d.Amount, Currency: d.Currency, PaymentMethod: w.PaymentMethod, Customer: w.Customer, SetupFutureUsage: w.SetupFutureUsage,
		OffSession: w.OffSession, Extended: w.ExtendedAuthorization, CVCToken: NewSecret(w.CVCToken), Description: w.Description,
		ReceiptEmail: w.ReceiptEmail, ReturnURL: w.ReturnURL, Metadata: pairs,
	}, nil
}

// Validate checks the wish. Errors are *[Problem].
func (w *ConfirmRequest) Validate(id string) (AuthorizeCall, error) {
	if err := CheckPaymentIntentID(id); err != nil {
		return AuthorizeCall{}, err
	}
	if err := CheckAccountID(w.Account); err != nil {
		return AuthorizeCall{}, err
	}
	if w.PaymentMethod != "" {
		if err := checkPaymentMethod(w.PaymentMethod); err != nil {
			return AuthorizeCall{}, err
		}
	}
	if err := checkCVC(w.CVCToken); err != nil {
		return AuthorizeCall{}, err
	}
	if err := checkReturnURL(w.ReturnURL); err != nil {
		return AuthorizeCall{}, err
	}
	if w.OffSession && w.CVCToken != "" {
		return AuthorizeCall{}, problem(InvalidField, "cvc_token", "a guest who isn't there gives no security code: leave it or off_session out")
	}
	return AuthorizeCall{PaymentIntent: id, Account: w.Account, PaymentMethod: w.PaymentMethod, OffSession: w.OffSession, CVCToken: NewSecret(w.CVCToken), ReturnURL: w.ReturnURL}, nil
}

func isSingleLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// NewAuthorized makes the hold of an intent that was authorized here, whose terms stand in its metadata. Money that is held has a hold, whatever its terms:
// what its time can't reach goes to a person, and not back to the caller.
func NewAuthorized(d *Draft, in *Intent, by string, now time.Time) (Decision, error) {
	draft := *d
	draft.ID, draft.Amount, draft.Currency, draft.FromMetadata = in.ID, 0, "", true
	return New(&draft, in, by, now)
}
