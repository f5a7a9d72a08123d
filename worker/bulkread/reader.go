package bulkread

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

// DefaultListAbove is above how many waiting intents of one account a list is
// read. A page that answers a few of them costs less than their single reads.
const DefaultListAbove = 10

// MaxWaiting is how many intents the callers of RetrieveEach collect for one
// call. Of a larger backlog, a page answers only a part.
const MaxWaiting = 10_000

// maxResume bounds the accounts whose walk goes on where it ran out of time.
const maxResume = 1000

// BatchCaller sends calls to Stripe under the shared budget. gateway.Caller
// implements it.
type BatchCaller interface {
	// DoEach sends calls as the budget allows and calls done with each answer,
	// concurrently. It returns the positions of the calls that were not sent.
	DoEach(
		ctx context.Context, calls []hold.Call, b execute.CallBatchOptions,
		done func(i int, a hold.Answer),
	) (unsent []int)
}

// PendingRetrieve is an intent that waits to be read.
type PendingRetrieve struct {
	PaymentIntent, Account string
	// ExistedAt is a time at which the intent existed; zero if none is known.
	ExistedAt time.Time
	// MayBeMissing is that of [hold.Call].
	MayBeMissing bool
}

// NewPendingRetrieve returns the read of a hold's intent.
func NewPendingRetrieve(h *hold.Hold) PendingRetrieve {
	r := PendingRetrieve{PaymentIntent: h.PaymentIntent, Account: h.Account, MayBeMissing: !h.Verified}
	if h.PaymentIntent == h.ID { // a later one is younger than the hold
		r.ExistedAt = h.CreatedAt
	}
	return r
}

// IntentRetriever reads intents by pages where that costs fewer requests. It is
// safe for concurrent use.
type IntentRetriever struct {
	caller    BatchCaller
	listAbove int
	missing   missingIntents

	mu sync.Mutex
	// resume has the page at which the walk of an account ran out of time.
	resume map[string]*hold.Call
}

// NewIntentRetriever returns a reader that lists the intents of an account if
// more than listAbove of them wait. 0 means [DefaultListAbove].
func NewIntentRetriever(caller BatchCaller, listAbove int) *IntentRetriever {
	if listAbove == 0 {
		listAbove = DefaultListAbove
	}
	return &IntentRetriever{caller: caller, listAbove: listAbove, resume: map[string]*hold.Call{}}
}

// RetrieveEach reads intents as the budget allows and calls done with each
// answer, concurrently. The answer has the intent, as that to a single read
// does. It returns the positions of the intents that were not read, or not
// found for the first time: a 404 is passed to done if an earlier read had one
// as well.
func (r *IntentRetriever) RetrieveEach(
	ctx context.Context, reads []PendingRetrieve, b execute.CallBatchOptions, done func(i int,
		a hold.Answer),
) (unread []int) {
	deadline := time.Now().Add(b.MaxWait)
	single, walks, unread := r.splitReadsByCost(reads)
	slots := make(chan struct{}, max(1, b.Concurrency))
	var walking sync.WaitGroup
	for _, w := range walks {
		w.deadline, w.priority, w.slots, w.done = deadline, b.Priority, slots, done
		w.missing = &r.missing
		walking.Go(func() {
			w.resume = r.takeResume(w.account)
			w.listPagesWhileCheaper(ctx)
			r.keepResume(w.account, w.resume)
		})
	}
	unread = append(unread, r.retrieveIndividually(ctx, reads, single, b, done)...)
	walking.Wait()
	var missed []int
	reads = slices.Clone(reads)
	for _, w := range walks {
		for _, i := range w.unreadPositions() {
			// A list that has some intents of an account shows that the key is
			// the right one.
			reads[i].MayBeMissing = reads[i].MayBeMissing || w.hasFound
			missed = append(missed, i)
		}
	}
	b.MaxWait = max(0, time.Until(deadline))
	unread = append(unread, r.retrieveIndividually(ctx, reads, missed, b, done)...)
	slices.Sort(unread)
	return unread
}

// takeResume returns the page at which the last walk of an account ran out of
// time, nil if it did not.
func (r *IntentRetriever) takeResume(account string) *hold.Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := r.resume[account]
	delete(r.resume, account)
	return call
}

// keepResume keeps the page at which a walk ran out of time, if it did.
func (r *IntentRetriever) keepResume(account string, call *hold.Call) {
	if call == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.resume) < maxResume || r.resume[account] != nil {
		r.resume[account] = call
	}
}

// splitReadsByCost returns the positions of the reads of accounts with few of
// them, a walk for each other account, and the positions of the reads that must
// wait.
func (r *IntentRetriever) splitReadsByCost(
	reads []PendingRetrieve,
) (single []int, walks []*listWalk, wait []int) {
	byAccount := map[string][]int{}
	var accounts []string
	for i := range reads {
		if !r.missing.mayRetrieve(reads[i].PaymentIntent) {
			wait = append(wait, i)
			continue
		}
		a := reads[i].Account
		if byAccount[a] == nil {
			accounts = append(accounts, a)
		}
		byAccount[a] = append(byAccount[a], i)
	}
	for _, a := range accounts {
		if len(byAccount[a]) > r.listAbove {
			walks = append(walks, newListWalk(r.caller, a, reads, byAccount[a]))
		} else {
			single = append(single, byAccount[a]...)
		}
	}
	slices.Sort(single)
	return single, walks, wait
}

// retrieveIndividually reads the intents at positions and returns those that it
// did not read.
func (r *IntentRetriever) retrieveIndividually(
	ctx context.Context, reads []PendingRetrieve, positions []int, b execute.CallBatchOptions,
	done func(i int, a hold.Answer),
) (unread []int) {
	if len(positions) == 0 {
		return nil
	}
	calls := make([]hold.Call, len(positions))
	for n, i := range positions {
		calls[n] = hold.Call{Op: hold.OpRead, PaymentIntent: reads[i].PaymentIntent,
			Account: reads[i].Account, MayBeMissing: reads[i].MayBeMissing}
	}
	again := make([]bool, len(calls))
	unsent := r.caller.DoEach(ctx, calls, b, func(n int, a hold.Answer) {
		if r.missing.recordAnswerAndCheckBelieved(calls[n].PaymentIntent, a.Kind) {
			done(positions[n], a)
		} else {
			again[n] = true
		}
	})
	for _, n := range unsent {
		again[n] = true
	}
	for n := range calls {
		if again[n] {
			unread = append(unread, positions[n])
		}
	}
	return unread
}
