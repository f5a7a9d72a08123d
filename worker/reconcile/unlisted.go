package reconcile

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdd/holdd/worker/hold"
)

// maxUnansweredReads is after how many unanswered reads in a row the run is
// interrupted.
const maxUnansweredReads = 2 * maxConcurrentReads

// compareUnlistedHolds reads the intents of open holds that no list contained.
// These intents are older than listWindow, or Stripe does not find them.
func (c *comparison) compareUnlistedHolds(ctx context.Context) error {
	counts, err := c.stores.Holds.CountHolds(ctx)
	if err != nil {
		return fmt.Errorf("count holds: %w", err)
	}
	passed := int64(0)
	return c.eachOpenHoldPage(ctx, func(page []hold.ListedHold) error {
		var unlisted []hold.Hold
		for i := range page {
			if needsRetrieve(&page[i].Hold, &c.listed, &c.run.state) {
				unlisted = append(unlisted, page[i].Hold)
			}
		}
		for batch := range slices.Chunk(unlisted, maxConcurrentReads) {
			if err := c.compareHoldBatch(ctx, batch); err != nil {
				return err
			}
		}
		passed += int64(len(page))
		c.run.updateCheckpoint(func(s *runCheckpoint) {
			s.Percent = 90 + int(10*min(1, float64(passed)/float64(max(1, counts.Open))))
		})
		return nil
	})
}

// needsRetrieve reports whether the intent of an open hold must be read. A hold
// that changed since the run began is left to the next run.
func needsRetrieve(h *hold.Hold, listed *listedHolds, run *runCheckpoint) bool {
	switch {
	case listed.has(h.PaymentIntent), h.State == 0, h.State.Final(), h.State == hold.Working:
		return false
	case !lastChangeAt(h).Before(run.StartedAt), run.Unreadable[h.Account]:
		return false
	}
	return true
}

// compareHoldBatch reads the intents of a few holds and applies them. Each hold
// was read before its intent, so that an applied intent is never older than the
// record it changes.
func (c *comparison) compareHoldBatch(ctx context.Context, holds []hold.Hold) error {
	answers, err := c.reader.retrieveBatch(ctx, holds)
	if err != nil {
		return err
	}
	now := c.o.Clock.Now()
	var changes []proposedChange
	failed := int64(0)
	for i := range holds {
		h, a := &holds[i], &answers[i]
		switch {
		case a.Kind == hold.AnswerOK && a.Intent != nil:
			c.unanswered = 0
			if ch, ok := c.proposeUpdate(h, a.Intent, now); ok {
				changes = append(changes, ch)
			}
		case a.Kind == hold.AnswerNotFound:
			c.unanswered = 0
			if ch, ok := proposeNotFound(h, now); ok {
				changes = append(changes, ch)
			}
		case a.Kind == hold.AnswerUnauthorized:
			return errKeyRejected
		case a.Kind == hold.AnswerForbidden: // concerns only this account; gateway.Caller logs it
			failed++
		default:
			c.unanswered++
			failed++
		}
	}
	c.run.updateCheckpoint(func(s *runCheckpoint) {
		s.Retrieved += int64(len(holds)) - failed
		s.RetrieveFailed += failed
	})
	if err := c.commitChanges(ctx, changes); err != nil {
		return err
	}
	if c.unanswered >= maxUnansweredReads {
		return errNoAnswer
	}
	return c.run.saveProgress(ctx)
}
