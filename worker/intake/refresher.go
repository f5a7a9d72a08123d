package intake

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/bulkread"
	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	refreshConcurrency = 8               // reads under way at once
	refreshTimeBudget  = 5 * time.Second // maximum time of one tick
	refreshRetryAfter  = 5 * time.Second // after a failed refresh
	// refreshLockTime is above refreshTimeBudget by the time that the last reads
	// usually take.
	refreshLockTime = 7 * time.Second
)

// RefreshStore keeps the pending refreshes. store.RefreshQueue implements it.
type RefreshStore interface {
	WebhookStore
	// ListDueRefreshes returns about n pending refreshes, evenly of all
	// partitions, oldest first. Without any, due or not, the time is zero.
	ListDueRefreshes(ctx context.Context, n int) ([]hold.PendingRefresh, time.Time, error)
	// FinishOrPostponeRefresh removes a refresh, or defers it until again if
	// that is set. A refresh that was requested again meanwhile stays pending.
	FinishOrPostponeRefresh(ctx context.Context, p hold.PendingRefresh, again time.Time) error
}

// IntentRefresherOptions configure a [IntentRefresher].
type IntentRefresherOptions struct {
	// ListAbove is above how many intents of an account its list is read; 0
	// means [bulkread.DefaultListAbove].
	ListAbove int
	Gate      *changes.PollGate // closed while no refresh is pending
	Locks     bulkread.JobLocks
	Clock     *clock.RedisClock
	Health    *health.Reporter
	Logger    *zap.Logger
}

// IntentRefresher is the job that reads the intents that [WebhookProcessor] has
// queued. It reads each intent once for any number of events.
type IntentRefresher struct {
	store     RefreshStore
	stripe    StripeCaller
	reader    *bulkread.IntentRetriever
	committer Committer
	rejector  RequestRejector
	adopter   intentAdopter
	o         IntentRefresherOptions
}

// NewIntentRefresher returns the job. It reads intents through stripe, commits
// decisions through committer, and rejects invalid terms through rejector.
func NewIntentRefresher(
	store RefreshStore, stripe StripeCaller, committer Committer, rejector RequestRejector,
	o IntentRefresherOptions,
) *IntentRefresher {
	return &IntentRefresher{
		store: store, stripe: stripe, committer: committer, rejector: rejector, o: o,
		reader: bulkread.NewIntentRetriever(stripe, o.ListAbove),
		adopter: intentAdopter{
			store: store, committer: committer, rejector: rejector,
			clock: o.Clock, health: o.Health,
		},
	}
}

// Run performs pending refreshes while Stripe is available, for at most
// refreshTimeBudget. One replica at a time does.
func (r *IntentRefresher) Run(ctx context.Context) {
	if r.stripe.IsStripeAvailable() && r.o.Gate.IsOpen(ctx) {
		bulkread.RunOnOneReplica(ctx, r.o.Locks, "refresh", refreshLockTime, func() {
			r.refreshPending(ctx)
		})
	}
}

func (r *IntentRefresher) refreshPending(ctx context.Context) {
	for end := time.Now().Add(refreshTimeBudget); ctx.Err() == nil && time.Now().Before(end); {
		if !r.stripe.IsStripeAvailable() || !r.o.Gate.IsOpen(ctx) {
			return
		}
		poll := r.o.Gate.BeginPoll()
		pending, now, err := r.store.ListDueRefreshes(ctx, bulkread.MaxWaiting)
		if err != nil { // other partitions may have answered
			r.o.Health.ReportError(ctx, "read pending refreshes", err)
		} else if now.IsZero() {
			poll.CloseForLongestWait()
		}
		r.o.Clock.AdjustTo(now)
		if len(pending) == 0 || !r.refreshIntents(ctx, pending, end) {
			return
		}
	}
}

// refreshIntents reads intents as the budget allows until end. It returns false
// if some were not read.
func (r *IntentRefresher) refreshIntents(
	ctx context.Context, pending []hold.PendingRefresh, end time.Time,
) bool {
	var reads []bulkread.PendingRetrieve
	var of []hold.PendingRefresh
	for _, p := range pending {
		h := &p.Hold
		switch {
		case h.State == hold.Working: // the executor reads the intent, or releases the hold
			r.retryRefreshLater(ctx, p)
		case h.State == 0 && !p.AdoptUnknown, h.State.IsFinal():
			r.finishOrPostponeRefresh(ctx, p, time.Time{})
		default:
			read := bulkread.NewPendingRetrieve(h)
			if p.AdoptUnknown { // an event named the intent
				read.ExistedAt, read.MayBeMissing = p.RequestedAt, true
			}
			reads, of = append(reads, read), append(of, p)
		}
	}
	batch := execute.CallBatchOptions{Concurrency: refreshConcurrency, MaxWait: time.Until(end),
		Priority: hold.PriorityRefresh}
	unread := r.reader.RetrieveEach(ctx, reads, batch, func(i int, a hold.Answer) {
		if r.applyRetrieveAnswer(ctx, &of[i], a) {
			r.finishOrPostponeRefresh(ctx, of[i], time.Time{})
		} else {
			r.retryRefreshLater(ctx, of[i])
		}
	})
	return len(unread) == 0
}

// applyRetrieveAnswer applies the answer to the read of an intent to its hold.
// If the intent has no hold, applyRetrieveAnswer schedules it by the terms in
// its metadata. It returns false if the intent must be read again.
func (r *IntentRefresher) applyRetrieveAnswer(
	ctx context.Context, p *hold.PendingRefresh, a hold.Answer,
) (ok bool) {
	var err error
	switch {
	case a.Kind == hold.AnswerOK && a.Intent != nil && p.AdoptUnknown:
		err = r.adopter.adoptFromMetadata(ctx, a.Intent, p.Hold.Account)
	case a.Kind == hold.AnswerOK && a.Intent != nil:
		err = r.commitRetrieveDecision(ctx, &p.Hold, p.Hold.ApplyPaymentIntent(
			a.Intent, r.o.Clock.Now()))
	case a.Kind == hold.AnswerNotFound && p.AdoptUnknown:
		err = r.rejectIntentNotFound(ctx, &p.Hold)
	case a.Kind == hold.AnswerNotFound:
		err = r.commitRetrieveDecision(ctx, &p.Hold, p.Hold.ApplyIntentNotFound(r.o.Clock.Now()))
	default:
		return false
	}
	if err != nil {
		r.o.Logger.Debug("refresh failed; retrying in a few seconds",
			zap.String("hold", p.Hold.ID), zap.Error(err))
	}
	return err == nil
}

// rejectIntentNotFound rejects the terms of an event whose intent Stripe does
// not find under this key. h names the intent.
func (r *IntentRefresher) rejectIntentNotFound(ctx context.Context, h *hold.Hold) error {
	return r.rejector.Reject(ctx, hold.RejectedRequest{
		Source: sourceStripe, ID: h.ID, Code: hold.IntentNotFound, Field: "payment_intent",
		Reason: "Stripe sent an event about this intent but does not find it under this key: " +
			"compare the account and mode of the webhook endpoint and of the key",
	}, h.Account)
}

// errHoldChanged means that another writer changed the hold after it was read.
var errHoldChanged = errors.New("another writer changed the hold")

// commitRetrieveDecision commits the decision about an unclaimed hold after the
// read of its intent.
func (r *IntentRefresher) commitRetrieveDecision(
	ctx context.Context, h *hold.Hold, d hold.Decision,
) error {
	if d.Unchanged {
		return nil
	}
	change := commit.Change{Before: h, Decision: d}
	written, err := commitChangeIfUnmodified(ctx, r.committer, r.o.Health, &change)
	if err == nil && !written {
		return errHoldChanged
	}
	return err
}

func (r *IntentRefresher) retryRefreshLater(ctx context.Context, p hold.PendingRefresh) {
	r.finishOrPostponeRefresh(ctx, p, r.o.Clock.Now().Add(refreshRetryAfter))
}

func (r *IntentRefresher) finishOrPostponeRefresh(
	ctx context.Context, p hold.PendingRefresh, again time.Time,
) {
	if err := r.store.FinishOrPostponeRefresh(ctx, p, again); err != nil {
		r.o.Health.ReportError(ctx, "finish a refresh", err)
	}
}
