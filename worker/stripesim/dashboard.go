package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// Hold is an amount on a test card, for [Sim.Authorize].
type Hold struct {
	Account       string // empty is the platform's own
	Amount        int64  // minor units
	Currency      string // empty is eur
	PaymentMethod string // empty is pm_card_visa
	// PaymentMethodType is klarna, paypal, affirm, afterpay_clearpay or
	// cashapp; empty and card use PaymentMethod.
	PaymentMethodType string
	// ManualByType leaves the intent's capture_method automatic, and sets
	// manual capture for the type of its payment method alone.
	ManualByType bool
	// Customer is an existing one; PaymentMethod may be one of its saved cards.
	Customer    string
	FutureUsage string // setup_future_usage; off_session saves the card
	Metadata    map[string]string
	Description string
	Channel     PaymentChannel // zero is ChannelOnline

	Multicapture, Incremental, Overcapture, Extended bool
}

// Authorize places a hold, as if the cardholder had just paid on a page, and
// returns the PaymentIntent's id. With a card that asks for 3-D Secure the
// intent requires an action.
func (s *Sim) Authorize(h Hold) (string, error) {
	a := s.accounts.getOrCreate(cmp.Or(h.Account, s.env.platformAccount))
	if h.PaymentMethodType == typeOfCard {
		h.PaymentMethodType = ""
	}
	var v any
	var err *apiError
	s.withAccount(a, actorDashboard, func(op *operation) {
		if v, err = createIntent(op, a, "", h.form()); err == nil && h.PaymentMethodType != "" {
			err = completeAction(a.intents[v.(*intentJSON).ID], op)
		}
	})
	if err != nil {
		return "", err
	}
	return v.(*intentJSON).ID, nil
}

// form returns the parameters of the call that places the hold.
func (h Hold) form() *form {
	f := &form{scalars: map[string]string{
		"amount": fmt.Sprint(h.Amount), "currency": cmp.Or(h.Currency, "eur"),
		"payment_method": cmp.Or(h.PaymentMethod, "pm_card_visa"),
		"capture_method": "manual", "confirm": "true", "description": h.Description,
	}, lists: map[string][]string{"payment_method_types": {"card"}},
		metadata: maps.Clone(h.Metadata)}
	if h.Customer != "" {
		f.scalars["customer"] = h.Customer
	}
	if h.FutureUsage != "" {
		f.scalars["setup_future_usage"] = h.FutureUsage
	}
	switch h.Channel {
	case ChannelOffSession:
		f.scalars["off_session"] = "true"
	case ChannelTerminal:
		f.lists["payment_method_types"] = []string{"card_present"}
	}
	methodType := f.lists["payment_method_types"][0]
	if t := h.PaymentMethodType; t != "" {
		delete(f.scalars, "payment_method")
		methodType, f.lists["payment_method_types"] = t, []string{t}
		f.scalars["payment_method_data[type]"] = t
		f.scalars["return_url"] = "https://example.com/return"
	}
	if h.ManualByType {
		f.scalars["capture_method"] = "automatic_async"
		f.scalars[captureParam(methodType)] = "manual"
	}
	for name, on := range map[string]bool{"multicapture": h.Multicapture,
		"incremental_authorization": h.Incremental, "overcapture": h.Overcapture,
		"extended_authorization": h.Extended} {
		if on {
			f.scalars[cardParam+"[request_"+name+"]"] = "if_available"
		}
	}
	return f
}

// IntentState is the state of a PaymentIntent, for tests. Amounts are in minor
// units.
type IntentState struct {
	ID                 string `json:"id"`
	Account            string `json:"account"`
	Status             string `json:"status"`
	Currency           string `json:"currency"`
	Amount             int64  `json:"amount"`
	Capturable         int64  `json:"amount_capturable"`
	Received           int64  `json:"amount_received"`
	Released           int64  `json:"amount_released"`
	CaptureMethod      string `json:"capture_method"`
	CancellationReason string `json:"cancellation_reason,omitempty"`
	Captures           int    `json:"captures"`
	Expired            bool   `json:"expired"`
	// zero if never authorized
	CaptureBefore time.Time         `json:"capture_before,omitzero"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Charge        string            `json:"latest_charge,omitempty"`
	ClientSecret  string            `json:"-"`
	Customer      string            `json:"customer,omitempty"`
	PaymentMethod string            `json:"payment_method,omitempty"`
	FutureUsage   string            `json:"setup_future_usage,omitempty"`
	Review        string            `json:"review,omitempty"` // if open
	Created       time.Time         `json:"created"`
}

// Intent returns the state of one PaymentIntent, without a call.
func (s *Sim) Intent(id string) (IntentState, bool) {
	var st IntentState
	err := s.withIntent(id, func(_ *operation, in *intent) *apiError {
		st = newIntentState(in)
		return nil
	})
	return st, err == nil
}

// Intents returns the states of all PaymentIntents of an account, oldest first.
// An empty account is the platform's own.
func (s *Sim) Intents(account string) []IntentState {
	a := s.accounts.getOrCreate(cmp.Or(account, s.env.platformAccount))
	out := []IntentState{}
	s.withAccount(a, actorAutomatic, func(*operation) {
		for _, in := range a.intentOrder {
			out = append(out, newIntentState(in))
		}
	})
	return out
}

func newIntentState(in *intent) IntentState {
	st := IntentState{
		ID: in.id, Account: in.account.id, Status: in.status, Currency: in.currency,
		Amount: in.amount, Capturable: in.capturable, Received: in.received,
		Released: in.released, CaptureMethod: in.captureMethod, CancellationReason: in.cancelReason,
		Captures: in.captures, Expired: in.expired,
		CaptureBefore: in.captureBefore, Metadata: maps.Clone(in.metadata), ClientSecret: in.secret,
		Customer: in.customer, FutureUsage: in.futureUsage, Created: time.Unix(in.created, 0),
	}
	if in.paymentMethod != nil {
		st.PaymentMethod = in.paymentMethod.id
	}
	if in.charge != nil {
		st.Charge = in.charge.id
	}
	if in.review != nil && in.review.open {
		st.Review = in.review.id
	}
	return st
}

// withIntent calls do for an intent with its account locked.
func (s *Sim) withIntent(id string, do func(*operation, *intent) *apiError) error {
	a := s.accounts.byObjectID(id)
	if a == nil {
		return notFoundError("payment_intent", "intent", id)
	}
	var err *apiError
	s.withAccount(a, actorDashboard, func(op *operation) {
		var in *intent
		if in, err = findIntent(a, id); err == nil {
			err = do(op, in)
		}
	})
	if err != nil {
		return err
	}
	return nil
}

// Dashboard acts as an operator does at Stripe's Dashboard: without an
// idempotency key, limits or faults. An error has the text of Stripe's answer.
type Dashboard struct{ sim *Sim }

func (d Dashboard) changeUnlocked(id string, do func(*operation, *intent) *apiError) error {
	return d.sim.withIntent(id, func(op *operation, in *intent) *apiError {
		if time.Now().Before(in.lockedUntil) {
			return lockTimeoutError()
		}
		return do(op, in)
	})
}

// Capture captures an amount in minor units and releases the rest. 0 captures
// all that is held.
func (d Dashboard) Capture(id string, amount int64) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		o := captureParams{finalCapture: true}
		if amount != 0 {
			o.amount = &amount
			if err := checkAmountToCapture(in, amount, true); err != nil {
				return err
			}
		}
		return capture(in, op, o)
	})
}

// CapturePart captures an amount in minor units and keeps the rest for later
// captures, if the charge allows more than one.
func (d Dashboard) CapturePart(id string, amount int64) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if err := checkAmountToCapture(in, amount, false); err != nil {
			return err
		}
		return capture(in, op, captureParams{amount: &amount})
	})
}

// Cancel cancels the intent. An empty reason is none.
func (d Dashboard) Cancel(id, reason string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		return cancel(in, op, reason)
	})
}

// Increment raises the held amount to amount, in minor units.
func (d Dashboard) Increment(id string, amount int64) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if err := checkAmount(in, amount); err != nil {
			return err
		}
		return increment(in, op, amount)
	})
}

// CompleteAction passes 3-D Secure, or agrees at the provider of the payment
// method, as the cardholder does. With confirmation_method=manual the server
// must confirm again after 3-D Secure.
func (d Dashboard) CompleteAction(id string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.status != statusRequiresAction {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_action can be completed.",
				in.status)
		}
		return completeAction(in, op)
	})
}

// completeAction continues after the cardholder has passed 3-D Secure or has
// agreed at the provider of the payment method.
func completeAction(in *intent, op *operation) *apiError {
	in.actionCompleted, in.nextAction = true, nil
	if in.confirmMethod == "manual" && in.paymentMethod.isCard() {
		in.status = statusRequiresConfirmation
		recordSearchSnapshot(in, op)
		return nil
	}
	if err := confirm(in, op, false); err != nil && err.typ != typeCard {
		return err
	}
	return nil
}

// FailAction fails 3-D Secure. If the cardholder leaves, neither CompleteAction
// nor FailAction is called.
func (d Dashboard) FailAction(id string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.status != statusRequiresAction {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_action can fail.",
				in.status)
		}
		failThreeDSecure(in, op)
		return nil
	})
}

func failThreeDSecure(in *intent, op *operation) {
	e := (&apiError{typ: typeInvalidRequest, code: "payment_intent_authentication_failure",
		paymentMethod: in.paymentMethod,
		message: "The provided PaymentMethod has failed authentication. You can provide " +
			"payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent " +
			"again."}).toJSON("")
	in.lastError, in.nextAction, in.confirmDeadline = &e, nil, time.Time{}
	in.status, in.paymentMethod, in.actionCompleted = statusRequiresMethod, nil, false
	recordSearchSnapshot(in, op)
	in.account.emitEvent(op, "payment_intent.payment_failed", in, snapshotIntent(in))
}

// OpenReview puts the payment under review, as a Radar rule does.
func (d Dashboard) OpenReview(id string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.charge == nil || in.review != nil && in.review.open {
			return unexpectedStateError(
				in, "This PaymentIntent has no payment that could be reviewed, or is under "+
					"review already.")
		}
		in.review = &review{id: "prv_" + in.account.newID(""), created: op.now.Unix(), open: true,
			reason: "rule", charge: in.charge.id, intent: in.id}
		in.charge.review = in.review
		in.account.emitEvent(op, "review.opened", in, in.review.snapshot())
		return nil
	})
}

// CloseReview closes the review as approved, refunded_as_fraud, refunded,
// disputed or canceled.
func (d Dashboard) CloseReview(id, reason string) error {
	switch reason {
	case "approved", "refunded_as_fraud", "refunded", "disputed", "canceled":
	default:
		return invalidRequestError("", "reason",
			"invalid reason %q: want approved, refunded_as_fraud, refunded, disputed or canceled",
			reason)
	}
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.review == nil || !in.review.open {
			return unexpectedStateError(in, "This PaymentIntent is not under review.")
		}
		closeReview(in, op, reason)
		return nil
	})
}

func closeReview(in *intent, op *operation, reason string) {
	if in.review == nil || !in.review.open {
		return
	}
	r := *in.review
	r.open, r.closedReason, r.reason = false, reason, reason
	in.review = &r
	if in.charge != nil {
		in.charge.review = &r
	}
	in.account.emitEvent(op, "review.closed", in, r.snapshot())
}

// SetCaptureBefore changes when one authorization ends.
func (s *Sim) SetCaptureBefore(id string, t time.Time) error {
	return s.withIntent(id, func(_ *operation, in *intent) *apiError {
		if in.status != statusRequiresCapture {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_capture has a deadline.",
				in.status)
		}
		setCaptureBefore(in, t)
		return nil
	})
}
