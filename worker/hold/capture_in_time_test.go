package hold_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

var timeRules = hold.DecisionRules{ExpiryMargin: time.Hour, CaptureInterval: time.Second}

func TestCaptureAt_NearTheDeadline(t *testing.T) {
	end := t0.Add(5 * day)
	in := heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = end })
	for name, tt := range map[string]struct {
		at   time.Time
		code hold.ProblemCode // of the refusal
		warn bool
	}{
		"before the margin":  {end.Add(-time.Hour - time.Millisecond), "", false},
		"at the margin":      {end.Add(-time.Hour), "", false},
		"within the margin":  {end.Add(-time.Hour + time.Millisecond), "", true},
		"one run before":     {end.Add(-time.Second), "", true},
		"less than one run":  {end.Add(-time.Second + time.Millisecond), hold.AfterDeadline, false},
		"just before":        {end.Add(-time.Millisecond), hold.AfterDeadline, false},
		"at the deadline":    {end, hold.AfterDeadline, false},
		"after the deadline": {end.Add(time.Second), hold.AfterDeadline, false},
	} {
		requests := map[string]func() (hold.Decision, error){
			"new": func() (hold.Decision, error) {
				d, err := hold.DecideNewHold(&hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel,
					CaptureAt: tt.at}, in, "api", t0)
				if err != nil {
					return d, err
				}
				return d.RefuseIfCaptureTooLate(&hold.Hold{}, t0, timeRules)
			},
			"patch": func() (hold.Decision, error) {
				h := newHold(t, in)
				d, err := h.ApplyPatch(&hold.Patch{CaptureAt: ptr(formatTime(tt.at))}, "api", t0)
				if err != nil {
					return d, err
				}
				return d.RefuseIfCaptureTooLate(&h, t0, timeRules)
			},
		}
		for request, decide := range requests {
			d, err := decide()
			wantCode(t, err, tt.code)
			var p *hold.Problem
			if errors.As(err, &p) {
				if p.Field != "capture_at" || !p.Deadline.Equal(end) {
					t.Errorf("%s, %s: %+v", name, request, p)
				}
				continue
			}
			warnings := hold.TermsWarnings(&d.Hold, t0, timeRules)
			if (len(warnings) == 1) != tt.warn {
				t.Errorf("%s, %s: warnings %+v", name, request, warnings)
			}
			for _, w := range warnings {
				if w.Code != hold.NearDeadline || w.Field != "capture_at" ||
					!w.Deadline.Equal(end) {
					t.Errorf("%s, %s: %+v", name, request, w)
				}
			}
		}
	}
}

func TestCaptureAt_NowIsAcceptedUntilTheDeadline(t *testing.T) {
	end := t0.Add(500 * time.Millisecond)
	in := heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = end })
	d, err := hold.DecideNewHold(&hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyAlert, CaptureAt: t0}, in,
		"api", t0)
	if err == nil {
		_, err = d.RefuseIfCaptureTooLate(&hold.Hold{}, t0, timeRules)
	}
	wantCode(t, err, "")
}

func TestCaptureAt_UnchangedByAPatchStays(t *testing.T) {
	end := t0.Add(5 * day)
	h := newHold(t, heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = end }),
		withCaptureAt(end.Add(-time.Millisecond)))
	d, err := h.ApplyPatch(&hold.Patch{Reference: ptr("BK-9")}, "api", t0)
	if err == nil {
		_, err = d.RefuseIfCaptureTooLate(&h, t0, timeRules)
	}
	wantCode(t, err, "")
}

func TestCaptureAt_TooLateByALearnedDeadline(t *testing.T) {
	end := t0.Add(5 * day)
	in := heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = end })
	late, early := end.Add(-time.Millisecond), end.Add(-time.Second)
	recovered := func(at time.Time) hold.Decision {
		d, err := hold.DecideNewHold(&hold.ValidRequest{ID: testIntentID, OnExpiry: hold.PolicyCancel, CaptureAt: at,
			FromMetadata: true}, in, "stripe", t0)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, tt := range map[string]struct {
		before hold.Hold
		d      hold.Decision
		want   hold.State
	}{
		"unverified, verified now": {newHold(t, nil, withCaptureAt(late)),
			newHold(t, nil, withCaptureAt(late)).ApplyPaymentIntent(in, t0), hold.Attention},
		"unverified, in time": {newHold(t, nil, withCaptureAt(early)),
			newHold(t, nil, withCaptureAt(early)).ApplyPaymentIntent(in, t0), hold.Scheduled},
		"metadata":          {hold.Hold{}, recovered(late), hold.Attention},
		"metadata, in time": {hold.Hold{}, recovered(early), hold.Scheduled},
		"verified before": {newHold(t, in, withCaptureAt(late)),
			newHold(t, in, withCaptureAt(late)).ApplyPaymentIntent(in, t0), hold.Scheduled},
	} {
		tt.d.RequireAttentionIfCaptureTooLate(&tt.before, t0, timeRules)
		if tt.d.Hold.State != tt.want {
			t.Errorf("%s: %s, want %s", name, tt.d.Hold.State, tt.want)
		}
		last := hold.Event{}
		if n := len(tt.d.Events); n > 0 {
			last = tt.d.Events[n-1]
		}
		if attention := last.Type == hold.EventAttention &&
			last.Cause == hold.CauseAfterDeadline; attention != (tt.want == hold.Attention) {
			t.Errorf("%s: events %v", name, tt.d.Events)
		}
	}
	unverified := newHold(t, nil, withCaptureAt(late))
	if w := hold.TermsWarnings(&unverified, t0,
		hold.DecisionRules{ExpiryMargin: 30 * day}); w != nil {
		t.Errorf("a warning by an assumed deadline: %v", w)
	}
}
