package reconcile

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdd/holdd/worker/clock"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

const (
	openHoldsPageSize = 256     // holds in a page of the schedule
	maxOpenHoldsPages = 1 << 16 // pages of the schedule in one pass
)

// scheduleReader reads the holds of the schedule for one run.
type scheduleReader struct {
	holds  HoldReader
	run    *run // its lock is renewed between two pages
	clock  *clock.RedisClock
	health *health.Reporter
}

// eachOpenHoldPage calls visit with each page of the open holds.
func (s *scheduleReader) eachOpenHoldPage(
	ctx context.Context, visit func(page []hold.HoldAtPosition) error,
) error {
	after := hold.SortedSetPosition{}
	for range maxOpenHoldsPages {
		page, now, err := s.holds.ReadSortedSetPage(ctx, hold.SetExpiring,
			after, openHoldsPageSize)
		if err != nil {
			return fmt.Errorf("read the schedule: %w", err)
		}
		s.clock.AdjustTo(now)
		if err := visit(page); err != nil {
			return err
		}
		if len(page) < openHoldsPageSize {
			return nil
		}
		after = page[len(page)-1].Position
		if err := s.run.renewLockIfDue(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readHoldsByID reads holds; a hold that does not exist is nil. unreadable has
// the positions of holds that exist but cannot be decoded.
func (s *scheduleReader) readHoldsByID(
	ctx context.Context, ids []string,
) (holds []*hold.Hold, unreadable map[int]bool, err error) {
	holds, now, err := s.holds.ReadHolds(ctx, ids...)
	if err == nil {
		s.clock.AdjustTo(now)
		return holds, nil, nil
	}
	if !errors.Is(err, hold.ErrUnreadableRecord) {
		return nil, nil, fmt.Errorf("read holds: %w", err)
	}
	s.health.ReportError(ctx, "compare with Stripe", err)
	unreadable = map[int]bool{}
	for i, h := range holds {
		if h != nil {
			continue
		}
		_, _, err := s.holds.ReadHolds(ctx, ids[i])
		switch {
		case errors.Is(err, hold.ErrUnreadableRecord):
			unreadable[i] = true
		case err != nil:
			return nil, nil, fmt.Errorf("read holds: %w", err)
		}
	}
	return holds, unreadable, nil
}
