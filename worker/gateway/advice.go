package gateway

import (
	"cmp"
	"regexp"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stripe/stripe-go/v76"

	"github.com/holdd/holdd/worker/hold"
)

// declineAdviceJSON has the advice after a decline. This version of stripe-go
// has no fields for it.
type declineAdviceJSON struct {
	AdviceCode        string `json:"advice_code"`
	NetworkAdviceCode string `json:"network_advice_code"`
}

var networkAdvicePattern = maxLengthPattern{regexp.MustCompile(`^[0-9A-Z]+$`), 4}

// declineAdviceOfError returns the advice in the body of an error.
func declineAdviceOfError(s *secretScrubber, e *stripe.Error) hold.DeclineAdvice {
	if e.LastResponse == nil {
		return hold.DeclineAdvice{}
	}
	var body struct {
		Error declineAdviceJSON `json:"error"`
	}
	if unmarshalAllowingInvalidUTF8(e.LastResponse.RawJSON, &body) != nil {
		return hold.DeclineAdvice{}
	}
	return mergeDeclineAdvice(s, body.Error, declineAdviceJSON{})
}

// declineAdviceOfIntent returns the advice after the last decline of an intent:
// that of its last error, or of the outcome of its charge.
func declineAdviceOfIntent(s *secretScrubber, pi *stripe.PaymentIntent) hold.DeclineAdvice {
	if pi.LastPaymentError == nil || pi.LastResponse == nil {
		return hold.DeclineAdvice{}
	}
	var body struct {
		LastError declineAdviceJSON `json:"last_payment_error"`
		Charge    struct {
			Outcome declineAdviceJSON `json:"outcome"`
		} `json:"latest_charge"`
	}
	if unmarshalAllowingInvalidUTF8(pi.LastResponse.RawJSON, &body) != nil {
		return hold.DeclineAdvice{}
	}
	return mergeDeclineAdvice(s, body.LastError, body.Charge.Outcome)
}

func unmarshalAllowingInvalidUTF8(body []byte, v any) error {
	return json.Unmarshal(body, v, jsontext.AllowInvalidUTF8(true),
		jsontext.AllowDuplicateNames(true))
}

func mergeDeclineAdvice(s *secretScrubber, first, second declineAdviceJSON) hold.DeclineAdvice {
	a := hold.DeclineAdvice{Code: s.errorCodeOrEmpty(cmp.Or(first.AdviceCode, second.AdviceCode))}
	network := cmp.Or(first.NetworkAdviceCode, second.NetworkAdviceCode)
	if networkAdvicePattern.matches(network) {
		a.NetworkCode = network
	}
	return a
}
