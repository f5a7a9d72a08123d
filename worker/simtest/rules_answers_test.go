package simtest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

func (j *judge) checkAlreadySettledAnswers(c *judgedHold) {
	if c.hasWrongAccount() {
		return
	}
	kinds :=
		map[hold.ProblemCode]stripesim.EffectKind{hold.AlreadyCaptured: stripesim.EffectCaptured,
			hold.AlreadyCanceled: stripesim.EffectCanceled,
			hold.AlreadyExpired:  stripesim.EffectExpired}
	for _, k := range c.apiRequests {
		var p *hold.Problem
		if !k.replyReceived || !errors.As(k.err, &p) || kinds[p.Code] == "" {
			continue
		}
		if !slices.ContainsFunc(c.effects, func(e stripesim.Effect) bool {
			return e.Kind == kinds[p.Code] && !e.Time.After(k.answeredAt)
		}) {
			j.failHold(c, "%s was answered %s before it was so", k.kind, p.Code)
		}
	}
}

func (j *judge) checkRevisionMismatches(c *judgedHold) {
	if c.hasWrongAccount() {
		return
	}
	for i, a := range c.apiRequests {
		var p *hold.Problem
		if a.revision == 0 || !a.replyReceived || !errors.As(a.err, &p) ||
			p.Code != hold.RevisionMismatch ||
			c.finalHold == nil || j.lostRedisWrites(a.sentAt.Add(-time.Minute), a.answeredAt) {
			continue
		}
		others := slices.ContainsFunc(c.finalHold.History, func(e hold.HistoryEntry) bool {
			return e.By != "people" && !e.At.Before(a.sentAt.Add(-time.Second)) &&
				!e.At.After(a.answeredAt)
		})
		for k, b := range c.apiRequests {
			others = others || k != i && b.sentAt.Before(a.answeredAt) &&
				(b.answeredAt.IsZero() || b.answeredAt.After(a.sentAt.Add(-time.Second)) ||
					b.isOutcomeUnknown())
		}
		if !others && c.finalHold.HistoryDropped == 0 {
			j.failHold(c, "%s at +%s was rejected because of itself: %v", a.kind,
				j.since(a.sentAt), a.err)
		}
	}
}

func (j *judge) checkRepeatedRequests(c *judgedHold) {
	if c.hasWrongAccount() {
		return
	}
	for _, a := range c.termsHistory.accepted {
		for _, b := range c.apiRequests {
			if a.kind != "schedule" || b.kind != "schedule" || !a.answeredAt.Before(b.sentAt) ||
				b.isAccepted() ||
				b.isOutcomeUnknown() || j.lostRedisWrites(a.sentAt, b.answeredAt) {
				continue
			}
			var p *hold.Problem
			if errors.As(b.err, &p) && p.Code == hold.AmountTooLarge && c.partsAt(b.answeredAt) > 0 {
				continue // Redis was emptied, and another system has left less than the fee
			}
			if !errors.As(b.err, &p) || p.Code != hold.HoldExists && p.Code != hold.InThePast {
				j.failHold(c, "scheduled at +%s, the same request at +%s was rejected: %v",
					j.since(a.answeredAt), j.since(b.answeredAt), b.err)
			}
		}
	}
}

func (j *judge) checkAcceptedCancels(c *judgedHold) {
	if c.hasWrongAccount() {
		return
	}
	for _, a := range c.termsHistory.accepted {
		for _, b := range c.termsHistory.accepted {
			wants := strings.HasPrefix(b.kind, "capture") || strings.HasPrefix(b.kind, "patch c")
			if a.kind == "cancel" && wants && b.sentAt.After(a.answeredAt) &&
				!j.lostRedisWrites(a.sentAt, b.answeredAt) {
				j.failHold(c, "%s was accepted at +%s, after the cancel at +%s", b.kind,
					j.since(b.answeredAt), j.since(a.answeredAt))
			}
		}
	}
}

func (j *judge) checkAnsweredRevisions(c *judgedHold) {
	if c.hasWrongAccount() {
		return
	}
	for i, a := range c.apiRequests {
		if !a.isAccepted() || j.lostRedisWrites(a.sentAt, a.answeredAt) {
			continue
		}
		if t := j.intakeObserved.redisEmptiedAt; !t.IsZero() && a.sentAt.Before(t) {
			continue // revisions begin at 1 again
		}
		if c.finalHold != nil && a.result.Revision > c.finalHold.Revision {
			j.failHold(c, "revision %d was answered, at the end it is %d",
				a.result.Revision, c.finalHold.Revision)
		}
		if a.result.State.IsFinal() && c.finalHold != nil && a.result.State != c.finalHold.State {
			j.failHold(c, "%s was answered, at the end it is %s", a.result.State, c.finalHold.State)
		}
		for _, b := range c.apiRequests[i+1:] {
			if !b.isAccepted() || j.lostRedisWrites(b.sentAt, b.answeredAt) ||
				j.lostRedisWrites(a.answeredAt, b.sentAt) {
				continue
			}
			if a.answeredAt.Before(b.sentAt) && b.result.Revision < a.result.Revision {
				j.failHold(c, "revision %d was answered after %d",
					b.result.Revision, a.result.Revision)
			}
			if a.result.Revision == b.result.Revision && a.result.Version == b.result.Version &&
				!sameTerms(&a.result, &b.result) {
				j.failHold(c, "two answers of revision %d have different terms", a.result.Revision)
			}
		}
	}
}

func sameTerms(a, b *hold.Hold) bool {
	return a.State == b.State && a.CaptureAt.Equal(b.CaptureAt) && a.CancelAt.Equal(b.CancelAt) &&
		a.CaptureAmount == b.CaptureAmount && a.OnExpiry == b.OnExpiry &&
		a.CaptureParams.Equal(&b.CaptureParams) &&
		a.CancelWanted == b.CancelWanted && a.NextOp == b.NextOp
}

func (j *judge) checkConfirmRejections(c *judgedHold) {
	for _, k := range c.apiRequests {
		var p *hold.Problem
		if !k.replyReceived || !errors.As(k.err, &p) || p.Code != hold.WouldCancelNow &&
			p.Code != hold.WouldCaptureNow {
			continue
		}
		if k.confirm {
			j.failHold(c, "%s at +%s was confirmed, and rejected: %v", k.kind,
				j.since(k.sentAt), k.err)
		}
		if early := p.Deadline.Add(-j.plan.expiryMargin); j.redisTimeAt(k.answeredAt).Before(
			early) && len(j.redisClocks) == 1 {
			j.failHold(c, "%s at +%s was rejected before the margin: %v", k.kind,
				j.since(k.sentAt), k.err)
		}
	}
}

// endedUnconfirmed reports whether the policy ended the hold though no request
// had confirm.
func (j *judge) endedUnconfirmed(c *judgedHold) bool {
	if c.intake == "inbox" && !c.unconfirmed {
		return false // the entry had confirm
	}
	for _, k := range c.apiRequests {
		if k.confirm {
			return false
		}
	}
	return c.finalHold != nil && c.finalHold.Reason == hold.CauseOnExpiry &&
		(c.finalHold.State == hold.Captured || c.finalHold.State == hold.Canceled) &&
		len(j.lostSpans) == 0 && len(j.redisClocks) == 1
}

func (j *judge) checkConfirmOfNewHold(c *judgedHold) {
	if !j.endedUnconfirmed(c) {
		return
	}
	if act := c.finalHold.ExpiresAt.Add(-j.plan.expiryMargin); !c.finalHold.CreatedAt.Before(act) {
		j.failHold(c, "it was scheduled after its policy's time, without confirm, and is %s",
			c.finalHold.State)
	}
}

func (j *judge) checkConfirmOfChanges(c *judgedHold) {
	if !j.endedUnconfirmed(c) {
		return
	}
	for _, e := range c.events {
		if e.Type != hold.EventChanged && e.Type != hold.EventPaused &&
			e.Type != hold.EventResumed && e.Type != hold.EventScheduled {
			continue
		}
		// Well inside the margin the policy has acted, or has nothing to do. If
		// it acts after a change, the change made it act.
		act := e.Data.Hold.ExpiresAt.Add(-j.plan.expiryMargin)
		if i := slices.IndexFunc(c.finalHold.History, func(h hold.HistoryEntry) bool {
			return h.Kind == hold.HistoryTriggered && h.Cause == hold.CauseOnExpiry &&
				!h.At.Before(e.Timestamp)
		}); i > 0 && !j.redisTimeAt(e.Timestamp).Before(
			act.Add(2*j.plan.jobInterval+3*time.Second)) &&
			j.isFaultFree(e.Timestamp.Add(-time.Minute), e.Timestamp) &&
			e.Data.Hold.State == "waiting" {
			j.failHold(c, "%s at +%s made its policy act at once, without confirm",
				e.Type, j.since(e.Timestamp))
		}
	}
}
