package api_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

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
	if got := m.holds[testHoldID].PartialCaptures; got == nil || got.Part != 4500 || got.Request == 0 {
		t.Errorf("%+v", got)
	}
}

// The page for booking systems shows a request, and the same captures as
// metadata.
func TestCapturesInParts_PageIsValid(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/captures-in-parts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```json\n")
	block, _, ok := strings.Cut(block, "```")
	_, metadata, ok2 := strings.Cut(string(page), "`holdd_captures` is\n  `")
	metadata, _, ok3 := strings.Cut(metadata, "`")
	if !ok || !ok2 || !ok3 {
		t.Fatal("the page shows no request, or no metadata")
	}
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	req, err := api.DecodeScheduleRequest([]byte(block))
	if err != nil {
		t.Fatal(err)
	}
	want, err := req.Validate(now)
	if err != nil {
		t.Fatal(err)
	}
	found, _, _, err := hold.RequestFromMetadata(&hold.PaymentIntent{ID: testHoldID,
		Metadata: map[string]string{hold.MetaCaptures: metadata}}, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := found.Validate(now)
	if err != nil || !slices.Equal(got.Captures, want.Captures) || len(got.Captures) != 2 {
		t.Errorf("%v, want %v: %v", got, want, err)
	}
}
