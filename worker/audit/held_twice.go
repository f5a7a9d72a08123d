package audit

import (
	"slices"
	"time"
)

// newOverlapReport finds the authorizations of the period that were placed
// while an earlier one of the same customer held money. all is in the order of
// authorization. An earlier capture whose time is not known counts as ended,
// because nothing says that it overlapped.
func newOverlapReport(all []Payment, o ReportScope) (r OverlapReport) {
	open := map[string][]*Payment{} // by customer, the oldest first
	customers := map[string]bool{}
	for i := range all {
		p := &all[i]
		if p.Customer == "" {
			continue
		}
		beside := slices.DeleteFunc(open[p.Customer], func(e *Payment) bool {
			return e.Outcome != Held && !e.EndedAt.After(p.AuthorizedAt)
		})
		if len(beside) > 0 && !p.AuthorizedAt.Before(o.From) {
			r.add(p.Currency, p.Amount)
			r.MostAtOnce = max(r.MostAtOnce, len(beside)+1)
			customers[p.Customer] = true
			v := newOverlap(p, beside, o.Until)
			if v.SameAmount {
				r.SameAmount++
			}
			r.Overlaps = append(r.Overlaps, v)
		}
		open[p.Customer] = append(beside, p)
	}
	r.Customers = len(customers)
	slices.Reverse(r.Overlaps)
	return r
}

func newOverlap(p *Payment, beside []*Payment, now time.Time) Overlap {
	first := beside[0]
	v := Overlap{Payment: *p, Earlier: first.ID, BothHeld: p.Outcome == Held && first.Outcome == Held}
	end := func(p *Payment) time.Time {
		if p.Outcome == Held {
			return now
		}
		return p.EndedAt
	}
	until := end(first)
	if e := end(p); e.Before(until) {
		until = e
	}
	if !until.IsZero() {
		v.Overlapped = max(0, int64(until.Sub(p.AuthorizedAt).Seconds()))
	}
	v.SameAmount = slices.ContainsFunc(beside, func(e *Payment) bool {
		return e.Currency == p.Currency && e.Amount == p.Amount
	})
	return v
}
