package hold_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// raise requests the increment of the tests.
func raise(t testing.TB, h hold.Hold, now time.Time) hold.Hold {
	t.Helper()
	return mustAccept(t)(h.RequestIncrement(hold.IncrementRequest{Amount: raisedAmount,
		Reason: "one more night"}, "api", now, testRules))
}

func eventTypes(d hold.Decision) string {
	var types []string
	for _, e := range d.Events {
		types = append(types, strings.TrimSpace(fmt.Sprint(e.Type, " ", e.Detail)))
	}
	return strings.Join(types, ", ")
}

// drive claims h and applies the answers to its calls in turn.
func drive(t testing.TB, h hold.Hold, now time.Time, answers ...hold.Answer) (
	d hold.Decision, calls []hold.Call) {
	t.Helper()
	h = claimHold(h, now)
	for i, a := range answers {
		call := h.NextCall(now)
		calls = append(calls, call)
		next := h.ApplyAnswer(call, a, now)
		d = d.Merge(next)
		h = d.Hold
		if !d.NextStepNow && i < len(answers)-1 {
			t.Fatalf("done after %d of %d answers", i+1, len(answers))
		}
	}
	return d, calls
}

func okAnswer(in *hold.PaymentIntent) hold.Answer {
	return hold.Answer{Kind: hold.AnswerOK, HTTPStatus: 200, Intent: in}
}

func TestIncrement_Succeeds(t *testing.T) {
	at := t0.Add(2 * day)
	h := raise(t, newHold(t, heldIntent(raisable), withCaptureAt(at)), t0)
	d, calls := drive(t, h, t0, okAnswer(heldIntent(raisable, raised)))
	if c := calls[0]; c.Op != hold.OpIncrement || c.Amount != raisedAmount || c.Key == "" {
		t.Errorf("call %+v", c)
	}
	got := d.Hold
	if got.Amount != raisedAmount || got.State != hold.Scheduled ||
		got.NextOp != hold.OpCapture || !got.NextAt.Equal(at) || got.Calls != 0 {
		t.Errorf("%d, %s, %s at %s", got.Amount, got.State, got.NextOp, got.NextAt)
	}
	if e := eventTypes(d); e != "hold.incremented" {
		t.Errorf("events %s", e)
	}
	pending, err := hold.FindIncrementOutcomeInHistory(
		&got,
		raisedAmount,
		hold.LastIncrementRequestTime(&h),
	)
	if pending || err != nil {
		t.Errorf("pending %t, %v", pending, err)
	}
}

func TestIncrement_Declined(t *testing.T) {
	h := raise(t, newHold(t, heldIntent(raisable)), t0)
	declined := hold.Answer{Kind: hold.AnswerDeclined, HTTPStatus: 402, Code: "insufficient_funds"}
	d, calls := drive(t, h, t0, declined, okAnswer(heldIntent(raisable)))
	got := d.Hold
	if got.Amount != amount || got.State != hold.Waiting || got.NextOp != 0 {
		t.Errorf("%d, %s, %s", got.Amount, got.State, got.NextOp)
	}
	if e := eventTypes(d); e != "hold.increment_failed insufficient_funds" {
		t.Errorf("events %s", e)
	}
	_, err := hold.FindIncrementOutcomeInHistory(&got, raisedAmount, hold.LastIncrementRequestTime(&h))
	var p *hold.Problem
	if !errors.As(err, &p) || p.Code != hold.Declined || p.DeclineCode != "insufficient_funds" {
		t.Errorf("problem %+v", err)
	}
	// The bank is asked again, and Stripe does not replay its first answer.
	later := t0.Add(time.Minute)
	_, again := drive(t, raise(t, got, later), later, okAnswer(heldIntent(raisable, raised)))
	if again[0].Op != hold.OpIncrement || again[0].Key == calls[0].Key {
		t.Errorf("the second request is %s with the key of the first: %t", again[0].Op,
			again[0].Key == calls[0].Key)
	}
}

func TestIncrement_LostReply(t *testing.T) {
	lost := hold.Answer{Kind: hold.AnswerUnknown}
	h := raise(t, newHold(t, heldIntent(raisable)), t0)
	d, calls := drive(t, h, t0, lost)
	if d.Hold.State != hold.Working || !d.Hold.Sent.Unknown {
		t.Fatalf("%s, unknown %t", d.Hold.State, d.Hold.Sent.Unknown)
	}
	for _, err := range []error{
		func() error { _, err := d.Hold.RequestCapture(hold.CaptureRequest{}, "api", t0); return err }(),
		func() error { _, err := d.Hold.RequestCancel("", "api", t0); return err }(),
	} {
		wantCode(t, err, hold.TooLate)
	}
	t.Run("same key again", func(t *testing.T) {
		next, again := drive(t, d.Hold, d.Hold.NextAt, okAnswer(heldIntent(raisable, raised)))
		if again[0].Key != calls[0].Key || eventTypes(next) != "hold.incremented" {
			t.Errorf("key %s after %s: %s", again[0].Key, calls[0].Key, eventTypes(next))
		}
	})
	t.Run("read once its time is over", func(t *testing.T) {
		over := d.Hold.Increment.Until
		for want, in := range map[string]*hold.PaymentIntent{
			"hold.incremented": heldIntent(raisable, raised),
			"hold.increment_failed not raised to 500.00 EUR": heldIntent(raisable),
		} {
			next, reads := drive(t, d.Hold, over, okAnswer(in))
			if reads[0].Op != hold.OpRead || eventTypes(next) != want ||
				next.Hold.State != hold.Waiting {
				t.Errorf("%s: %s, %s", reads[0].Op, eventTypes(next), next.Hold.State)
			}
		}
	})
	t.Run("a read that may be too early proves nothing", func(t *testing.T) {
		h := d.Hold
		h.ReadFirst, h.Increment.Until = true, t0.Add(time.Millisecond)
		next, _ := drive(t, h, t0.Add(time.Second), okAnswer(heldIntent(raisable)))
		if next.Hold.State != hold.Working || !next.Hold.Sent.Unknown || len(next.Events) != 0 {
			t.Errorf("%s, unknown %t, %s", next.Hold.State, next.Hold.Sent.Unknown,
				eventTypes(next))
		}
	})
}

func TestIncrement_SettledElsewhere(t *testing.T) {
	h := raise(t, newHold(t, heldIntent(raisable)), t0)
	d, _ := drive(t, h, t0, hold.Answer{Kind: hold.AnswerUnexpectedState, HTTPStatus: 400,
		Intent: capturedIntent(amount)})
	if d.Hold.State != hold.Captured || d.Hold.Reason != hold.CauseElsewhere ||
		d.Hold.Increment != (hold.PendingIncrement{}) {
		t.Errorf("%s (%s), %+v", d.Hold.State, d.Hold.Reason, d.Hold.Increment)
	}
	_, err := hold.FindIncrementOutcomeInHistory(
		&d.Hold,
		raisedAmount,
		hold.LastIncrementRequestTime(&h),
	)
	wantCode(t, err, hold.AlreadyCaptured)
}

func TestIncrement_Unavailable(t *testing.T) {
	none := func(in *hold.PaymentIntent) { in.Features = hold.FeaturesKnown }
	_, err := newHold(t, heldIntent(none)).RequestIncrement(
		hold.IncrementRequest{Amount: raisedAmount}, "api", t0, testRules)
	wantCode(t, err, hold.IncrementUnavailable)
	_, err = newHold(t, shared(200)).RequestIncrement(
		hold.IncrementRequest{Amount: raisedAmount}, "api", t0, testRules)
	wantCode(t, err, hold.IncrementUnavailable)
	// Without a read of the charge nobody knows: the charge is read first.
	h := raise(t, newHold(t, heldIntent()), t0)
	d, calls := drive(t, h, t0, okAnswer(heldIntent(none)))
	if calls[0].Op != hold.OpRead || d.Hold.State != hold.Waiting {
		t.Errorf("%s, then %s", calls[0].Op, d.Hold.State)
	}
	_, err = hold.FindIncrementOutcomeInHistory(
		&d.Hold,
		raisedAmount,
		hold.LastIncrementRequestTime(&h),
	)
	wantCode(t, err, hold.IncrementUnavailable)
}

func TestRequestIncrement_Refused(t *testing.T) {
	h := newHold(t, heldIntent(raisable), withCaptureAt(t0.Add(time.Hour)))
	captured := mustAccept(t)(h.RequestCapture(hold.CaptureRequest{}, "api", t0))
	canceled := mustAccept(t)(h.RequestCancel("", "api", t0))
	for name, c := range map[string]struct {
		h    hold.Hold
		req  hold.IncrementRequest
		at   time.Time
		code hold.ProblemCode
	}{
		"less":     {h, hold.IncrementRequest{Amount: amount - 1}, t0, hold.InvalidAmount},
		"nothing":  {h, hold.IncrementRequest{}, t0, hold.InvalidAmount},
		"negative": {h, hold.IncrementRequest{Amount: -1}, t0, hold.InvalidAmount},
		"reason": {h,
			hold.IncrementRequest{Amount: raisedAmount, Reason: "a\nb"}, t0,
			hold.InvalidField},
		"long reason": {h,
			hold.IncrementRequest{Amount: raisedAmount, Reason: strings.Repeat("a", 201)}, t0,
			hold.InvalidField},
		"due": {h,
			hold.IncrementRequest{Amount: raisedAmount}, t0.Add(time.Hour),
			hold.TooLate},
		"capture": {captured, hold.IncrementRequest{Amount: raisedAmount}, t0, hold.TooLate},
		"cancel": {canceled,
			hold.IncrementRequest{Amount: raisedAmount}, t0,
			hold.CancelAccepted},
		"another pending": {raise(t, h, t0),
			hold.IncrementRequest{Amount: raisedAmount + 1}, t0,
			hold.TooLate},
		"after the end": {newHold(t, heldIntent(raisable)),
			hold.IncrementRequest{Amount: raisedAmount}, t0.Add(7 * day),
			hold.AfterDeadline},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.h.RequestIncrement(c.req, "api", c.at, testRules)
			wantCode(t, err, c.code)
		})
	}
	for name, d := range map[string]func() (hold.Decision, error){
		"the same total": func() (hold.Decision, error) {
			return h.RequestIncrement(hold.IncrementRequest{Amount: amount}, "api", t0, testRules)
		},
		"the same request": func() (hold.Decision, error) {
			return raise(t, h, t0).RequestIncrement(hold.IncrementRequest{Amount: raisedAmount},
				"api", t0, testRules)
		},
	} {
		if d, err := d(); err != nil || !d.Unchanged {
			t.Errorf("%s: unchanged %t, %v", name, d.Unchanged, err)
		}
	}
}

func TestIncrement_OtherRequests(t *testing.T) {
	h := raise(t, newHold(t, heldIntent(raisable), withCaptureAt(t0.Add(day))), t0)
	_, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(t0.Add(2 * day)))}, "api", t0)
	wantCode(t, err, hold.TooLate)
	for name, do := range map[string]func() (hold.Decision, error){
		"capture": func() (hold.Decision, error) {
			return h.RequestCapture(hold.CaptureRequest{}, "api", t0)
		},
		"cancel": func() (hold.Decision, error) { return h.RequestCancel("", "api", t0) },
		"pause":  func() (hold.Decision, error) { return h.Pause(0, "api", t0) },
	} {
		d, err := do()
		if err != nil || d.Hold.Increment != (hold.PendingIncrement{}) ||
			!strings.HasPrefix(eventTypes(d), "hold.increment_failed not raised") {
			t.Errorf("%s: %v, %+v, %s", name, err, d.Hold.Increment, eventTypes(d))
		}
		_, err = hold.FindIncrementOutcomeInHistory(
			&d.Hold,
			raisedAmount,
			hold.LastIncrementRequestTime(&h),
		)
		wantCode(t, err, hold.TooLate)
	}
}

func TestIncrement_PausedHoldStaysPaused(t *testing.T) {
	paused := mustAccept(t)(newHold(t, heldIntent(raisable), withCaptureAt(t0.Add(time.Hour))).
		Pause(hold.CauseReview, "api", t0))
	h := raise(t, paused, t0.Add(2*time.Hour)) // its own time has passed
	for _, err := range []error{
		func() error { _, err := h.RequestCapture(hold.CaptureRequest{}, "api", t0); return err }(),
		func() error { _, err := h.Resume("api", t0); return err }(),
		func() error { _, err := h.Pause(0, "api", t0); return err }(),
	} {
		if err == nil {
			t.Error("accepted while the increment has no outcome")
		}
	}
	if m, ok := hold.MetadataDiff(&h, nil); !ok || m[hold.MetaPaused] != "true" {
		t.Errorf("the mirrored terms lack the pause: %v", m)
	}
	d, _ := drive(t, h, t0.Add(2*time.Hour), okAnswer(heldIntent(raisable, raised)))
	if d.Hold.State != hold.Paused || d.Hold.Reason != hold.CauseReview || d.Hold.NextOp != 0 {
		t.Errorf("%s (%s), next %s", d.Hold.State, d.Hold.Reason, d.Hold.NextOp)
	}
}

// An increment must not come in the way of a capture that is due, nor of
// on_expiry.
func TestIncrement_Until(t *testing.T) {
	own := t0.Add(3 * time.Minute)
	h := raise(t, newHold(t, heldIntent(raisable), withCaptureAt(own)), t0)
	if !h.Increment.Until.Equal(own) {
		t.Errorf("until %s, want the hold's own time %s", h.Increment.Until, own)
	}
	if op, at := hold.PlannedAction(&h, t0, testRules); op != hold.OpCapture || !at.Equal(own) {
		t.Errorf("the plan has %s at %s", op, at)
	}
	h = raise(t, newHold(t, heldIntent(raisable)), t0)
	if want := t0.Add(10 * time.Minute); !h.Increment.Until.Equal(want) {
		t.Errorf("until %s, want %s", h.Increment.Until, want)
	}
	act := h.ExpiresAt.Add(-testRules.ExpiryMargin)
	h = raise(t, newHold(t, heldIntent(raisable)), act.Add(-time.Minute))
	if !h.Increment.Until.Equal(act) {
		t.Errorf("until %s, want the time of on_expiry %s", h.Increment.Until, act)
	}
	d, _ := h.ApplyMilestone(act, act, testRules)
	if d.Hold.NextOp != hold.OpCancel || d.Hold.Reason != hold.CauseOnExpiry ||
		!slices.ContainsFunc(d.Events, func(e hold.Event) bool {
			return e.Type == hold.EventIncrementFailed && e.Cause == hold.CauseTooLate
		}) {
		t.Errorf("next %s (%s), %s", d.Hold.NextOp, d.Hold.Reason, eventTypes(d))
	}
}

// An increment that fails at the margin does not take the place of the warning
// that nothing else will happen.
func TestIncrement_FailsAtMarginWithoutAction(t *testing.T) {
	rules := testRules
	rules.Thresholds = []time.Duration{24 * time.Hour}
	h := newHold(t, heldIntent(raisable), withOnExpiry(hold.PolicyAlert))
	act := h.ExpiresAt.Add(-rules.ExpiryMargin)
	d, _ := raise(t, h, act.Add(-time.Minute)).ApplyMilestone(act, act, rules)
	want := []hold.Event{{Type: hold.EventIncrementFailed, Cause: hold.CauseTooLate},
		{Type: hold.EventExpiring, Cause: hold.CauseOnExpiry, Threshold: rules.ExpiryMargin}}
	for i := range d.Events {
		d.Events[i].Detail = ""
	}
	if !reflect.DeepEqual(d.Events, want) {
		t.Errorf("events %+v, want %+v", d.Events, want)
	}
}
