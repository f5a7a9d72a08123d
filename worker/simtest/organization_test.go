package simtest

import (
	"net/http"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/gateway"
	"github.com/holdd/holdd/worker/intake"
	"github.com/holdd/holdd/worker/stripesim"
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

// deliverForeignEvent sends a thin event of another account of the organization
// to a replica, which must ignore it.
func (w *world) deliverForeignEvent(payload []byte) {
	rs := w.liveReplicas()
	if len(rs) == 0 {
		return
	}
	ev, err := gateway.ParseEvent(payload, stripesim.Sign(payload, time.Now(), webhookSecret),
		gateway.ParseEventOptions{Secrets: []string{webhookSecret}, Context: w.stripeContext()})
	if err != nil {
		w.breach("webhooks: an event of another account can't be read: %v", err)
		return
	}
	result, err := rs[0].Webhooks.ApplyStripeEvent(w.ctx, ev)
	if err != nil || result != intake.EventIgnored {
		w.breach("webhooks: %s of another account: %s, %v", ev.Type, result, err)
	}
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
