package main

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// A dry run refuses what holdd refuses for the hold that the view shows.
func TestHoldOfView_RefusesAsHoldd(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	read := hold.Hold{ID: "pi_view0001", PaymentIntent: "pi_view0001", Amount: 12000,
		Currency: "eur", State: hold.Waiting, OnExpiry: hold.PolicyCancel, Verified: true, Revision: 3,
		ExpiresAt: now.Add(120 * time.Hour), ExpiresSource: hold.SourceCharge,
		Features: hold.FeaturesKnown, CreatedAt: now}
	with := func(change func(h *hold.Hold)) hold.Hold {
		h := read
		change(&h)
		return h
	}
	renewed := with(func(h *hold.Hold) {
		h.Renewal = &hold.Renewal{RenewalTerms: hold.RenewalTerms{MaxAmount: 50000,
			Until: now.Add(240 * time.Hour), MaxRenewals: 12}, Step: hold.RenewalIdle,
			Customer: "cus_1", AuthorizedAt: now}
	})
	part := false
	total := func(amount int64) func(h hold.Hold) (hold.Decision, error) {
		return captureOf(hold.CaptureRequest{Amount: amount})
	}
	for name, test := range map[string]struct {
		h      hold.Hold
		decide func(h hold.Hold) (hold.Decision, error)
		want   hold.ProblemCode // "" is accepted
	}{
		"increment without the feature": {read, raiseTo(20000), hold.IncrementUnavailable},
		"increment of an unread charge": {with(func(h *hold.Hold) {
			h.ExpiresSource, h.Features = hold.SourceCaller, 0
		}), raiseTo(20000), ""},
		"increment with the feature": {with(func(h *hold.Hold) {
			h.Features |= hold.FeatureIncremental
		}), raiseTo(20000), ""},
		"increment by a renewal":     {renewed, raiseTo(20000), ""},
		"increment above max_amount": {renewed, raiseTo(50001), hold.AmountTooLarge},
		"capture above the amount":   {read, total(12001), hold.AmountTooLarge},
		"capture within overcapture": {with(overcapture), total(13000), ""},
		"capture of the amount":      {read, total(12000), ""},
		"a part without multicapture": {read, captureOf(hold.CaptureRequest{Amount: 10,
			Final: &part}), hold.MulticaptureUnavailable},
		"a capture after an accepted cancel": {with(func(h *hold.Hold) {
			h.State, h.NextOp, h.NextAt = hold.Scheduled, hold.OpCancel, now
			h.Reason, h.CancelWanted = hold.CauseTrigger, true
		}), captureOf(hold.CaptureRequest{}), hold.CancelAccepted},
		"a capture while a part is pending": {with(func(h *hold.Hold) {
			h.State, h.NextOp, h.NextAt = hold.Scheduled, hold.OpCapture, now
			h.Reason = hold.CauseTrigger
			h.Features |= hold.FeatureMulticapture
			h.PartialCaptures = &hold.PartialCaptures{Part: 5000}
		}), captureOf(hold.CaptureRequest{}), hold.TooLate},
	} {
		t.Run(name, func(t *testing.T) {
			v := hold.NewView(&test.h, now, false)
			for source, h := range map[string]hold.Hold{"hold": test.h, "view": holdOfView(&v)} {
				_, err := test.decide(h)
				if p, _ := errors.AsType[*hold.Problem](err); test.want == "" && err != nil ||
					test.want != "" && (p == nil || p.Code != test.want) {
					t.Errorf("of the %s: %v, want %q", source, err, test.want)
				}
			}
		})
	}
}

// A dry run compares a request with the terms that the view shows.
func TestHoldOfView_HasTermsOfHold(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	for name, req := range map[string]hold.ScheduleRequest{
		"no time": {},
		"release": {Reference: "BK-1", CancelAt: now.Add(time.Hour).Format(time.RFC3339),
			OnExpiry: "alert", Metadata: map[string]string{"room": "12"}},
		"part of the amount": {Account: "acct_12345678", CaptureAmount: 4500,
			CaptureAt: now.Add(time.Hour).Format(time.RFC3339Nano),
			CaptureParams: hold.CaptureParams{ApplicationFeeAmount: 100,
				StatementDescriptorSuffix: "STAY", CaptureMetadata: map[string]string{"a": "b"}}},
		"renewal": {Renewal: &hold.RenewalRequest{Until: now.Add(240 * time.Hour).Format(time.RFC3339),
			MaxAmount: 50000, OnFailure: "capture"}},
		"captures": {Captures: []hold.CaptureStageRequest{
			{At: now.Add(time.Hour).Format(time.RFC3339), Amount: 4500},
			{At: now.Add(2 * time.Hour).Format(time.RFC3339), Amount: 3000}}},
	} {
		t.Run(name, func(t *testing.T) {
			req.PaymentIntent, req.Amount, req.Currency = "pi_view0001", 12000, "eur"
			req.ExpiresAt = now.Add(120 * time.Hour).Format(time.RFC3339)
			valid, err := req.Validate(now)
			if err != nil {
				t.Fatal(err)
			}
			d, err := hold.DecideNewHold(valid, nil, "test", now)
			if err != nil {
				t.Fatal(err)
			}
			settled := d.Hold
			settled.State, settled.NextOp, settled.SettledAt = hold.Captured, 0, now
			settled.CapturedAmount = 7500
			for state, h := range map[string]hold.Hold{"open": d.Hold, "settled": settled} {
				v := hold.NewView(&h, now, false)
				seen := holdOfView(&v)
				if err := req.RefuseUnlessRepeats(&seen, now); err != nil {
					t.Errorf("%s: %v", state, err)
				}
				// The request is still the same after its times have passed.
				if err := req.RefuseUnlessRepeats(&seen, now.Add(96*time.Hour)); err != nil {
					t.Errorf("%s, later: %v", state, err)
				}
				other := req
				other.Reference = "BK-2"
				if err := other.RefuseUnlessRepeats(&seen, now); !errors.Is(err,
					&hold.Problem{Code: hold.HoldExists}) {
					t.Errorf("%s, with another reference: %v", state, err)
				}
			}
		})
	}
}

func overcapture(h *hold.Hold) {
	h.Features |= hold.FeatureOvercapture
	h.MaxCapturable = 14000
}

func raiseTo(amount int64) func(h hold.Hold) (hold.Decision, error) {
	return func(h hold.Hold) (hold.Decision, error) {
		return h.RequestIncrement(hold.IncrementRequest{Amount: amount}, "", time.Now(),
			hold.DecisionRules{ExpiryMargin: time.Hour})
	}
}

func captureOf(req hold.CaptureRequest) func(h hold.Hold) (hold.Decision, error) {
	return func(h hold.Hold) (hold.Decision, error) { return decideCapture(req)(h, time.Now()) }
}
