package alert

import (
	"encoding/json"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// sinkMessage is one event for a sink.
type sinkMessage struct {
	entryID   string // of the entry in the stream
	eventID   string // the same in every attempt
	orderKey  string // messages with the same key must arrive in order
	eventJSON []byte
	// traceparent is that of the event; empty if it has none
	traceparent string
	alert       *Alert // nil for a sink that takes events
}

// systemEventKey is the order key of all system events.
const systemEventKey = "holdd"

// newSinkMessage returns the message of an event, and false if the sink does not
// take the event.
func (s *sink) newSinkMessage(e hold.StreamEvent, o RenderOptions) (m sinkMessage, ok bool) {
	var head struct {
		ID          string
		Traceparent string
		Data        struct{ Hold struct{ ID string } }
	}
	if json.Unmarshal(e.Event, &head) != nil || head.ID == "" {
		return m, false
	}
	m = sinkMessage{entryID: e.ID, eventID: head.ID, orderKey: head.Data.Hold.ID,
		eventJSON: e.Event, traceparent: head.Traceparent}
	if m.orderKey == "" {
		m.orderKey = systemEventKey
	}
	if s.minSeverity == 0 {
		return m, true
	}
	a, ok := FromEventJSON(e.Event, o)
	if !ok || a.Severity < s.minSeverity {
		return m, false
	}
	m.alert = &a
	return m, true
}

// messageGroup is messages that must arrive in order, and how far they were
// delivered.
type messageGroup struct {
	orderKey    string
	source      messageGroupSource
	messages    []sinkMessage
	attempted   bool
	delivered   int             // the first so many
	lastOutcome deliveryOutcome // of the last attempt
}

// messageGroupSource says where a group's events come from.
type messageGroupSource uint8

const (
	fromStream messageGroupSource = iota + 1
	fromParked
	fromRequeued
)

// parseEventTime returns when an event happened.
func parseEventTime(event []byte) time.Time {
	var e struct{ Timestamp time.Time }
	if json.Unmarshal(event, &e) != nil {
		return time.Time{}
	}
	return e.Timestamp
}
