package simtest

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// methodWindows are how long an authorization without capture_before lasts, by
// the type of its payment method.
var methodWindows = map[string]time.Duration{
	"affirm":            30 * 24 * time.Hour,
	"afterpay_clearpay": 13 * 24 * time.Hour,
	"cashapp":           7 * 24 * time.Hour,
	"klarna":            28 * 24 * time.Hour, // back to midnight UTC
	"paypal":            10 * 24 * time.Hour,
}

// methodWindow returns how long an authorization lasts that is placed at a time
// of the run. A run begins at midnight UTC.
func methodWindow(methodType string, placedAt time.Duration) time.Duration {
	end := placedAt + methodWindows[methodType]
	if methodType == "klarna" {
		end = end.Truncate(24 * time.Hour)
	}
	return end - placedAt
}

// drawMethod may let a hold be captured manually for the type of its payment
// method alone, and, where weeks are cheap, be paid with another method than a
// card. Only the true windows apply, because these have no capture_before.
func (p *plan) drawMethod(h *plannedHold) {
	if h.intake == "card" {
		return
	}
	d := newRNG(p.seed, "method", fmt.Sprint(h.number))
	h.manualByType = d.chance(0.15)
	methodType := pickOne(d, slices.Sorted(maps.Keys(methodWindows))...)
	window := methodWindow(methodType, h.placedAt)
	if p.jobInterval < 2*time.Hour || !d.chance(0.35) || h.multi ||
		window < h.authorizationWindow ||
		slices.ContainsFunc(h.actions, func(a plannedAction) bool {
			return a.kind == "stripe deadline"
		}) {
		return
	}
	h.methodType, h.authorizationWindow, h.expiryError = methodType, window, 0
	if h.action != "none" && d.chance(0.4) {
		h.dueAt = (h.placedAt + window - d.durationBetween(time.Second,
			2*p.expiryMargin)).Truncate(time.Millisecond)
	}
}

// klarnaMidnightPlan is a world in which Klarna's authorization ends almost a
// day before 28 days have passed, and its policy acts before that.
func klarnaMidnightPlan() plan {
	placedAt := 23 * time.Hour
	p := quietPlan(10*time.Minute, intakePlan{}, plannedHold{number: 1, placedAt: placedAt,
		scheduledAt: placedAt + time.Minute, methodType: "klarna", manualByType: true,
		authorizationWindow: methodWindow("klarna", placedAt), amount: 5000, currency: "eur",
		action: "none", onExpiry: "capture"})
	p.expiryMargin = 2 * time.Hour
	p.alertThresholds = []time.Duration{8 * time.Hour, 4 * time.Hour, 2 * time.Hour}
	return p
}
