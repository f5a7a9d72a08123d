package hold

import (
	"cmp"
	"maps"
	"slices"
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

	Captures []CaptureStageRequest `json:"captures,omitempty" maxItems:"50" doc:"Captures in parts, for an order that ships in parts, where the charge allows multicapture. Each is later than the one before; the last one releases the rest. They take the place of capture_at and capture_amount" nullable:"false"`

	Trace TraceContext `json:"-"` // of the sender, if the request itself brings it

	capturesFrom int64 // of metadata: what was captured before them
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
	Captures                     []CaptureStage
	CapturesFrom                 int64 // captured before them; of terms found in metadata
	// Confirm says that on_expiry may act at once. It is no term, so a repeated
	// request may omit it.
	Confirm bool
	Trace   TraceContext // no term either

	// Of terms found in metadata, see [ScheduleRequest.ValidateRecoveredTerms].
	// No caller waits for a response, so the hold requires attention instead of
	// a refusal.
	FromMetadata     bool
	TooLateToCapture bool // capture_at is too long ago to capture without an operator
	Paused           bool
}

// NeedsIntentRetrieval reports whether the request lacks something that a read at
// Stripe would show.
func (d *ValidRequest) NeedsIntentRetrieval() bool {
	return d.Amount <= 0 || d.Currency == "" || d.ExpiresAt.IsZero() || !d.Renewal.Until.IsZero() ||
		len(d.Captures) > 1 || d.CaptureAmount > d.Amount
}

// NamesCurrencyOnly reports whether the request names the currency of its amounts but not the
// authorized amount. Only the intent shows then that the amounts mean what the caller means.
func (d *ValidRequest) NamesCurrencyOnly() bool { return d.Currency != "" && d.Amount == 0 }

// Validate checks the request as far as possible without Stripe. Errors are
// *[Problem].
func (req *ScheduleRequest) Validate(now time.Time) (*ValidRequest, error) {
	if err := CheckPaymentIntentID(req.PaymentIntent); err != nil {
		return nil, err
	}
	if err := checkNewReference(req.Reference); err != nil {
		return nil, err
	}
	return req.validateTerms(now)
}

// validateRecorded is [ScheduleRequest.Validate] without what only new requests
// are refused for.
func (req *ScheduleRequest) validateRecorded(now time.Time) (*ValidRequest, error) {
	if err := CheckPaymentIntentID(req.PaymentIntent); err != nil {
		return nil, err
	}
	return req.validateTerms(now)
}

// validateTerms checks everything except the intent's id, which an
// authorization does not have yet.
func (req *ScheduleRequest) validateTerms(now time.Time) (*ValidRequest, error) {
	d := &ValidRequest{ID: req.PaymentIntent, Account: req.Account, Reference: req.Reference,
		Amount: req.Amount, CaptureAmount: req.CaptureAmount, Confirm: req.Confirm,
		Trace: req.Trace}
	if err := CheckAccountID(req.Account); err != nil {
		return nil, err
	}
	if err := checkReference(req.Reference); err != nil {
		return nil, err
	}
	var err error
	if d.Currency, err = req.validateAmountAndCurrency(); err != nil {
		return nil, err
	}
	if err = req.parseCaptures(d, now); err != nil {
		return nil, err
	}
	if err = validateMetadata(req.Metadata); err != nil {
		return nil, err
	}
	if len(req.Metadata) > 0 {
		d.Metadata = maps.Clone(req.Metadata)
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
		if d.Renewal, err = req.Renewal.parseTerms(req.TimeZone, req.Amount, now); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// validateAmountAndCurrency checks amount and currency, and returns the
// currency in lower case.
func (req *ScheduleRequest) validateAmountAndCurrency() (currency string, err error) {
	currency = strings.ToLower(req.Currency)
	if currency != "" && !currencyPattern.MatchString(currency) {
		return "", newProblem(InvalidCurrency, "currency",
			"invalid currency %.20q: want three letters of ISO 4217, such as eur", req.Currency)
	}
	if currency == "" && req.Amount != 0 {
		return "", newProblem(InvalidAmount, "amount", "send the currency of amount with it")
	}
	return currency, checkAmount("amount", req.Amount, currency)
}

// parseCaptures checks what captures take and send.
func (req *ScheduleRequest) parseCaptures(d *ValidRequest, now time.Time) (err error) {
	// Only the charge says whether more than the amount may be captured.
	if err = checkAmount("capture_amount", req.CaptureAmount, d.Currency); err != nil {
		return err
	}
	d.CapturesFrom = req.capturesFrom
	if d.Captures, err = req.parseCaptureStages(d.Currency, now); err != nil {
		return err
	}
	d.CaptureParams, err = req.validatedCaptureParams()
	return err
}

// validatedCaptureParams compares a fee and a transfer with the amount to
// capture, if the request names one.
func (req *ScheduleRequest) validatedCaptureParams() (CaptureParams, error) {
	p := req.CaptureParams
	if p.CaptureMetadata = maps.Clone(p.CaptureMetadata); len(p.CaptureMetadata) == 0 {
		p.CaptureMetadata = nil
	}
	if err := checkCaptureParams(&p); err != nil {
		return p, err
	}
	captured := cmp.Or(req.CaptureAmount, req.Amount)
	for _, q := range req.Captures {
		captured = min(cmp.Or(captured, q.Amount), q.Amount)
	}
	if captured > 0 {
		return p, checkFeeAndTransferWithinCapture(&p, captured, req.Currency)
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

// DecideNewHold makes a hold of a valid request. in is the intent as Stripe has it, or
// nil if it could not be read: the hold is then accepted as the caller
// described it and verified later. Errors are *[Problem].
func DecideNewHold(valid *ValidRequest, in *PaymentIntent, by string, now time.Time) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	h := holdFromRequest(valid, now)
	if in != nil {
		if err := checkIntentMatchesRequest(valid, in); err != nil {
			return Decision{}, err
		}
		if err := applyIntentToNewHold(&h, valid, in, now); err != nil {
			return Decision{}, err
		}
	}
	if err := setAndCheckCapturePlan(&h, valid, in); err != nil {
		return Decision{}, err
	}
	tooLarge := checkHoldCaptureParams(&h)
	if tooLarge != nil && !valid.FromMetadata {
		return Decision{}, tooLarge
	}
	// An assumed deadline is no reason to refuse a request, only to warn.
	late, known := checkActionTimeBeforeDeadline(&h), in != nil || h.ExpiresSource == SourceCaller
	if late != nil && known && !valid.FromMetadata {
		return Decision{}, late
	}
	planNextOp(&h, now)
	appendFirstHistory(&h, valid.Confirm, by, now)
	created := Decision{Hold: h, NewDeadline: true}
	created.addEvent(EventScheduled, 0)
	if late != nil && !known && !h.CaptureAt.IsZero() {
		// A release after the deadline does no harm; a capture is lost.
		created.addExpiresBeforeActionEvent(now)
	}
	if !known {
		late = nil
	}
	next, follows, err := pauseOrStopRecoveredHold(h, valid, tooLarge, late, by, now)
	if err != nil {
		return Decision{}, err
	}
	if !follows {
		created.setMirroredIfFromMetadata(valid)
		return created, nil
	}
	next.Events, next.NewDeadline = append(created.Events, next.Events...), true
	next.setMirroredIfFromMetadata(valid)
	return next, nil
}

// appendFirstHistory records that a hold was scheduled, and what was captured of
// it before.
func appendFirstHistory(h *Hold, confirmed bool, by string, now time.Time) {
	scheduled := HistoryEntry{At: now, Kind: HistoryScheduled, By: by}
	if confirmed {
		scheduled.Note = confirmedNote
	}
	appendHistory(h, scheduled)
	if h.CapturedElsewhere > 0 {
		appendHistory(h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Cause: CauseElsewhere, Note: describePartCapturedElsewhere(h)})
	}
}

// pauseOrStopRecoveredHold returns what follows at once for a hold with recovered
// terms: it is paused, or its terms cannot act. tooLarge and late say why.
func pauseOrStopRecoveredHold(
	h Hold, valid *ValidRequest, tooLarge, late error, by string, now time.Time,
) (next Decision, follows bool, err error) {
	switch {
	case valid.FromMetadata && lacksMulticapture(&h):
		return requireAttention(h, CauseUnavailable, multicaptureHint, now), true, nil
	case tooLarge != nil:
		return requireAttention(h, CauseFeeTooLarge, tooLarge.Error(), now), true, nil
	case valid.Paused:
		next, err = h.Pause(0, by, now)
		return next, true, err
	case late != nil:
		return requireAttention(h, CauseAfterDeadline, describeDeadline(&h), now), true, nil
	case valid.TooLateToCapture || isRecoveredCapturePlanTooLate(&h, valid, now):
		return requireAttention(h, CauseOverdue,
			"was to be captured at "+h.CaptureAt.Format(time.RFC3339), now), true, nil
	}
	return Decision{}, false, nil
}

func holdFromRequest(valid *ValidRequest, now time.Time) Hold {
	h := Hold{
		ID: valid.ID, PaymentIntent: valid.ID, Account: valid.Account, Reference: valid.Reference,
		Amount: valid.Amount, Currency: valid.Currency, CaptureAmount: valid.CaptureAmount,
		CaptureAt: valid.CaptureAt, CancelAt: valid.CancelAt,
		ExpiresAt: valid.ExpiresAt, ExpiresSource: SourceCaller, OnExpiry: valid.OnExpiry,
		Metadata: valid.Metadata, CaptureParams: valid.CaptureParams, Trace: valid.Trace,
		Revision: 1, Generation: 1, CreatedAt: now,
	}
	if h.ExpiresAt.IsZero() {
		h.ExpiresAt, h.ExpiresSource = now.Add(assumedWindow), SourceAssumed
	}
	if !valid.Renewal.Until.IsZero() {
		h.Renewal = newIdleRenewal(valid.Renewal)
	}
	return h
}

// checkIntentMatchesRequest compares what the caller stated with the intent.
func checkIntentMatchesRequest(valid *ValidRequest, in *PaymentIntent) error {
	if in.Status != StatusRequiresCapture {
		return newProblem(NotCapturable, "payment_intent",
			"%s is %s at Stripe: want a PaymentIntent that is requires_capture", valid.ID, in.Status)
	}
	if owner := OwnerOfIntent(in); owner != in.ID && !valid.FromMetadata {
		return newProblem(HoldExists, "payment_intent", "%s renews hold %s: change that one", in.ID,
			owner)
	}
	if valid.Currency != "" && valid.Currency != in.Currency {
		return newProblem(CurrencyMismatch, "currency", "%s is in %s, not in %s", valid.ID,
			in.Currency, valid.Currency)
	}
	if valid.Amount != 0 && !in.isHeldOrAuthorizedAmount(valid.Amount) {
		return newProblem(AmountMismatch, "amount", "%s holds %s, not %s", valid.ID,
			FormatAmount(in.AmountCapturable, in.Currency),
			FormatAmount(valid.Amount, in.Currency))
	}
	return nil
}

// setMirroredIfFromMetadata records whether a new hold's terms are in the intent's
// metadata: those that were read from there are.
func (d *Decision) setMirroredIfFromMetadata(valid *ValidRequest) {
	d.setUnmirrored()
	d.Hold.Mirrored, d.NewTerms = valid.FromMetadata, !valid.FromMetadata
}

// setUnmirrored records that the intent's metadata has other terms.
func (d *Decision) setUnmirrored() {
	d.Hold.Mirrored, d.Hold.Unmirrorable, d.NewTerms = false, false, true
}

// HasSameTermsAs reports whether the request asks for the terms that h has.
func (d *ValidRequest) HasSameTermsAs(h *Hold) bool {
	if len(d.Metadata) != len(h.Metadata) {
		return false
	}
	for k, v := range d.Metadata {
		if w, ok := h.Metadata[k]; !ok || v != w {
			return false
		}
	}
	sameAmount := d.Amount == 0 || h.Amount == 0 || d.Amount == h.Amount ||
		d.Amount == AuthorizedTotal(h)
	sameCurrency := d.Currency == "" || h.Currency == "" || d.Currency == h.Currency
	return sameAmount && sameCurrency && d.ID == h.ID && d.Account == h.Account &&
		d.Reference == h.Reference && d.hasSameCapturesAs(h) && d.CancelAt.Equal(h.CancelAt) && d.OnExpiry == h.OnExpiry &&
		d.CaptureParams.Equal(&h.CaptureParams) && d.Renewal.equal(renewalTermsOf(h))
}

// HaveSameTerms reports whether two states of one hold have the same terms.
func HaveSameTerms(h, other *Hold) bool {
	asRequest := ValidRequest{ID: other.ID, Account: other.Account, Reference: other.Reference,
		CaptureAt: other.CaptureAt, CancelAt: other.CancelAt, Captures: PlannedCaptureStages(other),
		CaptureAmount: other.CaptureAmount, OnExpiry: other.OnExpiry, Metadata: other.Metadata,
		CaptureParams: other.CaptureParams, Renewal: renewalTermsOf(other)}
	return asRequest.HasSameTermsAs(h)
}

// HistoryDescendsFrom reports whether h descends from wanted: its history has
// wanted's newest entry, the reason of its cancel, and the request of its part. Two
// requests of one caller may have the same time.
func HistoryDescendsFrom(h, wanted *Hold) bool {
	if len(wanted.History) == 0 || h.Revision < wanted.Revision || !knowsPartRequestOf(h, wanted) {
		return false
	}
	e := wanted.History[len(wanted.History)-1]
	if e.Op == OpCancel && !h.State.IsFinal() && h.CancellationReason != wanted.CancellationReason {
		return false
	}
	return slices.ContainsFunc(h.History, func(f HistoryEntry) bool {
		return f.At.Equal(e.At) && f.Kind == e.Kind && f.By == e.By && f.Op == e.Op &&
			f.Note == e.Note
	})
}

func knowsPartRequestOf(h, wanted *Hold) bool {
	if wanted.PartialCaptures == nil || wanted.PartialCaptures.Request == 0 {
		return true
	}
	request := wanted.PartialCaptures.Request
	return h.PartialCaptures != nil && (h.PartialCaptures.Request == request ||
		slices.Contains(h.PartialCaptures.Requests, request))
}
