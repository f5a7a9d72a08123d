package stripesim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// The statuses of a PaymentIntent.
const (
	statusRequiresMethod       = "requires_payment_method"
	statusRequiresConfirmation = "requires_confirmation"
	statusRequiresAction       = "requires_action"
	statusRequiresCapture      = "requires_capture"
	statusSucceeded            = "succeeded"
	statusCanceled             = "canceled"
)

const (
	maxCaptures   = 50
	maxIncrements = 10
	confirmWindow = time.Hour
)

// updateLimiter counts the updates of an intent within an hour.
type updateLimiter struct {
	hourStart time.Time
	count     int
}

// allow counts an update, and reports whether the limit admits it. A negative
// limit admits all.
func (l *updateLimiter) allow(now time.Time, limit int) bool {
	if limit < 0 {
		return true
	}
	if now.Sub(l.hourStart) >= time.Hour {
		l.hourStart, l.count = now, 0
	}
	l.count++
	return l.count <= limit
}

// recordEffect adds an effect to the ledger. At most one effect of an intent is
// final.
func recordEffect(in *intent, op *operation, kind EffectKind, amount int64, final bool) {
	e := Effect{
		Time: op.now, Account: in.account.id, Intent: in.id, Kind: kind,
		Amount: amount, Currency: in.currency,
		Final: final, Actor: op.actor, IdempotencyKey: op.idempotencyKey, RequestID: op.requestID,
		Customer: in.customer, CaptureDetails: op.capture,
	}
	if c := in.account.customers[in.customer]; c != nil {
		e.CustomerHolds, e.CustomerHeld = c.updateHolds(in)
	}
	in.account.env.ledger.add(e)
}

// recordSearchSnapshot lets search find the intent as it is now, after the
// search lag.
func recordSearchSnapshot(in *intent, op *operation) {
	in.history.record(searchSnapshot{op.now, in.status, in.metadata})
}

// mergeMetadata merges metadata as Stripe does: an empty value deletes its key,
// an empty map deletes all keys.
func mergeMetadata(old map[string]string, f *form) (map[string]string, *apiError) {
	if f.has("metadata") && f.get("metadata") == "" && len(f.metadata) == 0 {
		return nil, nil
	}
	if len(f.metadata) == 0 {
		return old, nil
	}
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range f.metadata {
		if v == "" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	if len(out) > 50 {
		return nil, validationError("", "metadata", "Metadata can have up to 50 keys.")
	}
	return out, nil
}

func createIntent(op *operation, a *account, _ string, f *form) (any, *apiError) {
	if err := checkCreateParams(f); err != nil {
		return nil, err
	}
	in, err := newIntent(op, a, f)
	if err != nil {
		return nil, err
	}
	if f.isTrue("confirm") {
		if err := checkConfirmable(in); err != nil {
			return nil, err
		}
	}
	in.id = a.newID("pi_")
	in.secret = in.id + "_secret_" + seededToken(a.env.options.Seed, 25, "secret", in.id)
	in.seq = len(a.intentOrder)
	a.intents[in.id] = in
	a.intentOrder = append(a.intentOrder, in)
	if in.paymentMethod != nil {
		in.status = statusRequiresConfirmation
	}
	recordSearchSnapshot(in, op)
	a.emitEvent(op, "payment_intent.created", in, snapshotIntent(in))
	if f.isTrue("confirm") {
		if err := confirm(in, op, f.isTrue("error_on_requires_action")); err != nil {
			return nil, err
		}
	}
	return newIntentJSON(in, f.lists["expand"]), nil
}

func checkCreateParams(f *form) *apiError {
	if currency := strings.ToLower(f.get("currency")); !isKnownCurrency(currency) {
		return validationError("", "currency",
			"Invalid currency: %s. Stripe currently supports these currencies:%s", currency,
			strings.ReplaceAll(strings.TrimSuffix(currencyList, " "), " ", ", ")[1:])
	}
	if f.has("off_session") && f.get("off_session") != "false" && !f.isTrue("confirm") {
		return validationError("", "off_session",
			"The parameter `off_session` can only be passed when `confirm` is true.")
	}
	types := f.lists["payment_method_types"]
	if len(types) > 0 && f.isTrue("automatic_payment_methods[enabled]") {
		return validationError("", "payment_method_types",
			"You may only specify one of these parameters: automatic_payment_methods, "+
				"payment_method_types.")
	}
	if f.has("confirmation_token") && !f.isTrue("confirm") {
		return validationError("", "confirmation_token",
			"The parameter `confirmation_token` can only be passed when `confirm` is true.")
	}
	return checkPaymentMethodTypes(types)
}

// newIntent returns an intent that the account does not list yet.
func newIntent(op *operation, a *account, f *form) (*intent, *apiError) {
	in := &intent{
		account: a, amount: f.int("amount"), currency: strings.ToLower(f.get("currency")),
		status: statusRequiresMethod, created: op.now.Unix(), captureMethod: "automatic",
		confirmMethod:      cmp.Or(f.get("confirmation_method"), "automatic"),
		allowedMethodTypes: f.lists["allowed_payment_method_types"],
		paymentMethodTypes: slices.Concat(f.lists["payment_method_types"],
			f.lists["allowed_payment_method_types"]), // at most one of them is set
		description:         f.get("description"),
		statementDescriptor: f.get("statement_descriptor"),
		descriptorSuffix:    f.get("statement_descriptor_suffix"),
		transferGroup:       f.get("transfer_group"), onBehalfOf: f.get("on_behalf_of"),
		applicationFee: f.optionalInt("application_fee_amount"),
	}
	if len(in.paymentMethodTypes) == 0 {
		in.paymentMethodTypes = []string{"card"}
		in.automaticPaymentMethods = &automaticPaymentMethodsJSON{AllowRedirects: cmp.Or(
			f.get("automatic_payment_methods[allow_redirects]"), "always"), Enabled: true}
	}
	if c := f.get("customer"); c != "" {
		if a.customers[c] == nil {
			return nil, validationError("resource_missing", "customer", "No such customer: '%s'", c)
		}
		in.customer = c
	}
	var err *apiError
	if in.metadata, err = mergeMetadata(nil, f); err != nil {
		return nil, err
	}
	if err := applyParams(op, in, f); err != nil {
		return nil, err
	}
	return in, checkAmount(in, in.amount)
}

// checkConfirmable checks an intent that is created and confirmed in one call.
func checkConfirmable(in *intent) *apiError {
	if in.paymentMethod == nil {
		return validationError("parameter_missing", "payment_method",
			"You cannot confirm this PaymentIntent because it's missing a payment method. You "+
				"can either update the "+
				"PaymentIntent with a payment method and then confirm it again, or confirm it "+
				"again directly with a payment method or ConfirmationToken.")
	}
	return checkReturnURL(in)
}

func checkPaymentMethodTypes(types []string) *apiError {
	for _, t := range types {
		if !slices.Contains(methodTypes, t) {
			return validationError("payment_intent_invalid_parameter", "payment_method_types",
				"The payment method type \"%s\" is invalid. The simulator knows %s.", t,
				strings.Join(methodTypes, ", "))
		}
	}
	return nil
}

// applyParams applies the parameters that create, update and confirm share.
func applyParams(op *operation, in *intent, f *form) *apiError {
	applyOptions(in, f)
	if t := f.get(cardParam + "[cvc_token]"); t != "" {
		if err := useCVCToken(in.account, t); err != nil {
			return err
		}
	}
	if o := f.get("off_session"); o != "" {
		in.offSession = o != "false" && o != "0"
	}
	if err := useConfirmationToken(op, in, f); err != nil {
		return err
	}
	if id := f.get("payment_method"); id != "" {
		m, err := in.account.resolvePaymentMethod(op, id, in)
		if err != nil {
			return err
		}
		in.paymentMethod = m
	}
	m, err := makePaymentMethod(in.account, op, f)
	if err != nil {
		return err
	}
	if m != nil {
		in.paymentMethod = m
	}
	return checkMethodType(in)
}

// makePaymentMethod makes the PaymentMethod of payment_method_data. Without the
// parameter it returns nil.
func makePaymentMethod(a *account, op *operation, f *form) (*paymentMethod, *apiError) {
	switch t := f.get("payment_method_data[type]"); t {
	case "":
		return nil, nil
	case typeOfCard:
		c, err := parseEnteredCard(a, f, "payment_method_data[card]")
		if err != nil {
			return nil, err
		}
		return newEnteredCard(a, op, c), nil
	default:
		return a.newRedirectMethod(op, t), nil
	}
}

const (
	cardParam        = "payment_method_options[card]"
	cardPresentParam = "payment_method_options[card_present]"
)

func applyOptions(in *intent, f *form) {
	for name, to := range map[string]*string{
		"capture_method":                     &in.captureMethod,
		"receipt_email":                      &in.receiptEmail,
		"return_url":                         &in.returnURL,
		"setup_future_usage":                 &in.futureUsage,
		cardParam + "[request_multicapture]": &in.options.multicapture,
		cardParam + "[request_incremental_authorization]": &in.options.incremental,
		cardParam + "[request_overcapture]":               &in.options.overcapture,
		cardParam + "[request_extended_authorization]":    &in.options.extended,
		cardParam + "[request_three_d_secure]":            &in.options.threeDSecure,
		cardParam + "[setup_future_usage]":                &in.options.futureUsage,
	} {
		if f.has(name) {
			*to = f.get(name)
		}
	}
	applyCaptureMethods(in, f)
	if f.isTrue(cardPresentParam + "[request_extended_authorization]") {
		in.options.extended = "if_available"
	}
	if f.isTrue(cardPresentParam + "[request_incremental_authorization_support]") {
		in.options.incremental = "if_available"
	}
}

// useCVCToken uses up a token, which Stripe accepts once.
func useCVCToken(a *account, token string) *apiError {
	const param = cardParam + "[cvc_token]"
	if !strings.HasPrefix(token, "cvctok_") {
		return validationError("resource_missing", param, "No such token: '%s'", token)
	}
	if a.usedTokens[token] {
		return validationError("token_already_used", param,
			"You cannot use a Stripe token more than once: %s.", token)
	}
	a.usedTokens[token] = true
	return nil
}

func checkReturnURL(in *intent) *apiError {
	if in.automaticPaymentMethods != nil && in.automaticPaymentMethods.AllowRedirects != "never" &&
		in.returnURL == "" && !in.offSession {
		return validationError("", "",
			"This PaymentIntent is configured to accept payment methods enabled in your "+
				"Dashboard. Because some of these payment methods "+
				"might redirect your customer off of your page, you must provide a `return_url`. "+
				"If you don't want to accept redirect-based payment methods, set "+
				"`automatic_payment_methods[enabled]` to `true` and "+
				"`automatic_payment_methods[allow_redirects]` to `never` when creating Setup "+
				"Intents and Payment Intents.")
	}
	return checkRedirect(in)
}

func findIntent(a *account, id string) (*intent, *apiError) {
	if in := a.intents[id]; in != nil {
		return in, nil
	}
	return nil, notFoundError("payment_intent", "intent", id)
}

func retrieveIntent(_ *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := findIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := compareClientSecret(f, in.secret, "payment_intent"); err != nil {
		return nil, err
	}
	return newIntentJSON(in, f.lists["expand"]), nil
}

func updateIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := findIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := checkUpdate(in, f); err != nil {
		return nil, err
	}
	metadata, err := mergeMetadata(in.metadata, f)
	if err != nil {
		return nil, err
	}
	if err := applyParams(op, in, f); err != nil {
		return nil, err
	}
	in.metadata = metadata
	if f.has("amount") {
		in.amount = f.int("amount")
	}
	in.currency = cmp.Or(strings.ToLower(f.get("currency")), in.currency)
	in.customer = cmp.Or(f.get("customer"), in.customer)
	if f.has("description") {
		in.description = f.get("description")
	}
	if f.has("statement_descriptor_suffix") {
		in.descriptorSuffix = f.get("statement_descriptor_suffix")
	}
	if in.status == statusRequiresMethod && in.paymentMethod != nil && f.has("payment_method") {
		in.status = statusRequiresConfirmation
	}
	recordSearchSnapshot(in, op)
	return newIntentJSON(in, f.lists["expand"]), nil
}

// checkUpdate checks the parameters of an update before any is applied.
func checkUpdate(in *intent, f *form) *apiError {
	open := in.status == statusRequiresMethod || in.status == statusRequiresConfirmation ||
		in.status == statusRequiresAction
	if !open {
		for _, name := range []string{"amount", "currency", "customer", "payment_method",
			"capture_method", "setup_future_usage"} {
			if f.has(name) {
				e := unexpectedStateError(
					in, "This PaymentIntent's %s could not be updated because it has a status of "+
						"%s. You may only update the %s of a PaymentIntent "+
						"with one of the following statuses: requires_payment_method, "+
						"requires_confirmation, requires_action.", name, in.status, name)
				e.param = name
				return e
			}
		}
	}
	if currency := strings.ToLower(f.get("currency")); f.has("currency") &&
		!isKnownCurrency(currency) {
		return validationError("", "currency", "Invalid currency: %s.", currency)
	}
	if c := f.get("customer"); c != "" && in.account.customers[c] == nil {
		return validationError("resource_missing", "customer", "No such customer: '%s'", c)
	}
	if f.has("amount") || f.has("currency") {
		after := *in
		after.currency = cmp.Or(strings.ToLower(f.get("currency")), in.currency)
		if f.has("amount") {
			after.amount = f.int("amount")
		}
		return checkAmount(&after, after.amount)
	}
	return nil
}

func confirmIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := findIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := compareClientSecret(f, in.secret, "payment_intent"); err != nil {
		return nil, err
	}
	if op.publishable && in.confirmMethod == "manual" {
		return nil, invalidRequestError("", "",
			"This PaymentIntent's confirmation_method is manual: its server confirms it.")
	}
	if err := checkPaymentMethodTypes(f.lists["payment_method_types"]); err != nil {
		return nil, err
	}
	switch in.status {
	case statusRequiresMethod, statusRequiresConfirmation, statusRequiresAction:
	default:
		return nil, unexpectedStateError(in, "You cannot confirm this PaymentIntent because it "+
			"has already %s.", map[string]string{
			statusRequiresCapture: "been authorized and requires capture",
			statusSucceeded:       "succeeded after being previously confirmed",
			statusCanceled:        "been canceled"}[in.status])
	}
	in.offSession = false // each confirmation gives its own
	if err := applyParams(op, in, f); err != nil {
		return nil, err
	}
	if in.paymentMethod == nil {
		return nil, unexpectedStateError(in, "You cannot confirm this PaymentIntent because it's "+
			"missing a payment method. You can either update the PaymentIntent with a payment "+
			"method and then confirm it again, or confirm it again directly with a payment "+
			"method or ConfirmationToken.")
	}
	if err := checkAmount(in, in.amount); err != nil {
		return nil, err
	}
	if err := checkReturnURL(in); err != nil {
		return nil, err
	}
	if err := confirm(in, op, f.isTrue("error_on_requires_action")); err != nil {
		return nil, err
	}
	return newIntentJSON(in, f.lists["expand"]), nil
}
