package hold

import (
	"cmp"
	"time"
)

// RenewalTerms say how long the amount must stay held, beyond the end of the
// authorization that holds it now.
type RenewalTerms struct {
	Until time.Time
	// MaxAmount is the most that the cardholder agreed to. No renewal
	// authorizes more.
	MaxAmount   int64
	MaxRenewals uint32
	OnFailure   ExpiryPolicy // takes the place of on_expiry if the hold cannot be renewed
	// ReleaseFirst allows the old authorization to be released before the new
	// one holds the money, if the card lacks funds for both.
	ReleaseFirst bool
}

// DefaultMaxRenewals applies to a request that names no max_renewals.
const DefaultMaxRenewals = 12

// RenewalStep is what a renewal under way does next.
type RenewalStep uint8

// The steps of a renewal.
const (
	RenewalIdle    RenewalStep = iota + 1 // no renewal is under way
	RenewalCreate                         // create the new intent, without confirming it
	RenewalConfirm                        // confirm the new intent off-session
	// The bank requires the cardholder, who can confirm the new intent.
	RenewalRequiresAction
	RenewalFailed // the hold cannot be renewed: on_failure follows
	// The renewal has ended, and whether its intent was created is unknown: it
	// must be found to be released.
	RenewalFind
	RenewalReleaseFirst // release the old intent before the new one is confirmed
)

var renewalStepNames = [...]string{"", "idle", "create", "confirm", "requires_action", "failed",
	"find", "release_first"}

func (s RenewalStep) String() string { return enumName(renewalStepNames[:], int(s)) }

// Renewal is a hold's renewal terms and the renewal under way. A renewal places
// a new authorization before the old one ends and then releases the old one.
type Renewal struct {
	RenewalTerms

	// Of the intent that holds the money now; empty until it was read.
	Customer, PaymentMethod string
	AuthorizedAt            time.Time

	Completed  uint32 // renewals
	Generation uint32 // of the last renewal that began; in the new intent's metadata
	Step       RenewalStep
	Intent     string // the new intent while it does not hold the money yet
	Amount     int64  // that the new intent authorizes
	// Metadata is that of the new intent: the terms when the renewal began.
	// Each request with the key of the creation sends the same.
	Metadata map[string]string
	// Confirmation counts the idempotency keys of the confirmation.
	Confirmation uint32
	Sent         IdempotencyKeyUsage // of the step's key
	ReadFirst    bool                // Stripe must be read before the key is used again
	SearchAfter  string              // the last intent of the page that was searched
	RetryAt      time.Time           // of the next step
	Problem      Cause               // why the step failed or requires action
	DeclineCode  string              // of the last decline
	Advice       DeclineAdvice       // of the last decline
	// IncrementTo is the total that the renewal under way is to reach, 0 if it
	// does not raise the amount. From IncrementUntil on it is given up.
	IncrementTo    int64
	IncrementUntil time.Time
	// incrementFailed is the event of an increment that failed since the hold
	// was last written.
	incrementFailed *Event
	// ownRead says that the hold's own intent was read under this claim and still
	// allows a confirmation. It is not stored.
	ownRead bool
	// Declines are the times of the last declines of the card with the id
	// DeclinedCard, over all its renewals. Card networks limit them.
	Declines     []time.Time
	DeclinedCard string
	// NeverAgain is the decline code after which the card with this id must not
	// be tried again, empty for none.
	NeverAgain string

	// Unprotected says that the old intent is released and the new one does not
	// hold the money yet.
	Unprotected bool
	// ReturnURL is where the bank returns the cardholder. It is set while the
	// intent is confirmed with the cardholder present.
	ReturnURL  string
	CardSetup  string // Checkout Session in which the cardholder gives another card
	CardSetups uint32 // how many were requested
	// ConfirmAt is when the new intent is confirmed again without the
	// cardholder, while the renewal waits for one. Zero if the bank requires one.
	ConfirmAt time.Time

	// Releasing is the intent that must be canceled: the old one after the new
	// one took its place, or the new one of a renewal that ended.
	Releasing       string
	ReleasingSince  time.Time
	ReleaseTry      uint32 // of the idempotency key of the cancel
	ReleaseKeyUsage IdempotencyKeyUsage
	ReleaseRead     bool // the intent must be read before it is canceled again
	Replaced        bool // Releasing is the old one, whose place the new one took
	Exchanged       bool // Releasing was exchanged with the intent that was captured elsewhere
	OwnEnded        bool // the hold's own intent has ended: only the release is left

	Unknown UnknownFields // of a later release
}

const (
	minRenewalLead   = 12 * time.Hour
	renewalPollEvery = 10 * time.Minute // of an intent that waits for the cardholder
)

// renewalLeadTime returns how long before the end of a window its renewal begins.
func renewalLeadTime(window time.Duration) time.Duration {
	return max(0, min(max(minRenewalLead, window/5), window/2))
}

// renewalStartTime returns when the renewal of the current authorization begins.
func renewalStartTime(h *Hold) time.Time {
	return h.ExpiresAt.Add(-renewalLeadTime(h.ExpiresAt.Sub(h.Renewal.AuthorizedAt)))
}

// needsRenewal reports whether the terms ask for the amount after the
// authorization ends. A hold that acts before needs none.
func needsRenewal(h *Hold) bool {
	r := h.Renewal
	switch {
	case r == nil || h.CancelWanted || h.State.IsFinal():
		return false
	case r.Intent != "" && mayHoldNoMoney(r):
		return true // whatever the terms: without it nothing holds the amount
	case !r.Until.After(h.ExpiresAt):
		return false
	}
	state := h.State
	if state == Working {
		state = h.PreviousState
	}
	own := h.ActionTime()
	return own.IsZero() || !own.Before(h.ExpiresAt) || state == Paused || state == Attention
}

// isRenewalOnTrack reports whether the hold will be renewed before its
// authorization ends, as far as is known.
func isRenewalOnTrack(h *Hold) bool {
	return needsRenewal(h) && h.Renewal.Step != RenewalFailed &&
		h.Renewal.Step != RenewalRequiresAction && !h.Renewal.Unprotected
}

// mayHaveSecondAuthorization reports whether another intent than the hold's own may hold
// money, or may come to hold it. A hold that has one must not end.
func mayHaveSecondAuthorization(h *Hold) bool {
	r := h.Renewal
	return r != nil && (r.Releasing != "" || r.Intent != "" || mayRenewalHaveCreatedIntent(r))
}

// mayNewIntentHoldMoney reports whether the new intent may have come to hold the money
// since it was last read: by a confirmation, or by the cardholder's.
func mayNewIntentHoldMoney(r *Renewal) bool {
	return r.Intent != "" && (r.Step == RenewalConfirm || r.Step == RenewalRequiresAction)
}

// mayRenewalHaveCreatedIntent reports whether an intent may exist whose id is not known.
func mayRenewalHaveCreatedIntent(r *Renewal) bool {
	return r.Step == RenewalFind ||
		r.Step == RenewalCreate && (r.Sent.Count > 0 || r.Sent.Unknown)
}

// OverlapSince returns since when two intents of the hold may hold money, if they
// do.
func (r *Renewal) OverlapSince() (since time.Time, ok bool) {
	if r != nil && r.Releasing != "" {
		return r.ReleasingSince, true
	}
	return time.Time{}, false
}

// DeadlineForQueueOrder orders the hold among others that are ready. A release of a
// second authorization comes before all holds whose deadline is still ahead.
func DeadlineForQueueOrder(h *Hold) time.Time {
	if since, ok := h.Renewal.OverlapSince(); ok && h.NextOp == OpRelease {
		return minTime(since, h.ExpiresAt)
	}
	return h.ExpiresAt
}

// unshareRenewal makes the renewal of h its own, so that a change does not show
// in other copies of the hold.
func unshareRenewal(h *Hold) *Renewal {
	r := *h.Renewal
	h.Renewal = &r
	return &r
}

// abandonRenewal ends the renewal under way. Its intent is released, or searched
// for first if its id is not known.
func abandonRenewal(h *Hold, now time.Time) {
	if h.Renewal == nil || h.Renewal.Step == RenewalFind {
		return
	}
	if isReplacementUnderWay(h) {
		recordFailedReplacement(h, HistoryEntry{Cause: CauseSuperseded}, now)
	}
	r := unshareRenewal(h)
	switch {
	case r.Intent != "":
		scheduleIntentRelease(r, r.Intent, now)
		r.Intent = ""
	case mayRenewalHaveCreatedIntent(r):
		r.Step, r.RetryAt = RenewalFind, now
		return
	}
	if r.Step != RenewalFailed {
		r.Step = RenewalIdle
	}
	r.RetryAt = now
	clearRenewalStepKeyUsage(r)
	clearRenewalCardholderState(r)
}

// scheduleIntentRelease makes an intent the one to be canceled.
func scheduleIntentRelease(r *Renewal, id string, now time.Time) {
	r.Releasing, r.ReleasingSince, r.ReleaseTry = id, now, 1
	r.ReleaseKeyUsage, r.ReleaseRead, r.RetryAt = IdempotencyKeyUsage{}, false, now
	r.Replaced = false
}

func clearRenewalStepKeyUsage(r *Renewal) {
	r.Sent, r.ReadFirst, r.SearchAfter = IdempotencyKeyUsage{}, false, ""
}

// prepareRenewalForClaim prepares the renewal of a claimed hold. The record at the
// time of the claim determines what it does, so that each claim of one record
// does the same.
func prepareRenewalForClaim(h *Hold, since time.Time, takenOver bool) {
	if h.Renewal == nil {
		return
	}
	if cause := reasonToStopReplacement(h, since); cause != 0 {
		recordFailedReplacement(h, HistoryEntry{Cause: cause}, since)
		abandonRenewal(h, since)
	}
	switch h.NextOp {
	case OpRenew, OpRelease:
	case OpRead:
		if mayNewIntentHoldMoney(h.Renewal) && h.Renewal.Releasing == "" {
			unshareRenewal(h).ReadFirst = true // the confirmation may have saved the amount
			return
		}
		abandonRenewal(h, since)
	default:
		if !mustCaptureAwaitRenewal(h) {
			abandonRenewal(h, since)
		}
	}
	r := unshareRenewal(h)
	r.ownRead = false
	if r.Releasing != "" {
		beginKeyUse(&r.ReleaseKeyUsage, since, takenOver)
		return
	}
	if mustCaptureAwaitRenewal(h) && (r.RetryAt.After(since) || isAboutToReleaseByPolicy(h)) {
		r.ReadFirst = true // a confirmation that is due comes too late for a cancel
	}
	if h.NextOp == OpRenew && r.Step != RenewalIdle || mustCaptureAwaitRenewal(h) {
		beginKeyUse(&r.Sent, since, takenOver)
	}
}

// startRenewal makes the creation of a new intent the next step. The record then
// has everything that its request sends.
func startRenewal(h *Hold) {
	r := unshareRenewal(h)
	r.Step, r.Generation = RenewalCreate, r.Generation+1
	r.Amount = cmp.Or(r.IncrementTo, h.Amount)
	r.Confirmation, r.Metadata = 0, renewalIntentMetadata(h, r.Generation)
	r.Problem, r.DeclineCode, r.Advice = 0, "", DeclineAdvice{}
	clearRenewalStepKeyUsage(r)
	clearRenewalCardholderState(r)
}

// isRenewalDue reports whether the hold's renewal is to begin.
func isRenewalDue(h *Hold, now time.Time) bool {
	return needsRenewal(h) && h.Renewal.Step == RenewalIdle && h.Renewal.Releasing == "" &&
		!h.Renewal.AuthorizedAt.IsZero() && !renewalStartTime(h).After(now)
}

// shouldWarnAtThreshold reports whether a warning is published at this time before
// the deadline. While a renewal is expected to move the deadline in time, only
// the last part of its lead is warned of.
func shouldWarnAtThreshold(h *Hold, before time.Duration) bool {
	if !isRenewalOnTrack(h) || h.Renewal.AuthorizedAt.IsZero() {
		return true
	}
	return before <= renewalLeadTime(h.ExpiresAt.Sub(h.Renewal.AuthorizedAt))*3/4
}

// onFailureOrOnExpiryPolicy returns what is done with a hold that is still open near its
// deadline: on_failure if it should have been renewed, otherwise on_expiry.
func onFailureOrOnExpiryPolicy(h *Hold) ExpiryPolicy {
	if needsRenewal(h) {
		return h.Renewal.OnFailure
	}
	return h.OnExpiry
}

func beginKeyUse(u *IdempotencyKeyUsage, since time.Time, takenOver bool) {
	if u.FirstAt.IsZero() {
		u.FirstAt = since
	}
	u.Unknown = u.Unknown || takenOver
}

// forgetUnsentKeyUse forgets when a key was first used that was not.
func forgetUnsentKeyUse(u *IdempotencyKeyUsage) {
	if u.Count == 0 && !u.Unknown {
		u.FirstAt = time.Time{}
	}
}

// willBeRenewedUntil reports whether the amount stays held until a time after the
// current authorization, unless a renewal fails.
func willBeRenewedUntil(h *Hold, t time.Time) bool {
	r := h.Renewal
	return r != nil && r.Step != RenewalFailed && !t.Before(h.ExpiresAt) && !t.After(r.Until)
}
