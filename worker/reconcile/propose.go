package reconcile

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/hold"
)

// orphanAge is how long after its creation an unscheduled intent counts as an
// orphan.
const orphanAge = 10 * time.Minute

// changeProposer decides what an intent at Stripe changes in the schedule.
type changeProposer struct {
	rules     hold.DecisionRules
	clock     *clock.RedisClock
	findings  *findingRecorder
	leftovers *leftoverReleaser
}

// proposeForListedIntent decides what a listed intent changes. h is its hold, nil if
// there is none. ok is false if it changes nothing.
func (p *changeProposer) proposeForListedIntent(
	ctx context.Context, account string, h *hold.Hold, in *hold.PaymentIntent,
	requestedAt time.Time,
) (ch proposedChange, ok bool) {
	stillHeld := in.Status == hold.StatusRequiresCapture
	now := p.clock.Now()
	switch {
	case h == nil && stillHeld:
		return p.proposeAdoption(ctx, account, in, now)
	case h != nil && in.IsLeftoverOfHold(h):
		return p.leftovers.proposeForLeftoverIntent(ctx, h, in, requestedAt)
	case h == nil || h.State.IsFinal():
		return proposedChange{}, false
	case stillHeld && !lastChangeTime(h).Before(requestedAt.Add(-clockSlack)):
		// The list may be older than the hold. A final status never changes.
		return proposedChange{}, false
	}
	return p.proposeUpdate(h, in, now)
}

// proposeAdoption decides about an intent that holds money and has no hold. ok is
// false if it changes nothing.
func (p *changeProposer) proposeAdoption(
	ctx context.Context, account string, in *hold.PaymentIntent, now time.Time,
) (ch proposedChange, ok bool) {
	f := Finding{
		PaymentIntent: in.ID, Account: account, Amount: in.AmountCapturable, Currency: in.Currency,
		Reference: in.GuessReference(),
	}
	f.ExpiresAt, _ = in.Deadline(now)
	d, err := hold.NewFromMetadata(in, account, "reconcile", now)
	switch {
	case errors.Is(err, hold.ErrNoTerms):
		f.Kind, f.Detail = FoundOrphan, "holds money and is not scheduled; holdd leaves it alone"
		if now.Sub(in.Created) <= orphanAge {
			f.Kind, f.Detail = FoundRecent, "skipped: created in the last "+
				strconv.Itoa(int(orphanAge/time.Minute))+" minutes, so it may still be scheduled"
		}
		p.findings.recordFindingAndReportManual(ctx, f)
		return proposedChange{}, false
	case err != nil:
		f.Kind, f.Detail = FoundRejected, err.Error()
		p.findings.recordFindingAndReportManual(ctx, f)
		return proposedChange{}, false
	}
	// The committer does the same. It is done here for the finding, also in a
	// dry run.
	d.RequireAttentionIfPolicyDue(&hold.Hold{}, now, p.rules)
	h := &d.Hold
	f.Kind, f.Reference, f.ExpiresAt = FoundScheduled, h.Reference, deadlineIfOpen(h)
	f.Detail = describeNextAction(h)
	if h.State == hold.Attention {
		f.Kind, f.Detail = FoundAttention, describeAttention(h)
	}
	return proposedChange{decision: d, finding: f}, true
}

// proposeUpdate updates a hold to the state of its intent at Stripe. ok is false
// if it changes nothing.
func (p *changeProposer) proposeUpdate(
	h *hold.Hold, in *hold.PaymentIntent, now time.Time,
) (ch proposedChange, ok bool) {
	d := h.ApplyPaymentIntent(in, now)
	if d.Unchanged {
		return proposedChange{}, false
	}
	d.RequireAttentionIfPolicyDue(h, now, p.rules)
	after := &d.Hold
	f := Finding{PaymentIntent: h.PaymentIntent, Account: h.Account, Reference: h.Reference,
		Amount: after.Amount, Currency: after.Currency, ExpiresAt: deadlineIfOpen(after)}
	switch {
	case after.State == hold.Captured:
		f.Kind, f.Amount, f.Detail = FoundCaptured, after.CapturedAmount, "captured elsewhere"
	case after.State == hold.Canceled:
		f.Kind, f.Detail = FoundCanceled, "released elsewhere"
	case after.State == hold.Expired:
		f.Kind, f.Detail = FoundExpired, "released by the card network"
	case after.State == hold.Attention && h.State != hold.Attention:
		f.Kind, f.Detail = FoundAttention, describeAttention(after)
	case after.CapturedElsewhere != h.CapturedElsewhere:
		f.Kind = FoundChanged
		f.Detail = hold.FormatAmount(after.CapturedElsewhere, after.Currency) +
			" captured by another system, " + hold.FormatAmount(after.Amount, after.Currency) +
			" left"
	case h.Verified && h.Amount != after.Amount:
		f.Kind, f.Detail = FoundChanged, "the amount was "+hold.FormatAmount(h.Amount, h.Currency)
	case h.Verified && !h.ExpiresAt.Equal(after.ExpiresAt):
		f.Kind = FoundChanged
		f.Detail = "expires at " + after.ExpiresAt.Format(time.RFC3339) + ", not at " +
			h.ExpiresAt.Format(time.RFC3339)
	}
	return proposedChange{before: *h, decision: d, finding: f}, true
}

// proposeNotFound makes a hold require attention because Stripe does not find its
// intent. ok is false if it changes nothing.
func proposeNotFound(h *hold.Hold, now time.Time) (ch proposedChange, ok bool) {
	d := h.ApplyIntentNotFound(now)
	if d.Unchanged {
		return proposedChange{}, false
	}
	return proposedChange{before: *h, decision: d, finding: Finding{
		Kind: FoundAttention, PaymentIntent: h.PaymentIntent, Account: h.Account,
		Reference: h.Reference, Amount: h.Amount, Currency: h.Currency,
		Detail: "Stripe does not find this intent under this account and mode",
	}}, true
}

// deadlineIfOpen returns the deadline of a hold, zero if it holds no money any more.
func deadlineIfOpen(h *hold.Hold) time.Time {
	if h.State.IsFinal() {
		return time.Time{}
	}
	return h.ExpiresAt
}

// describeNextAction describes a hold's next action.
func describeNextAction(h *hold.Hold) string {
	switch {
	case h.State == hold.Paused:
		return "paused"
	case h.NextOp != 0:
		return h.NextOp.String() + " at " + h.NextAt.Format(time.RFC3339)
	}
	return h.State.String()
}

// describeAttention describes why a hold requires attention.
func describeAttention(h *hold.Hold) string {
	return h.Reason.String() + ": " + h.History[len(h.History)-1].Note
}

// lastChangeTime returns the time of a hold's last history entry, or of its
// creation.
func lastChangeTime(h *hold.Hold) time.Time {
	if n := len(h.History); n > 0 {
		return h.History[n-1].At
	}
	return h.CreatedAt
}
