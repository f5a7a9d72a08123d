package repair

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// readTimeout bounds the read of the intent.
const readTimeout = 10 * time.Second

// Store reads and quarantines records. store.Holds implements it.
type Store interface {
	ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
	ReadRawRecord(ctx context.Context, id string) (hold.RawRecord, error)
	// QuarantineRecord removes a record unless it has changed since it was read.
	QuarantineRecord(ctx context.Context, raw hold.RawRecord, by string) (ok bool, err error)
	ReadQuarantinedRecord(ctx context.Context, id string) (q hold.QuarantinedRecord, found bool,
		err error)
}

// StripeCaller sends a read within the budget. gateway.Caller implements it.
type StripeCaller interface {
	WaitForBudgetAndSend(ctx context.Context, call hold.Call, maxWait time.Duration) (hold.Answer,
		error)
}

// Committer writes decisions. [commit.Committer] implements it.
type Committer interface {
	CommitWithRetry(ctx context.Context, changes []commit.Change) ([]bool, error)
	RecordAct(ctx context.Context, e hold.AuditLogEntry)
}

// Options configure a [Repairer].
type Options struct {
	Clock  *clock.RedisClock
	Health *health.Reporter
	Logger *zap.Logger
}

// Repairer repairs unreadable records. It is safe for concurrent use.
type Repairer struct {
	store     Store
	stripe    StripeCaller
	committer Committer
	o         Options
}

// New returns a repairer.
func New(s Store, stripe StripeCaller, c Committer, o Options) *Repairer {
	return &Repairer{store: s, stripe: stripe, committer: c, o: o}
}

// Request asks for the repair of one hold.
type Request struct {
	ID string
	// Account is the hold's connected account. Empty: the one in the record, or
	// the own account.
	Account string
	Force   bool // repair a record of a later release too
	By      string
}

// Result is what became of a repair.
type Result struct {
	Quarantined hold.QuarantinedRecord
	// Hold is the rebuilt hold. It has no id if none could be rebuilt; Reason
	// then says why.
	Hold   hold.Hold
	Reason string
	Now    time.Time // Redis' time
}

// Repair quarantines the record of a hold and rebuilds the hold. Errors are
// *[hold.Problem] or wrap [health.ErrUnavailable].
func (r *Repairer) Repair(ctx context.Context, q Request) (Result, error) {
	if err := hold.CheckPaymentIntentID(q.ID); err != nil {
		return Result{}, err
	}
	raw, err := r.readRepairableRecord(ctx, &q)
	if err != nil {
		return Result{}, err
	}
	intent, err := r.retrieveIntent(ctx, q.ID, q.Account)
	if err != nil {
		return Result{}, err
	}
	if raw.Exists {
		moved, err := r.store.QuarantineRecord(ctx, raw, q.By)
		if err != nil {
			return Result{}, r.o.Health.ReportAndWrapUnavailable(ctx, "quarantine a record", err)
		}
		if !moved {
			return Result{}, newChangedMeanwhileError(q.ID)
		}
		r.o.Logger.Warn("unreadable record quarantined", zap.String("event", "record.quarantined"),
			zap.String("hold", q.ID), zap.String("by", q.By), zap.Int("bytes", raw.Size))
		r.committer.RecordAct(ctx, hold.AuditLogEntry{By: q.By, Act: hold.ActRecordRepaired, Hold: q.ID,
			Account: q.Account})
	}
	return r.rebuildAndCommitIfMissing(ctx, &q, raw.Unmirrored, intent)
}

// readRepairableRecord reads the record and refuses one that must not be repaired. It sets
// the account that the request does not name. A record that an earlier repair
// has quarantined does not exist any more.
func (r *Repairer) readRepairableRecord(ctx context.Context, q *Request) (hold.RawRecord, error) {
	raw, err := r.store.ReadRawRecord(ctx, q.ID)
	if err != nil {
		return raw, r.o.Health.ReportAndWrapUnavailable(ctx, "read a record", err)
	}
	switch {
	case raw.Readable:
		return raw, &hold.Problem{Code: hold.RecordReadable,
			Detail: fmt.Sprintf("the record of hold %s is readable: there is nothing to repair", q.ID)}
	case raw.Exists && raw.Later && !q.Force:
		return raw, &hold.Problem{Code: hold.RecordOfLaterRelease, Detail: fmt.Sprintf("the record "+
			"of hold %s seems to be of a newer holdd: start that release again; "+
			"force rebuilds the hold and loses what the record says", q.ID)}
	case !raw.Exists:
		old, found, err := r.store.ReadQuarantinedRecord(ctx, q.ID)
		if err != nil {
			return raw, r.o.Health.ReportAndWrapUnavailable(ctx, "read the quarantine", err)
		}
		if !found {
			return raw, &hold.Problem{Code: hold.HoldNotFound,
				Detail: fmt.Sprintf("there is no hold %s: schedule it first", q.ID)}
		}
		raw.Unmirrored, raw.Account = old.Unmirrored, old.Account
	}
	if q.Account == "" {
		q.Account = raw.Account
	}
	return raw, nil
}

func (r *Repairer) retrieveIntent(
	ctx context.Context, id, account string,
) (*hold.PaymentIntent, error) {
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	call := hold.Call{Op: hold.OpRead, PaymentIntent: id, Account: account, MayBeMissing: true}
	a, err := r.stripe.WaitForBudgetAndSend(bounded, call, readTimeout)
	switch {
	case err == nil && a.Kind == hold.AnswerOK && a.Intent != nil:
		return a.Intent, nil
	case err == nil && a.Kind == hold.AnswerNotFound:
		return nil, &hold.Problem{Code: hold.IntentNotFound, Field: "account",
			Detail: fmt.Sprintf("Stripe doesn't know %s under this key and account %q: "+
				"name the hold's connected account", id, account)}
	}
	return nil, fmt.Errorf("no answer from Stripe: %w", health.ErrUnavailable)
}

// rebuildAndCommitIfMissing writes the hold of an intent, if there is none.
func (r *Repairer) rebuildAndCommitIfMissing(
	ctx context.Context, q *Request, unmirrored bool, in *hold.PaymentIntent,
) (Result, error) {
	quarantined, _, err := r.store.ReadQuarantinedRecord(ctx, q.ID)
	if err != nil {
		return Result{}, r.o.Health.ReportAndWrapUnavailable(ctx, "read the quarantine", err)
	}
	holds, now, err := r.store.ReadHolds(ctx, q.ID)
	if err != nil {
		return Result{}, r.o.Health.ReportAndWrapUnavailable(ctx, "read a hold", err)
	}
	r.o.Clock.AdjustTo(now)
	result := Result{Quarantined: quarantined, Now: now}
	if holds[0] != nil { // reconcile or another repair was first
		result.Hold = *holds[0]
		return result, nil
	}
	d, reason := hold.RebuildFromIntent(in, q.Account, unmirrored, q.By, now)
	if reason != "" {
		result.Reason = reason
		return result, nil
	}
	changes := []commit.Change{{Before: &hold.Hold{}, Decision: d, At: now}}
	written, err := r.committer.CommitWithRetry(ctx, changes)
	if err != nil {
		return Result{}, r.o.Health.ReportAndWrapUnavailable(ctx, "write a hold", err)
	}
	if !written[0] {
		return Result{}, newChangedMeanwhileError(q.ID)
	}
	result.Hold = changes[0].Decision.Hold
	result.Hold.Version = 1
	return result, nil
}

func newChangedMeanwhileError(id string) error {
	return fmt.Errorf("another writer changed hold %s: %w", id, health.ErrUnavailable)
}
