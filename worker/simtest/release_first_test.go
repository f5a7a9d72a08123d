package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// drawReleaseFirst lets some cards lack funds for two holds of their amount. Most
// of these renewals may release the old authorization first.
func (p *plan) drawReleaseFirst() {
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "release first", fmt.Sprint(h.number))
		raised := slices.ContainsFunc(h.actions, func(a plannedAction) bool {
			return a.kind == "increment"
		})
		if h.renewal.until == 0 || raised || h.renewal.declines != "" || !d.chance(0.25) {
			continue
		}
		h.renewal.lacksFunds, h.renewal.releaseFirst = true, d.chance(0.8)
	}
}

// setCredit limits the credit of a card that lacks funds for two holds.
func (w *world) setCredit(h *plannedHold, card string) {
	if !h.renewal.lacksFunds {
		return
	}
	if err := w.sim.Cards.SetCardCredit(card, 2*h.amount-1); err != nil {
		w.breach("world: %v", err)
	}
}

// isReleasedFirst reports whether holdd released an authorization so that its
// renewal could be confirmed. The hold goes on.
func (j *judge) isReleasedFirst(l *longStay, e *stripesim.Effect) bool {
	return e.Kind == stripesim.EffectCanceled && isByHoldd(*e) &&
		slices.ContainsFunc(j.world.stripeRequests, func(r *stripeRequest) bool {
			return r.caused(e) &&
				strings.Contains(r.idempotencyKey, "-release-first-")
		})
}

// checkReleasedFirst judges releases of an authorization before the new one
// holds the money: only the term allows them, and the new one follows at once.
func (j *judge) checkReleasedFirst(l *longStay) {
	for i := range l.effects {
		e := &l.effects[i]
		if !j.isReleasedFirst(l, e) {
			continue
		}
		if !l.renewal.releaseFirst {
			j.failHold(l.judgedHold, "%s is released at +%s before its renewal, which no term allows",
				e.Intent, j.since(e.Time))
		}
		limit := e.Time.Add(j.actionTimeLimit() + time.Minute)
		followed := slices.ContainsFunc(l.effects[i+1:], func(next stripesim.Effect) bool {
			return next.Kind == stripesim.EffectAuthorized && !next.Time.After(limit)
		})
		ended := l.finalHold == nil || l.finalHold.State == hold.Canceled
		over := j.timeAt(j.elapsed()).Before(limit)
		if !followed && !ended && !over && !l.dataLost && j.isFaultFree(e.Time, limit) {
			j.failHold(l.judgedHold, "nothing is held after the release of %s at +%s", e.Intent,
				j.since(e.Time))
		}
	}
}
