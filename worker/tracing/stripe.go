package tracing

import (
	"net/http"

	"github.com/holdd/holdd/worker/hold"
)

const (
	intentsPath  = "/v1/payment_intents"
	intentPath   = intentsPath + "/{intent}"
	sessionsPath = "/v1/checkout/sessions"
)

// requestOfCall returns the method and the path, with names in place of ids, of
// the request that the gateway sends for a call.
func requestOfCall(c *hold.Call) (method, template string) {
	switch c.Op {
	case hold.OpCapture:
		return http.MethodPost, intentPath + "/capture"
	case hold.OpCancel:
		return http.MethodPost, intentPath + "/cancel"
	case hold.OpIncrement:
		return http.MethodPost, intentPath + "/increment_authorization"
	case hold.OpConfirm:
		return http.MethodPost, intentPath + "/confirm"
	case hold.OpUpdate:
		return http.MethodPost, intentPath
	case hold.OpRead:
		return http.MethodGet, intentPath
	case hold.OpAuthorize, hold.OpCreate:
		return http.MethodPost, intentsPath
	case hold.OpSetUpCard:
		return http.MethodPost, sessionsPath
	case hold.OpReadCardSetup:
		return http.MethodGet, sessionsPath + "/{session}"
	case hold.OpList:
		return http.MethodGet, listPath(c.Content)
	}
	return http.MethodGet, intentsPath // a check
}

// listPath returns the path of a list.
func listPath(content hold.StripeListKind) string {
	switch content {
	case hold.ContentCaptures:
		return "/v1/events"
	case hold.ContentPlainHistories, hold.ContentPlainCharges:
		return "/v1/charges"
	}
	return intentsPath
}
