// Package erase erases the personal data of a settled hold: from its record and
// its index, the events, the dead letters, rejected requests, saved responses
// and the quarantine. deploy/docs/personal-data.md lists what holdd keeps and
// where.
//
// What the money did stays: amounts, times, ids of Stripe. An event that a sink
// has not received yet is delivered without the personal data. While the events
// of the hold are parked for a sink, the erasure is refused, because the replica
// that delivers them would write them again.
package erase

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/commit"
	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

// maxTries bounds how often the record is read again because another writer was
// first.
const maxTries = 5

// Store reads holds and erases what it keeps beside their records. store.Store
// implements it.
type Store interface {
	ReadHolds(ctx context.Context, ids ...string) ([]*hold.Hold, time.Time, error)
	// ListSinksWithParkedEvents returns those of the sinks for which events are
	// parked.
	ListSinksWithParkedEvents(ctx context.Context, id string, sinks []string) ([]string, error)
	ErasePersonalDataInEvents(ctx context.Context, id string, blank func([]byte) []byte,
		deliveredUpTo func(partition int) (entry string, err error)) error
	ErasePersonalDataInDeadLetters(ctx context.Context, id string, sinks []string,
		blank func([]byte) []byte) error
	DeleteRequestsAndQuarantinedRecords(ctx context.Context, id string) error
}

// Committer writes decisions. [commit.Committer] implements it.
type Committer interface {
	CommitWithRetry(ctx context.Context, changes []commit.Change) ([]bool, error)
	RecordAct(ctx context.Context, e hold.AuditLogEntry)
}

// DeliveryProgressReader reports the progress of the sinks. alert.Notifier
// implements it.
type DeliveryProgressReader interface {
	SinkNames() []string
	// EarliestSinkCursor returns the entry of a partition's stream that every
	// sink has passed. The highest possible entry means that no sink waits.
	EarliestSinkCursor(ctx context.Context, partition int) (entry string, err error)
}

// Options configure an [Eraser].
type Options struct {
	Deliveries DeliveryProgressReader // nil: there are no sinks
	Health     *health.Reporter
	Logger     *zap.Logger
}

// Eraser erases personal data. It is safe for concurrent use.
type Eraser struct {
	store     Store
	committer Committer
	o         Options
}

// New returns an eraser.
func New(s Store, c Committer, o Options) *Eraser {
	return &Eraser{store: s, committer: c, o: o}
}

// Erase erases the personal data of a settled hold. It returns the hold and
// Redis' time. It can be repeated. Errors are *[hold.Problem] or wrap
// [health.ErrUnavailable]; after one of these, a part may be erased.
func (e *Eraser) Erase(ctx context.Context, id, by string) (hold.Hold, time.Time, error) {
	h, now, err := e.eraseRecord(ctx, id, by)
	if err != nil {
		return h, now, err
	}
	sinks := e.sinkNames()
	deliveredUpTo := func(partition int) (string, error) { return e.readDeliveredUpTo(ctx, partition) }
	err = errors.Join(
		e.store.ErasePersonalDataInEvents(ctx, id, event.ErasePersonalData, deliveredUpTo),
		e.store.ErasePersonalDataInDeadLetters(ctx, id, sinks, event.ErasePersonalData),
		e.store.DeleteRequestsAndQuarantinedRecords(ctx, id))
	if err != nil {
		return h, now, e.o.Health.ReportAndWrapUnavailable(ctx, "erase personal data", err)
	}
	e.o.Logger.Info("personal data erased", zap.String("event", "hold.forgotten"),
		zap.String("hold", id), zap.String("by", by))
	e.committer.RecordAct(ctx, hold.AuditLogEntry{By: by, Act: hold.ActPersonalDataErased, Hold: id,
		Account: h.Account})
	return h, now, nil
}

// eraseRecord erases the record of a hold.
func (e *Eraser) eraseRecord(
	ctx context.Context, id, by string,
) (h hold.Hold, now time.Time, err error) {
	if err := hold.CheckPaymentIntentID(id); err != nil {
		return h, now, err
	}
	for range maxTries {
		holds, now, err := e.store.ReadHolds(ctx, id)
		if err != nil {
			return h, now, e.o.Health.ReportAndWrapUnavailable(ctx, "read a hold", err)
		}
		if holds[0] == nil {
			return h, now, &hold.Problem{Code: hold.HoldNotFound,
				Detail: fmt.Sprintf("there is no hold %s", id)}
		}
		d, err := holds[0].ErasePersonalData(by, now)
		if err != nil {
			return h, now, err
		}
		if err := e.refuseIfEventsParked(ctx, id); err != nil || d.Unchanged {
			return d.Hold, now, err
		}
		changes := []commit.Change{{Before: holds[0], Decision: d, At: now}}
		written, err := e.committer.CommitWithRetry(ctx, changes)
		if err != nil {
			return h, now, e.o.Health.ReportAndWrapUnavailable(ctx, "write a hold", err)
		}
		if written[0] {
			return changes[0].Decision.Hold, now, nil
		}
	}
	return h, now, fmt.Errorf("concurrent changes to hold %s: %w", id, health.ErrUnavailable)
}

// refuseIfEventsParked refuses the erasure while events of the hold are parked.
func (e *Eraser) refuseIfEventsParked(ctx context.Context, id string) error {
	parked, err := e.store.ListSinksWithParkedEvents(ctx, id, e.sinkNames())
	if err != nil {
		return e.o.Health.ReportAndWrapUnavailable(ctx, "read parked events", err)
	}
	if len(parked) == 0 {
		return nil
	}
	return &hold.Problem{Code: hold.EventsUndelivered, Detail: fmt.Sprintf("events of hold %s wait "+
		"for %s, which rejects them: repair it, or repeat the request when they are dead letters, "+
		"after three days at most", id, strings.Join(parked, ", "))}
}

func (e *Eraser) sinkNames() []string {
	if e.o.Deliveries == nil {
		return nil
	}
	return e.o.Deliveries.SinkNames()
}

// lastEntry is after every entry of a stream.
const lastEntry = "18446744073709551615-18446744073709551615"

func (e *Eraser) readDeliveredUpTo(ctx context.Context, partition int) (string, error) {
	if e.o.Deliveries == nil {
		return lastEntry, nil
	}
	return e.o.Deliveries.EarliestSinkCursor(ctx, partition)
}
