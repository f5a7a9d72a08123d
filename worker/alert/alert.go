package alert

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
)

// Severity says how soon the operator must act.
type Severity uint8

const (
	Info     Severity = iota + 1 // no action needed
	Warning                      // act within the day
	Critical                     // act now: money is at risk
)

var severityNames = [...]string{"", "info", "warning", "critical"}

func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return "unknown"
}

// ParseSeverity is the inverse of [Severity.String].
func ParseSeverity(s string) (Severity, bool) {
	i := slices.Index(severityNames[:], s)
	return Severity(max(i, 0)), i > 0
}

// Kind is the subject of an alert. The set is closed, because a kind is a label
// of metrics and the anchor of a chapter in the runbook.
type Kind string

// Kinds of alerts about a hold.
const (
	ExpiryNear        Kind = "expiry_near"        // the authorization expires soon
	ExpiresBeforeDue  Kind = "expires_before_due" // and before the hold's own time
	DeadlinePassed    Kind = "deadline_passed"    // and the hold is still open
	CaptureRefused    Kind = "capture_refused"    // by Stripe or the bank, for good
	AttentionRequired Kind = "attention"          // the operator must decide
	ExpiredUncaptured Kind = "expired_uncaptured" // the card network released the money
	OnExpiryPolicy    Kind = "on_expiry_policy"   // on_expiry acted, or cannot act
)

// Kinds of alerts about the daemon and what it reads.
const (
	MetadataRejected       Kind = "metadata_rejected"       // terms in a PaymentIntent
	InboxRejected          Kind = "inbox_rejected"          // a request in the inbox
	Orphan                 Kind = "orphan"                  // a PaymentIntent without a hold
	AuthorizationAbandoned Kind = "authorization_abandoned" // by the cardholder
	// many runs of an attempt to authorize had no outcome
	AuthorizationUnresolved Kind = "authorization_unresolved"

	StripeUnavailable Kind = "stripe_unavailable"
	KeyRejected       Kind = "stripe_key_rejected"
	WrongKey          Kind = "stripe_wrong_key" // Stripe finds none of many PaymentIntents
	StripeRateLimited Kind = "stripe_rate_limited"
	CapacityAtRisk    Kind = "capacity_at_risk"  // more is due than the limits allow
	DoubleHeld        Kind = "double_held"       // by two authorizations of one hold
	RedisUnavailable  Kind = "redis_unavailable" // sent by each replica directly
	StageStalled      Kind = "stage_stalled"     // sent by each replica directly
	RedisDataLost     Kind = "redis_data_lost"
	RedisUnsafe       Kind = "redis_unsafe" // its settings changed: it can lose holds
	RedisMemory       Kind = "redis_memory" // near maxmemory
	RecordUnreadable  Kind = "record_unreadable"
	ReplicaStopped    Kind = "replica_stopped" // without a sign-off
	SinkFailing       Kind = "sink_failing"    // or disabled by its receiver
	EventsLost        Kind = "events_lost"     // trimmed, or dead letters
)

// AlertKinds lists every kind.
func AlertKinds() []Kind {
	return []Kind{ExpiryNear, ExpiresBeforeDue, DeadlinePassed, CaptureRefused, AttentionRequired,
		ExpiredUncaptured, OnExpiryPolicy, MetadataRejected, InboxRejected, Orphan,
		AuthorizationAbandoned, AuthorizationUnresolved, StripeUnavailable, KeyRejected,
		WrongKey, StripeRateLimited, CapacityAtRisk, DoubleHeld, RedisUnavailable, StageStalled,
		RedisDataLost, RedisUnsafe, RedisMemory, RecordUnreadable, ReplicaStopped, SinkFailing,
		EventsLost}
}

// Alert is a message to the operator.
type Alert struct {
	ID       string // of the event behind it
	Kind     Kind
	Severity Severity
	Resolved bool // the alert's condition has ended
	HoldID   string
	At       time.Time
	Title    string // one line
	Text     string // several lines
}

// RenderOptions say how alerts are written.
type RenderOptions struct {
	Zone       *time.Location // of times; nil means UTC
	RunbookURL string         // without a fragment; empty means no link
	Livemode   bool
}

// FromEventJSON is [FromEvent] for an encoded event.
func FromEventJSON(data []byte, o RenderOptions) (a Alert, ok bool) {
	var e event.Envelope
	if json.Unmarshal(data, &e) != nil {
		return a, false
	}
	return FromEvent(&e, o)
}

// FromEvent returns the alert of an event, and false for an event that is not
// an alert. It is pure: every replica makes the same alert of the same event.
func FromEvent(e *event.Envelope, o RenderOptions) (a Alert, ok bool) {
	w := &alertTextBuilder{options: o, now: e.Timestamp}
	if strings.HasPrefix(string(e.Type), "hold.") {
		a, ok = newAlertFromHoldEvent(w, e)
	} else {
		a, ok = newAlertFromSystemEvent(w, e)
	}
	if !ok {
		return Alert{}, false
	}
	a.ID, a.At, a.HoldID = e.ID, e.Timestamp, e.Data.Hold.ID
	return a, true
}
