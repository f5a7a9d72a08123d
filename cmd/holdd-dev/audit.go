package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdd/holdd/worker/hold"
	"github.com/holdd/holdd/worker/stripesim"
)

// sums are amounts of one currency, in minor units. authorized = captured + released + expired + held.
type sums struct {
	authorized, captured, released, expired, held int64
}

func (s sums) balanced() bool {
	return s.authorized == s.captured+s.released+s.expired+s.held
}

func (s *sums) add(t sums) {
	s.authorized += t.authorized
	s.captured += t.captured
	s.released += t.released
	s.expired += t.expired
	s.held += t.held
}

// audit compares the hotel's books, which know only what holdd's log said, with Stripe's ledger, hold by hold.
type audit struct {
	books, ledger map[string]sums // by currency
	differences   []string
	unread        []string // ended at Stripe, and holdd was stopped before it could have read it
	others        int      // PaymentIntents that are not the hotel's, or that others changed the amount of; in neither sum
}

// told is what the log said of a booking's hold.
func (k *booking) told() sums {
	s := sums{authorized: k.amount}
	switch k.outcome {
	case capturedAtItsTime, capturedWhenAsked, capturedInPart, capturedBeforeDeadline, capturedElsewhere:
		s.captured, s.released = k.captured, k.amount-k.captured
	case releasedAtItsTime, releasedWhenAsked, releasedBeforeDeadline, releasedElsewhere:
		s.released = k.amount
	case expired:
		s.expired = k.amount
	case stillHeld:
		s.held = k.amount
	default:
		return sums{}
	}
	return s
}

// done is what the ledger says of one PaymentIntent.
type done struct {
	sums
	currency string
	captures int
	resized  bool   // somebody changed how much is held
	last     string // who did the last effect
	byHoldd  bool   // the last effect carries one of holdd's idempotency keys
}

func read(ledger []stripesim.Effect) map[string]*done {
	all := map[string]*done{}
	for _, e := range ledger {
		d := all[e.Intent]
		if d == nil {
			d = &done{currency: e.Currency}
			all[e.Intent] = d
		}
		switch e.Kind {
		case stripesim.Authorized:
			d.authorized += e.Amount
		case stripesim.Incremented, stripesim.Overcaptured:
			d.authorized += e.Amount
			d.resized = true
		case stripesim.Captured:
			d.captured += e.Amount
			d.captures++
		case stripesim.Released, stripesim.Canceled:
			d.released += e.Amount
		case stripesim.Expired:
			d.expired += e.Amount
		}
		d.held = d.authorized - d.captured - d.released - d.expired
		d.last, d.byHoldd = e.By, strings.HasPrefix(e.Key, "holdd-")
	}
	return all
}

func compare(bookings []*booking, ledger []stripesim.Effect) *audit {
	a := &audit{books: map[string]sums{}, ledger: map[string]sums{}}
	stripe := read(ledger)
	for _, k := range bookings {
		d := stripe[k.intent]
		if d == nil {
			d = &done{currency: k.currency}
		}
		delete(stripe, k.intent)
		if d.resized {
			a.others++
			continue
		}
		said := k.told()
		switch {
		case d.captures > 1:
			a.differ(k, said, d, fmt.Sprintf("captured %d times", d.captures))
		case said == d.sums && (said == sums{} || k.currency == d.currency):
		case k.outcome == stillHeld && d.held == 0 && d.authorized == k.amount && (k.unknown || !d.byHoldd):
			a.unread = append(a.unread, fmt.Sprintf("%s %s: %s at Stripe (%s) before holdd could read it", k.ref, k.guest, d.words(), d.last))
			said = d.sums
		default:
			a.differ(k, said, d, "")
		}
		a.sum(a.books, k.currency, said)
		a.sum(a.ledger, d.currency, d.sums)
	}
	a.others += len(stripe)
	return a
}

func (a *audit) sum(of map[string]sums, currency string, s sums) {
	if (s == sums{}) {
		return
	}
	t := of[currency]
	t.add(s)
	of[currency] = t
}

func (a *audit) differ(k *booking, said sums, d *done, why string) {
	b := &done{sums: said, currency: k.currency}
	text := fmt.Sprintf("%s %s (%s): holdd's log says %s, Stripe's ledger says %s", k.ref, k.guest, k.intent, b.words(), d.words())
	if why != "" {
		text += ", " + why
	}
	a.differences = append(a.differences, text)
}

// words say what became of one hold.
func (d *done) words() string {
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{{d.captured, "captured"}, {d.released, "released"}, {d.expired, "expired"}, {d.held, "still held"}} {
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
	all := maps.Clone(a.books)
	maps.Copy(all, a.ledger)
	return slices.Sorted(maps.Keys(all))
}

// agrees tells whether nothing differs and every sum adds up.
func (a *audit) agrees() bool {
	for _, c := range a.currencies() {
		if a.books[c] != a.ledger[c] || !a.books[c].balanced() {
			return false
		}
	}
	return len(a.differences) == 0
}
