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

// verdict says what came of sending. The set is closed.
type verdict uint8

const (
	taken   verdict = iota + 1
	refused         // this message; another may be taken
	failed          // nobody knows whether it is the message or the sink
	later           // too much at a time
	gone            // the sink asks not to be told any more
)

var verdictNames = [...]string{"", "taken", "refused", "failed", "later", "gone"}

// outcome is what came of sending once. Its reason is fit for logs: no address, no secret.
type outcome struct {
	verdict verdict
	after   time.Duration // no other try before, if the sink said so
	reason  string
}

// message is one event on its way to a sink.
type message struct {
	entry string // in the stream
	id    string // the same however often it is sent
	key   string // what must arrive in order
	event []byte
	alert *Alert // nil for a sink that takes events
}

// sink is a way out.
type sink struct {
	name    string   // a label and a part of keys
	address string   // digest of where it leads
	least   Severity // 0: every event, whether people need to know or not
	batch   bool     // takes several messages as one
	pager   bool     // knows incidents: what has an end is told by itself, else the end would find none
	atOnce  int
	send    func(ctx context.Context, m []message) outcome
}

// factKey is the order in which events that are no hold's arrive.
const factKey = "holdd"

func (s *sink) parallel() int { return max(1, s.atOnce) }

// read makes a message of an event; ok is false where this sink doesn't want it.
func (s *sink) read(e hold.StreamEvent, style Style) (m message, ok bool) {
	var head struct {
		ID   string
		Data struct{ Hold struct{ ID string } }
	}
	if json.Unmarshal(e.Event, &head) != nil || head.ID == "" {
		return m, false
	}
	m = message{entry: e.ID, id: head.ID, key: head.Data.Hold.ID, event: e.Event}
	if m.key == "" {
		m.key = factKey
	}
	if s.least == 0 {
		return m, true
	}
	a, ok := Read(e.Event, style)
	if !ok || a.Severity < s.least {
		return m, false
	}
	m.alert = &a
	return m, true
}

// digest tells one address from another without being it.
func digest(address string) string {
	sum := sha256.Sum256([]byte("holdd sink " + address))
	return hex.EncodeToString(sum[:4])
}

func itoa(n int) string { return strconv.Itoa(n) }
