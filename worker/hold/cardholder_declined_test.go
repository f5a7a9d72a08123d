package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// declinedAtBank is a hold whose cardholder authenticated with the bank, which
// then declined the card for now.
func declinedAtBank(t *testing.T, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	d, err := hold.ScheduleOnSessionRenewalConfirm(
		toCardholder(t, "authentication_required", edit...),
		1,
		1,
		returnURL,
		startOfRenewal,
	)
	if err != nil {
		t.Fatal(err)
	}
	d, _ = answerCall(t, plan(d, startOfRenewal), startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresAction, startOfRenewal)))
	d, _ = answerCall(t, d.Hold, startOfRenewal, hold.OpRead, newIntentID,
		unpaidIntent("insufficient_funds"))
	return d.Hold
}

// TestCardholder_DeclinedForNow checks that the renewal goes on without the
// cardholder where the bank may accept the card later, and that the cardholder
// can give another card until then.
func TestCardholder_DeclinedForNow(t *testing.T) {
	present, _ := answerCall(t, authenticating(t), startOfRenewal, hold.OpConfirm, newIntentID,
		lacksFunds)
	if len(present.Events) != 1 || present.Events[0].Type != hold.EventRetrying {
		t.Errorf("events %v", present.Events)
	}
	for name, h := range map[string]hold.Hold{"at once": present.Hold,
		"at the bank": declinedAtBank(t)} {
		t.Run(name, func(t *testing.T) {
			at := startOfRenewal.Add(7 * day / 5 / 4)
			if got := hold.RenewalStatusForCardholder(&h, 1, startOfRenewal); got != hold.CardholderMustGiveCard {
				t.Errorf("status %d", got)
			}
			for h.NextAt.Before(at) { // reads of what the cardholder does
				if wait := h.NextAt.Sub(h.Renewal.RetryAt); wait != 0 {
					t.Fatalf("read %s after it is due", wait)
				}
				d, _ := answerCall(t, h, h.NextAt, hold.OpRead, newIntentID,
					unpaidIntent("insufficient_funds"))
				h = d.Hold
			}
			if !h.NextAt.Equal(at) {
				t.Fatalf("tried again at %s, want %s", h.NextAt, at)
			}
			d, _ := answerCall(t, h, at, hold.OpRead, newIntentID, unpaidIntent("insufficient_funds"))
			again, call := answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID,
				answerOK(renewedIntent(hold.StatusRequiresCapture, at)))
			if !call.Authorize.OffSession || again.Hold.PaymentIntent != newIntentID {
				t.Errorf("%+v: %+v", call.Authorize, again.Hold.Renewal)
			}
			again, _ = answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID, lacksFunds)
			r := again.Hold.Renewal
			if !r.ConfirmAt.After(at) || again.Events[0].Type != hold.EventRetrying ||
				hold.RenewalStatusForCardholder(&again.Hold, 1, at) != hold.CardholderMustGiveCard {
				t.Errorf("declined again: events %v: %+v", again.Events, r)
			}
			again, _ = answerCall(t, d.Hold, at, hold.OpConfirm, newIntentID,
				hold.Answer{Kind: hold.AnswerDeclined, Code: "stolen_card"})
			if !again.Hold.Renewal.ConfirmAt.IsZero() ||
				again.Events[0].Type != hold.EventRequiresAction {
				t.Errorf("a stolen card: events %v: %+v", again.Events, again.Hold.Renewal)
			}
		})
	}
}

// TestCardholder_DeclinedReleasesFirst checks that release_first applies with the
// cardholder present as well, and that the next try does not need one.
func TestCardholder_DeclinedReleasesFirst(t *testing.T) {
	h := declinedAtBank(t, releaseFirst)
	if h.Renewal.Step != hold.RenewalReleaseFirst {
		t.Fatalf("%s", h.Renewal.Step)
	}
	d, _ := answerCall(t, h, startOfRenewal, hold.OpCancel, testIntentID, answerOK(oldCanceled()))
	d, call := answerCall(t, d.Hold, startOfRenewal, hold.OpConfirm, newIntentID, lacksFunds)
	if !call.Authorize.OffSession || d.Hold.NextAt.Sub(startOfRenewal) != time.Minute {
		t.Errorf("next at %s: %+v", d.Hold.NextAt, call.Authorize)
	}
}

// TestCardholder_CaptureWaitsForNextTry checks that a capture of what nothing
// protects waits for the next try, also once the cardholder was asked.
func TestCardholder_CaptureWaitsForNextTry(t *testing.T) {
	d, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerDeclined, Code: "authentication_required"})
	d, _ = answerCall(t, d.Hold, d.Hold.NextAt, hold.OpRead, newIntentID,
		unpaidIntent("insufficient_funds"))
	at := d.Hold.NextAt.Add(-time.Second)
	next := d.Hold.Renewal.ConfirmAt
	d, _ = answerCall(t, captureNow(t, d.Hold, at), at, hold.OpRead, newIntentID,
		unpaidIntent("insufficient_funds"))
	if d.Hold.NextOp != hold.OpCapture || !d.Hold.NextAt.Equal(next) {
		t.Fatalf("next %s at %s, want %s", d.Hold.NextOp, d.Hold.NextAt, next)
	}
	d, _ = answerCall(t, d.Hold, next, hold.OpRead, newIntentID, unpaidIntent("insufficient_funds"))
	d, _ = answerCall(t, d.Hold, next, hold.OpConfirm, newIntentID, newHeld())
	mustCaptureNew(t, d.Hold, next)
}
