package stripesim

import (
	"cmp"
	"net/http"
	"slices"
)

const setupIntentPrefix = "seti_"

// setupIntent is a SetupIntent: it saves a card for later payments. Its maps
// and slices are replaced and never modified, so that a copy is a snapshot.
type setupIntent struct {
	id, secret          string
	account             *account
	seq                 int // place in the account's order of creation
	created             int64
	status              string
	usage               string
	customer            string
	description         string
	metadata            map[string]string
	returnURL           string
	methodTypes         []string
	automaticMethods    *automaticPaymentMethodsJSON
	paymentMethod       *paymentMethod
	cancelReason        string
	lastError           *errorJSON
	nextAction          *nextActionJSON
	confirmationToken   *confirmationToken // of the confirmation that begins
	threeDSecure        string             // request_three_d_secure
	authenticated       bool               // the cardholder passed 3-D Secure
	confirmedByCheckout bool               // it belongs to a Checkout Session
}

// newSetupIntent adds a SetupIntent to the account.
func newSetupIntent(a *account, op *operation) *setupIntent {
	si := &setupIntent{id: a.newID(setupIntentPrefix), account: a, seq: len(a.setupOrder),
		created: op.now.Unix(), status: statusRequiresMethod, usage: "off_session",
		methodTypes: []string{typeOfCard}}
	si.secret = si.id + "_secret_" + seededToken(a.env.options.Seed, 25, "secret", si.id)
	a.setupIntents[si.id] = si
	a.setupOrder = append(a.setupOrder, si)
	return si
}

func createSetupIntent(op *operation, a *account, _ string, f *form) (any, *apiError) {
	draft := &setupIntent{account: a}
	if err := applySetupParams(op, draft, f); err != nil {
		return nil, err
	}
	if f.has("confirmation_token") && !f.isTrue("confirm") {
		return nil, validationError("", "confirmation_token",
			"The parameter `confirmation_token` can only be passed when `confirm` is true.")
	}
	if f.isTrue("confirm") && draft.paymentMethod == nil {
		return nil, validationError("parameter_missing", "payment_method",
			"You cannot confirm this SetupIntent because it's missing a payment method.")
	}
	types := f.lists["payment_method_types"]
	if err := checkPaymentMethodTypes(types); err != nil {
		return nil, err
	}
	si := newSetupIntent(a, op)
	draft.id, draft.secret, draft.seq, draft.created = si.id, si.secret, si.seq, si.created
	draft.status, draft.usage = si.status, cmp.Or(f.get("usage"), si.usage)
	draft.methodTypes = types
	if len(types) == 0 {
		draft.methodTypes = si.methodTypes
		draft.automaticMethods = &automaticPaymentMethodsJSON{AllowRedirects: cmp.Or(
			f.get("automatic_payment_methods[allow_redirects]"), "always"), Enabled: true}
	}
	*si = *draft
	if si.paymentMethod != nil {
		si.status = statusRequiresConfirmation
	}
	a.emitEventAbout(op, "setup_intent.created", "", snapshotSetupIntent(si))
	if f.isTrue("confirm") {
		if err := confirmSetup(op, si); err != nil {
			return nil, err
		}
	}
	return newSetupIntentJSON(si, f.lists["expand"]), nil
}

// applySetupParams applies the parameters that create, update and confirm share.
func applySetupParams(op *operation, si *setupIntent, f *form) *apiError {
	a := si.account
	if c := f.get("customer"); c != "" {
		if a.customers[c] == nil {
			return validationError("resource_missing", "customer", "No such customer: '%s'", c)
		}
		si.customer = c
	}
	metadata, err := mergeMetadata(si.metadata, f)
	if err != nil {
		return err
	}
	t, err := takeConfirmationToken(a, op, si.id, f)
	if err != nil {
		return err
	}
	if t != nil {
		si.paymentMethod, si.confirmationToken = t.method, t
		si.returnURL = cmp.Or(t.returnURL, si.returnURL)
	}
	if id := f.get("payment_method"); id != "" {
		m, err := a.resolvePaymentMethod(op, id, nil)
		if err != nil {
			return err
		}
		if m.customer != "" && m.customer != si.customer {
			return validationError("payment_method_invalid_parameter", "payment_method",
				"The payment method you provided is attached to another customer.")
		}
		si.paymentMethod = m
	}
	m, err := makePaymentMethod(a, op, f)
	if err != nil {
		return err
	}
	if m != nil {
		si.paymentMethod = m
	}
	si.metadata = metadata
	si.description = cmp.Or(f.get("description"), si.description)
	si.returnURL = cmp.Or(f.get("return_url"), si.returnURL)
	si.threeDSecure = cmp.Or(f.get(cardParam+"[request_three_d_secure]"), si.threeDSecure)
	return nil
}

func findSetupIntent(a *account, id string) (*setupIntent, *apiError) {
	if si := a.setupIntents[id]; si != nil {
		return si, nil
	}
	return nil, notFoundError("setupintent", "intent", id)
}

func retrieveSetupIntent(_ *operation, a *account, id string, f *form) (any, *apiError) {
	si, err := findSetupIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := compareClientSecret(f, si.secret, "setup_intent"); err != nil {
		return nil, err
	}
	return newSetupIntentJSON(si, f.lists["expand"]), nil
}

func updateSetupIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	si, err := findSetupIntent(a, id)
	if err != nil {
		return nil, err
	}
	if f.has("payment_method") || f.has("payment_method_data[type]") {
		if err := checkSetupStatus(si, "update", setupOpenStatuses); err != nil {
			return nil, err
		}
	}
	if err := applySetupParams(op, si, f); err != nil {
		return nil, err
	}
	if si.paymentMethod != nil && si.status == statusRequiresMethod {
		si.status = statusRequiresConfirmation
	}
	return newSetupIntentJSON(si, f.lists["expand"]), nil
}

func confirmSetupIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	si, err := findSetupIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := compareClientSecret(f, si.secret, "setup_intent"); err != nil {
		return nil, err
	}
	if err := checkSetupStatus(si, "confirm", setupOpenStatuses); err != nil {
		return nil, err
	}
	if err := applySetupParams(op, si, f); err != nil {
		return nil, err
	}
	if si.paymentMethod == nil {
		return nil, setupStateError(si, "You cannot confirm this SetupIntent because it's "+
			"missing a payment method. Update the SetupIntent with a payment method and then "+
			"confirm it again.")
	}
	if err := confirmSetup(op, si); err != nil {
		return nil, err
	}
	return newSetupIntentJSON(si, f.lists["expand"]), nil
}

// setupOpenStatuses are the statuses in which a SetupIntent can be confirmed.
var setupOpenStatuses = []string{statusRequiresMethod, statusRequiresConfirmation,
	statusRequiresAction}

func checkSetupStatus(si *setupIntent, act string, allowed []string) *apiError {
	if slices.Contains(allowed, si.status) && !si.confirmedByCheckout {
		return nil
	}
	return setupStateError(si, "You cannot %s this SetupIntent because it has a status of %s.",
		act, si.status)
}

func setupStateError(si *setupIntent, format string, args ...any) *apiError {
	e := invalidRequestError("setup_intent_unexpected_state", "", format, args...)
	e.setupIntent = si
	return e
}

// declinesSetup reports whether the bank refuses that the card is saved. Stripe
// has one test card that is saved and declines each payment.
func declinesSetup(m *paymentMethod) bool {
	return m.card.declineCode != "" && m.card.auth != authAlways &&
		m.card != testCards["pm_card_chargeCustomerFail"]
}

// confirmSetup asks the bank. Afterwards the card is saved or declined, or the
// intent waits for 3-D Secure.
func confirmSetup(op *operation, si *setupIntent) *apiError {
	m := si.paymentMethod
	if t := si.confirmationToken; t != nil {
		t.usedBy, si.confirmationToken = si.id, nil
	}
	si.nextAction = nil
	asks := m.isCard() && (m.card.auth == authAlways ||
		m.card.auth == authUnlessSetUp && !m.setUpOffSession ||
		si.threeDSecure == "any" || si.threeDSecure == "challenge")
	switch {
	case asks && !si.authenticated:
		requireSetupAction(op, si)
		return nil
	case declinesSetup(m):
		d := &decline{code: cmp.Or(m.card.errorCode, "card_declined"),
			declineCode: m.card.declineCode}
		e := d.toError("")
		e.paymentMethod = m
		return failSetup(op, si, e)
	}
	succeedSetup(op, si)
	return nil
}

func requireSetupAction(op *operation, si *setupIntent) {
	si.status, si.lastError = statusRequiresAction, nil
	url := si.account.env.pageURL("authenticate", si.id)
	si.nextAction = &nextActionJSON{Type: "use_stripe_sdk", UseStripeSDK: map[string]any{
		"type": "three_d_secure_redirect", "stripe_js": url}}
	if si.returnURL != "" {
		si.nextAction = &nextActionJSON{Type: "redirect_to_url",
			RedirectToURL: &redirectJSON{ReturnURL: si.returnURL, URL: url}}
	}
	si.account.emitEventAbout(op, "setup_intent.requires_action", "", snapshotSetupIntent(si))
}

// succeedSetup saves the card: for the customer, if there is one.
func succeedSetup(op *operation, si *setupIntent) {
	m := si.paymentMethod
	si.status, si.lastError, si.authenticated = statusSucceeded, nil, false
	m.setUpOffSession = m.setUpOffSession || si.usage == "off_session"
	m.customer = cmp.Or(m.customer, si.customer)
	si.account.emitEventAbout(op, "setup_intent.succeeded", "", snapshotSetupIntent(si))
}

func failSetup(op *operation, si *setupIntent, e *apiError) *apiError {
	j := e.toJSON("")
	si.lastError, si.nextAction = &j, nil
	si.status, si.paymentMethod, si.authenticated = statusRequiresMethod, nil, false
	si.account.emitEventAbout(op, "setup_intent.setup_failed", "", snapshotSetupIntent(si))
	e.setupIntent = si
	return e
}

// finishSetupAction continues after 3-D Secure.
func finishSetupAction(op *operation, si *setupIntent, passed bool) *apiError {
	if si.status != statusRequiresAction {
		return setupStateError(si, "This SetupIntent has a status of %s; only requires_action can "+
			"be completed.", si.status)
	}
	if !passed {
		failSetup(op, si, &apiError{status: http.StatusBadRequest, typ: typeInvalidRequest,
			code: "setup_intent_authentication_failure", paymentMethod: si.paymentMethod,
			message: "The latest attempt to set up the payment method has failed because " +
				"authentication failed."})
		return nil
	}
	si.authenticated = true
	if err := confirmSetup(op, si); err != nil && err.typ != typeCard {
		return err
	}
	return nil
}

func cancelSetupIntent(op *operation, a *account, id string, f *form) (any, *apiError) {
	si, err := findSetupIntent(a, id)
	if err != nil {
		return nil, err
	}
	if err := checkSetupStatus(si, "cancel", setupOpenStatuses); err != nil {
		return nil, err
	}
	si.status, si.nextAction = statusCanceled, nil
	si.cancelReason = f.get("cancellation_reason")
	a.emitEventAbout(op, "setup_intent.canceled", "", snapshotSetupIntent(si))
	return newSetupIntentJSON(si, f.lists["expand"]), nil
}

func listSetupIntents(_ *operation, a *account, _ string, f *form) (any, *apiError) {
	at, more, err := paginate(f, pageSource{kind: "setupintent", length: len(a.setupOrder),
		created: func(i int) int64 { return a.setupOrder[i].created },
		find: func(id string) int {
			if si := a.setupIntents[id]; si != nil {
				return si.seq
			}
			return -1
		},
		keep: func(i int) bool {
			si := a.setupOrder[i]
			m := f.get("payment_method")
			return (!f.has("customer") || si.customer == f.get("customer")) &&
				(m == "" || si.paymentMethod != nil && si.paymentMethod.id == m)
		},
	})
	if err != nil {
		return nil, err
	}
	l := listJSON{Object: "list", Data: make([]any, 0, len(at)), HasMore: more,
		URL: "/v1/setup_intents"}
	for _, i := range at {
		l.Data = append(l.Data, newSetupIntentJSON(a.setupOrder[i], f.expandPaths()))
	}
	return l, nil
}
