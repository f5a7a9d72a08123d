package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// maxUnansweredReads is after how many unanswered reads in a row the run is
	// interrupted.
	maxUnansweredReads = 2 * maxConcurrentReads
	// notFoundRecheckAfter is how long after the last 404 the intents are read
	// again, because Stripe rarely does not find an intent for a moment.
	notFoundRecheckAfter = 2 * time.Second
	// maxNotFound bounds the holds whose intent is read again. The next run
	// reads the others.
	maxNotFound = 1000
)

// unlistedComparer compares the open holds that no list contained.
type unlistedComparer struct {
	run      *run
	schedule *scheduleReader
	reader   *pacedRetriever
	listed   *listedIntentIDs
	proposer *changeProposer
	writer   *changeWriter
	clock    *clock.RedisClock

	unanswered int // reads in a row without an answer
}

// compareUnlistedHolds reads the intents of open holds that no list contained.
// These intents are older than listWindow, or Stripe does not find them. Those
// that it does not find are read again after all others: if the key is that of
// another account, gateway.Caller has then seen many 404s and believes none.
func (u *unlistedComparer) compareUnlistedHolds(ctx context.Context) error {
	counts, err := u.schedule.holds.CountHolds(ctx)
	if err != nil {
		return fmt.Errorf("count holds: %w", err)
	}
	passed := int64(0)
	var notFound []hold.Hold
	err = u.schedule.eachOpenHoldPage(ctx, func(page []hold.HoldAtPosition) error {
		var unlisted []hold.Hold
		for i := range page {
			if needsUnlistedComparison(&page[i].Hold, u.listed, &u.run.state) {
				unlisted = append(unlisted, page[i].Hold)
			}
		}
		for batch := range slices.Chunk(unlisted, maxConcurrentReads) {
			missing, err := u.compareHoldBatch(ctx, batch, false)
			if err != nil {
				return err
			}
			notFound = append(notFound, missing[:min(len(missing), maxNotFound-len(notFound))]...)
		}
		passed += int64(len(page))
		u.run.updateCheckpoint(func(s *runCheckpoint) {
			s.Percent = 90 + int(10*min(1, float64(passed)/float64(max(1, counts.Open))))
		})
		return nil
	})
	if err != nil || len(notFound) == 0 {
		return err
	}
	return u.recheckNotFound(ctx, notFound)
}

// recheckNotFound reads the intents that Stripe did not find a second time. A
// hold whose record changed since requires a new first read, in the next run.
func (u *unlistedComparer) recheckNotFound(ctx context.Context, notFound []hold.Hold) error {
	if err := sleep(ctx, notFoundRecheckAfter); err != nil {
		return err
	}
	for batch := range slices.Chunk(notFound, maxConcurrentReads) {
		if _, err := u.compareHoldBatch(ctx, batch, true); err != nil {
			return err
		}
	}
	return nil
}

// needsUnlistedComparison reports whether the intent of an open hold must be read. A
// hold that changed since the run began is left to the next run.
func needsUnlistedComparison(h *hold.Hold, listed *listedIntentIDs, run *runCheckpoint) bool {
	switch {
	case listed.has(h.PaymentIntent), h.State == 0, h.State.IsFinal(), h.State == hold.Working:
		return false
	case !lastChangeTime(h).Before(run.StartedAt), run.Unreadable[h.Account]:
		return false
	}
	return true
}

// compareHoldBatch reads the intents of a few holds and applies them. Each hold
// was read before its intent, so that an applied intent is never older than the
// record it changes. A 404 is applied if believe404 is true; otherwise the hold
// is in notFound.
func (u *unlistedComparer) compareHoldBatch(
	ctx context.Context, holds []hold.Hold, believe404 bool,
) (notFound []hold.Hold, err error) {
	answers, err := u.reader.retrieveIntentBatch(ctx, holds)
	if err != nil {
		return nil, err
	}
	now := u.clock.Now()
	var changes []proposedChange
	failed := int64(0)
	for i := range holds {
		h, a := &holds[i], &answers[i]
		switch {
		case a.Kind == hold.AnswerOK && a.Intent != nil:
			u.unanswered = 0
			if ch, ok := u.proposer.proposeUpdate(h, a.Intent, now); ok {
				changes = append(changes, ch)
			}
		case a.Kind == hold.AnswerNotFound && !believe404:
			notFound = append(notFound, *h)
		case a.Kind == hold.AnswerNotFound:
			u.unanswered = 0
			if ch, ok := proposeNotFound(h, now); ok {
				changes = append(changes, ch)
			}
		case a.Kind == hold.AnswerUnauthorized:
			return nil, errKeyRejected
		case a.Kind == hold.AnswerForbidden: // concerns only this account; gateway.Caller logs it
			failed++
		default:
			u.unanswered++
			failed++
		}
	}
	u.run.updateCheckpoint(func(s *runCheckpoint) {
		s.Retrieved += int64(len(holds)-len(notFound)) - failed
		s.RetrieveFailed += failed
	})
	if err := u.writer.commitChangesAndSendReleases(ctx, changes); err != nil {
		return nil, err
	}
	if u.unanswered >= maxUnansweredReads {
		return nil, errNoAnswer
	}
	return notFound, u.run.saveProgressAndRenewLock(ctx)
}
