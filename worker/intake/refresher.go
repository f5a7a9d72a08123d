package intake

import (
	"context"
	"errors"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	refreshBatch       = 100             // pending refreshes of a partition read at once
	refreshConcurrency = 8               // intents read at once
	refreshTimeBudget  = 5 * time.Second // one tick goes on so long while there is more
	refreshRetryAfter  = 5 * time.Second // until a refresh that failed is tried again
)

// RefreshStore keeps the intents that are to be read at Stripe.
type RefreshStore interface {
	WebhookStore
	// PendingRefreshes returns up to n pending refreshes of each partition,
	// oldest first.
	PendingRefreshes(ctx context.Context, n int) ([]hold.PendingRefresh, time.Time, error)
	// FinishRefresh removes a refresh, or puts it off to again, unless it was
	// requested anew meanwhile.
	FinishRefresh(ctx context.Context, p hold.PendingRefresh, again time.Time) error
}

// RefresherOptions configure a [Refresher].
type RefresherOptions struct {
	Clock  *clock.Redis
	Health *health.Redis
	Logger *zap.Logger
}

// Refresher is the job that reads at Stripe what webhooks have queued. However
// many events there were, it reads each intent once.
type Refresher struct {
	store     RefreshStore
	stripe    StripeCaller
	committer Committer
	rejector  RequestRejector
	adopter   adopter
	o         RefresherOptions
}

// NewRefresher returns the job. It reads intents from stripe and writes what
// they show through committer; terms in metadata that are invalid go to
// rejector.
func NewRefresher(
	store RefreshStore, stripe StripeCaller, committer Committer, rejector RequestRejector,
	o RefresherOptions,
) *Refresher {
	return &Refresher{
		store: store, stripe: stripe, committer: committer, rejector: rejector, o: o,
		adopter: adopter{
			store: store, committer: committer, rejector: rejector,
			clock: o.Clock, health: o.Health,
		},
	}
}

// Run refreshes what is pending while Stripe is available, for a few seconds at
// most.
func (r *Refresher) Run(ctx context.Context) {
	for end := time.Now().Add(refreshTimeBudget); ctx.Err() == nil && time.Now().Before(end); {
		if !r.stripe.Available() {
			return
		}
		pending, now, err := r.store.PendingRefreshes(ctx, refreshBatch)
		if err != nil { // what could be read is refreshed
			r.o.Health.ReportError(ctx, "read pending refreshes", err)
		}
		r.o.Clock.Sync(now)
		if len(pending) == 0 || !r.refreshIntents(ctx, pending, end) {
			return
		}
	}
}

// refreshIntents reads intents as far as the budget allows until end. It
// reports whether all were read.
func (r *Refresher) refreshIntents(
	ctx context.Context, pending []hold.PendingRefresh, end time.Time,
) bool {
	var calls []hold.Call
	var of []hold.PendingRefresh
	for _, p := range pending {
		h := &p.Hold
		switch {
		case h.State == hold.Working: // its claim sees the same at Stripe, or releases the hold
			r.retryLater(ctx, p)
		case h.State == 0 && !p.AdoptUnknown, h.State.Final():
			r.finishRefresh(ctx, p, time.Time{})
		default:
			call := hold.Call{Op: hold.OpRead, PaymentIntent: h.PaymentIntent, Account: h.Account}
			calls = append(calls, call)
			of = append(of, p)
		}
	}
	if len(calls) == 0 {
		return true
	}
	batch := execute.BatchOptions{Concurrency: refreshConcurrency, MaxWait: time.Until(end)}
	unsent := r.stripe.DoEach(ctx, calls, batch, func(i int, a hold.Answer) {
		r.refreshIntent(ctx, of[i], a)
	})
	return len(unsent) == 0
}

// refreshIntent applies what Stripe says of an intent to its hold, or schedules
// the intent by the terms in its metadata.
func (r *Refresher) refreshIntent(ctx context.Context, p hold.PendingRefresh, a hold.Answer) {
	var err error
	switch {
	case a.Kind == hold.AnswerOK && a.Intent != nil && p.AdoptUnknown:
		err = r.adopter.adoptFromMetadata(ctx, a.Intent, p.Hold.Account)
	case a.Kind == hold.AnswerOK && a.Intent != nil:
		err = r.commitReadDecision(ctx, &p.Hold, p.Hold.ApplyIntent(a.Intent, r.o.Clock.Now()))
	case a.Kind == hold.AnswerNotFound && p.AdoptUnknown:
		err = r.rejectUnknownIntent(ctx, &p.Hold)
	case a.Kind == hold.AnswerNotFound:
		err = r.commitReadDecision(ctx, &p.Hold, p.Hold.ApplyNotFound(r.o.Clock.Now()))
	default:
		r.retryLater(ctx, p)
		return
	}
	if err != nil {
		r.o.Logger.Debug("refresh failed: retrying in a moment",
			zap.String("hold", p.Hold.ID), zap.Error(err))
		r.retryLater(ctx, p)
		return
	}
	r.finishRefresh(ctx, p, time.Time{})
}

// rejectUnknownIntent rejects the terms of an event whose intent this key doesn't see.
// h names the intent.
func (r *Refresher) rejectUnknownIntent(ctx context.Context, h *hold.Hold) error {
	return r.rejector.Reject(ctx, hold.RejectedRequest{
		Source: sourceStripe, ID: h.ID, Code: hold.IntentNotFound, Field: "payment_intent",
		Reason: "an event names it and this key doesn't see it: " +
			"compare the endpoint's account and mode with the key's",
	}, h.Account)
}

// errHoldChanged says that another writer changed the hold after it was read.
var errHoldChanged = errors.New("another writer changed the hold")

// commitReadDecision commits what a read showed of a hold that is not claimed.
func (r *Refresher) commitReadDecision(ctx context.Context, h *hold.Hold, d hold.Decision) error {
	if d.Unchanged {
		return nil
	}
	change := commit.Change{Before: h, Decision: d}
	written, err := commitChange(ctx, r.committer, r.o.Health, &change)
	if err == nil && !written {
		return errHoldChanged
	}
	return err
}

func (r *Refresher) retryLater(ctx context.Context, p hold.PendingRefresh) {
	r.finishRefresh(ctx, p, r.o.Clock.Now().Add(refreshRetryAfter))
}

func (r *Refresher) finishRefresh(ctx context.Context, p hold.PendingRefresh, again time.Time) {
	if err := r.store.FinishRefresh(ctx, p, again); err != nil {
		r.o.Health.ReportError(ctx, "finish a refresh", err)
	}
}
