package alert

import (
	"context"
	"fmt"
	"time"

	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// parkFailedGroupsAndUpdateSinkHealth acts on each group that was not delivered, and
// then on the sink: if it accepted an event of another hold, the failure is the
// event's.
func (d *deliverer) parkFailedGroupsAndUpdateSinkHealth(
	ctx context.Context, groups []*messageGroup, batch []hold.StreamEvent, delivered bool,
) {
	now := utcNow()
	var failure *deliveryOutcome // of the sink
	for _, g := range groups {
		if !g.attempted || g.lastOutcome.result == resultDelivered {
			continue // a group that the round had no time for did not fail
		}
		if g.lastOutcome.result == resultGone {
			d.disableSink(ctx, g.lastOutcome.reason)
			return
		}
		out := d.parkFailedGroup(g, delivered, now)
		if out != nil && (failure == nil || out.retryAfter > failure.retryAfter) {
			failure = out
		}
	}
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
	case delivered && d.health.isFailing():
		d.log.Info("sink recovered", zap.Duration("after", now.Sub(d.health.FailingSince)))
		d.health.recordRecovery()
		d.healthChanged = true
	}
}

// parkFailedGroup acts on a group that was not delivered. It returns an
// outcome that is the sink's failure and not the group's.
func (d *deliverer) parkFailedGroup(
	g *messageGroup, delivered bool, now time.Time,
) *deliveryOutcome {
	out := &g.lastOutcome
	switch {
	case g.source == fromRequeued:
		if out.result != resultRetryLater {
			d.backlog.dead.add(g.messages[0].eventJSON, out.reason)
			d.backlog.dead.markRequeuedFinished(g.messages[0].entryID)
		}
		return nil
	case g.source == fromParked:
		d.backlog.deferOrDeadLetterParkedHold(g, now)
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

// disableSink stops deliveries until the address of the sink changes.
func (d *deliverer) disableSink(ctx context.Context, reason string) {
	d.health.DisabledAddress, d.health.Reason = d.sink.addressDigest, reason
	d.healthChanged = true
	d.reporter.publishSinkDisabled(ctx, d.backlog.reader.pos.Cursor, reason)
}
