package intake

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// ChangerOptions configure a [Changer].
type ChangerOptions struct {
	Rules  hold.Rules
	Health *health.Redis
}

// Changer accepts requests to change a hold. It is safe for concurrent use.
//
// Each method returns the hold as it is now and Redis' time. revision is the
// one that the caller has seen; 0 accepts any. by says for the history who
// asks. Errors are *[hold.Problem] or wrap [health.ErrUnavailable].
type Changer struct {
	holds     HoldReader
	committer Committer
	o         ChangerOptions
}

// NewChanger returns a changer that reads holds and writes through committer.
func NewChanger(holds HoldReader, committer Committer, o ChangerOptions) *Changer {
	return &Changer{holds: holds, committer: committer, o: o}
}

// Patch changes a hold's terms.
func (c *Changer) Patch(
	ctx context.Context, id string, p hold.Patch, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return h.ApplyPatch(&p, by, now)
	}
	return c.changeHold(ctx, id, revision, c.requireConfirmation(p.Confirm, decide))
}

// Capture asks for the money now. The executor captures it; the hold's state
// tells when that is done. Amount 0 means what the terms say.
func (c *Changer) Capture(
	ctx context.Context, id string, amount int64, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return c.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return h.RequestCapture(amount, by, now)
	})
}

// Cancel asks to release the money now. Once it is accepted, nothing captures
// the hold any more.
func (c *Changer) Cancel(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return c.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return h.RequestCancel(by, now)
	})
}

// Pause suspends the hold's own time until it is resumed.
func (c *Changer) Pause(
	ctx context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Pause(0, by, now) }
	return c.changeHold(ctx, id, revision, c.requireConfirmation(confirmed, decide))
}

// Resume returns a paused hold to its terms.
func (c *Changer) Resume(
	ctx context.Context, id string, revision uint64, confirmed bool, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) { return h.Resume(by, now) }
	return c.changeHold(ctx, id, revision, c.requireConfirmation(confirmed, decide))
}

// Acknowledge stops further warnings about the hold's deadline.
func (c *Changer) Acknowledge(
	ctx context.Context, id string, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	return c.changeHold(ctx, id, revision, func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return h.Acknowledge(by, now)
	})
}

// decideFunc decides about a hold, given Redis' time.
type decideFunc func(h hold.Hold, now time.Time) (hold.Decision, error)

// requireConfirmation refuses what decide decides if the deadline's policy would act at
// once and the request does not confirm that.
func (c *Changer) requireConfirmation(confirmed bool, decide decideFunc) decideFunc {
	return func(h hold.Hold, now time.Time) (hold.Decision, error) {
		d, err := decide(h, now)
		if err != nil {
			return d, err
		}
		return d.Confirm(&h, confirmed, now, c.o.Rules)
	}
}

// changeHold decides about a hold and commits the decision. If another writer was
// first, it decides again on what that one wrote. That writer may have gone on
// from this very change, whose reply was lost: then the change was accepted,
// however the hold has changed since.
func (c *Changer) changeHold(
	ctx context.Context, id string, revision uint64, decide decideFunc,
) (hold.Hold, time.Time, error) {
	var tried *commit.Change
	for range maxConflictRetries {
		h, now, err := c.getHold(ctx, id)
		if err != nil {
			return h, now, err
		}
		if tried != nil && hold.HistoryIncludes(&h, &tried.Decision.Hold) {
			// Other terms: the hold was changed once more, or another request
			// left the same entry in the same millisecond.
			if !hold.HaveSameTerms(&h, &tried.Decision.Hold) {
				return h, now, errConflict(id)
			}
			c.committer.RecordCommitted(*tried)
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
		written, err := commitChange(ctx, c.committer, c.o.Health, &change)
		if err != nil {
			return h, now, err
		}
		if written {
			change.Decision.Hold.Version = h.Version + 1
			return change.Decision.Hold, now, nil
		}
		tried = &change
	}
	return hold.Hold{}, time.Time{}, errConflict(id)
}

func (c *Changer) getHold(ctx context.Context, id string) (hold.Hold, time.Time, error) {
	if err := hold.CheckPaymentIntentID(id); err != nil {
		return hold.Hold{}, time.Time{}, err
	}
	h, now, err := readHold(ctx, c.holds, c.o.Health, id)
	if err != nil {
		return hold.Hold{}, now, err
	}
	if h == nil {
		return hold.Hold{}, now, &hold.Problem{Code: hold.HoldNotFound,
			Detail: fmt.Sprintf("there is no hold %s: schedule it first", id)}
	}
	return *h, now, nil
}
