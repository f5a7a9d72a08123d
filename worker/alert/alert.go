package alert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdd/holdd/worker/event"
	"github.com/holdd/holdd/worker/hold"
)

// Severity says how soon somebody must look.
type Severity uint8

const (
	Info     Severity = iota + 1 // good to know
	Warning                      // within the day
	Critical                     // now: money is at risk
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

// Kind says what an alert is about. The set is closed: each has its section in
// the runbook, and is a label of metrics.
type Kind string

const (
	ExpiryNear Kind = "expiry_near" // an authorization ends soon
	// it ends before the hold's own time comes
	ExpiresBeforeDue Kind = "expires_before_due"
	// it should have ended, and the hold is still open
	DeadlinePassed    Kind = "deadline_passed"
	CaptureRefused    Kind = "capture_refused"    // Stripe or the bank refused for good
	AttentionRequired Kind = "attention"          // a person must look
	ExpiredUncaptured Kind = "expired_uncaptured" // the card network let it go
	// on_expiry acted, or has nothing to act on
	OnExpiryPolicy Kind = "on_expiry_policy"
	// terms in an intent's metadata were not taken
	MetadataRejected       Kind = "metadata_rejected"
	InboxRejected          Kind = "inbox_rejected"          // an entry of the inbox was not taken
	Orphan                 Kind = "orphan"                  // money is held and nobody scheduled it
	AuthorizationAbandoned Kind = "authorization_abandoned" // a guest never finished
	StripeUnavailable      Kind = "stripe_unavailable"      //
	KeyRejected            Kind = "stripe_key_rejected"     //
	StripeRateLimited      Kind = "stripe_rate_limited"     // Stripe answers 429
	// more is due than the limits let through
	CapacityAtRisk   Kind = "capacity_at_risk"
	RedisUnavailable Kind = "redis_unavailable" // told past Redis, by each replica
	RedisDataLost    Kind = "redis_data_lost"   //
	ReplicaStopped   Kind = "replica_stopped"   // without a word
	// a way out takes nothing, or asked not to be told any more
	SinkFailing Kind = "sink_failing"
	EventsLost  Kind = "events_lost" // a way out was away for too long
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{ExpiryNear, ExpiresBeforeDue, DeadlinePassed, CaptureRefused, AttentionRequired,
		ExpiredUncaptured, OnExpiryPolicy, MetadataRejected, InboxRejected, Orphan,
		AuthorizationAbandoned, StripeUnavailable, KeyRejected, StripeRateLimited, CapacityAtRisk,
		RedisUnavailable, RedisDataLost, ReplicaStopped, SinkFailing, EventsLost}
}

// Alert is what a person is told.
type Alert struct {
	ID       string // of the event that it comes from
	Kind     Kind
	Severity Severity
	Resolved bool // what was told of is over
	HoldID   string
	At       time.Time
	Title    string // a line
	Text     string // lines
}

// RenderOptions says how alerts are written.
type RenderOptions struct {
	Zone       *time.Location // of times; nil: UTC
	RunbookURL string         // address of the runbook, without a fragment; empty: no link
	Livemode   bool
}

// FromJSON makes of an event what people are told. ok is false where it is
// nothing that anybody must know of.
func FromJSON(data []byte, s RenderOptions) (a Alert, ok bool) {
	var e event.Envelope
	if json.Unmarshal(data, &e) != nil {
		return a, false
	}
	return FromEvent(&e, s)
}

// FromEvent is [FromJSON] for an event that was read already. It is pure: the
// same event is the same alert, whoever looks and when.
func FromEvent(e *event.Envelope, s RenderOptions) (a Alert, ok bool) {
	a = Alert{ID: e.ID, At: e.Timestamp, HoldID: e.Data.Hold.ID}
	w := &alertWriter{options: s, now: e.Timestamp}
	if strings.HasPrefix(string(e.Type), "hold.") {
		ok = describeHoldEvent(&a, w, e)
	} else {
		ok = describeSystemEvent(&a, w, e)
	}
	if !ok {
		return Alert{}, false
	}
	label := a.Severity.String()
	if a.Resolved {
		label = "over"
	}
	a.Title = "[" + label + "] " + w.title
	if !s.Livemode {
		a.Title += " (test mode)"
	}
	if s.RunbookURL != "" {
		w.addLine("More: %s#%s", s.RunbookURL, a.Kind)
	}
	a.Text = strings.Join(w.lines, "\n")
	return a, true
}

// describeHoldEvent decides what an event of a hold means to people.
func describeHoldEvent(a *Alert, w *alertWriter, e *event.Envelope) bool {
	h := &e.Data.Hold
	actionAt := holdActionTime(h)
	left := h.ExpiresAt.Sub(e.Timestamp)
	switch {
	case e.Type == hold.EventExpiring && e.Data.Cause == hold.CauseExpired.String():
		a.Kind, a.Severity = DeadlinePassed, Critical
		w.addHoldHeader(h, "should have ended at %s and is still open", w.formatTime(h.ExpiresAt))
		w.addLine("By itself: Stripe is asked now, and again every few minutes; what it says is told.")
		w.addLine("Do: look at the payment in the Dashboard; if the money is gone, ask the guest for another card.")
	case e.Type == hold.EventExpiring && e.Data.Cause == hold.CauseOnExpiry.String():
		a.Kind, a.Severity = OnExpiryPolicy, Critical
		w.addHoldHeader(h, "ends %s, and nothing will be done about it",
			w.formatTimeLeft(h.ExpiresAt))
		w.addLine("By itself: nothing (on_expiry is %s, the hold is %s).", h.OnExpiry, h.State)
		w.addOperatorAction(h)
	case e.Type == hold.EventExpiring && (e.Data.Cause == hold.CauseAfterDeadline.String() ||
		!actionAt.IsZero() && !actionAt.Before(h.ExpiresAt)):
		a.Kind, a.Severity = ExpiresBeforeDue, severityByTimeLeft(left)
		if e.Data.Cause == hold.CauseAfterDeadline.String() {
			a.Severity = max(a.Severity, Warning) // news, and the time to do something is now
		}
		w.addHoldHeader(h, "ends %s, before its own time comes", w.formatTimeLeft(h.ExpiresAt))
		w.addLine("Its own time: %s.", w.formatTimeAndLeft(actionAt))
		w.addAutomaticAction(h)
		w.addOperatorAction(h)
	case e.Type == hold.EventExpiring:
		a.Kind, a.Severity = ExpiryNear, severityByTimeLeft(left)
		if h.State == "attention" || h.State == "paused" {
			a.Severity = max(a.Severity, Warning)
		} else if (h.Next == "capture" || h.Next == "cancel") && h.NextAt != nil &&
			h.NextAt.Before(h.ExpiresAt) && h.NextAt.After(e.Timestamp.Add(-maxActionDelay)) {
			a.Severity = Info // it will be seen to in time
		}
		w.addHoldHeader(h, "ends %s", w.formatTimeLeft(h.ExpiresAt))
		w.addAutomaticAction(h)
		w.addOperatorAction(h)
	case e.Type == hold.EventAttention:
		a.Kind, a.Severity = AttentionRequired, max(severityByTimeLeft(left), Warning)
		switch e.Data.Cause {
		case hold.CauseRefused.String(), hold.CauseAmountTooLarge.String(),
			hold.CauseNotCapturable.String(), hold.CauseKeyConflict.String():
			a.Kind, a.Severity = CaptureRefused, Critical
			w.addHoldHeader(h, "was refused at Stripe (%s)", e.Data.Cause)
		case hold.CauseNoOutcome.String():
			w.addHoldHeader(h, "has no outcome yet, after many calls to Stripe")
			w.addLine("By itself: holdd goes on trying to %s it, at most every few minutes; holdd show %s has Stripe's answers.", h.Next, h.ID)
			w.addOperatorAction(h)
			return true
		case hold.CauseAfterDeadline.String():
			a.Kind = ExpiresBeforeDue
			w.addHoldHeader(h, "ends %s, before its own time comes", w.formatTimeLeft(h.ExpiresAt))
			w.addLine("Its own time: %s.", w.formatTimeAndLeft(actionAt))
		case hold.CauseInsideMargin.String():
			w.addHoldHeader(h, "ends %s, too soon for on_expiry to act without a warning",
				w.formatTimeLeft(h.ExpiresAt))
		default:
			w.addHoldHeader(h, "needs a person (%s)", e.Data.Cause)
		}
		w.addAutomaticAction(h)
		w.addOperatorAction(h)
	case e.Type == hold.EventExpired:
		a.Kind, a.Severity = ExpiredUncaptured, Critical
		if h.CancelAt != nil {
			a.Severity = Info // it was to be let go
		}
		w.addHoldHeader(h, "has expired: the card network let it go before it was captured")
		w.addLine("By itself: nothing, this is final.")
		w.addLine("Do: ask the guest for another payment; holdd show %s tells what happened.", h.ID)
	case (e.Type == hold.EventCanceled || e.Type == hold.EventCaptured) &&
		e.Data.Cause == hold.CauseOnExpiry.String():
		a.Kind, a.Severity = OnExpiryPolicy, Warning
		if e.Type == hold.EventCaptured {
			a.Severity = Info
			w.addHoldHeader(h, "was captured because its deadline was near")
		} else {
			w.addHoldHeader(h, "was let go because its deadline was near")
		}
		w.addLine("By itself: nothing more, this is final (on_expiry is %s).", h.OnExpiry)
		w.addLine("Do: nothing, if that is what was meant; else give holds a time, or another on_expiry, when they are scheduled.")
	default:
		return false
	}
	return true
}

// maxActionDelay is by how much a hold's next step may be overdue before nobody
// should rely on it.
const maxActionDelay = 5 * time.Minute

// severityByTimeLeft is how severe it is that an authorization ends so soon:
// whoever is warned a day ahead can still act at ease.
func severityByTimeLeft(left time.Duration) Severity {
	switch {
	case left > 24*time.Hour:
		return Info
	case left > 6*time.Hour:
		return Warning
	}
	return Critical
}

func holdActionTime(h *hold.View) time.Time {
	switch {
	case h.CaptureAt != nil:
		return *h.CaptureAt
	case h.CancelAt != nil:
		return *h.CancelAt
	}
	return time.Time{}
}

// describeSystemEvent decides what an event that is no hold's means to people.
func describeSystemEvent(a *Alert, w *alertWriter, e *event.Envelope) bool {
	d := &e.Data
	set := func(k Kind, s Severity, format string, args ...any) {
		a.Kind, a.Severity = k, s
		w.title = fmt.Sprintf(format, args...)
	}
	switch e.Type {
	case event.InboxRejected, event.MetadataRejected:
		if d.Rejection == nil {
			return false
		}
		set(InboxRejected, Warning, "a wish in the inbox was not taken: %s",
			sanitizeText(d.Rejection.Reason, 200))
		if e.Type == event.MetadataRejected {
			set(MetadataRejected, Warning, "the terms of %s were not taken: %s",
				sanitizeText(d.Rejection.ID, 80), sanitizeText(d.Rejection.Reason, 200))
		}
		w.addLine("Field: %s. Code: %s. Entry or intent: %s.",
			orDefault(sanitizeText(d.Rejection.Field, 80), "-"), orDefault(d.Rejection.Code, "-"),
			sanitizeText(d.Rejection.ID, 80))
		w.addLine("By itself: nothing; the hold is not scheduled.")
		w.addLine("Do: mend it where it was written and send it again; the original is in holdd:inbox:rejected.")
	case event.Orphan:
		if d.Intent == nil {
			return false
		}
		set(Orphan, Warning, "%s holds %s and nobody has scheduled it", d.Intent.PaymentIntent,
			hold.FormatAmount(d.Intent.Amount, d.Intent.Currency))
		w.addAccountLine(d.Intent.Account)
		w.addLine("By itself: nothing; the card network lets it go after some days.")
		w.addLine("Do: holdd schedule %s --capture-at …, or release it in the Dashboard.",
			d.Intent.PaymentIntent)
	case event.AuthorizationAbandoned:
		if d.Intent == nil {
			return false
		}
		set(AuthorizationAbandoned, Warning,
			"%s: the authorization of %s was never finished and has been canceled",
			orDefault(sanitizeText(d.Intent.Reference, 80), d.Intent.PaymentIntent),
			hold.FormatAmount(d.Intent.Amount, d.Intent.Currency))
		w.addAccountLine(d.Intent.Account)
		w.addLine("By itself: nothing; no money is held.")
		w.addLine("Do: ask the guest for a card once more.")
	case event.StripeUnavailable:
		set(StripeUnavailable, Critical, "Stripe does not answer")
		w.addLine("By itself: holds wait, and work resumes once Stripe is back. Deadlines go on meanwhile.")
		w.addLine("Do: look at https://status.stripe.com and at this machine's network.")
	case event.StripeRecovered:
		a.Resolved = true
		set(StripeUnavailable, Critical, "Stripe is back: work goes on")
	case event.KeyRejected:
		set(KeyRejected, Critical, "Stripe rejects the key")
		w.addLine("By itself: nothing is claimed; every half minute it is asked whether the key works again.")
		w.addLine("Do: set stripe_api_key to a valid key and restart holdd.")
	case event.KeyAccepted:
		a.Resolved = true
		set(KeyRejected, Critical, "Stripe accepts the key again: work goes on")
	case event.StripeRateLimited:
		set(StripeRateLimited, Warning, "Stripe refuses requests for their rate (429)")
		w.addLine("By itself: holdd slows down and tries again.")
		w.addLine("Do: find out what else uses this account, or set rate and rate_read lower, or ask Stripe for more.")
	case event.StripeRateLimitCleared:
		a.Resolved = true
		set(StripeRateLimited, Warning, "Stripe takes requests at their rate again")
	case event.CapacityAtRisk:
		if d.Capacity == nil {
			return false
		}
		c := d.Capacity
		atLeast := ""
		if c.AtLeast {
			atLeast = "at least "
		}
		set(CapacityAtRisk, Critical,
			"%s%d holds over %s will lapse before their turn, the first %s", atLeast, c.Holds,
			formatSums(c.Sums), w.formatTimeLeft(c.FirstAt))
		w.addLine("More is due than %d captures a second let through.", c.Rate)
		w.addLine("First to lapse: %s.", w.formatTimeAndLeft(c.FirstAt))
		w.addLine("By itself: nearest deadline first, at that rate.")
		w.addLine("Do: raise rate if Stripe grants this account more; capture the large ones by hand: holdd list --state ready.")
	case event.CapacityRecovered:
		a.Resolved = true
		set(CapacityAtRisk, Critical, "everything that is due gets its turn in time again")
	case event.ReplicaStopped:
		set(ReplicaStopped, Warning, "replica %s stopped without a word; %d go on",
			sanitizeText(d.Replica, 100), len(d.Alive))
		w.addLine("By itself: its work was taken over.")
		w.addLine("Do: look at its log and why it ended; start it again if nothing does so.")
	case event.RedisDataLost:
		set(RedisDataLost, Critical, "Redis was emptied while in use")
		w.addLine("By itself: every hold whose terms stand at Stripe is scheduled anew from there.")
		w.addLine("Do: find out what emptied it; holdd reconcile shows what was found. Lost are history, acknowledgements and changes not yet mirrored.")
	case event.SinkFailing, event.SinkDisabled:
		set(SinkFailing, Critical, "%s takes no events: %s", sanitizeText(d.Sink, 40),
			sanitizeText(d.Detail, 200))
		w.addLine("By itself: it is tried again for days, in order; nothing else waits for it.")
		if e.Type == event.SinkDisabled {
			w.lines = w.lines[:0]
			w.addLine("By itself: nothing; it answered 410, and is not asked again.")
		}
		w.addLine("Do: mend it or its address; then holdd callbacks tells what waits, and holdd callbacks replay sends what was given up.")
	case event.SinkRecovered:
		a.Resolved = true
		set(SinkFailing, Critical, "%s takes events again", sanitizeText(d.Sink, 40))
	case event.SinkEventsLost, event.SinkDeadLetters:
		n := strconv.FormatInt(d.Count, 10)
		if d.Count < 0 {
			n = "some"
		}
		set(EventsLost, Critical,
			"%s was away for too long: %s events were dropped before it was back",
			sanitizeText(d.Sink, 40), n)
		w.addLine("Do: compare with holdd list; raise events_max if it may be away for so long.")
		if e.Type == event.SinkDeadLetters {
			w.lines = w.lines[:0]
			set(EventsLost, Critical,
				"%s did not take %s events for days: they are dead letters now",
				sanitizeText(d.Sink, 40), n)
			w.addLine("Do: holdd callbacks dead lists them, holdd callbacks replay sends them once more.")
		}
	default:
		return false
	}
	return true
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func formatSums(list []hold.Sum) string {
	var parts []string
	for _, s := range list[:min(len(list), 8)] {
		parts = append(parts, hold.FormatAmount(s.Amount, s.Currency))
	}
	return strings.Join(parts, " + ")
}
