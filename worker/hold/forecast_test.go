package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// What is foreseen is what comes: at the time foreseen the hold's own time is
// due, or its deadline's policy does that very thing.
func TestForecast(t *testing.T) {
	end := t0.Add(7 * day)
	policyAt := end.Add(-time.Hour)
	set := func(state hold.State, reason hold.Cause) func(*hold.Hold) {
		return func(h *hold.Hold) { h.State, h.Reason, h.NextOp, h.NextAt = state, reason, 0, time.Time{} }
	}
	// Stripe says that it ends before its own time
	endsBeforeOwnTime := func(h *hold.Hold) { h.ExpiresAt = t0.Add(day) }
	noTime := time.Time{}
	for name, tt := range map[string]struct {
		h    hold.Hold
		edit func(*hold.Hold)
		now  time.Time
		op   hold.Op
		at   time.Time
	}{
		"capture at its time":                    {newHold(t, heldIntent(), withCaptureAt(t0.Add(2*day))), nil, t0, hold.OpCapture, t0.Add(2 * day)},
		"cancel at its time":                     {newHold(t, heldIntent(), withCancelAt(t0.Add(2*day))), nil, t0, hold.OpCancel, t0.Add(2 * day)},
		"in the margin, its own time":            {newHold(t, heldIntent(), withCaptureAt(end.Add(-time.Minute)), withOnExpiry(hold.PolicyCapture)), nil, t0, hold.OpCapture, end.Add(-time.Minute)},
		"overdue":                                {newHold(t, heldIntent(), withCaptureAt(t0.Add(day))), nil, t0.Add(2 * day), hold.OpCapture, t0.Add(2 * day)},
		"under work":                             {claimHold(newHold(t, heldIntent(), withCaptureAt(t0)), t0), nil, t0.Add(time.Second), hold.OpCapture, t0.Add(time.Second)},
		"waiting, let go":                        {newHold(t, heldIntent()), nil, t0, hold.OpCancel, policyAt},
		"waiting, taken":                         {newHold(t, heldIntent(), withOnExpiry(hold.PolicyCapture)), nil, t0, hold.OpCapture, policyAt},
		"waiting, told of":                       {newHold(t, heldIntent(), withOnExpiry(hold.PolicyAlert)), nil, t0, 0, noTime},
		"waiting, its policy is due":             {newHold(t, heldIntent()), nil, policyAt.Add(time.Minute), hold.OpCancel, policyAt.Add(time.Minute)},
		"past its deadline":                      {newHold(t, heldIntent()), nil, end.Add(time.Minute), 0, noTime},
		"paused, let go":                         {newHold(t, heldIntent()), set(hold.Paused, 0), t0, hold.OpCancel, policyAt},
		"paused, not taken":                      {newHold(t, heldIntent(), withOnExpiry(hold.PolicyCapture)), set(hold.Paused, 0), t0, 0, noTime},
		"a person must look":                     {newHold(t, heldIntent()), set(hold.Attention, hold.CauseRefused), t0, 0, noTime},
		"a person must look, its time is late":   {newHold(t, heldIntent()), set(hold.Attention, hold.CauseAfterDeadline), t0, hold.OpCancel, policyAt},
		"scheduled, its time is late":            {newHold(t, heldIntent(), withCaptureAt(t0.Add(2*day))), endsBeforeOwnTime, t0, hold.OpCancel, t0.Add(23 * time.Hour)},
		"scheduled, its time is late, and taken": {newHold(t, heldIntent(), withCaptureAt(t0.Add(2*day)), withOnExpiry(hold.PolicyCapture)), endsBeforeOwnTime, t0, hold.OpCapture, t0.Add(23 * time.Hour)},
		"captured":                               {newHold(t, heldIntent()), set(hold.Captured, 0), t0, 0, noTime},
	} {
		t.Run(name, func(t *testing.T) {
			h := tt.h
			if tt.edit != nil {
				tt.edit(&h)
			}
			op, at := hold.PlannedAction(&h, tt.now, testRules)
			if op != tt.op || !at.Equal(tt.at) {
				t.Fatalf("%s at %s, want %s at %s", op, at, tt.op, tt.at)
			}
			if h.State == hold.Working || op != 0 && at.Equal(h.NextAt) || h.State.IsFinal() ||
				h.StateWithDueAsReady(tt.now) == hold.Ready {
				return // its own time: the claim decides
			}
			actsAt := at
			if op == 0 {
				actsAt = h.ExpiresAt.Add(-testRules.ExpiryMargin)
			}
			due := h.ExpiresAt.Add(-testRules.ExpiryMargin)
			if tt.now.After(h.ExpiresAt) {
				return
			}
			if c, _ := h.ApplyMilestone(due, actsAt, testRules); c.Unchanged != (op == 0) ||
				!c.Unchanged && c.Hold.NextOp != op {
				t.Errorf("the policy did something else: %+v", c)
			}
		})
	}
}
