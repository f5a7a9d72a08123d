package simtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// drawNearDeadline moves the time of some captures to about one run of the
// capture job before the deadline.
func (p *plan) drawNearDeadline() {
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "near deadline", fmt.Sprint(h.number))
		if h.action != "capture" || h.card != nil || h.amountError != 0 || h.expiryError != 0 ||
			!d.chance(0.04) {
			continue
		}
		before := d.durationBetween(time.Millisecond, 2*p.jobInterval)
		h.dueAt = (h.placedAt + h.authorizationWindow - before).Truncate(time.Millisecond)
	}
}

// leavesNoTime reports whether a capture at this time may come too late.
func (j *judge) leavesNoTime(captureAt, deadline time.Time) bool {
	return captureAt.After(deadline.Add(-j.plan.jobInterval))
}

func (j *judge) checkAcceptedInTime(c *judgedHold) {
	for _, k := range c.termsHistory.accepted {
		h := k.result
		sets := k.kind == "schedule" && h.Revision == 1 || k.kind == "patch capture_at"
		if !sets || !h.Verified && !c.declaresExpiry() || h.CaptureAt.IsZero() ||
			h.State != hold.Scheduled || h.Reason != hold.CauseSchedule ||
			!h.CaptureAt.After(j.redisTimeAt(k.answeredAt)) ||
			len(h.History) == 0 || len(j.redisClocks) > 1 {
			continue
		}
		if patched := h.History[len(h.History)-1]; patched.At.Before(
			j.redisTimeAt(k.sentAt).Truncate(time.Millisecond)) {
			continue // the same terms were accepted before
		}
		if j.leavesNoTime(h.CaptureAt, h.ExpiresAt) {
			j.failHold(c, "%s accepted for %s, %s before the deadline", k.kind,
				h.CaptureAt.Format(time.RFC3339Nano), h.ExpiresAt.Sub(h.CaptureAt))
		}
	}
}

func (j *judge) checkLateMetadata(c *judgedHold) {
	h, due := c.finalHold, j.timeAt(c.dueAt)
	if h == nil || c.intake != "metadata" || c.action != "capture" || c.invalidMetadata ||
		h.HistoryDropped > 0 || len(h.History) == 0 || c.lostWrites || len(j.lostSpans) > 0 ||
		!j.intakeObserved.redisEmptiedAt.IsZero() || len(j.intakeObserved.reviews[c.number]) > 0 ||
		len(j.intakeObserved.earlierDeadlines[c.number]) > 0 || len(j.redisClocks) > 1 {
		return
	}
	first := h.History[0]
	if !slices.Contains([]string{"stripe", "reconcile"}, first.By) ||
		!j.redisTimeAt(first.At).Before(due) ||
		!due.Before(c.deadline) || !j.leavesNoTime(due, c.deadline) {
		return
	}
	if !hasAttentionEvent(c.events) {
		j.failHold(c, "found at Stripe with a capture %s before the deadline, and no event "+
			"requires attention", c.deadline.Sub(due))
	}
}
