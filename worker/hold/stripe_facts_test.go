package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Facts of Stripe, each with a test of its name. deploy/docs/stripe.md lists
// them with those that other files test.

func TestSchedule_ThreeDecimalAmountsAreMultiplesOfTen(t *testing.T) {
	for _, currency := range []string{"bhd", "jod", "kwd", "omr", "tnd"} {
		wantCode(t, scheduleAmount(12_350, currency), "")
		wantCode(t, scheduleAmount(12_345, currency), hold.InvalidAmount)
	}
}

func TestSchedule_ISKAndUGXAmountsAreWhole(t *testing.T) {
	for _, currency := range []string{"isk", "ugx"} {
		wantCode(t, scheduleAmount(12_300, currency), "")
		wantCode(t, scheduleAmount(12_350, currency), hold.InvalidAmount)
	}
}

func TestSchedule_AmountDigitsByCurrency(t *testing.T) {
	for currency, most := range map[string]int64{"eur": 999_999_999_999, "idr": 999_999_999_999,
		"inr": 999_999_999, "cop": 9_999_999_999} {
		wantCode(t, scheduleAmount(most, currency), "")
		wantCode(t, scheduleAmount(most+1, currency), hold.InvalidAmount)
	}
}

func scheduleAmount(amount int64, currency string) error {
	req := hold.ScheduleRequest{PaymentIntent: testIntentID, Amount: amount, Currency: currency}
	_, err := req.Validate(t0)
	return err
}

// A cancel of a canceled intent is an error, and ends the hold all the same.
func TestCancel_CanceledIntentIsAnError(t *testing.T) {
	h := claimHold(newHold(t, heldIntent(), withCancelAt(t0)), t0)
	d := h.ApplyAnswer(h.NextCall(t0), hold.Answer{Kind: hold.AnswerUnexpectedState,
		HTTPStatus: 400, Intent: canceledIntent("requested_by_customer")}, t0)
	if d.Hold.State != hold.Canceled || d.Hold.Reason != hold.CauseElsewhere || d.NextStepNow {
		t.Errorf("%s because of %s, again %v", d.Hold.State, d.Hold.Reason, d.NextStepNow)
	}
}

// Newer API versions say "expired" where 2023-10-16 says "automatic".
func TestExpiry_AutomaticAndExpiredCancellations(t *testing.T) {
	for reason, want := range map[string]hold.State{"automatic": hold.Expired,
		"expired": hold.Expired, "abandoned": hold.Canceled, "": hold.Canceled} {
		h := newHold(t, heldIntent(), withCaptureAt(t0.Add(day)))
		if got := h.ApplyPaymentIntent(canceledIntent(reason), t0).Hold.State; got != want {
			t.Errorf("reason %q: %s, want %s", reason, got, want)
		}
	}
}

// Stripe does not scope keys by endpoint.
func TestIdempotencyKey_DiffersByEndpoint(t *testing.T) {
	capture := newHold(t, heldIntent(), withCaptureAt(t0))
	cancel := newHold(t, heldIntent(), withCancelAt(t0))
	if a, b := capture.NextCall(t0).Key, cancel.NextCall(t0).Key; a == b || a == "" {
		t.Errorf("capture %q, cancel %q", a, b)
	}
}

// Stripe replays a stored 500 for as long as it keeps the key.
func TestIdempotencyKey_ReplayedErrorIsReadFirst(t *testing.T) {
	h := claimHold(newHold(t, heldIntent(), withCaptureAt(t0)), t0)
	first := h.NextCall(t0)
	h = h.ApplyAnswer(first, hold.Answer{Kind: hold.AnswerReplayedError, Replayed: true}, t0).Hold
	now := t0.Add(time.Minute)
	h = claimHold(h, now)
	call := h.NextCall(now)
	if call.Op != hold.OpRead {
		t.Fatalf("%s, want read", call.Op)
	}
	h = h.ApplyAnswer(call, hold.Answer{Kind: hold.AnswerOK, Intent: heldIntent()}, now).Hold
	if next := h.NextCall(now); next.Op != hold.OpCapture || next.Key == first.Key {
		t.Errorf("%s with key %q, want a capture with a new key", next.Op, next.Key)
	}
}
