package simtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// terms are the terms of a hold as its callers know them. They follow from the
// requests and the answers alone.
type terms struct {
	scheduled          bool
	captureAt          time.Time
	cancelAt           time.Time
	captureAmount      int64
	params             stripesim.CaptureDetails
	onExpiry           string
	paused             bool
	captureRequestedAt time.Time // asked for, zero if not
	cancelRequestedAt  time.Time
	cancelReason       string // that a cancel request named
}

func (t terms) String() string {
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format("02 15:04:05.000")
	}
	return fmt.Sprintf(
		"{scheduled %v, capture_at %s, cancel_at %s, part %d, %+v, %s, paused %v, capture asked for %s, cancel asked for %s}",
		t.scheduled, clock(t.captureAt), clock(t.cancelAt), t.captureAmount, t.params, t.onExpiry,
		t.paused,
		clock(t.captureRequestedAt), clock(t.cancelRequestedAt))
}

// apply returns the terms after a request was accepted.
func (t terms) apply(c *apiRequest) terms {
	switch {
	case schedulingKinds[c.kind]:
		if t.scheduled {
			return t // the same again changes nothing
		}
		t = terms{scheduled: true, captureAmount: c.schedule.CaptureAmount,
			params:   captureDetails(&c.schedule.CaptureParams),
			onExpiry: cmp.Or(c.schedule.OnExpiry, "cancel"), paused: c.pausedAtStripe}
		t.captureAt, t.cancelAt = parseTime(c.schedule.CaptureAt), parseTime(c.schedule.CancelAt)
	case c.kind == "patch amount":
		t.captureAmount = *c.patch.CaptureAmount
	case c.kind == "patch fee":
		t.params.ApplicationFeeAmount = *c.patch.ApplicationFeeAmount
	case c.kind == "patch policy":
		t.onExpiry = *c.patch.OnExpiry
	case strings.HasPrefix(c.kind, "patch"), c.kind == "clear":
		before := t
		if c.patch.CaptureAt != nil {
			t.captureAt = parseTime(*c.patch.CaptureAt)
			if !t.captureAt.IsZero() {
				t.cancelAt = time.Time{}
			}
		}
		if c.patch.CancelAt != nil {
			t.cancelAt = parseTime(*c.patch.CancelAt)
			if !t.cancelAt.IsZero() {
				t.captureAt = time.Time{}
			}
		}
		t.paused = t.paused && !c.attentionCleared
		// A new time takes the place of "now", and so does none after a capture that
		// Stripe refused.
		if t.captureAt != before.captureAt || t.cancelAt != before.cancelAt ||
			c.result.State == hold.Waiting || c.result.State == 0 {
			t.captureRequestedAt = time.Time{}
		}
	case c.kind == "capture", c.kind == "capture part":
		t.captureRequestedAt = c.sentAt
		if c.amount > 0 {
			t.captureAmount = c.amount
		}
	case c.kind == "cancel":
		t.cancelRequestedAt, t.cancelReason = c.sentAt, cmp.Or(c.reason, t.cancelReason)
	case c.kind == "pause":
		t.paused, t.captureRequestedAt = true, time.Time{}
	case c.kind == "resume":
		t.paused = false
	}
	return t
}

func parseTime(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s)
	return t.Truncate(time.Millisecond)
}

// termsHistory is how the terms of one hold came about.
type termsHistory struct {
	accepted      []*apiRequest // in the order of their revisions
	indeterminate []*apiRequest // with an unknown outcome

	redisEmptiedAt time.Time     // when Redis lost everything
	beforeEmptied  *termsHistory // until then
}

// possibleTermsAt are all terms that may have held at a time: those of the
// accepted requests, with each choice of the indeterminate ones.
func (v *termsHistory) possibleTermsAt(now time.Time) (all []terms) {
	switch {
	case v.beforeEmptied == nil || now.After(v.redisEmptiedAt.Add(45*time.Second)):
		return v.possibleTermsSinceEmptied(now)
	case now.Before(v.redisEmptiedAt):
		return v.beforeEmptied.possibleTermsAt(now)
	}
	// what was on its way has its effect yet
	return append(v.beforeEmptied.possibleTermsSinceEmptied(now),
		v.possibleTermsSinceEmptied(now)...)
}

// acceptedRequestsAt are the accepted requests since Redis was last emptied
// before a time.
func (v *termsHistory) acceptedRequestsAt(at time.Time) []*apiRequest {
	if v.beforeEmptied != nil && at.Before(v.redisEmptiedAt) {
		return v.beforeEmptied.accepted
	}
	return v.accepted
}

// possibleTermsSinceEmptied is possibleTermsAt without the requests from before
// Redis was emptied.
func (v *termsHistory) possibleTermsSinceEmptied(now time.Time) (all []terms) {
	var list []*apiRequest
	var indeterminate []bool
	for _, c := range v.accepted {
		if !c.answeredAt.After(now) {
			list, indeterminate = append(list, c), append(indeterminate, false)
		} else if !c.sentAt.After(now) {
			list, indeterminate = append(list, c), append(indeterminate, true)
		}
	}
	for _, c := range v.indeterminate {
		if !c.sentAt.After(now) {
			// Its place among the others is unknown: where it was asked for,
			// most likely.
			i := slices.IndexFunc(list, func(d *apiRequest) bool {
				return d.sentAt.After(c.sentAt)
			})
			if i < 0 {
				i = len(list)
			}
			list, indeterminate = slices.Insert(list, i, c), slices.Insert(indeterminate, i, true)
		}
	}
	all = []terms{{}}
	for i, c := range list {
		if !indeterminate[i] {
			for k := range all {
				all[k] = all[k].apply(c)
			}
			continue
		}
		for _, t := range all[:min(len(all), 64)] {
			if u := t.apply(c); !slices.Contains(all, u) {
				all = append(all, u)
			}
		}
	}
	return all
}

// mayCapture reports whether these terms allow a capture at a time. clock is
// Redis' clock then, which decides what is due. deadline is the nearest at
// which the policy may act.
func (t *terms) mayCapture(now, clock, deadline time.Time, margin time.Duration) bool {
	switch {
	case !t.scheduled || !t.cancelRequestedAt.IsZero() && !t.cancelRequestedAt.After(now):
		return false
	case !t.captureRequestedAt.IsZero() && !t.captureRequestedAt.After(now):
		return true
	case t.paused:
		return false
	case !t.captureAt.IsZero() && !t.captureAt.After(clock):
		return true
	}
	return t.onExpiry == "capture" && t.cancelAt.IsZero() && !clock.Before(deadline.Add(-margin))
}

// mayCancel is mayCapture for a cancel. nearest is the nearest deadline that
// holdd can have known.
func (t *terms) mayCancel(now, clock, nearest, deadline time.Time, margin time.Duration) bool {
	switch {
	case !t.scheduled:
		return false
	case !t.cancelRequestedAt.IsZero() && !t.cancelRequestedAt.After(now):
		return true
	case !t.cancelAt.IsZero() && !t.cancelAt.After(clock) && !t.paused:
		return true
	}
	// The policy acts on holds without an action of their own. It never
	// replaces an action by its opposite.
	hasOwnAction := !t.captureRequestedAt.IsZero() || !t.captureAt.IsZero() && !t.paused &&
		t.captureAt.Before(nearest)
	return t.onExpiry == "cancel" && !hasOwnAction && !clock.Before(deadline.Add(-margin))
}
