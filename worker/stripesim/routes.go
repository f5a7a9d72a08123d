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
	ClassCreate             EndpointClass = "payment_intents.create"
	ClassConfirm            EndpointClass = "payment_intents.confirm"
	ClassRetrieve           EndpointClass = "payment_intents.retrieve"
	ClassUpdate             EndpointClass = "payment_intents.update"
	ClassCapture            EndpointClass = "payment_intents.capture"
	ClassCancel             EndpointClass = "payment_intents.cancel"
	ClassIncrement          EndpointClass = "payment_intents.increment_authorization"
	ClassList               EndpointClass = "payment_intents.list"
	ClassSearch             EndpointClass = "payment_intents.search"
	ClassEventList          EndpointClass = "events.list"
	ClassEventRetrieve      EndpointClass = "events.retrieve"
	ClassChargeRetrieve     EndpointClass = "charges.retrieve"
	ClassChargeList         EndpointClass = "charges.list"
	ClassRefundCreate       EndpointClass = "refunds.create"
	ClassRefundUpdate       EndpointClass = "refunds.update"
	ClassRefundRetrieve     EndpointClass = "refunds.retrieve"
	ClassRefundList         EndpointClass = "refunds.list"
	ClassReviewRetrieve     EndpointClass = "reviews.retrieve"
	ClassAccountRetrieve    EndpointClass = "account.retrieve"
	ClassBalanceRetrieve    EndpointClass = "balance.retrieve"
	ClassBalanceTransaction EndpointClass = "balance_transactions.retrieve"
	ClassCustomerCreate     EndpointClass = "customers.create"
	ClassCustomerRetrieve   EndpointClass = "customers.retrieve"
	ClassCustomerList       EndpointClass = "customers.list"
	ClassCustomerUpdate     EndpointClass = "customers.update"
	ClassCustomerDelete     EndpointClass = "customers.delete"
	ClassSetupCreate        EndpointClass = "setup_intents.create"
	ClassSetupConfirm       EndpointClass = "setup_intents.confirm"
	ClassSetupRetrieve      EndpointClass = "setup_intents.retrieve"
	ClassSetupUpdate        EndpointClass = "setup_intents.update"
	ClassSetupCancel        EndpointClass = "setup_intents.cancel"
	ClassSetupList          EndpointClass = "setup_intents.list"
	ClassTokenCreate        EndpointClass = "tokens.create"
	ClassTokenRetrieve      EndpointClass = "tokens.retrieve"

	ClassConfirmationTokenCreate   EndpointClass = "confirmation_tokens.create"
	ClassConfirmationTokenRetrieve EndpointClass = "confirmation_tokens.retrieve"

	ClassWebhookEndpointCreate   EndpointClass = "webhook_endpoints.create"
	ClassWebhookEndpointRetrieve EndpointClass = "webhook_endpoints.retrieve"
	ClassWebhookEndpointUpdate   EndpointClass = "webhook_endpoints.update"
	ClassWebhookEndpointDelete   EndpointClass = "webhook_endpoints.delete"
	ClassPaymentMethodCreate     EndpointClass = "payment_methods.create"
	ClassPaymentMethodRetrieve   EndpointClass = "payment_methods.retrieve"
	ClassPaymentMethodAttach     EndpointClass = "payment_methods.attach"
	ClassPaymentMethodDetach     EndpointClass = "payment_methods.detach"
	ClassPaymentMethodList       EndpointClass = "payment_methods.list"
	ClassWebhookEndpointList     EndpointClass = "webhook_endpoints.list"
	ClassCheckoutCreate          EndpointClass = "checkout.sessions.create"
	ClassCheckoutRetrieve        EndpointClass = "checkout.sessions.retrieve"
	ClassUnknown                 EndpointClass = "unknown"
)

// isEndpointClass reports whether calls have a class.
func isEndpointClass(c EndpointClass) bool {
	for _, r := range routes {
		if r.class == c {
			return true
		}
	}
	return c == ClassUnknown
}

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
	confirmSpec = mergeSpecs(captureMethodSpec(), cardParams("payment_method_data[card]"), paramSpec{
		"capture_method":           enumParam("automatic", "automatic_async", "manual"),
		"error_on_requires_action": booleanParam, "mandate": stringParam, "mandate_data": anyParam,
		"off_session":        enumParam("true", "false", "one_off", "recurring", "1", "0"),
		"confirmation_token": stringParam,
		"payment_method":     stringParam, "payment_method_data": anyParam,
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
	paymentMethodSpec = mergeSpecs(cardParams("card"), paramSpec{
		"type": methodTypeParam.require(), "billing_details": anyParam, "metadata": mapParam,
		"affirm": anyParam, "afterpay_clearpay": anyParam, "cashapp": anyParam,
		"klarna": anyParam, "paypal": anyParam,
		"expand": listParam, "allow_redisplay": stringParam,
	})
	paymentMethodListSpec = mergeSpecs(pageSpec, expandSpec,
		paramSpec{"customer": stringParam, "type": stringParam})
	refundListSpec = mergeSpecs(pageSpec, createdFilterSpec, expandSpec,
		paramSpec{"charge": stringParam, "payment_intent": stringParam})
	checkoutCreateSpec = paramSpec{
		"mode": enumParam("setup").require(), "customer": stringParam, "success_url": stringParam,
		"cancel_url": stringParam, "payment_method_types": listParam, "metadata": mapParam,
		"currency": stringParam, "locale": stringParam, "expand": listParam,
	}
	chargeListSpec = mergeSpecs(pageSpec, createdFilterSpec, expandSpec, paramSpec{
		"customer": stringParam, "payment_intent": stringParam, "transfer_group": stringParam})
	metadataSpec = paramSpec{"metadata": mapParam, "expand": listParam}
	refundSpec   = mergeSpecs(metadataSpec, paramSpec{
		"charge": stringParam, "payment_intent": stringParam, "amount": integerParam,
		"reason":                 enumParam("duplicate", "fraudulent", "requested_by_customer"),
		"refund_application_fee": booleanParam, "reverse_transfer": booleanParam,
		"instructions_email": stringParam})
	setupSpec = mergeSpecs(metadataSpec, cardParams("payment_method_data[card]"), paramSpec{
		"payment_method_data": anyParam, "payment_method_data[type]": enumParam(typeOfCard),
		"customer": stringParam, "description": stringUpTo(1000), "payment_method": stringParam,
		"confirmation_token": stringParam, "return_url": stringParam,
		"payment_method_types": listParam, "mandate_data": anyParam, "use_stripe_sdk": booleanParam,
		cardParam + "[request_three_d_secure]": enumParam("any", "automatic", "challenge")})
	setupCreateSpec = mergeSpecs(setupSpec, paramSpec{
		"confirm": booleanParam, "usage": enumParam("off_session", "on_session"),
		"automatic_payment_methods[enabled]":         booleanParam,
		"automatic_payment_methods[allow_redirects]": enumParam("always", "never")})
	setupListSpec = mergeSpecs(pageSpec, createdFilterSpec, expandSpec,
		paramSpec{"customer": stringParam, "payment_method": stringParam})
	tokenSpec = mergeSpecs(cardParams("card"), expandSpec,
		paramSpec{"cvc_update[cvc]": stringParam})
	confirmationTokenSpec = mergeSpecs(cardParams("payment_method_data[card]"), expandSpec,
		paramSpec{"payment_method": stringParam, "payment_method_data": anyParam,
			"payment_method_data[type]": enumParam(typeOfCard), "return_url": stringParam,
			"setup_future_usage": enumParam("off_session", "on_session"), "shipping": anyParam})
	webhookEndpointSpec = mergeSpecs(metadataSpec, paramSpec{"url": stringParam,
		"enabled_events": listParam, "description": stringUpTo(5000), "disabled": booleanParam})
	webhookEndpointCreateSpec = mergeSpecs(metadataSpec, paramSpec{"url": stringParam.require(),
		"enabled_events": listParam, "description": stringUpTo(5000),
		"api_version": stringParam, "connect": booleanParam})
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
	"GET charges":       {class: ClassChargeList, spec: chargeListSpec, handler: listCharges},
	"GET charges/{id}":  {class: ClassChargeRetrieve, spec: expandSpec, handler: retrieveCharge},
	"POST refunds":      {class: ClassRefundCreate, spec: refundSpec, handler: createRefund},
	"POST refunds/{id}": {class: ClassRefundUpdate, spec: metadataSpec, handler: updateRefund},
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
	"POST customers/{id}": {class: ClassCustomerUpdate, spec: customerSpec,
		handler: updateCustomer},
	"DELETE customers/{id}": {class: ClassCustomerDelete, spec: expandSpec,
		handler: deleteCustomer},
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

	"POST setup_intents": {class: ClassSetupCreate, spec: setupCreateSpec,
		handler: createSetupIntent},
	"GET setup_intents": {class: ClassSetupList, spec: setupListSpec, handler: listSetupIntents},
	"GET setup_intents/{id}": {class: ClassSetupRetrieve, spec: retrieveSpec,
		handler: retrieveSetupIntent},
	"POST setup_intents/{id}": {class: ClassSetupUpdate, spec: setupSpec,
		handler: updateSetupIntent},
	"POST setup_intents/{id}/confirm": {class: ClassSetupConfirm,
		spec:    mergeSpecs(setupSpec, paramSpec{"client_secret": stringParam}),
		handler: confirmSetupIntent},
	"POST setup_intents/{id}/cancel": {class: ClassSetupCancel, spec: cancelSpec,
		handler: cancelSetupIntent},

	"POST tokens":     {class: ClassTokenCreate, spec: tokenSpec, handler: createToken},
	"GET tokens/{id}": {class: ClassTokenRetrieve, spec: expandSpec, handler: retrieveToken},
	"POST confirmation_tokens": {class: ClassConfirmationTokenCreate, spec: confirmationTokenSpec,
		handler: createConfirmationToken},
	"POST test_helpers/confirmation_tokens": {class: ClassConfirmationTokenCreate,
		spec: confirmationTokenSpec, handler: createConfirmationToken},
	"GET confirmation_tokens/{id}": {class: ClassConfirmationTokenRetrieve, spec: expandSpec,
		handler: retrieveConfirmationToken},

	"POST webhook_endpoints": {class: ClassWebhookEndpointCreate, spec: webhookEndpointCreateSpec,
		handler: createWebhookEndpoint},
	"GET webhook_endpoints": {class: ClassWebhookEndpointList, spec: webhookEndpointListSpec,
		handler: listWebhookEndpoints},
	"GET webhook_endpoints/{id}": {class: ClassWebhookEndpointRetrieve, spec: expandSpec,
		handler: retrieveWebhookEndpoint},
	"POST webhook_endpoints/{id}": {class: ClassWebhookEndpointUpdate, spec: webhookEndpointSpec,
		handler: updateWebhookEndpoint},
	"DELETE webhook_endpoints/{id}": {class: ClassWebhookEndpointDelete, spec: expandSpec,
		handler: deleteWebhookEndpoint},
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
