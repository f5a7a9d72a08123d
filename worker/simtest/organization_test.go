package simtest

import (
	"net/http"
	"strings"
	"time"
)

// stripeContext returns the account that an organization's key acts for, or ""
// for the key of an account.
func (w *world) stripeContext() string {
	if !w.plan.organizationKey {
		return ""
	}
	return w.sim.Account()
}

// connectedAccount returns the connected account that a request is for, or "".
func (w *world) connectedAccount(h http.Header) string {
	if !w.plan.organizationKey {
		return h.Get("Stripe-Account")
	}
	_, connected, _ := strings.Cut(h.Get("Stripe-Context"), "/")
	return connected
}

func thinEventsPlan() plan {
	return quietPlan(5*time.Second, intakePlan{enabled: true, webhooks: true, thinEvents: true},
		plannedHold{number: 1, placedAt: 5 * time.Second, scheduledAt: 5 * time.Second,
			authorizationWindow: 38 * time.Minute, amount: 5000, currency: "eur",
			action: "capture", dueAt: 30 * time.Minute, intake: "metadata"})
}

func organizationPlan() plan {
	p := thinEventsPlan()
	p.organizationKey = true
	p.holds[0].account = "acct_simtestone11"
	return p
}
