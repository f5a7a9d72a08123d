package stripesim

import (
	"strings"
	"time"
)

// Dashboard acts as an operator does at Stripe's Dashboard: without an
// idempotency key, limits or faults. An error has the text of Stripe's answer.
type Dashboard struct{ sim *Sim }

func (d Dashboard) changeUnlocked(id string, do func(*operation, *intent) *apiError) error {
	return d.sim.accounts.withIntent(id, func(op *operation, in *intent) *apiError {
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
	if strings.HasPrefix(id, setupIntentPrefix) {
		return d.finishSetup(id, true)
	}
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

// finishSetup passes or fails the 3-D Secure of a SetupIntent.
func (d Dashboard) finishSetup(id string, passed bool) error {
	return d.sim.accounts.withSetupIntent(id, func(op *operation, si *setupIntent) *apiError {
		return finishSetupAction(op, si, passed)
	})
}

// FailAction fails 3-D Secure. If the cardholder leaves, neither CompleteAction
// nor FailAction is called.
func (d Dashboard) FailAction(id string) error {
	if strings.HasPrefix(id, setupIntentPrefix) {
		return d.finishSetup(id, false)
	}
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
func (d Dashboard) SetCaptureBefore(id string, t time.Time) error {
	return d.sim.accounts.withIntent(id, func(_ *operation, in *intent) *apiError {
		if in.status != statusRequiresCapture {
			return unexpectedStateError(
				in, "This PaymentIntent has a status of %s; only requires_capture has a deadline.",
				in.status)
		}
		setCaptureBefore(in, t)
		return nil
	})
}
