package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// No milestone and no read makes holdd act on a hold that Stripe contradicts.
func TestApplyContradiction_NothingActsByItself(t *testing.T) {
	for _, policy := range []hold.ExpiryPolicy{hold.PolicyCancel, hold.PolicyCapture,
		hold.PolicyAlert} {
		now := t0
		h := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)),
			func(r *hold.ValidRequest) { r.OnExpiry = policy })
		settled := h.ApplyPaymentIntent(capturedIntent(1_000), now).Hold
		if !settled.State.IsFinal() || capturedIntent(1_000).ContradictsSettledHold(&settled) {
			t.Fatalf("%+v", settled)
		}
		d := settled.ReopenContradictedHold(heldIntent(), now.Add(time.Hour))
		h = d.Hold
		if h.State != hold.Attention || h.Reason != hold.CauseContradiction || !h.ReadFirst ||
			len(d.Events) != 1 || !d.NewDeadline {
			t.Fatalf("%+v", d)
		}
		for now.Before(h.ExpiresAt) {
			at := h.NextMilestone(now, testRules)
			d, _ := h.ApplyMilestone(at, at, testRules)
			now = at
			if at.Before(h.ExpiresAt) && (!d.Unchanged || d.NextStepNow) {
				t.Errorf("%s: the milestone of %s led to %+v", policy, at, d.Hold)
			}
		}
		read := h.ApplyPaymentIntent(heldIntent(), now)
		if s := read.Hold.State; s != hold.Attention || read.Hold.NextOp != 0 {
			t.Errorf("%s: %+v after a read", policy, read.Hold)
		}
	}
}
