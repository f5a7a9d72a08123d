package reconcile

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// verifyBatch bounds the holds that one tick verifies.
	verifyBatch = 100
	// verifyByListAbove is above how many holds of an account a list is cheaper
	// than single reads.
	verifyByListAbove = 10
	// maxVerifyPages bounds the pages of an account's list that one tick reads.
	maxVerifyPages = 5
	// minPageMatches is how many holds a page must verify for the next page to
	// be read.
	minPageMatches = 2
)

// UnverifiedStore finds holds that were accepted unverified. store.Store
// implements it.
type UnverifiedStore interface {
	// Unverified returns up to n holds in each partition, nearest action or
	// deadline first.
	Unverified(ctx context.Context, n int) ([]hold.DueHold, time.Time, error)
}

// VerifierCaller sends the verifier's reads to Stripe. gateway.Caller
// implements it.
type VerifierCaller interface {
	// WaitAndDo reserves a request, waiting at most maxWait for the budget,
	// and sends the call. An error means that no request was sent.
	WaitAndDo(ctx context.Context, call hold.Call, maxWait time.Duration) (hold.Answer, error)
	// DoEach sends calls as the budget allows and calls done with each answer,
	// concurrently. It returns the positions of the calls that were not sent.
	DoEach(
		ctx context.Context, calls []hold.Call, b execute.BatchOptions,
		done func(i int, a hold.Answer),
	) (unsent []int)
	// IsAvailable reports whether Stripe answers and accepts the key.
	IsAvailable() bool
	// Probe sends a harmless read if Stripe is unavailable. It reports whether
	// it sent one.
	Probe(ctx context.Context) bool
}

// NoRetryCommitter writes decisions without a retry. [commit.Committer]
// implements it.
type NoRetryCommitter interface {
	Commit(ctx context.Context, changes []commit.Change) ([]bool, error)
}

// VerifierOptions configure a [Verifier].
type VerifierOptions struct {
	Wake   func() // worker.Dispatcher.Wake
	Clock  *clock.RedisClock
	Health *health.RedisReporter
}

// Verifier is the job that reads the intents of holds that were accepted
// unverified. While Stripe is unavailable, it probes Stripe instead and wakes
// the dispatcher.
type Verifier struct {
	store     UnverifiedStore
	caller    VerifierCaller
	committer NoRetryCommitter
	o         VerifierOptions
}

// NewVerifier returns a verifier.
func NewVerifier(
	store UnverifiedStore, caller VerifierCaller, committer NoRetryCommitter, o VerifierOptions,
) *Verifier {
	return &Verifier{store: store, caller: caller, committer: committer, o: o}
}

// Run verifies the most urgent holds. If an account has many, Run reads the
// first pages of its list, because most were authorized recently. It reads the
// others one by one.
func (v *Verifier) Run(ctx context.Context) {
	if !v.caller.IsAvailable() {
		if v.caller.Probe(ctx) {
			v.o.Wake()
		}
		return
	}
	found, now, err := v.store.Unverified(ctx, verifyBatch)
	if err != nil {
		v.o.Health.ReportError(ctx, "read unverified holds", err)
	}
	v.o.Clock.AdjustTo(now)
	byAccount := map[string][]hold.Hold{}
	var accounts []string
	for _, due := range found[:min(len(found), verifyBatch)] {
		h := due.Hold
		if h.State == 0 || h.State.Final() || h.State == hold.Working {
			continue
		}
		if byAccount[h.Account] == nil {
			accounts = append(accounts, h.Account)
		}
		byAccount[h.Account] = append(byAccount[h.Account], h)
	}
	for _, account := range accounts {
		holds := byAccount[account]
		if len(holds) > verifyByListAbove {
			holds = v.verifyByList(ctx, account, holds)
		}
		v.verifyOneByOne(ctx, holds)
	}
}

// verifyByList verifies holds by the first pages of their account's list. It
// returns the holds that these pages do not contain.
func (v *Verifier) verifyByList(
	ctx context.Context, account string, holds []hold.Hold,
) (rest []hold.Hold) {
	wanted := map[string]*hold.Hold{}
	for i := range holds {
		wanted[holds[i].PaymentIntent] = &holds[i]
	}
	list := hold.Call{Op: hold.OpList, Account: account, Limit: listPageSize}
	for range maxVerifyPages {
		a, err := v.caller.WaitAndDo(ctx, list, 0)
		if err != nil || a.Kind != hold.AnswerOK || a.Page == nil || len(a.Page.Intents) == 0 {
			break
		}
		matches := 0
		for i := range a.Page.Intents {
			in := &a.Page.Intents[i]
			if h := wanted[in.ID]; h != nil {
				matches++
				delete(wanted, in.ID)
				v.commitDecision(ctx, h, h.ApplyPaymentIntent(in, v.o.Clock.Now()))
			}
		}
		list.After = a.Page.Intents[len(a.Page.Intents)-1].ID
		if !a.Page.More || matches < minPageMatches || len(wanted) == 0 {
			break
		}
	}
	for i := range holds {
		if wanted[holds[i].PaymentIntent] != nil {
			rest = append(rest, holds[i])
		}
	}
	return rest
}

// verifyOneByOne reads the intents of as many holds as the budget allows now.
// The next tick reads the others.
func (v *Verifier) verifyOneByOne(ctx context.Context, holds []hold.Hold) {
	calls := make([]hold.Call, len(holds))
	for i := range holds {
		calls[i] = readCall(&holds[i])
	}
	batch := execute.BatchOptions{Concurrency: maxConcurrentReads, Priority: hold.PriorityVerify}
	v.caller.DoEach(ctx, calls, batch, func(i int, a hold.Answer) {
		h := &holds[i]
		switch {
		case a.Kind == hold.AnswerOK && a.Intent != nil:
			v.commitDecision(ctx, h, h.ApplyPaymentIntent(a.Intent, v.o.Clock.Now()))
		case a.Kind == hold.AnswerNotFound:
			v.commitDecision(ctx, h, h.ApplyNotFound(v.o.Clock.Now()))
		}
	})
}

// commitDecision commits the decision about a verified hold. If another writer
// was first, a later tick verifies the hold again.
func (v *Verifier) commitDecision(ctx context.Context, before *hold.Hold, d hold.Decision) {
	if d.Unchanged {
		return
	}
	changes := []commit.Change{{Before: before, Decision: d}}
	if _, err := v.committer.Commit(ctx, changes); err != nil {
		v.o.Health.ReportError(ctx, "commit verified holds", err)
	}
}
