package alert

import (
	"context"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// SystemEventStore publishes system events, once over all replicas.
// store.Outbox implements it.
type SystemEventStore interface {
	event.Store
	ReportConditions(ctx context.Context, replica string, ttl, quiet time.Duration,
		list []hold.DaemonConditionReport) ([]hold.DaemonConditionChange, error)
}

// sinkHealthEventPublisher publishes what happens to one sink, for the other sinks.
type sinkHealthEventPublisher struct {
	publisher *event.SystemEventPublisher
	store     SystemEventStore
	sink      string
	partition int
	log       *zap.Logger
}

func newSinkHealthEventPublisher(
	store SystemEventStore, sink string, partition int, log *zap.Logger,
) *sinkHealthEventPublisher {
	return &sinkHealthEventPublisher{publisher: event.NewSystemEventPublisher(store, utcNow),
		store: store, sink: sink, partition: partition, log: log}
}

func (r *sinkHealthEventPublisher) publishSinkDisabled(ctx context.Context, cursor, reason string) {
	r.log.Error("sink disabled by its receiver (410 Gone): set a new address to resume",
		zap.String("event", string(event.SinkDisabled)), zap.String("reason", reason))
	r.publishOncePerSubject(ctx, event.SinkDisabled, cursor, event.EventData{Detail: reason})
}

func (r *sinkHealthEventPublisher) publishEventsLost(ctx context.Context, cursor string, n int64) {
	r.log.Error("events trimmed from the stream before the sink accepted them",
		zap.String("event", string(event.SinkEventsLost)), zap.Int64("events", n))
	r.publishOncePerSubject(ctx, event.SinkEventsLost, strconv.Itoa(r.partition)+":"+cursor,
		event.EventData{Count: n})
}

func (r *sinkHealthEventPublisher) publishDeadLetters(ctx context.Context, now time.Time, n int64) {
	r.publishOncePerSubject(ctx, event.SinkDeadLetters, now.Format(time.DateOnly),
		event.EventData{Count: n})
}

// publishOncePerSubject publishes a system event of the sink, once per subject.
func (r *sinkHealthEventPublisher) publishOncePerSubject(
	ctx context.Context, t hold.EventType, subject string, d event.EventData,
) {
	d.Sink = r.sink
	if _, err := r.publisher.PublishOnce(ctx, t, r.sink+":"+subject, d); err != nil {
		r.log.Warn("event about a sink not published", zap.String("event", string(t)),
			zap.Error(err))
	}
}

// publishFailingOrRecovered publishes that the sink fails or has recovered.
// Each partition reports for itself, and the episode is published once.
func (r *sinkHealthEventPublisher) publishFailingOrRecovered(
	ctx context.Context, failing bool, reason string, now time.Time,
) error {
	c := hold.DaemonConditionReport{Name: "sink_" + r.sink, Active: failing,
		RaisedEvent: event.EncodeSystemEvent(event.SinkFailing, now,
			event.EventData{Sink: r.sink, Detail: reason}),
		ClearedEvent: event.EncodeSystemEvent(event.SinkRecovered, now,
			event.EventData{Sink: r.sink})}
	// The partition reports, whichever replica delivers it.
	_, err := r.store.ReportConditions(ctx, "partition-"+strconv.Itoa(r.partition),
		deadLetterAfter, 0, []hold.DaemonConditionReport{c})
	return err
}
