package hold_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// A hold whose terms are not known for sure moves no money by itself.
func TestRebuild(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 3, 9, 30, 0, 0, time.UTC)
	deadline := now.Add(5 * 24 * time.Hour)
	terms := map[string]string{hold.MetaCaptureAt: now.Add(24 * time.Hour).Format(time.RFC3339),
		hold.MetaReference: "BK-1"}
	renewal := map[string]string{"holdd_renewal_until": now.Add(99 * time.Hour).Format(time.RFC3339)}
	for name, tt := range map[string]struct {
		status     hold.PaymentIntentStatus
		metadata   map[string]string
		unmirrored bool
		state      hold.State
		cause      hold.Cause
		reference  string
		reason     string
	}{
		"terms in the metadata": {status: hold.StatusRequiresCapture, metadata: terms,
			state: hold.Scheduled, cause: hold.CauseSchedule, reference: "BK-1"},
		"older terms in the metadata": {status: hold.StatusRequiresCapture, metadata: terms,
			unmirrored: true, state: hold.Attention, cause: hold.CauseRecordUnreadable,
			reference: "BK-1"},
		"no terms": {status: hold.StatusRequiresCapture, state: hold.Attention,
			cause: hold.CauseRecordUnreadable},
		"invalid terms": {status: hold.StatusRequiresCapture, state: hold.Attention,
			metadata: map[string]string{hold.MetaCaptureAt: "soon"},
			cause:    hold.CauseRecordUnreadable},
		"captured": {status: hold.StatusSucceeded, metadata: terms, state: hold.Captured,
			cause: hold.CauseElsewhere},
		"canceled": {status: hold.StatusCanceled, metadata: terms, state: hold.Canceled,
			cause: hold.CauseElsewhere},
		"maybe renewed": {status: hold.StatusCanceled, metadata: renewal, reason: "renewal"},
		"of another hold": {status: hold.StatusRequiresCapture, reason: "pi_87654321",
			metadata: map[string]string{hold.MetaHold: "pi_87654321"}},
		"not confirmed": {status: hold.StatusRequiresAction, state: hold.Attention,
			cause: hold.CauseNotCapturable},
	} {
		in := &hold.PaymentIntent{ID: "pi_12345678", Status: tt.status, Amount: 500,
			Currency: "eur", Metadata: tt.metadata, Created: now.Add(-time.Hour)}
		switch tt.status {
		case hold.StatusRequiresCapture:
			in.AmountCapturable, in.CaptureBefore = 500, deadline
		case hold.StatusSucceeded:
			in.AmountReceived = 400
		}
		d, reason := hold.RebuildFromIntent(in, "acct_12345678", tt.unmirrored, "desk", now)
		h := &d.Hold
		if (reason == "") != (tt.reason == "") || !strings.Contains(reason, tt.reason) {
			t.Errorf("%s: reason %q", name, reason)
		}
		if tt.reason != "" {
			continue
		}
		if h.State != tt.state || h.Reason != tt.cause || h.Reference != tt.reference ||
			h.ID != in.ID || h.Account != "acct_12345678" || len(d.Events) == 0 {
			t.Errorf("%s: %+v, events %v", name, h, d.Events)
		}
		if h.State == hold.Attention && (h.NextOp != 0 || h.OnExpiry != hold.PolicyAlert ||
			!h.CaptureAt.IsZero() || !h.CancelAt.IsZero()) {
			t.Errorf("%s moves money by itself: %+v", name, h)
		}
		if tt.status == hold.StatusRequiresCapture && (h.Amount != 500 ||
			!h.ExpiresAt.Equal(deadline) || !h.Verified) {
			t.Errorf("%s: amount and deadline of %+v", name, h)
		}
		if h.State == hold.Captured && h.CapturedAmount != 400 {
			t.Errorf("%s: captured %d", name, h.CapturedAmount)
		}
	}
}
