package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// amountSums are amounts of one currency, in minor units. authorized = captured
// + released + expired + held.
type amountSums struct {
	authorized, captured, released, expired, held int64
}

func (s amountSums) balanced() bool {
	return s.authorized == s.captured+s.released+s.expired+s.held
}

func (s *amountSums) add(t amountSums) {
	s.authorized += t.authorized
	s.captured += t.captured
	s.released += t.released
	s.expired += t.expired
	s.held += t.held
}

// audit compares the hotel's books, which know only what holdd's log said, with
// Stripe's ledger, hold by hold.
type audit struct {
	holddTotals, stripeTotals map[string]amountSums // by currency
	differences               []string
	// ended at Stripe, and holdd was stopped before it could have read it
	notYetRead []string
	// PaymentIntents that are not the hotel's, or that others changed the
	// amount of; in neither sum
	foreign int
}

// loggedSums is what the log said of a booking's hold.
func (k *booking) loggedSums() amountSums {
	s := amountSums{authorized: k.amount}
	switch k.outcome {
	case capturedAtItsTime, capturedWhenAsked, capturedInPart,
		capturedBeforeDeadline, capturedElsewhere:
		s.captured, s.released = k.captured, k.amount-k.captured
	case releasedAtItsTime, releasedWhenAsked, releasedBeforeDeadline, releasedElsewhere:
		s.released = k.amount
	case expired:
		s.expired = k.amount
	case stillHeld:
		s.held = k.amount
	default:
		return amountSums{}
	}
	return s
}

// stripeResult is what the ledger says of one PaymentIntent.
type stripeResult struct {
	amountSums
	currency  string
	captures  int
	resized   bool   // somebody changed how much is held
	lastActor string // who did the last effect
	byHoldd   bool   // the last effect carries one of holdd's idempotency keys
}

func sumByIntent(ledger []stripesim.Effect) map[string]*stripeResult {
	all := map[string]*stripeResult{}
	for _, e := range ledger {
		d := all[e.Intent]
		if d == nil {
			d = &stripeResult{currency: e.Currency}
			all[e.Intent] = d
		}
		switch e.Kind {
		case stripesim.EffectAuthorized:
			d.authorized += e.Amount
		case stripesim.EffectIncremented, stripesim.EffectOvercaptured:
			d.authorized += e.Amount
			d.resized = true
		case stripesim.EffectCaptured:
			d.captured += e.Amount
			d.captures++
		case stripesim.EffectReleased, stripesim.EffectCanceled:
			d.released += e.Amount
		case stripesim.EffectExpired:
			d.expired += e.Amount
		}
		d.held = d.authorized - d.captured - d.released - d.expired
		d.lastActor, d.byHoldd = e.Actor, strings.HasPrefix(e.IdempotencyKey, "holdd-")
	}
	return all
}

func compareLedgers(bookings []*booking, ledger []stripesim.Effect) *audit {
	a := &audit{holddTotals: map[string]amountSums{}, stripeTotals: map[string]amountSums{}}
	stripe := sumByIntent(ledger)
	for _, k := range bookings {
		d := stripe[k.intent]
		if d == nil {
			d = &stripeResult{currency: k.currency}
		}
		delete(stripe, k.intent)
		if d.resized {
			a.foreign++
			continue
		}
		said := k.loggedSums()
		switch {
		case d.captures > 1:
			a.addDifference(k, said, d, fmt.Sprintf("captured %d times", d.captures))
		case said == d.amountSums && (said == amountSums{} || k.currency == d.currency):
		case k.outcome == stillHeld && d.held == 0 && d.authorized == k.amount &&
			(k.unknown || !d.byHoldd):
			a.notYetRead = append(a.notYetRead,
				fmt.Sprintf("%s %s: %s at Stripe (%s) before holdd could read it", k.ref,
					k.cardholder, d.describe(), d.lastActor))
			said = d.amountSums
		default:
			a.addDifference(k, said, d, "")
		}
		a.addSums(a.holddTotals, k.currency, said)
		a.addSums(a.stripeTotals, d.currency, d.amountSums)
	}
	a.foreign += len(stripe)
	return a
}

func (a *audit) addSums(of map[string]amountSums, currency string, s amountSums) {
	if (s == amountSums{}) {
		return
	}
	t := of[currency]
	t.add(s)
	of[currency] = t
}

func (a *audit) addDifference(k *booking, said amountSums, d *stripeResult, reason string) {
	b := &stripeResult{amountSums: said, currency: k.currency}
	text := fmt.Sprintf("%s %s (%s): holdd's log says %s, Stripe's ledger says %s", k.ref,
		k.cardholder, k.intent, b.describe(), d.describe())
	if reason != "" {
		text += ", " + reason
	}
	a.differences = append(a.differences, text)
}

// describe say what became of one hold.
func (d *stripeResult) describe() string {
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{{d.captured, "captured"}, {d.released, "released"}, {d.expired, "expired"},
		{d.held, "still held"}} {
		if p.n != 0 {
			parts = append(parts, hold.FormatAmount(p.n, d.currency)+" "+p.what)
		}
	}
	if len(parts) == 0 {
		return "nothing was held"
	}
	return strings.Join(parts, ", ")
}

// currencies are those of both sides.
func (a *audit) currencies() []string {
	all := maps.Clone(a.holddTotals)
	maps.Copy(all, a.stripeTotals)
	return slices.Sorted(maps.Keys(all))
}

// agrees tells whether nothing differs and every sum adds up.
func (a *audit) agrees() bool {
	for _, c := range a.currencies() {
		if a.holddTotals[c] != a.stripeTotals[c] || !a.holddTotals[c].balanced() {
			return false
		}
	}
	return len(a.differences) == 0
}
