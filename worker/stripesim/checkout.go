package stripesim

import (
	"strings"
	"time"
)

const (
	sessionPrefix = "cs_test_"
	// sessionLifetime is how long a Checkout Session stays open.
	sessionLifetime = 24 * time.Hour

	sessionOpen     = "open"
	sessionComplete = "complete"
	sessionExpired  = "expired"
)

// checkoutSession is a Checkout Session in setup mode, with its SetupIntent.
type checkoutSession struct {
	id                    string
	setupIntent           *setupIntent
	created               time.Time
	customer              string
	successURL, cancelURL string
	metadata              map[string]string
	paymentMethod         *paymentMethod // nil until it is complete
}

func (s *checkoutSession) statusAt(now time.Time) string {
	switch {
	case s.paymentMethod != nil:
		return sessionComplete
	case !now.Before(s.created.Add(sessionLifetime)):
		return sessionExpired
	}
	return sessionOpen
}

func createCheckoutSession(op *operation, a *account, _ string, f *form) (any, *apiError) {
	for _, name := range []string{"mode", "success_url", "cancel_url", "customer"} {
		if f.get(name) == "" {
			return nil, validationError("parameter_missing", name,
				"Missing required param: %s.", name)
		}
	}
	if a.customers[f.get("customer")] == nil {
		return nil, validationError("resource_missing", "customer", "No such customer: '%s'",
			f.get("customer"))
	}
	metadata, err := mergeMetadata(nil, f)
	if err != nil {
		return nil, err
	}
	s := &checkoutSession{id: sessionPrefix + a.newID(""), setupIntent: newSetupIntent(a, op),
		created: op.now, customer: f.get("customer"), successURL: f.get("success_url"),
		cancelURL: f.get("cancel_url"), metadata: metadata}
	s.setupIntent.customer, s.setupIntent.confirmedByCheckout = s.customer, true
	a.checkoutSessions[s.id] = s
	return newSessionJSON(s, a, op.now, f.lists["expand"]), nil
}

func retrieveCheckoutSession(op *operation, a *account, id string, f *form) (any, *apiError) {
	s := a.checkoutSessions[id]
	if s == nil {
		return nil, notFoundError("checkout.session", "session", id)
	}
	return newSessionJSON(s, a, op.now, f.lists["expand"]), nil
}

// newSessionJSON renders a session. Stripe shows the URL only while it is open.
func newSessionJSON(s *checkoutSession, a *account, now time.Time, expand []string) any {
	status := s.statusAt(now)
	metadata := s.metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	out := map[string]any{
		"id": s.id, "object": "checkout.session", "livemode": false, "mode": "setup",
		"automatic_tax": map[string]any{"enabled": false, "liability": nil, "status": nil},
		"cancel_url":    s.cancelURL, "success_url": s.successURL, "customer": s.customer,
		"created": s.created.Unix(), "expires_at": s.created.Add(sessionLifetime).Unix(),
		"custom_fields": []any{}, "custom_text": map[string]any{"shipping_address": nil,
			"submit": nil},
		"metadata": metadata, "payment_intent": nil, "payment_method_types": []string{"card"},
		"payment_status": "no_payment_required", "shipping_options": []any{}, "status": status,
		"setup_intent": s.setupIntent.id, "url": nil,
	}
	if status == sessionOpen {
		out["url"] = a.env.pageURL("setup", s.id)
	}
	for _, e := range expand {
		if e == "setup_intent" {
			out[e] = newSetupIntentJSON(s.setupIntent, nil)
		}
	}
	return out
}

// CompleteCardSetup enters a card on the page of a Checkout Session, as the
// cardholder does, and returns where Stripe sends the cardholder. The card is a
// test card such as pm_card_visa; it is saved for the session's customer.
func (c *Cards) CompleteCardSetup(session, card string) (returnURL string, err error) {
	e := c.accounts.withCheckoutSession(session, func(
		op *operation, a *account, cs *checkoutSession,
	) *apiError {
		if status := cs.statusAt(op.now); status != sessionOpen {
			return invalidRequestError("", "session", "This Checkout Session is %s.", status)
		}
		test, ok := cardByName(card)
		if !ok {
			return notFoundError("PaymentMethod", "payment_method", card)
		}
		m := a.newCard(op, test, typeOfCard)
		m.customer, m.setUpOffSession = cs.customer, true
		cs.paymentMethod = m
		cs.setupIntent.paymentMethod, cs.setupIntent.status = m, statusSucceeded
		returnURL = strings.ReplaceAll(cs.successURL, "{CHECKOUT_SESSION_ID}", cs.id)
		return nil
	})
	if e != nil {
		return "", e
	}
	return returnURL, nil
}

// withCheckoutSession calls do for a session with its account locked.
func (r *accountRegistry) withCheckoutSession(
	id string, do func(*operation, *account, *checkoutSession) *apiError,
) *apiError {
	missing := notFoundError("checkout.session", "session", id)
	body, ok := strings.CutPrefix(id, sessionPrefix)
	a := r.byObjectID("cs_" + body)
	if !ok || a == nil {
		return missing
	}
	var err *apiError
	a.change(actorDashboard, func(op *operation) {
		cs := a.checkoutSessions[id]
		if cs == nil {
			err = missing
			return
		}
		err = do(op, a, cs)
	})
	return err
}
