package hold

import "time"

const day = 24 * time.Hour

// authorizationWindows is how long an authorization lasts if its charge has no
// capture_before. Japan's 30 days and extended authorizations are not listed,
// because only capture_before shows them.
var authorizationWindows = map[string]time.Duration{
	"affirm":            30 * day,
	"afterpay_clearpay": 13 * day,
	"card_present":      2 * day, // Visa has 4 days 18 hours, but the brand is not known here
	"cashapp":           7 * day,
	"klarna":            28 * day, // back to midnight: see truncateKlarnaEnd
	"paypal":            10 * day, // Stripe extends it to 20 days, unless PayPal refuses
}

// assumedWindow applies to cards and to methods that windows does not list. A
// merchant-initiated Visa authorization is shorter (4 days 18 hours), but an
// intent does not say who initiated it.
const assumedWindow = 7 * day

// paymentMethodWindowEnd returns when the window of the intent's payment method
// ends. It counts from the intent's creation, because the charge is never
// older.
func paymentMethodWindowEnd(in *PaymentIntent) time.Time {
	w, ok := authorizationWindows[in.PaymentMethodType]
	if !ok {
		w = assumedWindow
	}
	return truncateKlarnaEnd(in.PaymentMethodType, in.Created.Add(w))
}

// Windows of cards that depend on more than the type of the payment method.
const (
	visaTerminalWindow = 4*day + 18*time.Hour
	visaExtendedWindow = 29*day + 18*time.Hour
	extendedWindow     = 30 * day
)

// AssumedExpiry returns when an authorization ends or ended whose charge does
// not say so, as a captured one does not. A Visa authorization that the merchant
// initiated ends earlier, which the charge does not show.
func AssumedExpiry(method, brand string, extended bool, authorizedAt time.Time) time.Time {
	w, ok := authorizationWindows[method]
	switch visa := brand == "visa"; {
	case extended && visa:
		w = visaExtendedWindow
	case extended:
		w = extendedWindow
	case method == "card_present" && visa:
		w = visaTerminalWindow
	case !ok:
		w = assumedWindow
	}
	return truncateKlarnaEnd(method, authorizedAt.Add(w))
}

// truncateKlarnaEnd moves the end of a Klarna window back to midnight UTC.
// "Midnight of the 28th day" could mean the start or the end of that day: the
// start is the one in Stripe's example (1 October 14:00 to 29 October 00:00),
// and it is safe for both.
func truncateKlarnaEnd(method string, end time.Time) time.Time {
	if method == "klarna" {
		return end.UTC().Truncate(day)
	}
	return end
}

// assumedDeadline returns the deadline of an authorization whose charge has no
// capture_before.
func assumedDeadline(in *PaymentIntent, now time.Time) time.Time {
	if end := paymentMethodWindowEnd(in); end.After(now) {
		return end
	}
	// Stripe still has the hold, so the window is longer than assumed, by an
	// unknown time.
	return truncateKlarnaEnd(in.PaymentMethodType, now.Add(day))
}

// Deadline returns when the authorization of an intent that holds money ends:
// the charge's capture_before, or else the end that its payment method has.
func (in *PaymentIntent) Deadline(now time.Time) (time.Time, DeadlineSource) {
	if !in.CaptureBefore.IsZero() {
		return in.CaptureBefore, SourceCharge
	}
	return assumedDeadline(in, now), SourceAssumed
}

// foreignReferenceKeys are the metadata keys in which booking systems commonly
// keep their reference.
var foreignReferenceKeys = []string{MetaReference, "reference", "booking", "booking_id",
	"booking_reference", "reservation", "reservation_id", "order", "order_id", "order_number"}

// GuessReference returns the reference that an intent without a hold seems to
// have, for the operator; empty if there is none.
func (in *PaymentIntent) GuessReference() string {
	for _, key := range foreignReferenceKeys {
		if v := in.Metadata[key]; v != "" && checkNewReference(v) == nil {
			return v
		}
	}
	return ""
}

// updateFromHeldIntent sets amount, currency and deadline from an intent that
// still holds money.
func updateFromHeldIntent(h *Hold, in *PaymentIntent, now time.Time) {
	// A verified deadline is not assumed anew: it would move away with each
	// read.
	known := h.Verified
	h.Amount, h.Currency, h.Verified = in.AmountCapturable, in.Currency, true
	if !isPartialCaptureSent(h) { // else the part's own answer or read decides
		adoptUnknownOwnParts(h, in)
	}
	recordMetadataRoomForParts(h, in)
	// Another system captured what an open intent has received beside holdd's
	// captures in parts.
	h.CapturedElsewhere = max(0, in.AmountReceived-ownPartialCaptureTotal(h))
	h.SingleCapture = in.SingleCapture && in.AmountReceived == 0
	if in.Features&FeaturesKnown != 0 {
		h.Features, h.MaxCapturable = in.Features, in.MaxCapturable
	}
	if cause, _ := reasonIntentNotRenewable(in); h.Renewal != nil && cause == 0 {
		r := unshareRenewal(h)
		r.Customer, r.PaymentMethod, r.AuthorizedAt = in.Customer, in.PaymentMethod, in.Created
	}
	switch {
	case !in.CaptureBefore.IsZero():
		h.ExpiresAt, h.ExpiresSource = in.CaptureBefore, SourceCharge
	case h.ExpiresSource == SourceAssumed && (!known || !h.ExpiresAt.After(now)):
		h.ExpiresAt = assumedDeadline(in, now)
	case h.ExpiresSource == SourceAssumed && in.PaymentMethodType != "":
		// The record may have a later end than the method's window. Acting
		// early is safe.
		if end := paymentMethodWindowEnd(in); end.After(now) {
			h.ExpiresAt = minTime(h.ExpiresAt, end)
		}
	}
}

// checkActionTimeBeforeDeadline returns a *[Problem] if the hold's own time is not before
// its deadline.
func checkActionTimeBeforeDeadline(h *Hold) error {
	t, field := maxTime(h.ActionTime(), lastPlannedCaptureTime(h)), "capture_at"
	if t.IsZero() || t.Before(h.ExpiresAt) || willBeRenewedUntil(h, t) {
		return nil
	}
	if len(PlannedCaptureStages(h)) > 0 {
		field = "captures"
	}
	if h.CaptureAt.IsZero() {
		field = "cancel_at"
	}
	if h.Renewal != nil && h.Renewal.Step != RenewalFailed && h.Renewal.Until.After(h.ExpiresAt) {
		p := newProblem(AfterDeadline, field, "%s must not be after renewal.until, %s",
			t.Format(time.RFC3339), h.Renewal.Until.Format(time.RFC3339))
		p.Deadline = h.Renewal.Until
		return p
	}
	p := newProblem(AfterDeadline, field, "%s must be before %s, when the authorization ends (%s)",
		t.Format(time.RFC3339), h.ExpiresAt.Format(time.RFC3339), h.ExpiresSource)
	p.Deadline = h.ExpiresAt
	return p
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
