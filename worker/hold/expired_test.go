package hold_test

import (
	"testing"

	"github.com/holdd/holdd/worker/hold"
)

func TestExpired_HasEitherReason(t *testing.T) {
	end := t0.Add(7 * day)
	scheduled := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)))
	for name, settle := range map[string]func(*hold.PaymentIntent) hold.Decision{
		"read": func(in *hold.PaymentIntent) hold.Decision {
			return scheduled.ApplyPaymentIntent(in, end)
		},
		"capture refused": func(in *hold.PaymentIntent) hold.Decision {
			h := claimHold(scheduled, t0.Add(day))
			return h.ApplyAnswer(h.NextCall(t0.Add(day)),
				hold.Answer{Kind: hold.AnswerUnexpectedState, Intent: in}, end)
		},
	} {
		for _, tt := range []struct {
			in    *hold.PaymentIntent
			state hold.State
			event hold.EventType
		}{
			{canceledIntent(hold.ReasonAutomatic), hold.Expired, hold.EventExpired},
			{canceledIntent(hold.ReasonExpired), hold.Expired, hold.EventExpired},
			{canceledIntent(hold.ReasonDuplicate), hold.Canceled, hold.EventCanceled},
			{canceledIntent("void_invoice"), hold.Canceled, hold.EventCanceled},
			// Another system had captured a part before the rest expired.
			{capturedIntent(400), hold.Captured, hold.EventCaptured},
		} {
			d := settle(tt.in)
			if d.Hold.State != tt.state || len(d.Events) != 1 || d.Events[0].Type != tt.event {
				t.Errorf("%s of %s %q: %s, events %v", name, tt.in.Status,
					tt.in.CancellationReason, d.Hold.State, d.Events)
			}
			if tt.state == hold.Captured && (d.Hold.CapturedAmount != 400 ||
				d.Hold.CapturedElsewhere != 400 || d.Hold.Reason != hold.CauseElsewhere) {
				t.Errorf("%s: %d captured, %d elsewhere, %s", name, d.Hold.CapturedAmount,
					d.Hold.CapturedElsewhere, d.Hold.Reason)
			}
		}
	}
}
