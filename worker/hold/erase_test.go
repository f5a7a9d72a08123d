package hold_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func TestErasePersonalData(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC)
	h := hold.Hold{ID: "pi_12345678", PaymentIntent: "pi_12345678", Reference: "Marta BK-1",
		Metadata: map[string]string{"guest": "Marta"}, Amount: 500, Currency: "eur",
		CapturedAmount: 500, State: hold.Waiting, Revision: 3, Generation: 1,
		CaptureParams: hold.CaptureParams{ApplicationFeeAmount: 7,
			StatementDescriptorSuffix: "MARTA", CaptureMetadata: map[string]string{"a": "Marta"}},
		Renewal: &hold.Renewal{Customer: "cus_Marta", PaymentMethod: "pm_Marta", Completed: 2,
			Metadata: map[string]string{"holdd_reference": "Marta"}},
		History: []hold.HistoryEntry{{Kind: hold.HistoryScheduled, By: "api"},
			{Kind: hold.HistoryTriggered, By: "desk", Note: "for Marta"},
			{Kind: hold.HistoryOutcome, By: "holdd", Note: "5.00 EUR"}}}
	if _, err := h.ErasePersonalData("desk", now); !errors.Is(err,
		&hold.Problem{Code: hold.NotSettled}) {
		t.Fatalf("an open hold: %v", err)
	}
	h.State, h.SettledAt = hold.Captured, now
	d, err := h.ErasePersonalData("desk", now)
	erased := d.Hold
	if err != nil || d.Unchanged || len(d.Events) > 0 || erased.Revision != 4 ||
		erased.CapturedAmount != 500 || erased.CaptureParams.ApplicationFeeAmount != 7 ||
		erased.Renewal.Completed != 2 || erased.History[2].Note != "5.00 EUR" ||
		len(erased.History) != 4 || erased.History[3].By != "desk" {
		t.Errorf("%+v, %v", d, err)
	}
	text := strings.ToLower(erased.Reference + erased.CaptureParams.StatementDescriptorSuffix +
		erased.Renewal.Customer + erased.Renewal.PaymentMethod + erased.History[1].Note)
	if strings.Contains(text, "marta") || len(erased.Metadata) > 0 ||
		len(erased.CaptureParams.CaptureMetadata) > 0 || len(erased.Renewal.Metadata) > 0 {
		t.Errorf("left: %+v, %+v", erased, erased.Renewal)
	}
	if h.Renewal.Customer == "" || h.History[1].Note == "" {
		t.Error("the hold before the erasure changed")
	}
	if d, err := erased.ErasePersonalData("desk", now); err != nil || !d.Unchanged {
		t.Errorf("a repeat: %+v, %v", d, err)
	}
}
