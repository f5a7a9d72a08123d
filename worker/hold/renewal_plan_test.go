package hold_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// A renewal that becomes due does not take the place of a pending increment.
func TestRenewal_WaitsForAnIncrement(t *testing.T) {
	h := newHold(t, heldIntent(renewable, raisable), withRenewal(t0.Add(20*day),
		func(r *hold.RenewalTerms) { r.MaxAmount = raisedAmount }))
	now := startOfRenewal.Add(-time.Minute)
	h = plan(hold.Decision{Hold: h}, t0)
	d, err := h.RequestIncrement(hold.IncrementRequest{Amount: raisedAmount}, "api", now, testRules)
	if err != nil {
		t.Fatal(err)
	}
	c := claimHold(plan(d, now), now)
	h = plan(c.ApplyAnswer(c.NextCall(now), hold.Answer{Kind: hold.AnswerUnreachable}, now), now)
	d, next := h.ApplyMilestone(startOfRenewal, startOfRenewal, testRules)
	if h = plan(d, startOfRenewal); h.NextOp != hold.OpIncrement || h.NextAt.IsZero() {
		t.Fatalf("next %s at %s", h.NextOp, h.NextAt)
	}
	if !next.Before(startOfRenewal.Add(time.Hour)) {
		t.Errorf("the renewal is looked at again only at %s", next)
	}
}

// Without max_amount a hold with a renewal is not raised.
func TestRenewal_DefaultMaxAmount(t *testing.T) {
	h := newHold(t, heldIntent(renewable, raisable), withRenewal(t0.Add(20*day)))
	_, err := h.RequestIncrement(hold.IncrementRequest{Amount: raisedAmount}, "api", t0, testRules)
	wantCode(t, err, hold.AmountTooLarge)
}

// A request of an earlier plan that was refused does not stop renewals.
func TestRenewal_AfterARefusedCapture(t *testing.T) {
	h, now := longStay(t), t0.Add(day)
	h = plan(hold.Decision{Hold: mustAccept(t)(h.RequestCapture(hold.CaptureRequest{}, "api", now))}, now)
	c := claimHold(h, now)
	h = plan(c.ApplyAnswer(c.NextCall(now), hold.Answer{Kind: hold.AnswerInvalid}, now), now)
	d, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(10 * day)))}, "api", now)
	if err != nil {
		t.Fatal(err)
	}
	d, _ = plan(d, now).ApplyMilestone(startOfRenewal, startOfRenewal, testRules)
	if h = plan(d, startOfRenewal); h.NextOp != hold.OpRenew {
		t.Errorf("next %s at %s", h.NextOp, h.NextAt)
	}
}

// A third intent that holds money is released after the renewal under way, and
// not in the place of its intent.
func TestRenewal_ThirdIntentWaits(t *testing.T) {
	h, now := toConfirm(t), startOfRenewal.Add(time.Minute)
	third := renewedIntent(hold.StatusRequiresCapture, t0.Add(day))
	third.ID, third.Metadata[hold.MetaGeneration] = "pi_3ThirdIntentOfAHold0001", "0"
	if d := h.ApplyPaymentIntent(third, now); !d.Unchanged {
		t.Errorf("releasing %q while %q is confirmed", d.Hold.Renewal.Releasing,
			d.Hold.Renewal.Intent)
	}
}

// A paused hold whose renewal failed stays paused when on_failure no longer
// applies.
func TestRenewal_PausedAfterFailure(t *testing.T) {
	h := longStay(t, withCaptureAt(t0.Add(2*day)), withRenewal(t0.Add(20*day),
		func(r *hold.RenewalTerms) { r.OnFailure = hold.PolicyCancel }))
	d, err := h.Pause(0, "api", t0.Add(day))
	if err != nil {
		t.Fatal(err)
	}
	d, _ = plan(d, t0.Add(day)).ApplyMilestone(startOfRenewal, startOfRenewal, testRules)
	unsaved := heldIntent(renewable, func(in *hold.PaymentIntent) { in.Customer = "" })
	d, _ = answerCall(t, plan(d, startOfRenewal), startOfRenewal, hold.OpRead, testIntentID,
		answerOK(unsaved))
	at := d.Hold.ExpiresAt.Add(-time.Hour)
	d, _ = d.Hold.ApplyMilestone(at, at, testRules)
	if h = plan(d, at); h.NextOp != hold.OpCancel {
		t.Fatalf("at the margin: %s, next %s", h.State, h.NextOp)
	}
	d = h.ApplyPaymentIntent(heldIntent(renewable, func(in *hold.PaymentIntent) {
		in.CaptureBefore = t0.Add(9 * day)
	}), at)
	if h = plan(d, at); h.State != hold.Paused || h.NextOp == hold.OpCapture {
		t.Errorf("%s, next %s at %s", h.State, h.NextOp, h.NextAt)
	}
}

// A payment of another account is not renewed: the new intent would not have it.
func TestRenewal_SharedFunds(t *testing.T) {
	h := longStay(t)
	d, _ := h.ApplyMilestone(startOfRenewal, startOfRenewal, testRules)
	d, _ = answerCall(t, plan(d, startOfRenewal), startOfRenewal, hold.OpRead, testIntentID,
		answerOK(heldIntent(renewable, func(in *hold.PaymentIntent) { in.SharesFunds = true })))
	if r := d.Hold.Renewal; r.Step != hold.RenewalFailed || r.Problem != hold.CauseNotRenewable {
		t.Errorf("%s because of %s", r.Step, r.Problem)
	}
}

// A hold whose renewals do not reach its time is accepted with a warning.
func TestTermsWarnings_RenewalTooShort(t *testing.T) {
	end := startOfRenewal.Add(7 * day)
	for name, tt := range map[string]struct {
		captureAt time.Time // zero: none
		edit      func(*hold.RenewalTerms)
		want      string
	}{
		"enough":        {t0.Add(20 * day), func(*hold.RenewalTerms) {}, ""},
		"one is enough": {end, func(r *hold.RenewalTerms) { r.MaxRenewals = 1 }, ""},
		"too few": {t0.Add(20 * day), func(r *hold.RenewalTerms) { r.MaxRenewals = 1 },
			"raise max_renewals or send an earlier time"},
		"too few until": {time.Time{}, func(r *hold.RenewalTerms) { r.MaxRenewals = 1 },
			"raise max_renewals"},
	} {
		h := newHold(t, heldIntent(renewable), withRenewal(t0.Add(20*day), tt.edit),
			func(r *hold.ValidRequest) { r.CaptureAt = tt.captureAt })
		w := hold.TermsWarnings(&h, t0, testRules)
		switch {
		case tt.want == "" && len(w) == 0:
		case len(w) != 1 || w[0].Code != hold.RenewalTooShort || w[0].Field != "renewal" ||
			!w[0].Deadline.Equal(end) || !strings.Contains(w[0].Detail, tt.want):
			t.Errorf("%s: %+v, want %q", name, w, tt.want)
		}
	}
}

// A hold whose renewals do not reach its time is not planned as a capture, but
// as what on_failure does at the end of the last authorization.
func TestPlannedAction_RenewalTooShort(t *testing.T) {
	policyAt := startOfRenewal.Add(7*day - testRules.ExpiryMargin)
	for onFailure, want := range map[hold.ExpiryPolicy]hold.Op{
		hold.PolicyAlert: 0, hold.PolicyCancel: hold.OpCancel, hold.PolicyCapture: hold.OpCapture,
	} {
		h := newHold(t, heldIntent(renewable), withCaptureAt(t0.Add(20*day)),
			withRenewal(t0.Add(20*day), func(r *hold.RenewalTerms) {
				r.MaxRenewals, r.OnFailure = 1, onFailure
			}))
		op, at := hold.PlannedAction(&h, t0, testRules)
		if op != want || op != 0 && !at.Equal(policyAt) {
			t.Errorf("on_failure %s: %s at %s, want %s at %s", onFailure, op, at, want, policyAt)
		}
		if h.Renewal.Step != hold.RenewalIdle {
			t.Errorf("on_failure %s: the renewal changed: %+v", onFailure, h.Renewal)
		}
	}
}
