package hold

import (
	"strconv"
	"time"
)

// renewalIntentMetadata returns the metadata of a renewal's intent: the terms, so that
// a lost schedule is rebuilt from it, and what it replaces.
func renewalIntentMetadata(h *Hold, generation uint32) map[string]string {
	pairs, err := termsAsMetadata(h)
	if err != nil || len(pairs) > stripeMetadataKeys-5 {
		pairs = map[string]string{} // the mirror reports terms that do not fit
	}
	pairs[MetaHold], pairs[MetaReplaces] = h.ID, h.PaymentIntent
	pairs[MetaGeneration] = formatGeneration(generation)
	renewals := h.Renewal.Completed
	if !isReplacementUnderWay(h) {
		renewals++
	}
	pairs[MetaRenewals] = formatGeneration(renewals)
	return pairs
}

func formatGeneration(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// renewalSearchPage is how many intents one page of a search has.
const renewalSearchPage = 100

// nextRenewalCall returns the call that the renewal of a claimed hold needs
// before the hold's own operation, or instead of one. ok is false if it needs
// none.
func nextRenewalCall(h *Hold, now time.Time) (c Call, ok bool) {
	r, waits := h.Renewal, mustCaptureAwaitRenewal(h)
	switch {
	case r == nil || !waits && mustActBeforeRelease(h, now):
		return Call{}, false
	case r.Releasing != "":
		return newReleaseSecondIntentCall(h, now), true
	case r.Step == RenewalFind:
		return newCreateOrSearchCall(h, now), true
	case h.NextOp == OpRead && mayNewIntentHoldMoney(r):
		return newRetrieveIntentCall(h, r.Intent), true
	case h.NextOp != OpRenew && h.NextOp != OpRelease && !waits:
		return Call{}, false
	}
	switch r.Step {
	case RenewalCreate:
		return newCreateOrSearchCall(h, now), true
	case RenewalConfirm:
		stale := r.Sent.Count > 0 && now.Sub(r.Sent.FirstAt) >= keyLifetime
		if r.ReadFirst || r.Sent.Unknown || stale {
			return newRetrieveIntentCall(h, r.Intent), true
		}
		if mustRetrieveOwnBeforeConfirm(r) {
			return newRetrieveIntentCall(h, h.PaymentIntent), true
		}
		return newConfirmNewIntentCall(h), true
	case RenewalReleaseFirst:
		return newReleaseBeforeRenewalCall(h, now), true
	case RenewalRequiresAction:
		if r.CardSetup != "" && !r.ReadFirst {
			return Call{Op: OpReadCardSetup, Account: h.Account,
				CardSetup: &CardSetupSessionParams{Session: r.CardSetup}}, true
		}
		return newRetrieveIntentCall(h, r.Intent), true
	}
	return newRetrieveIntentCall(h, h.PaymentIntent), true // to learn what a renewal needs
}

// mustRetrieveOwnBeforeConfirm reports whether the hold's own intent is read before
// the new one is confirmed. A person may have released or captured the hold since
// the last read, which an outage of Redis or a decline may put hours ago.
func mustRetrieveOwnBeforeConfirm(r *Renewal) bool { return !r.ownRead && !mayHoldNoMoney(r) }

// releaseHeadStart is how long before the deadline a capture or cancel no longer
// waits for the release of another intent.
const releaseHeadStart = time.Hour

// mustActBeforeRelease reports whether the hold's own capture or cancel is next
// although another intent may hold money. A release that has no outcome must
// not make it miss the deadline; the hold stays open until the release has one.
func mustActBeforeRelease(h *Hold, now time.Time) bool {
	r := h.Renewal
	return (h.NextOp == OpCapture || h.NextOp == OpCancel) && !r.OwnEnded && h.Retries > 0 &&
		now.After(h.ExpiresAt.Add(-releaseHeadStart))
}

func newRetrieveIntentCall(h *Hold, id string) Call {
	return Call{Op: OpRead, PaymentIntent: id, Account: h.Account, MayBeMissing: !h.Verified}
}

// newCreateOrSearchCall creates the new intent. The same key creates it once, for
// as long as Stripe keeps the key. Then the customer's intents are searched.
func newCreateOrSearchCall(h *Hold, now time.Time) Call {
	r := h.Renewal
	sent := r.Sent.Count > 0 || r.Sent.Unknown
	if r.ReadFirst || sent && now.Sub(r.Sent.FirstAt) >= keyLifetime {
		return Call{Op: OpList, Account: h.Account, Customer: r.Customer, After: r.SearchAfter,
			Limit: renewalSearchPage}
	}
	return Call{
		Op: OpCreate, Account: h.Account, Key: renewalIdempotencyKey(h, "create", 0),
		Authorize: &AuthorizeParams{
			Account: h.Account, Amount: r.Amount, Currency: h.Currency,
			Customer: r.Customer, PaymentMethod: r.PaymentMethod,
			Metadata: r.Metadata,
		},
	}
}

func newConfirmNewIntentCall(h *Hold) Call {
	r := h.Renewal
	absent := r.ReturnURL == ""
	return Call{
		Op: OpConfirm, PaymentIntent: r.Intent, Account: h.Account,
		Key: renewalIdempotencyKey(h, "confirm", r.Confirmation),
		Authorize: &AuthorizeParams{PaymentIntent: r.Intent, Account: h.Account,
			PaymentMethod: r.PaymentMethod, OffSession: absent, ErrorOnRequiresAction: absent,
			ReturnURL: r.ReturnURL},
	}
}

// newReleaseSecondIntentCall cancels the intent that must not hold money any more. A cancel
// has the same effect with any key.
func newReleaseSecondIntentCall(h *Hold, now time.Time) Call {
	r := h.Renewal
	stale := r.ReleaseKeyUsage.Count > 0 && now.Sub(r.ReleaseKeyUsage.FirstAt) >= keyLifetime
	if r.ReleaseRead || stale {
		return newRetrieveIntentCall(h, r.Releasing)
	}
	return Call{
		Op: OpCancel, PaymentIntent: r.Releasing, Account: h.Account,
		CancellationReason: ReasonAbandoned,
		Key: keyPrefix + h.ID + "-release-" + r.Releasing + "-" +
			strconv.FormatUint(uint64(r.ReleaseTry), 10),
	}
}

// renewalIdempotencyKey returns the idempotency key of a step. The record alone determines
// it.
func renewalIdempotencyKey(h *Hold, step string, n uint32) string {
	key := keyPrefix + h.ID + "-renew-" +
		strconv.FormatUint(uint64(h.Renewal.Generation), 10) + "-" + step
	if n > 0 {
		key += "-" + strconv.FormatUint(uint64(n), 10)
	}
	return key
}

// isRenewalCall reports whether a call was one of the renewal's.
func isRenewalCall(h *Hold, c *Call) bool {
	return h.Renewal != nil && (h.NextOp == OpRenew || h.NextOp == OpRelease ||
		mustCaptureAwaitRenewal(h) || c.Op == OpCreate || c.Op == OpList ||
		c.PaymentIntent != h.PaymentIntent)
}
