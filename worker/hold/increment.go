package hold

import (
	"cmp"
	"slices"
	"time"
)

// IncrementRequest asks for a higher authorized amount.
type IncrementRequest struct {
	Amount int64  `json:"amount" doc:"The new authorized total, in minor units" example:"15000"`
	Reason string `json:"reason,omitempty" doc:"Why, for the hold's history, such as extra nights" example:"one more night" maxLength:"200"`
}

// MaxIncrementReason is the longest reason of an increment, in bytes.
const MaxIncrementReason = 200

// incrementTimeLimit is how long an increment is tried. A person waits for it,
// and the bank may hold the money long after that person has gone on.
const incrementTimeLimit = 10 * time.Minute

// PendingIncrement is a requested increment that has no outcome yet. The total is
// absolute, so a late duplicate of the request changes nothing.
type PendingIncrement struct {
	Amount int64     // the authorized total to reach; 0: none is requested
	Until  time.Time // from then on no request is sent, only reads
	// Paused says that the hold returns to [Paused], PauseCause why it is.
	Paused     bool
	PauseCause Cause
}

// CardFeatures is a set of features that a charge has.
type CardFeatures uint8

// The features. Without FeaturesKnown the charge was not read.
const (
	FeaturesKnown CardFeatures = 1 << iota
	FeatureExtended
	FeatureIncremental
	FeatureMulticapture
	FeatureOvercapture
)

// featureNames are in the order of the bits after FeaturesKnown.
var featureNames = []string{"extended_authorization", "incremental_authorization", "multicapture",
	"overcapture"}

// Names returns the names of the features, in a fixed order.
func (f CardFeatures) Names() []string {
	var names []string
	for i, name := range featureNames {
		if f&(FeatureExtended<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// agreedMaxAmount returns the most that the cardholder agreed to have
// authorized, 0 without terms of renewal.
func agreedMaxAmount(h *Hold) int64 {
	if h.Renewal == nil {
		return 0
	}
	return cmp.Or(h.Renewal.MaxAmount, AuthorizedTotal(h))
}

func incrementUnavailableProblem(h *Hold) *Problem {
	return newProblem(IncrementUnavailable, "", "the authorization of hold %s cannot be raised: "+
		"its charge says that incremental authorization is unavailable; request it "+
		"(request_incremental_authorization) when the hold is placed, or schedule it with "+
		"renewal.max_amount and a saved card", h.ID)
}

// RequestIncrement asks the bank for a higher authorized amount now. The hold
// then returns to its own terms, whatever the bank answers. Errors are
// *[Problem].
func (h Hold) RequestIncrement(
	req IncrementRequest, by string, now time.Time, r DecisionRules,
) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	if err := checkChangeable(&h); err != nil {
		return Decision{}, err
	}
	if IsIncrementPendingTo(&h, req.Amount) {
		return Decision{Hold: h, Unchanged: true}, nil // requested before
	}
	if err := checkIncrementAllowedNow(&h, now); err != nil {
		return Decision{}, err
	}
	if h.Renewal != nil && mayHoldNoMoney(h.Renewal) {
		return Decision{}, newProblem(InProgress, "", "the amount of hold %s is being "+
			"authorized again: nothing holds it now", h.ID)
	}
	if err := checkIncrementRequest(&h, req); err != nil {
		return Decision{}, err
	}
	switch total := AuthorizedTotal(&h); {
	case total == req.Amount && h.Verified:
		return Decision{Hold: h, Unchanged: true}, nil // has it already
	case capturedSoFar(&h) > 0:
		return Decision{}, newProblem(IncrementUnavailable, "",
			"a part of hold %s is captured: the rest cannot be raised", h.ID)
	case h.Features&FeaturesKnown != 0 && h.Features&FeatureIncremental == 0:
		return requestReplacementForIncrement(h, req, by, now, r)
	}
	h.Increment = PendingIncrement{Amount: req.Amount, Until: incrementGiveUpTime(&h, now, r),
		Paused: h.State == Paused}
	if h.State == Paused {
		h.Increment.PauseCause = h.Reason
	}
	d := replacePendingRequestWithOpNow(h, OpIncrement, by, now)
	d.Hold.History[len(d.Hold.History)-1].Note = describeIncrementRequest(&h, req)
	return d, nil
}

// incrementGiveUpTime returns until when an increment that is requested now is tried:
// it delays neither the hold's own time nor on_expiry.
func incrementGiveUpTime(h *Hold, now time.Time, r DecisionRules) time.Time {
	until := minTime(now.Add(incrementTimeLimit), h.ExpiresAt)
	for _, at := range []time.Time{h.ActionTime(), expiryPolicyTime(h, r)} {
		if at.After(now) && (h.State != Paused || !at.Equal(h.ActionTime())) {
			until = minTime(until, at)
		}
	}
	return until.UTC().Truncate(time.Millisecond)
}

// describeIncrementRequest is the note of a request in the history.
func describeIncrementRequest(h *Hold, req IncrementRequest) string {
	note := "to " + FormatAmount(req.Amount, h.Currency)
	if req.Reason != "" {
		note += ": " + req.Reason
	}
	return note
}

// checkIncrementAllowedNow refuses an increment that would come in the way of what
// the hold does next.
func checkIncrementAllowedNow(h *Hold, now time.Time) error {
	switch {
	case h.CancelWanted:
		return cancelAcceptedProblem(h, "raise")
	case h.State == Attention:
		return newProblem(TooLate, "",
			"hold %s needs attention: capture, cancel or reschedule it first", h.ID)
	case IsIncrementPending(h):
		return newIncrementPendingProblem(h)
	case mayHaveSecondAuthorization(h) || h.NextOp == OpRenew || h.NextOp == OpRelease:
		return newProblem(TooLate, "", "hold %s is being renewed: it can be raised when the new "+
			"authorization has taken the place of the old one", h.ID)
	case h.State == Scheduled && (h.Reason != CauseSchedule || !h.ActionTime().After(now)):
		return newProblem(TooLate, "", "hold %s is due for its %s: it cannot be raised any more",
			h.ID, h.NextOp)
	case !h.ExpiresAt.After(now):
		return newProblem(AfterDeadline, "", "the authorization of hold %s ended at %s", h.ID,
			h.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}

func newIncrementPendingProblem(h *Hold) *Problem {
	return newProblem(TooLate, "", "an increment of hold %s to %s has no outcome yet: try again "+
		"in a moment", h.ID, FormatAmount(pendingIncrementTargetTotal(h), h.Currency))
}

// checkIncrementRequest checks amount and reason.
func checkIncrementRequest(h *Hold, req IncrementRequest) error {
	if err := checkAmount("amount", req.Amount, h.Currency); err != nil {
		return err
	}
	if total := AuthorizedTotal(h); req.Amount == 0 || req.Amount < total {
		return newProblem(InvalidAmount, "amount", "invalid amount %s: want the new total, "+
			"more than the %s that is authorized now", FormatAmount(req.Amount, h.Currency),
			FormatAmount(total, h.Currency))
	}
	if most := agreedMaxAmount(h); most > 0 && req.Amount > most {
		return newProblem(AmountTooLarge, "amount",
			"%s is more than max_amount, %s, to which the cardholder agreed",
			FormatAmount(req.Amount, h.Currency), FormatAmount(most, h.Currency))
	}
	if len(req.Reason) > MaxIncrementReason || !isDisplayable(req.Reason) {
		return newProblem(InvalidField, "reason",
			"invalid reason: want at most %d bytes of UTF-8 without control characters",
			MaxIncrementReason)
	}
	return nil
}

// mustRetrieveBeforeIncrement reports whether a claimed hold must be read instead of
// incremented: what its charge has is not known, or the time is over.
func mustRetrieveBeforeIncrement(h *Hold, now time.Time) bool {
	return h.NextOp == OpIncrement && (!h.Verified || h.Features&FeaturesKnown == 0 ||
		!now.Before(h.Increment.Until))
}

// hasReachedIncrement reports whether the intent holds at least the total that
// the hold is to be raised to.
func hasReachedIncrement(h *Hold, in *PaymentIntent) bool {
	return in.Status == StatusRequiresCapture &&
		in.AmountCapturable+in.AmountReceived >= h.Increment.Amount
}

// applyIncrementAnswer decides what the answer to an increment means. ok is
// false where it means the same as for any other request.
func applyIncrementAnswer(h Hold, call Call, a Answer, now time.Time) (d Decision, ok bool) {
	if call.Op != OpIncrement {
		return Decision{}, false
	}
	switch a.Kind {
	case AnswerOK:
		if a.Intent == nil || !hasReachedIncrement(&h, a.Intent) {
			return Decision{}, false
		}
		return completeIncrement(h, a.Intent, now), true
	case AnswerDeclined, AnswerInvalid, AnswerAmountTooLarge:
		// Only a read shows that an earlier request, or another system, has
		// not reached the amount.
		h.ReadFirst = true
		return Decision{Hold: h, NextStepNow: true}, true
	}
	return Decision{}, false
}

// applyRetrieveDuringIncrement decides by a read of a hold that is to be raised and is
// still held. ok is false if the increment is sent next, or if the read proves
// nothing yet.
func applyRetrieveDuringIncrement(h Hold, in *PaymentIntent, now time.Time) (d Decision, ok bool) {
	if !h.Verified || in.AmountCapturable <= 0 {
		return Decision{}, false
	}
	if hasReachedIncrement(&h, in) {
		return completeIncrement(h, in, now), true
	}
	last := lastHistoryEntryOfKind(&h, HistoryAttempt)
	if h.Sent.Unknown && now.Sub(last.At) < lateEffectWindow {
		return Decision{}, false
	}
	refused := h.Sent.Count > 0 && last.Op == OpIncrement && slices.Contains([]AnswerKind{
		AnswerDeclined, AnswerInvalid, AnswerAmountTooLarge, AnswerUnexpectedState,
		AnswerChargeGone}, last.Answer)
	outcome := HistoryEntry{}
	switch {
	case in.Features&FeaturesKnown != 0 && in.Features&FeatureIncremental == 0:
		outcome.Cause = CauseUnavailable // a request for an unverified hold was refused for that
	case refused:
		outcome.Answer, outcome.Cause, outcome.Note = last.Answer, CauseRefused, last.Note
	case in.Features&FeatureIncremental == 0:
		outcome.Cause = CauseUnavailable
	case !now.Before(h.Increment.Until):
		outcome.Cause = CauseTooLate
	default:
		return Decision{}, false
	}
	old := h
	updateFromHeldIntent(&h, in, now)
	startKeyGenerationIfSent(&h)
	if pending := h.Increment; outcome.Cause == CauseUnavailable &&
		checkReplacementPossible(&h, pending.Amount, now) == nil &&
		now.Before(pending.Until) && pending.Amount <= agreedMaxAmount(&h) {
		restorePlanAfterIncrement(&h, now)
		d = startReplacementWithRetrieve(h, pending.Amount, pending.Until)
		// The claim ends: its next call would be the hold's own operation.
		d.NextStepNow, d.NewDeadline = false, !h.ExpiresAt.Equal(old.ExpiresAt)
		return d, true
	}
	d = failIncrement(h, outcome, now)
	d.NewDeadline = !h.ExpiresAt.Equal(old.ExpiresAt)
	return d, true
}

// completeIncrement ends an increment that an answer shows.
func completeIncrement(h Hold, in *PaymentIntent, now time.Time) Decision {
	cause, old := CauseTrigger, h
	if h.Sent.Count == 0 && !h.Sent.Unknown {
		cause = CauseElsewhere
	}
	note := "from " + FormatAmount(AuthorizedTotal(&h), h.Currency)
	updateFromHeldIntent(&h, in, now)
	note += " to " + FormatAmount(AuthorizedTotal(&h), h.Currency)
	startKeyGenerationIfSent(&h)
	restorePlanAfterIncrement(&h, now)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryIncrement, By: "holdd", Op: OpIncrement,
		Answer: AnswerOK, Cause: cause, Note: note})
	d := Decision{Hold: h, NewDeadline: !h.ExpiresAt.Equal(old.ExpiresAt)}
	d.addEvent(EventIncremented, cause)
	return d
}

// failIncrement ends an increment that is known not to have happened. The old
// amount stays held.
func failIncrement(h Hold, outcome HistoryEntry, now time.Time) Decision {
	if outcome.Note == "" {
		outcome.Note = "not raised to " + FormatAmount(h.Increment.Amount, h.Currency)
	}
	restorePlanAfterIncrement(&h, now)
	h.Revision++
	outcome.At, outcome.Kind, outcome.By, outcome.Op = now, HistoryIncrement, "holdd", OpIncrement
	appendHistory(&h, outcome)
	d := Decision{Hold: h}
	d.Events = []Event{{Type: EventIncrementFailed, Cause: outcome.Cause, Detail: outcome.Note}}
	return d
}

// startKeyGenerationIfSent begins a new generation of the key after an answer that shows
// the money held. A later increment to the same amount has a key of its own,
// because Stripe would replay the answer to this one.
func startKeyGenerationIfSent(h *Hold) {
	if h.Sent.Count > 0 || h.Sent.Unknown {
		h.Generation++
	}
	h.Sent, h.ReadFirst, h.InconclusiveReads = IdempotencyKeyUsage{}, false, 0
}

// restorePlanAfterIncrement plans the hold as if no increment was requested.
func restorePlanAfterIncrement(h *Hold, now time.Time) {
	pending := h.Increment
	planNextOp(h, now)
	if pending.Paused {
		h.State, h.NextOp, h.NextAt, h.Reason = Paused, 0, time.Time{}, pending.PauseCause
	}
}

// copyWithoutIncrement returns the hold as it is after a requested increment. What
// is to happen to a hold at its deadline does not depend on the increment.
func copyWithoutIncrement(h *Hold) *Hold {
	if h.NextOp != OpIncrement {
		return h
	}
	after := *h
	restorePlanAfterIncrement(&after, h.Increment.Until)
	return &after
}

// cancelPendingIncrement ends an increment that is not under way because another request
// takes its place.
func cancelPendingIncrement(h *Hold, now time.Time) []Event {
	if h.NextOp != OpIncrement {
		return nil
	}
	d := failIncrement(*h, HistoryEntry{Cause: CauseSuperseded}, now)
	*h = d.Hold
	return d.Events
}

// FindIncrementOutcomeInHistory returns what became of the increment to amount that was
// requested at a time. Errors are *[Problem].
func FindIncrementOutcomeInHistory(
	h *Hold,
	amount int64,
	requested time.Time,
) (pending bool, err error) {
	at := slices.IndexFunc(h.History, func(e HistoryEntry) bool {
		return e.Kind == HistoryTriggered && e.Op == OpIncrement && e.At.Equal(requested)
	})
	for _, e := range h.History[at+1:] {
		if e.Kind == HistoryIncrement && !e.At.Before(requested) {
			return false, problemOfFailedIncrement(h, amount, &e)
		}
	}
	switch {
	case IsIncrementPending(h):
		return true, nil
	case h.State.IsFinal():
		return false, alreadySettledProblem(h)
	}
	return false, newProblem(TooLate, "", "hold %s was not raised: it needs attention (%s)", h.ID,
		h.Reason)
}

// LastIncrementRequestTime returns when the newest increment was requested.
func LastIncrementRequestTime(h *Hold) time.Time {
	for _, e := range slices.Backward(h.History) {
		if e.Kind == HistoryTriggered && e.Op == OpIncrement {
			return e.At
		}
	}
	return time.Time{}
}

// problemOfFailedIncrement returns why an increment failed, nil if it did not. e is its
// outcome.
func problemOfFailedIncrement(h *Hold, amount int64, e *HistoryEntry) error {
	held := FormatAmount(AuthorizedTotal(h), h.Currency) + " stays held"
	switch {
	case e.Answer == AnswerOK:
		return nil
	case e.Answer == AnswerDeclined:
		p := newProblem(Declined, "", "the bank declined to raise hold %s to %s (%s): %s", h.ID,
			FormatAmount(amount, h.Currency), e.Note, held)
		p.DeclineCode = e.Note
		return p
	case e.Cause == CauseUnavailable:
		return incrementUnavailableProblem(h)
	case e.Cause == CauseRefused:
		return newProblem(IncrementUnavailable, "", "Stripe refused to raise hold %s (%s): %s",
			h.ID, e.Note, held)
	}
	return newProblem(TooLate, "", "hold %s was not raised in time (%s): %s", h.ID, e.Cause, held)
}
