package stripesim

import "strings"

// Class is an endpoint: calls of one class and account share a limit.
type Class string

// The endpoint classes.
const (
	ClassCreate         Class = "payment_intents.create"
	ClassConfirm        Class = "payment_intents.confirm"
	ClassRetrieve       Class = "payment_intents.retrieve"
	ClassUpdate         Class = "payment_intents.update"
	ClassCapture        Class = "payment_intents.capture"
	ClassCancel         Class = "payment_intents.cancel"
	ClassIncrement      Class = "payment_intents.increment_authorization"
	ClassList           Class = "payment_intents.list"
	ClassSearch         Class = "payment_intents.search"
	ClassEvents         Class = "events.list"
	ClassEvent          Class = "events.retrieve"
	ClassCharge         Class = "charges.retrieve"
	ClassReview         Class = "reviews.retrieve"
	ClassAccount        Class = "account.retrieve"
	ClassBalance        Class = "balance.retrieve"
	ClassCustomerCreate Class = "customers.create"
	ClassCustomer       Class = "customers.retrieve"
	ClassCustomers      Class = "customers.list"
	ClassMethodCreate   Class = "payment_methods.create"
	ClassMethod         Class = "payment_methods.retrieve"
	ClassMethodAttach   Class = "payment_methods.attach"
	ClassEndpoints      Class = "webhook_endpoints.list"
	ClassUnknown        Class = "unknown"
)

// route is a call that has been recognized.
type route struct {
	class Class
	id    string // of the object named in the path
	spec  paramSpec
	run   func(*operation, *account, string, *form) (any, *apiError)
	lock  bool // changes the intent named in the path
}

var (
	expandSpec = paramSpec{"expand": list}
	pageSpec   = paramSpec{"limit": integer, "starting_after": str, "ending_before": str}
	timeSpec   = paramSpec{"created": integer, "created[gt]": integer, "created[gte]": integer, "created[lt]": integer, "created[lte]": integer}

	ifAvailable = enum("if_available", "never")

	// confirmSpec is what both create and confirm take.
	confirmSpec = paramSpec{
		"capture_method": enum("automatic", "automatic_async", "manual"), "error_on_requires_action": boolean, "mandate": str, "mandate_data": tree,
		"off_session": enum("true", "false", "one_off", "recurring", "1", "0"), "payment_method": str, "payment_method_data": tree,
		"payment_method_types": list, "radar_options": tree, "receipt_email": short(512), "return_url": str,
		"setup_future_usage": enum("off_session", "on_session").unset(), "shipping": tree, "use_stripe_sdk": boolean,
		"payment_method_options[card][capture_method]":                                    enum("manual").unset(),
		"payment_method_options[card][cvc_token]":                                         str,
		"payment_method_options[card][network]":                                           str,
		"payment_method_options[card][moto]":                                              boolean,
		"payment_method_options[card][request_extended_authorization]":                    ifAvailable,
		"payment_method_options[card][request_incremental_authorization]":                 ifAvailable,
		"payment_method_options[card][request_multicapture]":                              ifAvailable,
		"payment_method_options[card][request_overcapture]":                               ifAvailable,
		"payment_method_options[card][request_three_d_secure]":                            enum("any", "automatic", "challenge"),
		"payment_method_options[card][require_cvc_recollection]":                          boolean,
		"payment_method_options[card][setup_future_usage]":                                enum("none", "off_session", "on_session").unset(),
		"payment_method_options[card_present][request_extended_authorization]":            boolean,
		"payment_method_options[card_present][request_incremental_authorization_support]": boolean,
		"expand": list,
	}
	createSpec = join(confirmSpec, paramSpec{
		"amount": integer.must(), "currency": str.must(), "application_fee_amount": integer, "confirm": boolean,
		"automatic_payment_methods[enabled]": boolean, "automatic_payment_methods[allow_redirects]": enum("always", "never"),
		"confirmation_method": enum("automatic", "manual"), "customer": str, "description": short(1000), "metadata": mapping,
		"on_behalf_of": str, "payment_method_configuration": str, "statement_descriptor": short(22), "statement_descriptor_suffix": short(22),
		"transfer_data": tree, "transfer_group": str,
	})
	updateSpec = paramSpec{
		"amount": integer, "currency": str, "application_fee_amount": integer.unset(), "customer": str, "description": short(1000),
		"metadata": mapping, "payment_method": str, "payment_method_types": list, "receipt_email": short(512),
		"setup_future_usage": enum("off_session", "on_session").unset(), "shipping": tree, "statement_descriptor": short(22),
		"statement_descriptor_suffix": short(22), "transfer_data": tree, "transfer_group": str,
		"capture_method": enum("automatic", "automatic_async", "manual"), "expand": list,
		"payment_method_options[card][request_extended_authorization]":    ifAvailable,
		"payment_method_options[card][request_incremental_authorization]": ifAvailable,
		"payment_method_options[card][request_multicapture]":              ifAvailable,
		"payment_method_options[card][request_overcapture]":               ifAvailable,
	}
	captureSpec = paramSpec{
		"amount_to_capture": integer, "application_fee_amount": integer, "expand": list, "final_capture": boolean, "metadata": mapping,
		"statement_descriptor": short(22), "statement_descriptor_suffix": short(22), "transfer_data": tree,
	}
	cancelSpec    = paramSpec{"cancellation_reason": enum("abandoned", "duplicate", "fraudulent", "requested_by_customer"), "expand": list}
	incrementSpec = paramSpec{
		"amount": integer.must(), "application_fee_amount": integer, "description": short(1000), "expand": list, "metadata": mapping,
		"statement_descriptor": short(22), "transfer_data": tree,
	}
	retrieveSpec = paramSpec{"expand": list, "client_secret": str}
	listSpec     = join(pageSpec, timeSpec, expandSpec, paramSpec{"customer": str})
	searchSpec   = paramSpec{"query": str.must(), "limit": integer, "page": str, "expand": list}
	eventsSpec   = join(pageSpec, timeSpec, expandSpec, paramSpec{"type": str, "types": list, "delivery_success": boolean})
	customerSpec = paramSpec{
		"email": short(512), "name": short(256), "description": short(5000), "phone": short(20), "metadata": mapping, "expand": list,
		"payment_method": str, "invoice_settings": tree, "address": tree, "shipping": tree,
	}
	customersSpec = join(pageSpec, timeSpec, expandSpec, paramSpec{"email": str})
	methodSpec    = paramSpec{
		"type": enum("card").must(), "card[number]": str, "card[exp_month]": integer, "card[exp_year]": integer, "card[cvc]": str,
		"card[token]": str, "billing_details": tree, "metadata": mapping, "expand": list, "allow_redisplay": str,
	}
	endpointsSpec = join(pageSpec, expandSpec)
	attachSpec    = paramSpec{"customer": str.must(), "expand": list}
)

// match recognizes a call, or returns nil.
func match(httpMethod, path string) *route {
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
			return &route{class: ClassCreate, spec: createSpec, run: runCreate}
		case n == 1 && get:
			return &route{class: ClassList, spec: listSpec, run: runList}
		case n == 2 && get && id == "search":
			return &route{class: ClassSearch, spec: searchSpec, run: runSearch}
		case n == 2 && get:
			return &route{class: ClassRetrieve, id: id, spec: retrieveSpec, run: runRetrieve}
		case n == 2 && post:
			return &route{class: ClassUpdate, id: id, spec: updateSpec, run: runUpdate, lock: true}
		case n == 3 && post:
			switch parts[2] {
			case "confirm":
				return &route{class: ClassConfirm, id: id, spec: join(confirmSpec, paramSpec{"client_secret": str}), run: runConfirm, lock: true}
			case "capture":
				return &route{class: ClassCapture, id: id, spec: captureSpec, run: runCapture, lock: true}
			case "cancel":
				return &route{class: ClassCancel, id: id, spec: cancelSpec, run: runCancel, lock: true}
			case "increment_authorization":
				return &route{class: ClassIncrement, id: id, spec: incrementSpec, run: runIncrement, lock: true}
			}
		}
	case "events":
		switch {
		case n == 1 && get:
			return &route{class: ClassEvents, spec: eventsSpec, run: runEvents}
		case n == 2 && get:
			return &route{class: ClassEvent, id: id, spec: expandSpec, run: runEvent}
		}
	case "charges":
		if n == 2 && get {
			return &route{class: ClassCharge, id: id, spec: expandSpec, run: runCharge}
		}
	case "reviews":
		if n == 2 && get {
			return &route{class: ClassReview, id: id, spec: expandSpec, run: runReview}
		}
	case "account":
		if n == 1 && get {
			return &route{class: ClassAccount, spec: expandSpec, run: runAccount}
		}
	case "accounts":
		if n == 2 && get {
			return &route{class: ClassAccount, id: id, spec: expandSpec, run: runAccount}
		}
	case "balance":
		if n == 1 && get {
			return &route{class: ClassBalance, spec: expandSpec, run: runBalance}
		}
	case "customers":
		switch {
		case n == 1 && post:
			return &route{class: ClassCustomerCreate, spec: customerSpec, run: runCustomerCreate}
		case n == 1 && get:
			return &route{class: ClassCustomers, spec: customersSpec, run: runCustomers}
		case n == 2 && get:
			return &route{class: ClassCustomer, id: id, spec: expandSpec, run: runCustomer}
		}
	case "webhook_endpoints":
		if n == 1 && get {
			return &route{class: ClassEndpoints, spec: endpointsSpec, run: runEndpoints}
		}
	case "payment_methods":
		switch {
		case n == 1 && post:
			return &route{class: ClassMethodCreate, spec: methodSpec, run: runMethodCreate}
		case n == 2 && get:
			return &route{class: ClassMethod, id: id, spec: expandSpec, run: runMethod}
		case n == 3 && post && parts[2] == "attach":
			return &route{class: ClassMethodAttach, id: id, spec: attachSpec, run: runMethodAttach}
		}
	}
	return nil
}
