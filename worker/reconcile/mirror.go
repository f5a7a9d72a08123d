package reconcile

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	mirrorBatch = 100
	// maxConcurrentUpdates bounds the updates under way at once.
	maxConcurrentUpdates = 4
	// mirrorTimeBudget bounds the time of one tick.
	mirrorTimeBudget = 10 * time.Second
	// mirrorRetryAfter is how long a failed update is deferred.
	mirrorRetryAfter = time.Minute
	// mirrorQuietPeriod is how long before its action a hold is not mirrored.
	mirrorQuietPeriod = 5 * time.Second
	// budgetShortPause is how long the mirror stops after due holds have waited
	// for the budget.
	budgetShortPause = 2 * time.Second
	// maxMirrorWait is how long one tick waits for an account's budget before
	// it leaves the account to the next tick.
	maxMirrorWait = time.Second
	// secondUpdateWait is how long a second update of the same hold waits for
	// the budget.
	secondUpdateWait = 3 * time.Second
	// dueSoon is how long before its action a hold's record is not written.
	dueSoon = time.Second
	// mirrorLockTime is how long a replica has the terms of a hold to itself:
	// longer than two updates take, and than one tick uses the holds that it
	// has read. Another replica then takes over from one that died.
	mirrorLockTime = 30 * time.Second
)

// UnmirroredStore finds holds whose terms are not in their intent's metadata,
// and divides them among the replicas. store.Queue and store.Locks implement
// it.
type UnmirroredStore interface {
	// ListHoldsDueForMetadataMirror returns up to n unmirrored holds in each partition
	// that are not deferred. Without any, deferred or not, the time is zero.
	ListHoldsDueForMetadataMirror(ctx context.Context, n int) ([]hold.HoldWithDueMilestone, time.Time, error)
	// AcquireLock acquires a lock for d and reports whether this call got it.
	AcquireLock(ctx context.Context, name string, d time.Duration) (bool, error)
}

// MetadataMirrorCaller sends metadata updates to Stripe. gateway.Caller
// implements it. An error of WaitForBudget or Do means that no request was sent.
type MetadataMirrorCaller interface {
	// WaitForBudget takes one request from the budget and waits until it may be
	// sent, at most maxWait.
	WaitForBudget(ctx context.Context, call hold.Call, maxWait time.Duration) error
	// Do sends a call whose request is reserved.
	Do(ctx context.Context, call hold.Call) (hold.Answer, error)
	// IsStripeAvailable reports whether Stripe answers and accepts the key.
	IsStripeAvailable() bool
}

// MetadataMirrorOptions configure a [MetadataMirror].
type MetadataMirrorOptions struct {
	Enabled bool
	// WaitedForBudget reports whether due holds have waited for the budget
	// within the given time. worker.Dispatcher implements it.
	WaitedForBudget func(within time.Duration) bool
	Gate            *changes.PollGate // closed while no hold is unmirrored
	Clock           *clock.RedisClock
	Health          *health.Reporter
	Logger          *zap.Logger
}

// MetadataMirror is the job that writes the terms of holds to their intents'
// metadata, from which a lost schedule is rebuilt. Updates use at most half the
// rate, and stop while due holds wait for the budget.
type MetadataMirror struct {
	store     UnmirroredStore
	budget    Budget
	caller    MetadataMirrorCaller
	committer NoRetryCommitter
	o         MetadataMirrorOptions
}

// NewMetadataMirror returns a mirror.
func NewMetadataMirror(
	store UnmirroredStore, budget Budget, caller MetadataMirrorCaller, committer NoRetryCommitter,
	o MetadataMirrorOptions,
) *MetadataMirror {
	return &MetadataMirror{store: store, budget: budget, caller: caller, committer: committer, o: o}
}

// Run mirrors holds until none is left, mirrorTimeBudget is over, or due holds
// wait for the budget.
func (m *MetadataMirror) Run(ctx context.Context) {
	if !m.o.Enabled {
		return
	}
	for end := time.Now().Add(mirrorTimeBudget); ctx.Err() == nil && time.Now().Before(end); {
		if !m.o.Gate.IsOpen(ctx) {
			return
		}
		poll := m.o.Gate.BeginPoll()
		found, now, err := m.store.ListHoldsDueForMetadataMirror(ctx, mirrorBatch)
		if err != nil {
			m.o.Health.ReportError(ctx, "read unmirrored holds", err)
		} else if now.IsZero() {
			poll.CloseForLongestWait()
		}
		m.o.Clock.AdjustTo(now)
		var todo []hold.HoldWithDueMilestone
		for _, due := range found {
			h := &due.Hold
			if h.State == 0 || h.State.IsFinal() || h.State == hold.Working ||
				h.NextOp != 0 && h.NextAt.Before(now.Add(mirrorQuietPeriod)) {
				continue
			}
			todo = append(todo, due)
		}
		if len(todo) == 0 || !m.mirrorHolds(ctx, todo, end) {
			return
		}
	}
}

// canSendUpdates reports whether Stripe is available and no due hold waits for
// the budget.
func (m *MetadataMirror) canSendUpdates() bool {
	return m.caller.IsStripeAvailable() && !m.o.WaitedForBudget(budgetShortPause)
}

// mirrorLockName names the lock of these terms of a hold, and of this try.
func mirrorLockName(due *hold.HoldWithDueMilestone) string {
	return fmt.Sprintf("mirror:%s:%d:%d", due.Hold.ID, due.Hold.Revision, due.DueAt.UnixMilli())
}

// mirrorHolds mirrors the holds of a batch whose lock no other replica has. It
// returns whether this tick may mirror another batch.
func (m *MetadataMirror) mirrorHolds(ctx context.Context, todo []hold.HoldWithDueMilestone, end time.Time) bool {
	var unfinished atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	gate := make(chan struct{}, maxConcurrentUpdates)
	left := map[string]bool{} // accounts left to the next tick
	started := false
	for i := range todo {
		account := todo[i].Hold.Account
		if left[account] {
			continue
		}
		if !m.canSendUpdates() {
			return false
		}
		mine, err := m.store.AcquireLock(ctx, mirrorLockName(&todo[i]), mirrorLockTime)
		if err != nil {
			m.o.Health.ReportError(ctx, "lock an unmirrored hold", err)
			return false
		}
		if !mine {
			continue
		}
		switch m.waitToReserveUpdate(ctx, account, end) {
		case updateReserved:
		case updateLeftToNextTick:
			left[account] = true
			continue
		default:
			return false
		}
		started = true
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if !m.mirrorHold(ctx, &todo[i]) {
				unfinished.Store(true)
			}
		})
	}
	wg.Wait()
	return started && len(left) == 0 && !unfinished.Load()
}

// updateReservationOutcome is what became of the reservation of an update.
type updateReservationOutcome int

const (
	updateReserved       updateReservationOutcome = iota + 1
	updateLeftToNextTick                          // the account has no request left for a while
	updateStopped                                 // the tick sends no further update
)

// waitToReserveUpdate reserves an update of an account, and waits for at most
// maxMirrorWait if the budget is used up.
func (m *MetadataMirror) waitToReserveUpdate(
	ctx context.Context, account string, end time.Time,
) updateReservationOutcome {
	for m.canSendUpdates() && ctx.Err() == nil && !time.Now().After(end) {
		reserved, err := m.budget.ReserveRequests(ctx,
			hold.BudgetRequest{Account: account, Op: hold.OpUpdate, Requests: 1,
				Priority: hold.PriorityMirror})
		switch {
		case err != nil:
			m.o.Health.ReportError(ctx, "reserve an update", err)
			return updateStopped
		case reserved[0].Requests > 0:
			return updateReserved
		case reserved[0].Wait > maxMirrorWait:
			return updateLeftToNextTick
		case !execute.SleepUnlessCanceled(ctx, reserved[0].Wait):
			return updateStopped
		}
	}
	return updateStopped
}

// mirrorHold writes the terms of one hold. Its first update is already
// reserved. The answer shows the whole metadata, and a second update removes
// pairs of earlier terms. mirrorHold returns false if the hold stays unmirrored
// without a deferral: another replica updates it, or Redis failed.
func (m *MetadataMirror) mirrorHold(ctx context.Context, due *hold.HoldWithDueMilestone) bool {
	h := &due.Hold
	var known map[string]string
	for try := 0; ; try++ {
		pairs, key, fits := hold.MetadataDiffWithIdempotencyKey(h, known, due.DueAt)
		switch {
		case !fits:
			return m.recordMirrorImpossible(ctx, h, hold.Answer{},
				"more than the 50 pairs that Stripe keeps")
		case len(pairs) == 0:
			return m.commitMirrorOutcome(ctx, h, hold.RecordMirrorResult(*h, true))
		case try == 2:
			return m.recordMirrorImpossible(
				ctx,
				h,
				hold.Answer{},
				"Stripe shows other terms than sent",
			)
		}
		update := hold.Call{
			Op: hold.OpUpdate, PaymentIntent: h.PaymentIntent, Account: h.Account,
			Metadata: pairs, Key: key,
		}
		if try == 1 && m.caller.WaitForBudget(ctx, update, secondUpdateWait) != nil {
			return m.deferMirror(ctx, h, mirrorQuietPeriod)
		}
		a, err := m.caller.Do(ctx, update)
		if err != nil {
			a = hold.Answer{Kind: hold.AnswerUnreachable}
		}
		switch a.Kind {
		case hold.AnswerOK:
			known = map[string]string{}
			if a.Intent != nil && a.Intent.Metadata != nil {
				known = a.Intent.Metadata
			}
		case hold.AnswerKeyInUse:
			// A replica that lost its lock sends the same update; a deferral
			// would make its commit fail.
			return false
		case hold.AnswerNotFound, hold.AnswerInvalid, hold.AnswerIdempotencyError,
			hold.AnswerUnexpectedState, hold.AnswerDeclined:
			return m.recordMirrorImpossible(ctx, h, a, "Stripe refuses the update")
		default:
			return m.deferMirror(ctx, h, mirrorRetryAfter)
		}
	}
}

// deferMirror defers the mirroring of a hold by d.
func (m *MetadataMirror) deferMirror(ctx context.Context, h *hold.Hold, d time.Duration) bool {
	return m.commitMirrorOutcome(ctx, h, hold.DeferMirror(*h, m.o.Clock.Now().Add(d)))
}

// recordMirrorImpossible marks a hold whose terms cannot be mirrored, so that
// the mirror skips it.
func (m *MetadataMirror) recordMirrorImpossible(
	ctx context.Context, h *hold.Hold, a hold.Answer, reason string,
) bool {
	m.o.Logger.Warn(
		"a hold's terms can't be written to its intent; the hold is lost if Redis loses its data",
		zap.String("hold", h.ID), zap.String("payment_intent", h.PaymentIntent),
		zap.String("account", h.Account), zap.String("reference", h.Reference),
		zap.String("reason", reason), zap.String("code", a.Code),
		zap.String("message", a.Message), zap.String("request_id", a.RequestID))
	return m.commitMirrorOutcome(ctx, h, hold.RecordMirrorResult(*h, false))
}

// commitMirrorOutcome writes the outcome. If the hold was changed or claimed
// meanwhile, it writes nothing, and a later tick mirrors the hold again. It
// returns false if Redis failed.
func (m *MetadataMirror) commitMirrorOutcome(
	ctx context.Context, h *hold.Hold, d hold.Decision,
) bool {
	if h.NextOp != 0 && h.NextAt.Before(m.o.Clock.Now().Add(dueSoon)) {
		return true // the hold may be ready by now, and a write would remove it from its lane
	}
	changes := []commit.Change{{Before: h, Decision: d}}
	if _, err := m.committer.Commit(ctx, changes); err != nil {
		m.o.Health.ReportError(ctx, "commit mirrored terms", err)
		return false
	}
	return true
}
