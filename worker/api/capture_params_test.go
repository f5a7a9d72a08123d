package api_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/api"
	"github.com/holdd/holdd/worker/hold"
)

// What a capture sends beside its amount is accepted, shown, and part of the
// terms of which a repeated request must have the same.
func TestSchedule_CaptureParams(t *testing.T) {
	s, _ := startServer(t, api.Options{Holds: holdsOf(newFakeHolds())})
	const terms = `"application_fee_amount":900,"transfer_data":{"amount":800},` +
		`"statement_descriptor_suffix":"BK-2071","capture_metadata":{"room":"41"}`
	body := `{"payment_intent":"` + testHoldID + `3","amount":12500,"currency":"eur",` + terms + `}`
	for _, status := range []int{http.StatusCreated, http.StatusOK} {
		if a := sendRequest(t, "POST", s.URL+"/v1/holds", body); a.status != status ||
			!strings.Contains(a.body, terms) {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if a := sendRequest(t, "POST", s.URL+"/v1/holds", strings.Replace(body, "900", "901",
		1)); a.status != http.StatusConflict {
		t.Errorf("another fee: %d %s", a.status, a.body)
	}
	c := newTestClient(t, s.URL, "")
	fee, zero := int64(100), int64(0)
	v, err := c.Capture(t.Context(), testHoldID+"3", hold.CaptureRequest{Amount: 500,
		CaptureParamsPatch: hold.CaptureParamsPatch{
			ApplicationFeeAmount: &fee, TransferData: &hold.TransferDataPatch{Amount: &zero}}}, 0)
	want := hold.CaptureParams{ApplicationFeeAmount: 100, StatementDescriptorSuffix: "BK-2071",
		CaptureMetadata: map[string]string{"room": "41"}}
	if err != nil || !reflect.DeepEqual(v.CaptureParams, want) || v.CaptureAmount != 500 {
		t.Errorf("%v %+v", err, v)
	}
	document := sendRequest(t, "GET", s.URL+"/openapi.json", "").body
	for _, field := range []string{"application_fee_amount", "transfer_data",
		"statement_descriptor_suffix", "capture_metadata"} {
		if n := strings.Count(document, `"`+field+`":{`); n < 4 {
			// schedule, change, capture and the hold
			t.Errorf("%s is described %d times", field, n)
		}
	}
	if strings.Contains(document, `"required":["transfer_data"`) ||
		strings.Contains(document, `,"transfer_data"]`) {
		t.Error("transfer_data is required")
	}
}
