package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

const (
	cardholderPrefix = "cardholder "

	cardholderAuthenticates = cardholderPrefix + "authenticates"
	cardholderFails         = cardholderPrefix + "fails"  // at the bank, the first time
	cardholderGivesCard     = cardholderPrefix + "card"   // another one
	cardholderLeaves        = cardholderPrefix + "leaves" // closes the window of the bank

	cardholderPage = "https://pay.hotel.example/cardholder/t"
)

// cardholderAct is what a cardholder completed for a renewal.
type cardholderAct struct {
	at    time.Time
	other bool // another card was given
}

// drawCardholders lets the cardholders of some renewals open their link.
func (p *plan) drawCardholders(h *plannedHold, start time.Duration) {
	d := newRNG(p.seed, "cardholder", fmt.Sprint(h.number))
	if h.renewal.declines == "" || h.renewal.declines == "insufficient_funds" || !d.chance(0.7) {
		return
	}
	kinds := []string{cardholderGivesCard}
	if h.renewal.declines == "authentication_required" {
		kinds = append(kinds, cardholderAuthenticates, cardholderFails, cardholderLeaves)
	}
	end := h.placedAt + h.authorizationWindow
	h.actions = append(h.actions, plannedAction{number: 202, kind: pickOne(d, kinds...),
		at: max(h.scheduledAt+time.Second, d.durationBetween(start, start+(end-start)/2))})
	sortActions(h)
}

// visitPage does what a cardholder does on the page of a renewal, a few times
// while it does not work. A page that cannot be shown is loaded again.
func (w *world) visitPage(h *plannedHold, id string, a plannedAction) {
	fails := a.kind == cardholderFails
	for try := range 5 {
		d := newRNG(w.plan.seed, "visit", id, fmt.Sprint(a.number, try))
		time.Sleep(d.durationBetween(time.Second, 4*time.Second))
		rs := w.liveReplicas()
		if len(rs) == 0 {
			continue
		}
		r := rs[d.IntN(len(rs))]
		seen, now, err := r.Cardholder.ReadHold(w.ctx, id)
		if err != nil || seen.Renewal == nil {
			continue
		}
		status := hold.RenewalStatusForCardholder(&seen, seen.Renewal.Generation, now)
		var done bool
		switch {
		case status == hold.CardholderMustGiveCard || a.kind == cardholderGivesCard &&
			status == hold.CardholderMustAuthenticate:
			done = w.giveCard(r, &seen, h)
		case status == hold.CardholderMustAuthenticate:
			done = w.authenticate(r, &seen, h, fails, a.kind == cardholderLeaves)
			fails = false
		}
		w.trace.add(false, "people: %s of %s: status %d, done %v", a.kind, id, status, done)
		if done {
			return
		}
	}
}

// authenticate goes to the bank and back. It reports whether nothing is left to
// do.
func (w *world) authenticate(r *replica, h *hold.Hold, p *plannedHold, fails, leaves bool) bool {
	generation, intent := h.Renewal.Generation, h.Renewal.Intent
	page, err := r.Cardholder.StartAuthentication(w.ctx, h.ID, generation, cardholderPage+"/back")
	switch {
	case err != nil || page.Reveal() == "":
		return false
	case leaves:
		return true
	case fails:
		_ = w.sim.Dashboard().FailAction(intent) // or the renewal has ended meanwhile
	case w.sim.Dashboard().CompleteAction(intent) == nil:
		w.recordCardholderAct(p, false)
	}
	_ = r.Cardholder.RecordReturnAndWait(w.ctx, h.ID, generation, "") // the poll or an event shows it as well
	return !fails
}

// giveCard enters another card on Stripe's page.
func (w *world) giveCard(r *replica, h *hold.Hold, p *plannedHold) bool {
	generation := h.Renewal.Generation
	page, err := r.Cardholder.StartCardSetup(w.ctx, h.ID, generation,
		cardholderPage+"/back?session={CHECKOUT_SESSION_ID}", cardholderPage)
	if err != nil {
		return false
	}
	session := page.Reveal()[strings.LastIndex(page.Reveal(), "/")+1:]
	if _, err := w.sim.Cards.CompleteCardSetup(session, "pm_card_mastercard"); err != nil {
		return false
	}
	if err := r.Cardholder.RecordReturnAndWait(w.ctx, h.ID, generation, session); err == nil {
		w.recordCardholderAct(p, true)
	}
	return true
}

func (w *world) recordCardholderAct(h *plannedHold, other bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cardholderActs == nil {
		w.cardholderActs = map[int][]cardholderAct{}
	}
	w.cardholderActs[h.number] = append(w.cardholderActs[h.number], cardholderAct{time.Now(), other})
}

// checkCardholderActs: what the cardholder completed leads to a new authorization
// while nothing is wrong and nothing ends the hold.
func (j *judge) checkCardholderActs(l *longStay) {
	limit := j.actionTimeLimit() + time.Minute
	for _, act := range j.world.cardholderActs[l.number] {
		ended := slices.ContainsFunc(l.effects, func(e stripesim.Effect) bool {
			return endsHolding(&e) && e.Time.Before(act.at.Add(limit)) &&
				l.intents[e.Intent].Status != "canceled"
		})
		authorized := slices.ContainsFunc(l.effects, func(e stripesim.Effect) bool {
			return e.Kind == stripesim.EffectAuthorized && e.Intent != l.intentID &&
				!e.Time.Before(act.at.Add(-time.Minute)) && !e.Time.After(act.at.Add(limit))
		})
		undisturbed := len(l.termsHistory.accepted) == 1 &&
			len(l.termsHistory.indeterminate) == 0 && !l.dataLost && !l.lostWrites &&
			j.isFaultFree(act.at.Add(-limit), act.at.Add(limit)) &&
			!j.timeAt(l.policyDeadline.Sub(j.startedAt)).Before(act.at.Add(limit))
		if undisturbed && !ended && !authorized {
			j.failHold(l.judgedHold, "the cardholder acted at +%s (another card: %v), and nothing "+
				"was authorized by +%s", j.since(act.at), act.other, j.since(act.at.Add(limit)))
		}
	}
}

// gaveOtherCard reports whether the cardholder of a hold gave another card.
func (j *judge) gaveOtherCard(l *longStay) bool {
	return slices.ContainsFunc(j.world.cardholderActs[l.number],
		func(a cardholderAct) bool { return a.other })
}
