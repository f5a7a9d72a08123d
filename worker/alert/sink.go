package alert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// deliveryResult says what came of sending. The set is closed.
type deliveryResult uint8

const (
	resultDelivered  deliveryResult = iota + 1
	resultRejected                  // this message; another may be taken
	resultFailed                    // nobody knows whether it is the message or the sink
	resultRetryLater                // too much at a time
	resultGone                      // the sink asks not to be told any more
)

var resultNames = [...]string{"", "delivered", "rejected", "failed", "retry_later", "gone"}

// deliveryOutcome is what came of sending once. Its reason is fit for logs: no
// address, no secret.
type deliveryOutcome struct {
	result     deliveryResult
	retryAfter time.Duration // no other try before, if the sink said so
	reason     string
}

// message is one event on its way to a sink.
type message struct {
	entryID   string // in the stream
	eventID   string // the same however often it is sent
	orderKey  string // what must arrive in order
	eventJSON []byte
	alert     *Alert // nil for a sink that takes events
}

// sink is a way out.
type sink struct {
	name          string   // a label and a part of keys
	addressDigest string   // digest of where it leads
	minSeverity   Severity // 0: every event, whether people need to know or not
	takesDigests  bool     // takes several messages as one
	// knows incidents: what has an end is told by itself, else the end would
	// find none
	tracksIncidents bool
	maxConcurrent   int
	send            func(ctx context.Context, m []message) deliveryOutcome
}

// systemEventKey is the order in which events that are no hold's arrive.
const systemEventKey = "holdd"

func (s *sink) concurrency() int { return max(1, s.maxConcurrent) }

// newMessage makes a message of an event; ok is false where this sink doesn't
// want it.
func (s *sink) newMessage(e hold.StreamEvent, options RenderOptions) (m message, ok bool) {
	var head struct {
		ID   string
		Data struct{ Hold struct{ ID string } }
	}
	if json.Unmarshal(e.Event, &head) != nil || head.ID == "" {
		return m, false
	}
	m = message{entryID: e.ID, eventID: head.ID, orderKey: head.Data.Hold.ID, eventJSON: e.Event}
	if m.orderKey == "" {
		m.orderKey = systemEventKey
	}
	if s.minSeverity == 0 {
		return m, true
	}
	a, ok := FromJSON(e.Event, options)
	if !ok || a.Severity < s.minSeverity {
		return m, false
	}
	m.alert = &a
	return m, true
}

// addressDigest tells one address from another without being it.
func addressDigest(address string) string {
	sum := sha256.Sum256([]byte("holdd sink " + address))
	return hex.EncodeToString(sum[:4])
}

func itoa(n int) string { return strconv.Itoa(n) }
