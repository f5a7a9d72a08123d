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

// sinks stands for the ways out: a callback that is down, a chat that is well, and 1,500 dead letters of the callback.
type sinks struct {
	away bool
	mu   sync.Mutex
	dead []string
}

func newSinks(away bool) *sinks {
	s := &sinks{away: away}
	for i := range 1500 {
		s.dead = append(s.dead, fmt.Sprintf("0:%d-0", 1795858200000+i))
	}
	return s
}

func (s *sinks) Has(sink string) bool { return sink == "callback" || sink == "slack-0a1b2c3d" }

func (s *sinks) Statuses(context.Context) ([]event.SinkStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, health.ErrUnavailable
	}
	at := time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	return []event.SinkStatus{
		{Sink: "callback", Failing: at, Oldest: at, Reason: "HTTP 502 \x1b[31m", Parked: 2, DeadLetters: int64(len(s.dead)), EventsLost: 7},
		{Sink: "slack-0a1b2c3d"},
	}, nil
}

func (s *sinks) DeadLetters(_ context.Context, sink string, n int) (list []hold.DeadLetter, total int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, 0, health.ErrUnavailable
	}
	if sink != "callback" {
		return nil, 0, nil
	}
	for _, id := range s.dead[:min(n, len(s.dead))] {
		e, err := json.Marshal(event.Envelope{ID: "evt_" + id, Type: hold.EventCaptured, Timestamp: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC), Data: event.Data{Hold: hold.View{ID: "pi_dead0001"}}})
		if err != nil {
			return nil, 0, err
		}
		list = append(list, hold.DeadLetter{Sink: sink, ID: id, Event: e, Reason: "HTTP 500"})
	}
	return list, int64(len(s.dead)), nil
}

// Replay takes up a thousand in one call, as the store does.
func (s *sinks) Replay(_ context.Context, sink string, ids []string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.dead)
	switch {
	case s.away:
		return 0, health.ErrUnavailable
	case sink != "callback":
	case len(ids) == 0:
		s.dead = s.dead[min(1000, len(s.dead)):]
	default:
		s.dead = slices.DeleteFunc(s.dead, func(id string) bool { return slices.Contains(ids, id) })
	}
	return int64(before - len(s.dead)), nil
}
