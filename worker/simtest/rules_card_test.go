package simtest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// authorizedIntents are the authorizations of each hold, by its number.
func (j *judge) authorizedIntents() map[int][]stripesim.Effect {
	placed := map[int][]stripesim.Effect{}
	for _, e := range j.sim.Ledger() {
		if e.Kind == stripesim.EffectAuthorized {
			in, _ := j.sim.Intent(e.Intent)
			n, _ := strconv.Atoi(in.Metadata["n"])
			placed[n] = append(placed[n], e)
		}
	}
	return placed
}

// cardHolds are the holds that holdd authorizes.
func (j *judge) cardHolds() (all []*plannedHold) {
	for i := range j.plan.holds {
		if h := &j.plan.holds[i]; h.intake == "card" && j.plan.intake.enabled {
			all = append(all, h)
		}
	}
	return all
}

func (j *judge) checkSingleAuthorization() {
	placed := j.authorizedIntents()
	for _, h := range j.cardHolds() {
		if n := len(placed[h.number]); n > 1 {
			j.fail("H%d: %d authorizations: %+v", h.number, n, placed[h.number])
		}
	}
}

// checkAuthorizationLock: without the lock a cardholder who clicks twice is
// answered a conflict.
func (j *judge) checkAuthorizationLock() {
	if !j.plan.intake.enabled || len(j.lostSpans) > 0 || !j.intakeObserved.redisEmptiedAt.IsZero() {
		return
	}
	for i, a := range j.world.stripeRequests {
		for _, b := range j.world.stripeRequests[:i] {
			alike := a.idempotencyKey == b.idempotencyKey &&
				(a.op == "create" || a.op == "confirm") && a.replyReceived && b.replyReceived
			if alike && a.sentAt.Before(b.answeredAt) && b.sentAt.Before(a.answeredAt) {
				j.fail("%s of %s with key %s at +%s, while %s does so since +%s", a.op, a.replica,
					shortenKey(a.idempotencyKey), j.since(a.sentAt), b.replica, j.since(b.sentAt))
			}
		}
	}
}

func (j *judge) checkAuthorizationAnswers() {
	placed := j.authorizedIntents()
	for _, h := range j.cardHolds() {
		for _, k := range j.intakeObserved.authorizations {
			if k.holdNumber == h.number && k.replyReceived {
				j.checkAuthorizationAnswer(h, k, placed[h.number])
			}
		}
	}
}

func (j *judge) checkAuthorizationAnswer(
	h *plannedHold, k *authorizationRequest, placed []stripesim.Effect,
) {
	if k.err == nil && k.result.Status == hold.AuthorizationDone &&
		(len(placed) == 0 || placed[0].Intent != k.result.PaymentIntent ||
			placed[0].Time.After(k.answeredAt)) {
		j.fail("H%d: answered authorized by %s, and it was not", h.number, k.result.PaymentIntent)
	}
	var p *hold.Problem
	if !errors.As(k.err, &p) {
		return
	}
	switch p.Code {
	case hold.CardDeclined:
		if p.Detail == "" || p.DeclineCode == "" {
			j.fail("H%d: declined without a reason to show: %v", h.number, k.err)
		}
	case hold.AuthorizationAbandoned:
		in, _ := j.sim.Intent(j.intentIDs[h.number])
		if len(placed) == 0 && j.redisTimeAt(k.answeredAt).Before(in.Created.Add(time.Hour)) &&
			!j.wasChangedInDashboard(in.ID) {
			j.fail("H%d: answered at +%s that it was not confirmed in time, and the cardholder's hour was not over", h.number, j.since(k.answeredAt))
		}
	case hold.OutcomeUnknown, hold.InProgress, hold.AuthorizationRefused,
		hold.AlreadyCaptured, hold.AlreadyCanceled,
		hold.AlreadyExpired, hold.InThePast, hold.AuthorizationNotFound:
	default:
		j.fail("H%d: answered %s: %v", h.number, p.Code, k.err)
	}
}

func (j *judge) wasChangedInDashboard(intent string) bool {
	for _, e := range j.sim.Ledger() {
		if e.Intent == intent && e.Actor == "dashboard" && e.Kind != stripesim.EffectAuthorized {
			return true
		}
	}
	return false
}

func (j *judge) checkAbandonedIntents() {
	if j.plan.jobInterval < 30*time.Second || len(j.lostSpans) > 0 {
		return
	}
	placed := j.authorizedIntents()
	for _, h := range j.cardHolds() {
		id := j.intentIDs[h.number]
		if id == "" || len(placed[h.number]) > 0 {
			continue
		}
		in, _ := j.sim.Intent(id)
		by := j.afterLastFault(j.fromRedisTime(in.Created.Add(62 * time.Minute))).Add(
			3*j.plan.pollInterval() + 2*time.Minute)
		if in.Status != "canceled" && by.Before(j.timeAt(j.elapsed())) {
			j.fail("H%d: the cardholder did not confirm it, and it is still %s", h.number,
				in.Status)
		}
	}
}

func (k *authorizationRequest) String() string {
	return fmt.Sprintf("%s %v", k.idempotencyKey, k.result.Status)
}
