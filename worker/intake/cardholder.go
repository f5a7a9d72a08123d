package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// CallSender sends calls to Stripe under the shared budget. gateway.Caller
// implements it.
type CallSender interface {
	WaitForBudgetAndSend(ctx context.Context, call hold.Call, maxWait time.Duration) (hold.Answer,
		error)
}

const (
	// cardholderWait is how long a cardholder waits for a step of the renewal.
	cardholderWait = 12 * time.Second
	// cardholderBudgetWait is how long a call of the cardholder's waits for the
	// budget.
	cardholderBudgetWait = 3 * time.Second
)

// CardholderActionService takes what the cardholder of a hold does for its renewal.
// The hold's own machine confirms and renews; the service sends only reads, and
// the creation of a Checkout Session, which moves no money. It is safe for
// concurrent use.
//
// Errors are *[hold.Problem] or wrap [health.ErrUnavailable].
type CardholderActionService struct {
	holds     HoldReader
	committer Committer
	stripe    CallSender
	health    *health.Reporter
}

// NewCardholderActionService returns a service that reads holds, writes through
// committer, and calls Stripe.
func NewCardholderActionService(
	holds HoldReader, committer Committer, stripe CallSender, h *health.Reporter,
) *CardholderActionService {
	return &CardholderActionService{holds: holds, committer: committer, stripe: stripe, health: h}
}

// ReadHold returns a hold and Redis' time.
func (d *CardholderActionService) ReadHold(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	h, now, err := readHoldOrNil(ctx, d.holds, d.health, id)
	if err != nil {
		return hold.Hold{}, now, err
	}
	if h == nil {
		return hold.Hold{}, now, &hold.Problem{Code: hold.HoldNotFound,
			Detail: fmt.Sprintf("there is no hold %s", id)}
	}
	return *h, now, nil
}

// StartAuthentication confirms the new intent with the cardholder present, and
// returns the page of the bank. It is empty if the cardholder has nothing to do
// there. The bank returns the cardholder to returnURL.
func (d *CardholderActionService) StartAuthentication(
	ctx context.Context, id string, generation uint32, returnURL string,
) (hold.Secret, error) {
	h, now, err := d.ReadHold(ctx, id)
	if err != nil {
		return hold.Secret{}, err
	}
	seen := uint32(0)
	if hold.RenewalStatusForCardholder(&h, generation, now) == hold.CardholderMustAuthenticate {
		seen = h.Renewal.Confirmation
		// A second click leads to the page of the first one.
		page, err := d.retrieveBankPageURL(ctx, &h)
		if err != nil || page.Reveal() != "" {
			return page, err
		}
	}
	err = d.changeHold(ctx, id, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return hold.ScheduleOnSessionRenewalConfirm(h, generation, seen, returnURL, now)
	})
	if err != nil && !errors.Is(err, &hold.Problem{Code: hold.InProgress}) {
		return hold.Secret{}, err
	}
	h, now, err = d.waitForRenewalStep(ctx, id, generation)
	if err != nil ||
		hold.RenewalStatusForCardholder(&h, generation, now) != hold.CardholderMustAuthenticate {
		return hold.Secret{}, err
	}
	return d.retrieveBankPageURL(ctx, &h)
}

// retrieveBankPageURL reads the new intent and returns the page of the bank,
// empty if the intent does not wait for one. Its URL is a secret and is not
// stored.
func (d *CardholderActionService) retrieveBankPageURL(
	ctx context.Context, h *hold.Hold,
) (hold.Secret, error) {
	a, err := d.sendCall(ctx, hold.Call{Op: hold.OpRead, PaymentIntent: h.Renewal.Intent,
		Account: h.Account})
	switch {
	case err != nil:
		return hold.Secret{}, err
	case a.Kind != hold.AnswerOK:
		return hold.Secret{}, newStripeUnavailableError(&a)
	case a.Intent.Status != hold.StatusRequiresAction || a.Cardholder == nil:
		return hold.Secret{}, nil
	}
	return a.Cardholder.RedirectURL, nil
}

// StartCardSetup returns the page of Stripe's on which the cardholder gives
// another card.
func (d *CardholderActionService) StartCardSetup(
	ctx context.Context, id string, generation uint32, returnURL, cancelURL string,
) (hold.Secret, error) {
	var requested hold.Hold
	err := d.changeHold(ctx, id, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		dec, err := hold.CountCardSetupSession(h, generation, now)
		requested = dec.Hold
		return dec, err
	})
	if err != nil {
		return hold.Secret{}, err
	}
	call := hold.NewCardSetupCall(&requested, hold.CardSetupSessionParams{ReturnURL: returnURL,
		CancelURL: cancelURL})
	a, err := d.sendCall(ctx, call)
	if err == nil && a.Kind == hold.AnswerUnknown {
		a, err = d.sendCall(ctx, call) // the same key: at most one session
	}
	switch {
	case err != nil:
		return hold.Secret{}, err
	case a.Kind != hold.AnswerOK || a.CardSetup.URL.Reveal() == "":
		return hold.Secret{}, newStripeUnavailableError(&a)
	}
	err = d.changeHold(ctx, id, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return hold.RecordCardSetupSession(h, generation, a.CardSetup, false, now)
	})
	return a.CardSetup.URL, err
}

// RecordReturnAndWait takes note that the cardholder has come back from the
// bank, or from the Checkout Session if its id is not empty, and waits for the
// outcome.
func (d *CardholderActionService) RecordReturnAndWait(
	ctx context.Context, id string, generation uint32, session string,
) error {
	setup, err := d.readReturnedSession(ctx, id, generation, session)
	if err != nil {
		return err
	}
	err = d.changeHold(ctx, id, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		if setup != nil {
			return hold.RecordCardSetupSession(h, generation, setup, true, now)
		}
		return hold.ScheduleRenewalPollAfterCardholderReturn(h, generation, now)
	})
	switch {
	case errors.Is(err, &hold.Problem{Code: hold.NoActionRequired}),
		errors.Is(err, &hold.Problem{Code: hold.InProgress}):
	case err != nil:
		return err
	}
	_, _, err = d.waitForRenewalRetrieve(ctx, id, generation)
	return err
}

// readReturnedSession reads the Checkout Session that a way back names, because
// anyone can write its id into the URL. It returns nil if there is none to
// record: the hold has it already, or Stripe does not show it to holdd.
func (d *CardholderActionService) readReturnedSession(
	ctx context.Context, id string, generation uint32, session string,
) (*hold.CardSetup, error) {
	if session == "" {
		return nil, nil
	}
	h, now, err := d.ReadHold(ctx, id)
	if err != nil {
		return nil, err
	}
	switch hold.RenewalStatusForCardholder(&h, generation, now) {
	case hold.CardholderMustAuthenticate, hold.CardholderMustGiveCard:
	default:
		return nil, nil
	}
	if h.Renewal.CardSetup == session {
		return nil, nil
	}
	a, err := d.sendCall(ctx, hold.Call{Op: hold.OpReadCardSetup, Account: h.Account,
		CardSetup: &hold.CardSetupSessionParams{Session: session}})
	switch {
	case err != nil:
		return nil, err
	case a.Kind == hold.AnswerOK:
		return a.CardSetup, nil
	case a.Kind == hold.AnswerNotFound, a.Kind == hold.AnswerInvalid,
		a.Kind == hold.AnswerForbidden:
		return nil, nil
	}
	return nil, newStripeUnavailableError(&a)
}

// changeHold decides a change and writes it. If another writer was first, it decides
// again on the new record. While a worker has the hold, it waits.
func (d *CardholderActionService) changeHold(
	ctx context.Context, id string,
	decide func(h hold.Hold, now time.Time) (hold.Decision, error),
) error {
	ctx, cancel := context.WithTimeout(ctx, cardholderWait)
	defer cancel()
	for pause := incrementPoll; ; pause = min(2*pause, maxIncrementPoll) {
		h, now, err := d.ReadHold(ctx, id)
		if err != nil {
			return err
		}
		dec, err := decide(h, now)
		switch {
		case err != nil && h.State != hold.Working, err == nil && dec.Unchanged:
			return err
		case err == nil:
			c := commit.Change{Before: &h, Decision: dec, At: now}
			written, err := commitChangeIfUnmodified(ctx, d.committer, d.health, &c)
			if err != nil || written {
				return err
			}
		}
		if !execute.SleepUnlessCanceled(ctx, pause) {
			return tooManyConflictsError(id)
		}
	}
}

// waitForRenewalStep waits until the step of the renewal that is under way has
// an outcome, or until the time is over.
func (d *CardholderActionService) waitForRenewalStep(
	ctx context.Context, id string, generation uint32,
) (hold.Hold, time.Time, error) {
	return d.waitForHoldUntil(ctx, id, func(h *hold.Hold, now time.Time) bool {
		return hold.RenewalStatusForCardholder(h, generation, now) != hold.CardholderMustWait
	})
}

// waitForRenewalRetrieve waits like waitForRenewalStep, and also until a read
// that is due is over.
func (d *CardholderActionService) waitForRenewalRetrieve(
	ctx context.Context, id string, generation uint32,
) (hold.Hold, time.Time, error) {
	return d.waitForHoldUntil(ctx, id, func(h *hold.Hold, now time.Time) bool {
		soon := h.Renewal != nil && h.Renewal.RetryAt.Before(now.Add(cardholderWait))
		switch hold.RenewalStatusForCardholder(h, generation, now) {
		case hold.CardholderMustWait:
			return false
		case hold.CardholderMustAuthenticate, hold.CardholderMustGiveCard:
			return h.State != hold.Working && !soon
		}
		return true
	})
}

func (d *CardholderActionService) waitForHoldUntil(
	ctx context.Context, id string, done func(h *hold.Hold, now time.Time) bool,
) (hold.Hold, time.Time, error) {
	wait, cancel := context.WithTimeout(ctx, cardholderWait)
	defer cancel()
	for pause := incrementPoll; ; pause = min(2*pause, maxIncrementPoll) {
		h, now, err := d.ReadHold(ctx, id)
		if err != nil || done(&h, now) || !execute.SleepUnlessCanceled(wait, pause) {
			return h, now, err
		}
	}
}

func (d *CardholderActionService) sendCall(ctx context.Context, call hold.Call) (hold.Answer, error) {
	a, err := d.stripe.WaitForBudgetAndSend(ctx, call, cardholderBudgetWait)
	if err != nil {
		return a, fmt.Errorf("%w (%w)", health.ErrUnavailable, err)
	}
	return a, nil
}

// newStripeUnavailableError is the error of an answer that does not help the
// cardholder.
func newStripeUnavailableError(a *hold.Answer) error {
	return fmt.Errorf("%w: Stripe answered %s %s", health.ErrUnavailable, a.Kind, a.Code)
}
