package main

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// scenarioKind is what a story is about.
type scenarioKind int

const (
	captureAtCheckout scenarioKind = iota + 1
	insufficientFunds
	capturedByPolicy
	threeDSecurePassed
	captureAfterDeadline
	deposit
	partialCapture
	canceledByPolicy
	lostReplyCapture
	dashboardCapture
	canceledInTime
	checkoutMoved
	threeDSecureAbandoned
	expiredByPolicy
	canceledAfterCapture
	lastKind = canceledAfterCapture
)

// scenario is what happens to one booking.
type scenario struct {
	kind   scenarioKind
	weight int    // how often, next to the others
	card   string // test PaymentMethod; empty: one that works
	run    func(ctx context.Context, g *scenarioRun)
}

// scenarios are in the order of the first round: those that take long come
// early, and quick ones stand between them.
var scenarios = []scenario{
	{captureAtCheckout, 8, "", runCaptureAtCheckout},
	{insufficientFunds, 2, "pm_card_visa_chargeDeclinedInsufficientFunds", runInsufficientFunds},
	{capturedByPolicy, 1, "", runCapturedByPolicy},
	{threeDSecurePassed, 2, "pm_card_authenticationRequired", runThreeDSecurePassed},
	{captureAfterDeadline, 1, "", runCaptureAfterDeadline},
	{deposit, 3, "", runDeposit},
	{canceledByPolicy, 1, "", runCanceledByPolicy},
	{partialCapture, 3, "", runPartialCapture},
	{lostReplyCapture, 1, "", runLostReplyCapture},
	{dashboardCapture, 1, "", runDashboardCapture},
	{expiredByPolicy, 1, "", runExpiredByPolicy},
	{canceledInTime, 1, "", runCanceledInTime},
	{threeDSecureAbandoned, 1, "pm_card_authenticationRequired", runThreeDSecureAbandoned},
	{checkoutMoved, 1, "", runCheckoutMoved},
	{canceledAfterCapture, 1, "", runCanceledAfterCapture},
}

// formatTime is a time as the API takes it.
func formatTime(t time.Time) string { return t.Format(time.RFC3339Nano) }

// scheduleCapture schedules the capture so many days from now.
func (g *scenarioRun) scheduleCapture(ctx context.Context, days float64) (time.Time, bool) {
	t := g.daysFromNow(days)
	ok := g.schedule(ctx, hold.ScheduleRequest{CaptureAt: formatTime(t)},
		"capture at checkout, "+formatClock(t))
	return t, ok
}

func runCaptureAtCheckout(ctx context.Context, g *scenarioRun) {
	if g.pay(authorizationDays) {
		g.scheduleCapture(ctx, g.days)
	}
}

func runInsufficientFunds(_ context.Context, g *scenarioRun) { g.pay(authorizationDays) }

func runCapturedByPolicy(ctx context.Context, g *scenarioRun) {
	if g.pay(shortDays) {
		g.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyCapture.String()},
			"waits for the desk to tell; on_expiry capture")
	}
}

func runCanceledByPolicy(ctx context.Context, g *scenarioRun) {
	if g.pay(shortDays) {
		g.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyCancel.String()},
			"waits for the desk to tell; on_expiry cancel")
	}
}

func runExpiredByPolicy(ctx context.Context, g *scenarioRun) {
	if g.pay(shortDays) {
		g.schedule(ctx, hold.ScheduleRequest{OnExpiry: hold.PolicyAlert.String()},
			"waits for the desk to tell; on_expiry alert")
	}
}

func runThreeDSecurePassed(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) || !g.wait(ctx, g.daysDuration(0.7)) {
		return
	}
	if err := g.sim.Dashboard().CompleteAction(g.intent); err != nil {
		g.printer.printLine(g.subject, red, "3-D Sec.", err.Error())
		return
	}
	g.ledger.place(g.booking, g.intent, stillHeld)
	g.printer.printLine(g.subject, green, "3-D Sec.", "passed: the money is held")
	g.scheduleCapture(ctx, 1)
}

func runThreeDSecureAbandoned(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) || !g.wait(ctx, g.daysDuration(1.5)) {
		return
	}
	if err := g.sim.Dashboard().Cancel(g.intent, "abandoned"); err != nil {
		g.printer.printLine(g.subject, red, "3-D Sec.", err.Error())
		return
	}
	g.ledger.place(g.booking, g.intent, abandoned)
	g.printer.printLine(g.subject, faint, "left",
		"the guest never came back from 3-D Secure: nothing was held, the room is free again")
}

func runCaptureAfterDeadline(ctx context.Context, g *scenarioRun) {
	if !g.pay(shortDays) {
		return
	}
	if _, ok := g.scheduleCapture(ctx, shortDays+1.5); ok {
		return
	}
	if g.wait(ctx, g.daysDuration(0.3)) {
		g.scheduleCapture(ctx, 1.5)
	}
}

func runDeposit(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) {
		return
	}
	t := g.daysFromNow(g.days * 0.6)
	g.schedule(ctx, hold.ScheduleRequest{CancelAt: formatTime(t)}, "a deposit, to be released at "+
		formatClock(t))
}

func runPartialCapture(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) || !g.schedule(ctx, hold.ScheduleRequest{},
		"a deposit for the mini-bar, until the desk tells") || !g.wait(ctx, g.daysDuration(1)) {
		return
	}
	g.printer.printLine(g.subject, cyan, "mini-bar", "the guest had drinks for "+
		hold.FormatAmount(g.partAmount, g.currency)+": the desk asks for just that")
	c, done := g.beginChange(ctx)
	defer done()
	if _, err := g.client.Capture(c, g.intent, g.partAmount, 0); err != nil {
		g.reportRejection(err)
	}
}

func runLostReplyCapture(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) {
		return
	}
	if _, err := g.sim.AddFaultRule(stripesim.FaultRule{Class: stripesim.ClassCapture,
		Intent: g.intent, Nth: 1, Times: 1,
		Fault: stripesim.Fault{Kind: stripesim.FaultDropReply}}); err != nil {
		g.printer.printLine(g.subject, red, "fault", err.Error())
	}
	t := g.daysFromNow(1)
	g.schedule(ctx, hold.ScheduleRequest{CaptureAt: formatTime(t)}, "capture at checkout, "+
		formatClock(t)+", when a connection will break")
}

func runDashboardCapture(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) {
		return
	}
	if _, ok := g.scheduleCapture(ctx, 2); !ok || !g.wait(ctx, g.daysDuration(1)) {
		return
	}
	if err := g.sim.Dashboard().Capture(g.intent, 0); err != nil {
		g.printer.printLine(g.subject, red, "dashboard", err.Error())
		return
	}
	g.printer.printLine(g.subject, yellow, "dashboard",
		"somebody captures it in Stripe's Dashboard, and tells nobody")
}

// cancelLeadDays is how many days before its time a hold is canceled in the
// last moment: six hours.
const cancelLeadDays = 0.25

func runCanceledInTime(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) {
		return
	}
	t, ok := g.scheduleCapture(ctx, 1.5)
	if !ok || !g.wait(ctx, time.Until(t)-g.daysDuration(cancelLeadDays)) {
		return
	}
	if g.cancel(ctx, fmt.Sprintf("the guest falls ill, %s before the capture: the desk cancels",
		formatDuration(time.Until(t)))) {
		g.ledger.count(canceledBeforeCapture)
	}
}

func runCheckoutMoved(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) {
		return
	}
	if _, ok := g.scheduleCapture(ctx, 1.5); !ok || !g.wait(ctx, g.daysDuration(1)) {
		return
	}
	t := g.daysFromNow(1)
	later := formatTime(t)
	c, done := g.beginChange(ctx)
	defer done()
	if _, err := g.client.Patch(c, g.intent, hold.Patch{CaptureAt: &later}, 0); err != nil {
		g.reportRejection(err)
		return
	}
	g.ledger.count(checkoutChanged)
	g.printer.printLine(g.subject, cyan, "changed", "the guest stays longer: capture at "+
		formatClock(t)+" instead")
}

func runCanceledAfterCapture(ctx context.Context, g *scenarioRun) {
	if !g.pay(authorizationDays) {
		return
	}
	if t, ok := g.scheduleCapture(ctx, 1); ok && g.wait(ctx, time.Until(t)+g.daysDuration(0.5)) {
		g.cancel(ctx, "the guest disputes the bill, and the desk cancels")
	}
}
