package main

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// kind is what a story is about.
type kind int

const (
	stay kind = iota + 1
	noFunds
	saved
	secure
	wishedLate
	deposit
	minibar
	forgotten
	lost
	dashboard
	canceledInTime
	moved
	left
	lapsed
	canceledLate
	lastKind = canceledLate
)

// story is what happens to one booking.
type story struct {
	kind   kind
	weight int    // how often, next to the others
	card   string // test PaymentMethod; empty: one that works
	tell   func(ctx context.Context, g *guest)
}

// stories are in the order of the first round: those that take long come early, and quick ones stand between them.
var stories = []story{
	{stay, 8, "", tellStay},
	{noFunds, 2, "pm_card_visa_chargeDeclinedInsufficientFunds", tellNoFunds},
	{saved, 1, "", tellSaved},
	{secure, 2, "pm_card_authenticationRequired", tellSecure},
	{wishedLate, 1, "", tellWishedLate},
	{deposit, 3, "", tellDeposit},
	{forgotten, 1, "", tellForgotten},
	{minibar, 3, "", tellMinibar},
	{lost, 1, "", tellLost},
	{dashboard, 1, "", tellDashboard},
	{lapsed, 1, "", tellLapsed},
	{canceledInTime, 1, "", tellCanceledInTime},
	{left, 1, "pm_card_authenticationRequired", tellLeft},
	{moved, 1, "", tellMoved},
	{canceledLate, 1, "", tellCanceledLate},
}

// at is a time as the API takes it.
func at(t time.Time) string { return t.Format(time.RFC3339Nano) }

// checkout schedules the capture so many days from now.
func (g *guest) checkout(ctx context.Context, days float64) (time.Time, bool) {
	t := g.in(days)
	ok := g.schedule(ctx, hold.ScheduleRequest{CaptureAt: at(t)}, "capture at checkout, "+clock(t))
	return t, ok
}

func tellStay(ctx context.Context, g *guest) {
	if g.pay(authorizationDays) {
		g.checkout(ctx, g.days)
	}
}

func tellNoFunds(_ context.Context, g *guest) { g.pay(authorizationDays) }

func tellSaved(ctx context.Context, g *guest) {
	if g.pay(shortDays) {
		g.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyCapture.String()}, "waits for the desk to tell; on_expiry capture")
	}
}

func tellForgotten(ctx context.Context, g *guest) {
	if g.pay(shortDays) {
		g.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyCancel.String()}, "waits for the desk to tell; on_expiry cancel")
	}
}

func tellLapsed(ctx context.Context, g *guest) {
	if g.pay(shortDays) {
		g.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyAlert.String()}, "waits for the desk to tell; on_expiry alert")
	}
}

func tellSecure(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) || !g.wait(ctx, g.day(0.7)) {
		return
	}
	if err := g.sim.Dashboard().CompleteAction(g.intent); err != nil {
		g.tell.line(g.subject, red, "3-D Sec.", err.Error())
		return
	}
	g.books.place(g.booking, g.intent, stillHeld)
	g.tell.line(g.subject, green, "3-D Sec.", "passed: the money is held")
	g.checkout(ctx, 1)
}

func tellLeft(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) || !g.wait(ctx, g.day(1.5)) {
		return
	}
	if err := g.sim.Dashboard().Cancel(g.intent, "abandoned"); err != nil {
		g.tell.line(g.subject, red, "3-D Sec.", err.Error())
		return
	}
	g.books.place(g.booking, g.intent, abandoned)
	g.tell.line(g.subject, faint, "left", "the guest never came back from 3-D Secure: nothing was held, the room is free again")
}

func tellWishedLate(ctx context.Context, g *guest) {
	if !g.pay(shortDays) {
		return
	}
	if _, ok := g.checkout(ctx, shortDays+1.5); ok {
		return
	}
	if g.wait(ctx, g.day(0.3)) {
		g.checkout(ctx, 1.5)
	}
}

func tellDeposit(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) {
		return
	}
	t := g.in(g.days * 0.6)
	g.schedule(ctx, hold.ScheduleRequest{CancelAt: at(t)}, "a deposit, to be released at "+clock(t))
}

func tellMinibar(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) || !g.schedule(ctx, hold.ScheduleRequest{}, "a deposit for the mini-bar, until the desk tells") || !g.wait(ctx, g.day(1)) {
		return
	}
	g.tell.line(g.subject, cyan, "mini-bar", "the guest had drinks for "+hold.FormatAmount(g.part, g.currency)+": the desk asks for just that")
	c, done := g.change(ctx)
	defer done()
	if _, err := g.client.Capture(c, g.intent, g.part, 0); err != nil {
		g.refused(err)
	}
}

func tellLost(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) {
		return
	}
	if _, err := g.sim.AddFault(stripesim.Rule{Class: stripesim.ClassCapture, Intent: g.intent, Nth: 1, Times: 1,
		Fault: stripesim.Fault{Kind: stripesim.DropReply}}); err != nil {
		g.tell.line(g.subject, red, "fault", err.Error())
	}
	t := g.in(1)
	g.schedule(ctx, hold.ScheduleRequest{CaptureAt: at(t)}, "capture at checkout, "+clock(t)+", when a connection will break")
}

func tellDashboard(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) {
		return
	}
	if _, ok := g.checkout(ctx, 2); !ok || !g.wait(ctx, g.day(1)) {
		return
	}
	if err := g.sim.Dashboard().Capture(g.intent, 0); err != nil {
		g.tell.line(g.subject, red, "dashboard", err.Error())
		return
	}
	g.tell.line(g.subject, yellow, "dashboard", "somebody captures it in Stripe's Dashboard, and tells nobody")
}

// justBefore is how many days before its time a hold is canceled in the last moment: six hours.
const justBefore = 0.25

func tellCanceledInTime(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) {
		return
	}
	t, ok := g.checkout(ctx, 1.5)
	if !ok || !g.wait(ctx, time.Until(t)-g.day(justBefore)) {
		return
	}
	if g.cancel(ctx, fmt.Sprintf("the guest falls ill, %s before the capture: the desk cancels", length(time.Until(t)))) {
		g.books.count(inTime)
	}
}

func tellMoved(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) {
		return
	}
	if _, ok := g.checkout(ctx, 1.5); !ok || !g.wait(ctx, g.day(1)) {
		return
	}
	t := g.in(1)
	later := at(t)
	c, done := g.change(ctx)
	defer done()
	if _, err := g.client.Patch(c, g.intent, hold.Patch{CaptureAt: &later}, 0); err != nil {
		g.refused(err)
		return
	}
	g.books.count(movedTime)
	g.tell.line(g.subject, cyan, "changed", "the guest stays longer: capture at "+clock(t)+" instead")
}

func tellCanceledLate(ctx context.Context, g *guest) {
	if !g.pay(authorizationDays) {
		return
	}
	if t, ok := g.checkout(ctx, 1); ok && g.wait(ctx, time.Until(t)+g.day(0.5)) {
		g.cancel(ctx, "the guest disputes the bill, and the desk cancels")
	}
}
