package stripesim

import (
	"cmp"
	"strings"
)

// captureParams are the parameters of a capture.
type captureParams struct {
	amount       *int64 // nil: all that is capturable
	finalCapture bool
	form         *form // has the other parameters; may be nil
}

func captureIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := findIntent(a, id)
	if err != nil {
		return nil, err
	}
	o := captureParams{amount: f.optionalInt("amount_to_capture"),
		finalCapture: !f.has("final_capture") || f.isTrue("final_capture"), form: f}
	if o.amount != nil {
		if err := checkAmountToCapture(in, *o.amount, f.isTrue("final_capture")); err != nil {
			return nil, err
		}
	}
	if err := capture(in, op, o); err != nil {
		return nil, err
	}
	return newIntentJSON(in, f.lists["expand"]), nil
}

// checkAmountToCapture checks amount_to_capture by itself. With final, 0
// releases the rest of an intent that is captured in part.
func checkAmountToCapture(in *intent, n int64, final bool) *apiError {
	var e *apiError
	switch {
	case in.status != statusRequiresCapture: // capture refuses it
	case n < 0:
		e = invalidRequestError("", "amount_to_capture", "Invalid non-negative integer")
	case n == 0 && (!final || in.received == 0):
		e = invalidRequestError("parameter_invalid_integer", "amount",
			"This value must be greater than or equal to 1.")
	default:
		e = checkWholeUnits(n, in.currency, "amount_to_capture")
	}
	if e != nil {
		e.intent = in
	}
	return e
}

// capture captures held money.
func capture(in *intent, op *operation, o captureParams) *apiError {
	if in.status != statusRequiresCapture {
		return notCapturableError(in)
	}
	amount := in.capturable
	if o.amount != nil {
		amount = *o.amount
	}
	over, err := checkCapture(in, amount, o.finalCapture)
	if err != nil {
		return err
	}
	if o.form != nil {
		if err := applyCaptureForm(in, op, amount, o.form); err != nil {
			return err
		}
	}
	if amount > 0 {
		in.captures++
		in.charge.balanceAt = cmp.Or(in.charge.balanceAt, op.now.Unix())
	}
	rest := in.capturable + over - amount
	in.received += amount
	in.charge.amountCaptured = in.received
	in.capturable = rest
	if !o.finalCapture && rest > 0 {
		recordSearchSnapshot(in, op)
		recordEffect(in, op, EffectCaptured, amount, false)
		in.account.emitEvent(op, "charge.updated", in, in.charge.snapshot())
		in.account.emitEvent(op, "payment_intent.amount_capturable_updated", in, snapshotIntent(in))
		return nil
	}
	finishCapture(in, op, amount, over, rest)
	return nil
}

// applyCaptureForm applies the parameters beside the amount to the intent, and
// keeps them for the ledger.
func applyCaptureForm(in *intent, op *operation, amount int64, f *form) *apiError {
	for _, name := range []string{"application_fee_amount", "transfer_data[amount]"} {
		if n := f.int(name); n < 0 || n > amount {
			return invalidRequestError("parameter_invalid_integer", name,
				"The %s, %d, must be between 0 and the amount to capture, %d.", name, n, amount)
		}
	}
	suffix := f.get("statement_descriptor_suffix")
	if suffix != "" && !isDescriptor(suffix) {
		return invalidRequestError("invalid_characters", "statement_descriptor_suffix",
			"The statement descriptor suffix must contain at least one letter and none of the "+
				"characters < > \\ ' \" *.")
	}
	metadata, err := mergeMetadata(in.metadata, f)
	if err != nil {
		return err
	}
	in.metadata = metadata
	if f.has("application_fee_amount") {
		in.applicationFee = f.optionalInt("application_fee_amount")
	}
	if suffix != "" {
		in.descriptorSuffix, in.charge.descriptorSuffix = suffix, suffix
	}
	op.capture = CaptureDetails{ApplicationFeeAmount: f.int("application_fee_amount"),
		TransferAmount: f.int("transfer_data[amount]"), DescriptorSuffix: suffix}
	if len(f.metadata) > 0 {
		op.capture.Metadata = strings.TrimSpace(string(encodeJSON(f.metadata)))
	}
	return nil
}

// isDescriptor reports whether s may be part of a statement descriptor.
func isDescriptor(s string) bool {
	isLetter := func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	return strings.ContainsFunc(s, isLetter) && !strings.ContainsAny(s, `<>\'"*`)
}

// checkCapture checks the amount of a capture. over is the amount by which it
// exceeds the capturable amount.
func checkCapture(in *intent, amount int64, final bool) (over int64, err *apiError) {
	c := in.charge
	switch {
	case !final && !c.multicapture:
		return 0, invalidRequestError("payment_intent_invalid_parameter", "final_capture",
			"This PaymentIntent does not support multiple captures: `final_capture` may only be "+
				"false where "+
				"the charge's `multicapture.status` is `available`.")
	case in.captures >= maxCaptures && amount > 0:
		return 0, invalidRequestError("payment_intent_invalid_parameter", "",
			"This PaymentIntent has been captured %d times, which is the most.", maxCaptures)
	case amount <= in.capturable:
		return 0, nil
	case final && c.overcapture && in.received+amount <= c.maxCapturable:
		return amount - in.capturable, nil
	}
	e := invalidRequestError("amount_too_large", "",
		"The payment could not be captured because the requested capture amount is greater than "+
			"the amount you can capture for this charge. Contact us via "+
			"https://support.stripe.com/contact/ for help.")
	e.intent = in
	return 0, e
}

// finishCapture ends an intent with its last capture, and releases the rest.
func finishCapture(in *intent, op *operation, amount, over, rest int64) {
	c := in.charge
	in.capturable, in.status = 0, statusSucceeded
	in.released += rest
	c.isCaptured = true
	recordSearchSnapshot(in, op)
	if over > 0 {
		recordEffect(in, op, EffectOvercaptured, over, false)
	}
	if amount > 0 {
		recordEffect(in, op, EffectCaptured, amount, true)
	}
	if rest > 0 || amount == 0 {
		recordEffect(in, op, EffectReleased, rest, amount == 0)
	}
	in.account.emitEvent(op, "charge.captured", in, c.snapshot())
	in.account.emitEvent(op, "charge.updated", in, c.snapshot())
	refundUncaptured(in, op, rest, "")
	in.account.emitEvent(op, "payment_intent.succeeded", in, snapshotIntent(in))
}

func notCapturableError(in *intent) *apiError {
	t := in.account.env.settings.load()
	var e *apiError
	switch {
	case in.expired:
		e = unexpectedStateError(
			in, "This PaymentIntent could not be captured because it has a status of %s. Only a "+
				"PaymentIntent with one of the following "+
				"statuses may be captured: requires_capture.", in.status)
		e.code = t.expiredCode
	case in.status == statusSucceeded && (in.released > 0 || !isManual(in)):
		e = unexpectedStateError(in, "The remaining amount on this PaymentIntent could not be "+
			"captured because the remainder of the authorized amount has been released.")
		e.code = t.alreadyCapturedCode
	case in.status == statusSucceeded:
		e = unexpectedStateError(
			in, "This PaymentIntent could not be captured because it has already been captured.")
		e.code = t.alreadyCapturedCode
	default:
		e = unexpectedStateError(
			in, "This PaymentIntent could not be captured because it has a status of %s. Only a "+
				"PaymentIntent with one of the following "+
				"statuses may be captured: requires_capture.", in.status)
	}
	if e.code != codeUnexpectedState && in.charge != nil {
		e.charge = in.charge.id
	}
	return e
}

func cancelIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := findIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := cancel(in, op, f.get("cancellation_reason")); err != nil {
		return nil, err
	}
	return newIntentJSON(in, f.lists["expand"]), nil
}

// cancel releases held money. After a partial capture the intent has succeeded.
func cancel(in *intent, op *operation, reason string) *apiError {
	switch in.status {
	case statusCanceled, statusSucceeded:
		return unexpectedStateError(
			in, "You cannot cancel this PaymentIntent because it has a status of %s. Only a "+
				"PaymentIntent with one of the following statuses may be "+
				"canceled: requires_payment_method, requires_capture, "+
				"requires_reauthorization, requires_confirmation, requires_action, processing.",
			in.status)
	}
	released := in.capturable
	in.capturable, in.released = 0, in.released+released
	in.nextAction = nil
	if in.received > 0 {
		in.status = statusSucceeded
		in.charge.isCaptured = true
		recordSearchSnapshot(in, op)
		recordEffect(in, op, EffectReleased, released, true)
		in.account.emitEvent(op, "charge.captured", in, in.charge.snapshot())
		refundUncaptured(in, op, released, "")
		in.account.emitEvent(op, "payment_intent.succeeded", in, snapshotIntent(in))
		return nil
	}
	in.status, in.cancelReason, in.canceledAt = statusCanceled, reason, op.now.Unix()
	recordSearchSnapshot(in, op)
	recordEffect(in, op, EffectCanceled, released, true) // final even if released is 0
	if refundReasons[reason] {
		refundUncaptured(in, op, released, reason)
	} else {
		refundUncaptured(in, op, released, "")
	}
	in.account.emitEvent(op, "payment_intent.canceled", in, snapshotIntent(in))
	closeReview(in, op, "refunded")
	return nil
}

func incrementAuthorization(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := findIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := checkAmount(in, f.int("amount")); err != nil {
		return nil, err
	}
	metadata, err := mergeMetadata(in.metadata, f)
	if err != nil {
		return nil, err
	}
	if err := increment(in, op, f.int("amount")); err != nil {
		return nil, err
	}
	in.metadata = metadata
	if f.has("description") {
		in.description = f.get("description")
	}
	return newIntentJSON(in, f.lists["expand"]), nil
}

// increment raises the held amount to amount. After a decline the held amount
// is the old one.
func increment(in *intent, op *operation, amount int64) *apiError {
	if err := checkIncrement(in, amount); err != nil {
		return err
	}
	c := in.charge
	in.increments++
	if d := issuerDecline(in, op, amount-in.amount); d != nil {
		e := d.toError(c.id)
		e.intent = in
		in.account.emitEvent(op, "payment_intent.payment_failed", in, snapshotIntent(in))
		return e
	}
	more := amount - in.amount
	in.amount, in.capturable = amount, amount
	c.amount, c.maxCapturable = amount, amount
	if c.overcapture {
		c.maxCapturable = amount + amount*in.account.env.options.OvercapturePercent/100
	}
	recordSearchSnapshot(in, op)
	recordEffect(in, op, EffectIncremented, more, false)
	in.account.emitEvent(op, "charge.updated", in, c.snapshot())
	in.account.emitEvent(op, "payment_intent.amount_capturable_updated", in, snapshotIntent(in))
	return nil
}

func checkIncrement(in *intent, amount int64) *apiError {
	if in.status != statusRequiresCapture {
		return unexpectedStateError(
			in, "This PaymentIntent's authorization could not be incremented because it has a "+
				"status of %s. Only a PaymentIntent with one of the "+
				"following statuses may be incremented: requires_capture.", in.status)
	}
	switch {
	case !in.charge.incremental:
		return invalidRequestError("payment_intent_invalid_parameter", "",
			"This PaymentIntent is not eligible for incremental authorization: request it when "+
				"confirming, and look at the "+
				"charge's `incremental_authorization.status`.")
	case in.received > 0:
		return invalidRequestError("payment_intent_invalid_parameter", "",
			"This PaymentIntent has been captured in part and cannot be incremented.")
	case amount <= in.amount:
		return invalidRequestError("parameter_invalid_integer", "amount",
			"The amount must be greater than the amount authorized now, %d.", in.amount)
	case in.increments >= maxIncrements:
		return invalidRequestError("payment_intent_invalid_parameter", "",
			"This PaymentIntent's authorization has been incremented %d times, which is the most.",
			maxIncrements)
	}
	return nil
}
