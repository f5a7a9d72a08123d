package simtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// plannedRenewal are the renewal terms of a hold, and what the bank of its saved
// card answers.
type plannedRenewal struct {
	until       time.Duration // zero: the hold is not renewed
	maxAmount   int64
	maxRenewals int64
	onFailure   string
	declines    string // code of the bank's declines, empty for none
	declineOnce bool
	// lacksFunds says that the card's credit is too low for two holds.
	lacksFunds, releaseFirst bool
}

func (r plannedRenewal) String() string {
	s := fmt.Sprintf(", renewed until +%s (at most %d, %d times, on_failure %s)",
		r.until.Round(time.Millisecond), r.maxAmount, r.maxRenewals, r.onFailure)
	if r.declines != "" {
		s += fmt.Sprintf(", declined with %s (once %v)", r.declines, r.declineOnce)
	}
	if r.lacksFunds {
		s += fmt.Sprintf(", lacks funds for two (release_first %v)", r.releaseFirst)
	}
	return s
}

// drawRenewals lets some holds outlast their authorization, and adds faults
// about the time of their first renewal.
func (p *plan) drawRenewals() {
	if !newRNG(p.seed, "renewals").chance(0.3) {
		return
	}
	quiet := newRNG(p.seed, "renewals in peace").chance(0.2)
	if quiet {
		p.faults = nil
	}
	for i := range p.holds {
		h := &p.holds[i]
		d := newRNG(p.seed, "renewal", fmt.Sprint(h.number))
		if h.intake != "" && h.intake != "inbox" || h.methodType != "" || h.multi ||
			h.amountError != 0 || h.expiryError != 0 || h.requestedAccount != "" || !d.chance(0.6) {
			continue
		}
		h.authorizationWindow = max(h.authorizationWindow, 5*p.expiryMargin+10*p.jobInterval)
		window := h.authorizationWindow
		h.renewal = plannedRenewal{until: h.placedAt + window + d.durationBetween(window/4, 2*window),
			maxAmount: h.amount + d.Int64N(h.amount), maxRenewals: pickOne(d, int64(0), 0, 0, 1, 2),
			onFailure: pickOne(d, "", "alert", "cancel", "capture")}
		if d.chance(0.2) {
			h.renewal.declines = pickOne(d, "insufficient_funds", "stolen_card",
				"authentication_required")
			h.renewal.declineOnce = d.chance(0.5)
		}
		h.declinesIncrement = false
		if h.action != "none" && d.chance(0.8) {
			h.dueAt = d.durationBetween(h.placedAt+window, h.renewal.until).Truncate(time.Millisecond)
		}
		// The first renewal begins at this time.
		start := h.placedAt + window - min(max(12*time.Hour, window/5), window/2)
		if quiet || d.chance(0.6) {
			h.actions = nil // they end most holds before
		}
		if quiet {
			p.drawCardholders(h, start)
			continue
		}
		if d.chance(0.3) {
			h.actions = append(h.actions, plannedAction{number: 200, kind: pickOne(d, "capture",
				"cancel", "pause", "patch policy", "dashboard capture", "dashboard cancel"),
				at:     max(h.scheduledAt+time.Millisecond, start+d.durationBetween(0, 8*time.Second)),
				amount: h.amount, newPolicy: "cancel"})
			if a := &h.actions[len(h.actions)-1]; a.kind != "dashboard capture" {
				a.amount = 0
			}
			sortActions(h)
		}
		if d := newRNG(p.seed, "replacement", fmt.Sprint(h.number)); d.chance(0.4) {
			h.actions = append(h.actions, plannedAction{number: 201, kind: "increment",
				at:        d.durationBetween(h.scheduledAt+time.Second, h.placedAt+window),
				amount:    h.amount + 1 + d.Int64N(h.renewal.maxAmount-h.amount+2), // rarely too much
				loseReply: d.chance(0.2)})
			sortActions(h)
		}
		p.drawCardholders(h, start)
		p.addRenewalFault(h, d, start)
	}
}

func sortActions(h *plannedHold) {
	slices.SortStableFunc(h.actions, func(a, b plannedAction) int { return int(a.at - b.at) })
}

// addRenewalFault may add a fault about the time at which a renewal begins.
func (p *plan) addRenewalFault(h *plannedHold, d rng, start time.Duration) {
	f := fault{number: 20_000 + h.number, replicaIndex: -1, probability: pickOne(d, 0.3, 0.6, 1),
		from: max(replicasUpAfter, start-time.Second),
		to:   start + p.jobInterval*2 + d.durationBetween(time.Second, 20*time.Second)}
	switch d.IntN(4) {
	case 0:
		f.kind, f.atCall = "stripe:"+pickOne(d, stripeFaults...), pickOne(d, "create", "confirm",
			"cancel", "")
	case 1:
		f.kind, f.atCall = "stripe:late", pickOne(d, "create", "confirm", "cancel")
	case 2:
		f.kind, f.atCall, f.afterEffect = "kill at", pickOne(d, "stripe", "commit"), d.chance(0.6)
		f.replicaIndex, f.restartAfter = d.IntN(p.replicas), d.durationBetween(time.Second,
			40*time.Second)
	default:
		return
	}
	p.faults = append(p.faults, f)
}

// renewalRequest returns the renewal terms of a hold, nil without any.
func (h *plannedHold) renewalRequest(w *world) *hold.RenewalRequest {
	r := &h.renewal
	if r.until == 0 {
		return nil
	}
	return &hold.RenewalRequest{Until: formatTime(w.timeAt(r.until)), MaxAmount: r.maxAmount,
		MaxRenewals: r.maxRenewals, OnFailure: r.onFailure,
		ReleaseFirst: r.releaseFirst}
}

// saveCard saves the card of a hold that is renewed.
func (w *world) saveCard(h *plannedHold, to *stripesim.Hold) {
	if h.renewal.until == 0 {
		return
	}
	var err error
	to.Customer, to.PaymentMethod, err = w.sim.Cards.SaveCard(h.account, "")
	if to.FutureUsage = "off_session"; err != nil {
		w.breach("world: %v", err)
	}
}

// setBank lets the bank of a saved card decline renewals.
func (w *world) setBank(h *plannedHold, card string) {
	w.setCredit(h, card)
	code := h.renewal.declines
	if code == "" {
		return
	}
	o := stripesim.CardOutcome{DeclineCode: code}
	if code == "authentication_required" {
		o = stripesim.CardOutcome{Code: code}
	}
	if h.renewal.declineOnce {
		o.Times = 1
	}
	if err := w.sim.Cards.SetCardOutcomes(card, o); err != nil {
		w.breach("world: %v", err)
	}
}

// authorizationWindow is how long an authorization lasts. Those of one hold last
// equally long.
func (w *world) authorizationWindow(c stripesim.Card) time.Duration {
	if _, ok := methodWindows[c.PaymentMethodType]; ok {
		return stripesim.DefaultAuthorizationWindow(c)
	}
	if of, ok := w.windows.Load(c.Metadata[hold.MetaHold]); ok {
		return of.(time.Duration)
	}
	d, _ := time.ParseDuration(c.Metadata["life"])
	return d
}

// ownerOf returns the hold that a request is for.
func (w *world) ownerOf(rec *stripeRequest) string {
	if id, _, ok := strings.Cut(strings.TrimPrefix(rec.idempotencyKey, "holdd-"), "-renew-"); ok {
		return id
	}
	if in, ok := w.sim.Intent(rec.intent); ok && in.Metadata[hold.MetaHold] != "" {
		return in.Metadata[hold.MetaHold]
	}
	return rec.intent
}
