package alert

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/execute"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// deliverer delivers one partition's events to one sink. In each round it reads
// a batch of events, sends them grouped by hold, acts on the outcomes, and
// saves its progress under the lease.
type deliverer struct {
	sink         *sink
	partition    int
	pollInterval time.Duration
	observer     DeliveryObserver // may be nil
	log          *zap.Logger
	redis        *health.Reporter
	stage        *health.Stage     // of this sink and partition
	gate         *changes.PollGate // closed while the partition has no event to send

	lease    *sinkLease
	backlog  *backlog
	sender   *sinkSender
	reporter *sinkHealthEventPublisher

	health        sinkHealth
	healthChanged bool // since it was saved
	oldestPending time.Time
	observed      deliveryState // what the observer got last
}

// newDeliverer returns a deliverer whose requests are bounded by sendCtx.
func newDeliverer(sendCtx context.Context, o *Options, s *sink, partition int) *deliverer {
	log := o.Logger.With(zap.String("sink", s.name))
	var gate *changes.PollGate
	if o.Changes != nil {
		gate = o.Changes.NewPartitionPollGate(partition, changes.LongestWait)
	}
	return &deliverer{
		sink: s, partition: partition, pollInterval: o.PollInterval, observer: o.Observer,
		log: log, redis: o.Health, stage: o.Health.AddStage("deliver", nil), gate: gate,
		lease: &sinkLease{store: o.Stores.Leases, sink: s.name, partition: partition,
			replica: o.Replica, duration: time.Minute + 4*o.PollInterval},
		backlog: &backlog{
			sink: s, render: o.renderOptions(), log: log,
			reader: &streamReader{store: o.Stores.Events, partition: partition},
			parked: decodeParkedHolds(nil),
			dead: &unsavedDeadLetters{store: o.Stores.Requeued, sink: s.name, partition: partition,
				log: log},
		},
		sender:   &sinkSender{sink: s, ctx: sendCtx, observer: o.Observer, log: log},
		reporter: newSinkHealthEventPublisher(o.Stores.SystemEvents, s.name, partition, log),
	}
}

// run delivers until ctx ends, whenever this replica has the lease.
func (d *deliverer) run(ctx context.Context) {
	defer d.redis.RemoveStage(d.stage)
	for ctx.Err() == nil {
		wait := d.standbyInterval() + rand.N(d.standbyInterval()/5)
		saved, err := d.lease.acquireAndLoadProgress(ctx)
		if err != nil || !d.lease.isHeld() { // with the lease, the rounds are recorded
			d.recordRoundForReadiness(ctx, "acquire the lease of a sink", err)
		}
		if err == nil && d.lease.isHeld() {
			d.restoreProgress(ctx, saved)
			wait, err = d.deliverUntilLeaseEnds(ctx)
		}
		d.reportBacklogToObserver(deliveryState{})
		if err != nil && ctx.Err() == nil {
			d.log.Debug("Redis unavailable: deliveries paused", zap.Error(err))
		}
		execute.SleepUnlessCanceled(ctx, wait)
	}
}

// recordRoundForReadiness records for readiness whether Redis accepted an
// operation.
func (d *deliverer) recordRoundForReadiness(ctx context.Context, operation string, err error) {
	ctx, run := d.stage.BeginRun(ctx)
	defer run.EndRun()
	if err != nil && !errors.Is(err, errLeaseLost) {
		d.redis.ReportError(ctx, operation, err)
	}
}

// standbyInterval is how often a replica without the lease asks for it.
func (d *deliverer) standbyInterval() time.Duration { return 10 * d.pollInterval }

// deliverUntilLeaseEnds delivers until the lease is lost or ctx ends, and
// releases the lease then.
func (d *deliverer) deliverUntilLeaseEnds(ctx context.Context) (time.Duration, error) {
	defer func() {
		if d.lease.isHeld() {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if p, err := d.unsavedProgress(); err == nil {
				_ = d.lease.saveProgressAndRelease(last, p) // it ends by itself
			}
		}
	}()
	for ctx.Err() == nil {
		wait, err := d.deliverRound(ctx)
		d.recordRoundForReadiness(ctx, "deliver events", err)
		if errors.Is(err, errLeaseLost) {
			d.lease.setLost()
			return d.standbyInterval(), nil
		}
		if err != nil {
			// Progress stays in memory: if the lease is still valid when Redis
			// answers again, no event is sent twice.
			wait = sinkBackoffMin
			if d.lease.hasExpired() {
				d.lease.setLost()
				return wait, err
			}
		}
		d.reportBacklogToObserver(d.snapshotDeliveryState())
		execute.SleepUnlessCanceled(ctx, wait)
		d.gate.WaitUntilOpen(ctx)
	}
	return 0, nil
}

// deliverRound delivers one batch. It returns how long to wait before the next.
func (d *deliverer) deliverRound(ctx context.Context) (time.Duration, error) {
	if d.hasUnsavedChanges() || d.lease.expiresWithin(minLeaseLeft+2*d.pollInterval) {
		if err := d.saveProgressAndExtendLease(ctx); err != nil {
			return 0, err
		}
	}
	now := utcNow()
	if d.health.DisabledAddress != "" {
		return d.standbyInterval(), nil
	}
	if wait := d.health.NextAttemptAt.Sub(now); wait > 0 {
		return min(wait, d.standbyInterval()), d.publishHealthIfChanged(ctx, now)
	}
	poll := d.gate.BeginPoll()
	batch, err := d.readBatchAndReportLost(ctx)
	if err != nil {
		return 0, err
	}
	groups, err := d.backlog.collectMessageGroups(ctx, batch, d.health.hasFailedAttempts(), now)
	if err != nil {
		return 0, err
	}
	if d.sink.takesDigests && !d.health.hasFailedAttempts() {
		d.sender.sendDigests(ctx, groups)
	} else {
		d.sender.sendGroupsConcurrently(ctx, groups)
	}
	delivered := d.backlog.recordDelivered(groups)
	if ctx.Err() != nil {
		// Requests that were cut off say nothing about the sink.
		d.backlog.reader.advanceCursorPastDone(batch)
		return 0, nil
	}
	if failure, gone := d.parkOrDeadLetterFailures(groups, delivered); gone {
		d.disableSinkUntilNewAddress(ctx, failure.reason)
	} else {
		d.updateHealthAndDeadLetterOldEvents(ctx, batch, failure, delivered)
	}
	wait, err := d.advanceCursorAndSave(ctx, batch)
	if err == nil && len(batch) == 0 && len(groups) == 0 {
		d.closePollGateIfIdle(poll, now)
	}
	return wait, err
}

// closePollGateIfIdle closes the gate after a round that had nothing to send.
func (d *deliverer) closePollGateIfIdle(poll changes.Poll, now time.Time) {
	if len(d.backlog.parked.holds) == 0 && !d.health.hasFailedAttempts() && !d.hasUnsavedChanges() {
		poll.CloseFor(d.backlog.dead.timeUntilRequeuedCheck(now))
	}
}

// readBatchAndReportLost reads the next events, and reports those that were
// trimmed.
func (d *deliverer) readBatchAndReportLost(ctx context.Context) ([]hold.StreamEvent, error) {
	reader := d.backlog.reader
	batch, trimmed, err := reader.readBatchAfterCursor(ctx)
	if err != nil || !trimmed {
		return batch, err
	}
	lost, err := reader.skipTrimmedEvents(ctx, d.health.hasFailedAttempts())
	if err != nil {
		return nil, err
	}
	if lost != 0 {
		d.reporter.publishEventsLost(ctx, reader.pos.Cursor, lost)
	}
	reader.forgetTrimmedDoneEntries(batch)
	return batch, nil
}

// advanceCursorAndSave moves the cursor, and saves and reports what the round
// changed.
func (d *deliverer) advanceCursorAndSave(
	ctx context.Context, batch []hold.StreamEvent,
) (time.Duration, error) {
	rest := d.backlog.reader.advanceCursorPastDone(batch)
	d.oldestPending = d.backlog.oldestPendingEventTime(rest)
	if d.hasUnsavedChanges() {
		if err := d.saveProgressAndExtendLease(ctx); err != nil {
			return 0, err
		}
	}
	if err := d.publishHealthIfChanged(ctx, utcNow()); err != nil {
		return 0, err
	}
	if len(batch) == eventBatchSize && !d.health.hasFailedAttempts() {
		return 0, nil
	}
	return d.pollInterval, nil
}

// publishHealthIfChanged publishes that the sink fails or has recovered, if
// that is new.
func (d *deliverer) publishHealthIfChanged(ctx context.Context, now time.Time) error {
	failing, needed := d.health.needsHealthReport(now)
	if !needed {
		return nil
	}
	if err := d.reporter.publishFailingOrRecovered(ctx, failing, d.health.Reason, now); err != nil {
		return err
	}
	d.health.FailureReported, d.healthChanged = failing, true
	return nil
}

// reportBacklogToObserver hands the backlog to the observer; the zero state if
// another replica delivers.
func (d *deliverer) reportBacklogToObserver(s deliveryState) {
	previous := d.observed
	d.observed = s
	if d.observer == nil {
		return
	}
	d.observer.SinkBacklogChanged(d.sink.name, d.partition, s.OldestPending, s.ParkedHolds)
	if s.Cursor != "" && previous.Cursor != "" {
		d.observer.EventsDropped(d.sink.name, max(0, s.DeadLetters-previous.DeadLetters),
			max(0, s.EventsLost-previous.EventsLost))
	}
}

const (
	sendTimeout        = 15 * time.Second // of one attempt
	roundTimeout       = 20 * time.Second // a round starts no attempt after it
	maxConcurrentSends = 8                // holds of a batch
)

// sinkSender makes attempts to deliver messages to one sink, and records each.
type sinkSender struct {
	sink *sink
	// ctx bounds the requests. It ends some seconds after the deliverer's, so
	// that a request under way is not cut off when holdd stops.
	ctx      context.Context
	observer DeliveryObserver // may be nil
	log      *zap.Logger
}

// sendGroupsConcurrently delivers several groups at once, each in order up to
// its first failure.
func (s *sinkSender) sendGroupsConcurrently(ctx context.Context, groups []*messageGroup) {
	end := time.Now().Add(roundTimeout)
	slots := make(chan struct{}, max(1, s.sink.maxConcurrent))
	var sending sync.WaitGroup
	for _, g := range groups {
		slots <- struct{}{}
		sending.Go(func() {
			defer func() { <-slots }()
			for i := range g.messages {
				if ctx.Err() != nil || time.Now().After(end) {
					return
				}
				g.attempted = true
				g.lastOutcome = s.sendOneAttempt(g.messages[i : i+1])
				if g.lastOutcome.result != resultDelivered {
					return
				}
				g.delivered++
			}
		})
	}
	sending.Wait()
}

// sendDigests delivers the groups as messages of up to [maxDigestAlerts]
// alerts, up to the first failure.
func (s *sinkSender) sendDigests(ctx context.Context, groups []*messageGroup) {
	end := time.Now().Add(roundTimeout)
	var digest []sinkMessage
	var groupOf []*messageGroup // of each message in digest
	flush := func() bool {
		if len(digest) == 0 {
			return true
		}
		out := s.sendOneAttempt(digest)
		for _, g := range groupOf {
			g.attempted, g.lastOutcome = true, out
			if out.result == resultDelivered {
				g.delivered++
			}
		}
		digest, groupOf = nil, nil
		return out.result == resultDelivered && time.Now().Before(end) && ctx.Err() == nil
	}
	for _, g := range groups {
		for i := range g.messages {
			alone := s.sink.tracksIncidents && g.messages[i].alert.HoldID == ""
			if alone && !flush() {
				return
			}
			digest, groupOf = append(digest, g.messages[i]), append(groupOf, g)
			if (alone || len(digest) >= maxDigestAlerts) && !flush() {
				return
			}
		}
	}
	flush()
}

// sendOneAttempt makes one attempt. A callback is sent by callbackSender.send.
func (s *sinkSender) sendOneAttempt(messages []sinkMessage) deliveryOutcome {
	ctx, cancel := context.WithTimeout(s.ctx, sendTimeout)
	defer cancel()
	out := s.sink.send(ctx, messages)
	for i := range messages {
		s.reportAttemptToObserver(&messages[i], out)
	}
	return out
}

func (s *sinkSender) reportAttemptToObserver(m *sinkMessage, out deliveryOutcome) {
	kind := "event"
	if m.alert != nil {
		kind = string(m.alert.Kind)
	}
	if s.observer != nil {
		s.observer.DeliveryAttempted(s.sink.name, kind, resultNames[out.result])
	}
	if out.result != resultDelivered {
		s.log.Debug("event not accepted", zap.String("id", m.eventID),
			zap.String("kind", kind), zap.String("reason", out.reason))
	}
}
