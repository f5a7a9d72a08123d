package hold

import "time"

const rebuiltNote = "rebuilt from Stripe: the record was unreadable"

// RebuildFromIntent makes the hold of an intent whose record was unreadable. The terms are
// those in the intent's metadata. unmirrored says that the last terms had not
// been written there. by asked for it.
//
// Without certain terms the hold requires attention, and its on_expiry only
// alerts: neither a capture nor a release can be right by chance. A settled
// hold gets no reference and no metadata, because they may have been erased.
//
// reason is not empty if no hold can be made of this intent: it says why.
func RebuildFromIntent(
	in *PaymentIntent, account string, unmirrored bool, by string, now time.Time,
) (d Decision, reason string) {
	now = now.UTC().Truncate(time.Millisecond)
	switch {
	case OwnerOfIntent(in) != in.ID:
		return d, "it belongs to hold " + OwnerOfIntent(in)
	case in.Status == StatusCanceled && in.Metadata[MetaRenewalUntil] != "":
		// The release of the old intent of a renewal looks the same.
		return d, "it is canceled, and a renewal may hold the money with another PaymentIntent: " +
			"run holdd reconcile, which rebuilds the hold from that one"
	case in.Status == StatusRequiresCapture && !unmirrored:
		if d, err := NewFromMetadata(in, account, by, now); err == nil {
			d.Hold.History[0].Note = rebuiltNote
			return d, ""
		}
	}
	h := newHoldWithoutTerms(in, account, by, now)
	switch in.Status {
	case StatusSucceeded, StatusCanceled:
		return settleFromIntent(h, in, false, nil, now), ""
	case StatusRequiresCapture:
		h.Reference, h.Metadata = validReferenceAndMetadataOfIntent(in)
		// Without terms nothing is renewed. An intent that renewed this one
		// before is recognized.
		h.Renewal = newIdleRenewal(RenewalTerms{})
		updateFromHeldIntent(&h, in, now)
		d = requireAttention(h, CauseRecordUnreadable, "the terms are not known for sure", now)
	default:
		d = requireAttention(h, CauseNotCapturable, "status "+string(in.Status), now)
	}
	d.NewDeadline = true
	return d, ""
}

// newHoldWithoutTerms returns a hold of an intent that nothing is planned for.
func newHoldWithoutTerms(in *PaymentIntent, account, by string, now time.Time) Hold {
	h := holdFromRequest(&ValidRequest{ID: in.ID, Account: account, OnExpiry: PolicyAlert}, now)
	h.State, h.Amount, h.Currency = Waiting, in.Amount, in.Currency
	// The metadata stays as it is until the operator sets terms.
	h.Mirrored = true
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryScheduled, By: by, Note: rebuiltNote})
	return h
}

// validReferenceAndMetadataOfIntent returns what the metadata says of the booking, as far as
// it is valid.
func validReferenceAndMetadataOfIntent(in *PaymentIntent) (reference string, pairs map[string]string) {
	req, _, found, err := RequestFromMetadata(in, "")
	if !found || err != nil {
		return "", nil
	}
	valid := ScheduleRequest{PaymentIntent: in.ID, Reference: req.Reference, Metadata: req.Metadata}
	if checked, err := valid.validateRecorded(in.Created); err == nil {
		return checked.Reference, checked.Metadata
	}
	return "", nil
}
