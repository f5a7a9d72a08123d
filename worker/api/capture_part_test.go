package api_test

import (
	"net/http"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// Repeated without a key, a capture that keeps the rest would take the amount
// twice.
func TestCapture_PartNeedsAKey(t *testing.T) {
	m := newFakeHolds()
	m.stripeIntents[testHoldID] = &hold.PaymentIntent{ID: testHoldID, AmountCapturable: 12500,
		Amount: 12500, Currency: "eur", Status: hold.StatusRequiresCapture, Created: m.now,
		Features: hold.FeaturesKnown | hold.FeatureMulticapture}
	s, _ := startServer(t, api.Options{Holds: holdsOf(m)})
	url := s.URL + "/v1/holds"
	if a := sendRequest(t, "POST", url, `{"payment_intent":"`+testHoldID+`"}`); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	url += "/" + testHoldID + "/capture"
	const body = `{"amount":4500,"final":false}`
	if a := sendRequest(t, "POST", url, body); a.status != 400 ||
		problemCode(t, a) != hold.InvalidIdempotencyKey {
		t.Errorf("without a key: %d %s", a.status, a.body)
	}
	for range 2 {
		a := sendRequest(t, "POST", url, body, "Idempotency-Key", "shipment-1")
		if a.status != http.StatusAccepted {
			t.Errorf("with a key: %d %s", a.status, a.body)
		}
	}
	if got := m.holds[testHoldID].Staged; got == nil || got.Part != 4500 || len(got.Requests) != 1 {
		t.Errorf("%+v", got)
	}
}
