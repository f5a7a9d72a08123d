package alert

import (
	"encoding/json"
	"time"
)

const (
	parkedBackoffMin       = 10 * time.Second
	parkedBackoffMax       = time.Hour
	maxParkedHolds         = 256
	maxParkedEventsPerHold = 64
)

// parkedHold is the events of one hold, in order, that a sink rejects while it
// accepts those of others.
type parkedHold struct {
	Attempts      int               `json:"attempts"` // without success
	NextAttemptAt time.Time         `json:"next_attempt_at"`
	Events        []json.RawMessage `json:"events"`
}

// parkedHolds are the parked holds of one sink and partition, by order key, and
// their changes since the last save.
type parkedHolds struct {
	holds  map[string]*parkedHold
	park   map[string][]byte
	unpark []string
}

// decodeParkedHolds continues with saved ones.
func decodeParkedHolds(saved map[string][]byte) *parkedHolds {
	p := &parkedHolds{holds: map[string]*parkedHold{}}
	for key, data := range saved {
		var h parkedHold
		if json.Unmarshal(data, &h) == nil {
			p.holds[key] = &h
		}
	}
	p.clearUnsavedChanges()
	return p
}

func (p *parkedHolds) has(key string) bool { return p.holds[key] != nil }

func (p *parkedHolds) isFull() bool { return len(p.holds) >= maxParkedHolds }

func (p *parkedHolds) hasUnsavedChanges() bool { return len(p.park) > 0 || len(p.unpark) > 0 }

func (p *parkedHolds) clearUnsavedChanges() { p.park, p.unpark = map[string][]byte{}, nil }

// add parks events of a hold that has none parked.
func (p *parkedHolds) add(key string, events []json.RawMessage) {
	p.holds[key] = &parkedHold{Events: events}
	p.noteChangeOrUnparkEmptyHold(key)
}

// appendEventIfRoom parks another event behind the parked ones of its hold. It returns
// false if there is no room: the event waits in the stream.
func (p *parkedHolds) appendEventIfRoom(key string, event []byte) bool {
	h := p.holds[key]
	if len(h.Events) >= maxParkedEventsPerHold {
		return false
	}
	h.Events = append(h.Events, event)
	p.noteChangeOrUnparkEmptyHold(key)
	return true
}

// keysDueForRedelivery returns the order keys of up to n holds that are to be tried
// again.
func (p *parkedHolds) keysDueForRedelivery(now time.Time, n int) (keys []string) {
	for key, h := range p.holds {
		if !h.NextAttemptAt.After(now) && len(keys) < n {
			keys = append(keys, key)
		}
	}
	return keys
}

// removeDeliveredAndResetBackoff removes the first n events of a hold, and lets
// the rest be tried at once.
func (p *parkedHolds) removeDeliveredAndResetBackoff(key string, n int) {
	h := p.holds[key]
	h.Events, h.Attempts, h.NextAttemptAt = h.Events[n:], 0, time.Time{}
	p.noteChangeOrUnparkEmptyHold(key)
}

// deferNextAttemptOrExpireEvent sets when a hold is tried again. It returns its
// first event if that has waited for [deadLetterAfter]; the event is then no
// longer parked.
func (p *parkedHolds) deferNextAttemptOrExpireEvent(key string, now time.Time) (expired []byte) {
	h := p.holds[key]
	h.Attempts++
	h.NextAttemptAt = now.Add(jitteredBackoff(h.Attempts, parkedBackoffMin, parkedBackoffMax))
	if len(h.Events) > 0 && now.Sub(parseEventTime(h.Events[0])) > deadLetterAfter {
		expired = h.Events[0]
		h.Events, h.Attempts, h.NextAttemptAt = h.Events[1:], 0, now
	}
	p.noteChangeOrUnparkEmptyHold(key)
	return expired
}

// oldestParkedEventTime returns when the oldest parked event happened, zero if
// there is none.
func (p *parkedHolds) oldestParkedEventTime() (t time.Time) {
	for _, h := range p.holds {
		t = earlierNonZeroTime(t, parseEventTime(h.Events[0]))
	}
	return t
}

// noteChangeOrUnparkEmptyHold notes what the next save writes of a hold. A hold without
// events is no longer parked.
func (p *parkedHolds) noteChangeOrUnparkEmptyHold(key string) {
	h := p.holds[key]
	if len(h.Events) == 0 {
		delete(p.holds, key)
		delete(p.park, key)
		p.unpark = append(p.unpark, key)
		return
	}
	if data, err := json.Marshal(h); err == nil { // JSON that was read before
		p.park[key] = data
	}
}
