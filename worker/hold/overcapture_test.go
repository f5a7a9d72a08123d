package hold_test

import (
	"strings"
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func TestOvercapture(t *testing.T) {
	tip := func(in *hold.PaymentIntent) {
		in.Features = hold.FeaturesKnown | hold.FeatureOvercapture
		in.MaxCapturable = 50000
	}
	h := newHold(t, heldIntent(tip), withCaptureAmount(50000), withCaptureAt(t0.Add(day)))
	d, calls := drive(t, h, t0.Add(day), okAnswer(capturedIntent(50000)))
	if calls[0].Amount != 50000 || d.Hold.State != hold.Captured ||
		d.Hold.CapturedAmount != 50000 || d.Hold.Reason != hold.CauseSchedule {
		t.Errorf("call %+v, %s (%s)", calls[0], d.Hold.State, d.Hold.Reason)
	}
	_, err := newHold(t, heldIntent(tip)).RequestCapture(hold.CaptureRequest{Amount: 50001}, "api",
		t0)
	wantCode(t, err, hold.AmountTooLarge)
	if err == nil || !strings.Contains(err.Error(), "500.00 EUR that the charge allows") {
		t.Errorf("the refusal does not name the maximum: %v", err)
	}
	for name, in := range map[string]*hold.PaymentIntent{
		"without overcapture": heldIntent(func(in *hold.PaymentIntent) {
			in.Features = hold.FeaturesKnown
		}),
		"unread": nil,
	} {
		d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel,
			CaptureAmount: amount + 1}
		if in == nil {
			d.Amount, d.Currency = amount, "eur"
		}
		_, err := hold.DecideNewHold(d, in, "api", t0)
		t.Run(name, func(t *testing.T) { wantCode(t, err, hold.AmountTooLarge) })
	}
	// The charge allows less than it did: nobody is charged more than that.
	h = newHold(t, heldIntent(tip), withCaptureAmount(50000), withCaptureAt(t0.Add(day)))
	d = h.ApplyPaymentIntent(heldIntent(tip, func(in *hold.PaymentIntent) {
		in.MaxCapturable = 45000
	}), t0)
	if d.Hold.State != hold.Attention || d.Hold.Reason != hold.CauseAmountTooLarge {
		t.Errorf("%s (%s)", d.Hold.State, d.Hold.Reason)
	}
}

func TestOvercapture_Renewed(t *testing.T) {
	tip := func(in *hold.PaymentIntent) {
		renewable(in)
		in.Features, in.MaxCapturable = hold.FeaturesKnown|hold.FeatureOvercapture, amount+5000
	}
	until := formatTime(t0.Add(30 * day))
	renewed := newHold(t, heldIntent(tip), withRenewal(t0.Add(30*day)))
	tipped := newHold(t, heldIntent(tip), withCaptureAmount(amount+4000))
	more := int64(amount + 4000)
	for name, request := range map[string]func() error{
		"new": func() error {
			d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel,
				CaptureAmount: more}
			withRenewal(t0.Add(30 * day))(d)
			_, err := hold.DecideNewHold(d, heldIntent(tip), "api", t0)
			return err
		},
		"changed amount": func() error {
			_, err := renewed.ApplyPatch(&hold.Patch{CaptureAmount: &more}, "api", t0)
			return err
		},
		"changed renewal": func() error {
			_, err := tipped.ApplyPatch(&hold.Patch{
				Renewal: &hold.RenewalRequest{Until: until}}, "api", t0)
			return err
		},
		"capture": func() error {
			_, err := renewed.RequestCapture(hold.CaptureRequest{Amount: more}, "api", t0)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, request(), hold.ConflictingTerms) })
	}
}
