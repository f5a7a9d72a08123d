package main

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// authorizeSavedCard places the hold with a card that the guest saved for
// later, so that holdd can authorize it again. Its authorization is short.
func (b *booking) authorizeSavedCard(outcomes ...stripesim.CardOutcome) error {
	customer, card, err := b.sim.Cards.SaveCard("", "")
	if err != nil {
		return err
	}
	b.intent, err = b.sim.Authorize(stripesim.Hold{Amount: b.amount, Currency: currency,
		Customer: customer, PaymentMethod: card, FutureUsage: "off_session",
		Description: "Booking " + b.reference, Metadata: map[string]string{shortKey: "true"}})
	if err != nil {
		return err
	}
	return b.sim.Cards.SetCardOutcomes(card, outcomes...)
}

// renewLongStay schedules a stay that is longer than its authorization. holdd
// places a new one before the first one ends.
func renewLongStay(ctx context.Context, b *booking) error {
	if err := b.authorizeSavedCard(); err != nil {
		return err
	}
	return b.scheduleLongStay(ctx, hold.PolicyAlert)
}

// needCardholder is a long stay whose bank wants the cardholder before it holds
// the amount again. Nobody comes, and on_failure acts.
func needCardholder(ctx context.Context, b *booking) error {
	if err := b.authorizeSavedCard(
		stripesim.CardOutcome{Code: "authentication_required"}); err != nil {
		return err
	}
	return b.scheduleLongStay(ctx, hold.PolicyCapture)
}

// raiseAmount adds a night to a stay. The card has no incremental authorization,
// so a new authorization takes the place of the old one.
func raiseAmount(ctx context.Context, b *booking) error {
	if err := b.authorizeSavedCard(); err != nil {
		return err
	}
	if err := b.scheduleLongStay(ctx, hold.PolicyAlert); err != nil {
		return err
	}
	if err := b.wait(ctx, 0.5); err != nil {
		return err
	}
	total := b.amount + b.amount/2
	b.print(cyan, "increment", "one more night: "+hold.FormatAmount(total, currency))
	_, err := b.client.Increment(ctx, b.intent, hold.IncrementRequest{Amount: total,
		Reason: "one more night"}, 0)
	return err
}

// scheduleLongStay schedules a capture after the end of the first authorization.
func (b *booking) scheduleLongStay(ctx context.Context, onFailure hold.ExpiryPolicy) error {
	at := time.Now().Add(daysLong(longStayDays, b.day))
	return b.schedule(ctx, hold.ScheduleRequest{CaptureAt: at.Format(time.RFC3339Nano),
		Renewal: &hold.RenewalRequest{MaxAmount: 2 * b.amount, OnFailure: onFailure.String(),
			Until: at.Add(b.day).Format(time.RFC3339Nano)}},
		"a long stay, capture at checkout, "+formatClock(at))
}
