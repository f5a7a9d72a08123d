package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/hold"
)

// proposedChange is a decision of a comparison.
type proposedChange struct {
	before   hold.Hold // zero for a new hold
	decision hold.Decision
	finding  Finding    // its kind is empty if there is nothing to report
	release  *hold.Call // sent once the decision is written; nil for none
}

// proposeAdoption decides about an intent that holds money and has no hold. ok is
// false if it changes nothing.
func (c *comparison) proposeAdoption(
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
		c.recordAndReportFinding(ctx, f)
		return proposedChange{}, false
	case err != nil:
		f.Kind, f.Detail = FoundRejected, err.Error()
		c.recordAndReportFinding(ctx, f)
		return proposedChange{}, false
	}
	// The committer does the same. It is done here for the finding, also in a
	// dry run.
	d.RequireAttentionIfPolicyDue(&hold.Hold{}, now, c.o.Rules)
	h := &d.Hold
	f.Kind, f.Reference, f.ExpiresAt = FoundScheduled, h.Reference, time.Time{}
	f.Detail = describeNextAction(h)
	if h.State == hold.Attention {
		f.Kind, f.Detail = FoundAttention, describeAttention(h)
	}
	return proposedChange{decision: d, finding: f}, true
}

// proposeUpdate updates a hold to the state of its intent at Stripe. ok is false
// if it changes nothing.
func (c *comparison) proposeUpdate(
	h *hold.Hold, in *hold.PaymentIntent, now time.Time,
) (ch proposedChange, ok bool) {
	d := h.ApplyPaymentIntent(in, now)
	if d.Unchanged {
		return proposedChange{}, false
	}
	d.RequireAttentionIfPolicyDue(h, now, c.o.Rules)
	after := &d.Hold
	f := Finding{PaymentIntent: h.PaymentIntent, Account: h.Account, Reference: h.Reference,
		Amount: after.Amount, Currency: after.Currency}
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

// commitChanges writes each change whose hold has not changed since it was
// compared. The next run compares the others again. A dry run only records the
// findings.
func (c *comparison) commitChanges(ctx context.Context, changes []proposedChange) error {
	if c.run.dryRun {
		for i := range changes {
			c.recordAndReportFinding(ctx, changes[i].finding)
		}
		return nil
	}
	if len(changes) == 0 {
		return nil
	}
	now := c.o.Clock.Now()
	writes := make([]commit.Change, len(changes))
	for i := range changes {
		writes[i] = commit.Change{Before: &changes[i].before, Decision: changes[i].decision,
			At: now}
	}
	written, err := c.o.Committer.CommitWithRetry(ctx, writes)
	if err != nil {
		return fmt.Errorf("commit changes: %w", err)
	}
	for i := range changes {
		if !written[i] {
			continue
		}
		if changes[i].before.Version == 0 {
			c.listed.add(changes[i].decision.Hold.ID)
		}
		if release := changes[i].release; release != nil {
			released, err := c.releaseLeftoverIntent(ctx, release)
			if err != nil {
				return err
			}
			if !released {
				changes[i].finding.Kind = FoundOrphan
				changes[i].finding.Detail += "; its release has no outcome yet"
			}
		}
		c.recordAndReportFinding(ctx, changes[i].finding)
	}
	return nil
}

// recordAndReportFinding adds a finding to the run, and reports it if only the
// operator can settle it. A dry run reports none.
func (c *comparison) recordAndReportFinding(ctx context.Context, f Finding) {
	if f.Kind == "" {
		return
	}
	c.run.addFinding(f)
	if c.run.dryRun || !f.needsSeparateReport() || c.findingsLogged >= maxFindingLines {
		return
	}
	if c.reporter.reportOncePerInterval(ctx, f) {
		c.findingsLogged++
	}
}

// lastChangeTime returns the time of a hold's last history entry, or of its
// creation.
func lastChangeTime(h *hold.Hold) time.Time {
	if n := len(h.History); n > 0 {
		return h.History[n-1].At
	}
	return h.CreatedAt
}
