package stripesim

import "strings"

// EndpointClass is an endpoint: calls of one class and account share a limit.
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
	ClassReviewRetrieve        EndpointClass = "reviews.retrieve"
	ClassAccountRetrieve       EndpointClass = "account.retrieve"
	ClassBalanceRetrieve       EndpointClass = "balance.retrieve"
	ClassCustomerCreate        EndpointClass = "customers.create"
	ClassCustomerRetrieve      EndpointClass = "customers.retrieve"
	ClassCustomerList          EndpointClass = "customers.list"
	ClassPaymentMethodCreate   EndpointClass = "payment_methods.create"
	ClassPaymentMethodRetrieve EndpointClass = "payment_methods.retrieve"
	ClassPaymentMethodAttach   EndpointClass = "payment_methods.attach"
	ClassWebhookEndpointList   EndpointClass = "webhook_endpoints.list"
	ClassUnknown               EndpointClass = "unknown"
)

// route is a call that has been recognized.
type route struct {
	class       EndpointClass
	objectID    string // of the object named in the path
	spec        paramSpec
	handler     func(*operation, *account, string, *form) (any, *apiError)
	locksIntent bool // changes the intent named in the path
}

var (
	expandSpec = paramSpec{"expand": listParam}
	pageSpec   = paramSpec{"limit": integerParam, "starting_after": stringParam,
		"ending_before": stringParam}
	createdFilterSpec = paramSpec{"created": integerParam, "created[gt]": integerParam,
		"created[gte]": integerParam, "created[lt]": integerParam, "created[lte]": integerParam}

	ifAvailableParam = enumParam("if_available", "never")

	// confirmSpec is what both create and confirm take.
	confirmSpec = paramSpec{
		"capture_method":           enumParam("automatic", "automatic_async", "manual"),
		"error_on_requires_action": booleanParam, "mandate": stringParam, "mandate_data": anyParam,
		"off_session":    enumParam("true", "false", "one_off", "recurring", "1", "0"),
		"payment_method": stringParam, "payment_method_data": anyParam,
		"payment_method_types": listParam, "radar_options": anyParam, "receipt_email": stringUpTo(
			512), "return_url": stringParam,
		"setup_future_usage": enumParam("off_session", "on_session").allowEmpty(),
		"shipping":           anyParam, "use_stripe_sdk": booleanParam,
		"payment_method_options[card][capture_method]":                                    enumParam("manual").allowEmpty(),
		"payment_method_options[card][cvc_token]":                                         stringParam,
		"payment_method_options[card][network]":                                           stringParam,
		"payment_method_options[card][moto]":                                              booleanParam,
		"payment_method_options[card][request_extended_authorization]":                    ifAvailableParam,
		"payment_method_options[card][request_incremental_authorization]":                 ifAvailableParam,
		"payment_method_options[card][request_multicapture]":                              ifAvailableParam,
		"payment_method_options[card][request_overcapture]":                               ifAvailableParam,
		"payment_method_options[card][request_three_d_secure]":                            enumParam("any", "automatic", "challenge"),
		"payment_method_options[card][require_cvc_recollection]":                          booleanParam,
		"payment_method_options[card][setup_future_usage]":                                enumParam("none", "off_session", "on_session").allowEmpty(),
		"payment_method_options[card_present][request_extended_authorization]":            booleanParam,
		"payment_method_options[card_present][request_incremental_authorization_support]": booleanParam,
		"expand": listParam,
	}
	createSpec = mergeSpecs(confirmSpec, paramSpec{
		"amount": integerParam.require(), "currency": stringParam.require(),
		"application_fee_amount": integerParam, "confirm": booleanParam,
		"automatic_payment_methods[enabled]":         booleanParam,
		"automatic_payment_methods[allow_redirects]": enumParam("always", "never"),
		"confirmation_method":                        enumParam("automatic", "manual"),
		"customer":                                   stringParam,
		"description":                                stringUpTo(1000), "metadata": mapParam,
		"on_behalf_of": stringParam, "payment_method_configuration": stringParam,
		"statement_descriptor": stringUpTo(22), "statement_descriptor_suffix": stringUpTo(22),
		"transfer_data": anyParam, "transfer_group": stringParam,
	})
	updateSpec = paramSpec{
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
		"payment_method_options[card][request_extended_authorization]":    ifAvailableParam,
		"payment_method_options[card][request_incremental_authorization]": ifAvailableParam,
		"payment_method_options[card][request_multicapture]":              ifAvailableParam,
		"payment_method_options[card][request_overcapture]":               ifAvailableParam,
	}
	captureSpec = paramSpec{
		"amount_to_capture": integerParam, "application_fee_amount": integerParam,
		"expand": listParam, "final_capture": booleanParam, "metadata": mapParam,
		"statement_descriptor": stringUpTo(22), "statement_descriptor_suffix": stringUpTo(22),
		"transfer_data": anyParam,
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
		"type": enumParam("card").require(), "card[number]": stringParam,
		"card[exp_month]": integerParam, "card[exp_year]": integerParam, "card[cvc]": stringParam,
		"card[token]": stringParam, "billing_details": anyParam, "metadata": mapParam,
		"expand": listParam, "allow_redisplay": stringParam,
	}
	webhookEndpointListSpec = mergeSpecs(pageSpec, expandSpec)
	paymentMethodAttachSpec = paramSpec{"customer": stringParam.require(), "expand": listParam}
)

// matchRoute recognizes a call, or returns nil.
func matchRoute(httpMethod, path string) *route {
	p, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil
	}
	parts := strings.Split(strings.TrimSuffix(p, "/"), "/")
	get, post := httpMethod == "GET", httpMethod == "POST"
	id := ""
	if len(parts) > 1 {
		id = parts[1]
	}
	switch n := len(parts); parts[0] {
	case "payment_intents":
		switch {
		case n == 1 && post:
			return &route{class: ClassCreate, spec: createSpec, handler: createIntent}
		case n == 1 && get:
			return &route{class: ClassList, spec: listSpec, handler: listIntents}
		case n == 2 && get && id == "search":
			return &route{class: ClassSearch, spec: searchSpec, handler: searchIntents}
		case n == 2 && get:
			return &route{class: ClassRetrieve, objectID: id, spec: retrieveSpec,
				handler: retrieveIntent}
		case n == 2 && post:
			return &route{class: ClassUpdate, objectID: id, spec: updateSpec,
				handler: updateIntent, locksIntent: true}
		case n == 3 && post:
			switch parts[2] {
			case "confirm":
				return &route{class: ClassConfirm, objectID: id, spec: mergeSpecs(confirmSpec,
					paramSpec{"client_secret": stringParam}),
					handler: confirmIntent, locksIntent: true}
			case "capture":
				return &route{class: ClassCapture, objectID: id, spec: captureSpec,
					handler: captureIntent, locksIntent: true}
			case "cancel":
				return &route{class: ClassCancel, objectID: id, spec: cancelSpec,
					handler: cancelIntent, locksIntent: true}
			case "increment_authorization":
				return &route{class: ClassIncrement, objectID: id, spec: incrementSpec,
					handler: incrementAuthorization, locksIntent: true}
			}
		}
	case "events":
		switch {
		case n == 1 && get:
			return &route{class: ClassEventList, spec: eventListSpec, handler: listEvents}
		case n == 2 && get:
			return &route{class: ClassEventRetrieve, objectID: id,
				spec: expandSpec, handler: retrieveEvent}
		}
	case "charges":
		if n == 2 && get {
			return &route{class: ClassChargeRetrieve, objectID: id, spec: expandSpec,
				handler: retrieveCharge}
		}
	case "reviews":
		if n == 2 && get {
			return &route{class: ClassReviewRetrieve, objectID: id, spec: expandSpec,
				handler: retrieveReview}
		}
	case "account":
		if n == 1 && get {
			return &route{class: ClassAccountRetrieve, spec: expandSpec, handler: retrieveAccount}
		}
	case "accounts":
		if n == 2 && get {
			return &route{class: ClassAccountRetrieve, objectID: id, spec: expandSpec,
				handler: retrieveAccount}
		}
	case "balance":
		if n == 1 && get {
			return &route{class: ClassBalanceRetrieve, spec: expandSpec, handler: retrieveBalance}
		}
	case "customers":
		switch {
		case n == 1 && post:
			return &route{class: ClassCustomerCreate, spec: customerSpec, handler: createCustomer}
		case n == 1 && get:
			return &route{class: ClassCustomerList, spec: customerListSpec, handler: listCustomers}
		case n == 2 && get:
			return &route{class: ClassCustomerRetrieve, objectID: id, spec: expandSpec,
				handler: retrieveCustomer}
		}
	case "webhook_endpoints":
		if n == 1 && get {
			return &route{class: ClassWebhookEndpointList, spec: webhookEndpointListSpec,
				handler: listWebhookEndpoints}
		}
	case "payment_methods":
		switch {
		case n == 1 && post:
			return &route{class: ClassPaymentMethodCreate, spec: paymentMethodSpec,
				handler: createPaymentMethod}
		case n == 2 && get:
			return &route{class: ClassPaymentMethodRetrieve, objectID: id, spec: expandSpec,
				handler: retrievePaymentMethod}
		case n == 3 && post && parts[2] == "attach":
			return &route{class: ClassPaymentMethodAttach, objectID: id,
				spec: paymentMethodAttachSpec, handler: attachPaymentMethod}
		}
	}
	return nil
}
