package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// leftoverReleaser decides about intents that hold money beside the one of
// their hold, and releases them.
type leftoverReleaser struct {
	reader   *pacedRetriever
	findings *findingRecorder
	clock    *clock.RedisClock
	log      *zap.Logger
}

// proposeForLeftoverIntent decides about an intent that holds money beside the
// one of the hold that it names. holdd releases it if it is certainly an
// earlier one of the hold. Any other may be of a booking system that copies
// metadata: it is reported. ok is false if the hold does not change.
func (l *leftoverReleaser) proposeForLeftoverIntent(
	ctx context.Context, h *hold.Hold, in *hold.PaymentIntent, requestedAt time.Time,
) (ch proposedChange, ok bool) {
	now := l.clock.Now()
	if !lastChangeTime(h).Before(requestedAt.Add(-clockSlack)) || h.State == hold.Working {
		return proposedChange{}, false // the next run compares them again
	}
	f := Finding{Kind: FoundReleased, PaymentIntent: in.ID, Account: h.Account,
		Reference: h.Reference, Amount: in.AmountCapturable, Currency: in.Currency,
		Detail: "held money beside " + h.PaymentIntent + " of hold " + h.ID}
	if !h.State.IsFinal() {
		if d := h.ApplyPaymentIntent(in, now); !d.Unchanged {
			if d.Hold.PaymentIntent == in.ID {
				f.Kind, f.Detail = FoundChanged, "the renewal that Redis had lost"
			}
			return proposedChange{before: *h, decision: d, finding: f}, true
		}
	}
	if hold.MustReleaseLeftoverIntent(h, in) {
		if !h.State.IsFinal() {
			return proposedChange{}, false // the hold is about to be captured or released
		}
		d, release := hold.RecordLeftoverReleaseCall(*h, in.ID, now)
		return proposedChange{before: *h, decision: d, finding: f, release: &release}, true
	}
	f.Kind = FoundOrphan
	f.Detail = "names hold " + h.ID + " and holds money beside it, which " + describeHoldState(h) +
		"; holdd leaves it alone, because its metadata may be a copy"
	if now.Sub(in.Created) <= orphanAge {
		f.Kind = FoundRecent
	}
	f.ExpiresAt, _ = in.Deadline(now)
	l.findings.recordFindingAndReportManual(ctx, f)
	return proposedChange{}, false
}

// describeHoldState describes how a hold stands.
func describeHoldState(h *hold.Hold) string {
	if h.State.IsFinal() {
		return "has ended (" + h.State.String() + ")"
	}
	return "is held by " + h.PaymentIntent
}

// sendLeftoverRelease cancels an intent that was left beside a settled hold.
// The attempt is in the hold's history. Without an outcome, the next run finds
// the intent again. It reports whether Stripe shows the intent canceled.
func (l *leftoverReleaser) sendLeftoverRelease(
	ctx context.Context, call *hold.Call,
) (released bool, err error) {
	want := hold.BudgetRequest{Account: call.Account, Op: hold.OpCancel, Requests: 1,
		Priority: hold.PriorityReconcile}
	reserved, err := l.reader.budget.ReserveRequests(ctx, want)
	if err != nil {
		return false, fmt.Errorf("reserve a release: %w", err)
	}
	if reserved[0].Requests == 0 {
		return false, nil
	}
	a := l.reader.sendReservedCall(ctx, *call)
	l.log.Warn("reconcile.release", zap.String("payment_intent", call.PaymentIntent),
		zap.String("account", call.Account), zap.String("idempotency_key", call.Key),
		zap.String("request_id", a.RequestID), zap.Stringer("answer", a.Kind))
	return a.Intent != nil && a.Intent.Status == hold.StatusCanceled, nil
}
