package intake

import (
	"context"
	"time"

	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/hold"
)

const (
	// incrementWait is how long a caller waits for the outcome of an increment.
	incrementWait = 15 * time.Second
	// incrementPoll is the first pause between two reads of the hold.
	incrementPoll, maxIncrementPoll = 25 * time.Millisecond, 400 * time.Millisecond
)

// RequestIncrementAndWait asks the bank for a higher authorized amount and
// waits for its answer. If there is none within 15 s, the hold shows the
// increment that is still pending. The error is a *[hold.Problem] of code
// [hold.Declined] if the bank declined, and the old amount stays held.
func (c *Changer) RequestIncrementAndWait(
	ctx context.Context, id string, req hold.IncrementRequest, revision uint64, by string,
) (hold.Hold, time.Time, error) {
	decide := func(h hold.Hold, now time.Time) (hold.Decision, error) {
		return h.RequestIncrement(req, by, now, c.o.Rules)
	}
	h, now, err := c.decideAndCommit(ctx, id, revision, decide)
	if err != nil || !hold.IsIncrementPending(&h) {
		return h, now, err
	}
	requested := hold.LastIncrementRequestTime(&h)
	wait, cancel := context.WithTimeout(ctx, incrementWait)
	defer cancel()
	for pause := incrementPoll; execute.SleepUnlessCanceled(wait, pause); pause = min(2*pause,
		maxIncrementPoll) {
		seen, at, err := c.readExistingHold(wait, id)
		if err != nil {
			continue // the request is accepted: only its outcome is not known yet
		}
		h, now = seen, at
		if pending, err := hold.FindIncrementOutcomeInHistory(&h, req.Amount, requested); !pending {
			return h, now, err
		}
	}
	return h, now, nil
}
