package hold_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdd/holdd/worker/hold"
)

// deadlineCase is a hold that nobody works on: Stripe is away, or there is nothing to do, from t0 until after its deadline.
type deadlineCase struct {
	h    hold.Hold
	own  string
	st   string
	r    hold.Rules
	ends time.Time
}

func drawDeadline(t *rapid.T) deadlineCase {
	thresholds := [][]time.Duration{nil, {72 * time.Hour, 24 * time.Hour, 6 * time.Hour, time.Hour}, {30 * time.Minute}, {10 * time.Minute, 48 * time.Hour}}
	c := deadlineCase{
		r: hold.Rules{ExpiryMargin: rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, 12 * time.Hour}).Draw(t, "margin"),
			Thresholds: rapid.SampledFrom(thresholds).Draw(t, "thresholds")},
		ends: t0.Add(time.Duration(rapid.IntRange(1, 30*24*60).Draw(t, "minutes to the deadline")) * time.Minute),
	}
	d := &hold.Draft{ID: pi, OnExpiry: rapid.SampledFrom([]hold.Policy{hold.PolicyCancel, hold.PolicyCapture, hold.PolicyAlert}).Draw(t, "policy")}
	c.own = rapid.SampledFrom([]string{"none", "early", "inside", "beyond"}).Draw(t, "own time")
	switch c.own {
	case "early":
		d.CaptureAt = t0.Add(-time.Minute)
	case "inside":
		d.CaptureAt = c.ends.Add(-time.Second)
	case "beyond":
		d.CaptureAt = c.ends.Add(10 * day)
	}
	var in *hold.Intent
	if c.own != "beyond" {
		in = held(func(in *hold.Intent) { in.CaptureBefore = c.ends })
	}
	made, err := hold.New(d, in, "api", t0)
	if err != nil {
		t.Fatal(err)
	}
	c.h = made.Hold
	c.h.ExpiresAt = c.ends
	c.st = rapid.SampledFrom([]string{"as it is", "paused", "attention", "ends too early", "cancel wanted"}).Draw(t, "state")
	switch c.st {
	case "paused":
		p, err := c.h.Pause(0, "api", t0)
		if err != nil {
			t.Fatal(err)
		}
		c.h = p.Hold
	case "attention":
		c.h = c.h.ApplyNotFound(t0).Hold
	case "ends too early":
		c.h.State, c.h.NextOp, c.h.NextAt, c.h.Reason = hold.Attention, 0, time.Time{}, hold.CauseAfterDeadline
	case "cancel wanted":
		p, err := c.h.RequestCancel("api", t0)
		if err != nil {
			t.Fatal(err)
		}
		c.h = p.Hold
	}
	return c
}

// says is what the rules say the policy does with such a hold, as a plain list.
func (c *deadlineCase) says() (op hold.Op, told bool) {
	p := c.h.OnExpiry
	switch {
	case c.st == "cancel wanted":
		return 0, false // its wish stands
	case c.st == "as it is" && (c.own == "early" || c.own == "inside"):
		return 0, false // its wish stands
	case c.st == "attention":
		return 0, true // a person's
	case c.st == "paused" && p == hold.PolicyCapture:
		return 0, true // somebody said no
	case p == hold.PolicyCancel:
		return hold.OpCancel, false
	case p == hold.PolicyCapture:
		return hold.OpCapture, false
	}
	return 0, true
}

func TestDeadlines(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawDeadline(rt)
		h, r := c.h, c.r
		first := (&hold.Decision{Hold: h, NewDeadline: true})
		due := first.Placement(&hold.Hold{}, t0, r).NextMilestone
		wantOp, wantTold := c.says()
		act := c.ends.Add(-r.ExpiryMargin)
		ackAt := t0.Add(40 * day)
		if rapid.Bool().Draw(rt, "acknowledged") {
			ackAt = t0.Add(time.Duration(rapid.IntRange(0, int(c.ends.Sub(t0)/time.Minute)).Draw(rt, "acknowledged after")) * time.Minute)
		}
		now, acked := t0, false
		var thresholds []time.Duration
		arrived := time.Duration(0) // the nearest threshold that it arrives inside of
		for _, d := range r.Thresholds {
			if !c.ends.Add(-d).After(t0) && (arrived == 0 || d < arrived) {
				arrived = d
			}
		}
		if arrived > 0 && due.After(t0) {
			rt.Fatalf("it arrives inside the threshold %v, and is looked at only at -%v", arrived, c.ends.Sub(due))
		}
		var lapsed, policyTold int
		var op hold.Op
		inMargin, looked := false, 0
		for steps := 0; now.Before(c.ends.Add(time.Hour)); steps++ {
			if steps > 5000 {
				rt.Fatal("milestones without end")
			}
			if due.IsZero() {
				rt.Fatalf("an open hold (%s) has no milestone ahead", h.State)
			}
			if !acked && due.After(ackAt) && !ackAt.Before(now) {
				now, acked = ackAt, true
				a, err := h.Acknowledge("api", now)
				if err != nil {
					rt.Fatal(err)
				}
				h = a.Hold
				if p := a.Placement(&h, now, r); !p.KeepMilestone {
					due = p.NextMilestone
				}
			}
			now = later(now, due)
			// The job is on time, or late.
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, 0, 300 * time.Millisecond, time.Minute, 3 * time.Hour, 30 * time.Hour}).Draw(rt, "late by"))
			if now.Before(c.ends) && !now.Before(act) {
				inMargin = true
			}
			was := h
			ch, next := h.PassMilestone(due, now, r)
			if !next.After(now) {
				rt.Fatalf("next milestone %v lies behind %v", next, now)
			}
			if ch.Unchanged && !same(ch.Hold, was) {
				rt.Fatal("Same, and changed")
			}
			for _, n := range ch.Events {
				switch {
				case n.Type != hold.EventExpiring:
					rt.Fatalf("notice %s", n.Type)
				case n.Cause == hold.CauseExpired:
					lapsed++
				case n.Cause == hold.CauseOnExpiry:
					policyTold++
				default:
					if acked {
						rt.Fatal("told after somebody said: I know")
					}
					if len(thresholds) > 0 && n.Threshold >= thresholds[len(thresholds)-1] {
						rt.Fatalf("threshold %v after %v", n.Threshold, thresholds)
					}
					if now.Before(c.ends.Add(-n.Threshold)) {
						rt.Fatalf("threshold %v told too early", n.Threshold)
					}
					thresholds = append(thresholds, n.Threshold)
				}
			}
			if !ch.Unchanged {
				if !ch.Again || ch.Hold.NextOp == 0 || ch.Hold.NextAt.After(now) {
					rt.Fatalf("changed to %s next %s, not now", ch.Hold.State, ch.Hold.NextOp)
				}
				if was.NextOp != 0 && was.NextOp != hold.OpRead && ch.Hold.NextOp != was.NextOp && c.own != "beyond" {
					rt.Fatalf("a wish to %s was turned into %s", was.NextOp, ch.Hold.NextOp)
				}
				if ch.Hold.Reason == hold.CauseOnExpiry && was.Reason != hold.CauseOnExpiry {
					if now.Before(act) || !now.Before(c.ends) {
						rt.Fatalf("the policy spoke at -%v", c.ends.Sub(now))
					}
					op = ch.Hold.NextOp
				}
				if ch.Hold.NextOp == hold.OpRead {
					looked++
					if now.Before(c.ends) {
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
			if wantTold && !acked && policyTold == 0 {
				rt.Fatal("the policy has nothing to do, and nobody was told")
			}
		} else if op != 0 {
			rt.Fatalf("the policy acted outside its time: %s", op)
		}
		if policyTold > 1 || policyTold > 0 && !wantTold {
			rt.Fatalf("told %d times that the policy's time has come", policyTold)
		}
		if lapsed != 1 {
			rt.Fatalf("told %d times that the deadline has passed", lapsed)
		}
		// Beyond the deadline somebody looks, unless it is being acted on.
		acting := op != 0 || c.st == "cancel wanted" || c.st == "as it is" && (c.own == "early" || c.own == "inside")
		if !acting && looked == 0 {
			rt.Fatalf("%s, and after the deadline nobody looks", h.State)
		}
		if acting && looked > 0 {
			rt.Fatal("what is being acted on was replaced by a read")
		}
	})
}

func TestThresholdsOnTimeAreEachToldOnce(t *testing.T) {
	h := made(t, held())
	due := h.NextMilestone(t0, rules)
	var got []time.Duration
	for due.Before(h.ExpiresAt.Add(time.Minute)) {
		c, next := h.PassMilestone(due, due, rules)
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

// A change inside the margin lets the policy act, and tells no threshold that was told before.
func TestMilestone_ThresholdIsToldOnceThoughTheHoldChanges(t *testing.T) {
	for _, r := range []hold.Rules{rules, {ExpiryMargin: 12 * time.Hour, Thresholds: rules.Thresholds}} {
		h := made(t, held(), captureAt(t0.Add(7*day-time.Second)))
		inside := h.ExpiresAt.Add(-50 * time.Minute)
		c, err := h.Pause(0, "api", inside)
		if err != nil {
			t.Fatal(err)
		}
		due := c.Placement(&h, inside, r).NextMilestone
		if due.After(inside) {
			t.Fatalf("the policy's time is over, and it is looked at only at %s", due)
		}
		told, _ := c.Hold.PassMilestone(due, inside, r)
		if told.Hold.NextOp != hold.OpCancel || len(told.Events) != 0 {
			t.Errorf("margin %s: next %s, notices %v", r.ExpiryMargin, told.Hold.NextOp, told.Events)
		}
	}
}

func TestPolicyWaitsForAWorker(t *testing.T) {
	h := inState(t, hold.Working)
	act := h.ExpiresAt.Add(-time.Hour)
	c, next := h.PassMilestone(act, act, rules)
	if !c.Unchanged || next.After(act.Add(30*time.Second)) {
		t.Errorf("same %v, next in %v", c.Unchanged, next.Sub(act))
	}
}

func TestAFinalHoldHasNoMilestone(t *testing.T) {
	for _, s := range []hold.State{hold.Captured, hold.Canceled, hold.Expired} {
		h := inState(t, s)
		c, next := h.PassMilestone(h.ExpiresAt, h.ExpiresAt, rules)
		if !c.Unchanged || !next.IsZero() || len(c.Events) > 0 {
			t.Errorf("%s: %+v %v", s, c, next)
		}
	}
}
