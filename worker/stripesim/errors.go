package stripesim

import (
	"fmt"
	"net/http"
	"strings"
)

const (
	codeUnexpectedState = "payment_intent_unexpected_state"

	typeInvalidRequest = "invalid_request_error"
	typeCard           = "card_error"
	typeAPI            = "api_error"
	typeIdempotency    = "idempotency_error"
)

// apiError is an error answer. fail renders intent and charge into its body.
type apiError struct {
	status        int
	typ           string
	code          string
	declineCode   string
	adviceCode    string
	message       string
	param         string
	charge        string
	paymentMethod *paymentMethod
	intent        *intent
	setupIntent   *setupIntent
	// of the card network, beside the decline code
	networkAdviceCode, networkDeclineCode string
	rateLimitReason                       string // Stripe-Rate-Limited-Reason
	shouldRetry                           string // Stripe-Should-Retry
	skipsIdempotency                      bool   // found before execution: the idempotency key stays unused
}

func (e *apiError) Error() string {
	return fmt.Sprintf("stripesim: %d %s %s: %s", e.status, e.typ, e.code, e.message)
}

// errorJSON is api_errors of Stripe's OpenAPI document.
type errorJSON struct {
	AdviceCode         string             `json:"advice_code,omitempty"`
	Charge             string             `json:"charge,omitempty"`
	Code               string             `json:"code,omitempty"`
	DeclineCode        string             `json:"decline_code,omitempty"`
	DocURL             string             `json:"doc_url,omitempty"`
	Message            string             `json:"message"`
	NetworkAdviceCode  string             `json:"network_advice_code,omitempty"`
	NetworkDeclineCode string             `json:"network_decline_code,omitempty"`
	Param              string             `json:"param,omitempty"`
	PaymentIntent      *intentJSON        `json:"payment_intent,omitempty"`
	PaymentMethod      *paymentMethodJSON `json:"payment_method,omitempty"`
	PaymentMethodType  string             `json:"payment_method_type,omitempty"`
	RequestLogURL      string             `json:"request_log_url,omitempty"`
	SetupIntent        *setupIntentJSON   `json:"setup_intent,omitempty"`
	Type               string             `json:"type"`
}

func (e *apiError) toJSON(requestID string) errorJSON {
	j := errorJSON{
		Charge: e.charge, Code: e.code, DeclineCode: e.declineCode, Message: e.message,
		Param: e.param, Type: e.typ, AdviceCode: e.adviceCode,
		NetworkAdviceCode: e.networkAdviceCode, NetworkDeclineCode: e.networkDeclineCode,
	}
	if e.code != "" {
		j.DocURL = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(e.code, "_", "-")
	}
	if requestID != "" {
		j.RequestLogURL = "https://dashboard.stripe.com/test/logs/" + requestID
	}
	if e.paymentMethod != nil {
		j.PaymentMethod = e.paymentMethod.toJSON()
	}
	if e.setupIntent != nil {
		j.SetupIntent = newSetupIntentJSON(e.setupIntent, nil)
	}
	if e.intent != nil {
		j.PaymentIntent = newIntentJSON(e.intent, nil)
	}
	return j
}

func invalidRequestError(code, param, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, typ: typeInvalidRequest, code: code,
		param: param, message: fmt.Sprintf(format, args...)}
}

// validationError returns an error that is found before execution, so that no
// answer is stored for the key.
func validationError(code, param, format string, args ...any) *apiError {
	e := invalidRequestError(code, param, format, args...)
	e.skipsIdempotency = true
	return e
}

func notFoundError(kind, param, id string) *apiError {
	e := invalidRequestError("resource_missing", param, "No such %s: '%s'", kind, id)
	e.status = http.StatusNotFound
	return e
}

func unexpectedStateError(in *intent, format string, args ...any) *apiError {
	e := invalidRequestError(codeUnexpectedState, "", format, args...)
	e.intent = in
	return e
}

func rateLimitError(reason string) *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, typ: typeInvalidRequest, code: "rate_limit",
		rateLimitReason: reason, skipsIdempotency: true,
		message: "Request rate limit exceeded. Learn more about rate limits here " +
			"https://stripe.com/docs/rate-limits.",
	}
}

func lockTimeoutError() *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, typ: typeInvalidRequest, code: "lock_timeout",
		shouldRetry: "true", skipsIdempotency: true,
		message: "This object cannot be accessed right now because another API request or Stripe " +
			"process is currently accessing it. " +
			"If you see this error intermittently, retry the request. If you see this error " +
			"frequently and are making multiple " +
			"concurrent requests to a single object, make your requests serially or at a lower " +
			"rate.",
	}
}

func keyInUseError(key string) *apiError {
	return &apiError{
		status: http.StatusConflict, typ: typeInvalidRequest, code: "idempotency_key_in_use",
		shouldRetry: "true", skipsIdempotency: true,
		message: fmt.Sprintf(
			"There is currently another in-progress request using this Idempotent Key (that "+
				"probably means you "+
				"submitted twice, and the other request is still going through): %s. Please try "+
				"again later.", key),
	}
}

func serverError(status int, code string) *apiError {
	return &apiError{
		status: status, typ: typeAPI, code: code,
		message: "An unknown error occurred. If you need assistance, contact us at " +
			"https://support.stripe.com.",
	}
}
