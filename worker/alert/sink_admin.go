package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// SinkAdminStore reads the state of sinks and their dead letters. store.Outbox
// implements it.
type SinkAdminStore interface {
	PartitionCount() int
	ReadSinkPartitionStates(ctx context.Context, sink string) ([][]byte, error)
	ListDeadLetters(ctx context.Context, sink string, n int) (list []hold.DeadLetter, total int64,
		err error)
	RequeueDeadLetters(ctx context.Context, sink string, ids []string) (n int64, err error)
}

// SinkAdmin answers the operator's questions about the sinks.
type SinkAdmin struct {
	store SinkAdminStore
	sinks []*sink
}

// ListSinkStatuses returns the status of each sink over all partitions.
func (d *SinkAdmin) ListSinkStatuses(ctx context.Context) ([]event.SinkStatus, error) {
	var out []event.SinkStatus
	for _, s := range d.sinks {
		states, err := d.store.ReadSinkPartitionStates(ctx, s.name)
		if err != nil {
			return nil, wrapAsUnavailable(err)
		}
		status := event.SinkStatus{Sink: s.name}
		for _, data := range states {
			var state deliveryState
			if json.Unmarshal(data, &state) == nil {
				addPartitionToStatus(&status, &state, s.addressDigest)
			}
		}
		if _, status.DeadLetters, err = d.store.ListDeadLetters(ctx, s.name, 1); err != nil {
			return nil, wrapAsUnavailable(err)
		}
		out = append(out, status)
	}
	return out, nil
}

// addPartitionToStatus adds the state of a partition.
func addPartitionToStatus(s *event.SinkStatus, p *deliveryState, addressDigest string) {
	s.Failing = earlierNonZeroTime(s.Failing, p.FailingSince)
	s.Oldest = earlierNonZeroTime(s.Oldest, p.OldestPending)
	s.Disabled = s.Disabled || p.DisabledAddress == addressDigest
	s.Parked += p.ParkedHolds
	s.EventsLost += p.EventsLost
	if p.Reason != "" {
		s.Reason = p.Reason
	}
}

// ListDeadLetters returns up to n dead letters of a sink, oldest first in each
// partition, and how many there are.
func (d *SinkAdmin) ListDeadLetters(
	ctx context.Context, sink string, n int,
) ([]hold.DeadLetter, int64, error) {
	list, total, err := d.store.ListDeadLetters(ctx, sink, n)
	if err != nil {
		return nil, 0, wrapAsUnavailable(err)
	}
	return list, total, nil
}

// RequeueDeadLetters requeues the dead letters of a sink with these ids, or all.
// It returns how many.
func (d *SinkAdmin) RequeueDeadLetters(
	ctx context.Context, sink string, ids []string,
) (int64, error) {
	n, err := d.store.RequeueDeadLetters(ctx, sink, ids)
	if err != nil {
		return n, wrapAsUnavailable(err)
	}
	return n, nil
}

// HasSink reports whether there is a sink of this name.
func (d *SinkAdmin) HasSink(name string) bool {
	for _, s := range d.sinks {
		if s.name == name {
			return true
		}
	}
	return false
}

// SinkNames returns the names of the sinks.
func (d *SinkAdmin) SinkNames() []string {
	names := make([]string, len(d.sinks))
	for i, s := range d.sinks {
		names[i] = s.name
	}
	return names
}

// lastEntry is after every entry of a stream.
const lastEntry = "18446744073709551615-18446744073709551615"

// EarliestSinkCursor returns the entry of a partition's stream that every sink
// has passed: the earliest cursor. A sink that has not begun begins after all
// entries.
func (d *SinkAdmin) EarliestSinkCursor(ctx context.Context, partition int) (string, error) {
	earliest := lastEntry
	for _, s := range d.sinks {
		states, err := d.store.ReadSinkPartitionStates(ctx, s.name)
		if err != nil {
			return "", wrapAsUnavailable(err)
		}
		var state deliveryState
		if partition >= len(states) || len(states[partition]) == 0 {
			continue
		}
		if err := json.Unmarshal(states[partition], &state); err != nil {
			return "", nil // unknown: every event counts as undelivered
		}
		if compareStreamEntryIDs(state.Cursor, earliest) < 0 {
			earliest = state.Cursor
		}
	}
	return earliest, nil
}

// compareStreamEntryIDs compares the ids of two entries of a stream by their
// numbers.
func compareStreamEntryIDs(a, b string) int {
	parse := func(id string) (millis, sequence uint64) {
		first, second, _ := strings.Cut(id, "-")
		millis, _ = strconv.ParseUint(first, 10, 64)
		sequence, _ = strconv.ParseUint(second, 10, 64)
		return millis, sequence
	}
	aMillis, aSequence := parse(a)
	bMillis, bSequence := parse(b)
	return cmp.Or(cmp.Compare(aMillis, bMillis), cmp.Compare(aSequence, bSequence))
}

func wrapAsUnavailable(err error) error { return fmt.Errorf("%w: %w", health.ErrUnavailable, err) }

// earlierNonZeroTime returns the earlier of two times that are not zero.
func earlierNonZeroTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
