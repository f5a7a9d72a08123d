package stripesim

import (
	"maps"
	"time"
)

// confirm asks the bank. Afterwards the intent is authorized, captured,
// declined, or waits for 3-D Secure.
func confirm(in *intent, op *operation, errorOnAction bool) *apiError {
	terminal := isTerminal(in)
	if t := in.confirmationToken; t != nil {
		t.usedBy, in.confirmationToken = in.id, nil
	}
	in.confirmDeadline, in.nextAction = time.Time{}, nil
	asks := !terminal && needsThreeDSecure(in, op.now)
	switch {
	case !in.paymentMethod.isCard() && !in.actionCompleted:
		requireAction(in, op)
		return nil
	case op.declineCode != "": // a fault comes before 3-D Secure
		return recordDecline(in, op, issuerDecline(in, op, in.amount))
	case asks && (in.offSession || errorOnAction):
		return requireAuthentication(in, op)
	case asks:
		requireAction(in, op)
		return nil
	}
	if d := issuerDecline(in, op, in.amount); d != nil {
		return recordDecline(in, op, d)
	}
	authorize(in, op, terminal)
	return nil
}

// isTerminal reports whether a card reader takes the payment.
func isTerminal(in *intent) bool {
	return in.paymentMethod.methodType == typeOfCardPresent
}

func needsThreeDSecure(in *intent, now time.Time) bool {
	m := in.paymentMethod
	if in.actionCompleted {
		return false
	}
	if o := m.issuer.outcomeAt(now); o != nil && o.Code == codeAuthenticationRequired {
		m.issuer.countUse(o)
		return true
	}
	return (m.card.auth == authAlways ||
		m.card.auth == authUnlessSetUp && !m.setUpOffSession ||
		!in.offSession && (in.options.threeDSecure == "any" ||
			in.options.threeDSecure == "challenge"))
}

// newNextAction returns what the cardholder does next: 3-D Secure, or a visit
// to the provider of the payment method.
func newNextAction(in *intent, now time.Time) *nextActionJSON {
	url := in.account.env.pageURL("authenticate", in.id)
	const cashApp = "https://payments.stripe.com/cashapp/simulated"
	switch {
	case in.paymentMethod.methodType == "cashapp":
		return &nextActionJSON{Type: "cashapp_handle_redirect_or_display_qr_code",
			CashApp: &cashAppActionJSON{HostedInstructionsURL: cashApp, MobileAuthURL: cashApp,
				QRCode: cashAppQRJSON{ExpiresAt: now.Add(time.Hour).Unix(),
					ImageURLPNG: cashApp + ".png", ImageURLSVG: cashApp + ".svg"}}}
	case in.returnURL != "":
		return &nextActionJSON{Type: "redirect_to_url",
			RedirectToURL: &redirectJSON{ReturnURL: in.returnURL, URL: url}}
	}
	return &nextActionJSON{Type: "use_stripe_sdk", UseStripeSDK: map[string]any{
		"type": "three_d_secure_redirect", "stripe_js": url}}
}

// requireAction lets the intent wait for the cardholder.
func requireAction(in *intent, op *operation) {
	in.status = statusRequiresAction
	in.lastError = nil
	in.nextAction = newNextAction(in, op.now)
	if in.confirmMethod == "manual" {
		in.confirmDeadline = op.now.Add(confirmWindow)
		in.account.scheduleDue(in.confirmDeadline, in)
	}
	recordSearchSnapshot(in, op)
	in.account.emitEvent(op, "payment_intent.requires_action", in, snapshotIntent(in))
}

// newCharge makes the charge of a confirmation.
func newCharge(in *intent, op *operation, terminal bool) *charge {
	c := &charge{
		id: in.account.newID("ch_"), intent: in, created: op.now.Unix(), amount: in.amount,
		maxCapturable: in.amount, paymentMethod: in.paymentMethod,
		channel: ChannelOnline, metadata: in.metadata, description: in.description,
		customer: in.customer, receiptEmail: in.receiptEmail,
		descriptorSuffix: in.descriptorSuffix, threeDSecure: in.actionCompleted &&
			in.paymentMethod.isCard(),
	}
	if in.offSession {
		c.channel = ChannelOffSession
	}
	if terminal {
		c.channel = ChannelTerminal
	}
	in.charge = c
	in.account.charges[c.id] = c
	c.seq = len(in.account.chargeOrder)
	in.account.chargeOrder = append(in.account.chargeOrder, c)
	return c
}

// authorize records that the bank authorized the amount. Without manual capture
// the amount is captured at once.
func authorize(in *intent, op *operation, terminal bool) {
	c := newCharge(in, op, terminal)
	in.lastError = nil
	savePaymentMethod(in)
	in.actionCompleted = false
	if !isManual(in) {
		in.status = statusSucceeded
		in.received = in.amount
		c.isCaptured, c.amountCaptured, c.balanceAt = true, in.amount, op.now.Unix()
		recordSearchSnapshot(in, op)
		recordEffect(in, op, EffectAuthorized, in.amount, false)
		recordEffect(in, op, EffectCaptured, in.amount, true)
		in.account.emitEvent(op, "charge.succeeded", in, c.snapshot())
		in.account.emitEvent(op, "payment_intent.succeeded", in, snapshotIntent(in))
		return
	}
	if in.paymentMethod.isCard() {
		c.applyOptions(in.options, in.account)
	}
	in.status = statusRequiresCapture
	in.capturable = in.amount
	window := in.account.env.settings.load().authorizationWindow(Card{
		PaymentMethodType: in.paymentMethod.methodType, Brand: in.paymentMethod.brand,
		Channel: c.channel, Extended: c.extended, AuthorizedAt: op.now, Intent: in.id,
		Metadata: maps.Clone(in.metadata)})
	setCaptureBefore(in, op.now.Add(window))
	recordSearchSnapshot(in, op)
	recordEffect(in, op, EffectAuthorized, in.amount, false)
	in.account.emitEvent(op, "charge.succeeded", in, c.snapshot())
	in.account.emitEvent(op, "payment_intent.amount_capturable_updated", in, snapshotIntent(in))
}

// savePaymentMethod attaches the PaymentMethod to the customer as
// setup_future_usage says. One that is not attached is used up.
func savePaymentMethod(in *intent) {
	m := in.paymentMethod
	if in.actionCompleted && in.customer != "" && in.futureUsage == "off_session" {
		m.setUpOffSession = true
	}
	if m.customer != "" {
		return
	}
	if in.customer != "" && in.futureUsage != "" {
		m.customer = in.customer
	} else {
		m.usedOnce = true
	}
}

// applyOptions gives the charge the features that were requested and that the
// account has.
func (c *charge) applyOptions(o cardOptions, a *account) {
	const requested = "if_available"
	c.multicapture = o.multicapture == requested && a.features.Multicapture
	c.incremental = o.incremental == requested && a.features.Incremental
	c.overcapture = o.overcapture == requested && a.features.Overcapture
	c.extended = o.extended == requested && a.features.Extended
	if c.overcapture {
		c.maxCapturable = c.amount + c.amount*a.env.options.OvercapturePercent/100
	}
}

func setCaptureBefore(in *intent, t time.Time) {
	// The charge shows whole seconds.
	in.captureBefore = time.Unix(t.Unix(), 0).In(t.Location())
	in.charge.captureBefore = t.Unix()
	in.account.scheduleDue(in.captureBefore, in)
}

// recordDecline records that the bank declined the charge.
func recordDecline(in *intent, op *operation, d *decline) *apiError {
	c := newCharge(in, op, isTerminal(in))
	e := d.toError(c.id)
	c.failed, c.failureCode, c.decline, c.failureMessage = true, d.code, *d, e.message
	in.account.emitEvent(op, "charge.failed", in, c.snapshot())
	return failConfirmation(in, op, e)
}

// requireAuthentication fails a confirmation that would need the cardholder.
// The bank is not asked, so there is no charge.
func requireAuthentication(in *intent, op *operation) *apiError {
	return failConfirmation(in, op, &apiError{status: 402, typ: typeCard,
		code: codeAuthenticationRequired, declineCode: codeAuthenticationRequired,
		message: "Your card was declined. This transaction requires authentication."})
}

// failConfirmation takes back the PaymentMethod and records e as the intent's
// last error.
func failConfirmation(in *intent, op *operation, e *apiError) *apiError {
	e.paymentMethod = in.paymentMethod
	j := e.toJSON("")
	j.PaymentMethodType = in.paymentMethod.methodType
	in.lastError = &j
	in.status, in.paymentMethod, in.actionCompleted = statusRequiresMethod, nil, false
	recordSearchSnapshot(in, op)
	in.account.emitEvent(op, "payment_intent.payment_failed", in, snapshotIntent(in))
	e.intent = in
	return e
}

// expireConfirmation takes back the PaymentMethod of an intent that the server
// did not confirm in time.
func expireConfirmation(in *intent, op *operation) {
	in.confirmDeadline = time.Time{}
	if in.status != statusRequiresAction && in.status != statusRequiresConfirmation {
		return
	}
	in.status, in.nextAction, in.paymentMethod, in.actionCompleted = statusRequiresMethod, nil,
		nil, false
	recordSearchSnapshot(in, op)
}

// expireIntent releases held money at capture_before, as the card network does.
func expireIntent(in *intent, op *operation) {
	released := in.capturable
	in.capturable, in.released = 0, in.released+released
	in.expired = true
	c := in.charge
	if in.received > 0 {
		in.status = statusSucceeded
		c.isCaptured = true
		recordSearchSnapshot(in, op)
		recordEffect(in, op, EffectExpired, released, true)
		refundUncaptured(in, op, released, reasonExpired)
		in.account.emitEvent(op, "charge.expired", in, c.snapshot())
		in.account.emitEvent(op, "payment_intent.succeeded", in, snapshotIntent(in))
		return
	}
	in.status, in.cancelReason, in.canceledAt = statusCanceled, in.account.env.options.ExpiryReason,
		op.now.Unix()
	recordSearchSnapshot(in, op)
	recordEffect(in, op, EffectExpired, released, true)
	refundUncaptured(in, op, released, reasonExpired)
	in.account.emitEvent(op, "charge.expired", in, c.snapshot())
	in.account.emitEvent(op, "payment_intent.canceled", in, snapshotIntent(in))
	closeReview(in, op, "refunded")
}
