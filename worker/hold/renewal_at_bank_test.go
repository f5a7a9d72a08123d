package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// TestRenewal_EndsWhileAtBank checks that the end of the old authorization does
// not release an intent unread that its cardholder may have confirmed.
func TestRenewal_EndsWhileAtBank(t *testing.T) {
	waiting, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: "authentication_required"})
	end := waiting.Hold.ExpiresAt
	deadline, _ := waiting.Hold.ApplyMilestone(end, end, testRules)
	canceled := waiting.Hold.ApplyPaymentIntent(canceledIntent("automatic"), end)
	for name, d := range map[string]hold.Decision{"deadline": deadline, "canceled": canceled} {
		t.Run(name, func(t *testing.T) {
			h := plan(d, end)
			if h.NextOp != hold.OpRead {
				t.Fatalf("next %s", h.NextOp)
			}
			d, _ := answerCall(t, h, end, hold.OpRead, newIntentID,
				answerOK(renewedIntent(hold.StatusRequiresCapture, end.Add(-time.Minute))))
			if d.Hold.PaymentIntent != newIntentID || d.Hold.State.IsFinal() {
				t.Errorf("%s, %s: %+v", d.Hold.State, d.Hold.PaymentIntent, d.Hold.Renewal)
			}
			d, _ = answerCall(t, h, end, hold.OpRead, newIntentID,
				answerOK(renewedIntent(hold.StatusRequiresAction, startOfRenewal)))
			if c := d.Hold.NextCall(end); c.Op != hold.OpCancel || c.PaymentIntent != newIntentID {
				t.Errorf("not confirmed: %s of %s", c.Op, c.PaymentIntent)
			}
		})
	}
}
