package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// stagedHold is a hold that is captured in parts.
type stagedHold struct {
	*judgedHold
	captures  []*stripesim.Effect // by holdd
	disturbed bool                // requests or another system changed what happens to it
	dataLost  bool                // Redis lost data while the hold was open
}

// forStagedHolds returns a check of the run that checks each hold that is
// captured in parts.
func forStagedHolds(check func(*judge, *stagedHold)) func(*judge) {
	return func(j *judge) {
		for _, s := range j.stagedHolds {
			check(j, s)
		}
	}
}

func (j *judge) findStagedHolds(holds []*judgedHold) (all []*stagedHold) {
	for _, c := range holds {
		s := &stagedHold{judgedHold: c,
			dataLost: len(j.lostSpans) > 0 || !j.intakeObserved.redisEmptiedAt.IsZero()}
		for i := range c.effects {
			if e := &c.effects[i]; isByHoldd(*e) && e.Kind == stripesim.EffectCaptured {
				s.captures = append(s.captures, e)
			}
		}
		harmless := []string{"schedule", "again", "part", "acknowledge", "patch policy"}
		s.disturbed = slices.ContainsFunc(c.actions, func(a plannedAction) bool {
			return strings.HasPrefix(a.kind, "dashboard")
		}) || slices.ContainsFunc(c.apiRequests, func(k *apiRequest) bool {
			return !slices.Contains(harmless, k.kind)
		})
		all = append(all, s)
	}
	return all
}

// wasRequestedBy reports whether a request of a kind may have been accepted
// before a time.
func (s *stagedHold) wasRequestedBy(at time.Time, kind string) bool {
	return slices.ContainsFunc(s.apiRequests, func(k *apiRequest) bool {
		return k.kind == kind && !k.sentAt.After(at) && (k.isAccepted() || k.isOutcomeUnknown())
	})
}

// mayCaptureAll reports whether something else than a stage or a part may capture
// at a time: the hold's own time, a request, or the policy.
func (j *judge) mayCaptureAll(s *stagedHold, e *stripesim.Effect) bool {
	clock := j.latestRedisTimeUntil(e.Time)
	own := s.action == "capture" && len(s.staged.stages) == 0 &&
		!j.timeAt(s.dueAt).After(clock)
	policy := s.onExpiry == "capture" || slices.ContainsFunc(s.actions, func(a plannedAction) bool {
		return a.kind == "patch policy" && a.newPolicy == "capture"
	})
	return own || s.wasRequestedBy(e.Time, "capture") ||
		s.wasRequestedBy(e.Time, "patch capture_at") ||
		policy && !clock.Before(s.policyDeadline.Add(-j.plan.expiryMargin))
}

// grantedTotal is the most that all captures may have taken at an effect.
func (j *judge) grantedTotal(s *stagedHold, e *stripesim.Effect) (sum int64) {
	if j.mayCaptureAll(s, e) && len(s.staged.stages) > 0 {
		return s.staged.total()
	}
	if j.mayCaptureAll(s, e) {
		return s.authorizedTotalAt(e.Time)
	}
	for _, stage := range s.staged.stages {
		if !j.timeAt(stage.at).Truncate(time.Millisecond).After(j.latestRedisTimeUntil(e.Time)) {
			sum += stage.amount
		}
	}
	granted := map[string]bool{}
	for _, k := range s.apiRequests {
		if k.kind == "part" && !k.sentAt.After(e.Time) && !granted[k.requestKey] &&
			(k.isAccepted() || k.isOutcomeUnknown()) {
			granted[k.requestKey] = true
			sum += k.amount
		}
	}
	return sum
}

// takenByForgottenRequests is what captures took until a time whose answers did
// not arrive, if Redis lost writes. Redis may have forgotten such a request while it
// was on its way. If its caller repeats it after another part, it has another key.
func (s *stagedHold) takenByForgottenRequests(until time.Time) (sum int64) {
	if !s.lostWrites {
		return 0
	}
	for _, e := range s.captures {
		if !e.Time.After(until) && slices.ContainsFunc(s.stripeRequests, func(r *stripeRequest) bool {
			return r.caused(e) && !r.replyReceived
		}) {
			sum += e.Amount
		}
	}
	return sum
}

// checkStagedTotal judges each capture by holdd: with what holdd had taken
// before, it takes no more than the stages and parts that were due.
func (j *judge) checkStagedTotal(s *stagedHold) {
	own, accepted := int64(0), time.Time{}
	if k := s.termsHistory.accepted; len(k) > 0 {
		accepted = k[0].answeredAt // the plan has no part of what was captured before it
	}
	for _, e := range s.captures {
		own += e.Amount
		early, _ := j.partsKnownBetween(s.judgedHold, e)
		others := int64(0)
		for i := range s.effects {
			if o := &s.effects[i]; o.Kind == stripesim.EffectCaptured && !isByHoldd(*o) &&
				!o.Time.After(early) && o.Time.After(accepted) && !s.lostWrites && len(s.staged.stages) > 0 {
				others += o.Amount
			}
		}
		if most := j.grantedTotal(s, e) + s.takenByForgottenRequests(e.Time); own+others > most {
			j.failHold(s.judgedHold, "%d are captured at +%s, and %d by another system before: at "+
				"most %d were due", own, j.since(e.Time), others, most)
		}
	}
}

// checkStagesOnce judges holds that nothing disturbs: their captures are their
// stages in turn, each at its time.
func (j *judge) checkStagesOnce(s *stagedHold) {
	if s.disturbed || s.dataLost || len(s.staged.stages) == 0 {
		return
	}
	for i, e := range s.captures {
		switch {
		case j.mayCaptureAll(s, e): // it takes what is left of the plan
		case i >= len(s.staged.stages):
			j.failHold(s.judgedHold, "%d captures of %d stages: %+v", len(s.captures),
				len(s.staged.stages), s.effects)
		case e.Amount != s.staged.stages[i].amount ||
			e.Final != (i == len(s.staged.stages)-1):
			j.failHold(s.judgedHold, "capture %d takes %d (final %v): %s", i, e.Amount, e.Final,
				s.staged)
		}
	}
}

// checkStagesInTime: a stage whose time no fault touches is captured then.
func (j *judge) checkStagesInTime(s *stagedHold) {
	limit := j.actionTimeLimit() + time.Minute
	if s.disturbed || s.dataLost || len(s.termsHistory.accepted) == 0 ||
		hasAttentionEvent(s.events) || j.plan.redisClockAhead != 0 {
		return
	}
	for i, stage := range s.staged.stages {
		at := j.timeAt(stage.at)
		if at.Before(s.termsHistory.accepted[0].answeredAt) || at.Add(limit).After(s.deadline) ||
			!j.isFaultFree(j.startedAt, at.Add(limit)) {
			continue
		}
		if i >= len(s.captures) || s.captures[i].Time.After(at.Add(limit)) {
			j.failHold(s.judgedHold, "stage %d of +%s was not captured by +%s", i, stage.at,
				j.since(at.Add(limit)))
		}
	}
}

// checkParts: a part is captured once for each request, and an accepted one is
// captured.
func (j *judge) checkParts(s *stagedHold) {
	if len(s.staged.stages) > 0 || s.dataLost {
		return
	}
	for _, a := range s.actions {
		if a.kind != "part" {
			continue
		}
		n, accepted := 0, false
		for _, e := range s.captures {
			if !e.Final && e.Amount == a.amount {
				n++
			}
		}
		for _, k := range s.apiRequests {
			accepted = accepted || k.kind == "part" && k.amount == a.amount && k.isAccepted()
		}
		same := 0
		for _, b := range s.actions {
			if b.kind == "part" && b.amount == a.amount {
				same++
			}
		}
		switch {
		case n > same:
			j.failHold(s.judgedHold, "a part of %d was requested %d times and captured %d times",
				a.amount, same, n)
		case n == 0 && accepted && !s.disturbed && !hasAttentionEvent(s.events) &&
			a.amount < s.amount && s.intent.Status == "succeeded" && !s.intent.Expired &&
			s.finalHold != nil && s.finalHold.Reason != hold.CauseExpired:
			j.failHold(s.judgedHold, "a part of %d was accepted and never captured: %+v", a.amount,
				s.effects)
		}
	}
}

// checkPartsMetadata compares the metadata that the captures wrote with what they
// took. A request that Redis forgot may write last what was true when it left.
func (j *judge) checkPartsMetadata(s *stagedHold) {
	if s.takenByForgottenRequests(j.timeAt(j.elapsed())) > 0 {
		return
	}
	count, sum := 0, int64(0)
	for _, e := range s.captures {
		if !e.Final {
			count, sum = count+1, sum+e.Amount
		}
	}
	got := s.intent.Metadata[hold.MetaParts]
	want := fmt.Sprintf("%d %d", sum, count)
	if count == 0 {
		want = ""
	}
	if got != want && !strings.HasPrefix(got, want+" ") {
		j.failHold(s.judgedHold, "the metadata says parts of %q, want %q", got, want)
	}
}

func (j *judge) checkStagedCancel(s *stagedHold) {
	for _, e := range s.captures {
		for _, k := range s.termsHistory.acceptedRequestsAt(e.Time) {
			if k.kind == "cancel" && k.answeredAt.Before(e.Time) && !s.lostWrites && !s.dataLost {
				j.failHold(s.judgedHold, "captured at +%s, a cancel was accepted at +%s",
					j.since(e.Time), j.since(k.answeredAt))
			}
		}
	}
}

// checkStagedReported compares the end that holdd reports with Stripe, and the
// events of parts with the captures.
func (j *judge) checkStagedReported(s *stagedHold) {
	h := s.finalHold
	switch {
	case h == nil:
		if len(s.termsHistory.accepted) > 0 && !s.dataLost {
			j.failHold(s.judgedHold, "it was scheduled, and is gone")
		}
		return
	case !h.State.IsFinal():
		if !j.isAwaitingOperator(s.judgedHold) {
			j.failHold(s.judgedHold, "still %s (next %s at +%s, %s)", h.State, h.NextOp,
				j.since(h.NextAt), h.Reason)
		}
		return
	case s.intent.Status == "succeeded" && (h.State != hold.Captured ||
		h.CapturedAmount != s.intent.Received):
		j.failHold(s.judgedHold, "holdd says %s of %d, Stripe says %d", h.State, h.CapturedAmount,
			s.intent.Received)
	case s.intent.Status == "canceled" && h.State == hold.Captured:
		j.failHold(s.judgedHold, "holdd says captured, Stripe says canceled")
	}
	parts, told := int64(0), int64(0)
	for _, e := range s.captures {
		if !e.Final {
			parts += e.Amount
		}
	}
	for _, e := range s.events {
		if e.Type == hold.EventPartlyCaptured {
			told += e.Data.Amount
		}
	}
	if !s.disturbed && !s.dataLost && !s.lostWrites && !hasAttentionEvent(s.events) &&
		told != parts {
		j.failHold(s.judgedHold, "events tell of parts of %d, and %d were captured in parts", told,
			parts)
	}
}
