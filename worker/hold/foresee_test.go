package hold_test

import (
	"testing"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// What is foreseen is what comes: at the time foreseen the hold's own time is due, or its deadline's policy does that very thing.
func TestForesee(t *testing.T) {
	end := t0.Add(7 * day)
	act := end.Add(-time.Hour)
	set := func(state hold.State, why hold.Cause) func(*hold.Hold) {
		return func(h *hold.Hold) { h.State, h.Reason, h.NextOp, h.NextAt = state, why, 0, time.Time{} }
	}
	late := func(h *hold.Hold) { h.ExpiresAt = t0.Add(day) } // Stripe says that it ends before its own time
	none := time.Time{}
	for name, row := range map[string]struct {
		h    hold.Hold
		edit func(*hold.Hold)
		now  time.Time
		op   hold.Op
		at   time.Time
	}{
		"capture at its time":                    {made(t, held(), captureAt(t0.Add(2*day))), nil, t0, hold.OpCapture, t0.Add(2 * day)},
		"cancel at its time":                     {made(t, held(), cancelAt(t0.Add(2*day))), nil, t0, hold.OpCancel, t0.Add(2 * day)},
		"in the margin, its own time":            {made(t, held(), captureAt(end.Add(-time.Minute)), onExpiry(hold.PolicyCapture)), nil, t0, hold.OpCapture, end.Add(-time.Minute)},
		"overdue":                                {made(t, held(), captureAt(t0.Add(day))), nil, t0.Add(2 * day), hold.OpCapture, t0.Add(2 * day)},
		"under work":                             {claim(made(t, held(), captureAt(t0)), t0), nil, t0.Add(time.Second), hold.OpCapture, t0.Add(time.Second)},
		"waiting, let go":                        {made(t, held()), nil, t0, hold.OpCancel, act},
		"waiting, taken":                         {made(t, held(), onExpiry(hold.PolicyCapture)), nil, t0, hold.OpCapture, act},
		"waiting, told of":                       {made(t, held(), onExpiry(hold.PolicyAlert)), nil, t0, 0, none},
		"waiting, its policy is due":             {made(t, held()), nil, act.Add(time.Minute), hold.OpCancel, act.Add(time.Minute)},
		"past its deadline":                      {made(t, held()), nil, end.Add(time.Minute), 0, none},
		"paused, let go":                         {made(t, held()), set(hold.Paused, 0), t0, hold.OpCancel, act},
		"paused, not taken":                      {made(t, held(), onExpiry(hold.PolicyCapture)), set(hold.Paused, 0), t0, 0, none},
		"a person must look":                     {made(t, held()), set(hold.Attention, hold.CauseRefused), t0, 0, none},
		"a person must look, its time is late":   {made(t, held()), set(hold.Attention, hold.CauseAfterDeadline), t0, hold.OpCancel, act},
		"scheduled, its time is late":            {made(t, held(), captureAt(t0.Add(2*day))), late, t0, hold.OpCancel, t0.Add(23 * time.Hour)},
		"scheduled, its time is late, and taken": {made(t, held(), captureAt(t0.Add(2*day)), onExpiry(hold.PolicyCapture)), late, t0, hold.OpCapture, t0.Add(23 * time.Hour)},
		"captured":                               {made(t, held()), set(hold.Captured, 0), t0, 0, none},
	} {
		t.Run(name, func(t *testing.T) {
			h := row.h
			if row.edit != nil {
				row.edit(&h)
			}
			op, at := h.Forecast(row.now, rules)
			if op != row.op || !at.Equal(row.at) {
				t.Fatalf("%s at %s, want %s at %s", op, at, row.op, row.at)
			}
			if h.State == hold.Working || op != 0 && at.Equal(h.NextAt) || h.State.Final() || h.StateAt(row.now) == hold.Ready {
				return // its own time: the claim decides
			}
			when := at
			if op == 0 {
				when = h.ExpiresAt.Add(-rules.ExpiryMargin)
			}
			due := h.ExpiresAt.Add(-rules.ExpiryMargin)
			if row.now.After(h.ExpiresAt) {
				return
			}
			if c, _ := h.PassMilestone(due, when, rules); c.Unchanged != (op == 0) || !c.Unchanged && c.Hold.NextOp != op {
				t.Errorf("the policy did something else: %+v", c)
			}
		})
	}
}
