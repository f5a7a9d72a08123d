// Package event is what holdd tells the outside: events about holds and about
// the daemon itself.
//
// Both kinds are JSON in the same envelope. They are written to the stream of a
// partition, from which package alert delivers them. An event about a hold is
// written by the same script as the decision that caused it. A system event is
// published once over all replicas, under a name of what it is about.
//
// An id names one event for ever, because receivers drop an id that they have
// seen.
package event

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/hold"
)

// Types of system events. Those of events about holds are in package hold.
const (
	InboxRejected hold.EventType = "inbox.rejected" // an inbox entry was rejected
	// terms in an intent's metadata were rejected
	MetadataRejected hold.EventType = "metadata.rejected"
	// an intent holds money and is not scheduled
	Orphan                 hold.EventType = "reconcile.orphan"
	AuthorizationAbandoned hold.EventType = "authorization.abandoned"
	StripeUnavailable      hold.EventType = "stripe.unavailable"
	StripeRecovered        hold.EventType = "stripe.recovered"
	KeyRejected            hold.EventType = "stripe.key_rejected"
	KeyAccepted            hold.EventType = "stripe.key_accepted"
	StripeRateLimited      hold.EventType = "stripe.rate_limited"
	StripeRateLimitCleared hold.EventType = "stripe.rate_limit_cleared"
	// holds will expire before the limits let them through
	CapacityAtRisk    hold.EventType = "capacity.at_risk"
	CapacityRecovered hold.EventType = "capacity.recovered"
	// a replica's heartbeat ended without a sign-off
	ReplicaStopped hold.EventType = "replica.stopped"
	RedisDataLost  hold.EventType = "redis.data_lost"
	SinkFailing    hold.EventType = "sink.failing"
	SinkRecovered  hold.EventType = "sink.recovered"
	// the receiver asked for no more events
	SinkDisabled hold.EventType = "sink.disabled"
	// events were trimmed before the sink was back
	SinkEventsLost  hold.EventType = "sink.events_lost"
	SinkDeadLetters hold.EventType = "sink.dead_letters" // events were given up after days
)

// Envelope is an event as it is published.
type Envelope struct {
	ID        string         `json:"id"`
	Type      hold.EventType `json:"type"`
	Timestamp time.Time      `json:"timestamp"`
	Data      Data           `json:"data"`
}

// Data is what an event tells. An event about a hold has Hold, a system event
// has the fields of its type.
type Data struct {
	Hold  hold.View `json:"hold,omitzero"`
	Cause string    `json:"cause,omitempty"`
	// of hold.expiring: the time before the deadline
	Threshold string `json:"threshold,omitempty"`

	Rejection *Rejection `json:"rejection,omitempty"`
	// of reconcile.orphan and authorization.abandoned
	Intent   *Intent       `json:"intent,omitempty"`
	Capacity *CapacityRisk `json:"capacity,omitempty"`
	// the replica that reports, or the one that stopped
	Replica string `json:"replica,omitempty"`
	// of replica.stopped: the replicas that run, at most ten
	Alive []string `json:"alive,omitempty"`
	Sink  string   `json:"sink,omitempty"` // of sink.*
	// of sink.events_lost (-1: unknown) and sink.dead_letters
	Count  int64  `json:"count,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Rejection is a request that was rejected while no caller waited for it.
type Rejection struct {
	Source  string `json:"source"` // inbox or stripe
	ID      string `json:"id"`     // of the inbox entry or the PaymentIntent
	Account string `json:"account,omitempty"`
	Code    string `json:"code,omitempty"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
}

// Intent is a PaymentIntent that has no hold.
type Intent struct {
	PaymentIntent string `json:"payment_intent,omitempty"`
	Account       string `json:"account,omitempty"`
	Reference     string `json:"reference,omitempty"`
	Amount        int64  `json:"amount,omitempty"` // minor units
	Currency      string `json:"currency,omitempty"`
	Detail        string `json:"detail,omitempty"`
}

// CapacityRisk is the holds whose authorization ends before Stripe's limits let
// them through.
type CapacityRisk struct {
	Holds   int        `json:"holds"`
	Sums    []hold.Sum `json:"sums,omitempty"`     // the money at risk
	FirstAt time.Time  `json:"first_at"`           // the nearest of their deadlines
	Rate    int        `json:"rate"`               // captures a second of each account
	AtLeast bool       `json:"at_least,omitempty"` // there were more holds than were examined
}

// Encode encodes the events of a decision that is committed as version. The
// time in the ids keeps them unique where Redis has lost the hold and counts
// its versions anew.
func Encode(d *hold.Decision, version uint64, livemode bool, now time.Time) [][]byte {
	prefix := strconv.FormatUint(version, 10) + "t" + base36(now.UnixMilli())
	return encodeAll(d, livemode, now,
		func(i int) string { return prefix + "_" + strconv.Itoa(i+1) })
}

// EncodeMilestone encodes the events of a milestone that is passed without a
// change of the record. Its ids name the deadline and the event: a milestone
// that is passed again after a failover has the same ids, unless another event
// follows from it by then.
func EncodeMilestone(d *hold.Decision, livemode bool, now time.Time) [][]byte {
	prefix := "d" + base36(d.Hold.ExpiresAt.UnixMilli()) +
		"v" + strconv.FormatUint(d.Hold.Version, 10)
	return encodeAll(d, livemode, now, func(i int) string {
		e := &d.Events[i]
		id := prefix
		if e.Cause != 0 {
			id += "_" + e.Cause.String()
		}
		return id + "_" + base36(int64(e.Threshold))
	})
}

// EncodeSystem encodes a system event with a random id.
func EncodeSystem(t hold.EventType, now time.Time, data Data) []byte {
	return marshal(Envelope{ID: "evt_" + strings.ToLower(rand.Text()[:20]), Type: t, Timestamp: now,
		Data: data})
}

func encodeAll(
	d *hold.Decision, livemode bool, now time.Time, idSuffix func(i int) string,
) [][]byte {
	if len(d.Events) == 0 {
		return nil
	}
	view := d.Hold.View(now, false)
	view.Livemode = livemode
	out := make([][]byte, 0, len(d.Events))
	for i, e := range d.Events {
		env := Envelope{
			ID:   "evt_" + strings.TrimPrefix(d.Hold.ID, "pi_") + "_" + idSuffix(i),
			Type: e.Type, Timestamp: now, Data: Data{Hold: view},
		}
		if e.Cause != 0 {
			env.Data.Cause = e.Cause.String()
		}
		if e.Type == hold.EventExpiring {
			env.Data.Threshold = e.Threshold.String()
		}
		out = append(out, marshal(env))
	}
	return out
}

func marshal(e Envelope) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // only strings, numbers and times of bounded years
	}
	return b
}

func base36(n int64) string { return strconv.FormatInt(n, 36) }

// SinkStatus is the state of a sink over all partitions.
type SinkStatus struct {
	Sink        string
	Failing     time.Time // since when it takes no events, zero if it does
	Reason      string    // why it did not take the last one
	Disabled    bool      // the receiver asked for no more events
	Oldest      time.Time // when the oldest waiting event happened, zero if none waits
	Parked      int       // holds whose events wait while those of others go on
	DeadLetters int64     // events that were given up and can be replayed
	EventsLost  int64     // events that were trimmed before the sink was back
}
