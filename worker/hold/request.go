package hold

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// PastTolerance is how far back a wished time may lie and still mean "now":
// clocks differ, and queues are slow.
const PastTolerance = time.Hour

// MaxAhead is how far ahead a time may lie. The longest authorization that
// Stripe offers is 30 days.
const MaxAhead = 90 * 24 * time.Hour

// ScheduleRequest is what a caller asks for when scheduling a hold, as it comes
// from the API, the inbox, an intent's metadata or the command line. Times are
// RFC 3339 with an offset, or local ("2026-10-25T02:30") together with
// TimeZone.
type ScheduleRequest struct {
	PaymentIntent string            `json:"payment_intent" doc:"The PaymentIntent that places the hold" example:"pi_3PxYzA2eZvKYlo2C1gQmT0aB"`
	Account       string            `json:"account,omitempty" doc:"Connected account; empty for one's own"`
	Reference     string            `json:"reference,omitempty" doc:"Your booking; searchable by prefix" example:"BK-2071"`
	Amount        int64             `json:"amount,omitempty" doc:"Authorized amount in minor units. Sent together with currency and expires_at it saves a read at Stripe"`
	Currency      string            `json:"currency,omitempty" doc:"ISO 4217, three letters" example:"eur"`
	ExpiresAt     string            `json:"expires_at,omitempty" doc:"capture_before of the charge, where you know it"`
	CaptureAt     string            `json:"capture_at,omitempty" doc:"When to capture. RFC 3339, or a local time with time_zone" example:"2026-12-01T11:00:00+01:00"`
	CancelAt      string            `json:"cancel_at,omitempty" doc:"When to release instead"`
	TimeZone      string            `json:"time_zone,omitempty" doc:"IANA zone of local times" example:"Europe/Paris"`
	CaptureAmount int64             `json:"capture_amount,omitempty" doc:"Take only this much, in minor units; the rest is released"`
	OnExpiry      string            `json:"on_expiry,omitempty" doc:"What to do with a hold that is still open near its deadline: cancel (default), capture or alert"`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Up to 20 pairs of your own"`
	Confirm       bool              `json:"confirm,omitempty" doc:"Do it although the deadline's policy then captures or releases the money at once"`
}

// Draft is a wish found to be well formed, with its times as instants. It has
// not met Stripe's truth yet.
type Draft struct {
	ID                           string
	Account, Reference, Currency string
	Amount, CaptureAmount        int64
	ExpiresAt                    time.Time
	CaptureAt, CancelAt          time.Time
	OnExpiry                     Policy
	Metadata                     map[string]string
	// the policy may act at once; no term, so a repetition may leave it out
	Confirm bool

	// Of terms that were found, see [ScheduleRequest.ValidateRecovered].
	// nobody waits for the answer: what a caller would be told, a person is
	// told
	FromMetadata     bool
	TooLateToCapture bool // too long ago to be acted on without a person
	Paused           bool
}

// NeedsNoRead reports whether the caller told everything that a read at Stripe
// would.
func (d *Draft) NeedsNoRead() bool {
	return d.Amount > 0 && d.Currency != "" && !d.ExpiresAt.IsZero()
}

var (
	// and at most 64: a bound that is written out takes a step for each
	// repetition, and keeps that for good
	accountIDPattern = regexp.MustCompile(`^acct_[A-Za-z0-9]{8,}$`)
	currencyPattern  = regexp.MustCompile(`^[a-z]{3}$`)
	localTimePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?$`)
)

// CheckPaymentIntentID says whether id can be a PaymentIntent's: pi_ and 8 to
// 64 letters and digits.
func CheckPaymentIntentID(id string) error {
	rest, ok := strings.CutPrefix(id, "pi_")
	ok = ok && len(rest) >= 8 && len(rest) <= 64
	for i := 0; ok && i < len(rest); i++ { // by hand: each call to Stripe is checked so, twice
		c := rest[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	if !ok {
		return problem(InvalidID, "payment_intent",
			"%s is no PaymentIntent id: send one that starts with pi_", quoteUnlessSecret(id))
	}
	return nil
}

// quoteUnlessSecret shows a caller what was sent, unless that may be a secret
// sent by mistake.
func quoteUnlessSecret(s string) string {
	if strings.Contains(s, "_secret") || strings.Contains(s, "sk_") || strings.Contains(s, "rk_") ||
		strings.Contains(s, "whsec_") {
		return "this (not repeated here, because it looks like a secret)"
	}
	return fmt.Sprintf("%.80q", s)
}

// CheckAccountID says whether id can be a connected account's; empty is one's
// own.
func CheckAccountID(id string) error {
	if id != "" && (len(id) > len("acct_")+64 || !accountIDPattern.MatchString(id)) {
		return problem(InvalidID, "account",
			"%s is no account id: send one that starts with acct_, or leave it out",
			quoteUnlessSecret(id))
	}
	return nil
}

// Validate checks the wish against everything that can be known without Stripe.
// Errors are *[Problem].
func (w *ScheduleRequest) Validate(now time.Time) (*Draft, error) {
	if err := CheckPaymentIntentID(w.PaymentIntent); err != nil {
		return nil, err
	}
	return w.validateTerms(now)
}

// validateTerms checks all but the intent's id, which an authorization doesn't
// have yet.
func (w *ScheduleRequest) validateTerms(now time.Time) (*Draft, error) {
	d := &Draft{ID: w.PaymentIntent, Account: w.Account, Reference: w.Reference, Amount: w.Amount,
		CaptureAmount: w.CaptureAmount, Confirm: w.Confirm}
	if err := CheckAccountID(w.Account); err != nil {
		return nil, err
	}
	if err := checkReference(w.Reference); err != nil {
		return nil, err
	}
	d.Currency = strings.ToLower(w.Currency)
	if d.Currency != "" && !currencyPattern.MatchString(d.Currency) {
		return nil, problem(InvalidCurrency, "currency",
			"%.20q is no currency: send three letters of ISO 4217, such as eur", w.Currency)
	}
	if (d.Currency == "") != (w.Amount == 0) {
		return nil, problem(InvalidAmount, "amount",
			"send amount and currency together, or neither")
	}
	if err := checkAmount("amount", w.Amount, d.Currency); err != nil {
		return nil, err
	}
	if err := checkCaptureAmount(w.CaptureAmount, w.Amount, d.Currency); err != nil {
		return nil, err
	}
	var err error
	if d.Metadata, err = checkMetadata(w.Metadata); err != nil {
		return nil, err
	}
	if d.OnExpiry, err = checkPolicy(w.OnExpiry); err != nil {
		return nil, err
	}
	if w.CaptureAt != "" && w.CancelAt != "" {
		return nil, problem(ConflictingTimes, "cancel_at",
			"a hold is captured or canceled, not both: send capture_at or cancel_at")
	}
	if d.CaptureAt, err = parseActionTime("capture_at", w.CaptureAt, w.TimeZone, now); err != nil {
		return nil, err
	}
	if d.CancelAt, err = parseActionTime("cancel_at", w.CancelAt, w.TimeZone, now); err != nil {
		return nil, err
	}
	if w.ExpiresAt != "" {
		if d.ExpiresAt, err = ParseTime("expires_at", w.ExpiresAt, w.TimeZone); err != nil {
			return nil, err
		}
		if !d.ExpiresAt.After(now) {
			return nil, problem(InThePast, "expires_at", "%s is over: the authorization has ended",
				w.ExpiresAt)
		}
		if d.ExpiresAt.After(now.Add(MaxAhead)) {
			return nil, problem(InvalidTime, "expires_at",
				"%s is more than %d days ahead: send the charge's capture_before", w.ExpiresAt,
				int(MaxAhead.Hours()/24))
		}
	}
	return d, nil
}

// RecoveredCaptureGrace is how far back the capture time of terms that were
// found at Stripe may lie and still mean "now".
const RecoveredCaptureGrace = 24 * time.Hour

// ValidateRecovered is [ScheduleRequest.Validate] for terms that were found in
// an intent's metadata. Somebody was told long ago that they are good: a time
// that passed while nobody knew of them is no reason to drop them. A capture up
// to [RecoveredCaptureGrace] late is made now. A later one is left to a person,
// since a guest no longer expects it. A release is never too late: it is what
// the guest is owed.
func (w *ScheduleRequest) ValidateRecovered(paused bool, now time.Time) (*Draft, error) {
	d, err := w.Validate(now)
	own, field := w.CaptureAt, "capture_at"
	if own == "" {
		own, field = w.CancelAt, "cancel_at"
	}
	var p *Problem
	if errors.As(err, &p) && p.Code == InThePast && p.Field == field {
		at, bad := ParseTime(field, own, w.TimeZone)
		if bad != nil {
			return nil, bad
		}
		if d, err = w.Validate(at); err == nil {
			d.TooLateToCapture = field == "capture_at" && now.Sub(at) > RecoveredCaptureGrace
		}
	}
	if err != nil {
		return nil, err
	}
	d.FromMetadata, d.Paused = true, paused
	return d, nil
}

// Patch is a change to a hold's terms. Fields left out stay; an empty time
// clears it. Setting one time clears the other.
type Patch struct {
	CaptureAt     *string           `json:"capture_at,omitempty" doc:"New time to capture; an empty string clears it"`
	CancelAt      *string           `json:"cancel_at,omitempty" doc:"New time to release; an empty string clears it"`
	TimeZone      string            `json:"time_zone,omitempty" doc:"IANA zone of local times"`
	CaptureAmount *int64            `json:"capture_amount,omitempty" doc:"Take only this much; 0 means everything"`
	OnExpiry      *string           `json:"on_expiry,omitempty" doc:"cancel, capture or alert"`
	Reference     *string           `json:"reference,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Pairs to set; an empty value removes a pair"`
	Confirm       bool              `json:"confirm,omitempty" doc:"Do it although the deadline's policy then captures or releases the money at once"`
}

// applyTo applies the patch to h's terms and checks the result, without
// deciding whether h may change at all.
func (p *Patch) applyTo(h *Hold, now time.Time) error {
	var err error
	if p.CaptureAt != nil && p.CancelAt != nil && *p.CaptureAt != "" && *p.CancelAt != "" {
		return problem(ConflictingTimes, "cancel_at",
			"a hold is captured or canceled, not both: send capture_at or cancel_at")
	}
	if p.CaptureAt != nil {
		if h.CaptureAt, err = parseActionTime("capture_at", *p.CaptureAt,
			p.TimeZone, now); err != nil {
			return err
		}
		if !h.CaptureAt.IsZero() {
			h.CancelAt = time.Time{}
		}
	}
	if p.CancelAt != nil {
		if h.CancelAt, err = parseActionTime("cancel_at", *p.CancelAt,
			p.TimeZone, now); err != nil {
			return err
		}
		if !h.CancelAt.IsZero() {
			h.CaptureAt = time.Time{}
		}
	}
	if p.CaptureAmount != nil {
		h.CaptureAmount = *p.CaptureAmount
	}
	if err := checkCaptureAmount(h.CaptureAmount, authorized(h), h.Currency); err != nil {
		return err
	}
	if p.OnExpiry != nil {
		if h.OnExpiry, err = checkPolicy(*p.OnExpiry); err != nil {
			return err
		}
	}
	if p.Reference != nil {
		if err := checkReference(*p.Reference); err != nil {
			return err
		}
		h.Reference = *p.Reference
	}
	if len(p.Metadata) > 0 {
		merged := maps.Clone(h.Metadata)
		if merged == nil {
			merged = map[string]string{}
		}
		for k, v := range p.Metadata {
			if v == "" {
				delete(merged, k)
			} else {
				merged[k] = v
			}
		}
		if h.Metadata, err = checkMetadata(merged); err != nil {
			return err
		}
	}
	return nil
}

func checkReference(s string) error {
	if len(s) > MaxReferenceBytes || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return problem(InvalidReference, "reference",
			"send at most %d bytes of UTF-8 without control characters", MaxReferenceBytes)
	}
	return nil
}

// maxAmountByCurrency are the currencies in which Stripe takes more than eight
// digits (docs: currencies, minimum and maximum amounts).
var maxAmountByCurrency = map[string]int64{
	"idr": 999_999_999_999, "lbp": 999_999_999_999, "cop": 9_999_999_999, "huf": 9_999_999_999,
	"jpy": 9_999_999_999, "inr": 999_999_999,
}

func maxAmount(currency string) int64 {
	if currency == "" { // not known yet: the widest, Stripe's answer narrows it
		return 999_999_999_999
	}
	if n, ok := maxAmountByCurrency[currency]; ok {
		return n
	}
	return 99_999_999
}

func checkAmount(field string, n int64, currency string) error {
	if n < 0 {
		return problem(InvalidAmount, field,
			"%d is negative: send minor units, such as 1250 for 12.50", n)
	}
	if m := maxAmount(currency); n > m {
		return problem(InvalidAmount, field,
			"%d is above what Stripe takes (%d): send minor units, such as 1250 for 12.50", n, m)
	}
	return nil
}

// checkCaptureAmount compares with the authorized amount only where that is
// known.
func checkCaptureAmount(n, authorized int64, currency string) error {
	if err := checkAmount("capture_amount", n, currency); err != nil {
		return err
	}
	if authorized > 0 && n > authorized {
		return problem(AmountTooLarge, "capture_amount",
			"%d is more than the %d %s that the hold has", n, authorized, currency)
	}
	return nil
}

func checkPolicy(s string) (Policy, error) {
	if s == "" {
		return PolicyCancel, nil
	}
	p, ok := ParsePolicy(s)
	if !ok {
		return 0, problem(InvalidPolicy, "on_expiry",
			"%.40q is unknown: send cancel, capture or alert", s)
	}
	return p, nil
}

func checkMetadata(m map[string]string) (map[string]string, error) {
	if len(m) > MaxMetadataPairs {
		return nil, problem(InvalidMetadata, "metadata", "%d pairs: send at most %d",
			len(m), MaxMetadataPairs)
	}
	for k, v := range m {
		if k == "" || utf8.RuneCountInString(k) > MaxMetadataKey || !utf8.ValidString(k) {
			return nil, problem(InvalidMetadata, "metadata", "key %.60q: send 1 to %d characters",
				k, MaxMetadataKey)
		}
		if utf8.RuneCountInString(v) > MaxMetadataValue || !utf8.ValidString(v) {
			return nil, problem(InvalidMetadata, "metadata",
				"the value of %q: send at most %d characters", k, MaxMetadataValue)
		}
	}
	if len(m) == 0 {
		return nil, nil
	}
	return maps.Clone(m), nil
}

// parseActionTime reads a time to act. Up to Grace in the past means now, and
// is kept as it was sent, so that a repeated wish is the same wish.
func parseActionTime(field, s, zone string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := ParseTime(field, s, zone)
	if err != nil {
		return time.Time{}, err
	}
	if t.Before(now.Add(-PastTolerance)) {
		return time.Time{}, problem(InThePast, field, "%s is more than %s ago; it is %s", s,
			formatDuration(PastTolerance), now.UTC().Format(time.RFC3339))
	}
	if t.After(now.Add(MaxAhead)) {
		return time.Time{},
			problem(InvalidTime, field,
				"%s is more than %d days ahead: no authorization lasts that long", s,
				int(MaxAhead.Hours()/24))
	}
	return t, nil
}

// ParseTime reads RFC 3339 with an offset, or a local time in an IANA zone. A
// local time that exists twice means the first, one that a change of clocks
// leaves out is read with the offset from before the change (RFC 5545, section
// 3.3.5).
func ParseTime(field, s, zone string) (time.Time, error) {
	if len(s) > 64 {
		return time.Time{},
			problem(InvalidTime, field,
				"%.64q… is no time: send RFC 3339, such as 2026-12-01T11:00:00+01:00", s)
	}
	var loc *time.Location
	if zone != "" {
		var err error
		if zone == "Local" { // Go's name for the daemon's own zone means nothing to a caller
			err = fmt.Errorf("not an IANA zone")
		} else {
			loc, err = time.LoadLocation(zone)
		}
		if err != nil {
			return time.Time{}, problem(UnknownTimeZone, "time_zone",
				"%.64q is unknown: send an IANA name, such as Europe/Paris", zone)
		}
	}
	if !localTimePattern.MatchString(s) {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return time.Time{},
				problem(InvalidTime, field,
					"%q is no time: send RFC 3339, such as 2026-12-01T11:00:00+01:00, or a local time with time_zone", s)
		}
		return t.UTC().Truncate(time.Millisecond), nil
	}
	if loc == nil {
		return time.Time{},
			problem(InvalidTime, field,
				"%q has no offset: add one, such as +01:00, or send time_zone", s)
	}
	layout := "2006-01-02T15:04:05"
	if strings.Count(s, ":") == 1 {
		layout = "2006-01-02T15:04"
	}
	wall, err := time.Parse(layout, strings.Replace(s, " ", "T", 1))
	if err != nil {
		return time.Time{}, problem(InvalidTime, field, "%q is no time that a calendar has", s)
	}
	return resolveLocalTime(wall, loc).Truncate(time.Millisecond), nil
}

// resolveLocalTime finds the instant at which clocks in loc show wall (whose
// own zone is ignored).
func resolveLocalTime(wall time.Time, loc *time.Location) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(loc).Zone()
	_, after := wall.Add(24 * time.Hour).In(loc).Zone()
	first := wall.Add(-time.Duration(before) * time.Second)
	second := wall.Add(-time.Duration(after) * time.Second)
	shows := func(t time.Time) bool {
		_, off := t.In(loc).Zone()
		return t.Add(time.Duration(off) * time.Second).Equal(wall)
	}
	switch {
	case shows(first) && shows(second) && second.Before(first):
		return second
	case shows(first):
		return first
	case shows(second):
		return second
	default: // left out by a change of clocks
		return first
	}
}

// formatDuration writes a duration as people do: 1h, 30m, 72h.
func formatDuration(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if s == "" {
		return "0s"
	}
	return s
}
