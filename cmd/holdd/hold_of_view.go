package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// holdOfView returns the hold that v shows, so that a dry run can decide a request as holdd does.
// Fields that a view leaves out get values for which nothing is refused.
func holdOfView(v *hold.View) hold.Hold {
	h := hold.Hold{ID: v.ID, PaymentIntent: v.PaymentIntent, Account: v.Account,
		Reference: v.Reference, Amount: v.Amount, Currency: v.Currency,
		CaptureAmount: v.CaptureAmount, CaptureParams: v.CaptureParams, ExpiresAt: v.ExpiresAt,
		Revision: v.Revision, Metadata: v.Metadata, Verified: v.Verified, CreatedAt: v.CreatedAt,
		CapturedElsewhere: v.CapturedElsewhere, CancellationReason: v.CancellationReason,
		MaxCapturable: math.MaxInt64, Acknowledged: v.Acknowledged,
		CancelWanted:  v.Next == hold.OpCancel.String() && v.Cause == hold.CauseTrigger.String(),
		OnExpiry:      valueNamed[hold.ExpiryPolicy](v.OnExpiry),
		ExpiresSource: valueNamed[hold.DeadlineSource](v.ExpiresAtSource),
		NextOp:        valueNamed[hold.Op](v.Next), Reason: valueNamed[hold.Cause](v.Cause)}
	if h.State = valueNamed[hold.State](v.State); h.State == hold.Ready {
		h.State = hold.Scheduled
	}
	setTime(&h.CaptureAt, v.CaptureAt)
	setTime(&h.CancelAt, v.CancelAt)
	setTime(&h.NextAt, v.NextAt)
	if v.SettledAt != nil {
		h.SettledAt, h.CapturedAmount = *v.SettledAt, v.CapturedAmount
	}
	if len(v.Features) > 0 || h.ExpiresSource == hold.SourceCharge { // the charge was read
		h.Features = hold.FeaturesKnown
	}
	for f := hold.FeatureExtended; f <= hold.FeatureOvercapture; f <<= 1 {
		if slices.Contains(v.Features, f.Names()[0]) {
			h.Features |= f
		}
	}
	setPartialCapturesOfView(&h, v)
	setRenewalOfView(&h, v)
	return h
}

func setPartialCapturesOfView(h *hold.Hold, v *hold.View) {
	own := v.CapturedAmount - v.CapturedElsewhere
	if v.SettledAt != nil { // only the plan matters, because it is a term
		own = 0
	}
	if own == 0 && len(v.Captures) == 0 && v.NextCapture == nil {
		return
	}
	s := &hold.PartialCaptures{Captured: own, Base: v.CapturedAmount}
	for _, stage := range v.Captures {
		s.Plan = append(s.Plan, hold.CaptureStage{At: stage.At, Amount: stage.Amount})
		if stage.Captured {
			s.Done++
			s.Base -= stage.Amount
		}
	}
	if n := v.NextCapture; n != nil && !n.Final && h.Reason == hold.CauseTrigger {
		s.Part = v.CapturedAmount + n.Amount
	}
	h.PartialCaptures = s
}

func setRenewalOfView(h *hold.Hold, v *hold.View) {
	if r := v.Renewal; r != nil {
		h.Renewal = &hold.Renewal{RenewalTerms: hold.RenewalTerms{MaxAmount: r.MaxAmount,
			MaxRenewals: r.MaxRenewals, OnFailure: valueNamed[hold.ExpiryPolicy](r.OnFailure),
			ReleaseFirst: r.ReleaseFirst}, Step: valueNamed[hold.RenewalStep](r.Step),
			Completed: r.Completed, Intent: r.PaymentIntent, DeclineCode: r.DeclineCode,
			Releasing: r.Releasing, Unprotected: r.Unprotected,
			Customer: "not shown", AuthorizedAt: v.CreatedAt}
		setTime(&h.Renewal.Until, r.Until)
	}
	switch i := v.Increment; {
	case i == nil:
	case h.NextOp == hold.OpIncrement:
		h.Increment.Amount, h.Increment.Until = i.Amount, i.Until
	case h.Renewal != nil:
		h.Renewal.IncrementTo, h.Renewal.IncrementUntil = i.Amount, i.Until
	}
}

// valueNamed returns the value with this name, 0 if none has it.
func valueNamed[E interface {
	~uint8
	fmt.Stringer
}](name string) (e E) {
	for e = 1; e != 0 && e.String() != name; e++ {
	}
	return e
}

func setTime(to *time.Time, t *time.Time) {
	if t != nil {
		*to = *t
	}
}
