package hold

import (
	"slices"
	"time"
)

// New makes a hold of a valid request. in is the intent as Stripe has it, or nil if it
// could not be read: the hold is then accepted as the caller described it and
// verified later. Errors are *[Problem].
func New(d *ValidRequest, in *PaymentIntent, by string, now time.Time) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	h := holdFromRequest(d, now)
	if in != nil {
		if err := checkIntentMatchesRequest(d, in); err != nil {
			return Decision{}, err
		}
		if !d.Renewal.Until.IsZero() && !d.FromMetadata {
			if err := refuseNotRenewable(in); err != nil {
				return Decision{}, err
			}
		}
		if d.FromMetadata {
			adoptRenewedIntent(&h, in, now)
		}
		updateFromHeldIntent(&h, in, now)
		if r := h.Renewal; r != nil && r.MaxAmount > 0 && r.MaxAmount < h.Amount && !d.FromMetadata {
			return Decision{}, newProblem(InvalidAmount, "renewal.max_amount",
				"invalid max_amount %d: the hold is of %d %s", r.MaxAmount, h.Amount, h.Currency)
		}
	}
	if err := checkCaptureAmount(h.CaptureAmount, authorizedTotal(&h), h.Currency); err != nil {
		return Decision{}, err
	}
	tooLarge := checkHoldCaptureParams(&h)
	if tooLarge != nil && !d.FromMetadata {
		return Decision{}, tooLarge
	}
	// An assumed deadline is no reason to refuse a request, only to warn.
	late, known := checkBeforeDeadline(&h), in != nil || h.ExpiresSource == SourceCaller
	if late != nil && known && !d.FromMetadata {
		return Decision{}, late
	}
	planNextOp(&h, now)
	scheduled := HistoryEntry{At: now, Kind: HistoryScheduled, By: by}
	if d.Confirm {
		scheduled.Note = confirmedNote
	}
	appendHistory(&h, scheduled)
	if h.CapturedElsewhere > 0 {
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Cause: CauseElsewhere, Note: partlyCapturedNote(&h)})
	}
	created := Decision{Hold: h, NewDeadline: true}
	created.addEvent(EventScheduled, 0)
	if late != nil && !known && !h.CaptureAt.IsZero() {
		// A release after the deadline does no harm; a capture is lost.
		created.addAfterDeadlineWarning(now)
	}
	if !known {
		late = nil
	}
	next, follows, err := decideRecoveredTerms(h, d, tooLarge, late, by, now)
	if err != nil {
		return Decision{}, err
	}
	if !follows {
		created.setTermsMirrored(d)
		return created, nil
	}
	next.Events, next.NewDeadline = append(created.Events, next.Events...), true
	next.setTermsMirrored(d)
	return next, nil
}

// decideRecoveredTerms returns what follows at once for a hold with recovered
// terms: it is paused, or its terms cannot act. tooLarge and late say why.
func decideRecoveredTerms(
	h Hold, d *ValidRequest, tooLarge, late error, by string, now time.Time,
) (next Decision, follows bool, err error) {
	switch {
	case tooLarge != nil:
		return requireAttention(h, CauseFeeTooLarge, tooLarge.Error(), now), true, nil
	case d.Paused:
		next, err = h.Pause(0, by, now)
		return next, true, err
	case late != nil:
		return requireAttention(h, CauseAfterDeadline, deadlineNote(&h), now), true, nil
	case d.TooLateToCapture:
		return requireAttention(h, CauseOverdue,
			"was to be captured at "+h.CaptureAt.Format(time.RFC3339), now), true, nil
	}
	return Decision{}, false, nil
}

func holdFromRequest(d *ValidRequest, now time.Time) Hold {
	h := Hold{
		ID: d.ID, PaymentIntent: d.ID, Account: d.Account, Reference: d.Reference,
		Amount: d.Amount, Currency: d.Currency, CaptureAmount: d.CaptureAmount,
		CaptureAt: d.CaptureAt, CancelAt: d.CancelAt,
		ExpiresAt: d.ExpiresAt, ExpiresSource: SourceCaller, OnExpiry: d.OnExpiry,
		Metadata: d.Metadata, CaptureParams: d.CaptureParams,
		Revision: 1, Generation: 1, CreatedAt: now,
	}
	if h.ExpiresAt.IsZero() {
		h.ExpiresAt, h.ExpiresSource = now.Add(assumedWindow), SourceAssumed
	}
	if !d.Renewal.Until.IsZero() {
		h.Renewal = newRenewal(d.Renewal)
	}
	return h
}

// checkIntentMatchesRequest compares what the caller stated with the intent.
func checkIntentMatchesRequest(d *ValidRequest, in *PaymentIntent) error {
	if in.Status != StatusRequiresCapture {
		return newProblem(NotCapturable, "payment_intent",
			"%s is %s at Stripe: want a PaymentIntent that is requires_capture", d.ID, in.Status)
	}
	if owner := OwnerOfIntent(in); owner != in.ID && !d.FromMetadata {
		return newProblem(HoldExists, "payment_intent", "%s renews hold %s: change that one", in.ID,
			owner)
	}
	if d.Currency != "" && d.Currency != in.Currency {
		return newProblem(CurrencyMismatch, "currency", "%s is in %s, not in %s", d.ID,
			in.Currency, d.Currency)
	}
	if d.Amount != 0 && !in.holdsAmount(d.Amount) {
		return newProblem(AmountMismatch, "amount", "%s holds %d %s, not %d", d.ID,
			in.AmountCapturable, in.Currency, d.Amount)
	}
	return nil
}

// setTermsMirrored records whether a new hold's terms are in the intent's
// metadata: those that were read from there are.
func (d *Decision) setTermsMirrored(draft *ValidRequest) {
	d.markUnmirrored()
	d.Hold.Mirrored, d.NewTerms = draft.FromMetadata, !draft.FromMetadata
}

// markUnmirrored records that the intent's metadata has other terms.
func (d *Decision) markUnmirrored() {
	d.Hold.Mirrored, d.Hold.Unmirrorable, d.NewTerms = false, false, true
}

// HasTermsOfRequest reports whether scheduling d again would ask for the terms
// that h has.
func (h *Hold) HasTermsOfRequest(d *ValidRequest) bool {
	if len(d.Metadata) != len(h.Metadata) {
		return false
	}
	for k, v := range d.Metadata {
		if w, ok := h.Metadata[k]; !ok || v != w {
			return false
		}
	}
	sameAmount := d.Amount == 0 || h.Amount == 0 ||
		(d.Amount == h.Amount || d.Amount == authorizedTotal(h)) && d.Currency == h.Currency
	return sameAmount && d.ID == h.ID && d.Account == h.Account && d.Reference == h.Reference &&
		d.CaptureAt.Equal(h.CaptureAt) && d.CancelAt.Equal(h.CancelAt) &&
		d.CaptureAmount == h.CaptureAmount && d.OnExpiry == h.OnExpiry &&
		d.CaptureParams.Equal(&h.CaptureParams) && d.Renewal.equal(renewalTermsOf(h))
}

// HaveSameTerms reports whether two states of one hold have the same terms.
func HaveSameTerms(h, other *Hold) bool {
	return h.HasTermsOfRequest(
		&ValidRequest{ID: other.ID, Account: other.Account, Reference: other.Reference,
			CaptureAt: other.CaptureAt, CancelAt: other.CancelAt,
			CaptureAmount: other.CaptureAmount, OnExpiry: other.OnExpiry, Metadata: other.Metadata,
			CaptureParams: other.CaptureParams, Renewal: renewalTermsOf(other)},
	)
}

// HistoryDescendsFrom reports whether h descends from wanted: its history has
// wanted's newest entry.
func HistoryDescendsFrom(h, wanted *Hold) bool {
	if len(wanted.History) == 0 || h.Revision < wanted.Revision {
		return false
	}
	e := wanted.History[len(wanted.History)-1]
	return slices.ContainsFunc(h.History, func(f HistoryEntry) bool {
		return f.At.Equal(e.At) && f.Kind == e.Kind && f.By == e.By && f.Op == e.Op
	})
}
