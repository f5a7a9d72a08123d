package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const authorizedCharge = `{"id":"ch_12345678","object":"charge","amount":500,"amount_captured":0,
	"amount_refunded":0,"captured":false,"refunded":false,"currency":"eur","created":1764000000,
	"status":"succeeded","payment_intent":"pi_12345678","review":null,
	"payment_method_details":{"type":"card","card":{"capture_before":1764604800,
	"multicapture":{"status":"unavailable"}}}}`

func TestParseEvent_ReadsAuthorizedCharge(t *testing.T) {
	e, err := parseSignedEvent(eventBody("charge.succeeded", authorizedCharge))
	if err != nil || e.Intent != nil || e.Authorized == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	in := e.Authorized
	if in.ID != "pi_12345678" || in.Status != hold.StatusRequiresCapture || in.Amount != 500 ||
		in.AmountCapturable != 500 || in.AmountReceived != 0 || in.Currency != "eur" ||
		!in.CaptureBefore.Equal(time.Unix(1764604800, 0)) || !in.SingleCapture {
		t.Errorf("%+v", in)
	}
}

// TestParseEvent_OtherChargesAuthorizeNothing shows that a charge stands for
// its intent only while the whole amount is authorized and nothing was
// captured, released or put under review.
func TestParseEvent_OtherChargesAuthorizeNothing(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{`"captured":false`, `"captured":true`},
		{`"refunded":false`, `"refunded":true`},
		{`"amount_captured":0`, `"amount_captured":200`},
		{`"amount_refunded":0`, `"amount_refunded":500`},
		{`"status":"succeeded"`, `"status":"failed"`},
		{`"status":"succeeded"`, `"status":"pending"`},
		{`"review":null`, `"review":"prv_1"`},
		{`"currency":"eur"`, `"currency":"euro"`},
		{`"payment_method_details":{`, `"payment_method_details":{"card":5,`},
		{`"payment_intent":"pi_12345678"`, `"payment_intent":null`},
	} {
		body := strings.Replace(authorizedCharge, c.from, c.to, 1)
		e, err := parseSignedEvent(eventBody("charge.succeeded", body))
		if err != nil || e.Authorized != nil {
			t.Errorf("%s: %+v, %v", c.to, e.Authorized, err)
		}
	}
}
