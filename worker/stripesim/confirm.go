package stripesim

import (
	"maps"
	"slices"
	"time"
)

// confirm asks the bank: the intent ends up authorized, captured, waiting for
// 3-D Secure, or declined.
func (in *intent) confirm(op *operation, errorOnAction bool) *apiError {
	m := in.paymentMethod
	terminal := slices.Contains(in.paymentMethodTypes, "card_present")
	in.confirmDeadline, in.nextAction = time.Time{}, nil
	needsThreeDSecure := !terminal && !in.threeDSecurePassed && (m.card.auth == authAlways ||
		m.card.auth == authUnlessSetUp && !m.setUpOffSession ||
		!in.offSession && (in.options.threeDSecure == "any" ||
			in.options.threeDSecure == "challenge"))
	switch {
	case op.declineCode != "":
		return in.recordDecline(op, "card_declined", op.declineCode)
	case needsThreeDSecure && (in.offSession || errorOnAction):
		return in.recordDecline(op, "authentication_required", "authentication_required")
	case needsThreeDSecure:
		in.status = statusRequiresAction
		in.lastError = nil
		in.nextAction = &nextActionJSON{Type: "use_stripe_sdk", UseStripeSDK: map[string]any{
			"type":      "three_d_secure_redirect",
			"stripe_js": "https://hooks.stripe.com/3d_secure_2/simulated"}}
		if in.returnURL != "" {
			in.nextAction = &nextActionJSON{Type: "redirect_to_url", RedirectToURL: &redirectJSON{
				ReturnURL: in.returnURL, URL: "https://hooks.stripe.com/3d_secure_2/simulated"}}
		}
		if in.confirmMethod == "manual" {
			in.confirmDeadline = op.now.Add(confirmWindow)
			in.account.scheduleDue(in.confirmDeadline, in)
		}
		in.recordSearchSnapshot(op)
		in.account.emitEvent(op, "payment_intent.requires_action", in, in.snapshot())
		return nil
	case m.card.declineCode != "":
		return in.recordDecline(op, firstNonZero(m.card.errorCode, "card_declined"),
			m.card.declineCode)
	}
	in.authorize(op, terminal)
	return nil
}

func (in *intent) newCharge(op *operation, terminal bool) *charge {
	c := &charge{
		id: in.account.newID("ch_"), intent: in, created: op.now.Unix(), amount: in.amount,
		maxCapturable: in.amount, paymentMethod: in.paymentMethod,
		channel: ChannelOnline, metadata: in.metadata, description: in.description,
		customer: in.customer, receiptEmail: in.receiptEmail,
		descriptorSuffix: in.descriptorSuffix, threeDSecure: in.threeDSecurePassed,
	}
	if in.offSession {
		c.channel = ChannelOffSession
	}
	if terminal {
		c.channel = ChannelTerminal
	}
	in.charge = c
	in.account.charges[c.id] = c
	return c
}

func (in *intent) authorize(op *operation, terminal bool) {
	c := in.newCharge(op, terminal)
	in.lastError = nil
	if in.threeDSecurePassed && in.customer != "" && in.futureUsage == "off_session" {
		in.paymentMethod.setUpOffSession = true
	}
	in.threeDSecurePassed = false
	if in.paymentMethod.customer == "" {
		if in.customer != "" && in.futureUsage != "" {
			in.paymentMethod.customer = in.customer
		} else {
			in.paymentMethod.usedOnce = true
		}
	}
	if in.captureMethod != "manual" {
		in.status = statusSucceeded
		in.received = in.amount
		c.isCaptured, c.amountCaptured = true, in.amount
		in.recordSearchSnapshot(op)
		in.recordEffect(op, EffectAuthorized, in.amount, false)
		in.recordEffect(op, EffectCaptured, in.amount, true)
		in.account.emitEvent(op, "charge.succeeded", in, c.snapshot())
		in.account.emitEvent(op, "payment_intent.succeeded", in, in.snapshot())
		return
	}
	o := in.options
	c.multicapture, c.incremental = o.multicapture == "if_available",
		o.incremental == "if_available"
	c.overcapture, c.extended = o.overcapture == "if_available", o.extended == "if_available"
	if c.overcapture {
		c.maxCapturable = in.amount + in.amount*in.account.sim.options.OvercapturePercent/100
	}
	in.status = statusRequiresCapture
	in.capturable = in.amount
	window := in.account.sim.settings.Load().authorizationWindow(Card{Brand: in.paymentMethod.brand,
		Channel: c.channel, Extended: c.extended, Intent: in.id, Metadata: maps.Clone(in.metadata)})
	in.setCaptureBefore(op.now.Add(window))
	in.recordSearchSnapshot(op)
	in.recordEffect(op, EffectAuthorized, in.amount, false)
	in.account.emitEvent(op, "charge.succeeded", in, c.snapshot())
	in.account.emitEvent(op, "payment_intent.amount_capturable_updated", in, in.snapshot())
}

func (in *intent) setCaptureBefore(t time.Time) {
	// what the charge shows is what happens
	in.captureBefore = time.Unix(t.Unix(), 0).In(t.Location())
	in.charge.captureBefore = t.Unix()
	in.account.scheduleDue(in.captureBefore, in)
}

func (in *intent) recordDecline(op *operation, code, decline string) *apiError {
	terminal := slices.Contains(in.paymentMethodTypes, "card_present")
	c := in.newCharge(op, terminal)
	c.failed, c.failureCode, c.declineCode, c.failureMessage = true, code, decline,
		declineMessage(firstNonZero(decline, code))
	if code == "authentication_required" {
		c.failureMessage = "Your card was declined. This transaction requires authentication."
	}
	m := in.paymentMethod
	in.status, in.paymentMethod, in.threeDSecurePassed = statusRequiresMethod, nil, false
	e := &apiError{status: 402, typ: typeCard, code: code, declineCode: decline,
		message: c.failureMessage, charge: c.id, paymentMethod: m, intent: in}
	last := e
	j := (&apiError{typ: typeCard, code: code, declineCode: decline, message: last.message,
		charge: c.id, paymentMethod: m}).toJSON("")
	in.lastError = &j
	in.recordSearchSnapshot(op)
	in.account.emitEvent(op, "charge.failed", in, c.snapshot())
	in.account.emitEvent(op, "payment_intent.payment_failed", in, in.snapshot())
	return e
}

// expireConfirmation is what becomes of an intent that nobody confirmed in
// time.
func (in *intent) expireConfirmation(op *operation) {
	in.confirmDeadline = time.Time{}
	if in.status != statusRequiresAction && in.status != statusRequiresConfirmation {
		return
	}
	in.status, in.nextAction, in.paymentMethod, in.threeDSecurePassed = statusRequiresMethod, nil,
		nil, false
	in.recordSearchSnapshot(op)
}

// expire is what the card network does at capture_before.
func (in *intent) expire(op *operation) {
	released := in.capturable
	in.capturable, in.released = 0, in.released+released
	in.expired = true
	c := in.charge
	c.amountRefunded = in.released
	if in.received > 0 {
		in.status = statusSucceeded
		c.isCaptured = true
		in.recordSearchSnapshot(op)
		in.recordEffect(op, EffectExpired, released, true)
		in.account.emitEvent(op, "charge.expired", in, c.snapshot())
		in.account.emitEvent(op, "payment_intent.succeeded", in, in.snapshot())
		return
	}
	in.status, in.cancelReason, in.canceledAt = statusCanceled, in.account.sim.options.ExpiryReason,
		op.now.Unix()
	c.fullyRefunded = true
	in.recordSearchSnapshot(op)
	in.recordEffect(op, EffectExpired, released, true)
	in.account.emitEvent(op, "charge.expired", in, c.snapshot())
	in.account.emitEvent(op, "payment_intent.canceled", in, in.snapshot())
	in.closeReview(op, "canceled")
}
