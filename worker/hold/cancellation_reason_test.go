package hold_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

var reasonRules = hold.DecisionRules{ExpiryMargin: time.Hour,
	CancellationReason: hold.ReasonRequestedByCustomer}

// recorded is the hold of a decision as the committer writes it.
func recorded(d hold.Decision, before hold.Hold) hold.Hold {
	d.SetDefaultCancellationReason(&before, reasonRules)
	return d.Hold
}

// callOf is the call of a hold that is claimed now.
func callOf(h hold.Hold) hold.Call {
	h = claimHold(h, t0)
	return h.NextCall(t0)
}

func TestCancel_SendsTheRecordedReason(t *testing.T) {
	accept := func(d hold.Decision, err error) hold.Decision {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	end := t0.Add(7 * day)
	waiting := newHold(t, heldIntent())
	expiring, _ := waiting.ApplyMilestone(end.Add(-time.Hour), end.Add(-time.Hour), reasonRules)
	scheduled := newHold(t, heldIntent(), withCancelAt(t0.Add(day)))
	duplicate := recorded(accept(waiting.RequestCancel("duplicate", "api", t0)), waiting)
	old := scheduled
	old.Sent = hold.IdempotencyKeyUsage{Count: 1, Unknown: true}
	for name, tt := range map[string]struct {
		h    hold.Hold
		want string
	}{
		"cancel_at": {recorded(hold.Decision{Hold: scheduled}, hold.Hold{}),
			"requested_by_customer"},
		"on_expiry": {recorded(expiring, waiting), "requested_by_customer"},
		"no reason": {recorded(accept(waiting.RequestCancel("", "api", t0)),
			waiting), "requested_by_customer"},
		"a reason": {duplicate, "duplicate"},
		"retried": {recorded(hold.Decision{Hold: duplicate}, duplicate),
			"duplicate"},
		"of cancel_at, then a reason": {
			recorded(accept(scheduled.RequestCancel("fraudulent", "api", t0)), scheduled),
			"fraudulent"},
		"sent by a release without reasons": {recorded(hold.Decision{Hold: old}, old), "abandoned"},
	} {
		if c := callOf(tt.h); c.Op != hold.OpCancel || c.CancellationReason != tt.want {
			t.Errorf("%s: %s as %q, want %q", name, c.Op, c.CancellationReason, tt.want)
		}
		if v := hold.NewView(&tt.h, t0, false); v.CancellationReason != tt.want {
			t.Errorf("%s: shown as %q", name, v.CancellationReason)
		}
	}
}

func TestCancel_EachReasonHasItsOwnKey(t *testing.T) {
	seen := map[string]string{}
	for _, reason := range hold.CancellationReasons() {
		h := mustAccept(t)(newHold(t, heldIntent()).RequestCancel(reason, "api", t0))
		key := callOf(h).Key
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have the key %s", reason, other, key)
		}
		seen[key] = reason
	}
	// A release without reasons sends abandoned under the same key.
	h := mustAccept(t)(newHold(t, heldIntent()).RequestCancel("", "api", t0))
	if key := callOf(h).Key; seen[key] != hold.ReasonAbandoned {
		t.Errorf("a record without a reason has the key %s", key)
	}
}

func TestRequestCancel_RefusesAReason(t *testing.T) {
	canceling := mustAccept(t)(newHold(t, heldIntent()).RequestCancel("duplicate", "api", t0))
	for name, tt := range map[string]struct {
		h      hold.Hold
		reason string
		want   hold.ProblemCode
	}{
		"unknown":            {newHold(t, heldIntent()), "mood", hold.InvalidField},
		"of the network":     {newHold(t, heldIntent()), "automatic", hold.InvalidField},
		"another than first": {canceling, "fraudulent", hold.CancelAccepted},
		"the same":           {canceling, "duplicate", ""},
		"none":               {canceling, "", ""},
	} {
		d, err := tt.h.RequestCancel(tt.reason, "api", t0)
		wantCode(t, err, tt.want)
		var p *hold.Problem
		if errors.As(err, &p) && p.Field != "cancellation_reason" {
			t.Errorf("%s: field %q", name, p.Field)
		}
		if err == nil && (!d.Unchanged || d.Hold.CancellationReason != "duplicate") {
			t.Errorf("%s: %+v", name, d.Hold)
		}
	}
}

func TestHold_KeepsTheReasonThatStripeHas(t *testing.T) {
	planned := recorded(hold.Decision{Hold: newHold(t, heldIntent(), withCancelAt(t0.Add(day)))},
		hold.Hold{})
	for name, tt := range map[string]struct {
		in   *hold.PaymentIntent
		want string
	}{
		"canceled elsewhere":        {canceledIntent("fraudulent"), "fraudulent"},
		"canceled without a reason": {canceledIntent(""), "requested_by_customer"},
		"expired":                   {canceledIntent("automatic"), ""},
		"captured":                  {capturedIntent(amount), ""},
	} {
		if h := planned.ApplyPaymentIntent(tt.in, t0).Hold; h.CancellationReason != tt.want {
			t.Errorf("%s: %q, want %q", name, h.CancellationReason, tt.want)
		}
	}
	captures := planned
	captures.CancelAt, captures.CaptureAt, captures.NextOp = time.Time{},
		t0.Add(day), hold.OpCapture
	if h := recorded(hold.Decision{Hold: captures}, planned); h.CancellationReason != "" {
		t.Errorf("a hold that is captured keeps the reason %q", h.CancellationReason)
	}
}
