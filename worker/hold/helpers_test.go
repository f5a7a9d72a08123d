package hold_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	testIntentID = "pi_3PxYzA2eZvKYlo2C1gQmT0aB"
	amount       = int64(42000)
	day          = 24 * time.Hour
)

var (
	t0        = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	testRules = hold.DecisionRules{ExpiryMargin: time.Hour,
		Thresholds: []time.Duration{72 * time.Hour,
			24 * time.Hour, 6 * time.Hour, time.Hour}}
)

// newIntent is what Stripe says of an intent made at t0, whose authorization
// ends after seven days.
func newIntent(status hold.PaymentIntentStatus, edit ...func(*hold.PaymentIntent)) *hold.PaymentIntent {
	in := &hold.PaymentIntent{ID: testIntentID, Status: status, Amount: amount, Currency: "eur",
		Created: t0, CaptureBefore: t0.Add(7 * day), PaymentMethodType: "card", SingleCapture: true}
	switch status {
	case hold.StatusRequiresCapture:
		in.AmountCapturable = amount
	case hold.StatusSucceeded:
		in.AmountReceived = amount
	}
	for _, e := range edit {
		e(in)
	}
	return in
}

func heldIntent(edit ...func(*hold.PaymentIntent)) *hold.PaymentIntent {
	return newIntent(hold.StatusRequiresCapture, edit...)
}

// shared is an intent of which another system has taken n and left the rest.
func shared(n int64) *hold.PaymentIntent {
	return heldIntent(func(in *hold.PaymentIntent) {
		in.AmountCapturable, in.AmountReceived, in.SingleCapture = amount-n, n, false
	})
}

// multi is one of which it has taken nothing, and may.
func multi(in *hold.PaymentIntent) { in.SingleCapture = false }

// raisedAmount is what the tests raise holds to.
const raisedAmount = amount + 8000

// raisable is an intent whose charge has incremental authorization.
func raisable(in *hold.PaymentIntent) {
	in.Features = hold.FeaturesKnown | hold.FeatureIncremental
}

// raised is one that was raised.
func raised(in *hold.PaymentIntent) { in.Amount, in.AmountCapturable = raisedAmount, raisedAmount }

func capturedIntent(n int64) *hold.PaymentIntent {
	return newIntent(hold.StatusSucceeded, func(in *hold.PaymentIntent) { in.AmountReceived = n })
}
func canceledIntent(reason string) *hold.PaymentIntent {
	return newIntent(hold.StatusCanceled, func(in *hold.PaymentIntent) {
		in.CancellationReason = reason
	})
}

// newHold is a new hold, verified unless in is nil.
func newHold(t testing.TB, in *hold.PaymentIntent, edit ...func(*hold.ValidRequest)) hold.Hold {
	t.Helper()
	d := &hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel}
	for _, e := range edit {
		e(d)
	}
	c, err := hold.DecideNewHold(d, in, "api", t0)
	if err != nil {
		t.Fatalf("new hold: %v", err)
	}
	return c.Hold
}

func withCaptureAt(at time.Time) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.CaptureAt = at }
}
func withCancelAt(at time.Time) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.CancelAt = at }
}
func withOnExpiry(p hold.ExpiryPolicy) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.OnExpiry = p }
}
func withCaptureAmount(n int64) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.CaptureAmount = n }
}
func withFee(n int64) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.CaptureParams.ApplicationFeeAmount = n }
}
func withAmount(n int64, c string) func(*hold.ValidRequest) {
	return func(d *hold.ValidRequest) { d.Amount, d.Currency = n, c }
}

// claimHold does what the store does when it leases a hold, then what the
// worker does with the lease.
func claimHold(h hold.Hold, now time.Time) hold.Hold {
	takenOver := h.State == hold.Working
	if !takenOver {
		h.PreviousState, h.State = h.State, hold.Working
	}
	h.Version++
	h.BeginClaim(now, takenOver)
	return h
}

// mustAccept is for wishes that are granted.
func mustAccept(t testing.TB) func(hold.Decision, error) hold.Hold {
	return func(c hold.Decision, err error) hold.Hold {
		t.Helper()
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return c.Hold
	}
}

// wantCode checks that err is a *Problem of this code, "" meaning none.
func wantCode(t testing.TB, err error, code hold.ProblemCode) {
	t.Helper()
	if err == nil {
		if code != "" {
			t.Errorf("granted, want %s", code)
		}
		return
	}
	var p *hold.Problem
	if !errors.As(err, &p) {
		t.Errorf("%T %v, want *Problem", err, err)
		return
	}
	if p.Code != code {
		t.Errorf("refused with %s (%v), want %q", p.Code, err, code)
	}
	if p.Detail == "" {
		t.Errorf("problem %s says nothing to people", p.Code)
	}
}

// deepCopy is a copy that shares nothing with h, to see whether somebody
// changes h behind our back.
func deepCopy(h hold.Hold) hold.Hold {
	if h.Metadata != nil {
		m := make(map[string]string, len(h.Metadata))
		for k, v := range h.Metadata {
			m[k] = v
		}
		h.Metadata = m
	}
	if h.History != nil {
		h.History = append(make([]hold.HistoryEntry, 0, cap(h.History)),
			h.History[:cap(h.History)]...)[:len(h.History)]
	}
	return h
}

func equalHolds(a, b hold.Hold) bool {
	// Compare beyond the length: an append in place would show there.
	a.History, b.History = a.History[:cap(a.History)], b.History[:cap(b.History)]
	return reflect.DeepEqual(a, b)
}

func ptr[T any](v T) *T { return &v }

// formatTime is how tests write times into wishes.
func formatTime(t time.Time) string { return t.Format(time.RFC3339Nano) }
