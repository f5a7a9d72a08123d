package stripesim

import (
	"maps"
	"slices"
	"time"
)

// confirm asks the bank: the intent ends up authorized, captured, waiting for 3-D Secure, or declined.
func (in *intent) confirm(op *operation, errorOnAction bool) *apiError {
	m := in.method
	terminal := slices.Contains(in.types, "card_present")
	in.fallbackAt, in.nextAction = time.Time{}, nil
	asks := !terminal && !in.authenticated && (m.card.auth == authAlways || m.card.auth == authUnlessSetUp && !m.setUp ||
		!in.offSession && (in.options.threeD == "any" || in.options.threeD == "challenge"))
	switch {
	case op.decline != "":
		return in.declined(op, "card_declined", op.decline)
	case asks && (in.offSession || errorOnAction):
		return in.declined(op, "authentication_required", "authentication_required")
	case asks:
		in.status = statusRequiresAction
		in.lastError = nil
		in.nextAction = &nextActionJSON{Type: "use_stripe_sdk", UseStripeSDK: map[string]any{"type": "three_d_secure_redirect", "stripe_js": "https://hooks.stripe.com/3d_secure_2/simulated"}}
		if in.returnURL != "" {
			in.nextAction = &nextActionJSON{Type: "redirect_to_url", RedirectToURL: &redirectJSON{ReturnURL: in.returnURL, URL: "https://hooks.stripe.com/3d_secure_2/simulated"}}
		}
		if in.confirmMethod == "manual" {
			in.fallbackAt = op.now.Add(confirmWithin)
			in.account.wake(in.fallbackAt, in)
		}
		in.changed(op)
		in.account.emit(op, "payment_intent.requires_action", in, in.snapshot())
		return nil
	case m.card.decline != "":
		return in.declined(op, cmpOr(m.card.code, "card_declined"), m.card.decline)
	}
	in.authorize(op, terminal)
	return nil
}

func (in *intent) newCharge(op *operation, terminal bool) *charge {
	c := &charge{
		id: in.account.newID("ch_"), intent: in, created: op.now.Unix(), amount: in.amount, maximum: in.amount, method: in.method,
		kind: Online, metadata: in.metadata, description: in.description, customer: in.customer, receiptEmail: in.receiptEmail,
		suffix: in.suffix, threeD: in.authenticated,
	}
	if in.offSession {
		c.kind = OffSession
	}
	if terminal {
		c.kind = Terminal
	}
	in.charge = c
	in.account.charges[c.id] = c
	return c
}

func (in *intent) authorize(op *operation, terminal bool) {
	c := in.newCharge(op, terminal)
	in.lastError = nil
	if in.authenticated && in.customer != "" && in.futureUsage == "off_session" {
		in.method.setUp = true
	}
	in.authenticated = false
	if in.method.customer == "" {
		if in.customer != "" && in.futureUsage != "" {
			in.method.customer = in.customer
		} else {
			in.method.used = true
		}
	}
	if in.captureMethod != "manual" {
		in.status = statusSucceeded
		in.received = in.amount
		c.isCaptured, c.captured = true, in.amount
		in.changed(op)
		in.record(op, Authorized, in.amount, false)
		in.record(op, Captured, in.amount, true)
		in.account.emit(op, "charge.succeeded", in, c.snapshot())
		in.account.emit(op, "payment_intent.succeeded", in, in.snapshot())
		return
	}
	o := in.options
	c.multicapture, c.incremental = o.multicapture == "if_available", o.incremental == "if_available"
	c.overcapture, c.extended = o.overcapture == "if_available", o.extended == "if_available"
	if c.overcapture {
		c.maximum = in.amount + in.amount*in.account.sim.opt.OvercapturePercent/100
	}
	in.status = statusRequiresCapture
	in.capturable = in.amount
	lasts := in.account.sim.tuning.Load().deadline(Card{Brand: in.method.brand, Kind: c.kind, Extended: c.extended, Intent: in.id, Metadata: maps.Clone(in.metadata)})
	in.setCaptureBefore(op.now.Add(lasts))
	in.changed(op)
	in.record(op, Authorized, in.amount, false)
	in.account.emit(op, "charge.succeeded", in, c.snapshot())
	in.account.emit(op, "payment_intent.amount_capturable_updated", in, in.snapshot())
}

func (in *intent) setCaptureBefore(t time.Time) {
	in.captureBefore = time.Unix(t.Unix(), 0).In(t.Location()) // what the charge shows is what happens
	in.charge.captureBefore = t.Unix()
	in.account.wake(in.captureBefore, in)
}

func (in *intent) declined(op *operation, code, decline string) *apiError {
	terminal := slices.Contains(in.types, "card_present")
	c := in.newCharge(op, terminal)
	c.failed, c.failureCode, c.declineCode, c.failureMessage = true, code, decline, declineMessage(cmpOr(decline, code))
	if code == "authentication_required" {
		c.failureMessage = "Your card was declined. This transaction requires authentication."
	}
	m := in.method
	in.status, in.method, in.authenticated = statusRequiresMethod, nil, false
	e := &apiError{status: 402, typ: typeCard, code: code, declineCode: decline, message: c.failureMessage, charge: c.id, method: m, intent: in}
	last := e
	j := (&apiError{typ: typeCard, code: code, declineCode: decline, message: last.message, charge: c.id, method: m}).json("")
	in.lastError = &j
	in.changed(op)
	in.account.emit(op, "charge.failed", in, c.snapshot())
	in.account.emit(op, "payment_intent.payment_failed", in, in.snapshot())
	return e
}

// fallBack is what becomes of an intent that nobody confirmed in time.
func (in *intent) fallBack(op *operation) {
	in.fallbackAt = time.Time{}
	if in.status != statusRequiresAction && in.status != statusRequiresConfirmation {
		return
	}
	in.status, in.nextAction, in.method, in.authenticated = statusRequiresMethod, nil, nil, false
	in.changed(op)
}

// expire is what the card network does at capture_before.
func (in *intent) expire(op *operation) {
	gone := in.capturable
	in.capturable, in.released = 0, in.released+gone
	in.expired = true
	c := in.charge
	c.refunded = in.released
	if in.received > 0 {
		in.status = statusSucceeded
		c.isCaptured = true
		in.changed(op)
		in.record(op, Expired, gone, true)
		in.account.emit(op, "charge.expired", in, c.snapshot())
		in.account.emit(op, "payment_intent.succeeded", in, in.snapshot())
		return
	}
	in.status, in.cancelReason, in.canceledAt = statusCanceled, in.account.sim.opt.ExpiryReason, op.now.Unix()
	c.allRefunded = true
	in.changed(op)
	in.record(op, Expired, gone, true)
	in.account.emit(op, "charge.expired", in, c.snapshot())
	in.account.emit(op, "payment_intent.canceled", in, in.snapshot())
	in.closeReview(op, "canceled")
}
