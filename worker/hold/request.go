package hold

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"
)

// PastTolerance is how far in the past a time may be and still mean now: clocks
// differ, and queues are slow.
const PastTolerance = time.Hour

// MaxAhead is how far ahead a time may be. The longest authorization that
// Stripe offers is 30 days.
const MaxAhead = 90 * 24 * time.Hour

// ScheduleRequest is a request to schedule a hold, from the API, the inbox, an
// intent's metadata or the command line. Times are RFC 3339 with an offset, or
// local ("2026-10-25T02:30") together with TimeZone.
type ScheduleRequest struct {
	PaymentIntent string            `json:"payment_intent" doc:"The PaymentIntent that places the hold" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	Account       string            `json:"account,omitempty" doc:"Connected account; empty for your own"`
	Reference     string            `json:"reference,omitempty" doc:"Your booking; searchable by prefix" example:"BK-2071"`
	Amount        int64             `json:"amount,omitempty" doc:"Authorized amount in minor units. With currency and expires_at it saves a read at Stripe"`
	Currency      string            `json:"currency,omitempty" doc:"ISO 4217, three letters" example:"eur"`
	ExpiresAt     string            `json:"expires_at,omitempty" doc:"capture_before of the charge, if you know it"`
	CaptureAt     string            `json:"capture_at,omitempty" doc:"When to capture. RFC 3339, or a local time with time_zone" example:"2026-12-01T11:00:00+01:00"`
	CancelAt      string            `json:"cancel_at,omitempty" doc:"When to release instead"`
	TimeZone      string            `json:"time_zone,omitempty" doc:"IANA zone of local times" example:"Europe/Paris"`
	CaptureAmount int64             `json:"capture_amount,omitempty" doc:"Capture only this much, in minor units; the rest is released"`
	OnExpiry      string            `json:"on_expiry,omitempty" doc:"What to do with a hold that is still open near its deadline: cancel (default), capture or alert"`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Up to 20 pairs of your own"`
	Confirm       bool              `json:"confirm,omitempty" doc:"Accept the request even if on_expiry then captures or releases the money at once"`
	Renewal       *RenewalRequest   `json:"renewal,omitempty" doc:"Keeps the amount held after the authorization ends, by new authorizations of the saved card"`
	CaptureParams
}

// ValidRequest is a validated request. It is not compared with Stripe yet.
type ValidRequest struct {
	ID                           string
	Account, Reference, Currency string
	Amount, CaptureAmount        int64
	ExpiresAt                    time.Time
	CaptureAt, CancelAt          time.Time
	OnExpiry                     ExpiryPolicy
	Metadata                     map[string]string
	CaptureParams                CaptureParams
	Renewal                      RenewalTerms // zero without any
	// Confirm says that on_expiry may act at once. It is no term, so a repeated
	// request may omit it.
	Confirm bool

	// Of terms found in metadata, see [ScheduleRequest.ValidateRecoveredTerms].
	// No caller waits for a response, so the hold requires attention instead of
	// a refusal.
	FromMetadata     bool
	TooLateToCapture bool // capture_at is too long ago to capture without an operator
	Paused           bool
}

// NeedsStripeRead reports whether the request lacks something that a read at
// Stripe would show.
func (d *ValidRequest) NeedsStripeRead() bool {
	return d.Amount <= 0 || d.Currency == "" || d.ExpiresAt.IsZero() || !d.Renewal.Until.IsZero()
}

var (
	// The length is checked separately: a bounded repetition would make the
	// compiled pattern large.
	accountIDPattern = regexp.MustCompile(`^acct_[A-Za-z0-9]{8,}$`)
	currencyPattern  = regexp.MustCompile(`^[a-z]{3}$`)
	localTimePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?$`)
)

// CheckPaymentIntentID returns a *[Problem] if id is no PaymentIntent id: pi_
// and 8 to 64 letters and digits.
func CheckPaymentIntentID(id string) error {
	rest, ok := strings.CutPrefix(id, "pi_")
	ok = ok && len(rest) >= 8 && len(rest) <= 64
	for i := 0; ok && i < len(rest); i++ {
		// faster than a pattern; every call to Stripe is checked twice
		c := rest[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	if !ok {
		return newProblem(InvalidID, "payment_intent",
			"invalid payment_intent %s: want an id that starts with pi_", quoteUnlessSecret(id))
	}
	return nil
}

// quoteUnlessSecret quotes a value of a request, unless it may be a secret sent
// by mistake.
func quoteUnlessSecret(s string) string {
	if strings.Contains(s, "_secret") || strings.Contains(s, "sk_") || strings.Contains(s, "rk_") ||
		strings.Contains(s, "whsec_") {
		return "(not shown, because it looks like a secret)"
	}
	return fmt.Sprintf("%.80q", s)
}

// CheckAccountID returns a *[Problem] if id is no connected account's id. Empty
// is the platform's own account.
func CheckAccountID(id string) error {
	if id != "" && (len(id) > len("acct_")+64 || !accountIDPattern.MatchString(id)) {
		return newProblem(InvalidID, "account",
			"invalid account %s: want an id that starts with acct_, or none",
			quoteUnlessSecret(id))
	}
	return nil
}

// Validate checks the request as far as possible without Stripe. Errors are
// *[Problem].
func (req *ScheduleRequest) Validate(now time.Time) (*ValidRequest, error) {
	if err := CheckPaymentIntentID(req.PaymentIntent); err != nil {
		return nil, err
	}
	return req.validateTerms(now)
}

// validateTerms checks everything except the intent's id, which an
// authorization does not have yet.
func (req *ScheduleRequest) validateTerms(now time.Time) (*ValidRequest, error) {
	d := &ValidRequest{ID: req.PaymentIntent, Account: req.Account, Reference: req.Reference,
		Amount: req.Amount, CaptureAmount: req.CaptureAmount, Confirm: req.Confirm}
	if err := CheckAccountID(req.Account); err != nil {
		return nil, err
	}
	if err := checkReference(req.Reference); err != nil {
		return nil, err
	}
	d.Currency = strings.ToLower(req.Currency)
	if d.Currency != "" && !currencyPattern.MatchString(d.Currency) {
		return nil, newProblem(InvalidCurrency, "currency",
			"invalid currency %.20q: want three letters of ISO 4217, such as eur", req.Currency)
	}
	if (d.Currency == "") != (req.Amount == 0) {
		return nil, newProblem(InvalidAmount, "amount",
			"send amount and currency together, or neither")
	}
	if err := checkAmount("amount", req.Amount, d.Currency); err != nil {
		return nil, err
	}
	if err := checkCaptureAmount(req.CaptureAmount, req.Amount, d.Currency); err != nil {
		return nil, err
	}
	var err error
	if d.CaptureParams, err = req.validateCaptureParams(); err != nil {
		return nil, err
	}
	if d.Metadata, err = validateMetadata(req.Metadata); err != nil {
		return nil, err
	}
	if d.OnExpiry, err = parseOnExpiry(req.OnExpiry); err != nil {
		return nil, err
	}
	if req.CaptureAt != "" && req.CancelAt != "" {
		return nil, newProblem(ConflictingTimes, "cancel_at",
			"a hold is captured or canceled, not both: send capture_at or cancel_at")
	}
	if d.CaptureAt, err = parseActionTime("capture_at", req.CaptureAt,
		req.TimeZone, now); err != nil {
		return nil, err
	}
	if d.CancelAt, err = parseActionTime("cancel_at", req.CancelAt, req.TimeZone, now); err != nil {
		return nil, err
	}
	if d.ExpiresAt, err = parseExpiresAt(req.ExpiresAt, req.TimeZone, now); err != nil {
		return nil, err
	}
	if req.Renewal != nil {
		d.Renewal, err = req.Renewal.validate(req.TimeZone, req.Amount, now)
	}
	return d, err
}

// validateCaptureParams compares a fee and a transfer with the amount to
// capture, if the request names one.
func (req *ScheduleRequest) validateCaptureParams() (CaptureParams, error) {
	p := req.CaptureParams
	if p.CaptureMetadata = maps.Clone(p.CaptureMetadata); len(p.CaptureMetadata) == 0 {
		p.CaptureMetadata = nil
	}
	if err := checkCaptureParams(&p); err != nil {
		return p, err
	}
	if captured := cmp.Or(req.CaptureAmount, req.Amount); captured > 0 {
		return p, checkFeeAndTransfer(&p, captured)
	}
	return p, nil
}

func parseExpiresAt(s, zone string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := ParseTime("expires_at", s, zone)
	if err != nil {
		return time.Time{}, err
	}
	if !t.After(now) {
		return time.Time{}, newProblem(InThePast, "expires_at",
			"%s is in the past: the authorization has ended", s)
	}
	if t.After(now.Add(MaxAhead)) {
		return time.Time{}, newProblem(InvalidTime, "expires_at",
			"%s is more than %d days ahead: send the charge's capture_before", s,
			int(MaxAhead.Hours()/24))
	}
	return t, nil
}

// RecoveredCaptureGrace is how far in the past the capture time of terms found
// at Stripe may be and still mean now.
const RecoveredCaptureGrace = 24 * time.Hour

// ValidateRecoveredTerms is [ScheduleRequest.Validate] for terms found in an
// intent's metadata. They were accepted long ago, so a time that has passed
// since does not invalidate them. A capture up to [RecoveredCaptureGrace] late
// is made now. A later one requires attention, because the cardholder no longer
// expects it. A release is never too late.
func (req *ScheduleRequest) ValidateRecoveredTerms(
	paused bool, now time.Time,
) (*ValidRequest, error) {
	d, err := req.Validate(now)
	own, field := req.CaptureAt, "capture_at"
	if own == "" {
		own, field = req.CancelAt, "cancel_at"
	}
	var p *Problem
	if errors.As(err, &p) && p.Code == InThePast && p.Field == field {
		at, bad := ParseTime(field, own, req.TimeZone)
		if bad != nil {
			return nil, bad
		}
		if d, err = req.Validate(at); err == nil {
			d.TooLateToCapture = field == "capture_at" && now.Sub(at) > RecoveredCaptureGrace
		}
	}
	if err != nil {
		return nil, err
	}
	d.FromMetadata, d.Paused = true, paused
	return d, nil
}

// Patch is a change of a hold's terms. Omitted fields stay; an empty time
// clears it. Setting one time clears the other.
type Patch struct {
	CaptureAt     *string           `json:"capture_at,omitempty" doc:"New time to capture; an empty string clears it"`
	CancelAt      *string           `json:"cancel_at,omitempty" doc:"New time to release; an empty string clears it"`
	TimeZone      string            `json:"time_zone,omitempty" doc:"IANA zone of local times"`
	CaptureAmount *int64            `json:"capture_amount,omitempty" doc:"Capture only this much; 0 means everything"`
	OnExpiry      *string           `json:"on_expiry,omitempty" doc:"cancel, capture or alert"`
	Renewal       *RenewalRequest   `json:"renewal,omitempty" doc:"Replaces the renewal terms"`
	Reference     *string           `json:"reference,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Pairs to set; an empty value removes a pair"`
	Confirm       bool              `json:"confirm,omitempty" doc:"Accept the request even if on_expiry then captures or releases the money at once"`
	CaptureParamsPatch
}

// applyTo applies the patch to h's terms and validates the result. It does not
// check whether h may change.
func (p *Patch) applyTo(h *Hold, now time.Time) error {
	if p.Renewal != nil {
		if err := p.Renewal.applyTo(h, p.TimeZone, now); err != nil {
			return err
		}
	}
	if err := p.applyActionTimes(h, now); err != nil {
		return err
	}
	if p.CaptureAmount != nil {
		h.CaptureAmount = *p.CaptureAmount
	}
	if err := checkCaptureAmount(h.CaptureAmount, authorizedTotal(h), h.Currency); err != nil {
		return err
	}
	var err error
	if h.CaptureParams, err = p.CaptureParamsPatch.applyTo(h.CaptureParams); err != nil {
		return err
	}
	if err := checkHoldCaptureParams(h); err != nil {
		return err
	}
	if p.OnExpiry != nil {
		policy, err := parseOnExpiry(*p.OnExpiry)
		if err != nil {
			return err
		}
		h.OnExpiry = policy
	}
	if p.Reference != nil {
		if err := checkReference(*p.Reference); err != nil {
			return err
		}
		h.Reference = *p.Reference
	}
	if len(p.Metadata) > 0 {
		checked, err := validateMetadata(mergeMetadataPairs(h.Metadata, p.Metadata))
		if err != nil {
			return err
		}
		h.Metadata = checked
	}
	return nil
}

// applyActionTimes sets the times of the patch. Setting one clears the other.
func (p *Patch) applyActionTimes(h *Hold, now time.Time) (err error) {
	if p.CaptureAt != nil && p.CancelAt != nil && *p.CaptureAt != "" && *p.CancelAt != "" {
		return newProblem(ConflictingTimes, "cancel_at",
			"a hold is captured or canceled, not both: send capture_at or cancel_at")
	}
	set := func(field string, sent *string, own, other *time.Time) {
		if sent == nil || err != nil {
			return
		}
		if *own, err = parseActionTime(field, *sent, p.TimeZone, now); !own.IsZero() {
			*other = time.Time{}
		}
	}
	set("capture_at", p.CaptureAt, &h.CaptureAt, &h.CancelAt)
	set("cancel_at", p.CancelAt, &h.CancelAt, &h.CaptureAt)
	return err
}
