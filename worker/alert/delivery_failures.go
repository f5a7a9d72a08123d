package alert

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// parkOrDeadLetterFailures acts on each group that was not delivered. It returns
// an outcome for which the sink is to blame, if there is one, and whether the
// sink asked for no more events.
func (d *deliverer) parkOrDeadLetterFailures(
	groups []*messageGroup, delivered bool,
) (failure *deliveryOutcome, gone bool) {
	now := utcNow()
	for _, g := range groups {
		if !g.attempted || g.lastOutcome.result == resultDelivered {
			continue // a group that the round had no time for did not fail
		}
		if g.lastOutcome.result == resultGone {
			return &g.lastOutcome, true
		}
		out := d.parkOrDeadLetterGroup(g, delivered, now)
		if out != nil && (failure == nil || out.retryAfter > failure.retryAfter) {
			failure = out
		}
	}
	return failure, false
}

// updateHealthAndDeadLetterOldEvents records how the sink did in a round. While a sink fails, it
// makes dead letters of the events that are too old.
func (d *deliverer) updateHealthAndDeadLetterOldEvents(
	ctx context.Context, batch []hold.StreamEvent, failure *deliveryOutcome, delivered bool,
) {
	now := utcNow()
	switch {
	case failure != nil && failure.result == resultRetryLater:
		d.health.recordRateLimited(failure, now)
		d.healthChanged = true
	case failure != nil:
		if d.health.recordFailure(failure, now) {
			d.log.Warn("sink failing: events wait in the stream",
				zap.String("reason", failure.reason))
		}
		d.healthChanged = true
		if n := d.backlog.deadLetterOldEvents(batch, failure.reason, now); n > 0 {
			d.reporter.publishDeadLetters(ctx, now, n)
		}
	case delivered && d.health.hasFailedAttempts():
		d.log.Info("sink recovered", zap.Duration("after", now.Sub(d.health.FailingSince)))
		d.health.recordRecovery()
		d.healthChanged = true
	}
}

// parkOrDeadLetterGroup acts on a group that was not delivered. It returns an
// outcome that is the sink's failure and not the group's.
func (d *deliverer) parkOrDeadLetterGroup(
	g *messageGroup, delivered bool, now time.Time,
) *deliveryOutcome {
	out := &g.lastOutcome
	switch {
	case g.source == fromRequeued:
		if out.result != resultRetryLater {
			d.backlog.dead.add(g.messages[0].eventJSON, out.reason)
			d.backlog.dead.removeRequeuedOnSave(g.messages[0].entryID)
		}
		return nil
	case g.source == fromParked:
		d.backlog.deferHoldOrDeadLetterEvent(g, now)
		return nil
	case out.result == resultRejected || out.result == resultFailed && delivered:
		if d.backlog.parked.isFull() {
			return &deliveryOutcome{result: resultFailed, reason: fmt.Sprintf(
				"events of %d holds are not accepted: %s", maxParkedHolds, out.reason)}
		}
		d.backlog.parkHold(g, now)
		return nil
	}
	return out
}

// disableSinkUntilNewAddress stops deliveries until the address of the sink
// changes.
func (d *deliverer) disableSinkUntilNewAddress(ctx context.Context, reason string) {
	d.health.DisabledAddress, d.health.Reason = d.sink.addressDigest, reason
	d.healthChanged = true
	d.reporter.publishSinkDisabled(ctx, d.backlog.reader.pos.Cursor, reason)
}
