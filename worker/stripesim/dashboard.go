package stripesim

import (
	"fmt"
	"maps"
	"time"
)

// Hold is what Authorize places: an amount on a test card.
type Hold struct {
	Account       string // empty is the platform's own
	Amount        int64  // minor units
	Currency      string // empty is eur
	PaymentMethod string // empty is pm_card_visa
	Metadata      map[string]string
	Description   string
	Channel       PaymentChannel // zero is Online

	Multicapture, Incremental, Overcapture, Extended bool
}

// Authorize places a hold directly, as if a guest had just paid on a page, and
// returns the PaymentIntent's id. Of a card that asks for 3-D Secure it returns
// an intent that waits for it.
func (s *Sim) Authorize(h Hold) (string, error) {
	a := s.getOrCreateAccount(firstNonZero(h.Account, s.platformAccount))
	f := &form{scalars: map[string]string{
		"amount": fmt.Sprint(h.Amount), "currency": firstNonZero(h.Currency, "eur"),
		"payment_method": firstNonZero(h.PaymentMethod, "pm_card_visa"),
		"capture_method": "manual", "confirm": "true", "description": h.Description,
	}, lists: map[string][]string{"payment_method_types": {"card"}},
		metadata: maps.Clone(h.Metadata)}
	switch h.Channel {
	case ChannelOffSession:
		f.scalars["off_session"] = "true"
	case ChannelTerminal:
		f.lists["payment_method_types"] = []string{"card_present"}
	}
	for name, on := range map[string]bool{"multicapture": h.Multicapture,
		"incremental_authorization": h.Incremental, "overcapture": h.Overcapture,
		"extended_authorization": h.Extended} {
		if on {
			f.scalars["payment_method_options[card][request_"+name+"]"] = "if_available"
		}
	}
	op := &operation{sim: s, actor: "dashboard"}
	a.mu.Lock()
	a.processDue(op)
	v, err := createIntent(op, a, "", f)
	a.mu.Unlock()
	s.publishEvents(op)
	if err != nil {
		return "", err
	}
	return v.(*intentJSON).ID, nil
}

// IntentState is what there is to know of a PaymentIntent, for tests to look
// at. Amounts are in minor units.
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
	Captures           int    `json:"captures"` // how many there were
	Expired            bool   `json:"expired"`
	// zero if never authorized
	CaptureBefore time.Time         `json:"capture_before,omitzero"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Charge        string            `json:"latest_charge,omitempty"`
	ClientSecret  string            `json:"-"`
	Customer      string            `json:"customer,omitempty"`
	Review        string            `json:"review,omitempty"` // if open
	Created       time.Time         `json:"created"`
}

// Intent looks at one PaymentIntent, without a call.
func (s *Sim) Intent(id string) (IntentState, bool) {
	var st IntentState
	err := s.withIntent(id, func(_ *operation, in *intent) *apiError {
		st = in.snapshotState()
		return nil
	})
	return st, err == nil
}

// Intents looks at all PaymentIntents of an account (empty is the platform's
// own), oldest first.
func (s *Sim) Intents(account string) []IntentState {
	a := s.getOrCreateAccount(firstNonZero(account, s.platformAccount))
	op := &operation{sim: s, actor: "automatic"}
	a.mu.Lock()
	a.processDue(op)
	out := make([]IntentState, 0, len(a.intentOrder))
	for _, in := range a.intentOrder {
		out = append(out, in.snapshotState())
	}
	a.mu.Unlock()
	s.publishEvents(op)
	return out
}

func (in *intent) snapshotState() IntentState {
	st := IntentState{
		ID: in.id, Account: in.account.id, Status: in.status, Currency: in.currency,
		Amount: in.amount, Capturable: in.capturable, Received: in.received,
		Released: in.released, CaptureMethod: in.captureMethod, CancellationReason: in.cancelReason,
		Captures: in.captures, Expired: in.expired,
		CaptureBefore: in.captureBefore, Metadata: maps.Clone(in.metadata), ClientSecret: in.secret,
		Customer: in.customer, Created: time.Unix(in.created, 0),
	}
	if in.charge != nil {
		st.Charge = in.charge.id
	}
	if in.review != nil && in.review.open {
		st.Review = in.review.id
	}
	return st
}

// withIntent does something to an intent with its account locked.
func (s *Sim) withIntent(id string, do func(*operation, *intent) *apiError) error {
	a := s.accountByObjectID(id)
	if a == nil {
		return notFoundError("payment_intent", "intent", id)
	}
	op := &operation{sim: s, actor: "dashboard"}
	a.mu.Lock()
	a.processDue(op)
	in, err := findIntent(a, id)
	if err == nil {
		err = do(op, in)
	}
	a.mu.Unlock()
	s.publishEvents(op)
	if err != nil {
		return err
	}
	return nil
}

// Dashboard acts as a person at Stripe's Dashboard does: without an idempotency
// key, limits or faults. Every error is Stripe's own answer as text.
type Dashboard struct{ sim *Sim }

// Dashboard is where people act.
func (s *Sim) Dashboard() Dashboard { return Dashboard{s} }

func (d Dashboard) changeUnlocked(id string, do func(*operation, *intent) *apiError) error {
	return d.sim.withIntent(id, func(op *operation, in *intent) *apiError {
		if time.Now().Before(in.lockedUntil) {
			return lockTimeoutError()
		}
		return do(op, in)
	})
}

// Capture takes an amount in minor units and releases the rest; 0 takes all
// that is held.
func (d Dashboard) Capture(id string, amount int64) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		o := captureParams{finalCapture: true}
		if amount != 0 {
			o.amount = &amount
			if err := checkAmount(amount, "amount_to_capture"); err != nil {
				return err
			}
		}
		return in.capture(op, o)
	})
}

// CapturePart takes an amount in minor units and keeps the rest for later
// captures, where the charge allows more than one.
func (d Dashboard) CapturePart(id string, amount int64) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if err := checkAmount(amount, "amount_to_capture"); err != nil {
			return err
		}
		return in.capture(op, captureParams{amount: &amount})
	})
}

// Cancel lets go; an empty reason is none.
func (d Dashboard) Cancel(id, reason string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		return in.cancel(op, reason)
	})
}

// Increment holds more: amount is the new total in minor units.
func (d Dashboard) Increment(id string, amount int64) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if err := checkAmount(amount, "amount"); err != nil {
			return err
		}
		return in.increment(op, amount)
	})
}

// CompleteAction is the guest passing 3-D Secure. With
// confirmation_method=manual the server has to confirm again.
func (d Dashboard) CompleteAction(id string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.status != statusRequiresAction {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_action can be completed.",
				in.status)
		}
		in.threeDSecurePassed, in.nextAction = true, nil
		if in.confirmMethod == "manual" {
			in.status = statusRequiresConfirmation
			in.recordSearchSnapshot(op)
			return nil
		}
		if err := in.confirm(op, false); err != nil && err.typ != typeCard {
			return err
		}
		return nil
	})
}

// FailAction is the guest failing 3-D Secure. A guest who leaves does nothing
// at all.
func (d Dashboard) FailAction(id string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.status != statusRequiresAction {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_action can fail.",
				in.status)
		}
		e := (&apiError{typ: typeInvalidRequest, code: "payment_intent_authentication_failure",
			paymentMethod: in.paymentMethod,
			message:       "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again."}).toJSON("")
		in.lastError, in.nextAction, in.confirmDeadline = &e, nil, time.Time{}
		in.status, in.paymentMethod, in.threeDSecurePassed = statusRequiresMethod, nil, false
		in.recordSearchSnapshot(op)
		in.account.emitEvent(op, "payment_intent.payment_failed", in, in.snapshot())
		return nil
	})
}

// OpenReview puts the payment under review, as a Radar rule does.
func (d Dashboard) OpenReview(id string) error {
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.charge == nil || in.review != nil && in.review.open {
			return unexpectedStateError(
				in, "This PaymentIntent has no payment that could be reviewed, or is under review already.")
		}
		in.review = &review{id: "prv_" + in.account.newID(""), created: op.now.Unix(), open: true,
			reason: "rule", charge: in.charge.id, intent: in.id}
		in.charge.review = in.review
		in.account.emitEvent(op, "review.opened", in, in.review.snapshot())
		return nil
	})
}

// CloseReview ends it: approved, refunded_as_fraud, refunded, disputed or
// canceled.
func (d Dashboard) CloseReview(id, reason string) error {
	switch reason {
	case "approved", "refunded_as_fraud", "refunded", "disputed", "canceled":
	default:
		return invalidRequestError("", "reason",
			"a review is closed as approved, refunded_as_fraud, refunded, disputed or canceled, not %q", reason)
	}
	return d.changeUnlocked(id, func(op *operation, in *intent) *apiError {
		if in.review == nil || !in.review.open {
			return unexpectedStateError(in, "This PaymentIntent is not under review.")
		}
		in.closeReview(op, reason)
		return nil
	})
}

func (in *intent) closeReview(op *operation, reason string) {
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

// SetCaptureBefore moves the deadline of one authorization.
func (s *Sim) SetCaptureBefore(id string, t time.Time) error {
	return s.withIntent(id, func(_ *operation, in *intent) *apiError {
		if in.status != statusRequiresCapture {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_capture has a deadline.",
				in.status)
		}
		in.setCaptureBefore(t)
		return nil
	})
}
