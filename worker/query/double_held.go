package query

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxDoubleHeldRead bounds how many holds are summed.
	maxDoubleHeldRead = 2000
	doubleHeldPage    = 100
)

// DoubleHeldTotals is the holds of which two intents may hold money: the
// renewed authorization, and the one that is not released yet.
type DoubleHeldTotals struct {
	Holds   int
	Sums    []hold.Sum // what is held a second time
	AtLeast bool       // there are more holds than were read
	// LongestHold is the hold of which two intents have held money for longest,
	// and Longest for how long.
	LongestHold string
	Longest     time.Duration
}

// DoubleHeldReader sums the holds of which two intents may hold money.
type DoubleHeldReader struct{ store HoldStore }

// NewDoubleHeldReader returns a reader of store.
func NewDoubleHeldReader(store HoldStore) *DoubleHeldReader { return &DoubleHeldReader{store} }

// ReadTotals reads only these holds, which the store keeps in a set of their
// own.
func (r *DoubleHeldReader) ReadTotals(ctx context.Context) (d DoubleHeldTotals, err error) {
	var after hold.SortedSetPosition
	for read := 0; read < maxDoubleHeldRead; read += doubleHeldPage {
		page, now, err := r.store.ReadSortedSetPage(ctx, hold.SetDoubleHeld, after, doubleHeldPage)
		if err != nil {
			return DoubleHeldTotals{}, err
		}
		for i := range page {
			d.add(&page[i].Hold, now)
		}
		if len(page) < doubleHeldPage {
			return d, nil
		}
		after = page[len(page)-1].Position
	}
	d.AtLeast = true
	return d, nil
}

// add adds a hold. One that the set has only because Redis came back from an
// incomplete copy does not count.
func (d *DoubleHeldTotals) add(h *hold.Hold, now time.Time) {
	since, ok := h.Renewal.OverlapSince()
	if !ok {
		return
	}
	d.Holds++
	d.Sums = hold.AddToCurrencySums(d.Sums, h.Currency, h.Amount)
	if length := max(0, now.Sub(since)); d.LongestHold == "" || length > d.Longest {
		d.LongestHold, d.Longest = h.ID, length
	}
}
