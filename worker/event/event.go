// Package event defines and encodes the events that holdd publishes: events
// about holds, and system events about the daemon itself.
//
// Both are JSON in the same envelope. They are written to the stream of a
// partition, from which package alert delivers them. An event about a hold is
// written by the script that commits the decision behind it. A system event is
// published once per subject over all replicas.
//
// No two events have the same id, because receivers ignore an id that they have
// seen.
package event

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Types of system events. The types of events about holds are in package hold.
const (
	InboxRejected          hold.EventType = "inbox.rejected"          // a request in the inbox
	MetadataRejected       hold.EventType = "metadata.rejected"       // terms in a PaymentIntent
	Orphan                 hold.EventType = "reconcile.orphan"        // an intent without a hold
	AuthorizationAbandoned hold.EventType = "authorization.abandoned" // by the cardholder
	// many runs of an attempt to authorize had no outcome
	AuthorizationUnresolved hold.EventType = "authorization.unresolved"

	StripeUnavailable      hold.EventType = "stripe.unavailable"
	StripeRecovered        hold.EventType = "stripe.recovered"
	KeyRejected            hold.EventType = "stripe.key_rejected"
	KeyAccepted            hold.EventType = "stripe.key_accepted"
	WrongKeySuspected      hold.EventType = "stripe.wrong_key" // it finds none of many intents
	WrongKeyCleared        hold.EventType = "stripe.wrong_key_cleared"
	StripeRateLimited      hold.EventType = "stripe.rate_limited"
	StripeRateLimitCleared hold.EventType = "stripe.rate_limit_cleared"
	CapacityAtRisk         hold.EventType = "capacity.at_risk" // more is due than the limits allow
	CapacityRecovered      hold.EventType = "capacity.recovered"
	// two authorizations of a hold hold its amount, for a minute or for ten
	DoubleHeld         hold.EventType = "renewal.double_held"
	DoubleHeldLong     hold.EventType = "renewal.double_held_long"
	DoubleHeldReleased hold.EventType = "renewal.released"
	ReplicaStopped     hold.EventType = "replica.stopped" // without a sign-off
	RedisDataLost      hold.EventType = "redis.data_lost"
	RedisUnsafe        hold.EventType = "redis.unsafe" // its settings changed: it can lose holds
	RedisSafe          hold.EventType = "redis.safe"
	RedisMemoryHigh    hold.EventType = "redis.memory_high" // near maxmemory
	RedisMemoryNormal  hold.EventType = "redis.memory_normal"
	RecordsUnreadable  hold.EventType = "records.unreadable" // by a newer holdd, or damaged
	RecordsReadable    hold.EventType = "records.readable"
	SinkFailing        hold.EventType = "sink.failing"
	SinkRecovered      hold.EventType = "sink.recovered"
	SinkDisabled       hold.EventType = "sink.disabled"     // the receiver answered 410 Gone
	SinkEventsLost     hold.EventType = "sink.events_lost"  // trimmed before delivery
	SinkDeadLetters    hold.EventType = "sink.dead_letters" // not accepted for days
)

// Envelope is a published event.
type Envelope struct {
	ID        string         `json:"id"`
	Type      hold.EventType `json:"type"`
	Timestamp time.Time      `json:"timestamp"`
	// Traceparent is the span that led to the event, if it is traced.
	Traceparent string    `json:"traceparent,omitempty" doc:"The span that led to the event, as W3C Trace Context, if traces are on"`
	Data        EventData `json:"data"`
}

// EventData is the content of an event. An event about a hold has Hold, a
// system event has the fields of its type.
type EventData struct {
	Hold  hold.View `json:"hold,omitzero"`
	Cause string    `json:"cause,omitempty"`
	// of hold.expiring: the time before the deadline
	Threshold string `json:"threshold,omitempty"`
	// of hold.requires_action, and of hold.expiring of such a hold: where its
	// cardholder can go on
	CardholderLink string `json:"cardholder_link,omitempty"`
	// of hold.partly_captured: what this capture took, in minor units; absent if
	// another system took it
	Amount int64 `json:"amount,omitempty"`

	Rejection *RequestRejection `json:"rejection,omitempty"` // of inbox.rejected, metadata.rejected
	// of reconcile.orphan, authorization.abandoned, authorization.unresolved
	Intent   *IntentWithoutHold `json:"intent,omitempty"`
	Capacity *CapacityRisk      `json:"capacity,omitempty"` // of capacity.at_risk
	Replica  string             `json:"replica,omitempty"`  // that reports, or that stopped
	Alive    []string           `json:"alive,omitempty"`    // of replica.stopped: at most ten that run
	Sink     string             `json:"sink,omitempty"`     // of sink.*
	// Count is the number of events of sink.events_lost, where -1 means
	// unknown, and of sink.dead_letters; the number of runs of
	// authorization.unresolved.
	Count  int64  `json:"count,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// RequestRejection is a rejected request of the inbox or in metadata, for which
// no caller waits.
type RequestRejection struct {
	Source  string `json:"source"` // inbox or stripe
	ID      string `json:"id"`     // of the inbox entry or the PaymentIntent
	Account string `json:"account,omitempty"`
	Code    string `json:"code,omitempty"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
}

// IntentWithoutHold is a PaymentIntent that has no hold.
type IntentWithoutHold struct {
	PaymentIntent string `json:"payment_intent,omitempty"`
	Account       string `json:"account,omitempty"`
	Reference     string `json:"reference,omitempty"`
	Amount        int64  `json:"amount,omitempty"` // minor units
	Currency      string `json:"currency,omitempty"`
	Detail        string `json:"detail,omitempty"`
}

// CapacityRisk is the holds whose authorizations expire before Stripe's limits
// let them through.
type CapacityRisk struct {
	Holds   int        `json:"holds"`
	Sums    []hold.Sum `json:"sums,omitempty"`     // the amounts at risk
	FirstAt time.Time  `json:"first_at"`           // their nearest deadline
	Rate    int        `json:"rate"`               // captures a second of each account
	AtLeast bool       `json:"at_least,omitempty"` // not every hold was examined
}

// EncodeDecisionEvents encodes the events of a decision that is committed as
// version. The ids contain the time, because versions start anew if Redis loses
// the hold.
func EncodeDecisionEvents(d *hold.Decision, version uint64, livemode bool, now time.Time) [][]byte {
	prefix := strconv.FormatUint(version, 10) + "t" + formatBase36(now.UnixMilli())
	return encodeEvents(d, livemode, now,
		func(i int) string { return prefix + "_" + strconv.Itoa(i+1) })
}

// EncodeMilestoneEvents encodes the events of a milestone that passes without a
// change of the record. Their ids contain the deadline and the threshold: a
// milestone that passes again after a failover has the same ids, unless it
// leads to another event by then.
func EncodeMilestoneEvents(d *hold.Decision, livemode bool, now time.Time) [][]byte {
	prefix := "d" + formatBase36(d.Hold.ExpiresAt.UnixMilli()) +
		"v" + strconv.FormatUint(d.Hold.Version, 10)
	return encodeEvents(d, livemode, now, func(i int) string {
		e := &d.Events[i]
		id := prefix
		if e.Cause != 0 {
			id += "_" + e.Cause.String()
		}
		return id + "_" + formatBase36(int64(e.Threshold))
	})
}

// EncodeSystemEvent encodes a system event with a random id.
func EncodeSystemEvent(t hold.EventType, now time.Time, data EventData) []byte {
	return mustMarshalEnvelope(
		&Envelope{ID: "evt_" + strings.ToLower(rand.Text()[:20]), Type: t, Timestamp: now,
			Data: data},
	)
}

func encodeEvents(
	d *hold.Decision, livemode bool, now time.Time, idSuffix func(i int) string,
) [][]byte {
	if len(d.Events) == 0 {
		return nil
	}
	view := hold.NewView(&d.Hold, now, false)
	view.Livemode = livemode
	trace := cmp.Or(d.Trace, d.Hold.Trace).Traceparent()
	out := make([][]byte, 0, len(d.Events))
	for i, e := range d.Events {
		env := Envelope{
			ID:   "evt_" + strings.TrimPrefix(d.Hold.ID, "pi_") + "_" + idSuffix(i),
			Type: e.Type, Timestamp: now, Traceparent: trace, Data: EventData{Hold: view},
		}
		if e.Cause != 0 {
			env.Data.Cause = e.Cause.String()
		}
		if e.Type == hold.EventExpiring {
			env.Data.Threshold = e.Threshold.String()
		}
		env.Data.Detail, env.Data.CardholderLink, env.Data.Amount = e.Detail, e.CardholderLink, e.Amount
		out = append(out, mustMarshalEnvelope(&env))
	}
	return out
}

func mustMarshalEnvelope(e *Envelope) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // only strings, numbers and times of bounded years
	}
	return b
}

func formatBase36(n int64) string { return strconv.FormatInt(n, 36) }

// SinkStatus is the status of a sink over all partitions.
type SinkStatus struct {
	Sink        string
	Failing     time.Time // since when it accepts no events; zero if it does
	Reason      string    // of the last failure
	Disabled    bool      // the receiver answered 410 Gone
	Oldest      time.Time // when the oldest waiting event happened; zero if none waits
	Parked      int       // holds whose events wait while those of others are delivered
	DeadLetters int64     // events that were not accepted for days and can be replayed
	EventsLost  int64     // events that were trimmed before delivery
}
