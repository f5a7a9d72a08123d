package stripesim

import (
	"slices"
	"strings"
)

// EndpointClass is a group of endpoints. Calls of one class and account share a
// limit.
type EndpointClass string

// The endpoint classes.
const (
	ClassCreate                EndpointClass = "payment_intents.create"
	ClassConfirm               EndpointClass = "payment_intents.confirm"
	ClassRetrieve              EndpointClass = "payment_intents.retrieve"
	ClassUpdate                EndpointClass = "payment_intents.update"
	ClassCapture               EndpointClass = "payment_intents.capture"
	ClassCancel                EndpointClass = "payment_intents.cancel"
	ClassIncrement             EndpointClass = "payment_intents.increment_authorization"
	ClassList                  EndpointClass = "payment_intents.list"
	ClassSearch                EndpointClass = "payment_intents.search"
	ClassEventList             EndpointClass = "events.list"
	ClassEventRetrieve         EndpointClass = "events.retrieve"
	ClassChargeRetrieve        EndpointClass = "charges.retrieve"
	ClassRefundRetrieve        EndpointClass = "refunds.retrieve"
	ClassRefundList            EndpointClass = "refunds.list"
	ClassReviewRetrieve        EndpointClass = "reviews.retrieve"
	ClassAccountRetrieve       EndpointClass = "account.retrieve"
	ClassBalanceRetrieve       EndpointClass = "balance.retrieve"
	ClassBalanceTransaction    EndpointClass = "balance_transactions.retrieve"
	ClassCustomerCreate        EndpointClass = "customers.create"
	ClassCustomerRetrieve      EndpointClass = "customers.retrieve"
	ClassCustomerList          EndpointClass = "customers.list"
	ClassPaymentMethodCreate   EndpointClass = "payment_methods.create"
	ClassPaymentMethodRetrieve EndpointClass = "payment_methods.retrieve"
	ClassPaymentMethodAttach   EndpointClass = "payment_methods.attach"
	ClassPaymentMethodDetach   EndpointClass = "payment_methods.detach"
	ClassPaymentMethodList     EndpointClass = "payment_methods.list"
	ClassWebhookEndpointList   EndpointClass = "webhook_endpoints.list"
	ClassCheckoutCreate        EndpointClass = "checkout.sessions.create"
	ClassCheckoutRetrieve      EndpointClass = "checkout.sessions.retrieve"
	ClassUnknown               EndpointClass = "unknown"
)

// handler executes a call for the object that is named in the path. It runs
// under the account's lock.
type handler func(op *operation, a *account, objectID string, f *form) (any, *apiError)

// route is an endpoint.
type route struct {
	class       EndpointClass
	spec        paramSpec
	handler     handler
	locksIntent bool // the call changes the intent named in the path
}

var (
	expandSpec = paramSpec{"expand": listParam}
	pageSpec   = paramSpec{"limit": integerParam, "starting_after": stringParam,
		"ending_before": stringParam}
	createdFilterSpec = paramSpec{"created": integerParam, "created[gt]": integerParam,
		"created[gte]": integerParam, "created[lt]": integerParam, "created[lte]": integerParam}

	ifAvailableParam = enumParam("if_available", "never")
	methodTypeParam  = enumParam(slices.DeleteFunc(slices.Clone(methodTypes), func(t string) bool {
		return t == typeOfCardPresent || t == "link"
	})...)

	// confirmSpec are the parameters of both create and confirm.
	confirmSpec = mergeSpecs(captureMethodSpec(), paramSpec{
		"capture_method":           enumParam("automatic", "automatic_async", "manual"),
		"error_on_requires_action": booleanParam, "mandate": stringParam, "mandate_data": anyParam,
		"off_session":    enumParam("true", "false", "one_off", "recurring", "1", "0"),
		"payment_method": stringParam, "payment_method_data": anyParam,
		"payment_method_data[type]": methodTypeParam,
		"payment_method_types":      listParam, "radar_options": anyParam,
		"receipt_email": stringUpTo(
			512), "return_url": stringParam,
		"setup_future_usage": enumParam("off_session", "on_session").allowEmpty(),
		"shipping":           anyParam, "use_stripe_sdk": booleanParam,
		cardParam + "[cvc_token]":                         stringParam,
		cardParam + "[network]":                           stringParam,
		cardParam + "[moto]":                              booleanParam,
		cardParam + "[request_extended_authorization]":    ifAvailableParam,
		cardParam + "[request_incremental_authorization]": ifAvailableParam,
		cardParam + "[request_multicapture]":              ifAvailableParam,
		cardParam + "[request_overcapture]":               ifAvailableParam,
		cardParam + "[request_three_d_secure]": enumParam("any",
			"automatic", "challenge"),
		cardParam + "[require_cvc_recollection]": booleanParam,
		cardParam + "[setup_future_usage]": enumParam("none",
			"off_session", "on_session").allowEmpty(),
		cardPresentParam + "[request_extended_authorization]":            booleanParam,
		cardPresentParam + "[request_incremental_authorization_support]": booleanParam,
		"expand": listParam,
	})
	createSpec = mergeSpecs(confirmSpec, paramSpec{
		"amount": integerParam.require(), "currency": stringParam.require(),
		"allowed_payment_method_types": listParam,
		"application_fee_amount":       integerParam, "confirm": booleanParam,
		"automatic_payment_methods[enabled]":         booleanParam,
		"automatic_payment_methods[allow_redirects]": enumParam("always", "never"),
		"confirmation_method":                        enumParam("automatic", "manual"),
		"customer":                                   stringParam,
		"description":                                stringUpTo(1000), "metadata": mapParam,
		"on_behalf_of": stringParam, "payment_method_configuration": stringParam,
		"statement_descriptor": stringUpTo(22), "statement_descriptor_suffix": stringUpTo(22),
		"transfer_data": anyParam, "transfer_group": stringParam,
	})
	updateSpec = mergeSpecs(captureMethodSpec(), paramSpec{
		"amount": integerParam, "currency": stringParam,
		"application_fee_amount": integerParam.allowEmpty(), "customer": stringParam,
		"description": stringUpTo(1000),
		"metadata":    mapParam, "payment_method": stringParam, "payment_method_types": listParam,
		"receipt_email":      stringUpTo(512),
		"setup_future_usage": enumParam("off_session", "on_session").allowEmpty(),
		"shipping":           anyParam, "statement_descriptor": stringUpTo(22),
		"statement_descriptor_suffix": stringUpTo(22), "transfer_data": anyParam,
		"transfer_group": stringParam,
		"capture_method": enumParam("automatic", "automatic_async", "manual"), "expand": listParam,
		cardParam + "[request_extended_authorization]":    ifAvailableParam,
		cardParam + "[request_incremental_authorization]": ifAvailableParam,
		cardParam + "[request_multicapture]":              ifAvailableParam,
		cardParam + "[request_overcapture]":               ifAvailableParam,
	})
	captureSpec = paramSpec{
		"amount_to_capture": integerParam, "application_fee_amount": integerParam,
		"expand": listParam, "final_capture": booleanParam, "metadata": mapParam,
		"statement_descriptor": stringUpTo(22), "statement_descriptor_suffix": stringUpTo(22),
		"transfer_data[amount]": integerParam,
	}
	cancelSpec = paramSpec{"cancellation_reason": enumParam("abandoned", "duplicate",
		"fraudulent", "requested_by_customer"), "expand": listParam}
	incrementSpec = paramSpec{
		"amount": integerParam.require(), "application_fee_amount": integerParam,
		"description": stringUpTo(1000), "expand": listParam, "metadata": mapParam,
		"statement_descriptor": stringUpTo(22), "transfer_data": anyParam,
	}
	retrieveSpec = paramSpec{"expand": listParam, "client_secret": stringParam}
	listSpec     = mergeSpecs(pageSpec, createdFilterSpec, expandSpec,
		paramSpec{"customer": stringParam})
	searchSpec = paramSpec{"query": stringParam.require(), "limit": integerParam,
		"page": stringParam, "expand": listParam}
	eventListSpec = mergeSpecs(pageSpec, createdFilterSpec, expandSpec,
		paramSpec{"type": stringParam, "types": listParam, "delivery_success": booleanParam})
	customerSpec = paramSpec{
		"email": stringUpTo(512), "name": stringUpTo(256), "description": stringUpTo(5000),
		"phone": stringUpTo(20), "metadata": mapParam, "expand": listParam,
		"payment_method": stringParam, "invoice_settings": anyParam,
		"address": anyParam, "shipping": anyParam,
	}
	customerListSpec = mergeSpecs(pageSpec, createdFilterSpec, expandSpec,
		paramSpec{"email": stringParam})
	paymentMethodSpec = paramSpec{
		"type": methodTypeParam.require(), "card[number]": stringParam,
		"card[exp_month]": integerParam, "card[exp_year]": integerParam, "card[cvc]": stringParam,
		"card[token]": stringParam, "billing_details": anyParam, "metadata": mapParam,
		"affirm": anyParam, "afterpay_clearpay": anyParam, "cashapp": anyParam,
		"klarna": anyParam, "paypal": anyParam,
		"expand": listParam, "allow_redisplay": stringParam,
	}
	paymentMethodListSpec = mergeSpecs(pageSpec, expandSpec,
		paramSpec{"customer": stringParam, "type": stringParam})
	refundListSpec = mergeSpecs(pageSpec, createdFilterSpec, expandSpec,
		paramSpec{"charge": stringParam, "payment_intent": stringParam})
	checkoutCreateSpec = paramSpec{
		"mode": enumParam("setup").require(), "customer": stringParam, "success_url": stringParam,
		"cancel_url": stringParam, "payment_method_types": listParam, "metadata": mapParam,
		"currency": stringParam, "locale": stringParam, "expand": listParam,
	}
	webhookEndpointListSpec = mergeSpecs(pageSpec, expandSpec)
	paymentMethodAttachSpec = paramSpec{"customer": stringParam.require(), "expand": listParam}
)

// routes are the endpoints by method and path below /v1/.
var routes = map[string]*route{
	"POST payment_intents": {class: ClassCreate, spec: createSpec, handler: createIntent},
	"GET payment_intents":  {class: ClassList, spec: listSpec, handler: listIntents},
	"GET payment_intents/search": {class: ClassSearch, spec: searchSpec,
		handler: searchIntents},
	"GET payment_intents/{id}": {class: ClassRetrieve, spec: retrieveSpec,
		handler: retrieveIntent},
	"POST payment_intents/{id}": {class: ClassUpdate, spec: updateSpec,
		handler: updateIntent, locksIntent: true},
	"POST payment_intents/{id}/confirm": {class: ClassConfirm,
		spec:    mergeSpecs(confirmSpec, paramSpec{"client_secret": stringParam}),
		handler: confirmIntent, locksIntent: true},
	"POST payment_intents/{id}/capture": {class: ClassCapture, spec: captureSpec,
		handler: captureIntent, locksIntent: true},
	"POST payment_intents/{id}/cancel": {class: ClassCancel, spec: cancelSpec,
		handler: cancelIntent, locksIntent: true},
	"POST payment_intents/{id}/increment_authorization": {class: ClassIncrement,
		spec: incrementSpec, handler: incrementAuthorization, locksIntent: true},

	"GET events":        {class: ClassEventList, spec: eventListSpec, handler: listEvents},
	"GET events/{id}":   {class: ClassEventRetrieve, spec: expandSpec, handler: retrieveEvent},
	"GET charges/{id}":  {class: ClassChargeRetrieve, spec: expandSpec, handler: retrieveCharge},
	"GET refunds":       {class: ClassRefundList, spec: refundListSpec, handler: listRefunds},
	"GET refunds/{id}":  {class: ClassRefundRetrieve, spec: expandSpec, handler: retrieveRefund},
	"GET reviews/{id}":  {class: ClassReviewRetrieve, spec: expandSpec, handler: retrieveReview},
	"GET account":       {class: ClassAccountRetrieve, spec: expandSpec, handler: retrieveAccount},
	"GET accounts/{id}": {class: ClassAccountRetrieve, spec: expandSpec, handler: retrieveAccount},
	"GET balance":       {class: ClassBalanceRetrieve, spec: expandSpec, handler: retrieveBalance},

	"GET balance_transactions/{id}": {class: ClassBalanceTransaction, spec: expandSpec,
		handler: retrieveBalanceTransaction},

	"POST customers": {class: ClassCustomerCreate, spec: customerSpec, handler: createCustomer},
	"GET customers":  {class: ClassCustomerList, spec: customerListSpec, handler: listCustomers},
	"GET customers/{id}": {class: ClassCustomerRetrieve, spec: expandSpec,
		handler: retrieveCustomer},

	"POST payment_methods": {class: ClassPaymentMethodCreate, spec: paymentMethodSpec,
		handler: createPaymentMethod},
	"GET payment_methods/{id}": {class: ClassPaymentMethodRetrieve, spec: expandSpec,
		handler: retrievePaymentMethod},
	"POST payment_methods/{id}/attach": {class: ClassPaymentMethodAttach,
		spec: paymentMethodAttachSpec, handler: attachPaymentMethod},
	"POST payment_methods/{id}/detach": {class: ClassPaymentMethodDetach,
		spec: expandSpec, handler: detachPaymentMethod},
	"GET payment_methods": {class: ClassPaymentMethodList,
		spec: paymentMethodListSpec, handler: listPaymentMethods},
	"GET customers/{id}/payment_methods": {class: ClassPaymentMethodList,
		spec: paymentMethodListSpec, handler: listCustomerPaymentMethods},

	"POST checkout/sessions": {class: ClassCheckoutCreate, spec: checkoutCreateSpec,
		handler: createCheckoutSession},
	"GET checkout/sessions/{id}": {class: ClassCheckoutRetrieve, spec: expandSpec,
		handler: retrieveCheckoutSession},

	"GET webhook_endpoints": {class: ClassWebhookEndpointList, spec: webhookEndpointListSpec,
		handler: listWebhookEndpoints},
}

// matchRoute returns the route of a request and the id in its path. The route
// is nil if there is no such endpoint.
func matchRoute(method, path string) (r *route, id string) {
	path, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil, ""
	}
	path = strings.TrimSuffix(path, "/")
	parts := strings.Split(path, "/")
	if r := routes[method+" "+path]; r != nil && !slices.Contains(parts, "{id}") {
		return r, ""
	}
	at := 1
	if parts[0] == "checkout" {
		at = 2
	}
	if len(parts) <= at {
		return nil, ""
	}
	id, parts[at] = parts[at], "{id}"
	if r = routes[method+" "+strings.Join(parts, "/")]; r == nil {
		return nil, ""
	}
	return r, id
}
