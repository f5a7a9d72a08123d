package hold

import "time"

// CardholderRenewalStatus is what the cardholder of a hold can do for a renewal.
type CardholderRenewalStatus uint8

// The statuses.
const (
	CardholderMustAuthenticate CardholderRenewalStatus = iota + 1 // with the bank, for the same card
	CardholderMustGiveCard                                        // the card that is saved is of no use
	CardholderMustWait                                            // a step of the renewal is under way
	CardholderHasNothingToDo                                      // the renewal is complete
	CardholderLinkOutdated                                        // another renewal has begun since
	CardholderTooLate                                             // the hold, or its authorization, has ended
)

// IsAwaitingCardholder reports whether the renewal of an open hold waits for its
// cardholder.
func IsAwaitingCardholder(h *Hold) bool {
	return !h.State.IsFinal() && h.Renewal != nil && h.Renewal.Step == RenewalRequiresAction
}

// RenewalStatusForCardholder returns what the cardholder can do for the renewal of this
// generation. Once an act would be refused, it is too late.
func RenewalStatusForCardholder(h *Hold, generation uint32, now time.Time) CardholderRenewalStatus {
	s := cardholderStatusOfRenewal(h, generation, now)
	if s != CardholderMustAuthenticate && s != CardholderMustGiveCard {
		return s
	}
	ends := (h.NextOp == OpCapture || h.NextOp == OpCancel) && isOwnOpUnderWayOrDue(h, now)
	if r := h.Renewal; ends || r.Confirmation >= maxConfirmations ||
		s == CardholderMustGiveCard && r.CardSetup == "" && r.CardSetups >= maxCardSetups {
		return CardholderTooLate
	}
	return s
}

func cardholderStatusOfRenewal(h *Hold, generation uint32, now time.Time) CardholderRenewalStatus {
	r := h.Renewal
	switch {
	case h.State.IsFinal() || h.CancelWanted || !now.Before(h.ExpiresAt):
		return CardholderTooLate
	case r == nil || r.Generation != generation:
		return CardholderLinkOutdated
	}
	switch r.Step {
	case RenewalRequiresAction:
		if needsOtherCard(r) {
			return CardholderMustGiveCard
		}
		return CardholderMustAuthenticate
	case RenewalConfirm, RenewalCreate, RenewalReleaseFirst:
		return CardholderMustWait
	case RenewalIdle:
		return CardholderHasNothingToDo
	}
	return CardholderTooLate
}

// needsOtherCard reports whether another try with the saved card is of no use,
// so that the cardholder must give another one.
func needsOtherCard(r *Renewal) bool {
	return classifyDecline(r.DeclineCode, r.Advice) != declineAuthenticate
}

// CheckHoldAwaitsCardholder returns why a hold has no link for its cardholder. The error
// is a *[Problem].
func CheckHoldAwaitsCardholder(h *Hold, now time.Time) error {
	switch {
	case h.State.IsFinal():
		return alreadySettledProblem(h)
	case !IsAwaitingCardholder(h):
		return newProblem(NoActionRequired, "",
			"the renewal of hold %s does not require its cardholder now", h.ID)
	case !now.Before(h.ExpiresAt):
		return newProblem(AfterDeadline, "", "the authorization of hold %s ended at %s", h.ID,
			h.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}

// checkCardholderMayActOnRenewal refuses what the cardholder cannot do any more. The error is
// a *[Problem].
func checkCardholderMayActOnRenewal(h *Hold, generation uint32, now time.Time) error {
	switch cardholderStatusOfRenewal(h, generation, now) {
	case CardholderMustAuthenticate, CardholderMustGiveCard:
	case CardholderMustWait:
		return newProblem(InProgress, "", "the renewal of hold %s is under way", h.ID)
	default:
		return newProblem(NoActionRequired, "",
			"the cardholder can do nothing for the renewal %d of hold %s", generation, h.ID)
	}
	if h.State == Working {
		return newProblem(InProgress, "", "hold %s is being read", h.ID)
	}
	if isOwnOpUnderWayOrDue(h, now) {
		return newProblem(TooLate, "", "hold %s is due for its %s", h.ID, h.NextOp)
	}
	return nil
}

// ScheduleOnSessionRenewalConfirm makes the confirmation of the new intent, with the
// cardholder present, the next step of the renewal. The bank returns the
// cardholder to returnURL. seen is [Renewal].Confirmation when Stripe was last
// read: a click at the same time may have confirmed since. Errors are *[Problem].
func ScheduleOnSessionRenewalConfirm(
	h Hold, generation, seen uint32, returnURL string, now time.Time,
) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	if err := checkCardholderMayActOnRenewal(&h, generation, now); err != nil {
		return Decision{}, err
	}
	switch r := h.Renewal; {
	case r.Confirmation != seen:
		return Decision{}, newProblem(InProgress, "",
			"the renewal of hold %s was confirmed since it was read", h.ID)
	case needsOtherCard(r):
		return Decision{}, newProblem(NoActionRequired, "",
			"the card of hold %s is of no use: the cardholder must give another one", h.ID)
	case r.Confirmation >= maxConfirmations:
		return Decision{}, newProblem(TooLate, "", "the renewal of hold %s was confirmed %d times",
			h.ID, r.Confirmation)
	}
	r := unshareRenewal(&h)
	r.ReturnURL = returnURL
	return scheduleNewIntentConfirmNow(h, "", now), nil
}

// scheduleNewIntentConfirmNow makes another confirmation of the new intent the next step.
func scheduleNewIntentConfirmNow(h Hold, note string, now time.Time) Decision {
	r := unshareRenewal(&h)
	r.Step, r.RetryAt = RenewalConfirm, now
	r.Confirmation++
	clearRenewalStepKeyUsage(r)
	h.Revision++
	appendHistory(&h, HistoryEntry{At: now, Kind: HistoryTriggered, By: "cardholder", Op: OpConfirm,
		Note: note})
	return finishRenewalStep(h, now)
}

// maxCardSetups bounds the Checkout Sessions of one renewal.
const maxCardSetups = 20

// CountCardSetupSession counts a Checkout Session in which the cardholder gives
// another card. The count is in the session's idempotency key, so it is written
// before the session is created. Errors are *[Problem].
func CountCardSetupSession(h Hold, generation uint32, now time.Time) (Decision, error) {
	if err := checkCardholderMayActOnRenewal(&h, generation, now); err != nil {
		return Decision{}, err
	}
	r := unshareRenewal(&h)
	if r.CardSetups >= maxCardSetups {
		return Decision{}, newProblem(TooLate, "", "hold %s has had %d forms for another card",
			h.ID, r.CardSetups)
	}
	r.CardSetups++
	appendHistory(&h, HistoryEntry{At: now.UTC(), Kind: HistoryTriggered, By: "cardholder",
		Op: OpSetUpCard})
	return Decision{Hold: h}, nil
}

// NewCardSetupCall creates the Checkout Session that [CountCardSetupSession] counted.
func NewCardSetupCall(h *Hold, p CardSetupSessionParams) Call {
	r := h.Renewal
	p.Customer = r.Customer
	p.Metadata = cardSetupMetadata(h)
	return Call{Op: OpSetUpCard, Account: h.Account,
		Key:       renewalIdempotencyKey(h, "setup", r.CardSetups),
		CardSetup: &p}
}

func cardSetupMetadata(h *Hold) map[string]string {
	return map[string]string{MetaHold: h.ID,
		MetaGeneration: formatGeneration(h.Renewal.Generation)}
}

// RecordCardSetupSession records the Checkout Session whose card the renewal takes. s is
// the session as Stripe has it: one that is not of this renewal is refused, so
// that it does not take the place of one that is. With returned, the cardholder
// has come back from it, and it is read at once. Errors are *[Problem].
func RecordCardSetupSession(
	h Hold, generation uint32, s *CardSetup, returned bool, now time.Time,
) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	if err := checkCardholderMayActOnRenewal(&h, generation, now); err != nil {
		return Decision{}, err
	}
	if !isCardSetupOfRenewal(&h, s) {
		return Decision{}, newProblem(NoActionRequired, "",
			"the Checkout Session %s is not one of the renewal %d of hold %s", s.ID, generation, h.ID)
	}
	r := unshareRenewal(&h)
	if r.CardSetup == s.ID && !returned {
		return Decision{Hold: h, Unchanged: true}, nil
	}
	r.CardSetup, r.ReadFirst = s.ID, false
	if returned {
		bringRenewalPollForward(r, now)
	}
	return Decision{Hold: h}, nil
}

// isCardSetupOfRenewal reports whether holdd created a Checkout Session for the
// renewal under way, and its customer has it.
func isCardSetupOfRenewal(h *Hold, s *CardSetup) bool {
	r := h.Renewal
	return s.Customer == r.Customer && s.Metadata[MetaHold] == h.ID &&
		s.Metadata[MetaGeneration] == formatGeneration(r.Generation)
}

// minCardholderRead is the least time between two reads that the cardholder's
// page causes.
const minCardholderRead = 3 * time.Second

// bringRenewalPollForward makes the next read of what the renewal waits for due at once, or
// [minCardholderRead] after the last one. A read that is due so soon stays.
func bringRenewalPollForward(r *Renewal, now time.Time) {
	if r.RetryAt.Sub(now) <= minCardholderRead {
		return
	}
	earliest := maxTime(now, r.RetryAt.Add(minCardholderRead-renewalPollEvery))
	r.RetryAt = minTime(r.RetryAt, earliest)
}

// ScheduleRenewalPollAfterCardholderReturn makes the read of what the renewal waits for due, because the
// cardholder has come back: from the bank, or from the recorded Checkout Session.
func ScheduleRenewalPollAfterCardholderReturn(
	h Hold,
	generation uint32,
	now time.Time,
) (Decision, error) {
	now = now.UTC().Truncate(time.Millisecond)
	if err := checkCardholderMayActOnRenewal(&h, generation, now); err != nil {
		return Decision{}, err
	}
	before := h.Renewal.RetryAt
	r := unshareRenewal(&h)
	bringRenewalPollForward(r, now)
	return Decision{Hold: h, Unchanged: r.RetryAt.Equal(before)}, nil
}

// applyCheckoutSessionToRenewal decides by a read of the Checkout Session: the renewal
// goes on with the card that the cardholder gave.
func applyCheckoutSessionToRenewal(h Hold, a Answer, now time.Time) Decision {
	r, s := h.Renewal, a.CardSetup
	base, limit, passing := backoffIfRetryable(a.Kind)
	switch {
	case a.Kind == AnswerForbidden: // the key may not read sessions: the intent is left
		r.ReadFirst = true
		return Decision{Hold: h, NextStepNow: true}
	case passing:
		return retryRenewalStep(h, now, base, limit)
	case a.Kind == AnswerOK && s != nil && s.ID == r.CardSetup:
	case a.Kind == AnswerNotFound, a.Kind == AnswerInvalid:
		r.CardSetup = ""
		return Decision{Hold: h, NextStepNow: true}
	default:
		return retryRenewalStep(h, now, 5*time.Second, maxBackoff)
	}
	own := isCardSetupOfRenewal(&h, s)
	switch {
	case own && s.Status == "open":
		r.ReadFirst = true // the intent, under the same claim
		return Decision{Hold: h, NextStepNow: true}
	case !own || s.Status != "complete" || s.PaymentMethod == "":
		r.CardSetup = ""
		return Decision{Hold: h, NextStepNow: true}
	}
	if s.PaymentMethod == r.PaymentMethod { // the way back was taken twice
		r.CardSetup = ""
		return Decision{Hold: h, NextStepNow: true}
	}
	r.PaymentMethod, r.CardSetup, r.ReturnURL = s.PaymentMethod, "", ""
	if r.Confirmation >= maxConfirmations {
		return failRenewal(h, CauseNoOutcome, "confirmed too often for another card", now)
	}
	d := scheduleNewIntentConfirmNow(h, "another card: "+s.PaymentMethod, now)
	d.NewDeadline = true
	return d
}

// clearRenewalCardholderState forgets what the cardholder of an ended renewal did.
func clearRenewalCardholderState(r *Renewal) {
	r.ReturnURL, r.CardSetup, r.CardSetups, r.ConfirmAt = "", "", 0, time.Time{}
}
