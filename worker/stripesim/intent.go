package stripesim

import (
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
	maxAmount     = 99_999_999
	maxCaptures   = 50
	maxIncrements = 10
	confirmWithin = time.Hour
)

func (in *intent) countUpdate(now time.Time, limit int) bool {
	if limit < 0 {
		return true
	}
	if now.Sub(in.hour) >= time.Hour {
		in.hour, in.updates = now, 0
	}
	in.updates++
	return in.updates <= limit
}

// record writes an effect down. Of each intent one effect at most is final.
func (in *intent) record(op *operation, kind EffectKind, amount int64, final bool) {
	in.account.sim.ledger.add(Effect{
		Time: op.now, Account: in.account.id, Intent: in.id, Kind: kind, Amount: amount, Currency: in.currency,
		Final: final, By: op.by, Key: op.key, RequestID: op.requestID,
	})
}

// changed lets search know, later.
func (in *intent) changed(op *operation) {
	if n := len(in.indexed); n > 0 && in.indexed[n-1].status == in.status && maps.Equal(in.indexed[n-1].metadata, in.metadata) {
		return
	}
	if len(in.indexed) >= 32 { // more changes than this within one lag are not told apart
		in.indexed = slices.Delete(in.indexed, 1, 2)
	}
	in.indexed = append(in.indexed, indexed{op.now, in.status, in.metadata})
}

// merge applies metadata as Stripe does: an empty value deletes, an empty map deletes all.
func merge(old map[string]string, f *form) (map[string]string, *apiError) {
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
		return nil, refused("", "metadata", "Metadata can have up to 50 keys.")
	}
	return out, nil
}

func checkAmount(n int64, name string) *apiError {
	if n < 1 {
		return refused("parameter_invalid_integer", name, "This value must be greater than or equal to 1.")
	}
	if n > maxAmount {
		return refused("amount_too_large", name, "Amount must be no more than %d", maxAmount)
	}
	return nil
}

func runCreate(op *operation, a *account, _ string, f *form) (any, *apiError) {
	if err := checkAmount(f.int("amount"), "amount"); err != nil {
		return nil, err
	}
	currency := strings.ToLower(f.get("currency"))
	if !knownCurrency(currency) {
		return nil, refused("", "currency", "Invalid currency: %s. Stripe currently supports these currencies:%s", currency, strings.ReplaceAll(strings.TrimSuffix(currencyList, " "), " ", ", ")[1:])
	}
	if f.has("off_session") && f.get("off_session") != "false" && !f.yes("confirm") {
		return nil, refused("", "off_session", "The parameter `off_session` can only be passed when `confirm` is true.")
	}
	types := f.lists["payment_method_types"]
	if len(types) > 0 && f.yes("automatic_payment_methods[enabled]") {
		return nil, refused("", "payment_method_types", "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.")
	}
	if err := checkTypes(types); err != nil {
		return nil, err
	}
	in := &intent{
		account: a, amount: f.int("amount"), currency: currency, status: statusRequiresMethod, created: op.now.Unix(),
		captureMethod: "automatic", confirmMethod: cmpOr(f.get("confirmation_method"), "automatic"), types: types,
		description: f.get("description"), descriptor: f.get("statement_descriptor"), suffix: f.get("statement_descriptor_suffix"),
		transferGroup: f.get("transfer_group"), onBehalfOf: f.get("on_behalf_of"), fee: f.intPtr("application_fee_amount"),
	}
	if len(types) == 0 {
		in.types = []string{"card"}
		in.automaticPM = &automaticPM{AllowRedirects: cmpOr(f.get("automatic_payment_methods[allow_redirects]"), "always"), Enabled: true}
	}
	if c := f.get("customer"); c != "" {
		if a.customers[c] == nil {
			return nil, refused("resource_missing", "customer", "No such customer: '%s'", c)
		}
		in.customer = c
	}
	var err *apiError
	if in.metadata, err = merge(nil, f); err != nil {
		return nil, err
	}
	if err := in.take(op, f); err != nil {
		return nil, err
	}
	if f.yes("confirm") {
		if in.method == nil {
			return nil, refused("parameter_missing", "payment_method", "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "+
				"PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method or ConfirmationToken.")
		}
		if err := in.checkRedirects(); err != nil {
			return nil, err
		}
	}
	in.id = a.newID("pi_")
	in.secret = in.id + "_secret_" + digest(a.sim.opt.Seed, 25, "secret", in.id)
	in.seq = len(a.order)
	a.intents[in.id] = in
	a.order = append(a.order, in)
	if in.method != nil {
		in.status = statusRequiresConfirmation
	}
	in.changed(op)
	a.emit(op, "payment_intent.created", in, in.snapshot())
	if f.yes("confirm") {
		if err := in.confirm(op, f.yes("error_on_requires_action")); err != nil {
			return nil, err
		}
	}
	return in.view(f.lists["expand"]), nil
}

func checkTypes(types []string) *apiError {
	for _, t := range types {
		if t != "card" && t != "card_present" && t != "link" {
			return refused("payment_intent_invalid_parameter", "payment_method_types", "The payment method type \"%s\" is invalid. The simulator knows card, card_present and link.", t)
		}
	}
	return nil
}

// take reads what create, update and confirm have in common.
func (in *intent) take(op *operation, f *form) *apiError {
	str := func(name string, to *string) {
		if f.has(name) {
			*to = f.get(name)
		}
	}
	str("capture_method", &in.captureMethod)
	if f.get("payment_method_options[card][capture_method]") == "manual" {
		in.captureMethod = "manual"
	}
	str("receipt_email", &in.receiptEmail)
	str("return_url", &in.returnURL)
	str("setup_future_usage", &in.futureUsage)
	const card = "payment_method_options[card]"
	str(card+"[request_multicapture]", &in.options.multicapture)
	str(card+"[request_incremental_authorization]", &in.options.incremental)
	str(card+"[request_overcapture]", &in.options.overcapture)
	str(card+"[request_extended_authorization]", &in.options.extended)
	str(card+"[request_three_d_secure]", &in.options.threeD)
	str(card+"[setup_future_usage]", &in.options.futureUsage)
	if f.yes("payment_method_options[card_present][request_extended_authorization]") {
		in.options.extended = "if_available"
	}
	if f.yes("payment_method_options[card_present][request_incremental_authorization_support]") {
		in.options.incremental = "if_available"
	}
	if t := f.get(card + "[cvc_token]"); t != "" {
		if !strings.HasPrefix(t, "cvctok_") {
			return refused("resource_missing", card+"[cvc_token]", "No such token: '%s'", t)
		}
		if in.account.tokens[t] {
			return refused("token_already_used", card+"[cvc_token]", "You cannot use a Stripe token more than once: %s.", t)
		}
		in.account.tokens[t] = true
	}
	if o := f.get("off_session"); o != "" {
		in.offSession = o != "false" && o != "0"
	}
	if id := f.get("payment_method"); id != "" {
		m, err := in.account.useMethod(op, id, in)
		if err != nil {
			return err
		}
		in.method = m
	}
	return nil
}

func (in *intent) checkRedirects() *apiError {
	if in.automaticPM != nil && in.automaticPM.AllowRedirects != "never" && in.returnURL == "" && !in.offSession {
		return refused("", "", "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these payment methods "+
			"might redirect your customer off of your page, you must provide a `return_url`. If you don't want to accept redirect-based payment methods, set "+
			"`automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents.")
	}
	return nil
}

func find(a *account, id string) (*intent, *apiError) {
	if in := a.intents[id]; in != nil {
		return in, nil
	}
	return nil, missing("payment_intent", "intent", id)
}

func runRetrieve(_ *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := find(a, id)
	if err != nil {
		return nil, err
	}
	return in.view(f.lists["expand"]), nil
}

func runUpdate(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := find(a, id)
	if err != nil {
		return nil, err
	}
	open := in.status == statusRequiresMethod || in.status == statusRequiresConfirmation || in.status == statusRequiresAction
	if !open {
		for _, name := range []string{"amount", "currency", "customer", "payment_method", "capture_method", "setup_future_usage"} {
			if f.has(name) {
				return nil, unexpectedState(in, "This PaymentIntent's %s could not be updated because it has a status of %s. You may only update the %s of a PaymentIntent "+
					"with one of the following statuses: requires_payment_method, requires_confirmation, requires_action.", name, in.status, name)
			}
		}
	}
	if f.has("amount") {
		if err := checkAmount(f.int("amount"), "amount"); err != nil {
			return nil, err
		}
	}
	currency := strings.ToLower(f.get("currency"))
	if f.has("currency") && !knownCurrency(currency) {
		return nil, refused("", "currency", "Invalid currency: %s.", currency)
	}
	c := f.get("customer")
	if c != "" && a.customers[c] == nil {
		return nil, refused("resource_missing", "customer", "No such customer: '%s'", c)
	}
	metadata, err := merge(in.metadata, f)
	if err != nil {
		return nil, err
	}
	if err := in.take(op, f); err != nil {
		return nil, err
	}
	in.metadata = metadata
	if f.has("amount") {
		in.amount = f.int("amount")
	}
	in.currency = cmpOr(currency, in.currency)
	in.customer = cmpOr(c, in.customer)
	if f.has("description") {
		in.description = f.get("description")
	}
	if f.has("statement_descriptor_suffix") {
		in.suffix = f.get("statement_descriptor_suffix")
	}
	if in.status == statusRequiresMethod && in.method != nil && f.has("payment_method") {
		in.status = statusRequiresConfirmation
	}
	in.changed(op)
	return in.view(f.lists["expand"]), nil
}

func runConfirm(op *operation, a *account, id string, f *form) (any, *apiError) {
	in, err := find(a, id)
	if err != nil {
		return nil, err
	}
	if s := f.get("client_secret"); s != "" && s != in.secret {
		return nil, refused("payment_intent_invalid_parameter", "client_secret", "The client_secret provided does not match any associated PaymentIntent.")
	}
	if err := checkTypes(f.lists["payment_method_types"]); err != nil {
		return nil, err
	}
	switch in.status {
	case statusRequiresMethod, statusRequiresConfirmation, statusRequiresAction:
	default:
		return nil, unexpectedState(in, "You cannot confirm this PaymentIntent because it has already %s.", map[string]string{
			statusRequiresCapture: "been authorized and requires capture", statusSucceeded: "succeeded after being previously confirmed", statusCanceled: "been canceled"}[in.status])
	}
	in.offSession = false // said anew at each confirmation
	if err := in.take(op, f); err != nil {
		return nil, err
	}
	if in.method == nil {
		return nil, unexpectedState(in, "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment "+
			"method and then confirm it again, or confirm it again directly with a payment method or ConfirmationToken.")
	}
	if err := in.checkRedirects(); err != nil {
		return nil, err
	}
	if err := in.confirm(op, f.yes("error_on_requires_action")); err != nil {
		return nil, err
	}
	return in.view(f.lists["expand"]), nil
}
