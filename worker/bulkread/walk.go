package bulkread

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

const (
	pageSize = 100
	// minPageMatches is how many waiting intents a page must answer for the
	// next page to be read.
	minPageMatches = 2
	// clockSlack is how far ahead of Redis' clock Stripe's may be. If it is
	// further ahead, pages miss intents, and these are read one by one.
	clockSlack = time.Minute
)

// walk reads pages of one account's list, newest intent first.
type walk struct {
	caller   Caller
	account  string
	reads    []Read
	newest   []int            // positions by ExistedAt, newest or unknown first
	waiting  map[string][]int // positions by PaymentIntent
	deadline time.Time        // of the wait for the budget
	slots    chan struct{}    // has one element for each done under way
	done     func(i int, a hold.Answer)
}

func newWalk(caller Caller, account string, reads []Read, positions []int) *walk {
	w := &walk{caller: caller, account: account, reads: reads,
		newest: slices.Clone(positions), waiting: map[string][]int{}}
	for _, i := range positions {
		id := reads[i].PaymentIntent
		w.waiting[id] = append(w.waiting[id], i)
	}
	slices.SortStableFunc(w.newest, func(a, b int) int {
		at, bt := reads[a].ExistedAt, reads[b].ExistedAt
		if at.IsZero() || bt.IsZero() {
			return cmp.Compare(boolInt(bt.IsZero()), boolInt(at.IsZero()))
		}
		return bt.Compare(at)
	})
	return w
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// run reads pages until one answers too few of the waiting intents, the budget
// allows none in time, or Stripe does not answer. It returns when each done has
// returned.
func (w *walk) run(ctx context.Context) {
	var applying sync.WaitGroup
	defer applying.Wait()
	call := hold.Call{Op: hold.OpList, Account: w.account, Limit: pageSize,
		CreatedUpTo: w.newestWaiting()}
	for len(w.waiting) >= minPageMatches {
		a, err := w.caller.WaitAndDo(ctx, call, time.Until(w.deadline))
		if err != nil || a.Kind != hold.AnswerOK || a.Page == nil || len(a.Page.Intents) == 0 {
			return
		}
		matches := w.answerListed(&applying, a)
		if !a.Page.More || matches < minPageMatches {
			return
		}
		call = w.nextPage(&a.Page.Intents[len(a.Page.Intents)-1])
	}
}

// answerListed calls done for each waiting intent of a page, concurrently. It
// returns how many there are.
func (w *walk) answerListed(applying *sync.WaitGroup, list hold.Answer) (matches int) {
	for n := range list.Page.Intents {
		in := &list.Page.Intents[n]
		positions := w.waiting[in.ID]
		delete(w.waiting, in.ID)
		for _, i := range positions {
			matches++
			w.slots <- struct{}{}
			applying.Go(func() {
				defer func() { <-w.slots }()
				w.done(i, hold.Answer{Kind: hold.AnswerOK, HTTPStatus: list.HTTPStatus,
					RequestID: list.RequestID, Intent: in})
			})
		}
	}
	return matches
}

// nextPage returns the call for the page after an intent. If every waiting
// intent is older than a later time, the page starts there.
func (w *walk) nextPage(last *hold.PaymentIntent) hold.Call {
	call := hold.Call{Op: hold.OpList, Account: w.account, Limit: pageSize}
	if upTo := w.newestWaiting(); !upTo.IsZero() && upTo.Before(last.Created) {
		call.CreatedUpTo = upTo
	} else {
		call.After = last.ID
	}
	return call
}

// newestWaiting returns a time at which every waiting intent existed, zero if
// none is known.
func (w *walk) newestWaiting() time.Time {
	for len(w.newest) > 0 {
		r := &w.reads[w.newest[0]]
		if w.waiting[r.PaymentIntent] == nil {
			w.newest = w.newest[1:]
			continue
		}
		if r.ExistedAt.IsZero() {
			return time.Time{}
		}
		return r.ExistedAt.Add(clockSlack)
	}
	return time.Time{}
}

// remaining returns the positions of the intents that no page contained, in
// their order.
func (w *walk) remaining() (positions []int) {
	for _, p := range w.waiting {
		positions = append(positions, p...)
	}
	slices.Sort(positions)
	return positions
}
