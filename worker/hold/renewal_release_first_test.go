package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

func releaseFirst(d *hold.ValidRequest) { d.Renewal.ReleaseFirst = true }

var lacksFunds = hold.Answer{Kind: hold.AnswerDeclined, Code: "insufficient_funds"}

// toReleaseFirst is a hold whose next step releases the old authorization.
func toReleaseFirst(t *testing.T) hold.Hold {
	t.Helper()
	d, _ := answerCall(t, toConfirm(t, releaseFirst), startOfRenewal, hold.OpConfirm, newIntentID,
		lacksFunds)
	if d.Hold.Renewal.Step != hold.RenewalReleaseFirst || !d.Hold.NextAt.Equal(startOfRenewal) {
		t.Fatalf("next at %s: %+v", d.Hold.NextAt, d.Hold.Renewal)
	}
	if len(d.Events) != 1 || d.Events[0].Type != hold.EventRetrying ||
		d.Events[0].Cause != hold.CauseUnprotected {
		t.Errorf("events %v", d.Events)
	}
	return d.Hold
}

// unprotected is a hold whose old authorization is released, and whose new one
// is to be confirmed.
func unprotected(t *testing.T) hold.Hold {
	t.Helper()
	d, call := answerCall(t, toReleaseFirst(t), startOfRenewal, hold.OpCancel, testIntentID,
		answerOK(oldCanceled()))
	if d.NextStepNow || !d.Hold.Renewal.Unprotected || call.Key == "" {
		t.Fatalf("again %v, key %q: %+v", d.NextStepNow, call.Key, d.Hold.Renewal)
	}
	if !hold.NewView(&d.Hold, startOfRenewal, false).Renewal.Unprotected {
		t.Error("the view does not say that nothing holds the amount")
	}
	return d.Hold
}

func TestReleaseFirst_Steps(t *testing.T) {
	d, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		answerOK(renewedIntent(hold.StatusRequiresCapture, startOfRenewal)))
	if r := d.Hold.Renewal; d.Hold.PaymentIntent != newIntentID || r.Releasing != "" || r.Unprotected ||
		d.Events[0].Type != hold.EventRenewed {
		t.Errorf("%s: %+v", d.Hold.PaymentIntent, r)
	}
}

// TestReleaseFirst_OnlyWhereAllowed checks that nothing else releases the old
// authorization first.
func TestReleaseFirst_OnlyWhereAllowed(t *testing.T) {
	d, _ := answerCall(t, toConfirm(t), startOfRenewal, hold.OpConfirm, newIntentID, lacksFunds)
	if d.Hold.Renewal.Step != hold.RenewalConfirm {
		t.Errorf("without the term: %s", d.Hold.Renewal.Step)
	}
	for _, code := range []string{"do_not_honor", "card_velocity_exceeded", "stolen_card",
		"authentication_required"} {
		d, _ := answerCall(t, toConfirm(t, releaseFirst), startOfRenewal, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerDeclined, Code: code})
		if d.Hold.Renewal.Step == hold.RenewalReleaseFirst {
			t.Errorf("after %s the old authorization is released", code)
		}
	}
	d, _ = answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID, lacksFunds)
	if r := d.Hold.Renewal; r.Step != hold.RenewalConfirm || !d.Hold.NextAt.After(startOfRenewal) {
		t.Errorf("declined again: %s at %s", r.Step, d.Hold.NextAt)
	}
}

func TestReleaseFirst_LostReply(t *testing.T) {
	later := startOfRenewal.Add(time.Minute)
	for name, tt := range map[string]struct {
		read hold.Answer
		want hold.RenewalStep
	}{
		"taken effect":  {answerOK(oldCanceled()), hold.RenewalConfirm},
		"never arrived": {answerOK(heldIntent(renewable)), hold.RenewalReleaseFirst},
	} {
		t.Run(name, func(t *testing.T) {
			d, first := answerCall(t, toReleaseFirst(t), startOfRenewal, hold.OpCancel, testIntentID,
				hold.Answer{Kind: hold.AnswerUnknown})
			d, _ = answerCall(t, d.Hold, later, hold.OpRead, testIntentID, tt.read)
			if d.Hold.Renewal.Step != tt.want || d.Hold.Renewal.Unprotected !=
				(tt.want == hold.RenewalConfirm) {
				t.Fatalf("%+v", d.Hold.Renewal)
			}
			if tt.want == hold.RenewalConfirm {
				return
			}
			_, second := answerCall(t, d.Hold, d.Hold.NextAt, hold.OpCancel, testIntentID,
				answerOK(oldCanceled()))
			if second.Key == first.Key {
				t.Errorf("the spent key %s is used again", first.Key)
			}
		})
	}
}

// TestReleaseFirst_OldSaysNothing checks that the end of the released intent does
// not end the hold while the renewal goes on.
func TestReleaseFirst_OldSaysNothing(t *testing.T) {
	lost, _ := answerCall(t, toReleaseFirst(t), startOfRenewal, hold.OpCancel, testIntentID,
		hold.Answer{Kind: hold.AnswerUnknown})
	for name, h := range map[string]hold.Hold{"released": unprotected(t), "reply lost": lost.Hold} {
		if d := h.ApplyPaymentIntent(oldCanceled(), startOfRenewal); !d.Unchanged {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d := toReleaseFirst(t).ApplyPaymentIntent(oldCanceled(), startOfRenewal); d.Unchanged {
		t.Error("another system's cancel is ignored")
	}
}

// TestReleaseFirst_Ends checks that a hold which nothing protects ends once its
// renewal is over, and that the new intent is released before.
func TestReleaseFirst_Ends(t *testing.T) {
	at := startOfRenewal.Add(time.Minute)
	refused, _ := answerCall(t, unprotected(t), startOfRenewal, hold.OpConfirm, newIntentID,
		hold.Answer{Kind: hold.AnswerInvalid})
	cancel, err := unprotected(t).RequestCancel("", "api", at)
	if err != nil {
		t.Fatal(err)
	}
	newReleased := renewedIntent(hold.StatusCanceled, startOfRenewal)
	for name, h := range map[string]hold.Hold{"refused": refused.Hold,
		"canceled": plan(cancel, at)} {
		t.Run(name, func(t *testing.T) {
			if h.NextAt.After(at) {
				t.Fatalf("next %s at %s", h.NextOp, h.NextAt)
			}
			d, _ := answerCall(t, h, at, hold.OpCancel, newIntentID, answerOK(newReleased))
			for range 3 {
				if !d.NextStepNow {
					break
				}
				call := d.Hold.NextCall(at)
				if call.PaymentIntent != testIntentID {
					t.Fatalf("%+v", call)
				}
				a := answerOK(oldCanceled())
				if call.Op != hold.OpRead {
					a.Kind = hold.AnswerUnexpectedState
				}
				d = d.Hold.ApplyAnswer(call, a, at)
			}
			if d.Hold.State != hold.Canceled {
				t.Errorf("%s, next %s: %+v", d.Hold.State, d.Hold.NextOp, d.Hold.Renewal)
			}
		})
	}
}

func TestReleaseFirst_CapturedElsewhere(t *testing.T) {
	captured := capturedIntent(amount)
	d, _ := answerCall(t, toReleaseFirst(t), startOfRenewal, hold.OpCancel, testIntentID,
		hold.Answer{Kind: hold.AnswerUnexpectedState, Intent: captured})
	if !d.NextStepNow || d.Hold.Renewal.Unprotected {
		t.Errorf("again %v: %+v", d.NextStepNow, d.Hold.Renewal)
	}
}
