package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/health"
	"github.com/holdd/holdd/worker/hold"
)

// fakeDeliveries has two sinks: a callback that fails, with 1,500 dead letters,
// and a chat that works.
type fakeDeliveries struct {
	unavailable   bool
	noSinks       bool // neither callbacks nor notifications are configured
	mu            sync.Mutex
	deadLetterIDs []string
}

func newFakeDeliveries(unavailable bool) *fakeDeliveries {
	s := &fakeDeliveries{unavailable: unavailable}
	for i := range 1500 {
		s.deadLetterIDs = append(s.deadLetterIDs, fmt.Sprintf("0:%d-0", 1795858200000+i))
	}
	return s
}

func (s *fakeDeliveries) HasSink(sink string) bool {
	return !s.noSinks && (sink == "callback" || sink == "slack-0a1b2c3d")
}

func (s *fakeDeliveries) ListSinkStatuses(context.Context) ([]event.SinkStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unavailable {
		return nil, health.ErrUnavailable
	}
	if s.noSinks {
		return nil, nil
	}
	at := time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	return []event.SinkStatus{
		{Sink: "callback", Failing: at, Oldest: at,
			Reason: "HTTP 502: dial tcp 203.0.113.17:443: connect: connection refused\x1b[31m",
			Parked: 2, DeadLetters: int64(len(s.deadLetterIDs)), EventsLost: 7},
		{Sink: "slack-0a1b2c3d"},
	}, nil
}

func (s *fakeDeliveries) ListDeadLetters(
	_ context.Context, sink string, n int,
) (list []hold.DeadLetter, total int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unavailable {
		return nil, 0, health.ErrUnavailable
	}
	if sink != "callback" {
		return nil, 0, nil
	}
	for _, id := range s.deadLetterIDs[:min(n, len(s.deadLetterIDs))] {
		e, err := json.Marshal(event.Envelope{ID: "evt_" + id, Type: hold.EventCaptured,
			Timestamp: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC),
			Data:      event.EventData{Hold: hold.View{ID: "pi_dead0001"}}})
		if err != nil {
			return nil, 0, err
		}
		list = append(list, hold.DeadLetter{Sink: sink, ID: id, Event: e, Reason: "HTTP 500"})
	}
	return list, int64(len(s.deadLetterIDs)), nil
}

// RequeueDeadLetters requeues up to a thousand in one call, as the store does.
func (s *fakeDeliveries) RequeueDeadLetters(
	_ context.Context, sink string, ids []string,
) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.deadLetterIDs)
	switch {
	case s.unavailable:
		return 0, health.ErrUnavailable
	case sink != "callback":
	case len(ids) == 0:
		s.deadLetterIDs = s.deadLetterIDs[min(1000, len(s.deadLetterIDs)):]
	default:
		s.deadLetterIDs = slices.DeleteFunc(s.deadLetterIDs, func(id string) bool { return slices.Contains(ids, id) })
	}
	return int64(before - len(s.deadLetterIDs)), nil
}
