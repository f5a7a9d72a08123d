package alert

import (
	"context"
	"encoding/json"
	"time"

	"github.com/holdd/holdd/worker/changes"
	"github.com/holdd/holdd/worker/hold"
	"go.uber.org/zap"
)

const (
	deadLetterAfter       = 72 * time.Hour
	requeuedCheckInterval = 10 * time.Second
)

// RequeuedDeadLetterStore reads the dead letters that the operator requeued.
// store.Outbox implements it.
type RequeuedDeadLetterStore interface {
	ReadRequeuedDeadLetters(ctx context.Context, sink string, partition, n int) (
		[]hold.StreamEvent, error)
}

// unsavedDeadLetters are the events that one sink and partition gave up since
// the last save, and the requeued ones that are finished.
type unsavedDeadLetters struct {
	store     RequeuedDeadLetterStore
	sink      string
	partition int
	log       *zap.Logger

	total     int64 // ever
	given     []hold.DeadLetter
	finished  []string  // requeued entries that were delivered or given up again
	checkedAt time.Time // when requeued ones were last read
}

func (d *unsavedDeadLetters) restoreTotal(total int64) {
	d.total, d.checkedAt = total, time.Time{}
	d.clearUnsavedChanges()
}

func (d *unsavedDeadLetters) hasUnsavedChanges() bool { return len(d.given) > 0 || len(d.finished) > 0 }

func (d *unsavedDeadLetters) clearUnsavedChanges() { d.given, d.finished = nil, nil }

// add gives an event up.
func (d *unsavedDeadLetters) add(event []byte, reason string) {
	d.given = append(d.given, hold.DeadLetter{Event: event, Reason: reason})
	d.total++
	var e struct{ ID string }
	_ = json.Unmarshal(event, &e) // holdd encoded it
	d.log.Error("event not accepted for three days: it is a dead letter now; "+
		"holdd callbacks replay sends it again",
		zap.String("id", e.ID), zap.String("reason", reason))
}

// removeRequeuedOnSave lets the next save remove a requeued entry.
func (d *unsavedDeadLetters) removeRequeuedOnSave(entry string) {
	d.finished = append(d.finished, entry)
}

// timeUntilRequeuedCheck returns how long no requeued dead letter has to be
// read. One that is requeued after this round changes the partition.
func (d *unsavedDeadLetters) timeUntilRequeuedCheck(now time.Time) time.Duration {
	if d.checkedAt.Equal(now) {
		return changes.LongestWait
	}
	return requeuedCheckInterval - now.Sub(d.checkedAt)
}

// readRequeuedIfDue returns the dead letters to send again, every
// [requeuedCheckInterval].
func (d *unsavedDeadLetters) readRequeuedIfDue(
	ctx context.Context, now time.Time,
) ([]hold.StreamEvent, error) {
	if now.Sub(d.checkedAt) < requeuedCheckInterval {
		return nil, nil
	}
	d.checkedAt = now
	return d.store.ReadRequeuedDeadLetters(ctx, d.sink, d.partition, eventBatchSize)
}
