package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func captureNow(t *testing.T, h hold.Hold, at time.Time) hold.Hold {
	t.Helper()
	d, err := h.RequestCapture(hold.CaptureRequest{}, "api", at)
	if err != nil {
		t.Fatal(err)
	}
	return plan(d, at)
}

func newHeld() hold.Answer {
	return answerOK(renewedIntent(hold.StatusRequiresCapture, startOfRenewal))
}

// mustCaptureNew checks that the new intent holds the money and is captured next.
func mustCaptureNew(t *testing.T, h hold.Hold, at time.Time) {
	t.Helper()
	if h.PaymentIntent != newIntentID || h.Renewal.Unprotected || h.NextAt.After(at) {
		t.Fatalf("%s, next %s at %s: %+v", h.PaymentIntent, h.NextOp, h.NextAt, h.Renewal)
	}
	d, _ := answerCall(t, h, at, hold.OpCapture, newIntentID,
		answerOK(renewedIntent(hold.StatusSucceeded, startOfRenewal)))
	if d.Hold.State != hold.Captured || d.Hold.CapturedAmount != amount {
		t.Errorf("%s, %d captured", d.Hold.State, d.Hold.CapturedAmount)
	}
}

// lostConfirmation is a hold whose old authorization is released, and whose new
// one may hold the money.
func lostConfirmation(t *testing.T) hold.Hold {
	t.Helper()
	d, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerUnknown})
	return d.Hold
}

// TestUnprotected_CaptureReadsFirst checks that a capture does not release the
// only intent that may hold the money.
func TestUnprotected_CaptureReadsFirst(t *testing.T) {
	at := startOfRenewal.Add(time.Minute)
	atBank, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: "authentication_required"})
	declined, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		lacksFunds)
	for name, h := range map[string]hold.Hold{"reply lost": lostConfirmation(t),
		"at the bank": atBank.Hold, "declined": declined.Hold} {
		t.Run(name, func(t *testing.T) {
			at := at
			if name == "declined" {
				at = startOfRenewal.Add(time.Second)
			}
			d, _ := answerCall(t, captureNow(t, h, at), at, hold.OpRead, newIntentID, newHeld())
			mustCaptureNew(t, d.Hold, at)
		})
	}
}

// TestUnprotected_ReadWaitsForLostConfirmation checks that a hold whose own read
// is due does not release the new intent while a lost confirmation of it may
// still take effect.
func TestUnprotected_ReadWaitsForLostConfirmation(t *testing.T) {
	at := startOfRenewal.Add(3 * time.Second)
	h := lostConfirmation(t)
	h.NextOp, h.NextAt = hold.OpRead, at
	notConfirmed := answerOK(renewedIntent(hold.StatusRequiresConfirmation, startOfRenewal))
	d, _ := answerCall(t, h, at, hold.OpRead, newIntentID, notConfirmed)
	wait := startOfRenewal.Add(30 * time.Second)
	if d.Hold.State == hold.Working || d.Hold.NextOp != hold.OpRead || !d.Hold.NextAt.Equal(wait) {
		t.Fatalf("%s, next %s at %s, want a read at %s", d.Hold.State, d.Hold.NextOp, d.Hold.NextAt, wait)
	}
	if held, _ := answerCall(t, d.Hold, wait, hold.OpRead, newIntentID, newHeld()); held.Hold.PaymentIntent != newIntentID {
		t.Errorf("the confirmation took effect: %s", held.Hold.PaymentIntent)
	}
	d, _ = answerCall(t, d.Hold, wait, hold.OpRead, newIntentID, notConfirmed)
	if call := d.Hold.NextCall(wait); call.Op != hold.OpCancel || call.PaymentIntent != newIntentID {
		t.Errorf("no effect: %s of %s", call.Op, call.PaymentIntent)
	}
}

// TestUnprotected_CaptureWaits checks that a capture waits for the next
// confirmation, and that the hold ends when the bank wants its cardholder.
func TestUnprotected_CaptureWaits(t *testing.T) {
	at := startOfRenewal.Add(time.Second)
	declined, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		lacksFunds)
	retry := declined.Hold.NextAt
	if wait := retry.Sub(startOfRenewal); wait != time.Minute {
		t.Fatalf("tried again after %s", wait)
	}
	d, _ := answerCall(t, captureNow(t, declined.Hold, at), at, hold.OpRead, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresPaymentMethod, startOfRenewal)))
	if d.Hold.NextOp != hold.OpCapture || !d.Hold.NextAt.Equal(retry) {
		t.Fatalf("next %s at %s, want the capture at %s", d.Hold.NextOp, d.Hold.NextAt, retry)
	}
	held, _ := answerCall(t, d.Hold, retry, hold.OpConfirm, newIntentID, newHeld())
	mustCaptureNew(t, held.Hold, retry)

	d, _ = answerCall(t, d.Hold, retry, hold.OpConfirm, newIntentID, lacksFunds)
	if wait := d.Hold.NextAt.Sub(retry); wait != 10*time.Minute || d.Hold.NextOp != hold.OpCapture {
		t.Errorf("next %s after %s", d.Hold.NextOp, wait)
	}
	retry = d.Hold.NextAt
	d, _ = answerCall(t, d.Hold, retry, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: "authentication_required"})
	d, _ = answerCall(t, d.Hold, retry, hold.OpCancel, newIntentID,
		answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
	call := d.Hold.NextCall(retry)
	d = d.Hold.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerUnexpectedState,
		Intent: oldCanceled()}, retry)
	if d.Hold.State != hold.Canceled || d.Hold.Reason != hold.CauseUnprotected {
		t.Errorf("%s (%s) after %s of %s", d.Hold.State, d.Hold.Reason, call.Op, call.PaymentIntent)
	}
}

// TestUnprotected_CaptureAfterLostRelease checks a capture while the outcome of
// the release is not known.
func TestUnprotected_CaptureAfterLostRelease(t *testing.T) {
	at := startOfRenewal.Add(time.Minute)
	lost, _ := answerCall(t, toReleaseFirst(t), startOfRenewal, hold.OpCancel, testIntentID,
		hold.Answer{Kind: hold.AnswerUnknown})
	h := captureNow(t, lost.Hold, at)

	d, _ := answerCall(t, h, at, hold.OpRead, testIntentID, answerOK(oldCanceled()))
	d, _ = answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID, newHeld())
	mustCaptureNew(t, d.Hold, at)

	d, _ = answerCall(t, h, at, hold.OpRead, testIntentID, answerOK(heldIntent(renewable)))
	d, _ = answerCall(t, d.Hold, at, hold.OpCancel, newIntentID,
		answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
	d, _ = answerCall(t, d.Hold, at, hold.OpCapture, testIntentID, answerOK(capturedIntent(amount)))
	if d.Hold.State != hold.Captured {
		t.Errorf("%s", d.Hold.State)
	}
}

// TestUnprotected_CrashedCapture checks that a claim that did not report leaves
// the order as it is.
func TestUnprotected_CrashedCapture(t *testing.T) {
	at := startOfRenewal.Add(time.Minute)
	h := claimHold(captureNow(t, unprotected(t), at), at)
	if c := h.NextCall(at); c.Op != hold.OpConfirm {
		t.Fatalf("%s of %s", c.Op, c.PaymentIntent)
	}
	at = at.Add(time.Minute)
	d, _ := answerCall(t, claimHold(h, at), at, hold.OpRead, newIntentID, newHeld())
	mustCaptureNew(t, d.Hold, at)
}

// TestUnprotected_TermsStay checks that no change of the terms gives up the only
// intent that may hold the money.
func TestUnprotected_TermsStay(t *testing.T) {
	at := startOfRenewal.Add(time.Minute)
	patch := func(p hold.Patch) hold.Hold {
		d, err := lostConfirmation(t).ApplyPatch(&p, "api", at)
		if err != nil {
			t.Fatal(err)
		}
		return plan(d, at)
	}
	paused, err := lostConfirmation(t).Pause(0, "api", at)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]hold.Hold{"paused": plan(paused, at),
		"no renewals": patch(hold.Patch{Renewal: &hold.RenewalRequest{}}),
		"sooner":      patch(hold.Patch{CaptureAt: ptr(formatTime(at.Add(6 * time.Hour)))}),
	} {
		d, _ := answerCall(t, h, at, hold.OpRead, newIntentID, newHeld())
		if d.Hold.PaymentIntent != newIntentID || d.Hold.Renewal.Unprotected {
			t.Errorf("%s: %+v", name, d.Hold.Renewal)
		}
	}
	if _, err := unprotected(t).RequestIncrement(hold.IncrementRequest{Amount: raisedAmount}, "api",
		at, testRules); err == nil {
		t.Error("an increment is accepted while nothing is held")
	}
}

// TestUnprotected_Warns checks that what is not held is neither planned nor
// kept silent.
func TestUnprotected_Warns(t *testing.T) {
	h := unprotected(t)
	if op, _ := hold.PlannedAction(&h, startOfRenewal, testRules); op != 0 {
		t.Errorf("planned: %s", op)
	}
	if next := h.NextMilestone(startOfRenewal, testRules); !next.Equal(h.ExpiresAt.Add(-24 *
		time.Hour)) {
		t.Errorf("the next warning is at %s, of the end at %s", next, h.ExpiresAt)
	}
	d, _ := answerCall(t, h, startOfRenewal, hold.OpConfirm, newIntentID, lacksFunds)
	if len(d.Events) != 1 || d.Events[0].Type != hold.EventRetrying ||
		d.Events[0].Cause != hold.CauseUnprotected {
		t.Errorf("events %v", d.Events)
	}
}

// TestUnprotected_PolicyReadsFirst checks that on_failure does not release the
// only intent that may hold the money, and that it gives up a renewal that has
// not succeeded.
func TestUnprotected_PolicyReadsFirst(t *testing.T) {
	for _, policy := range []hold.ExpiryPolicy{hold.PolicyCancel, hold.PolicyCapture} {
		t.Run(policy.String(), func(t *testing.T) {
			atPolicy := func(h hold.Hold) (hold.Hold, time.Time) {
				t.Helper()
				h.Renewal.OnFailure = policy
				at := h.ExpiresAt.Add(-testRules.ExpiryMargin)
				d, _ := h.ApplyMilestone(at, at, testRules)
				if h = plan(d, at); h.NextOp != policyOp(policy) || h.NextAt.After(at) {
					t.Fatalf("next %s at %s, want that of on_failure at %s", h.NextOp, h.NextAt, at)
				}
				return h, at
			}
			h, at := atPolicy(lostConfirmation(t))
			d, _ := answerCall(t, h, at, hold.OpRead, newIntentID, newHeld())
			if h := d.Hold; h.PaymentIntent != newIntentID || h.Renewal.Unprotected ||
				h.Reason == hold.CauseOnExpiry || !h.ExpiresAt.After(at) {
				t.Errorf("renewed: %s of %s (%s), %+v", h.NextOp, h.PaymentIntent, h.Reason, h.Renewal)
			}
			if policy == hold.PolicyCapture {
				return
			}
			declined, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
				lacksFunds)
			for name, h := range map[string]hold.Hold{"reply lost": lostConfirmation(t),
				"tried again later": declined.Hold, "not confirmed": unprotected(t)} {
				h, at := atPolicy(h)
				d, _ := answerCall(t, h, at, hold.OpRead, newIntentID, unpaidIntent("insufficient_funds"))
				d, _ = answerCall(t, d.Hold, at, hold.OpCancel, newIntentID,
					answerOK(renewedIntent(hold.StatusCanceled, startOfRenewal)))
				d = d.Hold.ApplyAnswer(d.Hold.NextCall(at), hold.Answer{
					Kind: hold.AnswerUnexpectedState, Intent: oldCanceled()}, at)
				if d.Hold.State != hold.Canceled || d.Hold.Reason != hold.CauseUnprotected {
					t.Errorf("%s: %s (%s)", name, d.Hold.State, d.Hold.Reason)
				}
			}
		})
	}
}

func policyOp(p hold.ExpiryPolicy) hold.Op {
	if p == hold.PolicyCapture {
		return hold.OpCapture
	}
	return hold.OpCancel
}
