package bulkread

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

const (
	pageSize = 100
	// minPageMatches is how many waiting intents a page must answer to cost less
	// than their single reads. A walk ends after some pages in a row that answer
	// fewer: after one for each waitingPerPoorPage that wait, within these bounds.
	minPageMatches     = 2
	minPoorPages       = 2
	maxPoorPages       = 5
	waitingPerPoorPage = 100
	// minDenseMatches is how many a page must answer for the walk to go on to
	// the page after it. Otherwise the walk goes on at another waiting intent,
	// because more of them are probably near that.
	minDenseMatches = 10
	// clockSlack is how far ahead of Redis' clock Stripe's may be. If it is
	// further ahead, the first page misses intents.
	clockSlack = time.Minute
)

// listWalk reads pages of one account's list, newest intent first.
type listWalk struct {
	caller   BatchCaller
	account  string
	reads    []PendingRetrieve
	newest   []int            // positions by ExistedAt, newest or unknown first
	anchors  []int            // positions at which the walk may go on, last first
	waiting  map[string][]int // positions by PaymentIntent
	missing  *missingIntents
	deadline time.Time              // of the wait for the budget
	priority hold.RateLimitPriority // of the requests
	hasFound bool                   // a page had a waiting intent
	// resume is the page at which the account's last walk ran out of time, then
	// that of this one. Without it, walks that are too short for the list would
	// read its beginning again and again.
	resume *hold.Call
	slots  chan struct{} // has one element for each done under way
	done   func(i int, a hold.Answer)
}

func newListWalk(
	caller BatchCaller, account string, reads []PendingRetrieve, positions []int,
) *listWalk {
	w := &listWalk{caller: caller, account: account, reads: reads,
		newest: slices.Clone(positions), anchors: slices.Clone(positions), waiting: map[string][]int{}}
	for _, i := range positions {
		id := reads[i].PaymentIntent
		w.waiting[id] = append(w.waiting[id], i)
	}
	slices.SortStableFunc(w.newest, func(a, b int) int {
		at, bt := reads[a].ExistedAt, reads[b].ExistedAt
		if at.IsZero() || bt.IsZero() {
			return cmp.Compare(boolToInt(bt.IsZero()), boolToInt(at.IsZero()))
		}
		return bt.Compare(at)
	})
	return w
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listPagesWhileCheaper reads pages while they cost less than single reads, the
// budget allows them in time, and Stripe answers. It returns when each done has
// returned.
func (w *listWalk) listPagesWhileCheaper(ctx context.Context) {
	var applying sync.WaitGroup
	defer applying.Wait()
	starts := []hold.Call{{Op: hold.OpList, Account: w.account, Limit: pageSize,
		CreatedUpTo: w.newestWaitingTime()}}
	if w.resume != nil {
		starts = append(starts, *w.resume)
	}
	call, _ := w.takeNextStartCall(&starts)
	w.resume = nil
	for poor := 0; len(w.waiting) >= minPageMatches; {
		a, sent := w.listPage(ctx, call)
		if !sent {
			w.resume = &call
			return
		}
		if !canContinueAfterAnswer(a) {
			return
		}
		matches, more := 0, false
		if a.Page != nil {
			matches, more = w.answerWaitingReads(&applying, a), a.Page.More
		}
		if poor++; matches >= minPageMatches {
			poor = 0
		}
		switch {
		case poor >= w.poorPagesAllowed():
			return
		case more && matches >= minDenseMatches:
			call = w.nextPageCall(&a.Page.Intents[len(a.Page.Intents)-1])
		default:
			if call, more = w.takeNextStartCall(&starts); !more {
				return
			}
		}
	}
}

// takeNextStartCall returns a page at which the walk may begin or go on: the last of
// starts, then one after a waiting intent. ok is false if there is none.
func (w *listWalk) takeNextStartCall(starts *[]hold.Call) (call hold.Call, ok bool) {
	if last := len(*starts) - 1; last >= 0 {
		call, *starts = (*starts)[last], (*starts)[:last]
		return call, true
	}
	anchor := w.nextAnchorIntent()
	return hold.Call{Op: hold.OpList, Account: w.account, Limit: pageSize, After: anchor},
		anchor != ""
}

// listPage sends a call when the budget allows it. sent is false if it did not
// in time, or if the call was not sent for another reason.
func (w *listWalk) listPage(ctx context.Context, call hold.Call) (a hold.Answer, sent bool) {
	batch := execute.CallBatchOptions{Concurrency: 1, MaxWait: max(0, time.Until(w.deadline)),
		Priority: w.priority}
	unsent := w.caller.DoEach(ctx, []hold.Call{call}, batch, func(_ int, answer hold.Answer) {
		a = answer
	})
	return a, len(unsent) == 0
}

// canContinueAfterAnswer reports whether the walk goes on after an answer.
// Stripe may not find the intent after which a page begins.
func canContinueAfterAnswer(a hold.Answer) bool {
	return a.Kind == hold.AnswerOK && a.Page != nil || a.Kind == hold.AnswerNotFound
}

// poorPagesAllowed returns after how many poor pages in a row the walk ends.
func (w *listWalk) poorPagesAllowed() int {
	return min(max(minPoorPages, len(w.waiting)/waitingPerPoorPage), maxPoorPages)
}

// nextAnchorIntent returns a waiting intent near which others may be, empty if
// each was returned before.
func (w *listWalk) nextAnchorIntent() string {
	for len(w.anchors) > 0 {
		last := len(w.anchors) - 1
		id := w.reads[w.anchors[last]].PaymentIntent
		w.anchors = w.anchors[:last]
		if w.waiting[id] != nil {
			return id
		}
	}
	return ""
}

// answerWaitingReads calls done for each waiting intent of a page,
// concurrently. It returns how many there are.
func (w *listWalk) answerWaitingReads(applying *sync.WaitGroup, list hold.Answer) (matches int) {
	for n := range list.Page.Intents {
		in := &list.Page.Intents[n]
		positions := w.waiting[in.ID]
		delete(w.waiting, in.ID)
		w.missing.recordAnswerAndCheckBelieved(in.ID, hold.AnswerOK)
		for _, i := range positions {
			matches++
			w.hasFound = true
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

// nextPageCall returns the call for the page after an intent. If every waiting
// intent is older than a later time, the page starts there.
func (w *listWalk) nextPageCall(last *hold.PaymentIntent) hold.Call {
	call := hold.Call{Op: hold.OpList, Account: w.account, Limit: pageSize}
	if upTo := w.newestWaitingTime(); !upTo.IsZero() && upTo.Before(last.Created) {
		call.CreatedUpTo = upTo
	} else {
		call.After = last.ID
	}
	return call
}

// newestWaitingTime returns a time at which every waiting intent existed, zero
// if none is known.
func (w *listWalk) newestWaitingTime() time.Time {
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

// unreadPositions returns the positions of the intents that no page contained,
// in their order.
func (w *listWalk) unreadPositions() (positions []int) {
	for _, p := range w.waiting {
		positions = append(positions, p...)
	}
	slices.Sort(positions)
	return positions
}
