package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// RequestSpanLinker records a change on the span of its request, and decides which
// span the hold keeps. tracing.Tracer implements it.
type RequestSpanLinker interface {
	LinkRequestSpanToHold(ctx context.Context, before, after *hold.Hold)
}

// ChangerOptions configure a [Changer].
type ChangerOptions struct {
	Rules  hold.DecisionRules
	Health *health.Reporter
	Tracer RequestSpanLinker // may be nil
}

// Changer accepts requests to change a hold. It is safe for concurrent use.
//
// Each method returns the current hold and Redis' time. revision is the
// revision that the caller has read; 0 accepts any. by is the author in the
// hold's history. Errors are *[hold.Problem] or wrap [health.ErrUnavailable].
type Changer struct {
	holds     HoldReader
	committer Committer
	o         ChangerOptions
}

// NewChanger returns a changer that reads holds and writes through committer.
func NewChanger(holds HoldReader, committer Committer, o ChangerOptions) *Changer {
	return &Changer{holds: holds, committer: committer, o: o}
}

// PatchTerms changes a hold's terms.
func (c *Changer) PatchTerms(
	ctx context.Context, id string, p hold.Patch, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) {
		d, err := h.ApplyPatch(&p, by, now)
		if err != nil {
			return d, err
		}
		return d.RefuseIfCaptureTooLate(&h, now, c.o.Rules)
	}
	return c.decideAndCommit(ctx, id, revision, c.withConfirmationCheck(p.Confirm, decide))
}

// RequestCapture requests a capture now. The executor captures the hold later,
// and the hold's state shows when it is captured. Amount 0 means the amount in
// the terms.
func (c *Changer) RequestCapture(
	ctx context.Context, id string, req hold.CaptureRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return c.decideAndCommit(ctx, id, revision,
		func(h hold.Hold, now time.Time) (hold.Decision, error) {
			return h.RequestCapture(req, by, now)
		})
}

// RequestCancel requests a release now. Once it is accepted, holdd never
// captures the hold. reason is the cancellation reason; empty means the
// setting.
func (c *Changer) RequestCancel(
	ctx context.Context, id, reason string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return c.decideAndCommit(ctx, id, revision,
		func(h hold.Hold, now time.Time) (hold.Decision, error) {
			return h.RequestCancel(reason, by, now)
		})
}

// PauseHold suspends the hold's scheduled action until [Changer.ResumeHold].
func (c *Changer) PauseHold(
	ctx context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Pause(0, by, now) }
	return c.decideAndCommit(ctx, id, revision, c.withConfirmationCheck(confirmed, decide))
}

// ResumeHold schedules a paused hold by its terms again.
func (c *Changer) ResumeHold(
	ctx context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Resume(by, now) }
	return c.decideAndCommit(ctx, id, revision, c.withConfirmationCheck(confirmed, decide))
}

// AcknowledgeWarnings stops further warnings about the hold's deadline.
func (c *Changer) AcknowledgeWarnings(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return c.decideAndCommit(ctx, id, revision,
		func(h hold.Hold, now time.Time) (hold.Decision, error) {
			return h.AcknowledgeWarnings(by, now)
		})
}

// decideChangeFunc decides a change to a hold at Redis' time.
type decideChangeFunc func(h hold.Hold, now time.Time) (hold.Decision, error)

// withConfirmationCheck wraps decide. It refuses a decision after which on_expiry
// would act at once, unless the request confirms that.
func (c *Changer) withConfirmationCheck(confirmed bool, decide decideChangeFunc) decideChangeFunc {
	return func(h hold.Hold, now time.Time) (hold.Decision, error) {
		d, err := decide(h, now)
		if err != nil {
			return d, err
		}
		return d.RefuseUnlessPolicyActionConfirmed(&h, confirmed, now, c.o.Rules)
	}
}

// decideAndCommit decides a change and commits it. If another writer was first,
// it decides again on the new record. The other writer may have built on this
// very change if the reply to its commit was lost. Then the hold's history
// includes the change, and the change was accepted.
func (c *Changer) decideAndCommit(
	ctx context.Context, id string, revision uint64, decide decideChangeFunc,
) (hold.Hold, time.Time, error) {
	var tried *commit.Change
	for range maxConflictRetries {
		h, now, err := c.readExistingHold(ctx, id)
		if err != nil {
			return h, now, err
		}
		if tried != nil && hold.HistoryDescendsFrom(&h, &tried.Decision.Hold) {
			// The terms differ: another request changed the hold again, or left
			// the same entry in the same millisecond.
			if !hold.HaveSameTerms(&h, &tried.Decision.Hold) {
				return h, now, tooManyConflictsError(id)
			}
			c.committer.RecordCommittedDespiteError(*tried)
			return h, now, nil
		}
		if revision != 0 && revision != h.Revision {
			return h, now, &hold.Problem{Code: hold.RevisionMismatch,
				Detail: fmt.Sprintf("hold %s is at revision %d, not %d: read it again",
					id, h.Revision, revision)}
		}
		d, err := decide(h, now)
		if err != nil || d.Unchanged {
			return h, now, err
		}
		change := commit.Change{Before: &h, Decision: d, At: now}
		if c.o.Tracer != nil {
			c.o.Tracer.LinkRequestSpanToHold(ctx, &h, &change.Decision.Hold)
		}
		written, err := commitChangeIfUnmodified(ctx, c.committer, c.o.Health, &change)
		if err != nil {
			return h, now, err
		}
		if written {
			change.Decision.Hold.Version = h.Version + 1
			return change.Decision.Hold, now, nil
		}
		tried = &change
	}
	return hold.Hold{}, time.Time{}, tooManyConflictsError(id)
}

func (c *Changer) readExistingHold(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if err := hold.CheckPaymentIntentID(id); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	h, now, err := readHoldOrNil(ctx, c.holds, c.o.Health, id)
	if err != nil {
		return hold.Hold{}, now, err
	}
	if h == nil {
		return hold.Hold{}, now, &hold.Problem{Code: hold.HoldNotFound,
			Detail: fmt.Sprintf("there is no hold %s: schedule it first", id)}
	}
	return *h, now, nil
}
