package hold_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const raisedTo = amount + amount/2

// unraisable is an intent of a saved card whose charge has no incremental
// authorization.
func unraisable(in *hold.PaymentIntent) {
	renewable(in)
	in.Features = hold.FeaturesKnown
}

func withMaxAmount(most int64) func(*hold.ValidRequest) {
	return withRenewal(t0.Add(20*day), func(r *hold.RenewalTerms) { r.MaxAmount = most })
}

// toReplace is a hold whose amount is to be raised by a new intent.
func toReplace(t *testing.T) hold.Hold {
	t.Helper()
	h := plan(hold.Decision{Hold: newHold(t, heldIntent(unraisable), withMaxAmount(2*amount))}, t0)
	d, err := h.RequestIncrement(hold.IncrementRequest{Amount: raisedTo, Reason: "two nights"},
		"api", t0, testRules)
	if err != nil {
		t.Fatal(err)
	}
	h = plan(d, t0)
	if h.NextOp != hold.OpRenew || !hold.IsIncrementPending(&h) {
		t.Fatalf("next %s, %+v", h.NextOp, h.Renewal)
	}
	d, _ = answerCall(t, h, t0, hold.OpRead, testIntentID, answerOK(heldIntent(unraisable)))
	if d.NextStepNow || d.Hold.Renewal.Step != hold.RenewalCreate {
		t.Fatalf("after the read: %+v", d.Hold.Renewal)
	}
	return d.Hold
}

// replacement is the new intent of the higher amount.
func replacement(status hold.PaymentIntentStatus) *hold.PaymentIntent {
	in := renewedIntent(status, t0)
	in.Amount = raisedTo
	if status == hold.StatusRequiresCapture {
		in.AmountCapturable = raisedTo
	}
	return in
}

// toConfirmReplacement is a hold whose higher amount is confirmed next.
func toConfirmReplacement(t *testing.T) hold.Hold {
	t.Helper()
	d, create := answerCall(t, toReplace(t), t0, hold.OpCreate, "",
		answerOK(replacement(hold.StatusRequiresConfirmation)))
	if create.Authorize.Amount != raisedTo {
		t.Fatalf("created with %d", create.Authorize.Amount)
	}
	return d.Hold
}

// TestReplacement_Succeeds follows an increment without incremental
// authorization. The old intent is released after the swap.
func TestReplacement_Succeeds(t *testing.T) {
	h := toConfirmReplacement(t)
	requested := hold.LastIncrementRequestTime(&h)
	if pending, err := hold.FindIncrementOutcomeInHistory(&h, raisedTo, requested); !pending ||
		err != nil {
		t.Errorf("pending %t, %v", pending, err)
	}
	d, _ := answerCall(t, h, t0, hold.OpConfirm, newIntentID,
		answerOK(replacement(hold.StatusRequiresCapture)))
	if e := eventTypes(d); e != "hold.renewed, hold.incremented" {
		t.Errorf("events %s", e)
	}
	h = d.Hold
	if h.Amount != raisedTo || h.PaymentIntent != newIntentID || h.NextOp != hold.OpRelease ||
		h.Renewal.Completed != 0 {
		t.Errorf("%d held by %s, next %s, %+v", h.Amount, h.PaymentIntent, h.NextOp, h.Renewal)
	}
	if pending, err := hold.FindIncrementOutcomeInHistory(&h, raisedTo, requested); pending ||
		err != nil {
		t.Errorf("pending %t, %v", pending, err)
	}
	d, _ = answerCall(t, h, t0, hold.OpCancel, testIntentID, answerOK(oldCanceled()))
	if d.Hold.State != hold.Waiting || d.Hold.NextOp != 0 || d.Hold.Renewal.Releasing != "" {
		t.Errorf("%s, next %s, %+v", d.Hold.State, d.Hold.NextOp, d.Hold.Renewal)
	}
}

// TestReplacement_Declined checks that a decline leaves the old amount, is tried
// once, and releases the new intent. The hold can still be renewed.
func TestReplacement_Declined(t *testing.T) {
	for _, code := range []string{"insufficient_funds", "authentication_required", "stolen_card"} {
		t.Run(code, func(t *testing.T) {
			h := toConfirmReplacement(t)
			requested := hold.LastIncrementRequestTime(&h)
			d, _ := answerCall(t, h, t0, hold.OpConfirm, newIntentID,
				hold.Answer{Kind: hold.AnswerDeclined, Code: code})
			if e := eventTypes(d); e != "hold.increment_failed "+code {
				t.Errorf("events %s", e)
			}
			h = d.Hold
			if h.Amount != amount || h.PaymentIntent != testIntentID ||
				h.Renewal.Releasing != newIntentID || h.Renewal.Step != hold.RenewalIdle {
				t.Errorf("%d held by %s, %+v", h.Amount, h.PaymentIntent, h.Renewal)
			}
			pending, err := hold.FindIncrementOutcomeInHistory(&h, raisedTo, requested)
			var p *hold.Problem
			if pending || !errors.As(err, &p) || p.Code != hold.Declined || p.DeclineCode != code {
				t.Errorf("pending %t, %v", pending, err)
			}
			d, _ = answerCall(t, h, t0, hold.OpCancel, newIntentID,
				answerOK(replacement(hold.StatusCanceled)))
			if d.Hold.State != hold.Waiting || d.Hold.NextOp != 0 {
				t.Errorf("%s, next %s", d.Hold.State, d.Hold.NextOp)
			}
		})
	}
}

// TestReplacement_Refused checks what cannot be raised.
func TestReplacement_Refused(t *testing.T) {
	raise := func(h hold.Hold, to int64) error {
		_, err := h.RequestIncrement(hold.IncrementRequest{Amount: to}, "api", t0, testRules)
		return err
	}
	held := func(t *testing.T, edit ...func(*hold.ValidRequest)) hold.Hold {
		return plan(hold.Decision{Hold: newHold(t, heldIntent(unraisable), edit...)}, t0)
	}
	t.Run("above max_amount", func(t *testing.T) {
		wantCode(t, raise(held(t, withMaxAmount(raisedTo)), raisedTo+1), hold.AmountTooLarge)
	})
	t.Run("without terms of renewal", func(t *testing.T) {
		wantCode(t, raise(held(t), raisedTo), hold.IncrementUnavailable)
	})
	t.Run("while another one is pending", func(t *testing.T) {
		h := toReplace(t)
		wantCode(t, raise(h, raisedTo+1), hold.TooLate)
		if d, err := h.RequestIncrement(hold.IncrementRequest{Amount: raisedTo}, "api", t0,
			testRules); err != nil || !d.Unchanged {
			t.Errorf("the same again: %v", err)
		}
	})
	t.Run("what a new intent could not capture", func(t *testing.T) {
		h := held(t, withMaxAmount(2*amount))
		h.CaptureAmount = raisedTo + 1
		wantCode(t, raise(h, raisedTo), hold.IncrementUnavailable)
		h.CaptureAmount = 0
		h.PartialCaptures = &hold.PartialCaptures{
			Plan: []hold.CaptureStage{{At: t0.Add(day), Amount: 1000}},
		}
		wantCode(t, raise(h, raisedTo), hold.IncrementUnavailable)
	})
	t.Run("the card was refused before", func(t *testing.T) {
		h := held(t, withMaxAmount(2*amount))
		h.Renewal.Step = hold.RenewalFailed
		wantCode(t, raise(h, raisedTo), hold.IncrementUnavailable)
	})
}

// TestReplacement_Ends checks what ends an increment before it has an outcome:
// the new intent is released.
func TestReplacement_Ends(t *testing.T) {
	t.Run("max_amount is lowered", func(t *testing.T) {
		h := toConfirmReplacement(t)
		h.Renewal.MaxAmount = amount
		d := hold.Decision{Hold: h}
		d.SetNextRenewalOp(t0)
		if e := eventTypes(d); e != "hold.increment_failed not raised to "+
			hold.FormatAmount(raisedTo, "eur") || d.Hold.Renewal.Releasing != newIntentID {
			t.Errorf("events %s, %+v", e, d.Hold.Renewal)
		}
	})
	t.Run("its time is over", func(t *testing.T) {
		d, _ := answerCall(t, toConfirmReplacement(t), t0, hold.OpConfirm, newIntentID,
			hold.Answer{Kind: hold.AnswerUnknown})
		d, _ = answerCall(t, d.Hold, t0.Add(11*time.Minute), hold.OpCancel, newIntentID,
			answerOK(replacement(hold.StatusCanceled)))
		if d.Hold.Amount != amount || hold.IsIncrementPending(&d.Hold) {
			t.Errorf("%d, %+v", d.Hold.Amount, d.Hold.Renewal)
		}
		if !d.NewDeadline {
			t.Error("the start of the next renewal is no milestone")
		}
	})
	t.Run("another system has captured the hold", func(t *testing.T) {
		h := plan(hold.Decision{Hold: newHold(t, heldIntent(unraisable), withMaxAmount(2*amount))}, t0)
		h = plan(hold.Decision{Hold: mustAccept(t)(h.RequestIncrement(
			hold.IncrementRequest{Amount: raisedTo}, "api", t0, testRules))}, t0)
		d, _ := answerCall(t, h, t0, hold.OpRead, testIntentID, answerOK(capturedIntent(amount)))
		d, _ = answerCall(t, d.Hold, t0, hold.OpRead, testIntentID, answerOK(capturedIntent(amount)))
		if d.Hold.State != hold.Captured || hold.IsIncrementPending(&d.Hold) {
			t.Errorf("%s, %+v", d.Hold.State, d.Hold.Renewal)
		}
	})
	t.Run("a capture is requested", func(t *testing.T) {
		h := plan(hold.Decision{Hold: mustAccept(t)(toConfirmReplacement(t).RequestCapture(
			hold.CaptureRequest{}, "api", t0))}, t0)
		d, _ := answerCall(t, h, t0, hold.OpCancel, newIntentID,
			answerOK(replacement(hold.StatusCanceled)))
		if !d.NextStepNow || hold.IsIncrementPending(&d.Hold) {
			t.Fatalf("the capture does not follow: %+v", d.Hold.Renewal)
		}
		d, _ = answerCall(t, d.Hold, t0, hold.OpCapture, testIntentID,
			answerOK(newIntent(hold.StatusSucceeded)))
		if d.Hold.State != hold.Captured || d.Hold.CapturedAmount != amount {
			t.Errorf("%s of %d", d.Hold.State, d.Hold.CapturedAmount)
		}
	})
}

// TestReplacement_FeaturesUnknown checks a hold whose charge was not read yet:
// the read shows that the amount can only be raised by a new intent. Nothing
// else follows under that claim.
func TestReplacement_FeaturesUnknown(t *testing.T) {
	for name, edit := range map[string]func(*hold.ValidRequest){
		"captured later": withCaptureAt(t0.Add(2 * day)),
		"without a time": func(*hold.ValidRequest) {},
	} {
		t.Run(name, func(t *testing.T) {
			h := plan(hold.Decision{Hold: newHold(t, heldIntent(renewable),
				withMaxAmount(2*amount), edit)}, t0)
			h.Features = 0
			before := h
			h = plan(hold.Decision{Hold: mustAccept(t)(h.RequestIncrement(
				hold.IncrementRequest{Amount: raisedTo}, "api", t0, testRules))}, t0)
			d, _ := answerCall(t, h, t0, hold.OpRead, testIntentID, answerOK(heldIntent(unraisable)))
			if d.NextStepNow {
				t.Fatalf("the claim goes on with %+v", d.Hold.NextCall(t0))
			}
			if d.Hold.NextOp != hold.OpRenew || d.Hold.NextAt.After(t0) ||
				d.Hold.State != before.State || !hold.IsIncrementPending(&d.Hold) {
				t.Fatalf("%s, next %s at %s, %+v", d.Hold.State, d.Hold.NextOp, d.Hold.NextAt,
					d.Hold.Renewal)
			}
			d, _ = answerCall(t, d.Hold, t0, hold.OpRead, testIntentID,
				answerOK(heldIntent(unraisable)))
			answerCall(t, d.Hold, t0, hold.OpCreate, "",
				answerOK(replacement(hold.StatusRequiresConfirmation)))
		})
	}
}

// TestReplacement_Unverified checks a hold that was accepted without a read: the
// increment is refused, and the read after that shows what to do instead.
func TestReplacement_Unverified(t *testing.T) {
	h := plan(hold.Decision{Hold: newHold(t, nil, withMaxAmount(2*amount),
		withCaptureAt(t0.Add(2*day)))}, t0)
	h = plan(hold.Decision{Hold: mustAccept(t)(h.RequestIncrement(
		hold.IncrementRequest{Amount: raisedTo}, "api", t0, testRules))}, t0)
	d, _ := answerCall(t, h, t0, hold.OpRead, testIntentID, answerOK(heldIntent(unraisable)))
	d, _ = answerCall(t, d.Hold, t0, hold.OpIncrement, testIntentID,
		hold.Answer{Kind: hold.AnswerInvalid, Code: "payment_intent_invalid_parameter"})
	d, _ = answerCall(t, d.Hold, t0, hold.OpRead, testIntentID, answerOK(heldIntent(unraisable)))
	if d.NextStepNow || d.Hold.NextOp != hold.OpRenew || !hold.IsIncrementPending(&d.Hold) {
		t.Errorf("next %s, again %v, %+v", d.Hold.NextOp, d.NextStepNow, d.Hold.Renewal)
	}
}
