package simtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// terms are what a hold's people have agreed on with holdd, as far as they can know. They are worked out from the wishes and the answers alone.
type terms struct {
	scheduled  bool
	captureAt  time.Time
	cancelAt   time.Time
	part       int64
	policy     string
	paused     bool
	captureNow time.Time // asked for, zero if not
	cancelNow  time.Time
}

func (t terms) String() string {
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format("02 15:04:05.000")
	}
	return fmt.Sprintf("{scheduled %v, capture_at %s, cancel_at %s, part %d, %s, paused %v, capture asked for %s, cancel asked for %s}",
		t.scheduled, clock(t.captureAt), clock(t.cancelAt), t.part, t.policy, t.paused, clock(t.captureNow), clock(t.cancelNow))
}

// after is the terms once a wish is granted.
func (t terms) after(c *call) terms {
	switch {
	case seedKinds[c.kind]:
		if t.scheduled {
			return t // the same again changes nothing
		}
		t = terms{scheduled: true, part: c.wish.CaptureAmount, policy: cmp.Or(c.wish.OnExpiry, "cancel"), paused: c.paused}
		t.captureAt, t.cancelAt = parse(c.wish.CaptureAt), parse(c.wish.CancelAt)
	case c.kind == "patch amount":
		t.part = *c.patch.CaptureAmount
	case c.kind == "patch policy":
		t.policy = *c.patch.OnExpiry
	case strings.HasPrefix(c.kind, "patch"), c.kind == "clear":
		was := t
		if c.patch.CaptureAt != nil {
			t.captureAt = parse(*c.patch.CaptureAt)
			if !t.captureAt.IsZero() {
				t.cancelAt = time.Time{}
			}
		}
		if c.patch.CancelAt != nil {
			t.cancelAt = parse(*c.patch.CancelAt)
			if !t.cancelAt.IsZero() {
				t.captureAt = time.Time{}
			}
		}
		t.paused = t.paused && !c.lifted
		if t.captureAt != was.captureAt || t.cancelAt != was.cancelAt {
			t.captureNow = time.Time{} // a new time takes the place of "now"
		}
	case c.kind == "capture", c.kind == "capture part":
		t.captureNow = c.begin
		if c.amount > 0 {
			t.part = c.amount
		}
	case c.kind == "cancel":
		t.cancelNow = c.begin
	case c.kind == "pause":
		t.paused, t.captureNow = true, time.Time{}
	case c.kind == "resume":
		t.paused = false
	}
	return t
}

func parse(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t.Truncate(time.Millisecond)
}

// wished is how the terms of one hold came about.
type wished struct {
	sure   []*call // granted, in the order of their revisions
	unsure []*call // perhaps granted

	emptied time.Time // when Redis lost everything
	before  *wished   // until then
}

// at are all the terms that may have held at a moment: what was granted by then for sure, with each choice of what may have been.
func (v *wished) at(now time.Time) (all []terms) {
	switch {
	case v.before == nil || now.After(v.emptied.Add(45*time.Second)):
		return v.since(now)
	case now.Before(v.emptied):
		return v.before.at(now)
	}
	return append(v.before.since(now), v.since(now)...) // what was on its way has its effect yet
}

// granted are the wishes that stood for sure in the life that a moment belongs to.
func (v *wished) granted(at time.Time) []*call {
	if v.before != nil && at.Before(v.emptied) {
		return v.before.sure
	}
	return v.sure
}

// since is at, of the life that began when Redis was emptied, or of the only one.
func (v *wished) since(now time.Time) (all []terms) {
	var list []*call
	var maybe []bool
	for _, c := range v.sure {
		if !c.end.After(now) {
			list, maybe = append(list, c), append(maybe, false)
		} else if !c.begin.After(now) {
			list, maybe = append(list, c), append(maybe, true)
		}
	}
	for _, c := range v.unsure {
		if !c.begin.After(now) {
			// Where among the others it happened nobody knows: where it was asked for, most likely.
			i := slices.IndexFunc(list, func(d *call) bool { return d.begin.After(c.begin) })
			if i < 0 {
				i = len(list)
			}
			list, maybe = slices.Insert(list, i, c), slices.Insert(maybe, i, true)
		}
	}
	all = []terms{{}}
	for i, c := range list {
		if !maybe[i] {
			for k := range all {
				all[k] = all[k].after(c)
			}
			continue
		}
		for _, t := range all[:min(len(all), 64)] {
			if u := t.after(c); !slices.Contains(all, u) {
				all = append(all, u)
			}
		}
	}
	return all
}

// mayCapture says whether these terms allow a capture at a moment. clock is what Redis' clock shows then, by which times and deadlines are
// kept; deadline is the nearest by which the policy may act.
func (t *terms) mayCapture(now, clock, deadline time.Time, margin time.Duration) bool {
	switch {
	case !t.scheduled || !t.cancelNow.IsZero() && !t.cancelNow.After(now):
		return false
	case !t.captureNow.IsZero() && !t.captureNow.After(now):
		return true
	case t.paused:
		return false
	case !t.captureAt.IsZero() && !t.captureAt.After(clock):
		return true
	}
	return t.policy == "capture" && t.cancelAt.IsZero() && !clock.Before(deadline.Add(-margin))
}

// mayCancel is the same of a cancel. nearest is the nearest deadline that holdd can have known of.
func (t *terms) mayCancel(now, clock, nearest, deadline time.Time, margin time.Duration) bool {
	switch {
	case !t.scheduled:
		return false
	case !t.cancelNow.IsZero() && !t.cancelNow.After(now):
		return true
	case !t.cancelAt.IsZero() && !t.cancelAt.After(clock) && !t.paused:
		return true
	}
	// The policy speaks for holds that would otherwise just sit there: it turns no wish into its opposite.
	stands := !t.captureNow.IsZero() || !t.captureAt.IsZero() && !t.paused && t.captureAt.Before(nearest)
	return t.policy == "cancel" && !stands && !clock.Before(deadline.Add(-margin))
}
