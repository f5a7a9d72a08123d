package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// What is decided for each hold on its way: a wish is read, and after the claim
// its call and its answer.

func BenchmarkScheduleRequest_Validate(b *testing.B) {
	w := hold.ScheduleRequest{PaymentIntent: testIntentID, Reference: "BK-2071", Amount: amount, Currency: "eur",
		CaptureAt: t0.Add(5 * day).Format(time.RFC3339), ExpiresAt: t0.Add(6 * day).Format(time.RFC3339)}
	b.ReportAllocs()
	for b.Loop() {
		d, err := w.Validate(t0)
		if err != nil {
			b.Fatal(err)
		}
		c, err := hold.DecideNewHold(d, nil, "api", t0)
		if err != nil {
			b.Fatal(err)
		}
		if p := c.SortedSetPlacement(&hold.Hold{}, t0, testRules); p.DueAt.IsZero() {
			b.Fatal("it would never be due")
		}
	}
}

func BenchmarkApplyAnswer_Captured(b *testing.B) {
	h := newHold(b, heldIntent(), withCaptureAt(t0.Add(time.Hour)))
	now := t0.Add(time.Hour)
	h = claimHold(h, now)
	a := hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, RequestID: "req_b7pQ2mXw9ZkLrT", Intent: capturedIntent(amount)}
	b.ReportAllocs()
	for b.Loop() {
		call := h.NextCall(now)
		c := h.ApplyAnswer(call, a, now)
		if c.Hold.State != hold.Captured {
			b.Fatal(c.Hold.State)
		}
	}
}
