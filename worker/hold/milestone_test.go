package hold_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdd/holdd/worker/hold"
)

// deadlineCase is a hold that nobody works on: Stripe is away, or there is
// nothing to do, from t0 until after its deadline.
type deadlineCase struct {
	h         hold.Hold
	ownTime   string
	condition string
	rules     hold.DecisionRules
	deadline  time.Time
}

func drawDeadlineCase(t *rapid.T) deadlineCase {
	thresholds := [][]time.Duration{nil, {72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour},
		{30 * time.Minute}, {10 * time.Minute, 48 * time.Hour}}
	c := deadlineCase{
		rules: hold.DecisionRules{ExpiryMargin: rapid.SampledFrom([]time.Duration{0, time.Minute,
			time.Hour,
			12 * time.Hour}).Draw(t, "margin"),
			Thresholds: rapid.SampledFrom(thresholds).Draw(t, "thresholds")},
		deadline: t0.Add(
			time.Duration(rapid.IntRange(1, 30*24*60).Draw(
				t, "minutes to the deadline")) * time.Minute),
	}
	d := &hold.ValidRequest{ID: testIntentID, OnExpiry: rapid.SampledFrom(
		[]hold.ExpiryPolicy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert}).Draw(
		t, "policy")}
	c.ownTime = rapid.SampledFrom([]string{"none", "early", "inside", "beyond"}).Draw(t, "own time")
	switch c.ownTime {
	case "early":
		d.CaptureAt = t0.Add(-time.Minute)
	case "inside":
		d.CaptureAt = c.deadline.Add(-time.Second)
	case "beyond":
		d.CaptureAt = c.deadline.Add(10 * day)
	}
	var in *hold.PaymentIntent
	if c.ownTime != "beyond" {
		in = heldIntent(func(in *hold.PaymentIntent) { in.CaptureBefore = c.deadline })
	}
	created, err := hold.DecideNewHold(d, in, "api", t0)
	if err != nil {
		t.Fatal(err)
	}
	c.h = created.Hold
	c.h.ExpiresAt = c.deadline
	c.condition = rapid.SampledFrom([]string{"as it is", "paused", "attention", "ends too early",
		"cancel wanted"}).Draw(t, "state")
	switch c.condition {
	case "paused":
		p, err := c.h.Pause(0, "api", t0)
		if err != nil {
			t.Fatal(err)
		}
		c.h = p.Hold
	case "attention":
		c.h = c.h.ApplyIntentNotFound(t0).Hold
	case "ends too early":
		c.h.State, c.h.NextOp, c.h.NextAt, c.h.Reason = hold.Attention, 0,
			time.Time{}, hold.CauseAfterDeadline
	case "cancel wanted":
		p, err := c.h.RequestCancel("", "api", t0)
		if err != nil {
			t.Fatal(err)
		}
		c.h = p.Hold
	}
	return c
}

// wantPolicy is what the rules say the policy does with such a hold, as a plain
// list.
func (c *deadlineCase) wantPolicy() (op hold.Op, alerts bool) {
	p := c.h.OnExpiry
	switch {
	case c.condition == "cancel wanted":
		return 0, false // its wish stands
	case c.condition == "as it is" && (c.ownTime == "early" || c.ownTime == "inside"):
		return 0, false // its wish stands
	case c.condition == "attention":
		return 0, true // a person's
	case c.condition == "paused" && p == hold.PolicyCapture:
		return 0, true // somebody said no
	case p == hold.PolicyCancel:
		return hold.OpCancel, false
	case p == hold.PolicyCapture:
		return hold.OpCapture, false
	}
	return 0, true
}

func TestPassMilestone_RandomDeadlines(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawDeadlineCase(rt)
		h, r := c.h, c.rules
		first := (&hold.Decision{Hold: h, NewDeadline: true})
		due := first.SortedSetPlacement(&hold.Hold{}, t0, r).NextMilestone
		wantOp, wantAlert := c.wantPolicy()
		policyAt := c.deadline.Add(-r.ExpiryMargin)
		ackAt := t0.Add(40 * day)
		if rapid.Bool().Draw(rt, "acknowledged") {
			ackAt = t0.Add(
				time.Duration(rapid.IntRange(0, int(c.deadline.Sub(t0)/time.Minute)).Draw(
					rt, "acknowledged after")) * time.Minute)
		}
		now, acked := t0, false
		var thresholds []time.Duration
		arrived := time.Duration(0) // the nearest threshold that it arrives inside of
		for _, d := range r.Thresholds {
			if !c.deadline.Add(-d).After(t0) && (arrived == 0 || d < arrived) {
				arrived = d
			}
		}
		if arrived > 0 && due.After(t0) {
			rt.Fatalf("it arrives inside the threshold %v, and is looked at only at -%v",
				arrived, c.deadline.Sub(due))
		}
		var deadlineEvents, policyEvents int
		var op hold.Op
		inMargin, reads := false, 0
		for steps := 0; now.Before(c.deadline.Add(time.Hour)); steps++ {
			if steps > 5000 {
				rt.Fatal("milestones without end")
			}
			if due.IsZero() {
				rt.Fatalf("an open hold (%s) has no milestone ahead", h.State)
			}
			if !acked && due.After(ackAt) && !ackAt.Before(now) {
				now, acked = ackAt, true
				a, err := h.AcknowledgeWarnings("api", now)
				if err != nil {
					rt.Fatal(err)
				}
				h = a.Hold
				if p := a.SortedSetPlacement(&h, now, r); !p.KeepMilestone {
					due = p.NextMilestone
				}
			}
			now = laterOf(now, due)
			// The job is on time, or late.
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, 0, 300 * time.Millisecond,
				time.Minute, 3 * time.Hour, 30 * time.Hour}).Draw(rt, "late by"))
			if now.Before(c.deadline) && !now.Before(policyAt) {
				inMargin = true
			}
			previous := h
			ch, next := h.ApplyMilestone(due, now, r)
			if !next.After(now) {
				rt.Fatalf("next milestone %v lies behind %v", next, now)
			}
			if ch.Unchanged && !equalHolds(ch.Hold, previous) {
				rt.Fatal("Same, and changed")
			}
			for _, n := range ch.Events {
				switch {
				case n.Type != hold.EventExpiring:
					rt.Fatalf("notice %s", n.Type)
				case n.Cause == hold.CauseExpired:
					deadlineEvents++
				case n.Cause == hold.CauseOnExpiry:
					policyEvents++
				default:
					if acked {
						rt.Fatal("told after somebody said: I know")
					}
					if len(thresholds) > 0 && n.Threshold >= thresholds[len(thresholds)-1] {
						rt.Fatalf("threshold %v after %v", n.Threshold, thresholds)
					}
					if now.Before(c.deadline.Add(-n.Threshold)) {
						rt.Fatalf("threshold %v told too early", n.Threshold)
					}
					thresholds = append(thresholds, n.Threshold)
				}
			}
			if !ch.Unchanged {
				if !ch.NextStepNow || ch.Hold.NextOp == 0 || ch.Hold.NextAt.After(now) {
					rt.Fatalf("changed to %s next %s, not now", ch.Hold.State, ch.Hold.NextOp)
				}
				if previous.NextOp != 0 && previous.NextOp != hold.OpRead &&
					ch.Hold.NextOp != previous.NextOp && c.ownTime != "beyond" {
					rt.Fatalf("a wish to %s was turned into %s", previous.NextOp, ch.Hold.NextOp)
				}
				if ch.Hold.Reason == hold.CauseOnExpiry && previous.Reason != hold.CauseOnExpiry {
					if now.Before(policyAt) || !now.Before(c.deadline) {
						rt.Fatalf("the policy spoke at -%v", c.deadline.Sub(now))
					}
					op = ch.Hold.NextOp
				}
				if ch.Hold.NextOp == hold.OpRead {
					reads++
					if now.Before(c.deadline) {
						rt.Fatal("read before the deadline")
					}
				}
			}
			h, due = ch.Hold, next
		}
		if inMargin {
			if op != wantOp {
				rt.Fatalf("the policy %s made it %s, want %s", h.OnExpiry, op, wantOp)
			}
			if wantAlert && !acked && policyEvents == 0 {
				rt.Fatal("the policy has nothing to do, and nobody was told")
			}
		} else if op != 0 {
			rt.Fatalf("the policy acted outside its time: %s", op)
		}
		if policyEvents > 1 || policyEvents > 0 && !wantAlert {
			rt.Fatalf("told %d times that the policy's time has come", policyEvents)
		}
		if deadlineEvents != 1 {
			rt.Fatalf("told %d times that the deadline has passed", deadlineEvents)
		}
		// Beyond the deadline somebody looks, unless it is being acted on.
		acting := op != 0 || c.condition == "cancel wanted" || c.condition == "as it is" &&
			(c.ownTime == "early" || c.ownTime == "inside")
		if !acting && reads == 0 {
			rt.Fatalf("%s, and after the deadline nobody looks", h.State)
		}
		if acting && reads > 0 {
			rt.Fatal("what is being acted on was replaced by a read")
		}
	})
}

func TestPassMilestone_EachThresholdOnce(t *testing.T) {
	h := newHold(t, heldIntent())
	due := h.NextMilestone(t0, testRules)
	var got []time.Duration
	for due.Before(h.ExpiresAt.Add(time.Minute)) {
		c, next := h.ApplyMilestone(due, due, testRules)
		for _, n := range c.Events {
			got = append(got, n.Threshold)
		}
		if !c.Unchanged { // the policy has spoken; a worker tries, in vain
			h = c.Hold
		}
		due = next
	}
	want := []time.Duration{72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour, 0}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// A change inside the margin lets the policy act, and tells no threshold that
// was told before.
func TestPassMilestone_WarnsOncePerThreshold(t *testing.T) {
	for _, r := range []hold.DecisionRules{testRules, {ExpiryMargin: 12 * time.Hour,
		Thresholds: testRules.Thresholds}} {
		h := newHold(t, heldIntent(), withCaptureAt(t0.Add(7*day-time.Second)))
		inside := h.ExpiresAt.Add(-50 * time.Minute)
		c, err := h.Pause(0, "api", inside)
		if err != nil {
			t.Fatal(err)
		}
		due := c.SortedSetPlacement(&h, inside, r).NextMilestone
		if due.After(inside) {
			t.Fatalf("the policy's time is over, and it is looked at only at %s", due)
		}
		told, _ := c.Hold.ApplyMilestone(due, inside, r)
		if told.Hold.NextOp != hold.OpCancel || len(told.Events) != 0 {
			t.Errorf("margin %s: next %s, notices %v", r.ExpiryMargin,
				told.Hold.NextOp, told.Events)
		}
	}
}

// The threshold of an hour and on_expiry alert are at the same time. A change
// afterwards tells that on_expiry does nothing, and not the threshold again.
func TestPassMilestone_ThresholdAtTimeOfOnExpiryOnce(t *testing.T) {
	h := newHold(t, heldIntent(), withOnExpiry(hold.PolicyAlert),
		withCaptureAt(t0.Add(6*day)))
	at := h.ExpiresAt.Add(-time.Hour)
	first, _ := h.ApplyMilestone(at, at, testRules)
	if len(first.Events) != 1 || first.Events[0].Threshold != time.Hour {
		t.Fatalf("%+v", first.Events)
	}
	inside := at.Add(10 * time.Minute)
	for captureAt, want := range map[string]int{"": 1,
		inside.Add(time.Minute).Format(time.RFC3339): 0} {
		c, err := h.ApplyPatch(&hold.Patch{CaptureAt: &captureAt}, "api", inside)
		if err != nil {
			t.Fatal(err)
		}
		due := c.SortedSetPlacement(&h, inside, testRules).NextMilestone
		told, _ := c.Hold.ApplyMilestone(due, inside.Add(time.Second), testRules)
		if len(told.Events) != want {
			t.Errorf("capture at %q: %+v, want %d events", captureAt, told.Events, want)
		}
		for _, e := range told.Events {
			if e.Threshold == time.Hour || e.Cause != hold.CauseOnExpiry {
				t.Errorf("%+v", e)
			}
		}
	}
}

func TestPassMilestone_WaitsForWorker(t *testing.T) {
	h := holdInState(t, hold.Working)
	policyAt := h.ExpiresAt.Add(-time.Hour)
	c, next := h.ApplyMilestone(policyAt, policyAt, testRules)
	if !c.Unchanged || next.After(policyAt.Add(30*time.Second)) {
		t.Errorf("same %v, next in %v", c.Unchanged, next.Sub(policyAt))
	}
}

func TestPassMilestone_FinalHold(t *testing.T) {
	for _, s := range []hold.State{hold.Captured, hold.Canceled, hold.Expired} {
		h := holdInState(t, s)
		c, next := h.ApplyMilestone(h.ExpiresAt, h.ExpiresAt, testRules)
		if !c.Unchanged || !next.IsZero() || len(c.Events) > 0 {
			t.Errorf("%s: %+v %v", s, c, next)
		}
	}
}
