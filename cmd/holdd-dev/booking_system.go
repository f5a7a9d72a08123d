package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// shortKey is the metadata that makes the simulator end an authorization after
// shortDays.
const shortKey = "short_authorization"

// bookingSystem is the booking system of a small hotel. It makes bookings, and
// schedules their holds with holdd.
type bookingSystem struct {
	client *api.Client
	sim    *stripesim.Sim
	out    *printer
	day    time.Duration
}

// booking is one guest's stay.
type booking struct {
	*bookingSystem
	reference, cardholder string
	amount                int64 // minor units
	intent                string
}

const currency = "eur"

// stays are the kinds of stays. Bookings take them in turn.
var stays = []func(context.Context, *booking) error{
	captureAtCheckout, payWithDeclinedCard, payWithThreeDSecure, captureInPart,
	letPolicyCapture, cancelBeforeCheckout, captureWithLostReply,
	renewLongStay, needCardholder, raiseAmount,
}

var cardholders = []string{"Amélie Laurent", "Bao Nguyen", "Chiara Conti", "Daniel Okafor",
	"Elif Yılmaz", "Farid Haddad", "Greta Nilsson", "Hana Sato", "Ivan Petrov", "Kavya Rao",
	"Liam O'Brien", "Marta Kowalska", "Noah Schmidt"}

// run makes bookings until ctx ends.
func (s *bookingSystem) run(ctx context.Context, perMinute int) {
	var open sync.WaitGroup
	defer open.Wait()
	tick := time.NewTicker(time.Minute / time.Duration(perMinute))
	defer tick.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		b := &booking{bookingSystem: s, reference: fmt.Sprintf("HB-%04d", n),
			cardholder: cardholders[(n-1)%len(cardholders)], amount: int64(90_00 + n*37_50%600_00)}
		stay := stays[(n-1)%len(stays)]
		open.Go(func() {
			err := stay(ctx, b)
			if err != nil && !errors.Is(err, errDeclined) && ctx.Err() == nil {
				b.print(red, "failed", err.Error())
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func captureAtCheckout(ctx context.Context, b *booking) error {
	if err := b.authorize("pm_card_visa", nil); err != nil {
		return err
	}
	return b.scheduleCapture(ctx, 2)
}

func payWithDeclinedCard(_ context.Context, b *booking) error {
	return b.authorize("pm_card_visa_chargeDeclinedInsufficientFunds", nil)
}

// payWithThreeDSecure schedules the hold only once the bank has authenticated
// the cardholder: until then Stripe holds no money.
func payWithThreeDSecure(ctx context.Context, b *booking) error {
	if err := b.authorize("pm_card_authenticationRequired", nil); err != nil {
		return err
	}
	b.print(cyan, "3-D Sec.", "requires_action: the bank authenticates the cardholder")
	if err := b.wait(ctx, 0.5); err != nil {
		return err
	}
	if err := b.sim.Dashboard().CompleteAction(b.intent); err != nil {
		return err
	}
	b.print(cyan, "3-D Sec.", "passed: Stripe holds the amount")
	return b.scheduleCapture(ctx, 1)
}

// captureInPart schedules a deposit without a time, and captures a part of it
// once the amount is known.
func captureInPart(ctx context.Context, b *booking) error {
	if err := b.authorize("pm_card_visa", nil); err != nil {
		return err
	}
	if err := b.schedule(ctx, hold.ScheduleRequest{}, "a deposit for the minibar"); err != nil {
		return err
	}
	if err := b.wait(ctx, 1); err != nil {
		return err
	}
	part := b.amount / 5
	b.print(cyan, "capture", "the minibar cost "+hold.FormatAmount(part, currency))
	_, err := b.client.Capture(ctx, b.intent, hold.CaptureRequest{Amount: part}, 0)
	return err
}

// letPolicyCapture schedules a hold and takes no decision. Before the
// authorization ends, holdd warns and then follows on_expiry.
func letPolicyCapture(ctx context.Context, b *booking) error {
	if err := b.authorize("pm_card_visa", map[string]string{shortKey: "true"}); err != nil {
		return err
	}
	return b.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyCapture.String()},
		"no time yet; on_expiry is capture")
}

func cancelBeforeCheckout(ctx context.Context, b *booking) error {
	if err := b.authorize("pm_card_visa", nil); err != nil {
		return err
	}
	if err := b.scheduleCapture(ctx, 2); err != nil {
		return err
	}
	if err := b.wait(ctx, 1); err != nil {
		return err
	}
	b.print(cyan, "cancel", "the guest cancels the stay")
	_, err := b.client.Cancel(ctx, b.intent, "", 0)
	return err
}

// captureWithLostReply loses Stripe's reply to the first capture request: the
// money is captured, and holdd does not know it yet.
func captureWithLostReply(ctx context.Context, b *booking) error {
	if err := b.authorize("pm_card_visa", nil); err != nil {
		return err
	}
	if _, err := b.sim.Faults.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCapture,
		Intent: b.intent, Nth: 1, Fault: stripesim.Fault{Kind: stripesim.FaultDropReply},
	}); err != nil {
		return err
	}
	return b.scheduleCapture(ctx, 1)
}

var errDeclined = errors.New("card declined")

// authorize places the hold at Stripe, as a payment page does: a PaymentIntent
// with capture_method=manual, confirmed with the guest's card.
func (b *booking) authorize(card string, metadata map[string]string) error {
	id, err := b.sim.Authorize(stripesim.Hold{Amount: b.amount, Currency: currency,
		PaymentMethod: card, Description: "Booking " + b.reference, Metadata: metadata})
	if err != nil {
		_, message, _ := strings.Cut(strings.TrimPrefix(err.Error(), "stripesim: "), ": ")
		b.print(red, "declined", message)
		return errDeclined
	}
	b.intent = id
	return nil
}

// scheduleCapture schedules the capture of the whole amount, days from now.
func (b *booking) scheduleCapture(ctx context.Context, days float64) error {
	at := time.Now().Add(daysLong(days, b.day))
	return b.schedule(ctx, hold.ScheduleRequest{CaptureAt: at.Format(time.RFC3339Nano)},
		"capture at checkout, "+formatClock(at))
}

// schedule hands the hold over to holdd.
func (b *booking) schedule(ctx context.Context, req hold.ScheduleRequest, plan string) error {
	req.PaymentIntent, req.Reference = b.intent, b.reference
	req.Metadata = map[string]string{cardholderKey: b.cardholder}
	v, _, err := b.client.Schedule(ctx, req)
	if err != nil {
		return err
	}
	b.print(cyan, "booked", plan+"; the authorization ends at "+
		formatClock(v.ExpiresAt.Local()))
	return nil
}

// wait lets days pass. It returns the error of ctx if ctx ends first.
func (b *booking) wait(ctx context.Context, days float64) error {
	select {
	case <-time.After(daysLong(days, b.day)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *booking) print(color, what, reason string) {
	b.out.printLine(line{b.reference, b.cardholder, hold.FormatAmount(b.amount, currency),
		color, what, reason})
}
