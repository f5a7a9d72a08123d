package hold

import (
	"strconv"
	"time"
)

// Keys by which the intent of a renewal names its hold, so that an event or a
// list leads to the hold. They are no terms.
const (
	MetaHold       = "holdd_hold"       // id of the hold
	MetaGeneration = "holdd_generation" // of the renewal
	MetaReplaces   = "holdd_replaces"   // the intent that held the money before
	MetaRenewals   = "holdd_renewals"   // how many there were, with this one
	// MetaIntent is the id of the intent itself. The mirror adds it to an intent
	// that has taken the place of another one. Metadata that a booking system
	// copies to a new intent does not have the id of that intent.
	MetaIntent = "holdd_intent"
)

// OwnerOfIntent returns the id of the hold that an intent belongs to: the one
// that a renewal wrote into its metadata, otherwise the intent's own id. Metadata
// that was copied from another intent names no owner.
func OwnerOfIntent(in *PaymentIntent) string {
	id, self := in.Metadata[MetaHold], in.Metadata[MetaIntent]
	if id != "" && CheckPaymentIntentID(id) == nil && (self == "" || self == in.ID) {
		return id
	}
	return in.ID
}

// isIntentCertainlyOfHold reports whether an intent is certainly one of the hold: its
// first one, or one that holdd marked when it held the hold's money. Other
// metadata may be a copy.
func isIntentCertainlyOfHold(h *Hold, in *PaymentIntent) bool {
	return in.ID == h.ID ||
		in.Metadata[MetaHold] == h.ID && in.Metadata[MetaIntent] == in.ID
}

// renewalGenerationOfIntent is the renewal that created an intent, 0 for a first one.
func renewalGenerationOfIntent(in *PaymentIntent) uint32 {
	n, err := strconv.ParseUint(in.Metadata[MetaGeneration], 10, 16)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// IsLeftoverOfHold reports whether an intent names the hold, holds money, and is
// neither the hold's own nor one of the renewal under way.
func (in *PaymentIntent) IsLeftoverOfHold(h *Hold) bool {
	if in.Status != StatusRequiresCapture || in.ID == h.PaymentIntent ||
		OwnerOfIntent(in) != h.ID && in.ID != h.ID {
		return false
	}
	r := h.Renewal
	return r == nil || in.ID != r.Intent && in.ID != r.Releasing
}

// MustReleaseLeftoverIntent reports whether a left intent is certainly an earlier
// one of the hold. The record knows its generation: a record that is older than
// the intent, such as one of a restored Redis, proves nothing.
func MustReleaseLeftoverIntent(h *Hold, in *PaymentIntent) bool {
	if !in.IsLeftoverOfHold(h) || !isIntentCertainlyOfHold(h, in) || h.Renewal == nil ||
		in.Customer != h.Renewal.Customer && h.Renewal.Customer != "" {
		return false
	}
	return in.ID == h.ID || renewalGenerationOfIntent(in) <= h.Renewal.Generation
}

// RecordLeftoverReleaseCall writes the release of an intent that was left beside a
// settled hold to the hold's history. call is to be sent once that is committed.
func RecordLeftoverReleaseCall(h Hold, id string, now time.Time) (d Decision, call Call) {
	try := 1
	for i := range h.History {
		if h.History[i].Op == OpRelease && h.History[i].Note == id {
			try++ // a cancel has the same effect with any key
		}
	}
	call = Call{Op: OpCancel, PaymentIntent: id, Account: h.Account,
		CancellationReason: ReasonAbandoned,
		Key:                keyPrefix + h.ID + "-release-left-" + id + "-" + strconv.Itoa(try)}
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "holdd", Op: OpRelease,
		Key: call.Key, Note: id})
	return Decision{Hold: h}, call
}

// applyRenewalIntent updates a hold with another intent than the one that holds
// its money: that of a renewal.
func applyRenewalIntent(h Hold, in *PaymentIntent, now time.Time) Decision {
	same := Decision{Hold: h, Unchanged: true}
	r := h.Renewal
	if r == nil || OwnerOfIntent(in) != h.ID && in.ID != h.ID {
		return same
	}
	switch {
	case in.ID == r.Releasing:
		return same
	case in.ID == r.Intent:
		return scheduleNewIntentRetrieveNow(h, now)
	case !in.IsLeftoverOfHold(&h), isOwnOpUnderWayOrDue(&h, now), h.State == Working,
		mayHaveSecondAuthorization(&h):
		return same
	}
	r = unshareRenewal(&h)
	switch {
	case isIntentOfLostRenewal(&h, in, r.Generation+1):
		// The schedule was rebuilt from the older of two intents.
		r.Generation = renewalGenerationOfIntent(in)
		d := swapToNewIntent(h, in, now)
		d.SetNextRenewalOp(now)
		return d
	case MustReleaseLeftoverIntent(&h, in):
		scheduleIntentRelease(r, in.ID, now)
		appendHistory(&h, HistoryEntry{At: now, Kind: HistoryObserved, By: "stripe",
			Op: OpRelease, Note: in.ID + " holds money beside " + h.PaymentIntent})
		d := Decision{Hold: h}
		d.SetNextRenewalOp(now)
		return d
	}
	return same
}

// isIntentOfLostRenewal reports whether an intent was created by a renewal of the hold,
// of the least generation or a later one, that its record does not know, because
// Redis lost it. An increment may have raised its amount. A record that was
// rebuilt is younger than the intent. A booking system that copies metadata
// creates a younger intent, often of another customer.
func isIntentOfLostRenewal(h *Hold, in *PaymentIntent, least uint32) bool {
	return in.Status == StatusRequiresCapture && renewalGenerationOfIntent(in) >= least &&
		in.Metadata[MetaReplaces] == h.PaymentIntent && in.Currency == h.Currency &&
		in.AmountCapturable >= h.Amount && in.AmountCapturable <= agreedMaxAmount(h) &&
		in.Customer != "" && in.Customer == h.Renewal.Customer &&
		(isIntentCertainlyOfHold(h, in) || in.Created.Before(h.CreatedAt))
}

// scheduleNewIntentRetrieveNow makes a read of the new intent due at once, because an event or
// a list says that it changed.
func scheduleNewIntentRetrieveNow(h Hold, now time.Time) Decision {
	if h.State == Working || h.Renewal.Step != RenewalRequiresAction ||
		!h.Renewal.RetryAt.After(now) {
		return Decision{Hold: h, Unchanged: true}
	}
	r := unshareRenewal(&h)
	r.RetryAt, r.ReadFirst = now, true // the intent, not what the cardholder fills in
	d := Decision{Hold: h}
	d.SetNextRenewalOp(now)
	return d
}
